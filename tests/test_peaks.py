"Contracts of `ganad.data.peaks`"
import numpy as np, pytest
from wfdb.processing import compare_annotations

from ganad.data.ecg import AAMI, mitdb_record
from ganad.data.peaks import beat_height, choose_beats, find_peaks
from ganad.data.toys import simulate_ecg


@pytest.fixture(scope='module')
def ecg(): return simulate_ecg(duration=120., fs=360., seed=3)


def matched(reference, found, fs):
    c = compare_annotations(np.asarray(reference), np.asarray(found), int(.15*fs))
    return c.tp/len(reference), c.tp/max(len(found), 1)


@pytest.mark.parametrize('rate', [100., 128., 250., 360., 1000.])
def test_any_rate(rate):
    sim = simulate_ecg(duration=120., fs=rate, seed=5)
    sensitivity, predictivity = matched(sim.sample, find_peaks(sim.signal, rate), rate)
    assert sensitivity > .98 and predictivity > .98


@pytest.mark.parametrize('heart_rate', [30, 45, 100, 150])
def test_slow_and_fast_hearts(heart_rate):
    sim = simulate_ecg(duration=120., fs=360., heart_rate=heart_rate, seed=7)
    sensitivity, predictivity = matched(sim.sample, find_peaks(sim.signal, 360), 360)
    assert sensitivity > .98 and predictivity > .97


def test_sorted_int64_once_each_and_the_input_is_left_alone(ecg):
    x = ecg.signal.copy()
    peaks = find_peaks(x, ecg.fs)
    assert peaks.dtype == np.int64 and (np.diff(peaks) > 0).all()
    assert np.array_equal(x, ecg.signal)


def test_scale_sign_offset_and_dtype_do_not_matter(ecg):
    peaks = find_peaks(ecg.signal, ecg.fs)
    for same in (ecg.signal.astype(np.float64), -ecg.signal, ecg.signal*1024, ecg.signal + 50, np.round(ecg.signal*200).astype(np.int16)):
        found = find_peaks(same, ecg.fs)
        assert len(np.setxor1d(found, peaks)) <= .02*len(peaks)


@pytest.mark.parametrize('value', [0., .7, np.nan, np.inf])
def test_nothing_in_a_lead_without_signal(value):
    for shape in ((5000,), (5000, 2)): assert len(find_peaks(np.full(shape, value), 360)) == 0


@pytest.mark.parametrize('length', [0, 1, 50, 300, 719])
def test_nothing_in_less_than_two_seconds(ecg, length):
    for signal in (ecg.signal[:length], np.stack([ecg.signal[:length]]*2, 1)): assert find_peaks(signal, 360).shape == (0,)


@pytest.mark.parametrize('value', [np.nan, .25])
def test_a_missing_or_flat_stretch_has_no_beats_and_spoils_no_others(ecg, value):
    fs, peaks, broken = int(ecg.fs), find_peaks(ecg.signal, ecg.fs), ecg.signal.copy()
    broken[30*fs:110*fs] = value
    found = find_peaks(broken, fs)
    inside = (found > 31*fs) & (found < 109*fs)
    assert not inside.any()
    away = lambda p: p[(p < 29*fs) | (p > 111*fs)]
    assert len(np.setxor1d(away(found), away(peaks))) <= 1


def test_the_next_lead_stands_in_for_a_missing_one(ecg):
    fs, peaks, broken = int(ecg.fs), find_peaks(ecg.signal, ecg.fs), ecg.signal.copy()
    broken[30*fs:60*fs] = np.nan
    for first in (broken, np.zeros_like(broken)):
        found = find_peaks(np.stack([first, 3*ecg.signal], 1), fs)
        assert len(np.setxor1d(found, peaks)) <= 2


def test_a_knock_on_the_electrode_hides_few_beats(ecg):
    x = ecg.signal.copy(); x[20000:20050] += 500
    sensitivity, _ = matched(ecg.sample, find_peaks(x, ecg.fs), ecg.fs)
    assert sensitivity > .95


def test_bad_calls_say_what_is_wrong(ecg):
    with pytest.raises(ValueError, match='80 samples a second'): find_peaks(ecg.signal, 50)
    with pytest.raises(ValueError, match=r'\(L,\) or \(L, leads\)'): find_peaks(np.zeros((1, 2, 3)), 360)
    with pytest.raises(ValueError, match='80 samples a second'): find_peaks(ecg.signal, float('nan'))


def test_pieces_with_ten_seconds_of_context_agree_with_the_whole(mitdb):
    x, fs = mitdb_record('203').signal[:, 0], 360
    whole, different = find_peaks(x, fs), 0
    for start in range(10*fs, len(x) - 70*fs, 60*fs):
        found = find_peaks(x[start - 10*fs:start + 70*fs], fs) + start - 10*fs
        inside = lambda p: p[(p >= start) & (p < start + 60*fs)]
        different += len(np.setxor1d(inside(found), inside(whole)))
    assert different <= .002*len(whole)


@pytest.mark.parametrize('name, at_least', [('119', .999), ('200', .995), ('233', .995), ('208', .99)])
def test_ventricular_beats_are_found(mitdb, name, at_least):
    record = mitdb_record(name)
    beat = np.isin(record.symbol, list(AAMI))
    found = find_peaks(record.signal[:, 0], record.fs)
    pair = compare_annotations(record.sample[beat], found, 54).matching_sample_nums
    v = np.isin(record.symbol[beat], ['V', 'E'])
    assert (pair[v] >= 0).mean() >= at_least
    assert (pair >= 0).mean() >= .99 and (pair >= 0).sum()/len(found) >= .98
    assert abs(np.median(found[pair[pair >= 0]] - record.sample[beat][pair >= 0])) <= 2


def test_steps_compose():
    sim = simulate_ecg(duration=60., seed=1)
    height = beat_height(sim.signal, sim.fs)
    assert height.shape == sim.signal.shape and (height >= 0).all() and .5 < np.median(height[sim.sample]) < 1.5
    beats = choose_beats(height, sim.fs)
    assert np.diff(beats).min() >= .2*sim.fs - 1
