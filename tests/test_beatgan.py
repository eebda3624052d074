"BeatGAN: what the contract's tests do not ask; the two players, the score, the feature loss, warped time."
import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from ganad.detector import load_detector, make_detector
from ganad.methods.beatgan import PAPER, BeatGAN, feature_loss, features, time_warp, warp_times
from ganad.networks import make_encoder
from ganad.training import take_turn

SHAPES = {'table': (6,), 'signal': (1, 64), 'image': (1, 12, 12)}
every = pytest.mark.parametrize('kind', SHAPES)
equal = np.testing.assert_array_equal

def samples(kind, n=70, seed=0):
    rng = np.random.default_rng(seed)
    size = int(np.prod(SHAPES[kind]))
    x = np.tanh(rng.normal(size=(n, 3)) @ np.random.default_rng(99).normal(size=(3, size))/2 + .1*rng.normal(size=(n, size)))
    return x.reshape(n, *SHAPES[kind]).astype(np.float32)

def quick(**params): return make_detector('beatgan', **dict(epochs=3, device='cpu', precision='float32') | params)
def weights(detector): return {k: v.clone() for k, v in detector.networks_.state_dict().items()}
def same(a, b): return all(torch.equal(v, b.networks_.state_dict()[k]) for k, v in a.networks_.state_dict().items())
def flat(net): return torch.cat([p.detach().flatten().clone() for p in net.parameters()])


def test_scikit_learns_checks():
    "With the defaults but for fewer epochs: the checks fit and score dozens of times"
    check_estimator(quick())

@every
@pytest.mark.parametrize('params', [{}, dict(norm=True, noise=.1)])
def test_scores_repeat_in_any_order_and_number_and_change_no_weight(kind, params):
    detector, x = quick(**params).fit(samples(kind)), samples(kind, 150, seed=1)
    before, score = weights(detector), detector.anomaly_score(x)
    order = np.random.default_rng(0).permutation(len(x))
    equal(detector.anomaly_score(x), score)
    equal(detector.anomaly_score(x[order]), score[order])
    equal(detector.anomaly_score(x[7:8]), score[7:8])
    equal(detector.anomaly_score(x[40:]), score[40:])
    assert all(torch.equal(v, before[k]) for k, v in detector.networks_.state_dict().items())
    assert detector.reconstruct(x).shape == x.shape and np.isfinite(detector.reconstruct(x)).all()

@every
@pytest.mark.parametrize('params', [dict(patience=2), dict(norm=True, dense=False), dict(w_adv=0)])
def test_after_save_and_load_all_bits_are_the_same(kind, params, tmp_path):
    detector, x = quick(**params).fit(samples(kind)), samples(kind, 20, seed=1)
    detector.save(tmp_path)
    again = load_detector(tmp_path)
    equal(again.anomaly_score(x), detector.anomaly_score(x)); equal(again.reconstruct(x), detector.reconstruct(x))
    assert again.get_params() == detector.get_params() and again.threshold_ == detector.threshold_

@pytest.mark.parametrize('params', [{}, dict(noise=.1, warp=3, patience=1), dict(w_adv=0)])
def test_a_seed_repeats_the_training(params):
    x = samples('signal')
    a, b, c = (quick(seed=s, **params).fit(x) for s in (1, 1, 2))
    assert same(a, b) and not same(a, c)

@pytest.mark.parametrize('params', [{}, dict(noise=.1, warp=3, patience=2), dict(norm=True)])
def test_a_training_that_was_cut_off_goes_on_to_the_same_weights(params, tmp_path):
    class Cut(Exception): pass
    def cut(epoch, history):
        if epoch == 3: raise Cut
    x, whole = samples('signal'), quick(epochs=6, **params).fit(samples('signal'))
    with pytest.raises(Cut): quick(epochs=6, **params).fit(x, checkpoint=tmp_path/'run', callbacks=[cut])
    resumed = quick(epochs=6, **params).fit(x, checkpoint=tmp_path/'run')
    assert same(resumed, whole)
    assert [row['epoch'] for row in resumed.history_.rows] == [row['epoch'] for row in whole.history_.rows]
    assert [row.get('held_out') for row in resumed.history_.rows] == [row.get('held_out') for row in whole.history_.rows]

@every
@pytest.mark.parametrize('norm', [False, True])
def test_a_turn_changes_only_the_networks_of_the_player(kind, norm):
    torch.manual_seed(0)
    detector = make_detector('beatgan', noise=.1, norm=norm)
    networks, x = nn.ModuleDict(detector._build(SHAPES[kind])), torch.as_tensor(samples(kind))
    players = detector._players(networks)
    own = dict(critic={'critic'}, generator={'encoder', 'decoder'})
    assert [p.name for p in players] == list(own)
    for player in players:
        before = {name: flat(net) for name, net in networks.items()}
        take_turn(player, x)
        for name, net in networks.items(): assert torch.equal(flat(net), before[name]) == (name not in own[player.name])

def test_one_step_of_training_on_the_meta_device():
    "A tensor that is left on the CPU would raise"
    detector = BeatGAN(noise=.1)
    for player in detector._players(nn.ModuleDict(detector._build((1, 32))).to('meta')):
        player.optimizer = torch.optim.Adam(player.params, fused=False, foreach=False)
        take_turn(player, torch.zeros(8, 1, 32, device='meta'))

@every
def test_the_score_is_the_mean_squared_error(kind):
    detector, x = quick(standardize=False).fit(samples(kind)), samples(kind, 30, seed=1)
    np.testing.assert_allclose(detector.anomaly_score(x), np.square(x - detector.reconstruct(x)).reshape(30, -1).mean(1), rtol=1e-5)

def test_the_losses_are_the_equations():
    "The generator's turn against equations 1 to 3, the critic's against the game's value, both written out"
    torch.manual_seed(0)
    detector, x = BeatGAN(w_adv=3.), torch.as_tensor(samples('signal'))
    nets = nn.ModuleDict(detector._build((1, 64)))
    critic, generator = detector._players(nets)
    with torch.no_grad():
        x_hat, D = nets['decoder'](nets['encoder'](x)), nets['critic']
        f, f_hat = D[:-1](x), D[:-1](x_hat)
        assert f.shape == (70, 128)
        torch.testing.assert_close(D[-1](f), D(x))
        torch.testing.assert_close(generator.loss(x), (x - x_hat).square().mean() + 3*(f - f_hat).square().mean())
        torch.testing.assert_close(critic.loss(x), -D(x).sigmoid().log().mean() - (1 - D(x_hat).sigmoid()).log().mean())

def test_without_a_critic_the_generator_plays_alone_and_the_critic_stays_as_it_was():
    x, detector = samples('signal'), quick(w_adv=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = nn.ModuleDict(detector._build((1, 64)))
    detector.fit(x)
    assert 'critic' not in detector.history_.rows[0]
    assert torch.equal(flat(first['critic']), flat(detector.networks_['critic'])) and not torch.equal(flat(first['encoder']), flat(detector.networks_['encoder']))

def test_features_meet_where_samples_meet():
    torch.manual_seed(0)
    D, x = make_encoder((1, 32), 1, width=8), torch.randn(5, 1, 32)
    x_hat = x.clone().requires_grad_()
    loss = feature_loss(D, x, x_hat)
    assert loss.item() == 0 and torch.autograd.grad(loss, x_hat)[0].abs().max() == 0
    assert features(D, x).shape[0] == 5 and feature_loss(D, x, x + 1).item() > 0

def test_the_papers_sizes():
    "Channels 32 to 512, filters of 4 with stride 2, then 10 ticks of 512 to 50 numbers, and the same with one number for the critic"
    nets = BeatGAN(**PAPER)._build((1, 320))
    convs = {name: [(m.in_channels, m.out_channels, m.kernel_size[1], m.stride[1]) for m in net.modules() if isinstance(m, nn.Conv2d)] for name, net in nets.items()}
    linear = {name: [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)] for name, net in nets.items()}
    down = [(a, b, 4, 2) for a, b in zip((1, 32, 64, 128, 256), (32, 64, 128, 256, 512))]
    assert convs['encoder'] == convs['critic'] == down
    assert linear == dict(encoder=[(5120, 50)], decoder=[(50, 5120)], critic=[(5120, 1)])
    assert features(nets['critic'], torch.zeros(2, 1, 320)).shape == (2, 5120)

def test_labels_are_not_looked_at():
    x = samples('signal')
    a, b = (quick(warp=3).fit(x, y) for y in (None, np.arange(70) % 2))
    assert same(a, b) and a.threshold_ == b.threshold_

# ---- warped time

@pytest.mark.parametrize('n, peak, k', [(320, 140, 7), (64, 28, 3), (64, 28, 0), (20, 4, 2)])
def test_a_warp_keeps_order_peak_and_end(n, peak, k):
    at = warp_times(n, peak, k, rows=50, seed=3)
    assert at.shape == (50, n) and (np.diff(at, axis=1) > 0).all()
    assert (at[:, peak] == peak).all() and (at[:, -1] == n - 1).all()
    times = np.stack([np.bincount(row.astype(int), minlength=n) for row in at])
    for side in (times[:, :peak], times[:, peak + 1:]): assert ((side == 2).sum(1) == k).all() and ((side == 0).sum(1) == k).all()
    assert ((at % 1 == .5).sum(1) == 2*k).all()

def test_a_warped_beat_shows_the_old_one_at_its_moments():
    x = np.random.default_rng(0).normal(size=(3, 2, 320)).astype(np.float32)
    made, at = time_warp(x, copies=1, seed=5), warp_times(320, rows=3, seed=5)
    for i in range(3):
        for c in range(2): np.testing.assert_allclose(made[i, c], np.interp(at[i], np.arange(320), x[i, c]), rtol=1e-6)

def test_copies_differ_and_a_seed_repeats_them():
    x = np.random.default_rng(0).normal(size=(5000, 1, 64)).astype(np.float32)
    a = time_warp(x, 3, 28, seed=1)
    assert a.shape == (10_000, 1, 64) and a.dtype == np.float32
    equal(a, time_warp(x, 3, 28, seed=1))
    assert not np.array_equal(a[:5000], a[5000:]) and not np.array_equal(a, time_warp(x, 3, 28, seed=2))
    equal(a[:5000, 0, 28], x[:, 0, 28])
    equal(time_warp(x, 0, 28, copies=1), x)

def test_a_warped_detector_trains_on_three_times_the_data():
    x = torch.as_tensor(samples('signal'))
    train, held = BeatGAN(warp=3)._split(x)
    assert len(train) == 210 and len(held) == 0 and torch.equal(train[:70], x)
    train, held = BeatGAN(warp=3, patience=2)._split(x)
    assert len(train) == 3*63 and len(held) == 7 and len(torch.cat([x, held]).unique(dim=0)) == 70       # none of the held-out beats is warped

@pytest.mark.parametrize('kind', ['table', 'image'])
def test_what_has_no_time_cannot_be_warped(kind):
    with pytest.raises(ValueError, match='warp stretches time'): quick(warp=3).fit(samples(kind))
    with pytest.raises(ValueError, match='only signals'): time_warp(samples(kind))

@pytest.mark.parametrize('params', [dict(ticks=7), dict(ticks=3, peak=70), dict(ticks=-1), dict(ticks=1, peak=0)])
def test_a_warp_that_does_not_fit_is_refused(params):
    with pytest.raises(ValueError, match='cannot be stretched'): warp_times(40, **dict(peak=10) | params)

@pytest.mark.parametrize('params, words', [(dict(w_adv=-1.), 'w_adv must not be negative'), (dict(noise=-.1), 'noise must be a finite number of at least 0'), (dict(warp=-1), 'warp must not be negative'),
    (dict(critic_every=0), 'critic_every must be'), (dict(warp=30), 'cannot be stretched'), (dict(decay=1.), 'decay must lie in'), (dict(patience=0), 'patience must be at least 1'), (dict(held_out=1.), 'held_out must lie in')])
def test_bad_parameters_are_refused(params, words):
    with pytest.raises(ValueError, match=words): quick(**params).fit(samples('signal'))

@pytest.mark.parametrize('n', [2, 3, 40])
@pytest.mark.parametrize('params', [{}, dict(patience=2, warp=3)])
def test_fewer_samples_than_a_batch(n, params):
    detector = quick(batch_size=512, **params).fit(samples('signal', n))
    assert np.isfinite(detector.anomaly_score(samples('signal', 5))).all()

def test_one_class_only_is_no_error():
    assert np.isfinite(quick().fit(samples('signal'), np.ones(70)).anomaly_score(samples('signal'))).all()
    assert np.isfinite(quick().fit(np.ones((30, 4), np.float32)).anomaly_score(np.zeros((2, 4), np.float32))).all()
