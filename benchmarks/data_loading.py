"""Images per second of our data pipelines and of the authors', for the same pixels.

    python benchmarks/data_loading.py [--authors DETR] [--images DIR --annotations FILE]

Without --authors (a checkout of facebookresearch/detr) theirs is that of _pipelines.py, from the
same calls of Pillow and torchvision. Both sides get the same random choices, and the run ends with
an error unless they give the same normalised, padded batches and boxes. Theirs normalises and pads
in the worker; ours does so in the data preprocessor, which belongs to the time measured here (on a
GPU it would not be the CPU's work).
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from _common import (
    existing_file,
    parser,
    positive,
    ratio,
    summary,
    time_in_turns,
    write_result,
)


def parse_args() -> argparse.Namespace:
    options = parser(__doc__, authors=True, repeats=7)
    options.add_argument('--images', type=Path, help='folder of images (default: generated ones)')
    options.add_argument('--annotations', type=existing_file, help='their COCO annotation file')
    options.add_argument('--num-images', type=positive, default=40, help='a call (default: 40)')
    args = options.parse_args()
    if (args.images is None) != (args.annotations is None):
        options.error('--images and --annotations go together')
    return args


def run_pipeline(
    pipeline: str, images: Path, annotations: Path, args: argparse.Namespace
) -> dict[str, Any]:
    """Check and time one pipeline, in one process and with one worker."""
    from _pipelines import (
        CONFIG,
        AuthorsDataset,
        ReimplementedDataset,
        check_equal,
        our_loader,
        pad_batch,
        record_choices,
    )
    from mmengine.config import Config
    from torch.utils.data import DataLoader

    from mmdetr.models.data_preprocessor import DetDataPreprocessor

    source = pipeline, images, annotations, args.num_images
    alone, worker = our_loader(*source, 0), our_loader(*source, 1)
    batch_size = Config.fromfile(CONFIG)[f'{pipeline}_dataloader'].batch_size
    choices = record_choices(alone.dataset) if pipeline == 'train' else None
    dataset = partial(AuthorsDataset, args.authors) if args.authors else ReimplementedDataset
    theirs = dataset(images, annotations, args.num_images, pipeline, choices)

    def their_loader(workers: int) -> DataLoader:
        options = dict(num_workers=workers, persistent_workers=workers > 0)
        return DataLoader(theirs, batch_size, collate_fn=pad_batch, **options)

    count = check_equal(alone, their_loader(0), alone.dataset.metainfo['cat_ids'])
    print(f'{pipeline} pipeline: {count} images are the same, pixels, masks and boxes')
    preprocessor = DetDataPreprocessor()
    result: dict[str, Any] = dict(images=count, batch_size=batch_size)
    for name, loader in (('one process', alone), ('one worker', worker)):
        parties = {
            'authors': partial(use_up, their_loader(loader.num_workers)),
            'ours': partial(use_up, loader, preprocessor),
            'ours, not normalised': partial(use_up, loader),
        }
        times = time_in_turns(parties, args.repeats)
        result[name] = report(f'{pipeline} pipeline, {name}', times, count)
    return result


def use_up(loader: Iterable, preprocessor: Callable | None = None) -> None:
    """Take every batch, as training does, and normalise and pad it where that is left to do."""
    for batch in loader:
        if preprocessor is not None:
            preprocessor(batch)


def report(title: str, times: dict[str, list[float]], count: int) -> dict[str, Any]:
    """Print and return images per second and ratios."""
    rows: dict[str, Any] = {}
    for name, seconds in times.items():
        faster = ratio(times['authors'], seconds)
        speed = count / statistics.median_high(seconds)
        rows[name] = dict(
            images_per_second=round(speed, 1),
            ratio=[round(each, 3) for each in faster],
            seconds=[round(each, 4) for each in seconds],
        )
        print(
            f'{title}: {name}: {speed:.1f} images/s, {summary(seconds)} for {count} images, '
            f'{faster} x the authors'
        )
    return rows


def main() -> None:
    args = parse_args()
    import cv2
    import torch
    from _coco_data import write_photographs
    from mmengine.registry import init_default_scope

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
        except (OSError, ValueError) as error:
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
