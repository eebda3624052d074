"What several test files share: the data, a cache of their own, slow tests by flag."
import os, sys
os.environ.setdefault('OMP_NUM_THREADS', '1') # torch's threads spin: several test processes on few cores would slow each other

import pytest

from ganad.settings import data_folder, data_named


def pytest_addoption(parser):
    parser.addoption('--slow', action='store_true', help='run tests marked slow, too')
    parser.addoption('--fuzz', type=float, default=0., metavar='MINUTES', help='look for faults of reading for so long, in files made at random; default: a few, always the same')
    parser.addoption('--fuzz-seed', type=int, metavar='N', help='the examples of a seed that --fuzz printed')

def pytest_configure(config):
    config.addinivalue_line('markers', 'slow: takes most of a minute or more; run with --slow')
    config.addinivalue_line('markers', 'xdist_group(name): tests of one group are run by one process')
    config.addinivalue_line('filterwarnings', 'ignore:The inplace keyword') # wfdb and the newest pandas

def pytest_collection_modifyitems(config, items):
    for item in items: item.add_marker(pytest.mark.xdist_group(_group(item)))
    if config.getoption('--slow'): return
    for item in items:
        if 'slow' in item.keywords: item.add_marker(pytest.mark.skip(reason='slow: run with --slow'))

def pytest_terminal_summary(terminalreporter, config):
    fuzz = sys.modules.get('test_fuzz')
    if not fuzz or not config.getoption('--fuzz'): return
    terminalreporter.section('examples of the fuzz')
    for (kind, came), n in sorted(fuzz.COUNTS.items()): terminalreporter.write_line(f'{n:>9,}  {kind}: {came}')
    for kind, seeds in fuzz.SEEDS.items(): terminalreporter.write_line(f'{kind}, seeds: {" ".join(map(str, seeds))}')

def _group(item):
    "With `-n 2 --dist loadgroup` a file's tests stay in one process, with what they made; the contract's, which are most of all, those of one detector"
    params = item.callspec.params if hasattr(item, 'callspec') else {}
    name = params['name'] if isinstance(params.get('name'), str) else type(params['estimator']).__name__.lower() if 'estimator' in params else ''
    return f'{item.path.stem} {name}'.strip() if item.path.stem == 'test_detector' else item.path.stem

@pytest.fixture(scope='session')
def mitdb():
    "The folder of the MIT-BIH Arrhythmia Database; skips where no data folder is named, fails where it is named and lacks it"
    if not data_named(): pytest.skip('mitdb: no data folder is named')
    return data_folder('mitdb')

@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    "An empty cache, for tests of the cache itself; all others use the user's, so that prepared data serve them all"
    monkeypatch.setenv('GANAD_CACHE', str(tmp_path/'cache'))
    return tmp_path/'cache'
