"""Records that a scan's detector meets in the field: what it says of them, in words and in states."""
import numpy as np, pytest

from ganad.data.files import RecordError
from ganad.data.toys import draw_beats, subject_waves
from ganad.records import scan

FS = 360

def intervals(rate, seconds, spread=.02, seed=0):
    "Times between beats, s"
    return np.maximum(.2, 60/rate*(1 + spread*np.random.default_rng(seed).standard_normal(int(seconds*rate/60))))

def trace(rr, symbol='N', seed=0, noise=.02):
    "(signal in millivolts, times of the beats) of beats of the given kinds"
    rr = np.asarray(rr, float)
    time, rng = np.cumsum(rr), np.random.default_rng(seed)
    kinds = np.full(len(rr), symbol) if isinstance(symbol, str) else np.asarray(symbol)
    n = int((time[-1] + 1)*FS)
    drawn = draw_beats(n, FS, time, kinds, rr, subject_waves(0)[0], .05, rng)
    return (sum(drawn.values()) + noise*rng.standard_normal(n) + .1*np.sin(2*np.pi*.25*np.arange(n)/FS)).astype(np.float32), time

def said(beats): return ' '.join(beats.attrs['notes'] + beats.attrs['calibration_notes'])

def test_a_slow_ventricular_rhythm_is_not_noise_and_its_taking_over_is_said():
    rr = np.r_[intervals(72, 360), intervals(90, 900, .01)]
    x, time = trace(rr, ['N']*432 + ['V']*(len(rr) - 432))
    beats = scan(x, FS)
    new = beats[beats.time > 365]
    assert (new.state == 'noise').mean() < .02
    assert new[new.time < 590].anomalous.mean() > .8
    assert 'other' in {s['state'] for s in beats.attrs['stretches']}
    assert 'another shape' in said(beats) and 'unlike this person' in said(beats)

def test_a_pause_is_said():
    rr = intervals(72, 900)
    rr[700] = 12
    x, time = trace(rr)
    assert 'no beat was found for 12' in said(scan(x, FS))

def test_a_gap_in_the_calibration_is_not_a_short_record():
    x, _ = trace(intervals(72, 1200))
    x[20*FS:600*FS] = np.nan
    words = said(scan(x, FS))
    assert 'shorter than the calibration' not in words and 'minutes could be read' in words

def test_few_beats_before_a_gap_do_not_spoil_the_record():
    x, _ = trace(intervals(72, 1200))
    x[5*FS:600*FS] = np.nan
    beats = scan(x, FS)
    assert beats[beats.time > 605].readable.mean() > .95 and beats.anomalous.mean() < .05

def test_too_few_beats_are_refused_with_the_records_name():
    x, _ = trace(intervals(72, 8))
    with pytest.raises(RecordError, match='(?s)record .*beats'): scan(x, FS)

@pytest.mark.parametrize('height', [1., .2])
def test_small_fibrillation_is_not_hidden(height):
    x, _ = trace(intervals(72, 420))
    t, rng = np.arange(90*FS)/FS, np.random.default_rng(0)
    phase = 2*np.pi*np.cumsum(5 + .8*np.convolve(rng.standard_normal(len(t)), np.ones(FS)/FS**.5, 'same'))/FS
    wave = height*(np.sin(phase)*(1 + .4*np.sin(2*np.pi*.3*t))/2 + .1*rng.standard_normal(len(t))*.1)
    beats = scan(np.r_[x, wave.astype(np.float32), x[:120*FS]], FS)
    inside = beats[beats.time.between(len(x)/FS + 3, len(x)/FS + 87)]
    assert inside.anomalous.mean() > .8 and 'fast' in set(inside.state)

def test_a_tachycardia_from_the_first_beat_is_said():
    x, _ = trace(intervals(170, 420, .01), 'V')
    assert 'may be a tachycardia' in said(scan(x, FS))

def test_a_fit_is_flagged_and_said():
    x, time = trace(np.r_[intervals(70, 400), intervals(170, 120, .01, 1), intervals(70, 200, seed=2)])
    beats = scan(x, FS)
    fit = beats[beats.time.between(402, 518)]
    assert fit.anomalous.mean() > .8 and beats[beats.time < 395].anomalous.mean() < .05
    assert any(s['state'] == 'fast' for s in beats.attrs['stretches'])

def test_fibrillation_of_the_atria_is_said_and_not_shouted():
    x, _ = trace(intervals(85, 600, .22))
    beats = scan(x, FS)
    assert 'irregular' in said(beats) and beats.anomalous.mean() < .2

def test_gaps_do_not_make_scores_depend_on_the_pieces():
    x, _ = trace(intervals(72, 900))
    x[200*FS:215*FS] = np.nan
    x[640*FS:690*FS] = np.nan
    a, b = scan(x, FS, piece=600), scan(x, FS, piece=47)
    np.testing.assert_array_equal(a['sample'], b['sample'])
    np.testing.assert_allclose(a.score, b.score, atol=1e-4)

def test_stretches_do_not_overlap():
    rng = np.random.default_rng(0)
    x, _ = trace(intervals(72, 420))
    spoilt = np.r_[x, np.cumsum(rng.standard_normal(60*FS))*.02, x[:200*FS]]
    found = scan(spoilt.astype(np.float32), FS).attrs['stretches']
    assert all(a['stop'] < b['start'] for a, b in zip(found, found[1:]))

def test_a_lead_that_comes_off_does_not_cost_the_beats_before():
    x, _ = trace(intervals(72, 600))
    beats = scan(np.r_[x, .02*np.random.default_rng(0).standard_normal(600*FS)].astype(np.float32), FS)
    assert beats[beats.time < 595].readable.mean() > .95

def test_parameters_and_times_are_checked():
    from ganad.calibration import CalibratedDetector
    from ganad.rhythm import RhythmModel
    x = np.random.default_rng(0).standard_normal((30, 320))
    for bad in (dict(fast=0), dict(minutes=0), dict(context=-1)):
        with pytest.raises(ValueError, match='must be positive'): CalibratedDetector(**bad).follow(x, np.arange(30.))
    for seconds in (np.arange(30.)[::-1], np.arange(29.), np.full(30, np.nan)):
        with pytest.raises(ValueError, match='increasing'): CalibratedDetector().follow(x, seconds)
    assert RhythmModel(spreads=[.02, .2]).posterior(np.full(20, .8)).kinds.shape == (20, 5)
    with pytest.raises(ValueError, match='shortest and the longest'): RhythmModel(cycles=(2, .3))
