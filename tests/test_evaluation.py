"Contracts of ganad.evaluation"
import subprocess, sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import wfdb
from sklearn import metrics

from ganad.evaluation import (auroc, average_precision, bootstrap, confusion, counts_above, ec57, ec57_total, f1_at,
                              match_beats, mcc_at, paired_bootstrap, report, results_table)
from ganad.settings import data_folder

@pytest.fixture(params=['smooth', 'ties', 'float32', 'reversed'])
def scored(request):
    rng = np.random.default_rng(3)
    y = (rng.random(500) < .2).astype(int)
    score = rng.normal(y)
    return y, dict(smooth=score, ties=score.round(), float32=score.astype(np.float32), reversed=-score)[request.param]

def test_ranking_figures_equal_scikit_learn(scored):
    assert auroc(*scored) == pytest.approx(metrics.roc_auc_score(*scored), abs=1e-12)
    assert average_precision(*scored) == pytest.approx(metrics.average_precision_score(*scored), abs=1e-12)

def test_weights_mean_repeated_rows(scored):
    y, score = scored
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    for metric in (auroc, average_precision, partial(f1_at, threshold=.5), partial(mcc_at, threshold=.5)):
        assert metric(y, score, weight=weight) == pytest.approx(metric(np.repeat(y, weight), np.repeat(score, weight)), abs=1e-12)

def test_decisions_equal_scikit_learn(scored):
    y, score = scored
    for threshold in (-10, 0, .5, 10):
        assert f1_at(y, score, threshold) == pytest.approx(metrics.f1_score(y, score > threshold, zero_division=0))
        assert mcc_at(y, score, threshold) == pytest.approx(metrics.matthews_corrcoef(y, score > threshold))
        assert sum(confusion(y, score, threshold)) == len(y)

def test_perfect_worst_and_constant_scores():
    y = np.array([0, 0, 0, 1, 1])
    assert (auroc(y, y), auroc(y, -y), auroc(y, np.zeros(5))) == (1, 0, .5)
    assert (average_precision(y, y), average_precision(y, np.zeros(5))) == (1, .4)

def test_a_score_equal_to_the_threshold_is_no_alarm():
    assert confusion([0, 1], [1., 1.], 1.) == (0, 0, 1, 1)

def test_bool_and_list_labels_are_taken():
    assert auroc([False, True], [0, 1]) == auroc(np.array([0, 1], dtype=np.int8), np.array([0, 1])) == 1

@pytest.mark.parametrize('y,score,words', [
    ([0, 1], [0., np.nan], '1 of 2 scores are NaN'), ([0, 1], [0., np.inf], 'infinite'), ([0, 1], [0., 1., 2.], 'one length'),
    ([1, -1], [0., 1.], '0 .normal. and 1'), ([[0], [1]], [[0.], [1.]], 'flat'), ([0, 0], [0., 1.], '2 normal and 0 anomalous'),
    ([1, 1], [0., 1.], '0 normal and 2 anomalous'), ([], [], '0 normal and 0 anomalous')])
def test_bad_input_is_refused(y, score, words):
    for metric in (auroc, average_precision, bootstrap):
        with pytest.raises(ValueError, match=words): metric(y, score)

def test_report():
    y, score = np.array([0, 0, 1, 1]), np.array([.1, .6, .5, .9])
    r = report(y, score, threshold=.55)
    assert (r.n, r.n_anomalous, r.prevalence, r.auroc, r.precision, r.recall, r.false_positive_rate) == (4, 2, .5, .75, .5, .5, .5)
    assert 'f1' not in report(y, score)

def test_report_of_one_class_is_nan_and_says_so():
    with pytest.warns(UserWarning, match='both classes'): r = report([0, 0], [.1, .9], threshold=.5)
    assert np.isnan([r.auroc, r.ap, r.recall]).all() and r.false_positive_rate == .5
    with pytest.warns(UserWarning): r = report([0, 0], [.1, .2], threshold=.5)
    assert np.isnan(r.precision)

def test_counts_above_are_right_at_each_threshold(scored):
    y, score = scored
    found, false, threshold = counts_above(y, score)
    assert (np.diff(threshold) < 0).all()
    for k in range(0, len(threshold), 50):
        assert (found[k], false[k]) == ((y[score >= threshold[k]] == 1).sum(), (y[score >= threshold[k]] == 0).sum())

def people(seed=0, n=20, rows=50):
    rng = np.random.default_rng(seed)
    subject = np.repeat([f's{k}' for k in range(n)], rows)
    y = (rng.random(n*rows) < .3).astype(int)
    return y, rng.normal(1.5*y + np.repeat(rng.normal(size=n), rows)), subject

def test_bootstrap_repeats_and_does_not_hang_on_the_order_of_rows():
    y, score, subject = people()
    once = bootstrap(y, score, groups=subject, n=200)
    shuffled = np.random.default_rng(0).permutation(len(y))
    assert once == bootstrap(y, score, groups=subject, n=200) != bootstrap(y, score, groups=subject, n=200, seed=1)
    assert once == pytest.approx(bootstrap(y[shuffled], score[shuffled], groups=subject[shuffled], n=200))

def test_subjects_give_the_wider_interval():
    y, score, subject = people(rows=400)
    (a, b), (c, d) = bootstrap(y, score, n=200), bootstrap(y, score, groups=subject, n=200)
    assert a < auroc(y, score) < b and d - c > 2*(b - a)

def test_bootstrap_levels_and_metrics():
    y, score, _ = people()
    (a, b), (c, d) = bootstrap(y, score, n=200, level=.5), bootstrap(y, score, n=200)
    assert c < a < b < d
    low, high = bootstrap(y, score, partial(f1_at, threshold=1.), n=100)
    assert low < f1_at(y, score, 1.) < high

def test_bootstrap_with_rare_anomalies_and_too_few_groups():
    y, score = np.zeros(30, int), np.arange(30.)
    y[-1] = 1
    assert bootstrap(y, score, n=50) == (1, 1)
    with pytest.raises(ValueError, match='two groups'): bootstrap(y, score, groups=np.zeros(30))
    with pytest.raises(ValueError, match='group of each row'): bootstrap(y, score, groups=[1, 2])

def test_paired_bootstrap():
    y, score, subject = people()
    same = paired_bootstrap(y, score, score, groups=subject, n=50)
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    worse = score + np.random.default_rng(5).normal(size=len(score))
    pair, back = paired_bootstrap(y, score, worse, groups=subject, n=200), paired_bootstrap(y, worse, score, groups=subject, n=200)
    assert 0 < pair.low < pair.difference < pair.high
    assert (back.low, back.high) == pytest.approx((-pair.high, -pair.low))

def test_beats_match_within_150_ms_inclusive():
    for fs in (100, 125, 128, 250, 257, 360, 1000):
        far = int(.15*fs + 1e-6)
        assert match_beats([1000], [1000 + far], fs)[0] == match_beats([1000], [1000 - far], fs)[0] == 0
        assert match_beats([1000], [1000 + far + 1], fs)[0] == match_beats([1000], [1000 - far - 1], fs)[0] == -1

def test_match_of_nothing():
    assert list(match_beats([], [], 360)) == [] == list(match_beats([], [1], 360))
    assert list(match_beats([1, 2000], [], 360)) == [-1, -1]
    with pytest.raises(ValueError, match='must increase'): match_beats([5, 1], [1, 2], 360)

def test_ec57_counts_by_hand():
    c = ec57([0, 100, 200, 300, 400, 500, 600], list('+NVNA/N'), [101, 203, 250, 301, 500, 602], [0, 1, 1, 0, 1, 1], 100, 36)
    assert (c.hours, c.beats, c.found, c.detections, c.alarms, c.true_alarms) == (.01, 6, 5, 6, 4, 2)
    assert (c.beat_sensitivity, c.beat_ppv, c.alarm_ppv) == (5/6, 5/6, .5)
    assert (c.alarm_sensitivity, c.alarm_sensitivity_S, c.alarm_sensitivity_V, c.alarm_sensitivity_Q) == (2/3, 0, 1, 1)
    assert np.isnan(c.alarm_sensitivity_F) and c.alarm_rate_N == 1/3 and c.false_alarms_per_hour == pytest.approx(200)

def test_ec57_leaves_flutter_and_the_learning_time_out():
    reference, symbol = [100, 1000, 2000, 2100, 2500, 4000, 5000], list('NN[!V]N')
    c = ec57(reference, symbol, [100, 1000, 2200, 2510, 3500, 5000, 6000], np.ones(7), 100, 72, start=9.)
    assert (c.beats, c.found, c.detections, c.alarms, c.true_alarms) == (2, 2, 3, 3, 0)
    assert c.hours == pytest.approx((72 - 9 - 20)/3600)
    until_end = ec57([100, 200], list('N['), [100, 500], [0, 1], 100, 10)
    assert (until_end.detections, until_end.alarms) == (1, 0) and until_end.hours == pytest.approx(2/3600)

def test_a_detection_counts_where_its_beat_lies():
    # the detection of the beat just before the flutter lies within the flutter
    c = ec57([990, 1000, 2000], ['V', '[', ']'], [1003], [True], 100, 60)
    assert (c.beats, c.found, c.detections, c.true_alarms) == (1, 1, 1, 1)

def test_ec57_of_empty_lists_and_bad_input():
    c = ec57([], [], [], [], 360, 60)
    assert c.beats == 0 and np.isnan(c.beat_sensitivity) and c.false_alarms_per_hour == 0
    assert ec57([], [], [100], [1], 360, 36).false_alarms_per_hour == pytest.approx(100)
    assert ec57([100], ['V'], [], [], 360, 60).alarm_sensitivity_V == 0
    with pytest.raises(ValueError, match='symbol or flag'): ec57([1], [], [], [], 360, 60)
    with pytest.raises(ValueError, match='nothing is left'): ec57([1], ['N'], [1], [0], 360, 60, start=60)

def test_ec57_total_is_gross_and_average():
    a = ec57([100, 200, 300], list('VVN'), [100, 200, 300], [1, 1, 0], 100, 36)
    b = ec57([100, 200, 300], list('VNN'), [100, 200, 300], [0, 0, 1], 100, 36)
    total = ec57_total({'a': a, 'b': b})
    assert list(total.index) == ['a', 'b', 'gross', 'average']
    assert total.beats['gross'] == 6 and total.alarm_sensitivity_V['gross'] == pytest.approx(2/3) and total.alarm_sensitivity_V['average'] == .5
    assert total.false_alarms_per_hour['gross'] == pytest.approx(50)
    assert np.isnan(total.alarm_sensitivity_S['gross']) and list(ec57_total([a, b]).index[:2]) == [0, 1]
    with pytest.raises(ValueError, match='no records'): ec57_total([])

def test_ec57_on_mitdb(mitdb):
    folder = data_folder('mitdb')
    for name in ('100', '207', '208'):
        note = wfdb.rdann(str(folder/name), 'atr')
        symbol = np.array(note.symbol)
        beat = np.isin(symbol, list('NLRBaAJSVFejE/fQr'))
        c = ec57(note.sample, symbol, note.sample[beat] + 10, ~np.isin(symbol[beat], list('NLRej')), 360, 650000/360)
        assert (c.beat_sensitivity, c.beat_ppv, c.alarm_sensitivity, c.alarm_ppv, c.false_alarms_per_hour) == (1, 1, 1, 1, 0)
    assert ec57(*[wfdb.rdann(str(folder/'207'), 'atr').__dict__[k] for k in ('sample', 'symbol')], [], [], 360, 650000/360).hours < .47

def test_results_table():
    rows = [dict(method=m, protocol='P1', seed=s, metric=k, value=v + s/10)
            for m, v in (('z', .5), ('a', .7)) for s in range(3) for k in ('auroc', 'ap')]
    rows.append(dict(method='one', protocol='P2', seed=0, metric='auroc', value=.25))
    table = results_table(rows)
    assert list(table.index) == ['z', 'a', 'one'] and list(table.columns) == [('P1', 'auroc'), ('P1', 'ap'), ('P2', 'auroc')]
    assert table.loc['a', ('P1', 'ap')] == '0.800 ± 0.100 (3)' and table.loc['one', ('P2', 'auroc')] == '0.250 (1)' and table.loc['one', ('P1', 'ap')] == '–'
    assert results_table(pd.DataFrame(rows).rename(columns=dict(seed='fold')), digits=1).loc['z', ('P1', 'ap')] == '0.6 ± 0.1 (3)'
    rows[0]['value'] = np.nan
    assert results_table(rows).loc['z', ('P1', 'auroc')].endswith('(2)')
    with pytest.raises(ValueError, match='are there twice'): results_table(rows + rows[:1])
    with pytest.raises(ValueError, match='seed or fold'): results_table(pd.DataFrame(rows).drop(columns='seed'))

def test_import_needs_neither_torch_nor_scikit_learn():
    code = "import sys, ganad.evaluation; assert not {'torch', 'sklearn', 'matplotlib'} & set(sys.modules), 'imported'"
    subprocess.run([sys.executable, '-c', code], check=True)


@pytest.mark.parametrize('call, words', [
    (lambda y, s: auroc(y, s, [-1, 1, 1, 1]), 'weights must be 0 or more'), (lambda y, s: auroc(y, s + 1j), 'real numbers'), (lambda y, s: auroc(None, None), 'flat and of one length'), (lambda y, s: counts_above([], []), 'no scores to count'),
    (lambda y, s: confusion(y, s, np.nan), 'a threshold must be a number, got nan'), (lambda y, s: confusion(y, s, None), 'a threshold must be a number, got None'), (lambda y, s: f1_at(y, s, 'x'), 'a threshold must be'), (lambda y, s: confusion(y, s, [.1, .2]), 'a threshold must be'),
    (lambda y, s: bootstrap(y, s, n=0), 'draws must be a whole number of at least 1, got 0'), (lambda y, s: bootstrap(y, s, level=95), r'must lie in \(0, 1\)'), (lambda y, s: bootstrap(y, s, n=9, seed=None), 'seed must be a whole number'),
    (lambda y, s: ec57([1], ['N'], [1], [1], 0, 10), 'a sampling rate must be a number above 0, in samples a second; got 0'), (lambda y, s: ec57([1], ['N'], [1], [1], '360', 10), "got '360'")])
def test_wrong_calls_are_answered_in_a_sentence(call, words):
    with pytest.raises(ValueError, match=words): call(np.array([0, 1, 0, 1]), np.array([.1, .9, .3, .2]))
