"""Layouts of Deformable DETR, DAB- and DN-Deformable DETR and DINO."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from .deformable_variant import check_encoding, deformable_config, guess_deformable_variant
from .detr import _fuse_attention, _spell_as_on_the_hub
from .detr import _to_huggingface as _split_attention
from .detr_variant import check_dilation
from .layout import OWN_FORMAT, Architecture, Layout, Rows, StateDict, register_layout
from .query_variant import traits

_SOURCE = 'bbox_head.query_source'
_PROPOSALS = 'bbox_head.proposals'
_ENCODER = 'bbox_head.transformer.encoder.layers.#'
_DECODER = 'bbox_head.transformer.decoder'
_LAYER = f'{_DECODER}.layers.#'
_LABELS = 'bbox_head.label_embedding.embedding.weight'
# Heads and neck are renamed by _Parts, as numbers shift and tensors are shared.
_SAME = [('neck.*', 'neck.*'), ('bbox_head.*', 'bbox_head.*')]


@dataclass(frozen=True)
class _Parts:
    """Names of what no row can rename.

    Attributes:
        head: Pattern of a head's name: class or box, number, rest; a second name of the same
            tensor fits, too.
        cls: Template of a class head, with its number.
        reg: Template of a layer of a box head, with its number and the number of the layer.
        reg_step: What that number counts: 2 with the activations between, 1 without.
        aliases: Replacements in a head's name that give its second names; apart for models that
            refine boxes, and for those whose encoder proposes them.
        projection: Pattern of a convolution of the neck or its norm: number, rest.
        conv: Template of a convolution, with its number.
        norm: Template of its norm.
        extra: Templates of convolution and norm of the further levels, counted from 0; None where
            they go on from the others.
        layers: Pattern that counts decoder layers.
    """

    head: str
    cls: str
    reg: str
    layers: str
    conv: str
    norm: str
    extra: tuple[str, str] | None = None
    reg_step: int = 1
    refine_alias: str | None = None
    proposals_alias: str | None = None


_AUTHORS_PARTS = _Parts(
    head=r'(?:transformer\.decoder\.)?(class|bbox)_embed\.(\d+)\.(.+)',
    cls='class_embed.{}',
    reg='bbox_embed.{}.layers.{}',
    layers=r'transformer\.decoder\.layers\.(\d+)\.',
    conv='input_proj.{}.0',
    norm='input_proj.{}.1',
    refine_alias='transformer.decoder.bbox_embed',
    proposals_alias='transformer.decoder.class_embed',
)
_MMDETECTION_PARTS = _Parts(
    head=r'bbox_head\.(cls|reg)_branches\.(\d+)\.(.+)',
    cls='bbox_head.cls_branches.{}',
    reg='bbox_head.reg_branches.{}.{}',
    layers=r'decoder\.layers\.(\d+)\.',
    conv='neck.convs.{}.conv',
    norm='neck.convs.{}.gn',
    extra=('neck.extra_convs.{}.conv', 'neck.extra_convs.{}.gn'),
    reg_step=2,
)
_HUGGINGFACE_PARTS = replace(
    _AUTHORS_PARTS,
    head=r'(?:model\.decoder\.)?(class|bbox)_embed\.(\d+)\.(.+)',
    layers=r'model\.decoder\.layers\.(\d+)\.',
    conv='model.input_proj.{}.0',
    norm='model.input_proj.{}.1',
    refine_alias='model.decoder.bbox_embed',
    proposals_alias='model.decoder.class_embed',
)


def _from_file(state_dict: StateDict, parts: _Parts, then: Callable = dict) -> StateDict:
    """Give heads and neck our names; one head for all layers where the file's are alike."""
    num_layers = len({m[1] for m in map(re.compile(parts.layers).match, state_dict) if m})
    heads: dict[int, StateDict] = {}
    others: StateDict = {}
    for name, value in state_dict.items():
        if match := re.fullmatch(parts.head, name):
            kind, number, rest = match.groups()
            if kind in ('bbox', 'reg'):
                layer, _, last = rest.removeprefix('layers.').partition('.')
                rest = f'layers.{int(layer) // parts.reg_step}.{last}'
            branch = 'reg' if kind in ('bbox', 'reg') else 'cls'
            heads.setdefault(int(number), {})[f'{branch}/{rest}'] = value
        else:
            others[name] = value
    decoder = {i: head for i, head in heads.items() if i < num_layers}
    first = decoder.get(min(decoder, default=0), {})
    if all(_alike(first, head) for head in decoder.values()):
        decoder = {0: first}
    ours: StateDict = {}
    for i, head in decoder.items():
        for name, value in head.items():
            branch, _, rest = name.partition('/')
            ours[f'bbox_head.{branch}_branches.{i}.{rest}'] = value
    for name, value in heads.get(num_layers, {}).items():
        branch, _, rest = name.partition('/')
        ours[f'{_PROPOSALS}.{branch}_branch.{rest}'] = value
    return then(ours | _neck_from_file(others, parts))


def _alike(head: StateDict, other: StateDict) -> bool:
    return head.keys() == other.keys() and all(torch.equal(head[n], other[n]) for n in head)


def _neck_from_file(state_dict: StateDict, parts: _Parts) -> StateDict:
    """Number the further levels, which have 3x3 convolutions, from 0; biases of 0 if none."""
    sides: dict[str, tuple[str, str]] = {}
    templates = [(parts.conv, parts.norm, 'convs')]
    if parts.extra is not None:
        templates.append((*parts.extra, 'extra_convs'))
    ours: StateDict = {}
    for conv, norm, group in templates:
        number = num_extra = 0
        while (weight := state_dict.get(f'{conv.format(number)}.weight')) is not None:
            further = parts.extra is None and weight.shape[-1] == 3
            ours_name = f'neck.extra_convs.{num_extra}' if further else f'neck.{group}.{number}'
            num_extra += further
            sides[conv.format(number)] = ours_name, 'conv'
            sides[norm.format(number)] = ours_name, 'norm'
            ours[f'{ours_name}.conv.bias'] = weight.new_zeros(len(weight))
            number += 1
    for name, value in state_dict.items():
        stem, _, leaf = name.rpartition('.')
        if stem in sides:
            ours_name, kind = sides[stem]
            ours[f'{ours_name}.{kind}.{leaf}'] = value
        else:
            ours[name] = value
    return ours


def _to_file(state_dict: StateDict, parts: _Parts, shared_refine: bool = False) -> StateDict:
    """The inverse of :func:`_from_file`: every decoder layer has a head of its own again."""
    num_layers = len({m[1] for m in map(re.compile(parts.layers).match, state_dict) if m})
    num_convs = sum(
        re.fullmatch(r'neck\.convs\.\d+\.conv\.weight', n) is not None for n in state_dict
    )
    refines = shared_refine or 'bbox_head.cls_branches.1.weight' in state_dict
    proposes = shared_refine or f'{_PROPOSALS}.cls_branch.weight' in state_dict
    theirs: StateDict = {}
    for name, value in _with_equal_rows(state_dict).items():
        if match := re.fullmatch(r'neck\.(extra_convs|convs)\.(\d+)\.(conv|norm)\.(\w+)', name):
            theirs[_neck_name(match, parts, num_convs)] = value
        elif match := re.fullmatch(r'bbox_head\.(cls|reg)_branches\.(\d+)\.(.+)', name):
            kind, number, rest = match.groups()
            only = 'bbox_head.cls_branches.1.weight' not in state_dict
            for i in range(num_layers) if only else (int(number),):
                theirs[_head_name(kind, i, rest, parts)] = value.clone()
        elif match := re.fullmatch(rf'{_PROPOSALS}\.(cls|reg)_branch\.(.+)', name):
            theirs[_head_name(match[1], num_layers, match[2], parts)] = value
        else:
            theirs[name] = value
    for alias, wanted in ((parts.refine_alias, refines), (parts.proposals_alias, proposes)):
        if alias is not None and wanted:
            root = alias.rpartition('.')[2]
            again = [name for name in theirs if name.startswith(f'{root}.')]
            theirs |= {name.replace(root, alias, 1): theirs[name].clone() for name in again}
    return theirs


def _with_equal_rows(state_dict: StateDict) -> StateDict:
    """Give the proposals' class head as many rows as the decoder's; of those only row 0 is read."""
    fitted = dict(state_dict)
    for leaf in ('weight', 'bias'):
        value = state_dict.get(f'{_PROPOSALS}.cls_branch.{leaf}')
        if value is not None:
            number = len(state_dict[f'bbox_head.cls_branches.0.{leaf}'])
            more = value[-1:].expand(max(number - len(value), 0), *value.shape[1:])
            fitted[f'{_PROPOSALS}.cls_branch.{leaf}'] = torch.cat((value[:number], more))
    return fitted


def _neck_name(match: re.Match[str], parts: _Parts, num_convs: int) -> str:
    group, number, kind, leaf = match.groups()
    templates, i = (parts.conv, parts.norm), int(number)
    if group == 'extra_convs':
        if parts.extra is None:
            i += num_convs
        else:
            templates = parts.extra
    return f'{templates[kind == "norm"].format(i)}.{leaf}'


def _head_name(kind: str, number: int, rest: str, parts: _Parts) -> str:
    if kind == 'cls':
        return f'{parts.cls.format(number)}.{rest}'
    layer, _, last = rest.removeprefix('layers.').partition('.')
    return f'{parts.reg.format(number, int(layer) * parts.reg_step)}.{last}'


def _common(root: str) -> list[tuple[str, str]]:
    """Names that authors, transformers and (without root) mmdetection share."""
    return [
        (f'{_DECODER}.ref_point_head.*', f'{root}decoder.ref_point_head.*'),
        (f'{_DECODER}.query_scale.*', f'{root}decoder.query_scale.*'),
        ('bbox_head.transformer.level_embed', f'{root}level_embed'),
    ]


_AUTHORS = [
    ('backbone.*', 'backbone.0.body.*'),
    (f'{_SOURCE}.embedding.*', 'query_embed.*'),
    (f'{_SOURCE}.reference_points.*', 'transformer.reference_points.*'),
    (f'{_SOURCE}.pos_trans.*', 'transformer.pos_trans.*'),
    (f'{_SOURCE}.pos_trans_norm.*', 'transformer.pos_trans_norm.*'),
    (f'{_PROPOSALS}.projection.*', 'transformer.enc_output.*'),
    (f'{_PROPOSALS}.norm.*', 'transformer.enc_output_norm.*'),
    (f'{_LAYER}.norm1.*', 'transformer.decoder.layers.#.norm2.*'),
    (f'{_LAYER}.norm2.*', 'transformer.decoder.layers.#.norm1.*'),
    *_SAME[:1],
    ('bbox_head.transformer.*', 'transformer.*'),
]
_DAB_AUTHORS = [
    (f'{_SOURCE}.content.*', 'tgt_embed.*'),
    (f'{_SOURCE}.anchors.*', 'refpoint_embed.*'),
    (_LABELS, 'label_enc.weight'),
]
_DINO_AUTHORS = [
    (f'{_SOURCE}.content.*', 'transformer.tgt_embed.*'),
    (f'{_PROPOSALS}.cls_branch.*', 'transformer.enc_out_class_embed.*'),
    (f'{_PROPOSALS}.reg_branch.*', 'transformer.enc_out_bbox_embed.*'),
    (_LABELS, 'label_enc.weight'),
]
_MMDETECTION = [
    ('backbone.*', 'backbone.*'),
    (f'{_SOURCE}.embedding.*', 'query_embedding.*'),
    (f'{_SOURCE}.reference_points.*', 'reference_points_fc.*'),
    (f'{_SOURCE}.pos_trans.*', 'pos_trans_fc.*'),
    (f'{_SOURCE}.pos_trans_norm.*', 'pos_trans_norm.*'),
    (f'{_PROPOSALS}.projection.*', 'memory_trans_fc.*'),
    (f'{_PROPOSALS}.norm.*', 'memory_trans_norm.*'),
    (_LABELS, 'dn_query_generator.label_embedding.weight'),
    (f'{_ENCODER}.self_attn.*', 'encoder.layers.#.self_attn.*'),
    (f'{_ENCODER}.linear1.*', 'encoder.layers.#.ffn.layers.0.0.*'),
    (f'{_ENCODER}.linear2.*', 'encoder.layers.#.ffn.layers.1.*'),
    (f'{_ENCODER}.norm1.*', 'encoder.layers.#.norms.0.*'),
    (f'{_ENCODER}.norm2.*', 'encoder.layers.#.norms.1.*'),
    (f'{_LAYER}.self_attn.*', 'decoder.layers.#.self_attn.attn.*'),
    (f'{_LAYER}.cross_attn.*', 'decoder.layers.#.cross_attn.*'),
    (f'{_LAYER}.linear1.*', 'decoder.layers.#.ffn.layers.0.0.*'),
    (f'{_LAYER}.linear2.*', 'decoder.layers.#.ffn.layers.1.*'),
    (f'{_LAYER}.norm1.*', 'decoder.layers.#.norms.0.*'),
    (f'{_LAYER}.norm2.*', 'decoder.layers.#.norms.1.*'),
    (f'{_LAYER}.norm3.*', 'decoder.layers.#.norms.2.*'),
    (f'{_DECODER}.norm.*', 'decoder.norm.*'),
    *_common(''),
]
_HUGGINGFACE = [
    ('backbone.*', 'model.backbone.conv_encoder.model.*'),
    (f'{_SOURCE}.embedding.*', 'model.query_position_embeddings.*'),
    (f'{_SOURCE}.reference_points.*', 'model.reference_points.*'),
    (f'{_SOURCE}.pos_trans.*', 'model.pos_trans.*'),
    (f'{_SOURCE}.pos_trans_norm.*', 'model.pos_trans_norm.*'),
    (f'{_PROPOSALS}.projection.*', 'model.enc_output.*'),
    (f'{_PROPOSALS}.norm.*', 'model.enc_output_norm.*'),
    (f'{_ENCODER}.linear1.*', 'model.encoder.layers.#.fc1.*'),
    (f'{_ENCODER}.linear2.*', 'model.encoder.layers.#.fc2.*'),
    (f'{_ENCODER}.norm1.*', 'model.encoder.layers.#.self_attn_layer_norm.*'),
    (f'{_ENCODER}.norm2.*', 'model.encoder.layers.#.final_layer_norm.*'),
    (f'{_ENCODER}.self_attn.*', 'model.encoder.layers.#.self_attn.*'),
    (f'{_LAYER}.self_attn.*', 'model.decoder.layers.#.self_attn.*'),
    (f'{_LAYER}.cross_attn.*', 'model.decoder.layers.#.encoder_attn.*'),
    (f'{_LAYER}.linear1.*', 'model.decoder.layers.#.fc1.*'),
    (f'{_LAYER}.linear2.*', 'model.decoder.layers.#.fc2.*'),
    (f'{_LAYER}.norm1.*', 'model.decoder.layers.#.self_attn_layer_norm.*'),
    (f'{_LAYER}.norm2.*', 'model.decoder.layers.#.encoder_attn_layer_norm.*'),
    (f'{_LAYER}.norm3.*', 'model.decoder.layers.#.final_layer_norm.*'),
    *_common('model.'),
]


_MMDETECTION_LABELS = 'dn_query_generator.label_embedding.weight'


def _with_row_for_no_label(state_dict: StateDict, name: str = _MMDETECTION_LABELS) -> StateDict:
    """Add to the table of labels ``name`` the row for queries without label, which ours never read.

    The tables of mmdetection and detrex have none.
    """
    if name not in state_dict:
        return state_dict
    table = state_dict[name]
    return state_dict | {name: torch.cat((table, table.new_zeros(1, table.shape[1])))}


def _without_row_for_no_label(state_dict: StateDict) -> StateDict:
    name = _MMDETECTION_LABELS
    written = _to_file(state_dict, _MMDETECTION_PARTS)
    return written | ({name: written[name][:-1].clone()} if name in written else {})


def _to_huggingface(state_dict: StateDict) -> StateDict:
    return _split_attention(_to_file(state_dict, _HUGGINGFACE_PARTS))


def _from_huggingface(state_dict: StateDict) -> StateDict:
    return _from_file(_fuse_attention(state_dict), _HUGGINGFACE_PARTS)


def _branch_rows(number: int) -> tuple[str, ...]:
    """Class heads of the decoder; there are fewer where it has fewer layers or one for all."""
    return tuple(
        f'bbox_head.cls_branches.{i}.{kind}' for i in range(number) for kind in ('weight', 'bias')
    )


# More than any published decoder has.
_MOST_LAYERS = 12
_DEFORMABLE = Architecture(
    'Deformable DETR',
    # The proposals' head keeps its rows: row 0 is "object", whatever class that is elsewhere.
    class_rows=_branch_rows(_MOST_LAYERS),
    has_no_object_row=False,
    variant=guess_deformable_variant,
    traits=traits,
    check=check_dilation,
)
_DAB = replace(_DEFORMABLE, name='DAB-Deformable DETR')
_DN = replace(_DAB, name='DN-Deformable DETR', label_rows=(_LABELS,))
_DINO = replace(
    _DN,
    name='DINO',
    check=check_encoding,
    class_rows=(
        *_branch_rows(_MOST_LAYERS),
        f'{_PROPOSALS}.cls_branch.weight',
        f'{_PROPOSALS}.cls_branch.bias',
    ),
)

_OWN = ('neck.convs.0.conv.weight', 'bbox_head.transformer.level_embed')
_DINO_OWN = (*_OWN, f'{_PROPOSALS}.projection.weight', f'{_SOURCE}.content.weight')
register_layout(Layout(_DEFORMABLE, OWN_FORMAT, _OWN))
register_layout(Layout(_DAB, OWN_FORMAT, (*_OWN, f'{_SOURCE}.anchors.weight')))
register_layout(Layout(_DN, OWN_FORMAT, (*_OWN, f'{_SOURCE}.anchors.weight', _LABELS)))
register_layout(Layout(_DINO, OWN_FORMAT, _DINO_OWN))


def _authors_layout(
    architecture: Architecture, anchors: tuple[str, ...], rows: Rows, shared_refine: bool = False
) -> Layout:
    return Layout(
        architecture,
        'authors',
        anchors=('input_proj.0.0.weight', 'transformer.level_embed', *anchors),
        rows=[*rows, *_SAME[:1], *_AUTHORS, *_SAME[1:]],
        from_file=partial(_from_file, parts=_AUTHORS_PARTS),
        to_file=partial(_to_file, parts=_AUTHORS_PARTS, shared_refine=shared_refine),
        rows_by_category_id=True,
        suffixes=('.pth', '.pt'),
    )


_HEAD_ROWS = [
    ('bbox_head.cls_branches.*', 'bbox_head.cls_branches.*'),
    ('bbox_head.reg_branches.*', 'bbox_head.reg_branches.*'),
]
_PROPOSAL_ROWS = [
    (f'{_PROPOSALS}.cls_branch.*', f'{_PROPOSALS}.cls_branch.*'),
    (f'{_PROPOSALS}.reg_branch.*', f'{_PROPOSALS}.reg_branch.*'),
]
register_layout(_authors_layout(_DEFORMABLE, (), _HEAD_ROWS + _PROPOSAL_ROWS))
register_layout(
    _authors_layout(_DAB, ('refpoint_embed.weight', 'tgt_embed.weight'), _HEAD_ROWS + _DAB_AUTHORS)
)
register_layout(
    _authors_layout(
        _DN,
        ('refpoint_embed.weight', 'tgt_embed.weight', 'label_enc.weight'),
        _HEAD_ROWS + _DAB_AUTHORS,
    )
)
register_layout(
    _authors_layout(
        _DINO,
        ('transformer.tgt_embed.weight', 'transformer.enc_output.weight'),
        _HEAD_ROWS + _DINO_AUTHORS,
        shared_refine=True,
    )
)

_MMDETECTION_ANCHORS = ('neck.convs.0.conv.weight', 'level_embed')
_DEFORMABLE_MMDETECTION = Layout(
    _DEFORMABLE,
    'mmdetection',
    anchors=_MMDETECTION_ANCHORS,
    rows=[*_SAME[:1], *_HEAD_ROWS, *_PROPOSAL_ROWS, *_MMDETECTION],
    from_file=partial(_from_file, parts=_MMDETECTION_PARTS),
    to_file=partial(_to_file, parts=_MMDETECTION_PARTS),
)
register_layout(_DEFORMABLE_MMDETECTION)
register_layout(
    replace(
        _DEFORMABLE_MMDETECTION,
        architecture=_DINO,
        anchors=(*_MMDETECTION_ANCHORS, 'decoder.ref_point_head.layers.0.weight'),
        rows=[
            (f'{_SOURCE}.content.*', 'query_embedding.*'),
            *_DEFORMABLE_MMDETECTION.rows,
        ],
        from_file=partial(_from_file, parts=_MMDETECTION_PARTS, then=_with_row_for_no_label),
        to_file=_without_row_for_no_label,
    )
)
register_layout(
    Layout(
        _DEFORMABLE,
        'huggingface',
        anchors=('model.input_proj.0.0.weight', 'model.level_embed'),
        rows=[*_SAME[:1], *_HEAD_ROWS, *_PROPOSAL_ROWS, *_HUGGINGFACE],
        spell=_spell_as_on_the_hub,
        from_file=_from_huggingface,
        to_file=_to_huggingface,
        model_types=('deformable_detr',),
        rows_by_category_id=True,
        suffixes=('.safetensors', '.bin'),
        config=deformable_config,
    )
)
