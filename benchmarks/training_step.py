"""A training step of DETR-R50 in float32: time and memory against the authors' and transformers'.

    python benchmarks/training_step.py [--authors DIR]
    python benchmarks/training_step.py [--authors DIR] --device cuda --size 800 1066

Losses, gradients, clipping and AdamW; the same parameters are frozen. Each peer has a process of
its own and they run in turns. Before timing, the losses without dropout are compared. On a GPU
a step in mixed precision (bfloat16) takes the place of "memory kept".
"""

import argparse
from typing import Any

from _common import add_device, parser, positive, ratio, summary, time_in_turns, write_result

FORMS: dict[str, dict[str, Any]] = {
    'ours': {},
    'ours, memory kept': dict(keep_memory=True),
    'ours, activation checkpointing': {
        'model.backbone.with_cp': True,
        'model.bbox_head.transformer.with_cp': True,
    },
}
GPU_FORMS: dict[str, dict[str, Any]] = {
    'ours': {},
    'ours, mixed precision': dict(mixed=True),
    'ours, activation checkpointing': FORMS['ours, activation checkpointing'],
}


def parse_args() -> argparse.Namespace:
    options = parser(__doc__, authors=True, size=(512, 640), repeats=9)
    add_device(options)
    options.add_argument('--batch', type=positive, default=2, help='images (default: 2)')
    options.add_argument('--objects', type=positive, default=7, help='of an image (default: 7)')
    return options.parse_args()


def main() -> None:
    args = parse_args()
    from _losses import train
    from _models import random_weights, start_others
    from _peers import Peer, check_agreement

    height, width = args.size
    common = dict(
        batch=args.batch, height=height, width=width, count=args.objects, device=args.device
    )
    forms = FORMS if args.device == 'cpu' else GPU_FORMS
    with random_weights() as paths:
        peers = start_others(train, common, paths, args.authors)
        others = list(peers)
        for form, options in forms.items():
            peers[form] = Peer(train, dict(common, kind='ours', path=paths['ours'], **options))
        scale = float(peers[others[0]].outputs['loss'])
        tolerances = {name: (0.1 if 'mixed' in name else 1e-4) * scale for name in peers}
        differences = check_agreement(peers, others[0], tolerances)
        seconds = time_in_turns(peers, args.repeats)
        memory = {name: peer.peak_memory() for name, peer in peers.items()}
        for peer in peers.values():
            peer.close()
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
            f'{ratio(seconds[other], times).median:.2f} x {other} at '
            f'{memory[name] / memory[other]:.2f} of its memory'
            for other in others
        )
        print(f'{name:32s} {summary(times):40s} {memory[name]:.0f} MiB  {against}', flush=True)
    write_result(
        f'training_step_{height}x{width}',
        dict(size=list(args.size), batch=args.batch, objects=args.objects, rows=rows),
        args.device,
    )


if __name__ == '__main__':
    main()
