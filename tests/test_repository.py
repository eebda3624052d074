"""What holds for the repository as a whole: notebooks clean and in step with the package, a light import, a whole wheel."""
import hashlib, json, os, re, shutil, subprocess, sys, tomllib, zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/'tests/site'))
from build_site import copy_project
from ganad import __version__

NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
NAMES = [str(p.relative_to(ROOT/'nbs')) for p in NOTEBOOKS]
MACHINE_PATH = re.compile(r'(?<![\w.:/])/(?:root|home|Users|work|tmp|opt|mnt)\b(?:/[\w.-]+)*')

def cells(path): return json.loads(path.read_text())['cells']
def source(cell): return ''.join(cell['source'])

def texts(cell):
    "Whatever a reader sees as text below a code cell"
    for out in cell.get('outputs', []):
        yield ''.join(out.get('text', ''))
        for mime, data in out.get('data', {}).items():
            if mime.startswith('text/'): yield re.sub(r'data:[\w/+-]+;base64,[\w+/=]+', '', ''.join(data))

def contents(folder):
    "Every file below a folder, links as what they point to"
    return {str(p.relative_to(folder)): os.readlink(p).encode() if p.is_symlink() else p.read_bytes()
            for p in folder.rglob('*') if p.is_file() and '__pycache__' not in p.parts and p.name != '.last_checked'}

def changed_by(command, folder):
    "The files that a command changes, makes or removes"
    before = contents(folder)
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    after = contents(folder)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))

def python(code, **kw): return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, **kw)


def test_notebooks_are_clean(tmp_path):
    assert changed_by(['nbdev-clean'], copy_project(tmp_path/'project')) == [], 'run nbdev-clean'

def test_package_is_in_step_with_the_notebooks(tmp_path):
    assert changed_by(['nbdev-export'], copy_project(tmp_path/'project')) == [], 'run nbdev-export'

def test_every_module_comes_from_a_notebook():
    made = {m[1].replace('.', '/') for p in NOTEBOOKS for c in cells(p) if (m := re.match(r'#\|\s*default_exp\s+(\S+)', source(c)))}
    found = {p.relative_to(ROOT/'ganad').with_suffix('').as_posix() for p in (ROOT/'ganad').rglob('*.py')}
    assert {name for name in found if not Path(name).name.startswith('_')} == made

def test_readme_is_the_home_page():
    run = subprocess.run([sys.executable, 'tests/readme.py', '--check'], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr

def test_every_notebook_opens_in_colab_and_can_be_downloaded():
    run = subprocess.run([sys.executable, 'tests/heads.py', '--check'], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr

def test_sidebar_lists_every_notebook():
    def listed(entries):
        for entry in entries:
            if isinstance(entry, str): yield entry
            elif 'href' in entry: yield entry['href']
            yield from listed(entry.get('contents', []) if isinstance(entry, dict) else [])
    sidebar = yaml.safe_load((ROOT/'nbs/sidebar.yml').read_text())['website']['sidebar']['contents']
    assert sorted(listed(sidebar)) == NAMES

def test_one_quarto_configuration():
    link = ROOT/'nbs/_quarto.yml'
    assert link.is_symlink() and link.resolve() == ROOT/'_quarto.yml'

def test_site_settings_are_in_step_with_pyproject(tmp_path):
    refresh = [sys.executable, '-c', 'from nbdev.quarto import refresh_quarto_yml; refresh_quarto_yml()']
    assert changed_by(refresh, copy_project(tmp_path/'project')) == [], 'run nbdev-docs, or copy what it writes'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=NAMES)
def test_notebook(path):
    code = [c for c in cells(path) if c['cell_type'] == 'code' and source(c).strip()]
    assert not code or any(c['outputs'] for c in code), 'no outputs are saved: run nbdev-test --save, then nbdev-clean'
    for cell in code:
        start = source(cell)[:60]
        assert not any(out['output_type'] == 'error' for out in cell['outputs']), f'a saved error in the cell {start!r}'
        for text in (source(cell), *texts(cell)):
            assert not (m := MACHINE_PATH.search(text)), f'a path of a machine, {m[0]!r}, in the cell {start!r}'
        if any('image/png' in out.get('data', {}) for out in cell['outputs']):
            assert re.search(r'^#\| *fig-alt: *\S', source(cell), re.M), f'a figure without fig-alt in the cell {start!r}'
    assert not code or re.search(r'This notebook took \d+ second', ''.join(texts(code[-1]))), 'its last cell does not state its measured time'


def notebook_of(path, code):
    path.write_text(json.dumps(dict(cells=[dict(cell_type='code', id='0', metadata={}, execution_count=None, outputs=[], source=code)], metadata={}, nbformat=4, nbformat_minor=5)))
    return path

@pytest.mark.skipif(not hasattr(os, 'wait4'), reason='needs Unix')
def test_each_notebook_runs_in_a_process_of_its_own(tmp_path):
    "A failure and too much memory are told by name, and what one took is not counted against the next"
    (tmp_path/'pyproject.toml').write_text('[project]\nname = "some"\nversion = "0"\n\n[tool.nbdev]\ntitle = "some"\n')
    codes = {'good': '1 + 1', 'large': 'held = bytes(range(256)) * 2_000_000', 'wrong': "raise ValueError('no such luck')", 'last': "assert 'held' not in globals()"}
    paths = [notebook_of(tmp_path/f'{name}.ipynb', code) for name, code in codes.items()]
    def run(*words): return subprocess.run([sys.executable, 'tests/notebooks.py', *words], cwd=ROOT, capture_output=True, text=True)
    done = run(*paths, '--n-workers', '1', '--most', '.4')
    assert done.returncode == 1 and 'no such luck' in done.stdout, done.stdout + done.stderr
    told = done.stdout.split('4 notebooks, 2 failed')[1].split('\n  ')[1:]
    assert 'large.ipynb: 0.' in told[0] and 'GB is more than 0.4' in told[0] and 'wrong.ipynb: exit status 1' in told[1]
    assert run(paths[0], paths[3]).returncode == 0


@pytest.mark.parametrize('module', ['ganad', 'ganad.commands'])
def test_import_is_light(module):
    "torch and scikit-learn cost seconds: `import ganad` and the commands' parsers do without"
    run = python(f"import sys, {module}; print(*sorted({{'torch', 'sklearn', 'accelerate', 'pandas'}} & sys.modules.keys()))", cwd='/')
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ''


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "A wheel of the package, by way of a source distribution of a copy, so that nothing left over from another build gets in"
    folder = tmp_path_factory.mktemp('wheel')
    project = copy_project(folder/'project')
    for name in ('setup.py', 'MANIFEST.in'): shutil.copy2(ROOT/name, project/name)
    for code in ("from setuptools.build_meta import build_sdist; build_sdist('..')", "import sys, tarfile, glob; tarfile.open(glob.glob('../ganad-*.tar.gz')[0]).extractall('../unpacked', filter='data')"):
        run = python(code, cwd=project)
        assert run.returncode == 0, run.stdout + run.stderr
    source, = (folder/'unpacked').iterdir()
    run = subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '--wheel-dir', folder, source], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return next(folder.glob('ganad-*.whl'))

@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    "The folder into which pip has put it"
    target = tmp_path_factory.mktemp('installed')
    subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', target, wheel], check=True)
    return target

def test_wheel_holds_the_whole_package(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith('ganad/') and not name.startswith('ganad/notebooks/')}
    package = {p.relative_to(ROOT).as_posix() for p in (ROOT/'ganad').rglob('*') if p.is_file() and '__pycache__' not in p.parts}
    assert held == package

def test_the_wheel_is_small(wheel, installed):
    size = sum(p.stat().st_size for p in installed.rglob('*') if p.is_file())
    assert wheel.stat().st_size < 10e6 and size < 15e6, (wheel.stat().st_size, size)

def test_the_wheels_notebooks_are_whole_and_have_no_outputs(installed):
    held = installed/'ganad/notebooks/nbs'
    assert sorted(p.relative_to(held).as_posix() for p in held.rglob('*.ipynb')) == NAMES
    for path, name in zip(NOTEBOOKS, NAMES):
        for cell, clone in zip(cells(held/name), cells(path), strict=True):
            assert source(cell) == source(clone) and cell['id'] == clone['id'] and not cell.get('outputs') and not cell.get('execution_count')

def test_the_wheel_lists_what_the_release_holds(installed, tmp_path):
    "Size and sum of each stored file; trained networks are only in the release, tables are in the wheel as well"
    told = json.loads((installed/'ganad/notebooks/stored.json').read_text())
    stored = {p.relative_to(ROOT).as_posix(): p.read_bytes() for p in (ROOT/'nbs/stored').rglob('*') if p.is_file()}
    assert told['files'] == {name: dict(size=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in stored.items()}
    held = {p.relative_to(installed/'ganad/notebooks').as_posix() for p in (installed/'ganad/notebooks/nbs/stored').rglob('*') if p.is_file()}
    assert held == {name for name in stored if not name.endswith('.safetensors')} and len(held) < len(stored)
    for folder in ('one', 'two'):
        (tmp_path/folder).mkdir()
        run = subprocess.run([sys.executable, 'tests/release.py', tmp_path/folder], cwd=ROOT, capture_output=True, text=True, env=os.environ | {'PYTHONPATH': str(ROOT)})
        assert run.returncode == 0, run.stderr
    (one,), (two,) = ((tmp_path/folder).iterdir() for folder in ('one', 'two'))
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive: assert {name: archive.read(name) for name in archive.namelist()} == stored
    repository = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']['urls']['Repository']
    assert told['url'] == f'{repository}/releases/download/v{__version__}/{one.name}'

def test_weights_in_the_wheel_are_small(wheel):
    weights = {i.filename: i.file_size for i in zipfile.ZipFile(wheel).infolist() if i.filename.endswith('.safetensors')}
    assert weights, 'no trained weights in the wheel'
    assert max(weights.values()) < 2_000_000, weights

def test_every_module_of_an_installed_wheel_imports(installed, tmp_path):
    code = ("import importlib, pkgutil, sys, ganad\n"
            "for m in pkgutil.walk_packages(ganad.__path__, 'ganad.'): importlib.import_module(m.name)\n"
            "print(ganad.__file__)\n"
            "sys.exit(any(not m.__file__.startswith(sys.argv[1]) for n, m in sys.modules.items() if n.startswith('ganad') and m.__file__))")
    run = subprocess.run([sys.executable, '-c', code, str(installed)], cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(installed)},
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
