"""What files of RT-DETRv2 and D-FINE tell beside trained weights: bins and points, as buffers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..config_text import parse_config

if TYPE_CHECKING:
    from ..file import CheckpointFile
    from ..report import LoadReport

_SHARES = ('num_points_scale', 'n_points_scale')  # of the authors, of transformers


def check_constants(file: 'CheckpointFile', model: nn.Module, report: 'LoadReport') -> None:
    """Report where the file was trained with other bins or other points of each map.

    Neither shows in the shape of a weight, and the model works badly with the other.
    """
    from ..file import weights_in

    weights = weights_in(file.content, file.filename)
    head: Any = getattr(model, 'bbox_head', None)
    bins = getattr(head, 'bins', None)
    scale = _buffer(weights, ('reg_scale',))
    if bins is not None and scale is not None and float(scale.reshape(-1)[0]) != bins.scale:
        report.warnings.append(
            f'the file was trained with reg_scale {float(scale.reshape(-1)[0]):g}, the model has '
            f'{bins.scale:g}: set bbox_head.reg_scale as in the file'
        )
    shares = _buffer(weights, _SHARES)
    layers: Any = getattr(
        getattr(getattr(head, 'transformer', None), 'decoder', None), 'layers', ()
    )
    if shares is None or not len(layers):
        return
    points = layers[0].cross_attn.num_points
    if not _are_shares(shares, points):
        report.warnings.append(
            f'the file shares its points among the maps in another way than num_points {points} of '
            'the model: set bbox_head.transformer.num_points as in the file'
        )


def check_written_constants(file: 'CheckpointFile', weights: dict[str, Tensor]) -> None:
    """Compare the buffers to be written with the config that a file of ours carries.

    Raises:
        ValueError: They are those of the published models, and this model has others.
    """
    model = (parse_config(file.meta.get('cfg')) or {}).get('model') or {}
    head = model.get('bbox_head') or {}
    transformer = head.get('transformer') or {}
    scale = _buffer(weights, ('reg_scale',))
    stated = head.get('reg_scale', 4.0)  # DFINEHead's own
    if head and scale is not None and float(scale) != stated:
        raise ValueError(
            f'the file would state reg_scale {float(scale):g}, but the model has {stated:g}: no '
            'published D-FINE has that with these weights'
        )
    points, shares = transformer.get('num_points'), _buffer(weights, _SHARES)
    if points and shares is not None and not _are_shares(shares, points):
        raise ValueError(
            f'the model has num_points {list(points)}, which no published model has; the file '
            'would state others'
        )


def _are_shares(shares: Tensor, points: Sequence[int]) -> bool:
    """Whether a buffer holds one part of each point of its map."""
    own = torch.tensor([1 / number for number in points for _ in range(number)])
    return shares.shape == own.shape and torch.allclose(shares.float().cpu(), own)


def _buffer(weights: dict[str, Tensor], names: tuple[str, ...]) -> Tensor | None:
    """The first buffer of one of these names."""
    found = (value for name, value in weights.items() if name.rpartition('.')[2] in names)
    return next(found, None)
