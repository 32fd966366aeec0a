"""Exports a detector to ONNX, OpenVINO or torch.export, and compares the file with the model."""

import argparse
import os
import sys
from pathlib import Path

from mmdetr.config.command_line import (
    CHECKPOINT_SUFFIXES,
    add_cfg_options,
    add_model,
    check_model,
)
from mmdetr.deploy.metadata import SUFFIXES


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Export a detector to a file that ONNX Runtime, OpenVINO or torch runs.',
        epilog="""\
Without --with-postprocess the file takes
  inputs        float32 [batch, 3, height, width], normalised, zero-padded right and bottom
  padding_mask  bool [batch, height, width], true on padding
and gives logits [batch, queries, classes (+ 1)] and bboxes [batch, queries, 4], centre and size
in 0..1 of the unpadded image. With it, it takes
  images          uint8 [batch, height, width, 3] in RGB order, resized, each in the upper left
  original_sizes  int64 [batch, 2], height and width before resizing
  sizes           int64 [batch, 2], height and width after it
and gives boxes [batch, detections, 4] (left, top, right, bottom in pixels of the original image),
scores and labels. Models whose pipeline makes all images alike take no padding_mask and no sizes.

The file is compared with the model on several sizes and batches, and kept only where it computes
the same. mmdetr.apis.RuntimeDetector runs it without torch; tools/test.py evaluates it.

examples:
  python tools/export.py detr-r50
  python tools/export.py work_dirs/mine/best.pth
  python tools/export.py configs/detr_r50_8xb2-150e_coco.py detr-r50.pth
  python tools/export.py CONFIG CHECKPOINT --with-postprocess --out model.onnx
  python tools/export.py CONFIG CHECKPOINT --format openvino --size 640 640
  python tools/export.py CONFIG CHECKPOINT --dtype int8 --calibration photos/
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model(parser)
    parser.add_argument('--format', choices=list(SUFFIXES), default='onnx')
    parser.add_argument(
        '--out', metavar='FILE', help="default: the checkpoint's name with the format's suffix"
    )
    parser.add_argument('--dtype', choices=['float32', 'float16', 'int8'], default='float32')
    sides = parser.add_mutually_exclusive_group()
    sides.add_argument(
        '--dynamic',
        action='store_true',
        help='height and width are free (default, unless the pipeline makes all images alike)',
    )
    sides.add_argument(
        '--size', type=int, nargs=2, metavar=('H', 'W'), help='fix height and width of the input'
    )
    parser.add_argument(
        '--with-postprocess',
        action='store_true',
        help='take uint8 images, give boxes in pixels, scores and labels',
    )
    parser.add_argument(
        '--score-threshold', type=float, help='score that the file recommends to show from'
    )
    parser.add_argument(
        '--calibration',
        metavar='IMAGES',
        help="image file, folder or pattern for int8 (default: the config's training images)",
    )
    parser.add_argument(
        '--allow-mismatch',
        action='store_true',
        help='go on where checkpoint and config do not belong together',
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    check_model(args.config, args.checkpoint)
    if args.calibration is not None and args.dtype != 'int8':
        parser.error('--calibration is for --dtype int8')
    if args.out is None:
        args.out = name_output(args.checkpoint or args.config, SUFFIXES[args.format])
    if args.score_threshold is not None and not 0 <= args.score_threshold <= 1:
        parser.error(f'--score-threshold must be in 0..1, not {args.score_threshold:g}')
    return args


def name_output(word: str, suffix: str) -> str:
    """A file beside a checkpoint, or here for one that is fetched."""
    path = Path(word if '://' not in word else word.rpartition('/')[2])
    if path.suffix in CHECKPOINT_SUFFIXES:
        path = path.with_suffix('')
    return f'{path}{suffix}'


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()

from mmdetr.apis import export_detector, init_detector
from mmdetr.apis.image_files import find_images
from mmdetr.apis.named_models import read_model
from mmdetr.config.refusals import refusals_in_one_line
from mmdetr.deploy.export import ExportReport, check_target


def main(args: argparse.Namespace) -> None:
    os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    config, weights = read_model(args.config, args.checkpoint, args.cfg_options)
    with refusals_in_one_line(config):
        check_target(args.out, args.format, args.dtype)  # before anything slow
        model = init_detector(config, weights, device='cpu', allow_mismatch=args.allow_mismatch)
        report = export_detector(
            model,
            args.out,
            format=args.format,
            dtype=args.dtype,
            size=args.size and tuple(args.size),
            dynamic=args.dynamic,
            with_postprocess=args.with_postprocess,
            score_threshold=args.score_threshold,
            calibration=args.calibration and find_images(args.calibration, Path(os.devnull))[0],
            log=lambda text: print(f'{text} ...', file=sys.stderr, flush=True),
        )
    print_report(report)


def print_report(report: ExportReport) -> None:
    """Say what was written and how far it is from the model."""
    metadata = report.metadata
    size = 'free' if metadata.size is None else '{} x {}'.format(*metadata.size)
    print(f'{report.file}: {metadata.dtype}, height x width {size}, batch free')
    for what, largest in report.largest().items():
        print(f'  {what}: differ by {largest:.2g} at most from torch')
    if report.accuracy is not None:
        before, after = report.accuracy
        print(f'  bbox AP: {before:.3f} in float32, {after:.3f} in {metadata.dtype}')
    print(f'  {report.seconds:.0f} s')


if __name__ == '__main__':
    main(arguments)
