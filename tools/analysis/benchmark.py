"""Speed and memory of a model, or speed of data loading, on this machine."""

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, cycle, islice, repeat
from typing import Any

from mmdetr.config.command_line import add_cfg_options, check_input_file, errors_in_one_line

# Of a typical COCO image.
HEIGHT, WIDTH, OBJECTS = 480, 640, 7
IMAGES_KEPT = 64
SEED = 0


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="""\
examples:
  python tools/analysis/benchmark.py configs/detr_r50_8xb2-150e_coco.py
  python tools/analysis/benchmark.py CONFIG CHECKPOINT --optimize --dtype bfloat16 --compile
  python tools/analysis/benchmark.py CONFIG --mode training --batch-size 2 --shape 800 1066
  python tools/analysis/benchmark.py CONFIG --data       images a second of the loaders

Images are those of the config's data set where its annotation file is there, else a generated one
of 480 x 640 pixels that went through the same pipeline. They are loaded before the clock starts.
The latency of a batch runs from the loaded batch to boxes or, in training, to changed weights.
Without a checkpoint the weights are random, which changes no speed.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='weights, of any format that mmdetr reads')
    parser.add_argument('--data', action='store_true', help='time the loaders, not the model')
    parser.add_argument('--mode', choices=['inference', 'training'], default='inference')
    parser.add_argument('--batch-size', type=int, help="images a batch (default: the config's)")
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help='random images of this size after the pipeline',
    )
    parser.add_argument(
        '--dtype',
        choices=['float32', 'bfloat16', 'float16'],
        default='float32',
        help='of the weights with --optimize, else of automatic mixed precision',
    )
    parser.add_argument('--compile', action='store_true', help='torch.compile the network')
    parser.add_argument(
        '--optimize', action='store_true', help='as init_detector(..., optimize=True) does'
    )
    parser.add_argument('--device', help='default: cuda where there is one, else cpu')
    parser.add_argument('--iters', type=int, default=50, help='timed batches (default: 50)')
    parser.add_argument('--warmup', type=int, default=5, help='batches before (default: 5)')
    add_cfg_options(parser)
    args = parser.parse_args()
    check_input_file('config', args.config)
    check_input_file('checkpoint', args.checkpoint)
    if args.optimize and args.mode == 'training':
        parser.error('--optimize makes a model that can only infer; leave out --mode training')
    if args.iters < 1 or args.warmup < 0 or (args.batch_size or 1) < 1:
        parser.error('--iters and --batch-size must be at least 1, --warmup at least 0')
    return args


if __name__ == '__main__':  # --help and errors come before the imports that take seconds
    arguments = parse_args()

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmengine.utils.dl_utils import set_multi_processing

from mmdetr.apis import init_detector
from mmdetr.checkpoint import CheckpointError
from mmdetr.config.options import read_config
from mmdetr.engine.data_sampling import seeded_dataloader_cfg
from mmdetr.structures import DetDataSample
from mmdetr.utils.text import shorten


def load_batches(cfg: Config, args: argparse.Namespace) -> tuple[list[dict], str]:
    """Batches to time with, and in words where they are from."""
    name = 'train_dataloader' if args.mode == 'training' else 'test_dataloader'
    loader_cfg = cfg[name]
    size = args.batch_size or loader_cfg['batch_size']
    count = min(args.iters, max(1, IMAGES_KEPT // size))
    if args.shape:
        samples = [random_sample(*args.shape) for _ in range(size)]
        return [pseudo_collate(samples)], 'random images'
    options = dict(batch_size=size, num_workers=0, persistent_workers=False)
    try:
        loader = Runner.build_dataloader({**loader_cfg, **options}, seed=SEED)
    except FileNotFoundError as error:
        pipeline = pipeline_after_loading(loader_cfg)
        generated = [[pipeline(generated_image()) for _ in range(size)] for _ in range(count)]
        return [pseudo_collate(samples) for samples in generated], f'generated images ({error})'
    return list(islice(loader, count)), f'images of {name}'


def random_sample(height: int, width: int) -> dict[str, Any]:
    """What a pipeline gives, of random pixels and boxes; masks fill the image."""
    top_left = torch.rand(OBJECTS, 2) / 2
    corners = torch.cat([top_left, top_left + 0.1 + 0.4 * torch.rand(OBJECTS, 2)], dim=1)
    instances = InstanceData(
        bboxes=corners * torch.tensor([width, height, width, height]),
        labels=torch.zeros(OBJECTS, dtype=torch.int64),
        masks=torch.ones(OBJECTS, height, width, dtype=torch.bool),
    )
    shape = (height, width)
    sample = DetDataSample(
        metainfo=dict(img_id=0, ori_shape=shape, img_shape=shape, scale_factor=(1.0, 1.0))
    )
    sample.gt_instances = instances
    return dict(
        inputs=torch.randint(256, (3, height, width), dtype=torch.uint8), data_samples=sample
    )


def pipeline_after_loading(loader_cfg: dict) -> Compose:
    """The pipeline of a loader without the step that reads a file."""
    dataset = loader_cfg['dataset']
    while 'pipeline' not in dataset and 'dataset' in dataset:
        dataset = dataset['dataset']
    if 'pipeline' not in dataset:
        sys.exit('error: the data are missing and the config has no single pipeline; give --shape')
    steps = [step for step in dataset['pipeline'] if 'LoadImage' not in step['type']]
    # There is no PNG either: objects come as instances.
    return Compose(
        [
            {**step, 'type': 'LoadAnnotations'} if 'LoadPanoptic' in step['type'] else step
            for step in steps
        ]
    )


def generated_image() -> dict[str, Any]:
    """A random image as it is after the loading step, with boxes that their masks fill."""
    shape = (HEIGHT, WIDTH)
    boxes = random_sample(*shape)['data_samples'].gt_instances.bboxes.tolist()
    return dict(
        img=np.random.randint(256, size=(*shape, 3), dtype=np.uint8),
        img_id=0,
        height=HEIGHT,
        width=WIDTH,
        img_shape=shape,
        ori_shape=shape,
        segments=[],
        seg_map_path=None,
        instances=[
            dict(bbox=box, bbox_label=0, ignore_flag=0, mask=[_outline(*box)]) for box in boxes
        ],
    )


def _outline(left: float, top: float, right: float, bottom: float) -> list[float]:
    """Polygon of a box."""
    return [left, top, right, top, right, bottom, left, bottom]


def build_step(cfg: Config, args: argparse.Namespace) -> Callable[[dict], Any]:
    """What is timed: a test step or a training step of the model on one batch."""
    how = dict(dtype=args.dtype, compile=args.compile) if args.optimize else False
    with errors_in_one_line(CheckpointError, ValueError):
        model = init_detector(cfg, args.checkpoint, args.device, optimize=how)
    if args.compile and not args.optimize:
        model.network = torch.compile(model.network)
    step: Callable[[dict], Any] = model.test_step
    if args.mode == 'training':
        optim_wrapper = build_optim_wrapper(model.train(), cfg.optim_wrapper)

        def step(batch: dict) -> Any:
            return model.train_step(batch, optim_wrapper)

    mixed = args.dtype != 'float32' and not args.optimize
    kind = torch.device(args.device).type

    def call(batch: dict) -> Any:
        with torch.autocast(kind, getattr(torch, args.dtype), enabled=mixed):
            return step(batch)

    return call


def measure(
    step: Callable[[dict], Any], batches: list[dict], iters: int, warmup: int, device: str
) -> tuple[list[float], int]:
    """Seconds of each timed batch, and the images of all of them."""
    on_gpu = device.startswith('cuda')
    wait = partial(torch.cuda.synchronize, device) if on_gpu else lambda: None
    seconds, images = [], 0
    for number, batch in enumerate(islice(cycle(batches), warmup + iters)):
        if number == warmup and on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        wait()
        start = time.perf_counter()
        step(batch)
        wait()
        if number >= warmup:
            seconds.append(time.perf_counter() - start)
            images += len(batch['inputs'])
    return seconds, images


def peak_memory(device: str) -> str:
    """Of tensors on a GPU, or of the whole process on a CPU."""
    if device.startswith('cuda'):
        return f'{torch.cuda.max_memory_allocated(device) / 2**20:,.0f} MiB of tensors'
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f'{kibibytes / 2**10:,.0f} MiB of the process'


def model_report(cfg: Config, args: argparse.Namespace) -> str:
    """Build the model, time it and say how fast it is."""
    batches, source = load_batches(cfg, args)
    seconds, images = measure(build_step(cfg, args), batches, args.iters, args.warmup, args.device)
    sizes = sorted({tuple(image.shape[1:]) for batch in batches for image in batch['inputs']})
    shown = shorten((f'{h} x {w}' for h, w in sizes), limit=3)
    p50, p90, p99 = (1000 * value for value in np.percentile(seconds, (50, 90, 99)))
    on_gpu = args.device.startswith('cuda')
    where = (
        torch.cuda.get_device_name(args.device) if on_gpu else f'{torch.get_num_threads()} threads'
    )
    switches = [name for name in ('optimize', 'compile') if getattr(args, name)]
    return '\n'.join(
        [
            f'{args.mode}: {", ".join([args.dtype, *switches])} on {args.device} ({where})',
            f'input: {source}, {len(batches[0]["inputs"])} a batch, {shown}',
            f'speed: {images / sum(seconds):.2f} images/s over {args.iters} batches',
            f'latency of a batch: p50 {p50:.1f} ms, p90 {p90:.1f} ms, p99 {p99:.1f} ms',
            f'peak memory: {peak_memory(args.device)}',
        ]
    )


def data_report(cfg: Config, args: argparse.Namespace) -> str:
    """Time the loaders as training and testing build them.

    Raises:
        SystemExit: The data are not there.
    """
    lines = []
    for name in ('train_dataloader', 'test_dataloader'):
        loader_cfg = dict(cfg[name])
        loader_cfg['batch_size'] = args.batch_size or loader_cfg['batch_size']
        if name == 'train_dataloader':
            loader_cfg = seeded_dataloader_cfg(loader_cfg, SEED)
        try:
            loader = Runner.build_dataloader(loader_cfg, seed=SEED)
        except FileNotFoundError as error:
            sys.exit(f'error: --data loads the data set of {name}: {error}')
        batches: Iterator[dict] = chain.from_iterable(repeat(loader))
        # What the workers prefetched before the clock started must be used up.
        warmup = max(args.warmup, 2 * loader.num_workers + 1)
        for _ in islice(batches, warmup):
            pass
        start = time.perf_counter()
        images = sum(len(batch['inputs']) for batch in islice(batches, args.iters))
        speed = images / (time.perf_counter() - start)
        lines.append(
            f'{name}: {speed:.1f} images/s, {loader.num_workers} workers, '
            f'{loader_cfg["batch_size"]} a batch, {args.iters} batches'
        )
    return '\n'.join(lines)


def main(args: argparse.Namespace) -> None:
    cfg = read_config(
        args.config,
        args.cfg_options,
        required=('model', 'train_dataloader', 'test_dataloader'),
    )
    init_default_scope(cfg.get('default_scope', 'mmdetr'))
    args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    set_multi_processing(**cfg.get('env_cfg', {}).get('mp_cfg', {}))  # as the runner does
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    print(data_report(cfg, args) if args.data else model_report(cfg, args))


if __name__ == '__main__':
    main(arguments)
