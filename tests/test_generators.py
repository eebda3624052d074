"The DCGAN and the recurrent GAN as AnoGAN's networks; what is measured of made samples"
import numpy as np, pytest, torch
from torch import nn

from ganad.detector import load_detector, make_detector
from ganad.experiment import Sine
from ganad.generators import DCGAN, LSTMGAN, LSTMCritic, LSTMGenerator, draw, embed, latent_walk, made_samples, mmd2, mmd_test, train_on_synthetic
from ganad.reconstruction import make_reconstructor

SHAPES = [(6,), (1, 1), (1, 32), (2, 61), (1, 320), (3, 9, 7), (1, 28, 28)]
NAMES = ['dcgan', 'lstmgan']

def waves(n=60): return (Sine(n=n, length=32, share=.01).load().x/1.5).clip(-1, 1)

@pytest.fixture(scope='module', params=NAMES)
def fitted(request): return make_detector(request.param, epochs=3, batch_size=16, steps=5, calibration=8, device='cpu').fit(waves())

@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_shapes_in_and_out(name, shape):
    detector = make_detector(name)
    networks = detector._build(shape)
    made = networks['generator'](torch.randn(4, detector._latent(shape)))
    assert made.shape == (4, *shape) and networks['critic'](made).shape == (4,) and networks['critic'].features(made).shape == (4, 64)
    if len(shape) > 1: assert made.abs().max() <= 1

def test_the_recipe_of_dcgan():
    networks = DCGAN(width=32, most=256)._build((1, 64))
    convs = [m.weight.flatten() for net in networks.values() for m in net.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert abs(torch.cat(convs).std() - .02) < 1e-3
    slopes = {name: {m.negative_slope for m in net.modules() if isinstance(m, nn.LeakyReLU)} for name, net in networks.items()}
    assert slopes == dict(generator={0.}, critic={.2})
    params = DCGAN().get_params()
    assert (params['lr'], params['latent'], params['penalty'], params['average'], DCGAN.betas[0]) == (2e-4, 100, 0., 0., .5)

@pytest.mark.parametrize('shape', [(1, 32), (3, 8, 5), (12,)], ids=str)
def test_a_recurrent_generator_draws_in_order(shape):
    "What is drawn first does not depend on how long the series becomes; what is read last changes no earlier state"
    generator = LSTMGenerator(shape, 4, 8, 4)
    z, half = torch.randn(3, 4), (*shape[:-1], shape[-1]//2) if len(shape) < 3 else (shape[0], shape[1]//2, shape[2])
    short = LSTMGenerator(half, 4, 8, 4)
    state = generator.state_dict()
    short.load_state_dict(state | dict(clock=state['clock'][:len(short.clock)]))
    whole, part = generator(z), short(z)
    whole = whole[:, :, :half[1]] if len(shape) == 3 else whole[..., :half[-1]]
    torch.testing.assert_close(whole, part)

def test_a_recurrent_critic_hears_every_value():
    critic, x = LSTMCritic((2, 13), 8, 5, 4), torch.randn(1, 2, 13, requires_grad=True)
    critic(x).sum().backward()
    assert (x.grad != 0).all()

def test_a_search_finds_what_the_generator_made(fitted):
    x = torch.as_tensor(made_samples(fitted, 6, seed=3))
    search = make_reconstructor(dict(kind='search', steps=150, lr=.05, lr_threshold=None, epsilon=None, draws=64), fitted)
    near, far = search.search(x).loss, (x - x.roll(1, 0)).abs().flatten(1).mean(1)
    assert near.mean() < .5*far.mean() + 1e-4

def test_a_mapping_is_learned_for_both(fitted):
    mapping = make_reconstructor(dict(kind='mapping', loss='ziz', epochs=2), fitted, encoder=None).fit(torch.as_tensor(waves()), progress=False)
    assert mapping.reconstruct(torch.as_tensor(waves(8))).shape == (8, 1, 32)

def test_saved_and_loaded(fitted, tmp_path):
    fitted.save(tmp_path)
    assert np.array_equal(load_detector(tmp_path).anomaly_score(waves(8)), fitted.anomaly_score(waves(8)))

def test_made_samples_and_walks(fitted):
    made = made_samples(fitted, 10, seed=1)
    assert made.shape == (10, 1, 32) and np.array_equal(made, made_samples(fitted, 10, seed=1)) and not np.array_equal(made, made_samples(fitted, 10, seed=2))
    walk = latent_walk(fitted, 5, seed=1)
    z = torch.randn(2, fitted._latent((1, 32)), generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(walk[[0, -1]], draw(fitted, z), rtol=1e-4, atol=1e-5)

def test_no_generator():
    with pytest.raises(ValueError, match='no generator'): made_samples(make_detector('pca').fit(np.random.default_rng(0).normal(size=(20, 3))), 3)

def test_mmd_by_its_definition():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(1, 1, size=(5, 3))
    k = lambda a, b: np.exp(-((a - b)**2).sum()/(2*1.3**2))
    within = lambda a: np.mean([k(a[i], a[j]) for i in range(len(a)) for j in range(len(a)) if i != j])
    assert abs(mmd2(x, y, width=1.3) - (within(x) + within(y) - 2*np.mean([k(a, b) for a in x for b in y]))) < 1e-12
    assert abs(mmd2(x, y) - mmd_test(x, y, draws=2)[0]) < 1e-12

def test_mmd_of_equal_and_of_unequal_sets():
    rng = np.random.default_rng(1)
    a, b, c = rng.normal(size=(60, 4)), rng.normal(size=(60, 4)), rng.normal(1, 1, size=(60, 4))
    assert mmd_test(a, b)[1] > .05 and mmd_test(a, c)[1] < .01 and mmd_test(a, c) == mmd_test(a, c)
    shares = [mmd_test(*rng.normal(size=(2, 30, 2)), draws=39)[1] <= .1 for _ in range(60)]
    assert np.mean(shares) < .25        # a tenth on average

@pytest.mark.parametrize('x, y', [(np.zeros((1, 3)), np.zeros((5, 3))), (np.zeros((5, 3)), np.zeros((5, 4)))])
def test_mmd_refuses(x, y):
    with pytest.raises(ValueError, match='two or more'): mmd2(x, y)

def test_train_on_synthetic_test_on_real():
    rng = np.random.default_rng(0)
    real, x_test, y_test = rng.normal(size=(200, 3)), np.r_[rng.normal(size=(100, 3)), rng.normal(4, 1, size=(50, 3))], np.repeat([0, 1], [100, 50])
    table = train_on_synthetic(rng.normal(size=(200, 3)), real, x_test, y_test)
    assert list(table.index) == ['made', 'real'] and (table.AUROC > .98).all()
    assert train_on_synthetic(rng.normal(4, 1, size=(200, 3)), real, x_test, y_test).AUROC['made'] < .1

def test_embeddings():
    x = np.r_[np.random.default_rng(0).normal(size=(40, 1, 8)), np.random.default_rng(1).normal(6, 1, size=(40, 1, 8))]
    for how in ('pca', 'tsne'):
        p = embed(x, how)
        assert p.shape == (80, 2)
        assert np.linalg.norm(p[:40].mean(0) - p[40:].mean(0)) > 2*p[:40].std()
    with pytest.raises(ValueError, match="Did you mean 'tsne'"): embed(x, 'tsn')
