"""Properties of reading: any form of a file gives its signal back, in any pieces; a damaged one is refused in a line, read as before, or its difference is said.

Always the same examples, and few, unless `--fuzz MINUTES` asks for as many others as that time holds."""
import gc, gzip, os, re, signal as alarms, tempfile, time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np, pandas as pd, pytest, wfdb
from hypothesis import HealthCheck, Phase, assume, given, seed, settings, strategies as st

from formats import BITS, FLAC, checksum, edf_bytes, nothing, pack, signal_line, text_bytes, write_record
from ganad.data.files import ENDINGS, millivolts, open_record
from ganad.data.toys import simulate_ecg

try: import soundfile
except ImportError: soundfile = None
try: import resource
except ImportError: resource = None # not on Windows: no guard of memory there

COUNTS = Counter() # Of examples, by kind and by what came of them; printed at the end
FORMATS = [f for f in BITS if soundfile or f not in FLAC]


# How an example is run

@contextmanager
def guarded(seconds=20, room=1 << 31):
    "No example hangs, nor takes more than two gigabytes"
    def ring(*_): raise AssertionError(f'it hangs: {seconds} s went by')
    if resource is None:
        yield
        return
    limits, old = resource.getrlimit(resource.RLIMIT_AS), alarms.signal(alarms.SIGALRM, ring)
    held = int(Path('/proc/self/statm').read_text().split()[0])*os.sysconf('SC_PAGE_SIZE') if Path('/proc/self/statm').exists() else None
    if held: resource.setrlimit(resource.RLIMIT_AS, (held + room, limits[1]))
    alarms.alarm(seconds)
    try: yield
    finally:
        alarms.alarm(0)
        alarms.signal(alarms.SIGALRM, old)
        resource.setrlimit(resource.RLIMIT_AS, limits)

def open_files(): return len(os.listdir('/proc/self/fd')) if Path('/proc/self/fd').exists() else 0

def explore(prop, strategy, examples, minutes, kind):
    "Runs `prop` on examples of the strategy: the same ones, or new ones for some minutes"
    def one(example):
        with tempfile.TemporaryDirectory() as folder, guarded():
            here, tempfile.tempdir = Path(folder)/'here', str(Path(folder)/'temp')
            try:
                for p in (here, tempfile.tempdir): os.mkdir(p)
                COUNTS[kind, prop(here, example) or 'read'] += 1
                assert not os.listdir(tempfile.tempdir), 'a temporary file was left behind'
            finally: tempfile.tempdir = None
    def run(**how):
        given(strategy)(one)
    quiet = dict(database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
    gc.collect()
    before, end, n = open_files(), time.monotonic() + 60*minutes, 0
    while True:
        if minutes: n = int.from_bytes(os.urandom(4), 'big'); print(f'{kind}: --hypothesis-seed={n}')
        how = settings(max_examples=500 if minutes else examples, derandomize=not minutes, **quiet)
        wrapped = how(given(strategy)(one))
        (seed(n)(wrapped) if minutes else wrapped)()
        if time.monotonic() >= end: break
    gc.collect()
    assert open_files() <= before, 'files were left open'

def read(path, fs=None, most=1_000_000, **options):
    "(source, signal) of what can be read, all of it; or (None, the one line of the refusal)"
    try:
        source = open_record(path, fs, **options)
        assert 0 < source.fs < np.inf and source.length > 0, f'{source.length} samples at {source.fs} Hz'
        assert source.length*len(source.leads) <= most, f'{source.length} samples announced where there are some hundred'
        x = source.read(0, source.length)
        source.check()
    except (ValueError, OSError) as e:
        words = str(e)
        assert words.strip() and '\n' not in words.strip(), f'not one line: {words!r}'
        return None, words
    assert x.shape == (source.length, len(source.leads)) and x.dtype == np.float32 and not np.isinf(x).any()
    return source, x

def in_pieces(source, whole, cuts):
    "Is every stretch what stands in the whole?"
    at = sorted({0, source.length, *(round(c*source.length) for c in cuts)})
    for a, b in [*zip(at, at[1:]), *zip(at, at[2:])]: np.testing.assert_array_equal(source.read(a, b), whole[a:b])

def assert_signal(found, wanted, tolerance=0.):
    "Equal within single precision, and within a constant that was taken off where it would have cost digits"
    assert found.shape == wanted.shape
    assert (np.isnan(found) == np.isnan(wanted)).all(), 'other samples are missing'
    for x, y in zip(found.T.astype(float), wanted.T):
        if np.isnan(y).all(): continue
        off = y - x
        middle, reach = np.nanmedian(off), np.nanmax(y) - np.nanmin(y)
        if abs(middle) <= 1e-5*np.nanmax(np.abs(y)) + tolerance: middle = 0.
        else: assert np.spacing(np.float32(np.nanmax(np.abs(y)))) > 2e-5*reach, f'{middle:g} was taken off a signal that has a height of {reach:g}'
        assert np.nanmax(np.abs(off - middle)) <= tolerance + 3e-7*max(np.nanmax(np.abs(x)), 1e-30) + 1e-6*reach


# WFDB

UNITS = ['mV', 'uV', 'µV', 'V', 'nV', 'mmHg', 'adu', None]

@st.composite
def wfdb_signals(draw, fmt, n, per_frame):
    "One signal: (stored numbers, what the header says of it)"
    rng, limit = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), -nothing(fmt) - 1
    x = rng.integers(-limit, limit + 1, (n, per_frame))
    if fmt == '8': x = (rng.integers(-1000, 1000) + np.cumsum(np.r_[0, rng.integers(-128, 128, n*per_frame - 1)])).reshape(n, per_frame)
    elif draw(st.booleans()): x[rng.random(x.shape) < .1] = nothing(fmt)
    return x, dict(gain=draw(st.sampled_from(['200', '.2', '-100', '1000.5', '1e3', '0.0061'])), unit=draw(st.sampled_from(UNITS)),
                   baseline=draw(st.sampled_from([None, 0, -7, 30000])), zero=draw(st.sampled_from([0, 1024])))

def millivolt_signal(x, said, fmt, skew=0):
    "What stands for (frames, samples a frame) numbers, flat"
    zero = said['zero'] if said['baseline'] is None else said['baseline']
    y = np.where(x == nothing(fmt), np.nan, (x - zero)/float(said['gain'])) if fmt != '8' else (x - zero)/float(said['gain'])
    y = np.vstack([y[skew:], np.full((min(skew, len(y)), y.shape[1]), np.nan)])
    return y.ravel()*(millivolts(said['unit'] or 'mV') or 1)

def wfdb_line(file, fmt, x, said, name, skew=0, offset=0):
    "Its line of the header"
    form = fmt + (f'x{x.shape[1]}' if x.shape[1] > 1 else '') + (f':{skew}' if skew else '') + (f'+{offset}' if offset else '')
    gain = said['gain'] + ('' if said['baseline'] is None else f"({said['baseline']})") + (f"/{said['unit']}" if said['unit'] else '')
    return signal_line(file, form, x, gain, name, said['zero'])

@st.composite
def wfdb_records(draw, lengths=st.integers(1, 120), names=None, frames=None):
    "A record of one segment"
    n = draw(lengths)
    frames = frames or draw(st.lists(st.sampled_from([1, 1, 2, 3]), min_size=1, max_size=4))
    files, signals = [], []
    left = list(range(len(frames)))
    while left:
        fmt, many = draw(st.sampled_from(FORMATS)), draw(st.integers(1, len(left)))
        rows, left = left[:many], left[many:]
        if fmt in FLAC and len({frames[i] for i in rows}) > 1: fmt = '16'
        skews = [draw(st.sampled_from([0, 0, 0, 1, 5])) if fmt not in FLAC else 0 for _ in rows]
        files.append(dict(fmt=fmt, rows=rows, offset=draw(st.sampled_from([0, 0, 1, 17])) if fmt not in FLAC else 0, skews=skews))
        signals += [draw(wfdb_signals(fmt, n, frames[i])) for i in rows]
    return dict(n=n, frames=frames, files=files, signals=signals, fs=draw(st.sampled_from([1, 250, 360, 128.5, 1000])), length=draw(st.sampled_from([True, True, False, 0])),
                encoding=draw(st.sampled_from(['utf-8', 'latin-1'])), names=names or [f'lead {c}' for c in 'ABCD'[:len(frames)]], cuts=draw(st.lists(st.floats(0, 1), max_size=6)))

def write_wfdb(folder, r, name='rec'):
    "Writes it; gives what each signal stands for"
    lines, data, wanted = [None]*len(r['frames']), {}, [None]*len(r['frames'])
    for j, f in enumerate(r['files']):
        file, most = f'{name}_{j}.dat', max(f['skews'])
        data[file] = b'\x55'*f['offset'] + pack(f['fmt'], [r['signals'][i][0] for i in f['rows']])
        for i, skew in zip(f['rows'], f['skews']):
            x, said = r['signals'][i]
            lines[i] = wfdb_line(file, f['fmt'], x, said, r['names'][i], skew, f['offset'])
            wanted[i] = millivolt_signal(x, said, f['fmt'], skew)
    certain = r['length'] is True or any(f['fmt'] in FLAC for f in r['files'])
    length = r['n'] if certain or any(f['fmt'] in ('310', '311') for f in r['files']) else r['length'] or None if r['length'] is False else 0
    return write_record(folder, name, r['fs'], lines, length, data, r['encoding']), wanted

def check_wfdb(path, fs, names, frames, wanted, cuts, units=None):
    for k in set(frames):
        rows = [i for i, f in enumerate(frames) if f == k]
        source, x = read(path, lead=names[rows[0]])
        assert source is not None, x
        assert source.fs == fs*k and source.leads == [names[i] for i in rows]
        if units: assert [source.unit_of(j) for j in range(len(rows))] == [units[i] for i in rows]
        assert_signal(x, np.stack([wanted[i] for i in rows], 1))
        in_pieces(source, x, cuts)

def unit_words(unit): return 'mV' if unit is None or millivolts(unit) else unit

def any_wfdb(folder, r):
    path, wanted = write_wfdb(folder, r)
    check_wfdb(path, r['fs'], r['names'], r['frames'], wanted, r['cuts'], [unit_words(s['unit']) for _, s in r['signals']])

@st.composite
def wfdb_segments(draw):
    "A record in segments, of a fixed or a variable layout"
    variable, frames = draw(st.booleans()), draw(st.lists(st.sampled_from([1, 1, 2]), min_size=1, max_size=3))
    names, fs, parts = [f'lead {c}' for c in 'ABC'[:len(frames)]], draw(st.sampled_from([250, 128.5])), []
    for _ in range(draw(st.integers(1, 4))):
        if variable and parts and draw(st.integers(0, 3)) == 0: parts.append(draw(st.integers(1, 50))); continue
        held = sorted(draw(st.sets(st.sampled_from(range(len(names))), min_size=1))) if variable else list(range(len(names)))
        parts.append(draw(wfdb_records(names=[names[i] for i in held], frames=[frames[i] for i in held])) | dict(fs=fs, held=held))
    volts = draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    for p in parts:
        for i, (x, said) in zip(p['held'], p['signals']) if isinstance(p, dict) else (): said['unit'] = said['unit'] if volts[i] and millivolts(said['unit'] or 'mV') else 'mV' if volts[i] else 'mmHg'
    return dict(variable=variable, frames=frames, names=names, fs=fs, parts=parts, cuts=draw(st.lists(st.floats(0, 1), max_size=6)), length=draw(st.booleans()))

def any_segments(folder, r):
    lines, wanted = [], [[] for _ in r['names']]
    if r['variable']:
        write_record(folder, 'layout', r['fs'], [f'~ 0{f"x{k}" if k > 1 else ""} 200/mV 16 0 0 0 0 {n}' for n, k in zip(r['names'], r['frames'])], 0)
        (folder/'layout.hea').write_text(f"layout {len(r['names'])} {r['fs']} 0\n" + ''.join(f'~ 0{f"x{k}" if k > 1 else ""} 200/mV 16 0 0 0 0 {n}\n' for n, k in zip(r['names'], r['frames'])))
        lines.append('layout 0')
    for j, p in enumerate(r['parts']):
        n, here = (p, {}) if isinstance(p, int) else (p['n'], dict(zip(p['held'], write_wfdb(folder, p, f'seg{j}')[1])))
        for i, k in enumerate(r['frames']): wanted[i].append(here.get(i, np.full(n*k, np.nan)))
        lines.append(f'{"~" if isinstance(p, int) else f"seg{j}"} {n}')
    total = sum(p if isinstance(p, int) else p['n'] for p in r['parts'])
    (folder/'rec.hea').write_text(f"rec/{len(lines)} {len(r['names'])} {r['fs']}{f' {total}' if r['length'] else ''}\n" + '\n'.join(lines) + '\n')
    held = {i for p in r['parts'] if isinstance(p, dict) for i in p['held']}
    check_wfdb(folder/'rec', r['fs'], r['names'], r['frames'], [np.concatenate(w) for w in wanted], r['cuts'])


PROPERTIES = dict(
    wfdb=(any_wfdb, wfdb_records(), 60),
    segments=(any_segments, wfdb_segments(), 40),
)

@pytest.mark.parametrize('kind', PROPERTIES)
def test_any(kind, request):
    prop, strategy, examples = PROPERTIES[kind]
    explore(prop, strategy, examples, request.config.getoption('--fuzz')/len(PROPERTIES), kind)
