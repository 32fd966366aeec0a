"""Layouts of Conditional, DAB- and DN-DETR: what every published format calls their weights."""

from dataclasses import replace

from .detr import _FACEBOOK, _HUGGINGFACE, _MMDETECTION, _fuse_attention, _spell_as_on_the_hub
from .detr import _to_huggingface as _split_attention
from .detr_variant import check_dilation
from .layout import OWN_FORMAT, Architecture, Layout, StateDict, register_layout
from .query_variant import (
    anchor_config,
    check_anchors,
    conditional_config,
    guess_anchor_variant,
    guess_conditional_variant,
    traits,
)

_ENCODER = 'bbox_head.transformer.encoder'
_DECODER = 'bbox_head.transformer.decoder'
_LAYER = f'{_DECODER}.layers.#'
_LABELS = 'bbox_head.label_embedding.embedding.weight'

# Our name of a projection -> that of the authors, behind sa_ (self) or ca_ (cross attention).
_PROJECTIONS = dict(
    query_content='qcontent',
    query_position='qpos',
    query_spatial='qpos_sine',
    key_content='kcontent',
    key_position='kpos',
    value='v',
)
_ATTENTIONS = dict(self_attn='sa', cross_attn='ca')


def _projections(template: str) -> list[tuple[str, str]]:
    """Rows for every projection; the template has ``attention``, ``short`` and ``part``."""
    return [
        (
            f'{_LAYER}.{attention}.{ours}.*',
            template.format(attention=attention, short=short, part=part),
        )
        for attention, short in _ATTENTIONS.items()
        for ours, part in _PROJECTIONS.items()
    ]


def _heads(root: str, point_head: str) -> list[tuple[str, str]]:
    """The decoder's own small networks, whose names all codebases share."""
    return [
        (f'{_DECODER}.{point_head}.*', f'{root}decoder.ref_point_head.*'),
        (f'{_DECODER}.spatial_scale.*', f'{root}decoder.query_scale.*'),
        (f'{_DECODER}.size_head.*', f'{root}decoder.ref_anchor_head.*'),
        (f'{_ENCODER}.position_scale.*', f'{root}encoder.query_scale.*'),
    ]


def _authors(point_head: str) -> list[tuple[str, str]]:
    return [
        *_projections('transformer.decoder.layers.#.{short}_{part}_proj.*'),
        (f'{_LAYER}.cross_attn.*', 'transformer.decoder.layers.#.cross_attn.*'),
        *_heads('transformer.', point_head),
        ('bbox_head.anchors.*', 'refpoint_embed.*'),
        ('bbox_head.patterns.*', 'transformer.patterns.*'),
        (_LABELS, 'label_enc.weight'),
        ('bbox_head.reg_branch.*', 'bbox_embed.*'),
        ('bbox_head.reg_branch.*', 'transformer.decoder.bbox_embed.*'),  # the same weights again
        *_FACEBOOK,
    ]


def _mmdetection(point_head: str) -> list[tuple[str, str]]:
    return [
        *_projections('decoder.layers.#.{attention}.{part}_proj.*'),
        (f'{_LAYER}.self_attn.*', 'decoder.layers.#.self_attn.*'),
        (f'{_LAYER}.cross_attn.*', 'decoder.layers.#.cross_attn.*'),
        (f'{_LAYER}.activation.*', 'decoder.layers.#.ffn.layers.0.1.*'),
        (f'{_ENCODER}.layers.#.activation.*', 'encoder.layers.#.ffn.layers.0.1.*'),
        *_heads('', point_head),
        *_MMDETECTION,
    ]


def _huggingface_conditional() -> list[tuple[str, str]]:
    return [
        *_projections('model.decoder.layers.#.{short}_{part}_proj.*'),
        (f'{_LAYER}.self_attn.*', 'model.decoder.layers.#.self_attn.*'),
        (f'{_LAYER}.cross_attn.*', 'model.decoder.layers.#.encoder_attn.*'),
        *_heads('model.', 'reference_head'),
        *_HUGGINGFACE,
    ]


_HUGGINGFACE_PARTS = dict(
    query_content='query_content',
    query_position='query_pos',
    query_spatial='query_pos_sine',
    key_content='key_content',
    key_position='key_pos',
    value='value',
)


def _huggingface_anchors() -> list[tuple[str, str]]:
    layer = 'model.decoder.layers.#'
    rows = [
        (f'{_LAYER}.{kind}.{ours}.*', f'{layer}.{kind}.{kind}_{part}_proj.*')
        for kind in _ATTENTIONS
        for ours, part in _HUGGINGFACE_PARTS.items()
    ]
    return [
        *rows,
        (f'{_LAYER}.self_attn.out_proj.*', f'{layer}.self_attn.self_attn.output_proj.*'),
        (f'{_LAYER}.cross_attn.out_proj.*', f'{layer}.cross_attn.cross_attn.output_proj.*'),
        (f'{_LAYER}.norm1.*', f'{layer}.self_attn.self_attn_layer_norm.*'),
        (f'{_LAYER}.norm2.*', f'{layer}.cross_attn.cross_attn_layer_norm.*'),
        (f'{_LAYER}.norm3.*', f'{layer}.mlp.final_layer_norm.*'),
        (f'{_LAYER}.linear1.*', f'{layer}.mlp.fc1.*'),
        (f'{_LAYER}.linear2.*', f'{layer}.mlp.fc2.*'),
        (f'{_LAYER}.activation.*', f'{layer}.mlp.activation_fn.*'),
        (f'{_ENCODER}.layers.#.activation.*', 'model.encoder.layers.#.activation_fn.*'),
        *_heads('model.', 'position_head'),
        ('bbox_head.anchors.*', 'model.query_refpoint_embeddings.*'),
        ('bbox_head.patterns.*', 'model.patterns.*'),
        ('backbone.*', 'model.backbone.conv_encoder.model._backbone.*'),
        ('bbox_head.cls_branch.*', 'class_embed.*'),
        ('bbox_head.reg_branch.*', 'bbox_predictor.*'),
        ('bbox_head.reg_branch.*', 'model.decoder.bbox_embed.*'),  # the same weights again
        *_HUGGINGFACE,
    ]


def _with_box_head_of_decoder(state_dict: StateDict) -> StateDict:
    """The authors' models also hold the box head in the decoder, under a second name."""
    again = {
        f'transformer.decoder.{name}': value.clone()
        for name, value in state_dict.items()
        if name.startswith('bbox_embed.')
    }
    return state_dict | again


_HEAD_ROWS = ('bbox_head.cls_branch.weight', 'bbox_head.cls_branch.bias')
_CONDITIONAL = Architecture(
    'Conditional DETR',
    class_rows=_HEAD_ROWS,
    has_no_object_row=False,
    variant=guess_conditional_variant,
    traits=traits,
    check=check_dilation,
)
_DAB = replace(_CONDITIONAL, name='DAB-DETR', variant=guess_anchor_variant, check=check_anchors)
_DN = replace(_DAB, name='DN-DETR', label_rows=(_LABELS,))

_OWN = ('neck.projection.weight', 'bbox_head.cls_branch.weight')
_AUTHORS = ('input_proj.weight', 'transformer.decoder.layers.0.ca_qpos_sine_proj.weight')
register_layout(
    Layout(_CONDITIONAL, OWN_FORMAT, (*_OWN, f'{_DECODER}.reference_head.layers.0.weight'))
)
register_layout(Layout(_DAB, OWN_FORMAT, (*_OWN, 'bbox_head.anchors.weight')))
register_layout(Layout(_DN, OWN_FORMAT, (*_OWN, 'bbox_head.anchors.weight', _LABELS)))

_CONDITIONAL_AUTHORS = Layout(
    _CONDITIONAL,
    'authors',
    anchors=(*_AUTHORS, 'query_embed.weight'),
    rows=_authors('reference_head'),
    rows_by_category_id=True,
    suffixes=('.pth', '.pt'),
)
register_layout(_CONDITIONAL_AUTHORS)
_DAB_AUTHORS = replace(
    _CONDITIONAL_AUTHORS,
    architecture=_DAB,
    anchors=(*_AUTHORS, 'refpoint_embed.weight'),
    rows=_authors('position_head'),
    to_file=_with_box_head_of_decoder,
)
register_layout(_DAB_AUTHORS)
register_layout(
    replace(_DAB_AUTHORS, architecture=_DN, anchors=(*_DAB_AUTHORS.anchors, 'label_enc.weight'))
)

_MMDETECTION_ANCHORS = (
    'neck.convs.0.conv.weight',
    'decoder.layers.0.cross_attn.qpos_sine_proj.weight',
)
_CONDITIONAL_MMDETECTION = Layout(
    _CONDITIONAL, 'mmdetection', anchors=_MMDETECTION_ANCHORS, rows=_mmdetection('reference_head')
)
register_layout(_CONDITIONAL_MMDETECTION)
register_layout(
    replace(
        _CONDITIONAL_MMDETECTION,
        architecture=_DAB,
        anchors=(*_MMDETECTION_ANCHORS, 'decoder.ref_anchor_head.layers.0.weight'),
        rows=[
            ('bbox_head.anchors.*', 'query_embedding.*'),
            ('bbox_head.patterns.*', 'patterns.*'),
            ('bbox_head.reg_branch.*', 'bbox_head.fc_reg.*'),
            *_mmdetection('position_head'),
        ],
    )
)

_CONDITIONAL_HUGGINGFACE = Layout(
    _CONDITIONAL,
    'huggingface',
    anchors=(
        'model.input_projection.weight',
        'model.decoder.layers.0.ca_qpos_sine_proj.weight',
    ),
    rows=_huggingface_conditional(),
    spell=_spell_as_on_the_hub,
    from_file=_fuse_attention,
    to_file=_split_attention,
    model_types=('conditional_detr',),
    rows_by_category_id=True,
    suffixes=('.safetensors', '.bin'),
    config=conditional_config,
)
register_layout(_CONDITIONAL_HUGGINGFACE)
register_layout(
    replace(
        _CONDITIONAL_HUGGINGFACE,
        architecture=_DAB,
        anchors=('model.input_projection.weight', 'model.query_refpoint_embeddings.weight'),
        rows=_huggingface_anchors(),
        spell=str,
        model_types=('dab-detr',),
        config=anchor_config,
    )
)
