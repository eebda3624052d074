"EfficientGAN: what the contract's tests do not ask; the three players, the score's switches, early stopping, tables with something wrong in them."
import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from ganad.data.tables import make_table
from ganad.detector import load_detector, make_detector
from ganad.methods.efficientgan import CRITIC_TERMS, PAPER_KDD, EfficientGAN, PairCritic, chain, squared_slopes
from ganad.training import take_turn

SHAPES = {'table': (6,), 'signal': (1, 32), 'image': (1, 12, 12)}
every = pytest.mark.parametrize('kind', SHAPES)
equal = np.testing.assert_array_equal

def samples(kind, n=70, seed=0):
    rng = np.random.default_rng(seed)
    size = int(np.prod(SHAPES[kind]))
    x = np.tanh(rng.normal(size=(n, 3)) @ np.random.default_rng(99).normal(size=(3, size))/2 + .1*rng.normal(size=(n, size)))
    return x.reshape(n, *SHAPES[kind]).astype(np.float32)

def quick(**params): return make_detector('efficientgan', **dict(epochs=3, device='cpu', precision='float32') | params)
def weights(detector): return {k: v.clone() for k, v in detector.networks_.state_dict().items()}
def same(a, b): return all(torch.equal(v, b.networks_.state_dict()[k]) for k, v in a.networks_.state_dict().items())
def flat(net): return torch.cat([p.detach().flatten().clone() for p in net.parameters()])


def test_scikit_learns_checks():
    "With the defaults but for fewer epochs: the checks fit and score dozens of times"
    check_estimator(quick())

@every
def test_scores_repeat_in_any_order_and_number_and_change_no_weight(kind):
    detector, x = quick(dropout=.3).fit(samples(kind)), samples(kind, 150, seed=1)
    before, score = weights(detector), detector.anomaly_score(x)
    order = np.random.default_rng(0).permutation(len(x))
    equal(detector.anomaly_score(x), score)
    equal(detector.anomaly_score(x[order]), score[order])
    equal(detector.anomaly_score(x[7:8]), score[7:8])
    equal(detector.anomaly_score(x[40:]), score[40:])
    assert all(torch.equal(v, before[k]) for k, v in detector.networks_.state_dict().items())
    assert detector.reconstruct(x).shape == x.shape and np.isfinite(detector.reconstruct(x)).all()

def test_scores_repeat_over_the_edge_of_a_block():
    detector, x = quick().fit(samples('table')), samples('table', 2500, seed=1)
    score = detector.anomaly_score(x)
    for part in (slice(0, 1), slice(1020, 1030), slice(1000, 2500)): equal(detector.anomaly_score(x[part]), score[part])

@every
def test_after_save_and_load_all_bits_are_the_same(kind, tmp_path):
    detector, x = quick(patience=2).fit(samples(kind)), samples(kind, 20, seed=1)
    detector.save(tmp_path)
    again = load_detector(tmp_path)
    equal(again.anomaly_score(x), detector.anomaly_score(x)); equal(again.reconstruct(x), detector.reconstruct(x))
    assert again.get_params() == detector.get_params() and again.threshold_ == detector.threshold_

def test_the_papers_settings_are_saved_and_loaded(tmp_path):
    detector = quick(**{**PAPER_KDD, 'epochs': 1}).fit(samples('table'))
    detector.save(tmp_path)
    assert load_detector(tmp_path).encoder_units == (64,)
    equal(load_detector(tmp_path).anomaly_score(samples('table')), detector.anomaly_score(samples('table')))

def test_the_papers_sizes():
    nets = EfficientGAN(**PAPER_KDD)._build((121,))
    sizes = {name: [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)] for name, net in nets.items()}
    assert sizes['encoder'] == [(121, 64), (64, 32)] and sizes['generator'] == [(32, 64), (64, 128), (128, 121)]
    assert sizes['critic'] == [(121, 128), (32, 128), (256, 128), (128, 1)]
    assert [m.p for m in nets['critic'].modules() if isinstance(m, nn.Dropout)] == [.2]*3
    assert {m.negative_slope for net in nets.values() for m in net.modules() if isinstance(m, nn.LeakyReLU)} == {.1}

@pytest.mark.parametrize('params', [{}, dict(noise=.1, dropout=.2, patience=1)])
def test_a_seed_repeats_the_training(params):
    x = samples('table')
    a, b, c = (quick(seed=s, **params).fit(x) for s in (1, 1, 2))
    assert same(a, b) and not same(a, c)

@pytest.mark.parametrize('params', [{}, dict(noise=.1, dropout=.2, patience=2)])
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

@every
def test_a_turn_changes_only_the_network_of_the_player(kind):
    torch.manual_seed(0)
    detector = make_detector('efficientgan', noise=.1, dropout=.2)
    networks, x = nn.ModuleDict(detector._build(SHAPES[kind])), torch.as_tensor(samples(kind))
    players = detector._players(networks)
    assert [p.name for p in players] == ['critic', 'generator', 'encoder']
    for player in players:
        before = {name: flat(net) for name, net in networks.items()}
        take_turn(player, x)
        for name, net in networks.items(): assert torch.equal(flat(net), before[name]) == (name != player.name)

def test_one_step_of_training_on_the_meta_device():
    "A tensor that is left on the CPU would raise"
    detector = EfficientGAN(noise=.1)
    for player in detector._players(nn.ModuleDict(detector._build((1, 32))).to('meta')):
        player.optimizer = torch.optim.Adam(player.params, fused=False, foreach=False)
        take_turn(player, torch.zeros(8, 1, 32, device='meta'))

@pytest.mark.parametrize('norm', [1, 2])
@pytest.mark.parametrize('term', CRITIC_TERMS)
def test_the_score_is_the_papers(term, norm):
    detector, x = quick(critic_term=term, norm=norm, critic_weight=.3).fit(samples('signal')), samples('signal', 30, seed=1)
    row, E, G, D = torch.as_tensor(x), *(detector.networks_[name] for name in ('encoder', 'generator', 'critic'))
    with torch.no_grad():
        z, x_hat = E(row), G(E(row))
        L_D = {'paper': -D(row, z).sigmoid().log(), 'code': -D(x_hat, z).sigmoid().log(), 'features': (D.features(row, z) - D.features(x_hat, z)).abs().sum(1)}[term]
        L_G = (row - x_hat).flatten(1).norm(p=norm, dim=1)
    np.testing.assert_allclose(detector.anomaly_score(x), .7*L_G + .3*L_D, rtol=1e-4)

def test_the_slopes_of_a_linear_critic():
    torch.manual_seed(0)
    critic = PairCritic(nn.Linear(3, 4), nn.Linear(2, 4), 8, 5, slope=1.)
    whole = (critic.head.weight @ critic.body[0].weight)[0]
    gradient = torch.cat([whole[:4] @ critic.first.weight, whole[4:] @ critic.second.weight])
    torch.testing.assert_close(squared_slopes(critic, torch.randn(5, 3), torch.randn(5, 2)), gradient.square().sum().expand(5))

def test_a_critic_of_pairs_has_features_and_logits():
    critic = PairCritic(chain((3, 4), last=True), chain((2, 6), last=True), 10, features=5, dropout=.5).eval()
    a, b = torch.randn(7, 3), torch.randn(7, 2)
    assert critic.features(a, b).shape == (7, 5) and critic(a, b).shape == (7,)
    torch.testing.assert_close(critic(a, b), critic.head(critic.features(a, b))[:, 0])

def test_the_encoder_becomes_the_inverse():
    hidden = np.random.default_rng(0).standard_normal(3000)
    x = (hidden + .8*np.tanh(3*hidden)).astype(np.float32)[:, None]
    detector = quick(latent=1, width=16, features=32, epochs=20).fit(x)
    z = torch.randn(1000, 1, generator=torch.Generator().manual_seed(1))
    assert (detector.networks_['encoder'](detector.networks_['generator'](z)) - z).abs().median() <= .2

def test_early_stopping_keeps_the_best_epoch():
    x, kept = samples('table', 200), {}
    detector = quick(epochs=40, patience=2, lr=.02, fall=False, batch_size=16)
    def look(epoch, history): kept[epoch] = copy.deepcopy(detector._averaged.module.state_dict())
    detector.fit(x, callbacks=[look])
    errors = [row['held_out'] for row in detector.history_.rows]
    best = int(np.argmin(errors)) + 1
    assert len(errors) == 40 or len(errors) - best == 2
    assert all(torch.equal(v, kept[best][k]) for k, v in detector.networks_.state_dict().items())
    held = detector._split(detector._scaled(x))[1]
    assert len(held) == 20 and detector._error(detector.networks_, held) == pytest.approx(min(errors), rel=1e-6)

@pytest.mark.parametrize('copies', [1, 3, None])
def test_copies_are_dealt_at_most_so_often_and_never_stand_on_both_sides(copies):
    x = samples('table', 12)[np.r_[np.repeat([0, 5], 20), np.repeat([1, 2, 3, 4, 6, 7, 8, 9, 10, 11], 3)]]
    whole, none = quick(copies=copies)._split(torch.as_tensor(x))
    train, held = quick(copies=copies, patience=2)._split(torch.as_tensor(x))
    n = 70 if copies is None else 12*copies
    assert len(whole) == len(train) + len(held) == n and len(none) == 0 and len(held)
    if copies: assert not set(map(tuple, train.tolist())) & set(map(tuple, held.tolist()))

def test_labels_are_not_looked_at():
    x = samples('table')
    a, b = (quick(patience=2).fit(x, y) for y in (None, np.arange(70) % 2))
    assert same(a, b) and a.threshold_ == b.threshold_

@pytest.mark.parametrize('params, words', [(dict(critic_term='feature'), "unknown critic_term 'feature'. Did you mean 'features'"), (dict(norm=3), 'norm must be 1 or 2'),
    (dict(critic_weight=1.5), 'critic_weight must lie in'), (dict(decay=1.), 'decay must lie in'), (dict(patience=0), 'patience must be at least 1'), (dict(held_out=1.), 'held_out must lie in'), (dict(copies=0), 'copies must be a whole number of at least 1')])
def test_bad_parameters_are_refused(params, words):
    with pytest.raises(ValueError, match=words): quick(**params).fit(samples('table'))

# ---- tables with something wrong in them

@pytest.fixture
def calls():
    rng = np.random.default_rng(0)
    return pd.DataFrame(dict(bytes=rng.normal(1000, 100, 60), seconds=rng.exponential(1, 60), constant=3., protocol=rng.choice(['tcp', 'udp'], 60)))

def test_a_category_that_was_never_seen_scores_higher(calls):
    table = make_table(calls, categorical='protocol', scale='minmax')
    detector = quick(epochs=60).fit(table.x)
    with pytest.warns(UserWarning, match="'sctp' did not occur"): odd = table.encode(calls.assign(protocol='sctp'))
    assert np.median(detector.anomaly_score(odd)) > np.median(detector.anomaly_score(table.x))

def test_missing_values_and_undeclared_strings_are_refused(calls):
    with pytest.raises(ValueError, match='missing'): make_table(calls.assign(bytes=np.nan), categorical='protocol')
    with pytest.raises(ValueError, match='not declared'): make_table(calls)
    with pytest.raises(ValueError): quick().fit(calls)
    table = make_table(calls, categorical='protocol')
    detector = quick().fit(table.x)
    for bad, words in ((np.nan, 'NaN'), (np.inf, 'infinity')):
        x = table.x.copy(); x[3, 0] = bad
        with pytest.raises(ValueError, match=words): detector.anomaly_score(x)

def test_a_constant_column_does_no_harm_and_a_change_in_it_is_seen(calls):
    table = make_table(calls, categorical='protocol')
    detector = quick(epochs=20).fit(table.x)
    other = table.x.copy(); other[:, table.columns.index('constant')] = 300
    assert np.isfinite(detector.anomaly_score(table.x)).all() and (detector.anomaly_score(other) > detector.anomaly_score(table.x)).all()

def test_one_class_only_is_no_error():
    assert np.isfinite(quick().fit(samples('table'), np.ones(70)).anomaly_score(samples('table'))).all()
    assert np.isfinite(quick().fit(np.ones((30, 4), np.float32)).anomaly_score(np.zeros((2, 4), np.float32))).all()

@pytest.mark.parametrize('n', [2, 3, 40])
@pytest.mark.parametrize('patience', [None, 2])
def test_fewer_rows_than_a_batch(n, patience):
    detector = quick(batch_size=512, patience=patience).fit(samples('table', n))
    assert np.isfinite(detector.anomaly_score(samples('table', 5))).all()
