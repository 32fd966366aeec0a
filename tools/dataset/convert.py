"""Convert a data set (YOLO, Pascal VOC, COCO of any exporter) to clean COCO JSON."""

import argparse
import sys

from mmdetr.config.command_line import errors_in_one_line


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="""\
examples:
  python tools/dataset/convert.py photos/ data/photos
  python tools/dataset/convert.py frames/ data/frames --group '^(.*)_[0-9]+'   one video, one part
  python tools/dataset/convert.py VOC2012/ data/voc --train trainval --val test

DST gets train.json, val.json, test.json where the data have such a part, and conversion.txt, which
names every box and image that was dropped or repaired. Images stay where they are.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', metavar='SRC', help='folder of the data, or its data.yaml')
    parser.add_argument('target', metavar='DST', help='folder for the result')
    parser.add_argument(
        '--format',
        choices=['yolo', 'voc', 'coco'],
        help='the format (default: recognised by what is there)',
    )
    parser.add_argument(
        '--images',
        choices=['reference', 'link', 'copy'],
        default='reference',
        help='leave images where they are, or link or copy them into DST/images '
        '(default: reference)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the split (default: 0)')
    parser.add_argument(
        '--val-share',
        type=float,
        default=0.2,
        metavar='SHARE',
        help='images to validate on, where the data are not split already (default: 0.2)',
    )
    parser.add_argument(
        '--group',
        metavar='REGEX',
        help='images whose file names have the same match stay together, as frames of a video; '
        'brackets say which part of the match counts',
    )
    parser.add_argument(
        '--train', metavar='PART', help='part of the data to train on (default: train)'
    )
    parser.add_argument(
        '--val', metavar='PART', help='part to validate on (default: val, or else test)'
    )
    parser.add_argument(
        '--voc-pixels',
        choices=['auto', 'edges', 'inclusive'],
        default='auto',
        help="whether VOC's xmin to xmax are edges, as most tools write them, or pixels from 1, "
        'the last one included, as the VOC devkit writes them (default: those of the devkit where '
        'source/database names a VOC data set)',
    )
    args = parser.parse_args()
    if not 0 < args.val_share < 1:
        parser.error(f'--val-share must be between 0 and 1, not {args.val_share}')
    return args


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()

from mmdetr.datasets.formats import FormatError, convert


def main(args: argparse.Namespace) -> None:
    with errors_in_one_line(FormatError, OSError):
        done = convert(
            args.source,
            args.target,
            args.format,
            args.images,
            args.seed,
            args.val_share,
            args.group,
            (args.train, args.val),
            args.voc_pixels,
        )
    print('\n'.join(done.lines))
    print(f'written: {", ".join(map(str, done.files.values()))}')
    print(f'images:  {done.image_root}  (data_prefix of a config)')
    sys.stdout.flush()


if __name__ == '__main__':
    main(arguments)
