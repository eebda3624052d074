"""Protocol P6: figures of small records that can be counted by hand."""
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import wfdb

from ganad import protocol
from ganad.commands import bench_main
from ganad.data.databases import rhythms
from ganad.data.ecg import Record, RecordError
from ganad.data.toys import simulate_ecg
from ganad.evaluation import ec57
from ganad.protocol import (Inputs, Scorer, at_alarm_rate, beat_by_beat, checked_table, difference, false_alarms, features, flagged_time, in_words, judge, judge_records,
                            neighbour_score, one_lead, own_distance, plain_earliness, protocol_records, protocol_table, rankings, ratio_interval, record_inputs, record_scorer,
                            rhythm_by_rhythm, scan_scorer, sum_of, summarize, training)
from ganad.records import scan

FS = 100.

def record(beats, notes=(), seconds=None, name='r'):
    "Beats (second, symbol) and notes (second, symbol, text or subtype), without a signal to speak of"
    rows = sorted([(t, s, '', 0) for t, s in beats] + [(t, s, *((x, 0) if isinstance(x, str) else ('', x))) for t, s, x in notes])
    at, symbol, aux, subtype = zip(*rows) if rows else ((), (), (), ())
    n = int((seconds or max(at) + 1)*FS)
    return Record(np.zeros((n, 1), np.float32), FS, ['II'], name, np.round(np.array(at)*FS).astype(np.int64), np.array(symbol, dtype='<U2'), np.array(subtype, int), np.array(aux, dtype=str))

def table(times, scores=None, flagged=(), unreadable=(), **more):
    times = np.asarray(times, float)
    return pd.DataFrame(dict(sample=np.round(times*FS).astype(int), score=np.zeros(len(times)) if scores is None else scores,
                             anomalous=np.isin(times, flagged), readable=~np.isin(times, unreadable), **more))

EVERY = [(t, 'N') for t in range(1, 701)]


# ---- the table of a scorer

def test_a_table_that_lacks_something_is_refused():
    good = table([1, 2])
    with pytest.raises(ValueError, match='readable is not there'): judge(record(EVERY), good.drop(columns='readable'))
    with pytest.raises(ValueError, match='order of time'): judge(record(EVERY), good.iloc[::-1])
    with pytest.raises(ValueError, match='NaN or infinite'): judge(record(EVERY), good.assign(score=[1, np.nan]))

def test_a_beat_that_cannot_be_read_is_neither_scored_nor_flagged():
    found = checked_table(table([1, 2], [5, 6], flagged=[2], unreadable=[2]))
    assert not found.anomalous.any() and np.isnan(found.score[1])

def test_lead_by_name():
    two = Record(np.arange(20.).reshape(10, 2), FS, ['V1', 'II'], 'r')
    assert one_lead(two).leads == ['II'] and one_lead(two, 'V1').signal[1, 0] == 2
    assert one_lead(replace(two, leads=['A', 'B'])).leads == ['A']
    with pytest.raises(RecordError, match='V1, II'): one_lead(two, 'V9')


# ---- beats

def test_counts_of_one_record():
    "Ten minutes of beats; abnormal ones at 350 (V, flagged), 400 (S, missed), 450 (V, found and unreadable), 100 (V, in the calibration)"
    beats = [(t, {350: 'V', 400: 'A', 450: 'V', 100: 'V', 500: 'F'}.get(t, 'N')) for t in range(1, 700)]
    times = [t for t in range(1, 700) if t != 400] + [699.5]
    scores = np.array([t in (350, 100, 360, 500) for t in times], float)
    out = judge(record(beats, seconds=700), table(times, scores, flagged=[100, 101, 350, 360, 370, 450, 699.5], unreadable=[450]))
    assert out.judged_from == 300 and out.hours == pytest.approx(400/3600)
    assert (out.beats, out.beats_N, out.beats_V, out.beats_S, out.beats_F) == (400, 396, 2, 1, 1)
    assert (out.flagged_V, out.flagged_S, out.flagged_F, out.flagged) == (.5, 0, 0, .25)
    assert out.false_alarms == 3 and out.false_alarms_per_hour == pytest.approx(27) and out.flagged_N == pytest.approx(2/396)
    assert out.unreadable == pytest.approx(1/400) and out.found == pytest.approx(399/400) and out.alarms_per_hour == pytest.approx(36)
    assert out.first_flagged_V == 1 and out.first_flagged_N == pytest.approx(1/298) and out.first_false_alarms_per_hour == pytest.approx(12)

def test_auroc_by_class_and_with_what_was_not_read():
    beats = record([(1, 'N'), (2, 'N'), (3, 'V'), (4, 'A'), (5, 'N'), (6, 'V'), (7, 'j')])
    each = beat_by_beat(beats, table([1, 2, 3, 4, 5, 6, 7], [0, 2, 3, 1, .5, 9, .7], unreadable=[6]))
    r = rankings(each)
    assert r['auroc_V'] == 1 and r['auroc_S'] == pytest.approx(3/4) and r['auroc'] == pytest.approx(7/8)
    assert r['group_auroc_S'] == pytest.approx((2 + 2)/(2*3)) # `j` is S in BeatGAN's classes, N in EC57's
    assert r['auroc_all'] == pytest.approx((4 + 3 + 0)/12) and np.isnan(r['auroc_F'])

def test_negative_scores_are_not_below_those_that_are_missing():
    each = beat_by_beat(record([(1, 'N'), (2, 'V'), (3, 'N')]), table([1, 2, 3], [-20, -10, -30], unreadable=[3]))
    assert rankings(each)['auroc_all'] == 1

def test_what_ec57_counts_before_a_stop():
    beats, found = record(EVERY[:20] + [(21, 'V')]), [1, 5, 21]
    c = ec57(beats.sample, beats.symbol, np.array(found)*100, [1, 0, 1], FS, 22., stop=10.)
    assert (c.beats, c.alarms, c.detections) == (9, 1, 2) and c.hours == pytest.approx(10/3600)
    whole = ec57(beats.sample, beats.symbol, np.array(found)*100, [1, 0, 1], FS, 22.)
    assert (whole.beats, whole.alarms) == (21, 2)
    flutter = ec57([100, 500, 800, 1200], list('N[]N'), [100], [0], FS, 20., stop=6.)
    assert flutter.beats == 1 and flutter.hours == pytest.approx(5/3600)

def test_a_short_record_is_judged_whole():
    out = judge(record(EVERY[:100]), table(range(1, 101), flagged=[50]))
    assert out.judged_from == 0 and out.beats == 100 and out.false_alarms == 1 and 'first_flagged_N' not in out

def test_false_alarms_are_those_of_no_abnormal_beat():
    found = table([1, 2.1, 3, 4.5], flagged=[1, 2.1, 4.5])
    assert false_alarms(record([(1, 'N'), (2, 'V'), (3, 'V'), (5, 'N')]), found).tolist() == [True, False, False, True]


def test_found_beats_that_belong_to_none():
    each = beat_by_beat(record([(1, 'N'), (2, 'V')]), table([1, 1.5, 2.1], [3, 4, 5], flagged=[1.5]), extra=True)
    assert each.symbol.tolist() == ['N', '', 'V'] and each.flagged.tolist() == [False, True, False] and each.score.tolist() == [3, 4, 5]
    assert np.isnan(rankings(each)['auroc_S']) and rankings(each)['auroc'] == 1 # the extra one is no beat of any class

@pytest.mark.parametrize('rate, share', [(0, 0), (1, 0), (2, .5), (3, .5), (4, 1), (99, 1)])
def test_what_a_ranking_allows_at_a_rate_of_false_alarms(rate, share):
    "One V lies below two beats that are no anomalies, the other below four; an unreadable beat raises no alarm"
    each = beat_by_beat(record([(t, 'V' if t in (3, 6) else 'N') for t in range(1, 9)]), table([1, 2, 3, 4, 5, 6, 7, 8, 8.5], [9, 8, 7, 6, 5, 4, 3, 99, 0], unreadable=[8]), extra=True)
    assert at_alarm_rate(each, 1., rate)['V'] == share and np.isnan(at_alarm_rate(each, 1., rate)['S'])


# ---- rhythms

@pytest.mark.parametrize('times, chosen, start, stop, seconds', [
    ([5], [1], 0, 10, 2), ([5], [0], 0, 10, 0), ([5], [1], 5, 5.5, .5), ([], [], 0, 10, 0),
    ([5, 6], [1, 0], 0, 10, 1.5), ([5, 6], [1, 0], 5.25, 10, .25), ([5, 5.5, 6], [0, 1, 0], 0, 10, .5), ([1, 9], [1, 1], 0, 10, 4), ([1, 9], [1, 1], 3, 8, 0)])
def test_a_beat_stands_for_the_time_to_half_way_and_a_second_at_most(times, chosen, start, stop, seconds):
    assert flagged_time(times, np.array(chosen, bool), [start], [stop])[0] == pytest.approx(seconds)

def test_rhythms_without_a_beat_annotation():
    r = record([], [(1, '+', '(N'), (400, '+', '(VT'), (500, '+', '(N')], seconds=700)
    times = np.arange(.5, 700)
    out = judge(r, table(times, flagged=times[(times > 420) & (times < 500) | (times > 600) & (times < 610)], unreadable=times[(times > 400) & (times < 410)],
                         state=np.where((times > 400) & (times < 450), 'fast', '')))
    assert out['(VT seconds'] == 100 and out['(VT flagged'] == pytest.approx(.8) and out['(VT unreadable'] == pytest.approx(.1) and out['(VT fast'] == pytest.approx(.5)
    assert out['(N seconds'] == 300 and out['(N flagged'] == pytest.approx(10/300) and out['(N alarms_per_hour'] == pytest.approx(10*3600/300)
    assert out['share fast'] == pytest.approx(50/400) and out.alarms_per_hour == pytest.approx(90*9)
    assert 'auroc' not in out and '(VT false_alarms_per_hour' not in out

def test_bigeminy_and_noise_from_other_annotations():
    beats = [(t, 'V' if 400 <= t < 420 and t % 2 else 'N') for t in range(1, 700)]
    r = record(beats, [(500, '~', 1), (520, '~', 0)], seconds=700)
    by = rhythm_by_rhythm(r, table([t for t, _ in beats], flagged=[401, 402, 510]), 300.)
    assert by.loc['bigeminal beats'].to_dict() == dict(seconds=20, flagged=2, unreadable=0, alarms=2, false_alarms=1)
    assert by.loc['noise'].to_dict() == dict(seconds=20, flagged=1, unreadable=0, alarms=1, false_alarms=1)
    assert not len(rhythm_by_rhythm(record(EVERY), table([1]))) and not len(rhythms(record(EVERY)))

def test_what_comes_before_the_start_does_not_count():
    r = record([], [(250, '+', '(VT'), (350, '+', '(N')], seconds=700)
    times = np.arange(.5, 700)
    by = rhythm_by_rhythm(r, table(times, flagged=times[times < 310]), 300.)
    assert by.loc['(VT', ['seconds', 'flagged', 'alarms']].tolist() == [50, pytest.approx(10), 10]


# ---- many records

def scorer_of(tables): return lambda r: tables[r.name]

def test_pooled_mean_and_worst():
    a, b = record([(t, 'V' if t == 350 else 'N') for t in range(1, 700)], seconds=700, name='a'), record([(t, 'V' if t in (350, 360, 370) else 'N') for t in range(1, 700)], seconds=700, name='b')
    times = list(range(1, 700))
    rank = lambda *high: np.isin(times, high).astype(float)
    figures, beats = judge_records(scorer_of(dict(a=table(times, rank(350), flagged=[350, 400]), b=table(times, rank(350, 400), flagged=[350]))), [('p', a), ('q', b)], progress=False)
    s = summarize(figures, beats, n=20)
    assert len(figures) == 2 and len(beats) == 800 and set(beats.person) == {'p', 'q'}
    assert s.pooled['flagged_V'] == .5 and s['mean']['flagged_V'] == pytest.approx(2/3) and s.worst['flagged_V'] == pytest.approx(1/3)
    assert s.pooled['false_alarms_per_hour'] == pytest.approx(4.5) and s.worst['false_alarms_per_hour'] == pytest.approx(9) and s['median']['false_alarms_per_hour'] == pytest.approx(4.5)
    assert (s.low['flagged_V'], s.high['flagged_V']) == (pytest.approx(1/3), 1) and s.records['auroc'] == 2
    y, score = (beats.aami == 'V').to_numpy(), beats.score.to_numpy()
    wins = (score[y][:, None] > score[~y]).mean() + (score[y][:, None] == score[~y]).mean()/2
    assert s.pooled['auroc'] == pytest.approx(wins)

def test_rhythms_pool_by_their_seconds():
    long, short = (record([], [(300, '+', '(VT'), (300 + n, '+', '(N')], seconds=700, name=str(n)) for n in (90, 10))
    times = np.arange(.5, 700)
    tables = {'90': table(times, flagged=times[(times > 300) & (times < 390)]), '10': table(times)}
    figures, beats = judge_records(scorer_of(tables), [('p', long), ('q', short)], progress=False)
    s = summarize(figures, beats)
    assert s.pooled['(VT flagged'] == pytest.approx(.9) and s['mean']['(VT flagged'] == pytest.approx(.5) and s.worst['(VT flagged'] == 0
    assert s.worst['(N flagged'] == 0 and not len(beats)

def test_a_refused_record_is_one_that_could_not_be_read():
    def refuses(r): raise RecordError('no beats found')
    figures, beats = judge_records(refuses, [('p', record([(t, 'V' if t == 400 else 'N') for t in range(1, 700)], [(1, '+', '(N')], seconds=700))], progress=False)
    assert figures.refused[0] == 'no beats found' and figures.unreadable[0] == 1 and figures.flagged_V[0] == 0 and figures['(N unreadable'][0] == 1
    assert not beats.found.any() and len(beats) == 400
    s = summarize(figures, beats)
    assert s.pooled['flagged_V'] == 0 and np.isnan(s.low['flagged_V'])

def test_no_records():
    with pytest.raises(ValueError, match='no records'): judge_records(scorer_of({}), [], progress=False)

def test_an_interval_draws_people_and_not_records():
    "Ten records of two people: the interval is that of two people, from all of the one to all of the other"
    low, high = ratio_interval([1]*5 + [0]*5, [1]*10, ['a']*5 + ['b']*5)
    assert (low, high) == (0, 1)
    assert np.isnan(ratio_interval([1], [2], ['a'])).all() and np.isnan(ratio_interval([0, 0], [0, 0], ['a', 'b'])).all()
    assert ratio_interval([1, 2, 3], [9, 9, 9], list('abc'), seed=3) == ratio_interval([1, 2, 3], [9, 9, 9], list('abc'), seed=3) == (1/9, 3/9) # all three draws of one person are one in 27


def test_two_scorers_on_the_same_beats():
    rng = np.random.default_rng(0)
    people = [(who, record([(t, 'V' if t % 7 == 0 else 'N') for t in range(1, 700)], seconds=700, name=who)) for who in 'abcdef']
    times = np.arange(1, 700)
    good, poor = ({who: table(times, (times % 7 == 0) + rng.normal(0, spread, 699)) for who in 'abcdef'} for spread in (.5, 2))
    (fa, a), (_, b) = (judge_records(scorer_of(tables), people, progress=False) for tables in (good, poor))
    for figure in ('auroc', 'ap_all', 'auroc_V', 'group_auroc'):
        d = difference(a, b, figure, n=50)
        assert d.difference == pytest.approx(rankings(a)[figure] - rankings(b)[figure]) and 0 < d.low < d.difference < d.high
    assert difference(a, a, n=20).difference == 0 == difference(a, a, n=20).high
    hidden = a.assign(score=a.score.mask(a.aami == 'V'))
    assert difference(a, hidden).low > .5
    with pytest.raises(ValueError, match='same records'): difference(a, b[b.record != 'a'])


# ---- inputs and baselines, on simulated records

def simulated(seed, seconds=420., n=1):
    sim = simulate_ecg(duration=seconds, fs=200., subject=seed, seed=seed)
    return Record(sim.signal[:, None].astype(np.float32), 200., ['II'], f's{seed}', sim.sample, sim.symbol, np.zeros(len(sim.sample), int), np.full(len(sim.sample), ''))

@pytest.fixture(scope='module')
def trained(): return training([(str(seed), simulated(seed)) for seed in (1, 2, 3)])

def test_inputs_of_a_record():
    r = simulated(5)
    i = record_inputs(r)
    assert i.x.shape == (len(i.sample), 320) and i.own.shape == (320,) and i.readable.mean() > .95
    assert np.isnan(i.x[~i.readable]).all() and np.isfinite(i.x[i.readable]).all() and np.isfinite(i.rhythm).all()
    assert len(i.sample) == pytest.approx(len(r.sample), rel=.03)

def test_too_few_beats_are_refused_by_name():
    with pytest.raises(RecordError, match='s5.*ten'): record_inputs(simulated(5, 5.))

def test_features_have_a_usual_size_of_one(trained):
    rows = np.concatenate([features(i, trained)[n] for i, n in zip(trained.parts, trained.normal)])
    assert np.sqrt((rows[:, :320]**2).sum(1).mean()) == pytest.approx(1, abs=1e-3) and np.sqrt((rows[:, 320:]**2).sum(1).mean()) == pytest.approx(1, abs=1e-3)

def test_training_takes_normal_beats_alone():
    r = simulated(4)
    t = training([('p', r)])
    found = t.parts[0].sample[t.normal[0]]
    abnormal = r.sample[np.isin(r.symbol, list('VSAFQ'))]
    assert len(abnormal) and len(found) and (np.abs(found[:, None] - abnormal).min(0) > 0).all()

def test_earliness_by_hand():
    i = Inputs(np.arange(14), np.r_[np.full(11, 1.), .5, 1.5, 1.], np.ones(14, bool), np.zeros((14, 320)), np.zeros(320), np.zeros((14, 2)))
    assert plain_earliness(i) == pytest.approx([0]*11 + [.5, -.5, 0])

def test_own_distance_by_hand():
    rng = np.random.default_rng(0)
    own = rng.normal(size=320)
    other = rng.normal(size=320)
    i = Inputs(np.arange(3), np.ones(3), np.array([True, True, False]), np.stack([2*own + 1, other, np.full(320, np.nan)]), own, np.zeros((3, 2)))
    s = own_distance(i)
    assert s[0] == pytest.approx(np.log(1e-3)) and s[1] == pytest.approx(np.log(1e-3 + 1 - np.corrcoef(own, other)[0, 1])) and np.isnan(s[2])

def test_the_threshold_flags_two_in_a_hundred_of_the_training(trained):
    for score in (plain_earliness, own_distance, sum_of((plain_earliness, own_distance), trained)):
        s = Scorer(score, trained)
        values = np.concatenate([score(i)[n] for i, n in zip(trained.parts, trained.normal)])
        assert (values > s.threshold).mean() == pytest.approx(.02, abs=2/len(values))

@pytest.mark.parametrize('name', ['earliness', 'own beat', 'earliness + own beat', 'nearest neighbour'])
def test_a_baseline_finds_the_abnormal_beats_of_a_simulated_record(name, trained):
    r = simulated(7, 700.)
    figures, beats = judge_records(record_scorer(name, trained), [('p', r)], progress=False)
    assert figures.judged_from[0] == 300 and figures.auroc[0] > .8 and figures.unreadable[0] < .05

def test_a_neighbour_of_the_training_is_at_no_distance(trained):
    i, normal = trained.parts[0], trained.normal[0]
    assert np.nanmax(neighbour_score(trained)(i)[normal]) < 1e-2 < np.nanmax(neighbour_score(trained, most=50)(i)[normal])

def test_a_registered_detector_gets_the_same_inputs(trained):
    scorer = record_scorer('autoencoder', trained, epochs=2)
    found = checked_table(scorer(simulated(7)))
    assert found.readable.mean() > .95 and found.anomalous.any() and not found.anomalous.all()
    with pytest.raises(ValueError, match='unknown record scorer'): record_scorer('autoencodr', trained)

def test_the_scan_is_a_scorer():
    r = simulated(7, 700.)
    found = scan_scorer()(r)
    assert judge(r, found).auroc > .8


# ---- which records

def test_the_records_of_a_folder(tmp_path):
    sim = simulated(7, 60.)
    wfdb.wrsamp('mine', fs=200, units=['mV', 'mV'], sig_name=['V1', 'II'], p_signal=np.repeat(sim.signal.astype(float), 2, 1), fmt=['16', '16'], write_dir=str(tmp_path))
    wfdb.wrann('mine', 'atr', sim.sample, symbol=[str(s) for s in sim.symbol], write_dir=str(tmp_path))
    (who, found), = protocol_records(tmp_path)
    assert who == 'mine' and found.leads == ['II'] and len(found.sample) == len(sim.sample)
    assert next(protocol_records(str(tmp_path), lead='V1'))[1].leads == ['V1']

def test_a_half_of_mitdb(mitdb):
    who, found = next(protocol_records('DS2'))
    assert who == 'mitdb 100' and found.leads == ['MLII'] and len(found.aux) == len(found.sample)

def test_noise_of_the_stress_test_is_noted(mitdb):
    found = dict(protocol_records('nstdb'))
    r = found['mitdb 118']
    assert rhythm_by_rhythm(r, table([1.]), 300.).loc['noise', 'seconds'] == pytest.approx(785.6, abs=.1)


# ---- the whole of it, and the command

@pytest.fixture
def own_folder(tmp_path, trained, monkeypatch):
    "A folder with two simulated records, and a training on three instead of DS1"
    for seed in (7, 8):
        sim = simulated(seed, 200.)
        wfdb.wrsamp(sim.name, fs=200, units=['mV'], sig_name=['II'], p_signal=sim.signal.astype(float), fmt=['16'], write_dir=str(tmp_path))
        wfdb.wrann(sim.name, 'atr', sim.sample, symbol=[str(s) for s in sim.symbol], write_dir=str(tmp_path))
    monkeypatch.setattr(protocol, 'training', lambda: trained)
    return tmp_path

def test_a_table_of_methods(own_folder):
    summary, figures = protocol_table(['earliness', 'pca'], own_folder, progress=False)
    assert list(figures.method) == ['earliness']*2 + ['pca']*2 and set(figures.person) == {'s7', 's8'} and (figures.judged_from == 0).all()
    shown = in_words(summary)
    assert list(shown.columns) == ['earliness', 'pca'] and {'auroc', 'false_alarms_per_hour'} <= set(shown.index)
    pooled = summary[(summary.method == 'pca') & (summary.figure == 'auroc')].pooled.item()
    assert shown.loc['auroc', 'pca'].startswith(f'{pooled:.3f} (')

def test_scorers_of_ones_own_need_no_training(own_folder, monkeypatch):
    monkeypatch.setattr(protocol, 'training', None)
    every = lambda r: checked_table(pd.DataFrame(dict(sample=r.sample, score=1., anomalous=True, readable=True)))
    summary, figures = protocol_table(dict(every=every), own_folder, progress=False)
    assert summary.set_index('figure').pooled[['auroc', 'flagged', 'flagged_N']].tolist() == [.5, 1, 1]

def test_the_command_judges_a_folder(own_folder, capsys):
    words = ['-p', 'P6', '--records', str(own_folder), 'earliness']
    assert bench_main([*words, '--dry-run']) == 0 and 'on 2 records: earliness' in capsys.readouterr().out
    assert bench_main([*words, '-o', str(own_folder/'figures.csv')]) == 0
    assert 'auroc' in capsys.readouterr().out and pd.read_csv(own_folder/'figures.csv').record.tolist() == ['s7', 's8']
    assert bench_main(['-p', 'P6', '--records', str(own_folder), 'earlines']) == 1 and "Did you mean 'earliness'" in capsys.readouterr().err
    assert bench_main(['-p', 'P6', '--records', str(own_folder/'nowhere')]) == 1 and 'no folder' in capsys.readouterr().err

@pytest.mark.parametrize('words, said', [(['--records', 'x'], '--records is for P6 only'), (['-p', 'P2', '--lead', 'II'], '--lead is for P6 only'),
                                         (['-p', 'P6', '--rows', '9'], '--rows is not for P6'), (['-p', 'P6', '--test-rows', '9'], '--test-rows is not for P6')])
def test_options_of_another_protocol_are_refused(words, said, capsys):
    assert bench_main(words) == 2 and said in capsys.readouterr().err

def test_the_scan_of_a_record_is_that_of_its_file(mitdb):
    _, r = next(pair for pair in protocol_records('DS2') if pair[1].name == '202')
    whole, found = scan(mitdb/'202', lead='MLII'), scan_scorer()(r)
    assert (whole['sample'] == found['sample']).all() and np.array_equal(whole.score, found.score, equal_nan=True) and (whole.anomalous == found.anomalous).all()
