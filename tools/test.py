"""Evaluates a checkpoint, or an exported file, on the test data of a config."""

import argparse
import os
from pathlib import Path

from mmdetr.config.command_line import (
    add_cfg_options,
    add_model,
    add_quiet,
    check_launcher,
    check_model,
    tell,
)
from mmdetr.deploy.metadata import SUFFIXES


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Evaluate a checkpoint on the test data of a config.',
        epilog="""\
examples:
  python tools/test.py configs/detr_r50_8xb2-150e_coco.py detr-r50.pth
  python tools/test.py CONFIG CHECKPOINT --show-dir pictures
  python tools/test.py work_dirs/mine/best.pth
  python tools/test.py CONFIG exported.onnx
  python tools/test.py CONFIG CHECKPOINT --cfg-options test_evaluator.classwise=True
  tools/dist_test.sh CONFIG CHECKPOINT 8
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model(parser, weights='; or a file of tools/export.py')
    parser.add_argument(
        '--work-dir',
        help='folder for the log and the metrics (default: work_dirs/<name of the config, or of '
        'what is given in its place>)',
    )
    parser.add_argument('--out', metavar='FILE.pkl', help='write all predictions to this file')
    parser.add_argument('--show-dir', metavar='DIR', help='draw predictions into this folder')
    parser.add_argument(
        '--allow-mismatch',
        action='store_true',
        help='go on where checkpoint and config do not belong together',
    )
    add_cfg_options(parser)
    add_quiet(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started several processes; tools/dist_test.sh sets it',
    )
    args = parser.parse_args()
    check_launcher(args.launcher)
    if args.checkpoint is None and Path(args.config).suffix in SUFFIXES.values():
        parser.error(f'{args.config} is an exported file: give the config that has its test data')
    check_model(args.config, args.checkpoint)
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out must end in .pkl or .pickle: {args.out}')
    return args


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()
    tell('loads PyTorch', arguments.quiet)

import torch
from mmengine.config import Config
from mmengine.evaluator import DumpResults

from mmdetr.apis.named_models import read_model
from mmdetr.checkpoint import CheckpointFile
from mmdetr.config.refusals import refusals_in_one_line
from mmdetr.deploy.evaluation import check_classes, is_exported, use_exported
from mmdetr.engine import DetectionRunner


def load_config(args: argparse.Namespace) -> Config:
    """The config as the command line changes it."""
    tell(f'reads {args.config}', args.quiet)
    cfg, weights = read_model(args.config, args.checkpoint, args.cfg_options)
    if isinstance(weights, CheckpointFile):
        weights, cfg.work_dir = weights.filename, None  # not the folder of the training
    cfg.launcher = args.launcher
    if args.quiet:
        cfg.console = dict(cfg.get('console') or {}, quiet=True)
    name = Path(cfg.filename or args.config).stem
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{name}'
    cfg.load_from, cfg.resume = weights, False
    if args.allow_mismatch:
        cfg.allow_mismatch = True
    if is_exported(weights):
        use_exported(cfg, weights)
    if args.show_dir is not None:
        hooks = cfg.get('default_hooks') or {}
        drawing = dict(hooks.get('visualization') or {}, test_out_dir=args.show_dir)
        cfg.default_hooks = dict(hooks, visualization=dict(drawing, type='DetVisualizationHook'))
    return cfg


def main(args: argparse.Namespace) -> None:
    os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    cfg = load_config(args)
    try:
        with refusals_in_one_line(cfg):
            runner = DetectionRunner.from_cfg(cfg)
            if is_exported(cfg.model.get('file') or ''):
                check_classes(runner, cfg.model.file)
                runner.has_loaded = True
            if args.out is not None:
                runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
            runner.test()
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


if __name__ == '__main__':
    main(arguments)
