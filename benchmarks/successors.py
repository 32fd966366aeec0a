"""One image and one training step of each successor against transformers or the authors on a CPU.

    python benchmarks/successors.py conditional [--size H W]
    python benchmarks/successors.py {deformable,refine,two-stage,dn,dino} --authors DIR

Without --authors the peer is transformers, which has neither DN-DETR nor DINO. DIR is a checkout of
fundamentalvision/Deformable-DETR, IDEA-Research/DN-DETR or IDEA-Research/DINO. The authors'
compiled operator is replaced by their own PyTorch form of it, as it has no CPU form. Both models
have the same weights and no dropout, ours in float32 as `init_detector` builds it; outputs are
compared before anything is timed. Times are CPU seconds of one thread. A training step is the
forward pass and the backward pass of the mean of logits and boxes, without matching, losses and
denoising queries.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import parser, ratio, summary, time_in_turns, write_result


def main() -> None:
    options = parser(__doc__, repeats=3, size=(800, 1066))
    options.add_argument('model', help='one of the above, or dab')
    options.add_argument('--authors', type=Path, help="checkout of the authors' code")
    options.add_argument('--inference-only', action='store_true')
    args = options.parse_args()
    import _successor_models as models
    import torch

    from mmdetr.deploy.comparison import TOLERANCES, compare_predictions

    known = models.BY_TRANSFORMERS if args.authors is None else models.BY_AUTHORS
    if args.model not in known:
        options.error(f'with{"out" if args.authors is None else ""} --authors: {", ".join(known)}')
    torch.set_num_threads(1)
    image = torch.randn(1, 3, *args.size)
    if args.authors is None:
        peer = 'transformers'
        ours = models.our_model(args.model, num_classes=80)
        theirs = models.transformers_model(args.model, ours)
        their_call = models.transformers_call(theirs)
    else:
        peer = 'authors'
        ours = models.our_model(args.model, num_classes=91)
        theirs = models.authors_model(args.model, ours, args.authors)
        their_call = models.authors_call(theirs, args.model)
    parties = {peer: (theirs.eval(), their_call), 'ours': (ours, models.our_call(ours))}

    with torch.no_grad():
        found = [call(image) for _, call in parties.values()]
    # As sets: proposals of nearly equal score may change places.
    theirs_and_ours = [
        dict(zip(('logits', 'bboxes'), (part[-1].numpy() for part in each), strict=True))
        for each in found
    ]
    parts = compare_predictions(*theirs_and_ours, tuple(image.shape), TOLERANCES['float32'])
    difference = max(part.largest for part in parts)
    print(f'largest difference of logits and boxes: {difference:.1e}')

    def infer(model: Any, call: Any) -> Callable[[], Any]:
        return torch.no_grad()(lambda: (model.eval(), call(image)))

    def step(model: Any, call: Any) -> Callable[[], Any]:
        def run() -> None:
            model.train()
            logits, bboxes = call(image)
            (logits.mean() + bboxes.mean()).backward()
            model.zero_grad()

        return run

    rows = {}
    works = {'inference': infer} if args.inference_only else {'inference': infer, 'training': step}
    for work, make in works.items():
        calls = {name: make(*party) for name, party in parties.items()}
        seconds = time_in_turns(calls, args.repeats, clock=time.process_time)
        rows[work] = dict(seconds=seconds, faster=ratio(seconds[peer], seconds['ours']))
        for name, times in seconds.items():
            print(f'{work:10s}{name:14s}{summary(times)}')
        print(f'{work:10s}{rows[work]["faster"]} x', flush=True)
    write_result(
        f'successors_{args.model}_{peer}_{args.size[0]}x{args.size[1]}',
        dict(model=args.model, size=list(args.size), difference=difference, rows=rows),
    )


if __name__ == '__main__':
    main()
