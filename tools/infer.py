"""Detects objects in image files: drawn pictures and one JSON file with all detections."""

import argparse
import glob
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from mmdetr.config.command_line import check_input_file, errors_in_one_line

WRITABLE = ('.jpeg', '.jpg', '.png')
IMAGE_SUFFIXES = (*WRITABLE, '.bmp', '.tif', '.tiff', '.webp')
PREDICTIONS = 'predictions.json'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Detect objects in images with a trained model.',
        epilog=f"""\
OUT_DIR gets a picture per image, under the image's name, and {PREDICTIONS}: a list with
  {{"file": ..., "boxes": [[x1, y1, x2, y2], ...], "scores": [...], "labels": [...],
   "names": [...]}}
per image, boxes in pixels of the image, best score first.

examples:
  python tools/infer.py photo.jpg configs/detr_r50_8xb2-150e_coco.py detr-r50.pth
  python tools/infer.py 'photos/*.png' CONFIG CHECKPOINT --out-dir found --score-thr 0.7

Exit code 1: an image could not be read; the others are done all the same.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('images', help='image file, folder of images, or quoted glob pattern')
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='weights, of any format that mmdetr reads')
    parser.add_argument('--out-dir', default='work_dirs/infer', help='default: %(default)s')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.5,
        help='leave out detections with lower scores, in pictures and JSON (default: %(default)s)',
    )
    parser.add_argument(
        '--device', help='as cpu, cuda or cuda:1 (default: the GPU if there is one)'
    )
    parser.add_argument(
        '--allow-mismatch',
        action='store_true',
        help='go on where checkpoint and config do not belong together',
    )
    args = parser.parse_args()
    check_input_file('config', args.config)
    check_input_file('checkpoint', args.checkpoint)
    return args


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()

from mmdetr.apis import inference_detector, init_detector
from mmdetr.checkpoint import CheckpointError
from mmdetr.config.options import read_config
from mmdetr.datasets.transforms import LoadImageFromFile, UnreadableImageError
from mmdetr.structures import DetDataSample
from mmdetr.visualization import DetVisualizer


def find_images(images: str) -> list[Path]:
    """Files named by a path, a folder or a glob pattern, in order of their names."""
    path = Path(images)
    if path.is_dir():
        found = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
    elif path.exists() or not glob.has_magic(images):
        found = [path]
    else:
        found = [Path(name) for name in glob.glob(images, recursive=True) if Path(name).is_file()]
    return sorted(found)


def to_record(file: Path, sample: DetDataSample, classes: list[str], score_thr: float) -> dict:
    """Detections of one image as plain numbers, best score first."""
    pred = sample.pred_instances.cpu()
    pred = pred[pred.scores >= score_thr]
    pred = pred[pred.scores.argsort(descending=True)]
    labels = pred.labels.tolist()
    names = [classes[k] if k < len(classes) else f'class {k}' for k in labels]
    return dict(
        file=str(file),
        boxes=pred.bboxes.tolist(),
        scores=pred.scores.tolist(),
        labels=labels,
        names=names,
    )


def name_pictures(files: list[Path], out_dir: Path) -> list[Path]:
    """A picture for each file; folders below the common one are kept, so that no two collide."""
    common = os.path.commonpath([file.parent.absolute() for file in files])
    pictures = []
    for file in files:
        picture = out_dir / file.absolute().relative_to(common)
        if picture.suffix.lower() not in WRITABLE:
            picture = picture.with_name(f'{picture.name}.png')
        if picture.resolve() == file.resolve():
            sys.exit(f'error: the picture of {file} would replace it: choose another --out-dir')
        pictures.append(picture)
    return pictures


def main(args: argparse.Namespace) -> int:
    files = find_images(args.images)
    if not files:
        sys.exit(f'error: no image found: {args.images}')
    out_dir = Path(args.out_dir)
    pictures = name_pictures(files, out_dir)
    cfg = read_config(args.config, None, required=('model', 'test_dataloader'))
    with errors_in_one_line(CheckpointError):
        model: Any = init_detector(
            cfg, args.checkpoint, args.device, allow_mismatch=args.allow_mismatch
        )
    classes = list(model.dataset_meta.get('classes', ()))
    load = LoadImageFromFile()
    visualizer = DetVisualizer()
    visualizer.dataset_meta = model.dataset_meta

    records = []
    seconds = 0.0
    for file, picture in zip(files, pictures, strict=True):
        start = time.perf_counter()
        try:
            image = load(dict(img_path=str(file)))['img']
            sample = inference_detector(model, image)
        except UnreadableImageError as error:
            print(f'error: {file}: {error}', file=sys.stderr)
            continue
        records.append(to_record(file, sample, classes, args.score_thr))
        seconds += time.perf_counter() - start
        visualizer.add_datasample(
            file.name,
            image[..., ::-1].copy(),
            sample,
            out_file=picture,
            pred_score_thr=args.score_thr,
        )

    out_dir.mkdir(parents=True, exist_ok=True)
    lines = ',\n'.join(map(json.dumps, records))
    (out_dir / PREDICTIONS).write_text(f'[\n{lines}\n]\n', encoding='utf-8')
    unreadable = len(files) - len(records)
    detections = sum(len(record['boxes']) for record in records)
    summary = f'{len(records)} images, {detections} detections'
    if records:
        device = next(model.parameters()).device
        summary += f', {1000 * seconds / len(records):.0f} ms per image on {device}'
    if unreadable:
        summary += f', {unreadable} unreadable'
    print(f'{summary}: {out_dir}')
    return 1 if unreadable else 0


if __name__ == '__main__':
    sys.exit(main(arguments))
