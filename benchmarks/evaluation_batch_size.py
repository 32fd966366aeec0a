"""Measures AP at several batch sizes, with images of one size per batch and with padding.

    python benchmarks/evaluation_batch_size.py work_dirs/detr_tiny_1xb32-12e_shapes/epoch_12.pth

The demo's model has seen pictures of one size only. From its checkpoint two models are trained on
pictures of five sizes, its batch norm fixed: one in batches in random order, which have to be
padded, as the authors train R50; one in batches of images of one size, which like the one image per
GPU of their DC5 need no padding. All three are tested in batches of one size and in batches in the
order of the file, which are padded. Runs that are there in --work-dir are not trained again.

Writes benchmarks/results/evaluation_batch_size.md.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _common import DEMO, existing_file, heading, parser, positive, table, write_page

IMAGE_SIZES = ((64, 64), (56, 80), (80, 56), (48, 96), (96, 48))  # h, w
BATCH = 8
GROUPED, PADDED = 'one size', 'padded'
TESTS = [(1, GROUPED), (2, GROUPED), (8, GROUPED), (2, PADDED), (8, PADDED), (32, PADDED)]


class ShuffledSameSizeBatchSampler:
    """Batches of one size for training; images left over in an epoch are left out."""

    def __init__(self, sampler: Any, batch_size: int) -> None:
        from mmdetr.datasets.samplers import input_sizes

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


def config(work_dir: Path, checkpoint: Path, training: str, epochs: int) -> Any:
    """The demo's model on the generated files, from its checkpoint."""
    from mmengine.config import Config

    cfg = Config.fromfile(DEMO)
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
    cfg.train_dataloader.batch_size = BATCH
    if training == GROUPED:
        cfg.train_dataloader.batch_sampler = dict(type='ShuffledSameSizeBatchSampler')
    cfg.model.backbone.norm_frozen = True
    cfg.load_from = str(checkpoint)
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = epochs
    cfg.optim_wrapper.optimizer.lr = 2e-4
    cfg.param_scheduler = [
        dict(type='CosineAnnealingLR', T_max=epochs, by_epoch=True, convert_to_iter_based=True)
    ]
    cfg.default_hooks.visualization.draw = False
    cfg.log_level = 'WARNING'
    cfg.work_dir = f'{work_dir}/{training.replace(" ", "_")}'
    cfg.experiment_name = cfg.visualizer.name = Path(cfg.work_dir).name
    return cfg


def train(cfg: Any) -> None:
    from mmengine.registry import DATA_SAMPLERS

    from mmdetr.engine import DetectionRunner

    DATA_SAMPLERS.register_module(module=ShuffledSameSizeBatchSampler, force=True)
    cfg = cfg.copy()
    cfg.resume = 'auto'
    DetectionRunner.from_cfg(cfg).train()


def test(cfg: Any, checkpoint: Path, batch_size: int, batches: str) -> float:
    """bbox_mAP in per cent."""
    from mmdetr.engine import DetectionRunner

    cfg = cfg.copy()
    cfg.load_from = str(checkpoint)
    cfg.test_dataloader.batch_size = batch_size
    if batches == PADDED:
        cfg.test_dataloader.batch_sampler = None
    cfg.experiment_name = cfg.visualizer.name = f'{checkpoint}_{batch_size}_{batches}'
    return 100 * DetectionRunner.from_cfg(cfg).test()['coco/bbox_mAP']


def page(rows: list[list[str]], args: argparse.Namespace) -> str:
    columns = ['trained on', *(f'{size}, {how}' for size, how in TESTS)]
    return (
        heading('AP and the batch size of the evaluation')
        + "\nThe demo's checkpoint, and two models trained on from it for "
        f'{args.epochs} epochs on {5 * args.images} generated pictures of five sizes (64 x 64 to '
        f'48 x 96 pixels) in batches of {BATCH}; bbox_mAP in per cent on {args.images} others, by '
        'batch size and kind of batch. "One size" is what `SameSizeBatchSampler` makes, the '
        'default of the configs; "padded" takes the images in the order of the file.\n\n'
        + table(columns, rows)
    )


def parse_args() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument('checkpoint', type=existing_file, help=f'of configs/{DEMO.name}')
    options.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/evaluation_batch_size'),
        help='for the runs',
    )
    options.add_argument('--epochs', type=positive, default=3, help='of a training (default: 3)')
    options.add_argument('--images', type=positive, default=400, help='of a size (default: 400)')
    return options.parse_args()


def main() -> None:
    args = parse_args()
    from _coco_data import write_shapes

    data = args.work_dir / 'data'
    if not (data / 'val.json').exists():
        data.mkdir(parents=True, exist_ok=True)
        write_shapes(data, 'train', IMAGE_SIZES, args.images)
        write_shapes(data, 'val', IMAGE_SIZES, max(1, args.images // 5), seed=1)
    rows = []
    for training in ('', PADDED, GROUPED):
        cfg = config(args.work_dir, args.checkpoint, training, args.epochs)
        checkpoint = args.checkpoint
        if training:
            train(cfg)
            checkpoint = Path(cfg.work_dir) / f'epoch_{args.epochs}.pth'
        name = f'five sizes, batches {training}' if training else 'one size of picture (the demo)'
        rows.append([name, *(f'{test(cfg, checkpoint, *each):.3f}' for each in TESTS)])
        print(*rows[-1], flush=True)
    write_page('evaluation_batch_size', page(rows, args))


if __name__ == '__main__':
    main()
