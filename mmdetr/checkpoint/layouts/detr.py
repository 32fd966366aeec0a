"""DETR's layouts: the names of its weights in every published format."""

import re
from dataclasses import replace

import torch

from .detr_variant import check_variant, guess_variant, huggingface_config, traits
from .layout import OWN_FORMAT, Architecture, Layout, StateDict, register_layout

_ENCODER = 'bbox_head.transformer.encoder.layers.#'
_DECODER = 'bbox_head.transformer.decoder.layers.#'

_FACEBOOK = [
    ('backbone.*', 'backbone.0.body.*'),
    ('neck.projection.*', 'input_proj.*'),
    ('bbox_head.query_embedding.*', 'query_embed.*'),
    ('bbox_head.positional_encoding.*', 'backbone.1.*'),
    (f'{_DECODER}.cross_attn.*', 'transformer.decoder.layers.#.multihead_attn.*'),
    ('bbox_head.transformer.*', 'transformer.*'),
    ('bbox_head.cls_branch.*', 'class_embed.*'),
    ('bbox_head.reg_branch.*', 'bbox_embed.*'),
]

_MMDETECTION = [
    ('backbone.*', 'backbone.*'),
    ('neck.projection.*', 'neck.convs.0.conv.*'),
    ('bbox_head.query_embedding.*', 'query_embedding.*'),
    (f'{_ENCODER}.self_attn.*', 'encoder.layers.#.self_attn.attn.*'),
    (f'{_ENCODER}.linear1.*', 'encoder.layers.#.ffn.layers.0.0.*'),
    (f'{_ENCODER}.linear2.*', 'encoder.layers.#.ffn.layers.1.*'),
    (f'{_ENCODER}.norm1.*', 'encoder.layers.#.norms.0.*'),
    (f'{_ENCODER}.norm2.*', 'encoder.layers.#.norms.1.*'),
    (f'{_DECODER}.self_attn.*', 'decoder.layers.#.self_attn.attn.*'),
    (f'{_DECODER}.cross_attn.*', 'decoder.layers.#.cross_attn.attn.*'),
    (f'{_DECODER}.linear1.*', 'decoder.layers.#.ffn.layers.0.0.*'),
    (f'{_DECODER}.linear2.*', 'decoder.layers.#.ffn.layers.1.*'),
    (f'{_DECODER}.norm1.*', 'decoder.layers.#.norms.0.*'),
    (f'{_DECODER}.norm2.*', 'decoder.layers.#.norms.1.*'),
    (f'{_DECODER}.norm3.*', 'decoder.layers.#.norms.2.*'),
    ('bbox_head.transformer.decoder.norm.*', 'decoder.post_norm.*'),
    ('bbox_head.cls_branch.*', 'bbox_head.fc_cls.*'),
    ('bbox_head.reg_branch.layers.0.*', 'bbox_head.reg_ffn.layers.0.0.*'),
    ('bbox_head.reg_branch.layers.1.*', 'bbox_head.reg_ffn.layers.1.*'),
    ('bbox_head.reg_branch.layers.2.*', 'bbox_head.fc_reg.*'),
]

# Names of transformers 4.x and of the files on the hub, which 5.x writes too.
_HUGGINGFACE = [
    ('backbone.*', 'model.backbone.conv_encoder.model.*'),
    ('neck.projection.*', 'model.input_projection.*'),
    ('bbox_head.query_embedding.*', 'model.query_position_embeddings.*'),
    (
        'bbox_head.positional_encoding.row_embed.*',
        'model.backbone.position_embedding.row_embeddings.*',
    ),
    (
        'bbox_head.positional_encoding.col_embed.*',
        'model.backbone.position_embedding.column_embeddings.*',
    ),
    (f'{_ENCODER}.self_attn.*', 'model.encoder.layers.#.self_attn.*'),
    (f'{_ENCODER}.linear1.*', 'model.encoder.layers.#.fc1.*'),
    (f'{_ENCODER}.linear2.*', 'model.encoder.layers.#.fc2.*'),
    (f'{_ENCODER}.norm1.*', 'model.encoder.layers.#.self_attn_layer_norm.*'),
    (f'{_ENCODER}.norm2.*', 'model.encoder.layers.#.final_layer_norm.*'),
    (f'{_DECODER}.self_attn.*', 'model.decoder.layers.#.self_attn.*'),
    (f'{_DECODER}.cross_attn.*', 'model.decoder.layers.#.encoder_attn.*'),
    (f'{_DECODER}.linear1.*', 'model.decoder.layers.#.fc1.*'),
    (f'{_DECODER}.linear2.*', 'model.decoder.layers.#.fc2.*'),
    (f'{_DECODER}.norm1.*', 'model.decoder.layers.#.self_attn_layer_norm.*'),
    (f'{_DECODER}.norm2.*', 'model.decoder.layers.#.encoder_attn_layer_norm.*'),
    (f'{_DECODER}.norm3.*', 'model.decoder.layers.#.final_layer_norm.*'),
    ('bbox_head.transformer.encoder.norm.*', 'model.encoder.layernorm.*'),  # pre-norm
    ('bbox_head.transformer.decoder.norm.*', 'model.decoder.layernorm.*'),
    ('bbox_head.cls_branch.*', 'class_labels_classifier.*'),
    ('bbox_head.reg_branch.*', 'bbox_predictor.*'),
]

_MASKS = 'bbox_head.mask_head'

# Names of the authors and of files on the hub.
_MASK_HEAD = [
    (f'{_MASKS}.attention.query_proj.*', 'bbox_attention.q_linear.*'),
    (f'{_MASKS}.attention.key_proj.*', 'bbox_attention.k_linear.*'),
    *((f'{_MASKS}.convs.{i}.*', f'mask_head.lay{i + 1}.*') for i in range(5)),
    *((f'{_MASKS}.norms.{i}.*', f'mask_head.gn{i + 1}.*') for i in range(5)),
    *((f'{_MASKS}.laterals.{i}.*', f'mask_head.adapter{i + 1}.*') for i in range(3)),
    (f'{_MASKS}.out_conv.*', 'mask_head.out_lay.*'),
]
_BESIDE_PREFIX = ('mask_head.', 'bbox_attention.')

_NATIVE_ROOT = 'model.backbone.conv_encoder.model'


def _native_backbone() -> list[tuple[str, str]]:
    """The ResNet of transformers itself, which counts stages and convolutions from 0."""
    rows = [
        ('backbone.conv1.*', f'{_NATIVE_ROOT}.embedder.embedder.convolution.*'),
        ('backbone.bn1.*', f'{_NATIVE_ROOT}.embedder.embedder.normalization.*'),
    ]
    for stage in range(4):
        ours = f'backbone.layer{stage + 1}.#'
        theirs = f'{_NATIVE_ROOT}.encoder.stages.{stage}.layers.#'
        rows.append((f'{ours}.downsample.0.*', f'{theirs}.shortcut.convolution.*'))
        rows.append((f'{ours}.downsample.1.*', f'{theirs}.shortcut.normalization.*'))
        for conv in range(3):
            rows.append((f'{ours}.conv{conv + 1}.*', f'{theirs}.layer.{conv}.convolution.*'))
            rows.append((f'{ours}.bn{conv + 1}.*', f'{theirs}.layer.{conv}.normalization.*'))
    return rows


def _spell_as_on_the_hub(name: str) -> str:
    """Rename from transformers 5.x in memory to 4.x and the files on the hub."""
    name = re.sub(r'^model\.backbone\.model\.', 'model.backbone.conv_encoder.model.', name)
    name = re.sub(r'^model\.position_embedding\.', 'model.backbone.position_embedding.', name)
    name = re.sub(r'^bbox_attention\.([qk])_proj\.', r'bbox_attention.\1_linear.', name)
    name = re.sub(r'^mask_head\.output_conv\.', 'mask_head.out_lay.', name)
    stage = re.match(r'mask_head\.(conv|fpn_stages\.)(\d)\.', name)
    if stage is not None:
        # Two convolutions before the stages, the first stage's is the third.
        number = int(stage[2]) + (3 if stage[1] == 'fpn_stages.' else 0)
        rest = name[stage.end() :].removeprefix('refine.')
        for theirs, ours in (('conv.', f'lay{number}.'), ('norm.', f'gn{number}.')):
            if rest.startswith(theirs):
                return f'mask_head.{ours}{rest.removeprefix(theirs)}'
        return f'mask_head.adapter{number - 2}.{rest.removeprefix("fpn_adapter.")}'
    return name.replace('_attn.o_proj.', '_attn.out_proj.').replace('.mlp.fc', '.fc')


def _fuse_attention(state_dict: StateDict) -> StateDict:
    """Stack separate query, key and value projections, in this order, into ``in_proj_*``."""
    fused: StateDict = {}
    for name, value in state_dict.items():
        match = re.fullmatch(r'(.+\.)[qkv]_proj\.(weight|bias)', name)
        if match is None:
            fused[name] = value
            continue
        prefix, kind = match.groups()
        names = [f'{prefix}{part}_proj.{kind}' for part in 'qkv']
        if missing := [n for n in names if n not in state_dict]:
            raise ValueError(f'{name} is there, but not {" and ".join(missing)}')
        if name == names[0]:
            fused[f'{prefix}in_proj_{kind}'] = torch.cat([state_dict[n] for n in names])
    return fused


def _to_huggingface(state_dict: StateDict) -> StateDict:
    """The inverse of ``_fuse_attention``, and learned positions under the names of both versions.

    transformers 5 moved the learned positions without renaming them in files of 4.x.
    """
    split: StateDict = {}
    for name, value in state_dict.items():
        if '.in_proj_' in name:
            for part, rows in zip('qkv', value.chunk(3), strict=True):
                split[name.replace('.in_proj_', f'.{part}_proj.')] = rows.clone()
            continue
        split[name] = value
        if name.startswith('model.backbone.position_embedding.'):
            split[name.replace('.backbone.', '.')] = value.clone()
    return split


_DETR = Architecture(
    'DETR',
    class_rows=('bbox_head.cls_branch.weight', 'bbox_head.cls_branch.bias'),
    has_no_object_row=True,
    variant=guess_variant,
    traits=traits,
    check=check_variant,
)

# The cross attention tells DETR from its successors, which share the other names.
register_layout(
    Layout(
        _DETR,
        OWN_FORMAT,
        anchors=('neck.projection.weight', 'bbox_head.cls_branch.weight'),
    )
)
register_layout(
    Layout(
        _DETR,
        'facebook',
        anchors=(
            'input_proj.weight',
            'transformer.decoder.layers.0.multihead_attn.in_proj_weight',
        ),
        rows=_FACEBOOK + _MASK_HEAD,
        optional_prefix='detr.',
        beside_prefix=_BESIDE_PREFIX,
        rows_by_category_id=True,
        suffixes=('.pth', '.pt'),
    )
)
register_layout(
    Layout(
        _DETR,
        'mmdetection',
        anchors=('neck.convs.0.conv.weight', 'decoder.layers.0.cross_attn.attn.in_proj_weight'),
        rows=_MMDETECTION,
    )
)
_HUGGINGFACE_LAYOUT = Layout(
    _DETR,
    'huggingface',
    anchors=(
        'model.input_projection.weight',
        'model.decoder.layers.0.encoder_attn.q_proj.weight',
    ),
    rows=_HUGGINGFACE + _MASK_HEAD,
    optional_prefix='detr.',
    beside_prefix=_BESIDE_PREFIX,
    spell=_spell_as_on_the_hub,
    from_file=_fuse_attention,
    to_file=_to_huggingface,
    model_types=('detr', 'table-transformer'),
    rows_by_category_id=True,
    suffixes=('.safetensors', '.bin'),
    config=huggingface_config,
)
register_layout(_HUGGINGFACE_LAYOUT)
register_layout(
    replace(
        _HUGGINGFACE_LAYOUT,
        format='huggingface-native',
        anchors=(
            *_HUGGINGFACE_LAYOUT.anchors,
            f'{_NATIVE_ROOT}.embedder.embedder.convolution.weight',
        ),
        rows=_native_backbone() + _HUGGINGFACE[1:] + _MASK_HEAD,
        suffixes=(),
    )
)
