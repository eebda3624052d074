"GANomaly: what the contract's tests do not ask; the two players, the three losses and their reduction, the score, the display's scale."
import copy

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from ganad.detector import load_detector, make_detector
from ganad.methods.ganomaly import PAPER, GANomaly, adversarial_loss, contextual_loss, encoder_loss, shown_scale
from ganad.training import take_turn

SHAPES = {'table': (6,), 'signal': (1, 32), 'image': (1, 12, 12)}
every = pytest.mark.parametrize('kind', SHAPES)
either = pytest.mark.parametrize('norm', [False, True])
equal = np.testing.assert_array_equal

def samples(kind, n=70, seed=0):
    rng = np.random.default_rng(seed)
    size = int(np.prod(SHAPES[kind]))
    x = np.tanh(rng.normal(size=(n, 3)) @ np.random.default_rng(99).normal(size=(3, size))/2 + .1*rng.normal(size=(n, size)))
    return x.reshape(n, *SHAPES[kind]).astype(np.float32)

def quick(**params): return make_detector('ganomaly', **dict(epochs=3, device='cpu', precision='float32') | params)
def weights(detector): return {k: v.clone() for k, v in detector.networks_.state_dict().items()}
def same(a, b): return all(torch.equal(v, b.networks_.state_dict()[k]) for k, v in a.networks_.state_dict().items())
def flat(net): return torch.cat([p.detach().flatten().clone() for p in net.parameters()])


@either
def test_scikit_learns_checks(norm):
    "With the defaults but for fewer epochs: the checks fit and score dozens of times"
    check_estimator(quick(norm=norm))

@either
@every
def test_scores_repeat_in_any_order_and_number_and_change_no_weight(kind, norm):
    detector, x = quick(norm=norm).fit(samples(kind)), samples(kind, 150, seed=1)
    before, score = weights(detector), detector.anomaly_score(x)
    order = np.random.default_rng(0).permutation(len(x))
    equal(detector.anomaly_score(x), score)
    equal(detector.anomaly_score(x[order]), score[order])
    equal(detector.anomaly_score(x[7:8]), score[7:8])
    equal(detector.anomaly_score(x[40:]), score[40:])
    assert all(torch.equal(v, before[k]) for k, v in detector.networks_.state_dict().items())
    assert not any(module.training for module in detector.networks_.modules())
    assert detector.reconstruct(x).shape == x.shape and np.isfinite(detector.reconstruct(x)).all()

@either
@every
def test_after_save_and_load_all_bits_are_the_same(kind, norm, tmp_path):
    detector, x = quick(patience=2, norm=norm).fit(samples(kind)), samples(kind, 20, seed=1)
    detector.save(tmp_path)
    again = load_detector(tmp_path)
    equal(again.anomaly_score(x), detector.anomaly_score(x)); equal(again.reconstruct(x), detector.reconstruct(x))
    assert again.get_params() == detector.get_params() and again.threshold_ == detector.threshold_

@pytest.mark.parametrize('channels', [1, 3])
def test_the_papers_networks(channels):
    nets = GANomaly(**PAPER)._build((channels, 32, 32))
    convolutions = {name: [(m.in_channels, m.out_channels) for m in net.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))] for name, net in nets.items()}
    for name in ('encoder', 'second', 'critic'): assert convolutions[name] == [(channels, 64), (64, 128), (128, 256)]
    assert convolutions['decoder'] == [(256, 128), (128, 64), (64, channels)]
    weight = torch.cat([m.weight.flatten() for net in nets.values() for m in net.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))])
    assert abs(weight.std() - .02) < 1e-3       # the initialisation does run
    x = torch.zeros(2, channels, 32, 32)
    assert nets['encoder'](x).shape == (2, 100) and nets['decoder'](nets['encoder'](x)).shape == x.shape

def test_the_papers_settings_train_and_load(tmp_path):
    detector = quick(**PAPER | dict(epochs=1, width=4, most=8)).fit(samples('image'))
    detector.save(tmp_path)
    equal(load_detector(tmp_path).anomaly_score(samples('image')), detector.anomaly_score(samples('image')))

@pytest.mark.parametrize('params', [{}, dict(norm=True, patience=1)])
def test_a_seed_repeats_the_training(params):
    x = samples('table')
    a, b, c = (quick(seed=s, **params).fit(x) for s in (1, 1, 2))
    assert same(a, b) and not same(a, c)

@pytest.mark.parametrize('params', [{}, dict(norm=True, patience=2)])
def test_a_training_that_was_cut_off_goes_on_to_the_same_weights(params, tmp_path):
    class Cut(Exception): pass
    def cut(epoch, history):
        if epoch == 3: raise Cut
    x, whole = samples('table'), quick(epochs=6, **params).fit(samples('table'))
    with pytest.raises(Cut): quick(epochs=6, **params).fit(x, checkpoint=tmp_path/'run', callbacks=[cut])
    resumed = quick(epochs=6, **params).fit(x, checkpoint=tmp_path/'run')
    assert same(resumed, whole)
    assert [row['epoch'] for row in resumed.history_.rows] == [row['epoch'] for row in whole.history_.rows]
    assert [row.get('held_out') for row in resumed.history_.rows] == [row.get('held_out') for row in whole.history_.rows]

@either
@every
def test_a_turn_changes_only_the_networks_of_the_player(kind, norm):
    torch.manual_seed(0)
    detector = GANomaly(norm=norm)
    networks, x = nn.ModuleDict(detector._build(SHAPES[kind])), torch.as_tensor(samples(kind))
    players = {p.name: p for p in detector._players(networks)}
    owned = dict(critic={'critic'}, generator={'encoder', 'decoder', 'second'})
    assert players.keys() == owned.keys()
    for name, player in players.items():
        before = {n: flat(net) for n, net in networks.items()}
        take_turn(player, x)
        for n, net in networks.items(): assert torch.equal(flat(net), before[n]) == (n not in owned[name])

@pytest.mark.parametrize('shape', SHAPES.values())
def test_one_step_of_training_on_the_meta_device(shape):
    "A tensor that is left on the CPU would raise"
    detector = GANomaly()
    for player in detector._players(nn.ModuleDict(detector._build(shape)).to('meta')):
        player.optimizer = torch.optim.Adam(player.params, fused=False, foreach=False)
        take_turn(player, torch.zeros(8, *shape, device='meta'))

@pytest.mark.parametrize('shape', [(7, 5), (7, 1, 32), (7, 3, 4, 4)])
def test_the_losses_are_means_over_all_numbers(shape):
    a, b = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    n = a.numel()
    torch.testing.assert_close(adversarial_loss(a, b), ((a - b)**2).sum() / n)
    torch.testing.assert_close(contextual_loss(a, b), (a - b).abs().sum() / n)
    torch.testing.assert_close(encoder_loss(a, b), ((a - b)**2).sum() / n)

@every
def test_the_generators_loss_is_the_weighted_sum(kind):
    torch.manual_seed(0)
    detector = GANomaly(adversarial_weight=2., contextual_weight=30., encoder_weight=.5)
    nets, x = detector._build(SHAPES[kind]), torch.as_tensor(samples(kind))
    generator = next(p for p in detector._players(nets) if p.name == 'generator')
    z = nets['encoder'](x); x_hat = nets['decoder'](z); f = nets['critic'].features
    wanted = 2*(f(x) - f(x_hat)).square().mean() + 30*(x - x_hat).abs().mean() + .5*(z - nets['second'](x_hat)).square().mean()
    torch.testing.assert_close(generator.loss(x), wanted)

@pytest.mark.parametrize('degree', [1, 2])
@every
def test_the_score_is_the_distance_of_the_codes(kind, degree):
    detector, x = quick(degree=degree).fit(samples(kind)), samples(kind, 30, seed=1)
    E, G, R = (detector.networks_[name] for name in ('encoder', 'decoder', 'second'))
    with torch.no_grad(): difference = E(detector._scaled(x)) - R(G(E(detector._scaled(x))))
    wanted = difference.abs().sum(1) if degree == 1 else difference.square().sum(1).sqrt()
    np.testing.assert_allclose(detector.anomaly_score(x), wanted, rtol=1e-4)

def test_the_score_sees_a_sample_through_its_code_only():
    "Two samples with one code have one score: a move that the first encoder does not see changes nothing"
    torch.manual_seed(0)
    detector = quick().fit(samples('table'))
    detector.networks_['encoder'] = nn.Linear(6, 1)
    w = detector.networks_['encoder'].weight.detach()[0]
    step = torch.randn(6); step -= w * (step @ w) / (w @ w)
    x = torch.randn(9, 6)
    with torch.no_grad(): torch.testing.assert_close(detector._score(x), detector._score(x + 3*step), rtol=1e-3, atol=1e-5)

def test_a_far_sample_scores_higher():
    x = samples('table', 500)
    detector = quick(epochs=40).fit(x)
    assert np.median(detector.anomaly_score(5*x)) > 2*np.median(detector.anomaly_score(x))

def test_early_stopping_keeps_the_best_epoch():
    x, kept = samples('table', 200), {}
    detector = quick(epochs=40, patience=2, lr=.02, fall=False, batch_size=16)
    def look(epoch, history): kept[epoch] = copy.deepcopy(detector._averaged.module.state_dict())
    detector.fit(x, callbacks=[look])
    errors = [row['held_out'] for row in detector.history_.rows]
    best = int(np.argmin(errors)) + 1
    assert len(errors) == 40 or len(errors) - best == 2
    assert all(torch.equal(v, kept[best][k]) for k, v in detector.networks_.state_dict().items())

def test_labels_are_not_looked_at():
    x = samples('table')
    a, b = (quick(patience=2).fit(x, y) for y in (None, np.arange(70) % 2))
    assert same(a, b) and a.threshold_ == b.threshold_

@pytest.mark.parametrize('params, words', [(dict(degree=3), 'degree must be 1 or 2'), (dict(contextual_weight=-1.), 'contextual_weight must be 0 or more'),
    (dict(adversarial_weight=np.nan), 'adversarial_weight must be a finite number'), (dict(encoder_weight=np.inf), 'encoder_weight must be a finite number'),
    (dict(norm=True, batch_size=1), 'needs a batch of two samples'), (dict(decay=1.), 'decay must lie in'), (dict(patience=0), 'patience must be at least 1'), (dict(held_out=1.), 'held_out must lie in')])
def test_bad_parameters_are_refused(params, words):
    with pytest.raises(ValueError, match=words): quick(**params).fit(samples('table'))

@either
@pytest.mark.parametrize('n', [2, 3, 40])
@pytest.mark.parametrize('patience', [None, 2])
def test_fewer_rows_than_a_batch(n, patience, norm):
    if norm and n - (patience is not None) < 2: pytest.skip('batch normalisation needs two rows')
    detector = quick(batch_size=512, patience=patience, norm=norm).fit(samples('table', n))
    assert np.isfinite(detector.anomaly_score(samples('table', 5))).all()

def test_the_displays_scale():
    equal(shown_scale([3., 1., 2.]), [1., 0., .5])
    equal(shown_scale([2., 2.]), [0., 0.])
    score = np.random.default_rng(0).normal(size=50)
    equal(np.argsort(shown_scale(score)), np.argsort(score))
