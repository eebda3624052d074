"""Two cells below the title of each notebook: links that open it in Colab and download it, and what Colab has to install.

`python tests/heads.py` writes them into every notebook, or into those named; outputs and all other cells stay as they are.
`--check` writes nothing and ends with status 1 if a notebook has other ones.
"""
import argparse, sys
from pathlib import Path

from fastcore.nbio import mk_cell, read_nb, write_nb
from nbdev.config import get_config

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
LINKS, COLAB = '[Open in Colab](', '#| hide\n# In Colab:'


def head(
    path, # A notebook below `nbs`
) -> tuple: # The sources of its two cells: Markdown, code
    "The code holds no import, or the build of the documentation would run it; `hide` keeps it out of the page"
    cfg, name = get_config(ROOT), path.resolve().relative_to(ROOT/'nbs')
    source = f'{cfg.git_url.removeprefix("https://github.com/")}/blob/{cfg.branch}/nbs/{name.as_posix()}'
    links = (f'{LINKS}https://colab.research.google.com/github/{source}) · '
             f'[Download notebook]({cfg.doc_url.rstrip("/")}/{name.as_posix()})')
    folder = f'/content/{cfg.repo}'
    code = (f"{COLAB} fetch the repository and install the package; elsewhere this does nothing\n"
            f"if 'google.colab' in str(get_ipython()):\n"
            f"    !git clone -q --depth 1 {cfg.git_url} {folder}\n"
            f"    %pip install -q {folder}\n"
            f"    %cd -q {(Path(folder)/'nbs'/name.parent).as_posix()}")
    return links, code


def update(
    path, # A notebook
    write=True, # Or only look
) -> bool: # Whether it was out of step
    nb = read_nb(path)
    links, code = head(path)
    cells = [c for c in nb.cells if not c.source.startswith((LINKS, COLAB))]
    if [c.source for c in nb.cells] == [cells[0].source, links, code, *(c.source for c in cells[1:])]: return False
    if write:
        ids = {c.source[:len(LINKS)]: c.id for c in nb.cells}
        new = [mk_cell(links, 'markdown'), mk_cell(code)]
        for cell in new: cell.id = ids.get(cell.source[:len(LINKS)], cell.id)
        nb.cells = [cells[0], *new, *cells[1:]]
        write_nb(nb, path)
    return True


def main():
    parser = argparse.ArgumentParser(description='Write the links and the cell for Colab below the title of notebooks')
    parser.add_argument('notebooks', nargs='*', type=Path, default=NOTEBOOKS)
    parser.add_argument('--check', action='store_true', help='write nothing; status 1 if a notebook is out of step')
    args = parser.parse_args()
    stale = [path for path in args.notebooks if update(path, write=not args.check)]
    for path in stale: print(f"{path.resolve().relative_to(ROOT)} {'is out of step' if args.check else 'written'}")
    if args.check and stale: sys.exit('run: python tests/heads.py')


if __name__ == '__main__': main()
