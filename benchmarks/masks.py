"""Masks of DETR-R50 against the authors' code: inference, training steps, post-processing.

    python benchmarks/masks.py --authors DIR

CPU seconds of one thread. Each peer has a process of its own and they run in turns. Before timing,
masks, losses and areas are compared.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from _common import parser, ratio, summary, write_result

CASES = ('inference', 'training-head', 'training-all', 'instances', 'panoptic')
FORMS: dict[str, dict[str, Any]] = {
    'plain, 100 masks': dict(plain=True),
    '100 masks': {},
    '15 masks': dict(kept=15),
    'optimised, 100 masks': dict(optimize=True),
    'optimised, 15 masks': dict(optimize=True, kept=15),
}


def parse_args() -> argparse.Namespace:
    options = parser(__doc__, authors=True, size=(800, 1066), repeats=3)
    options.add_argument(
        '--training-size', type=int, nargs=2, default=(512, 640), metavar=('H', 'W')
    )
    options.add_argument('--cases', nargs='+', choices=CASES, default=list(CASES))
    options.add_argument('--forms', nargs='+', choices=FORMS, default=list(FORMS))
    args = options.parse_args()
    if args.authors is None:
        sys.exit('error: nothing to compare with: give --authors')
    return args


def cases(args: argparse.Namespace, paths: dict[str, str]) -> dict[str, tuple[str, dict, float]]:
    """Title, factories and arguments of the peers, and how far they may differ."""
    import _mask_models as models

    size = dict(height=args.size[0], width=args.size[1])
    train_size = dict(height=args.training_size[0], width=args.training_size[1])

    def each(factory: Callable, arguments: dict, forms: dict[str, dict]) -> dict:
        ours = {
            name: (factory, dict(arguments, kind='ours', path=paths['ours'], **form))
            for name, form in forms.items()
        }
        authors = dict(arguments, kind='authors', path=paths['authors'])
        return {'authors': (factory, authors), **ours}

    def step(frozen: bool) -> dict:
        arguments = dict(train_size, batch=2, count=7, frozen=frozen)
        return each(models.train_masks, arguments, {'ours': {}, 'ours, plain': dict(plain=True)})

    def processing(factory: Callable) -> dict:
        return {kind: (factory, dict(size, kind=kind)) for kind in ('authors', 'ours')}

    boxes = {'boxes alone': (models.infer_boxes, dict(size, path=paths['ours']))}
    forms = {name: FORMS[name] for name in args.forms}
    small, large = (' x '.join(map(str, each)) for each in (args.training_size, args.size))
    return {
        'inference': (
            f'inference, batch 1, {large}',
            each(models.infer_masks, size, forms) | boxes,
            1e-2,
        ),
        'training-head': (f'training the mask head, batch 2, {small}', step(True), 1e-2),
        'training-all': (f'training all, batch 2, {small}', step(False), 1e-2),
        'instances': (f'instance masks, {large}', processing(models.instances), 1e-4),
        'panoptic': (f'panoptic segments, {large}', processing(models.panoptic), 1e-3),
    }


def measure(peers_of: dict, tolerance: float, repeats: int, checkout: Any) -> dict[str, Any]:
    """Start the peers of a case, compare, time them in turns."""
    from _peers import Peer, check_agreement

    peers = {
        name: Peer(factory, arguments, checkout if name == 'authors' else None)
        for name, (factory, arguments) in peers_of.items()
    }
    compared = {name: peer for name, peer in peers.items() if 'boxes' not in peer.outputs}
    differences = check_agreement(compared, 'authors', dict.fromkeys(compared, tolerance))
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for number in range(repeats):
        for name in list(peers)[:: 1 if number % 2 == 0 else -1]:
            seconds[name].append(peers[name]())
    memory = {name: peer.peak_memory() for name, peer in peers.items()}
    for peer in peers.values():
        peer.close()
    rows = {}
    for name, times in seconds.items():
        faster = ratio(seconds['authors'], times)
        rows[name] = dict(
            seconds=times, difference=differences.get(name), peak_mib=memory[name], ratio=faster
        )
        print(f'  {name:24s} {summary(times):44s} {faster} {memory[name]:.0f} MiB', flush=True)
    return rows


def main() -> None:
    args = parse_args()
    from _mask_models import random_mask_weights

    results = {}
    with random_mask_weights() as paths:
        known = cases(args, paths)
        for name in args.cases:
            title, peers, tolerance = known[name]
            print(title, flush=True)
            results[title] = measure(peers, tolerance, args.repeats, args.authors)
    part = '' if set(args.cases) == set(CASES) else '_' + '_'.join(args.cases)
    write_result(f'masks{part}', dict(cases=results))


if __name__ == '__main__':
    main()
