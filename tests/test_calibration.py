"A detector that calibrates itself: repeats, order, pieces, words, thresholds, files, special records"
import json
from dataclasses import replace

import numpy as np
import pytest

from ganad.calibration import CALIBRATED, PARTS, TERMS, WEIGHT_OF_EARLINESS, WEIGHT_OF_RHYTHM, CalibratedDetector, Follower, align, calibrate, compare, earliness, irregularity, known_times, later_shape, lift, load_calibrated, own_shapes, running, surroundings, unlikeness
from ganad.data.ecg import Beats, simulated_record, record_beats
from ganad.evaluation import auroc
from ganad.quality import noisiness
from ganad.rhythm import RhythmModel


def beats_of(*names, seconds=420.):
    return Beats.concat(record_beats(simulated_record(name, seconds), 'MLII') for name in names)

def timed(beats):
    "The windows of one record's beats, and when they come"
    return beats.x[:, 0], np.cumsum(known_times(beats.rr[:, 0]))


@pytest.fixture(scope='module')
def train(): return beats_of('101', '106', '108')
@pytest.fixture(scope='module')
def test(): return beats_of('100', '103')
@pytest.fixture(scope='module')
def long(): return beats_of('100', seconds=1000.)
@pytest.fixture(scope='module')
def detector(train): return CalibratedDetector(contamination=.02).fit(train)


def test_finds_ectopic_beats(detector, test):
    assert auroc(test.y, detector.anomaly_score(test)) > .97

def test_labels_of_the_scored_change_nothing(detector, test):
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

@pytest.mark.parametrize('cuts', [[400], [1, 2, 3, 700], list(range(0, 1000, 7)), [300, 300, 300], 'one by one'])
def test_the_pieces_of_a_record_do_not_matter(cuts, detector, long, rng=np.random.default_rng(0)):
    "Not in one bit, wherever it is cut: before, at and after the end of the calibration"
    x, t = timed(long)
    known = dict(amplitude=rng.normal(0, .1, len(x)), share=rng.uniform(0, .6, len(x)), slow=rng.normal(0, .5, len(x)), good=rng.random(len(x)) > .02)
    whole, calibration = detector.follow(x, t, **known)
    follower = Follower(detector)
    for part in np.split(np.arange(len(x)), np.arange(len(x)) if cuts == 'one by one' else cuts):
        follower.add(x[part], t[part], **{name: v[part] for name, v in known.items()})
    assert follower.finish().equals(whole)
    np.testing.assert_array_equal(follower.calibration.shapes, calibration.shapes)
    assert whole.why.ne('').any() and whole.score.notna().sum() > 500

def test_a_follower_keeps_no_beats(detector, long):
    "What waits is a stretch at most; of a finished one only numbers are kept, none as long as a beat"
    x, t = timed(long)
    follower = Follower(detector)
    for part in np.array_split(np.arange(len(x)), 50):
        follower.add(x[part], t[part])
        assert sum(len(p['t']) for p in follower.rest) <= np.diff(np.searchsorted(t, [0, 330]))[0]
    assert len(follower.done) == 3 and all(np.size(v)/len(d['t']) <= 5 for d in follower.done for v in d.values())

def test_later_shapes_do_not_change_the_calibration(detector, test):
    b = test[test.record == '100']
    x, t = timed(b)
    late = t - t[0] >= 300
    other = x.copy(); other[late] = -other[late]
    c, d = detector.follow(x, t)[1], detector.follow(other, t)[1]
    np.testing.assert_array_equal(c.shapes, d.shapes); np.testing.assert_array_equal(c.level, d.level)
    assert late.sum() > 50 and c.n == d.n == (~late).sum()

def test_score_is_equations_3_to_7(detector, test):
    "Nothing slow around the beats: the weighted sum less the level, and the rhythm's log odds, hardly touched by noise and lift"
    b = test[test.record == '100']; before = known_times(b.rr[:, 0])
    x, t = timed(b)
    table, c = detector.follow(x, t)
    first = t - t[0] < 300
    again = calibrate(x[first], known_times(np.r_[np.nan, np.diff(t[first])]))
    np.testing.assert_array_equal(again.shapes, c.shapes); np.testing.assert_array_equal(again.level, c.level)
    own = c.shapes.astype(float)
    terms = np.array([.8, 1.3, .9])/3*(unlikeness(x, own) - .15*c.level - np.maximum(0, c.level - [-1.2, -4., -1.2]))
    n, sharp = noisiness(0., 0.), .85*np.log(.001 + 1 - compare(x, own)[:, 3]) + .5
    shape = (1 - n)*terms.sum(1) + n*np.minimum(terms.sum(1), sharp)
    odds = RhythmModel().posterior(np.r_[np.nan, before[1:]]).log_odds
    g = lift(shape, np.median(shape[first & (odds < -2)]), before)
    np.testing.assert_allclose(table[['before', 'after']], (1 - n)*terms[:, [0, 2]], atol=1e-6)
    np.testing.assert_allclose(table[list(PARTS)].sum(axis=1), shape, atol=1e-6)
    apart = np.r_[np.nan, np.diff(t)]
    early = np.where(np.isnan(apart), 0, earliness(known_times(apart))/np.maximum(irregularity(known_times(apart)), .05))
    rhythm = .15*odds*(1 - g*(odds < 0)) + .1*early
    np.testing.assert_allclose(table.rhythm, rhythm, atol=1e-6)
    np.testing.assert_allclose(detector.anomaly_score(b), shape + rhythm, atol=1e-6)
    assert n < .002 and (WEIGHT_OF_RHYTHM, WEIGHT_OF_EARLINESS) == (.15, .1) and TERMS == (*PARTS, 'rhythm')

def test_threshold_and_signs(detector, train, test):
    flagged = detector.anomaly_score(train)[train.y == 0] > detector.threshold_
    assert abs(flagged.mean() - .02) < .005
    assert ((detector.decision_function(test) < 0) == (detector.predict(test) == -1)).all()
    assert ((detector.anomaly_score(test) > detector.threshold_) == (detector.predict(test) == -1)).all()


# Thresholds by false alarms an hour

@pytest.fixture(scope='module')
def curved(train, test):
    "A detector that has learned its false alarms on two simulated records"
    out = CalibratedDetector(contamination=.02).fit(train)
    score = out.anomaly_score(test)
    out.learn_alarms([score[(test.record == r) & (test.y == 0)] for r in ('100', '103')], [420/3600]*2)
    return out

def test_the_curve_is_what_it_says(curved, test):
    "A threshold costs as many false alarms an hour, in the mean over the records, as were asked for"
    score, hours = curved.anomaly_score(test), 420/3600
    for rate in (20, 100, 400, 1000):
        threshold = curved.threshold_at(rate)
        cost = np.mean([(score[(test.record == r) & (test.y == 0)] > threshold).sum()/hours for r in ('100', '103')])
        assert abs(cost - rate) <= 12, (rate, cost) # one false alarm in one of the two is 4.3 an hour
    assert (np.diff(curved.alarms_[:, 0]) > 0).all() and (np.diff(curved.alarms_[:, 1]) <= 0).all() and curved.alarms_[-1, 1] == 0

def test_more_alarms_a_lower_threshold(curved):
    at = [curved.threshold_at(rate) for rate in (.5, 1, 5, 20, 90, 300, 1000)]
    assert (np.diff(at) <= 0).all() and at[-1] < at[0]

@pytest.mark.parametrize('rate', [0, -1, float('nan'), float('inf')])
def test_a_cost_is_a_positive_number(rate, curved):
    with pytest.raises(ValueError, match='positive number'): curved.threshold_at(rate)

def test_beyond_the_curve(curved):
    most = curved.alarms_[0, 1]
    assert curved.threshold_at(most) == curved.alarms_[0, 0]
    with pytest.raises(ValueError, match=f'ends at {most:.0f} an hour, 100000 were asked for'): curved.threshold_at(1e5)

def test_a_detector_without_a_curve_says_so(detector):
    with pytest.raises(ValueError, match='has not learned'): detector.threshold_at(90)

def test_a_new_fit_forgets_the_curve(curved, train):
    again = CalibratedDetector(contamination=.02).fit(train)
    again.alarms_ = curved.alarms_
    with pytest.raises(ValueError, match='has not learned'): again.fit(train).threshold_at(90)


# Files

def test_saved_and_loaded(detector, test, tmp_path):
    detector.save(tmp_path)
    again = load_calibrated(tmp_path)
    assert (again.anomaly_score(test) == detector.anomaly_score(test)).all() and again.threshold_ == detector.threshold_
    assert again.get_params() == detector.get_params() and not hasattr(again, 'alarms_')

def test_a_saved_detector_keeps_its_curve(curved, tmp_path):
    curved.save(tmp_path)
    again = load_calibrated(tmp_path)
    np.testing.assert_array_equal(again.alarms_, curved.alarms_)
    assert all(again.threshold_at(rate) == curved.threshold_at(rate) for rate in (1, 20, 90, 300))

def test_a_file_of_the_former_format_is_refused(detector, tmp_path):
    detector.save(tmp_path)
    file = tmp_path/CALIBRATED
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != 'alarms'} | dict(format=1)))
    with pytest.raises(ValueError, match='it has the format 1, this version of ganad reads format 2') as raised: load_calibrated(tmp_path)
    assert len(str(raised.value).splitlines()) == 1 and 'save the detector anew' in str(raised.value)

@pytest.mark.parametrize('damage', [lambda t: t[:len(t)//2], lambda t: '[]', lambda t: '{}', lambda t: json.dumps(json.loads(t) | {'format': 3}), lambda t: json.dumps(json.loads(t) | {'alarms': [1, 2, 3]}),
                                    lambda t: json.dumps(json.loads(t) | {'typical': [1, 2]}), lambda t: json.dumps(json.loads(t) | {'params': {'minuets': 5}})])
def test_damaged_files_are_refused(detector, tmp_path, damage):
    detector.save(tmp_path)
    file = tmp_path/CALIBRATED
    file.write_text(damage(file.read_text()))
    with pytest.raises(ValueError, match=CALIBRATED): load_calibrated(tmp_path)

def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='folder that `save` was given'): load_calibrated(tmp_path)


# What is refused, and what is said

def test_refusals(detector, test):
    with pytest.raises(TypeError, match='record_beats'): detector.anomaly_score(test.x)
    with pytest.raises(ValueError, match='10 beats'): detector.anomaly_score(test[:7])
    with pytest.raises(ValueError, match='order of time'): detector.anomaly_score(test[np.arange(50)[::-1]])
    with pytest.raises(ValueError, match='contamination'): CalibratedDetector(contamination=.7).fit(test)
    with pytest.raises(ValueError, match=r'\(N, 1, 320\)'): detector.anomaly_score(beats_of_length(160))
    with pytest.raises(ValueError, match='no beats to score'): Follower(detector).finish()

def beats_of_length(n): return record_beats(simulated_record('100', 60.), 'MLII', length=n)

def test_short_record_says_so(detector, test):
    c = detector.follow(*timed(test[test.record == '100'][:60]))[1]
    assert c.short and 'shorter than the calibration' in repr(c)

def test_ten_beats_are_scored_with_a_warning(detector, test):
    b = test[(test.record == '100') & (test.y == 0)][:10]
    table, c = detector.follow(*timed(b))
    assert table.score.notna().all() and c.n == 10 and 'rests on few beats' in repr(c) and 'shorter than the calibration' in repr(c)
    with pytest.raises(ValueError, match='at least 10 beats that can be read in the first 5 minutes, got 9'): detector.follow(*timed(b[:9]))

def test_one_shape(detector, test):
    b = test[(test.record == '100') & (test.y == 0)]
    assert (detector.predict(b) < 0).mean() < .1

def test_unreadable_beats_get_no_score(detector, test):
    b = test[test.record == '100']; x, t = timed(b); x = x.copy(); x[::10] = np.nan; x[5::10] = 0
    table = detector.follow(x, t)[0]
    lost = np.arange(len(x)) % 5 == 0
    assert table.score[lost].isna().all() and table.score[~lost].notna().all() and (table.why[lost] == 'not whole').all() and (table.why[~lost] == '').all()
    with pytest.raises(ValueError, match='can be read'): detector.follow(np.full_like(x, np.nan), t)

def test_amplitude_and_offset_do_not_matter(detector, test):
    x, t = timed(test[test.record == '100'])
    one, two = (detector.follow(v, t)[0].score for v in (x, 3*x + 2))
    np.testing.assert_allclose(one, two, atol=1e-2)

def test_covered_beats_have_no_score(detector, long, rng=np.random.default_rng(0)):
    "Strong slow noise hides what is unlike the own beat, and no beat that is like it"
    x, t = timed(long)
    x, there = x.copy(), (t > 500) & (t < 600)
    x[there] = np.cumsum(rng.normal(size=(there.sum(), 320)), axis=1)
    loud = dict(share=np.where(there, .8, .05), slow=np.where(there, 2., 0.))
    table = detector.follow(x, t, **loud)[0]
    assert (table.state[there] == 'noise').mean() > .95 and not (table.score[there] > detector.threshold_).mean() > .05
    quiet = detector.follow(x, t)[0] # the same shapes without the slow waves can be read, and are unlike
    assert (quiet.state[there] != 'noise').all() and (quiet.score[there] > detector.threshold_).mean() > .5
    kept = detector.follow(timed(long)[0], t, **loud)[0] # the own beats under the same slow waves
    assert (kept.why[there] == '').mean() > .8

def test_a_new_shape_that_stays_becomes_the_persons_own(detector):
    "It is flagged at first, and no longer from the next stretch on; one that is fast never becomes own"
    b = beats_of('100', seconds=1300.)
    b = b[b.y == 0]
    x, t = timed(b)
    new = np.where((t > 400)[:, None], x[:, ::-1], x)
    flagged = detector.follow(new, t)[0].score.to_numpy() > detector.threshold_
    assert flagged[(t > 410) & (t < 590)].mean() > .9 and flagged[t > 610].mean() < .05
    quick = np.cumsum(np.where(t > 400, .5, 1)*np.r_[t[0], np.diff(t)])
    flagged = detector.follow(new, quick)[0].score.to_numpy() > detector.threshold_
    assert flagged[quick > 610].mean() > .9

def test_later_shapes_are_common_on_time_and_slow(rng=np.random.default_rng(0)):
    shape = np.exp(-.5*((np.arange(320) - 140)/8)**2)
    x, other = shape + .01*rng.normal(size=(100, 320)), rng.normal(size=(100, 320))
    np.testing.assert_allclose(later_shape(x, np.full(100, .8))[0], shape, atol=.02)
    assert len(later_shape(x, np.full(100, .4))) == 0                    # fast
    assert len(later_shape(x[:20], np.full(20, .8))) == 0                # few
    assert len(later_shape(other, np.full(100, .8))) == 0                # of no shape
    assert len(later_shape(np.r_[x[:40], other[:60]], np.full(100, .8))) == 0 # of one that is not common


# The parts

def test_surroundings():
    v = np.r_[np.ones(50), 2*np.ones(50)]
    assert (surroundings(v, 5, .5)[:45] == 1).all() and (surroundings(v, 5, .5)[55:] == 2).all()
    assert len(surroundings(np.ones(3), 40, .5)) == 3

def test_early():
    run = np.full(200, .8); run[80:120] = .4
    assert np.allclose(earliness(run)[80:120], np.log(2)) and np.allclose(earliness(run)[:80], 0)
    assert irregularity(np.tile([.5, 1.1], 60)).max() < 1e-6

def test_lift_is_for_what_is_both_fast_and_unlike():
    far, near, quick, slow = np.full(60, 5.), np.zeros(60), np.full(60, .3), np.full(60, .8)
    assert lift(far, 0., quick).min() > .99
    for shape, before in ((far, slow), (near, quick), (near, slow)): assert lift(shape, 0., before).max() < .05
    assert (lift(np.full(60, np.nan), 0., quick) == 0).all()

def test_running_median_leaves_out_what_is_not_known():
    assert running(np.array([1, np.nan, 3, 100, 5.]), 1).tolist() == [1, 2, 51.5, 5, 52.5]

def test_alignment_finds_the_shift(rng=np.random.default_rng(0)):
    shape = np.exp(-.5*((np.arange(320) - 140)/8)**2) + .01*rng.normal(size=320)
    for shift in (-7, 0, 7): np.testing.assert_allclose(align(np.roll(shape, shift)[None], shape)[0, 20:300], shape[20:300])

def test_compare_tells_likeness_and_height_of_the_sharp_part(rng=np.random.default_rng(0)):
    shape = np.exp(-.5*((np.arange(320) - 140)/8)**2)
    drift = np.sin(2*np.pi*np.arange(320)/720) # 0.5 Hz
    for x, height in ((shape, 1), (3*shape + 1, 3), (.5*shape + drift, .5)):
        row = compare(x[None], shape)[0]
        np.testing.assert_allclose(row[3:], [1, height], atol=.03*height)
    assert compare(-shape[None], shape)[0, 3] < 0
    np.testing.assert_array_equal(compare(shape[None], shape)[:, :3], unlikeness(shape[None], shape))

def test_two_shapes_are_found_and_a_rare_one_is_not(rng=np.random.default_rng(0)):
    t = np.arange(320) - 140
    a, b, c = np.exp(-.5*(t/8)**2), -np.exp(-.5*(t/15)**2), np.exp(-.5*((t - 20)/8)**2) - np.exp(-.5*((t + 20)/8)**2)
    x = np.concatenate([np.tile(s, (n, 1)) for s, n in ((a, 60), (b, 30), (c, 8))]) + .01*rng.normal(size=(98, 320))
    shapes = own_shapes(x)
    assert len(shapes) == 2 and np.abs(shapes[0] - a).max() < .05 and np.abs(shapes[1] - b).max() < .05
