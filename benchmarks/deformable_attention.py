"""Sampling and summing of one deformable attention, in the forms there are, on a CPU.

    python benchmarks/deformable_attention.py [--size H W]

The queries are the pixels of four levels of an image of that size, as in the encoder, without
projections. "usual" is grid_sample level by level, all samples stacked and then weighted, as in the
authors' code, mmcv and transformers. Times are CPU seconds of one thread. Results and gradients are
compared before anything is timed: the largest difference, and that of gradients as a part of their
length, since a point on the centre of a pixel has two. "kept" is what autograd keeps for the
backward pass.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from _common import parser, ratio, summary, time_in_turns, write_result

HEADS, CHANNELS, POINTS, LEVELS = 8, 32, 4, 4


def usual(value: Any, shapes: Sequence[tuple[int, int]], locations: Any, weights: Any) -> Any:
    """Samples of all levels side by side [heads, channels, queries, points], then the sum."""
    import torch
    from torch.nn import functional as F

    num_queries = weights.shape[1]
    maps = value[0].permute(1, 2, 0).split([height * width for height, width in shapes], dim=-1)
    grids = (2 * locations[0] - 1).transpose(0, 1).split(POINTS, dim=2)
    samples = [
        F.grid_sample(each.unflatten(-1, shape), grid, align_corners=False)
        for each, shape, grid in zip(maps, shapes, grids, strict=True)
    ]
    summed = (torch.cat(samples, -1) * weights[0].transpose(0, 1)[:, None]).sum(-1)
    return summed.view(1, -1, num_queries).transpose(1, 2)


def make_inputs(shapes: Sequence[tuple[int, int]]) -> tuple[Any, ...]:
    """Values, locations some pixels around each query's own place, and weights."""
    import torch

    torch.manual_seed(0)
    num_pixels = sum(height * width for height, width in shapes)
    centres = []
    for height, width in shapes:
        rows, columns = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
        y, x = torch.meshgrid(rows, columns, indexing='ij')
        centres.append(torch.stack((x, y), -1).view(-1, 2))
    sizes = torch.tensor([(w, h) for h, w in shapes for _ in range(POINTS)])
    offsets = 3 * torch.randn(1, num_pixels, HEADS, LEVELS * POINTS, 2) / sizes
    locations = torch.cat(centres)[None, :, None, None] + offsets
    weights = torch.randn(offsets.shape[:-1]).softmax(-1)
    return torch.randn(1, num_pixels, HEADS, CHANNELS), locations, weights


def kept_bytes(call: Callable[[], Any]) -> int:
    """Bytes of the storages that autograd keeps."""
    import torch

    storages: dict[int, int] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = call()
    del result
    return sum(storages.values())


def main() -> None:
    options = parser(__doc__, repeats=5, size=(800, 1066))
    args = options.parse_args()
    import torch

    from mmdetr.models.fast.deformable_attention import FastDeformableSampling
    from mmdetr.models.layers import DeformableSampling

    torch.set_num_threads(1)
    height, width = args.size
    shapes = [(-(-height // stride), -(-width // stride)) for stride in (8, 16, 32, 64)]
    inputs = make_inputs(shapes)
    num_points = (POINTS,) * LEVELS
    fast = FastDeformableSampling(num_points)
    forms: dict[str, Callable] = {
        'usual': usual,
        'plain': DeformableSampling(num_points),
        'fast': fast,
        'fast, compiled': torch.compile(fast),
    }
    gradient = torch.randn(1, len(inputs[0][0]), HEADS * CHANNELS)

    def forward(form: Callable) -> Callable[[], Any]:
        return torch.no_grad()(lambda: form(inputs[0], shapes, *inputs[1:]))

    def step(form: Callable) -> Callable[[], Any]:
        leaves = [each.clone().requires_grad_() for each in inputs]
        return lambda: torch.autograd.grad(form(leaves[0], shapes, *leaves[1:]), leaves, gradient)

    trained = {name: form for name, form in forms.items() if 'compiled' not in name}
    expected, grads = forward(usual)(), step(usual)()
    rows: dict[str, dict] = {name: {} for name in forms}
    for name, form in forms.items():
        rows[name]['difference'] = (forward(form)() - expected).abs().max().item()
    for name, form in trained.items():
        pairs = zip(step(form)(), grads, strict=True)
        rows[name]['difference_of_gradients'] = max(
            ((ours - theirs).norm() / theirs.norm()).item() for ours, theirs in pairs
        )
        leaves = [each.clone().requires_grad_() for each in inputs]
        rows[name]['kept_bytes'] = kept_bytes(lambda: form(leaves[0], shapes, *leaves[1:]))  # noqa: B023
    for what, make, chosen in (
        ('forward', forward, forms),
        ('forward_and_backward', step, trained),
    ):
        calls = {name: make(form) for name, form in chosen.items()}
        seconds = time_in_turns(calls, args.repeats, clock=time.process_time)
        for name, times in seconds.items():
            rows[name][what] = dict(seconds=times, faster=ratio(seconds['usual'], times))
            print(f'{what:22s}{name:16s}{summary(times):44s}{rows[name][what]["faster"]}')
    for name, row in rows.items():
        print(name, {key: value for key, value in row.items() if not isinstance(value, dict)})
    write_result(
        f'deformable_attention_{height}x{width}',
        dict(size=[height, width], shapes=shapes, rows=rows),
    )


if __name__ == '__main__':
    main()
