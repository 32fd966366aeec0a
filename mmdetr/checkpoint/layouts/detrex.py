"""Layouts of detrex: Conditional, DAB-, DN- and Deformable DETR and DINO with a ResNet.

Files are read, not written.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from . import deformable, queries
from .layout import Layout, StateDict, register_layout

_ENCODER, _DECODER = queries._ENCODER, queries._DECODER
_SOURCE, _PROPOSALS = deformable._SOURCE, deformable._PROPOSALS
_LABELS = queries._LABELS
_THEIR_ENCODER = 'transformer.encoder.layers.#'
_THEIR_DECODER = 'transformer.decoder.layers.#'


def _backbone() -> Iterator[tuple[str, str]]:
    """Rows of a ResNet with detectron2's names."""
    yield 'backbone.bn1.*', 'backbone.stem.conv1.norm.*'
    yield 'backbone.conv1.*', 'backbone.stem.conv1.*'
    for stage in range(1, 5):
        ours, theirs = f'backbone.layer{stage}.#', f'backbone.res{stage + 1}.#'
        for i in range(1, 4):
            yield f'{ours}.bn{i}.*', f'{theirs}.conv{i}.norm.*'
            yield f'{ours}.conv{i}.*', f'{theirs}.conv{i}.*'
        yield f'{ours}.downsample.1.*', f'{theirs}.shortcut.norm.*'
        yield f'{ours}.downsample.0.*', f'{theirs}.shortcut.*'


def _layers() -> Iterator[tuple[str, str]]:
    """Rows of what all layers have."""
    for ours, theirs, num_norms in (
        (f'{_ENCODER}.layers.#', _THEIR_ENCODER, 2),
        (f'{_DECODER}.layers.#', _THEIR_DECODER, 3),
    ):
        yield f'{ours}.linear1.*', f'{theirs}.ffns.0.layers.0.0.*'
        yield f'{ours}.linear2.*', f'{theirs}.ffns.0.layers.1.*'
        yield f'{ours}.activation.*', f'{theirs}.ffns.0.layers.0.1.*'
        yield f'{ours}.activation.*', f'{theirs}.ffns.0.activation.*'  # the same weight again
        for i in range(num_norms):
            yield f'{ours}.norm{i + 1}.*', f'{theirs}.norms.{i}.*'


def _one_map(point_head: str) -> list[tuple[str, str]]:
    """Rows of the models that attend to one feature map."""
    projections = [
        (f'{_DECODER}.layers.#.{attention}.{ours}.*', f'{_THEIR_DECODER}.{theirs}.*')
        for i, attention in enumerate(queries._ATTENTIONS)
        for ours, theirs in [
            *(
                (ours, f'attentions.{i}.{part}_proj')
                for ours, part in queries._HUGGINGFACE_PARTS.items()
            ),
            ('out_proj', f'attentions.{i}.out_proj'),
        ]
    ]
    return [
        *_backbone(),
        *_layers(),
        *projections,
        (f'{_ENCODER}.layers.#.self_attn.*', f'{_THEIR_ENCODER}.attentions.0.attn.*'),
        (f'{_DECODER}.norm.*', 'transformer.decoder.post_norm_layer.*'),
        *queries._heads('transformer.', point_head),
        ('neck.projection.*', 'input_proj.*'),
        ('bbox_head.query_embedding.*', 'query_embed.*'),
        ('bbox_head.anchors.*', 'anchor_box_embed.*'),
        ('bbox_head.patterns.*', 'transformer.patterns.*'),
        (_LABELS, 'denoising_generator.label_encoder.weight'),
        ('bbox_head.cls_branch.*', 'class_embed.*'),
        ('bbox_head.reg_branch.*', 'bbox_embed.*'),
        ('bbox_head.reg_branch.*', 'transformer.decoder.bbox_embed.*'),  # the same weights again
    ]


_SEVERAL_MAPS = [
    *_backbone(),
    *_layers(),
    (f'{_ENCODER}.layers.#.self_attn.*', f'{_THEIR_ENCODER}.attentions.0.*'),
    (f'{_DECODER}.layers.#.self_attn.*', f'{_THEIR_DECODER}.attentions.0.attn.*'),
    (f'{_DECODER}.layers.#.cross_attn.*', f'{_THEIR_DECODER}.attentions.1.*'),
    ('bbox_head.transformer.level_embed', 'transformer.level_embeds'),
    (f'{_SOURCE}.embedding.*', 'query_embedding.*'),
    (f'{_SOURCE}.content.*', 'transformer.tgt_embed.*'),
    (f'{_SOURCE}.reference_points.*', 'transformer.reference_points.*'),
    (f'{_SOURCE}.pos_trans.*', 'transformer.pos_trans.*'),
    (f'{_SOURCE}.pos_trans_norm.*', 'transformer.pos_trans_norm.*'),
    (f'{_PROPOSALS}.projection.*', 'transformer.enc_output.*'),
    (f'{_PROPOSALS}.norm.*', 'transformer.enc_output_norm.*'),
    (f'{_DECODER}.norm.*', 'transformer.decoder.norm.*'),
    (f'{_DECODER}.ref_point_head.*', 'transformer.decoder.ref_point_head.*'),
    (_LABELS, 'label_enc.weight'),
    *deformable._SAME[:1],
    *deformable._HEAD_ROWS,
    *deformable._PROPOSAL_ROWS,
]
_PARTS = replace(
    deformable._AUTHORS_PARTS,
    conv='neck.convs.{}.conv',
    norm='neck.convs.{}.norm',
    extra=('neck.extra_convs.{}.conv', 'neck.extra_convs.{}.norm'),
)


def _refuse(state_dict: StateDict) -> StateDict:
    raise ValueError('the format detrex is read, not written: take another one')


_PATTERN = 'transformer.decoder.layers.0.attentions.1.query_pos_sine_proj.weight'
_ANCHORS = ('input_proj.weight', _PATTERN, 'anchor_box_embed.weight')
_CONDITIONAL = Layout(
    queries._CONDITIONAL,
    'detrex',
    anchors=('input_proj.weight', _PATTERN, 'query_embed.weight'),
    rows=_one_map('reference_head'),
    to_file=_refuse,
)
register_layout(_CONDITIONAL)
_DAB = replace(
    _CONDITIONAL,
    architecture=queries._DAB,
    anchors=_ANCHORS,
    rows=_one_map('position_head'),
)
register_layout(_DAB)
register_layout(
    replace(
        _DAB,
        architecture=queries._DN,
        anchors=(*_ANCHORS, 'denoising_generator.label_encoder.weight'),
    )
)
_DEFORMABLE = Layout(
    deformable._DEFORMABLE,
    'detrex',
    anchors=('neck.convs.0.conv.weight', 'transformer.level_embeds'),
    rows=_SEVERAL_MAPS,
    from_file=partial(deformable._from_file, parts=_PARTS),
    to_file=_refuse,
)
register_layout(_DEFORMABLE)
register_layout(
    replace(
        _DEFORMABLE,
        architecture=deformable._DINO,
        anchors=(*_DEFORMABLE.anchors, 'transformer.tgt_embed.weight'),
        from_file=partial(
            deformable._from_file,
            parts=_PARTS,
            then=partial(deformable._with_row_for_no_label, name='label_enc.weight'),
        ),
    )
)
