"""Names of DETR's weights in every published format, both ways.

Each format is one table of (our name, its name). ``#`` stands for a number and ``*`` for the rest
of a name, alike on both sides; the first row that fits decides.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

StateDict = dict[str, Tensor]
Rows = list[tuple[str, str]]

_ENCODER = 'bbox_head.transformer.encoder.layers.#'
_DECODER = 'bbox_head.transformer.decoder.layers.#'

_FACEBOOK: Rows = [
    ('backbone.*', 'backbone.0.body.*'),
    ('neck.projection.*', 'input_proj.*'),
    ('bbox_head.query_embedding.*', 'query_embed.*'),
    ('bbox_head.positional_encoding.*', 'backbone.1.*'),
    (f'{_DECODER}.cross_attn.*', 'transformer.decoder.layers.#.multihead_attn.*'),
    ('bbox_head.transformer.*', 'transformer.*'),
    ('bbox_head.cls_branch.*', 'class_embed.*'),
    ('bbox_head.reg_branch.*', 'bbox_embed.*'),
]

_MMDETECTION: Rows = [
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

# Names of transformers 4.x and of the files on the hub, which 5.x writes too; see ``_hub_name``.
_HUGGINGFACE: Rows = [
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
    ('bbox_head.transformer.decoder.norm.*', 'model.decoder.layernorm.*'),
    ('bbox_head.cls_branch.*', 'class_labels_classifier.*'),
    ('bbox_head.reg_branch.*', 'bbox_predictor.*'),
]


def _native_backbone() -> Rows:
    """The ResNet of transformers itself, which counts stages and convolutions from 0."""
    root = 'model.backbone.conv_encoder.model'
    rows = [
        ('backbone.conv1.*', f'{root}.embedder.embedder.convolution.*'),
        ('backbone.bn1.*', f'{root}.embedder.embedder.normalization.*'),
    ]
    for stage in range(4):
        ours, theirs = f'backbone.layer{stage + 1}.#', f'{root}.encoder.stages.{stage}.layers.#'
        rows.append((f'{ours}.downsample.0.*', f'{theirs}.shortcut.convolution.*'))
        rows.append((f'{ours}.downsample.1.*', f'{theirs}.shortcut.normalization.*'))
        for conv in range(3):
            rows.append((f'{ours}.conv{conv + 1}.*', f'{theirs}.layer.{conv}.convolution.*'))
            rows.append((f'{ours}.bn{conv + 1}.*', f'{theirs}.layer.{conv}.normalization.*'))
    return rows


_TABLES: dict[str, Rows] = {
    'facebook': _FACEBOOK,
    'mmdetection': _MMDETECTION,
    'huggingface': _HUGGINGFACE,
    'huggingface-native': _native_backbone() + _HUGGINGFACE[1:],
}

# Every listed name has to be there, under an optional prefix ``detr.`` (panoptic files). The cross
# attention tells DETR from its successors, which share the other names.
ANCHORS: dict[str, tuple[str, ...]] = {
    'mmdetr': ('neck.projection.weight', 'bbox_head.cls_branch.weight'),
    'facebook': (
        'input_proj.weight',
        'transformer.decoder.layers.0.multihead_attn.in_proj_weight',
    ),
    'mmdetection': (
        'neck.convs.0.conv.weight',
        'decoder.layers.0.cross_attn.attn.in_proj_weight',
    ),
    'huggingface': (
        'model.input_projection.weight',
        'model.decoder.layers.0.encoder_attn.q_proj.weight',
    ),
}


class Converted(NamedTuple):
    """Weights under our names, and the names in the file that have no place in a DETR of ours."""

    state_dict: StateDict
    unknown: list[str]


def recognise(state_dict: Iterable[str]) -> str:
    """The format whose names ``state_dict`` has: a key of ``ANCHORS``.

    Raises:
        ValueError: None fits; the message lists what was looked for.
    """
    names = {name.removeprefix('detr.') for name in state_dict}
    for fmt, anchors in ANCHORS.items():
        if names.issuperset(anchors):
            return fmt
    looked_for = '\n'.join(f'  {fmt}: {" and ".join(keys)}' for fmt, keys in ANCHORS.items())
    raise ValueError(
        f'not a DETR checkpoint of a known format. Looked for\n{looked_for}\n'
        f'but it has {len(names)} names, such as {", ".join(sorted(names)[:3]) or "none"}.'
    )


def to_mmdetr(state_dict: Mapping[str, Tensor], fmt: str) -> Converted:
    """Rename the weights of a file of format ``fmt`` to ours and fuse separate projections.

    A foreign file's ``num_batches_tracked`` is left out: batch norm is frozen in all of them.

    Raises:
        ValueError: Of a query, key and value projection only some are there.
    """
    if fmt == 'mmdetr':
        return Converted(dict(state_dict), [])
    # In a panoptic file only the box model has the prefix; the mask head is not ours to load.
    prefix = 'detr.' if any(name.startswith('detr.') for name in state_dict) else ''
    native = fmt == 'huggingface' and any('.embedder.embedder.' in name for name in state_dict)
    patterns = _READ['huggingface-native' if native else fmt]
    ours: StateDict = {}
    unknown: list[str] = []
    for name, value in state_dict.items():
        if name.endswith('.num_batches_tracked'):
            continue
        box_name = name.removeprefix(prefix)
        if fmt == 'huggingface':
            box_name = _hub_name(box_name)
        renamed = _rename(box_name, patterns) if name.startswith(prefix) else None
        if renamed is None:
            unknown.append(name)
        else:
            ours[renamed] = value
    return Converted(_fuse_attention(ours) if fmt == 'huggingface' else ours, unknown)


def from_mmdetr(state_dict: Mapping[str, Tensor], fmt: str) -> StateDict:
    """Rename our weights to those of format ``fmt``; ``num_batches_tracked`` is left out.

    Args:
        state_dict: Our weights.
        fmt: A format, where ``'huggingface'`` has the names of timm's ResNet and
            ``'huggingface-native'`` those of transformers' own.

    Raises:
        ValueError: A weight has no place in that format (pre-norm DETR in Hugging Face's).
    """
    if fmt == 'mmdetr':
        return dict(state_dict)
    if fmt.startswith('huggingface'):
        state_dict = _split_attention(state_dict)
    theirs: StateDict = {}
    for name, value in state_dict.items():
        if name.endswith('.num_batches_tracked'):
            continue
        renamed = _rename(name, _WRITE[fmt])
        if renamed is None:
            raise ValueError(f'the {fmt} format has no place for {name}')
        theirs[renamed] = value
    return theirs


Patterns = list[tuple[re.Pattern[str], str]]


def _compile(rows: Rows, column: int) -> Patterns:
    """Pattern of the names in ``column`` and the template of the other column's."""
    compiled = []
    for row in rows:
        pattern = re.escape(row[column]).replace(r'\#', r'(\d+)').replace(r'\*', '(.+)')
        template = row[1 - column].replace('#', '{}').replace('*', '{}')
        compiled.append((re.compile(pattern), template))
    return compiled


_WRITE = {layout: _compile(rows, 0) for layout, rows in _TABLES.items()}
_READ = {layout: _compile(rows, 1) for layout, rows in _TABLES.items()}


def _rename(name: str, patterns: Patterns) -> str | None:
    for pattern, template in patterns:
        if match := pattern.fullmatch(name):
            return template.format(*match.groups())
    return None


def _hub_name(name: str) -> str:
    """A name as transformers 5.x has it in memory -> as 4.x and the hub's files have it."""
    name = re.sub(r'^model\.backbone\.model\.', 'model.backbone.conv_encoder.model.', name)
    name = re.sub(r'^model\.position_embedding\.', 'model.backbone.position_embedding.', name)
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


def _split_attention(state_dict: Mapping[str, Tensor]) -> StateDict:
    """The inverse of ``_fuse_attention``."""
    split: StateDict = {}
    for name, value in state_dict.items():
        if '.in_proj_' in name:
            for part, rows in zip('qkv', value.chunk(3), strict=True):
                split[name.replace('.in_proj_', f'.{part}_proj.')] = rows.clone()
        else:
            split[name] = value
    return split
