"The laboratory: a copy of the notebooks that never overwrites what its owner changed, stored runs that are fetched whole or not at all, and a wheel that carries the notebooks"
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import warnings
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ganad import lab
from ganad.commands import lab_main
from ganad.settings import DataNotFound
from release import archive as released

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


# Stored runs

RUN, TABLE = 'nbs/stored/ring-p1/detector.safetensors', 'nbs/stored/ring.csv'
CONTENTS = {RUN: bytes(range(256))*20, TABLE: b'seed,AUROC\n0,0.9\n'}
LISTED = {name: dict(size=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in CONTENTS.items()}

def archive_of(*entries, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', method) as archive, warnings.catch_warnings(action='ignore'):    # of a name that comes twice
        for name, data in entries: archive.writestr(name, data)
    return out.getvalue()

WHOLE = archive_of(*CONTENTS.items())
OTHER = b'x' + CONTENTS[RUN][1:]
flipped = lambda data, at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        status, headers, body = self.server.answers.get(self.path, (404, {}, b'not here'))
        self.server.asked.append(self.path)
        self.send_response(status)
        for name, value in headers.items(): self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass

@pytest.fixture
def server(monkeypatch):
    "A server on this machine: what it answers, what it was asked"
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    made = ThreadingHTTPServer(('127.0.0.1', 0), Answer)
    made.answers, made.asked, made.url = {}, [], f'http://127.0.0.1:{made.server_address[1]}'
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown(); made.server_close(); thread.join()

def answered(server, body, status=200, **headers):
    server.answers['/stored.zip'] = status, {'Content-Length': len(body), **headers}, body
    return f'{server.url}/stored.zip'

def from_release(source, url, files=LISTED):
    "The source as a wheel has it: its stored files are listed, and the large ones are not there"
    shutil.rmtree(source/'nbs'/'stored', ignore_errors=True)
    (source/lab.STORED).write_text(json.dumps(dict(url=url, files=files)))
    return source

def below(folder): return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob('*') if p.is_file()}

@pytest.fixture
def mine(source, tmp_path, monkeypatch):
    "A copy, in a folder that is in no clone"
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('GANAD_STORED', raising=False)
    lab.copy_notebooks(tmp_path/'mine', from_release(source, 'http://127.0.0.1:9/stored.zip'))
    return tmp_path/'mine'

@pytest.mark.parametrize('archive', [WHOLE, archive_of(*reversed(CONTENTS.items()), method=zipfile.ZIP_DEFLATED)], ids=['as released', 'packed by a mirror'])
@pytest.mark.parametrize('way', ['the list', 'GANAD_STORED', 'a redirection'])
def test_stored_files_are_fetched_once(source, mine, server, monkeypatch, archive, way, capsys):
    url = answered(server, archive)
    if way == 'GANAD_STORED': monkeypatch.setenv('GANAD_STORED', url)
    elif way == 'the list': from_release(source, url)
    else:
        server.answers['/latest'] = 302, {'Location': '/stored.zip', 'Content-Length': 0}, b''
        from_release(source, f'{server.url}/latest')
    before = below(mine)
    assert lab.fetch_stored(mine, source, write=False) == [RUN, TABLE] and below(mine) == before and not server.asked
    assert lab.fetch_stored(mine, source) == [RUN, TABLE] and '2 stored files, 0 MB, to be fetched from' in capsys.readouterr().out
    after = below(mine)
    assert after.items() - before.items() == {*CONTENTS.items(), (lab.LIST, after[lab.LIST])}
    asked = list(server.asked)
    assert lab.fetch_stored(mine, source) == [] and server.asked == asked

SPOILT = {
    'damaged': flipped(WHOLE, WHOLE.index(CONTENTS[RUN]) + 100), 'a damaged directory': flipped(WHOLE, WHOLE.rindex(b'PK\1\2') + 20), 'cut short': WHOLE[:-40], 'empty': b'',
    'another file of the same size': archive_of((RUN, OTHER), (TABLE, CONTENTS[TABLE])), 'a longer file': archive_of((RUN, CONTENTS[RUN] + b'x'), (TABLE, CONTENTS[TABLE])),
    'a file less': archive_of((RUN, CONTENTS[RUN])), 'a file more': archive_of(*CONTENTS.items(), ('nbs/index.ipynb', b'{}')), 'a file twice': archive_of(*CONTENTS.items(), (TABLE, b'x')),
    'out of the folder': archive_of(*CONTENTS.items(), ('../outside', b'x')), 'out of the folder only': archive_of(('../outside', b'x')), 'from the root': archive_of(*CONTENTS.items(), ('/tmp/outside', b'x')),
    'another archive': archive_of(('readme.txt', b'hello')), 'a page': b'<html>Please log in</html>', 'too large': WHOLE + bytes(200_000),
    'packed otherwise': archive_of(*CONTENTS.items(), method=zipfile.ZIP_LZMA), 'unpacks to much more': archive_of((RUN, bytes(10**8)), (TABLE, CONTENTS[TABLE]), method=zipfile.ZIP_DEFLATED),
}

@pytest.mark.parametrize('name', SPOILT)
def test_a_spoilt_archive_leaves_nothing(source, mine, server, tmp_path, name):
    from_release(source, answered(server, SPOILT[name]))
    before = below(tmp_path)
    with pytest.raises(DataNotFound, match='could not be fetched from .*/stored.zip: .* Call ganad-lab again') as told: lab.fetch_stored(mine, source)
    assert '\n' not in str(told.value) and below(tmp_path) == before
    answered(server, WHOLE)
    assert lab.fetch_stored(mine, source) == [RUN, TABLE]

def test_no_damage_passes_and_none_is_a_traceback():
    "Bytes changed, cut off, moved: what comes out is the whole or a ValueError"
    rng, whole = random.Random(0), {method: archive_of(*CONTENTS.items(), method=method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)}
    refused = 0
    for _ in range(3000):
        data = bytearray(rng.choice(list(whole.values())))
        at = rng.choice([rng.randrange(len(data)), len(data) - 1 - rng.randrange(min(300, len(data)))])     # the directory stands at the end
        if rng.random() < .2: del data[at:]
        elif rng.random() < .2: data[at:at + 20] = data[:20]
        else: data[at] = rng.randrange(256)
        try: found = lab.unpacked(bytes(data), LISTED)
        except ValueError: refused += 1
        else: assert found == CONTENTS
    assert 1500 < refused < 3000

@pytest.mark.parametrize('status, headers, words', [(200, {'Content-Length': 10**5}, 'IncompleteRead|damaged'), (404, {}, 'HTTP Error 404'), (503, {}, 'HTTP Error 503'), (302, {'Location': 'file:///stored.zip'}, 'is not allowed')],
                         ids=['connection lost', 'no such file', 'busy', 'sent elsewhere'])
def test_an_answer_that_is_no_archive(source, mine, server, tmp_path, status, headers, words):
    from_release(source, answered(server, WHOLE[:3000], status, **headers))
    before = below(tmp_path)
    with pytest.raises(DataNotFound, match=words): lab.fetch_stored(mine, source)
    assert below(tmp_path) == before

def test_without_a_network_one_line_says_so_and_the_rest_goes_on(source, tmp_path, monkeypatch, capsys):
    with ThreadingHTTPServer(('127.0.0.1', 0), Answer) as closed: url = f'http://127.0.0.1:{closed.server_address[1]}/stored.zip'
    monkeypatch.setattr(lab, 'shipped_notebooks', lambda: from_release(source, url))
    monkeypatch.setenv('no_proxy', '127.0.0.1'); monkeypatch.delenv('GANAD_STORED', raising=False)
    monkeypatch.chdir(tmp_path)
    assert lab_main(['mine', '--no-open']) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith(f'ganad-lab: 2 stored files, 0 MB, could not be fetched from {url}: ') and 'GANAD_STORED' in said[0]
    assert (tmp_path/'mine'/'nbs'/'index.ipynb').read_text() == 'one' and not (tmp_path/'mine'/'nbs'/'stored').exists()
    called = []
    monkeypatch.setattr(lab.subprocess, 'run', lambda words, cwd: called.append(words) or subprocess.CompletedProcess(words, 0))
    monkeypatch.setattr(lab.importlib.util, 'find_spec', lambda name: object())
    assert lab_main(['mine']) == 0 and len(called) == 1 and 'could not be fetched' in capsys.readouterr().err

def test_what_was_trained_again_is_kept_and_what_is_old_is_fetched(source, mine, server):
    from_release(source, answered(server, WHOLE))
    lab.fetch_stored(mine, source)
    newer = {RUN: OTHER, TABLE: b'seed,AUROC\n0,1.0\n'}
    from_release(source, answered(server, archive_of(*newer.items())), {name: dict(size=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in newer.items()})
    (mine/RUN).write_bytes(b'my own')
    assert lab.fetch_stored(mine, source) == [TABLE]
    assert (mine/RUN).read_bytes() == b'my own' and (mine/TABLE).read_bytes() == newer[TABLE]

def test_in_a_clone_no_network_is_needed(source, mine, tmp_path, monkeypatch):
    clone = tmp_path/'clone'
    for name, data in CONTENTS.items():
        (clone/name).parent.mkdir(parents=True, exist_ok=True)
        (clone/name).write_bytes(data)
    (clone/'settings.ini').write_text('[DEFAULT]\nname = ganad\n')
    monkeypatch.chdir(clone/'nbs')
    (clone/RUN).write_bytes(OTHER)              # a clone of another version
    with pytest.raises(DataNotFound): lab.fetch_stored(mine, source)
    (clone/RUN).write_bytes(CONTENTS[RUN])
    assert lab.fetch_stored(mine, source) == [RUN, TABLE] and (mine/RUN).read_bytes() == CONTENTS[RUN]

def test_an_archive_on_the_disk(source, mine, tmp_path, monkeypatch):
    monkeypatch.setenv('GANAD_STORED', 'stored.zip')
    with pytest.raises(DataNotFound, match='No such file'): lab.fetch_stored(mine, source)
    (tmp_path/'stored.zip').write_bytes(WHOLE)
    assert lab.fetch_stored(mine, source) == [RUN, TABLE]

def test_a_clone_has_no_list(tmp_path): assert lab.stored_files(ROOT)['files'] == {} and lab.fetch_stored(tmp_path, ROOT) == []


# The command's help, the wheel

def test_help_needs_neither_torch_nor_scikit_learn():
    code = "import sys; from ganad.commands import lab_main; from ganad import lab; lab_main(['-h']); assert not {'torch', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)


def test_the_wheel_carries_the_notebooks_and_they_run(tmp_path, server):
    clone = tmp_path/'clone'
    shutil.copytree(ROOT, clone, symlinks=True, ignore=shutil.ignore_patterns('.git', '_docs', '_proc', 'node_modules', '__pycache__', '.venv', 'runs', 'build', '*.egg-info'))
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '-w', str(tmp_path), str(clone)], check=True, capture_output=True)
    site = tmp_path/'site'
    with zipfile.ZipFile(next(tmp_path.glob('ganad-*.whl'))) as wheel: wheel.extractall(site)
    mine = tmp_path/'mine'
    env = os.environ | {'PYTHONPATH': str(site), 'GANAD_STORED': answered(server, released(tmp_path).read_bytes())}
    code = f"from ganad import lab, commands; assert {str(site)!r} in str(lab.shipped_notebooks()); raise SystemExit(commands.lab_main([{str(mine)!r}, '--no-open']))"
    said = subprocess.run([sys.executable, '-c', code], env=env, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert len(server.asked) == 1 and ', to be fetched from http://127.0.0.1' in said and (site/'ganad'/'py.typed').is_file()
    copy, clone = below(mine), {name: path.read_bytes() for name, path in lab.lab_files(ROOT).items()}
    assert copy.keys() - {lab.LIST, 'pyproject.toml'} == clone.keys() and all(copy[name] == clone[name] for name in clone if 'stored' in name)
    from nbclient import NotebookClient
    import nbformat
    for name in ('book/10_notation', 'core/50_plots'):
        path = mine/'nbs'/f'{name}.ipynb'
        NotebookClient(nbformat.read(path, as_version=4), timeout=None, startup_timeout=600, resources={'metadata': {'path': str(path.parent)}}).execute(env=env | {'OMP_NUM_THREADS': '1'})
