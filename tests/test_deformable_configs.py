"""Configs of the deformable half of the family: what they change, and the authors' sizes."""

from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdetr.registry import MODELS

from .test_configs import ROOT, difference

HEAD = 'model.bbox_head'
TRANSFORMER = f'{HEAD}.transformer'
BASE = 'deformable_detr_r50_16xb2-50e_coco.py'
REFINE, SINGLE_SCALE = (BASE.replace('.py', f'_{name}.py') for name in ('refine', 'single-scale'))
TWO_STAGE = BASE.replace('.py', '_refine-two-stage.py')
DAB, DN = (f'{name}_deformable_detr_r50_8xb2-50e_coco.py' for name in ('dab', 'dn'))
DINO, DINO5 = (f'dino_{number}scale_r50_8xb2-12e_coco.py' for number in (4, 5))


def epochs(number: int, milestone: int) -> dict[str, Any]:
    return {
        'train_cfg.max_epochs': number,
        'param_scheduler.0.end': number,
        'param_scheduler.0.milestones.0': milestone,
    }


CHILDREN: dict[str, tuple[str, dict]] = {
    REFINE: (BASE, {f'{HEAD}.with_box_refine': True, f'{HEAD}.share_branches': False}),
    TWO_STAGE: (
        REFINE,
        {
            f'{HEAD}.query_source.type': 'ProposalQueries',
            f'{HEAD}.proposals.type': 'EncoderProposals',
            f'{HEAD}.proposals.class_agnostic': True,
            f'{HEAD}.criterion.class_agnostic_proposals': True,
        },
    ),
    SINGLE_SCALE: (
        BASE,
        {
            'model.backbone.out_indices.0': 3,
            'model.backbone.out_indices.1': None,
            'model.backbone.out_indices.2': None,
            'model.neck.num_outs': 1,
            f'{TRANSFORMER}.num_levels': 1,
        },
    ),
    SINGLE_SCALE.replace('r50', 'r50-dc5'): (SINGLE_SCALE, {'model.backbone.dilation': True}),
    DN: (
        DAB,
        {
            f'{HEAD}.query_source.indicator': True,
            f'{HEAD}.denoising.type': 'GroupDenoising',
            f'{HEAD}.denoising.num_groups': 5,
            f'{HEAD}.denoising.label_noise': 0.2,
            f'{HEAD}.denoising.box_noise': 0.4,
            f'{HEAD}.criterion.denoising_background': False,
        },
    ),
    DINO: (
        DAB,
        {
            **epochs(12, 11),
            f'{HEAD}.num_queries': 900,
            f'{HEAD}.query_source.type': 'MixedQueries',
            f'{HEAD}.proposals.type': 'EncoderProposals',
            f'{HEAD}.proposals.class_agnostic': False,
            f'{HEAD}.share_branches': True,
            f'{HEAD}.denoising.type': 'ContrastiveDenoising',
            f'{HEAD}.denoising.max_queries': 200,
            f'{HEAD}.denoising.label_noise': 0.25,
            f'{HEAD}.denoising.box_noise': 1.0,
            f'{HEAD}.positional_encoding.temperature': 20,
            f'{HEAD}.positional_encoding.offset': 0.0,
            f'{TRANSFORMER}.decoder.query_scale': False,
            f'{TRANSFORMER}.decoder.norm': True,
            f'{TRANSFORMER}.decoder.look_forward_twice': True,
        },
    ),
    DINO5: (
        DINO,
        {
            **{f'model.backbone.out_indices.{i}': i for i in range(4)},
            'model.neck.num_outs': 5,
            f'{TRANSFORMER}.num_levels': 5,
        },
    ),
    **{
        name.replace('12e', f'{number}e'): (name, epochs(number, milestone))
        for name in (DINO, DINO5)
        for number, milestone in ((24, 20), (36, 30))
    },
}


@pytest.mark.parametrize('child', sorted(CHILDREN))
def test_child_differs_in_what_its_name_says_and_nothing_else(child: str) -> None:
    parent, changes = CHILDREN[child]
    assert difference(child, parent) == changes


def test_recipe_of_deformable_detr() -> None:
    cfg = Config.fromfile(ROOT / BASE)
    rates = {
        name: each['lr_mult'] for name, each in cfg.optim_wrapper.paramwise_cfg.custom_keys.items()
    }
    assert rates == dict.fromkeys(('backbone', 'sampling_offsets', 'reference_points'), 0.1)
    assert cfg.optim_wrapper.optimizer.lr == 2e-4
    assert cfg.optim_wrapper.clip_grad.max_norm == 0.1
    assert cfg.auto_scale_lr.base_batch_size == 32
    with torch.device('meta'):
        names = [name for name, _ in MODELS.build(cfg.model).named_parameters()]
    for part in rates:
        assert any(part in name for name in names), part


@pytest.mark.parametrize(
    ('name', 'millions'),
    [
        (SINGLE_SCALE, 34.07),
        (BASE, 40.07),
        (REFINE, 40.85),
        (TWO_STAGE, 41.18),
        (DAB, 47.41),
        (DN, 47.43),
        (DINO, 46.89),
    ],
)
def test_parameters_of_the_authors_code(name: str, millions: float) -> None:
    """Counted in the authors' models with 91 class rows, frozen ones included."""
    init_default_scope('mmdetr')
    cfg = Config.fromfile(ROOT / name)
    cfg.model.bbox_head.num_classes = 91
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions
