"""Detects objects in images, a video or a camera's pictures: drawn, and as JSON or text."""

import argparse
import sys
from pathlib import Path
from typing import Any

from mmdetr.config.command_line import (
    check_input_file,
    check_model,
    check_out_dir,
    score,
)

PREDICTIONS = 'predictions.json'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Detect objects in images with a trained model.',
        epilog=f"""\
OUT_DIR gets a picture per image, under the image's name, and {PREDICTIONS}: a list with
  {{"file": ..., "boxes": [[x1, y1, x2, y2], ...], "scores": [...], "labels": [...],
   "names": [...]}}
per image, boxes in pixels of the image, best score first. In OUT_DIR, pictures lie in the folders
  that the images lie in below the one that was given. A model with masks adds
  "masks": [{{"size": [h, w], "counts": "..."}}, ...], run lengths as pycocotools reads them, and
  "segments": [{{"id": ..., "label": ..., "name": ..., "isthing": ..., "area": ..., "score": ...}}]
if it makes panoptic segmentations. --mask-png writes, beside a picture NAME, a file NAME.mask0.png
for the first detection, NAME.mask1.png for the second (255 in the mask, 0 outside), and
NAME.panoptic.png with the segments' ids, R + 256 G + 65536 B, as COCO's.

A folder stands for all images in it and below it: files with a suffix that Pillow reads, and files
without suffix that are images. What is passed over is counted and named.

A video (PyAV reads and writes them: pip install av) becomes OUT_DIR/NAME.mp4 without its sound, and
its frames have "frame": NUMBER, from 0, and "time": SECONDS in {PREDICTIONS}. A number is a camera;
Ctrl-C ends it.

--save-txt writes OUT_DIR/labels/NAME.txt per image or frame as YOLO does: class number, centre x,
centre y, width, height (shares of the image) and score, a line per detection; --save-json writes
the image's entry of {PREDICTIONS} to OUT_DIR/labels/NAME.json.

examples:
  python tools/infer.py photo.jpg configs/detr_r50_8xb2-150e_coco.py detr-r50.pth
  python tools/infer.py photos/ rtdetrv2-r18
  python tools/infer.py photos/ best.pth                a checkpoint of a training here
  python tools/infer.py photos/ CONFIG CHECKPOINT
  python tools/infer.py 'photos/*.png' CONFIG CHECKPOINT --out-dir found --score-thr 0.7
  python tools/infer.py photos/ CONFIG CHECKPOINT --mask-png
  python tools/infer.py street.mp4 CONFIG CHECKPOINT --batch-size 8
  python tools/infer.py 0 CONFIG CHECKPOINT             the first camera
  python tools/infer.py photos/ CONFIG CHECKPOINT --no-draw --save-txt

Exit code 1: an image could not be read; the others are done all the same. 130: interrupted.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'images', help='image file or URL, folder, quoted glob pattern, video or camera number'
    )
    parser.add_argument(
        'config',
        nargs='?',
        help='config of the model; or, without CHECKPOINT, a checkpoint that carries its config, a '
        'name that mmdetr models lists, or hf://OWNER/NAME',
    )
    parser.add_argument('checkpoint', nargs='?', help='weights, of any format that mmdetr reads')
    parser.add_argument(
        '--model',
        metavar='NAME',
        help='the same as that name alone',
    )
    parser.add_argument('--out-dir', default='work_dirs/infer', help='default: %(default)s')
    parser.add_argument(
        '--score-thr',
        type=score,
        help='leave out detections with lower scores, in pictures and JSON (default: what the '
        'last validation of the training found best for each class; 0.3 where the checkpoint '
        'does not say)',
    )
    parser.add_argument(
        '--device', help='as cpu, cuda or cuda:1 (default: the GPU if there is one)'
    )
    parser.add_argument(
        '--allow-mismatch',
        action='store_true',
        help='go on where checkpoint and config do not belong together',
    )
    parser.add_argument(
        '--mask-png', action='store_true', help='write masks and segments as PNG files, too'
    )
    parser.add_argument(
        '--font', metavar='FILE', help='font for class names (default: an installed one)'
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        metavar='N',
        help='most images that go through the model at once; of one size only, so that nothing is '
        'padded (default: %(default)s)',
    )
    parser.add_argument('--save-txt', action='store_true', help='a YOLO text file per image, too')
    parser.add_argument('--save-json', action='store_true', help='a JSON file per image, too')
    parser.add_argument('--no-draw', action='store_true', help='write no pictures and no video')
    args = parser.parse_args()
    if args.batch_size < 1:
        parser.error(f'--batch-size must be 1 or more, not {args.batch_size}')
    if (args.model is None) == (args.config is None):
        parser.error('give CONFIG and CHECKPOINT, a CHECKPOINT that carries its config, or --model')
    if args.config is not None:
        check_model(args.config, args.checkpoint)
    check_input_file('font', args.font)
    if '://' in args.images and not args.images.startswith(('http://', 'https://')):
        parser.error(f'only http:// and https:// are read, one image each, not {args.images}')
    check_out_dir('--out-dir', args.out_dir)
    return args


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()

from mmengine.config import Config

from mmdetr.apis import init_detector
from mmdetr.apis.detection_run import Outputs, Tally, detect_all
from mmdetr.apis.named_models import read_model
from mmdetr.apis.sources import VIDEO_SUFFIXES, ImageFiles, Source
from mmdetr.apis.video import Camera, VideoFile
from mmdetr.config.refusals import refusals_in_one_line
from mmdetr.utils.console import Console
from mmdetr.visualization import DetVisualizer


def open_source(images: str, out_dir: Path) -> Source:
    """What the first argument stands for."""
    path = Path(images)
    if images.isdigit() and not path.exists():
        return Camera(int(images))
    if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
        return VideoFile(images, out_dir)
    return ImageFiles(images, out_dir)


def summary(tally: Tally, unreadable: int, model: Any, out_dir: Path) -> str:
    """What came of it, in a line."""
    text = f'{tally.images} images, {tally.detections} detections'
    if tally.images:
        device = next(model.parameters()).device
        text += f', {1000 * tally.seconds / tally.images:.0f} ms per image on {device}'
    if unreadable:
        text += f', {unreadable} unreadable'
    if tally.interrupted:
        text += ', interrupted'
    return f'{text}: {out_dir}'


def detect(cfg: Config, weights: Any, args: argparse.Namespace) -> int:
    """Look at everything; the exit status."""
    outputs = Outputs(
        out_dir=Path(args.out_dir),
        score_thr=args.score_thr,
        draw=not args.no_draw,
        text=args.save_txt,
        json=args.save_json,
        mask_png=args.mask_png,
    )
    source = open_source(args.images, outputs.out_dir)
    visualizer = DetVisualizer(font=args.font)
    model: Any = init_detector(cfg, weights, args.device, allow_mismatch=args.allow_mismatch)
    if args.mask_png and getattr(model.bbox_head, 'mask_head', None) is None:
        sys.exit('error: --mask-png needs a model with masks, and this one has none')
    visualizer.dataset_meta = model.dataset_meta
    visualizer.operating_point = model.operating_point
    if args.score_thr is None:
        print(model.operating_point.describe())
    tally = detect_all(model, source, visualizer, outputs, args.batch_size, Console())
    print(summary(tally, source.unreadable, model, outputs.out_dir))
    stopped = tally.interrupted and source.total
    return 1 if source.unreadable else 130 * bool(stopped)


def main(args: argparse.Namespace) -> int:
    cfg, weights = read_model(args.model or args.config, args.checkpoint)
    with refusals_in_one_line(cfg):
        return detect(cfg, weights, args)


if __name__ == '__main__':
    sys.exit(main(arguments))
