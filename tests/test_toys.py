"Contracts of ganad.data.toys: what callers may rely on"
import numpy as np, pytest

from ganad.data.toys import GAIN, GaussianMixture, best_auroc, grid, mesh, qrs_durations, ring, simulate_ecg, subject_waves, uniform_points


@pytest.mark.parametrize('mixture', [ring(), grid(), GaussianMixture([[0, 0], [1, 1]], covs=[np.eye(2), [[2, .5], [.5, 1]]], weights=[1, 3])])
def test_mixture_shapes_and_seed(mixture):
    x = mixture.sample(50, seed=3)
    assert x.shape == (50, 2) and x.dtype == np.float32
    assert (x == mixture.sample(50, seed=3)).all() and (x != mixture.sample(50, seed=4)).any()
    assert mixture.log_density(x).shape == (50,) and np.isfinite(mixture.log_density([[1e3, 1e3]])).all()


def test_log_density_is_that_of_scipy():
    from scipy.stats import multivariate_normal
    covs, means, x = [[[2, .5], [.5, 1]], np.eye(2)*.1], [[0, 1], [2, 0]], np.random.default_rng(0).normal(size=(20, 2))
    wanted = .25*multivariate_normal(means[0], covs[0]).pdf(x) + .75*multivariate_normal(means[1], covs[1]).pdf(x)
    np.testing.assert_allclose(GaussianMixture(means, covs=covs, weights=[1, 3]).log_density(x), np.log(wanted), rtol=1e-10)


def test_mixture_in_three_dimensions_and_a_weight_of_zero():
    mixture = GaussianMixture(np.eye(3), sds=[.1, .2, .3], weights=[1, 1, 0])
    x = mixture.sample(2000)
    assert x.shape == (2000, 3) and np.isfinite(mixture.log_density(x)).all()
    assert x[:, 2].mean() < .05


@pytest.mark.parametrize('make, words', [
    (lambda: GaussianMixture([[0, 0]]), 'either sds'),
    (lambda: GaussianMixture([[0, 0]], sds=1, covs=[np.eye(2)]), 'either sds'),
    (lambda: GaussianMixture([[0, 0]], covs=np.eye(2)), r'\(1, 2, 2\)'),
    (lambda: GaussianMixture([[0, 0]], sds=1, weights=[1, 2]), '1 numbers'),
    (lambda: GaussianMixture([[0, 0]], sds=0), 'sds'),
    (lambda: GaussianMixture([[0, 0]], sds=np.nan), 'sds'),
    (lambda: ring().log_density([[0, 0, 0]]), r'\(N, 2\)'),
    (lambda: best_auroc(ring(), half=.5), 'larger half')])
def test_bad_mixture_is_refused(make, words):
    with pytest.raises(ValueError, match=words): make()


def test_best_auroc_bounds_and_helpers():
    assert .5 <= best_auroc(grid()) < best_auroc(ring()) <= 1
    points, area = mesh(2, 10)
    assert points.shape == (100, 2) and np.isclose(area*100, 16)
    x = uniform_points(100, half=1.5, seed=1)
    assert x.shape == (100, 2) and x.dtype == np.float32 and np.abs(x).max() <= 1.5


@pytest.mark.parametrize('duration, fs', [(60, 360), (10.5, 250), (30, 128), (1, 360), (.001, 360)])
def test_ecg_shapes_and_types(duration, fs):
    ecg = simulate_ecg(duration, fs)
    assert ecg.signal.shape == (max(1, round(duration*fs)),) and ecg.signal.dtype == np.float32 and np.isfinite(ecg.signal).all()
    assert ecg.sample.dtype == np.int64 and ecg.symbol.dtype == np.dtype('<U1') and ecg.sinus_rr.dtype == np.float32
    assert len(ecg.sample) == len(ecg.symbol) == len(ecg.sinus_rr) and ecg.fs == fs
    assert (np.diff(ecg.sample) > 0).all() and set(ecg.symbol) <= set(GAIN)
    assert ((ecg.sample >= 0) & (ecg.sample < len(ecg.signal))).all()
    assert repr(ecg).startswith('SimulatedECG(')


def test_ecg_is_seeded():
    one, same, other = (simulate_ecg(60, seed=s) for s in (5, 5, 6))
    for name in ('signal', 'sample', 'symbol', 'sinus_rr'): assert getattr(one, name).tobytes() == getattr(same, name).tobytes()
    assert (one.signal != other.signal).any()
    louder = simulate_ecg(60, seed=5, noise=.3, wander=.5)
    assert (louder.sample == one.sample).all() and (louder.symbol == one.symbol).all()
    np.testing.assert_array_equal(louder.components['qrs'], one.components['qrs'])


def test_truth_matches_signal():
    ecg = simulate_ecg(300, seed=2)
    assert set(ecg.components) == {'p', 'qrs', 't', 'wander', 'noise'}
    np.testing.assert_allclose(sum(ecg.components.values()), ecg.signal, atol=1e-5)
    qrs = np.abs(ecg.components['qrs'])
    for i in ecg.sample[1:-1]:
        assert abs(np.argmax(qrs[i - 36:i + 37]) - 36) <= 3  # the R peak lies within 8 ms of its annotation
    lone = ecg.components['p'][ecg.sample[ecg.symbol == 'V'][:, None] + np.arange(-90, -30)]
    assert np.abs(lone).max() < .01  # no P wave before a V


def test_clean_signal_has_no_noise():
    ecg = simulate_ecg(10, noise=0, wander=0)
    assert not ecg.components['noise'].any() and not ecg.components['wander'].any()


@pytest.mark.parametrize('rates', [dict(), dict(V=.1), dict(A=.2), dict(V=.2, A=.2, F=.1), dict(V=.5), dict(A=.5), dict(V=0.)])
def test_rates_and_pauses(rates):
    ecg = simulate_ecg(900, rates=rates, seed=7)
    for symbol in 'VAF': assert abs((ecg.symbol == symbol).mean() - rates.get(symbol, 0)) < .003
    ectopic = ecg.symbol != 'N'
    assert not (ectopic[1:] & ectopic[:-1]).any()
    inner, both, due = ecg.symbol[1:-1], (ecg.sample[2:] - ecg.sample[:-2])/ecg.fs, ecg.sinus_rr[1:-1] + ecg.sinus_rr[2:]
    alone = ~np.isin(ecg.symbol[2:], ['A'])  # the beat after is not pulled forward itself
    np.testing.assert_allclose((both/due)[(inner == 'V') & alone], 1, atol=.01)
    assert not (inner == 'A').any() or (both/due)[inner == 'A'].max() < .97


@pytest.mark.parametrize('subject', range(0, 60, 7))
@pytest.mark.parametrize('heart_rate', [None, 45, 110])
def test_every_subject_is_physiologic(subject, heart_rate):
    ecg = simulate_ecg(120, rates=dict(V=.2, A=.1), subject=subject, heart_rate=heart_rate)
    duration = qrs_durations(ecg)
    assert duration[ecg.symbol == 'N'].max() < .110 < .120 < duration[ecg.symbol == 'V'].min()
    assert 52 <= subject_waves(subject)[1] <= 95


def test_subjects_differ_and_stay_themselves():
    a, b = (simulate_ecg(30, subject=s, noise=0, wander=0).signal for s in (1, 2))
    assert np.abs(a - b).max() > .1
    first, second = subject_waves(3), subject_waves(3)
    assert (first[0] == second[0]).all() and first[1] == second[1]


@pytest.mark.parametrize('kwargs, words', [
    (dict(duration=-1), 'positive number of seconds'), (dict(duration=0), 'positive'), (dict(duration=np.inf), 'positive'), (dict(duration=np.nan), 'positive'),
    (dict(fs=50), 'at least 100'), (dict(fs=np.nan), 'at least 100'), (dict(fs=-360), 'at least 100'),
    (dict(rates=dict(VV=.1)), "Did you mean 'V'"), (dict(rates=dict(S=.1)), 'Known: A, F, V'), (dict(rates=dict(N=.1)), 'Known: A, F, V'),
    (dict(rates=dict(V=.9, A=.3)), 'sum to 0.5'), (dict(rates=dict(V=.6)), 'sum to 0.5'), (dict(rates=dict(V=-.1)), 'from 0 to 1'),
    (dict(rates=dict(V=np.nan)), 'from 0 to 1'), (dict(heart_rate=0), '30 to 150'), (dict(heart_rate=400), '30 to 150'), (dict(rr_sd=1), 'rr_sd'),
    (dict(noise=-1), 'noise'), (dict(wander=np.nan), 'wander'), (dict(lf_hf=-1), 'lf_hf'), (dict(variation=np.inf), 'variation'),
    (dict(subject=-1), 'subject'), (dict(subject=1.5), 'subject'), (dict(seed=-1), 'seed'), (dict(seed='a'), 'seed')])
def test_bad_arguments_are_refused(kwargs, words):
    with pytest.raises(ValueError, match=words): simulate_ecg(**kwargs)
