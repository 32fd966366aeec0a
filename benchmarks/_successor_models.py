"""Successors of DETR here, in transformers and in the authors' code, with the same weights."""

import argparse
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _common import ROOT
from _models import keep_activations_small
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmdetr.checkpoint import convert, from_mmdetr, read_checkpoint
from mmdetr.datasets.coco_classes import COCO_CATEGORY_IDS
from mmdetr.registry import MODELS

CONFIGS = {
    'conditional': 'conditional_detr_r50_8xb2-50e_coco.py',
    'dab': 'dab_detr_r50_8xb2-50e_coco.py',
    'dn': 'dn_detr_r50_8xb2-50e_coco.py',
    'deformable': 'deformable_detr_r50_16xb2-50e_coco.py',
    'refine': 'deformable_detr_r50_16xb2-50e_coco_refine.py',
    'two-stage': 'deformable_detr_r50_16xb2-50e_coco_refine-two-stage.py',
    'dino': 'dino_4scale_r50_8xb2-12e_coco.py',
}
# With whom each is compared; transformers has neither DN-DETR nor DINO.
BY_AUTHORS = ('deformable', 'refine', 'two-stage', 'dn', 'dino')
BY_TRANSFORMERS = {
    'conditional': 'ConditionalDetrForObjectDetection',
    'dab': 'DabDetrForObjectDetection',
    'deformable': 'DeformableDetrForObjectDetection',
    'refine': 'DeformableDetrForObjectDetection',
    'two-stage': 'DeformableDetrForObjectDetection',
}
# A normalised image [1, 3, H, W] to logits and boxes, [layers, 1, N, K] and [layers, 1, N, 4].
Call = Callable[[Tensor], tuple[Tensor, Tensor]]


def our_model(name: str, num_classes: int) -> nn.Module:
    init_default_scope('mmdetr')
    torch.manual_seed(0)
    config = Config.fromfile(ROOT / 'configs' / CONFIGS[name])
    config.model.bbox_head.num_classes = num_classes
    config.model.bbox_head.transformer.dropout = 0.0
    model = MODELS.build(config.model).eval()
    keep_activations_small(model)
    for key, parameter in model.named_parameters():
        # At the start all points are on a grid and all boxes alike.
        if 'sampling_offsets' in key or 'reg_branch' in key:
            nn.init.normal_(parameter, std=0.05)
    return model


def our_call(model: nn.Module) -> Call:
    return lambda image: tuple(model(image))


# transformers


def transformers_model(name: str, ours: nn.Module) -> nn.Module:
    """Theirs with the weights of ours, the frozen parameters of ours, and no dropout."""
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'ours.pth'
        torch.save(dict(meta={}, state_dict=ours.state_dict()), path)
        convert(read_checkpoint(path), Path(folder) / 'hf' / 'model.safetensors', 'huggingface')
        rates = dict(dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)
        model, info = getattr(transformers, BY_TRANSFORMERS[name]).from_pretrained(
            Path(folder) / 'hf', output_loading_info=True, **rates
        )
    print('names that theirs alone has:', info['missing_keys'])
    for key, parameter in model.named_parameters():
        if 'backbone' in key:
            parameter.requires_grad_(any(f'layer{i}' in key for i in (2, 3, 4)))
    if hasattr(ours.bbox_head, 'eps'):
        ours.bbox_head.eps = 1e-5  # theirs in all models
    return model


def transformers_call(model: nn.Module) -> Call:
    rows = list(COCO_CATEGORY_IDS)

    def call(image: Tensor) -> tuple[Tensor, Tensor]:
        found = model(pixel_values=image)
        return found.logits[None, ..., rows], found.pred_boxes[None]

    return call


# The authors


def authors_model(name: str, ours: nn.Module, folder: Path) -> nn.Module:
    """The authors' model, with their own form of deformable attention in PyTorch."""
    model = _build_authors(name, folder)
    weights = from_mmdetr(ours.state_dict(), 'authors')
    print('names that only one of them has:', model.load_state_dict(weights, strict=False))
    return model


def authors_call(model: nn.Module, name: str) -> Call:
    def run(image: Tensor) -> Any:
        if name != 'dn':
            return model(list(image))
        return model.eval()(list(image), 0)[0]  # a model in training wants objects to denoise

    def call(image: Tensor) -> tuple[Tensor, Tensor]:
        found = run(image)
        layers = [*found.get('aux_outputs', []), found]
        kept = layers if torch.is_grad_enabled() else layers[-1:]
        parts = [[layer[key] for layer in kept] for key in ('pred_logits', 'pred_boxes')]
        return torch.stack(parts[0]), torch.stack(parts[1])

    return call


def _build_authors(name: str, folder: Path) -> Any:
    import torchvision

    sys.path.insert(0, str(folder))
    torchvision.__version__ = '0.9.0'  # they parse the first three characters as a number
    _stand_in('MultiScaleDeformableAttention')
    _stand_in('tqdm', tqdm=None)
    for module in ('timm', 'timm.models', 'timm.models.layers'):
        _stand_in(module, DropPath=None, to_2tuple=None, trunc_normal_=None)
    package = {'dn': 'models.DN_DAB_DETR', 'dino': 'models.dino'}.get(name, 'models')
    backbone = __import__(f'{package}.backbone', fromlist=['x'])
    backbone.is_main_process = lambda: False  # or it downloads weights
    if name == 'dn':
        return _build_dn()
    attention = __import__(f'{package}.ops.modules.ms_deform_attn', fromlist=['x'])
    function = __import__(f'{package}.ops.functions.ms_deform_attn_func', fromlist=['x'])

    def apply(value: Any, shapes: Any, _: Any, locations: Any, weights: Any, __: Any) -> Any:
        return function.ms_deform_attn_core_pytorch(value, shapes, locations, weights)

    attention.MSDeformAttnFunction = types.SimpleNamespace(apply=apply)
    return _build_dino(folder) if name == 'dino' else _build_deformable(name)


def _build_deformable(name: str) -> Any:
    from main import get_args_parser
    from models import build_model

    options = ['--device', 'cpu', '--dropout', '0']
    options += ['--with_box_refine'] if name in ('refine', 'two-stage') else []
    options += ['--two_stage'] if name == 'two-stage' else []
    return build_model(get_args_parser().parse_args(options))[0]


def _build_dn() -> Any:
    from main import get_args_parser
    from models import build_DABDETR

    torch.Tensor.cuda = lambda self, *_: self  # they move their queries to a GPU
    options = ['-m', 'dn_dab_detr', '--device', 'cpu', '--coco_path', '', '--use_dn']
    return build_DABDETR(get_args_parser().parse_args(options))[0]


def _build_dino(folder: Path) -> Any:
    from models.dino.dino import build_dino
    from util.slconfig import SLConfig

    values = SLConfig.fromfile(str(folder / 'config/DINO/DINO_4scale.py'))._cfg_dict.to_dict()
    values |= dict(device='cpu', masks=False, frozen_weights=None)
    model = build_dino(argparse.Namespace(**values))[0]
    model.dn_number = 0  # no denoising queries, here and in ours
    return model


def _stand_in(name: str, **attributes: Any) -> None:
    """A module that the authors import and their model does not use."""
    module = types.ModuleType(name)
    module.__dict__.update(attributes)
    sys.modules.setdefault(name, module)
