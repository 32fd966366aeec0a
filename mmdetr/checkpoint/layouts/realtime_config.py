"""What transformers' configs of RT-DETRv2 and D-FINE need beside their defaults."""

from typing import TYPE_CHECKING, Any

from mmdetr.models.backbones.hgnet_v2 import SIZES
from mmdetr.models.backbones.resnet_vd import DEPTHS

from .detr_variant import _count
from .realtime_variant import RealTimeVariant, guess_variant

if TYPE_CHECKING:
    from mmdetr.checkpoint.file import CheckpointFile

_STAGES = ('stage1', 'stage2', 'stage3', 'stage4')


def rtdetr_config(file: 'CheckpointFile', names: tuple | None) -> dict[str, Any]:
    """Content of ``config.json`` for RTDetrV2ForObjectDetection.

    Raises:
        ValueError: The format has no place for this model.
    """
    variant = _known(file)
    assert variant.backbone is not None
    depth = int(variant.backbone.split('-')[1])
    widths = [64 * 2**i * (4 if depth >= 50 else 1) for i in range(4)]
    backbone = dict(
        model_type='rt_detr_resnet',
        layer_type='bottleneck' if depth >= 50 else 'basic',
        hidden_sizes=widths,
        depths=list(DEPTHS[depth]),
        out_features=list(_STAGES[-variant.num_maps :]),
    )
    return _common(file, variant, names) | dict(
        architectures=['RTDetrV2ForObjectDetection'],
        model_type='rt_detr_v2',
        backbone_config=backbone,
        encoder_in_channels=widths[-variant.num_maps :],
        hidden_expansion=_share(variant.fusion_width, variant.encoder_dims),
        decoder_n_points=_points(file) // variant.num_maps,
        decoder_n_levels=variant.num_maps,
    )


def dfine_config(file: 'CheckpointFile', names: tuple | None) -> dict[str, Any]:
    """Content of ``config.json`` for DFineForObjectDetection.

    Raises:
        ValueError: The format has no place for this model.
    """
    variant = _known(file)
    assert variant.backbone is not None
    stem, stages, num_layers = SIZES[variant.backbone.split('-')[1][:2]]
    widths = [stage.out_channels for stage in stages]
    backbone = dict(
        model_type='hgnet_v2',
        stem_channels=[3, *stem],
        stage_in_channels=[stem[1], *widths[:-1]],
        stage_mid_channels=[stage.width for stage in stages],
        stage_out_channels=widths,
        stage_num_blocks=[stage.num_blocks for stage in stages],
        stage_numb_of_layers=[num_layers] * 4,
        use_learnable_affine_block='affine' in variant.backbone,
        hidden_sizes=widths,
        depths=[stage.num_blocks for stage in stages],
        out_features=list(_STAGES[-variant.num_maps :]),
    )
    num_blocks = _count(_names(file), r'neck\.fpn_blocks\.0\.stages\.0\.0\.bottlenecks\.(\d+)\.')
    points = _points(file)
    is_middle_heavy = variant.num_maps == 3 and points == 12  # all published models of three maps
    per_map = [3, 6, 3] if is_middle_heavy else [points // variant.num_maps] * variant.num_maps
    is_projected = 'bbox_head.transformer.projections.0.conv.weight' in file.state_dict
    return _common(file, variant, names) | dict(
        architectures=['DFineForObjectDetection'],
        model_type='d_fine',
        backbone_config=backbone,
        encoder_in_channels=widths[-variant.num_maps :],
        hidden_expansion=_share(2 * (variant.fusion_width or 0), variant.encoder_dims),
        depth_mult=num_blocks / 3,
        decoder_n_points=per_map,
        reg_scale=8.0 if is_projected else 4.0,  # X, the only one that projects, has flatter bins
    )


def _known(file: 'CheckpointFile') -> RealTimeVariant:
    variant = guess_variant(file.state_dict)
    if variant.backbone is None or None in (variant.encoder_dims, variant.decoder_dims):
        raise ValueError(f'the huggingface format has no place for this model: {variant}')
    return variant


def _common(
    file: 'CheckpointFile', variant: RealTimeVariant, names: tuple | None
) -> dict[str, Any]:
    labels = names or (None,) * (variant.class_rows or 0)
    id2label = {str(i): name or 'N/A' for i, name in enumerate(labels)}
    return {
        'encoder_hidden_dim': variant.encoder_dims,
        'encoder_ffn_dim': len(file.state_dict['neck.encoder.0.linear1.weight']),
        'encode_proj_layers': [variant.num_maps - 1],
        'encoder_layers': _count(_names(file), r'neck\.encoder\.(\d+)\.'),
        'feat_strides': [2 ** (6 - variant.num_maps + i) for i in range(variant.num_maps)],
        'd_model': variant.decoder_dims,
        'decoder_in_channels': [variant.encoder_dims] * variant.num_maps,
        'num_feature_levels': variant.num_maps,
        'decoder_layers': variant.decoder_layers,
        'decoder_ffn_dim': variant.feedforward_channels,
        'num_queries': 300,  # not visible in the weights
        'id2label': id2label,
        'label2id': {name: int(i) for i, name in id2label.items()},
    }


def _names(file: 'CheckpointFile') -> dict[str, tuple]:
    return dict.fromkeys(file.state_dict, ())


def _points(file: 'CheckpointFile') -> int:
    """Points of a head on all maps, which are 8 heads in all published models."""
    decoder = 'bbox_head.transformer.decoder.layers.0.cross_attn'
    return len(file.state_dict[f'{decoder}.attention_weights.bias']) // 8


def _share(part: int | None, whole: int | None) -> float:
    return (part or 0) / (whole or 1)
