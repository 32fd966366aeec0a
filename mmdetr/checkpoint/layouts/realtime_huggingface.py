"""Layout of RT-DETR and RT-DETRv2 in transformers."""

import torch

from .detr import _fuse_attention, _to_huggingface
from .layout import Layout, StateDict, register_layout
from .realtime import _DECODER, _LABELS, _RTDETR, _TRANSFORMER

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


_NORMS = ('self_attn_layer_norm', 'encoder_attn_layer_norm', 'final_layer_norm')
_ROWS = [
    *_backbone(),
    *_conv('neck.projections.#', 'model.encoder_input_proj.#', ('0.', '1.')),
    *_layer('neck.encoder.#', 'model.encoder.encoder.0.layers.#', (_NORMS[0], _NORMS[2])),
    ('neck.laterals.*', 'model.encoder.lateral_convs.*'),
    ('neck.downsamples.*', 'model.encoder.downsample_convs.*'),
    ('neck.fpn_blocks.*', 'model.encoder.fpn_blocks.*'),
    ('neck.pan_blocks.*', 'model.encoder.pan_blocks.*'),
    *_conv(f'{_TRANSFORMER}.projections.#', 'model.decoder_input_proj.#', ('0.', '1.')),
    *_layer(_LAYER, 'model.decoder.layers.#', _NORMS),
    (f'{_DECODER}.query_pos_head.*', 'model.decoder.query_pos_head.*'),
    (_LABELS, 'model.denoising_class_embed.weight'),
    ('bbox_head.enc_output.*', 'model.enc_output.*'),
    ('bbox_head.enc_cls_branch.*', 'model.enc_score_head.*'),
    ('bbox_head.enc_reg_branch.*', 'model.enc_bbox_head.*'),
    ('bbox_head.cls_branches.*', 'model.decoder.class_embed.*'),
    ('bbox_head.reg_branches.*', 'model.decoder.bbox_embed.*'),
]


def _spell(name: str) -> str:
    """Rename from transformers 5.x in memory to the files on the hub."""
    name = name.replace('.encoder.aifi.', '.encoder.encoder.').replace('.mlp.fc', '.fc')
    return name.replace('self_attn.o_proj.', 'self_attn.out_proj.')


def _from_file(weights: StateDict) -> StateDict:
    """Fuse attention; leave out what the config says, and the heads' other names."""
    known = {
        name: value
        for name, value in weights.items()
        if not name.endswith(('.n_points_scale', '.anchors', '.valid_mask'))
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


register_layout(
    Layout(
        _RTDETR,
        'huggingface',
        anchors=('model.encoder.lateral_convs.0.conv.weight', 'model.enc_score_head.weight'),
        rows=_ROWS,
        spell=_spell,
        from_file=_from_file,
        to_file=_to_file,
        model_types=('rt_detr', 'rt_detr_v2'),
    )
)
