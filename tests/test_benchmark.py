"The benchmark: resumable, never mixed, and a failing method stops nobody else"
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from ganad.benchmark import PROTOCOLS, SETTINGS, benchmark, load_part, make_dirty, make_method, paired, read_cells, read_table
from ganad.commands import bench_main

SMALL = dict(rows=300, test_rows=400)


def figures(table):
    "All but the times, which no two runs share"
    return table[~table.metric.isin(['training s', 'scoring ms'])].reset_index(drop=True)


def test_unknown_names_are_met_with_the_nearest_one():
    with pytest.raises(ValueError, match="Did you mean 'autoencoder'"): benchmark(['autoencodr'], 'P1', **SMALL)
    with pytest.raises(ValueError, match="unknown protocol 'P9'"): benchmark(['pca'], 'P9', **SMALL)
    with pytest.raises(ValueError, match="unknown part"): load_part('P5', 'shoes')


def test_a_finished_cell_is_never_computed_twice(tmp_path):
    file = tmp_path/'cells.jsonl'
    benchmark(['pca'], 'P1', (0, 1), file, **SMALL)
    before = file.read_text()
    table = benchmark(['pca', 'isolation forest'], 'P1', (0, 1), file, **SMALL)
    assert set(before.splitlines()) < set(file.read_text().splitlines())       # times and all
    pd.testing.assert_frame_equal(figures(table), figures(benchmark(['pca', 'isolation forest'], 'P1', (0, 1), **SMALL)))


def test_what_is_stored_is_read_as_a_table(tmp_path):
    file = tmp_path/'cells.jsonl'
    made = benchmark(['pca', 'isolation forest'], 'P1', (0,), file, **SMALL)
    read = read_table(file)
    key = ['method', 'metric']
    pd.testing.assert_frame_equal(read.sort_values(key, ignore_index=True), made.sort_values(key, ignore_index=True), check_dtype=False)
    assert not len(read_table(tmp_path/'nothing.jsonl'))


def test_a_killed_run_goes_on_and_gives_the_same_table(tmp_path):
    file, methods = tmp_path/'cells.jsonl', ['pca', 'isolation forest', 'knn']
    code = f"from ganad.benchmark import benchmark; benchmark({methods}, 'P1', range(5), {str(file)!r}, **{SMALL})"
    run = subprocess.Popen([sys.executable, '-c', code], env=os.environ | dict(OMP_NUM_THREADS='1'))
    while not file.is_file() and run.poll() is None: time.sleep(.02)
    run.send_signal(signal.SIGKILL); run.wait()
    kept = read_cells(file)
    assert 0 < len(kept) <= 15
    table = benchmark(methods, 'P1', range(5), file, **SMALL)
    again = {c['key']: c for c in read_cells(file)}
    assert all(again[c['key']] == c for c in kept) and len(again) == 15
    pd.testing.assert_frame_equal(figures(table), figures(benchmark(methods, 'P1', range(5), **SMALL)))


def test_two_processes_give_the_same_table_as_one():
    one, two = (benchmark(['pca', 'isolation forest'], 'P1', (0, 1), n_jobs=n, **SMALL) for n in (1, 2))
    pd.testing.assert_frame_equal(figures(one), figures(two))


def test_cells_of_other_settings_are_refused_or_computed_again(tmp_path):
    file = tmp_path/'cells.jsonl'
    benchmark({'pca': dict(n_components=3)}, 'P1', (0,), file, **SMALL)
    with pytest.raises(ValueError, match='other settings'): benchmark(['pca'], 'P1', (0,), file, **SMALL)
    table = benchmark(['pca'], 'P1', (0,), file, changed='again', **SMALL)
    assert len(read_cells(file)) == 1
    pd.testing.assert_frame_equal(figures(table), figures(benchmark(['pca'], 'P1', (0,), **SMALL)))


def test_what_is_missing_is_named_where_nothing_may_be_computed(tmp_path):
    with pytest.raises(LookupError, match='1 cells are not stored'): benchmark(['pca'], 'P1', (0,), tmp_path/'cells.jsonl', compute=False, **SMALL)


def test_a_method_that_fails_says_why_and_the_rest_go_on(tmp_path):
    file = tmp_path/'cells.jsonl'
    table = benchmark({'far': dict(method='knn', k=10_000), 'pca': {}}, 'P1', (0,), file, **SMALL)
    assert table[table.method == 'far'].error.str.contains('k must be').all() and table[table.method == 'far'].value.isna().all()
    assert table[(table.method == 'pca') & (table.metric == 'AUROC')].value.notna().all()
    assert sum('error' in c for c in read_cells(file)) == 1


@pytest.mark.parametrize('text', ['{', '[]', '{"name": "pca"}', 'null'])
def test_a_damaged_line_is_named(tmp_path, text):
    file = tmp_path/'cells.jsonl'
    benchmark(['pca'], 'P1', (0,), file, **SMALL)
    file.write_text(file.read_text() + text + '\n')
    with pytest.raises(ValueError, match='line 2'): read_cells(file)


def test_dirt_moves_anomalies_and_no_sample_is_on_both_sides():
    x, test, y = np.arange(90.)[:, None], 1000 + np.arange(40.)[:, None], np.repeat([0, 1], 20)
    dirty, rest, labels = make_dirty(x, test, y, .1, seed=1)
    assert len(dirty) == 100 and len(rest) == 30 and labels.sum() == 10
    assert not set(dirty.ravel()) & set(rest.ravel()) and set(dirty.ravel()) | set(rest.ravel()) == set(x.ravel()) | set(test.ravel())
    with pytest.raises(ValueError, match='needs 22 anomalies'): make_dirty(x, test, y, .2)
    with pytest.raises(ValueError, match=r'\[0, 0.5\)'): make_dirty(x, test, y, .5)


def test_a_part_is_what_its_protocol_says():
    part = load_part('P1', seed=2, rows=500, dirt=.05)
    assert len(part.x) == 526 and set(part.y) == {0, 1}
    images = load_part('P5', '3', dirt=1/3)
    assert images.y.mean() == pytest.approx(1/3, abs=.01) and np.array_equal(images.x, images.test)
    assert load_part('P5', '3', dirt=0.).x.shape[0] == (images.y == 0).sum()
    with pytest.raises(ValueError, match='P4'): load_part('P4', dirt=.1)
    with pytest.raises(ValueError, match='P2'): load_part('P2', dirt=.1)


@pytest.mark.parametrize('kind', SETTINGS)
def test_the_settings_are_those_of_known_methods(kind):
    assert kind in {p.kind for p in PROTOCOLS.values()}
    for name in SETTINGS[kind]: make_method(name, kind)


def test_paired_differences_pair_by_run():
    rows = [dict(protocol='P1', part='all', seed=s, method=m, metric='AUROC', value=v) for s, (a, b) in enumerate([(.5, .4), (.9, .8), (.7, .6)]) for m, v in (('a', a), ('b', b))]
    one = paired(pd.DataFrame(rows), 'b').loc['a']
    assert one.difference == pytest.approx(.1) and one.high - one.low < 1e-9 and one.n == 3
    with pytest.raises(ValueError, match='unknown method'): paired(pd.DataFrame(rows), 'c')


def test_the_command_makes_the_table_and_says_what_it_would_do(tmp_path, capsys):
    words = ['pca', '--rows', '300', '--test-rows', '400', '--out', str(tmp_path/'cells.jsonl')]
    assert bench_main([*words, '--dry-run']) == 0 and '1 cells are not stored' in capsys.readouterr().out
    assert not (tmp_path/'cells.jsonl').exists()
    assert bench_main(words) == 0 and 'AUROC' in capsys.readouterr().out
    assert bench_main([*words, '--dry-run']) == 0 and 'nothing to do' in capsys.readouterr().out
    assert bench_main(['pcaa', *words[1:]]) == 1 and "Did you mean 'pca'" in capsys.readouterr().err
    assert bench_main([*words, '--protocl', 'P2']) == 2
