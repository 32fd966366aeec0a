"""Trains a detector from a config, or from a folder of data."""

import argparse
import os
import sys
import time
from pathlib import Path

from mmdetr.config.command_line import (
    add_cfg_options,
    add_quiet,
    check_input_file,
    check_launcher,
    errors_in_one_line,
    tell,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a detector, from a config or straight from a folder of data.',
        epilog="""\
examples:
  python tools/train.py configs/detr_r50_8xb2-150e_coco.py
  python tools/train.py CONFIG --resume                 continue after an interruption
  python tools/train.py CONFIG --cfg-options train_dataloader.batch_size=4 load_from=detr.pth
  tools/dist_train.sh CONFIG 8 --amp                    8 GPUs, mixed precision
  python tools/train.py photos/                         YOLO, Pascal VOC or COCO: writes the config
  python tools/train.py photos/ --weights rtdetr.pth --epochs 20

The work directory gets the log, the config as it was run, checkpoints (last_checkpoint names the
newest) and validation_history.json.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'config', metavar='CONFIG|FOLDER', help='config file, or folder of images and annotations'
    )
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints (default: work_dirs/<config name>)'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue the training of this checkpoint; without a path that of the newest intact '
        'one in the work directory, or begin where there is none',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: bfloat16 where the GPU has it, else float16 with loss scaling',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the total batch, by auto_scale_lr of the config',
    )
    add_cfg_options(parser)
    add_quiet(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started several processes; tools/dist_train.sh and slurm_train.sh set it',
    )
    _add_folder_options(parser)
    args = parser.parse_args()
    check_launcher(args.launcher)
    if os.path.isdir(args.config):
        _check_folder_options(args)
        return args
    given = [name for name in FOLDER_OPTIONS if getattr(args, name) not in (None, False)]
    if given:
        check_input_file('folder or config', args.config)
        parser.error(f'--{given[0].replace("_", "-")} is for a folder of data, not for a config')
    check_input_file('config', args.config)
    if args.resume != 'auto':
        check_input_file('checkpoint', args.resume)
    return args


FOLDER_OPTIONS = (
    *('weights', 'epochs', 'model', 'format', 'voc_pixels', 'group', 'split_seed'),
    'prepare_only',
)


def _add_folder_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('with a folder of data instead of a config')
    group.add_argument(
        '--weights',
        metavar='FILE',
        help='a whole detector, or its backbone alone; none trains from scratch (default: the '
        "config's ImageNet backbone)",
    )
    group.add_argument('--epochs', type=int, help='(default: by the number of images)')
    group.add_argument(
        '--model',
        metavar='CONFIG|NAME',
        help='config to build on, or a published model by its name, with its weights; mmdetr '
        'models lists them (default: by images and machine)',
    )
    group.add_argument(
        '--format', choices=['yolo', 'voc', 'coco'], help='(default: by what is there)'
    )
    group.add_argument(
        '--voc-pixels',
        choices=['auto', 'edges', 'inclusive'],
        help='as of dataset convert: what xmin to xmax count in Pascal VOC (default: auto)',
    )
    group.add_argument(
        '--group', metavar='REGEX', help='as of dataset convert: keeps frames of a video together'
    )
    group.add_argument(
        '--split-seed',
        type=int,
        help='of a split into train and val, if there is none (default: 0)',
    )
    group.add_argument(
        '--prepare-only', action='store_true', help='write annotations and config, do not train'
    )


def _check_folder_options(args: argparse.Namespace) -> None:
    if args.launcher != 'none':
        sys.exit(
            'error: a folder is prepared by one process: run it with --prepare-only first, and '
            'start several with the config that it writes'
        )
    if args.epochs is not None and args.epochs < 1:
        sys.exit(f'error: --epochs must be 1 or more, not {args.epochs}')
    if args.resume not in (None, 'auto'):
        sys.exit('error: --resume takes no checkpoint with a folder: give its config instead')
    if args.weights not in (None, 'none'):
        check_input_file('checkpoint', args.weights)


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()
    tell('loads PyTorch', arguments.quiet)

import torch
from mmengine.config import Config

from mmdetr.config.options import read_config
from mmdetr.config.refusals import refusals_in_one_line
from mmdetr.datasets.formats import FormatError
from mmdetr.engine import DetectionRunner
from mmdetr.engine.hooks import InterruptHook
from mmdetr.engine.lock import WorkDirInUseError
from mmdetr.recipes import Options, RecipeError, prepare, score_and_tell


def enable_amp(cfg: Config) -> None:
    """Replace the optimiser wrapper by its mixed precision form.

    Raises:
        SystemExit: There is no GPU.
    """
    if not torch.cuda.is_available():
        sys.exit('error: --amp needs a CUDA GPU and none is available; train without it')
    if cfg.optim_wrapper.get('type', 'OptimWrapper') != 'OptimWrapper':
        return
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    if torch.cuda.is_bf16_supported(including_emulation=False):
        # bfloat16 has the range of float32, there is nothing to scale.
        cfg.optim_wrapper.update(dtype='bfloat16', loss_scale=1.0)
    else:
        cfg.optim_wrapper.update(dtype='float16', loss_scale='dynamic')


def prepare_folder(args: argparse.Namespace) -> str:
    """The config of a folder of data, written on the first start."""
    options = Options(
        work_dir=args.work_dir,
        weights=args.weights,
        epochs=args.epochs,
        model=args.model,
        fmt=args.format,
        seed=args.split_seed or 0,
        group=args.group,
        voc_pixels=args.voc_pixels or 'auto',
    )
    with errors_in_one_line(FormatError, RecipeError, WorkDirInUseError, OSError):
        return str(prepare(args.config, options, resume=args.resume is not None))


def load_config(args: argparse.Namespace) -> Config:
    """The config as the command line changes it."""
    tell(f'reads {args.config}', args.quiet)
    cfg = read_config(args.config, args.cfg_options, required=('model', 'train_dataloader'))
    check_input_file('checkpoint', cfg.get('load_from'))
    cfg.launcher = args.launcher
    if args.quiet:
        cfg.console = dict(cfg.get('console') or {}, quiet=True)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(cfg.filename).stem}'
    if args.amp:
        enable_amp(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            sys.exit(
                'error: --auto-scale-lr: the config does not say which batch its learning rate is '
                'for; add auto_scale_lr = dict(base_batch_size=...)'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume == 'auto':
        cfg.resume = 'auto'
    elif args.resume is not None:
        cfg.resume, cfg.load_from = True, args.resume
    return cfg


def main(args: argparse.Namespace) -> None:
    # For parts of other packages that read files by torch.load on their own.
    os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    from_folder = os.path.isdir(args.config)
    if from_folder:
        args.config = prepare_folder(args)
        if args.prepare_only:
            return
    cfg = load_config(args)
    try:
        with refusals_in_one_line(cfg):
            runner = DetectionRunner.from_cfg(cfg)
            runner.register_hook(InterruptHook())
            since = 0.0 if cfg.get('resume') else time.time()
            runner.train()
            if from_folder:
                score_and_tell(cfg, since)
    except KeyboardInterrupt:
        print('interrupted; --resume continues from the newest checkpoint', file=sys.stderr)
        sys.exit(130)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


if __name__ == '__main__':
    main(arguments)
