"Networks: any shape comes back as it went in, gradients reach every weight, a row's value does not depend on its neighbours."
import pytest
import torch

from ganad.networks import check_shape, in_blocks, init_dcgan, make_critic, make_decoder, make_encoder, plan, side_plan

SHAPES = [(1,), (6,), (121,), (1, 1), (1, 5), (2, 187), (1, 320), (12, 64), (1, 28, 28), (3, 9, 7), (3, 17, 33), (1, 1, 1), (1, 2, 40)]


@pytest.mark.parametrize('dense', [False, True])
@pytest.mark.parametrize('shape', SHAPES)
def test_every_shape_comes_back(shape, dense):
    E, G, D = make_encoder(shape, 3, 4, dense=dense), make_decoder(shape, 3, 4, dense=dense), make_critic(shape, 4, 5, dense=dense)
    x = torch.randn(4, *shape)
    z = E(x)
    assert z.shape == (4, 3) and G(z).shape == x.shape and D.features(x).shape == (4, 5) and D(x).shape == (4,)
    (G(z).square().mean() + D(G(z)).mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for net in (E, G, D) for p in net.parameters())

@pytest.mark.parametrize('shape', SHAPES)
def test_networks_follow_their_inputs_device(shape):
    E, G, D = (make(shape, *sizes).to('meta') for make, sizes in ((make_encoder, (3, 4)), (make_decoder, (3, 4)), (make_critic, (4, 5))))
    x = torch.randn(4, *shape, device='meta')
    assert G(E(x)).shape == x.shape and D(G(E(x))).device.type == 'meta'

def test_signals_and_images_are_bounded_and_rows_are_not():
    z = 100*torch.randn(50, 2)
    for shape in [(1, 32), (1, 12, 12)]: assert make_decoder(shape, 2, 4, norm=False)(z).abs().max() <= 1
    assert make_decoder((5,), 2, 4, norm=False)(z).abs().max() > 1

def test_switches():
    has = lambda net, kind: any(isinstance(m, kind) for m in net.modules())
    for shape in [(6,), (1, 32)]:
        assert has(make_encoder(shape, 2), (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d))
        assert not has(make_encoder(shape, 2, norm=False), (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d))
    assert not has(make_encoder((1, 32), 2, dense=True), torch.nn.Conv2d)
    widest = lambda **sizes: max(m.out_channels for m in make_encoder((1, 320), 2, 8, **sizes).modules() if isinstance(m, torch.nn.Conv2d))
    assert widest() == 64 and widest(most=20) == 20 and widest(depth=2) == 16

@pytest.mark.parametrize('n', range(1, 60))
def test_a_side_is_halved_and_comes_back(n):
    k, s, p, o, half = side_plan(n)
    assert half == (n//2 if n >= 4 else n) and (n + 2*p - k)//s + 1 == half and s*(half - 1) - 2*p + k + o == n

def test_depth_follows_the_longest_side():
    assert [len(plan(shape)) for shape in [(1, 5), (1, 32), (1, 320), (1, 100_000), (1, 28, 28)]] == [1, 2, 5, 5, 1]
    assert len(plan((1, 32), depth=4)) == 4

@pytest.mark.parametrize('shape', [(), (0,), (1, 0), (1, 2, 3, 4)])
@pytest.mark.parametrize('make', [check_shape, lambda s: make_encoder(s, 2), lambda s: make_decoder(s, 2), make_critic])
def test_other_shapes_are_refused(make, shape):
    with pytest.raises(ValueError, match=r'a row \(F,\), a signal \(C, L\) or an image'): make(shape)

def test_first_weights():
    torch.manual_seed(0)
    net = make_encoder((1, 64), 100, 64).apply(init_dcgan)
    for m in net.modules():
        if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear)): assert abs(m.weight.std() - .02) < .002 and not m.bias.any()
        if isinstance(m, torch.nn.BatchNorm2d): assert abs(m.weight.mean() - 1) < .02 and not m.bias.any()


# ---- blocks of one fixed shape

@pytest.mark.parametrize('shape, block', [((6,), 256), ((1, 320), 16), ((3, 9, 7), 16)])
def test_a_row_does_not_depend_on_its_neighbours(shape, block):
    torch.manual_seed(0)
    net, x = make_encoder(shape, 8).eval(), torch.randn(block*2 + 5, *shape)
    with torch.inference_mode():
        whole, order = in_blocks(net, x, block), torch.randperm(len(x))
        assert torch.equal(whole[order], in_blocks(net, x[order], block))
        for n in (1, 2, block - 1, block, block + 1): assert torch.equal(whole[:n], in_blocks(net, x[:n], block))
        assert torch.equal(whole[7:8], in_blocks(net, x[7:8], block))

def test_blocks_have_one_shape():
    seen = []
    def fn(rows): seen.append(tuple(rows.shape)); return rows.sum(1), rows
    total, rows = in_blocks(fn, torch.arange(30.).view(10, 3), 4)
    assert seen == [(4, 3)]*3 and torch.equal(rows, torch.arange(30.).view(10, 3)) and torch.equal(total, rows.sum(1))

@pytest.mark.parametrize('n_in, n_out', [(1024, 11), (121, 6), (33, 2), (5, 4)])
def test_a_narrow_layer_does_not_mind_where_in_its_block_a_row_stands(n_in, n_out):
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(n_in, n_out), torch.randn(16, n_in)
    with torch.no_grad(): assert all(torch.equal(layer(x.roll(k, 0)), layer(x).roll(k, 0)) for k in range(1, 16))
