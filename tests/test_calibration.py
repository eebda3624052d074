"A detector that calibrates itself: repeats, order, words, files, special records"
import json

import numpy as np
import pytest

from ganad.calibration import CALIBRATED, CalibratedDetector, align, calibrate, earliness, evidence, irregularity, load_calibrated, own_shapes, readable, surroundings, unlikeness
from ganad.data.ecg import Beats, simulated_record, record_beats
from ganad.evaluation import auroc


def beats_of(*names, seconds=420.):
    return Beats.concat(record_beats(simulated_record(name, seconds), 'MLII') for name in names)


@pytest.fixture(scope='module')
def train(): return beats_of('101', '106', '108')
@pytest.fixture(scope='module')
def test(): return beats_of('100', '103')
@pytest.fixture(scope='module')
def detector(train): return CalibratedDetector(contamination=.02).fit(train)


def test_finds_ectopic_beats(detector, test):
    assert auroc(test.y, detector.anomaly_score(test)) > .97

def test_labels_of_the_scored_change_nothing(detector, test):
    from dataclasses import replace
    blind = replace(test, y=np.full(len(test), -1, np.int8), symbol=np.full(len(test), ''), group=np.full(len(test), ''), aami=np.full(len(test), ''))
    assert (detector.anomaly_score(blind) == detector.anomaly_score(test)).all()

def test_records_do_not_touch_each_other(detector, test):
    "The score of a record is the same alone, and whatever stands before it"
    both = detector.anomaly_score(test)
    for r in ('100', '103'): np.testing.assert_allclose(detector.anomaly_score(test[test.record == r]), both[test.record == r], rtol=0, atol=1e-6)
    turned = Beats.concat([test[test.record == '103'], test[test.record == '100']])
    np.testing.assert_allclose(detector.anomaly_score(turned), np.r_[both[test.record == '103'], both[test.record == '100']], rtol=0, atol=1e-6)

def test_repeats(detector, train, test):
    again = CalibratedDetector(contamination=.02).fit(train)
    assert again.threshold_ == detector.threshold_ and (again.anomaly_score(test) == detector.anomaly_score(test)).all()

def test_later_shapes_do_not_change_the_calibration(detector, test):
    b = test[test.record == '100']
    late = np.cumsum(np.nan_to_num(b.rr[:, 0])) > 300
    c = detector.calibrate(b)
    other = b[np.arange(len(b))]; other.x = other.x.copy(); other.x[late] = -other.x[late]
    d = detector.calibrate(other)
    np.testing.assert_array_equal(c['100'].shapes, d['100'].shapes); np.testing.assert_array_equal(c['100'].level, d['100'].level)

def test_score_is_equation_4(detector, test):
    b = test[test.record == '100']; before = np.where(np.isnan(b.rr[:, 0]), np.nanmedian(b.rr[:, 0]), b.rr[:, 0]).astype(float)
    c = calibrate(b.x[:, 0], before)
    expected = (unlikeness(b.x[:, 0], c.shapes) - c.level/4).mean(1) + earliness(before)/np.maximum(irregularity(before), .05)/3
    np.testing.assert_allclose(detector.anomaly_score(b), expected, atol=1e-6)

def test_threshold_and_signs(detector, train, test):
    flagged = detector.anomaly_score(train)[train.y == 0] > detector.threshold_
    assert abs(flagged.mean() - .02) < .005
    assert ((detector.decision_function(test) < 0) == (detector.predict(test) == -1)).all()
    assert ((detector.anomaly_score(test) > detector.threshold_) == (detector.predict(test) == -1)).all()

def test_saved_and_loaded(detector, test, tmp_path):
    detector.save(tmp_path)
    again = load_calibrated(tmp_path)
    assert (again.anomaly_score(test) == detector.anomaly_score(test)).all() and again.threshold_ == detector.threshold_
    assert again.get_params() == detector.get_params()

@pytest.mark.parametrize('damage', [lambda t: t[:len(t)//2], lambda t: '[]', lambda t: '{}', lambda t: json.dumps(json.loads(t) | {'format': 2}),
                                    lambda t: json.dumps(json.loads(t) | {'typical': [1, 2]}), lambda t: json.dumps(json.loads(t) | {'params': {'minuets': 5}})])
def test_damaged_files_are_refused(detector, tmp_path, damage):
    detector.save(tmp_path)
    file = tmp_path/CALIBRATED
    file.write_text(damage(file.read_text()))
    with pytest.raises(ValueError, match=CALIBRATED): load_calibrated(tmp_path)

def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='folder that `save` was given'): load_calibrated(tmp_path)

def test_refusals(detector, test):
    with pytest.raises(TypeError, match='record_beats'): detector.anomaly_score(test.x)
    with pytest.raises(ValueError, match='10 beats'): detector.anomaly_score(test[:7])
    with pytest.raises(ValueError, match='order of time'): detector.anomaly_score(test[np.arange(50)[::-1]])
    with pytest.raises(ValueError, match='contamination'): CalibratedDetector(contamination=.7).fit(test)
    with pytest.raises(ValueError, match=r'\(N, 1, 320\)'): detector.anomaly_score(beats_of_length(160))

def beats_of_length(n): return record_beats(simulated_record('100', 60.), 'MLII', length=n)

def test_short_record_says_so(detector, test):
    c = detector.calibrate(test[test.record == '100'][:60])['100']
    assert c.short and 'shorter than the calibration' in repr(c)

def test_one_shape(detector, test):
    b = test[(test.record == '100') & (test.y == 0)]
    assert (detector.predict(b) < 0).mean() < .1

def test_unreadable_beats_get_no_score(detector, test):
    b = test[test.record == '100']; x = b.x[:, 0].copy(); x[::10] = np.nan
    score, c = detector.score_record(x, b.rr[:, 0])
    assert np.isnan(score[::10]).all() and np.isfinite(np.delete(score, np.arange(0, len(x), 10))).all()
    with pytest.raises(ValueError, match='can be read'): detector.score_record(np.full_like(x, np.nan), b.rr[:, 0])

def test_amplitude_and_offset_do_not_matter(detector, test):
    b = test[test.record == '100']
    one, two = (detector.score_record(x, b.rr[:, 0])[0] for x in (b.x[:, 0], 3*b.x[:, 0] + 2))
    np.testing.assert_allclose(one, two, atol=1e-2)

def test_surroundings():
    v = np.r_[np.ones(50), 2*np.ones(50)]
    assert (surroundings(v, 5, .5)[:45] == 1).all() and (surroundings(v, 5, .5)[55:] == 2).all()
    assert len(surroundings(np.ones(3), 40, .5)) == 3

def test_rhythm():
    run = np.full(200, .8); run[80:120] = .4
    assert np.allclose(earliness(run)[80:120], np.log(2)) and np.allclose(earliness(run)[:80], 0)
    assert irregularity(np.tile([.5, 1.1], 60)).max() < 1e-6

def test_alignment_finds_the_shift(rng=np.random.default_rng(0)):
    shape = np.exp(-.5*((np.arange(320) - 140)/8)**2) + .01*rng.normal(size=320)
    for shift in (-7, 0, 7): np.testing.assert_allclose(align(np.roll(shape, shift)[None], shape)[0, 20:300], shape[20:300])

def test_two_shapes_are_found_and_a_rare_one_is_not(rng=np.random.default_rng(0)):
    t = np.arange(320) - 140
    a, b, c = np.exp(-.5*(t/8)**2), -np.exp(-.5*(t/15)**2), np.exp(-.5*((t - 20)/8)**2) - np.exp(-.5*((t + 20)/8)**2)
    x = np.concatenate([np.tile(s, (n, 1)) for s, n in ((a, 60), (b, 30), (c, 8))]) + .01*rng.normal(size=(98, 320))
    shapes = own_shapes(x)
    assert len(shapes) == 2 and np.abs(shapes[0] - a).max() < .05 and np.abs(shapes[1] - b).max() < .05

def test_noise_flat_and_missing_beats_cannot_be_read(test, rng=np.random.default_rng(0)):
    x = test.x[test.record == '100', 0][:100].copy()
    assert readable(x).all()
    x[20] = np.nan; x[30] = 0; x[40] = rng.normal(size=320); x[60:80] = np.cumsum(rng.normal(size=(20, 320)), axis=1)
    marked = ~readable(x)
    assert marked[[20, 30]].all() and not marked[40] and marked[62:78].all() and marked.sum() <= 26
