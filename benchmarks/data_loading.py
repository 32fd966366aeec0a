"""Images per second of our data pipelines and of the authors', for the same pixels.

    python benchmarks/data_loading.py [--authors DETR] [--images DIR --annotations FILE]

Without --authors (a checkout of facebookresearch/detr) theirs is written down below, from the same
calls of Pillow and torchvision. Both sides get the same random choices, and the run ends with an
error unless they give the same normalised, padded batches and boxes. Theirs normalises and pads in
the worker; ours does so in the data preprocessor, which belongs to the time measured here (on a
GPU it would not be the CPU's work).
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
from _authors_data import AuthorsDataset, ReimplementedDataset, pad_batch
from _common import compare, ratio, summary, write_result
from _photographs import write_photographs
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmdetr.engine.data_sampling import SampleIndex, seeded_dataloader_cfg
from mmdetr.models.data_preprocessor import DetDataPreprocessor

CONFIG = Path(__file__).parents[1] / 'configs' / '_base_' / 'datasets' / 'coco_detection.py'
SEED = 0
# One uint8 level is 0.017 after normalisation: only rounding of floats passes.
TOLERANCE = 2e-5


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--authors', type=Path, help='folder of facebookresearch/detr')
    parser.add_argument('--images', type=Path, help='folder of images (default: generated ones)')
    parser.add_argument('--annotations', type=Path, help='their COCO annotation file')
    parser.add_argument('--num-images', type=int, default=40, help='images a call (default: 40)')
    parser.add_argument('--repeats', type=int, default=7, help='rounds (default: 7)')
    args = parser.parse_args()
    if (args.images is None) != (args.annotations is None):
        parser.error('--images and --annotations go together')
    if args.authors is not None and not (args.authors / 'datasets' / 'transforms.py').is_file():
        parser.error(f'{args.authors} holds no datasets/transforms.py of facebookresearch/detr')
    return args


def our_loader(
    pipeline: str, images: Path, annotations: Path, num_images: int, num_workers: int
) -> Any:
    """The loader that a run with the COCO config builds, in file order."""
    cfg = Config.fromfile(CONFIG)[f'{pipeline}_dataloader']
    cfg.update(num_workers=num_workers, persistent_workers=num_workers > 0)
    cfg.sampler.shuffle = False
    cfg.dataset.update(
        data_root='',
        ann_file=str(annotations),
        data_prefix=dict(img=str(images)),
        indices=num_images,
    )
    if pipeline == 'train':
        return Runner.build_dataloader(seeded_dataloader_cfg(cfg, SEED), seed=SEED)
    return Runner.build_dataloader(cfg, seed=SEED)


def record_choices(dataset: Any) -> list[list[Any]]:
    """What the training pipeline draws at random for each sample, in the order of drawing."""
    flip, choice = dataset.pipeline.transforms[2:4]
    whole, cropped = choice.transforms
    first, crop, last = cropped.transforms
    drawing = [
        (flip, '_choose_direction'),
        (choice, 'random_pipeline_index'),
        *((resize, '_random_select') for resize in (whole.transforms[0], first, last)),
        (crop, '_span'),
    ]
    log: list[Any] = []

    def recording(method: Callable) -> Callable:
        def call(*args: Any) -> Any:
            log.append(method(*args))
            return log[-1]

        return call

    for step, name in drawing:
        setattr(step, name, recording(getattr(step, name)))
    records = []
    for index in range(len(dataset)):
        log.clear()
        dataset[SampleIndex(index, SEED, 0)]
        records.append(list(log))
    for step, name in drawing:
        delattr(step, name)  # the class's method again
    return records


def their_loader(dataset: Dataset, batch_size: int, num_workers: int) -> DataLoader:
    return DataLoader(
        dataset,
        batch_size,
        num_workers=num_workers,
        collate_fn=pad_batch,
        persistent_workers=num_workers > 0,
    )


def check_equal(ours: Iterable[dict], theirs: Iterable[tuple], cat_ids: tuple) -> int:
    """Compares all batches and returns the number of images.

    Raises:
        ValueError: They differ; the message says in what.
    """
    preprocessor = DetDataPreprocessor()
    count = 0
    for batch, (images, mask, targets) in zip(ours, theirs, strict=True):
        data = preprocessor(batch)
        samples, own_mask = data['data_samples'], data['padding_mask']
        if own_mask is None:
            own_mask = torch.zeros_like(data['inputs'][:, 0], dtype=torch.bool)
        pairs = [('pixels', data['inputs'], images), ('mask', own_mask, mask)]
        for sample, target in zip(samples, targets, strict=True):
            if 'gt_instances' in sample:  # our test pipeline needs no boxes
                boxes, labels = _boxes_as_theirs(sample), sample.gt_instances.labels
                pairs.append(('boxes', boxes, target['boxes']))
                pairs.append(('labels', torch.tensor(cat_ids)[labels], target['labels']))
        for name, own, other in pairs:
            if own.shape != other.shape or not torch.allclose(
                own.double(), other.double(), rtol=0, atol=TOLERANCE
            ):
                ids = [sample.img_id for sample in samples]
                raise ValueError(f'{name} of images {ids} differ from the authors')
        count += len(samples)
    return count


def _boxes_as_theirs(sample: Any) -> Tensor:
    """Centre and size in parts of the image."""
    height, width = sample.img_shape
    x1, y1, x2, y2 = sample.gt_instances.bboxes.unbind(-1)
    boxes = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], dim=-1)
    return boxes / torch.tensor([width, height, width, height])


def run_pipeline(
    pipeline: str, images: Path, annotations: Path, args: argparse.Namespace
) -> dict[str, Any]:
    """Checks and times one pipeline, in one process and with one worker."""
    alone, worker = (
        our_loader(pipeline, images, annotations, args.num_images, workers) for workers in (0, 1)
    )
    batch_size = Config.fromfile(CONFIG)[f'{pipeline}_dataloader'].batch_size
    choices = record_choices(alone.dataset) if pipeline == 'train' else None
    shared = (images, annotations, args.num_images, pipeline, choices)
    theirs: Any = (
        ReimplementedDataset(*shared)
        if args.authors is None
        else AuthorsDataset(args.authors, *shared)
    )
    count = check_equal(
        alone, their_loader(theirs, batch_size, 0), alone.dataset.metainfo['cat_ids']
    )
    print(f'{pipeline} pipeline: {count} images are the same, pixels, masks and boxes')
    preprocessor = DetDataPreprocessor()
    result: dict[str, Any] = dict(images=count, batch_size=batch_size)
    for name, loader in (('one process', alone), ('one worker', worker)):
        other = their_loader(theirs, batch_size, loader.num_workers)
        times = compare(
            {
                'authors': partial(use_up, other),
                'ours': partial(use_up, loader, preprocessor),
                'ours, not normalised': partial(use_up, loader),
            },
            args.repeats,
        )
        result[name] = report(f'{pipeline} pipeline, {name}', times, count)
    return result


def use_up(loader: DataLoader, preprocessor: Callable | None = None) -> None:
    """Takes every batch, as training does, and normalises and pads it where that is left to do."""
    for batch in loader:
        if preprocessor is not None:
            preprocessor(batch)


def report(title: str, times: dict[str, list[float]], count: int) -> dict[str, Any]:
    """Prints and returns images per second and ratios."""
    rows: dict[str, Any] = {}
    for name, seconds in times.items():
        middle, low, high = ratio(times['authors'], seconds)
        speed = count / sorted(seconds)[len(seconds) // 2]
        rows[name] = dict(
            images_per_second=round(speed, 1),
            ratio=dict(median=round(middle, 3), min=round(low, 3), max=round(high, 3)),
            seconds=[round(each, 4) for each in seconds],
        )
        print(
            f'{title}: {name}: {speed:.1f} images/s, {summary(seconds)} for {count} images, '
            f'{middle:.2f} x the authors ({low:.2f} to {high:.2f})'
        )
    return rows


def main() -> None:
    args = parse_args()
    init_default_scope('mmdetr')
    torch.set_num_threads(1)  # as in a worker
    cv2.setNumThreads(0)  # as the runner sets it
    with tempfile.TemporaryDirectory() as folder:
        if args.images is None:
            source = 'generated'
            images, annotations = write_photographs(Path(folder) / 'coco', args.num_images)
        else:
            source, images, annotations = args.images.name, args.images, args.annotations
        try:
            results = {
                pipeline: run_pipeline(pipeline, images, annotations, args)
                for pipeline in ('train', 'test')
            }
        except ValueError as error:
            sys.exit(f'error: {error}')
        files = sorted(images.glob('*.jpg'))[: args.num_images]
        kilobytes = sum(file.stat().st_size for file in files) / max(len(files), 1) / 1000
    write_result(
        'data_loading',
        dict(
            peer='facebookresearch/detr' if args.authors else 'the authors algorithm, rewritten',
            data=f'{source}, {kilobytes:.0f} kB a JPEG file on average',
            **results,
        ),
    )


if __name__ == '__main__':
    main()
