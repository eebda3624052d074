"The laboratory: a copy of the notebooks that never overwrites what its owner changed, and a wheel that carries them"
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ganad import lab
from ganad.commands import lab_main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def source(tmp_path):
    "A small package's worth of notebooks"
    for name, text in {'nbs/index.ipynb': 'one', 'nbs/core/10_networks.ipynb': 'two', 'nbs/stored/table.csv': 'a,b', 'nbs/styles.css': '', 'nbs/runs/x.ipynb': '', 'settings.ini': '[DEFAULT]\nname = ganad\n'}.items():
        (tmp_path/'source'/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/'source'/name).write_text(text)
    return tmp_path/'source'


def test_a_copy_is_whole_and_the_original_untouched(source, tmp_path):
    before = {p: p.read_bytes() for p in source.rglob('*') if p.is_file()}
    done = lab.copy_notebooks(tmp_path/'mine', source)
    assert sorted(done['new']) == ['nbs/core/10_networks.ipynb', 'nbs/index.ipynb', 'nbs/stored/table.csv', 'pyproject.toml', 'settings.ini']
    assert (tmp_path/'mine'/'nbs'/'index.ipynb').read_text() == 'one' and '[tool.nbdev]' in (tmp_path/'mine'/'pyproject.toml').read_text()
    assert {p: p.read_bytes() for p in source.rglob('*') if p.is_file()} == before


def test_what_was_changed_is_kept_what_is_old_is_updated_what_is_lost_is_written(source, tmp_path):
    mine = tmp_path/'mine'
    lab.copy_notebooks(mine, source)
    (mine/'nbs'/'index.ipynb').write_text('my own')
    (mine/'settings.ini').unlink()
    (source/'nbs'/'index.ipynb').write_text('one, newer'); (source/'nbs'/'core'/'10_networks.ipynb').write_text('two, newer')
    planned = lab.copy_notebooks(mine, source, write=False)
    assert not (mine/'settings.ini').exists() and (mine/'nbs'/'core'/'10_networks.ipynb').read_text() == 'two'
    done = lab.copy_notebooks(mine, source)
    assert done == planned and (done['kept'], done['updated'], done['new']) == (['nbs/index.ipynb'], ['nbs/core/10_networks.ipynb'], ['settings.ini'])
    assert (mine/'nbs'/'index.ipynb').read_text() == 'my own' and (mine/'nbs'/'core'/'10_networks.ipynb').read_text() == 'two, newer'
    assert lab.copy_notebooks(mine, source)['kept'] == ['nbs/index.ipynb']        # still mine after an update


def test_a_folder_that_was_there_before_loses_nothing(source, tmp_path):
    (tmp_path/'mine'/'nbs').mkdir(parents=True)
    (tmp_path/'mine'/'nbs'/'index.ipynb').write_text('from elsewhere')
    assert lab.copy_notebooks(tmp_path/'mine', source)['kept'] == ['nbs/index.ipynb']


def test_command(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lab, 'shipped_notebooks', lambda: source)
    monkeypatch.chdir(tmp_path)
    assert lab_main(['--dry-run']) == 0 and not (tmp_path/'ganad-lab').exists() and '5 files would be written' in capsys.readouterr().out
    assert lab_main(['--no-open']) == 0 and (tmp_path/'ganad-lab'/'nbs'/'index.ipynb').is_file()
    assert lab_main(['one', 'two']) == 2 and 'one folder at a time' in capsys.readouterr().err
    called = []
    monkeypatch.setattr(lab.subprocess, 'run', lambda words, cwd: called.append(words) or subprocess.CompletedProcess(words, 0))
    monkeypatch.setattr(lab.importlib.util, 'find_spec', lambda name: object())
    assert lab_main(['mine', '--', '--port=9999']) == 0 and called[0][-1] == '--port=9999' and any('root_dir' in w for w in called[0])
    monkeypatch.setattr(lab.importlib.util, 'find_spec', lambda name: None)
    assert lab_main([]) == 1 and "pip install 'ganad[lab]'" in capsys.readouterr().err


def test_help_needs_neither_torch_nor_scikit_learn():
    code = "import sys; from ganad.commands import lab_main; from ganad import lab; lab_main(['-h']); assert not {'torch', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)


def test_the_wheel_carries_the_notebooks_and_they_run(tmp_path):
    clone = tmp_path/'clone'
    shutil.copytree(ROOT, clone, symlinks=True, ignore=shutil.ignore_patterns('.git', '_docs', '_proc', 'node_modules', '__pycache__', '.venv', 'runs', 'build', '*.egg-info'))
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '-w', str(tmp_path), str(clone)], check=True, capture_output=True)
    site = tmp_path/'site'
    with zipfile.ZipFile(next(tmp_path.glob('ganad-*.whl'))) as wheel: wheel.extractall(site)
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'} | {'PYTHONPATH': str(site)}
    code = f"from ganad import lab; assert {str(site)!r} in str(lab.shipped_notebooks()); print(len(lab.copy_notebooks({str(tmp_path/'mine')!r})['new']))"
    copied = subprocess.run([sys.executable, '-c', code], env=env, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert int(copied) == len(lab.lab_files(ROOT)) + 1 and (site/'ganad'/'py.typed').is_file()
    from nbclient import NotebookClient
    import nbformat
    for name in ('book/10_notation', 'core/50_plots'):
        path = tmp_path/'mine'/'nbs'/f'{name}.ipynb'
        NotebookClient(nbformat.read(path, as_version=4), timeout=120, resources={'metadata': {'path': str(path.parent)}}).execute(env=env | {'OMP_NUM_THREADS': '1'})
