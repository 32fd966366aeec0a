"""RT-DETRv2 and D-FINE with the weights of the authors' numbers."""

import re

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mmdetr.models.layers import DenoisingNoise
from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample, cxcywh_to_xyxy

from .successor_cases import authors_state_dict, read_inputs

# Written out by hand, apart from mmdetr.checkpoint, so that each checks the other.
_RENAMES = (
    # ResNet-vd
    (r'backbone\.conv1\.conv1_(\d)', lambda m: f'backbone.stem.{int(m[1]) - 1}'),
    (r'backbone\.res_layers\.(\d)\.blocks', r'backbone.stages.\1'),
    (r'\.branch2([abc])\.', lambda m: f'.convs.{"abc".index(m[1])}.'),
    (r'\.short\.(?:conv\.)?(conv|norm)\.', r'.shortcut.\1.'),
    # HGNetV2
    (r'backbone\.stem\.stem(\w+)', r'backbone.stem.conv\1'),
    (r'(backbone\..*)\.bn\.', r'\1.norm.'),
    (r'(backbone\..*)\.lab\.', r'\1.activation.1.'),
    (r'backbone\.stages\.(\d)\.downsample', r'backbone.stages.\1.0'),
    (
        r'backbone\.stages\.(\d)\.blocks\.(\d)',
        lambda m: f'backbone.stages.{m[1]}.{int(m[2]) + (m[1] != "0")}',
    ),
    (r'(backbone\..*\.layers\.\d)\.conv([12])', lambda m: f'{m[1]}.{int(m[2]) - 1}'),
    # Hybrid encoder
    (r'encoder\.encoder\.0\.layers\.', 'neck.encoder.'),
    (r'encoder\.input_proj\.', 'neck.projections.'),
    (r'encoder\.lateral_convs\.', 'neck.laterals.'),
    (r'encoder\.downsample_convs\.(\d)\.0\.cv1', r'neck.downsamples.\1.0'),
    (r'encoder\.downsample_convs\.(\d)\.0\.cv2', r'neck.downsamples.\1.1'),
    (r'encoder\.downsample_convs\.', 'neck.downsamples.'),
    (r'encoder\.(\w+_blocks\.\d)\.cv1', r'neck.\1.conv1'),
    (r'encoder\.(\w+_blocks\.\d)\.cv4', r'neck.\1.conv2'),
    (r'encoder\.(\w+_blocks\.\d)\.cv([23])', lambda m: f'neck.{m[1]}.stages.{int(m[2]) - 2}'),
    (r'encoder\.(\w+_blocks)', r'neck.\1'),
    # Decoder
    (r'decoder\.input_proj\.', 'bbox_head.transformer.projections.'),
    (r'decoder\.decoder\.lqe_layers\.(\d)\.reg_conf', r'bbox_head.quality_branches.\1'),
    (r'decoder\.decoder\.', 'bbox_head.transformer.decoder.'),
    (r'decoder\.query_pos_head', 'bbox_head.transformer.decoder.query_pos_head'),
    (r'decoder\.denoising_class_embed', 'bbox_head.label_embedding'),
    (r'decoder\.enc_output\.proj', 'bbox_head.enc_output.0'),
    (r'decoder\.enc_output\.norm', 'bbox_head.enc_output.1'),
    (r'decoder\.enc_score_head', 'bbox_head.enc_cls_branch'),
    (r'decoder\.enc_bbox_head', 'bbox_head.enc_reg_branch'),
    (r'decoder\.dec_score_head', 'bbox_head.cls_branches'),
    (r'decoder\.dec_bbox_head', 'bbox_head.reg_branches'),
    (r'decoder\.pre_bbox_head', 'bbox_head.first_reg_branch'),
)
_CONSTANTS = ('num_points_scale', 'decoder.up', 'decoder.reg_scale')


def our_name(authors_name: str) -> str:
    """The parameter's name in mmdetr."""
    for pattern, replacement in _RENAMES:
        authors_name = re.sub(
            f'^{pattern}' if pattern[0].isalpha() else pattern, replacement, authors_name
        )
    return authors_name


def rtdetr_config(meta: dict) -> dict:
    """The config of our model for the authors' RT-DETRv2 settings."""
    backbone, neck, decoder, criterion = _parts(meta, 'PResNet', 'RTDETRTransformerv2')
    return dict(
        type='DETR',
        backbone=dict(type='ResNetVd', depth=backbone['depth']),
        neck=dict(type='HybridEncoder', expansion=neck['expansion']),
        bbox_head=dict(
            type='RTDETRHead',
            num_classes=meta['num_classes'],
            num_queries=decoder['num_queries'],
            max_per_img=30,
            denoising=_denoising(decoder),
            transformer=dict(
                type='RTDETRTransformer',
                num_layers=decoder['num_layers'],
                num_points=decoder['num_points'],
            ),
            criterion=dict(type='QueryCriterion', **_losses(criterion)),
        ),
    )


def dfine_config(meta: dict) -> dict:
    """The config of our model for the authors' D-FINE settings."""
    backbone, neck, decoder, criterion = _parts(meta, 'HGNetv2', 'DFINETransformer')
    weights = criterion['weight_dict']
    return dict(
        type='DETR',
        backbone=dict(
            type='HGNetV2',
            size=backbone['name'],
            affine=backbone['use_lab'],
            out_indices=backbone['return_idx'],
        ),
        neck=dict(
            type='DFINEHybridEncoder',
            out_channels=neck['hidden_dim'],
            feedforward_channels=neck['dim_feedforward'],
            expansion=neck['expansion'],
            num_blocks=round(3 * neck['depth_mult']),
        ),
        bbox_head=dict(
            type='DFINEHead',
            num_classes=meta['num_classes'],
            num_queries=decoder['num_queries'],
            max_per_img=30,
            denoising=dict(_denoising(decoder), absolute_sizes=True),
            transformer=dict(
                type='RTDETRTransformer',
                num_layers=decoder['num_layers'],
                feedforward_channels=decoder['dim_feedforward'],
                num_points=decoder['num_points'],
                project_same_width=False,
                decoder=dict(type='DFINEDecoder'),
            ),
            criterion=dict(
                type='DFINECriterion',
                loss_fgl=dict(type='FineGrainedLocalizationLoss', loss_weight=weights['loss_fgl']),
                loss_ddf=dict(type='DecoupledDistillationLoss', loss_weight=weights['loss_ddf']),
                **_losses(criterion),
            ),
        ),
    )


def _parts(meta: dict, backbone: str, decoder: str) -> tuple[dict, dict, dict, dict]:
    args = meta['args']
    criterion = next(value for name, value in args.items() if 'Criterion' in name)
    return args[backbone], args['HybridEncoder'], args[decoder], criterion


def _denoising(decoder: dict) -> dict:
    return dict(
        type='ContrastiveDenoising',
        max_queries=2 * decoder['num_denoising'],
        label_noise=decoder['label_noise_ratio'] / 2,
        box_noise=decoder['box_noise_scale'],
        eps=1e-5,
        empty_coordinate=0.0,
    )


def _losses(criterion: dict) -> dict:
    weights, costs = criterion['weight_dict'], criterion['matcher']['weight_dict']
    return dict(
        assigner=dict(
            type='HungarianAssigner',
            match_costs=dict(
                cls=dict(type='FocalCost', weight=costs['cost_class']),
                bbox=dict(type='BBoxL1Cost', weight=costs['cost_bbox']),
                giou=dict(type='GIoUCost', weight=costs['cost_giou']),
            ),
        ),
        loss_cls=dict(type='VarifocalLoss', loss_weight=weights['loss_vfl']),
        loss_bbox=dict(type='L1Loss', loss_weight=weights['loss_bbox']),
        loss_giou=dict(type='GIoULoss', loss_weight=weights['loss_giou']),
    )


def build_model(meta: dict, arrays: dict[str, np.ndarray]) -> torch.nn.Module:
    """Our model with the weights of the case and its random numbers, in training mode."""
    init_default_scope('mmdetr')
    model = MODELS.build((dfine_config if 'HGNetv2' in meta['args'] else rtdetr_config)(meta))
    weights = {our_name(name): value for name, value in authors_state_dict(meta).items()}
    result = model.load_state_dict(weights, strict=False)
    left = [name for name in result.missing_keys if 'num_batches_tracked' not in name]
    unknown = [name for name in result.unexpected_keys if not name.endswith(_CONSTANTS)]
    assert not left, left
    assert not unknown, unknown
    draws = [torch.from_numpy(arrays[f'draw{i}']) for i in range(4)]
    noise = DenoisingNoise(draws[0], draws[1], draws[3], 2.0 * draws[2] - 1)
    model.bbox_head.denoising.draw = lambda bboxes: noise
    return model.train()


def batch(meta: dict) -> dict:
    """Keyword arguments of ``model.forward``: both images in the size of the first."""
    arrays = read_inputs()
    first, second = (torch.from_numpy(arrays[f'image{i}']) for i in range(2))
    height, width = first.shape[1:]
    rows = torch.arange(height) * second.shape[1] // height
    columns = torch.arange(width) * second.shape[2] // width
    data_samples = []
    for i in range(2):
        sample = DetDataSample(
            metainfo=dict(
                img_id=i, img_shape=(height, width), ori_shape=tuple(meta['originals_wh'][i][::-1])
            )
        )
        bboxes = cxcywh_to_xyxy(torch.from_numpy(arrays[f'boxes{i}']))
        sample.gt_instances = InstanceData(
            bboxes=bboxes * torch.tensor([width, height, width, height]),
            labels=torch.from_numpy(arrays[f'labels{i}']) % meta['num_classes'],
        )
        data_samples.append(sample)
    inputs = torch.stack((first, second[:, rows[:, None], columns]))
    return dict(inputs=inputs, data_samples=data_samples)
