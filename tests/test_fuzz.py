"""Properties of reading: any form of a file gives its signal back, in any pieces; a damaged one is refused in a line, read as before, or its difference is said.

Always the same examples, and few, unless `--fuzz MINUTES` asks for as many others as that time holds."""
import gc, gzip, os, re, signal, tempfile, time
from collections import Counter
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from difflib import SequenceMatcher
from io import StringIO
from pathlib import Path

import numpy as np, pytest, wfdb
from hypothesis import HealthCheck, assume, given, seed, settings, strategies as st
from numpy.lib import format as npy

from formats import BITS, FLAC, checksum, edf_bytes, nothing, pack, signal_line, text_bytes, write_record
from ganad.commands import scan_main
from ganad.data.ecg import Beats, record_beats, simulated_record
from ganad.data.files import ENDINGS, millivolts, open_record
from ganad.data.toys import simulate_ecg
from ganad.detector import make_detector
from ganad.records import scan_metadata

try: import soundfile
except ImportError: soundfile = None
try: import resource
except ImportError: resource = None # not on Windows: no guard of memory there

COUNTS, SEEDS = Counter(), {} # Examples by kind and by what came of them, and the seeds of each kind; printed at the end
FORMATS = [f for f in BITS if soundfile or f not in FLAC]


# How an example is run

@contextmanager
def guarded(seconds=60, room=1 << 31):
    "No example hangs, nor takes more than two gigabytes"
    def ring(*_): raise AssertionError(f'it hangs: {seconds} s went by')
    if resource is None:
        yield
        return
    limits, old = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, ring)
    held = int(Path('/proc/self/statm').read_text().split()[0])*os.sysconf('SC_PAGE_SIZE') if Path('/proc/self/statm').exists() else None
    if held: resource.setrlimit(resource.RLIMIT_AS, (held + room, limits[1]))
    signal.alarm(seconds)
    try: yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
        resource.setrlimit(resource.RLIMIT_AS, limits)

def open_files(): return len(os.listdir('/proc/self/fd')) if Path('/proc/self/fd').exists() else 0

def explore(prop, strategy, examples, kind, minutes=0., chosen=None):
    "Runs `prop` on examples of the strategy: the same ones, new ones for some minutes, or those of a chosen seed"
    def one(example):
        with tempfile.TemporaryDirectory() as folder, guarded():
            here, tempfile.tempdir = Path(folder)/'here', str(Path(folder)/'temp')
            try:
                for p in (here, tempfile.tempdir): os.mkdir(p)
                COUNTS[kind, prop(here, example) or 'read'] += 1
                assert not os.listdir(tempfile.tempdir), 'a temporary file was left behind'
            finally: tempfile.tempdir = None
    quiet = dict(database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
    gc.collect()
    before, end = open_files(), time.monotonic() + 60*minutes
    if not minutes and chosen is None: settings(max_examples=examples, derandomize=True, **quiet)(given(strategy)(one))()
    while minutes or chosen is not None:
        n = int.from_bytes(os.urandom(4), 'big') if chosen is None else chosen
        SEEDS.setdefault(kind, []).append(n)
        print(f'again: --fuzz-seed {n} -k {kind}')
        seed(n)(settings(max_examples=500, **quiet)(given(strategy)(one)))()
        if chosen is not None or time.monotonic() >= end: break
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
        middle, reach, height = np.nanmedian(off), np.nanmax(y) - np.nanmin(y), np.subtract(*np.nanquantile(y, [.98, .02]))
        if abs(middle) <= 1e-5*np.nanmax(np.abs(y)) + tolerance: middle = 0.
        else: assert np.spacing(np.float32(np.nanmedian(np.abs(y)))) > .9e-4*height, f'{middle:g} was taken off a signal that has a height of {height:g}'
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
        skews = [draw(st.sampled_from([0, 0, 0, 1, 5])) for _ in rows]
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


# Text

ECG = simulate_ecg(duration=4., fs=250., seed=3).signal.astype(float) # mV
CLOCKS = dict(seconds=lambda t: f'{t:.3f}', milliseconds=lambda t: f'{1000*t:.0f}', unix=lambda t: f'{1.7e9 + t:.3f}', nanoseconds=lambda t: f'{5996280000 + round(1e9*t)}',
              iso=lambda t: f'2024-01-01T23:59:{t:06.3f}', space=lambda t: f'2024-01-01 00:00:{t:06.3f}', watch=lambda t: f'0:{t:06.3f}', hours=lambda t: f'13:05:{t:06.3f}', counter=lambda t: f'{250*t:.0f}')
HEADS = ('# made by a program', '#', 'Device: a watch; made 2024', 'Name,A. Person', 'Recorded Date,2024-01-01 12:00:00 +0000', '% x = 1', '', '# a \x85 b', '# "half a quote', 'Comment: 5" wide', '# Sampling Rate (Hz):= 250.00',
         '# {"00:00": {"sensor": ["ECG"], "sampling rate": 250, "label": 3}}', '# {', 'Sample Rate,250 hertz', 'sampling interval = 4 ms')

@st.composite
def texts(draw):
    "A text in some dialect: how it is written, what stands in it"
    pick = lambda *what: draw(st.sampled_from(what))
    n, leads, clock = draw(st.integers(60, 600)), draw(st.integers(1, 3)), pick(None, None, *CLOCKS)
    sep, decimal = pick(',', ';', '\t', '|', ' ', '  ', ', ', '; '), pick('.', '.', ',')
    quoted = draw(st.booleans()) and draw(st.booleans())
    assume(not (sep.strip() == ',' and decimal == ',') or quoted or leads == 1 and not clock)
    assume(not (clock in ('space', 'iso', 'watch', 'hours') and (decimal == ',' or not sep.strip())))
    missing = pick('nan', 'NaN', '-', 'null', '', 'inf') if draw(st.booleans()) else None
    assume(missing != '' or sep.strip() or quoted)
    unit = pick(None, 'mV', 'uV', 'V', 'µV')
    place = pick('name', 'under', 'below') if unit and leads > 1 else pick('name', 'below') # where the unit stands
    assume(place != 'under' or sep.strip() or clock != 'counter') # white space holds no empty word
    encoding = pick('utf-8', 'utf-8', 'utf-8-sig', 'latin-1', 'utf-16', 'utf-16-le')
    head = draw(st.lists(st.sampled_from(HEADS), max_size=4))
    return dict(n=n, leads=leads, clock=clock, sep=sep, decimal=decimal, quoted=quoted, unit=unit, place=place, encoding=encoding, head=head, digits=pick(2, 3, 4, 6), named=unit is not None or draw(st.booleans()),
                end=pick('\n', '\n', '\r\n', '\r'), trailing=sep.strip() != '' and sep.strip() != decimal and draw(st.booleans()), missing=missing, last=draw(st.booleans()),
                packed=draw(st.booleans()), said=draw(st.booleans()), seed=draw(st.integers(0, 2**32 - 1)), offset=pick(0, 0, 0, 5, 1000), name=pick('.csv', '.txt', '.tsv', '.CSV'), cuts=draw(st.lists(st.floats(0, 1), max_size=4)))

def written(r):
    "(bytes, what each lead is in its unit, names)"
    rng, n = np.random.default_rng(r['seed']), r['n']
    scale = {'uV': 1000, 'µV': 1000, 'V': .001, None: 1, 'mV': 1}[r['unit']]
    digits = max(r['digits'], 5) if r['unit'] == 'V' else r['digits']
    first = rng.integers(0, len(ECG) - n + 1)
    x = np.stack([(ECG[first:first + n]*(-1)**i*(1 + .3*i) + rng.normal(0, .02, n))*scale + r['offset'] for i in range(r['leads'])], 1).round(digits)
    if r['missing'] is not None: x[rng.random(x.shape) < .02] = np.nan
    if r['missing'] == '' and not r['clock'] and np.isnan(x[0]).all(): x[0] = np.nanmedian(x).round(digits) # a line without a word below the head ends the head
    if r['missing'] is not None: x[-1] = np.nanmedian(x).round(digits) # a last line that ends early may have been cut
    names = ['II', 'V1', 'aVF'][:r['leads']]
    heads = [f'{a}{" "*bool(r["sep"].strip())}[{r["unit"]}]' if r['unit'] and r['place'] == 'name' else a for a in names]
    rows = [[v if v == v else r['missing'] for v in row] for row in x.tolist()]
    word = lambda v: v if isinstance(v, str) else f'{v:.{digits}f}'.replace('.', r['decimal'])
    rows, units = [list(map(word, row)) for row in rows], [r['unit'] or '']*r['leads']
    if r['clock']:
        time = [CLOCKS[r['clock']](i/250) for i in range(n)]
        rows = [[t if '-' in t or ':' in t else t.replace('.', r['decimal']), *row] for t, row in zip(time, rows)]
        heads, units = [dict(milliseconds='Time (ms)', nanoseconds='sensor timestamp [ns]', counter='nSeq', unix='timestamp').get(r['clock'], 'Time') if r['sep'].strip() else 'Time', *heads], [dict(milliseconds='ms', nanoseconds='ns', counter='').get(r['clock'], 's'), *units]
    quote = (lambda w: f'"{w}"') if r['quoted'] else (lambda w: w)
    join = lambda words: r['sep'].join(map(quote, words)) + (r['sep'] if r['trailing'] else '')
    head = list(r['head'])
    if r['unit'] and r['place'] == 'below': head.append(f'Unit: {r["unit"]}')
    if r['named']:
        head.append(join(heads))
        if r['unit'] and r['place'] == 'under': head.append(join(units))
    raw = (r['end'].join([*head, *map(join, rows)]) + r['end']*r['last'])
    return raw, x, names

def any_text(folder, r):
    raw, x, names = written(r)
    try: raw = raw.encode(r['encoding'])
    except UnicodeEncodeError: assume(False)
    path = folder/f"a{r['name']}{'.gz'*r['packed']}"
    path.write_bytes(gzip.compress(raw, mtime=0) if r['packed'] else raw)
    timed = r['clock'] not in (None, 'counter') or any('250' in h and 'ampl' in h for h in r['head']) or 'sampling interval = 4 ms' in r['head']
    source, found = read(path, None if timed and not r['said'] else 250)
    thousands = r['quoted'] and r['decimal'] == ',' and r['digits'] == 3 # -35,860: nobody can tell
    if source is None and thousands and 'a mark for thousands' in str(found): return 'could be thousands, refused'
    assert source is not None, found
    # 0,11 and 0,15 may be one column of fractions or two of whole numbers if no name stands above and no zero behind a comma: that it was read as two must be said
    if (r['leads'], r['clock'], r['decimal'], r['quoted'], r['named']) == (1, None, ',', False, False) and any('decimal comma' in note for note in source.notes): return 'could be two columns, said'
    assert source.fs == 250 and all('last column' in note for note in source.notes if r['missing'] is not None), source.notes
    if r['named']: assert source.leads == names, source.leads
    assert all(source.unit_of(i) == ('mV' if r['unit'] else 'units of the file') for i in range(len(names))), source.unit
    x[np.isinf(x)] = np.nan
    assert_signal(found, x*(millivolts(r['unit'] or 'mV')))
    in_pieces(source, found, r['cuts'])


# EDF and BDF

@st.composite
def edfs(draw):
    pick, bdf = lambda *what: draw(st.sampled_from(what)), draw(st.booleans())
    records, least, most = draw(st.integers(1, 8)), *draw(st.sampled_from([(-32768, 32767), (-2048, 2047), (0, 4095), (-32767, 32767)] + [(-2**23, 2**23 - 1)]*bdf))
    signals = [dict(k=draw(st.integers(1, 50)), unit=pick('mV', 'uV', 'µV', 'V', 'mmHg', ''), physical=pick((-5, 5), (5, -5), (-100.5, 900), (0, 1), (-3276.8, 3276.7)), seed=draw(st.integers(0, 2**32 - 1))) for _ in range(draw(st.integers(1, 3)))]
    return dict(bdf=bdf, records=records, digital=(least, most), signals=signals, duration=pick(1, 1, .5, .1, 2, 10, 60, '1.0', .333333, 0.04), said=pick(True, True, -1), plus=draw(st.booleans()), digits=pick(3, 4, 6),
                gap=pick(False, False, True), more=pick(0, 0, 0, 1, 7), cuts=draw(st.lists(st.floats(0, 1), max_size=5)), name=pick('.edf', '.EDF', '.rec'))

def any_edf(folder, r):
    (least, most), duration = r['digital'], float(r['duration'])
    stored = [np.random.default_rng(s['seed']).integers(least, most + 1, (r['records'], s['k'])) for s in r['signals']]
    finest = duration/max(s['k'] for s in r['signals'])
    onsets, gap = duration*np.arange(r['records']), r['plus'] and r['gap'] and r['records'] > 2
    if gap: onsets[2:] += 3*duration
    while .5*10**-r['digits'] > .4*finest: r = r | dict(digits=r['digits'] + 1)
    labels = ['ECG I', 'ECG II', 'V3'][:len(stored)]
    raw = edf_bytes(stored, r['duration'], labels, [s['unit'] for s in r['signals']], r['digital'], [s['physical'] for s in r['signals']], None if r['said'] is True else -1, r['bdf'],
                    [f"{t:.{r['digits']}f}".rstrip('0').rstrip('.') for t in onsets] if r['plus'] else None)
    path = folder/f"a{'.bdf' if r['bdf'] else r['name']}"
    path.write_bytes(raw + b'\0'*(r['more'] if r['said'] is True else 0))
    for k in {s['k'] for s in r['signals']}:
        rows = [i for i, s in enumerate(r['signals']) if s['k'] == k]
        source, x = read(path, lead=labels[rows[0]])
        if gap:
            assert source is None and 'interrupted' in x, x
            continue
        assert source is not None, x
        assert abs(source.fs*duration/k - 1) < 1e-9 and source.leads == [labels[i] for i in rows]
        wanted = []
        for i in rows:
            s = r['signals'][i]
            (low, high), factor = s['physical'], millivolts(s['unit'])
            wanted.append(((stored[i] - least)*(high - low)/(most - least) + low).ravel()*(factor or 1))
        assert [source.unit_of(j) for j in range(len(rows))] == ['mV' if millivolts(r['signals'][i]['unit']) else r['signals'][i]['unit'] or 'units of the file' for i in rows]
        assert_signal(x, np.stack(wanted, 1))
        in_pieces(source, x, r['cuts'])
    if gap: return 'refused, as it must be'


# Arrays

@st.composite
def arrays(draw):
    pick = lambda *what: draw(st.sampled_from(what))
    return dict(n=draw(st.integers(10, 400)), leads=draw(st.integers(0, 4)), kind=pick('u1', 'i1', '<i2', '>i2', 'u2', 'i4', 'u4', 'i8', 'u8', 'f2', '<f4', '>f4', 'f8', 'g'), turned=draw(st.booleans()), form=pick('.npy', '.npz', 'packed.npz', '.mat', 'array', 'list', 'masked', '.NPY'),
                order=pick('C', 'F'), seed=draw(st.integers(0, 2**32 - 1)), holes=pick(0, 0, .05), offset=pick(0, 0, 8e6), rate=pick('fs', 'Fs', 'sampling_rate', 'freq'), shape=pick((), (1,), (1, 1)), cuts=draw(st.lists(st.floats(0, 1), max_size=5)))

def any_array(folder, r):
    rng, shape, kind = np.random.default_rng(r['seed']), (r['n'], r['leads']) if r['leads'] else (r['n'],), np.dtype(r['kind'])
    if r['form'] in ('.mat', 'list') and kind.char == 'g': kind = np.dtype('f8')
    if r['form'] == '.mat' and kind.char == 'e': kind = np.dtype('f4')
    if kind.kind == 'f':
        x = rng.normal(size=shape)*(1 if r['offset'] else 3) + (r['offset'] if kind.itemsize > 4 else 0)
        x[rng.random(shape) < r['holes']] = rng.choice([np.nan, np.inf, -np.inf])
    else: x = rng.integers(max(np.iinfo(kind).min, -2**31), min(np.iinfo(kind).max, 2**31), shape)
    x = np.asarray(x.astype(kind), order=r['order'])
    wanted = x.astype(float)
    given_x = x.T if r['turned'] and x.ndim == 2 else x
    path, form = folder/f"a{r['form']}", r['form'].removeprefix('packed')
    fs, said = np.full(r['shape'], 250.), 250
    if form.lower() == '.npy': np.save(folder/'a.npy', given_x); (folder/'a.npy').rename(path)
    elif form == '.npz': (np.savez if form == r['form'] else np.savez_compressed)(path, ecg=given_x, **{r['rate']: fs}); said = None
    elif form == '.mat':
        from scipy.io import savemat
        savemat(path, dict(val=given_x) | {r['rate']: fs}, do_compression=r['holes'] > 0)
        said = None
    elif form == 'list': path = given_x.tolist()
    elif form == 'masked':
        mask = rng.random(given_x.shape) < .1
        path = np.ma.array(given_x, mask=mask)
        wanted[mask.T if given_x is not x else mask] = np.nan
    else: path = given_x
    source, found = read(path, said)
    assert source is not None, found
    assert source.fs == 250
    wanted[np.isinf(wanted)] = np.nan
    assert_signal(found, wanted.reshape(r['n'], -1))
    in_pieces(source, found, r['cuts'])


# Damage. What may differ without a word is what nothing in the format could tell:
#   - WFDB: the head's rate, gains, baselines, units, names and skews; samples that still add up to the checksum
#   - EDF: every sample, and in the head the ranges, dimensions and labels, and the duration of a record (the rate)
#   - text: digits, and a last line that is cut; a line more or less (each byte spoils three numbers at most)
#   - .npy: every number, and its kind where that is as long; uncompressed .mat: all but its end
# gzip, .npz and FLAC carry sums of their own: nothing may differ.

def _wave(n=600, gain=200): return np.rint(ECG[:n]*gain).astype(int)

def _wfdb(folder, fmt='16', k=1, length=600, leads=2):
    x = [_wave()[:, None], -_wave()[::-1, None]][:leads]
    x = [a.reshape(-1, k) for a in x]
    form = fmt + (f'x{k}' if k > 1 else '')
    lines = [signal_line('a.dat', form, a, name=n) for a, n in zip(x, ('II', 'V1'))]
    write_record(folder, 'a', 250, lines, len(x[0]) if length else None, {'a.dat': pack(fmt, x)})
    wfdb.wrann('a', 'atr', np.arange(10, 590, 50), symbol=['N']*12, write_dir=str(folder))
    return 'a.hea'

def _segments(folder, variable=False):
    lines = ['layout 0']*variable
    if variable: (folder/'layout.hea').write_text('layout 1 250 0\n~ 0 200/mV 16 0 0 0 0 II\n')
    for j, part in enumerate(np.split(_wave(), 3)):
        if variable and j == 1: lines.append('~ 200'); continue
        write_record(folder, f's{j}', 250, [signal_line(f's{j}.dat', '16', part[:, None])], 200, {f's{j}.dat': pack('16', [part[:, None]])})
        lines.append(f's{j} 200')
    (folder/'a.hea').write_text(f'a/{len(lines)} 1 250 600\n' + '\n'.join(lines) + '\n')
    return 'a.hea'

def _put(folder, name, raw): (folder/name).write_bytes(raw); return name

def _edf(folder, name='a.edf', **kw): return _put(folder, name, edf_bytes([_wave(gain=3000).reshape(6, 100), -_wave(gain=3000).reshape(6, 100)], .4, ['ECG II', 'ECG V1'], patient='A. Person', bdf=name == 'a.bdf', **kw))

def _text(folder, name='a.csv', columns=2, clock=False, head=(), **kw):
    x = np.stack([ECG[:600], -ECG[:600][::-1]], 1)[:, :columns]
    rows = [[f'{i/250:.3f}'.replace('.', kw.get('decimal', '.')), *r] if clock else r for i, r in enumerate(x.tolist())]
    return _put(folder, name, text_bytes(rows, head, packed=name.endswith('.gz'), **kw))

def _array(folder, name='a.npy', kind='f8'):
    x = np.stack([ECG[:600], -ECG[:600][::-1]], 1)
    if name == 'a.npy': np.save(folder/name, x if kind == 'f8' else (1000*x).astype(kind))
    elif name == 'a.mat':
        from scipy.io import savemat
        savemat(folder/name, dict(val=x, fs=250.), do_compression=kind == 'packed')
    else: (np.savez_compressed if kind == 'packed' else np.savez)(folder/name, ecg=x, fs=250.)
    return name

WHOLE = dict(
    wfdb=_wfdb, wfdb_212=lambda f: _wfdb(f, '212'), wfdb_frames=lambda f: _wfdb(f, '16', 2, leads=1), wfdb_8=lambda f: _wfdb(f, '8', leads=1), wfdb_nolen=lambda f: _wfdb(f, '61', length=0),
    segments=_segments, variable=lambda f: _segments(f, True), edf=_edf, bdf=lambda f: _edf(f, 'a.bdf'), edf_plus=lambda f: _edf(f, onsets=[round(.4*i, 1) for i in range(6)]), edf_open=lambda f: _edf(f, records=-1),
    csv=_text, csv_one=lambda f: _text(f, columns=1, head=['ECG']), csv_clock=lambda f: _text(f, clock=True, columns=1, head=['Zeit [s];EKG [mV]'], sep=';', decimal=','),
    csv_comma=lambda f: _text(f, columns=1, decimal=','), signals=lambda f: _text(f, 'a.txt', head=['# OpenSignals Text File Format', '# {"00:00": {"sensor": ["ECG", "ECG"], "column": ["A1", "A2"], "sampling rate": 250, "label": ["A1", "A2"]}}', '# EndOfHeader'], sep='\t', trailing=True),
    watch=lambda f: _text(f, columns=1, head=['Name,A. Person', 'Recorded Date,2024-01-01 12:00:00 +0000', 'Device,"Watch1,1"', 'Sample Rate,250 hertz', '', 'Lead,Lead I', 'Unit,mV', '']),
    utf16=lambda f: _text(f, 'a.txt', head=['I\tII'], sep='\t', encoding='utf-16'), csv_gz=lambda f: _text(f, 'a.csv.gz'), npy=_array, npy_whole=lambda f: _array(f, kind='<i2'),
    npz=lambda f: _array(f, 'a.npz'), npz_packed=lambda f: _array(f, 'a.npz', 'packed'), mat=lambda f: _array(f, 'a.mat'), mat_packed=lambda f: _array(f, 'a.mat', 'packed'))
if soundfile: WHOLE['wfdb_flac'] = lambda f: _wfdb(f, '516')

SAID = ('csv', 'csv_one', 'csv_comma', 'utf16', 'csv_gz', 'npy', 'npy_whole') # Do not hold their rate
def may_need(name): return 250 if name.lower().endswith(('.csv', '.tsv', '.txt', '.gz', '.npy', '.npz', '.mat')) else None

OPERATIONS = ('flip', 'set', 'cut', 'insert', 'remove', 'double', 'zero', 'number', 'line')
NUMBERS = ['0', '-1', '1', '2', '99999999', '999999999999', '1' + '0'*400, 'nan', 'inf', '-inf', '1e308', '1e-308', '-250', '', ' ', '0x10', '1_0', '٣', '²', '0.5', 'x', '/', '~', '"', ';', '2147483648', '-2147483649', '18446744073709551616']

@st.composite
def damages(draw, kinds=tuple(WHOLE)):
    "A file, and what is done to it: each operation with a place, a length and a value"
    some = st.tuples(st.sampled_from(OPERATIONS), st.floats(0, 1, exclude_max=True), st.integers(1, 12), st.integers(0, 255))
    return dict(kind=draw(st.sampled_from(kinds)), file=draw(st.integers(0, 9)), head=draw(st.booleans()), operations=draw(st.lists(some, min_size=1, max_size=3)))

def head_length(name, raw):
    "Where the numbers begin, so that as much damage goes to what is said of them"
    if name.endswith(('.edf', '.bdf')): return 256*(int(raw[252:256]) + 1)
    if name.endswith('.npy'): return 128
    if name.endswith(('.csv', '.txt')): return min(len(raw), 400)
    return min(len(raw), 300)

def damaged(raw, operations, reach):
    for what, place, n, value in operations:
        i = int(place*min(reach, len(raw)))
        if what == 'flip': raw = raw[:i] + bytes([raw[i] ^ 1 << n % 8]) + raw[i + 1:] if raw else raw
        elif what == 'set': raw = raw[:i] + bytes([value]) + raw[i + 1:]
        elif what == 'cut': raw = raw[:int(place*len(raw))]
        elif what == 'insert': raw = raw[:i] + bytes([value])*n + raw[i:]
        elif what == 'remove': raw = raw[:i] + raw[i + n:]
        elif what == 'double': raw = raw[:i] + raw[i:i + n]*2 + raw[i + n:]
        elif what == 'zero': raw = raw[:i] + bytes(min(n, len(raw) - i)) + raw[i + n:]
        elif what == 'number':
            found = [m for m in re.finditer(rb'-?\d+', raw[:reach])]
            if found:
                m, new = found[int(place*len(found))], NUMBERS[value % len(NUMBERS)].encode()
                raw = raw[:m.start()] + new + raw[m.end() + (max(0, len(new) - len(m[0])) if n % 2 else 0):] # in fields of fixed width, too
        else: # lines of a head: one goes, comes twice, or changes its place with the next
            lines = raw.split(b'\n')
            j = int(place*min(len(lines) - 1, 12))
            lines[j:j + 2] = ([], lines[j:j + 1]*2 + lines[j + 1:j + 2], lines[j:j + 2][::-1])[n % 3]
            raw = b'\n'.join(lines)
    return raw

def affine(found, truth):
    "Is each lead the true one, times something and moved by something?"
    for x, y in zip(found.T, truth.T):
        both = np.isfinite(x) & np.isfinite(y)
        if not both.any(): continue # a gain of zero or infinity: all missing
        slope, off = np.polyfit(y[both], x[both], 1) if np.ptp(y[both]) else (1, 0)
        if np.abs(x[both] - slope*y[both] - off).max() > 1e-3*max(np.ptp(x[both]), 1e-30): return False
    return True

def few_differ(found, truth, most, cut):
    "Are they the same samples in the same order, but for a few, and for what was cut off?"
    a, b = ([tuple(row) for row in np.nan_to_num(x.astype(float), nan=1e9).round(4 if np.nanmax(np.abs(truth)) < 100 else 1).tolist()] for x in (found, truth))
    matched = sum(m.size for m in SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks())
    return matched >= len(a) - most and (cut or matched >= len(b) - most)

def allowed(kind, name, raw, new, source, x, truth, operations, path):
    "May this difference stand without a word? See above"
    cut, same = any(o[0] == 'cut' for o in operations), x.shape == truth.shape
    if name.endswith('.hea'):
        tails = [line.split(b' ', 4)[-1] for line in raw.splitlines()[1:] if len(line.split()) > 4]
        skews = [int(s) for s in re.findall(rb':0*(\d{1,3})\b', new)]
        if kind in ('segments', 'variable') and same: # another order of segments, or another gain of one
            return all(any(affine(x[i:i + 200], truth[j:j + 200]) for j in (0, 200, 400)) for i in (0, 200, 400))
        return not all(t in new for t in tails) or same and (affine(x, truth) or any(affine(x[:-k], truth[k:]) for k in skews if 0 < k < 500))
    if name.endswith('.dat'):
        stored = np.where(np.isnan(x), nothing('212' if kind == 'wfdb_212' else '16'), np.rint(x.astype(float)*200))
        return same and all(checksum(a) == checksum(np.rint(b*200)) for a, b in zip(stored.T, truth.T.astype(float)))
    if name.endswith(('.edf', '.bdf')):
        if len(raw) != len(new): return kind == 'edf_open' and len(new) % 400 == len(raw) % 400 # as many bytes as whole records have
        head = head_length(name, raw)
        return same and (affine(x, truth) or raw[head:] != new[head:])
    if name.endswith(('.csv', '.txt')):
        if cut and len(x) < 20: return True
        most = 12*len(operations) + 60*sum(o[0] == 'number' for o in operations) # of 400 digits, in the place of as many bytes
        return x.shape[1] == truth.shape[1] and (few_differ(x, truth, most, cut) or same and affine(x, truth))
    if name.endswith('.npy'):
        with path.open('rb') as f:
            major = npy.read_magic(f)[0]
            shape, _, kind = (npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0)(f)
            return f.tell() + int(np.prod(shape))*kind.itemsize == len(new)
    return kind == 'mat' and not cut

def any_damage(folder, r):
    name = WHOLE[r['kind']](folder)
    fs = 250 if r['kind'] in SAID else None
    true, truth = read(folder/name, fs)
    assert true is not None, truth
    files = sorted(p for p in folder.iterdir() if p.is_file())
    file = files[r['file'] % len(files)]
    raw = file.read_bytes()
    new = damaged(raw, r['operations'], head_length(file.name, raw) if r['head'] else len(raw))
    file.write_bytes(new)
    source, x = read(folder/name, fs)
    assert sorted(p for p in folder.iterdir()) == files, 'a file was left behind'
    if source is not None and source.beats:
        try: at = source.beats('atr'); assert at.dtype == np.int64 and at.ndim == 1
        except (ValueError, OSError) as e: assert '\n' not in str(e)
    if source is None: return f'{r["kind"]}: refused'
    if set(source.notes) - set(true.notes): return f'{r["kind"]}: read, and a word said'
    if x.shape == truth.shape and np.allclose(x, truth, rtol=1e-6, atol=1e-6, equal_nan=True) and (source.fs == true.fs or file.suffix in ('.hea', '.edf', '.bdf', '.csv', '.txt')): return f'{r["kind"]}: read as before'
    assert allowed(r['kind'], file.name, raw, new, source, x, truth, r['operations'], file), f'{r["kind"]}, {file.name}: another signal without a word'
    return f'{r["kind"]}: what nothing could tell'


# Files that are not what they are called

@st.composite
def strangers(draw):
    return dict(kind=draw(st.sampled_from(list(WHOLE))), file=draw(st.integers(0, 9)), ending=draw(st.sampled_from(['.hea', '.dat', '.atr', '.csv.gz', '.EDF', '', '.xyz', *ENDINGS])))

def any_stranger(folder, r):
    "A whole file under another ending: refused in words, or its own signal"
    (folder/'its').mkdir()
    name = WHOLE[r['kind']](folder/'its')
    true, truth = read(folder/'its'/name, 250 if r['kind'] in SAID else None)
    files = sorted((folder/'its').iterdir())
    file = files[r['file'] % len(files)]
    path = folder/f"b{r['ending']}"
    path.write_bytes(file.read_bytes())
    source, x = read(path, may_need(path.name))
    if source is None: return 'refused'
    if path.name.endswith(('.csv', '.txt', '.tsv', '.csv.gz')) and len(x) < 10: return 'a few lines of numbers'
    assert np.array_equal(x, truth, equal_nan=True) or set(source.notes) - set(true.notes), f'{file.name} as {path.name}: {source}, {source.notes}'
    return 'read as what it is'

@st.composite
def swaps(draw): return dict(kinds=draw(st.lists(st.sampled_from(list(WHOLE)), min_size=2, max_size=2, unique=True)), files=[draw(st.integers(0, 9)), draw(st.integers(0, 9))])

def any_swap(folder, r):
    "Two files change places"
    for i, kind in enumerate(r['kinds']): (folder/str(i)).mkdir()
    names = [WHOLE[kind](folder/str(i)) for i, kind in enumerate(r['kinds'])]
    signals = [read(folder/str(i)/name, may_need(name))[1] for i, name in enumerate(names)]
    files = [sorted((folder/str(i)).iterdir()) for i in (0, 1)]
    one, two = (f[n % len(f)] for f, n in zip(files, r['files']))
    a, b = one.read_bytes(), two.read_bytes()
    one.write_bytes(b); two.write_bytes(a)
    came = []
    for i, name in enumerate(names):
        source, x = read(folder/str(i)/name, may_need(name))
        if source is None: came.append('refused'); continue
        if name.endswith(('.csv', '.txt', '.csv.gz')) and len(x) < 10: came.append('a few lines of numbers'); continue
        same = [s for s in signals if x.shape == s.shape and np.allclose(x, s, equal_nan=True, atol=.01) or x.shape[0] == s.shape[0] and np.allclose(x[:, 0], s[:, 0], atol=.01)]
        assert same or source.notes, f'{one.name} of {r["kinds"][0]} and {two.name} of {r["kinds"][1]} changed places: {source}'
        came.append('read')
    return ', '.join(sorted(came))

@st.composite
def noises(draw):
    raw = draw(st.one_of(st.binary(max_size=600), st.text(max_size=300).map(lambda t: t.encode('utf-8', 'replace')), st.text('0123456789.,;-eE \t\n"\'#:/nai', max_size=600).map(str.encode),
                         st.lists(st.text('0123456789.-', min_size=1, max_size=8), max_size=60).map(lambda w: ' '.join(w).encode())))
    start = draw(st.sampled_from([b'', b'0       ', b'\xffBIOSEMI', b'\x93NUMPY\x01\x00v\x00', b'PK\x03\x04', b'MATLAB 5.0 MAT-file', b'\x1f\x8b\x08', b'fLaC', b'b 1 250 100\nb.dat 16 200 ', b'b/2 1 250 ', b'\xff\xfe', b'\xef\xbb\xbf', b'\x89HDF']))
    return dict(raw=start + raw, ending=draw(st.sampled_from(['.hea', '.csv.gz', *ENDINGS])), more=draw(st.booleans()))

def any_noise(folder, r):
    "Bytes at random: refused in words, or read as what they say"
    path = folder/f"b{r['ending']}"
    path.write_bytes(r['raw'])
    if r['more']: (folder/'b.dat').write_bytes(r['raw'][::-1])
    source, x = read(path, may_need(path.name))
    return f"{r['ending']}: {'refused' if source is None else 'read'}"


# A scan of what is damaged

LONG = simulate_ecg(duration=40., fs=250., seed=4).signal.astype(float)
FORMS = dict(
    wfdb=lambda f: write_record(f, 'a', 250, [signal_line('a.dat', '16', np.rint(200*LONG).astype(int)[:, None])], len(LONG), {'a.dat': pack('16', [np.rint(200*LONG).astype(int)[:, None]])}).name,
    edf=lambda f: _put(f, 'a.edf', edf_bytes([np.rint(6000*LONG).astype(int).reshape(40, 250)], labels=['ECG II'], patient='A. Person')),
    csv=lambda f: _put(f, 'a.csv', text_bytes(LONG[:, None].tolist())), clock=lambda f: _put(f, 'a.txt', text_bytes([[f'{4*i}', v] for i, v in enumerate(LONG.tolist())], ['Time [ms];II [mV]'], sep=';')),
    npy=lambda f: (np.save(f/'a.npy', LONG), 'a.npy')[1])
RATES = [None, None, '250', '1e-3', '1', '79', '80', '99999', '1e5']

@st.composite
def scans(draw):
    return dict(kind=draw(st.sampled_from(list(FORMS))), rate=draw(st.sampled_from(RATES)), annotated=draw(st.booleans()), operations=draw(damages())['operations'][:draw(st.integers(0, 2))], file=draw(st.integers(0, 3)), head=draw(st.booleans()),
                waves=draw(st.sampled_from([None, None, 'flat', 'nan', 'spike', 'steps', 'huge', 'tiny', 'noise'])))

def any_scan(folder, r):
    "Status 0 and three files, or 1 or 2, one line, and nothing written"
    name = FORMS[r['kind']](folder)
    if r['kind'] == 'wfdb': wfdb.wrann('a', 'atr', np.arange(100, 9900, 200), symbol=['N']*49, write_dir=str(folder))
    if r['kind'] == 'npy' and r['waves']:
        x, n = LONG.copy(), np.arange(len(LONG))
        x = dict(flat=x*0, nan=np.where(n % 7 == 0, np.nan, x), spike=np.where(n == 5000, 1e30, x), steps=(n // 100 % 2).astype(float), huge=x*1e30, tiny=x*1e-30, noise=np.random.default_rng(0).normal(size=len(x)))[r['waves']]
        np.save(folder/'a.npy', x)
    files = sorted(folder.iterdir())
    file = files[r['file'] % len(files)]
    raw = file.read_bytes()
    file.write_bytes(damaged(raw, r['operations'], head_length(file.name, raw) if r['head'] else len(raw)))
    rate = r['rate'] if r['kind'] in ('csv', 'npy', 'clock') else None # the others hold theirs
    if rate is None and r['kind'] in ('csv', 'npy'): rate = '250'
    call = [str(folder/name), '--detector', str(DETECTOR), '--out', str(folder/'out'), *(['--fs', rate] if rate else []), *(['--beats', 'annotated'] if r['annotated'] and r['kind'] == 'wfdb' else [])]
    said, wrong = StringIO(), StringIO()
    with redirect_stdout(said), redirect_stderr(wrong): status = scan_main(call)
    said, wrong = said.getvalue(), wrong.getvalue()
    assert status in (0, 1, 2) and 'Traceback' not in wrong
    if status == 0: assert sorted(p.suffix for p in (folder/'out').iterdir()) == ['.csv', '.ganad', '.html'] and 'Person' not in said + (folder/'out'/'report.html').read_text()
    else: assert not said and not (folder/'out').exists() and wrong.startswith(('ganad-scan: ', 'usage')) and (status == 2 or wrong.count('\n') == 1) and 'Person' not in wrong, wrong
    return f"{r['kind']}: {['scanned', 'refused', 'a wrong call'][status]}"

@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    global DETECTOR
    beats = Beats.concat([record_beats(simulated_record(r, seconds=60)) for r in ('101', '106', '108', '112')])
    DETECTOR = tmp_path_factory.mktemp('detector')
    fitted = make_detector('pca').fit(beats.x[beats.y == 0])
    fitted.metadata.update(scan_metadata(beats))
    fitted.save(DETECTOR)


PROPERTIES = dict(
    wfdb=(any_wfdb, wfdb_records(), 60),
    segments=(any_segments, wfdb_segments(), 40),
    text=(any_text, texts(), 80),
    edf=(any_edf, edfs(), 60),
    arrays=(any_array, arrays(), 60),
    damage=(any_damage, damages(), 400),
    stranger=(any_stranger, strangers(), 60),
    swap=(any_swap, swaps(), 60),
    noise=(any_noise, noises(), 200),
    scan=(any_scan, scans(), 60),
)

@pytest.mark.parametrize('kind', PROPERTIES)
def test_any(kind, request, detector):
    prop, strategy, examples = PROPERTIES[kind]
    explore(prop, strategy, examples, kind, request.config.getoption('--fuzz')/len(PROPERTIES), request.config.getoption('--fuzz-seed'))
