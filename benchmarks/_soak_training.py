"""The training that soak.py watches: a small DETR on many sizes of generated JPEG files."""

import ctypes
import multiprocessing
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from _coco_data import write_shapes
from _common import COCO_CONFIG, DEMO
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS

from mmdetr.engine import DetectionRunner

LISTED_IMAGES = 118_000
IMAGES_PER_EPOCH = 600
IMAGE_SIZES = ((480, 640), (640, 480), (427, 640), (375, 500), (500, 333))  # h, w


@DATA_SAMPLERS.register_module()
class ShortEpochSampler(DefaultSampler):
    """Some images of a large set, others in every epoch."""

    def __len__(self) -> int:
        return IMAGES_PER_EPOCH

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), IMAGES_PER_EPOCH)


class ProgressHook(Hook):
    """Tell the watching process how long training has gone on, and end it in time.

    Time in which the machine did something else does not count.
    """

    def __init__(self, progress: Any, seconds: float) -> None:
        self.progress = progress
        self.seconds = seconds

    def before_train(self, runner: Any) -> None:
        self._last = time.monotonic()

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            sys.exit('error: the watching process is gone')
        now = time.monotonic()
        self.progress[0] += min(now - self._last, 20)
        self.progress[1] = runner.iter + 1
        self.progress[3] = heap_in_use()
        self._last = now

    def after_train_epoch(self, runner: Any) -> None:
        self.progress[2] += 1
        runner.train_loop.stop_training = self.progress[0] >= self.seconds


class MallocInfo(ctypes.Structure):
    """struct mallinfo2 of <malloc.h>."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *('arena', 'ordblks', 'smblks', 'hblks', 'hblkhd'),
            *('usmblks', 'fsmblks', 'uordblks', 'fordblks', 'keepcost'),
        )
    ]


def heap_in_use() -> float:
    """MiB that this process has allocated from the C library and not given back to it."""
    function = ctypes.CDLL('libc.so.6').mallinfo2
    function.restype = MallocInfo
    info = function()
    return (info.uordblks + info.hblkhd) / 2**20


def write_data(folder: Path) -> None:
    """40 JPEG files of each size for training, listed again and again, and 20 for validation."""
    common = dict(num_objects=(2, 12), extension='jpg')
    write_shapes(folder, 'train', IMAGE_SIZES, 40, listed_images=LISTED_IMAGES, **common)
    write_shapes(folder, 'val', IMAGE_SIZES, 20, seed=1, **common)


def config(folder: Path) -> Config:
    """The COCO config at a quarter of its image size, with the demo's model."""
    cfg = Config.fromfile(COCO_CONFIG)
    demo = Config.fromfile(DEMO)
    shrink(cfg.train_dataloader.dataset.pipeline)
    shrink(cfg.val_dataloader.dataset.pipeline)
    for name in ('train', 'val'):
        data = dict(data_root=f'{folder}/', ann_file=f'{name}.json', data_prefix=dict(img=''))
        cfg[f'{name}_dataloader'].dataset.update(data)
    cfg.train_dataloader.sampler.type = 'ShortEpochSampler'
    cfg.val_evaluator.ann_file = f'{folder}/val.json'
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    cfg.model = demo.model
    cfg.model.bbox_head.num_queries = 50
    cfg.optim_wrapper = demo.optim_wrapper
    cfg.optim_wrapper.optimizer.lr = 1e-4
    cfg.param_scheduler = None
    cfg.train_cfg.max_epochs = 10**6  # the hook ends it
    cfg.log_level = 'WARNING'
    cfg.work_dir = f'{folder}/run'
    return cfg


def shrink(steps: Any) -> None:
    """Divide all sizes in a pipeline by four."""
    for step in steps:
        if isinstance(step, list):
            shrink(step)
            continue
        shrink(step.get('transforms', []))
        for key in ('scale', 'scales', 'min_size', 'max_size'):
            if key in step:
                step[key] = quarter(step[key])


def quarter(size: Any) -> Any:
    if isinstance(size, list):
        return [quarter(each) for each in size]
    if isinstance(size, tuple):
        return tuple(each and each // 4 for each in size)
    return size // 4


def train(folder: Path, progress: Any, seconds: float) -> None:
    runner = DetectionRunner.from_cfg(config(folder))
    runner.register_hook(ProgressHook(progress, seconds))
    runner.train()
