"Reconstruction: each search is the one the sample has alone, results never depend on the batch, networks are untouched, mappings store and refuse."
import copy

import numpy as np
import pytest
import torch
from torch import nn

from ganad.networks import in_blocks, make_critic, make_decoder, make_encoder
from ganad.reconstruction import (InterpolationReconstructor, InverseMappingReconstructor, Places, Reconstructor, adam_step, bias_corrections,
                                  choose_epsilon, content_draw, default_block, folded, frozen, latent_length, make_reconstructor)
from ganad.training import digest

SHAPES = [(5,), (2, 32), (3, 12, 12)]
draws = lambda n, latent=4, seed=0: torch.randn(n, latent, generator=torch.Generator().manual_seed(seed))


def generator(shape=(5,), latent=4, width=4, norm=True, **kwargs):
    "A generator whose batch normalisations have seen something"
    torch.manual_seed(0)
    net = make_decoder(shape, latent, width, norm=norm, **kwargs)
    for _ in range(10): net(torch.randn(32, latent))
    return net.eval()

def samples(G, n, noise=.1):
    with torch.no_grad(): made = G(draws(n, seed=1))
    return made + noise*torch.randn(made.shape, generator=torch.Generator().manual_seed(2))

def state(*nets): return [digest(net.state_dict()) for net in nets]
def equal(a, b): return all(torch.equal(getattr(a, k), getattr(b, k)) for k in ('z', 'x_hat', 'loss', 'residual', 'feature', 'steps'))


# ---- the search is each sample's own

@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('dissimilarity', ['l1', 'l2', 'cosine', 'rbf'])
def test_a_samples_gradient_in_a_batch_is_the_one_it_has_alone(shape, dissimilarity):
    G, critic = generator(shape).requires_grad_(False), make_critic(shape, 4, 8).eval().requires_grad_(False)
    x, z = samples(G, 8), draws(8, seed=3)
    search = InterpolationReconstructor(G, critic=critic, dissimilarity=dissimilarity, feature_weight=.3)
    def gradient(rows):
        own = z[rows].clone().requires_grad_()
        loss = search.terms(x[rows].flatten(1), critic.features(x[rows]), G(own), critic.features)[0]
        return torch.autograd.grad(loss.sum(), own)[0]
    together, alone = gradient(slice(0, 8)), torch.cat([gradient(slice(i, i + 1)) for i in range(8)])
    assert ((together - alone).norm(dim=1) <= 1e-5 * alone.norm(dim=1)).all()

def test_the_gradient_is_the_numerical_one():
    G = generator((6,)).double().requires_grad_(False)
    x, search = samples(generator((6,)), 3).double(), InterpolationReconstructor(generator((6,)), dissimilarity='l2')
    f = lambda z: search.terms(x, x[:, :0], G(z))[0].sum()
    assert torch.autograd.gradcheck(f, draws(3).double().requires_grad_(), eps=1e-6, atol=1e-8)

def test_adam_by_row_is_torchs_adam():
    grads = draws(30, 6).view(30, 2, 3)
    z, m, v = torch.ones(2, 3), torch.zeros(2, 3), torch.zeros(2, 3)
    for t, g in enumerate(grads): adam_step(z, g, m, v, torch.full((2,), t), torch.tensor([.1, .02]), bias_corrections(30))
    for row, lr in enumerate((.1, .02)):
        wanted = torch.ones(3, requires_grad=True)
        optimiser = torch.optim.Adam([wanted], lr=lr)
        for wanted.grad in grads[:, row]: optimiser.step()
        assert torch.allclose(z[row], wanted.detach(), rtol=1e-5, atol=1e-6)

def test_a_row_without_a_learning_rate_stays_to_the_bit():
    z = draws(3); before = z.clone()
    adam_step(z, draws(3, seed=5), torch.zeros(3, 4), torch.zeros(3, 4), torch.tensor([0, 7, 9]), torch.tensor([0., .1, 0.]), bias_corrections(9))
    assert torch.equal(z[[0, 2]], before[[0, 2]]) and not torch.equal(z[1], before[1])

def test_the_search_is_a_plain_loop_with_torchs_adam():
    G = generator(norm=False)
    x, start = samples(G, 6), draws(6, seed=4)
    found = InterpolationReconstructor(G, dissimilarity='l2', steps=40, lr=.05, epsilon=None, lr_threshold=None, start=start, block=4).search(x)
    for i in range(6):
        z = start[i:i + 1].clone().requires_grad_()
        optimiser = torch.optim.Adam([z], lr=.05)
        for _ in range(40):
            optimiser.zero_grad(); (x[i:i + 1] - G(z)).square().mean().backward(); optimiser.step()
        assert torch.allclose(found.z[i], z[0].detach(), atol=2e-3)
        assert torch.isclose(found.loss[i], (x[i] - found.x_hat[i]).square().mean(), rtol=1e-4)
        assert torch.allclose(found.x_hat[i], G(found.z[i:i + 1])[0], atol=1e-5)


# ---- nothing depends on the batch

@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('start', ['best', 'prior', 'encoder'])
def test_results_are_bit_equal_for_any_batch_order_and_size(shape, start):
    G, critic, encoder = generator(shape), make_critic(shape, 4, 8), make_encoder(shape, 4, 4)
    x = samples(G, 21)
    search = InterpolationReconstructor(G, critic=critic, encoder=encoder, start=start, feature_weight=.2, steps=25, lr=.1, lr_threshold=.1, epsilon=.08, block=8)
    whole, order = search.search(x), torch.randperm(21, generator=torch.Generator().manual_seed(0))
    mixed = search.search(x[order])
    for k in ('z', 'x_hat', 'loss', 'steps'): assert torch.equal(getattr(whole, k)[order], getattr(mixed, k))
    for part in (slice(0, 1), slice(20, 21), slice(3, 17)):
        alone = search.search(x[part])
        for k in ('z', 'x_hat', 'loss', 'residual', 'feature', 'steps'): assert torch.equal(getattr(whole, k)[part], getattr(alone, k))

def test_the_same_within_inference_mode_and_through_reconstruct():
    G = generator(); x = samples(G, 5)
    search = InterpolationReconstructor(G, steps=10)
    with torch.inference_mode(): inside = search.search(x.clone())
    assert equal(search.search(x), inside)
    assert torch.equal(search.reconstruct(x), inside.x_hat) and torch.equal(search.latents(x), inside.z)
    assert search.search(x.numpy()).loss.equal(inside.loss)

def test_a_start_by_content_knows_neither_place_nor_neighbours():
    G = generator(); x = samples(G, 9)
    search = InterpolationReconstructor(G, start='prior')
    assert torch.equal(search.starts(x).flip(0), search.starts(x.flip(0))) and len(search.starts(x).unique(dim=0)) == 9
    assert not torch.equal(content_draw(x[0], 4, 0), content_draw(x[0], 4, 1))

def test_the_best_draw_is_the_best():
    G = generator(); x = samples(G, 9)
    search = InterpolationReconstructor(G, draws=20, seed=3)
    z = torch.randn(20, 4, generator=torch.Generator().manual_seed(3))
    with torch.no_grad(): loss = (x[:, None] - G(z)[None]).abs().mean(2)
    assert torch.equal(search.starts(x), z[loss.argmin(1)])

def test_starts_that_are_given():
    G = generator(); x = samples(G, 3)
    shared, own = draws(1)[0], draws(3)
    assert torch.equal(InterpolationReconstructor(G, start=shared).starts(x), shared.expand(3, 4))
    assert torch.equal(InterpolationReconstructor(G, start=own).starts(x), own)
    before = own.clone()
    InterpolationReconstructor(G, start=own, steps=5).search(x)
    assert torch.equal(own, before)


# ---- early finish, learning rate

def test_finished_samples_are_under_epsilon_and_others_take_all_steps():
    G = generator(); x = samples(G, 40, noise=.02)
    x[::4] += 3                                             # never found
    found = InterpolationReconstructor(G, dissimilarity='l2', steps=80, lr=.1, lr_threshold=None, epsilon=.02, block=8).search(x)
    early = found.steps < 80
    assert early.any() and (~early).any() and (found.loss[early] <= .02).all() and (found.loss[~early] > .02).all() and (found.steps[~early] == 80).all()

def test_a_short_search_is_the_beginning_of_a_long_one_and_stops_where_it_says():
    G = generator(); x = samples(G, 6)
    options = dict(steps=60, lr=.05, lr_threshold=None)
    path = []
    long = InterpolationReconstructor(G, epsilon=None, block=6, **options).search(x, callback=lambda who, places: path.append(places.z.clone()))
    assert torch.equal(torch.stack(path)[20], InterpolationReconstructor(G, epsilon=None, block=6, **{**options, 'steps': 20}).search(x).z)
    found = InterpolationReconstructor(G, epsilon=long.loss.median().item() + .01, block=6, **options).search(x)
    for i, n in enumerate(found.steps): assert torch.equal(found.z[i], path[n][i])

def test_the_learning_rate_is_cut_once_the_loss_is_low():
    G = generator(); x = samples(G, 4)
    far = InterpolationReconstructor(G, steps=2, epsilon=None, lr=.1, lr_factor=.1, lr_threshold=1e9)
    plain = InterpolationReconstructor(G, steps=2, epsilon=None, lr=.01, lr_threshold=None)
    assert torch.allclose(far.search(x).z, plain.search(x).z, atol=1e-6)

def test_epsilon_is_a_quantile_of_full_searches():
    G = generator(); x = samples(G, 20)
    search = InterpolationReconstructor(G, steps=20, epsilon=.3)
    full = InterpolationReconstructor(G, steps=20, epsilon=None).search(x).loss
    assert choose_epsilon(search, x, .75) == full.quantile(.75).item() and search.epsilon == .3
    with pytest.raises(ValueError, match='share'): choose_epsilon(search, x, 1.)

def test_sums_and_weights_are_the_papers():
    G, critic = generator((2, 32)), make_critic((2, 32), 4, 8).eval()
    x = samples(G, 3)
    found = InterpolationReconstructor(G, critic=critic, feature_weight=.1, reduction='sum', steps=3, epsilon=None).search(x)
    with torch.no_grad(): R, D = (x - found.x_hat).flatten(1).abs().sum(1), (critic.features(x) - critic.features(found.x_hat)).abs().sum(1)
    assert torch.allclose(found.residual, R, rtol=1e-4) and torch.allclose(found.feature, D, rtol=1e-3) and torch.allclose(found.loss, .9*R + .1*D, rtol=1e-4)


# ---- networks are untouched, folding

@pytest.mark.parametrize('shape', SHAPES)
def test_networks_are_untouched_by_a_search(shape):
    G, critic, encoder = generator(shape), make_critic(shape, 4, 8), make_encoder(shape, 4, 4)
    G.train(); critic.train(); encoder.eval(); next(G.parameters()).requires_grad_(False)
    before, flags = state(G, critic, encoder), [[m.training for m in net.modules()] + [p.requires_grad for p in net.parameters()] for net in (G, critic, encoder)]
    InterpolationReconstructor(G, critic=critic, encoder=encoder, start='encoder', feature_weight=.1, steps=3).search(torch.randn(4, *shape))
    InverseMappingReconstructor(G, encoder=encoder).reconstruct(torch.randn(4, *shape))
    assert state(G, critic, encoder) == before and all(p.grad is None for net in (G, critic, encoder) for p in net.parameters())
    assert flags == [[m.training for m in net.modules()] + [p.requires_grad for p in net.parameters()] for net in (G, critic, encoder)]

def test_flags_come_back_after_an_error():
    net = make_decoder((5,), 4, 4)
    with pytest.raises(RuntimeError), frozen(net):
        assert not net.training and not any(p.requires_grad for p in net.parameters())
        raise RuntimeError
    assert net.training and all(p.requires_grad for p in net.parameters())

@pytest.mark.parametrize('kwargs', [dict(shape=(5,)), dict(shape=(2, 32)), dict(shape=(2, 32), dense=True), dict(shape=(3, 12, 12)), dict(shape=(2, 32), norm=False)])
def test_a_folded_network_is_the_same_function(kwargs):
    G = generator(**kwargs); before = state(G)
    fast = folded(G)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in fast.modules()) and not any(p.requires_grad for p in fast.parameters())
    assert torch.allclose(fast(draws(16)), G(draws(16)), atol=1e-5) and state(G) == before

def test_folding_leaves_alone_what_it_cannot_fold():
    odd = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.utils.parametrizations.spectral_norm(nn.Linear(6, 5)), nn.BatchNorm1d(5), nn.BatchNorm1d(5, affine=False)).eval()
    assert len(folded(odd)) == 6 and torch.allclose(folded(odd)(draws(8)), odd(draws(8)), atol=1e-6)


# ---- inverse mapping

@pytest.mark.parametrize('loss', ['izi', 'ziz', 'izi_f'])
def test_a_mapping_learns_and_leaves_the_generator_alone(loss):
    G = generator((2, 32), norm=True); critic = make_critic((2, 32), 4, 8)
    x, before = samples(G, 256, 0.), state(G, critic)
    mapping = InverseMappingReconstructor(G, critic=critic, loss=loss, epochs=30, batch_size=32, precision='float32').fit(x, progress=False)
    losses = mapping.history_.frame().encoder
    assert losses.iloc[-1] < .5*losses.iloc[0] and state(G, critic) == before
    assert mapping.latents(x).shape == (256, 4) and mapping.reconstruct(x).shape == x.shape
    again = InverseMappingReconstructor(G, critic=critic, loss=loss, epochs=30, batch_size=32, precision='float32').fit(x, progress=False)
    assert torch.equal(again.reconstruct(x), mapping.reconstruct(x))

def test_a_mapping_is_bit_equal_for_any_batch():
    G = generator(); x = samples(G, 30)
    mapping = InverseMappingReconstructor(G, encoder=make_encoder((5,), 4, 4), block=8)
    whole = mapping.reconstruct(x)
    assert torch.equal(whole[7:8], mapping.reconstruct(x[7:8])) and torch.equal(whole.flip(0), mapping.reconstruct(x.flip(0)))

def test_a_mapping_stores_loads_and_refuses(tmp_path):
    G, other = generator(), generator(width=8)
    x = samples(G, 64)
    mapping = InverseMappingReconstructor(G, epochs=2, network=dict(width=8), precision='float32').fit(x, progress=False)
    mapping.save(tmp_path/'m.safetensors')
    assert torch.equal(InverseMappingReconstructor(G).load(tmp_path/'m.safetensors').reconstruct(x), mapping.reconstruct(x))
    assert torch.equal(InverseMappingReconstructor(G, encoder=make_encoder((5,), 4, 8)).load(tmp_path/'m.safetensors').reconstruct(x), mapping.reconstruct(x))
    with pytest.raises(ValueError, match='another generator'): InverseMappingReconstructor(other).load(tmp_path/'m.safetensors')
    with pytest.raises(ValueError, match='does not fit'): InverseMappingReconstructor(G, network=dict(width=3)).load(tmp_path/'m.safetensors')
    data = (tmp_path/'m.safetensors').read_bytes()
    (tmp_path/'m.safetensors').write_bytes(data[:len(data)//2])
    with pytest.raises(ValueError, match='damaged'): InverseMappingReconstructor(G).load(tmp_path/'m.safetensors')

def test_a_killed_fit_goes_on_where_it_was(tmp_path):
    G = generator(); x = samples(G, 64)
    make = lambda: InverseMappingReconstructor(G, epochs=4, batch_size=16, precision='float32')
    whole = make().fit(x, progress=False)
    def kill(epoch, history):
        if epoch == 2: raise KeyError
    with pytest.raises(KeyError): make().fit(x, progress=False, checkpoint=tmp_path, every=0, callbacks=[kill])
    assert torch.equal(make().fit(x, progress=False, checkpoint=tmp_path).reconstruct(x), whole.reconstruct(x))


# ---- factory, bad input

def test_the_factory():
    G, E = generator(), make_encoder((5,), 4, 4)
    assert isinstance(make_reconstructor({}, G), InterpolationReconstructor)
    search = make_reconstructor(dict(kind='search', steps=7, epsilon=None, start='encoder'), nn.ModuleDict(dict(decoder=G, encoder=E)))
    assert search.steps == 7 and search.epsilon is None and search.encoder is E and search.generator is G
    assert isinstance(make_reconstructor(dict(kind='mapping', loss='ziz'), dict(generator=G, encoder=E)), InverseMappingReconstructor)
    config = dict(kind='mapping'); make_reconstructor(config, G); assert config == dict(kind='mapping')
    with pytest.raises(ValueError, match="Did you mean 'mapping'"): make_reconstructor(dict(kind='maping'), G)
    with pytest.raises(ValueError, match="Did you mean 'epsilon'"): make_reconstructor(dict(epsilonn=1), G)
    with pytest.raises(ValueError, match='no generator'): make_reconstructor({}, dict(encoder=E))
    with pytest.raises(ValueError, match='expected a generator'): make_reconstructor({}, None)
    with pytest.raises(TypeError): Reconstructor(G)

@pytest.mark.parametrize('settings, words', [
    (dict(steps=0), 'steps must be at least 1'), (dict(epsilon=-.1), 'epsilon must be at least 0'), (dict(draws=0), 'draws must be at least 1'), (dict(block=0), 'block must be'),
    (dict(lr=float('nan')), 'lr must be'), (dict(steps=None), 'steps must be'), (dict(feature_weight=2), 'feature_weight must lie'), (dict(feature_weight=.1), 'needs critic='), (dict(start='encoder'), 'needs encoder='),
    (dict(start='bset'), "Did you mean 'best'"), (dict(dissimilarity='L2'), 'unknown dissimilarity'), (dict(reduction='max'), 'unknown reduction')])
def test_settings_that_are_refused(settings, words):
    with pytest.raises(ValueError, match=words): InterpolationReconstructor(generator(), **settings)

@pytest.mark.parametrize('start', [torch.zeros(3), torch.zeros(2, 4), torch.zeros(3, 5), torch.full((4,), torch.nan)])
def test_starts_that_are_refused(start):
    with pytest.raises(ValueError, match='latent start'): InterpolationReconstructor(generator(), start=start).search(torch.zeros(3, 5))

@pytest.mark.parametrize('x, words', [(torch.full((3, 5), torch.nan), 'NaN'), (torch.full((3, 5), torch.inf), 'infinity'), (torch.zeros(0, 5), 'at least one'),
                                      (torch.zeros(5), 'at least one'), (torch.zeros(3, 6), r'makes samples of shape \(5,\)')])
def test_samples_that_are_refused(x, words):
    for way in (InterpolationReconstructor(generator(), steps=1), InverseMappingReconstructor(generator(), encoder=make_encoder((5,), 4, 4))):
        with pytest.raises(ValueError, match=words): way.reconstruct(x)

def test_models_that_are_refused():
    with pytest.raises(ValueError, match='give it as latent='): InterpolationReconstructor(nn.Tanh())
    with pytest.raises(ValueError, match='does not take latent vectors of length 7'): InterpolationReconstructor(generator(), latent=7).search(torch.zeros(2, 5))
    with pytest.raises(ValueError, match='no encoder yet'): InverseMappingReconstructor(generator()).reconstruct(torch.zeros(2, 5))
    with pytest.raises(ValueError, match='no encoder to save'): InverseMappingReconstructor(generator()).save('x')
    with pytest.raises(ValueError, match='unknown loss'): InverseMappingReconstructor(generator(), loss='izif')
    with pytest.raises(ValueError, match='needs critic='): InverseMappingReconstructor(generator(), loss='izi_f')

def test_a_generator_that_gives_nan_is_named():
    G = generator(norm=False)
    with torch.no_grad(): G[0].weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match='generator'): InterpolationReconstructor(G, steps=2, start=torch.zeros(4)).search(torch.zeros(2, 5))

def test_what_the_layers_say():
    assert latent_length(generator((2, 32), 4)) == 4 and default_block(generator((2, 32))) == 32 and default_block(generator((2, 32), dense=True)) == 128


# ---- devices and speed

@pytest.mark.parametrize('shape', SHAPES)
def test_one_step_of_the_search_on_the_meta_device(shape):
    G, critic = folded(generator(shape)).to('meta'), make_critic(shape, 4, 8).eval().requires_grad_(False).to('meta')
    search = InterpolationReconstructor(G, critic=critic, feature_weight=.1, block=3)
    places = Places.empty(3, int(np.prod(shape)), 8, 4, 500, 'meta')
    x = torch.empty(3, *shape, device='meta')
    places.put(slice(0, 3), x.flatten(1), critic.features(x), torch.empty(3, 4, device='meta'), .01)
    out = search.step(places, G, bias_corrections(500).to('meta'), critic.features)
    assert all(t.device.type == 'meta' for t in [*out, places.z, places.m, places.v, places.t, places.lr]) and out[0].shape == x.shape

@pytest.mark.parametrize('loss', ['izi', 'ziz', 'izi_f'])
def test_a_step_of_a_mappings_training_on_the_meta_device(loss):
    from ganad.reconstruction import MAPPING_LOSSES
    G, E, critic = generator((2, 32)).to('meta'), make_encoder((2, 32), 4, 4).to('meta'), make_critic((2, 32), 4, 8).to('meta')
    optimiser = torch.optim.Adam(E.parameters(), foreach=False, fused=False)
    x = torch.empty(4, 2, 32, device='meta')
    MAPPING_LOSSES[loss](x, torch.randn(4, 4, device='meta'), G, E, critic.features, 1.).backward()
    optimiser.step()
    assert all(p.device.type == 'meta' and p.grad is not None for p in E.parameters())

@pytest.mark.parametrize('block, calls', [(1, 64*21), (64, 21)])
def test_a_block_asks_the_generator_as_often_as_one_sample_alone(block, calls):
    "What makes it fast, counted: 20 steps and the look at where they led, once a block, for however many samples are in it"
    G, rows = generator((1, 320), latent=16, width=64, dense=True), []
    x = torch.rand(64, 1, 320, generator=torch.Generator().manual_seed(0))*2 - 1
    search = InterpolationReconstructor(G, steps=20, epsilon=None, start=torch.zeros(16), block=block)
    G.register_forward_hook(lambda net, given, made: rows.append(len(made)) if torch.is_grad_enabled() else None)
    search.search(x)
    assert rows == [block]*calls
