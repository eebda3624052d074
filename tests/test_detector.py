"The contract of every registered detector, on tables, signals and images: signs, thresholds, scores that repeat to the last bit, files that are whole."
import copy, functools, importlib, json, os, pickle, subprocess, sys, warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from ganad import settings as settings_module
from ganad.detector import FILE, METHODS, NeuralDetector, _class_of, default_epochs, detector_names, load_detector, make_detector, run_key, stored
from ganad.networks import make_decoder, make_encoder
from ganad.training import Player, read_tensors, write_tensors

NAMES = detector_names()
SHAPES = {'table': (6,), 'wide table': (121,), 'signal': (1, 32), 'beat': (1, 320), 'image': (1, 28, 28), 'colour image': (3, 9, 7)}
NEURAL = [n for n in NAMES if issubclass(_class_of(n), NeuralDetector)]

def samples(kind, n=70, seed=0):
    "Samples that have something in common, in [-1, 1] but for tables, which have columns of other scales"
    rng, shape = np.random.default_rng(seed), SHAPES[kind]
    size = int(np.prod(shape))
    x = np.tanh(rng.normal(size=(n, 3)) @ np.random.default_rng(99).normal(size=(3, size))/2 + .1*rng.normal(size=(n, size)))
    if len(shape) == 1: x = x * np.logspace(-1, 2, size) + np.arange(size)
    return x.reshape(n, *shape).astype(np.float32)

def quick(name, **params):
    "A detector that is trained for as short a time as it can be"
    short = {'epochs': 3, 'device': 'cpu', 'precision': 'float32'} if name in NEURAL else {}
    if 'steps' in _class_of(name)._get_param_names(): short['steps'] = 20      # of a search
    return make_detector(name, **{**short, **params})

@functools.cache
def fitted(name, kind): return quick(name).fit(samples(kind))

every = lambda fn: pytest.mark.parametrize('name', NAMES)(pytest.mark.parametrize('kind', SHAPES)(fn))
each = pytest.mark.parametrize('name', NAMES)
neural = pytest.mark.parametrize('name', NEURAL)
equal = np.testing.assert_array_equal


# ---- scikit-learn

@parametrize_with_checks([make_detector(name) for name in NAMES])
def test_scikit_learns_checks(estimator, check): check(estimator)

@each
def test_the_constructor_only_stores(name):
    cls = _class_of(name)
    values = {k: object() for k in cls._get_param_names()}
    assert make_detector(name, **values).get_params() == values and vars(make_detector(name, **values)) == values
    assert {'contamination', 'standardize'} <= set(values)
    if name in NEURAL: assert {'epochs', 'batch_size', 'seed', 'device'} <= set(values)
    assert clone(make_detector(name, contamination=.2)).contamination == .2

@every
def test_fit_returns_the_detector_and_keeps_its_input(name, kind):
    x = samples(kind)
    before, detector = x.copy(), quick(name)
    params = detector.get_params()
    assert detector.fit(x, np.ones(len(x))) is detector and detector.get_params() == params
    equal(x, before)

@each
def test_defaults_are_fitted_to_beats(name):
    x = samples('beat', 40)
    assert np.isfinite(make_detector(name).fit(x).anomaly_score(x)).all()


# ---- signs and thresholds

@every
def test_signs(name, kind):
    detector, x = fitted(name, kind), samples(kind, 90, seed=1)
    score = detector.anomaly_score(x)
    assert score.shape == (90,) and score.dtype == np.float64 and np.isfinite(score).all()
    equal(detector.score_samples(x), -score)
    equal(detector.decision_function(x), -score - detector.offset_)
    equal(detector.predict(x), np.where(score > detector.threshold_, -1, 1))
    assert detector.threshold_ == -detector.offset_

@every
def test_what_is_odd_scores_higher(name, kind):
    x = samples(kind)
    odd = x[:, ::-1] if len(SHAPES[kind]) == 1 else -np.sign(x)
    detector = fitted(name, kind)
    assert detector.anomaly_score(odd).mean() > detector.anomaly_score(x).mean()

@pytest.mark.parametrize('contamination', [.01, .1, .5])
@each
def test_contamination_is_the_share_that_is_flagged(name, contamination):
    x = samples('table', 200)
    detector = quick(name, contamination=contamination).fit(x)
    assert abs((detector.predict(x) == -1).mean() - contamination) <= 1/200

@every
def test_p_values_and_quantiles(name, kind):
    detector, x = fitted(name, kind), samples(kind, 50, seed=2)
    train, score = detector.train_scores_, detector.anomaly_score(x).astype(np.float32)
    assert train.dtype == np.float32 and (np.diff(train) >= 0).all() and len(train) == 70
    p = [(1 + (train >= s).sum())/(len(train) + 1) for s in score]
    np.testing.assert_allclose(detector.p_value(x), p, rtol=1e-12)
    equal(detector.p_value(x), detector.p_value(score=score.astype(float)))
    np.testing.assert_allclose(detector.training_quantile(score), [(train <= s).mean() for s in score], rtol=1e-12)
    ends = [-np.inf, train[0], train[-1], np.inf]
    np.testing.assert_allclose(detector.p_value(score=ends)[[0, 3]], [1, 1/71])
    np.testing.assert_allclose(detector.training_quantile(ends)[[0, 2, 3]], [0, 1, 1])

@every
def test_training_scores_are_those_of_the_training_data(name, kind):
    detector = fitted(name, kind)
    equal(np.sort(detector.anomaly_score(samples(kind)).astype(np.float32)), detector.train_scores_)

@every
def test_reconstructions_have_the_samples_shape(name, kind):
    x, detector = samples(kind, 21, seed=1), fitted(name, kind)
    x_hat = detector.reconstruct(x)
    assert x_hat.shape == x.shape and x_hat.dtype == (np.float64 if x.ndim == 2 else np.float32) and np.isfinite(x_hat).all()
    equal(detector.reconstruct(x[5:6])[0], x_hat[5])
    if kind == 'table': assert (np.abs(x_hat.mean(0) - x.mean(0)) < 2*x.std(0)).all()       # in the columns' own units


# ---- bit by bit

@every
def test_scores_do_not_depend_on_the_batch(name, kind):
    n = 300 if kind == 'table' else 70
    detector, x = fitted(name, kind), samples(kind, n, seed=1)
    score, order = detector.anomaly_score(x), np.random.default_rng(0).permutation(n)
    equal(detector.anomaly_score(x), score)
    equal(detector.anomaly_score(x[order]), score[order])
    equal(detector.anomaly_score(x[::-1]), score[::-1])
    for k in (1, 2, 3, 15, 16, 17, 63, 64, 65): equal(detector.anomaly_score(x[:k]), score[:k])
    for k in (1, 5, 16, 31): equal(detector.anomaly_score(np.roll(x, k, axis=0)), np.roll(score, k))    # another place in the block
    for i in (0, 1, 7, n - 1): equal(detector.anomaly_score(x[i:i+1]), score[i:i+1])
    equal(detector.anomaly_score(np.repeat(x[:1], n, 0)), np.repeat(score[:1], n))

@pytest.mark.parametrize('name', [n for n in NAMES if hasattr(_class_of(n), '_score')])      # not those that search: test_reconstruction counts a search
@pytest.mark.parametrize('kind', SHAPES)
def test_many_samples_are_scored_a_block_at_a_time(name, kind):
    "What makes many cheaper than each alone, counted: one call of the score for as many as are in a block"
    detector, x, rows = copy.copy(fitted(name, kind)), samples(kind, 70, seed=1), []
    block, score = detector.blocks[len(SHAPES[kind])], detector._score
    detector._score = lambda x: (rows.append(len(x)), score(x))[1]
    detector.anomaly_score(x)
    assert block > 1 and rows == [block]*-(-len(x)//block)

@every
def test_scores_do_not_depend_on_how_the_array_lies_in_memory(name, kind):
    n = 300 if kind == 'table' else 40
    detector, x = fitted(name, kind), samples(kind, n, seed=1)
    score = detector.anomaly_score(x)
    for other in (np.asfortranarray(x), x.astype(np.float64), x.astype('>f4'), np.repeat(x, 2, axis=-1)[..., ::2], torch.tensor(x).numpy(), x.tolist()):
        equal(detector.anomaly_score(other), score)
        equal(detector.anomaly_score(other[:5]), score[:5])

@each
def test_frames(name):
    x = samples('table', 300)
    frame = pd.DataFrame(x, columns=list('abcdef'))
    plain, detector = quick(name).fit(x), quick(name).fit(frame)
    equal(detector.anomaly_score(frame), plain.anomaly_score(x))
    equal(detector.anomaly_score(frame[3:9]), plain.anomaly_score(x[3:9]))
    with pytest.raises(ValueError, match='feature names'): detector.anomaly_score(frame[list('bacdef')])

@each
def test_a_frames_columns_are_known_after_loading(name, tmp_path):
    frame = pd.DataFrame(samples('table'), columns=list('abcdef'))
    quick(name).fit(frame).save(tmp_path)
    detector = load_detector(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        detector.anomaly_score(frame)
    with pytest.raises(ValueError, match='feature names'): detector.anomaly_score(frame[list('bacdef')])

@every
def test_scoring_changes_nothing(name, kind):
    detector, x = fitted(name, kind), samples(kind, 30, seed=1)
    before = {k: v.clone() for k, v in detector._state().items()}
    known = {k: v for k, v in vars(detector).items() if isinstance(v, (float, int, tuple))}
    torch.manual_seed(0); number = torch.rand(1)
    torch.manual_seed(0)
    detector.anomaly_score(x); detector.reconstruct(x); detector.predict(x); detector.p_value(x)
    assert torch.equal(torch.rand(1), number)               # nor anyone's random numbers
    after = detector._state()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert known == {k: v for k, v in vars(detector).items() if k in known}
    if name in NEURAL:
        assert not any(m.training for m in detector.networks_.modules()) and not any(p.requires_grad for p in detector.networks_.parameters())

@every
def test_training_repeats(name, kind):
    x = samples(kind, 40)
    torch.manual_seed(3); np.random.seed(3)
    one = quick(name).fit(x)
    torch.manual_seed(4); np.random.seed(4)
    two = quick(name).fit(x)
    assert all(torch.equal(a, b) for a, b in zip(one._state().values(), two._state().values()))
    equal(one.anomaly_score(x), two.anomaly_score(x))
    assert one.offset_ == two.offset_
    if name in NEURAL:
        assert [{k: v for k, v in r.items() if k != 'seconds'} for r in one.history_.rows] == [{k: v for k, v in r.items() if k != 'seconds'} for r in two.history_.rows]
        assert (quick(name, seed=1).fit(x).anomaly_score(x) != one.anomaly_score(x)).any()

@each
def test_fitting_again_forgets(name):
    x = samples('table')
    detector = quick(name).fit(samples('signal'))
    detector.metadata['note'] = 1
    equal(detector.fit(x).anomaly_score(x), quick(name).fit(x).anomaly_score(x))
    assert detector.metadata == {} and detector.sample_shape_ == (6,)


# ---- small and odd data

@pytest.mark.parametrize('x', [np.arange(3.)[:, None], np.ones((3, 1)), np.zeros((5, 4)), np.eye(4), np.arange(20.).reshape(2, 10)],
                         ids=['3 x 1', 'constant column', 'all zero', 'identity', '2 x 10'])
@each
def test_defaults_work_on_any_small_table(name, x):
    detector = make_detector(name).fit(x)
    score = detector.anomaly_score(x)
    assert np.isfinite(score).all() and np.isfinite(detector.offset_) and np.isfinite(detector.reconstruct(x)).all()
    assert set(detector.predict(x)) <= {1, -1}

@each
def test_a_constant_column_is_borne(name):
    x = samples('table')
    x[:, 2], x[:, 3] = 7, -1e6
    detector = quick(name).fit(x)
    assert np.isfinite(detector.anomaly_score(x)).all()
    other = x.copy(); other[:, 2] = 500
    assert (detector.anomaly_score(other) > detector.anomaly_score(x)).mean() > .9          # and a change in it is seen

@each
def test_columns_of_any_unit(name):
    x = samples('table')
    near, far = quick(name).fit(x), quick(name).fit(x * np.float32(2.)**20)
    np.testing.assert_allclose(far.anomaly_score(x * np.float32(2.)**20), near.anomaly_score(x), rtol=1e-3)
    plain = quick(name, standardize=False).fit(x)
    equal(plain.mean_, np.zeros(6)); equal(plain.scale_, np.ones(6))

@pytest.mark.parametrize('size', [1e6, 1e15, 1e25, 1e37])
@pytest.mark.parametrize('kind', ['table', 'signal', 'image'])
@each
def test_an_absurd_sample_is_anomalous(name, kind, size):
    x = samples(kind, 4, seed=1)
    x[1] = size
    x[2] = -size
    x.reshape(4, -1)[3, 1] = size
    detector = fitted(name, kind)
    assert not np.isnan(detector.anomaly_score(x)).any() and list(detector.predict(x)[1:]) == [-1, -1, -1]
    assert (detector.p_value(x)[1:] == 1/71).all()


# ---- bad input

@pytest.mark.parametrize('spoil, words', [
    (lambda x: x[:, :, :30], r'shape \(1, 32\), got samples of shape \(1, 30\).*cut or resample'),
    (lambda x: x[:, :, None], r'shape \(1, 32\), got samples of shape \(1, 1, 32\)'), (lambda x: x[:, 0], 'features|shape'), (lambda x: x[:, 0, 0], '2D|1D|shape|dim'),
    (lambda x: x[:0], '0 sample'), (lambda x: x * np.nan, 'NaN'), (lambda x: x * np.inf, 'infinity'), (lambda x: np.full(x.shape, 'high'), 'string|convert|numeric'),
    (lambda x: x.astype(np.float64) * 1e300, 'infinity|too large'), (lambda x: x[:, None, None], r'\(N, C, H, W\)|shape')])
@each
def test_bad_samples_are_refused(name, spoil, words):
    with np.errstate(invalid='ignore'): x = spoil(samples('signal', 5))
    for method in ('anomaly_score', 'predict', 'reconstruct', 'p_value', 'decision_function', 'score_samples'):
        with pytest.raises(ValueError, match=words): getattr(fitted(name, 'signal'), method)(x)

@pytest.mark.parametrize('x, words', [
    (np.ones((1, 3)), 'minimum of 2'), (np.ones((0, 3)), '0 sample'), (np.ones((5, 0)), '0 feature'), (np.ones(5), 'Expected 2D|1D'), ([[1, 2], [3, None]], 'NaN|float'),
    (np.full((5, 2), np.inf), 'infinity'), (np.ones((5, 1, 2, 3, 4)), r'images \(N, C, H, W\), got an array of shape \(5, 1, 2, 3, 4\)')])
@each
def test_bad_training_data_are_refused(name, x, words):
    with pytest.raises((ValueError, TypeError), match=words): quick(name).fit(x)

@pytest.mark.parametrize('contamination', [0, -.1, .6, 1])
@each
def test_a_wrong_contamination_is_refused(name, contamination):
    with pytest.raises(ValueError, match=r'contamination must lie in \(0, 0.5\]'): quick(name, contamination=contamination).fit(samples('table'))

@pytest.mark.parametrize('params, words', [(dict(epochs=0), 'got 70 rows, 0 epochs'), (dict(batch_size=0), '0 a batch'), (dict(device='gpu'), "unknown device 'gpu'"), (dict(precision='bf8'), "Did you mean 'bf16'")])
@neural
def test_wrong_training_parameters_are_refused(name, params, words):
    with pytest.raises(ValueError, match=words): make_detector(name, **{'epochs': 1, **params}).fit(samples('table'))

@each
def test_before_fit(name, tmp_path):
    detector = make_detector(name)
    for call in (lambda: detector.anomaly_score([[1.]]), lambda: detector.reconstruct([[1.]]), lambda: detector.p_value(score=[1]), lambda: detector.save(tmp_path/'a'),
                 lambda: detector.metadata, lambda: detector.training_quantile([1])):
        with pytest.raises(ValueError, match='not fitted'): call()
    assert not list(tmp_path.iterdir())

def test_unknown_names():
    with pytest.raises(ValueError, match="unknown detector 'autoencodr'. Did you mean 'autoencoder'[?] Known: .*autoencoder, "): make_detector('autoencodr')
    with pytest.raises(ValueError, match="parameter of 'pca' 'contaminaton'. Did you mean 'contamination'"): make_detector('pca', contaminaton=.1)

@pytest.mark.parametrize('n, batch, epochs', [(1, 1, 100), (20, 20, 100), (6400, 64, 30), (10**6, 64, 3), (64, 0, 47)])
def test_default_epochs(n, batch, epochs): assert default_epochs(n, batch) == epochs


# ---- stopped by hand

class Stop:
    def __init__(self, at): self.at = at
    def __call__(self, epoch, history):
        if epoch == self.at: raise KeyboardInterrupt

@neural
def test_ctrl_c_leaves_a_detector_that_works(name, tmp_path):
    x = samples('table')
    detector = quick(name, epochs=50).fit(x, callbacks=[Stop(2)])
    assert detector.history_.interrupted and len(detector.history_) == 2
    assert np.isfinite(detector.anomaly_score(x)).all() and 1 <= (detector.predict(x) == -1).sum() <= 7
    detector.save(tmp_path)
    equal(load_detector(tmp_path).anomaly_score(x), detector.anomaly_score(x))

@neural
def test_a_stopped_training_goes_on(name, tmp_path):
    x = samples('signal')
    whole = quick(name, epochs=5).fit(x)
    quick(name, epochs=5).fit(x, callbacks=[Stop(3)], checkpoint=tmp_path, every=0)
    resumed = quick(name, epochs=5).fit(x, checkpoint=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(whole._state().values(), resumed._state().values())) and len(resumed.history_) == 5
    equal(whole.anomaly_score(x), resumed.anomaly_score(x))


# ---- files

@every
def test_saved_and_loaded(name, kind, tmp_path):
    detector, x = fitted(name, kind), samples(kind, 33, seed=1)
    detector.save(tmp_path/'deep/er')
    again = load_detector(tmp_path/'deep/er')
    assert type(again) is type(detector) and again.get_params() == detector.get_params() and again.metadata == detector.metadata
    for method in ('anomaly_score', 'predict', 'decision_function', 'reconstruct', 'p_value'): equal(getattr(again, method)(x), getattr(detector, method)(x))
    equal(again.train_scores_, detector.train_scores_)
    assert again.offset_ == detector.offset_ and again.n_features_in_ == detector.n_features_in_
    again.save(tmp_path/'again')
    (tensors, info), (others, wanted) = (read_tensors(tmp_path/folder/FILE) for folder in ('again', 'deep/er'))
    assert info == wanted and tensors.keys() == others.keys() and all(torch.equal(tensors[k], others[k]) for k in tensors)
    with pytest.raises(ValueError): again.anomaly_score(x[:, :-1] if len(x.shape) == 2 else x[..., :-1])

def test_loaded_in_a_fresh_process(tmp_path):
    for name in NAMES:
        for kind in SHAPES:
            fitted(name, kind).save(tmp_path/name/kind)
            np.savez(tmp_path/name/kind/'wanted.npz', x=samples(kind, 33, seed=1), score=fitted(name, kind).anomaly_score(samples(kind, 33, seed=1)))
    script = ('import sys, numpy as np\nfrom pathlib import Path\nfrom ganad.detector import load_detector\n'
              'for file in Path(sys.argv[1]).rglob("wanted.npz"):\n'
              '    f = np.load(file)\n'
              '    assert (load_detector(file.parent).anomaly_score(f["x"]) == f["score"]).all(), file\n'
              '    print(file.parent.name)')
    done = subprocess.run([sys.executable, '-c', script, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path, env={**os.environ, 'OMP_NUM_THREADS': str(torch.get_num_threads())})
    assert done.returncode == 0 and len(done.stdout.splitlines()) == len(NAMES)*len(SHAPES), done.stderr

@each
def test_the_file_holds_tensors_and_json(name, tmp_path, monkeypatch):
    detector = quick(name).fit(samples('table'))
    detector.metadata.update(fs=np.float32(360), leads=['MLII'], n=np.int64(3))
    detector.save(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == [FILE]
    raw = (tmp_path/FILE).read_bytes()
    header = json.loads(raw[8:8 + int.from_bytes(raw[:8], 'little')])
    info = json.loads(header['__metadata__']['info'])
    assert info['name'] == name and info['shape'] == [6] and info['metadata'] == dict(fs=360., leads=['MLII'], n=3)
    def refuse(*args, **kwargs): raise AssertionError('something was unpickled')
    for where, what in ((pickle, 'load'), (pickle, 'loads'), (pickle, 'Unpickler'), (torch, 'load')): monkeypatch.setattr(where, what, refuse)
    assert load_detector(tmp_path).metadata['fs'] == 360

@each
def test_numbers_of_numpy_may_be_parameters(name, tmp_path):
    params = dict(contamination=np.float32(.125)) | (dict(seed=np.int64(3), device=torch.device('cpu'), epochs=np.int32(2)) if name in NEURAL else {})
    x = samples('table')
    detector = make_detector(name, **params).fit(x)
    detector.save(tmp_path)
    equal(load_detector(tmp_path).anomaly_score(x), detector.anomaly_score(x))

@pytest.mark.parametrize('damage, words', [
    (lambda raw: raw[:-7], 'damaged'), (lambda raw: raw[:100], 'damaged'), (lambda raw: b'', 'damaged'), (lambda raw: raw[:-1] + bytes([raw[-1] ^ 4]), 'checksum'),
    (lambda raw: pickle.dumps(dict(a=1)), 'not written by ganad'), (lambda raw: raw.replace(b'contamination', b'contaminatiox'), 'damaged'),
    (lambda raw: raw.replace(b'\\"offset\\": -', b'\\"offset\\":  '), 'damaged')])
@each
def test_a_damaged_file_is_refused(name, damage, words, tmp_path):
    fitted(name, 'table').save(tmp_path)
    file = tmp_path/FILE
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=words): load_detector(tmp_path)

@pytest.mark.parametrize('change, words', [
    (dict(format=3), 'has the format 3, this version of ganad reads formats 1 and 2'), (dict(name='ganx'), "unknown detector 'ganx'"), (dict(shape=[7]), 'does not fit'),
    (dict(params=dict(k_=1)), 'unknown parameter'), (dict(shape=[1, 32]), 'does not fit')])
@each
def test_a_file_of_another_kind_is_refused(name, change, words, tmp_path):
    fitted(name, 'table').save(tmp_path)
    tensors, info = read_tensors(tmp_path/FILE)
    write_tensors(tmp_path/FILE, tensors, {**info, **change})
    with pytest.raises(ValueError, match=words): load_detector(tmp_path)

@pytest.mark.parametrize('other', ['signal', 'wide table'])
@each
def test_weights_of_another_shape_are_refused(name, other, tmp_path):
    fitted(name, 'table').save(tmp_path/'a'); fitted(name, other).save(tmp_path/'b')
    tensors, info = read_tensors(tmp_path/'a'/FILE)
    foreign, _ = read_tensors(tmp_path/'b'/FILE)
    for mixed in ({**tensors, **{k: v for k, v in foreign.items() if k.startswith('method/')}}, {k: v for k, v in tensors.items() if not k.startswith('method/')},
                  {**tensors, 'mean': foreign['mean']}, {k: v for k, v in tensors.items() if k != 'scale'}):
        write_tensors(tmp_path/'a'/FILE, mixed, info)
        with pytest.raises(ValueError, match=f'{FILE} does not fit {name!r}'): load_detector(tmp_path/'a')

def test_a_checkpoint_is_no_detector(tmp_path):
    write_tensors(tmp_path/FILE, dict(a=torch.zeros(3)), dict(place={}))
    with pytest.raises(ValueError, match='format'): load_detector(tmp_path)

def test_a_missing_detector_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no detector in 'nowhere': there is no {FILE}"): load_detector(tmp_path/'nowhere')
    with pytest.raises(FileNotFoundError, match="no detector in 'ring-p1'.*; fetch the stored runs with ganad-lab"): load_detector(tmp_path/'stored'/'ring-p1')

@pytest.mark.parametrize('broken', ['replace', 'fsync', 'write_bytes'])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, broken):
    fitted('pca', 'table').save(tmp_path)
    kept = (tmp_path/FILE).read_bytes()
    def fails(*args, **kwargs):
        if broken == 'write_bytes':
            with open(args[0], 'wb') as f: f.write(b'half')
        raise OSError('no space left')
    monkeypatch.setattr(Path if broken == 'write_bytes' else settings_module.os, broken, fails)
    with pytest.raises(OSError, match='no space left'): fitted('knn', 'table').save(tmp_path)
    assert (tmp_path/FILE).read_bytes() == kept and [f.name for f in tmp_path.iterdir()] == [FILE]

@neural
def test_a_detector_trained_on_a_gpu_is_loaded_without_one(name, tmp_path):
    if torch.cuda.is_available(): pytest.skip('cuda: there is a GPU')
    fitted(name, 'table').save(tmp_path)
    tensors, info = read_tensors(tmp_path/FILE)
    write_tensors(tmp_path/FILE, tensors, {**info, 'params': {**info['params'], 'device': 'cuda'}})
    with pytest.raises(ValueError, match="no CUDA GPU; use 'auto' or 'cpu'"): load_detector(tmp_path)
    x = samples('table')
    equal(load_detector(tmp_path, device='cpu').anomaly_score(x), fitted(name, 'table').anomaly_score(x))


# ---- a method of one's own

class Tiny(NeuralDetector):
    "With batch normalisation and dropout: what a method must not leave on when it scores"
    def _build(self, shape):
        return dict(encoder=torch.nn.Sequential(make_encoder(shape, 4, 4), torch.nn.Dropout(.5)), decoder=make_decoder(shape, 4, 4))
    def _reconstruct(self, x): return self.networks_['decoder'](self.networks_['encoder'](x))
    def _score(self, x): return (x - self._reconstruct(x)).flatten(1).square().mean(1)
    def _players(self, nets): return [Player('tiny', list(nets.values()), lambda x: (x - nets['decoder'](nets['encoder'](x))).square().mean(), self.lr)]

@pytest.fixture
def registered(monkeypatch): monkeypatch.setitem(METHODS, 'tiny', Tiny)

@pytest.mark.parametrize('kind', SHAPES)
def test_a_method_is_added_by_one_line(registered, kind, tmp_path):
    x = samples(kind)
    detector = make_detector('tiny', epochs=2, device='cpu').fit(x)
    score = detector.anomaly_score(x)
    equal(detector.anomaly_score(x[::-1]), score[::-1]); equal(detector.anomaly_score(x[:3]), score[:3])
    detector.save(tmp_path)
    equal(load_detector(tmp_path).anomaly_score(x), score)

def test_an_unregistered_method_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="METHODS\\['a_name'\\] = Tiny"): Tiny(epochs=1, device='cpu').fit(samples('table')).save(tmp_path/'a')
    assert not list(tmp_path.iterdir())

def test_averages_score(registered):
    "What a method builds into its networks is in the file"
    detector = make_detector('tiny', epochs=1, device='cpu').fit(samples('table'))
    assert set(detector._state()) == set(detector.networks_.state_dict()) and any('running_mean' in k for k in detector._state())


# ---- stored runs

@pytest.fixture
def budget(monkeypatch): return lambda value: monkeypatch.setenv('GANAD_BUDGET', value)

@each
def test_a_stored_run_is_made_once(name, budget, tmp_path):
    x = samples('table')
    budget('quick')
    with pytest.raises(ValueError, match="stored run 'run' is missing; make it with GANAD_BUDGET=full, or fetch it with ganad-lab"): stored(tmp_path/'run', quick(name), x, 'set a')
    assert not (tmp_path/'run').exists()
    budget('full')
    made = stored(tmp_path/'run', quick(name), x, 'set a')
    written = (tmp_path/'run'/FILE).read_bytes()
    budget('quick')
    again = stored(tmp_path/'run', quick(name), x, 'set a')
    equal(again.anomaly_score(x), made.anomaly_score(x))
    assert again.metadata['data'] == 'set a' and (tmp_path/'run'/FILE).read_bytes() == written
    for detector, data in ((quick(name, standardize=False), 'set a'), (quick(name), 'set b')):
        with pytest.raises(ValueError, match="'run' belongs to another configuration"): stored(tmp_path/'run', detector, x, data)

@each
def test_the_key_of_a_run(name):
    key = run_key(quick(name), 'a', (6,))
    assert key == run_key(quick(name), 'a', (6,)) == run_key(quick(name, contamination=.2), 'a', (6,)) and len(key) == 16
    assert len({key, run_key(quick(name), 'b', (6,)), run_key(quick(name), 'a', (7,)), run_key(quick(name, standardize=True), 'a', (6,))}) == 4

def test_the_key_knows_code_that_is_attached_to_a_class_later_and_no_comments(tmp_path, monkeypatch):
    "A method's parts are often functions that become its methods some lines below the class"
    code = "from ganad.methods.autoencoder import PCA\nclass Mine(PCA):\n    'Words'\ndef _score(self, x): return x.flatten(1).abs().sum(1){}\nMine._score = _score\n"
    monkeypatch.syspath_prepend(tmp_path)
    keys = []
    for name, end in (('mine_a', ''), ('mine_b', '  # a comment'), ('mine_c', ' / 2')):
        (tmp_path/f'{name}.py').write_text(code.format(end))
        cls = importlib.import_module(name).Mine
        cls.__module__ = cls._score.__module__ = 'mine'          # as if the file had kept its name
        monkeypatch.setitem(sys.modules, 'mine', sys.modules[name])
        keys.append(run_key(cls(), 'a', (6,)))
    assert keys[0] == keys[1] != keys[2]


# ---- wrong calls, each answered in a sentence

@pytest.mark.parametrize('seed', [None, -1, 2**63, 2**70, 1.5, '3', True])
@neural
def test_a_seed_that_is_none(name, seed):
    with pytest.raises(ValueError, match='seed must be a whole number from 0 to 9223372036854775807, got'): quick(name, seed=seed).fit(samples('table'))

@pytest.mark.parametrize('seed', [np.int64(3), np.uint8(3)])
@neural
def test_seeds_of_numpy_are_seeds(name, seed, tmp_path):
    x, detector = samples('table'), quick(name, seed=seed, epochs=1)
    equal(detector.fit(x).anomaly_score(x), quick(name, seed=3, epochs=1).fit(x).anomaly_score(x))
    assert run_key(detector, 'a', (6,)) == run_key(quick(name, seed=3, epochs=1), 'a', (6,))
    assert np.isfinite(quick(name, seed=2**63 - 1, epochs=1).fit(x).offset_)

WRONG = [(dict(epochs=2.5), 'epochs must be a whole number, or None, got 2.5'), (dict(epochs='3'), 'epochs must'), (dict(epochs=True), 'epochs must'), (dict(epochs=-1), 'got 70 rows, -1 epochs'), (dict(batch_size=2.5), 'batch_size must be a whole number, got 2.5'),
         (dict(batch_size=None), 'batch_size must'), (dict(lr=np.nan), 'lr must be a number of at least 0, got nan'), (dict(lr=-1.), 'lr must'), (dict(lr='x'), 'lr must'), (dict(lr=np.inf), 'lr must'), (dict(latent=0), 'latent must be a whole number of at least 1'),
         (dict(latent=2.), 'latent must'), (dict(width='8'), "width must be a whole number of at least 1, got '8'"), (dict(precision=32), 'precision must be a text, or None, got 32'), (dict(device=3.5), 'unknown device 3.5'), (dict(device='xla'), 'torch cannot use it here')]

@pytest.mark.parametrize('params, words', WRONG, ids=[str(p) for p, _ in WRONG])
@neural
def test_parameters_of_a_wrong_kind(name, params, words):
    detector = make_detector(name, **{'device': 'cpu', 'epochs': 1, **params})
    with pytest.raises(ValueError, match=words): detector.fit(samples('table'))
    assert not hasattr(detector, 'offset_')

@pytest.mark.parametrize('params, words', [(dict(contamination='x'), "contamination must be a finite number, got 'x'"), (dict(contamination=None), 'contamination must'), (dict(contamination=np.nan), 'contamination must'), (dict(standardize='yes'), "standardize must be True or False, or None, got 'yes'"), (dict(standardize=1), 'standardize must')])
@each
def test_shared_parameters_of_a_wrong_kind(name, params, words):
    with pytest.raises(ValueError, match=words): quick(name, **params).fit(samples('table'))

@pytest.mark.parametrize('name, params, words', [
    ('pca', dict(n_components='x'), 'n_components must be a finite number'), ('pca', dict(n_components=None), 'n_components must'), ('knn', dict(k=0), 'k must be a whole number of at least 1, got 0'), ('knn', dict(calibration=0), 'calibration must'),
    ('alad', dict(encoder_units='x'), "encoder_units must be a tuple of whole numbers of at least 1, or None, got 'x'"), ('alad', dict(encoder_units=(8, 0)), 'encoder_units must'), ('alad', dict(generator_units=3.5), 'generator_units must'), ('efficientgan', dict(encoder_units=8), 'encoder_units must'),
    ('alad', dict(dropout=-.1), 'dropout must be a finite number of at least 0, got -0.1'), ('alad', dict(fall='x'), 'fall must be True or False, got'), ('fanogan', dict(critic_steps=0), 'critic_steps must be a whole number of at least 1'), ('fanogan', dict(penalty=np.nan), 'penalty must'),
    ('anogan', dict(steps=0), 'steps'), ('vae', dict(score_kind=3), 'score_kind must be a text, got 3'), ('ganomaly', dict(depth=0), 'depth must'), ('beatgan', dict(peak=-1), 'peak must')])
def test_a_methods_own_parameters_of_a_wrong_kind(name, params, words):
    with pytest.raises(ValueError, match=words): quick(name, **params).fit(samples('table'))

def test_what_a_parameter_may_be_stands_in_its_annotation():
    "A method of one's own says it in its constructor, and needs no more"
    class Mine(_class_of('pca')):
        def __init__(self, turns:int=3, loud:bool=False, word:str=None, contamination:float=.05, standardize:bool=None):
            super().__init__(contamination=contamination, standardize=standardize)
            self.turns, self.loud, self.word = turns, loud, word
    for params, words in ((dict(turns=1.), 'turns must be a whole number, got 1.0'), (dict(turns=None), 'turns must'), (dict(loud=0), 'loud must'), (dict(word=3), 'word must be a text, or None')):
        with pytest.raises(ValueError, match=words): Mine(**params).fit(samples('table'))
    assert Mine(turns=np.int32(2), loud=np.True_, contamination=np.float32(.1)).fit(samples('table')).offset_ <= 0

@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
@each
def test_gradients_switched_off_around_a_fit(name, mode, tmp_path):
    x, wanted = samples('table'), fitted(name, 'table')
    with mode():
        detector = quick(name).fit(x)
        score = detector.anomaly_score(x)
        detector.save(tmp_path)
        again = load_detector(tmp_path)
    for got in (score, detector.anomaly_score(x), again.anomaly_score(x)): equal(got, wanted.anomaly_score(x))

@pytest.mark.parametrize('x, words', [
    (None, 'expected an array of samples, got nothing'), ('a.csv', "got the text 'a.csv'; read the file first"), (Path('a.csv'), "got the text 'a.csv'"), (np.ones((5, 1, 0)), r'samples with values in them, got an array of shape \(5, 1, 0\)'), (np.ones((5, 0, 3)), r'shape \(5, 0, 3\)'),
    (np.ones((5, 1, 0, 4)), r'shape \(5, 1, 0, 4\)'), (np.float32(3), 'Expected 2D array, got scalar'), ([], 'Expected 2D array'), (np.ones((5, 6)) + 1j, 'Complex data not supported'), (np.full((5, 6), '2020-01-01', dtype='datetime64[D]'), 'expected numbers, got dates'),
    (np.ma.masked_array(np.ones((5, 6)), np.eye(5, 6) > 0), 'NaN'), (np.ma.masked_array(np.ones((5, 6), int), np.eye(5, 6) > 0), 'NaN')], ids=lambda v: str(getattr(v, 'shape', v))[:20])
@each
def test_no_samples(name, x, words):
    with pytest.raises(ValueError, match=words): quick(name).fit(x)
    for method in ('anomaly_score', 'predict', 'reconstruct', 'decision_function'):
        with pytest.raises(ValueError, match=words): getattr(fitted(name, 'table'), method)(x)
    if x is not None:
        with pytest.raises(ValueError, match=words): fitted(name, 'table').p_value(x)

@each
def test_tensors_are_samples(name):
    x = samples('table')
    for tensor in (torch.tensor(x), torch.tensor(x, requires_grad=True)): equal(fitted(name, 'table').anomaly_score(tensor), fitted(name, 'table').anomaly_score(x))
    assert np.isfinite(fitted(name, 'table').anomaly_score(torch.tensor(x).bfloat16())).all()

def test_p_values_of_nothing_or_of_nan():
    detector, x = fitted('pca', 'table'), samples('table')
    for call in (lambda: detector.p_value(), lambda: detector.p_value(x, score=[1.])):
        with pytest.raises(ValueError, match=r'p_value takes samples or their anomaly scores: p_value\(x\) or p_value\(score=...\)'): call()
    for call in (lambda: detector.p_value(score=[1, np.nan]), lambda: detector.training_quantile([1, np.nan])):
        with pytest.raises(ValueError, match='1 of 2 scores are NaN; leave those samples out or mend them'): call()

@pytest.mark.parametrize('name', ['anogan', 'fanogan', 'dcgan', 'autoencoder', 'ganomaly', 'vae'])
def test_a_batch_of_one_and_batch_normalisation(name):
    own = dict(norm=True) if 'norm' in _class_of(name)._get_param_names() else {}
    words = 'two samples or more, got batch_size=1' if name == 'ganomaly' else 'at least 2 samples in a batch, got 1; take a larger batch_size, or more training samples'
    with pytest.raises(ValueError, match=f'batch normalisation needs .*{words}'): quick(name, batch_size=1, **own).fit(samples('table'))
    assert np.isfinite(quick(name, batch_size=2, **own).fit(samples('table', 5)).offset_)      # the fifth row is no batch of one
    if 'patience' in _class_of(name)._get_param_names():        # two rows, of which one is held out
        with pytest.raises(ValueError, match='needs at least 2 samples in a batch, got 1'): quick(name, patience=1, **own).fit(samples('table', 2))

@pytest.mark.parametrize('device', ['cuda', 'cuda:7', 'mps', 'xla', 'gpu'])
@neural
def test_a_device_that_is_not_there(name, device, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: False)
    words, x = "unknown device 'gpu'" if device == 'gpu' else f"the device '{device}' was asked for, but torch .*; use 'auto' or 'cpu'", samples('table')
    with pytest.raises(ValueError, match=words): quick(name, device=device).fit(x)
    fitted(name, 'table').save(tmp_path)
    with pytest.raises(ValueError, match=words) as e: load_detector(tmp_path, device=device)
    assert 'load_detector' not in str(e.value)
    if device != 'gpu':
        with pytest.raises(ValueError, match=words): quick(name, device=torch.device(device)).fit(x)
        with pytest.raises(ValueError, match=words): load_detector(tmp_path, device=torch.device(device))
    tensors, info = read_tensors(tmp_path/FILE)
    write_tensors(tmp_path/FILE, tensors, {**info, 'params': {**info['params'], 'device': device}})
    with pytest.raises(ValueError, match=f"{words}.*saved with device='{device}'; to use it here: load_detector\\(folder, device='cpu'\\)") as e: load_detector(tmp_path)
    assert 'does not fit' not in str(e.value)
    equal(load_detector(tmp_path, device='cpu').anomaly_score(x), fitted(name, 'table').anomaly_score(x))

@neural
def test_a_torch_device_is_a_parameter(name, tmp_path):
    x, detector = samples('table'), quick(name, device=torch.device('cpu'))
    assert detector.get_params()['device'] == clone(detector).device == torch.device('cpu') and run_key(detector, 'a', (6,)) == run_key(quick(name), 'a', (6,))
    equal(detector.fit(x).anomaly_score(x), fitted(name, 'table').anomaly_score(x))
    detector.save(tmp_path)
    assert read_tensors(tmp_path/FILE)[1]['params']['device'] == 'cpu'
    for device in (None, torch.device('cpu')): equal(load_detector(tmp_path, device=device).anomaly_score(x), detector.anomaly_score(x))

def test_a_device_that_the_settings_name(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    fitted('autoencoder', 'table').save(tmp_path)
    tensors, info = read_tensors(tmp_path/FILE)
    write_tensors(tmp_path/FILE, tensors, {**info, 'params': {**info['params'], 'device': None}})
    monkeypatch.setenv('GANAD_DEVICE', 'cuda')
    for call in (lambda: make_detector('autoencoder', epochs=1).fit(samples('table')), lambda: load_detector(tmp_path)):
        with pytest.raises(ValueError, match="torch sees no CUDA GPU; use 'auto' or 'cpu'; GANAD_DEVICE or settings.ini names it$"): call()

def test_not_the_folder_of_a_detector(tmp_path):
    fitted('pca', 'table').save(tmp_path)
    with pytest.raises(FileNotFoundError, match=f'{FILE} is a file; give the folder that it lies in'): load_detector(tmp_path/FILE)
    for name in ([], None, 3):
        with pytest.raises(ValueError, match='unknown detector'): make_detector(name)


# ---- columns with a large mean and a small spread

def rows_and_times(n, seed, odd=0):
    "Four informative columns, and whole seconds within an hour; the last `odd` rows lie elsewhere"
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)) @ [[1, .5, -1, .2], [.3, 1, .4, -1]] + .1*rng.normal(size=(n, 4))
    if odd: x[-odd:] += .5*rng.normal(size=(odd, 4))
    return x, rng.integers(0, 3600, n)

TIMES = {'seconds': lambda x, t: np.column_stack([x, 1.7e9 + t]), 'milliseconds': lambda x, t: np.column_stack([x, 1.7e12 + 1000*t]),
         'whole numbers': lambda x, t: np.column_stack([(1000*x).astype(np.int64), 1_700_000_000_000 + 1000*t]),
         'frame': lambda x, t: pd.DataFrame(x, columns=list('abcd')).assign(time=1_700_000_000 + t)}

def auroc_of(detector, make):
    (x, t), (x_test, t_test) = rows_and_times(200, 0), rows_and_times(200, 1, odd=100)
    return roc_auc_score(np.arange(200) >= 100, detector.fit(make(x, t)).anomaly_score(make(x_test, t_test)))

@functools.cache
def scaled_outside(name): return auroc_of(quick(name, epochs=10) if name in NEURAL else quick(name), lambda x, t: np.column_stack([x, (t - 1800)/1000]))

@pytest.mark.parametrize('kind', TIMES)
@each
def test_a_time_stamp_among_the_columns_costs_nothing(name, kind):
    found = auroc_of(quick(name, epochs=10) if name in NEURAL else quick(name), TIMES[kind])
    assert found >= scaled_outside(name) - .01

def test_the_time_stamp_is_seen():
    "Its own anomaly is found: a row of another day"
    x, t = rows_and_times(200, 0)
    detector = make_detector('pca').fit(TIMES['milliseconds'](x, t))
    score = detector.anomaly_score(TIMES['milliseconds'](x, t))
    assert (detector.anomaly_score(TIMES['milliseconds'](x, t + 86_400)) > score.max()).all()

@pytest.mark.parametrize('dtype', [np.float64, np.float32, np.int64, np.int8])
def test_scaling_in_float64(dtype):
    x = (100*np.random.default_rng(0).normal([0, .5, -.2], [.3, .01, .2], (500, 3)).clip(-1, 1)).astype(dtype)
    detector = make_detector('pca').fit(x)
    wanted = (x - x.mean(0, dtype=float))/x.std(0, dtype=float)
    assert detector.mean_.dtype == detector.scale_.dtype == np.float64
    np.testing.assert_allclose(detector._scaled(x).numpy(), wanted.astype(np.float32), rtol=1e-6, atol=1e-7)
    equal(detector.anomaly_score(x), detector.anomaly_score(x.astype(np.float64)))

@pytest.mark.parametrize('value, dtype', [(.1, np.float64), (1.7e12, np.float64), (.1, np.float32), (16777217., np.float32), (10**18 + 1, np.int64), (-3, np.int8), (0, np.float64), (1e-30, np.float64)])
def test_a_constant_column_is_only_centred(value, dtype):
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.permutation(60), np.full(60, value)]).astype(dtype)
    if np.dtype(dtype).kind == 'f': x[::3, 1] = np.nextafter(x[::3, 1], dtype(np.inf))      # as rounding leaves it
    detector = make_detector('pca').fit(x)
    assert abs(detector._scaled(x)[:, 1]).max() <= 1 and detector.scale_[1] >= 1
    assert np.isfinite(detector.anomaly_score(x)).all() and detector.anomaly_score(x + np.array([0, 1]).astype(dtype)*100).max() < 1e6

@pytest.mark.parametrize('spread', [1e-3, 1e-6])
def test_a_small_spread_is_no_constant(spread):
    "float64 holds it, whatever its share of the mean"
    x = np.column_stack([np.arange(100.), 1e6 + spread*np.arange(100)])
    np.testing.assert_allclose(make_detector('pca').fit(x)._scaled(x).numpy().std(0), 1, rtol=1e-3)

def test_too_large_numbers_are_refused_in_words():
    x = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(ValueError, match='as large as .*e[+]300, too large to be scaled; divide that column'): make_detector('pca').fit(np.column_stack([x[:, 0], 1e300*x[:, 1]]))
    detector = make_detector('pca').fit(x)
    for odd in (1e39, -1e300):
        with pytest.raises(ValueError, match='too large for float32; is it in the unit of the training data'): detector.anomaly_score([[0, odd]])

@pytest.mark.parametrize('kind', ['signal', 'image'])
@each
def test_samples_that_are_not_standardised_reach_the_method_as_they_are(name, kind):
    x = samples(kind)
    detector = fitted(name, kind)
    equal(detector._scaled(detector._checked(x)).numpy(), x)
    assert detector.mean_.dtype == detector.scale_.dtype == np.float32
    equal(detector.anomaly_score(x.astype(np.float64)), detector.anomaly_score(x))

def test_what_was_fitted_is_no_view_of_the_data():
    x = samples('signal')
    detector = make_detector('knn').fit(x)
    score, x[:] = detector.anomaly_score(samples('signal', 9, 1)), 0
    equal(detector.anomaly_score(samples('signal', 9, 1)), score)

@each
def test_a_file_of_format_1_scores_as_it_did(name, tmp_path):
    "It has means and deviations in float32, and scaled in float32"
    x = samples('table', 33, seed=1)
    fitted(name, 'table').save(tmp_path)
    tensors, info = read_tensors(tmp_path/FILE)
    assert info['format'] == 2 and tensors['mean'].dtype == tensors['scale'].dtype == torch.float64
    write_tensors(tmp_path/FILE, tensors | {k: tensors[k].float() for k in ('mean', 'scale')}, info | dict(format=1))
    old = load_detector(tmp_path)
    equal(old._scaled(old._checked(x.astype(np.float64))).numpy(), (x - tensors['mean'].float().numpy())/tensors['scale'].float().numpy())
    assert old.reconstruct(x).dtype == np.float32
    np.testing.assert_allclose(old.anomaly_score(x), fitted(name, 'table').anomaly_score(x), rtol=1e-2, atol=1e-5)
    old.save(tmp_path/'again')
    assert read_tensors(tmp_path/'again'/FILE)[1]['format'] == 1
    equal(load_detector(tmp_path/'again').anomaly_score(x), old.anomaly_score(x))

def test_reconstructions_are_in_the_columns_own_units():
    x, t = rows_and_times(200, 0)
    x = np.column_stack([x, 1.7e9 + 1000*x[:, 0]])      # the last column follows from the first
    assert abs(make_detector('pca', n_components=.999).fit(x).reconstruct(x)[:, 4] - x[:, 4]).max() < 60


# ---- threads

def drawing(name, **params):
    "A detector with all that draws random numbers switched on"
    more = {k: v for k, v in dict(noise=.1, dropout=.2, width=8, units=8).items() if k in _class_of(name)._get_param_names()}
    return quick(name, batch_size=16, **more, **params)

@pytest.mark.parametrize('kind', ['table', 'colour image'])
@neural
def test_the_same_seed_gives_the_same_in_any_thread(name, kind):
    x = samples(kind)
    fit = lambda seed: drawing(name, seed=seed).fit(x)
    alone, state = {seed: fit(seed) for seed in (0, 1)}, torch.get_rng_state()
    seeds = [0, 1, 0, 1]
    for seed, detector in zip(seeds, Parallel(4, backend='threading')(delayed(fit)(seed) for seed in seeds)):
        wanted = alone[seed]._state()
        assert all(torch.equal(v, wanted[k]) for k, v in detector._state().items())
        equal(detector.train_scores_, alone[seed].train_scores_)
    assert torch.equal(torch.get_rng_state(), state)

@each
def test_the_global_random_state_is_neither_used_nor_changed(name, tmp_path):
    x, states = samples('table'), []
    for seed in (3, 4):
        torch.manual_seed(seed); np.random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        detector = (drawing if name in NEURAL else quick)(name).fit(x)
        detector.save(tmp_path)
        load_detector(tmp_path).reconstruct(x); run_key(detector, 'a', (6,)); detector.anomaly_score(x)
        assert torch.equal(torch.get_rng_state(), before[0]); equal(np.random.get_state()[1], before[1])
        states.append(detector._state())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])

FOLDS = np.concatenate([np.random.default_rng(0).normal(size=(90, 2)) @ [[1, .5, -1, .2], [.3, 1, .4, -1]], np.random.default_rng(1).normal(size=(30, 4))])
ORDER = np.random.default_rng(2).permutation(120)

def folds(name, n_jobs=1):
    "AUROC of three folds; 1 is normal, since decision_function is higher for normal samples"
    detector = quick(name, batch_size=16) if name in NEURAL else quick(name)
    return cross_val_score(detector, FOLDS[ORDER], (ORDER < 90).astype(int), scoring='roc_auc', cv=3, n_jobs=n_jobs, error_score='raise')

@pytest.fixture(scope='module')
def by_loky():
    "All in one pool of processes: each of them has to import torch"
    with parallel_config('loky'): return {name: folds(name, 4) for name in NAMES}

@each
def test_cross_validation_is_the_same_in_threads_processes_and_in_sequence(name, by_loky):
    wanted = folds(name)
    with parallel_config('threading'): equal(folds(name, 4), wanted)
    equal(by_loky[name], wanted)
    assert len(wanted) == 3 and len(set(wanted)) > 1


class _NeverShared:
    "In place of the lock on torch's own generator: nothing of this package may borrow it, or a user's threads would draw from it meanwhile"
    def __enter__(self): raise AssertionError("torch's own generator was borrowed")
    def __exit__(self, *error): pass

@pytest.mark.parametrize('kind', ['table', 'signal'])
@pytest.mark.parametrize('name', detector_names())
def test_no_fit_borrows_torchs_generator(name, kind, monkeypatch):
    import ganad.training
    monkeypatch.setattr(ganad.training, '_shared', _NeverShared())
    x = np.random.default_rng(0).normal(size=(80, 4) if kind == 'table' else (40, 1, 32)).clip(-1, 1)
    params = quick(name, epochs=2).get_params() if hasattr(quick(name), 'epochs') else {}
    detector = make_detector(name, **params).fit(x)
    detector.anomaly_score(x[:4])
