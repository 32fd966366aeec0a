"""Where a detector looks in an image: decoder attention per detection, encoder attention at points
(the paper's figures 6 and 3)."""

import argparse
import sys
from pathlib import Path

from mmdetr.config.command_line import (
    add_cfg_options,
    check_input_file,
    check_out_dir,
    score,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="""\
examples:
  python tools/analysis/attention.py photo.jpg configs/detr_r50_8xb2-150e_coco.py detr-r50.pth
  python tools/analysis/attention.py photo.jpg CONFIG CHECKPOINT --points 120,80 300,200
  python tools/analysis/attention.py photo.jpg CONFIG CHECKPOINT --out /tmp/where.html

Writes a page, and beside it NAME_decoder.png and NAME_encoder.png. Decoders with deformable
attention look at a few points instead of at every pixel: these are drawn, the larger the more they
weigh.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('image', help='image file or URL')
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='weights, of any format that mmdetr reads')
    parser.add_argument(
        '--out', default='work_dirs/attention.html', help='page to write (default: %(default)s)'
    )
    parser.add_argument(
        '--points',
        nargs='+',
        metavar='X,Y',
        help='pixels whose encoder attention is drawn (default: centres of the best detections)',
    )
    parser.add_argument(
        '--score-thr',
        type=score,
        help='least score of a detection (default: the operating point in the checkpoint)',
    )
    parser.add_argument('--max-detections', type=int, default=8, help='default: %(default)s')
    parser.add_argument('--device', help='as cpu or cuda (default: the GPU if there is one)')
    add_cfg_options(parser)
    args = parser.parse_args()
    check_input_file('config', args.config)
    check_input_file('checkpoint', args.checkpoint)
    if Path(args.out).suffix.lower() not in ('.html', '.htm'):
        parser.error(f'--out is the name of a page and ends in .html: {args.out}')
    check_out_dir('--out', Path(args.out).parent)
    try:
        args.points = [
            tuple(float(part) for part in point.split(',', 1)) for point in args.points or ()
        ]
        if any(len(point) != 2 for point in args.points):
            raise ValueError
    except ValueError:
        parser.error('--points are pairs of numbers, as 120,80')
    return args


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()

from mmdetr.analysis.attention_page import attention_page
from mmdetr.apis import init_detector
from mmdetr.config.options import read_config
from mmdetr.config.refusals import refusals_in_one_line
from mmdetr.datasets.transforms import UnreadableImageError


def main(args: argparse.Namespace) -> None:
    cfg = read_config(args.config, args.cfg_options, required=('model', 'test_dataloader'))
    with refusals_in_one_line(cfg):
        model = init_detector(cfg, args.checkpoint, args.device)
        try:
            result = attention_page(
                model, args.image, args.points, args.score_thr, args.max_detections
            )
        except (UnreadableImageError, ValueError) as error:
            sys.exit(f'error: {error}')
    if args.score_thr is None:
        print(model.operating_point.describe())
    for path in result.write(Path(args.out)):
        print(f'wrote {path}')


if __name__ == '__main__':
    main(arguments)
