import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.logging import MMLogger

FOLDER = Path(__file__).parents[2] / 'benchmarks'
sys.path.insert(0, str(FOLDER))


@pytest.fixture
def run_benchmark(monkeypatch: Any, tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Run a benchmark script as from the command line; results go to ``tmp_path``.

    What the scripts set for their process is undone.
    """
    import _common

    monkeypatch.setattr(_common, 'RESULTS', tmp_path)

    def run(name: str, *arguments: Any) -> dict[str, Any]:
        monkeypatch.setattr(sys, 'argv', [str(FOLDER / name), *map(str, arguments)])
        return runpy.run_path(str(FOLDER / name), run_name='__main__')

    threads, level = torch.get_num_threads(), MMLogger.get_current_instance().level
    yield run
    torch.set_num_threads(threads)
    MMLogger.get_current_instance().setLevel(level)
