"Settings: one file, overridden by the environment, resolved against the file; names and files that are wrong are said to be."
import subprocess, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastcore.xtras import Config

from ganad import settings as module
from ganad.settings import CHOICES, DEFAULTS, DataNotFound, by_budget, data_folder, data_named, settings, unknown, whole_file


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    "No GANAD_ variable from outside"
    for key in DEFAULTS: monkeypatch.delenv(f'GANAD_{key.upper()}', raising=False)

@pytest.fixture
def project(tmp_path, monkeypatch):
    "A project with its settings, seen from a folder inside it"
    (tmp_path/'nbs/data').mkdir(parents=True)
    monkeypatch.chdir(tmp_path/'nbs/data')
    def write(*lines, name='ganad'): (tmp_path/'settings.ini').write_text('\n'.join(['[DEFAULT]', f'name = {name}', *lines]) + '\n')
    write.root = tmp_path
    return write


def test_defaults_without_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    s = settings()
    assert (s.data, s.budget, s.seed, s.device, s.precision) == (None, 'quick', 42, 'auto', 'float32')
    assert s.runs == tmp_path/'runs' and s.cache.name == 'ganad' and s.cache.is_absolute()
    assert set(s) == set(DEFAULTS) and not data_named()

def test_the_repositorys_file_names_every_key():
    root = Path(__file__).resolve().parents[1]
    assert set(Config(root, 'settings.ini').d) == {'name', *DEFAULTS} and settings(root/'nbs') == settings(root)

def test_folders_are_meant_from_the_file(project):
    project('data = ../sets', 'runs = out', 'cache = prepared', 'seed = 7')
    s = settings()
    assert (s.data, s.runs, s.cache, s.seed) == (project.root.parent/'sets', project.root/'out', project.root/'prepared', 7)
    assert settings(project.root) == s and data_named()

def test_the_environment_overrides(project, monkeypatch):
    project('budget = quick', 'data = sets')
    for key, value in dict(GANAD_BUDGET='full', GANAD_DATA='../other', GANAD_SEED=' 3 ').items(): monkeypatch.setenv(key, value)
    s = settings()
    assert (s.budget, s.data, s.seed) == ('full', project.root.parent/'other', 3)
    assert by_budget('short', 'long') == 'long'

def test_another_projects_file_is_not_ours(project):
    project('lib_name = x', 'seed = 7', name='other')
    assert settings().seed == 42

@pytest.mark.parametrize('line, words', [
    ('budgett = full', "Did you mean 'budget'"), ('budget = fulll', "Did you mean 'full'"), ('precision = float64', 'Known: bf16, float32'),
    ('seed = many', "whole number from 0 to 4294967295, got 'many'"), ('seed = -1', "got '-1'; mend it in settings.ini or GANAD_SEED"), ('seed = 4294967296', "got '4294967296'"), ('seed = 1.5', "got '1.5'")])
def test_a_wrong_file_is_refused(project, line, words):
    project(line)
    with pytest.raises(ValueError, match=words): settings()

@pytest.mark.parametrize('key', CHOICES)
def test_a_wrong_variable_is_refused(monkeypatch, key):
    monkeypatch.setenv(f'GANAD_{key.upper()}', 'x')
    with pytest.raises(ValueError, match=f"unknown {key} 'x'. Known: "): settings()

def test_unknown_names_the_nearest():
    assert "unknown lead 'MLI'. Did you mean 'MLII'? Known: MLII, V1" == str(unknown('lead', 'MLI', ['V1', 'MLII']))
    assert 'Did you mean' not in str(unknown('lead', 'zzz', ['V1', 'MLII']))

def test_a_named_folder_must_hold_the_data(project):
    project('data = sets')
    with pytest.raises(DataNotFound, match="no folder 'mitdb'.*leave the setting empty"): data_folder('mitdb')
    (project.root/'sets/mitdb').mkdir(parents=True)
    assert data_folder('mitdb') == project.root/'sets/mitdb'

def test_without_a_named_folder_the_cache_is_meant(project):
    project('cache = prepared')
    assert data_folder('mitdb') == project.root/'prepared/data/mitdb'


# ---- files are whole

def test_a_file_is_whole_or_as_before(tmp_path):
    file = tmp_path/'a.csv'
    with whole_file(file) as tmp: tmp.write_text('one')
    with pytest.raises(ZeroDivisionError):
        with whole_file(file) as tmp:
            tmp.write_text('tw')
            assert file.read_text() == 'one' and tmp.parent == file.parent
            1/0
    assert file.read_text() == 'one' and list(tmp_path.iterdir()) == [file]

@pytest.mark.parametrize('broken', ['replace', 'fsync'])
def test_a_disk_that_fails_loses_nothing(tmp_path, monkeypatch, broken):
    file = tmp_path/'a.csv'
    file.write_text('one')
    def fails(*args): raise OSError('no space left')
    monkeypatch.setattr(module.os, broken, fails)
    with pytest.raises(OSError, match='no space left'):
        with whole_file(file) as tmp: tmp.write_text('two')
    assert file.read_text() == 'one' and list(tmp_path.iterdir()) == [file]

def test_threads_write_the_same_file_without_meeting(tmp_path):
    "Each has a temporary file of its own; what is found is one of the texts, whole"
    file, texts, names = tmp_path/'a.csv', [str(i)*5000 for i in range(8)], []
    together = threading.Barrier(8)
    def write(text):
        for _ in range(5):
            with whole_file(file) as tmp:
                names.append(tmp.name)
                together.wait()
                tmp.write_text(text)
            assert file.read_text() in texts
    with ThreadPoolExecutor(8) as pool: list(pool.map(write, texts))
    assert len(set(names)) == 40 and list(tmp_path.iterdir()) == [file]

def test_a_kill_leaves_one_temporary_file_that_the_next_write_passes_by(tmp_path):
    file = tmp_path/'a.csv'
    script = 'import os, sys\nfrom ganad.settings import whole_file\nwith whole_file(sys.argv[1]) as tmp: tmp.write_text("half"); os._exit(1)'
    assert subprocess.run([sys.executable, '-c', script, str(file)]).returncode == 1
    left, = tmp_path.iterdir()
    assert left.name.startswith('.a.csv.') and left.suffix == '.tmp'
    with whole_file(file) as tmp: tmp.write_text('whole')
    assert file.read_text() == 'whole' and set(tmp_path.iterdir()) == {file, left}
