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
        help='so many images of each dataset are decoded and compared with the size in the '
        'annotation file (default: 200)',
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
from mmdetr.datasets import CocoDataset
from mmdetr.datasets.check import (
    Finding,
    check_amount,
    check_batch,
    check_files,
    check_images,
    check_num_classes,
    check_objects,
    check_xyxy,
    find_key,
    leaf_datasets,
)
from mmdetr.registry import DATASETS


def check_config(cfg: Config, num_decoded: int | None, num_gpus: int) -> list[Finding]:
    """All checks of a config.

    Args:
        cfg: As tools/train.py takes it.
        num_decoded: Images of each dataset to decode; None for all.
        num_gpus: Processes of the training.
    """
    findings: list[Finding] = []
    built: dict[str, Any] = {}
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if not cfg.get(loader) or (loader[0] == 't' and cfg[loader] == cfg.get('val_dataloader')):
            continue
        try:
            built[loader] = DATASETS.build(cfg[loader]['dataset'])
        except (KeyError, OSError, TypeError, ValueError) as error:
            findings.append(Finding('error', f'{loader}: {error}'))
            continue
        findings += check_dataset(built[loader], loader, cfg, num_decoded)
    findings += check_same_classes(built)
    if 'train_dataloader' in built:
        findings += check_batch(cfg, num_gpus)
        dataset = built['train_dataloader']
        if 'img_path' in dataset.get_data_info(0):  # generated data are easier
            findings += check_amount(cfg, len(dataset), num_gpus)
    return findings


def check_dataset(dataset: Any, loader: str, cfg: Config, num_decoded: int | None) -> list[Finding]:
    """Everything about one dataset, or the parts of a combined one."""
    num_queries = next((n for _, n in find_key(cfg.model, 'num_queries')), None)
    findings = check_num_classes(cfg.model, dataset.metainfo.get('classes', ()), loader)
    leaves = leaf_datasets(dataset)
    for i, leaf in enumerate(leaves):
        name = loader if len(leaves) == 1 else f'{loader}, dataset {i}'
        required = loader == 'train_dataloader' and len(leaves) == 1
        findings += check_objects(leaf, name, num_queries, required)
        findings += check_files(leaf, name, sample=None)
        findings += check_images(leaf, name, num_decoded)
        if isinstance(leaf, CocoDataset):
            findings += check_xyxy(leaf, name)
    return findings


def check_same_classes(built: dict[str, Any]) -> list[Finding]:
    """Training and evaluation have to agree on the classes and their order."""
    train = built.get('train_dataloader')
    return [
        Finding(
            'error',
            f'train_dataloader and {loader} differ in their classes or in the order of them: '
            f'{train.metainfo.get("classes")} and {dataset.metainfo.get("classes")}. Set '
            'metainfo=dict(classes=...) of both',
        )
        for loader, dataset in built.items()
        if train is not None and dataset.metainfo.get('classes') != train.metainfo.get('classes')
    ]


def main(args: argparse.Namespace) -> None:
    cfg = read_config(args.config, args.cfg_options, required=('model',))
    init_default_scope(cfg.get('default_scope', 'mmdetr'))
    findings = check_config(cfg, None if args.decode == 'all' else int(args.decode), args.num_gpus)
    for level, text in findings:
        print(f'{level}: {text}')
    num_errors = sum(level == 'error' for level, _ in findings)
    print(f'{num_errors} errors, {sum(level == "warning" for level, _ in findings)} warnings')
    sys.exit(num_errors > 0)


if __name__ == '__main__':
    main(arguments)
