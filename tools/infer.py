"""Detects objects in image files: drawn pictures and one JSON file with all detections."""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from mmdetr.config.command_line import check_input_file

WRITABLE = ('.jpeg', '.jpg', '.png')
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

examples:
  python tools/infer.py photo.jpg configs/detr_r50_8xb2-150e_coco.py detr-r50.pth
  python tools/infer.py photos/ CONFIG CHECKPOINT
  python tools/infer.py 'photos/*.png' CONFIG CHECKPOINT --out-dir found --score-thr 0.7
  python tools/infer.py photos/ CONFIG CHECKPOINT --mask-png

Exit code 1: an image could not be read; the others are done all the same.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('images', help='image file or URL, folder, or quoted glob pattern')
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='weights, of any format that mmdetr reads')
    parser.add_argument('--out-dir', default='work_dirs/infer', help='default: %(default)s')
    parser.add_argument(
        '--score-thr',
        type=float,
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
    args = parser.parse_args()
    check_input_file('config', args.config)
    check_input_file('checkpoint', args.checkpoint)
    check_input_file('font', args.font)
    return args


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()

from mmengine.config import Config
from PIL import Image
from pycocotools import mask as coco_mask

from mmdetr.apis import inference_detector, init_detector
from mmdetr.apis.image_files import find_images
from mmdetr.apis.images import is_url, name_in_url, to_pipeline_input
from mmdetr.apis.inference import test_pipeline
from mmdetr.config.options import read_config
from mmdetr.config.refusals import refusals_in_one_line
from mmdetr.datasets.panoptic_maps import write_panoptic_png
from mmdetr.datasets.transforms import UnreadableImageError
from mmdetr.structures import DetDataSample, above_operating_point
from mmdetr.utils.operating_point import OperatingPoint
from mmdetr.utils.text import shorten
from mmdetr.visualization import DetVisualizer


def to_record(
    file: Path | str, sample: DetDataSample, classes: list[str], score_thr: float | OperatingPoint
) -> dict:
    """Detections of one image as plain numbers, best score first."""
    pred = sample.pred_instances.cpu()
    if isinstance(score_thr, OperatingPoint):
        pred = above_operating_point(pred, score_thr, classes)
    else:
        pred = pred[pred.scores >= score_thr]
    pred = pred[pred.scores.argsort(descending=True)]

    def name(label: int) -> str:
        return classes[label] if label < len(classes) else f'class {label}'

    record = dict(
        file=str(file),
        boxes=pred.bboxes.tolist(),
        scores=pred.scores.tolist(),
        labels=pred.labels.tolist(),
        names=[name(label) for label in pred.labels.tolist()],
    )
    if 'masks' in pred:
        record['masks'] = [
            dict(size=list(mask['size']), counts=mask['counts'].decode('ascii'))
            for mask in pred.masks
        ]
    if 'pred_panoptic' in sample:
        record['segments'] = [
            dict(each, name=name(each['label'])) for each in sample.pred_panoptic.segments
        ]
    return record


def write_masks(record: dict, sample: DetDataSample, picture: Path) -> None:
    """Write each mask of a record, and the panoptic map, beside the picture."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    for number, mask in enumerate(record.get('masks', ())):
        pixels = Image.fromarray(255 * coco_mask.decode(mask))
        pixels.save(picture.with_name(f'{picture.name}.mask{number}.png'))
    if 'pred_panoptic' in sample:
        path = picture.with_name(f'{picture.name}.panoptic.png')
        write_panoptic_png(path, sample.pred_panoptic.ids)


def name_pictures(files: list[Path], out_dir: Path) -> list[Path]:
    """A picture for each file; folders below the common one are kept, so that no two collide."""
    common = os.path.commonpath([file.parent.absolute() for file in files])
    images = {file.resolve() for file in files}
    named: dict[Path, Path] = {}
    taken: set[Path] = set()
    # Those that keep their name first: a.gif becomes a.gif.png, and there may be such a file.
    for file in sorted(files, key=lambda file: file.suffix.lower() not in WRITABLE):
        picture = out_dir / file.absolute().relative_to(common)
        if picture.suffix.lower() not in WRITABLE:
            picture = picture.with_name(f'{picture.name}.png')
        while picture in taken:
            picture = picture.with_name(f'{picture.name}.png')
        if picture.resolve() in images:
            sys.exit(f'error: the picture of {file} would replace it: choose another --out-dir')
        named[file] = picture
        taken.add(picture)
    return [named[file] for file in files]


def find_files(args: argparse.Namespace) -> tuple[list[Path | str], list[Path]]:
    """What to look at, files or a URL, and a picture for each."""
    out_dir = Path(args.out_dir)
    if is_url(args.images):
        name = Path(name_in_url(args.images))
        if name.suffix.lower() not in WRITABLE:
            name = Path(f'{name}.png')
        return [args.images], [out_dir / name]
    files, skipped = find_images(args.images, out_dir)
    if skipped:
        print(f'passed over {len(skipped)} files that are no images: {shorten(skipped)}')
    if not files:
        sys.exit(f'error: no image found: {args.images}')
    return list(files), name_pictures(files, out_dir)


def detect(cfg: Config, args: argparse.Namespace) -> int:
    """Look at all images; the exit status."""
    files, pictures = find_files(args)
    out_dir = Path(args.out_dir)
    visualizer = DetVisualizer(font=args.font)
    model: Any = init_detector(
        cfg, args.checkpoint, args.device, allow_mismatch=args.allow_mismatch
    )
    classes = list(model.dataset_meta.get('classes', ()))
    load, _ = test_pipeline(model)
    visualizer.dataset_meta = model.dataset_meta
    visualizer.operating_point = model.operating_point
    score_thr = model.operating_point if args.score_thr is None else args.score_thr
    if args.score_thr is None:
        print(model.operating_point.describe())

    records = []
    seconds = 0.0
    for file, picture in zip(files, pictures, strict=True):
        start = time.perf_counter()
        try:
            image = to_pipeline_input(file, load)['img']
            sample = inference_detector(model, image)
        except UnreadableImageError as error:
            print(f'error: {error}', file=sys.stderr)
            continue
        records.append(to_record(file, sample, classes, score_thr))
        seconds += time.perf_counter() - start
        if args.mask_png:
            if not {'masks', 'segments'} & records[-1].keys():
                sys.exit('error: --mask-png needs a model with masks, and this one has none')
            write_masks(records[-1], sample, picture)
        visualizer.add_datasample(
            picture.name,
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


def main(args: argparse.Namespace) -> int:
    cfg = read_config(args.config, None, required=('model', 'test_dataloader'))
    with refusals_in_one_line(cfg):
        return detect(cfg, args)


if __name__ == '__main__':
    sys.exit(main(arguments))
