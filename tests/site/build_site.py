"""Build the documentation into `_docs` without Quarto, and report what is wrong with its sources.

nbdev processes a copy of the notebooks (tables of parameters and all), as it does for Quarto, and smalldocs renders
the copy. Run as `python tests/site/build_site.py`; exit status 1 if smalldocs has a complaint, such as a broken link.
"""
import os, re, shutil, subprocess, sys, tempfile
from pathlib import Path

import yaml
from fastcore.nbio import read_nb, write_nb
from smalldocs.site import build

ROOT = Path(__file__).resolve().parents[2]
SOURCES = 'nbs', 'ganad', 'pyproject.toml', 'settings.ini', '_quarto.yml', 'README.md', 'LICENSE'

# Settings that only Quarto reads; smalldocs names whatever it leaves out
QUARTO_ONLY = {'unknown key format-links', 'format commonmark is not built: smalldocs makes only html',
               *(f'format.html.{key} is ignored' for key in ('respect-user-color-scheme', 'html-math-method', 'keep-md'))}


def copy_project(
    to, # A folder, which is made
) -> Path: # The same folder
    "A copy of what the package and its documentation are made of"
    to = Path(to)
    to.mkdir(parents=True, exist_ok=True)
    skip = shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints', 'runs')
    for name in SOURCES:
        if (ROOT/name).is_dir(): shutil.copytree(ROOT/name, to/name, symlinks=True, ignore=skip)
        else: shutil.copy2(ROOT/name, to/name)
    return to


def process(
    project, # A copy of the project
) -> Path: # Its notebooks as Quarto would get them
    "Run `nbdev-proc-nbs`, which looks for Quarto but here has no use for it"
    with tempfile.TemporaryDirectory() as stub:
        quarto = Path(stub)/'quarto'
        quarto.write_text('#!/bin/sh\n')
        quarto.chmod(0o755)
        env = {**os.environ, 'PATH': f"{stub}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(['nbdev-proc-nbs', '--n-workers', '2'], cwd=project, env=env, check=True)
    return project/'_proc'


def use_published_names(
    proc, # The processed notebooks
):
    "Rename each notebook as Quarto names its page (`10_toys.ipynb` becomes `toys.html`), and all relative links to it"
    renamed, notebooks = {}, sorted(proc.rglob('*.ipynb'))
    for path in notebooks:
        nb = read_nb(path)
        for cell in nb.cells:
            found = cell.cell_type == 'raw' and re.search(r'^output-file: (.*)\.html\n', cell.source, re.M)
            if not found: continue
            cell.source = cell.source.replace(found[0], '')
            renamed[path.name] = f'{found[1]}.ipynb'
        write_nb(nb, path)
    link = re.compile(r'(?<![\w.-])(' + '|'.join(map(re.escape, renamed)) + r')(?=[)#"\s])')
    outside = lambda m: re.search(r'https?://[^\s()]*$', m.string[:m.start()]) # a whole address is no link to a page
    rename = lambda text: link.sub(lambda m: m[0] if outside(m) else renamed[m[1]], text)
    for path in notebooks:
        nb = read_nb(path)
        for cell in nb.cells:
            if cell.cell_type == 'markdown': cell.source = rename(cell.source)
        write_nb(nb, path)
        path.rename(path.with_name(renamed.get(path.name, path.name)))
    sidebar = proc/'sidebar.yml'
    sidebar.write_text(rename(sidebar.read_text()))


def add_notebooks(
    site, # The built site
):
    "The notebooks themselves, for those who would download one"
    for path in (ROOT/'nbs').rglob('*.ipynb'):
        if '.ipynb_checkpoints' not in path.parts: shutil.copy2(path, site/path.relative_to(ROOT/'nbs'))


def main(out=ROOT/'_docs'):
    with tempfile.TemporaryDirectory() as tmp:
        proc = process(copy_project(Path(tmp)/'project'))
        use_published_names(proc)
        site = build(proc, quiet=True)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(site.out, out)
    add_notebooks(out)
    complaints = [w for w in site.warnings if w not in QUARTO_ONLY]
    for complaint in complaints: print(f'docs: {complaint}')
    print(f'{len(site.pages)} pages in {out.name}, {len(complaints)} complaints')
    return bool(complaints)


if __name__ == '__main__': sys.exit(main())
