"The VAE and the VAE-GAN: what the contract's tests do not ask; the terms of the bound, the three players' gradients, the scores' switches."
import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import check_estimator
from torch import nn
from torch.distributions import Normal, kl_divergence

from ganad.detector import load_detector, make_detector
from ganad.methods.anogan import critic_loss
from ganad.methods.vaegan import VAE, VAEGAN, draw_code, kl_normal, mean_square
from ganad.training import take_turn

SHAPES = {'table': (6,), 'signal': (1, 32), 'image': (1, 12, 12)}
every = lambda fn: pytest.mark.parametrize('name', ['vae', 'vaegan'])(pytest.mark.parametrize('kind', SHAPES)(fn))
both = pytest.mark.parametrize('name', ['vae', 'vaegan'])
equal = np.testing.assert_array_equal

def samples(kind, n=70, seed=0):
    rng = np.random.default_rng(seed)
    size = int(np.prod(SHAPES[kind]))
    x = np.tanh(rng.normal(size=(n, 3)) @ np.random.default_rng(99).normal(size=(3, size))/2 + .1*rng.normal(size=(n, size)))
    return x.reshape(n, *SHAPES[kind]).astype(np.float32)

def quick(name, **params): return make_detector(name, **dict(epochs=3, device='cpu', precision='float32') | params)
def weights(detector): return {k: v.clone() for k, v in detector.networks_.state_dict().items()}
def same(a, b): return all(torch.equal(v, b.networks_.state_dict()[k]) for k, v in a.networks_.state_dict().items())
def flat(net): return torch.cat([p.detach().flatten().clone() for p in net.parameters()])


@both
def test_scikit_learns_checks(name):
    "With the defaults but for fewer epochs: the checks fit and score dozens of times"
    check_estimator(quick(name))

@every
@pytest.mark.parametrize('score_kind', ['error', 'bound', 'features'])
def test_scores_repeat_in_any_order_and_number_and_change_no_weight(name, kind, score_kind):
    if score_kind not in (VAE if name == 'vae' else VAEGAN).scores: return
    detector, x = quick(name, score_kind=score_kind, norm=True).fit(samples(kind)), samples(kind, 150, seed=1)
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
    detector, x = quick(name, patience=2, score_kind='bound').fit(samples(kind)), samples(kind, 20, seed=1)
    detector.save(tmp_path)
    again = load_detector(tmp_path)
    equal(again.anomaly_score(x), detector.anomaly_score(x)); equal(again.reconstruct(x), detector.reconstruct(x))
    for a, b in zip(again.codes(x) + again.terms(x), detector.codes(x) + detector.terms(x)): equal(a, b)
    assert again.get_params() == detector.get_params() and again.threshold_ == detector.threshold_

@both
@pytest.mark.parametrize('params', [{}, dict(norm=True, patience=1)])
def test_a_seed_repeats_the_training(name, params):
    x = samples('table')
    a, b, c = (quick(name, seed=s, **params).fit(x) for s in (1, 1, 2))
    assert same(a, b) and not same(a, c)

@both
@pytest.mark.parametrize('params', [{}, dict(norm=True, patience=2)])
def test_a_training_that_was_cut_off_goes_on_to_the_same_weights(name, params, tmp_path):
    class Cut(Exception): pass
    def cut(epoch, history):
        if epoch == 3: raise Cut
    x, whole = samples('table'), quick(name, **{**params, 'epochs': 6}).fit(samples('table'))
    with pytest.raises(Cut): quick(name, **{**params, 'epochs': 6}).fit(x, checkpoint=tmp_path/'run', callbacks=[cut])
    resumed = quick(name, **{**params, 'epochs': 6}).fit(x, checkpoint=tmp_path/'run')
    assert same(resumed, whole)
    assert [row.get('held_out') for row in resumed.history_.rows] == [row.get('held_out') for row in whole.history_.rows]

@pytest.mark.parametrize('kind', SHAPES)
def test_a_turn_changes_only_the_network_of_the_player(kind):
    torch.manual_seed(0)
    detector = make_detector('vaegan')
    networks, x = nn.ModuleDict(detector._build(SHAPES[kind])), torch.as_tensor(samples(kind))
    players = detector._players(networks)
    assert [p.name for p in players] == ['critic', 'encoder', 'decoder']
    for player in players:
        before = {name: flat(net) for name, net in networks.items()}
        take_turn(player, x)
        for name, net in networks.items(): assert torch.equal(flat(net), before[name]) == (name != player.name)

@both
def test_one_step_of_training_on_the_meta_device(name):
    "A tensor that is left on the CPU would raise"
    detector = make_detector(name)
    for player in detector._players(nn.ModuleDict(detector._build((1, 32))).to('meta')):
        player.optimizer = torch.optim.Adam(player.params, fused=False, foreach=False)
        take_turn(player, torch.zeros(8, 1, 32, device='meta'))

def test_the_kl_term_is_torchs_and_never_negative():
    mu, logvar = torch.randn(50, 4, dtype=torch.float64), torch.randn(50, 4, dtype=torch.float64)*3
    kl = kl_normal(mu, logvar)
    torch.testing.assert_close(kl, kl_divergence(Normal(mu, (logvar/2).exp()), Normal(torch.zeros_like(mu), torch.ones_like(mu))))
    assert (kl >= 0).all() and kl_normal(torch.zeros(1, 1), torch.zeros(1, 1)).item() == 0

def test_a_drawn_code_has_the_mean_and_the_spread_and_lets_gradients_through():
    torch.manual_seed(0)
    mu, logvar = torch.full((50_000, 1), 2., requires_grad=True), torch.full((50_000, 1), -1., requires_grad=True)
    z = draw_code(mu, logvar)
    assert abs(z.mean() - 2) < .01 and abs(z.std() - np.exp(-.5)) < .01
    by_mu, by_logvar = torch.autograd.grad(z.sum(), (mu, logvar))
    torch.testing.assert_close(by_mu, torch.ones_like(mu)); torch.testing.assert_close(by_logvar, (z - mu)/2)

@pytest.mark.parametrize('kind', SHAPES)
def test_the_vaes_loss_is_its_equation(kind):
    detector, x = VAE(beta=.03), torch.as_tensor(samples(kind))
    torch.manual_seed(0)
    nets = nn.ModuleDict(detector._build(SHAPES[kind]))
    torch.manual_seed(1); loss = detector._players(nets)[0].loss(x)
    torch.manual_seed(1)
    mu, logvar = nets['encoder'](x).chunk(2, 1)
    x_hat = nets['decoder'](mu + (logvar/2).exp()*torch.randn_like(mu))
    kl = .5*(mu**2 + logvar.exp() - 1 - logvar).sum(1).mean()
    torch.testing.assert_close(loss, ((x - x_hat)**2).mean() + .03*kl)

@pytest.mark.parametrize('kind', SHAPES)
@pytest.mark.parametrize('error_weight', [0., .7])
def test_each_player_takes_the_gradient_of_its_own_equation(kind, error_weight):
    detector, x = VAEGAN(beta=.03, error_weight=error_weight, feature_weight=.5, critic_weight=.2, penalty=0.), torch.as_tensor(samples(kind))
    torch.manual_seed(0)
    nets = nn.ModuleDict(detector._build(SHAPES[kind]))
    E, G, D = (nets[name] for name in ('encoder', 'decoder', 'critic'))
    turn = {p.name: p.loss for p in detector._players(nets)}
    torch.manual_seed(1)
    mu, logvar = E(x).chunk(2, 1)
    z = mu + (logvar/2).exp()*torch.randn_like(mu)
    x_hat, drawn = G(z), G(torch.randn_like(z))
    ell = .5*((D.features(x) - D.features(x_hat))**2).mean() + error_weight*((x - x_hat)**2).mean()
    kl = .5*(mu**2 + logvar.exp() - 1 - logvar).sum(1).mean()
    wanted = dict(encoder=(E, ell + .03*kl), decoder=(G, ell - .2*D(torch.cat([x_hat, drawn])).sigmoid().log().mean()), critic=(D, critic_loss(D(x), D(torch.cat([x_hat, drawn])))))
    for name, (net, loss) in wanted.items():
        torch.manual_seed(1)
        ours = torch.autograd.grad(turn[name](x), net.parameters())
        for a, b in zip(ours, torch.autograd.grad(loss, net.parameters(), retain_graph=True)): torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)

@every
def test_the_score_is_its_equation(name, kind):
    cls = VAE if name == 'vae' else VAEGAN
    for score_kind in cls.scores:
        detector, x = quick(name, score_kind=score_kind, beta=.02, standardize=False).fit(samples(kind)), samples(kind, 30, seed=1)
        row, nets = torch.as_tensor(x), detector.networks_
        with torch.no_grad():
            mu, logvar = nets['encoder'](row).chunk(2, 1)
            x_hat = nets['decoder'](mu)
            kl = .5*(mu**2 + logvar.exp() - 1 - logvar).sum(1)
            error = ((row - x_hat)**2).flatten(1).mean(1)
            features = ((nets['critic'].features(row) - nets['critic'].features(x_hat))**2).mean(1) if name == 'vaegan' else None
        wanted = {'error': error, 'bound': error + .02*kl, 'features': features, 'features and KL': None if features is None else features + .02*kl}[score_kind]
        np.testing.assert_allclose(detector.anomaly_score(x), wanted, rtol=1e-4)
        np.testing.assert_allclose(detector.terms(x)[:2], np.stack([error, kl]), rtol=1e-4)

def test_no_random_number_has_a_part_in_a_score():
    detector, x = quick('vaegan').fit(samples('signal')), samples('signal', 20)
    torch.manual_seed(0); first, state = detector.anomaly_score(x), torch.get_rng_state()
    torch.manual_seed(0); assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1); equal(detector.anomaly_score(x), first)

@both
def test_codes_and_decode_are_in_the_samples_units(name):
    x = samples('table') * [1, 10, 100, 1, 1, 1] + 5
    detector = quick(name, latent=2).fit(x)
    mu, sd = detector.codes(x)
    assert mu.shape == sd.shape == (70, 2) and (sd > 0).all()
    np.testing.assert_allclose(detector.decode(mu), detector.reconstruct(x), rtol=1e-4, atol=1e-3)

def test_a_large_beta_silences_the_code_and_a_small_one_does_not():
    x = samples('table', 500)
    kl = {beta: quick('vae', beta=beta, epochs=30, latent=3).fit(x).terms(x)[1].mean() for beta in (1e-3, 10.)}
    assert kl[10.] < .02 and kl[1e-3] > 3

def test_codes_of_training_samples_fill_the_prior():
    x = samples('table', 2000)
    mu, sd = quick('vae', beta=.05, epochs=40, latent=2).fit(x).codes(x)
    np.testing.assert_allclose(mu.var(0) + (sd**2).mean(0), 1, atol=.25)

def test_labels_are_not_looked_at():
    x = samples('table')
    a, b = (quick('vaegan', patience=2).fit(x, y) for y in (None, np.arange(70) % 2))
    assert same(a, b) and a.threshold_ == b.threshold_

@pytest.mark.parametrize('name, params, words', [('vae', dict(score_kind='features'), "unknown score_kind 'features'"), ('vaegan', dict(score_kind='feature'), "Did you mean 'features'"),
    ('vae', dict(beta=-1), 'beta must be 0 or more'), ('vae', dict(beta=np.nan), 'beta must be a finite number'), ('vae', dict(decay=1.), 'decay must lie in'), ('vae', dict(patience=0), 'patience must be at least 1'),
    ('vaegan', dict(critic_weight=-1), 'critic_weight must be 0 or more'), ('vaegan', dict(penalty=-.1), 'penalty must be a finite number of at least 0'),
    ('vaegan', dict(feature_weight=0, error_weight=0), 'nothing would be brought back'), ('vaegan', dict(held_out=1.), 'held_out must lie in')])
def test_bad_parameters_are_refused(name, params, words):
    with pytest.raises(ValueError, match=words): quick(name, **params).fit(samples('table'))

@both
def test_values_that_overflow_are_no_error(name):
    detector = quick(name, score_kind='bound').fit(samples('table'))
    assert (detector.anomaly_score(np.full((2, 6), 1e6, np.float32)) > detector.threshold_).all()

@both
@pytest.mark.parametrize('n', [2, 3, 40])
@pytest.mark.parametrize('patience', [None, 2])
def test_fewer_rows_than_a_batch(name, n, patience):
    detector = quick(name, batch_size=512, patience=patience).fit(samples('table', n))
    assert np.isfinite(detector.anomaly_score(samples('table', 5))).all()
