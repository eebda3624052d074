"RSRAE: what the contract's tests do not ask; the layer's equations, the three players, the two norms, the score."
import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from ganad.detector import load_detector, make_detector
from ganad.methods.rsrae import PAPER, RSRAE, RSRLayer, length, mean_norm, one_cycle
from ganad.training import take_turn

SHAPES = {'table': (6,), 'signal': (1, 32), 'image': (1, 12, 12)}
every = pytest.mark.parametrize('kind', SHAPES)
equal = np.testing.assert_array_equal

def samples(kind, n=70, seed=0):
    rng = np.random.default_rng(seed)
    size = int(np.prod(SHAPES[kind]))
    x = np.tanh(rng.normal(size=(n, 3)) @ np.random.default_rng(99).normal(size=(3, size))/2 + .1*rng.normal(size=(n, size)))
    return x.reshape(n, *SHAPES[kind]).astype(np.float32)

def quick(**params): return RSRAE(**dict(epochs=3, device='cpu', precision='float32') | params)
def weights(detector): return {k: v.clone() for k, v in detector.networks_.state_dict().items()}
def same(a, b): return all(torch.equal(v, b.networks_.state_dict()[k]) for k, v in a.networks_.state_dict().items())
def flat(net): return torch.cat([p.detach().flatten().clone() for p in net.parameters()])
def networks(detector, kind): torch.manual_seed(0); return nn.ModuleDict(detector._build(SHAPES[kind]))


def test_scikit_learns_checks():
    "With the defaults but for fewer epochs: the checks fit and score dozens of times"
    check_estimator(quick())

@every
@pytest.mark.parametrize('params', [{}, dict(norm=True), dict(alternating=False, cycle=True), dict(score_kind='distance', dense=True, features=20)])
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
def test_after_save_and_load_all_bits_are_the_same(kind, tmp_path):
    detector, x = quick(patience=2, norm=True).fit(samples(kind)), samples(kind, 20, seed=1)
    detector.save(tmp_path)
    again, far = load_detector(tmp_path), 1000*x
    equal(again.anomaly_score(x), detector.anomaly_score(x)); equal(again.anomaly_score(far), detector.anomaly_score(far)); equal(again.reconstruct(x), detector.reconstruct(x))
    assert again.get_params() == detector.get_params() and again.threshold_ == detector.threshold_

@pytest.mark.parametrize('params', [{}, dict(norm=True, patience=1), dict(alternating=False), dict(cycle=True)])
def test_a_seed_repeats_the_training(params):
    x = samples('table')
    a, b, c = (quick(seed=s, **params).fit(x) for s in (1, 1, 2))
    assert same(a, b) and not same(a, c)

@pytest.mark.parametrize('params', [{}, dict(norm=True, patience=2), dict(cycle=True)])
def test_a_training_that_was_cut_off_goes_on_to_the_same_weights(params, tmp_path):
    class Cut(Exception): pass
    def cut(epoch, history):
        if epoch == 3: raise Cut
    x, whole = samples('table'), quick(**{**params, 'epochs': 6}).fit(samples('table'))
    with pytest.raises(Cut): quick(**{**params, 'epochs': 6}).fit(x, checkpoint=tmp_path/'run', callbacks=[cut])
    resumed = quick(**{**params, 'epochs': 6}).fit(x, checkpoint=tmp_path/'run')
    assert same(resumed, whole)

@every
def test_a_turn_changes_only_the_networks_of_the_player(kind):
    detector, x = RSRAE(), torch.as_tensor(samples(kind))
    nets, owns = networks(detector, kind), dict(reconstruction={'encoder', 'layer', 'decoder'}, skew={'layer'}, distance={'encoder', 'layer'})
    with torch.no_grad(): nets['layer'].A.mul_(1.1)         # so that the rows are not orthonormal
    players = detector._players(nets)
    assert [p.name for p in players] == list(owns)
    for player in players:
        before = {name: flat(net) for name, net in nets.items()}
        take_turn(player, x)
        assert {name for name, net in nets.items() if not torch.equal(flat(net), before[name])} == owns[player.name]

def test_the_weighted_form_is_one_player():
    assert [p.name for p in RSRAE(alternating=False)._players(networks(RSRAE(), 'table'))] == ['weighted sum']

@pytest.mark.parametrize('alternating', [True, False])
def test_one_step_of_training_on_the_meta_device(alternating):
    "A tensor that is left on the CPU would raise"
    detector = RSRAE(alternating=alternating)
    for player in detector._players(nn.ModuleDict(detector._build((1, 32))).to('meta')):
        player.optimizer = torch.optim.Adam(player.params, fused=False, foreach=False)
        take_turn(player, torch.zeros(8, 1, 32, device='meta'))

@every
@pytest.mark.parametrize('p', [1, 2])
@pytest.mark.parametrize('q', [1, 2])
@pytest.mark.parametrize('unit', [True, False])
def test_the_losses_are_their_equations(kind, p, q, unit):
    detector, x = RSRAE(p=p, q=q, unit=unit, distance_weight=.3, skew_weight=.7), torch.as_tensor(samples(kind))
    nets = networks(detector, kind)
    with torch.no_grad(): nets['layer'].A.add_(.1*torch.randn_like(nets['layer'].A))
    A = nets['layer'].A
    y = nets['encoder'](x)
    z = y @ A.T
    if unit: z = z/z.norm(dim=1, keepdim=True)
    reconstruction = sum((a - b).norm()**p for a, b in zip(x, nets['decoder'](z)))/len(x)
    distance = sum((v - A.T @ (A @ v)).norm()**q for v in y)/len(x)
    skew = (A @ A.T - torch.eye(len(A))).square().mean()
    turns = {player.name: player.loss(x) for player in detector._players(nets)}
    torch.testing.assert_close(turns['reconstruction'], reconstruction, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(turns['distance'], distance, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(turns['skew'], skew)
    whole = detector.set_params(alternating=False)._players(nets)[0].loss(x)
    torch.testing.assert_close(whole, reconstruction + .3*distance + .7*skew, rtol=1e-4, atol=1e-6)

def test_the_rates_and_optimisers_of_the_players():
    players = RSRAE(lr=.01, rsr_rate=5., cycle=True)._players(networks(RSRAE(), 'table'))
    assert [p.lr for p in players] == [.01, .05, .05] and all(isinstance(p.optimizer, torch.optim.AdamW) for p in players)
    assert all(type(p.optimizer) is torch.optim.Adam for p in RSRAE()._players(networks(RSRAE(), 'table')))

def test_one_cycle_is_torchs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.)
    theirs, rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1., total_steps=200, cycle_momentum=False), []
    for step in range(200): rates.append(optimizer.param_groups[0]['lr']); optimizer.step(); step < 199 and theirs.step()
    np.testing.assert_allclose([one_cycle(k, 200) for k in range(200)], rates, atol=1e-7)
    assert 0 < one_cycle(0, 1) <= 1 and one_cycle(1, 2) < 1e-5

def test_a_sum_of_norms_is_no_norm_of_the_batch():
    r = torch.tensor([[3., 4.], [0., 0.], [6., 8.]])
    assert mean_norm(r).item() == 5 and abs(mean_norm(r, 2).item() - 125/3) < 1e-5 and abs(r.norm().item() - 125**.5) < 1e-5

def test_a_distance_of_zero_has_a_gradient_that_is_a_number():
    r = torch.zeros(3, 4, requires_grad=True)
    mean_norm(r).backward()
    assert (r.grad == 0).all()

def test_the_layer_projects():
    torch.manual_seed(0)
    layer, y = RSRLayer(9, 4), torch.randn(20, 9)
    assert layer.skew() < 1e-12
    torch.testing.assert_close(layer(layer.off(y)), torch.zeros(20, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(layer.off(layer.off(y)), layer.off(y), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match='5 dimensions does not fit into codes of 4'): RSRLayer(4, 5)

@every
@pytest.mark.parametrize('score_kind', ['cosine', 'distance'])
def test_the_score_is_its_equation(kind, score_kind):
    train, x = samples(kind), samples(kind, 30, seed=1)
    detector = quick(score_kind=score_kind, standardize=False).fit(train)
    x_hat, flat_x = detector.reconstruct(x).reshape(30, -1), x.reshape(30, -1)
    norm = np.linalg.norm
    if score_kind == 'distance': wanted = norm(flat_x - x_hat, axis=1)
    else:
        excess = np.log(norm(flat_x, axis=1)/norm(train.reshape(70, -1), axis=1).max()).clip(0)
        wanted = 1 - (flat_x*x_hat).sum(1)/norm(flat_x, axis=1)/norm(x_hat, axis=1) + excess
    np.testing.assert_allclose(detector.anomaly_score(x), wanted, rtol=1e-3, atol=1e-6)

def test_on_the_training_samples_the_score_is_the_papers():
    x = samples('signal')
    detector = quick().fit(x)
    x_hat, x = detector.reconstruct(x).reshape(70, -1), x.reshape(70, -1)
    np.testing.assert_allclose(detector.train_scores_, np.sort(1 - (x*x_hat).sum(1)/np.linalg.norm(x, axis=1)/np.linalg.norm(x_hat, axis=1)), atol=1e-5)

def test_nothing_and_too_much():
    detector = quick().fit(samples('signal'))
    assert detector.anomaly_score(np.zeros((1, 1, 32))) == 1                     # a flat line has no direction
    big = detector.anomaly_score(samples('signal', 1, seed=2)*np.float32([1e3, 1e6, 1e30]).reshape(3, 1, 1))
    assert np.isfinite(big).all() and (np.diff(big) > 1).all()

def test_how_long_a_sample_is_never_overflows():
    size, small = length(torch.tensor([[3e30, 4e30], [3., 4.], [0., 0.]]))
    torch.testing.assert_close(size[:2].double(), torch.tensor([5e30, 5.], dtype=torch.float64).log(), rtol=1e-6, atol=0)
    assert torch.isfinite(size).all() and small.abs().max() == 1

def angle(A, B):
    "Largest principal angle of two row spaces, degrees"
    A, B = (np.linalg.qr(v.T)[0] for v in (A, B))
    return np.degrees(np.arccos(np.clip(np.linalg.svd(A.T @ B, compute_uv=False).min(), -1, 1)))

@pytest.mark.parametrize('seed', range(3))
def test_outliers_that_turn_pca_do_not_turn_the_layer(seed):
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(20, 6)))[0].T
    inliers, outliers = rng.normal(size=(700, 3)) @ axes[:3], 2.9*rng.choice([-1, 1], (300, 1))*axes[rng.integers(3, 6, 300)]
    y = torch.as_tensor((np.r_[inliers, outliers] + .03*rng.normal(size=(1000, 20))).astype(np.float32))
    start, ends = np.linalg.qr((axes[:3] + .06*rng.normal(size=(3, 20))).T)[0].T, {}
    for p in (1, 2):                    # from the same start, not far from the truth: a sum of norms has other valleys as well
        layer = RSRLayer(20, 3)
        with torch.no_grad(): layer.A.copy_(torch.as_tensor(start))
        optimizer = torch.optim.Adam(layer.parameters(), lr=.02)
        for step in range(250):
            for group in optimizer.param_groups: group['lr'] = .02*(1 - step/250)
            optimizer.zero_grad(); (mean_norm(layer.off(y), p) + layer.skew()).backward(); optimizer.step()
        ends[p] = angle(layer.A.detach().numpy(), axes[:3])
    assert ends[1] < 5 < 10 < angle(start, axes[:3]) and ends[2] > 20 and angle(np.linalg.svd(y.numpy(), full_matrices=False)[2][:3], axes[:3]) > 20

def test_labels_are_not_looked_at():
    x = samples('table')
    a, b = (quick(patience=2).fit(x, y) for y in (None, np.arange(70) % 2))
    assert same(a, b) and a.threshold_ == b.threshold_

def test_the_papers_networks():
    nets = nn.ModuleDict(RSRAE(**PAPER)._build((1, 28, 28)))
    assert nets['layer'].A.shape == (10, 1152) and nets['decoder'](torch.zeros(2, 10)).shape == (2, 1, 28, 28)

@pytest.mark.parametrize('shape, latent', [((1,), 2), ((6,), 2), ((21,), 5), ((1, 32), 8), ((1, 320), 10), ((3, 16, 24), 10)])
def test_the_default_dimensions(shape, latent): assert len(RSRAE()._build(shape)['layer'].A) == latent

@pytest.mark.parametrize('params, words', [(dict(score_kind='cosin'), "Did you mean 'cosine'"), (dict(p=3), 'p must be 1 .a norm. or 2'), (dict(q=0), 'q must be 1'), (dict(distance_weight=-1), 'distance_weight must be 0 or more'),
    (dict(skew_weight=np.nan), 'skew_weight must be a finite number'), (dict(rsr_rate=np.inf), 'rsr_rate must be a finite number'), (dict(latent=200), 'does not fit into codes of 128'), (dict(norm=True, batch_size=1), 'batch of two'),
    (dict(decay=1.), 'decay must lie in'), (dict(patience=0), 'patience must be at least 1'), (dict(held_out=1.), 'held_out must lie in')])
def test_bad_parameters_are_refused(params, words):
    with pytest.raises(ValueError, match=words): quick(**params).fit(samples('table'))

@pytest.mark.parametrize('n', [2, 3, 40])
@pytest.mark.parametrize('patience', [None, 2])
def test_fewer_rows_than_a_batch(n, patience):
    detector = quick(batch_size=512, patience=patience).fit(samples('table', n))
    assert np.isfinite(detector.anomaly_score(samples('table', 5))).all()
