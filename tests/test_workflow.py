"Experiments: configurations are refused by name and line, stages go on where they were killed, a detection sees no training row, nothing read from a run executes"
import json, os, random, re, subprocess, sys, time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np, pandas as pd, pytest

from ganad import commands, experiment, workflow
from ganad.detector import METHODS, detector_names
from ganad.experiment import (ConfigError, DATA_SETS, DataSet, Detection, Experiment, Inverse, Prepare, Reconstruction, Samples, Scaler, Score, Sine, Source, Split,
                              data_set_names, default_config, make_splits, parse_config, prepare, read_config, resampled, to_yaml)
from ganad.training import read_tensors, write_tensors
from ganad.workflow import RunError, find_run, open_run, plan, read_json, run_detection, run_inverse, run_training, write_json

SMALL = {'data.params.n': 200, 'data.params.length': 32, 'data.limit': None, 'split.folds': 2, 'model.params.epochs': 2, 'model.params.width': 8, 'training.device': 'cpu'}

def small(model='vaegan', run='first', **changes):
    epochs = {} if model not in ('knn', 'pca') else {'model.params.epochs': None, 'model.params.width': None}
    changes = {**SMALL, **{k.replace('__', '.'): v for k, v in changes.items()}}
    changes = {k: v for k, v in changes.items() if k not in epochs}
    return default_config('sine', model, 'me', 'test', run, changes)

CACHE = os.environ.get('GANAD_CACHE')       # prepared beats serve all tests

@pytest.fixture
def here(tmp_path, monkeypatch):
    "An empty current folder with runs and a cache of its own"
    folder = tmp_path/'here'
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv('GANAD_RUNS', str(folder/'runs'))
    monkeypatch.setenv('GANAD_CACHE', str(folder/'cache'))
    return folder

@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    "A folder with a finished training of two folds; copied by `own`, read by others"
    folder = tmp_path_factory.mktemp('trained')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('GANAD_RUNS', str(folder/'runs')), m.setenv('GANAD_CACHE', str(folder/'cache'))
        run_training(small())
    return folder

@pytest.fixture
def own(trained, tmp_path, monkeypatch):
    "A copy of the finished training, to be spoiled"
    import shutil
    shutil.copytree(trained, tmp_path/'own')
    monkeypatch.chdir(tmp_path/'own')
    monkeypatch.setenv('GANAD_RUNS', str(tmp_path/'own/runs'))
    monkeypatch.setenv('GANAD_CACHE', str(tmp_path/'own/cache'))
    return tmp_path/'own/runs/me/test/first/v0'

def detection(run='found', **kw): return Detection(entity='me', project='test', run=run, source=Source(run='first'), **kw)


# Configurations

@pytest.mark.parametrize('data', data_set_names())
@pytest.mark.parametrize('model', detector_names())
def test_a_configuration_comes_back_as_it_was_written(data, model):
    required = dict(table={'data.params.file': 'x.csv', 'data.params.label': 'y'}, series={'data.params.file': 'x.csv'}, wfdb={'data.params.database': 'svdb'})
    config = default_config(data, model, changes=required.get(data))
    text = to_yaml(config)
    assert parse_config(text) == config and '# ' in text and 'folds:' in text

@pytest.mark.parametrize('config', [
    detection(reconstruction=Reconstruction(kind='search', params=dict(steps=3)), score=Score(error=1.)), detection(limit=50, reconstruction=Reconstruction(kind='mapping', mapping=Source(run='way', version=2))),
    Inverse(entity='a', project='b', run='c', source=Source(run='d'), params=dict(epochs=2))])
def test_follow_up_configurations_come_back(config): assert parse_config(to_yaml(config)) == config

TEXT = to_yaml(small())
def line_of(word, text=TEXT): return next(i for i, line in enumerate(text.splitlines(), 1) if line.strip().startswith(word))

@pytest.mark.parametrize('old, new, words', [
    ('folds: 2', 'fold: 2', ["unknown key 'split.fold'", "Did you mean 'folds'"]),
    ('folds: 2', 'folds: two', ['split.folds', "'two'"]),
    ('folds: 2', 'folds: 2.5', ['split.folds', '2.5']),
    ('folds: 2', 'folds: true', ['split.folds', 'True']),
    ('folds: 2', 'folds: "2"', ['split.folds', "'2'"]),
    ('seed: 42', 'sed: 42', ["'sed'", "Did you mean 'seed'"]),
    ('scaling: minmax', 'scaling: min_max', ['prepare.scaling', "Did you mean 'minmax'"]),
    ('device: cpu', 'device: 1', ['training.device']),
    ('latent: null', 'lattent: 2', ["'model.params.lattent'", "Did you mean 'latent'"]),
    ('latent: null', 'latent: two', ['model.params.latent', "'two'"]),
    ('noise: 0.05', 'nois: 0.05', ["'data.params.nois'", "Did you mean 'noise'"]),
    ('name: vaegan', 'name: vagan', ['model.name', "Did you mean 'vaegan'"]),
    ('name: sine', 'name: sin', ['data.name', "Did you mean 'sine'"]),
    ('project: test', 'project: a/b', ['project', 'letters']),
    ('project: test', 'project: ..', ['project', 'letters']),
    ('run: first', 'run: 2020-01-01', ['quotes'])])
def test_a_fault_is_told_by_name_and_line(old, new, words):
    assert TEXT.count(old) == 1
    text = TEXT.replace(old, new)
    with pytest.raises(ConfigError) as e: parse_config(text, 'config.yml')
    said = str(e.value)
    assert 'config.yml' in said and all(word in said for word in words), said
    if 'quotes' not in words: assert f'line {line_of(new, text)}:' in said, said

@pytest.mark.parametrize('old, new, words', [
    ('resample: none', 'resample: lttb', 'needs length'), ('resample: none', 'resample: rate', 'needs rate'), ('length: null', 'length: 20', 'no effect'),
    ('by: sample', 'by: given', 'folds: 1'), ('folds: 2', 'folds: 1', 'at least 2'), ('contamination: 0.0 ', 'contamination: 0.7 ', '0.5'),
    ('run: null', 'run: [2]', 'from 0 to 1'), ('beta: 1.0', 'beta: 0', 'above 0'), ('limit: null', 'limit: 3', 'at least 10')])
def test_impossible_combinations(old, new, words):
    assert TEXT.count(old) == 1
    with pytest.raises(ConfigError, match=re.escape(words)) as e: parse_config(TEXT.replace(old, new), 'config.yml')
    assert 'line' in str(e.value)

@pytest.mark.parametrize('text, words', [
    ('', 'expected keys'), ('- 1', 'expected keys'), ('a: [', 'no YAML'), ('kind: training', 'version'), ('kind: trainng\nversion: 1', "Did you mean 'training'"), ('{', 'no YAML'), ('a: 1\na: 2', 'line 2'),
    ('a: &x 1\nb: *x', 'references'), ('a: !!python/name:os.system x', 'line 1'), ('['*1000, 'no YAML'), ('#'*200_000, 'characters'), ('kind: training\nversion: "1"', 'version'), ('kind: training\nversion: 1', "'entity' is missing"), ('\x00', 'no YAML')])
def test_no_configuration(text, words):
    with pytest.raises(ConfigError) as e: parse_config(text, 'config.yml')
    assert words in str(e.value)

def test_all_faults_are_told_at_once():
    with pytest.raises(ConfigError) as e: parse_config(TEXT.replace('folds: 2', 'fold: 2').replace('epochs: 2', 'epoch: 2').replace('seed: 42', 'seed: x'))
    assert len(str(e.value).splitlines()) == 3

def test_spoiled_texts_are_refused_in_words():
    "Whatever is done to a file, the answer is a configuration or a ConfigError"
    rng = random.Random(0)
    for _ in range(150):
        text = list(TEXT)
        for _ in range(rng.randint(1, 3)): text[rng.randrange(len(text))] = rng.choice('\n :-[]{}#&*!|>%@`"\'0a\t,')
        try: config = parse_config(''.join(text))
        except ConfigError: continue
        assert isinstance(config, Experiment) and parse_config(to_yaml(config)) == config

def test_numbers_without_a_dot():
    assert parse_config(TEXT.replace('lr: 0.001', 'lr: 1e-4')).model.params['lr'] == 1e-4

def test_older_and_newer_versions(monkeypatch):
    old = TEXT.replace('version: 1', 'version: 0').replace('seed: 42', 'random_state: 42')
    with pytest.raises(ConfigError, match='cannot be brought up to date'): parse_config(old)
    monkeypatch.setitem(experiment.MIGRATIONS, 0, lambda tree: {'seed' if k == 'random_state' else k: v for k, v in tree.items()})
    assert parse_config(old) == parse_config(TEXT)
    with pytest.raises(ConfigError, match='newer ganad'): parse_config(TEXT.replace('version: 1', 'version: 2'))

def test_another_kind_of_configuration(here):
    Path('ad.yml').write_text(to_yaml(detection()))
    with pytest.raises(ConfigError, match='ganad-detect'): read_config('ad.yml', 'training')
    with pytest.raises(ConfigError, match='no file none.yml'): read_config('none.yml')
    Path('x.yml').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ConfigError, match='x.yml'): read_config('x.yml')


# Data

def test_sines_have_their_anomalies_where_they_say():
    s, clean = Sine(n=300, noise=0.).load(), Sine(n=300, noise=0., share=1e-9).load()
    assert s.y.sum() == 30 and set(s.about['kind'][s.y == 1]) == {'spike', 'flat', 'fast', 'shift'} and set(s.about['kind'][s.y == 0]) == {''}
    for i in np.flatnonzero(s.about['kind'] == 'flat'): assert np.ptp(s.x[i, 0, s.about['start'][i]:s.about['stop'][i]]) == 0
    assert np.abs(s.x[s.y == 0]).max() <= 1 and np.abs(clean.x).max() <= 1
    assert (np.abs(s.x[s.about['kind'] == 'spike']).max((1, 2)) >= 2 - 1e-6).all()

@pytest.fixture(scope='module')
def people():
    "120 samples of 12 persons"
    y = (np.arange(120) % 6 == 0).astype(np.int8)
    return Samples(np.random.default_rng(0).normal(size=(120, 5)).astype(np.float32), y, dict(subject=np.repeat(list('abcdefghijkl'), 10), part=np.repeat(['train', 'test', ''], 40)))

@pytest.mark.parametrize('split', [Split(folds=3), Split(folds=3, by='subject'), Split(by='given', folds=1), Split(folds=4, anomalies='all'), Split(folds=3, contamination=.1), Split(folds=5, run=[1, 3])], ids=str)
def test_splits(people, split):
    found = make_splits(people, split, seed=3)
    assert list(found) == (split.run or list(range(split.folds)))
    for train, test in found.values():
        assert not np.intersect1d(train, test).size and (np.diff(train) > 0).all() and (np.diff(test) > 0).all()
        share = people.y[train].mean()
        assert abs(share - split.contamination) < .02 if split.contamination else share == 0
        if split.by == 'subject': assert not set(people.about['subject'][train]) & set(people.about['subject'][test])
        if split.anomalies == 'all': assert people.y[test].sum() == people.y.sum()
        if split.by == 'sample' and split.anomalies == 'fold': assert abs(people.y[test].mean() - people.y.mean()) < .03
    again, other = make_splits(people, split, 3), make_splits(people, split, 4)
    assert all(np.array_equal(a, b) for k in found for a, b in zip(found[k], again[k]))
    if split.by != 'given': assert any(not np.array_equal(found[k][1], other[k][1]) for k in found)

@pytest.mark.parametrize('split, words', [(Split(folds=30), 'as many samples'), (Split(folds=13, by='subject'), '12'), (Split(folds=3, contamination=.5), 'anomalies in a training part')])
def test_impossible_splits(people, split, words):
    with pytest.raises(ValueError, match=words): make_splits(people, split, 0)

def test_splits_need_what_they_ask_for(people):
    bare = replace(people, about={})
    for split in (Split(by='subject'), Split(by='given', folds=1)):
        with pytest.raises(ValueError, match='by: sample'): make_splits(bare, split, 0)

@pytest.mark.parametrize('how, length', [(Prepare(resample='lttb', length=24), 24), (Prepare(resample='interpolate', length=50), 50), (Prepare(resample='rate', rate=48.), 48), (Prepare(), 96)])
def test_resampling(how, length):
    s = Sine(n=20).load()
    r = resampled(s, how)
    assert r.x.shape == (20, 1, length) and r.x.dtype == np.float32 and r.fs == length and np.array_equal(r.y, s.y)

def test_tables_are_not_resampled(people):
    with pytest.raises(ValueError, match='resample: none'): resampled(people, Prepare(resample='lttb', length=3))

@pytest.mark.parametrize('shape', [(60, 5), (60, 2, 7), (60, 3, 4, 4)])
@pytest.mark.parametrize('kind', ['none', 'individual', 'minmax', 'standard', 'whitening'])
def test_a_scaling_knows_its_training_rows_only(kind, shape):
    x = np.random.default_rng(0).normal(2, 3, shape).astype(np.float32)
    scaler = Scaler(kind).fit(x[:40])
    out, spoiled = scaler.transform(x), x.copy()
    spoiled[50] *= 100
    assert out.shape == x.shape and out.dtype == np.float32
    assert np.array_equal(scaler.transform(spoiled)[:50], out[:50]) and np.array_equal(scaler.transform(x[7:8]), out[7:8]) or kind == 'whitening'
    np.testing.assert_allclose(scaler.transform(x[7:8]), out[7:8], rtol=1e-5, atol=1e-5)
    over = (0, *range(2, x.ndim))
    if kind == 'standard': np.testing.assert_allclose(out[:40].std(over), 1, rtol=1e-4)
    if kind == 'minmax': assert abs(out[:40].max() - 1) < 1e-5 and abs(out[:40].min() + 1) < 1e-5

def test_a_constant_column_stays_finite():
    x = np.ones((20, 3), np.float32)
    for kind in ('minmax', 'standard', 'whitening', 'individual'): assert np.isfinite(Scaler(kind).fit(x).transform(x)).all()

def test_prepared_samples_are_kept_and_made_again_where_damaged(here):
    config = small(data__limit=100)
    first, file = prepare(config), experiment.prepared_file(config)
    assert len(first) == 100 and file.is_file() and abs(first.y.mean() - .1) < .03
    second = prepare(config)
    assert np.array_equal(first.x, second.x) and np.array_equal(first.about['kind'], second.about['kind']) and first.fs == second.fs
    file.write_bytes(file.read_bytes()[:1000])
    assert np.array_equal(prepare(config).x, first.x)
    others = [small(data__limit=100, seed=1), small(data__limit=90), small(data__limit=100, data__params__noise=.1), small(data__limit=100, prepare__resample='lttb', prepare__length=16)]
    assert len({experiment.prepared_file(c) for c in (config, *others)}) == 5
    assert experiment.prepared_file(small(data__limit=100, prepare__scaling='none', model__params__epochs=3)) == file

def test_a_table_from_a_file(here, capsys):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(dict(a=rng.normal(size=80), b=rng.normal(size=80), kind=rng.choice(['x', 'y'], 80), who=np.repeat(list('pqrs'), 20), state=np.where(np.arange(80) % 8, 'fine', 'odd')))
    frame.loc[frame.state == 'odd', 'a'] += 20
    frame.to_csv('rows.csv', index=False)
    changes = {'data.params.file': 'rows.csv', 'data.params.label': 'state', 'data.params.normal': 'fine', 'data.params.subject': 'who', 'split.by': 'subject', 'split.folds': 2}
    run = run_training(default_config('table', 'knn', changes=changes))
    assert run.metrics['mean']['auroc'] > .99 and prepare(run.config).x.shape == (80, 4)
    for key, value, words in (('label', 'stat', "Did you mean 'state'"), ('normal', 'fin', "Did you mean 'fine'"), ('file', 'no.csv', 'no.csv'), ('drop', ['z'], "'z'")):
        with pytest.raises(ConfigError, match=words): prepare(default_config('table', 'knn', changes={**changes, f'data.params.{key}': value}))
    with pytest.raises(ConfigError, match="'data.params.file' is missing"): default_config('table', 'knn')
    frame.assign(a=1.).to_csv('rows.csv', index=False)
    with pytest.raises(RunError, match='data'): run_training(run.config)

def test_series_from_a_file(here):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 30)).astype(np.float32), (np.arange(50) % 5 == 0).astype(int)
    pd.DataFrame(x).assign(y=y).to_csv('rows.csv', index=False)
    np.save('x.npy', x), np.save('y.npy', y), np.save('long.npy', rng.normal(size=(200, 2)))
    get = lambda **kw: prepare(default_config('series', 'pca', changes={f'data.params.{k}': v for k, v in kw.items()}))
    a, b = get(file='rows.csv', label='y'), get(file='x.npy', labels='y.npy')
    np.testing.assert_allclose(a.x, b.x, rtol=1e-5)
    assert np.array_equal(a.y, b.y) and a.x.shape == (50, 1, 30)
    cut = get(file='long.npy', window=20, step=5)
    assert cut.x.shape == (37, 2, 20) and len(set(cut.about['subject'])) == 10
    with pytest.raises(ConfigError, match='window'): get(file='x.npy', window=100)
    np.save('object.npy', np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match='object.npy'): get(file='object.npy')

def _three_records(folder):
    import wfdb
    from ganad.data.ecg import simulated_record
    folder.mkdir()
    for name in ('101', '106', '108'):
        sim = simulated_record(name, seconds=30)
        wfdb.wrsamp(name, fs=360, units=['mV'], sig_name=['MLII'], p_signal=sim.signal.astype(float), fmt=['16'], write_dir=str(folder))
        wfdb.wrann(name, 'atr', sim.sample, symbol=list(sim.symbol), fs=360, write_dir=str(folder))
    (folder/'RECORDS').write_text('101\n106\n108\n')

def test_any_wfdb_database(here):
    _three_records(here/'mine')
    got = prepare(default_config('wfdb', 'pca', changes={'data.params.database': 'mine'}))
    assert got.x.shape[1:] == (1, 320) and set(got.about['subject']) == {'101', '106', '108'} and 0 < got.y.mean() < .5
    with pytest.raises(ConfigError, match='no folder'): prepare(default_config('wfdb', 'pca', changes={'data.params.database': './theirs'}))

def test_tables_of_the_papers_bring_their_split(here):
    "Without a data folder and a network they are simulated; here by name, whatever there is"
    for name, sides, changes in (('kddcup99', {'train', 'test'}, {'data.limit': 1500}), ('arrhythmia', {'train', 'test'}, {'data.limit': None})):
        config = default_config(name, 'pca', changes={'data.params.stand_in': True, **changes})
        assert config.split.by == 'given' and config.split.folds == 1
        got = prepare(config)
        (train, test), = make_splits(got, config.split, 0).values()
        assert set(got.about['part']) == sides and got.x.ndim == 2 and (got.y[train] == 0).all() and .05 < got.y[test].mean() < .3
        run = run_training(config)
        assert run.done and np.isfinite(run.metrics['mean']['auroc'])

def test_arrhythmia_with_its_anomalies_left_in(here):
    config = default_config('arrhythmia', 'pca', changes={'data.params.stand_in': True, 'split.contamination': .1, 'data.limit': None})
    got = prepare(config)
    (train, test), = make_splits(got, config.split, 0).values()
    assert abs(got.y[train].mean() - .1) < .01 and len(got) == 452

def test_kddcup99_as_published(here, monkeypatch):
    from ganad.data.tables import protocol_kdd
    from ganad.settings import data_named
    if not data_named(): pytest.skip('kddcup99: no data folder is named')
    if CACHE: monkeypatch.setenv('GANAD_CACHE', CACHE)
    else: monkeypatch.delenv('GANAD_CACHE')
    got = experiment.KddCup99(seed=3).load()
    train, test = protocol_kdd(3)
    assert len(got) == len(train) + len(test) and got.x.shape[1] == 121 and abs(got.y[got.about['part'] == 'test'].mean() - .2) < 1e-4
    assert not got.y[got.about['part'] == 'train'].any() and np.array_equal(got.x[:100], train.x[:100])
    assert set(got.about['label'][got.y == 1]) == {'normal.'}

@pytest.mark.parametrize('made, words', [
    (Samples(np.zeros((4,)), np.zeros(4)), 'shape'), (Samples(np.zeros((4, 2)), np.zeros(3)), '4 samples'), (Samples(np.full((4, 2), np.nan), np.zeros(4)), 'NaN'),
    (Samples(np.zeros((4, 2)), np.array([0, 1, 2, 0])), '0 or 1'), (Samples(np.zeros((4, 2)), np.zeros(4), dict(a=np.zeros(3))), "'a'"), (Samples(np.zeros((4, 2)), np.zeros(4), dict(a=np.array([{}]*4))), 'object')])
def test_a_data_set_that_gives_nonsense(made, words, here, monkeypatch):
    class Bad(DataSet):
        def load(self): return made
    monkeypatch.setitem(DATA_SETS, 'bad', Bad)
    with pytest.raises(ValueError, match=words): prepare(default_config('bad', 'pca'))


# Stages

def test_what_a_run_leaves(trained):
    run = open_run(trained/'runs/me/test/first/v0')
    files = [p for p in run.folder.rglob('*') if p.is_file() and 'tracking' not in p.parts]
    assert {p.suffix for p in files} == {'.yml', '.json', '.safetensors'} and not [p for p in files if p.name.startswith('.')]
    assert run.done and set(run.metrics['folds']) == {'0', '1'}
    for k in run.splits:
        tensors, _ = read_tensors(run.fold(k)/'scores.safetensors')
        found = read_json(run.fold(k)/'metrics.json')
        assert np.array_equal(tensors['rows'], run.splits[k][1]) and found == run.metrics['folds'][str(k)]
        from ganad.evaluation import auroc, average_precision
        assert found['auroc'] == auroc(tensors['y'], tensors['score']) and found['ap'] == average_precision(tensors['y'], tensors['score'])
        looked, _ = read_tensors(run.fold(k)/'samples.safetensors')
        assert looked['x'].shape == looked['x_hat'].shape == looked['made'].shape == (16, 1, 32)

def test_the_same_twice(here):
    one, two = run_training(small()), run_training(small(run='second'))
    assert one.metrics == two.metrics
    for k in one.splits:
        a, b = (read_tensors(run.fold(k)/'model/detector.safetensors')[0] for run in (one, two))
        assert all((a[name] == b[name]).all() for name in a)
    assert run_training(small(seed=7)).metrics != one.metrics

def test_versions(own):
    assert run_training(small()).folder == own and run_training(small(training__checkpoint_every=1.)).folder == own
    other = run_training(small(model__params__epochs=1))
    assert other.version == 1 and find_run('me', 'test', Source(run='first')).version == 1 and find_run('me', 'test', Source(run='first', version=0)).folder == own
    with pytest.raises(RunError, match='no version 5'): find_run('me', 'test', Source(run='first', version=5))
    with pytest.raises(RunError, match="Did you mean 'first'"): find_run('me', 'test', Source(run='fist'))

def test_a_detection_repeats_the_scores_of_its_training(own):
    found = run_detection(detection())
    for k in found.splits:
        table, (tensors, _) = pd.read_csv(found.fold(k)/'scores.csv'), read_tensors(own/f'fold{k}/scores.safetensors')
        assert np.array_equal(table.row, tensors['rows']) and np.array_equal(table.score, tensors['score'])
        assert not np.intersect1d(table.row, found.splits[k][0]).size and {'about_kind', 'about_start'} <= set(table)

def test_a_detection_never_sees_a_training_row(own):
    tensors, info = read_tensors(own/'splits.safetensors')
    tensors['1/test'][3] = tensors['1/train'][5]
    write_tensors(own/'splits.safetensors', tensors, info)
    with pytest.raises(RunError, match='1 test rows of fold 1'): run_detection(detection())

def test_other_data_than_those_of_the_training(own, monkeypatch):
    class Other(Sine):
        def load(self): return replace(s := super().load(), x=s.x + 1e-3)
    monkeypatch.setitem(DATA_SETS, 'sine', Other)
    for stage in (lambda: run_detection(detection()), lambda: run_training(small())):
        with pytest.raises(RunError, match='data'): stage()

KINDS = [('model', {}, Score()), ('search', dict(steps=5), Score(model=0., error=1.)), ('mapping', {}, Score(model=1., error=1., critic=.5, latent=.5)), ('model', {}, Score(error=2., critic=1.))]
@pytest.mark.parametrize('kind, params, score', KINDS, ids=[f'{k}{i}' for i, (k, *_) in enumerate(KINDS)])
def test_reconstructions_and_scores(own, kind, params, score):
    found = run_detection(detection(reconstruction=Reconstruction(kind=kind, params=params), score=score, limit=60))
    table = pd.read_csv(found.fold(0)/'scores.csv')
    assert len(table) == 60 and np.isfinite(table.score).all() and (table.flagged == (table.score > found.metrics['folds']['0']['threshold'])).all()
    assert {c for c in table if c.startswith('score_')} == {f'score_{k}' for k, v in asdict(score).items() if k != 'quantile' and v}

def test_detections_that_a_model_cannot_do(here):
    run_training(small('pca'))
    for kw, words in ((dict(reconstruction=Reconstruction(kind='search')), 'generator'), (dict(score=Score(critic=1.)), 'critic: 0'), (dict(score=Score(latent=1.)), 'search or mapping')):
        with pytest.raises(ConfigError, match=words): run_detection(detection(**kw))

def test_a_mapping_is_learned_and_used(own):
    way = run_inverse(Inverse(entity='me', project='test', run='way', source=Source(run='first'), params=dict(epochs=2)))
    assert way.done and set(way.metrics['mean']) == {'error_normal', 'error_anomalous'}
    use = lambda **kw: detection(score=Score(model=0., error=1.), reconstruction=Reconstruction(kind='mapping', **kw))
    learned, models_own = run_detection(use(mapping=Source(run='way'))), run_detection(use())
    assert (learned.version, models_own.version) == (0, 1) and learned.metrics != models_own.metrics
    assert learned.config.reconstruction.mapping.version == 0
    with pytest.raises(RunError, match='kind training'): run_detection(use(mapping=Source(run='first')))
    with pytest.raises(RunError, match='kind inverse'): run_detection(replace(use(), source=Source(run='way')))

@pytest.mark.parametrize('model', detector_names())
def test_every_model_trains_and_detects(model, here):
    wanted = {**SMALL, 'data.params.n': 60, 'split.run': [0], **{f'model.params.{k}': v for k, v in dict(epochs=1, steps=3, draws=4, calibration=20, encoder_epochs=1).items()}}
    takes = experiment.default_params(experiment.component('model', model))
    changes = {k: v for k, v in wanted.items() if not k.startswith('model.params') or k.split('.')[-1] in takes}
    run_training(default_config('sine', model, 'me', 'test', 'first', changes))
    assert np.isfinite(run_detection(detection()).metrics['mean']['auroc'])


# Stopped anywhere

KILLED = '''
import os, random, signal, sys, time
from ganad.experiment import read_config
from ganad.workflow import run_inverse, run_training
config, kills, rng = read_config(sys.argv[1]), 0, random.Random(int(sys.argv[2]))
stage = run_training if config.kind == 'training' else run_inverse
while True:
    child = os.fork()
    if child == 0:
        stage(config)
        os._exit(0)
    if kills < 10:
        time.sleep(rng.uniform(.03, .3))
        os.kill(child, signal.SIGKILL)
    if os.waitpid(child, 0)[1] == 0: break
    kills += 1
print(kills)
'''

def content(path):
    "What a file says; the order of entries in a safetensors header is not fixed"
    if path.suffix != '.safetensors': return path.read_bytes()
    tensors, info = read_tensors(path)
    return {k: (t.dtype, t.numpy().tobytes()) for k, t in tensors.items()}, {k: v for k, v in info.items() if k != 'config'}

def whole_run(folder):
    "All that must be the same after a kill: not the checkpoints, nor the times in the history"
    return {str(p.relative_to(folder)): content(p) for p in sorted(folder.rglob('*')) if p.is_file() and not {'checkpoint', 'tracking'} & set(p.parts) and p.name not in ('history.json', 'config.yml')}

def test_ten_kills_change_nothing(here, monkeypatch):
    config = small(model__params__epochs=25, model__params__batch_size=16, training__checkpoint_every=0.)
    (here/'config.yml').write_text(to_yaml(config))
    through = whole_run(run_training(replace(config, training=replace(config.training, checkpoint_every=60.))).folder)
    monkeypatch.setenv('GANAD_RUNS', str(here/'again'))
    done = subprocess.run([sys.executable, '-c', KILLED, 'config.yml', '0'], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) == 10
    killed = whole_run(here/'again/me/test/first/v0')
    assert killed.keys() == through.keys() and [name for name in killed if killed[name] != through[name]] == []


@pytest.mark.slow
def test_ten_kills_of_a_mapping_change_nothing(own, monkeypatch):
    config = Inverse(entity='me', project='test', run='way', source=Source(run='first', version=0), params=dict(epochs=40, batch_size=16), checkpoint_every=0.)
    Path('config.yml').write_text(to_yaml(config))
    through = whole_run(run_inverse(replace(config, run='through', checkpoint_every=60.)).folder)
    done = subprocess.run([sys.executable, '-c', KILLED, 'config.yml', '1'], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) == 10 and whole_run(own.parents[1]/'way/v0') == through

def test_ctrl_c_and_gone_on(here, monkeypatch, capsys):
    through = run_training(small(run='through'))
    (here/'config.yml').write_text(to_yaml(small()))
    log, calls = workflow.Told.log, []
    def stop(self, values, step):
        calls.append(step)
        if len(calls) == 1: raise KeyboardInterrupt
    monkeypatch.setattr(workflow.Told, 'log', stop)
    assert command('train') == 1 and 'goes on' in capsys.readouterr().err
    monkeypatch.setattr(workflow.Told, 'log', log)
    assert command('train') == 0
    assert find_run('me', 'test', Source(run='first')).metrics == through.metrics

HOLD = '''
import sys
from ganad.experiment import read_config
from ganad.workflow import alone
with alone(read_config('config.yml')):
    print('locked', flush=True)
    sys.stdin.read()
'''

def test_two_trainings_of_one_run_are_kept_apart(here, capsys):
    "The second is told of the first; a killed one leaves no lock"
    (here/'config.yml').write_text(to_yaml(small('pca')))
    holder = subprocess.Popen([sys.executable, '-c', HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == 'locked\n'
        assert command('train') == 1
        said = capsys.readouterr().err
        assert f'another process, {holder.pid}, is at work on me/test/first' in said and 'another name' in said
        assert not list(here.rglob('v0'))
        run_training(small('pca', run='other'))
    finally:
        holder.kill()
        holder.wait()
    assert command('train') == 0 and command('train') == 0

def test_two_commands_at_once(here):
    "Of two that are started together one trains, and the other is refused or finds all done"
    (here/'config.yml').write_text(to_yaml(small(model__params__epochs=20, model__params__batch_size=16)))
    both = [subprocess.Popen([sys.executable, '-c', 'import sys; from ganad.commands import train_main; sys.exit(train_main([]))'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [(*p.communicate(timeout=900), p.returncode) for p in both]
    assert {code for *_, code in ended} <= {0, 1} and 0 in {code for *_, code in ended}, ended
    for out, err, code in ended: assert (code == 1) == ('is at work on me/test/first' in err), err
    run = find_run('me', 'test', Source(run='first'))
    assert run.version == 0 and run.metrics == run_training(small(run='apart', model__params__epochs=20, model__params__batch_size=16)).metrics

def test_other_stages_are_locked_too(own):
    config = detection()
    with workflow.alone(config), pytest.raises(RunError, match='is at work on me/test/found'): run_detection(config)
    way = Inverse(entity='me', project='test', run='way', source=Source(run='first'))
    with workflow.alone(way), pytest.raises(RunError, match='is at work on me/test/way'): run_inverse(way)
    assert run_detection(config).done

def test_patience_is_no_interruption(here):
    run = run_training(small('vae', model__params__epochs=60, model__params__patience=1, model__params__lr=.05))
    assert run.done and any(len(read_json(run.fold(k)/'history.json')['rows']) < 60 for k in run.splits)


# Trackers

def test_what_trackers_are_told_and_that_a_broken_one_stops_nothing(here, monkeypatch, capsys):
    told = []
    class Good:
        def __init__(self, run): pass
        def start(self): told.append('start')
        def log(self, values, step): told.append((step, values))
        def finish(self): told.append('finish')
    class Bad(Good):
        def log(self, values, step): raise ConnectionError('nobody there')
    monkeypatch.setattr(workflow, 'TRACKERS', dict(tensorboard=Good, mlflow=Bad))
    monkeypatch.setattr(workflow.importlib.util, 'find_spec', lambda name: name)
    config = small(tracking__tracker='mlflow')
    run = run_training(config)
    assert told[0] == told[1] == 'start' and told[-1] == 'finish' and told.count('finish') == 1
    assert {name for step, values in told[2:-1] for name in values} >= {'fold0/critic', 'fold1/decoder', 'fold0/AUROC'} and told[2][0] == 1
    assert capsys.readouterr().err.count('mlflow is left out: nobody there') == 1
    assert run.metrics == run_training(small(run='untold')).metrics and run_training(small()).folder == run.folder

def test_a_tracker_that_is_not_installed(here, monkeypatch):
    monkeypatch.setattr(workflow.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ConfigError, match='pip install wandb'): run_training(small(tracking__tracker='wandb'))
    assert not (here/'runs').exists()

def test_tensorboard_and_local_files_always(here):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    run = run_training(small())
    assert {p.name for p in (run.folder/'tracking').iterdir()} == {'tensorboard'}
    told = EventAccumulator(str(run.folder/'tracking/tensorboard')).Reload()
    for k in run.splits:
        rows = read_json(run.fold(k)/'history.json')['rows']
        for name in ('critic', 'decoder'): assert np.allclose([e.value for e in told.Scalars(f'fold{k}/{name}')], [row[name] for row in rows])
        assert np.isclose(told.Scalars(f'fold{k}/AUROC')[0].value, run.metrics['folds'][str(k)]['auroc'])

def test_wandb_without_a_network(here, monkeypatch, capsys):
    pytest.importorskip('wandb')
    monkeypatch.setattr(workflow, '_reachable', lambda *_: False)
    for name in ('WANDB_MODE', 'WANDB_API_KEY'): monkeypatch.delenv(name, raising=False)
    run = run_training(small(tracking__tracker='wandb'))
    assert run.done and list((run.folder/'tracking').rglob('*.wandb')) and 'left out' not in capsys.readouterr().err

def test_mlflow_without_a_network(here, monkeypatch, capsys):
    mlflow = pytest.importorskip('mlflow')
    for name in list(os.environ):
        if name.startswith('MLFLOW'): monkeypatch.delenv(name)
    for name in ('HTTP_REQUEST_MAX_RETRIES', 'HTTP_REQUEST_TIMEOUT', 'TRACKING_URI'): monkeypatch.setenv(f'MLFLOW_{name}', ''), monkeypatch.delenv(f'MLFLOW_{name}')
    run = run_training(small(tracking__tracker='mlflow'))
    assert run.done and (here/'runs/mlflow.db').is_file() and 'left out' not in capsys.readouterr().err
    found = mlflow.search_runs(experiment_names=['me.test'])
    assert len(found) == 1 and np.isclose(found['metrics.fold0/AUROC'][0], run.metrics['folds']['0']['auroc'])
    assert sorted(p.name for p in here.iterdir()) == ['cache', 'runs']

def test_a_tracker_whose_server_is_not_there(here, monkeypatch, capsys):
    "It is asked twice and then left out, not asked at every epoch; the training is the same"
    pytest.importorskip('mlflow')
    from urllib3.util import connection
    asked, connect = [], connection.create_connection
    monkeypatch.setattr(connection, 'create_connection', lambda address, *a, **kw: (asked.append(address), connect(address, *a, **kw))[1])
    monkeypatch.setenv('MLFLOW_TRACKING_URI', 'http://127.0.0.1:9')
    run = run_training(small(tracking__tracker='mlflow'))
    assert run.done and capsys.readouterr().err.count('mlflow is left out') == 1
    assert asked == [('127.0.0.1', 9)]*2


# What it costs

def test_little_is_written_while_a_training_runs(here, monkeypatch):
    "Not after each epoch, but once a second; the end of a fold is always kept"
    import ganad.training as training
    written, save, write = [], training._save_checkpoint, workflow.write_json
    monkeypatch.setattr(training, '_save_checkpoint', lambda *a: (written.append('checkpoint'), save(*a)))
    monkeypatch.setattr(workflow, 'write_json', lambda path, value: (written.append(Path(path).name), write(path, value)))
    monkeypatch.setattr(training.time, 'monotonic', lambda: 0.)
    run_training(small(model__params__epochs=8))
    assert written.count('checkpoint') == 2 and written.count('history.json') == 2
    place = read_tensors(here/'runs/me/test/first/v0/fold1/checkpoint/checkpoint.safetensors')[1]['place']
    assert len(place['rows']) == 8


# Several processes

TWO = '''
import os, sys
from accelerate import debug_launcher
from ganad.experiment import read_config
from ganad.workflow import run_training
def run(folder):
    os.environ['GANAD_RUNS'] = folder
    run_training(read_config('config.yml'))
if __name__ == '__main__':
    debug_launcher(run, ('two',), num_processes=2)
    run('one')
'''

def test_a_training_in_two_processes(here):
    (here/'config.yml').write_text(to_yaml(small('autoencoder')))
    done = subprocess.run([sys.executable, '-c', TWO], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('fold 0: AUROC') == 2
    one, two = (here/f'{name}/me/test/first/v0' for name in ('one', 'two'))
    files = lambda folder: {p.relative_to(folder) for p in folder.rglob('*') if p.parent.name != 'tensorboard'}
    assert files(one) == files(two)
    for k in (0, 1):
        a, b = (read_tensors(folder/f'fold{k}/scores.safetensors')[0] for folder in (one, two))
        assert np.array_equal(a['rows'], b['rows'])
        np.testing.assert_allclose(a['score'], b['score'], rtol=1e-4)

GRADIENTS = '''
import sys, torch
from accelerate import debug_launcher
from ganad.detector import make_detector
from ganad.training import train
torch.set_num_threads(1)
x = torch.randn(24, 1, 40, generator=torch.Generator().manual_seed(0)).tanh()
def one_step(name):
    detector = make_detector('autoencoder', width=8, device='cpu', dense=False)
    torch.manual_seed(0)
    players = detector._players(torch.nn.ModuleDict(detector._build((1, 40))))
    train(players, x, epochs=1, batch_size=24, device='cpu', precision='float32', progress=False)
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    torch.save([p.grad for p in players[0].params], f'{sys.argv[1]}/{name}{rank}.pt')
if __name__ == '__main__':
    one_step('one')
    debug_launcher(one_step, ('two',), num_processes=2)
'''

def test_gradients_of_two_processes_are_those_of_one(tmp_path):
    import torch
    done = subprocess.run([sys.executable, '-c', GRADIENTS, str(tmp_path)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    one, *two = (torch.load(tmp_path/f'{name}.pt', weights_only=True) for name in ('one0', 'two0', 'two1'))
    for a, b, c in zip(one, *two):
        assert torch.equal(b, c)
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)

@pytest.fixture(scope='module')
def many(trained):
    "A detector and more rows than one piece"
    detector, scaler = workflow._restored(open_run(trained/'runs/me/test/first/v0'), 0)
    return detector, scaler.transform(Sine(n=2500, length=32).load().x)

def test_scores_do_not_depend_on_who_computes_them(many):
    detector, x = many
    parts = workflow.score_parts(detector, x, wanted=['model', 'error'], jobs=2)
    assert np.array_equal(parts['model'], detector.anomaly_score(x)) and np.array_equal(parts['error'], workflow.score_parts(detector, x, wanted=['error'])['error'])

def test_scores_on_dask(many):
    distributed = pytest.importorskip('distributed')
    from joblib import parallel_config
    detector, x = many
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster, distributed.Client(cluster), parallel_config(backend='dask'):
        assert np.array_equal(workflow.score_parts(detector, x, wanted=['model'], jobs=-1)['model'], detector.anomaly_score(x))

def test_scans_on_dask(tmp_path):
    "Many records, each scanned by whichever worker is free"
    distributed = pytest.importorskip('distributed')
    import wfdb
    from joblib import Parallel, delayed, parallel_config
    from ganad.data.ecg import simulated_record
    from ganad.records import scan
    records = []
    for name in ('101', '106', '108'):
        wfdb.wrsamp(name, fs=360, units=['mV'], sig_name=['MLII'], p_signal=simulated_record(name, seconds=30).signal.astype(float), fmt=['16'], write_dir=str(tmp_path))
        records.append(str(tmp_path/name))
    alone = [scan(record, progress=False) for record in records]
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster, distributed.Client(cluster), parallel_config(backend='dask'):
        together = Parallel(-1)(delayed(scan)(record, progress=False) for record in records)
    for one, other in zip(alone, together): assert len(one) > 20 and np.array_equal(one['sample'], other['sample']) and np.array_equal(one['score'], other['score'], equal_nan=True)


# Damaged files

def test_damaged_files_are_named(own):
    use = dict(splits='splits.safetensors', config='config.yml', model='fold0/model/detector.safetensors', scaler='fold0/scaler.safetensors', done='metrics.json')
    for name in use.values():
        file, content = own/name, (own/name).read_bytes()
        at = content.find(b'42') if name == 'config.yml' else len(content) - 20
        for damage in (content[:len(content)//2], content[:at] + bytes([content[at] ^ 1]) + content[at + 1:], b'', os.urandom(200), b'\x80\x04\x95'):
            file.write_bytes(damage)
            with pytest.raises((ValueError, OSError)) as e: _ = (run_detection(detection(run='x')), find_run('me', 'test', Source(run='first')).metrics)
            assert file.name in str(e.value), (name, str(e.value))
        file.write_bytes(content)
    assert run_detection(detection(run='x')).done

def test_a_damaged_checkpoint_or_figure_is_named(own):
    (own/'metrics.json').unlink()
    (own/'fold1/metrics.json').write_text('{"auroc": 1.0}')
    with pytest.raises(RunError, match='fold1/metrics.json'): run_training(small())
    (own/'fold1/metrics.json').unlink()
    file = own/'fold1/checkpoint/checkpoint.safetensors'
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ValueError, match='checkpoint.safetensors'): run_training(small())
    file.unlink()
    assert run_training(small()).done

def test_nothing_is_executed(own, capfd):
    "A configuration in a run folder that asks for code is refused"
    text = (own/'config.yml').read_text()
    for spoiled in (text.replace('seed: 42', "seed: !!python/object/apply:os.system ['echo executed']"), text + 'plugin: [evil.py]\n'):
        (own/'config.yml').write_text(spoiled)
        with pytest.raises(ConfigError): open_run(own)
    assert 'executed' not in capfd.readouterr().out
    for module in (experiment, workflow): assert not re.search(r'\bpickle\b|torch\.load|allow_pickle=True|\beval\(|\bexec\(|yaml\.(unsafe|full)', Path(module.__file__).read_text().replace('.eval()', ''))


# From the command line

def command(name, *words): return getattr(commands, f'{name}_main')([str(w) for w in words])
def sets(changes): return [w for k, v in changes.items() for w in ('--set', f'{k}={json.dumps(v)}')]

def test_the_whole_way(here, capsys):
    assert command('init', '-d', 'sine', '-m', 'vaegan', 'me', 'test', 'first', *sets(SMALL)) == 0
    assert read_config('config.yml') == small()
    assert command('preprocess') == 0 and command('train') == 0 and command('train') == 0
    assert command('detect', '-i', 'first', 'me', 'test', 'found') == 0 and command('detect') == 0
    assert command('inverse', '-i', 'first:0', 'me', 'test', 'way', '--set', 'params.epochs=1') == 0 and command('inverse') == 0
    assert command('detect', '-i', 'first:v0', 'me', 'test', 'mapped', '-o', 'mapped.yml', '--set', 'reconstruction.kind=mapping', '--set', 'reconstruction.mapping.run=way') == 0
    capsys.readouterr()
    assert command('detect', 'mapped.yml') == 0
    said = capsys.readouterr().out
    found = read_json(here/'runs/me/test/mapped/v0/metrics.json')
    assert f"AUROC {found['mean']['auroc']:.3f}" in said and 'runs/me/test/mapped/v0' in said

def called(name, *words):
    "A command in a process of its own, as a terminal would call it"
    return [sys.executable, '-c', f'import sys; from ganad.commands import {name}_main; sys.exit({name}_main(sys.argv[1:]))', *map(str, words)]

def ran(name, *words):
    done = subprocess.run(called(name, *words), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout

def reported(said): return [float(number) for number in re.search(r'AUROC (\S+) ± (\S+), AP (\S+) ± ', said.splitlines()[-2]).groups()]

def test_the_whole_way_on_mitdb(here, mitdb, monkeypatch):
    "From the command line: init, preprocess, train, killed, train again, detect, inverse, detect with the mapping; the figures that are printed"
    if CACHE: monkeypatch.setenv('GANAD_CACHE', CACHE)
    else: monkeypatch.delenv('GANAD_CACHE')
    changes = {'data.limit': 600, 'split.folds': 2, 'model.params.epochs': 10, 'model.params.batch_size': 16, 'training.device': 'cpu', 'training.checkpoint_every': 0.}
    assert 'config.yml' in ran('init', '-d', 'mitbih_beatgan', '-m', 'vae', 'me', 'beats', 'first', *sets(changes))
    assert '600 samples' in ran('preprocess')
    folder = here/'runs/me/beats'
    process = subprocess.Popen(called('train'), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder/'first/v0/fold0/checkpoint/checkpoint.safetensors').exists() and process.poll() is None: time.sleep(.02)
    process.kill()
    assert process.wait() == -9 and not (folder/'first/v0/metrics.json').exists()
    figures = reported(ran('train'))
    through = run_training(replace(read_config('config.yml'), run='through'))
    assert through.metrics == read_json(folder/'first/v0/metrics.json')

    ran('detect', '-i', 'first', 'me', 'beats', 'found')
    assert reported(ran('detect')) == figures               # the model's own score again
    ran('inverse', '-i', 'first', 'me', 'beats', 'way', '--set', 'params.epochs=2')
    assert 'error of normal rows' in ran('inverse')
    ran('detect', '-i', 'first', 'me', 'beats', 'mapped', '-o', 'mapped.yml', *sets({'reconstruction.kind': 'mapping', 'reconstruction.mapping.run': 'way', 'score.error': 1.}))
    mapped, stored = reported(ran('detect', 'mapped.yml')), read_json(folder/'mapped/v0/metrics.json')
    assert mapped == [round(stored['mean']['auroc'], 3), round(stored['sd']['auroc'], 3), round(stored['mean']['ap'], 3)] and mapped != figures
    assert .5 < mapped[0] <= 1 and .5 < figures[0] <= 1
    for k in (0, 1):
        table, train = pd.read_csv(folder/f'mapped/v0/fold{k}/scores.csv'), open_run(folder/'first/v0').splits[k][0]
        assert {'about_record', 'about_symbol', 'about_subject'} <= set(table) and not np.intersect1d(table.row, train).size and len(table) > 200

def test_files_and_databases_from_the_command_line(here, capsys):
    rng = np.random.default_rng(0)
    y = np.arange(80) % 8 == 0
    pd.DataFrame(rng.normal(size=(80, 3)) + 9*y[:, None], columns=list('abc')).assign(state=np.where(y, 'odd', 'fine')).to_csv('rows.csv', index=False)
    np.save('long.npy', np.sin(np.arange(1600)/3) + 9*np.repeat(y, 20)*rng.normal(size=1600)), np.save('odd.npy', np.repeat(y, 20))
    _three_records(here/'mine')
    for data, model, changes in (('table', 'pca', {'file': 'rows.csv', 'label': 'state', 'normal': 'fine'}), ('series', 'pca', {'file': 'long.npy', 'labels': 'odd.npy', 'window': 20}),
                                 ('wfdb', 'knn', {'database': 'mine'})):
        changes = {**{f'data.params.{k}': v for k, v in changes.items()}, 'split.folds': 2}
        assert command('init', '-d', data, '-m', model, 'me', 'files', data, '--force', *sets(changes)) == 0 and command('preprocess') == 0 and command('train') == 0, capsys.readouterr().err
        assert find_run('me', 'files', Source(run=data)).metrics['mean']['auroc'] > .6

def test_a_database_by_name(here, mitdb, capsys):
    changes = {'data.params.database': 'mitdb', 'data.params.records': ['106', '119', '200'], 'split.folds': 3}
    assert command('init', '-d', 'wfdb', '-m', 'knn', 'me', 'files', 'named', *sets(changes)) == 0 and command('train') == 0, capsys.readouterr().err
    assert set(prepare(read_config('config.yml')).about['record']) == {'106', '119', '200'}

def test_dry_runs_write_nothing(own, capsys):
    folder = own.parents[4]
    Path('config.yml').write_text(to_yaml(small(model__params__epochs=9)))
    Path('ad_config.yml').write_text(to_yaml(detection()))
    Path('inv_config.yml').write_text(to_yaml(Inverse(entity='me', project='test', run='way', source=Source(run='first'))))
    before = sorted(p for p in folder.rglob('*'))
    for words in (['init', '-d', 'sine', '-m', 'pca', 'a', 'b', 'c'], ['preprocess'], ['train'], ['detect'], ['inverse'], ['detect', '-i', 'first', 'me', 'test', 'x'], ['inverse', '-i', 'first', 'me', 'test', 'x']):
        assert command(*words, '--dry-run') == 0
        assert 'would' in capsys.readouterr().out
    assert sorted(p for p in folder.rglob('*')) == before

def test_pictures(own, capsys):
    Path('config.yml').write_text(to_yaml(small()))
    assert command('train', '--pictures') == 0
    assert {p.name for p in (own/'fold1').glob('*.png')} == {f'{n}.png' for n in ('losses', 'reconstructions', 'residuals', 'made', 'scores', 'curves')}
    assert all(p.read_bytes()[:4] == b'\x89PNG' for p in own.rglob('*.png')) and '12 pictures' in capsys.readouterr().out

@pytest.mark.parametrize('words, meant', [
    (['init', '-d', 'sine', 'me', 'b', 'c'], '-m NAME'), (['init', '-d', 'sine', '-m', 'pca', 'me', 'b'], 'ENTITY PROJECT RUN'), (['init', '-d', 'sin', '-m', 'pca', 'a', 'b', 'c'], "Did you mean 'sine'"),
    (['init', '-d', 'sine', '-m', 'pac', 'a', 'b', 'c'], "Did you mean 'pca'"), (['init', '-d', 'sine', '-m', 'pca', 'a', 'b', '../c'], 'letters'), (['init', '-d', 'sine', '-m', 'pca', 'a', 'b', 'c', '--set', 'seed'], 'KEY=VALUE'),
    (['init', '-d', 'sine', '-m', 'pca', 'a', 'b', 'c', '--set', 'sede=1'], "Did you mean 'seed'"), (['init', '-d', 'sine', '-m', 'pca', 'a', 'b', 'c', 'd'], 'what is d'), (['init', '--dta', 'sine'], 'Did you mean --data'),
    (['train'], 'ganad-init'), (['train', 'x.yml', 'y.yml'], 'one configuration'), (['preprocess', '--dryrun'], 'Did you mean --dry-run'), (['train', '--plugin', 'no.py'], 'no.py'),
    (['detect', '-i', 'first', 'me'], 'ENTITY PROJECT RUN'), (['detect', 'a', 'b'], '-i RUN'), (['detect', '--set', 'limit=3'], '-i RUN'), (['inverse', '-i', 'first:x', 'a', 'b', 'c'], 'RUN:VERSION')])
def test_wrong_calls(words, meant, here, capsys):
    assert command(*words) == 2
    said = capsys.readouterr()
    assert said.out == '' and meant in said.err, said.err
    assert not [p for p in here.iterdir() if p.suffix == '.yml']

def test_a_run_that_is_not_there(own, capsys):
    assert command('detect', '-i', 'frist', 'me', 'test', 'found') == 1
    assert "Did you mean 'first'" in capsys.readouterr().err

def test_a_file_is_not_written_over(here, capsys):
    words = ['init', '-d', 'sine', '-m', 'pca', 'a', 'b', 'c']
    assert command(*words) == 0 and command(*words) == 2 and '--force' in capsys.readouterr().err and command(*words, '--force') == 0

def test_help_imports_nothing_heavy():
    code = ("import sys; from ganad import commands as c\nfor main in (c.init_main, c.preprocess_main, c.train_main, c.detect_main, c.inverse_main, c.bench_main, c.scan_main): main(['-h']); main(['--versoin'])\n"
            "print([m for m in ('torch', 'sklearn', 'pandas', 'wfdb', 'matplotlib', 'pydantic', 'yaml') if m in sys.modules])")
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.splitlines()[-1] == '[]'

def test_help_is_complete():
    for name in ('init', 'preprocess', 'train', 'detect', 'inverse'):
        parser = getattr(commands, f'{name}_parser')()
        said = ' '.join(parser.format_help().split())
        assert parser.description and 'Exit status' in said and '--dry-run' in said
        for action in parser._actions: assert action.help, (name, action)
        for option in (o for action in parser._actions for o in action.option_strings): assert option in said

def test_every_command_is_installed():
    scripts = (Path(__file__).parents[1]/'pyproject.toml').read_text()
    for name in ('init', 'preprocess', 'train', 'detect', 'inverse'): assert f'ganad-{name} = "ganad.commands:{name}_main"' in scripts

PLUGIN = '''
import numpy as np
from ganad.detector import METHODS
from ganad.experiment import DATA_SETS, DataSet, Samples
from ganad.methods.autoencoder import PCA

class Steps(DataSet):
    "Steps up; the anomalies step down"
    settings = {'split.folds': 2}
    def __init__(self,
        n:int=60, # Number of steps
    ): self.n = n
    def load(self):
        y = (np.arange(self.n) % 10 == 0).astype(int)
        x = np.sign(np.linspace(-1, 1, 16))*np.where(y, -1, 1)[:, None] + .1*np.random.default_rng(0).normal(size=(self.n, 16))
        return Samples(x, y)

class Mine(PCA): "A method of one's own"

DATA_SETS['steps'] = Steps
METHODS['mine'] = Mine
'''

OWN = '''
from ganad.commands import *
assert init_main(['-d', 'steps', '-m', 'mine', 'me', 'test', 'first']) == 2
assert init_main(['-d', 'steps', '-m', 'mine', 'me', 'test', 'first', '--plugin', 'mine.py']) == 0
assert '# Number of steps' in open('config.yml').read()
assert train_main([]) == 0
assert detect_main(['-i', 'first', 'me', 'test', 'found', '--plugin', 'mine.py']) == 0 and detect_main(['--plugin', 'mine.py']) == 0
'''

def test_ones_own_data_and_model_in_every_command(here):
    "In a process of its own, so that nothing is registered that the plugin did not register"
    (here/'mine.py').write_text(PLUGIN)
    done = subprocess.run([sys.executable, '-c', OWN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "unknown data set 'steps'" in done.stderr and done.stdout.count('AUROC 1.000') == 6


# A run by the path to its folder

def source(words, capsys, name='x'):
    "What a configuration says of the run that was named by -i"
    assert command('detect', '-i', *words, name, '-o', f'{name}.yml', '--force') == 0, capsys.readouterr().err
    return read_config(f'{name}.yml').source

@pytest.mark.parametrize('path', ['runs/me/test/first', './runs/me/test/first/', 'runs/me/test/first:0', 'runs/me/test/first:v0', 'runs/me/test/first/v0', 'runs/me/test/first/v0/', 'me/test/first', '{here}/runs/me/test/first', '~/runs/me/test/first', '~/runs/me/test/first/v0:0'])
def test_a_run_by_its_path(own, path, capsys, monkeypatch):
    monkeypatch.setenv('HOME', os.getcwd())
    path = path.format(here=os.getcwd())
    assert source([path, 'me', 'test'], capsys) == Source(run='first', version=0)
    assert source([path, 'me', 'other'], capsys) == Source(run='first', version=0, project='test')
    assert source([path, 'you', 'other'], capsys) == Source(run='first', version=0, entity='me', project='test')

def test_a_run_seen_from_inside(own, capsys, monkeypatch):
    for folder, word in ((own.parents[1], 'first'), (own.parents[1], 'first:0'), (own.parent, '.'), (own.parent, 'v0'), (own, '.'), (own, '../../first')):
        monkeypatch.chdir(folder)
        assert source([word, 'you', 'other'], capsys) == Source(run='first', version=0, entity='me', project='test')

def test_detections_and_mappings_of_anybodys_run(own, capsys):
    assert command('detect', '-i', 'first', 'me', 'test', 'found') == 0 and command('detect') == 0
    wanted = pd.read_csv(own.parents[1]/'found/v0/fold0/scores.csv')
    assert command('inverse', '-i', 'runs/me/test/first', 'you', 'other', 'way', '--set', 'params.epochs=1') == 0 and command('inverse') == 0
    assert command('detect', '-i', 'runs/me/test/first/', 'you', 'other', 'found', '--force') == 0 and command('detect') == 0
    pd.testing.assert_frame_equal(pd.read_csv(own.parents[3]/'you/other/found/v0/fold0/scores.csv'), wanted)
    mapping = ('--set', 'reconstruction.kind=mapping', '--set', 'reconstruction.mapping.run=way', '--set', 'reconstruction.mapping.entity=you', '--set', 'reconstruction.mapping.project=other')
    assert command('detect', '-i', 'first', 'me', 'test', 'mapped', '-o', 'mapped.yml', *mapping) == 0 and command('detect', 'mapped.yml') == 0

def test_a_run_outside_the_folder_of_runs(own, capsys, tmp_path):
    import shutil
    elsewhere = tmp_path/'a stick'/'my copy of it'
    shutil.copytree(own.parent, elsewhere)
    assert source([f'{elsewhere}/', 'you', 'other'], capsys) == source([f'{elsewhere}/v0', 'you', 'other'], capsys) == Source(run='first', version=0, folder=str(elsewhere))
    assert command('detect', 'x.yml') == 0 and command('detect', 'x.yml', '--dry-run') == 0
    shutil.rmtree(elsewhere)
    capsys.readouterr()
    assert command('detect', 'x.yml') == 1 and f"there is no folder {elsewhere}; give the path to the folder of 'first', or its name" in capsys.readouterr().err

@pytest.mark.parametrize('word, status, meant', [
    ('runs/me/test/first:7', 1, 'first has no version 7; it has 0'), ('runs/me/test/first/v0:7', 2, 'names two versions, 0 by its folder and 7 after the colon'), ('runs/me/test', 1, "no run's folder: it holds no version (v0, v1, ...); it holds the runs first"),
    ('nowhere/first', 1, 'there is no folder nowhere/first; give the name of a run, or the path to its folder'), ('runs/me/test/first:x', 2, 'expected RUN or RUN:VERSION'), ('runs/me/test/first/v0/fold0', 1, "no run's folder"), ('runs/me/test/first/v0/config.yml', 1, 'there is no folder'), ('~/nowhere', 1, 'there is no folder ~/nowhere')])
def test_paths_that_lead_to_no_run(own, word, status, meant, capsys):
    assert command('detect', '-i', word, 'you', 'other', 'x') == command('inverse', '-i', word, 'you', 'other', 'x') == status
    said = capsys.readouterr()
    assert meant in said.err and said.out == '' and not Path('ad_config.yml').exists()

def test_older_configurations_have_no_such_keys(own):
    "A detection that was written before its source could lie elsewhere is read as before"
    text = '\n'.join(line for line in to_yaml(detection()).splitlines() if line.split(':')[0].strip() not in ('folder', 'device') and not line.startswith(('  entity', '  project')))
    assert parse_config(text) == detection()


# Devices and seeds in a configuration

@pytest.fixture
def no_gpu(monkeypatch):
    import torch
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: False)

ABSENT = [('cuda', "the device 'cuda' was asked for, but torch sees no CUDA GPU"), ('cuda:7', "the device 'cuda:7' was asked for"), ('mps', 'torch sees no Apple GPU'), ('gpu', "unknown device 'gpu'. Did you mean 'cpu'?"), ('xla', 'torch cannot use it here')]

@pytest.mark.parametrize('device, meant', ABSENT)
def test_a_training_on_a_device_that_is_not_there(here, device, meant, no_gpu, capsys):
    Path('config.yml').write_text(to_yaml(small(training__device=device)))
    for words in ([], ['--dry-run']):
        assert command('train', *words) == 2
        said = capsys.readouterr().err
        assert meant in said and said.rstrip().endswith('The key is training.device') and said.count('\n') == 1
    assert not (here/'runs').exists()
    Path('config.yml').write_text(to_yaml(small('pca', training__device=device, training__checkpoint_every=60.)))
    assert command('train') == 0        # needs none

@pytest.mark.parametrize('device, meant', ABSENT)
def test_models_of_a_machine_that_has_a_gpu(own, device, meant, no_gpu, capsys):
    "A training that ran elsewhere says so, and is used here by one key"
    for file in own.rglob('*.safetensors'):
        tensors, info = read_tensors(file)
        if 'params' in info: write_tensors(file, tensors, {**info, 'params': {**info['params'], 'device': device}})
        if 'config' in info: info['config']['training']['device'] = device; write_tensors(file, tensors, info)
    (own/'config.yml').write_text((own/'config.yml').read_text().replace('device: cpu', f'device: {device}'))
    for stage, out in (('detect', 'ad_config.yml'), ('inverse', 'inv_config.yml')):
        few = ('--set', 'params.epochs=1') if stage == 'inverse' else ()
        assert command(stage, '-i', 'first', 'me', 'test', f'{stage}ed', *few) == 0
        for words in ([], ['--dry-run']):
            assert command(stage, *words) == 2
            said = capsys.readouterr().err
            assert meant in said and f'was trained with device: {device}; write device: cpu to use its models here' in said
        assert command(stage, '-i', 'first', 'me', 'test', f'{stage}ed', '--force', '--set', 'device=cpu', *few) == 0 and command(stage) == 0
        assert command(stage, '-i', 'first', 'me', 'test', f'{stage}ed', '--force', '--set', f'device={device}', *few) == 0 and command(stage) == 2
        assert capsys.readouterr().err.rstrip().endswith('The key is device')

@pytest.mark.parametrize('seed', ['-1', '4294967296', '1.5', 'x', 'null', 'true'])
def test_seeds_that_are_none(here, seed, capsys):
    assert command('init', '-d', 'sine', '-m', 'pca', 'a', 'b', 'c', '--set', f'seed={seed}') == 2
    assert 'seed: input should be' in capsys.readouterr().err

@pytest.mark.parametrize('seed', [None, -1, 2**32, 1.5, '3'])
def test_splits_by_a_seed_that_is_none(people, seed):
    with pytest.raises(ValueError, match='seed must be a whole number from 0 to 4294967295, got'): make_splits(people, Split(folds=3), seed)

def test_splits_by_a_seed_of_numpy(people):
    for (a, b), (c, d) in zip(make_splits(people, Split(folds=3), 7).values(), make_splits(people, Split(folds=3), np.int64(7)).values()): assert (a == c).all() and (b == d).all()


# Ctrl-C while a command imports

STOPPED = """import signal, sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[2]: signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Stop())
from ganad import commands
sys.exit(getattr(commands, f'{sys.argv[1]}_main')(sys.argv[3:]))"""

@pytest.mark.parametrize('name, module, words', [
    ('scan', 'torch', []), ('scan', 'ganad.records', []), ('scan', 'wfdb', []), ('init', 'yaml', ['-d', 'sine', '-m', 'vaegan', 'a', 'b', 'c']), ('init', 'torch', ['-d', 'sine', '-m', 'vaegan', 'a', 'b', 'c']), ('preprocess', 'ganad.experiment', []),
    ('train', 'torch', []), ('train', 'ganad.experiment', []), ('detect', 'torch', ['-i', 'first', 'a', 'b', 'c']), ('detect', 'pandas', []), ('inverse', 'torch', ['-i', 'first', 'a', 'b', 'c']), ('bench', 'torch', []), ('lab', 'ganad.lab', ['copy'])])
def test_interrupted_while_importing(name, module, words, here):
    Path('config.yml').write_text(to_yaml(small()))
    before = sorted(here.rglob('*'))
    done = subprocess.run([sys.executable, '-c', STOPPED, name, module, *words], capture_output=True, text=True, timeout=120, env={**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'})
    assert done.returncode == 1 and 'Traceback' not in done.stderr and re.fullmatch(rf'ganad-{name}: interrupted; [a-z ]+\n', done.stderr), done.stderr
    assert sorted(here.rglob('*')) == before
