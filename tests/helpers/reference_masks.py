"""The authors' numbers with masks: cases, weights, and models of ours to compare with them."""

import json
import re
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample, cxcywh_to_xyxy

from . import reference

FOLDER = Path(__file__).parents[1] / 'data' / 'reference_masks'
CASES = ('instance', 'panoptic_frozen')


def read_case(case: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Meta data and arrays of a case."""
    meta = json.loads((FOLDER / f'{case}.json').read_text())
    with np.load(FOLDER / f'{case}.npz') as arrays:
        return meta, dict(arrays)


def facebook_state_dict(meta: dict) -> dict[str, torch.Tensor]:
    """Weights of a case under the authors' names."""
    weights = reference.facebook_state_dict(meta['shapes'], meta['seed'])
    for pattern, factor, first in meta['scaled']:
        names = [name for name in weights if re.fullmatch(pattern, name)]
        assert names, pattern
        for name in names:
            part = weights[name][:, first:] if first else weights[name]
            part *= factor
    return weights


# Written out by hand, apart from mmdetr.checkpoint, so that each checks the other.
_HEAD = 'bbox_head.mask_head'
_RENAMES = {
    'bbox_attention.q_linear.': f'{_HEAD}.attention.query_proj.',
    'bbox_attention.k_linear.': f'{_HEAD}.attention.key_proj.',
    'mask_head.out_lay.': f'{_HEAD}.out_conv.',
    **{f'mask_head.lay{i}.': f'{_HEAD}.convs.{i - 1}.' for i in range(1, 6)},
    **{f'mask_head.gn{i}.': f'{_HEAD}.norms.{i - 1}.' for i in range(1, 6)},
    **{f'mask_head.adapter{i}.': f'{_HEAD}.laterals.{i - 1}.' for i in range(1, 4)},
}


def our_name(facebook_name: str) -> str:
    """The parameter's name in mmdetr."""
    for old, new in _RENAMES.items():
        if facebook_name.startswith(old):
            return new + facebook_name.removeprefix(old)
    return reference.our_name(facebook_name.removeprefix('detr.'))


def model_config(meta: dict) -> dict:
    """The config of our model for the authors' command-line arguments."""
    args = meta['args']
    config = reference.model_config(meta)
    config['backbone']['out_indices'] = (0, 1, 2, 3)
    head = config['bbox_head']
    head |= dict(type='DETRMaskHead', mask_head=dict(type='MaskHead', num_heads=args['nheads']))
    head['criterion'] |= dict(
        type='MaskCriterion',
        loss_mask=dict(type='SigmoidFocalLoss', loss_weight=args['mask_loss_coef']),
        loss_dice=dict(type='DiceLoss', loss_weight=args['dice_loss_coef']),
    )
    if args['frozen_weights']:
        config['trained_parts'] = ['bbox_head.mask_head']
    if 'panoptic' in meta:
        threshold = meta['panoptic']['threshold']
        # Category ids up to 90 are things.
        head['panoptic'] = dict(type='PanopticSegmentation', things=91, score_thr=threshold)
    return config


def build_model(meta: dict, **changes) -> torch.nn.Module:
    """Our model with the weights of the case, in training mode."""
    init_default_scope('mmdetr')
    model = MODELS.build(model_config(meta) | changes)
    weights = facebook_state_dict(meta)
    model.load_state_dict({our_name(name): value for name, value in weights.items()})
    return model.train()


def batch(meta: dict, arrays: dict[str, np.ndarray]) -> dict:
    """Keyword arguments of ``model.forward``: inputs, padding_mask, data_samples."""
    count = len(meta['sizes'])
    images = [torch.from_numpy(arrays[f'image{i}']) for i in range(count)]
    height, width = (max(side) for side in zip(*meta['sizes'], strict=True))
    inputs = torch.zeros(count, 3, height, width)
    padding_mask = torch.ones(count, height, width, dtype=torch.bool)
    samples = []
    for i, image in enumerate(images):
        h, w = image.shape[1:]
        inputs[i, :, :h, :w] = image
        padding_mask[i, :h, :w] = False
        bboxes = cxcywh_to_xyxy(torch.from_numpy(arrays[f'boxes{i}']))
        sample = DetDataSample(
            metainfo=dict(img_id=i, img_shape=(h, w), ori_shape=tuple(meta['original_sizes'][i]))
        )
        sample.gt_instances = InstanceData(
            bboxes=bboxes * torch.tensor([w, h, w, h]),
            labels=torch.from_numpy(arrays[f'labels{i}']),
            masks=torch.from_numpy(arrays[f'masks{i}']),
        )
        samples.append(sample)
    return dict(inputs=inputs, padding_mask=padding_mask, data_samples=samples)
