"Records are read or refused, beats keep what is known of them, splits and caches hold."
import hashlib, shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import wfdb
from scipy.signal import filtfilt

from ganad.data import ecg
from ganad.data.ecg import (AAMI, DS1, DS2, GROUPS, SUBJECT, Beats, RecordError, bandpass, cut_beats, database_beats, download, fill_gaps,
                            fir_taps, fits, folds, interpolate, load_beats, lttb, read_record, record_beats, record_info, resample, rr_intervals,
                            rule_drops, dropped_beats, scale_beats, source_checksum, split_subjects)
from ganad.settings import DataNotFound


def write(folder, name, n=4000, fs=360, leads=('MLII', 'V5'), units='mV', signal=None, symbols='NNVNAN', seed=0):
    "A small WFDB record with annotations"
    signal = np.random.default_rng(seed).normal(size=(n, len(leads))) if signal is None else signal
    wfdb.wrsamp(name, fs=fs, units=[units]*len(leads), sig_name=list(leads), p_signal=signal, fmt=['16']*len(leads),
                adc_gain=[5000 if units == 'mV' else 5]*len(leads), baseline=[0]*len(leads), write_dir=str(folder))
    at = np.linspace(.1*n, .9*n, len(symbols)).astype(int)
    wfdb.wrann(name, 'atr', at, list(symbols), write_dir=str(folder))
    return signal, at

@pytest.fixture
def small(tmp_path):
    write(tmp_path, 'small')
    return tmp_path/'small'


# ---- records

def test_a_record_is_read(small):
    signal, at = write(small.parent, 'small')
    rec = read_record(small)
    assert rec.signal.dtype == np.float32 and rec.leads == ['MLII', 'V5'] and rec.fs == 360 and rec.name == 'small'
    np.testing.assert_allclose(rec.signal, signal, atol=1e-3)
    np.testing.assert_array_equal(rec.sample, at)
    assert ''.join(rec.symbol) == 'NNVNAN'
    assert record_info(small) == dict(name='small', fs=360., length=4000, leads=['MLII', 'V5'])

def test_a_piece_equals_that_part_of_the_whole(small):
    whole, piece = read_record(small), read_record(small, 1000, 3000, leads=['V5', 'MLII'])
    np.testing.assert_array_equal(piece.signal, whole.signal[1000:3000, ::-1])
    inside = (whole.sample >= 1000) & (whole.sample < 3000)
    np.testing.assert_array_equal(piece.sample, whole.sample[inside] - 1000)
    np.testing.assert_array_equal(piece.symbol, whole.symbol[inside])

@pytest.mark.parametrize('ending', ['.hea', '.dat', '.atr'])
def test_an_ending_is_taken_off(small, ending):
    assert read_record(f'{small}{ending}').name == 'small'

def test_units_become_millivolts(tmp_path):
    signal = np.random.default_rng(0).normal(size=(500, 1))
    write(tmp_path, 'micro', leads=('II',), units='uV', signal=1000*signal)
    np.testing.assert_allclose(read_record(tmp_path/'micro').signal, signal, atol=1e-2)

def test_segments_are_joined(tmp_path):
    a, _ = write(tmp_path, 'a', n=1000, seed=1)
    b, _ = write(tmp_path, 'b', n=1000, seed=2)
    (tmp_path/'both.hea').write_text('both/2 2 360 2000\na 1000\nb 1000\n')
    np.testing.assert_allclose(read_record(tmp_path/'both').signal, np.concatenate([a, b]), atol=1e-3)
    np.testing.assert_allclose(read_record(tmp_path/'both', 900, 1100, leads='V5').signal[:, 0], np.concatenate([a, b])[900:1100, 1], atol=1e-3)
    (tmp_path/'b.dat').unlink()
    with pytest.raises(RecordError, match='b.hea names b.dat, which is not beside it'): read_record(tmp_path/'both')

def test_a_header_without_length_takes_it_from_the_file(small):
    header = small.with_suffix('.hea')
    header.write_text(header.read_text().replace('360 4000', '360'))
    assert record_info(small)['length'] == 4000
    assert len(read_record(small).signal) == 4000

def test_no_header(tmp_path):
    with pytest.raises(RecordError, match='there is no nobody.hea'): read_record(tmp_path/'nobody')

def test_a_header_names_a_file_that_is_not_there(small):
    small.with_suffix('.dat').unlink()
    for read in (read_record, record_info):
        with pytest.raises(RecordError, match='small.hea names small.dat, which is not beside it'): read(small)

@pytest.mark.parametrize('lost', [1, 4, 8000, 15_999])
def test_a_signal_file_cut_short(small, lost):
    dat = small.with_suffix('.dat')
    dat.write_bytes(dat.read_bytes()[:-lost])
    for read in (read_record, record_info, lambda p: read_record(p, 10, 20)):
        with pytest.raises(RecordError, match=r'small.dat is cut short: it holds [\d,]+ samples a lead, small.hea says 4,000'): read(small)

def test_a_changed_byte(small):
    dat = small.with_suffix('.dat')
    data = bytearray(dat.read_bytes())
    data[1001] ^= 4
    dat.write_bytes(bytes(data))
    with pytest.raises(RecordError, match='do not add up to the checksum'): read_record(small)
    assert len(read_record(small, check=False).signal) == 4000

@pytest.mark.parametrize('text', ['', 'nonsense\n', '\x00\x01'])
def test_a_damaged_header(small, text):
    small.with_suffix('.hea').write_text(text)
    with pytest.raises(RecordError, match='cannot be read'): read_record(small)

def test_damaged_annotations(small):
    small.with_suffix('.atr').write_bytes(b'\x01')
    with pytest.raises(RecordError, match='annotations small.atr cannot be read'): read_record(small)
    assert read_record(small, annotations=None).sample is None

def test_an_unknown_lead_names_the_records_own(small):
    with pytest.raises(RecordError, match="no lead 'II'; its leads are MLII, V5"): read_record(small, leads='II')
    with pytest.raises(RecordError, match="no lead 'II' or 'I'; its leads are MLII, V5"): record_beats(read_record(small), lead=['II', 'I'])

@pytest.mark.parametrize('start, stop', [(-1, 10), (5, 5), (10, 5), (0, 4001), (4000, None)])
def test_no_piece_of_the_record(small, start, stop):
    with pytest.raises(RecordError, match='is no piece of it'): read_record(small, start, stop)

def test_flat_and_invalid_leads(tmp_path):
    signal = np.random.default_rng(0).normal(size=(4000, 2))
    write(tmp_path, 'flat', signal=np.c_[signal[:, 0], np.zeros(4000)])
    with pytest.raises(RecordError, match='lead V5 is flat'): read_record(tmp_path/'flat')
    assert read_record(tmp_path/'flat', leads='MLII').leads == ['MLII']
    assert len(read_record(tmp_path/'flat', 0, 100).signal) == 100 # a flat piece is common
    signal[100:110, 0] = np.nan
    write(tmp_path, 'hole', signal=signal)
    with pytest.raises(RecordError, match='lead MLII: 10 of 4,000 samples are NaN or infinite, the first at 100'): read_record(tmp_path/'hole')
    rec = read_record(tmp_path/'hole', check=False)
    with pytest.raises(RecordError, match='fill_gaps'): record_beats(rec)
    assert len(record_beats(replace(rec, signal=fill_gaps(rec.signal)))) == 6
    signal[:, 0] = np.nan
    write(tmp_path, 'none', signal=signal)
    with pytest.raises(RecordError, match='lead MLII: no valid sample'): read_record(tmp_path/'none')

def test_gaps_are_bridged():
    x = np.array([[np.nan, 1], [1, 1], [np.nan, 1], [3, np.nan]])
    np.testing.assert_allclose(fill_gaps(x), [[1, 1], [1, 1], [2, 1], [3, 1]])
    assert np.isnan(x).sum() == 3
    assert not fill_gaps(np.full(5, np.nan)).any()


# ---- signals

@pytest.mark.parametrize('fs', [128, 250, 257, 360, 1000])
def test_the_filter_equals_filtfilt(fs):
    x = np.random.default_rng(0).normal(size=(5000, 2)).cumsum(0)
    expected = filtfilt(fir_taps(fs), 1, x, axis=0)
    np.testing.assert_allclose(bandpass(x, fs), expected, atol=1e-4*np.abs(expected).max())
    np.testing.assert_allclose(bandpass(x[:, 1], fs), bandpass(x, fs)[:, 1], atol=1e-5)

@pytest.mark.parametrize('low, span', [(3, .3), (.67, 1.5)])
def test_the_filter_equals_biosppys(low, span):
    filter_signal = pytest.importorskip('biosppy.signals.tools').filter_signal
    x = np.random.default_rng(0).normal(size=5000)
    expected = filter_signal(x, ftype='FIR', band='bandpass', order=int(span*360), frequency=[low, 45], sampling_rate=360)['signal']
    np.testing.assert_allclose(bandpass(x, 360, low, span=span), expected, atol=1e-5)

def test_the_filter_refuses():
    with pytest.raises(ValueError, match='more than 108 samples'): bandpass(np.zeros(108), 360)
    with pytest.raises(ValueError, match='low < high < fs/2'): bandpass(np.zeros(1000), 80)
    with pytest.raises(ValueError, match='low < high < fs/2'): bandpass(np.zeros(1000), 360, 45, 3)

@pytest.mark.parametrize('fs', [100, 128, 250, 257, 360, 500, 1000])
def test_resampling_keeps_a_slow_wave(fs):
    t = np.arange(20*fs)/fs
    x = resample(np.c_[np.sin(2*np.pi*5*t), 1 + t], fs, 360)
    t = np.arange(len(x))/360
    assert abs(len(x) - 7200) <= 1
    np.testing.assert_allclose(x[360:-360, 0], np.sin(2*np.pi*5*t)[360:-360], atol=.01)
    np.testing.assert_allclose(x[:, 1], 1 + t, atol=.05)

def test_windows():
    np.testing.assert_array_equal(cut_beats(np.arange(400), [140, 220]), [np.arange(320), np.arange(80, 400)])
    np.testing.assert_array_equal(fits([139, 140, 220, 221], 400), [False, True, True, False])
    assert cut_beats(np.arange(400.), []).shape == (0, 320)
    with pytest.raises(ValueError, match='1 of 2 windows reach over an end'): cut_beats(np.arange(400), [140, 221])

def test_scaling():
    x = scale_beats(np.random.default_rng(0).normal(size=(5, 1, 320)))
    assert x.dtype == np.float32
    np.testing.assert_allclose((x.min(-1), x.max(-1)), (np.full((5, 1), -1), np.ones((5, 1))), atol=1e-6)
    assert not scale_beats(np.full((2, 320), 7.)).any()

def test_intervals():
    np.testing.assert_allclose(rr_intervals([0, 180, 540], 360), [[np.nan, .5], [.5, 1], [1, np.nan]])
    assert rr_intervals([], 360).shape == (0, 2) and rr_intervals([5], 360).shape == (1, 2)

def test_other_lengths():
    x = np.random.default_rng(0).normal(size=(4, 320)).astype(np.float32)
    np.testing.assert_allclose(interpolate(x, 320), x, atol=1e-6)
    np.testing.assert_allclose(interpolate(x, 77)[2], np.interp(np.linspace(0, 319, 77), np.arange(320), x[2]), atol=1e-5)
    assert interpolate(x, 640).shape == (4, 640) and interpolate(x, 64).dtype == np.float32
    picked = lttb(x[:, None], 64)
    assert picked.shape == (4, 1, 64) and all(np.isin(a, b).all() for a, b in zip(picked[:, 0], x))
    with pytest.raises(ValueError, match='Use `interpolate`'): lttb(x, 321)


# ---- beats

def test_beats_of_a_record(small):
    rec = read_record(small)
    beats = record_beats(rec, subject='somebody')
    assert beats.x.shape == (6, 1, 320) and beats.x.dtype == np.float32
    assert ''.join(beats.symbol) == 'NNVNAN' and ''.join(beats.group) == 'NNVNSN'
    assert beats.y.tolist() == [0, 0, 1, 0, 1, 0] and beats.y.dtype == np.int8
    assert set(beats.record) == {'small'} and set(beats.subject) == {'somebody'} and set(beats.lead) == {'MLII'}
    np.testing.assert_array_equal(beats.sample, rec.sample)
    np.testing.assert_array_equal(beats.rr, rr_intervals(rec.sample, 360))
    np.testing.assert_allclose(beats.x[:, 0], scale_beats(cut_beats(bandpass(rec.signal[:, 0], 360), rec.sample)), atol=1e-6)

def test_marks_that_are_no_beats_are_left_out(tmp_path):
    write(tmp_path, 'marks', symbols='N+V~N')
    assert ''.join(record_beats(read_record(tmp_path/'marks')).symbol) == 'NVN'

def test_windows_over_an_end_are_left_out_but_count_for_intervals(small):
    rec = replace(read_record(small), sample=np.array([100, 500, 3900]), symbol=np.array(['N', 'V', 'N']))
    beats = record_beats(rec)
    assert beats.sample.tolist() == [500]
    np.testing.assert_allclose(beats.rr, [[400/360, 3400/360]], rtol=1e-6)

def test_given_positions(small):
    rec = replace(read_record(small), sample=None, symbol=None)
    with pytest.raises(RecordError, match='has no annotations'): record_beats(rec)
    beats = record_beats(rec, sample=[500, 1000])
    assert beats.y.tolist() == [-1, -1] and set(beats.symbol) == {''}
    assert len(record_beats(rec, sample=[])) == 0

def test_another_rate_length_and_scale(tmp_path):
    write(tmp_path, 'slow', fs=128, n=4000)
    rec = read_record(tmp_path/'slow')
    beats = record_beats(rec)
    assert beats.x.shape == (6, 1, 320) and beats.fs == 360
    np.testing.assert_array_equal(beats.sample, rec.sample) # at the record's own rate
    assert record_beats(rec, length=64, shorten='lttb').x.shape == (6, 1, 64)
    assert record_beats(rec, before=50, after=50, length=100).x.shape == (6, 1, 100)
    assert np.abs(record_beats(rec, scale=False).x).max() > 1
    with pytest.raises(ValueError, match="Did you mean 'lttb'"): record_beats(rec, length=64, shorten='ltbt')

def test_choosing_chooses_everything(small):
    beats = record_beats(read_record(small))
    for index in (slice(1, 4), np.array([5, 0, 2]), beats.y == 1, [2], 3, -1):
        some = beats[index]
        rows = np.atleast_1d(np.arange(6)[index])
        assert len(some) == len(rows)
        for f in ('x', 'y', 'symbol', 'group', 'aami', 'record', 'subject', 'lead', 'sample', 'rr'):
            np.testing.assert_array_equal(getattr(some, f), getattr(beats, f)[rows])
    both = Beats.concat([beats[:2], beats[2:]])
    np.testing.assert_array_equal(both.x, beats.x)
    assert list(both.frame().columns) == ['y', 'symbol', 'group', 'aami', 'record', 'subject', 'lead', 'sample', 'rr_before', 'rr_after']
    with pytest.raises(ValueError): Beats.concat([])

def test_the_two_ways_to_sort():
    assert {s for s in GROUPS if GROUPS[s] != AAMI[s]} == {'j', 'e'}
    assert len(GROUPS) == 15 and len(set(SUBJECT.values())) == 47 and SUBJECT['202'] == SUBJECT['201']
    assert not set(DS1) & set(DS2) and len(DS1) == len(DS2) == 22


# ---- splits

def some_beats(records, per=20):
    rng = np.random.default_rng(0)
    n = per*len(records)
    record = np.repeat(records, per)
    y = (rng.random(n) < .2).astype(np.int8)
    kind = np.where(y == 1, 'V', 'N')
    return Beats(rng.normal(size=(n, 1, 8)).astype(np.float32), y, kind, kind, kind, record, np.array([SUBJECT[r] for r in record]),
                 np.full(n, 'MLII'), np.arange(n), np.zeros((n, 2), np.float32))

def test_folds():
    beats = some_beats(['100', '101', '103'])
    pairs = folds(beats, k=4, seed=1)
    assert len(pairs) == 4
    for train, test in pairs:
        assert not beats.y[train].any() and not set(train) & set(test)
        assert set(np.flatnonzero(beats.y == 1)) <= set(test)
        assert len(train) + len(test) == len(beats)
    assert Counter(i for _, test in pairs for i in test if beats.y[i] == 0).most_common(1)[0][1] == 1
    np.testing.assert_array_equal(folds(beats, 4, 1)[2][0], pairs[2][0])
    assert not np.array_equal(folds(beats, 4, 2)[2][0], pairs[2][0])

def test_a_person_on_both_sides_is_refused():
    beats = some_beats(['100', '201', '202', '101'])
    with pytest.raises(ValueError, match='records 201, 202'): split_subjects(beats)
    train, test = split_subjects(beats, allow_shared=True)
    assert set(train.record) == {'101', '201'} and set(test.record) == {'100', '202'}
    assert not train.y.any() and test.y.any()
    split_subjects(beats, test=['100'])
    with pytest.raises(ValueError, match='records 100'): split_subjects(beats, train=['100'], test=['100'])


# ---- the database, with a small one in its place

@pytest.fixture
def two_records(tmp_path, monkeypatch, own_cache):
    "A database of two records that passes for mitdb, as the named data folder"
    (tmp_path/'data'/'mitdb').mkdir(parents=True)
    for name in ('100', '101'): write(tmp_path/'data'/'mitdb', name, seed=int(name))
    monkeypatch.setenv('GANAD_DATA', str(tmp_path/'data'))
    for key, value in dict(DS1=['101'], DS2=['100'], SUBJECT={'100': '100', '101': '101'}).items(): monkeypatch.setattr(ecg, key, value)
    return tmp_path/'data'/'mitdb'

def sums(folder):
    "Write the folder's SHA256SUMS.txt and RECORDS"
    (folder/'SHA256SUMS.txt').write_text(''.join(f'{hashlib.sha256(f.read_bytes()).hexdigest()} {f.name}\n' for f in sorted(folder.glob('10*'))))
    (folder/'RECORDS').write_text('100\n101\n')

def prepared(cache): return sorted((cache/'prepared').glob('*')) if (cache/'prepared').is_dir() else []

def test_prepared_once(two_records, own_cache, monkeypatch):
    beats = load_beats('patients')
    assert len(beats) == 12 and len(prepared(own_cache)) == 1
    monkeypatch.setattr(ecg, 'database_beats', None) # would fail if it were called
    again = load_beats('patients')
    for f in ('x', 'y', 'symbol', 'sample', 'rr', 'subject', 'lead'): np.testing.assert_array_equal(getattr(again, f), getattr(beats, f))
    assert again.fs == beats.fs and not again.simulated
    np.testing.assert_array_equal(load_beats('patients', classes='aami').y, beats.y)
    with pytest.raises(TypeError): load_beats('patients', length=64) # other parameters, other file

def test_what_is_cached_holds_no_pickles(two_records, own_cache):
    load_beats('patients')
    with np.load(prepared(own_cache)[0], allow_pickle=False) as data: assert {'x', 'y', 'rr', 'symbol'} <= set(data.files)

@pytest.mark.parametrize('damage', [b'', b'nonsense', None])
def test_a_damaged_cache_is_made_again(two_records, own_cache, damage):
    beats = load_beats('patients')
    file = prepared(own_cache)[0]
    file.write_bytes(file.read_bytes()[:1000] if damage is None else damage)
    np.testing.assert_array_equal(load_beats('patients').x, beats.x)
    assert prepared(own_cache) == [file] and file.stat().st_size > 1000

def test_interrupted_while_writing_leaves_nothing(two_records, own_cache, monkeypatch):
    def half(file, **arrays):
        file.write(b'half')
        raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(np, 'savez', half)
        with pytest.raises(KeyboardInterrupt): load_beats('patients')
    assert prepared(own_cache) == []
    assert len(load_beats('patients')) == 12

def test_a_changed_source_is_noticed(two_records, own_cache):
    load_beats('patients')
    write(two_records, '101', seed=5)
    load_beats('patients')
    assert len(prepared(own_cache)) == 2
    sums(two_records)
    assert source_checksum(two_records, ['100', '101'])
    write(two_records, '101', seed=6)
    with pytest.raises(RecordError, match='mitdb/101[.]... is not the file that SHA256SUMS.txt names'): load_beats('patients')

def test_a_database_of_any_name(two_records):
    sums(two_records)
    assert len(database_beats(two_records, lead=['II', 'V5'])) == 12

def test_a_file_that_is_missing(two_records):
    (two_records/'101.atr').unlink()
    with pytest.raises(DataNotFound, match='lacks 1 of 6 files, 101.atr'): load_beats('patients')

def test_a_named_folder_without_the_database(tmp_path, monkeypatch, own_cache):
    monkeypatch.setenv('GANAD_DATA', str(tmp_path))
    for call in (load_beats, lambda: load_beats(stand_in=True), ecg.data_note, lambda: ecg.mitdb_record('100', stand_in=True)):
        with pytest.raises(DataNotFound, match="no folder 'mitdb'"): call()

def test_unknown_names(two_records):
    with pytest.raises(ValueError, match="Did you mean 'patients'"): load_beats('patient')
    with pytest.raises(ValueError, match='unknown way to sort beats'): load_beats('patients', classes='symbol')
    with pytest.raises(ValueError, match='unknown record of mitdb'): ecg.mitdb_record('110')


# ---- download and stand-in

def far_away(source, fail=()):
    "Stands in for `wfdb.dl_files`: copies from a folder, keeps a list of what it was asked for"
    asked = []
    def dl_files(database, folder, names):
        for name in names:
            if name in fail: raise ConnectionError('the line is dead')
            asked.append(name)
            shutil.copy(source/name, folder)
    return dl_files, asked

@pytest.fixture
def nothing_named(two_records, own_cache, monkeypatch):
    "No data folder named, PhysioNet holds the two records"
    sums(two_records)
    monkeypatch.setenv('GANAD_DATA', '')
    monkeypatch.setattr(ecg, 'online', lambda: True)
    return two_records

def test_downloaded_into_the_cache_once(nothing_named, own_cache, monkeypatch):
    dl_files, asked = far_away(nothing_named)
    monkeypatch.setattr(wfdb, 'dl_files', dl_files)
    assert 'downloaded' in ecg.data_note()
    assert len(load_beats('patients')) == 12
    assert (own_cache/'data'/'mitdb'/'101.dat').is_file() and len(asked) == 8
    load_beats('patients', length=64)
    assert len(asked) == 8

def test_a_download_goes_on_where_it_stopped(nothing_named, own_cache, monkeypatch):
    dl_files, asked = far_away(nothing_named, fail=['101.dat'])
    monkeypatch.setattr(wfdb, 'dl_files', dl_files)
    with pytest.raises(ConnectionError): load_beats('patients')
    assert not (own_cache/'data'/'mitdb').exists()
    dl_files, asked = far_away(nothing_named)
    monkeypatch.setattr(wfdb, 'dl_files', dl_files)
    load_beats('patients')
    assert '100.dat' not in asked and '101.dat' in asked

def test_a_download_that_came_wrong_is_refused(nothing_named, own_cache, monkeypatch):
    (nothing_named/'100.dat').write_bytes(b'something else')
    monkeypatch.setattr(wfdb, 'dl_files', far_away(nothing_named)[0])
    with pytest.raises(DataNotFound, match='100.dat came with another checksum'): load_beats('patients')
    assert not (own_cache/'data'/'mitdb').exists()

@pytest.fixture
def alone(monkeypatch, own_cache):
    "No data folder, no network"
    monkeypatch.setenv('GANAD_DATA', '')
    monkeypatch.setattr(ecg, 'online', lambda: False)

def test_alone_without_asking_for_simulated_beats(alone):
    with pytest.raises(DataNotFound, match='stand_in=True'): load_beats()
    with pytest.raises(DataNotFound, match='stand_in=True'): ecg.mitdb_record('100')

def test_alone_the_simulated_ecg_stands_in(alone, own_cache):
    assert 'simulated' in ecg.data_note()
    beats = load_beats(stand_in=True)
    assert beats.simulated and set(beats.record) == set(DS1 + DS2) and len(set(beats.subject)) == 43
    assert beats.x.shape[1:] == (1, 320) and 0 < beats.y.mean() < .5 and {'N', 'V', 'S', 'F'} <= set(beats.group)
    np.testing.assert_array_equal(beats.x, load_beats(stand_in=True).x)
    with pytest.raises(ValueError, match='201, 202'): split_subjects(beats)
    assert prepared(own_cache) == []


# ---- mitdb itself

def test_the_papers_set(mitdb):
    beats = load_beats('beatgan')
    assert Counter(beats.group.tolist()) == dict(N=86_717, V=7_008, S=3_026, F=802, Q=15)
    assert len(beats) == 97_568 and len(set(beats.subject)) == 43 and set(beats.lead) == {'MLII'}
    assert beats.x.shape == (97_568, 1, 320) and beats.x.dtype == np.float32
    assert beats.x.min() == -1 and beats.x.max() == 1
    np.testing.assert_array_equal(beats.y, beats.group != 'N')

@pytest.mark.parametrize('classes, supraventricular, prevalence', [('group', 2_050, .114), ('aami', 1_837, .110)])
def test_the_patients_set(mitdb, classes, supraventricular, prevalence):
    beats = load_beats('patients', classes=classes)
    assert len(beats) == 100_687
    train, test = split_subjects(beats, allow_shared=True)
    assert (getattr(test, classes) == 'S').sum() == supraventricular and round(test.y.mean(), 3) == prevalence
    assert set(train.record) == set(DS1) and set(test.record) == set(DS2) and not train.y.any()

def test_the_lead_of_record_114(mitdb):
    beats = load_beats('patients')
    rec = read_record(mitdb/'114')
    assert rec.leads == ['V5', 'MLII']
    np.testing.assert_allclose(beats[beats.record == '114'].x, record_beats(rec).x, atol=1e-6)
    with pytest.raises(RecordError, match='its leads are V5, V2'): record_beats(read_record(mitdb/'102'))

def test_every_beat_stands_at_its_annotation(mitdb):
    beats = load_beats('patients')
    for name in ('100', '208', '232'):
        of, rec = beats[beats.record == name], read_record(mitdb/name)
        at = np.searchsorted(rec.sample, of.sample)
        np.testing.assert_array_equal(rec.sample[at], of.sample)
        np.testing.assert_array_equal(rec.symbol[at], of.symbol)

@pytest.mark.parametrize('name', ['108', '117'])
def test_the_rule_again_on_two_records(mitdb, name):
    pytest.importorskip('biosppy.signals.ecg')
    assert rule_drops(read_record(mitdb/name)) == dropped_beats()[name]

@pytest.mark.slow
def test_the_rule_again(mitdb):
    pytest.importorskip('biosppy.signals.ecg')
    drops = {name: rule_drops(read_record(mitdb/name, leads='MLII')) for name in sorted(DS1 + DS2)}
    assert {name: gone for name, gone in drops.items() if gone} == dropped_beats()


def test_wrong_calls_are_answered_in_a_sentence():
    record = ecg.simulated_record('100', 60.)
    beats, signal = ecg.record_beats(record), record.signal[:, 0]
    for call, words in ((lambda: bandpass(signal, '360'), "a sampling rate must be a number above 0, in samples a second; got '360'"), (lambda: ecg.resample(signal, 0), 'got 0'), (lambda: ecg.resample(signal, 360, -5), 'got -5'), (lambda: ecg.rr_intervals([1, 5], 0), 'got 0'),
                        (lambda: ecg.rr_intervals([5, 1], 360), 'must increase'), (lambda: ecg.scale_beats(np.empty((3, 0))), r'array of shape \(3, 0\)'), (lambda: ecg.interpolate(np.empty((3, 0)), 5), 'at least two samples'), (lambda: ecg.interpolate(signal, 2.5), 'whole number of at least 1, got 2.5'),
                        (lambda: ecg.folds(beats, k=1), 'from 2 to'), (lambda: ecg.folds(beats, k=10**6), 'got 1000000'), (lambda: ecg.folds(beats, seed=-1), 'seed must be'), (lambda: ecg.simulated_record('xyz'), "unknown record of mitdb 'xyz'"), (lambda: ecg.record_beats(record, lead=1), 'by its name, got 1; the leads of record 100 are MLII'),
                        (lambda: replace(beats, y=beats.y[:3]), 'got 3 y'), (lambda: Beats.concat([beats, replace(beats, fs=100.)]), 'one shape and sampling rate')):
        with pytest.raises(ValueError, match=words): call()
    for call in (lambda: ecg.folds(signal), lambda: ecg.split_subjects(signal), lambda: ecg.record_beats('100')):
        with pytest.raises(TypeError, match='expected'): call()
