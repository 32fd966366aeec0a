"""Load a checkpoint of any published format into a model, and say what became of every weight."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import MMLogger, print_log
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from .class_head import Names, clean_names, coco_names, dataset_meta, match_classes
from .io import CheckpointError, MapLocation
from .key_maps import StateDict
from .report import LoadReport
from .source import Source, read_source
from .variant import guess_variant

_CLASS_HEAD = ('bbox_head.cls_branch.weight', 'bbox_head.cls_branch.bias')
# Row i means the same whatever the number of rows.
_ROW_TABLES = (
    'bbox_head.query_embedding.weight',
    'bbox_head.positional_encoding.row_embed.weight',
    'bbox_head.positional_encoding.col_embed.weight',
)


def load_checkpoint(
    model: nn.Module,
    filename: str | os.PathLike,
    map_location: MapLocation = 'cpu',
    strict: bool = False,
    classes: Sequence[str] | None = None,
    logger: MMLogger | str | None = 'current',
) -> dict[str, Any]:
    """Fill a DETR from a file of mmdetr, facebookresearch/detr, mmdetection 3 or Hugging Face.

    Class rows go by class name, other weights by name and shape; what does not fit keeps its
    initial value. The report is logged, as a warning when something kept its initial value or the
    file belongs to another variant.

    Args:
        model: A DETR, wrapped for distributed training or not.
        filename: A path, a URL or ``torchvision://NAME``.
        map_location: As in :func:`torch.load`.
        strict: Every weight of the model must be in the file and the other way round.
        classes: The model's class names; by default ``model.dataset_meta['classes']``.
        logger: As in :func:`mmengine.logging.print_log`.

    Returns:
        The file in our layout: ``state_dict`` (what was loaded, under the model's names and in its
        shapes), ``meta`` (its ``dataset_meta`` names the model's classes where they are known)
        and, for a file of ours, the other entries.

    Raises:
        FileNotFoundError: No such file.
        CheckpointError: The file cannot be read safely, is no DETR checkpoint, has no weight that
            fits, or (``strict``) does not match the model exactly.
    """
    return load_source(model, read_source(filename, map_location), strict, classes, logger)


def load_source(
    model: nn.Module,
    source: Source,
    strict: bool = False,
    classes: Sequence[str] | None = None,
    logger: MMLogger | str | None = 'current',
) -> dict[str, Any]:
    """``load_checkpoint`` for a file that has been read."""
    module: Any = model.module if is_model_wrapper(model) else model
    if classes is None:
        classes = (getattr(module, 'dataset_meta', None) or {}).get('classes')
    own = module.state_dict()
    fitted, report = fit_to_model(source, own, classes)
    _check_dilation(source, getattr(module, 'backbone', None), report)
    if not any(name in source.state_dict for name in fitted):
        raise CheckpointError(f'no weight of the model fits any in the file\n{report.text()}')
    if strict and not report.exact:
        raise CheckpointError(f'strict loading: the file differs from the model\n{report.text()}')
    module.load_state_dict(fitted, strict=False)
    calm = report.complete and not report.warnings
    print_log(report.text(), logger=logger, level=logging.INFO if calm else logging.WARNING)
    print_log(report.text(full=True), logger=logger, level=logging.DEBUG)
    content = source.content if source.format == 'mmdetr' else {}
    meta = {**source.meta, 'dataset_meta': _dataset_meta(source, own, classes)}
    return {**content, 'meta': meta, 'state_dict': fitted}


def fit_to_model(
    source: Source, own: Mapping[str, Tensor], classes: Sequence[str | None] | None = None
) -> tuple[StateDict, LoadReport]:
    """Select and reshape the file's weights for a model.

    Args:
        source: The file.
        own: The model's state dict, whose values fill rows that the file lacks.
        classes: The model's class names, if known.

    Returns:
        The part of the model's state dict that the file provides, and the account of all of it.
    """
    report = LoadReport(source.filename, source.format, str(source.variant))
    fitted: StateDict = {}
    found = source.state_dict
    for name, value in own.items():
        if name not in found:
            # A counter that frozen batch norm does not have; it starts at zero.
            if name.endswith('.num_batches_tracked'):
                fitted[name] = torch.zeros_like(value)
                report.loaded.append(name)
            else:
                report.initialised[name] = ''
        elif name in _CLASS_HEAD and found[name].shape[1:] == value.shape[1:]:
            fitted[name] = _fit_class_rows(
                name, found[name], value, source.classes, classes, report
            )
        elif found[name].shape == value.shape:
            fitted[name] = found[name]
            report.loaded.append(name)
        elif name in _ROW_TABLES and found[name].shape[1:] == value.shape[1:]:
            fitted[name] = _fit_rows(name, found[name], value, report)
        else:
            shapes = f'file {tuple(found[name].shape)}, model {tuple(value.shape)}'
            report.initialised[name] = shapes
    left_over = [name for name in found if name not in own]
    report.unused = [n for n in left_over if not n.endswith('.num_batches_tracked')]
    report.unused += source.unknown
    if differences := source.variant.differences(guess_variant(own)):
        report.warnings.append(f'file and model differ in {"; ".join(differences)}')
    return fitted, report


def _fit_rows(name: str, found: Tensor, own: Tensor, report: LoadReport) -> Tensor:
    """The first rows of the file, the model's own where the file has fewer."""
    count = min(len(found), len(own))
    report.mapped[name] = f'first {count} rows; the file has {len(found)}, the model {len(own)}'
    if count < len(own):
        report.new_rows[f'rows of {name}'] = [str(i) for i in range(count, len(own))]
    return torch.cat((found[:count].to(own), own[count:]))


def _fit_class_rows(
    name: str,
    found: Tensor,
    own: Tensor,
    source_names: Names | None,
    classes: Sequence[str | None] | None,
    report: LoadReport,
) -> Tensor:
    """The file's rows for the classes it knows and for no-object, the model's own for the rest."""
    match = match_classes(source_names, clean_names(classes), len(found) - 1, len(own) - 1)
    if not match.new and match.rows == [(i, i) for i in range(len(found) - 1)]:
        report.loaded.append(name)
        note = f'class rows: {match.text}'
        if '(' in match.text and note not in report.notes:
            report.notes.append(note)
        return found
    fitted = own.clone()
    for row, source_row in match.rows:
        fitted[row] = found[source_row]
    fitted[-1] = found[-1]
    report.mapped[name] = f'{match.text}, and no-object'
    if match.new:
        report.new_rows['classes'] = match.new
    return fitted


def _dataset_meta(
    source: Source, own: Mapping[str, Tensor], classes: Sequence[str] | None
) -> dict[str, Any]:
    """Classes of the model's rows: as given, as in the file, or COCO's by their number."""
    num_classes = len(own[_CLASS_HEAD[1]]) - 1 if _CLASS_HEAD[1] in own else 0
    known = source.meta.get('dataset_meta')
    if (
        classes is None
        and isinstance(known, Mapping)
        and len(known.get('classes', ())) == num_classes
    ):
        return dict(known)
    for names in (clean_names(classes), source.classes, coco_names(num_classes)):
        if names is not None and len(names) == num_classes:
            return dataset_meta(names)
    return {}


def _check_dilation(source: Source, backbone: nn.Module | None, report: LoadReport) -> None:
    """DC5 and plain weights have the same names and shapes and work badly in each other's model."""
    stage = getattr(backbone, 'layer4', None)
    if stage is None or source.variant.backbone not in ('ResNet-50', 'ResNet-101'):
        return
    dilated = any(isinstance(m, nn.Conv2d) and m.dilation[0] > 1 for m in stage.modules())
    model_is, other_is = ('DC5', 'plain') if dilated else ('plain', 'DC5')
    if source.dilation is None:
        if dilated or source.format != 'mmdetr':
            report.notes.append(
                f'names and shapes do not tell DC5 from plain weights: this model is {model_is} '
                f'(backbone.dilation={dilated}), see that the file is too'
            )
    elif source.dilation != dilated:
        report.warnings.append(
            f'the file is {other_is} by its configuration or name, the model {model_is}: set '
            f'backbone.dilation={not dilated} or take another file'
        )
