"AnoGAN and f-AnoGAN: what the contract's tests do not ask; the search under the score, the players, bad input."
import copy

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from ganad.data.toys import ring
from ganad.detector import load_detector, make_detector
from ganad.methods.anogan import AnoGAN, FAnoGAN, critic_loss, generator_loss, gradient_penalty, slopes
from ganad.networks import make_critic
from ganad.training import take_turn

NAMES = ('anogan', 'fanogan')
SHAPES = {'table': (6,), 'signal': (1, 32), 'image': (1, 12, 12)}
each = pytest.mark.parametrize('name', NAMES)
every = lambda fn: each(pytest.mark.parametrize('kind', SHAPES)(fn))
equal = np.testing.assert_array_equal

def samples(kind, n=70, seed=0):
    rng = np.random.default_rng(seed)
    size = int(np.prod(SHAPES[kind]))
    x = np.tanh(rng.normal(size=(n, 3)) @ np.random.default_rng(99).normal(size=(3, size))/2 + .1*rng.normal(size=(n, size)))
    return x.reshape(n, *SHAPES[kind]).astype(np.float32)

def quick(name, **params):
    params = dict(epochs=3, device='cpu', precision='float32') | (dict(steps=20) if name == 'anogan' else {}) | params
    return make_detector(name, **params)

def weights(detector): return {k: v.clone() for k, v in detector.networks_.state_dict().items()}
def flat(net): return torch.cat([p.detach().flatten().clone() for p in net.parameters()])


@each
def test_scikit_learns_checks(name):
    "With the defaults but for fewer epochs and, in AnoGAN, fewer steps of the search: the checks fit and score dozens of times"
    check_estimator(quick(name))

@every
def test_scores_repeat_in_any_order_and_number_and_change_no_weight(name, kind):
    detector, x = quick(name).fit(samples(kind)), samples(kind, 150, seed=1)
    before, score = weights(detector), detector.anomaly_score(x)
    order = np.random.default_rng(0).permutation(len(x))
    equal(detector.anomaly_score(x), score)
    equal(detector.anomaly_score(x[order]), score[order])
    equal(detector.anomaly_score(x[7:8]), score[7:8])
    equal(detector.anomaly_score(x[40:]), score[40:])
    assert all(torch.equal(v, before[k]) for k, v in detector.networks_.state_dict().items())
    assert detector.reconstruct(x).shape == x.shape and np.isfinite(detector.reconstruct(x)).all()

@every
def test_after_save_and_load_all_bits_are_the_same(name, kind, tmp_path):
    detector, x = quick(name).fit(samples(kind)), samples(kind, 20, seed=1)
    detector.save(tmp_path)
    again = load_detector(tmp_path)
    equal(again.anomaly_score(x), detector.anomaly_score(x)); equal(again.reconstruct(x), detector.reconstruct(x))
    assert again.get_params() == detector.get_params() and again.threshold_ == detector.threshold_

@each
def test_a_seed_repeats_the_training(name):
    x = samples('table')
    a, b, c = (quick(name, seed=s).fit(x) for s in (1, 1, 2))
    assert all(torch.equal(v, b.networks_.state_dict()[k]) for k, v in a.networks_.state_dict().items())
    assert not torch.equal(flat(a.networks_['generator']), flat(c.networks_['generator']))

@each
def test_a_training_that_was_cut_off_goes_on_to_the_same_weights(name, tmp_path):
    class Cut(Exception): pass
    def cut(epoch, history):
        if epoch == 3: raise Cut
    x, whole = samples('table'), quick(name, epochs=5).fit(samples('table'))
    with pytest.raises(Cut): quick(name, epochs=5).fit(x, checkpoint=tmp_path/'run', callbacks=[cut])
    resumed = quick(name, epochs=5).fit(x, checkpoint=tmp_path/'run')
    assert all(torch.equal(v, whole.networks_.state_dict()[k]) for k, v in resumed.networks_.state_dict().items())
    assert [row['epoch'] for row in resumed.history_.rows] == [row['epoch'] for row in whole.history_.rows]

@each
def test_a_turn_changes_only_the_network_of_the_player(name):
    torch.manual_seed(0)
    detector = make_detector(name)
    networks, x = nn.ModuleDict(detector._build((6,))), torch.as_tensor(samples('table'))
    for player, moves, stays in zip(detector._players(networks), ('critic', 'generator'), ('generator', 'critic')):
        moved, stayed = flat(networks[moves]), flat(networks[stays])
        take_turn(player, x)
        assert torch.equal(flat(networks[stays]), stayed) and not torch.equal(flat(networks[moves]), moved)

@each
def test_the_generator_plays_as_often_as_it_should(name):
    detector = make_detector(name)
    players = detector._players(nn.ModuleDict(detector._build((6,))))
    assert [p.every for p in players] == [1, 1 if name == 'anogan' else 5]

def test_the_encoder_learns_without_moving_the_gan():
    class Stop(FAnoGAN):
        def _fit(self, x, **options): AnoGAN._fit(self, x, **options)
    params = dict(epochs=3, device='cpu', precision='float32')
    gan, both = Stop(**params).fit(samples('table')), FAnoGAN(**params).fit(samples('table'))
    for part in ('generator', 'critic'): assert torch.equal(flat(gan.networks_[part]), flat(both.networks_[part]))
    assert not torch.equal(flat(gan.networks_['encoder']), flat(both.networks_['encoder']))
    assert [row['epoch'] for row in both.history_.rows] == [row['epoch'] for row in both.encoder_history_.rows] == [1, 2, 3]

def test_the_score_is_the_papers():
    detector, x = quick('anogan').fit(samples('signal')), samples('signal', 30, seed=1)
    found = detector.search(x)
    G, f, row = detector.networks_['generator'], detector.networks_['critic'].features, torch.as_tensor(x)
    with torch.no_grad():
        np.testing.assert_allclose(found.residual, (row - found.x_hat).abs().sum((1, 2)), rtol=1e-5)
        np.testing.assert_allclose(found.feature, (f(row) - f(found.x_hat)).abs().sum(1), rtol=1e-3)
    np.testing.assert_allclose(detector.anomaly_score(x), .9*found.residual + .1*found.feature, rtol=1e-5)
    other = copy.copy(detector)
    other.feature_weight = .9
    assert not np.allclose(other.anomaly_score(x), detector.anomaly_score(x))

def test_the_search_lowers_the_score():
    detector, x = quick('anogan', epochs=30).fit(samples('signal')), samples('signal', 30, seed=1)
    short, long = copy.copy(detector), copy.copy(detector)
    short.steps, long.steps = 1, 200
    assert long.anomaly_score(x).mean() < .9 * short.anomaly_score(x).mean()

def test_fanogans_score_is_the_encoders_loss():
    detector, x = quick('fanogan', kappa=.5).fit(samples('signal')), samples('signal', 30, seed=1)
    f, row, x_hat = detector.networks_['critic'].features, torch.as_tensor(x), torch.as_tensor(detector.reconstruct(x))
    with torch.no_grad(): expected = (row - x_hat).square().mean((1, 2)) + .5*(f(row) - f(x_hat)).square().mean(1)
    np.testing.assert_allclose(detector.anomaly_score(x), expected, rtol=1e-3)

def test_losses_and_penalty():
    real, made = torch.randn(50), torch.randn(50)
    assert torch.allclose(critic_loss(real, made), -(real.sigmoid().log().mean() + (1 - made.sigmoid()).log().mean()))
    assert torch.allclose(generator_loss(made), -made.sigmoid().log().mean())
    assert torch.allclose(generator_loss(made, saturating=True), (1 - made.sigmoid()).log().mean())
    line = nn.Linear(4, 1)
    critic = lambda x: line(x)[:, 0]
    assert torch.allclose(slopes(critic, torch.randn(3, 4)), line.weight.norm().expand(3))
    assert torch.allclose(gradient_penalty(critic, torch.randn(3, 4), torch.randn(3, 4)), (line.weight.norm() - 1).square())

def test_one_turn_of_each_player_on_the_meta_device():
    "A tensor that is left on the CPU would raise; the step of the search is tested in test_reconstruction.py"
    for cls in (AnoGAN, FAnoGAN):
        detector = cls()
        networks = nn.ModuleDict(detector._build((1, 32))).to('meta')
        players = detector._players(networks)
        for player in players:
            player.optimizer = torch.optim.Adam(player.params, fused=False, foreach=False)
            take_turn(player, torch.zeros(8, 1, 32, device='meta'))

@pytest.mark.parametrize('seed', [0, 1])
def test_the_centre_of_a_ring_is_above_every_point_of_it(seed):
    truth = ring(n_modes=8, sd=.08)
    detector = AnoGAN(epochs=25, batch_size=128, seed=seed, device='cpu').fit(truth.sample(2000, seed=0))
    score = detector.anomaly_score(np.r_[np.zeros((1, 2), np.float32), truth.sample(300, seed=1)])
    assert score[0] > score[1:].max()

@pytest.mark.parametrize('params, words', [(dict(steps=0), 'steps must be a whole number of at least 1'), (dict(feature_weight=1.5), 'feature_weight must lie in'),
                                           (dict(draws=0), 'draws must be a whole number of at least 1'), (dict(average=1.), 'average must lie in')])
def test_bad_parameters_are_refused(params, words):
    with pytest.raises(ValueError, match=words): quick('anogan', **params).fit(samples('table'))

@each
def test_bad_samples_are_refused(name):
    detector = quick(name).fit(samples('signal'))
    with pytest.raises(ValueError, match='NaN'): detector.anomaly_score(np.full((2, 1, 32), np.nan, np.float32))
    with pytest.raises(ValueError, match='shape'): detector.anomaly_score(np.zeros((2, 1, 30), np.float32))
