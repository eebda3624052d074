"Scans of records that are special: a sensible answer, and a plain word for it"
import numpy as np, pytest
from scipy.signal import butter, sosfiltfilt

from ganad.commands import scan_main
from ganad.data.ecg import RecordError
from ganad.data.toys import draw_beats, simulate_ecg, subject_waves
from ganad.detector import make_detector
from ganad.records import open_detector, scan, shipped_detectors, stretch_lines, summary_text

pytestmark = pytest.mark.skipif('mitdb-calibrated' not in shipped_detectors(), reason='no trained weights are shipped with this version')
FS = 360


def drawn(interval, symbol=None, p_wave=True, subject=0, seed=0):
    "A lead with beats of these intervals (s) and kinds, with breathing and noise: (lead, times of the beats)"
    rng, times = np.random.default_rng(seed), np.cumsum(interval)
    n, waves = round((times[-1] + 1)*FS), subject_waves(subject)[0].copy()
    if not p_wave: waves[0, 2] = 0
    symbol = np.full(len(times), 'N') if symbol is None else np.asarray(symbol)
    beats = draw_beats(n, FS, times, symbol, np.full(len(times), np.median(interval)), waves, .05, rng)
    return (sum(beats.values()) + .15*np.sin(2*np.pi*.25*np.arange(n)/FS) + .02*rng.standard_normal(n)).astype('f4'), times

def sinus(n, rate=70, sd=.03, seed=0): return 60/rate + sd*np.random.default_rng(seed).normal(size=n)
def irregular(n, seed=0): return np.clip(.6*np.exp(.25*np.random.default_rng(seed).normal(size=n)), .3, 1.5)
def words(frame): return ' / '.join(frame.attrs['notes'] + frame.attrs['calibration_notes'])
def kind_of(frame, times, symbol): return np.asarray(symbol)[np.abs(frame.time.to_numpy()[:, None] - times).argmin(1)]

@pytest.fixture(scope='module')
def steady(): return drawn(sinus(1050))[0] # A quarter of an hour at 70 a minute

def spliced(lead, start, stop, other):
    "A lead that is another one from `start` to `stop`, s"
    out, part = lead.copy(), slice(int(start*FS), int(stop*FS))
    out[part] = other[part]
    return out


# What a whole record may be

@pytest.mark.parametrize('subject', [0, 5])
def test_of_one_shape_only(subject):
    frame = scan(simulate_ecg(900, rates={}, subject=subject, seed=3).signal, FS)
    assert frame.anomalous.mean() < .01 and (frame.state == '').all()
    assert words(frame) == '' and len(frame.attrs['own_shapes']) == 1 and not frame.attrs['stretches']

def test_mostly_ectopic():
    "Two of three beats are ventricular"
    symbol = np.tile(['N', 'V', 'V'], 300)
    lead, times = drawn(np.where(symbol == 'V', .5, 1.1) + .02*np.random.default_rng(0).normal(size=900), symbol)
    frame = scan(lead, FS)
    kind = kind_of(frame, times, symbol)
    assert frame.anomalous[kind == 'V'].mean() > .95 and frame.anomalous[kind == 'N'].mean() < .05
    assert 'extra beats are frequent' in words(frame) and 'of the beats came on time: a very irregular rhythm, or mostly extra beats' in words(frame)

def test_fibrillation_from_the_first_beat():
    frame = scan(drawn(irregular(1000), p_wave=False)[0], FS)
    assert (frame.state == 'irregular').mean() > .95 and frame.anomalous.mean() < .05
    assert 'the rhythm is irregular, as in atrial fibrillation' in words(frame) and 'early beats mean little there' in words(frame)
    assert any('irregular, as in atrial fibrillation' in line and line.startswith('0:00:0') for line in stretch_lines(frame.attrs))

def test_bigeminy_in_the_first_five_minutes():
    symbol = np.array(['N', 'V']*200 + ['N']*600)
    interval = np.where(symbol == 'V', .5, .85) + .02*np.random.default_rng(0).normal(size=1000)
    interval[1:][symbol[:-1] == 'V'] += .3
    lead, times = drawn(interval, symbol)
    frame = scan(lead, FS)
    kind = kind_of(frame, times, symbol)
    assert times[399] > 300 and frame.anomalous[kind == 'V'].mean() > .95 and frame.anomalous[kind == 'N'].mean() < .02
    assert (frame.state[frame.time < times[399]] == 'frequent').mean() > .95 and (frame.state[frame.time > times[410]] == '').all()
    assert 'extra beats are frequent, as in bigeminy or trigeminy' in words(frame) and 'came on time' in words(frame)

def test_shorter_than_the_calibration():
    sim = simulate_ecg(120, seed=3)
    frame = scan(sim.signal, FS)
    kind = kind_of(frame, sim.sample/FS, sim.symbol)
    assert frame.anomalous[kind == 'V'].all() and frame.anomalous[kind == 'N'].mean() < .05
    assert 'shorter than the calibration should be: all of its 2.0 minutes were used' in words(frame)

def test_ten_beats_and_nine():
    lead = simulate_ecg(12, seed=3, rates={}).signal
    frame = scan(lead[:9*FS], FS)
    assert frame.score.notna().sum() == 10 and not frame.anomalous.any()
    assert 'only 10 beats came on time: the own shape rests on few beats' in words(frame) and 'shorter than the calibration' in words(frame)
    with pytest.raises(RecordError, match='at least 10 beats that can be read in the first 5 minutes, got 9; give a longer or cleaner piece'): scan(lead[:round(8.5*FS)], FS)

def test_the_lead_upside_down():
    "It is said; the own beat is upside down too, so the flagged beats are the same"
    lead = simulate_ecg(600, seed=3).signal
    upright, down, turned = scan(lead, FS), scan(-lead, FS), scan(-lead, FS, invert=True)
    assert 'looks upside down' in words(down) and '--invert' in words(down) and 'upside down' not in words(upright)
    assert 'was turned upside down before scoring' in words(turned) and 'looks' not in words(turned)
    assert abs(down.anomalous.sum() - upright.anomalous.sum()) <= 3 and upright.anomalous.sum() > 20
    np.testing.assert_array_equal(turned.score, upright.score)

def test_a_paced_record(mitdb):
    "104: most beats are paced, in two shapes; they count as the person's own"
    frame = scan(mitdb/'104')
    assert frame.anomalous.mean() < .15 and len(frame.attrs['own_shapes']) == 2
    assert 'as with a pacemaker' in words(frame) and 'normal means usual for this record' in words(frame)


# What a stretch of a record may be

def test_a_fit_of_170_a_minute():
    lead, times = drawn(np.r_[sinus(420), sinus(340, 170, .01), sinus(300)])
    frame = scan(lead, FS)
    fit = frame.time.between(times[420], times[759])
    assert fit.sum() > 330 and frame.anomalous[fit].mean() > .95 and (frame.state[fit] == 'fast').mean() > .95
    assert frame.anomalous[~fit].mean() < .02 and (frame.state[~fit] == '').mean() > .99
    [stretch] = frame.attrs['stretches']
    assert stretch['state'] == 'fast' and abs(stretch['start'] - times[420]) < 3 and abs(stretch['stop'] - times[759]) < 3
    assert "fast and unlike this person's beat in 1 stretch, 0:01:59" in words(frame) or "fast and unlike this person's beat in 1 stretch, 0:02:00" in words(frame)
    [line] = stretch_lines(frame.attrs)
    assert line.startswith(('0:05:59 to', '0:06:00 to')) and "fast, unlike this person's beat" in line and f'Stretch: {line}' in summary_text(frame)

@pytest.mark.parametrize('height', [.5, 1., 1.5])
@pytest.mark.parametrize('rate', [160, 200, 240])
def test_wide_fast_waves_are_no_noise(rate, height, steady):
    "As in ventricular tachycardia or flutter"
    t = np.arange(len(steady))/FS
    waves = height*np.sin(2*np.pi*rate/60*t) + .02*np.random.default_rng(0).standard_normal(len(t))
    frame = scan(spliced(steady, 480, 540, waves), FS)
    there = frame.time.between(482, 538)
    assert (frame.state[there] == 'fast').mean() > .85 and not (frame.state[there] == 'noise').any() and frame.anomalous[there].mean() > .95
    assert frame.anomalous[~frame.time.between(479, 541)].mean() < .01
    assert "fast and unlike this person's beat" in words(frame) and 'could not be read' not in words(frame)

@pytest.mark.parametrize('rate', [170, 200])
def test_a_run_of_ventricular_beats(rate):
    n = rate
    symbol = np.r_[['N']*560, ['V']*n, ['N']*300]
    lead, times = drawn(np.r_[sinus(560), sinus(n, rate, .005), sinus(300, seed=1)], symbol)
    frame = scan(lead, FS)
    kind = kind_of(frame, times, symbol)
    assert frame.anomalous[kind == 'V'].mean() > .95 and (frame.state[kind == 'V'] == 'fast').mean() > .95 and frame.anomalous[kind == 'N'].mean() < .02
    assert [s['state'] for s in frame.attrs['stretches']] == ['fast']

@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('high, order, tails, gain', [(2, 2, 30, 8), (3, 1, 3, 1)], ids=['slow waves', 'slow waves and jerks'])
def test_electrode_motion_is_noise(high, order, tails, gain, seed, steady):
    "Strong slow waves under the beats, for two minutes"
    motion = sosfiltfilt(butter(order, (.3, high), 'bandpass', fs=FS, output='sos'), np.random.default_rng(seed).standard_t(tails, size=len(steady)))
    frame = scan(spliced(steady, 480, 600, steady + gain*motion/motion.std()), FS)
    there = frame.time.between(482, 598)
    assert (frame.state[there] == 'noise').mean() > .7 and not frame.anomalous[frame.state == 'noise'].any()
    assert frame.anomalous[there].mean() < .15 and frame.anomalous[~frame.time.between(479, 601)].mean() < .005
    assert 'of the beats could not be read' in words(frame) and 'noise' in words(frame)
    assert any('noise, not readable' in line for line in stretch_lines(frame.attrs))

def test_slow_waves_that_leave_the_beats_readable(steady):
    motion = sosfiltfilt(butter(2, (.3, 2), 'bandpass', fs=FS, output='sos'), np.random.default_rng(0).normal(size=len(steady)))
    frame = scan(spliced(steady, 480, 600, steady + motion/motion.std()), FS)
    assert frame.readable.mean() > .99 and frame.anomalous.mean() < .005 and words(frame) == ''

def test_an_irregular_stretch_is_said_and_not_shouted():
    lead, times = drawn(np.r_[sinus(560), irregular(300), sinus(300, seed=1)])
    frame = scan(lead, FS)
    there = frame.time.between(times[560], times[859])
    assert (frame.state[there] == 'irregular').mean() > .95 and frame.anomalous[there].mean() < .1 and frame.anomalous[~there].mean() < .01
    [stretch] = frame.attrs['stretches']
    assert stretch['state'] == 'irregular' and abs(stretch['start'] - times[560]) < 5 and abs(stretch['stop'] - times[859]) < 5
    assert 'the rhythm is irregular, as in atrial fibrillation' in words(frame)


# Pieces, and the same again

@pytest.mark.parametrize('piece', [300, 70, 33.3])
def test_the_pieces_of_a_scan_do_not_matter(piece):
    "But for the last digit of single precision; which beats are flagged, and why not, is the same"
    lead = simulate_ecg(700, seed=3).signal
    lead[300*FS:330*FS] += 2*np.sin(2*np.pi*.7*np.arange(30*FS)/FS)
    whole, parts = scan(lead, FS, piece=3600), scan(lead, FS, piece=piece)
    np.testing.assert_allclose(parts.score, whole.score, rtol=0, atol=2e-6)
    for name in ('sample', 'anomalous', 'readable', 'state', 'note'): assert (parts[name] == whole[name]).all(), name
    assert parts.attrs['stretches'] == whole.attrs['stretches']

def test_a_scan_repeats_in_every_bit():
    lead = simulate_ecg(400, seed=3).signal
    one, two = scan(lead, FS), scan(lead, FS)
    assert one.equals(two) and one.attrs == two.attrs


# Thresholds by false alarms an hour

def test_more_alarms_more_flags():
    lead = simulate_ecg(600, seed=3, variation=.2, noise=.06).signal
    frames = [scan(lead, FS, alarms_per_hour=rate) for rate in (5, 20, 90, 400)]
    assert (np.diff([f.attrs['threshold'] for f in frames]) < 0).all()
    flags = [set(f.index[f.anomalous]) for f in frames]
    assert all(a <= b for a, b in zip(flags, flags[1:])) and len(flags[0]) < len(flags[-1])

def test_the_default_is_ninety_an_hour():
    detector = open_detector()
    assert abs(detector.threshold_ - detector.threshold_at(90)) < 1e-3

def test_two_thresholds_are_refused(steady):
    with pytest.raises(ValueError, match='not both'): scan(steady, FS, quantile=.9, alarms_per_hour=90)

def test_beyond_the_curve_is_refused(steady):
    with pytest.raises(ValueError, match='the curve of false alarms ends at .* an hour, 100000 were asked for; give less'): scan(steady, FS, alarms_per_hour=1e5)

def test_other_detectors_have_no_curve(steady):
    detector = make_detector('pca').fit(np.random.default_rng(0).normal(size=(50, 1, 320)).astype('f4'))
    with pytest.raises(ValueError, match='needs a detector that calibrates itself, not PCA'): scan(steady, FS, detector=detector, alarms_per_hour=90)

def test_the_command_takes_a_cost(tmp_path, capsys):
    np.save(tmp_path/'a.npy', simulate_ecg(120, seed=3).signal)
    call = [str(tmp_path/'a.npy'), '--fs', '360', '--out', str(tmp_path/'out')]
    said = []
    for rate in (2, 400):
        assert scan_main([*call, '--alarms-per-hour', str(rate)]) == 0
        said.append(capsys.readouterr().out)
    at = [f"above {open_detector().threshold_at(rate):.4g}, which" for rate in (2, 400)]
    assert at[0] in said[0] and at[1] in said[1] and at[0] != at[1]
    assert scan_main([*call, '--alarms-per-hour', '99999']) == 1
    assert 'the curve of false alarms ends at' in capsys.readouterr().err
