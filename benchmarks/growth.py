"""How the cost of DETR-R50 grows with image size, batch, queries and objects, against its floor.

    python benchmarks/growth.py

The floor is the arithmetic of the model, counted in multiply-accumulates, at the speed of a large
matrix product on this machine. The plot goes to benchmarks/results/growth.png.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from _common import RESULTS, compare, write_result
from _models import CONFIG, NUM_CLASSES, data_samples, images, objects, our_criterion
from torch.utils.flop_counter import FlopCounterMode

from mmdetr.apis import init_detector
from mmdetr.structures import SetPrediction

SIZES = [(320, 427), (480, 640), (640, 853), (800, 1066), (800, 1333)]
BATCHES = [1, 2, 4, 8]
QUERIES = [25, 100, 300, 900]
OBJECTS = [1, 5, 20, 60, 100]
SMALL = SIZES[0]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=5, help='timed rounds (default: 5)')
    return parser.parse_args()


def peak_flops(repeats: int) -> float:
    """Floating point operations per second of a product of two 2048 x 2048 matrices."""
    side = 2048
    matrix = torch.randn(side, side)
    seconds = min(compare({'product': lambda: matrix @ matrix}, repeats, warmup=2)['product'])
    return 2 * side**3 / seconds


def predict(num_queries: int, batch: int, size: tuple[int, int]) -> tuple[Callable[[], Any], int]:
    """Inference of the optimised model, and its floating point operations."""
    options = {'model.bbox_head.num_queries': num_queries}
    inputs, _ = images(batch, *size, padded=False)

    def run(model: Any) -> Any:
        with torch.no_grad():
            return model(inputs)

    counter = FlopCounterMode(display=False)
    with counter:
        # Counted on the plain form: fused kernels are unknown to the counter, and the floor is that
        # of the ordinary arithmetic. Recording gradients keeps the fused kernels away.
        init_detector(CONFIG, device='cpu', cfg_options=options)(inputs)
    model = init_detector(CONFIG, device='cpu', cfg_options=options, optimize=True)
    return lambda: run(model), counter.get_total_flops()


def criterion(count: int, num_queries: int, batch: int = 4) -> Callable[[], Any]:
    """Matching and losses of six layers, forward and backward."""
    torch.manual_seed(0)
    logits = torch.randn(6, batch, num_queries, NUM_CLASSES + 1, requires_grad=True)
    bboxes = torch.rand(6, batch, num_queries, 4).requires_grad_()
    samples = data_samples(objects(batch, count), *SMALL)
    compute = our_criterion()

    def run() -> Any:
        losses = compute(SetPrediction(logits, bboxes), samples)
        total = torch.stack([value for name, value in losses.items() if 'loss' in name]).sum()
        return torch.autograd.grad(total, (logits, bboxes))

    return run


def main() -> None:
    args = parse_args()
    peak = peak_flops(args.repeats)
    print(f'large matrix product: {peak / 1e9:.0f} GFLOP/s')
    axes: dict[str, dict[str, tuple[Callable[[], Any], int]]] = {
        'image size (batch 1)': {f'{h} x {w}': predict(100, 1, (h, w)) for h, w in SIZES},
        'batch (320 x 427)': {str(batch): predict(100, batch, SMALL) for batch in BATCHES},
        'queries (320 x 427)': {str(number): predict(number, 1, SMALL) for number in QUERIES},
        'objects an image (criterion, batch 4, 100 queries)': {
            str(count): (criterion(count, 100), 0) for count in OBJECTS
        },
        'queries (criterion, batch 4, 20 objects)': {
            str(number): (criterion(20, number), 0) for number in QUERIES
        },
    }
    results = {}
    for axis, points in axes.items():
        seconds = compare({name: run for name, (run, _) in points.items()}, args.repeats)
        results[axis] = {
            name: dict(seconds=seconds[name], floor=flops / peak or None)
            for name, (_, flops) in points.items()
        }
        medians = {name: sorted(times)[len(times) // 2] for name, times in seconds.items()}
        print(axis, {name: f'{1000 * value:.1f} ms' for name, value in medians.items()})
    write_result('growth', dict(peak_gflops=peak / 1e9, axes=results))
    plot(results)


def plot(results: dict[str, dict[str, dict]]) -> None:
    """One panel for each axis; measured times as bars from lowest to highest, the floor dashed."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 3, figsize=(14, 7))
    for panel, (axis, points) in zip(panels.flat, results.items(), strict=False):
        names = list(points)
        medians = [sorted(p['seconds'])[len(p['seconds']) // 2] for p in points.values()]
        low = [m - min(p['seconds']) for m, p in zip(medians, points.values(), strict=True)]
        high = [max(p['seconds']) - m for m, p in zip(medians, points.values(), strict=True)]
        panel.errorbar(names, medians, (low, high), marker='o', capsize=3, label='measured')
        floors = [p['floor'] for p in points.values()]
        if all(floors):
            panel.plot(names, floors, '--', color='grey', label='floor by arithmetic')
            panel.legend()
        panel.set_title(axis, fontsize=10)
        panel.set_ylabel('seconds')
        panel.set_ylim(bottom=0)
    panels.flat[-1].axis('off')
    figure.tight_layout()
    figure.savefig(RESULTS / 'growth.png', dpi=80)
    print(f'wrote {RESULTS / "growth.png"}')


if __name__ == '__main__':
    main()
