"""The authors' numbers of DETR's successors: cases, deterministic weights, batches."""

import json
import re
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import init_default_scope
from torch import Tensor

from mmdetr.models.layers import DenoisingNoise
from mmdetr.registry import MODELS
from mmdetr.structures import SetTarget

from .reference import batch as reference_batch
from .reference import facebook_state_dict

FOLDER = Path(__file__).parents[1] / 'data' / 'reference_successors'
# Of the 91 classes the files keep every ninth.
KEPT = slice(None, None, 9)


def read_case(case: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Meta data and arrays of a case."""
    with np.load(FOLDER / f'{case}.npz') as file:
        arrays = dict(file)
    return json.loads(arrays.pop('meta').tobytes()), arrays


def read_inputs() -> dict[str, np.ndarray]:
    """Images, labels and boxes of every case."""
    with np.load(FOLDER / 'inputs.npz') as arrays:
        return dict(arrays)


def read_targets() -> list[SetTarget]:
    """The objects of every case as the criterion wants them."""
    arrays = read_inputs()
    parts = [(arrays[f'labels{i}'], arrays[f'boxes{i}']) for i in range(2)]
    return [SetTarget(*map(torch.from_numpy, part)) for part in parts]


def batch(meta: dict) -> dict:
    """Keyword arguments of ``model.forward``: inputs, padding_mask, data_samples."""
    return reference_batch(meta, read_inputs())


def authors_state_dict(meta: dict) -> dict[str, Tensor]:
    """Weights under the authors' names, each tensor once."""
    weights = facebook_state_dict(meta['shapes'], meta['seed'])
    for pattern, factor, first in meta.get('scaled', []):
        for name in weights:
            if re.fullmatch(pattern, name):
                weights[name][(slice(None), slice(first, None)) if first else ...] *= factor
    return weights


def noise_of(
    arrays: dict[str, np.ndarray], targets: list[SetTarget], copies: int, probability: float
) -> DenoisingNoise:
    """The draws of a case, which are for known objects alone, for all slots.

    Args:
        arrays: ``draw{i}`` of the case.
        targets: The objects.
        copies: Queries of one object.
        probability: A label is replaced where the first draw is below this.
    """
    draws = [torch.from_numpy(arrays[f'draw{i}']) for i in range(4) if f'draw{i}' in arrays]
    flip, replaced, signs, shift = draws[0], draws[1], draws[2:-1], draws[-1]
    counts = [len(target.labels) for target in targets]
    slots = [
        (image, copy * max(counts) + index)
        for copy in range(copies)
        for image, count in enumerate(counts)
        for index in range(count)
    ]
    image, slot = torch.tensor(slots).T
    shape = (len(targets), copies * max(counts))

    def place(values: Tensor) -> Tensor:
        placed = torch.full((*shape, *values.shape[1:]), 0.5).to(values)
        placed[image, slot] = values
        return placed

    labels = torch.zeros(len(flip), dtype=torch.int64)
    labels[flip < probability] = replaced.long()
    signed = place(2 * signs[0].float() - 1) if signs else torch.empty(0)
    return DenoisingNoise(place(flip), place(labels), place(shift), signed)


# Written out by hand, apart from mmdetr.checkpoint, so that each checks the other.
_RENAMES = (
    (r'^backbone\.0\.body\.', 'backbone.'),
    (r'^input_proj\.', 'neck.projection.'),
    (r'^query_embed\.', 'bbox_head.query_embedding.'),
    (r'^refpoint_embed\.', 'bbox_head.anchors.'),
    (r'^label_enc\.', 'bbox_head.label_embedding.embedding.'),
    (r'^class_embed\.', 'bbox_head.cls_branch.'),
    (r'^(transformer\.decoder\.)?bbox_embed\.', 'bbox_head.reg_branch.'),
    (r'^transformer\.patterns\.', 'bbox_head.patterns.'),
    (r'^transformer\.', 'bbox_head.transformer.'),
    (r'encoder\.query_scale\.', 'encoder.position_scale.'),
    (r'decoder\.query_scale\.', 'decoder.spatial_scale.'),
    (r'decoder\.ref_anchor_head\.', 'decoder.size_head.'),
    (r'\.sa_qcontent_proj\.', '.self_attn.query_content.'),
    (r'\.sa_qpos_proj\.', '.self_attn.query_position.'),
    (r'\.sa_kcontent_proj\.', '.self_attn.key_content.'),
    (r'\.sa_kpos_proj\.', '.self_attn.key_position.'),
    (r'\.sa_v_proj\.', '.self_attn.value.'),
    (r'\.ca_qcontent_proj\.', '.cross_attn.query_content.'),
    (r'\.ca_qpos_proj\.', '.cross_attn.query_position.'),
    (r'\.ca_qpos_sine_proj\.', '.cross_attn.query_spatial.'),
    (r'\.ca_kcontent_proj\.', '.cross_attn.key_content.'),
    (r'\.ca_kpos_proj\.', '.cross_attn.key_position.'),
    (r'\.ca_v_proj\.', '.cross_attn.value.'),
)


def our_name(meta: dict, authors_name: str) -> str:
    """The parameter's name in mmdetr."""
    name = authors_name
    for pattern, ours in _RENAMES:
        name = re.sub(pattern, ours, name)
    anchors = 'modelname' in meta['args']
    point_head = 'position_head' if anchors else 'reference_head'
    return name.replace('.ref_point_head.', f'.{point_head}.')


def _head_config(meta: dict) -> dict:
    args = meta['args']
    if 'modelname' not in args:
        return dict(
            type='ConditionalHead',
            max_per_img=100,
            positional_encoding=dict(type='SinePositionalEncoding'),
            transformer=dict(type='DETRTransformer', decoder=dict(type='ConditionalDecoder')),
        )
    head = dict(
        type='AnchorHead',
        max_per_img=args['num_select'],
        num_patterns=args['num_patterns'],
        random_centres=args['random_refpoints_xy'],
        positional_encoding=dict(type='SinePositionalEncoding', temperature=20),
        transformer=dict(
            type='DETRTransformer',
            encoder=dict(type='ScaledPositionEncoder', activation='prelu'),
            decoder=dict(type='AnchorDecoder'),
        ),
    )
    if 'dn' in meta:
        head['denoising'] = dict(type='GroupDenoising', num_groups=meta['dn']['groups'])
    return head


def model_config(meta: dict) -> dict:
    """The config of our model for the authors' command-line arguments."""
    args = meta['args']
    head = _head_config(meta)
    head['transformer'] |= dict(
        num_heads=args['nheads'],
        num_encoder_layers=args['enc_layers'],
        num_decoder_layers=args['dec_layers'],
        feedforward_channels=args['dim_feedforward'],
        dropout=args['dropout'],
    )
    head |= dict(
        num_classes=91,
        num_queries=args['num_queries'],
        class_activation=dict(type='SigmoidClasses'),
        criterion=dict(
            type='QueryCriterion',
            denoising_background=False,
            assigner=dict(
                type='HungarianAssigner',
                match_costs=dict(
                    cls=dict(type='FocalCost', weight=args['set_cost_class']),
                    bbox=dict(type='BBoxL1Cost', weight=args['set_cost_bbox']),
                    giou=dict(type='GIoUCost', weight=args['set_cost_giou']),
                ),
            ),
            loss_cls=dict(type='FocalLoss', loss_weight=args['cls_loss_coef']),
            loss_bbox=dict(type='L1Loss', loss_weight=args['bbox_loss_coef']),
            loss_giou=dict(type='GIoULoss', loss_weight=args['giou_loss_coef']),
        ),
    )
    return dict(
        type='DETR',
        data_preprocessor=dict(type='DetDataPreprocessor'),
        backbone=dict(type='ResNet', depth=50),
        neck=dict(type='InputProjection', out_channels=args['hidden_dim']),
        bbox_head=head,
    )


def build_model(meta: dict, arrays: dict[str, np.ndarray]) -> torch.nn.Module:
    """Our model with the weights and the random numbers of the case, in training mode."""
    init_default_scope('mmdetr')
    model = MODELS.build(model_config(meta))
    weights = authors_state_dict(meta)
    model.load_state_dict({our_name(meta, name): value for name, value in weights.items()})
    denoising = getattr(model.bbox_head, 'denoising', None)
    if denoising is not None:
        noise = noise_of(arrays, read_targets(), meta['dn']['groups'], denoising.label_noise)
        denoising.draw = lambda bboxes: noise
    return model.train()
