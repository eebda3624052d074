"Contracts of ganad.data.files: each form of file with its right answer, refusals in a line, and nobody's name in what comes of them"
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np, pandas as pd, pytest, wfdb

from formats import edf_bytes, pack, signal_line, text_bytes, write_record
from ganad.commands import scan_main
from ganad.data import files
from ganad.data.ecg import Beats, record_beats, simulated_record
from ganad.data.files import RecordError, open_record
from ganad.data.toys import simulate_ecg
from ganad.detector import make_detector
from ganad.records import scan, scan_metadata

FS, SECONDS = 250, 120
SIM = simulate_ecg(duration=SECONDS, fs=FS, subject=3, seed=5)
MV, BEATS = SIM.signal.astype(float), SIM.sample
TIME = np.arange(len(MV))/FS
STORED = np.rint(200*MV).astype(int)

@dataclass
class Case:
    "A file, and what reading it should come to"
    write: object # Takes a folder, gives the path
    said: float = None # Hz, where the user has to say it
    scale: float = 1. # The signal read, over millivolts
    offset: float = 0.
    step: float = .005 # Between two values that the file can hold
    unit: str = 'mV'
    leads: tuple = ('II',)
    rate: float = FS
    length: int = len(MV)
    column: int = 0
    notes: str = '' # A word that the notes must hold; '' for no note

CASES = {}
def case(**options):
    def keep(write): CASES[write.__name__.strip('_')] = Case(write, **options); return write
    return keep

def one_file(folder, name, lines, data, length=len(MV), fs=FS, **kw): return write_record(folder, name, fs, lines, length, {f'{name}.dat': data}, **kw)
def raw(x=STORED): return pack('16', [np.asarray(x).reshape(-1, 1)])
def line(name, x=STORED, fmt='16', gain='200/mV', lead='II'): return signal_line(f'{name}.dat', fmt, np.asarray(x), gain, lead)


# WFDB

@case()
def plain(f): return one_file(f, 'plain', [line('plain')], raw())
@case(leads=('signal',))
def no_description(f): return one_file(f, 'a', ['a.dat 16 200'], raw())
@case()
def no_length(f): return one_file(f, 'a', [line('a')], raw(), None)
@case()
def length_zero(f): return one_file(f, 'a', [line('a')], raw(), 0)
@case()
def two_samples_a_frame(f): return one_file(f, 'a', [line('a', fmt='16x2')], raw(), len(MV)//2, FS/2)
@case()
def a_frame_a_second(f): return one_file(f, 'a', [line('a', fmt=f'16x{FS}')], raw(), SECONDS, 1)
@case(leads=('II',))
def a_slow_lead_beside(f):
    slow = np.arange(len(MV)//5).reshape(-1, 1)
    return one_file(f, 'a', [line('a', slow, lead='RESP'), signal_line('a.dat', '16x5', STORED.reshape(-1, 5))], pack('16', [slow, STORED.reshape(-1, 5)]), len(slow), FS/5)
@case()
def volts(f): return one_file(f, 'a', [line('a', gain='200000/V')], raw())
@case()
def microvolts(f): return one_file(f, 'a', [line('a', gain='.2/uV')], raw())
@case()
def micro_sign(f): return one_file(f, 'a', [line('a', gain='.2/µV')], raw())
@case()
def micro_sign_latin(f): return one_file(f, 'a', [line('a', gain='.2/µV')], raw(), encoding='latin-1')
@case()
def nanovolts(f): return one_file(f, 'a', [line('a', gain='.0002/nV')], raw())
@case(unit='adu', scale=200, step=1)
def converter_units(f): return one_file(f, 'a', [line('a', gain='1/adu')], raw())
@case(notes='gain')
def no_gain(f): return one_file(f, 'a', ['a.dat 16'], raw())
CASES['no_gain'].leads = ('signal',)
@case()
def format_8(f): return one_file(f, 'a', [line('a', fmt='8')], pack('8', [STORED.reshape(-1, 1)]))
@case(leads=('II', 'II (2)'))
def a_name_twice(f):
    x = [STORED[:, None], -STORED[:, None]]
    return one_file(f, 'a', [line('a'), line('a', -STORED)], pack('16', x))
@case()
def name_not_ascii(f): return one_file(f, 'größe', [line('größe')], raw())

def in_segments(f, units=('mV', 'uV'), length=len(MV), layout=False, gap=0):
    parts = np.array_split(STORED, 2)
    for name, part, unit in zip('pq', parts, units): one_file(f, name, [line(name, part, gain=f"{dict(mV=200, uV=.2, mmHg=1)[unit]}/{unit}")], raw(part), len(part))
    lines = [f'p {len(parts[0])}', *([f'~ {gap}'] if gap else []), f'q {len(parts[1])}']
    if layout:
        (f/'layout.hea').write_text(f'layout 2 {FS} 0\n~ 0 200/mV 16 0 0 0 0 II\n~ 0 1/mmHg 16 0 0 0 0 ABP\n')
        lines = ['layout 0', *lines]
    (f/'a.hea').write_text(f"a/{len(lines)} {1 + layout} {FS}{'' if length is None else f' {length + gap}'}\n" + '\n'.join(lines) + '\n')
    return f/'a'
@case()
def segments_of_two_units(f): return in_segments(f)
@case()
def segments_without_a_length(f): return in_segments(f, length=None)
@case(leads=('II', 'ABP'))
def a_variable_layout(f): return in_segments(f, layout=True)


# EDF

def edf(f, name='a.edf', duration=1, unit='mV', scale=1., label='ECG II', **kw):
    k = round(FS*duration)
    return put(f, name, edf_bytes([np.rint(MV/5*32767).astype(int).reshape(-1, k)], duration, [label], unit, (-32767, 32767), (-5*scale, 5*scale), **kw))
def put(f, name, content): (f/name).write_bytes(content); return f/name
EDF = dict(step=5/32767, leads=('ECG II',))

@case(**EDF)
def edf_plain(f): return edf(f)
@case(**EDF)
def edf_micro_sign(f): return edf(f, unit='µV', scale=1000)
@case(**EDF)
def edf_endless(f): return edf(f, records=-1)
@case(**EDF)
def edf_half_seconds(f): return edf(f, 'a.EDF', .5, 'uV', 1000)
@case(**EDF)
def edf_rounded_onsets(f): return edf(f, duration=.12, onsets=[f'{.12*i + .001*(i % 2):.3f}' for i in range(1000)]) # off by a quarter of a sample
@case(**EDF | dict(notes='bytes'))
def edf_more_bytes(f): path = edf(f); path.write_bytes(path.read_bytes() + b'\0'*7); return path
@case(step=10/2**24, leads=('ECG II',))
def bdf(f): return put(f, 'a.bdf', edf_bytes([np.rint(MV/5*8388607).astype(int).reshape(-1, FS)], 1, ['ECG II'], 'mV', (-8388607, 8388607), (-5, 5), bdf=True))
@case(**EDF)
def edf_of_two_rates(f):
    return put(f, 'a.edf', edf_bytes([np.zeros((SECONDS, 10), int), np.rint(MV/5*32767).astype(int).reshape(-1, FS)], 1, ['Resp', 'ECG II'], ['', 'mV'], (-32767, 32767), (-5, 5)))


# Text

def text(f, name='a.csv', columns=(MV,), head=(), **kw): return put(f, name, text_bytes(list(map(list, zip(*columns))), head, **kw))
def times(form): return [form(t) for t in TIME]
TEXT = dict(step=1e-4, unit='units of the file', leads=('signal',))

@case(said=FS, **TEXT)
def one_column(f): return text(f)
@case(said=FS, **TEXT)
def decimal_commas(f): return text(f, decimal=',')
@case(said=FS, **TEXT | dict(leads=('II',), unit='mV', scale=1))
def decimal_commas_below_a_unit(f): return text(f, decimal=',', head=['II [µV]'], columns=[1000*MV], digits=2)
@case(**TEXT | dict(leads=('EKG',), unit='mV'))
def commas_and_times(f): return text(f, columns=[times(lambda t: f'{t:.4f}'.replace('.', ',')), MV], head=['Zeit [s];EKG [mV]'], sep=';', decimal=',')
@case(said=FS, **TEXT)
def times_without_a_name(f): return text(f, columns=[times(lambda t: f'{t:.3f}'), MV])
@case(**TEXT | dict(unit='mV'))
def milliseconds(f): return text(f, columns=[times(lambda t: f'{1000*t:.0f}'), MV], head=['Time (ms),mV'])
@case(said=FS, **TEXT)
def trailing_separators(f): return text(f, trailing=True)
@case(said=FS, **TEXT | dict(leads=('Ableitung II',), unit='mV'))
def latin_1(f): return text(f, columns=[1000*MV, ['1']*len(MV)], head=['Ableitung II [µV],Gerät'], digits=1, encoding='latin-1')
@case(said=FS, **TEXT)
def utf_16(f): return text(f, encoding='utf-16')
@case(**TEXT | dict(unit='mV', leads=('Lead I',)))
def watch(f):
    head = ['Name,Vorname Nachname', 'Date of Birth,1 Jan 1970', 'Recorded Date,2024-01-01 12:00:00 +0000', 'Classification,Sinus Rhythm', 'Device,"Watch6,1"', f'Sample Rate,{FS} hertz', '', '', 'Lead,Lead I', 'Unit,µV', '']
    return text(f, columns=[1000*MV], head=head, digits=3)
@case(**TEXT | dict(step=1, scale=100, offset=512, leads=('ECG A1',)))
def open_signals(f):
    head = ['# OpenSignals Text File Format', f'# {{"20:15": {{"sensor": ["ECG"], "column": ["nSeq", "DI", "A1"], "sampling rate": {FS}, "resolution": [4, 1, 10], "label": ["A1"]}}}}', '# EndOfHeader']
    return text(f, 'a.txt', [[str(i % 16) for i in range(len(MV))], ['1']*len(MV), 512 + 100*MV], head, sep='\t', digits=0, trailing=True)
@case(**TEXT | dict(step=.1, scale=200, offset=2048, leads=('ECG',)))
def simple_text(f): return text(f, 'a.txt', [2048 + 200*MV], ['# Simple Text Format', f'# Sampling Rate (Hz):= {FS:.2f}', '# Resolution:= 12', '# Labels:= ECG'], digits=1)
@case(**TEXT | dict(unit='mV', step=.001, leads=('ecg',)))
def strap(f):
    return text(f, 'a.txt', [times(lambda t: f'2024-01-01T00:{int(t)//60:02d}:{t % 60:06.3f}'), times(lambda t: f'{5996280000 + round(1e9*t)}'), times(lambda t: f'{1000*t:.1f}'), 1000*MV],
                ['Phone timestamp;sensor timestamp [ns];timestamp [ms];ecg [uV]'], sep=';', digits=0)
@case(said=FS, **TEXT | dict(unit='mV', leads=('signal',)))
def tabs_and_words(f): return text(f, 'a.tsv', [MV, ['ok']*len(MV)], ['mV\tnote'], sep='\t')
@case(said=FS, **TEXT)
def packed(f): return text(f, 'a.csv.gz', packed=True)
@case(said=FS, **TEXT)
def capitals(f): return text(f, 'A.CSV')


# Arrays

ARRAY = dict(unit='units of the file', leads=('signal',))
def saved(f, x, name='a.npy'): np.save(f/name, x); return f/name
@case(said=FS, step=1e-6, **ARRAY)
def array(f): return saved(f, MV)
@case(said=FS, step=1, scale=200, offset=8_000_000, **ARRAY)
def far_from_zero(f): return saved(f, (8_000_000 + 200*MV).round().astype(np.int32))
@case(step=1e-6, **ARRAY)
def archive(f): np.savez(f/'a.npz', ecg=MV, fs=FS); return f/'a.npz'
@case(step=1e-6, **ARRAY)
def archive_of_lists(f): np.savez_compressed(f/'a.npz', ecg=MV[:, None], fs=[float(FS)]); return f/'a.npz'
@case(step=1e-6, **ARRAY)
def matlab(f):
    from scipy.io import savemat
    savemat(f/'a.mat', dict(val=MV, Fs=float(FS)))
    return f/'a.mat'


# What each comes to

@pytest.fixture(scope='module')
def detector():
    "A small detector of simulated beats, fitted once"
    beats = Beats.concat([record_beats(simulated_record(r, seconds=60)) for r in ('101', '106', '108', '112')])
    fitted = make_detector('pca').fit(beats.x[beats.y == 0])
    fitted.metadata.update(scan_metadata(beats))
    return fitted

@pytest.mark.parametrize('name', CASES)
def test_signal(name, tmp_path):
    c = CASES[name]
    source = open_record(c.write(tmp_path), c.said)
    x = source.read(0, source.length)
    source.check()
    assert source.fs == pytest.approx(c.rate, rel=1e-9) and source.length == c.length and source.leads == list(c.leads)
    assert source.unit_of(c.column) == c.unit and (c.notes in ' '.join(source.notes) if c.notes else not source.notes), source.notes
    wanted = MV*c.scale + c.offset
    off = x[:, c.column] - wanted
    moved = np.median(off) if c.offset > 1e6 else 0 # what would cost digits is taken off first
    assert np.abs(off - moved).max() <= .51*c.step + 1e-6*np.abs(wanted - moved).max()

@pytest.mark.parametrize('name', CASES)
def test_scan_finds_the_beats(name, tmp_path, detector):
    c = CASES[name]
    found = scan(c.write(tmp_path), c.said, detector, lead=c.leads[c.column])
    apart = np.abs(found.time.to_numpy()[:, None] - BEATS/FS)
    assert (apart.min(0) < .05).mean() >= .98 and (apart.min(1) < .05).mean() >= .98
    assert (found['sample']/c.rate - found.time).abs().max() < 1e-9

# What is there besides the signal

def test_annotations_count_in_steps_of_their_own(tmp_path, detector):
    plain(tmp_path)
    wfdb.wrann('plain', 'hi', np.rint(BEATS*1000/FS).astype(int), symbol=['N']*len(BEATS), fs=1000, write_dir=str(tmp_path))
    wfdb.wrann('plain', 'own', BEATS, symbol=['N']*len(BEATS), write_dir=str(tmp_path))
    for annotator in ('hi', 'own'):
        found = scan(tmp_path/'plain.hea', detector=detector, beats='annotated', annotator=annotator)
        assert (found['sample'] == BEATS).all()

def test_annotations_of_frames(tmp_path):
    path = two_samples_a_frame(tmp_path)
    wfdb.wrann('a', 'atr', BEATS//2, symbol=['N']*len(BEATS), write_dir=str(tmp_path))
    assert (open_record(path).beats('atr') == BEATS//2*2).all()

def test_what_was_not_recorded_is_nan(tmp_path):
    x = MV.copy()
    x[[5, 1000]], x[2000:2010] = [np.inf, -np.inf], np.nan
    missing = [5, 1000, *range(2000, 2010)]
    held = np.zeros(len(MV), bool)
    held[missing] = True
    for source in (open_record(saved(tmp_path, x), FS), open_record(np.ma.array(MV, mask=held), FS), open_record(pd.DataFrame(dict(II=x)), FS),
                   open_record(text(tmp_path, 'b.csv', [x, MV], ['II,V1']), FS), open_record(in_segments(tmp_path, gap=7))):
        found = source.read(0, source.length)[:, 0]
        assert np.flatnonzero(np.isnan(found)).tolist() == (missing if source.length == len(MV) else list(range(len(MV)//2, len(MV)//2 + 7)))

def test_an_empty_line_of_one_column_is_a_missing_sample(tmp_path):
    rows = [f'{v:.4f}' for v in MV]
    rows[100] = ''
    (tmp_path/'a.csv').write_text('\n'.join(['II', *rows]) + '\n')
    source = open_record(tmp_path/'a.csv', FS)
    assert source.length == len(MV) and np.flatnonzero(np.isnan(source.read(0, 1000))).tolist() == [100]

def test_commas_between_whole_numbers(tmp_path):
    "Fractions where a name or their run says so; two columns, and a word, where nothing does"
    quiet, beats = [11, 15, 12, 24, 19, 31]*20, [95, 112, 135, 118, 99, 87]*20
    def found(numbers, head=(), places=2): return open_record(put(tmp_path, 'a.csv', '\n'.join([*head, *(f'{n//10**places},{n%10**places}' for n in numbers)]).encode()), FS)
    for source, wanted in ((found(quiet, ['II']), quiet), (found(beats), beats), (found(beats, ['II']), beats)):
        assert not source.notes and np.allclose(source.read(0, 999)[:, 0], np.array(wanted)/100)
    source = found(quiet)
    assert (source.read(0, 999)[:, 0] == quiet).all() and "'0,11' was read as two columns" in source.notes[0]
    source = found(quiet, ['I,II'])
    assert source.leads == ['II'] and not source.notes # named
    source = found([1000*(i % 16) + 512 + n for i, n in enumerate(quiet)], places=3)
    assert (source.read(0, 999)[:, 0] > 500).all() and not source.notes # a counter and an ECG

def test_a_time_alone_is_a_missing_sample(tmp_path):
    "Also in the first lines of numbers"
    for form in ('2024-01-01T00:00:{:06.3f}', '0:{:06.3f}', '{:.3f}'):
        rows = [f"{form.format(t)};{'' if i in (0, 1, 7) else f'{v:.4f}'}" for i, (t, v) in enumerate(zip(TIME[:10*FS], MV))]
        source = open_record(put(tmp_path, 'a.csv', '\n'.join(['Time;II', *rows]).encode()))
        assert source.length == 10*FS and np.flatnonzero(np.isnan(source.read(0, 99))[:, 0]).tolist() == [0, 1, 7]

def test_times_that_jump_leave_a_gap(tmp_path):
    later = TIME + 2*(TIME >= 60)
    source = open_record(text(tmp_path, columns=[[f'{t:.3f}' for t in later], MV], head=['time,II']))
    x = source.read(0, source.length)[:, 0]
    assert source.length == len(MV) + 2*FS and np.flatnonzero(np.isnan(x)).tolist() == list(range(60*FS, 62*FS)) and 'jump' in source.notes[0]

def test_a_frame_keeps_its_names():
    for frame in (pd.DataFrame({'V5': MV, 'II': MV}), pd.DataFrame({'V5': MV, 'II': MV}, index=pd.to_datetime(1e9*TIME, utc=True))):
        source = open_record(frame, FS)
        assert source.leads == ['V5', 'II'] and source.length == len(MV)

def test_a_wrong_rate_is_said(tmp_path):
    for name in ('milliseconds', 'watch'):
        source = open_record(CASES[name].write(tmp_path), 500)
        assert source.fs == FS and any('500' in note and '250' in note for note in source.notes)

@pytest.mark.parametrize('name', ['scan', 'open_record', 'array_source', 'wfdb_source', 'edf_source', 'choose_lead', 'lead_words', 'Source', 'clock', 'RecordError'])
def test_old_names_work(name):
    from ganad import records
    assert getattr(records, name) is getattr(files, name, records.scan)


# What is refused, in one line

def bad(write, *words, said=None): return pytest.param(write, words, said, id=write.__name__.strip('_'))
def more_fields_than_names(f): return text(f, columns=[MV, list(map(str, range(len(MV))))], head=['ECG'])
def a_longer_line(f): path = text(f, columns=[MV]); path.write_text(path.read_text() + '1.0,2.0\n'); return path
def a_word(f): path = text(f, columns=[MV]); path.write_text(path.read_text() + 'end of file\n'); return path
def no_rate(f): return saved(f, MV)
def no_rate_in_text(f): return text(f)
def interrupted(f): return edf(f, onsets=[i + 3*(i > 60) for i in range(SECONDS)])
def cut_edf(f): path = edf(f); path.write_bytes(path.read_bytes()[:-1000]); return path
def cut_record(f): path = plain(f); put(f, 'plain.dat', raw()[:-1000]); return path
def changed_record(f): path = plain(f); put(f, 'plain.dat', b'xx' + raw()[2:]); return path
def units_that_differ(f): return in_segments(f, units=('mV', 'mmHg'))
def a_segment_is_missing(f): path = in_segments(f); (f/'q.hea').unlink(); return path
def a_segment_of_itself(f): (f/'a.hea').write_text(f'a/1 1 {FS} 100\na 100\n'); return f/'a'
def complex_numbers(f): return saved(f, MV + 1j)
def three_axes(f): return saved(f, np.zeros((2, 3, 4)))
def pickled(f): np.save(f/'a.npy', np.array([dict()]), allow_pickle=True); return f/'a.npy'
def two_arrays(f): np.savez(f/'a.npz', a=MV, b=-MV); return f/'a.npz'
def matlab_7_3(f): return put(f, 'a.mat', b'MATLAB 7.3 MAT-file, Platform: GLNXA64'.ljust(124) + b'\x00\x02IM' + b'\x89HDF\r\n\x1a\n' + bytes(600))
def matlab_with_another_type(f): path = matlab(f); return put(f, 'a.mat', path.read_bytes().replace(b'val\0\t\0\0\0', b'val\0\0\0\0\0')) # ends Python itself in SciPy's reader
def matlab_cut(f): path = matlab(f); return put(f, 'a.mat', path.read_bytes()[:-200])
def no_sample(f): return saved(f, np.zeros(0))
def spreadsheet(f): return put(f, 'a.xlsx', b'PK\x03\x04')
def an_archive_with_another_shape(f): np.savez(f/'a.npz', ecg=np.c_[MV, MV]); return put(f, 'a.npz', (f/'a.npz').read_bytes().replace(b', 2)', b',  )'))
def a_byte_lost_in_utf_16(f): data = text(f, columns=[MV], head=['II'], encoding='utf-16').read_bytes(); return put(f, 'a.csv', data[:30] + data[31:])
def bytes_lost_in_utf_16(f): data = text(f, columns=[MV, MV], encoding='utf-16').read_bytes(); return put(f, 'a.csv', data[:27] + data[28:111] + data[112:])
def cut_archive(f): path = packed(f); path.write_bytes(path.read_bytes()[:-2000]); return path
def bytes_of_zero(f): return put(f, 'a.csv', b'1.0\n\x00\x00\x012.0\n')
def counter_alone(f): return text(f, columns=[[str(i) for i in range(len(MV))]])
def lines_turned_round(f): return put(f, 'a.csv', ('\n'.join([','.join(f'{v:.3f}' for v in MV)]*3)).encode())
def announces_too_much(f): return one_file(f, 'a', [line('a')], raw(), 10**12)
def a_gap_of_years(f): plain(f); (f/'a.hea').write_text(f'a/2 1 {FS}\n~ {10**12}\nplain {len(MV)}\n'); return f/'a'
def announces_too_many_numbers(f): path = saved(f, MV); path.write_bytes(path.read_bytes().replace(f'({len(MV)},), }}'.encode().ljust(25), f'({10**12},), }}'.encode().ljust(25))); return path
def a_negative_number_of_samples(f): return put(f, 'a.edf', edf_bytes([STORED.reshape(-1, 100), STORED.reshape(-1, 100)], .4).replace(b'100     100     ', b'100     -1      '))
def announces_too_many_signals(f): return put(f, 'a.edf', edf(f).read_bytes()[:252] + b'9999' + bytes(3000))
def a_folder(f): (f/'x.csv').mkdir(); return f/'x.csv'
def a_pipe(f): os.mkfifo(f/'x.csv'); return f/'x.csv'
def a_loop(f): (f/'x.csv').symlink_to(f/'x.csv'); return f/'x.csv'
def nobody(f): return '~nobody-of-that-name/x.csv'

REFUSED = [bad(more_fields_than_names, 'a.csv', 'column', said=FS), bad(a_longer_line, 'a.csv', '30001', said=FS), bad(a_word, 'a.csv', '30001', 'end of file', said=FS), bad(no_rate, 'fs'), bad(no_rate_in_text, 'fs'),
    bad(interrupted, 'a.edf', 'interrupted'), bad(cut_edf, 'a.edf', 'short'), bad(cut_record, 'plain.dat', 'short'), bad(changed_record, 'checksum'), bad(units_that_differ, 'mV', 'mmHg'), bad(a_segment_is_missing, 'q.hea'), bad(a_segment_of_itself, 'segment'),
    bad(complex_numbers, 'complex', said=FS), bad(three_axes, '(2, 3, 4)', said=FS), bad(pickled, 'a.npy', said=FS), bad(two_arrays, 'a (30000,)', 'b (30000,)', said=FS), bad(matlab_7_3, '7.3', said=FS), bad(matlab_with_another_type, 'a.mat', 'numbers of type 0'), bad(matlab_cut, 'a.mat', 'cut short'), bad(no_sample, 'no sample', said=FS),
    bad(spreadsheet, '.xlsx', 'not read', said=FS), bad(cut_archive, 'a.csv.gz', said=FS), bad(bytes_of_zero, 'a.csv', 'zero', said=FS), bad(an_archive_with_another_shape, 'a.npz', 'sum', said=FS), bad(a_byte_lost_in_utf_16, 'a.csv', 'a byte more or less', said=FS), bad(bytes_lost_in_utf_16, 'a.csv', 'a byte more or less', said=FS), bad(counter_alone, 'a.csv', 'no signal', said=FS), bad(lines_turned_round, 'a.csv', 'round', said=FS),
    bad(announces_too_much, 'short'), bad(a_gap_of_years, 'a'), bad(announces_too_many_numbers, 'a.npy', said=FS), bad(a_negative_number_of_samples, 'a.edf', '-1 samples'), bad(announces_too_many_signals, 'a.edf'), bad(a_folder, 'x.csv', said=FS), bad(a_pipe, 'x.csv', said=FS), bad(a_loop, 'x.csv', said=FS), bad(nobody, 'nobody', said=FS)]

@pytest.mark.parametrize('write, words, said', REFUSED)
def test_refused_in_a_line(write, words, said, tmp_path):
    path = write(tmp_path)
    with pytest.raises((RecordError, OSError)) as refused:
        source = open_record(path, said)
        source.read(0, source.length)
        source.check()
    line = str(refused.value)
    assert '\n' not in line and all(word in line for word in words), line

def test_damage_of_every_byte_of_a_header(tmp_path):
    "Whatever byte of a header of WFDB goes: refused, or the samples stay those of the file"
    path = plain(tmp_path)
    header = path.with_suffix('.hea').read_bytes()
    for i in range(len(header)):
        path.with_suffix('.hea').write_bytes(header[:i] + header[i + 1:])
        try:
            source = open_record(path)
            x = source.read(0, source.length)[:, 0]
            source.check()
        except (RecordError, OSError): continue
        assert len(x) == len(MV) and abs(np.corrcoef(x, MV)[0, 1]) > .999


# Names of files

@pytest.mark.parametrize('name', ['with space', 'größe', 'a.b', 'a.1.2', '-x', 'a\'b"c', 'x'*120, 'new\nline', 'REC'])
def test_any_name(name, tmp_path):
    np.save(tmp_path/f'{name}.npy', MV)
    (tmp_path/f'{name}.csv').write_bytes(text(tmp_path, 'b.csv').read_bytes())
    (tmp_path/f'{name}.edf').write_bytes(edf(tmp_path, 'b.edf').read_bytes())
    for path in (tmp_path/f'{name}.npy', str(tmp_path/f'{name}.csv'), tmp_path/f'{name}.edf'):
        source = open_record(path, None if str(path).endswith('.edf') else FS)
        assert source.name == name and source.length == len(MV)

@pytest.mark.parametrize('name', ['größe', 'a.b', 'a.1', '-x', 'REC', 'x'*120])
def test_any_name_of_a_record(name, tmp_path, monkeypatch):
    one_file(tmp_path, name, [line(name)], raw())
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path/name, name, f'./{name}', f'{name}.hea', f'{name}.dat'):
        source = open_record(path)
        assert source.name == name and source.length == len(MV)
        source.read(0, source.length)
        source.check()

def test_home(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    saved(tmp_path, MV)
    plain(tmp_path)
    assert open_record('~/a.npy', FS).length == open_record('~/plain').length == len(MV)


# Nobody's name

def test_no_name_of_a_person_comes_out(tmp_path, detector, capsys, monkeypatch):
    "Not in the report, the table, the annotations, nor in a printed line"
    monkeypatch.chdir(tmp_path)
    detector.save(tmp_path/'detector')
    who = 'Qwertzowski'
    (tmp_path/'in').mkdir()
    record = one_file(tmp_path/'in', 'rec', [line('rec')], raw())
    with record.with_suffix('.hea').open('a') as f: f.write(f'# Name: {who} 47 M\n#{who}\n')
    watched = text(tmp_path/'in', 'watch.csv', [1000*MV], [f'Name,{who}', f'Patient ID,{who}', 'Sample Rate,250 hertz', '', 'Lead,Lead I', 'Unit,µV', ''], digits=3)
    said = text(tmp_path/'in', 'said.txt', [MV], [f'# Patient: {who}', f'# {who}, born 1970', '# Labels:= ECG', '# Sampling Rate (Hz):= 250'])
    head = edf(tmp_path/'in', 'a.edf', patient=f'X M 01-JAN-1970 {who}')
    head.write_bytes(head.read_bytes().replace(b'Startdate 01-JAN-2024 X X X', f'Startdate X X {who} X'.encode().ljust(27)[:27]))
    wrong = [text(tmp_path/'in', 'wrong.csv', [1000*MV], [f'Name,{who}', f'Name,{who}', f'Patient,{who}']), put(tmp_path/'in', 'cut.edf', head.read_bytes()[:3000])]
    for path, status in [*((p, 0) for p in (record, watched, said, head)), *((p, 1) for p in wrong)]:
        came = scan_main([str(path), '--detector', 'detector', '--out', f'out_{Path(path).name}'])
        out = capsys.readouterr()
        assert who not in out.out + out.err and came in (status, 2), (path, out.err)
    written = [p for p in tmp_path.rglob('out_*/*') if p.is_file()]
    assert len(written) == 3*4 and not any(who.encode() in p.read_bytes() for p in written)

def test_what_a_head_calls_a_unit_is_no_part_of_the_page(tmp_path, detector):
    "A report is read in a browser: words of a file are words there, and nothing else"
    path = edf(tmp_path, unit='<script>', label='<b>ECG</b>')
    frame = scan(path, detector=detector, out=tmp_path/'out')
    page = (tmp_path/'out'/'report.html').read_text()
    assert len(frame) and '<script' not in page and '<b>ECG' not in page
