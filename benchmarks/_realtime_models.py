"""The authors' RT-DETRv2 and D-FINE with our weights, from a checkout of their code."""

import importlib
import sys
import types
from pathlib import Path
from typing import Any

# The authors' constructor arguments that differ from size to size.
_RESNETS: dict[str, dict[str, Any]] = {
    'r18': dict(depth=18, frozen=False, widths=(128, 256, 512), expansion=0.5, layers=3),
    'r50': dict(depth=50, frozen=True, widths=(512, 1024, 2048), expansion=1.0, layers=6),
}
_HGNETS: dict[str, dict[str, Any]] = {
    'dfine-n': dict(
        backbone=dict(name='B0', use_lab=True, return_idx=[2, 3], freeze_at=-1, freeze_norm=False),
        encoder=dict(
            in_channels=[512, 1024],
            feat_strides=[16, 32],
            hidden_dim=128,
            use_encoder_idx=[1],
            dim_feedforward=512,
            expansion=0.34,
            depth_mult=0.5,
        ),
        decoder=dict(
            feat_channels=[128, 128],
            feat_strides=[16, 32],
            hidden_dim=128,
            num_levels=2,
            num_layers=3,
            num_points=[6, 6],
            dim_feedforward=512,
        ),
    ),
    'dfine-l': dict(
        backbone=dict(
            name='B4', use_lab=False, return_idx=[1, 2, 3], freeze_at=0, freeze_norm=True
        ),
        encoder=dict(in_channels=[512, 1024, 2048], feat_strides=[8, 16, 32]),
        decoder=dict(
            feat_channels=[256] * 3,
            feat_strides=[8, 16, 32],
            num_layers=6,
            num_points=[3, 6, 3],
        ),
    ),
}
_MATCHER: dict[str, Any] = dict(
    weight_dict=dict(cost_class=2, cost_bbox=5, cost_giou=2),
    use_focal_loss=True,
    alpha=0.25,
    gamma=2.0,
)
_CRITERION: dict[str, Any] = dict(alpha=0.75, gamma=2.0, num_classes=80)
_WEIGHTS = dict(loss_vfl=1, loss_bbox=5, loss_giou=2)


def _import_from(folder: Path) -> None:
    """Let ``src.zoo...`` be imported without what their packages import beside the models."""
    sys.path.insert(0, str(folder))
    names = ('src', 'src.zoo', 'src.zoo.rtdetr', 'src.zoo.dfine', 'src.nn', 'src.nn.backbone')
    for name in (*names, 'src.misc', 'src.core'):
        package = types.ModuleType(name)
        package.__path__ = [str(folder / name.replace('.', '/'))]
        sys.modules[name] = package
    core: Any = sys.modules['src.core']
    core.register = lambda *_, **__: lambda part: part
    # The authors' imports the data sets; one process needs no more than this of it.
    alone: Any = types.ModuleType('src.misc.dist_utils')
    alone.get_world_size, alone.get_rank = (lambda: 1), (lambda: 0)
    alone.safe_get_rank = alone.get_rank
    alone.is_dist_available_and_initialized = lambda: False
    alone.is_main_process = lambda: True
    alone.safe_barrier = lambda: None
    sys.modules[alone.__name__] = alone
    misc: Any = sys.modules['src.misc']
    misc.dist_utils = alone


def _part(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f'src.{module}'), name)


def _rtdetr(sizes: dict[str, Any]) -> tuple[Any, Any]:
    import torch

    depth, widths, frozen = sizes['depth'], list(sizes['widths']), sizes['frozen']
    model: Any = torch.nn.Module()
    model.backbone = _part('nn.backbone.presnet', 'PResNet')(
        depth=depth,
        return_idx=[1, 2, 3],
        freeze_at=0 if frozen else -1,
        freeze_norm=frozen,
        pretrained=False,
    )
    model.encoder = _part('zoo.rtdetr.hybrid_encoder', 'HybridEncoder')(
        in_channels=widths, dropout=0.0, expansion=sizes['expansion']
    )
    model.decoder = _part('zoo.rtdetr.rtdetrv2_decoder', 'RTDETRTransformerv2')(
        feat_channels=[256] * 3, num_layers=sizes['layers'], num_points=[4, 4, 4]
    )
    criterion = _part('zoo.rtdetr.rtdetrv2_criterion', 'RTDETRCriterionv2')(
        _part('zoo.rtdetr.matcher', 'HungarianMatcher')(**_MATCHER),
        weight_dict=_WEIGHTS,
        losses=['vfl', 'boxes'],
        **_CRITERION,
    )
    return model, criterion


def _dfine(sizes: dict[str, Any]) -> tuple[Any, Any]:
    import torch

    model: Any = torch.nn.Module()
    model.backbone = _part('nn.backbone.hgnetv2', 'HGNetv2')(**sizes['backbone'], pretrained=False)
    model.encoder = _part('zoo.dfine.hybrid_encoder', 'HybridEncoder')(
        **sizes['encoder'], dropout=0.0
    )
    model.decoder = _part('zoo.dfine.dfine_decoder', 'DFINETransformer')(**sizes['decoder'])
    criterion = _part('zoo.dfine.dfine_criterion', 'DFINECriterion')(
        _part('zoo.dfine.matcher', 'HungarianMatcher')(**_MATCHER),
        weight_dict=_WEIGHTS | dict(loss_fgl=0.15, loss_ddf=1.5),
        losses=['vfl', 'boxes', 'local'],
        **_CRITERION,
    )
    return model, criterion


def authors_model(name: str, ours: Any, folder: Path) -> tuple[Any, Any]:
    """Build model and criterion of the authors, the model with our weights.

    Args:
        name: A key of ``CONFIGS`` of realtime.py.
        ours: Our model of that name.
        folder: Checkout of lyuwenyu/RT-DETR or Peterande/D-FINE.

    Raises:
        SystemExit: There is no such code in the folder.
    """
    from mmdetr.checkpoint import from_mmdetr

    root = folder / 'rtdetrv2_pytorch' if name in _RESNETS else folder
    if not (root / 'src' / 'zoo').is_dir():
        raise SystemExit(
            f'{folder} is no checkout of the authors of {name}: {root}/src/zoo is missing'
        )
    _import_from(root.resolve())
    fmt, build, sizes = (
        ('lyuwenyu', _rtdetr, _RESNETS) if name in _RESNETS else ('peterande', _dfine, _HGNETS)
    )
    model, criterion = build(sizes[name])
    result = model.load_state_dict(from_mmdetr(ours.state_dict(), fmt), strict=False)
    left = [key for key in result.missing_keys if not key.endswith('num_batches_tracked')]
    if left or result.unexpected_keys:
        raise SystemExit(f'our weights do not fit: {left[:3]}, {result.unexpected_keys[:3]}')
    return model, criterion


def call(model: Any, images: Any, targets: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """What the authors' model returns."""
    return model.decoder(model.encoder(model.backbone(images)), targets)
