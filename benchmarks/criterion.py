"""Matching and losses of all decoder layers, forward and backward, against the peers' criteria.

    python benchmarks/criterion.py [--authors DIR]

Before timing, the sums of the weighted losses are compared.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from _common import parser, positive, ratio, summary, time_in_turns, write_result


def parse_args() -> argparse.Namespace:
    options = parser(__doc__, authors=True, repeats=25)
    for name, default in dict(layers=6, batch=16, queries=100, objects=20).items():
        options.add_argument(
            f'--{name}', type=positive, default=default, help=f'default: {default}'
        )
    return options.parse_args()


def main() -> None:
    args = parse_args()
    import torch
    from _losses import authors_loss, objects, our_loss, transformers_loss
    from _models import NOTHING_TO_COMPARE, NUM_CLASSES, has_transformers

    parties: dict[str, Callable] = {}
    if args.authors:
        sys.path.insert(0, str(args.authors))
        parties['authors'] = authors_loss
    if has_transformers():
        parties['transformers'] = transformers_loss
    if not parties:
        sys.exit(NOTHING_TO_COMPARE)
    others = list(parties)
    torch.manual_seed(0)
    shape = args.layers, args.batch, args.queries
    logits = torch.randn(*shape, NUM_CLASSES + 1, requires_grad=True)
    bboxes = torch.randn(*shape, 4).sigmoid().requires_grad_()
    targets = objects(args.batch, args.objects)
    losses = {
        name: make(logits, bboxes, targets) for name, make in {**parties, 'ours': our_loss}.items()
    }
    expected = losses['ours']().item()
    for name, loss in losses.items():
        if abs(loss().item() - expected) > 1e-4 * expected:
            sys.exit(f'error: the loss of {name} is {loss().item()}, ours {expected}')

    def step(loss: Callable) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(loss(), (logits, bboxes))

    steps = {name: step(loss) for name, loss in losses.items()}
    seconds = time_in_turns(steps, args.repeats, warmup=3)
    for name, times in seconds.items():
        print(f'{name:14s} {summary(times)}')
    ratios = {other: ratio(seconds[other], seconds['ours']) for other in others}
    for other, faster in ratios.items():
        print(f'ours is {faster} x as fast as {other}')
    sizes = {name: getattr(args, name) for name in ('layers', 'batch', 'queries', 'objects')}
    write_result('criterion', dict(**sizes, seconds=seconds, ratio_to=ratios))


if __name__ == '__main__':
    main()
