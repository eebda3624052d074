"Contracts of ganad.plots"
import subprocess, sys

import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ganad import plots

@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')

@pytest.fixture
def beats():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 1, 320)).astype(np.float32)
    return x, x + rng.normal(scale=.1, size=x.shape).astype(np.float32), rng.random(20), (np.arange(20) < 5).astype(int)

def labelled(ax): return ax.get_xlabel() and ax.get_ylabel() and ax.get_title()

def drawn(ax):
    ax.figure.canvas.draw()
    return ax

def test_every_figure_has_labels_and_takes_axes(beats):
    x, made, score, y = beats
    for draw in (lambda ax: plots.plot_losses(dict(epoch=[1, 2], a=[.3, .2]), ax=ax),
                 lambda ax: plots.plot_scores(y, score, .5, ax=ax),
                 lambda ax: plots.plot_reconstruction(x[0], made[0], title='t', before=140, ax=ax),
                 lambda ax: plots.plot_points(x[:, 0, :2], y=y, title='t', ax=ax),
                 lambda ax: plots.plot_points(x[:, 0, :2], score, title='t', ax=ax),
                 lambda ax: plots.plot_density(lambda p: p[:, 0], title='t', n=10, label='p', ax=ax),
                 lambda ax: plots.plot_rhythm(x[0], 360, [50, 100], [0, 1], [.1, .2], title='t', ax=ax),
                 lambda ax: plots.plot_timeline(np.arange(20), score, threshold=.5, ax=ax)):
        given = plt.subplots()[1]
        assert draw(given) is given and labelled(given)
        new = draw(None)
        assert new is not given and labelled(drawn(new))
        plt.close('all')

def test_roc_and_precision_recall(beats):
    _, _, score, y = beats
    roc, pr = plots.plot_roc_pr(y, {'a': score, 'b': y.astype(float)})
    assert labelled(roc) and labelled(pr) and '25.0%' in pr.get_title()
    assert [t.get_text() for t in pr.get_legend().get_texts()][1:] == ['b 1.000', 'chance 0.250']
    given = plt.subplots(1, 2)[1]
    assert plots.plot_roc_pr(y, score, given) is given

def test_losses_from_history_frame_and_dict():
    frame = pd.DataFrame(dict(epoch=[1, 2], steps=[5, 10], seconds=[.1, .2], G=[.3, .2], D=[.1, .4]))
    class History:
        def frame(self): return frame
    for history in (History(), frame, dict(G=[1, 2], D=[2, 1])):
        assert [line.get_label() for line in plots.plot_losses(history).lines] == ['G', 'D']
    assert [line.get_label() for line in plots.plot_losses(frame, columns=['D']).lines] == ['D']
    with pytest.raises(ValueError, match='no epoch yet'): plots.plot_losses(pd.DataFrame())

def test_scores_of_one_class_and_constant_scores():
    drawn(plots.plot_scores([0, 0, 0], [.1, .2, .3]))
    drawn(plots.plot_scores([0, 1], [.5, .5]))
    with pytest.raises(ValueError, match='above 0'): plots.plot_scores([0, 1], [0, 1], log=True)
    with pytest.raises(ValueError, match='one length'): plots.plot_scores([0, 1], [.5])

def test_a_reconstruction_takes_beats_of_any_nesting(beats):
    x, made, _, _ = beats
    for one, other in ((x[0], made[0]), (x[:1], made[:1]), (x[0, 0], made[0, 0]), (np.zeros(9), np.zeros(9))):
        drawn(plots.plot_reconstruction(one, other))
    with pytest.raises(ValueError, match='one length'): plots.plot_reconstruction(np.zeros(9), np.zeros(8))
    with pytest.raises(ValueError, match='one lead of one beat'): plots.plot_reconstruction(x[:2], made[:2])

def test_extremes_are_the_extremes(beats):
    x, made, score, y = beats
    assert plots.plot_extremes(x, made, score).shape == (1, 3)
    axes = plots.plot_extremes(x[:, 0], made[:, 0], score, y)
    assert axes.shape == (2, 3)
    assert axes[0, 0].get_title() == f'normal, lowest: {score[y == 0].min():.3g}'
    assert axes[1, 2].get_title() == f'anomalous, highest: {score[y == 1].max():.3g}'
    assert len({ax.get_ylim() for ax in axes.flat}) == 1

def test_grids(beats):
    x, _, _, y = beats
    assert plots.show_grid(x, titles=y, y=y, title='t').shape == (2, 8)
    assert plots.show_grid(x[:3, 0]).shape == (1, 3)
    for shape in ((5, 1, 8, 8), (5, 3, 8, 8), (5, 8, 8)): assert plots.show_grid(np.zeros(shape), columns=2).shape == (3, 2)
    with pytest.raises(ValueError, match='beats'): plots.show_grid(np.zeros(5))

def test_rhythm_shows_only_the_beats_of_the_piece_and_the_time_of_the_record():
    ax = plots.plot_rhythm(np.sin(np.arange(3600)/50), 360, [-5, 100, 200, 5000], [1, 0, 1, 1], start=3661)
    dots, flags = ax.lines[1:]
    assert list(dots.get_xdata()) == [3661 + 100/360] and list(flags.get_xdata()) == [3661 + 200/360]
    assert 'h:min:s' in ax.get_xlabel() and '1:01:02' in [t.get_text() for t in drawn(ax).get_xticklabels()]
    drawn(plots.plot_rhythm(np.zeros(360), 360))
    with pytest.raises(ValueError, match='flag and score'): plots.plot_rhythm(np.zeros(360), 360, [1, 2], [True])

def test_timeline_of_a_day_and_of_nothing():
    time = np.arange(0, 86400, 1.)
    ax = drawn(plots.plot_timeline(time, np.random.default_rng(0).random(len(time)), threshold=.999))
    labels = [t.get_text() for t in ax.get_xticklabels()]
    assert '3:00:00' in labels and len(labels) < 15
    drawn(plots.plot_timeline([], []))
    with pytest.raises(ValueError, match='one length'): plots.plot_timeline([1], [1, 2])

def test_a_sequence_has_a_picture_for_each_value():
    seen = []
    fig = plots.plot_sequence(lambda value, ax: (seen.append(value), ax.plot([0, value])), (1, 2, 3), 'rising')
    assert seen == [1, 2, 3] and len(fig.axes) == 3 and fig.get_suptitle() == 'rising'
    assert len({ax.get_ylim() for ax in fig.axes}) == 1
    drawn(fig.axes[0])

def test_a_slider_is_shown_in_a_live_notebook_only(monkeypatch):
    widgets = pytest.importorskip('ipywidgets')
    import IPython
    shown = []
    monkeypatch.setattr(widgets, 'interact', lambda draw, value: shown.append([v for _, v in value.options]))
    plots.slider(lambda value, ax: None, (1, 2, 3), 'value')
    assert not shown
    monkeypatch.setattr(IPython, 'get_ipython', lambda: type('Shell', (), dict(kernel=object())))
    plots.slider(lambda value, ax: None, (1, 2, 3), 'value')
    assert shown == [[1, 2, 3]]

def test_style_holds_within_a_block_or_from_here_on():
    before = plt.rcParams['axes.spines.top']
    with plots.use_style(): assert plt.rcParams['axes.spines.top'] is False
    assert plt.rcParams['axes.spines.top'] == before
    with plt.rc_context():
        plots.use_style()
        assert plt.rcParams['figure.facecolor'] == 'white'

def test_import_needs_neither_torch_nor_scikit_learn():
    subprocess.run([sys.executable, '-c', "import sys, ganad.plots; assert not {'torch', 'sklearn'} & set(sys.modules)"], check=True)
