"""Every config builds, learns, and differs from its parent in what its name says."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mmengine.registry
import mmengine.runner
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import Registry, init_default_scope
from mmengine.structures import InstanceData

import mmdetr.registry
from mmdetr.config.options import check_settings
from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample

ROOT = Path(__file__).parents[1] / 'configs'
LEAVES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob('*.py'))
LEAVES = [name for name in LEAVES if not name.startswith('_base_/')]
COCO_300E = 'detr_r50_16xb4-300e_coco.py'
TRANSFORMER = 'model.bbox_head.transformer'
CRITERION = 'model.bbox_head.criterion'

# Child: (parent, what differs).
CHILDREN: dict[str, tuple[str, dict]] = {
    'detr_r50-dc5_16xb4-500e_coco.py': (
        'detr_r50_16xb4-500e_coco.py',
        {'model.backbone.dilation': True},
    ),
    'detr_r101_16xb4-500e_coco.py': (
        'detr_r50_16xb4-500e_coco.py',
        {
            'model.backbone.depth': 101,
            'model.backbone.init_cfg.checkpoint': 'torchvision://resnet101',
        },
    ),
    'detr_r101-dc5_16xb4-500e_coco.py': (
        'detr_r101_16xb4-500e_coco.py',
        {'model.backbone.dilation': True},
    ),
    'detr_r18_8xb2-150e_coco.py': (
        'detr_r50_8xb2-150e_coco.py',
        {
            'model.backbone.depth': 18,
            'model.backbone.init_cfg.checkpoint': 'torchvision://resnet18',
        },
    ),
    'detr_r50_16xb4-500e_coco.py': (
        COCO_300E,
        {
            'train_cfg.max_epochs': 500,
            'param_scheduler.0.end': 500,
            'param_scheduler.0.milestones.0': 400,
        },
    ),
    'detr_short_r50_8xb2-150e_coco_as-published.py': (
        'detr_short_r50_8xb2-150e_coco.py',
        {
            'model.bbox_head.num_classes': 91,
            'model.bbox_head.sigmoid_bboxes': False,
            'train_dataloader.dataset.category_ids_as_labels': True,
            'val_dataloader.dataset.category_ids_as_labels': True,
            'test_dataloader.dataset.category_ids_as_labels': True,
        },
    ),
}
CHILDREN |= {
    'detr_r50-dc5_panoptic_8xb2-300e_coco_boxes.py': (
        'detr_r50_panoptic_8xb2-300e_coco_boxes.py',
        {'model.backbone.dilation': True},
    ),
    'detr_r101_panoptic_8xb2-300e_coco_boxes.py': (
        'detr_r50_panoptic_8xb2-300e_coco_boxes.py',
        {
            'model.backbone.depth': 101,
            'model.backbone.init_cfg.checkpoint': 'torchvision://resnet101',
        },
    ),
    'detr_r50-dc5_panoptic_8xb2-25e_coco.py': (
        'detr_r50_panoptic_8xb2-25e_coco.py',
        {
            'model.backbone.dilation': True,
            'load_from': 'work_dirs/detr_r50-dc5_panoptic_8xb2-300e_coco_boxes/epoch_300.pth',
        },
    ),
    'detr_r101_panoptic_8xb2-25e_coco.py': (
        'detr_r50_panoptic_8xb2-25e_coco.py',
        {
            'model.backbone.depth': 101,
            'load_from': 'work_dirs/detr_r101_panoptic_8xb2-300e_coco_boxes/epoch_300.pth',
        },
    ),
}
ABLATIONS: dict[str, dict] = {
    **{f'enc{n}': {f'{TRANSFORMER}.num_encoder_layers': n} for n in (0, 3, 12)},
    **{f'dec{n}': {f'{TRANSFORMER}.num_decoder_layers': n} for n in (1, 2, 3, 4, 5)},
    'no-ffn': {f'{TRANSFORMER}.feedforward_channels': 0},
    'no-spatial-pos': {
        f'{TRANSFORMER}.encoder_pos': 'none',
        f'{TRANSFORMER}.decoder_pos': 'none',
        f'{TRANSFORMER}.query_pos': 'input',
    },
    'sine-pos-at-input': {
        f'{TRANSFORMER}.{name}': 'input' for name in ('encoder_pos', 'decoder_pos', 'query_pos')
    },
    'learned-pos': {
        'model.bbox_head.positional_encoding.type': 'LearnedPositionalEncoding',
        'model.bbox_head.positional_encoding.normalize': None,
    },
    'no-encoder-pos': {f'{TRANSFORMER}.encoder_pos': 'none'},
    'no-giou': {
        **{f'{CRITERION}.loss_giou.{key}': None for key in ('type', 'loss_weight')},
        **{f'{CRITERION}.assigner.match_costs.giou.{key}': None for key in ('type', 'weight')},
        f'{CRITERION}.loss_giou': None,
        f'{CRITERION}.assigner.match_costs.giou': None,
    },
    'no-l1': {
        **{f'{CRITERION}.loss_bbox.{key}': None for key in ('type', 'loss_weight')},
        **{f'{CRITERION}.assigner.match_costs.bbox.{key}': None for key in ('type', 'weight')},
        f'{CRITERION}.loss_bbox': None,
        f'{CRITERION}.assigner.match_costs.bbox': None,
    },
    'no-aux': {f'{CRITERION}.aux_loss': False},
    'pre-norm': {f'{TRANSFORMER}.norm_first': True},
}
CHILDREN |= {
    f'ablations/detr_r50_16xb4-300e_coco_{name}.py': (COCO_300E, changes)
    for name, changes in ABLATIONS.items()
}

# From DETR to DINO: each step changes the one before.
DETR_50E = 'detr_r50_8xb2-50e_coco.py'
HEAD = 'model.bbox_head'
FOCAL = {
    f'{HEAD}.class_activation.type': 'SigmoidClasses',
    f'{CRITERION}.assigner.match_costs.cls.type': 'FocalCost',
    f'{CRITERION}.assigner.match_costs.cls.weight': 2.0,
    f'{CRITERION}.loss_cls.type': 'FocalLoss',
    f'{CRITERION}.loss_cls.loss_weight': 2.0,
    f'{CRITERION}.loss_cls.no_object_weight': None,
}
DENOISING = {
    f'{CRITERION}.type': 'QueryCriterion',
    f'{CRITERION}.denoising_background': False,
    f'{HEAD}.denoising.type': 'GroupDenoising',
}
STEPS: dict[str, dict] = {
    '1-focal': FOCAL,
    '2-conditional': {
        f'{HEAD}.type': 'ConditionalHead',
        f'{TRANSFORMER}.decoder.type': 'ConditionalDecoder',
    },
    '3-anchors': {
        f'{HEAD}.type': 'AnchorHead',
        f'{TRANSFORMER}.encoder.type': 'ScaledPositionEncoder',
        f'{TRANSFORMER}.decoder.type': 'AnchorDecoder',
        f'{TRANSFORMER}.decoder.activation': 'relu',
    },
    '4-denoising': DENOISING,
    '5-deformable': {
        f'{HEAD}.type': 'DeformableDETRHead',
        f'{HEAD}.query_source.type': 'AnchorQueries',
        f'{HEAD}.query_source.indicator': True,
        f'{HEAD}.with_box_refine': True,
        f'{HEAD}.share_branches': True,
        f'{HEAD}.eps': 1e-3,
        f'{TRANSFORMER}.type': 'DeformableTransformer',
        f'{TRANSFORMER}.num_levels': 1,
        f'{TRANSFORMER}.encoder.type': 'DeformableEncoder',
        f'{TRANSFORMER}.decoder.type': 'AnchorDeformableDecoder',
        f'{TRANSFORMER}.decoder.query_scale': True,
        # What has no place there, or is the default there as well.
        **{
            f'{TRANSFORMER}.{name}': None
            for name in (
                *('num_heads', 'num_encoder_layers', 'num_decoder_layers', 'dropout'),
                *('norm_first', 'encoder_pos', 'decoder_pos', 'query_pos', 'decoder.activation'),
            )
        },
    },
    '6-multi-scale': {
        'model.backbone.out_indices.0': 1,
        'model.backbone.out_indices.1': 2,
        'model.backbone.out_indices.2': 3,
        'model.neck.type': 'ChannelMapper',
        'model.neck.num_outs': 4,
        f'{TRANSFORMER}.num_levels': 4,
    },
    '7-refinement': {
        f'{TRANSFORMER}.decoder.norm': True,
        f'{TRANSFORMER}.decoder.look_forward_twice': True,
    },
    '8-two-stage': {
        f'{HEAD}.query_source.type': 'MixedQueries',
        f'{HEAD}.query_source.indicator': None,
        f'{HEAD}.proposals.type': 'EncoderProposals',
        f'{HEAD}.proposals.class_agnostic': False,
    },
    '9-contrastive': {
        f'{HEAD}.denoising.type': 'ContrastiveDenoising',
        f'{CRITERION}.denoising_background': True,
    },
}
_before = DETR_50E
for _name, _changes in STEPS.items():
    _step = f'ablations/detr_r50_8xb2-50e_coco_{_name}.py'
    CHILDREN[_step] = (_before, _changes)
    _before = _step

# The successors: what their configs change.
DC5 = {'model.backbone.dilation': True}
CONDITIONAL, DAB, DN = (
    f'{name}_detr_r50_8xb2-50e_coco.py' for name in ('conditional', 'dab', 'dn')
)
CHILDREN |= {
    CONDITIONAL: (
        DETR_50E,
        FOCAL | STEPS['2-conditional'] | {f'{HEAD}.num_queries': 300, f'{HEAD}.max_per_img': 100},
    ),
    DAB: (
        CONDITIONAL,
        STEPS['3-anchors']
        | {
            f'{HEAD}.num_patterns': 0,
            f'{HEAD}.random_centres': False,
            f'{HEAD}.max_per_img': 300,
            f'{HEAD}.positional_encoding.temperature': 20,
            f'{TRANSFORMER}.dropout': 0.0,
            f'{TRANSFORMER}.encoder.activation': 'prelu',
            f'{TRANSFORMER}.decoder.activation': 'prelu',
            f'{CRITERION}.loss_cls.loss_weight': 1.0,
        },
    ),
    DN: (
        DAB,
        DENOISING
        | {
            f'{HEAD}.denoising.num_groups': 5,
            f'{HEAD}.denoising.label_noise': 0.2,
            f'{HEAD}.denoising.box_noise': 0.4,
        },
    ),
    CONDITIONAL.replace('r50', 'r50-dc5'): (CONDITIONAL, DC5),
    CONDITIONAL.replace('r50', 'r101'): (
        CONDITIONAL,
        {
            'model.backbone.depth': 101,
            'model.backbone.init_cfg.checkpoint': 'torchvision://resnet101',
        },
    ),
    CONDITIONAL.replace('r50', 'r101-dc5'): (CONDITIONAL.replace('r50', 'r101'), DC5),
    DAB.replace('r50', 'r50-dc5'): (DAB, DC5),
    DN.replace('r50', 'r50-dc5'): (DN, DC5),
}

# Million parameters of the paper (tables 1 and 2, section 4.2), for 91 classes.
PAPER_PARAMETERS = {
    COCO_300E: 41.3,
    'detr_r101_16xb4-500e_coco.py': 60.2,
    'ablations/detr_r50_16xb4-300e_coco_enc0.py': 33.4,
    'ablations/detr_r50_16xb4-300e_coco_enc3.py': 37.4,
    'ablations/detr_r50_16xb4-300e_coco_enc12.py': 49.2,
    'ablations/detr_r50_16xb4-300e_coco_no-ffn.py': 28.7,
}


# Parameters of the authors' panoptic models, with 250 rows and no-object.
PANOPTIC_PARAMETERS = {
    'detr_r50_panoptic_8xb2-25e_coco.py': 42_899_288,
    'detr_r50-dc5_panoptic_8xb2-25e_coco.py': 42_899_288,
    'detr_r101_panoptic_8xb2-25e_coco.py': 61_839_192,
}


def flatten(value, prefix: str = '') -> dict:
    """{'a': [{'b': 1}]} -> {'a.0.b': 1}"""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return {prefix: value}
    return {
        name: leaf
        for key, child in items
        for name, leaf in flatten(child, f'{prefix}.{key}' if prefix else str(key)).items()
    }


def difference(child: str, parent: str) -> dict:
    """Keys whose values differ, with the child's value, None where it has none."""
    ours = flatten(Config.fromfile(ROOT / child).to_dict())
    theirs = flatten(Config.fromfile(ROOT / parent).to_dict())
    keys = (ours.keys() | theirs.keys()) - {'filename'}
    missing = object()
    return {
        key: ours.get(key) for key in keys if ours.get(key, missing) != theirs.get(key, missing)
    }


@pytest.mark.parametrize('child', sorted(CHILDREN))
def test_child_differs_in_what_its_name_says_and_nothing_else(child):
    parent, changes = CHILDREN[child]
    assert difference(child, parent) == changes


def test_every_ablation_is_covered():
    ablations = {name for name in LEAVES if name.startswith('ablations/')}
    assert ablations <= CHILDREN.keys()
    assert {name for name in CHILDREN if name.startswith('ablations/')} <= ablations


@pytest.mark.parametrize('name', LEAVES)
def test_header_states_command_cost_and_result(name):
    header = (ROOT / name).read_text().split('_base_')[0]
    assert f'configs/{name}' in header or 'configs/my_data.py' in header
    for word in ('cost', 'result'):
        assert re.search(rf'(?i)\b{word}\b[^:]*: \S', header), word


@pytest.mark.parametrize('name', sorted(PAPER_PARAMETERS))
def test_parameters_of_the_paper(name):
    cfg = Config.fromfile(ROOT / name)
    cfg.model.bbox_head.num_classes = 91
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert round(trainable / 1e6, 1) == PAPER_PARAMETERS[name]


@pytest.mark.parametrize('name', sorted(PANOPTIC_PARAMETERS))
def test_parameters_with_masks(name):
    cfg = Config.fromfile(ROOT / name)
    cfg.model.bbox_head.num_classes = 250
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.parameters()) == PANOPTIC_PARAMETERS[name]
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 32
    assert all(name.startswith('bbox_head.mask_head.') for name in trained)


# Other backbones under the same head: built above, and their parents run below.
BUILT = [name for name in CHILDREN if 'panoptic' in name]
# Whole models of the successors are run in test_models/test_*_reference.py, and small.
ELSEWHERE = re.compile(r'8xb2-50e|r\w+-dc5_8xb2-12e|deformable_detr_r50|dino_\dscale')
RUN_ELSEWHERE = [name for name in LEAVES if ELSEWHERE.search(name)]
# Another that runs has the same parts, more or fewer of them, in another width, or is trained
# for another time.
ALIKE = re.compile(
    r'_enc(3|12)|_dec[2-5]|_no-l1|_no-encoder-pos|r101[_-]|r34vd|r50vd_|r101vd|dfine_[smx]_'
    r'|detr_r50_16xb4-[35]00e_coco\.py|1xb4-30e_custom|as-published|_instance_|_joint|_coco_boxes'
)


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=[pytest.mark.slow] * bool(ALIKE.search(name)))
        for name in LEAVES
        if name not in {*BUILT, *RUN_ELSEWHERE}
    ],
)
def test_forward_and_backward(name):
    """All parameters but the frozen ones get gradients, so that distributed training works."""
    cfg = Config.fromfile(ROOT / name)
    if cfg.model.backbone.type == 'TimmBackbone':
        pytest.importorskip('timm')
    model = MODELS.build(cfg.model).train()
    size = 480 if 'short' in name else 64
    sample = DetDataSample(metainfo=dict(img_id=1))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[5.0, 5, 30, 40], [20, 10, 60, 60]]),
        labels=torch.tensor([0, 2]),
        masks=torch.ones(2, size, size, dtype=torch.bool),
    )
    image = torch.randint(256, (3, size, size), dtype=torch.uint8)
    batch = model.data_preprocessor(dict(inputs=[image], data_samples=[sample]))
    total, _ = model.parse_losses(model(**batch, mode='loss'))
    total.backward()
    lacking = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert total.isfinite()
    assert not lacking


def test_document_form_has_the_documents_shapes():
    cfg = Config.fromfile(ROOT / 'detr_short_r50_8xb2-150e_coco_as-published.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        prediction = model(torch.zeros(16, 3, 480, 480))
    assert prediction.logits.shape == (1, 16, 100, 92)
    assert prediction.bboxes.shape == (1, 16, 100, 4)


def test_short_form_refuses_other_sizes():
    cfg = Config.fromfile(ROOT / 'detr_short_r50_8xb2-150e_coco.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        with pytest.raises(ValueError, match='480 x 480'):
            model(torch.zeros(1, 3, 480, 512))


@pytest.mark.parametrize(
    'key', ['backbone.dilatation', 'neck.out_chanels', 'bbox_head.transformer.norm_frist']
)
def test_misspelt_option_is_named(key):
    cfg = Config.fromfile(ROOT / COCO_300E)
    cfg.merge_from_dict({f'model.{key}': True})
    with pytest.raises(TypeError, match=key.rsplit('.', 1)[-1]):
        MODELS.build(cfg.model)


# Entries that a component's constructor hands on or that its builder takes out beforehand.
HANDED_ON = {
    'RandomChoiceResize': {'keep_ratio'},  # to the Resize it makes
    'OptimWrapper': {'paramwise_cfg'},
    'EMAHook': {'momentum', 'gamma', 'update_buffers'},  # to the averaged model
    'CosineAnnealingLR': {'convert_to_iter_based'},
}
# What configs build other entries from; everything else at the top level is for the runner.
VARIABLES = {'data_root', 'dataset_type', 'train_scales', 'train_pipeline', 'test_pipeline'}
VARIABLES |= {'average', 'dfine_parts', 'image_size', 'plain_pipeline'}
OURS = {'console'}  # settings that DetectionRunner adds to mmengine's


def registered(name: str) -> Any:
    """Class or function that a config calls by this name."""
    found = [
        registry
        for module in (mmdetr.registry, mmengine.registry)
        for registry in vars(module).values()
        if isinstance(registry, Registry)
    ]
    # Ours first: mmcv has transforms of the same names.
    for registry in sorted(found, key=lambda each: each.scope != 'mmdetr'):
        if component := registry.get(name):
            return component
    raise KeyError(f'{name} is in no registry')


def parameters(component: Any) -> set[str]:
    """Keywords of a constructor, with those of its ancestors where it passes the rest on."""
    if not inspect.isclass(component):
        return set(inspect.signature(component).parameters)
    names = set()
    for cls in component.__mro__:
        if '__init__' in vars(cls):
            found = inspect.signature(cls.__init__).parameters.values()
            names |= {parameter.name for parameter in found}
            if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in found):
                break
    return names


def typed_dicts(value: Any, path: str = '') -> Iterator[tuple[str, dict]]:
    if isinstance(value, dict) and 'type' in value:
        yield path, value
    children = value.items() if isinstance(value, dict) else ()
    children = enumerate(value) if isinstance(value, (list, tuple)) else children
    for key, child in children:
        yield from typed_dicts(child, f'{path}.{key}')


@pytest.mark.parametrize('name', LEAVES)
def test_every_option_is_taken_by_its_component(name):
    """Not by the model's alone, which is built above: by data, hooks, loops, optimiser, metric."""
    init_default_scope('mmdetr')
    cfg = Config.fromfile(ROOT / name)
    check_settings(cfg, name)
    settings = parameters(mmengine.runner.Runner) | VARIABLES | OURS
    assert cfg.keys() <= settings
    for path, component in typed_dicts(cfg.to_dict()):
        known = parameters(registered(component['type'])) | HANDED_ON.get(component['type'], set())
        assert component.keys() - known - {'type'} == set(), path


@pytest.mark.parametrize(('name', 'millions'), [(CONDITIONAL, 43.42), (DAB, 43.67), (DN, 43.69)])
def test_parameters_of_the_authors_code(name: str, millions: float) -> None:
    """Counted in the authors' models with 91 class rows, frozen ones included."""
    cfg = Config.fromfile(ROOT / name)
    cfg.model.bbox_head.num_classes = 91
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions
