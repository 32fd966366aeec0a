"""Draws what a model is really fed: images after augmentation, with their objects and padding."""

import argparse
import math
import sys
from pathlib import Path

from mmdetr.config.command_line import add_cfg_options, check_input_file, check_out_dir

SUFFIXES = ('.jpeg', '.jpg', '.png')
OTHER_SUFFIXES = ('.bmp', '.gif', '.html', '.pdf', '.svg', '.tif', '.tiff', '.webp')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="""\
The images pass the data loader's pipeline, batches and preprocessor; then the normalisation is
undone. Padding is hatched. Of the training data these are the first images of a training with that
seed: the model meets exactly these pictures.

examples:
  python tools/dataset/browse.py configs/my_data.py
  python tools/dataset/browse.py CONFIG --num 4 --repeat 5     5 augmentations of each, side by side
  python tools/dataset/browse.py CONFIG --split val --out sheet.jpg
  python tools/dataset/browse.py CONFIG --out pictures/        a file per picture, in full size
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--split',
        choices=['train', 'val', 'test'],
        default='train',
        help='which data (default: %(default)s)',
    )
    parser.add_argument('--num', type=int, default=12, help='images (default: %(default)s)')
    parser.add_argument(
        '--repeat',
        type=int,
        default=1,
        metavar='N',
        help='so many epochs of each image, side by side (default: %(default)s)',
    )
    parser.add_argument('--seed', type=int, help="seed of the training (default: the config's)")
    parser.add_argument(
        '--out',
        metavar='FILE|DIR',
        help='a .png or .jpg file for all on one sheet, else a folder for a file each '
        '(default: work_dirs/browse/<config name>_<split>.png)',
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    for name in ('num', 'repeat'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be 1 or more, not {getattr(args, name)}')
    check_input_file('config', args.config)
    suffix = Path(args.out or '').suffix.lower()
    if suffix in OTHER_SUFFIXES:
        parser.error(f'--out is a folder or ends in {" or ".join(SUFFIXES)}, not in {suffix}')
    if args.out is not None:
        check_out_dir('--out', Path(args.out).parent if suffix in SUFFIXES else args.out)
    return args


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()

from mmengine.registry import init_default_scope
from PIL import Image

from mmdetr.config.options import read_config
from mmdetr.config.refusals import refusals_in_one_line
from mmdetr.engine.fed_samples import FedSample, fed_samples
from mmdetr.visualization import DetVisualizer
from mmdetr.visualization.fed_pictures import contact_sheet, draw_fed

CELL = 560  # longest side of an image on a sheet


def title_of(sample: FedSample, repeat: int) -> str:
    """Name, size and place in the training."""
    height, width = sample.size
    full_height, full_width = sample.image.shape[:2]
    text = f'{sample.name[-30:]}  {width} x {height}'
    if (full_height, full_width) != sample.size:
        text += f' in {full_width} x {full_height}'
    return f'{text}, epoch {sample.epoch + 1}' if repeat > 1 else text


def main(args: argparse.Namespace) -> None:
    loader = f'{args.split}_dataloader'
    cfg = read_config(args.config, args.cfg_options, required=('model', loader))
    init_default_scope(cfg.get('default_scope', 'mmdetr'))
    seed = args.seed if args.seed is not None else (cfg.get('randomness') or {}).get('seed') or 0
    out = Path(args.out or f'work_dirs/browse/{Path(cfg.filename).stem}_{args.split}.png')
    one_sheet = out.suffix.lower() in SUFFIXES
    with refusals_in_one_line(cfg):
        rows, metainfo = fed_samples(cfg, args.split, args.num, seed, args.repeat)
        if not rows:
            sys.exit(f'error: {loader} of {args.config} has no images')
        visualizer = DetVisualizer()
        visualizer.dataset_meta = metainfo
        pictures = [
            draw_fed(
                visualizer,
                sample.image,
                sample.size,
                sample.instances,
                sample.segmentation,
                title_of(sample, args.repeat),
                CELL if one_sheet else None,
            )
            for row in rows
            for sample in row
        ]
        (out.parent if one_sheet else out).mkdir(parents=True, exist_ok=True)
        if one_sheet:
            columns = args.repeat if args.repeat > 1 else math.ceil(math.sqrt(len(rows)))
            Image.fromarray(contact_sheet(pictures, columns)).save(out)
        else:
            for number, picture in enumerate(pictures):
                image, epoch = divmod(number, args.repeat)
                Image.fromarray(picture).save(out / f'{image:03}_{epoch + 1}.png')
    objects = sum(sample.num_objects for row in rows for sample in row)
    print(
        f'{len(pictures)} pictures of {len(rows)} images with {objects} objects, seed {seed}: {out}'
    )


if __name__ == '__main__':
    main(arguments)
