"""Layouts of RT-DETR, its second version and D-FINE: what their authors call the weights."""

import re

import torch

from .layout import OWN_FORMAT, Architecture, Layout, StateDict, register_layout
from .realtime_constants import check_constants, check_written_constants
from .realtime_variant import guess_variant

_TRANSFORMER = 'bbox_head.transformer'
_DECODER = f'{_TRANSFORMER}.decoder'
_LABELS = 'bbox_head.label_embedding.weight'
_MOST_LAYERS = 6
_BLOCKS = ('fpn_blocks', 'pan_blocks')


def _resnet_vd() -> list[tuple[str, str]]:
    rows = [(f'backbone.stem.{i}.*', f'backbone.conv1.conv1_{i + 1}.*') for i in range(3)]
    for stage in range(4):
        ours, theirs = f'backbone.stages.{stage}.#', f'backbone.res_layers.{stage}.blocks.#'
        rows += [(f'{ours}.convs.{i}.*', f'{theirs}.branch2{"abc"[i]}.*') for i in range(3)]
        # A shortcut that halves the map averages first.
        inner = 'short.conv' if stage else 'short'
        rows.append((f'{ours}.shortcut.*', f'{theirs}.{inner}.*'))
    return rows


def _hgnet_v2() -> list[tuple[str, str]]:
    rows = [
        (f'backbone.stem.conv{name}', f'backbone.stem.stem{name}')
        for name in ('1', '2a', '2b', '3', '4')
    ]
    for stage in range(4):
        ours, theirs = f'backbone.stages.{stage}', f'backbone.stages.{stage}'
        if stage:
            rows.append((f'{ours}.0', f'{theirs}.downsample'))
        for block in range(6):
            blocks = f'{ours}.{block + bool(stage)}', f'{theirs}.blocks.{block}'
            if stage >= 2:  # light blocks
                rows += [
                    (f'{blocks[0]}.layers.#.{i}', f'{blocks[1]}.layers.#.conv{i + 1}')
                    for i in range(2)
                ]
            else:
                rows.append((f'{blocks[0]}.layers.#', f'{blocks[1]}.layers.#'))
            rows.append((f'{blocks[0]}.aggregation.#', f'{blocks[1]}.aggregation.#'))
    parts = dict(conv='conv', norm='bn') | {'activation.1': 'lab'}
    return [
        (f'{ours}.{part}.*', f'{theirs}.{parts[part]}.*') for ours, theirs in rows for part in parts
    ]


_ENCODER = [
    ('neck.projections.*', 'encoder.input_proj.*'),
    ('neck.encoder.*', 'encoder.encoder.0.layers.*'),
    ('neck.laterals.*', 'encoder.lateral_convs.*'),
]
_RTDETR_ENCODER = [
    *_ENCODER,
    ('neck.downsamples.*', 'encoder.downsample_convs.*'),
    *((f'neck.{block}.*', f'encoder.{block}.*') for block in _BLOCKS),
]
_DFINE_ENCODER = [
    *_ENCODER,
    ('neck.downsamples.#.0.*', 'encoder.downsample_convs.#.0.cv1.*'),
    ('neck.downsamples.#.1.*', 'encoder.downsample_convs.#.0.cv2.*'),
    *((f'neck.{block}.#.conv1.*', f'encoder.{block}.#.cv1.*') for block in _BLOCKS),
    *((f'neck.{block}.#.conv2.*', f'encoder.{block}.#.cv4.*') for block in _BLOCKS),
    *(
        (f'neck.{block}.#.stages.{i}.*', f'encoder.{block}.#.cv{i + 2}.*')
        for block in _BLOCKS
        for i in range(2)
    ),
]
_HEAD = [
    (f'{_TRANSFORMER}.projections.*', 'decoder.input_proj.*'),
    (f'{_DECODER}.query_pos_head.*', 'decoder.query_pos_head.*'),
    (f'{_DECODER}.layers.*', 'decoder.decoder.layers.*'),
    (_LABELS, 'decoder.denoising_class_embed.weight'),
    ('bbox_head.enc_output.0.*', 'decoder.enc_output.proj.*'),
    ('bbox_head.enc_output.1.*', 'decoder.enc_output.norm.*'),
    ('bbox_head.enc_cls_branch.*', 'decoder.enc_score_head.*'),
    ('bbox_head.enc_reg_branch.*', 'decoder.enc_bbox_head.*'),
    ('bbox_head.cls_branches.*', 'decoder.dec_score_head.*'),
    ('bbox_head.reg_branches.*', 'decoder.dec_bbox_head.*'),
]
_DFINE_HEAD = [
    *_HEAD,
    ('bbox_head.first_reg_branch.*', 'decoder.pre_bbox_head.*'),
    ('bbox_head.quality_branches.#.*', 'decoder.decoder.lqe_layers.#.reg_conf.*'),
]

# Of the size of the images, or of the config; our models compute them.
_CONSTANTS = ('anchors', 'valid_mask', 'num_points_scale', 'up', 'reg_scale')


def _spell_as_second_version(name: str) -> str:
    """Rename from the first version of RT-DETR, which counts in two places."""
    name = re.sub(r'^(encoder\.input_proj\.\d)\.0\.', r'\1.conv.', name)
    name = re.sub(r'^(encoder\.input_proj\.\d)\.1\.', r'\1.norm.', name)
    name = re.sub(r'^decoder\.enc_output\.0\.', 'decoder.enc_output.proj.', name)
    return re.sub(r'^decoder\.enc_output\.1\.', 'decoder.enc_output.norm.', name)


def _without_constants(weights: StateDict) -> StateDict:
    return {
        name: value
        for name, value in weights.items()
        if not (name.startswith('decoder.') and name.rpartition('.')[2] in _CONSTANTS)
    }


def _num_points(weights: StateDict, distributions: bool) -> list[int]:
    """Points of each level, which no shape tells; D-FINE has most on the middle one of three."""
    levels = sum(
        name.startswith('encoder.input_proj.') and name.endswith('conv.weight') for name in weights
    )
    weight = weights['decoder.decoder.layers.0.cross_attn.attention_weights.weight']
    total = len(weight) // 8
    if distributions and levels == 3 and total == 12:
        return [3, 6, 3]
    return [total // levels] * levels


def _with_constants(weights: StateDict, distributions: bool = False) -> StateDict:
    """Add the buffers that the authors' models have whatever the size of the images."""
    points = _num_points(weights, distributions)
    scale = torch.tensor([1 / number for number in points for _ in range(number)])
    result = dict(weights)
    for name in weights:
        if name.endswith('.cross_attn.sampling_offsets.bias'):
            result[name.replace('sampling_offsets.bias', 'num_points_scale')] = scale.clone()
    return result


def _with_distribution(weights: StateDict) -> StateDict:
    # Only X, which projects its maps, has flatter bins.
    scale = 8 if 'decoder.input_proj.0.conv.weight' in weights else 4
    constants = {'up': torch.tensor([0.5]), 'reg_scale': torch.tensor([scale])}
    result = _with_constants(weights, distributions=True)
    for name, value in constants.items():
        result[f'decoder.{name}'] = value
        result[f'decoder.decoder.{name}'] = value.clone()
    return result


def _class_rows() -> tuple[str, ...]:
    branches = [f'cls_branches.{i}' for i in range(_MOST_LAYERS)]
    names = [*branches, 'enc_cls_branch']
    return tuple(f'bbox_head.{name}.{kind}' for name in names for kind in ('weight', 'bias'))


def _architecture(name: str) -> Architecture:
    return Architecture(
        name,
        class_rows=_class_rows(),
        has_no_object_row=False,
        label_rows=(_LABELS,),
        variant=guess_variant,
        check=check_constants,
        check_written=check_written_constants,
    )


_RTDETR, _DFINE = _architecture('RT-DETR'), _architecture('D-FINE')
_OWN = ('neck.laterals.0.conv.weight', 'bbox_head.enc_cls_branch.weight')
_AUTHORS = ('encoder.lateral_convs.0.conv.weight', 'decoder.enc_score_head.weight')
_FIRST_BRANCH = 'bbox_head.first_reg_branch.layers.0.weight'

register_layout(Layout(_RTDETR, OWN_FORMAT, anchors=_OWN))
register_layout(Layout(_DFINE, OWN_FORMAT, anchors=(*_OWN, _FIRST_BRANCH)))
register_layout(
    Layout(
        _RTDETR,
        'lyuwenyu',
        anchors=_AUTHORS,
        rows=[*_resnet_vd(), *_RTDETR_ENCODER, *_HEAD],
        spell=_spell_as_second_version,
        from_file=_without_constants,
        to_file=_with_constants,
        suffixes=('.pth', '.pt'),
    )
)
register_layout(
    Layout(
        _DFINE,
        'peterande',
        anchors=(*_AUTHORS, 'decoder.pre_bbox_head.layers.0.weight'),
        rows=[*_hgnet_v2(), *_DFINE_ENCODER, *_DFINE_HEAD],
        from_file=_without_constants,
        to_file=_with_distribution,
        suffixes=('.pth', '.pt'),
    )
)


def _backbone(fmt: str, rows: list[tuple[str, str]], anchor: str, name: str) -> None:
    """Register the published backbone of one family, a file without the rest."""
    root = len('backbone.')
    register_layout(
        Layout(
            Architecture(name),
            fmt,
            anchors=(anchor,),
            rows=[(ours, theirs[root:]) for ours, theirs in rows],
        )
    )


_backbone('lyuwenyu', _resnet_vd(), 'conv1.conv1_1.conv.weight', 'ResNet-vd')
_backbone('peterande', _hgnet_v2(), 'stem.stem1.conv.weight', 'HGNetV2')
