"""Measures AP at several batch sizes, with images of one size per batch and with padding.

    python benchmarks/evaluation_batch_size.py

Trains the demo's model on generated pictures of five sizes: at strides 16 and 8 (DC5 halves the
stride likewise), each once in padded batches of 4, as the authors train R50, and once in batches of
4 images of one size, which like the one image per GPU of their DC5 need no padding. Then tests each
in batches of one size and in batches in the order of the file, which have to be padded. Runs that
are there in --work-dir are not trained again.

Writes benchmarks/results/evaluation_batch_size.md.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _common import RESULTS
from _generated import write_coco
from _page import heading, table
from mmengine.config import Config
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from mmdetr.datasets.samplers import input_sizes
from mmdetr.engine import DetectionRunner

ROOT = Path(__file__).parents[1]
IMAGE_SIZES = ((64, 64), (56, 80), (80, 56), (48, 96), (96, 48))  # h, w
STAGES = {16: 2, 8: 1}  # of the backbone, by stride
GROUPED, PADDED = 'one size', 'padded'
TESTS = [(1, GROUPED), (2, GROUPED), (8, GROUPED), (2, PADDED), (8, PADDED), (32, PADDED)]


@DATA_SAMPLERS.register_module()
class ShuffledSameSizeBatchSampler(Sampler):
    """Batches of one size for training; images left over in an epoch are left out."""

    def __init__(self, sampler: Any, batch_size: int) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.sizes = input_sizes(sampler.dataset)

    def __len__(self) -> int:
        counts = [self.sizes.count(size) for size in set(self.sizes)]
        return sum(count // self.batch_size for count in counts)

    def __iter__(self) -> Iterator[list[int]]:
        batches: dict[tuple, list[int]] = {}
        for index in self.sampler:
            batch = batches.setdefault(self.sizes[index], [])
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batches.pop(self.sizes[index])


def config(work_dir: Path, stride: int, training: str, epochs: int) -> Config:
    """The demo's model and schedule on the generated files."""
    cfg = Config.fromfile(ROOT / 'configs/detr_tiny_1xb32-12e_shapes.py')
    load = dict(type='LoadImageFromFile')
    for name in ('train', 'val'):
        cfg[f'{name}_dataloader'].update(num_workers=0, persistent_workers=False)
        pipeline = [load, *cfg[f'{name}_dataloader'].dataset.pipeline]
        cfg[f'{name}_dataloader'].dataset = dict(
            type='CocoDataset',
            data_root=f'{work_dir}/data/',
            ann_file=f'{name}.json',
            data_prefix=dict(img=''),
            pipeline=pipeline,
            test_mode=name == 'val',
        )
    cfg.test_dataloader = cfg.val_dataloader
    cfg.train_dataloader.batch_size = 4
    cfg.optim_wrapper.accumulative_counts = 8  # the demo's batch of 32
    cfg.param_scheduler[0].end *= 8
    if training == GROUPED:
        cfg.train_dataloader.batch_sampler = dict(type='ShuffledSameSizeBatchSampler')
    cfg.model.backbone.out_indices = (STAGES[stride],)
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = epochs
    cfg.param_scheduler[1].T_max = epochs
    cfg.default_hooks.visualization.draw = False
    cfg.log_level = 'WARNING'
    cfg.work_dir = f'{work_dir}/stride{stride}_{training.replace(" ", "_")}'
    cfg.experiment_name = cfg.visualizer.name = Path(cfg.work_dir).name
    return cfg


def train(cfg: Config) -> None:
    cfg = cfg.copy()
    cfg.resume = 'auto'
    DetectionRunner.from_cfg(cfg).train()


def test(cfg: Config, batch_size: int, batches: str) -> float:
    """bbox_mAP in per cent."""
    cfg = cfg.copy()
    cfg.load_from = f'{cfg.work_dir}/epoch_{cfg.train_cfg.max_epochs}.pth'
    cfg.test_dataloader.batch_size = batch_size
    if batches == PADDED:
        cfg.test_dataloader.batch_sampler = None
    cfg.experiment_name = cfg.visualizer.name = f'{cfg.experiment_name}_{batch_size}_{batches}'
    return 100 * DetectionRunner.from_cfg(cfg).test()['coco/bbox_mAP']


def page(rows: list[list[str]], args: argparse.Namespace) -> str:
    columns = ['stride', 'trained on batches', *(f'{size}, {how}' for size, how in TESTS)]
    return (
        heading('AP and the batch size of the evaluation')
        + f"\nThe demo's model, {args.epochs} epochs on {5 * args.images} generated pictures of "
        'five sizes (64 x 64 to 48 x 96 pixels), in batches of 4, eight to a step; bbox_mAP '
        f'in per cent on {args.images} others, by batch size and kind of batch. "One size" is what '
        '`SameSizeBatchSampler` makes, the default of the configs; "padded" takes the images in '
        'the order of the file.\n\n' + table(columns, rows)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/evaluation_batch_size'))
    parser.add_argument('--epochs', type=int, default=12, help='of each training (default: 12)')
    parser.add_argument('--images', type=int, default=800, help='of each size (default: 800)')
    args = parser.parse_args()
    data = args.work_dir / 'data'
    if not (data / 'val.json').exists():
        data.mkdir(parents=True, exist_ok=True)
        write_coco(data, 'train', IMAGE_SIZES, args.images)
        write_coco(data, 'val', IMAGE_SIZES, args.images // 5, seed=1)
    rows = []
    for stride in STAGES:
        for training in (PADDED, GROUPED):
            cfg = config(args.work_dir, stride, training, args.epochs)
            train(cfg)
            numbers = [f'{test(cfg, *each):.3f}' for each in TESTS]
            rows.append([str(stride), training, *numbers])
            print(*rows[-1], flush=True)
    text = page(rows, args)
    print(text)
    (RESULTS / 'evaluation_batch_size.md').write_text(text)


if __name__ == '__main__':
    main()
