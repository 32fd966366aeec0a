"""The authors' numbers: cases, deterministic weights, and models of ours to compare with them."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor

from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample, cxcywh_to_xyxy

FOLDER = Path(__file__).parents[1] / 'data' / 'reference'
CASES = ('sine_post', 'learned_post', 'sine_pre', 'dc5', 'no_aux')


def read_case(case: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Meta data and arrays of a case."""
    meta = json.loads((FOLDER / f'{case}.json').read_text())
    with np.load(FOLDER / f'{case}.npz') as arrays:
        return meta, dict(arrays)


def facebook_state_dict(shapes: dict[str, list[int]], seed: int) -> dict[str, Tensor]:
    """Weights under the authors' names; NumPy's legacy streams are the same everywhere."""
    return {name: torch.from_numpy(_draw(name, shape, seed)) for name, shape in shapes.items()}


def _draw(name: str, shape: list[int], seed: int) -> np.ndarray:
    rng = np.random.RandomState(zlib.crc32(f'{seed}/{name}'.encode()) & 0x7FFFFFFF)
    x = rng.standard_normal(shape)
    leaf = name.rsplit('.', 1)[-1]
    if leaf == 'running_var':
        x = 0.5 + np.abs(x)
    elif leaf == 'running_mean' or 'bias' in leaf:
        x = 0.1 * x
    elif x.ndim == 1:  # the scale of a normalisation layer
        x = 1.0 + 0.1 * x
    elif not any(part in name for part in ('query_embed', 'row_embed', 'col_embed')):
        x = x * math.sqrt(1.0 / np.prod(shape[1:]))
    return x.astype(np.float32)


# Written out by hand, apart from mmdetr.checkpoint, so that each checks the other.
_RENAMES = (
    ('backbone.0.body.', 'backbone.'),
    ('backbone.1.', 'bbox_head.positional_encoding.'),
    ('input_proj.', 'neck.projection.'),
    ('query_embed.', 'bbox_head.query_embedding.'),
    ('class_embed.', 'bbox_head.cls_branch.'),
    ('bbox_embed.', 'bbox_head.reg_branch.'),
    ('transformer.', 'bbox_head.transformer.'),
)


def our_name(facebook_name: str) -> str:
    """The parameter's name in mmdetr."""
    for old, new in _RENAMES:
        if facebook_name.startswith(old):
            name = new + facebook_name.removeprefix(old)
            return name.replace('.multihead_attn.', '.cross_attn.')
    raise KeyError(facebook_name)


def model_config(meta: dict) -> dict:
    """The config of our model for the authors' command-line arguments."""
    args = meta['args']
    encoding = {'sine': 'SinePositionalEncoding', 'learned': 'LearnedPositionalEncoding'}
    return dict(
        type='DETR',
        data_preprocessor=dict(type='DetDataPreprocessor'),
        backbone=dict(
            type='ResNet',
            depth=int(args['backbone'].removeprefix('resnet')),
            dilation=args['dilation'],
        ),
        neck=dict(type='InputProjection', out_channels=args['hidden_dim']),
        bbox_head=dict(
            type='DETRHead',
            num_classes=meta['num_classes'],
            num_queries=args['num_queries'],
            positional_encoding=dict(type=encoding[args['position_embedding']]),
            transformer=dict(
                type='DETRTransformer',
                num_heads=args['nheads'],
                num_encoder_layers=args['enc_layers'],
                num_decoder_layers=args['dec_layers'],
                feedforward_channels=args['dim_feedforward'],
                dropout=args['dropout'],
                norm_first=args['pre_norm'],
            ),
            criterion=dict(
                type='SetCriterion',
                aux_loss=args['aux_loss'],
                assigner=dict(
                    type='HungarianAssigner',
                    match_costs=dict(
                        cls=dict(type='ClassificationCost', weight=args['set_cost_class']),
                        bbox=dict(type='BBoxL1Cost', weight=args['set_cost_bbox']),
                        giou=dict(type='GIoUCost', weight=args['set_cost_giou']),
                    ),
                ),
                loss_cls=dict(type='CrossEntropyLoss', no_object_weight=args['eos_coef']),
                loss_bbox=dict(type='L1Loss', loss_weight=args['bbox_loss_coef']),
                loss_giou=dict(type='GIoULoss', loss_weight=args['giou_loss_coef']),
            ),
        ),
    )


def build_model(meta: dict) -> torch.nn.Module:
    """Our model with the weights of the case, in training mode."""
    init_default_scope('mmdetr')
    model = MODELS.build(model_config(meta))
    weights = facebook_state_dict(meta['shapes'], meta['seed'])
    model.load_state_dict({our_name(name): value for name, value in weights.items()})
    return model.train()


def batch(meta: dict, arrays: dict[str, np.ndarray]) -> dict:
    """Keyword arguments of ``model.forward``: inputs, padding_mask, data_samples."""
    images = [torch.from_numpy(arrays[f'image{i}']) for i in range(2)]
    sizes = [tuple(image.shape[1:]) for image in images]
    height, width = (max(side) for side in zip(*sizes, strict=True))
    inputs = torch.zeros(2, 3, height, width)
    padding_mask = torch.ones(2, height, width, dtype=torch.bool)
    data_samples = []
    for i, (image, (h, w)) in enumerate(zip(images, sizes, strict=True)):
        inputs[i, :, :h, :w] = image
        padding_mask[i, :h, :w] = False
        bboxes = cxcywh_to_xyxy(torch.from_numpy(arrays[f'boxes{i}']))
        sample = DetDataSample(
            metainfo=dict(img_id=i, img_shape=(h, w), ori_shape=tuple(meta['original_sizes'][i]))
        )
        sample.gt_instances = InstanceData(
            bboxes=bboxes * torch.tensor([w, h, w, h]),
            labels=torch.from_numpy(arrays[f'labels{i}']),
        )
        data_samples.append(sample)
    return dict(inputs=inputs, padding_mask=padding_mask, data_samples=data_samples)
