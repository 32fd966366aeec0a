"""One image and one training step of Deformable DETR and DINO against the authors' models on a CPU.

    python benchmarks/successors.py deformable --authors DIR [--size H W]
    python benchmarks/successors.py dino --authors DIR

DIR is a checkout of fundamentalvision/Deformable-DETR or IDEA-Research/DINO. The authors' compiled
operator is replaced by their own PyTorch form of it, as it has no CPU form. Both models have the
same weights, ours in float32 as `init_detector` builds it; outputs are compared before anything is
timed. Times are CPU seconds of one thread. A training step is the forward pass in training mode and
the backward pass of the mean of logits and boxes, without matching, losses and denoising queries.
"""

import argparse
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import ROOT, parser, ratio, summary, time_in_turns, write_result

CONFIGS = {
    'deformable': 'deformable_detr_r50_16xb2-50e_coco.py',
    'refine': 'deformable_detr_r50_16xb2-50e_coco_refine.py',
    'two-stage': 'deformable_detr_r50_16xb2-50e_coco_refine-two-stage.py',
    'dino': 'dino_4scale_r50_8xb2-12e_coco.py',
}


def our_model(name: str) -> Any:
    import torch
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from mmdetr.registry import MODELS

    init_default_scope('mmdetr')
    torch.manual_seed(0)
    config = Config.fromfile(ROOT / 'configs' / CONFIGS[name])
    config.model.bbox_head.num_classes = 91
    config.model.bbox_head.transformer.dropout = 0.0
    model = MODELS.build(config.model).eval()
    for key, parameter in model.named_parameters():
        # At the start all points are on a grid and all boxes alike.
        if 'sampling_offsets' in key or 'reg_branch' in key:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def stand_in(name: str, **attributes: Any) -> None:
    """A module that the authors import and their model does not use."""
    module = types.ModuleType(name)
    module.__dict__.update(attributes)
    sys.modules.setdefault(name, module)


def authors_model(name: str, folder: Path) -> Any:
    """The authors' model, with their own form of deformable attention in PyTorch."""
    import torchvision

    sys.path.insert(0, str(folder))
    torchvision.__version__ = '0.9.0'  # they parse the first three characters as a number
    stand_in('MultiScaleDeformableAttention')
    stand_in('tqdm', tqdm=None)
    for module in ('timm', 'timm.models', 'timm.models.layers'):
        stand_in(module, DropPath=None, to_2tuple=None, trunc_normal_=None)
    package = 'models.dino' if name == 'dino' else 'models'
    backbone = __import__(f'{package}.backbone', fromlist=['x'])
    backbone.is_main_process = lambda: False  # or it downloads weights
    attention = __import__(f'{package}.ops.modules.ms_deform_attn', fromlist=['x'])
    function = __import__(f'{package}.ops.functions.ms_deform_attn_func', fromlist=['x'])

    def apply(value: Any, shapes: Any, _: Any, locations: Any, weights: Any, __: Any) -> Any:
        return function.ms_deform_attn_core_pytorch(value, shapes, locations, weights)

    attention.MSDeformAttnFunction = types.SimpleNamespace(apply=apply)
    if name == 'dino':
        from models.dino.dino import build_dino
        from util.slconfig import SLConfig

        values = SLConfig.fromfile(str(folder / 'config/DINO/DINO_4scale.py'))._cfg_dict.to_dict()
        values |= dict(device='cpu', masks=False, frozen_weights=None)
        args = argparse.Namespace(**values)
        model = build_dino(args)[0]
        model.dn_number = 0  # no denoising queries, here and in ours
        return model
    from main import get_args_parser
    from models import build_model

    options = ['--device', 'cpu', '--dropout', '0']
    options += ['--with_box_refine'] if name in ('refine', 'two-stage') else []
    options += ['--two_stage'] if name == 'two-stage' else []
    return build_model(get_args_parser().parse_args(options))[0]


def main() -> None:
    options = parser(__doc__, repeats=3, size=(800, 1066))
    options.add_argument('model', choices=CONFIGS)
    options.add_argument(
        '--authors', type=Path, required=True, help="checkout of the authors' code"
    )
    options.add_argument('--inference-only', action='store_true')
    args = options.parse_args()
    import torch

    from mmdetr.checkpoint import from_mmdetr

    torch.set_num_threads(1)
    ours, theirs = our_model(args.model), authors_model(args.model, args.authors).eval()
    weights = from_mmdetr(ours.state_dict(), 'authors')
    missing = theirs.load_state_dict(weights, strict=False)
    print('names that only one of them has:', missing)
    image = torch.randn(1, 3, *args.size)

    def call(model: Any) -> Any:
        return model(image) if model is ours else model(list(image))

    def outputs(model: Any) -> tuple[Any, Any]:
        found = call(model)
        if model is ours:
            return found.logits, found.bboxes
        layers = [*found.get('aux_outputs', []), found]
        kept = layers if model.training else layers[-1:]
        parts = [[layer[key] for layer in kept] for key in ('pred_logits', 'pred_boxes')]
        return torch.stack(parts[0]), torch.stack(parts[1])

    with torch.no_grad():
        pairs = list(zip(outputs(ours), outputs(theirs), strict=True))
    difference = max((own - other).abs().max().item() for own, other in pairs)
    print(f'largest difference of logits and boxes: {difference:.1e}')

    def infer(model: Any) -> Callable[[], Any]:
        return torch.no_grad()(lambda: call(model.eval()))

    def step(model: Any) -> Callable[[], Any]:
        def run() -> None:
            logits, bboxes = outputs(model.train())
            (logits.mean() + bboxes.mean()).backward()
            model.zero_grad()

        return run

    rows = {}
    works = {'inference': infer} if args.inference_only else {'inference': infer, 'training': step}
    for work, make in works.items():
        calls = {'authors': make(theirs), 'ours': make(ours)}
        seconds = time_in_turns(calls, args.repeats, clock=time.process_time)
        rows[work] = dict(seconds=seconds, faster=ratio(seconds['authors'], seconds['ours']))
        for name, times in seconds.items():
            print(f'{work:10s}{name:10s}{summary(times)}')
        print(f'{work:10s}{rows[work]["faster"]} x', flush=True)
    write_result(
        f'successors_{args.model}_{args.size[0]}x{args.size[1]}',
        dict(model=args.model, size=list(args.size), difference=difference, rows=rows),
    )


if __name__ == '__main__':
    main()
