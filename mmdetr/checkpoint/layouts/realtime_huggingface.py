"""Layouts of RT-DETR, RT-DETRv2 and D-FINE in transformers."""

import torch

from .detr import _fuse_attention, _to_huggingface
from .layout import Layout, StateDict, register_layout
from .realtime import (
    _BLOCKS,
    _DECODER,
    _DFINE,
    _LABELS,
    _RTDETR,
    _TRANSFORMER,
    _hgnet_v2,
)
from .realtime_config import dfine_config, rtdetr_config

_ROOT = 'model.backbone.model'
_LAYER = f'{_DECODER}.layers.#'


def _conv(ours: str, theirs: str, parts: tuple[str, str]) -> list[tuple[str, str]]:
    """Rows of a convolution and its norm."""
    return [
        (f'{ours}.conv.*', f'{theirs}.{parts[0]}*'),
        (f'{ours}.norm.*', f'{theirs}.{parts[1]}*'),
    ]


def _backbone() -> list[tuple[str, str]]:
    parts = ('convolution.', 'normalization.')
    rows = _conv('backbone.stem.#', f'{_ROOT}.embedder.embedder.#', parts)
    for stage in range(4):
        ours, theirs = f'backbone.stages.{stage}.#', f'{_ROOT}.encoder.stages.{stage}.layers.#'
        rows += _conv(f'{ours}.convs.#', f'{theirs}.layer.#', parts)
        # A shortcut that halves the map averages first.
        shortcut = 'shortcut.1' if stage else 'shortcut'
        rows += _conv(f'{ours}.shortcut', f'{theirs}.{shortcut}', parts)
    return rows


def _layer(ours: str, theirs: str, norms: tuple[str, ...]) -> list[tuple[str, str]]:
    return [
        (f'{ours}.linear1.*', f'{theirs}.fc1.*'),
        (f'{ours}.linear2.*', f'{theirs}.fc2.*'),
        *((f'{ours}.norm{i + 1}.*', f'{theirs}.{name}.*') for i, name in enumerate(norms)),
        (f'{ours}.self_attn.*', f'{theirs}.self_attn.*'),
        (f'{ours}.cross_attn.*', f'{theirs}.encoder_attn.*'),
    ]


def _hgnet() -> list[tuple[str, str]]:
    """The authors' names of HGNetV2 with transformers' words."""
    words = (
        ('backbone.stem.', f'{_ROOT}.embedder.'),
        ('backbone.stages.', f'{_ROOT}.encoder.stages.'),
        ('.bn.', '.normalization.'),
        ('.conv.', '.convolution.'),
    )
    rows = []
    for ours, theirs in _hgnet_v2():
        for old, new in words:
            theirs = theirs.replace(old, new)
        rows.append((ours, theirs))
    return rows


_NORMS = ('self_attn_layer_norm', 'encoder_attn_layer_norm', 'final_layer_norm')
_ENCODER = [
    *_conv('neck.projections.#', 'model.encoder_input_proj.#', ('0.', '1.')),
    *_layer('neck.encoder.#', 'model.encoder.encoder.0.layers.#', (_NORMS[0], _NORMS[2])),
    ('neck.laterals.*', 'model.encoder.lateral_convs.*'),
]
_HEAD = [
    *_conv(f'{_TRANSFORMER}.projections.#', 'model.decoder_input_proj.#', ('0.', '1.')),
    (f'{_DECODER}.layers.#.gateway.*', 'model.decoder.layers.#.gateway.*'),
    *_layer(_LAYER, 'model.decoder.layers.#', _NORMS),
    (f'{_DECODER}.query_pos_head.*', 'model.decoder.query_pos_head.*'),
    (_LABELS, 'model.denoising_class_embed.weight'),
    ('bbox_head.enc_output.*', 'model.enc_output.*'),
    ('bbox_head.enc_cls_branch.*', 'model.enc_score_head.*'),
    ('bbox_head.enc_reg_branch.*', 'model.enc_bbox_head.*'),
    ('bbox_head.cls_branches.*', 'model.decoder.class_embed.*'),
    ('bbox_head.reg_branches.*', 'model.decoder.bbox_embed.*'),
]
_RTDETR_ROWS = [
    *_backbone(),
    *_ENCODER,
    ('neck.downsamples.*', 'model.encoder.downsample_convs.*'),
    *((f'neck.{block}.*', f'model.encoder.{block}.*') for block in _BLOCKS),
    *_HEAD,
]
# Our part of a fusion block of D-FINE, and transformers'.
_PARTS = {
    'conv1': 'conv1',
    'stages.0.0': 'csp_rep1',
    'stages.0.1': 'conv2',
    'stages.1.0': 'csp_rep2',
    'stages.1.1': 'conv3',
    'conv2': 'conv4',
}
_DFINE_ROWS = [
    *_hgnet(),
    *_ENCODER,
    *(
        (f'neck.downsamples.#.{i}.*', f'model.encoder.downsample_convs.#.conv{i + 1}.*')
        for i in range(2)
    ),
    *(
        (f'neck.{block}.#.{ours}.*', f'model.encoder.{block}.#.{theirs}.*')
        for block in _BLOCKS
        for ours, theirs in _PARTS.items()
    ),
    ('bbox_head.first_reg_branch.*', 'model.decoder.pre_bbox_head.*'),
    ('bbox_head.quality_branches.#.*', 'model.decoder.lqe_layers.#.reg_conf.*'),
    *_HEAD,
]


def _spell(name: str) -> str:
    """Rename from transformers 5.x in memory to the files on the hub."""
    name = name.replace('.encoder.aifi.', '.encoder.encoder.').replace('.mlp.fc', '.fc')
    return name.replace('self_attn.o_proj.', 'self_attn.out_proj.')


_CONSTANTS = (
    'n_points_scale',
    'num_points_scale',
    'anchors',
    'valid_mask',
    'up',
    'reg_scale',
)


def _from_file(weights: StateDict) -> StateDict:
    """Fuse attention; leave out what the config says, and the heads' other names."""
    known = {
        name: value
        for name, value in weights.items()
        if name.rpartition('.')[2] not in _CONSTANTS
        and not name.startswith(('class_embed.', 'bbox_embed.'))
    }
    return _fuse_attention(known)


def _to_file(weights: StateDict) -> StateDict:
    """The inverse; transformers has the same number of points in every map."""
    levels = sum(name.startswith('model.encoder_input_proj.') for name in weights) // 5
    result = _to_huggingface(weights)
    for name, value in weights.items():
        if name.endswith('.encoder_attn.attention_weights.bias'):
            total = len(value) // 8
            buffer = name.replace('attention_weights.bias', 'n_points_scale')
            result[buffer] = torch.full((total,), levels / total)
    return result


def _to_dfine_file(weights: StateDict) -> StateDict:
    """The inverse, with the constants of D-FINE."""
    result = _to_huggingface(weights)
    levels = sum(name.startswith('model.encoder_input_proj.') for name in weights) // 5
    # Only X, which projects its maps, has flatter bins.
    scale = 8.0 if 'model.decoder_input_proj.0.0.weight' in weights else 4.0
    result['model.decoder.up'] = torch.tensor([0.5])
    result['model.decoder.reg_scale'] = torch.tensor([scale])
    for name, value in weights.items():
        if name.endswith('.encoder_attn.attention_weights.bias'):
            total = len(value) // 8
            points = [3, 6, 3] if (levels, total) == (3, 12) else [total // levels] * levels
            buffer = name.replace('attention_weights.bias', 'num_points_scale')
            shares = [1 / number for number in points for _ in range(number)]
            result[buffer] = torch.tensor(shares)
    return result


_ANCHORS = ('model.encoder.lateral_convs.0.conv.weight', 'model.enc_score_head.weight')

register_layout(
    Layout(
        _RTDETR,
        'huggingface',
        anchors=_ANCHORS,
        rows=_RTDETR_ROWS,
        spell=_spell,
        from_file=_from_file,
        to_file=_to_file,
        model_types=('rt_detr', 'rt_detr_v2'),
        suffixes=('.safetensors', '.bin'),
        config=rtdetr_config,
    )
)
register_layout(
    Layout(
        _DFINE,
        'huggingface',
        anchors=(*_ANCHORS, 'model.decoder.pre_bbox_head.layers.0.weight'),
        rows=_DFINE_ROWS,
        spell=_spell,
        from_file=_from_file,
        to_file=_to_dfine_file,
        model_types=('d_fine',),
        suffixes=('.safetensors', '.bin'),
        config=dfine_config,
    )
)
