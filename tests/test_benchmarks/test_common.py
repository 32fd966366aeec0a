import argparse
import datetime
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

import _common
import page
import pytest
import torch

FOLDER = Path(_common.__file__).parent
SCRIPTS = sorted(path.name for path in FOLDER.glob('[!_]*.py'))
MACHINE = dict(
    cpu='P', cores='8', gpu='none', threads='4', system='S',
    python='3.1', torch='2', torchvision='1',
)  # fmt: skip


def test_variants_take_turns(monkeypatch):
    calls, collecting, clock = [], [], [0.0]
    monkeypatch.setattr(time, 'perf_counter', lambda: clock[0])

    def variant(name: str, seconds: float):
        def call():
            calls.append(name)
            collecting.append(gc.isenabled())
            clock[0] += seconds

        return call

    times = _common.time_in_turns({'a': variant('a', 1), 'b': variant('b', 2)}, 3, warmup=1)
    assert calls == ['b', 'a', 'a', 'b', 'b', 'a', 'a', 'b']
    assert times == dict(a=[1, 1, 1], b=[2, 2, 2])
    assert not any(collecting)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_failing_variant_leaves_the_collector_on():
    with pytest.raises(ZeroDivisionError):
        _common.time_in_turns({'a': lambda: 1 / 0}, 1)
    assert gc.isenabled()


def test_numbers_by_hand():
    assert _common.ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == (3.0, 2.0, 4.0)
    assert str(_common.ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0])) == '3.00 (2.00 to 4.00)'
    assert _common.summary([1.25, 1.2, 1.31]) == 'median 1.25 s (1.2 to 1.31, n = 3)'
    assert _common.summary([0.0125]) == 'median 12.5 ms (12.5 to 12.5, n = 1)'
    with pytest.raises(ValueError, match='zip'):
        _common.ratio([1.0, 2.0], [1.0])


def test_table_by_hand():
    assert _common.table(['', 'b'], [['1', '2'], ['3', '']]) == (
        '| | b |\n|---|---|\n| 1 | 2 |\n| 3 | |\n'
    )


def test_machine_is_the_one_that_linux_and_torch_describe(monkeypatch):
    found = _common.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.is_file():
        lines = cpuinfo.read_text().splitlines()
        assert f'model name\t: {found["cpu"]}' in lines
        flags = next(line for line in lines if line.startswith('flags')).split()
        # Kernels for AVX-512 are for CPUs that have it, and oneDNN's bfloat16 needs as much.
        if found['cpu_capability'] == 'AVX512' or found['onednn_bfloat16'] == 'yes':
            assert 'avx512bw' in flags
    assert found['threads'] == str(torch.get_num_threads())
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: True)
    assert _common.machine()['onednn_bfloat16'] == 'yes'
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
    assert _common.machine()['onednn_bfloat16'] == 'no'


def test_kind_of_cpu_is_shown_where_it_is_known():
    rest = '8 cores, 4 threads, GPU: none, Python 3.1, torch 2, torchvision 1'
    assert _common.machine_line(MACHINE) == f'P, {rest}'
    known = dict(MACHINE, cpu_capability='AVX2', onednn_bfloat16='no')
    assert _common.machine_line(known) == f'P (AVX2, oneDNN bfloat16: no), {rest}'


def test_result_says_where_it_is_from(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_common, 'RESULTS', tmp_path)
    monkeypatch.setattr(sys, 'argv', [str(FOLDER / 'x.py'), '--images', '/home/me/a b', '-n', '3'])
    found = dict(MACHINE, cpu_capability='NO AVX')
    monkeypatch.setattr(_common, 'machine', lambda: found)
    _common.write_result('x', dict(ratio=2.0))
    path = tmp_path / 'x_NOAVX.json'
    assert str(path) in capsys.readouterr().out
    assert json.loads(path.read_text()) == dict(
        date=datetime.date.today().isoformat(),
        command="python benchmarks/x.py --images 'a b' -n 3",
        machine=found,
        ratio=2.0,
    )


@pytest.mark.parametrize('text', ['0', '-1', 'many', '1.5'])
def test_counts_are_positive(text):
    with pytest.raises(argparse.ArgumentTypeError, match='not a whole number of 1 or more'):
        _common.positive(text)


WITHOUT_TORCH = """
import runpy, sys
sys.modules['torch'] = sys.modules['mmengine'] = None
for name in sys.argv[1:]:
    sys.argv = [name, '--help']
    sys.path[0] = name.rpartition('/')[0]
    try:
        runpy.run_path(name, run_name='__main__')
    except SystemExit as end:
        assert end.code == 0, (name, end.code)
"""


def test_help_needs_no_torch():
    """So it answers at once: importing torch takes seconds."""
    scripts = [str(FOLDER / name) for name in SCRIPTS]
    done = subprocess.run(
        [sys.executable, '-c', WITHOUT_TORCH, *scripts], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('usage:') == len(SCRIPTS)


def test_published_page_follows_from_the_results(monkeypatch, tmp_path):
    monkeypatch.setattr(page, 'PAGE', tmp_path / 'README.md')
    monkeypatch.setattr(sys, 'argv', ['page.py'])
    page.main()
    assert (tmp_path / 'README.md').read_text() == (FOLDER / 'README.md').read_text()
