"""Check the data of a config for what makes a training fail or learn little."""

import argparse
import sys

from mmdetr.config.command_line import add_cfg_options, check_input_file


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="""\
examples:
  python tools/dataset/check.py configs/my_data.py
  python tools/dataset/check.py CONFIG --decode all --num-gpus 8

The exit status is 1 if there is an error: something that training or testing cannot work with.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--decode',
        default='200',
        metavar='N|all',
        help='so many images of each dataset are decoded, with their masks; of all others, headers '
        'are read (default: 200)',
    )
    parser.add_argument(
        '--num-gpus', type=int, default=1, help='processes of the training (default: 1)'
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.decode != 'all' and not args.decode.isdigit():
        parser.error(f"--decode takes a number or 'all', not {args.decode!r}")
    check_input_file('config', args.config)
    return args


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()

from mmengine.registry import init_default_scope

from mmdetr.config.data_check import check_config
from mmdetr.config.options import read_config
from mmdetr.config.refusals import refusals_in_one_line


def main(args: argparse.Namespace) -> None:
    cfg = read_config(args.config, args.cfg_options, required=('model',))
    init_default_scope(cfg.get('default_scope', 'mmdetr'))
    num_decoded = None if args.decode == 'all' else int(args.decode)
    with refusals_in_one_line(cfg):
        findings = check_config(cfg, num_decoded, args.num_gpus)
    for level, text in findings:
        print(f'{level}: {text}')
    num_errors = sum(level == 'error' for level, _ in findings)
    print(f'{num_errors} errors, {sum(level == "warning" for level, _ in findings)} warnings')
    sys.exit(num_errors > 0)


if __name__ == '__main__':
    main(arguments)
