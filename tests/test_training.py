"Training: players keep to their own weights, a killed run ends as one that was not, Ctrl-C keeps the networks, several processes are as one."
import json, math, os, signal, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from ganad import settings as settings_module
from ganad.networks import init_dcgan, make_critic, make_decoder
from ganad.training import (Dropout, Player, RandomStream, WeightAverage, bce, digest, epoch_order, pick_device, rand, randn, randn_like, read_tensors, take_turn, train,
                            write_tensors)

CPU = dict(device='cpu', precision='float32', progress=False)
table = lambda n=64, seed=0: torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))


def gan(seed=1, shape=(5,)):
    "A critic and a generator"
    torch.manual_seed(seed)
    G, D = make_decoder(shape, 2, 4), make_critic(shape, 4, 8)
    noise = lambda x: torch.randn(len(x), 2, device=x.device)
    return [Player('critic', [D], lambda x: bce(D(x), 1) + bce(D(G(noise(x)).detach()), 0)), Player('generator', [G], lambda x: bce(D(G(noise(x))), 1))]

def line(seed=1, **kwargs):
    "One player with a loss that needs no luck"
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 5))
    return Player('line', [net], lambda x: (x - net(x)).square().mean(), **kwargs)

def state(*players): return {f'{p.name}/{i}/{k}': v.clone() for p in players for i, m in enumerate(p.modules) for k, v in m.state_dict().items()}
def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
def rows(history): return [{k: v for k, v in r.items() if k != 'seconds'} for r in history.rows]
def python(script, *args, timeout=900, **env):
    "Runs a script in a process of its own; its output"
    done = subprocess.run([sys.executable, '-c', script, *map(str, args)], capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, 'OMP_NUM_THREADS': '1', **env})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- turns

@pytest.mark.parametrize('shape', [(5,), (1, 32), (1, 12, 12)])
@pytest.mark.parametrize('who', [0, 1])
def test_players_leave_one_anothers_weights_alone(shape, who):
    players = gan(shape=shape)
    before = [[p.detach().clone() for p in player.params] for player in players]
    take_turn(players[who], torch.randn(8, *shape))
    moved = [[not torch.equal(a, b) for a, b in zip(then, player.params)] for then, player in zip(before, players)]
    assert any(moved[who]) and not any(moved[1 - who])
    assert all(p.grad is None for p in players[1 - who].params)

def test_a_turn_is_one_step_of_the_optimiser():
    ours, theirs = line(lr=.1, optimizer=None), line()
    optimiser = torch.optim.Adam(theirs.params, lr=.1)
    for batch in table().split(16):
        loss = take_turn(ours, batch)
        optimiser.zero_grad(); wanted = theirs.loss(batch); wanted.backward(); optimiser.step()
        assert torch.equal(loss, wanted.detach()) and not loss.requires_grad
    assert same(state(ours), state(theirs))

def test_every_and_schedule_and_weight_decay():
    lrs, calls = [], []
    slow = line(every=3, lr=.5, schedule=lambda step, steps: 1 - step/steps)
    loss = slow.loss
    slow.loss = lambda x: (lrs.append(slow.optimizer.param_groups[0]['lr']), loss(x))[1]
    quick = line(weight_decay=.1)
    quick.name, other = 'quick', quick.loss
    quick.loss = lambda x: (calls.append(len(x)), other(x))[1]
    history = train([quick, slow], table(), epochs=3, batch_size=16, **CPU)
    assert calls == [16]*12 and lrs == pytest.approx([.5*(1 - step/12) for step in (2, 5, 8, 11)])
    assert isinstance(quick.optimizer, torch.optim.AdamW) and type(slow.optimizer) is torch.optim.Adam
    assert all(set(r) == {'epoch', 'steps', 'seconds', 'line', 'quick'} for r in history.rows)

def test_an_epoch_in_which_a_player_never_plays():
    rare = line(every=5)
    history = train([rare], table(), epochs=3, batch_size=32, **CPU)
    assert [r['line'] is None for r in history.rows] == [True, True, False]

def neural_names():
    from ganad.detector import NeuralDetector, _class_of, detector_names
    return [n for n in detector_names() if issubclass(_class_of(n), NeuralDetector)]

@pytest.mark.parametrize('shape', [(6,), (1, 32), (3, 9, 7)])
@pytest.mark.parametrize('name', neural_names())
def test_no_tensor_of_a_method_is_left_on_the_cpu(name, shape):
    from ganad.detector import make_detector
    detector = make_detector(name)
    detector.sample_shape_ = shape
    networks = nn.ModuleDict(detector._build(shape)).to('meta')
    for player in detector._players(networks):
        assert take_turn(player, torch.randn(4, *shape, device='meta')).device.type == 'meta'
    networks.eval()
    detector.networks_ = networks
    if hasattr(detector, '_score'): assert detector._score(torch.randn(4, *shape, device='meta')).shape == (4,)   # a search: test_reconstruction


# ---- the loop

def test_epoch_order():
    order = epoch_order(50, 3, 4)
    assert torch.equal(order.sort().values, torch.arange(50)) and torch.equal(order, epoch_order(50, 3, 4))
    others = [epoch_order(50, s, e) for s, e in [(3, 5), (4, 4), (4, 3), (0, 0)]]
    assert not any(torch.equal(order, o) for o in others)
    torch.manual_seed(0); a = torch.rand(1)
    torch.manual_seed(0); epoch_order(50, 3, 4)
    assert torch.equal(torch.rand(1), a)

def test_what_is_dealt():
    dealt = []
    player = line(); loss = player.loss
    player.loss = lambda batch: (dealt.append(batch), loss(batch[0]))[1]
    x, number = table(50), torch.arange(50)
    train([player], (x, number), epochs=2, batch_size=16, seed=9, **CPU)
    assert [len(n) for _, n in dealt] == [16]*6                     # what fills no batch waits
    for epoch in range(2): assert torch.equal(torch.cat([n for _, n in dealt[3*epoch:3*epoch + 3]]), epoch_order(50, 9, epoch)[:48])
    assert all(torch.equal(rows, x[n]) for rows, n in dealt)

def test_a_batch_shrinks_to_what_is_there():
    seen = []
    player = line(); loss = player.loss
    player.loss = lambda x: (seen.append(len(x)), loss(x))[1]
    assert len(train([player], table(3), epochs=2, batch_size=64, **CPU)) == 2 and seen == [3, 3]

def test_seed_repeats_and_another_differs():
    runs = []
    for seed in (5, 5, 6):
        torch.manual_seed(len(runs))            # what was drawn before must not matter
        players = gan()
        torch.rand(len(runs))
        history = train(players, table(), epochs=3, batch_size=16, seed=seed, **CPU)
        runs.append((state(*players), rows(history)))
    assert same(runs[0][0], runs[1][0]) and runs[0][1] == runs[1][1]
    assert not same(runs[0][0], runs[2][0]) and runs[0][1] != runs[2][1]

def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(0); wanted = torch.rand(3)
    players = gan()
    torch.manual_seed(0); train(players, table(), epochs=1, **CPU)
    assert torch.equal(torch.rand(3), wanted)

def test_networks_are_put_into_training_mode():
    players = gan()
    for p in players: p.modules[0].eval()
    train(players, table(), epochs=1, **CPU)
    assert all(p.modules[0].training for p in players)

def test_callbacks():
    seen = []
    def note(epoch, history):
        seen.append((epoch, len(history)))
        return dict(twice=2*epoch)
    history = train([line()], table(), epochs=9, callbacks=[note, lambda epoch, history: epoch == 3, lambda epoch, history: {'after': 1}], **CPU)
    assert seen == [(1, 1), (2, 2), (3, 3)] and history.interrupted
    assert list(history.frame().twice) == [2, 4, 6] and list(history.frame().after) == [1, 1, 1]
    assert list(history.frame().steps) == [1, 2, 3] and list(history.frame().epoch) == [1, 2, 3]

def test_a_callbacks_numbers_may_be_numpys(tmp_path):
    numbers = lambda epoch, history: dict(a=np.float32(.5), b=np.int64(3), c=torch.tensor(2.), d=np.arange(2))
    train([line()], table(), epochs=2, callbacks=[numbers], checkpoint=tmp_path, **CPU)
    again = train([line()], table(), epochs=2, callbacks=[numbers], checkpoint=tmp_path, **CPU)
    assert [r['a'] for r in again.rows] == [.5, .5] and [r['b'] for r in again.rows] == [3, 3]

def test_losses_of_the_history_are_means_of_the_epoch():
    player, losses = line(), []
    loss = player.loss
    def noted(x):
        out = loss(x); losses.append(out.item()); return out
    player.loss = noted
    history = train([player], table(), epochs=2, batch_size=16, **CPU)
    np.testing.assert_allclose([r['line'] for r in history.rows], np.reshape(losses, (2, 4)).mean(1), rtol=1e-6)
    assert not history.interrupted and math.isfinite(history.rows[-1]['seconds'])

@pytest.mark.parametrize('kwargs, words', [(dict(x=table(0)), 'got 0 rows'), (dict(epochs=0), '0 epochs'), (dict(batch_size=0), '0 a batch'),
                                           (dict(device='cudda'), "Did you mean 'cuda'"), (dict(precision='float'), 'Known: bf16, float32')])
def test_a_wrong_call_is_refused(kwargs, words):
    player = line()
    before = state(player)
    with pytest.raises(ValueError, match=words): train([player], **{'x': table(), 'epochs': 1, **CPU, **kwargs})
    assert same(before, state(player))

def test_two_players_of_one_name_are_refused():
    with pytest.raises(ValueError, match="'line'.*name of its own"): train([line(1), line(2)], table(), epochs=1, **CPU)

def test_a_loss_that_is_no_number_is_said(tmp_path):
    player = line(); loss = player.loss
    player.loss = lambda x: loss(x) * float('nan' if player.optimizer.state else 1)
    with pytest.raises(FloatingPointError, match='loss of the line became nan in epoch 1; a smaller learning rate'):
        train([player], table(), epochs=3, batch_size=16, checkpoint=tmp_path, **CPU)
    assert not list(tmp_path.iterdir())         # a run gone astray is not kept

def test_pick_device():
    assert pick_device('cpu') == pick_device(torch.device('cpu')) == torch.device('cpu')
    assert pick_device('auto').type in ('cpu', 'cuda', 'mps')
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA GPU; use 'auto' or 'cpu'"): pick_device('cuda:1')

def without_gpus(monkeypatch, n=0):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: n > 0)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: n)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: False)

ABSENT = [('cuda', "the device 'cuda' was asked for, but torch sees no CUDA GPU; use 'auto' or 'cpu'"), ('cuda:7', "'cuda:7' was asked for, but torch sees no CUDA GPU"), ('mps', "'mps' was asked for, but torch sees no Apple GPU; use"),
          ('xla', "'xla' was asked for, but torch cannot use it here; use"), ('meta', "'meta' was asked for, but it keeps no numbers"), ('gpu', "unknown device 'gpu'. Did you mean 'cpu'"), ('', "unknown device ''"), (3.5, 'unknown device 3.5')]

@pytest.mark.parametrize('device, words', ABSENT)
def test_a_device_that_is_not_there(device, words, monkeypatch):
    without_gpus(monkeypatch)
    with pytest.raises(ValueError, match=words) as e: pick_device(device)
    assert 'GANAD_DEVICE' not in str(e.value)
    with pytest.raises(ValueError, match=words): train([line()], table(), epochs=1, device=device)
    if device not in ('gpu', '', 3.5):
        with pytest.raises(ValueError, match=words): pick_device(torch.device(device))
    if not device or not isinstance(device, str): return
    monkeypatch.setenv('GANAD_DEVICE', device)
    with pytest.raises(ValueError, match=f'{words}.*; GANAD_DEVICE or settings.ini names it'): pick_device()

def test_a_gpu_beyond_the_last(monkeypatch):
    without_gpus(monkeypatch, n=2)
    assert pick_device('cuda:1') == torch.device('cuda:1')
    with pytest.raises(ValueError, match="'cuda:7' was asked for, but torch sees no more than cuda:0, cuda:1; use 'auto' or 'cpu'"): pick_device('cuda:7')

@pytest.mark.parametrize('seed', [None, -1, 2**63, 1.5, '3', True, [1]])
def test_a_seed_that_is_none(seed):
    with pytest.raises(ValueError, match=r'seed must be a whole number from 0 to 9223372036854775807, got'): train([line()], table(), epochs=1, seed=seed, **CPU)

def test_seeds_of_numpy_and_the_largest(tmp_path):
    weights = []
    for seed in (3, np.int64(3), np.uint8(3)):
        player = line()
        train([player], table(), epochs=2, batch_size=16, seed=seed, checkpoint=tmp_path/str(type(seed)), **CPU)
        weights.append(state(player))
    assert same(weights[0], weights[1]) and same(weights[0], weights[2])
    assert len(train([line()], table(), epochs=2, batch_size=16, seed=2**63 - 1, **CPU)) == 2
    assert sorted(epoch_order(9, 2**63 - 1, 4).tolist()) == list(range(9))

@pytest.mark.parametrize('wrong, words', [(dict(epochs=2.5), 'epochs must be a whole number, got 2.5'), (dict(epochs='3'), "epochs must be a whole number, got '3'"), (dict(batch_size=None), 'batch_size must be a whole number, got None'), (dict(epochs=True), 'epochs must')])
def test_numbers_that_are_not_whole(wrong, words):
    with pytest.raises(ValueError, match=words): train([line()], table(), **{'epochs': 1, **wrong}, **CPU)

@pytest.mark.parametrize('x, batch', [(table(64), 1), (table(1), 64)])
def test_a_batch_of_one_and_batch_normalisation(x, batch):
    net = torch.nn.Sequential(torch.nn.Linear(5, 5), torch.nn.BatchNorm1d(5))
    player = Player('net', [net], lambda x: net(x).square().mean())
    with pytest.raises(ValueError, match='batch normalisation needs at least 2 samples in a batch, got 1; take a larger batch_size, or more training samples') as e: train([player], x, epochs=1, batch_size=batch, **CPU)
    assert e.value.__suppress_context__
    assert len(train([player], table(5), epochs=1, batch_size=2, **CPU)) == 1     # the fifth row waits, and is no batch of one

@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_gradients_switched_off_around_a_training(mode):
    wanted, player = line(), line()
    train([wanted], table(), epochs=2, batch_size=16, **CPU)
    with mode(): train([player], table() * 1, epochs=2, batch_size=16, **CPU)
    assert same(state(player), state(wanted))

def test_networks_made_where_nothing_can_learn():
    with torch.inference_mode(): player = line()
    with pytest.raises(ValueError, match=r"the networks of 'line' were made under torch.inference_mode\(\) and cannot learn; make them outside of it"): train([player], table(), epochs=1, **CPU)

def test_weight_average():
    player = line()
    average, wanted = WeightAverage(player.modules[0], decay=.9), None
    for batch in table().split(16):
        take_turn(player, batch); average.update()
        now = [p.detach().clone() for p in player.params]
        wanted = now if wanted is None else [.9*w + .1*n for w, n in zip(wanted, now)]
    for w, p in zip(wanted, average.module.parameters()): torch.testing.assert_close(p, w, rtol=1e-6, atol=1e-7)
    assert not any('source' in k for k in average.state_dict())

def test_the_average_has_the_networks_buffers():
    players = gan()
    average = WeightAverage(players[1].modules[0], decay=.9)
    train(players, table(), epochs=2, batch_size=16, averages=[average], **CPU)
    for a, b in zip(average.module.buffers(), players[1].modules[0].buffers()): assert torch.equal(a, b)


# ---- stopped by hand

@pytest.mark.parametrize('where', ['loss', 'callback', 'signal'])
def test_ctrl_c_keeps_the_networks(where, capsys):
    player, calls = line(), []
    loss = player.loss
    def stop():
        if where == 'signal': signal.raise_signal(signal.SIGINT)
        raise KeyboardInterrupt
    def counted(x):
        calls.append(1)
        if where != 'callback' and len(calls) == 11: stop()
        return loss(x)
    player.loss = counted
    history = train([player], table(), epochs=9, batch_size=16, callbacks=[lambda e, h: stop() if where == 'callback' and e == 2 else None], **CPU)
    assert history.interrupted and len(history) == 2 and 'networks stay as they are' in capsys.readouterr().out
    wanted = line()
    train([wanted], table(), epochs=2, batch_size=16, **CPU)
    if where == 'callback': assert same(state(player), state(wanted))
    else: assert not same(state(player), state(wanted)) and player.optimizer.state_dict()['state'][0]['step'] == 10

def test_a_run_stopped_by_hand_goes_on(tmp_path):
    whole, parts = line(), line()
    wanted = train([whole], table(), epochs=5, batch_size=16, **CPU)
    def stop(epoch, history):
        if epoch == 3: raise KeyboardInterrupt
    assert train([parts], table(), epochs=5, batch_size=16, callbacks=[stop], checkpoint=tmp_path, every=0, **CPU).interrupted
    parts = line(seed=8)
    history = train([parts], table(), epochs=5, batch_size=16, checkpoint=tmp_path, **CPU)
    assert same(state(parts), state(whole)) and rows(history) == rows(wanted) and not history.interrupted

def test_a_run_stopped_by_a_callback_is_not_continued(tmp_path):
    player, calls = line(), []
    stop = lambda epoch, history: epoch == 2
    train([player], table(), epochs=5, callbacks=[stop], checkpoint=tmp_path, **CPU)
    again = line(seed=8)
    history = train([again], table(), epochs=5, callbacks=[lambda e, h: calls.append(e)], checkpoint=tmp_path, **CPU)
    assert same(state(again), state(player)) and history.interrupted and len(history) == 2 and not calls

def test_a_finished_run_is_not_repeated(tmp_path):
    player = line()
    first = train([player], table(), epochs=2, checkpoint=tmp_path, **CPU)
    again = line(seed=8)
    again.loss = None
    assert rows(train([again], table(), epochs=2, checkpoint=tmp_path, **CPU)) == rows(first) and same(state(again), state(player))


# ---- checkpoints

def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train([line()], table(), epochs=1, every=0, **CPU)
    assert not list(tmp_path.iterdir())

def test_a_checkpoint_is_safetensors(tmp_path):
    train(gan(), table(), epochs=1, batch_size=16, checkpoint=tmp_path/'run', **CPU)
    assert [f.name for f in (tmp_path/'run').iterdir()] == ['checkpoint.safetensors']
    raw = (tmp_path/'run/checkpoint.safetensors').read_bytes()
    header = json.loads(raw[8:8 + int.from_bytes(raw[:8], 'little')])
    assert json.loads(header['__metadata__']['info'])['place']['step'] == 4 and len(header) > 10

@pytest.mark.parametrize('change, words', [
    (dict(seed=1), 'seed'), (dict(batch_size=8), 'batch_size'), (dict(epochs=4), 'epochs'), (dict(x=table(63)), 'rows'), (dict(x=table(seed=9)), 'data')])
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, words):
    call = dict(x=table(), epochs=2, batch_size=16, seed=0, checkpoint=tmp_path/'run', **CPU)
    train([line()], **call)
    kept = (tmp_path/'run/checkpoint.safetensors').read_bytes()
    player = line(seed=8)
    before = state(player)
    with pytest.raises(ValueError, match=f"'run' belongs to another run .*{words}.*delete it to start again"): train([player], **{**call, **change})
    assert same(state(player), before) and (tmp_path/'run/checkpoint.safetensors').read_bytes() == kept

def test_a_checkpoint_of_other_networks_is_refused(tmp_path):
    train([line()], table(), epochs=2, checkpoint=tmp_path, **CPU)
    with pytest.raises(ValueError, match='networks'): train(gan(), table(), epochs=2, checkpoint=tmp_path, **CPU)

def test_a_damaged_checkpoint_is_refused(tmp_path):
    train([line()], table(), epochs=2, checkpoint=tmp_path, **CPU)
    file = tmp_path/'checkpoint.safetensors'
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match='checkpoint.safetensors is damaged, cut short'): train([line()], table(), epochs=2, checkpoint=tmp_path, **CPU)

def test_an_optimiser_comes_back_as_it_lay_in_memory(tmp_path):
    "Convolutions lie channels last; a state in another layout would be slower, and on a GPU summed by other code"
    call = dict(x=torch.randn(16, 1, 32), epochs=1, checkpoint=tmp_path, **CPU)
    train(one := gan(shape=(1, 32)), **call)
    train(two := gan(shape=(1, 32)), **call)
    for a, b in zip(one, two):
        for p, q in zip(a.params, b.params):
            assert all(v.stride() == b.optimizer.state[q][k].stride() and torch.equal(v, b.optimizer.state[q][k]) for k, v in a.optimizer.state[p].items())

@pytest.mark.parametrize('broken', ['replace', 'fsync'])
def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch, broken):
    player, calls = line(), []
    whole = line()
    train([whole], table(), epochs=4, batch_size=16, **CPU)
    real = getattr(os, broken)
    def fails(*args):
        calls.append(1)
        if len(calls) == 6: raise OSError('no space left')
        return real(*args)
    with monkeypatch.context() as m:
        m.setattr(settings_module.os, broken, fails)
        with pytest.raises(OSError, match='no space left'): train([player], table(), epochs=4, batch_size=16, checkpoint=tmp_path, every=0, **CPU)
    assert [f.name for f in tmp_path.iterdir()] == ['checkpoint.safetensors'] and read_tensors(tmp_path/'checkpoint.safetensors')[1]['place']['step'] == 5
    again = line(seed=8)
    train([again], table(), epochs=4, batch_size=16, checkpoint=tmp_path, **CPU)
    assert same(state(again), state(whole))

KILLED = '''
import json, os, random, signal, sys, time
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from ganad.networks import make_decoder, make_encoder
from ganad.training import Player, WeightAverage, bce, digest, read_tensors, train
torch.set_num_threads(1)

def new(seed):
    torch.manual_seed(seed)
    G = make_decoder((1, 32), 2, width=4)                                                       # batch normalisation, convolutions
    norm = lambda m: spectral_norm(m) if isinstance(m, (nn.Conv2d, nn.Linear)) else m
    D = nn.Sequential(make_encoder((1, 32), 8, width=4, norm=False), nn.LeakyReLU(.2), nn.Dropout(.3), nn.Linear(8, 1))
    for m in list(D.modules()): norm(m)
    E = make_encoder((1, 32), 2, width=4)
    z = lambda x: torch.randn(len(x), 2)
    players = [Player('critic', [D], lambda x: bce(D(x), 1) + bce(D(G(z(x)).detach()), 0), weight_decay=.01),
               Player('generator', [G], lambda x: bce(D(G(z(x))), 1), every=2, betas=(.5, .999), schedule=lambda step, steps: 1 - .9*step/steps),
               Player('encoder', [E], lambda x: (x - G(E(x))).square().mean(), optimizer=torch.optim.RMSprop(E.parameters(), 1e-3, momentum=.5))]
    return players, [WeightAverage(G, .9), WeightAverage(D, .9)]

x = torch.randn(90, 1, 32, generator=torch.Generator().manual_seed(0)).tanh()
def run(folder=None, seed=1):
    players, averages = new(seed)
    history = train(players, x, epochs=8, batch_size=16, seed=3, device='cpu', precision='float32', averages=averages, checkpoint=folder, every=0, progress=False)
    tensors = {f'{p.name}/{i}/{k}': v for p in players for i, m in enumerate(p.modules) for k, v in m.state_dict().items()}
    tensors |= {f'{p.name}/optimiser/{j}/{k}': torch.as_tensor(v) for p in players for j, e in p.optimizer.state_dict()['state'].items() for k, v in e.items()}
    tensors |= {f'average/{j}/{k}': v for j, a in enumerate(averages) for k, v in a.state_dict().items()}
    lrs = [g['lr'] for p in players for g in p.optimizer.param_groups]
    return digest(tensors), len(tensors), lrs, [{k: v for k, v in r.items() if k != 'seconds'} for r in history.rows]

wanted = run()
started = time.monotonic()
assert run(sys.argv[1] + '/whole') == wanted
whole, luck = time.monotonic() - started, random.Random(0)
for attempt in range(6):
    folder, steps = f'{sys.argv[1]}/killed{attempt}', []
    for kill in range(10):
        child = os.fork()
        if not child:
            try: run(folder, seed=2 + kill if steps and steps[-1] else 1)     # other networks, where there is a checkpoint
            finally: os._exit(0)
        time.sleep(luck.uniform(0, .2*whole) * .7**attempt)
        os.kill(child, signal.SIGKILL)
        if os.waitpid(child, 0)[1] != signal.SIGKILL: break         # it was done before: again, with shorter lives
        file = folder + '/checkpoint.safetensors'
        steps.append(read_tensors(file)[1]['place']['step'] if os.path.exists(file) else 0)
    else: break
print(json.dumps(dict(kills=len(steps), steps=steps, same=run(folder, seed=99) == wanted, tensors=wanted[1], left=os.listdir(folder))))
'''

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_ten_kills_change_nothing(tmp_path):
    told = json.loads(python(KILLED, tmp_path).splitlines()[-1])
    assert told['kills'] == 10 and told['steps'] == sorted(told['steps']) and 0 < told['steps'][-1] < 40, told
    assert told['same'] and told['tensors'] > 80 and told['left'] == ['checkpoint.safetensors'], told

def test_written_tensors_come_back(tmp_path):
    tensors = dict(a=torch.arange(6.).view(2, 3), b=torch.tensor(3), c=torch.zeros(0, 4), d=torch.tensor([True, False]), e=torch.ones(2, dtype=torch.bfloat16))
    write_tensors(tmp_path/'t', tensors, dict(one=[1, None, 'é'], two=np.float32(.5)))
    found, info = read_tensors(tmp_path/'t')
    assert same(tensors, found) and info == dict(one=[1, None, 'é'], two=.5)
    assert digest(found) == digest(tensors) != digest({**tensors, 'b': torch.tensor(4)}) and digest(dict(a=torch.zeros(2, 3))) != digest(dict(a=torch.zeros(3, 2)))

def test_no_flipped_bit_goes_unnoticed(tmp_path):
    file = tmp_path/'t'
    write_tensors(file, dict(a=torch.arange(20.), b=torch.arange(3)), dict(offset=-.125, params=dict(k=1)))
    whole, wanted = file.read_bytes(), read_tensors(file)
    for i in range(len(whole)):
        for bit in (0, 3, 6):
            damaged = bytearray(whole)
            damaged[i] ^= 1 << bit
            file.write_bytes(damaged)
            try: tensors, info = read_tensors(file)
            except ValueError as e: assert 'damaged' in str(e)
            else: assert info == wanted[1] and same(tensors, wanted[0]), (i, whole[max(0, i-20):i+20])

@pytest.mark.parametrize('content', [b'', b'x', b'PK\x03\x04' + bytes(100), b'\x80\x04K\x01.' * 20, bytes(1000), b'\xff'*1000])
def test_a_foreign_file_is_refused(tmp_path, content):
    (tmp_path/'t').write_bytes(content)
    with pytest.raises(ValueError, match='t is damaged, cut short or was not written by ganad'): read_tensors(tmp_path/'t')


# ---- several processes, lower precision

TWO = '''
import sys, torch
from accelerate import debug_launcher
from torch import nn
from ganad.training import Player, WeightAverage, train
torch.set_num_threads(1)
x = torch.randn(48, 5, generator=torch.Generator().manual_seed(0))

def run(folder, name, batch, seed=1):
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    torch.manual_seed(1 + rank if seed is None else seed)           # unequal weights to begin with
    net, other = (nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 5)) for _ in range(2))
    players = [Player('a', [net], lambda x: (x - net(x)).square().mean(), 1e-2, optimizer=torch.optim.SGD(net.parameters(), .1, momentum=.9)),
               Player('b', [other], lambda x: (net(x).detach() - other(x)).square().mean(), 1e-2, every=2)]
    average = WeightAverage(net, .9)
    def cut(epoch, history):
        if folder and epoch == 2 and seed is None: raise InterruptedError
    train(players, x, epochs=4, batch_size=batch, seed=3, device='cpu', precision='float32', averages=[average], callbacks=[cut], checkpoint=folder, every=0, progress=False)
    weights = torch.cat([p.detach().flatten() for m in (net, other, average) for p in m.parameters()])
    torch.save(weights, f'{sys.argv[1]}/{name}{rank}.pt')

def resumed(folder):
    try: run(folder, 'cut-', 16, None)
    except InterruptedError: run(folder, 'resumed-', 16, 9)

if __name__ == '__main__':
    debug_launcher(resumed, (sys.argv[1] + '/run',), num_processes=2)
    for batch in (16, 15):
        run(None, f'one{batch}-', batch - batch % 2)                # a batch that does not split evenly is cut
        debug_launcher(run, (None, f'two{batch}-', batch, None), num_processes=2)
'''

@pytest.mark.parametrize('batch', [16, 15])
def test_two_processes_are_as_one(two_processes, batch):
    one, *two = (torch.load(two_processes/f'{name}.pt', weights_only=True) for name in (f'one{batch}-0', f'two{batch}-0', f'two{batch}-1'))
    assert torch.equal(*two)
    torch.testing.assert_close(two[0], one, rtol=0, atol=1e-6)

def test_two_processes_go_on_as_they_were(two_processes):
    for rank in '01':
        assert torch.equal(*(torch.load(two_processes/f'{name}-{rank}.pt', weights_only=True) for name in ('two16', 'resumed')))
    assert not list(two_processes.glob('cut*'))

@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('two')
    python(TWO, folder)
    return folder

HALF = '''
import json, torch
from ganad.detector import make_detector
from ganad.networks import init_dcgan, make_critic, make_decoder
from ganad.training import Player, bce, train
torch.set_num_threads(1)
x, seen = torch.randn(32, 1, 32).tanh(), []
G, D = make_decoder((1, 32), 2, 4), make_critic((1, 32), 4, 8)
def critic(x):
    logit = D(x)
    seen.append(str(logit.dtype))
    return bce(logit, 1) + bce(D(G(torch.randn(len(x), 2)).detach()), 0)
players = [Player('critic', [D], critic), Player('generator', [G], lambda x: bce(D(G(torch.randn(len(x), 2))), 1))]
before = [p.detach().clone() for p in players[1].params]
losses = [train(players, x, epochs=1, batch_size=32, device='cpu', precision=precision, progress=False).rows[0]['critic'] for precision in ('bf16', 'float32', 'bf16')]
detector = make_detector('autoencoder', precision='bf16', device='cpu', epochs=2).fit(x.numpy())
print(json.dumps(dict(losses=losses, seen=seen, moved=any(not torch.equal(a, b) for a, b in zip(before, players[1].params)),
                      kinds=sorted({str(p.dtype) for p in players[0].params + players[1].params}), scores=detector.anomaly_score(x.numpy()).tolist())))
'''

def test_bfloat16_on_the_cpu():
    told = json.loads(python(HALF).splitlines()[-1])
    assert np.isfinite(told['losses']).all() and np.isfinite(told['scores']).all() and told['moved'] and told['kinds'] == ['torch.float32']
    assert told['seen'] == ['torch.bfloat16', 'torch.float32', 'torch.bfloat16']


# ---- random numbers of one's own

X = torch.linspace(.1, .9, 40).reshape(2, 4, 5)
F = nn.functional
DRAWN = {
    'randn': lambda: torch.randn(20, 3), 'rand': lambda: torch.rand(7, device='cpu'), 'randint': lambda: torch.randint(9, (20,)), 'randperm': lambda: torch.randperm(30),
    'normal': lambda: torch.normal(X, 2.), 'normal of a size': lambda: torch.normal(0., 1., (9,)), 'bernoulli': lambda: torch.bernoulli(X), 'poisson': lambda: torch.poisson(9*X),
    'multinomial': lambda: torch.multinomial(X[0], 2), 'randn_like': lambda: torch.randn_like(X), 'rand_like': lambda: torch.rand_like(X.double()),
    'float64': lambda: torch.randn_like(X, dtype=torch.float64),
    **{f'{name}_': lambda name=name, args=args: getattr(torch.empty(30), f'{name}_')(*args)
       for name, args in dict(normal=(1., 2.), uniform=(0., 3.), exponential=(2.,), bernoulli=(.3,), random=(9,), geometric=(.2,), cauchy=(), log_normal=()).items()},
    'dropout': lambda: F.dropout(X, .3), 'dropout in place': lambda: F.dropout(X.clone(), .3, inplace=True), 'dropout of all': lambda: torch.cat([F.dropout(X, 1.), torch.rand_like(X)]),
    'Dropout': lambda: nn.Dropout(.3)(X), 'our Dropout': lambda: Dropout(.3)(X), 'Dropout1d': lambda: nn.Dropout1d(.5)(X), 'Dropout2d': lambda: nn.Dropout2d(.5)(X[None].repeat(2, 1, 1, 1)),
    'AlphaDropout': lambda: nn.AlphaDropout(.3)(X), 'RReLU': lambda: nn.RReLU()(-X), 'gumbel': lambda: F.gumbel_softmax(X), 'LSTM with dropout': lambda: nn.LSTM(5, 3, 2, dropout=.5)(X)[0],
    'attention': lambda: nn.MultiheadAttention(5, 1, dropout=.3)(X, X, X)[0], 'a transformer': lambda: nn.TransformerEncoderLayer(5, 1, 8)(X),
    'distributions': lambda: torch.distributions.Normal(X, 1.).sample(), 'gamma': lambda: torch.distributions.Gamma(X, 1.).sample(),
    'our randn': lambda: randn(5, 2), 'our rand': lambda: rand(5, device=torch.device('cpu')), 'our randn_like': lambda: randn_like(X)}
weights = lambda net: torch.cat([t.detach().flatten().float() for t in net.state_dict().values()])
LAYERS = {
    'Linear': lambda: nn.Linear(7, 3), 'Conv2d': lambda: nn.Conv2d(2, 3, (1, 4)), 'ConvTranspose2d': lambda: nn.ConvTranspose2d(2, 3, 4), 'LSTM': lambda: nn.LSTM(4, 3, 2),
    'Embedding': lambda: nn.Embedding(5, 3), 'BatchNorm1d': lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)), 'attention': lambda: nn.MultiheadAttention(4, 2),
    'spectral norm': lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(7, 3)), 'spectral norm of a convolution': lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 3, 4)),
    'init_dcgan': lambda: nn.Sequential(nn.Conv2d(1, 3, 4), nn.BatchNorm2d(3), nn.Linear(3, 2)).apply(init_dcgan),
    **{init: lambda init=init: nn.ParameterList([getattr(nn.init, init)(torch.empty(6, 4))])
       for init in ('orthogonal_', 'trunc_normal_', 'xavier_normal_', 'xavier_uniform_', 'kaiming_normal_', 'kaiming_uniform_', 'normal_', 'uniform_')}}

def as_seeded(fn, seed=5):
    "What torch gives after `manual_seed`"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return fn()

@pytest.mark.parametrize('what', [*DRAWN, *LAYERS], ids=lambda what: what.replace(' ', '-'))
def test_a_stream_gives_the_numbers_of_its_seed_and_leaves_the_global_ones(what):
    fn = DRAWN[what] if what in DRAWN else lambda: weights(LAYERS[what]())
    twice = lambda: (fn(), fn())
    wanted = as_seeded(twice)
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        with RandomStream(5): found = twice()
        assert torch.equal(torch.get_rng_state(), before)
        assert all(map(torch.equal, found, wanted)) and not torch.equal(*found)

def test_what_is_handed_a_generator_draws_from_it():
    generator = lambda: torch.Generator().manual_seed(8)
    with RandomStream(5) as stream: found = torch.randn(3, generator=generator()), torch.empty(3).normal_(generator=generator())
    assert torch.equal(found[0], torch.randn(3, generator=generator())) and torch.equal(*found) and not stream.called

@pytest.mark.parametrize('fn', [lambda lstm: F.dropout(X, .3, False), lambda lstm: F.dropout(X, 0.), lambda lstm: nn.Dropout(.3).eval()(X), lambda lstm: lstm(X),
                                lambda lstm: torch.zeros(3), lambda lstm: torch.randn(3, device='meta'), lambda lstm: nn.Linear(3, 2, device='meta')])
def test_what_draws_nothing_is_not_noticed(fn):
    lstm = nn.LSTM(5, 3, 2, dropout=.5).eval()
    with RandomStream(0) as stream: fn(lstm)
    assert not stream.called

def test_our_functions_need_no_watching():
    with RandomStream(5).by_name() as stream: found = randn(3), randn_like(X), rand(2), Dropout(.3)(X)
    assert all(map(torch.equal, found, as_seeded(lambda: (torch.randn(3), torch.randn_like(X), torch.rand(2), F.dropout(X, .3))))) and not stream.called
    torch.manual_seed(5)                                            # and outside of a stream they are torch's
    assert all(map(torch.equal, found, (randn(3), randn_like(X), rand(2), Dropout(.3)(X))))

def test_streams_lie_within_each_other():
    with RandomStream(1):
        a = torch.randn(2)
        with RandomStream(2).by_name(): inner = randn(2)
        with pytest.raises(ZeroDivisionError):
            with RandomStream(3): 1/0
        b = randn(2)
    assert all(map(torch.equal, (a, b), as_seeded(lambda: (torch.randn(2), torch.randn(2)), 1))) and torch.equal(inner, as_seeded(lambda: torch.randn(2), 2))

def test_a_stream_goes_on_where_it_was():
    with RandomStream(1) as stream: torch.randn(3)
    again = RandomStream(2)
    again.put_back(stream.state())
    with stream: wanted = torch.randn(30)
    with again: assert torch.equal(torch.randn(30), wanted)

class Noisy(nn.Module):
    "Draws in each of the ways that a learner may choose"
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 8), nn.Dropout(.3), nn.LayerNorm(8), nn.Linear(8, 5))
    def forward(self, x): return self.net(x + .1*torch.randn_like(x)) + torch.empty_like(x).uniform_(-.1, .1)

def noisy(every=1):
    with RandomStream(1): first, second = Noisy(), Noisy()
    return [Player('first', [first], lambda x: (x - first(x)).square().mean(), every=every), Player('second', [second], lambda x: (x - second(x)).square().mean())]

@pytest.mark.parametrize('every', [1, 3])
def test_losses_that_call_torch_train_the_same_in_any_thread(every):
    def run(seed):
        players = noisy(every)
        history = train(players, table(), epochs=12, batch_size=16, seed=seed, **CPU)
        return rows(history), state(*players)
    alone, before = {seed: run(seed) for seed in (0, 1)}, torch.get_rng_state()
    assert not same(alone[0][1], alone[1][1])
    with ThreadPoolExecutor(4) as pool: found = list(pool.map(run, [0, 1, 0, 1]))
    assert torch.equal(torch.get_rng_state(), before)
    for seed, (history, last) in zip([0, 1, 0, 1], found): assert history == alone[seed][0] and same(last, alone[seed][1])

def test_what_draws_by_our_functions_is_watched_once_in_a_hundred_steps(monkeypatch):
    "And what draws by torch's, always; both end with the same weights"
    entered = []
    monkeypatch.setattr(RandomStream, '__enter__', lambda self, enter=RandomStream.__enter__: (entered.append(1), enter(self))[1])
    def run(like):
        net = nn.Linear(5, 5)
        with torch.no_grad(): net.weight.fill_(.1), net.bias.zero_()
        entered.clear()
        train([Player('one', [net], lambda x: (x - net(x + like(x))).square().mean())], table(), epochs=75, batch_size=16, **CPU)
        return weights(net), len(entered)
    (ours, few), (theirs, all_of_them) = run(randn_like), run(torch.randn_like)
    assert torch.equal(ours, theirs) and few == 3 and all_of_them == 300

def test_a_checkpoint_holds_the_stream(tmp_path):
    "Killed at each step and continued, in another process's state of random numbers"
    whole = noisy()
    train(whole, table(), epochs=3, batch_size=16, seed=4, **CPU)
    class Killed(Exception): pass
    for kill in range(1, 12):
        players = noisy()
        loss, turns = players[1].loss, iter(range(kill))
        def cut(x):
            if next(turns, None) is None: raise Killed
            return loss(x)
        players[1].loss = cut
        torch.manual_seed(kill)
        try: train(players, table(), epochs=3, batch_size=16, seed=4, checkpoint=tmp_path/'run', every=0, **CPU); break
        except Killed: pass
    assert kill > 3 and same(state(*players), state(*whole))

