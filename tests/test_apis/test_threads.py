"""One model in several threads gives what it gives in one."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

from mmdetr.apis import inference_detector, init_detector
from mmdetr.apis.inference import test_pipeline as pipeline_of
from mmdetr.datasets.transforms import Resize
from tests.test_apis.test_inference import CONFIG, same

THREADS = 8
ROOT = Path(__file__).parents[2]


@pytest.fixture
def _quick_switching() -> Iterator[None]:
    interval, num_threads = sys.getswitchinterval(), torch.get_num_threads()
    sys.setswitchinterval(1e-6)
    torch.set_num_threads(1)
    yield
    sys.setswitchinterval(interval)
    torch.set_num_threads(num_threads)


@pytest.mark.usefixtures('_quick_switching')
def test_threads_give_the_results_of_one() -> None:
    config = Config(CONFIG)
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(4)]
    torch.manual_seed(0)
    model = init_detector(config, device='cpu')
    expected = inference_detector(model, arrays)
    model.cfg = config.copy()
    model.cfg.test_dataloader.dataset.pipeline[2].scale = (100, 97)  # the same size, built anew
    barrier = threading.Barrier(THREADS)
    init_default_scope('mmengine')  # where Resize is mmcv's

    def work(thread: int) -> bool:
        barrier.wait()
        if thread % 4 == 0:  # other models come up meanwhile
            init_detector(config, device='cpu')
        found = [inference_detector(model, arrays[k % 4]) for k in range(thread, thread + 12)]
        return all(same(each, expected[k % 4]) for k, each in enumerate(found, thread))

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(work, range(THREADS)))
    assert DefaultScope.get_current_instance().scope_name == 'mmengine'


def test_the_pipeline_is_built_once_and_follows_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    model = init_detector(Config(CONFIG), device='cpu')
    _, steps = pipeline_of(model)
    assert isinstance(steps.transforms[0], Resize)  # not mmcv's of the same name
    array = np.zeros((40, 50, 3), np.uint8)
    assert inference_detector(model, array).img_shape == (80, 100)
    with monkeypatch.context() as patched:
        patched.setattr(DefaultScope, 'overwrite_default_scope', None)
        inference_detector(model, array)
        assert pipeline_of(model)[1] is steps

    # In place, and by another config.
    model.cfg.test_dataloader.dataset.pipeline[2].scale = (50, 50)
    assert inference_detector(model, array).img_shape == (40, 50)
    model.cfg = Config(CONFIG)
    assert inference_detector(model, array).img_shape == (80, 100)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_a_forked_process_does_not_hang() -> None:
    """OpenMP's threads of the parent are not there in the child."""
    code = """
import multiprocessing, warnings
import numpy as np, torch
from mmdetr.apis import inference_detector, init_detector

def work(queue):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        found = [inference_detector(model, image).pred_instances.scores for _ in range(2)]
    said = [str(each.message) for each in caught if 'forked' in str(each.message)]
    queue.put((len(said), torch.equal(found[0], found[1]), torch.allclose(found[0], expected)))

torch.set_num_threads(2)
model = init_detector('detr_tiny_1xb32-12e_shapes', device='cpu')
image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
expected = inference_detector(model, image).pred_instances.scores
context = multiprocessing.get_context('fork')
queue = context.Queue()
process = context.Process(target=work, args=(queue,), daemon=True)
process.start()
print(queue.get(timeout=60))
"""
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.stdout == '(1, True, True)\n', done.stderr
