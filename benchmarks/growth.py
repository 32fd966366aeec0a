"""How the cost of DETR-R50 grows with image size, batch, queries and objects, against its floor.

    python benchmarks/growth.py

The floor is the arithmetic of the model, counted in multiply-accumulates, at the speed of a large
matrix product on this machine. The plot goes to benchmarks/results/growth.png.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

from _common import COCO_CONFIG, RESULTS, new_figure, parser, time_in_turns, write_result

SIZES = [(320, 427), (480, 640), (640, 853), (800, 1066), (800, 1333)]
BATCHES = [1, 2, 4, 8]
QUERIES = [25, 100, 300, 900]
OBJECTS = [1, 5, 20, 60, 100]
SMALL = SIZES[0]


def parse_args() -> argparse.Namespace:
    options = parser(__doc__, repeats=5)
    return options.parse_args()


def peak_flops(repeats: int) -> float:
    """Floating point operations per second of a product of two 2048 x 2048 matrices."""
    import torch

    side = 2048
    matrix = torch.randn(side, side)
    times = time_in_turns({'product': lambda: matrix @ matrix}, repeats, warmup=2)
    return 2 * side**3 / min(times['product'])


def predict(num_queries: int, batch: int, size: tuple[int, int]) -> tuple[Callable[[], Any], int]:
    """Inference of the optimised model, and its floating point operations."""
    import torch
    from _models import images
    from torch.utils.flop_counter import FlopCounterMode

    from mmdetr.apis import init_detector

    options = {'model.bbox_head.num_queries': num_queries}
    inputs, _ = images(batch, *size, padded=False)
    with FlopCounterMode(display=False) as counter:
        # Counted on the plain form: fused kernels are unknown to the counter, and the floor is that
        # of the ordinary arithmetic. Recording gradients keeps the fused kernels away.
        init_detector(COCO_CONFIG, device='cpu', cfg_options=options)(inputs)
    model = init_detector(COCO_CONFIG, device='cpu', cfg_options=options, optimize=True)
    return torch.no_grad()(lambda: model(inputs)), counter.get_total_flops()


def criterion(count: int, num_queries: int, batch: int = 4) -> tuple[Callable[[], Any], int]:
    """Matching and losses of six layers, forward and backward; nothing is counted."""
    import torch
    from _losses import objects, our_loss
    from _models import NUM_CLASSES

    torch.manual_seed(0)
    logits = torch.randn(6, batch, num_queries, NUM_CLASSES + 1, requires_grad=True)
    bboxes = torch.rand(6, batch, num_queries, 4).requires_grad_()
    loss = our_loss(logits, bboxes, objects(batch, count))
    return lambda: torch.autograd.grad(loss(), (logits, bboxes)), 0


def main() -> None:
    args = parse_args()
    peak = peak_flops(args.repeats)
    print(f'large matrix product: {peak / 1e9:.0f} GFLOP/s')
    axes: dict[str, dict[str, tuple[Callable[[], Any], int]]] = {
        'image size (batch 1)': {f'{h} x {w}': predict(100, 1, (h, w)) for h, w in SIZES},
        'batch (320 x 427)': {str(batch): predict(100, batch, SMALL) for batch in BATCHES},
        'queries (320 x 427)': {str(number): predict(number, 1, SMALL) for number in QUERIES},
        'objects an image (criterion, batch 4, 100 queries)': {
            str(count): criterion(count, 100) for count in OBJECTS
        },
        'queries (criterion, batch 4, 20 objects)': {
            str(number): criterion(20, number) for number in QUERIES
        },
    }
    results = {}
    for axis, points in axes.items():
        seconds = time_in_turns({name: run for name, (run, _) in points.items()}, args.repeats)
        results[axis] = {
            name: dict(seconds=seconds[name], floor=flops / peak or None)
            for name, (_, flops) in points.items()
        }
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        print(axis, {name: f'{1000 * value:.1f} ms' for name, value in medians.items()})
    write_result('growth', dict(peak_gflops=peak / 1e9, axes=results))
    plot(results)


def plot(results: dict[str, dict[str, dict]]) -> None:
    """One panel for each axis; measured times as bars from lowest to highest, the floor dashed."""
    figure, panels = new_figure(14, 7, rows=2, columns=3)
    for panel, (axis, points) in zip(panels.flat, results.items(), strict=False):
        names = list(points)
        times = [point['seconds'] for point in points.values()]
        medians = [statistics.median(each) for each in times]
        low = [middle - min(each) for middle, each in zip(medians, times, strict=True)]
        high = [max(each) - middle for middle, each in zip(medians, times, strict=True)]
        panel.errorbar(names, medians, (low, high), marker='o', capsize=3, label='measured')
        floors = [point['floor'] for point in points.values()]
        if all(floors):
            panel.plot(names, floors, '--', color='grey', label='floor by arithmetic')
            panel.legend()
        panel.set_title(axis, fontsize=10)
        panel.set_ylabel('seconds')
        panel.set_ylim(bottom=0)
    panels.flat[-1].axis('off')
    figure.savefig(RESULTS / 'growth.png', dpi=80)
    print(f'wrote {RESULTS / "growth.png"}')


if __name__ == '__main__':
    main()
