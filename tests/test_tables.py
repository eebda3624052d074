"Tables are encoded or refused, the papers' protocols and counts hold, the cache and the stand-ins behave."
import hashlib, json, shutil, warnings

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets._kddcup99 as sklearn_kdd
from scipy import sparse
from scipy.io import loadmat, savemat
from sklearn.base import clone
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import Bunch

from ganad.data import tables
from ganad.data.tables import (KDD_CATEGORICAL, KDD_COLUMNS, Table, TableEncoder, blocks, data_note, dense, distinct, flag_report, flag_top,
                               kdd_table, kddcup99_frame, load_arrhythmia, load_kddcup99, load_newsgroups, make_table, protocol_arrhythmia,
                               protocol_kdd, scale_tables, simulate_connections, simulate_posts, text_table, thin)
from ganad.settings import DataNotFound, data_folder, data_named

def rows(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(dict(kind=rng.choice(['a', 'b', 'c'], n), size=rng.normal(5, 3, n), on=rng.choice([True, False], n), n=rng.integers(0, 9, n)))

def encoder(frame=None, **kwargs): return TableEncoder(**{'categorical': 'kind', **kwargs}).fit(rows() if frame is None else frame)


# ---- the encoder

def test_numbers_first_then_a_column_a_category():
    enc, frame = encoder(), rows()
    assert enc.get_feature_names_out() == ['size', 'n', 'kind=a', 'kind=b', 'kind=c', 'on=False', 'on=True']
    x = enc.transform(frame)
    assert x.dtype == np.float32 and x.shape == (40, 7)
    np.testing.assert_array_equal(x[:, :2], frame[['size', 'n']].to_numpy(np.float32))
    np.testing.assert_array_equal(x[:, 2:5], pd.get_dummies(frame.kind).to_numpy())
    np.testing.assert_array_equal(x[:, 6], frame.on)

def test_the_same_by_dtype_by_name_and_by_position():
    frame = rows()
    by_dtype = TableEncoder().fit(frame.astype(dict(kind='category')))
    x = encoder().transform(frame)
    np.testing.assert_array_equal(by_dtype.transform(frame), x)
    array = frame[['kind', 'size', 'n']].to_numpy(dtype=object)
    np.testing.assert_array_equal(TableEncoder(categorical=[0]).fit(array).transform(array), x[:, :5])
    ints = rows()[['n', 'size']]
    assert TableEncoder(categorical='n').fit(ints).transform(ints).shape[1] == 1 + ints.n.nunique()

def test_order_of_columns_does_not_matter():
    enc, frame = encoder(), rows()
    np.testing.assert_array_equal(enc.transform(frame[frame.columns[::-1]]), enc.transform(frame))

@pytest.mark.parametrize('scale, scaler', [('standard', StandardScaler), ('minmax', MinMaxScaler)])
def test_scaling_is_learned_from_training_rows_only(scale, scaler):
    train, test = rows(seed=1), rows(seed=2)*1
    test['size'] *= 10
    enc = encoder(train, scale=scale)
    expected = scaler().fit(train[['size', 'n']].astype(float))
    for part in (train, test): np.testing.assert_allclose(enc.transform(part)[:, :2], expected.transform(part[['size', 'n']].astype(float)), rtol=1e-5, atol=1e-6)
    assert enc.transform(test)[:, 0].max() > enc.transform(train)[:, 0].max() # not clipped
    np.testing.assert_array_equal(enc.transform(test)[:, 2:], encoder(train).transform(test)[:, 2:]) # codes are not scaled

@pytest.mark.parametrize('scale', [None, 'standard', 'minmax'])
def test_a_constant_column(scale):
    frame = rows().assign(same=7.)
    enc = encoder(frame, scale=scale)
    at = enc.get_feature_names_out().index('same')
    assert set(enc.transform(frame)[:, at]) == {7. if scale is None else 0.}
    assert enc.transform(frame.assign(same=9.))[0, at] == (9. if scale is None else 2.)

def test_nothing_but_constant_columns():
    with pytest.raises(ValueError, match='every column is constant'): TableEncoder().fit(np.ones((5, 3)))
    with pytest.raises(ValueError, match='0 rows'): TableEncoder().fit(np.zeros((0, 3)))

def test_a_category_not_seen_before():
    frame = rows(3).assign(kind=['z', 'a', 'b'])
    with pytest.warns(UserWarning, match="column 'kind': 'z' did not occur"): x = encoder().transform(frame)
    np.testing.assert_array_equal(x[:, 2:5], [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    with pytest.raises(ValueError, match="'z' did not occur.*Known: a, b, c"): encoder(unknown='error').transform(frame)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        np.testing.assert_array_equal(encoder(unknown='ignore').transform(frame), x)

@pytest.mark.parametrize('column, value', [('size', np.nan), ('kind', None), ('kind', np.nan)])
def test_missing_values(column, value):
    frame = rows()
    frame[column] = frame[column].astype(object)
    frame.loc[[3, 5], column] = value
    if column == 'size': frame[column] = frame[column].astype(float)
    for call in (lambda: encoder(frame), lambda: encoder().transform(frame)):
        with pytest.raises(ValueError, match=f"column '{column}': 2 of 40 values are missing"): call()

@pytest.mark.parametrize('value', [np.inf, -np.inf, 1e39])
def test_values_that_float32_cannot_hold(value):
    frame = rows()
    frame.loc[1, 'size'] = value
    for call in (lambda: encoder(frame), lambda: encoder().transform(frame)):
        with pytest.raises(ValueError, match="column 'size' holds infinite"): call()

def test_strings_that_were_not_declared():
    with pytest.raises(ValueError, match="column 'kind'.*was not declared.*categorical="): TableEncoder().fit(rows())
    with pytest.raises(ValueError, match="column 'size'.*was not declared"): encoder().transform(rows().astype(dict(size=str)))
    with pytest.raises(ValueError, match="columns 'day', 'kind'"): TableEncoder().fit(rows().assign(day=pd.Timestamp('2020-01-01'))[['day', 'kind', 'n']])
    with pytest.raises(ValueError, match='mixes kinds'): encoder(rows(2).assign(kind=['a', 3]))

def test_wrong_names_and_shapes():
    enc = encoder()
    with pytest.raises(ValueError, match="Did you mean 'kind'"): encoder(categorical='kin')
    with pytest.raises(ValueError, match="Did you mean 'minmax'"): encoder(scale='minmx')
    with pytest.raises(ValueError, match='unknown way with unknown categories'): encoder(unknown='zeros')
    with pytest.raises(ValueError, match="lack columns 'on', 'n'"): enc.transform(rows()[['kind', 'size']])
    with pytest.raises(ValueError, match="not fitted on column 'label'"): enc.transform(rows().assign(label=1))
    with pytest.raises(ValueError, match="two columns have the name 'n'"): enc.transform(rows()[['n', 'n', 'kind']])
    with pytest.raises(ValueError, match='expected 4 columns.*got 3'): enc.transform(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r'two dimensions.*\(3,\)'): enc.transform(np.zeros(3))
    with pytest.raises(ValueError, match='sparse'): TableEncoder().fit(sparse.eye(3))
    with pytest.raises(ValueError, match='not fitted'): TableEncoder().transform(rows())

def test_no_rows_and_no_numbers():
    assert encoder().transform(rows()[:0]).shape == (0, 7)
    assert encoder(rows()[['kind']]).transform(rows()[['kind']]).shape == (40, 3)
    assert TableEncoder().fit(np.eye(3)).transform(np.eye(3)).shape == (3, 3)

@pytest.mark.parametrize('scale', [None, 'standard', 'minmax'])
def test_kept_as_json(scale):
    enc = encoder(scale=scale)
    again = TableEncoder.from_dict(json.loads(json.dumps(enc.to_dict())))
    np.testing.assert_array_equal(again.transform(rows(seed=3)), enc.transform(rows(seed=3)))
    assert again.get_feature_names_out() == enc.get_feature_names_out()

def test_a_scikit_learn_estimator():
    enc = clone(encoder(scale='standard'))
    assert enc.get_params() == dict(categorical='kind', scale='standard', unknown='warn') and not hasattr(enc, 'columns_')
    np.testing.assert_array_equal(enc.fit_transform(rows()), encoder(scale='standard').transform(rows()))


# ---- tables

def test_distinct_rows():
    x = np.random.default_rng(0).integers(0, 2, (200, 4)).astype(np.float32)
    first, row = distinct(x)
    assert len(first) == len(np.unique(x, axis=0))
    np.testing.assert_array_equal(x[first][row], x)
    assert distinct(np.zeros((0, 3)))[1].shape == (0,)

def test_choosing_chooses_everything():
    table = make_table(rows(), y=np.arange(40) % 2, label=np.arange(40), categorical='kind')
    for index in (slice(2, 9), table.y == 1, [5, 1], 7, -1):
        some, at = table[index], np.atleast_1d(np.arange(40)[index])
        for f in ('x', 'y', 'label', 'row'): np.testing.assert_array_equal(getattr(some, f), getattr(table, f)[at])
        assert some.encoder is table.encoder and some.columns == table.columns
    assert list(table.frame().columns) == [*table.columns, 'y', 'label']
    np.testing.assert_array_equal(table.encode(rows()), table.x)

def test_fitted_on_training_rows():
    frame = rows().assign(size=np.r_[np.linspace(0, 1, 20), np.linspace(5, 6, 20)], kind=['a', 'b']*10 + ['c']*20)
    with pytest.warns(UserWarning, match="'c' did not occur"): table = make_table(frame, fit_on=np.arange(40) < 20, categorical='kind', scale='minmax')
    assert table.x[:20, 0].max() == 1 and table.x[20:, 0].max() == 6 and 'kind=c' not in table.columns
    assert set(table.y) == {-1}

def test_tables_that_do_not_fit():
    with pytest.raises(ValueError, match='39 for 40 rows'): make_table(rows(), y=np.zeros(39), categorical='kind')
    with pytest.raises(ValueError, match=r'must hold 0.*\[2\]'): make_table(rows(), y=np.full(40, 2), categorical='kind')
    with pytest.raises(ValueError, match='one length'): Table(np.zeros((3, 2), np.float32), np.zeros(2), ['a', 'b'])
    with pytest.raises(ValueError, match='names of columns'): Table(np.zeros((3, 2), np.float32), np.zeros(3), ['a'])
    with pytest.raises(ValueError, match='no encoder'): Table(np.zeros((3, 1), np.float32), np.zeros(3), ['a']).encode([[1]])

def test_scaled_together():
    table = make_table(rows(), categorical='kind')
    train, test = scale_tables('standard', table[:20], table[20:])
    alone = encoder(rows()[:20], scale='standard')
    np.testing.assert_allclose(test.x[:, :2], alone.transform(rows()[20:])[:, :2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(test.encode(rows()[20:]), test.x, rtol=1e-5, atol=1e-6)
    assert table.encoder.scale is None and train.encoder.scale == 'standard'
    np.testing.assert_array_equal(table.x, encoder().transform(rows())) # left as it was
    assert scale_tables(None, table)[0] is table
    with pytest.raises(ValueError, match='scaled already'): scale_tables('minmax', train)
    with pytest.raises(ValueError, match='unknown scale'): scale_tables('log', table)
    with pytest.raises(ValueError, match='make_table'): scale_tables('minmax', text_table(['a word', 'two words']))


# ---- flags

@pytest.mark.parametrize('normal, anomalous', [(80, 50), (81, 7), (4, 1), (5, 9)])
def test_thinned_to_a_share(normal, anomalous):
    y = np.repeat([0, 1], [normal, anomalous])
    kept = thin(y, .2, seed=3)
    assert y[kept].mean() == .2 and (np.diff(kept) > 0).all()
    assert len(kept) + 5 > min(5*anomalous, 5*(normal//4))
    np.testing.assert_array_equal(kept, thin(y, .2, seed=3))

def test_thinning_refuses():
    for y in (np.zeros(5), np.ones(5), []):
        with pytest.raises(ValueError, match='needs normal and anomalous'): thin(y, .2)
    with pytest.raises(ValueError, match='too few'): thin([0, 0, 1], .2)
    with pytest.raises(ValueError, match='between 0 and 1'): thin([0, 1], 20)

def test_just_the_share_is_flagged_whatever_ties():
    score = np.r_[np.zeros(60), np.ones(40)]
    assert flag_top(score, .2).sum() == 20 and flag_top(score, .2)[60:80].all()
    assert flag_top(np.zeros(10), .3).sum() == 3
    for bad in ([1, np.nan], [[1, 2]]):
        with pytest.raises(ValueError, match='scores must be'): flag_top(bad, .5)
    with pytest.raises(ValueError, match='between 0 and 1'): flag_top([1, 2], 20)

def test_flag_report():
    r = flag_report([0, 0, 0, 1, 1], [1, 2, 5, 4, 3], .4)
    assert (r.flagged, r.precision, r.recall, r.f1) == (2, .5, .5, .5)
    assert flag_report([1, 0, 0, 0, 0], [0, 1, 2, 3, 4], .2).f1 == 0
    with pytest.raises(ValueError, match='normal .0. and anomalous'): flag_report([0, 0], [1, 2], .5)


# ---- text

def test_blocks_and_dense():
    x = sparse.random(105, 7, density=.3, format='coo', random_state=0)
    np.testing.assert_allclose(dense(x), x.toarray(), rtol=1e-6)
    parts = list(blocks(x, 50))
    assert [len(p) for p in parts] == [50, 50, 5] and all(p.dtype == np.float32 and isinstance(p, np.ndarray) for p in parts)
    np.testing.assert_allclose(np.concatenate(parts), x.toarray(), rtol=1e-6)
    assert list(blocks(x.tocsr()[:0])) == [] and dense(x.tocsr()[:0]).shape == (0, 7)
    with pytest.raises(ValueError, match='at least one row'): list(blocks(x, 0))

def test_text_table():
    texts, topic = simulate_posts(50)
    table = text_table(texts, topic != 'space', topic, max_features=20, fit_on=topic == 'space')
    assert table.x.shape == (50, 20) and set(table.columns) <= set(' '.join(t for t, k in zip(texts, topic) if k == 'space').split())
    np.testing.assert_allclose(table.encode(texts[:3]), table.x[:3])
    assert not table.encode(['xyzzy', '']).any() # no known word
    with pytest.raises(ValueError, match='number 1 is None'): text_table(['a', None])

def test_newsgroups(alone, tmp_path, monkeypatch):
    table = load_newsgroups('space', stand_in=True)
    assert table.simulated and set(table.label[table.y == 0]) == {'space'} and 'motors' in table.label[table.y == 1]
    with pytest.raises(ValueError, match="Did you mean 'space'"): load_newsgroups('spice', stand_in=True)
    def fetch(**kwargs):
        assert kwargs['subset'] == 'all' and kwargs['download_if_missing'] is downloads
        return Bunch(data=['the moon', 'a car', 'the orbit'], target=[1, 0, 1], target_names=['rec.autos', 'sci.space'])
    monkeypatch.setattr(tables, 'fetch_20newsgroups', fetch)
    downloads = True
    assert load_newsgroups('sci.space').y.tolist() == [0, 1, 0]
    monkeypatch.setenv('GANAD_DATA', str(tmp_path))
    with pytest.raises(DataNotFound, match="no folder '20newsgroups'"): load_newsgroups('sci.space', stand_in=True)
    (tmp_path/'20newsgroups').mkdir()
    downloads = False
    assert load_newsgroups('rec.autos').y.tolist() == [1, 0, 1]


# ---- found, downloaded, stood in for

@pytest.fixture
def alone(monkeypatch, own_cache):
    "No data folder, no network"
    monkeypatch.setenv('GANAD_DATA', '')
    monkeypatch.setattr(tables, 'online', lambda: False)

def test_alone(alone, own_cache):
    for call in (load_kddcup99, kddcup99_frame, protocol_kdd, load_arrhythmia, protocol_arrhythmia):
        with pytest.raises(DataNotFound, match='stand_in=True'): call()
    assert 'simulated' in data_note()
    table = load_kddcup99(stand_in=True)
    assert table.simulated and .15 < table.y.mean() < .25 and len(np.unique(table.row)) < len(table)/2
    for duplicates in (True, False):
        train, test = protocol_kdd(stand_in=True, duplicates=duplicates, scale='minmax')
        assert train.simulated and test.simulated and not train.y.any() and test.y.mean() == .2
    assert load_arrhythmia(stand_in=True).simulated and protocol_arrhythmia(stand_in=True)[1].simulated
    assert not (own_cache/'prepared').exists()

def test_a_named_folder_without_the_sets(tmp_path, monkeypatch, own_cache):
    monkeypatch.setenv('GANAD_DATA', str(tmp_path))
    for call in (lambda: load_kddcup99(stand_in=True), lambda: load_arrhythmia(stand_in=True), data_note):
        with pytest.raises(DataNotFound, match='no folder'): call()
    for name in ('kddcup99', 'arrhythmia'): (tmp_path/name).mkdir()
    for call in (load_kddcup99, load_arrhythmia):
        with pytest.raises(DataNotFound, match='get the data set anew'): call()
    (tmp_path/'kddcup99'/'kddcup.data_10_percent.gz').write_bytes(b'something else')
    with pytest.raises(DataNotFound, match='not the published file'): load_kddcup99()
    (tmp_path/'arrhythmia'/'arrhythmia.mat').write_bytes(b'something else')
    with pytest.raises(DataNotFound, match='cannot be read'): load_arrhythmia()
    savemat(tmp_path/'arrhythmia'/'arrhythmia.mat', dict(X=np.eye(4), y=np.ones((4, 1))))
    with pytest.raises(DataNotFound, match='452 rows'): load_arrhythmia()

@pytest.fixture
def downloaded(monkeypatch, own_cache):
    "No data folder; scikit-learn's loader gives simulated connections, as bytes and objects as it does"
    frame = simulate_connections(500)
    def fetch(percent10, data_home):
        assert percent10
        as_bytes = frame.map(lambda v: v.encode() if isinstance(v, str) else v)
        return Bunch(data=as_bytes.drop(columns='label').to_numpy(dtype=object), target=as_bytes.label.to_numpy(), feature_names=list(frame.columns[:-1]))
    monkeypatch.setenv('GANAD_DATA', '')
    monkeypatch.setattr(tables, 'online', lambda: True)
    monkeypatch.setattr(tables, 'fetch_kddcup99', fetch)
    return frame

def test_downloaded(downloaded):
    pd.testing.assert_frame_equal(kddcup99_frame(), downloaded, check_dtype=False)
    with pytest.raises(DataNotFound, match='expected 494,021 rows'): load_kddcup99()

def cached(key, frame): return tables._cached(key, lambda: kdd_table(frame))

def test_prepared_once(own_cache):
    frame = simulate_connections(500)
    table = cached(dict(a=1), frame)
    again = tables._cached(dict(a=1), None) # would fail if it were called
    for f in ('x', 'y', 'label', 'row'): np.testing.assert_array_equal(getattr(again, f), getattr(table, f))
    assert again.columns == table.columns
    np.testing.assert_array_equal(again.encode(frame.drop(columns='label')), table.x)
    file, = (own_cache/'prepared').iterdir()
    with np.load(file, allow_pickle=False) as data: assert len(data['x']) == len(np.unique(table.row))
    cached(dict(a=2), frame)
    assert len(list((own_cache/'prepared').iterdir())) == 2

@pytest.mark.parametrize('damage', [b'', b'nonsense', None])
def test_a_damaged_cache_is_made_again(own_cache, damage):
    frame = simulate_connections(300)
    table = cached(dict(a=1), frame)
    file, = (own_cache/'prepared').iterdir()
    file.write_bytes(file.read_bytes()[:1000] if damage is None else damage)
    np.testing.assert_array_equal(cached(dict(a=1), frame).x, table.x)
    assert file.stat().st_size > 1000

def test_interrupted_while_writing_leaves_nothing(own_cache, monkeypatch):
    def half(file, **arrays):
        file.write(b'half')
        raise KeyboardInterrupt
    monkeypatch.setattr(np, 'savez', half)
    with pytest.raises(KeyboardInterrupt): cached(dict(a=1), simulate_connections(300))
    assert list((own_cache/'prepared').iterdir()) == []

def test_arrhythmia_from_the_uci_table(monkeypatch, own_cache):
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(452, 279))).rename(columns=str)
    x.iloc[::7, 10:15] = np.nan
    target = np.r_[np.full(66, 3), np.ones(386)].astype(int)
    monkeypatch.setenv('GANAD_DATA', '')
    monkeypatch.setattr(tables, 'online', lambda: True)
    monkeypatch.setattr(tables, 'fetch_openml', lambda **kwargs: Bunch(data=x.astype(object), target=pd.Series(target.astype(str))))
    table = load_arrhythmia()
    assert table.x.shape == (452, 274) and table.y.sum() == 66
    assert loadmat(own_cache/'data'/'arrhythmia'/'arrhythmia.mat')['X'].shape == (452, 274)
    monkeypatch.setattr(tables, 'online', lambda: False)
    np.testing.assert_array_equal(load_arrhythmia().x, table.x) # kept
    shutil.rmtree(own_cache/'data')
    monkeypatch.setattr(tables, 'online', lambda: True)
    x.iloc[0, 0] = np.nan
    with pytest.raises(DataNotFound, match='expected Arrhythmia'): load_arrhythmia()
    assert not (own_cache/'data').exists()


# ---- the real sets

def named(name):
    if not data_named(): pytest.skip(f'{name}: no data folder is named')
    return data_folder(name)

@pytest.fixture(scope='module')
def kdd():
    named('kddcup99')
    return load_kddcup99()

def test_the_published_counts(kdd):
    assert kdd.x.shape == (494_021, 121) and kdd.x.dtype == np.float32 and kdd.y.sum() == 97_278 and not kdd.simulated
    np.testing.assert_array_equal(kdd.y, kdd.label == 'normal.')
    groups = {name: sum(c.startswith(name + '=') for c in kdd.columns) for name in KDD_CATEGORICAL}
    assert list(groups.values()) == [3, 66, 11, 2, 2, 1, 2] and len(set(kdd.label)) == 23
    assert (kdd.x[:, 34:].sum(1) == 7).all() and len(np.unique(kdd.row)) == 145_584

def test_rows_of_the_file(kdd):
    file = named('kddcup99')/'kddcup.data_10_percent.gz'
    head = pd.read_csv(file, names=[*KDD_COLUMNS, 'label'], nrows=500)
    np.testing.assert_array_equal(kdd.encode(head[KDD_COLUMNS]), kdd.x[:500])
    np.testing.assert_array_equal(kdd.label[:500], head.label)

def test_p3(kdd):
    train, test = protocol_kdd(seed=0)
    assert (len(train), len(np.unique(train.row)), len(test)) == (198_300, 35_158, 242_840)
    assert set(train.y) == {0} and test.y.mean() == .2
    again = protocol_kdd(seed=0, scale='minmax')
    np.testing.assert_array_equal(again[1].label, test.label)
    assert again[0].x.min() == 0 and again[0].x.max() == 1 and again[1].encoder.scale == 'minmax'
    assert not np.array_equal(protocol_kdd(seed=1)[1].label, test.label)

def test_p3_without_repeated_rows(kdd):
    train, test = protocol_kdd(seed=0, duplicates=False)
    assert len(np.unique(train.row)) == len(train) and len(np.unique(test.row)) == len(test)
    assert not np.isin(test.row[test.y == 0], train.row).any() and test.y.mean() == .2

@pytest.mark.slow
def test_scikit_learns_loader_gives_the_same(kdd, monkeypatch, own_cache):
    file = named('kddcup99')/'kddcup.data_10_percent.gz'
    def fetch(archive, dirname, **kwargs):
        assert archive.checksum == hashlib.sha256(file.read_bytes()).hexdigest() == tables.KDD_SHA256
        shutil.copy(file, f'{dirname}/{archive.filename}')
    monkeypatch.setattr(sklearn_kdd, '_fetch_remote', fetch)
    monkeypatch.setattr(tables, 'online', lambda: True)
    monkeypatch.setenv('GANAD_DATA', '')
    table = load_kddcup99()
    assert table.columns == kdd.columns
    for f in ('x', 'y', 'label', 'row'): np.testing.assert_array_equal(getattr(table, f), getattr(kdd, f))

def test_p4():
    named('arrhythmia')
    table = load_arrhythmia()
    assert table.x.shape == (452, 274) and table.y.sum() == 66
    train, test = protocol_arrhythmia(seed=42)
    assert len(train) == len(test) == 226 and train.y.sum() + test.y.sum() == 66 and train.y.any()
    clean, same = protocol_arrhythmia(seed=42, clean=True)
    assert not clean.y.any() and len(clean) == 226 - train.y.sum()
    np.testing.assert_array_equal(same.x, test.x)
    scaled, _ = protocol_arrhythmia(scale='standard')
    np.testing.assert_allclose(scaled.x.mean(0), 0, atol=1e-5)
