"""Models of the deformable cases of tests/data/reference_successors, and the names of weights."""

import re

import numpy as np
import torch
from mmengine.registry import init_default_scope

from mmdetr.registry import MODELS

from .successor_cases import authors_state_dict, noise_of, read_case, read_targets

CASES = (
    'deformable',
    'deformable_single_scale',
    'deformable_refine',
    'deformable_two_stage',
    'dab_deformable',
    'dn_deformable',
    'dino',
)
# What a case says of its head, apart from numbers.
_HEADS = {
    'deformable': dict(query_source=dict(type='PointQueries')),
    'deformable_single_scale': dict(query_source=dict(type='PointQueries')),
    'deformable_refine': dict(
        query_source=dict(type='PointQueries'), with_box_refine=True, share_branches=False
    ),
    'deformable_two_stage': dict(
        query_source=dict(type='ProposalQueries'),
        with_box_refine=True,
        share_branches=False,
        proposals=dict(type='EncoderProposals', class_agnostic=True),
    ),
    'dab_deformable': dict(
        query_source=dict(type='AnchorQueries'),
        with_box_refine=True,
        share_branches=False,
        eps=1e-3,
    ),
    'dn_deformable': dict(
        query_source=dict(type='AnchorQueries', indicator=True),
        with_box_refine=True,
        share_branches=False,
        eps=1e-3,
        denoising=dict(type='GroupDenoising', num_groups=3),
    ),
    'dino': dict(
        query_source=dict(type='MixedQueries'),
        with_box_refine=True,
        proposals=dict(type='EncoderProposals'),
        eps=1e-3,
        denoising=dict(type='ContrastiveDenoising', num_groups=24, max_queries=None),
    ),
}
_ANCHORS = dict(type='AnchorDeformableDecoder', query_scale=True)
_DECODERS = {
    'dab_deformable': _ANCHORS,
    'dn_deformable': _ANCHORS,
    'dino': dict(type='AnchorDeformableDecoder', norm=True, look_forward_twice=True),
}
# Copies of an object and how probably its label is replaced, in the authors' draws.
_NOISE = {'dn_deformable': (3, 0.2), 'dino': (48, 0.25)}


def model_config(meta: dict) -> dict:
    """The config of our model for the authors' command-line arguments."""
    args, case = meta['args'], meta['case']
    encoding = dict(type='SinePositionalEncoding', offset=-0.5)
    if case == 'dino':
        encoding = dict(type='SinePositionalEncoding', temperature=args['pe_temperatureH'])
    costs = dict(
        cls=dict(type='FocalCost', weight=args['set_cost_class']),
        bbox=dict(type='BBoxL1Cost', weight=args['set_cost_bbox']),
        giou=dict(type='GIoUCost', weight=args['set_cost_giou']),
    )
    return dict(
        type='DETR',
        data_preprocessor=dict(type='DetDataPreprocessor'),
        backbone=dict(
            type='ResNet',
            depth=50,
            out_indices=(1, 2, 3) if args['num_feature_levels'] > 1 else (3,),
        ),
        neck=dict(
            type='ChannelMapper',
            out_channels=args['hidden_dim'],
            num_outs=args['num_feature_levels'],
        ),
        bbox_head=dict(
            type='DeformableDETRHead',
            num_classes=91,
            num_queries=args['num_queries'],
            positional_encoding=encoding,
            transformer=dict(
                type='DeformableTransformer',
                num_heads=args['nheads'],
                num_encoder_layers=args['enc_layers'],
                num_decoder_layers=args['dec_layers'],
                feedforward_channels=args['dim_feedforward'],
                dropout=args['dropout'],
                num_levels=args['num_feature_levels'],
                decoder=_DECODERS.get(case),
            ),
            criterion=dict(
                type='QueryCriterion',
                class_agnostic_proposals=case == 'deformable_two_stage',
                denoising_background=case == 'dino',
                assigner=dict(type='HungarianAssigner', match_costs=costs),
                loss_cls=dict(type='FocalLoss', loss_weight=args['cls_loss_coef']),
                loss_bbox=dict(type='L1Loss', loss_weight=args['bbox_loss_coef']),
                loss_giou=dict(type='GIoULoss', loss_weight=args['giou_loss_coef']),
            ),
            max_per_img=30,
            **_HEADS[case],
        ),
    )


def build_model(meta: dict, arrays: dict[str, np.ndarray]) -> torch.nn.Module:
    """Our model with the weights of the case, in training mode; it draws what the authors drew."""
    init_default_scope('mmdetr')
    model = MODELS.build(model_config(meta))
    weights = authors_state_dict(meta)
    model.load_state_dict({our_name(name, meta): value for name, value in weights.items()})
    case = meta['case']
    if case in _NOISE:
        draws = read_case('dino_denoising')[1] if case == 'dino' else arrays
        noise = noise_of(draws, read_targets(), *_NOISE[case])
        model.bbox_head.denoising.draw = lambda bboxes: noise
    return model.train()


# Written out by hand, apart from mmdetr.checkpoint, so that each checks the other.
_RENAMES = (
    (r'backbone\.0\.body\.', 'backbone.'),
    (r'input_proj\.([0-2])\.0', r'neck.convs.\1.conv'),
    (r'input_proj\.([0-2])\.1', r'neck.convs.\1.norm'),
    (r'input_proj\.3\.0', 'neck.extra_convs.0.conv'),
    (r'input_proj\.3\.1', 'neck.extra_convs.0.norm'),
    (r'query_embed\.', 'bbox_head.query_source.embedding.'),
    (r'refpoint_embed\.', 'bbox_head.query_source.anchors.'),
    (r'(transformer\.)?tgt_embed\.', 'bbox_head.query_source.content.'),
    (r'label_enc\.', 'bbox_head.label_embedding.embedding.'),
    (r'transformer\.(pos_trans|reference_points)', r'bbox_head.query_source.\1'),
    (r'transformer\.enc_output\.', 'bbox_head.proposals.projection.'),
    (r'transformer\.enc_output_norm\.', 'bbox_head.proposals.norm.'),
    (r'transformer\.enc_out_class_embed', 'bbox_head.proposals.cls_branch'),
    (r'transformer\.enc_out_bbox_embed', 'bbox_head.proposals.reg_branch'),
    (r'(transformer\.decoder\.)?class_embed\.([0-2])', r'bbox_head.cls_branches.\2'),
    (r'(transformer\.decoder\.)?bbox_embed\.([0-2])', r'bbox_head.reg_branches.\2'),
    (r'(transformer\.decoder\.)?class_embed\.3', 'bbox_head.proposals.cls_branch'),
    (r'(transformer\.decoder\.)?bbox_embed\.3', 'bbox_head.proposals.reg_branch'),
    (r'(transformer\.decoder\.layers\.\d)\.norm1', r'bbox_head.\1.norm2'),
    (r'(transformer\.decoder\.layers\.\d)\.norm2', r'bbox_head.\1.norm1'),
    (r'transformer\.', 'bbox_head.transformer.'),
)


def our_name(authors_name: str, meta: dict) -> str:
    """The parameter's name in mmdetr."""
    for pattern, ours in _RENAMES:
        if re.match(pattern, authors_name):
            return re.sub(f'^{pattern}', ours, authors_name)
    raise KeyError(authors_name)
