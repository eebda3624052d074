"Contracts of `ganad.rhythm`: the recursions against all paths, rhythms whose answer is known, intervals that say nothing, long records"
import numpy as np, pytest

import ganad.rhythm
from ganad.rhythm import AFTER, EARLY, KINDS, LATE, ON, RUN, RUN_AFTER, RUN_EARLY, RhythmModel

MODEL = RhythmModel()
TINY = RhythmModel(spreads=(.03,), frequent=(.05,), cycles=(.4, .9), cell=.3, walk=.6, jump=.01, p_run=.05) # 42 states


def noisy(intervals, spread=.02, seed=0):
    return np.asarray(intervals, float)*np.exp(np.random.default_rng(seed).normal(0, spread, len(intervals)))

def same(one, two): return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in ('kinds', 'regimes', 'cycle'))


def five(p): return np.concatenate([p[..., :RUN], p[..., RUN:].sum(-1, keepdims=True)], -1)

def reference(model, before):
    "Transitions and emissions state by state, as the notebook defines them, in double precision"
    S, C = len(model.all_spreads()), len(model.grid())
    T, L, (step, faster, slower) = model.kind_matrix(), model.regime_matrix(), model.cycle_matrices()
    A = np.zeros((7, S, C, 7, S, C))
    for i in range(7):
        for j in range(7):
            move = faster if i < RUN <= j else slower if j < RUN <= i else step
            A[i, :, :, j] = np.einsum('s,sr,cd->scrd', T[:, i, j], L, move)
    lowest = np.log(.15)
    log = np.log(before)
    at = lowest + model.fine*np.rint((log - lowest)/model.fine)
    E = np.ones((len(before), 7, S, C))
    for k in np.flatnonzero(np.isfinite(log)):
        e, inside = model.densities(at[k:k + 1])[0], model.windows(at[k:k + 1])[0]
        for s in range(len(model.spreads), S):
            spread = max(model.again_spread, model.all_spreads()[s])
            for kind, limits in ((EARLY, 0), (AFTER, 1), (RUN_EARLY, 0), (RUN_AFTER, 1)):
                new, total = e[kind, s].copy(), 0
                for j in (2, 3):
                    if k >= j and np.isfinite(log[k - j]):
                        z = (log[k] - log[k - j])/spread
                        repeat = np.exp(-z*z/2)/np.sqrt(2*np.pi)/spread*inside[limits, s]*(model.can_run()[s] if kind > RUN else 1)
                        total = total + .5*((1 - model.again)*new + model.again*repeat)
                    else: total = total + .5*new
                e[kind, s] = total
        E[k] = e + model.floor
    n = 7*S*C
    return model.prior().reshape(n), A.reshape(n, n), E.reshape(-1, n)


@pytest.mark.parametrize('before', [[.7, .5, .72, .52], [.7, np.nan, .71, .4], [np.nan, .45, .45, .46]])
def test_equals_the_sum_over_all_paths(before):
    prior, A, E = reference(TINY, np.array(before))
    n, S, C = len(prior), 2, 3
    assert n == 7*S*C == 42
    paths = np.einsum('a,ab,bc,cd,a,b,c,d->abcd', prior, A, A, A, *E, optimize=True) # 3.1 million of them
    found = TINY.posterior(before)
    for k in range(4):
        p = paths.sum(tuple({0, 1, 2, 3} - {k})).reshape(7, S, C)
        p /= p.sum()
        np.testing.assert_allclose(found.kinds[k], five(p.sum((1, 2))), rtol=2e-4, atol=1e-6)
        np.testing.assert_allclose(found.regimes[k], p.sum((0, 2)), rtol=2e-4, atol=1e-6)
        np.testing.assert_allclose(found.cycle[k], np.exp(p.sum((0, 1)) @ TINY.grid()), rtol=1e-5)
    live = TINY.posterior(before, live=True)
    for k in range(4):
        until = prior*E[0] # all paths that end here, summed
        for e in E[1:k + 1]: until = (until @ A)*e
        p = until.reshape(7, S, C)
        np.testing.assert_allclose(live.kinds[k], five(p.sum((1, 2)))/p.sum(), rtol=2e-4, atol=1e-6)

def test_single_precision_holds_over_a_record():
    "Against forward-backward in double precision with a dense matrix of transitions, 3,000 beats"
    before = noisy([.7, .5, .9]*500 + [.8]*700 + [.42]*800, .04)
    before[[0, 50, 51, 1999]] = np.nan
    prior, A, E = reference(TINY, before)
    a, b = np.zeros_like(E), np.ones_like(E)
    for k in range(len(E)):
        a[k] = E[k]*(a[k - 1] @ A if k else prior); a[k] /= a[k].sum()
    for k in range(len(E) - 2, -1, -1):
        b[k] = A @ (E[k + 1]*b[k + 1]); b[k] /= b[k].sum()
    p = (a*b).reshape(-1, 7, 2, 3)
    p /= p.sum((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(TINY.posterior(before).kinds, five(p.sum((2, 3))), atol=2e-5)

def test_matrices_and_prior():
    S, C = 6, len(MODEL.grid())
    assert MODEL.kind_matrix().shape == (S, 7, 7) and MODEL.densities([0, .1]).shape == (2, 7, S, C) and len(KINDS) == 5
    np.testing.assert_allclose(MODEL.kind_matrix().sum(2), 1)
    np.testing.assert_allclose(MODEL.regime_matrix().sum(1), 1)
    np.testing.assert_allclose(MODEL.prior().sum(), 1)
    step, faster, slower = MODEL.cycle_matrices()
    np.testing.assert_allclose(step.sum(1), 1)
    grid = np.exp(MODEL.grid())
    i, j = np.nonzero(faster)
    assert (grid[j] < MODEL.fastest).all() and (np.log(grid[i]/grid[j]) >= MODEL.ratio).all()
    i, j = np.nonzero(slower)
    assert (np.log(grid[j]/grid[i]) >= MODEL.ratio - 1e-9).all()


def kinds(before, **kw): return RhythmModel(**kw).posterior(before).kinds.argmax(1)

@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('inserted, expected', [
    ([.5, 1.1], [EARLY, AFTER]), ([.5, .8], [EARLY, AFTER]), ([.45, .45, 1.2], [EARLY, EARLY, AFTER]), ([1.7], [LATE])])
def test_what_comes_at_another_time(inserted, expected, seed):
    at = np.r_[np.full(50, ON), expected, np.full(50, ON)]
    assert np.array_equal(kinds(noisy([.8]*50 + inserted + [.8]*50, seed=seed)), at)

@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('pattern, expected', [
    ([.5, 1.1], [EARLY, AFTER]), ([.71, .84], [EARLY, AFTER]), ([.8, .5, 1.1], [ON, EARLY, AFTER])])
def test_bigeminy_and_trigeminy(pattern, expected, seed):
    "The early beats and no others, also where they are hardly early; all but the first few beats"
    found = RhythmModel().posterior(noisy(pattern*60, seed=seed))
    wanted = np.tile(np.array(expected) == EARLY, 60)
    assert ((found.log_odds > 0) == wanted)[6:].mean() > .98
    assert found.regimes[6:, 4:].sum(1).mean() > .95 and found.irregular.max() < .05

def test_quantiles_of_the_intervals_fail_where_the_model_does_not():
    from ganad.calibration import earliness
    before = noisy([.8, .8, .5, 1.1]*40)
    found = earliness(before)
    on_time = np.arange(len(before)) % 4 < 2
    assert np.median(found[on_time]) > .2 # the pause passes for the usual
    assert (RhythmModel().posterior(before).log_odds[on_time] < 0).mean() > .98

@pytest.mark.parametrize('length', [8, 60, 340, 1800])
def test_a_run_however_long(length):
    found = RhythmModel().posterior(noisy([.85]*300 + [.35]*length + [1.2] + [.85]*300, .03))
    inside = np.zeros(601 + length, bool); inside[300:300 + length] = True
    assert found.run[inside].mean() > .98 and found.run[~inside].mean() < .02
    assert found.log_odds[inside].mean() > 4

@pytest.mark.parametrize('before', [
    noisy(.9*np.exp(.12*np.sin(np.arange(400)*2*np.pi/5))), noisy([.45]*400),
    noisy(np.r_[np.geomspace(.9, .4, 60), [.4]*300], .03), noisy(np.r_[[.4]*300, np.geomspace(.4, .9, 60), [.9]*100], .03)],
    ids=['breathing', 'fast', 'faster', 'slower'])
def test_what_is_no_run_and_not_early(before): assert (RhythmModel().posterior(before).log_odds > 0).mean() < .01

@pytest.mark.parametrize('spread', [.01, .02, .04, .07])
@pytest.mark.parametrize('cycle', [.35, .45, .55, .65])
def test_a_steady_fast_rhythm_is_no_run_however_long(cycle, spread):
    found = MODEL.posterior(noisy([cycle]*5120, spread))
    assert (found.log_odds > 0).mean() < .002 and found.run.max() < .5

@pytest.mark.parametrize('settings', [dict(p_late=.02), dict(p_run=.01), dict(early_run=.1), dict(p_early=(.05, .2))], ids=str)
def test_no_setting_lets_runs_gain_from_length(settings):
    model = RhythmModel(**settings)
    T = model.kind_matrix()
    assert np.array_equal(T[:, RUN:, RUN:], T[:, :LATE, :LATE])
    assert model.posterior(noisy([.5, .5, .5, .5, .38, .6]*500, .03)).run.max() < .5

def test_early_beats_within_a_run_do_not_end_it():
    before = np.full(300, .42); before[[50, 100, 150, 200]], before[[51, 101, 151, 201]] = .34, .5
    found = MODEL.posterior(noisy(np.r_[[.8]*200, before, 1.1, [.8]*200]))
    assert found.run[200:500].min() > .9 and found.run[:195].max() < .1 and found.run[505:].max() < .1

@pytest.mark.parametrize('cycle', [.5, .7, .9])
def test_fibrillation_is_irregular_not_early(cycle):
    found = RhythmModel().posterior(noisy([cycle]*500, .22))
    assert found.irregular.mean() > .9 and (found.log_odds > 0).mean() < .02

def test_the_cycle_is_followed():
    found = RhythmModel().posterior(noisy([.8, .5, 1.1, .8, .8, .8]*40))
    np.testing.assert_allclose(found.cycle, .8, rtol=.05)


def test_intervals_that_are_not_known_say_nothing():
    before = noisy([.8]*20 + [.5, 1.1] + [.8]*20)
    for unknown in (np.nan, 5., np.inf, 0., -1.):
        held = before.copy(); held[[0, 20, 30]] = unknown
        reference = before.copy(); reference[[0, 20, 30]] = np.nan
        assert same(MODEL.posterior(held), MODEL.posterior(reference))
    found = MODEL.posterior(reference)
    assert np.isfinite(found.log_odds).all() and found.kinds[30].argmax() == ON
    np.testing.assert_allclose(found.kinds.sum(1), 1); np.testing.assert_allclose(found.regimes.sum(1), 1)

def test_an_interval_long_ago_that_is_not_known_is_no_repeat():
    "The density in the frequent regimes is then that of any early beat"
    q, known = np.array([100, 100]), np.array([[.5, .5], [np.nan, np.nan]])
    off, unknown = MODEL.emission(q, known).reshape(2, 7, 6, -1)
    np.testing.assert_allclose((off[EARLY, 4:] - MODEL.floor), (1 - MODEL.again)*(unknown[EARLY, 4:] - MODEL.floor), rtol=1e-3, atol=1e-6)
    assert np.array_equal(off[ON], unknown[ON]) and np.array_equal(off[:, :4], unknown[:, :4])

@pytest.mark.parametrize('before', [[], [.8], [np.nan], [.8, .9], [np.nan, np.nan], [np.nan]*50, [.8, .5, np.nan]])
@pytest.mark.parametrize('live', [False, True])
def test_short_inputs(before, live):
    found = MODEL.posterior(before, live)
    N = len(before)
    assert found.kinds.shape == (N, 5) and found.regimes.shape == (N, 6) and found.cycle.shape == found.log_odds.shape == found.irregular.shape == found.run.shape == (N,)
    assert np.isfinite(found.kinds).all() and np.isfinite(found.cycle).all() and (np.abs(found.log_odds) < 13.9).all()

def test_what_it_refuses():
    with pytest.raises(ValueError, match=r'shape \(N,\), one interval a beat, got \(2, 3\)'): MODEL.posterior(np.ones((2, 3)))
    with pytest.raises(ValueError, match='add up to more than 1'): RhythmModel(p_early=(.9, .3), p_run=.2).posterior([.8])


def long_record(n, seed=0):
    rng = np.random.default_rng(seed)
    parts, known = [], 0
    while known < n:
        part = [[.8]*300, [.5, 1.1]*50, [.8, .5, 1.1]*40, [.38]*rng.integers(5, 400), list(.7*np.exp(rng.normal(0, .2, 300))), [.8]*500][rng.integers(6)]
        parts += part; known += len(part)
    out = noisy(parts[:n], .03, seed); out[rng.integers(0, n, n//100)] = np.nan
    return out

@pytest.mark.parametrize('live', [False, True])
def test_blocks_agree_with_the_whole(monkeypatch, live):
    windows, smooth = [], ganad.rhythm._smooth
    def counted(model, q, steps, live):
        windows.append(q.shape)
        return smooth(model, q, steps, live)
    monkeypatch.setattr(ganad.rhythm, '_smooth', counted)
    before = long_record(20_000)
    blocks = MODEL.posterior(before, live)
    monkeypatch.setattr(ganad.rhythm, 'BLOCK', 20_000)
    whole = MODEL.posterior(before, live)
    assert windows == [(5120, 2), (5120, 2), (5120, 1), (20_000, 1)]
    assert np.abs(blocks.kinds - whole.kinds).max() < .02 and np.abs(blocks.kinds - whole.kinds).mean() < 1e-5
    assert np.abs(blocks.log_odds - whole.log_odds).mean() < .01

@pytest.mark.parametrize('n', [5120, 5121, 8192, 8193, 13_000])
def test_every_beat_of_any_length_is_filled(n):
    found = MODEL.posterior(np.full(n, .8))
    np.testing.assert_allclose(found.kinds.sum(1), 1, rtol=1e-5)
    assert found.kinds[10:-1, ON].min() > .99

def test_is_the_same_again_and_does_not_change_what_it_is_given():
    before = long_record(6000, 1)
    kept = before.copy()
    assert same(MODEL.posterior(before), RhythmModel().posterior(before)) and np.array_equal(before, kept, equal_nan=True)

def test_live_does_not_look_ahead():
    before = noisy([.8]*50 + [.5, 1.1] + [.8]*50)
    assert np.allclose(MODEL.posterior(before[:52], live=True).kinds, MODEL.posterior(before, live=True).kinds[:52], atol=1e-6)
    assert np.allclose(MODEL.posterior(before).kinds[-1], MODEL.posterior(before, live=True).kinds[-1], atol=1e-6)

def test_a_model_without_regimes_of_frequent_extra_beats():
    assert RhythmModel(frequent=()).posterior(noisy([.8]*30)).regimes.shape == (30, 4)
