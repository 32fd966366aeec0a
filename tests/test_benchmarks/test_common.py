import gc
import json
import runpy
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / 'benchmarks' / '_common.py'
COMMON = runpy.run_path(str(SCRIPT))


def test_variants_take_turns(monkeypatch):
    calls, collecting, clock = [], [], [0.0]
    monkeypatch.setattr(time, 'perf_counter', lambda: clock[0])

    def variant(name: str, seconds: float):
        def call():
            calls.append(name)
            collecting.append(gc.isenabled())
            clock[0] += seconds

        return call

    times = COMMON['compare']({'a': variant('a', 1), 'b': variant('b', 2)}, 3, warmup=1)
    assert calls == ['b', 'a', 'a', 'b', 'b', 'a', 'a', 'b']
    assert times == dict(a=[1, 1, 1], b=[2, 2, 2])
    assert not any(collecting)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_failing_variant_leaves_the_collector_on():
    with pytest.raises(ZeroDivisionError):
        COMMON['compare']({'a': lambda: 1 / 0}, 1)
    assert gc.isenabled()


def test_numbers_by_hand():
    assert COMMON['ratio']([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == (3.0, 2.0, 4.0)
    assert COMMON['summary']([1.25, 1.2, 1.31]) == 'median 1.25 s (1.2 to 1.31, n = 3)'
    assert COMMON['summary']([0.0125]) == 'median 12.5 ms (12.5 to 12.5, n = 1)'
    with pytest.raises(ValueError, match='zip'):
        COMMON['ratio']([1.0, 2.0], [1.0])


def test_result_says_where_it_is_from(tmp_path, monkeypatch, capsys):
    write_result = COMMON['write_result']
    monkeypatch.setitem(write_result.__globals__, 'RESULTS', tmp_path / 'benchmarks' / 'results')
    monkeypatch.setattr(
        sys, 'argv', [str(tmp_path / 'benchmarks' / 'x.py'), '--images', '/home/me/a b', '-n', '3']
    )
    path = write_result('x', dict(ratio=2.0))
    assert path == tmp_path / 'benchmarks' / 'results' / 'x.json'
    assert str(path) in capsys.readouterr().out
    content = json.loads(path.read_text())
    assert content['command'] == "python benchmarks/x.py --images 'a b' -n 3"
    assert content['ratio'] == 2.0
    assert content['machine'] == COMMON['machine']()
    assert {'cpu', 'cores', 'threads', 'torch', 'gpu'} <= content['machine'].keys()
    assert len(content['date']) == len('2026-11-24')
