"""Shared fixtures."""

import os

if 'PYTEST_XDIST_WORKER' in os.environ:
    # The workers share the cores; what they start has one thread as well.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
# The oracles' numbers are a CPU's, and ranks are more than there are GPUs; benchmarks/gpu_check.py
# is for a GPU.
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import init_default_scope

# Take ten seconds or more in few tests; shared out last, they would keep one worker busy alone.
LONG = {
    'test_end_to_end/test_tools_chain.py',
    'test_end_to_end/test_ranks.py',
    'test_deploy/test_export.py',
    'test_models/test_export.py',
    'test_models/test_export_realtime.py',
    'test_models/test_family.py',
    'test_end_to_end/test_extending.py',
    'test_end_to_end/test_query_family.py',
    'test_notebook.py',
    'test_serving/test_server.py',
    'test_wheel.py',
    'test_apis/test_imports.py',
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    folder = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(folder).as_posix() not in LONG)


def pytest_report_header() -> str:
    """Say which kind of CPU the suite runs on: kernels and their rounding depend on it."""
    bfloat16 = torch.backends.mkldnn.is_available() and (
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    return (
        f'cpu: {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, '
        f'oneDNN bfloat16 {"yes" if bfloat16 else "no"}, {torch.get_num_threads()} threads; '
        f'torch {torch.__version__}, GPU {"yes" if torch.cuda.is_available() else "no"}'
    )


def pytest_sessionstart() -> None:
    """Run the first backward pass of the process.

    If torch.export comes before it, autograd sees a GPU that is not there, starts threads for it,
    and refuses to run in forked processes; many tests fork ranks.
    """
    torch.ones(1, requires_grad=True).sum().backward()


@pytest.fixture(autouse=True)
def _mmdetr_scope() -> None:
    """Registries resolve names as they do under a config with default_scope='mmdetr'."""
    init_default_scope('mmdetr')


@pytest.fixture(autouse=True)
def _torch_loads_as_before() -> Iterator[None]:
    """Undo what a tool sets for its whole process, which here goes on with other tests."""
    yield
    os.environ.pop('TORCH_FORCE_WEIGHTS_ONLY_LOAD', None)


@pytest.fixture(autouse=True, scope='session')
def _own_cache(tmp_path_factory: Any) -> Iterator[None]:
    """Keep what the data check caches out of the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(autouse=True, scope='session')
def _quick_runner() -> Iterator[None]:
    """Build runners without what takes long: asking compilers, laying out the config.

    Hundreds are built. Tests that start a tool in a process of its own do both.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.runner.runner.collect_env', dict)
        layout = 'mmengine.config.config.FormatCode'
        patch.setattr(layout, lambda text, **_: (text, False), raising=False)
        yield
