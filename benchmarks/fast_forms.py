"""What each fast form brings of a whole image or training step of DETR-R50 on a CPU.

    python benchmarks/fast_forms.py {inference,training} [--size H W] [--load N]

Every form is left out by itself; the model with all of them is the reference, the plain model is
measured too. A form stays if leaving it out costs 3 % or more.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from _common import parser, ratio, summary, time_in_turns, write_result

# A competitor for the cores: products of matrices too large for a cache.
_LOAD = 'import torch; torch.set_num_threads(1); x = torch.rand(1500, 1500)\nwhile True: x @ x'


@contextmanager
def load(count: int) -> Iterator[None]:
    """Keep ``count`` other processes busy."""
    processes = [subprocess.Popen([sys.executable, '-c', _LOAD]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def without(model: Any, *plain: type) -> Any:
    """The model with some forms plain again."""
    from mmdetr.models.fast import FAST_FORMS

    slow = {FAST_FORMS[each]: each for each in plain}
    for module in model.modules():
        module.__class__ = slow.get(type(module), type(module))
    return model


def build() -> Any:
    """DETR-R50 with random weights, the same ones each time."""
    import torch
    from _models import COCO_CONFIG, keep_activations_small

    from mmdetr.apis import init_detector

    torch.manual_seed(0)
    model = init_detector(COCO_CONFIG, device='cpu')
    keep_activations_small(model)
    return model


def inference_variants(inputs: Any, keep_memory: bool) -> dict[str, Callable[[], Any]]:
    import torch
    from torchvision.models.resnet import BasicBlock, Bottleneck

    from mmdetr.models.backbones import ResNet
    from mmdetr.models.fast import fold_batch_norms, use_plain_forms
    from mmdetr.utils.memory import disable_trimming

    if keep_memory:
        disable_trimming()

    def call(model: Any) -> Callable[[], Any]:
        return torch.no_grad()(lambda: model(inputs))

    plain, folded, winograd = build(), build(), build()
    use_plain_forms(plain)
    fold_batch_norms(folded)
    fold_batch_norms(winograd, winograd=True)
    return {
        'fast': call(build()),
        'plain': call(plain),
        'without fused blocks': call(without(build(), ResNet, BasicBlock, Bottleneck)),
        'fast, folded for good': call(folded),
        "fast, folded, Winograd's form": call(winograd),
    }


def training_variants(inputs: Any) -> dict[str, Callable[[], Any]]:
    import torch
    from mmengine.structures import InstanceData
    from torch import nn
    from torchvision.models.resnet import BasicBlock, Bottleneck

    from mmdetr.models.backbones import ResNet
    from mmdetr.models.fast import use_plain_forms
    from mmdetr.structures import DetDataSample

    height, width = inputs.shape[-2:]
    samples = []
    for _ in inputs:
        corner = torch.rand(7, 2) * 0.5
        bboxes = torch.cat((corner, corner + 0.3), 1) * torch.tensor((width, height) * 2)
        sample = DetDataSample(metainfo=dict(img_id=0, img_shape=(height, width)))
        sample.gt_instances = InstanceData(bboxes=bboxes, labels=torch.randint(0, 80, (7,)))
        samples.append(sample)

    def call(model: Any) -> Callable[[], Any]:
        parameters = [p for p in model.train().parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, 1e-6)

        def step() -> None:
            total, _ = model.parse_losses(model(inputs, None, samples, mode='loss'))
            total.backward()
            nn.utils.clip_grad_norm_(parameters, 0.1)
            optimizer.step()
            optimizer.zero_grad()

        return step

    plain = build()
    use_plain_forms(plain)
    return {
        'fast': call(build()),
        'plain': call(plain),
        'without fused blocks': call(without(build(), ResNet, BasicBlock, Bottleneck)),
    }


def main() -> None:
    options = parser(__doc__, repeats=7)
    options.add_argument('work', choices=('inference', 'training'))
    options.add_argument('--size', type=int, nargs=2, metavar=('H', 'W'))
    options.add_argument('--load', type=int, default=0, help='other busy processes (default: 0)')
    options.add_argument('--keep-memory', action='store_true', help='glibc keeps freed memory')
    args = options.parse_args()
    import torch

    size, batch = ((800, 1066), 1) if args.work == 'inference' else ((512, 640), 2)
    size = tuple(args.size or size)
    inputs = torch.randn(batch, 3, *size)
    if args.work == 'inference':
        variants = inference_variants(inputs, args.keep_memory)
    else:
        variants = training_variants(inputs)
    with load(args.load):
        seconds = time_in_turns(variants, args.repeats)
    rows = {}
    for name, times in seconds.items():
        rows[name] = dict(seconds=times, time_to_fast=ratio(times, seconds['fast']))
        print(f'{name:32s} {summary(times):44s} {rows[name]["time_to_fast"]}', flush=True)
    more = f'{"_load" if args.load else ""}{"_kept" if args.keep_memory else ""}'
    write_result(
        f'fast_forms_{args.work}_{size[0]}x{size[1]}{more}',
        dict(
            work=args.work,
            size=list(size),
            batch=batch,
            load=args.load,
            keep_memory=args.keep_memory,
            rows=rows,
        ),
    )


if __name__ == '__main__':
    main()
