"""Matching and losses of all decoder layers, forward and backward, against the peers' criteria.

    python benchmarks/criterion.py [--authors DIR]

Before timing, the sums of the weighted losses are compared.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch
from _common import compare, ratio, summary, write_result
from _models import (
    NUM_CLASSES,
    add_authors_option,
    authors_criterion,
    data_samples,
    has_transformers,
    objects,
    our_criterion,
)
from torch import Tensor

from mmdetr.structures import SetPrediction

SIZE = 800, 1066


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_authors_option(parser)
    for name, default in dict(layers=6, batch=16, queries=100, objects=20, repeats=25).items():
        parser.add_argument(f'--{name}', type=int, default=default, help=f'default: {default}')
    return parser.parse_args()


def ours(logits: Tensor, bboxes: Tensor, targets: list) -> Callable[[], Tensor]:
    criterion = our_criterion()
    samples = data_samples(targets, *SIZE)

    def loss() -> Tensor:
        losses = criterion(SetPrediction(logits, bboxes), samples)
        return torch.stack([value for name, value in losses.items() if 'loss' in name]).sum()

    return loss


def authors(logits: Tensor, bboxes: Tensor, targets: list) -> Callable[[], Tensor]:
    criterion, weights = authors_criterion()
    labelled = [dict(boxes=bboxes, labels=labels) for bboxes, labels in targets]

    def loss() -> Tensor:
        layers = [
            dict(pred_logits=layer_logits, pred_boxes=layer_bboxes)
            for layer_logits, layer_bboxes in zip(logits, bboxes, strict=True)
        ]
        losses = criterion(dict(layers[-1], aux_outputs=layers[:-1]), labelled)
        values = [losses[name] * weight for name, weight in weights.items() if name in losses]
        return torch.stack(values).sum()

    return loss


def transformers(logits: Tensor, bboxes: Tensor, targets: list) -> Callable[[], Tensor]:
    from transformers import DetrConfig
    from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

    config = DetrConfig(num_labels=NUM_CLASSES, auxiliary_loss=True)
    labelled = [dict(boxes=bboxes, class_labels=labels) for bboxes, labels in targets]

    def loss() -> Tensor:
        return ForObjectDetectionLoss(
            logits[-1], labelled, logits.device, bboxes[-1], config, logits, bboxes
        )[0]

    return loss


def main() -> None:
    args = parse_args()
    if args.authors:
        sys.path.insert(0, args.authors)
    torch.manual_seed(0)
    shape = args.layers, args.batch, args.queries
    logits = torch.randn(*shape, NUM_CLASSES + 1, requires_grad=True)
    raw_bboxes = torch.randn(*shape, 4, requires_grad=True)
    targets = objects(args.batch, args.objects)

    def step(make_loss: Callable) -> tuple[Callable[[], Any], float]:
        bboxes = raw_bboxes.sigmoid().detach().requires_grad_()
        loss = make_loss(logits, bboxes, targets)

        def run() -> Any:
            return torch.autograd.grad(loss(), (logits, bboxes))

        return run, loss().item()

    built = {}
    if args.authors:
        built['authors'] = step(authors)
    if has_transformers():
        built['transformers'] = step(transformers)
    if not built:
        sys.exit('error: nothing to compare with: pip install transformers, or give --authors')
    others = list(built)
    built['ours'] = step(ours)
    for name, (_, value) in built.items():
        if abs(value - built['ours'][1]) > 1e-4 * built['ours'][1]:
            sys.exit(f'error: the loss of {name} is {value}, ours {built["ours"][1]}')
    seconds = compare({name: run for name, (run, _) in built.items()}, args.repeats, warmup=3)
    for name, times in seconds.items():
        print(f'{name:14s} {summary(times)}')
    ratios = {other: ratio(seconds[other], seconds['ours']) for other in others}
    for other, (median, low, high) in ratios.items():
        print(f'ours is {median:.2f} x as fast as {other} ({low:.2f} to {high:.2f})')
    sizes = {name: getattr(args, name) for name in ('layers', 'batch', 'queries', 'objects')}
    write_result('criterion', dict(**sizes, seconds=seconds, ratio_to=ratios))


if __name__ == '__main__':
    main()
