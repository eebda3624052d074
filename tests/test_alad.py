"ALAD: what the contract's tests do not ask; three critics, the spectral norm, the switches, bad input."
import copy

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import check_estimator
from torch import nn
from torch.nn.utils import parametrize

from ganad.detector import load_detector, make_detector
from ganad.methods.alad import ALAD, PAPER_ARRHYTHMIA, PAPER_KDD, SCORES, settle
from ganad.training import take_turn

SHAPES = {'table': (6,), 'signal': (1, 32), 'image': (1, 12, 12)}
every = pytest.mark.parametrize('kind', SHAPES)
equal = np.testing.assert_array_equal

def samples(kind='table', n=70, seed=0):
    rng = np.random.default_rng(seed)
    size = int(np.prod(SHAPES[kind]))
    x = np.tanh(rng.normal(size=(n, 3)) @ np.random.default_rng(99).normal(size=(3, size))/2 + .1*rng.normal(size=(n, size)))
    return x.reshape(n, *SHAPES[kind]).astype(np.float32)

def quick(**params): return ALAD(**dict(epochs=3, width=16, device='cpu', precision='float32') | params)
def flat(net): return torch.cat([p.detach().flatten().clone() for p in net.parameters()])
def same(a, b): return all(torch.equal(v, b.networks_.state_dict()[k]) for k, v in a.networks_.state_dict().items())

def game(**params):
    "Networks as they are while a game goes on, and their players"
    torch.manual_seed(0)
    detector = quick(**params)
    detector.sample_shape_ = (6,)
    networks = nn.ModuleDict(detector._build((6,)))
    detector._bound(networks)
    return detector, networks, detector._players(networks)


def test_scikit_learns_checks_with_the_defaults(): check_estimator(make_detector('alad', device='cpu'))

@every
def test_scores_repeat_in_any_order_and_number_and_change_no_weight(kind):
    detector, x = quick().fit(samples(kind)), samples(kind, 150, seed=1)
    before, score = {k: v.clone() for k, v in detector.networks_.state_dict().items()}, detector.anomaly_score(x)
    order = np.random.default_rng(0).permutation(len(x))
    equal(detector.anomaly_score(x), score)
    equal(detector.anomaly_score(x[order]), score[order])
    equal(detector.anomaly_score(x[7:8]), score[7:8])
    assert all(torch.equal(v, before[k]) for k, v in detector.networks_.state_dict().items())
    assert detector.reconstruct(x).shape == x.shape and np.isfinite(detector.reconstruct(x)).all()

@every
def test_after_save_and_load_all_bits_are_the_same(kind, tmp_path):
    detector, x = quick().fit(samples(kind)), samples(kind, 20, seed=1)
    detector.save(tmp_path)
    again = load_detector(tmp_path)
    equal(again.anomaly_score(x), detector.anomaly_score(x)); equal(again.reconstruct(x), detector.reconstruct(x))
    assert again.get_params() == detector.get_params() and again.threshold_ == detector.threshold_

def test_a_seed_repeats_the_training():
    a, b, c = (quick(seed=s, noise=.1, dropout=.2).fit(samples()) for s in (1, 1, 2))
    assert same(a, b) and not same(a, c)

@pytest.mark.parametrize('params', [dict(), dict(patience=9, noise=.1), dict(spectral=False)], ids=str)
@pytest.mark.parametrize('kind', ['table', 'image'])
def test_a_training_that_was_cut_off_goes_on_to_the_same_weights(params, kind, tmp_path):
    class Cut(Exception): pass
    def cut(epoch, history):
        if epoch == 3: raise Cut
    x, whole = samples(kind), quick(epochs=5, batch_size=16, **params).fit(samples(kind))
    with pytest.raises(Cut): quick(epochs=5, batch_size=16, **params).fit(x, checkpoint=tmp_path/'run', callbacks=[cut])
    assert same(quick(epochs=5, batch_size=16, **params).fit(x, checkpoint=tmp_path/'run'), whole)

@pytest.mark.parametrize('spectral', [True, 'critics', False])
def test_a_turn_changes_only_the_weights_of_the_player(spectral):
    detector, networks, players = game(spectral=spectral)
    critics = {'critic_xz', 'critic_xx', 'critic_zz'}
    for player, moves in zip(players, (critics, {'encoder', 'generator'})):
        before = {name: flat(net) for name, net in networks.items()}
        take_turn(player, torch.as_tensor(samples()))
        assert {name for name, net in networks.items() if not torch.equal(flat(net), before[name])} == moves

def test_two_optimisers_would_take_the_same_step_as_one():
    "Encoder and generator learn from one sum; what does not depend on a network does not move it"
    detector, networks, players = game()
    x = torch.as_tensor(samples())
    with torch.random.fork_rng(), parametrize.cached():
        torch.manual_seed(5)
        pairs = detector._pairs(networks, x)
        one, zero = (networks['critic_xz'](*pair) for pair in pairs['critic_xz'])
        E, G = ([p for p in networks[name].parameters()] for name in ('encoder', 'generator'))
        assert all(g is None for g in torch.autograd.grad(one.sum(), G, retain_graph=True, allow_unused=True))
        assert all(g is None for g in torch.autograd.grad(zero.sum(), E, allow_unused=True))

@pytest.mark.parametrize('spectral, bounded', [(True, {'encoder', 'critic_xz', 'critic_xx', 'critic_zz'}), ('critics', {'critic_xz', 'critic_xx', 'critic_zz'}), (False, set())])
def test_the_spectral_norm_is_where_it_should_be_and_holds_in_the_end(spectral, bounded):
    detector, networks, _ = game(spectral=spectral)
    assert {name for name, net in networks.items() if any(parametrize.is_parametrized(m) for m in net.modules())} == bounded
    fitted = quick(spectral=spectral, epochs=20).fit(samples())
    assert not any(parametrize.is_parametrized(m) for m in fitted.networks_.modules())
    for name in bounded:
        for layer in fitted.networks_[name].modules():
            if isinstance(layer, nn.Linear): assert abs(torch.linalg.svdvals(layer.weight)[0].item() - 1) < .02

def test_settled_convolutions_too():
    detector = quick()
    detector.sample_shape_ = (1, 12, 12)
    networks = nn.ModuleDict(detector._build((1, 12, 12)))
    detector._bound(networks); settle(networks)
    for name, layer in networks.named_modules():
        if isinstance(layer, nn.Conv2d): assert abs(torch.linalg.svdvals(layer.weight.flatten(1))[0].item() - 1) < .02, name

def test_the_four_scores():
    detector, x = quick(spectral='critics').fit(samples()), samples(seed=1)
    row = detector._scaled(x)
    with torch.no_grad():
        x_hat, D = detector._reconstruct(row), detector.networks_['critic_xx']
        expected = dict(features=(D.features(row, row) - D.features(row, x_hat)).abs().sum(1), l1=(row - x_hat).abs().sum(1),
                        l2=(row - x_hat).square().sum(1).sqrt(), logits=-D(row, x_hat).sigmoid().log())
    for kind in SCORES:
        one = copy.copy(detector); one.score_kind = kind
        np.testing.assert_allclose(one.anomaly_score(x), expected[kind], rtol=1e-3, atol=1e-5)

def test_without_the_third_critic_there_are_two():
    assert set(quick(latent_critic=False).fit(samples()).networks_) == {'encoder', 'generator', 'critic_xz', 'critic_xx'}

@pytest.mark.parametrize('preset, n, hidden', [(PAPER_KDD, 121, [64, 32]), (PAPER_ARRHYTHMIA, 274, [256, 128, 64])])
def test_the_papers_sizes(preset, n, hidden):
    networks = ALAD(**preset)._build((n,))
    sizes = lambda net: [m.out_features for m in net.modules() if isinstance(m, nn.Linear)]
    assert sizes(networks['encoder']) == hidden and sizes(networks['critic_xx']) == [128, 1] and sizes(networks['critic_zz']) == [32, 1]
    assert sizes(networks['generator'])[-1] == n

def test_the_best_epoch_is_kept_and_held_out_rows_are_not_trained_on():
    detector = quick(patience=2, epochs=30, lr=.05).fit(samples())
    held = detector.history_.frame().held_out
    assert len(held) - 1 - held.argmin() == 2 or len(held) == 30

def test_one_step_on_the_meta_device():
    "A tensor that is left on the CPU would raise"
    detector = ALAD(noise=.1)
    networks = nn.ModuleDict(detector._build((1, 32)))
    detector._bound(networks); networks.to('meta')
    for player in detector._players(networks):
        player.optimizer = torch.optim.Adam(player.params, fused=False, foreach=False)
        take_turn(player, torch.zeros(8, 1, 32, device='meta'))

@pytest.mark.parametrize('params, words', [(dict(score_kind='feature'), 'features'), (dict(spectral='all'), 'spectral must be'), (dict(decay=1.), 'decay must lie in'),
                                           (dict(noise=-1), 'noise must be a finite number of at least 0, got -1'), (dict(patience=0), 'patience must be'), (dict(held_out=0.), 'held_out must lie in')])
def test_bad_parameters_are_refused(params, words):
    with pytest.raises(ValueError, match=words): quick(**params).fit(samples())

def test_bad_samples_are_refused():
    detector = quick().fit(samples('signal'))
    with pytest.raises(ValueError, match='NaN'): detector.anomaly_score(np.full((2, 1, 32), np.nan, np.float32))
    with pytest.raises(ValueError, match='shape'): detector.anomaly_score(np.zeros((2, 1, 30), np.float32))
