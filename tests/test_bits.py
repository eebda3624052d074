"The same to the last bit in every place of a block: each layer and each function that a score is made of, here and with the instructions of other processors."
import functools, os, subprocess, sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ganad.detector import detector_names, make_detector
from ganad.methods.rsrae import length
from ganad.methods.vaegan import kl_normal, mean_square
from ganad.networks import LSTM, AsImage, make_decoder, make_encoder, places_that_differ
from ganad.reconstruction import DISSIMILARITIES, adam_step, bias_corrections
from test_detector import NEURAL, SHAPES, quick, samples

BLOCKS = (16, 32, 64, 128, 256, 1024)       # all that detectors use

def with_gradient(fn):
    "What `fn` gives and its gradient, as a search of the latent space asks for both"
    def both(x):
        x = x.detach().requires_grad_()
        out = fn(x)
        weights = torch.linspace(1, 2, out[:1].numel()).view(out[:1].shape)
        return out.detach(), *torch.autograd.grad((out*weights).sum(), x)
    return both

def alike(fn, shape, block, rows=3):
    "No place of a block differs: without gradients, and, where there is one, with it"
    torch.manual_seed(0)
    for _ in range(rows):
        row = torch.randn(shape)
        with torch.no_grad(): assert places_that_differ(fn, row, block) == []
        if fn(row[None].clone().requires_grad_()).requires_grad: assert places_that_differ(with_gradient(fn), row, block) == []

def test_the_check_finds_a_place():
    "The last place sees one number changed by one bit"
    def fn(x): x = x.clone(); x[-1, 0] = torch.nextafter(x[-1, 0], x.new_tensor(9.)); return x
    assert places_that_differ(fn, torch.ones(3), 5) == [4] and places_that_differ(lambda x: (x, fn(x)), torch.ones(3), 5) == [4]
    assert places_that_differ(lambda x: x + 1, torch.ones(3), 5) == []


# ---- the layers of the detectors, in the shapes in which scores need them

@functools.cache
def layers(kind):
    "Every layer of every trained detector, with the shapes of the blocks that it meets in scoring"
    found = {}
    for name in NEURAL:
        detector = quick(name, epochs=1, **({'steps': 1} if 'steps' in make_detector(name).get_params() else {})).fit(samples(kind, 8))
        def note(layer, given):
            x, = given
            if len(x) not in BLOCKS: return         # two zeros, to see a generator's shape
            last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
            found.setdefault((str(layer), tuple(x.shape), last), layer)
        for layer in detector.networks_.modules():
            if not list(layer.children()): layer.register_forward_pre_hook(note)
        detector.anomaly_score(samples(kind, 2))
        detector.reconstruct(samples(kind, 2))
    for layer in found.values(): layer._forward_pre_hooks.clear()
    return found

@pytest.mark.parametrize('kind', SHAPES)
def test_every_layer_gives_the_same_in_every_place(kind):
    kinds, blocks = set(), set()
    for (text, (block, *shape), last), layer in layers(kind).items():
        def fn(x):
            out = layer(x.contiguous(memory_format=torch.channels_last) if last else x)
            return out[0] if isinstance(out, tuple) else out
        try: alike(fn, shape, block, rows=1)
        except AssertionError as e: raise AssertionError(f'{text} on {block} rows of {tuple(shape)}: {e}') from None
        kinds.add(type(layer)); blocks.add(block)
    wanted = {nn.Linear, nn.LeakyReLU, LSTM} | ({nn.Conv2d, nn.ConvTranspose2d, nn.Tanh, AsImage} if len(SHAPES[kind]) == 3 else set())
    assert wanted <= kinds and max(blocks) > 1

ODD = {'narrow': (1024, 11), 'wide': (121, 64), 'odd': (13, 7), 'one': (5, 1)}
LAYERS = {f'linear {k}': (nn.Linear(*v), v[:1]) for k, v in ODD.items()}
LAYERS |= {f'lstm {n}, {units}': (LSTM(n, units), (steps, n)) for n, units, steps in ((8, 64, 6), (3, 13, 4), (8, 1, 3))}
LAYERS |= {f'{net.__name__[5:]} of {shape}, {"with" if norm else "without"} norm': (net(shape, 5, 4, norm=norm), shape if net is make_encoder else (5,))
           for net in (make_encoder, make_decoder) for shape in ((13,), (1, 33), (3, 9, 7)) for norm in (True, False)}
LAYERS |= {'batch norm': (nn.BatchNorm1d(13), (13,)), 'batch norm of images': (nn.BatchNorm2d(5), (5, 3, 7))}

@pytest.mark.parametrize('block', BLOCKS)
@pytest.mark.parametrize('name', LAYERS)
def test_layers_of_odd_sizes(name, block):
    torch.manual_seed(1)
    layer, shape = LAYERS[name]
    for m in layer.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            for values, low in ((m.running_mean, -1), (m.running_var, .5), (m.weight.data, .5), (m.bias.data, -1)): values.uniform_(low, 2)
    layer.eval().requires_grad_(False)
    alike(lambda x: layer(x)[0] if isinstance(layer, LSTM) else layer(x), shape, block)


# ---- functions

def adam(x):
    "Three steps of a search's Adam"
    z, m, v, corrections = x.detach().clone(), torch.zeros_like(x), torch.zeros_like(x), bias_corrections(5)
    for t in range(3): adam_step(z, z.sin(), m, v, torch.full((len(x),), t), torch.full((len(x),), .05), corrections)
    return z

def nearest(x): return (x.square().sum(1, keepdim=True) - 2*x @ torch.linspace(-1, 1, 77*x.shape[1]).view(-1, x.shape[1]).T).sort(1).values

FUNCTIONS = dict(
    tanh=torch.tanh, exp=torch.exp, log=lambda x: x.abs().log(), sqrt=lambda x: x.abs().sqrt(), square=torch.square, leaky_relu=lambda x: nn.functional.leaky_relu(x, .2),
    clamp=lambda x: x.clamp(-1, 1), softplus_of_one_number=lambda x: nn.functional.softplus(x.sum(1)), sum_of_sizes=lambda x: x.abs().sum(1), norm=lambda x: torch.linalg.vector_norm(x, dim=1),
    mean_square=lambda x: mean_square(x, x.tanh()), kl=lambda x: kl_normal(x, x.tanh()).sum(1), length=lambda x: length(x)[0], adam=adam, nearest=nearest,
    distances=lambda x: torch.cdist(x, torch.linspace(-1, 1, 77*x.shape[1]).view(-1, x.shape[1])),
    **{k: lambda x, fn=fn: fn(x, x.roll(1, 1).tanh()) for k, fn in DISSIMILARITIES.items()})

@pytest.mark.parametrize('block', BLOCKS)
@pytest.mark.parametrize('name', FUNCTIONS)
def test_functions_of_odd_sizes(name, block):
    for n in (1, 6, 13, 121): alike(FUNCTIONS[name], (n,), block)


# ---- detectors

@pytest.mark.parametrize('kind', ['table', 'signal', 'colour image'])
@pytest.mark.parametrize('name', detector_names())
def test_a_score_is_the_same_in_every_place(name, kind):
    detector = quick(name, **{k: v for k, v in dict(epochs=1, steps=3).items() if k in make_detector(name).get_params()}).fit(samples(kind, 8))
    both = lambda x: (torch.as_tensor(detector.anomaly_score(x)), torch.as_tensor(detector.reconstruct(x)))
    for row in torch.as_tensor(samples(kind, 3, seed=1)): assert places_that_differ(both, row, detector.blocks[row.dim()]) == []


# ---- other processors

SETS = { # what the processor must have, and what torch, MKL and oneDNN may use of it; one that has AVX-512 uses it in all other tests
    'SSE': ('sse4_2', 'default', 'SSE4_2', 'SSE41'),
    'AVX2': ('avx2', 'avx2', 'AVX2', 'AVX2')}
CPU = Path('/proc/cpuinfo')
CHECKS = 'every_place or odd_sizes or (depend_on_the_batch or training_scores_are) and (signal or colour) and not pca and not knn'

@pytest.mark.parametrize('name', SETS)
def test_with_the_instructions_of_another_processor(name):
    flag, *most = SETS[name]
    if not CPU.is_file() or flag not in CPU.read_text().split(): pytest.skip(f'{name}: this processor does not have it')
    limits = dict(zip(('ATEN_CPU_CAPABILITY', 'MKL_ENABLE_INSTRUCTIONS', 'ONEDNN_MAX_CPU_ISA'), most))
    if all(os.environ.get(k) == v for k, v in limits.items()): pytest.skip(f'{name}: all tests run with it')
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--tb=short', here/'test_bits.py', here/'test_detector.py', '-k', CHECKS],
                          env=os.environ | limits, cwd=here.parent, capture_output=True, text=True)
    assert done.returncode == 0 and ' passed' in done.stdout and ' failed' not in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]
