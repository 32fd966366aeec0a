"""A training step of DETR-R50 in float32: time and memory against the authors' and transformers'.

    python benchmarks/training_step.py [--authors DIR]

Losses, gradients, clipping and AdamW; the same parameters are frozen. Each peer has a process of
its own and they run in turns. Before timing, the losses without dropout are compared.
"""

import argparse
from typing import Any

from _common import compare, ratio, summary, write_result
from _models import add_authors_option, random_weights, start_others, train
from _peers import Peer, check_agreement

FORMS: dict[str, dict[str, Any]] = {
    'ours': {},
    'ours, memory kept': dict(keep_memory=True),
    'ours, activation checkpointing': {
        'model.backbone.with_cp': True,
        'model.bbox_head.transformer.with_cp': True,
    },
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_authors_option(parser)
    parser.add_argument('--size', type=int, nargs=2, default=(512, 640), metavar=('H', 'W'))
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--objects', type=int, default=7, help='objects of an image (default: 7)')
    parser.add_argument('--repeats', type=int, default=9, help='timed rounds (default: 9)')
    return parser.parse_args()


def start_peers(args: argparse.Namespace, paths: dict[str, str]) -> dict[str, Peer]:
    height, width = args.size
    common = dict(batch=args.batch, height=height, width=width, count=args.objects)
    peers = start_others(train, common, paths, args.authors)
    for form, options in FORMS.items():
        peers[form] = Peer(train, dict(common, kind='ours', path=paths['mmdetr'], **options))
    return peers


def main() -> None:
    args = parse_args()
    with random_weights() as paths:
        peers = start_peers(args, paths)
        reference = next(iter(peers))
        scale = float(peers[reference].outputs['loss'])
        differences = check_agreement(peers, reference, dict.fromkeys(peers, 1e-4 * scale))
        seconds = compare(peers, args.repeats)
        memory = {name: peer.peak_memory() for name, peer in peers.items()}
        for peer in peers.values():
            peer.close()
    others = [name for name in ('authors', 'transformers') if name in peers]
    rows = {}
    for name, times in seconds.items():
        rows[name] = dict(
            seconds=times,
            loss_difference=differences[name],
            peak_mib=memory[name],
            ratio_to={other: ratio(seconds[other], times) for other in others},
            memory_to={other: memory[name] / memory[other] for other in others},
            time_to_ours=ratio(times, seconds['ours']),
        )
        against = ', '.join(
            f'{ratio(seconds[other], times)[0]:.2f} x {other} at {memory[name] / memory[other]:.2f}'
            ' of its memory'
            for other in others
        )
        print(f'{name:32s} {summary(times):40s} {memory[name]:.0f} MiB  {against}', flush=True)
    write_result(
        'training_step_{}x{}'.format(*args.size),
        dict(size=list(args.size), batch=args.batch, objects=args.objects, rows=rows),
    )


if __name__ == '__main__':
    main()
