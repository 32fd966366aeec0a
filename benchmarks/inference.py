"""Inference of DETR-R50: this package against the authors' code and transformers.

    python benchmarks/inference.py [--authors DIR] [--device cuda]

Each peer has a process of its own and they run in turns. Before timing, all outputs are compared.
"""

import argparse
from typing import Any

from _common import add_device, parser, ratio, summary, time_in_turns, write_result

SERVED: dict[str, Any] = {
    'plain': False,
    'optimised': True,
    'optimised, compiled': dict(compile=True),
    'optimised, bfloat16': dict(dtype='bfloat16'),
    'optimised, bfloat16, compiled': dict(dtype='bfloat16', compile=True),
}
CASES = {
    'batch 1': dict(batch=1, padded=False),
    'batch 2, one padded': dict(batch=2, padded=True),
}


def parse_args() -> argparse.Namespace:
    options = parser(__doc__, authors=True, size=(800, 1066), repeats=9)
    add_device(options)
    options.add_argument('--cases', nargs='+', choices=CASES, default=list(CASES))
    options.add_argument('--forms', nargs='+', choices=SERVED, default=list(SERVED))
    return options.parse_args()


def measure(args: argparse.Namespace, case: dict, paths: dict[str, str]) -> dict[str, Any]:
    """Start the peers of a case, compare their outputs, time them."""
    from _models import infer, start_others
    from _peers import Peer, check_agreement

    height, width = args.size
    common = dict(case, height=height, width=width, device=args.device)
    peers = start_others(infer, common, paths, args.authors)
    others = list(peers)
    for form in args.forms:
        arguments = dict(common, kind='ours', path=paths['ours'], optimize=SERVED[form])
        peers[form] = Peer(infer, arguments)
    tolerances = {name: 0.1 if 'bfloat16' in name else 1e-4 for name in peers}
    differences = check_agreement(peers, others[0], tolerances)
    seconds = time_in_turns(peers, args.repeats)
    for peer in peers.values():
        peer.close()
    rows = {}
    for name, times in seconds.items():
        faster = {other: ratio(seconds[other], times) for other in others}
        rows[name] = dict(
            seconds=times,
            difference=differences[name],
            ratio_to=faster,
            build_seconds=peers[name].build_seconds,
        )
        against = ', '.join(f'{each.median:.2f} x {other}' for other, each in faster.items())
        print(f'  {name:32s} {summary(times):44s} {against}', flush=True)
    return dict(reference=others[0], rows=rows)


def main() -> None:
    args = parse_args()
    from _models import random_weights

    results = {}
    with random_weights() as paths:
        for name in args.cases:
            print(f'{name}, {args.size[0]} x {args.size[1]}', flush=True)
            results[name] = measure(args, CASES[name], paths)
    write_result('inference', dict(size=list(args.size), cases=results), args.device)


if __name__ == '__main__':
    main()
