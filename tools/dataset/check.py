"""Check the data of a config for what makes a training fail or learn little."""

import argparse
import sys
from typing import Any

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

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdetr.config.options import read_config
from mmdetr.config.refusals import refusals_in_one_line
from mmdetr.config.training_check import (
    check_num_classes,
    check_same_classes,
    check_training,
    classes_of,
    find_key,
    find_num_queries,
)
from mmdetr.datasets.check import Finding, check_files, check_images, named_leaves
from mmdetr.datasets.check_masks import check_masks
from mmdetr.datasets.check_objects import check_objects
from mmdetr.datasets.check_scan import check_scan
from mmdetr.registry import DATASETS


def check_config(cfg: Config, num_decoded: int | None, num_gpus: int) -> list[Finding]:
    """Check training, validation and test data; a dataset that two loaders share only once.

    Args:
        cfg: As tools/train.py takes it.
        num_decoded: Images of each dataset to decode; None for all.
        num_gpus: Processes of the training.
    """
    findings: list[Finding] = []
    seen: list[Any] = []
    built: dict[str, Any] = {}
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset_cfg = (cfg.get(loader) or {}).get('dataset')
        if dataset_cfg is None or dataset_cfg in seen:
            continue
        seen.append(dataset_cfg)
        try:
            built[loader] = DATASETS.build(dataset_cfg)
        except (KeyError, OSError, TypeError, ValueError) as error:
            findings.append(Finding('error', f'{loader}: {error}'))
            continue
        findings += check_dataset(built[loader], loader, cfg, num_decoded)
    findings += check_scan(
        [leaf for loader, dataset in built.items() for leaf in named_leaves(dataset, loader)]
    )
    if 'train_dataloader' in built:
        train = built.pop('train_dataloader')
        for loader, dataset in built.items():
            findings += check_same_classes(
                classes_of(train), classes_of(dataset), 'train_dataloader', loader
            )
        findings += check_training(cfg, train, num_gpus)
    return findings


def check_dataset(dataset: Any, loader: str, cfg: Config, num_decoded: int | None) -> list[Finding]:
    """Check one dataset, or the parts of a combined one."""
    stated = find_key(cfg.get('model'), 'num_classes', 'model')
    findings = check_num_classes(stated, classes_of(dataset), loader)
    leaves = named_leaves(dataset, loader)
    for leaf, name in leaves:
        required = loader == 'train_dataloader' and len(leaves) == 1
        findings += check_objects(leaf, name, find_num_queries(cfg), required)
        findings += check_files(leaf, name, sample=None)
        findings += check_images(leaf, name, num_decoded)
        findings += check_masks(leaf, name, num_decoded)
    return findings


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
