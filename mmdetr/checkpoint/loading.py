"""Load a checkpoint of any known layout into a model, and say what became of every weight."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.logging import MMLogger, print_log
from torch import Tensor, nn

from mmdetr.datasets.coco_classes import COCO_CLASSES
from mmdetr.utils.model import unwrap

from .class_rows import clean_names, coco_names, dataset_meta, match_classes
from .file import CheckpointFile, read_checkpoint
from .io import CheckpointError, MapLocation
from .layouts import OWN_FORMAT, StateDict, own_layout
from .model_rows import ModelRows, model_rows
from .report import LoadReport

_OTHER_CLASSES = (
    'if it was trained on classes of its own, name its rows by checkpoint_classes=["N/A", "cat", '
    '...] in the config'
)


def load_checkpoint(
    model: nn.Module,
    filename: str | os.PathLike,
    map_location: MapLocation = 'cpu',
    strict: bool = False,
    classes: Sequence[str] | None = None,
    logger: MMLogger | str | None = 'current',
) -> dict[str, Any]:
    """Fill a model from a file of mmdetr, or of a codebase whose layout is registered.

    For DETR those are facebookresearch/detr, mmdetection 3 and Hugging Face. Class rows go by class
    name, other weights by name and shape; what does not fit keeps its initial value. The report is
    logged, as a warning when something kept its initial value or the file belongs to another
    variant.

    Args:
        model: A model, wrapped for distributed training or not.
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
        CheckpointError: The file cannot be read safely, is of no known layout, has no weight that
            fits, or (``strict``) does not match the model exactly.
    """
    file = read_checkpoint(filename, map_location, unwrap(model))
    return load_into(model, file, strict, classes, logger)


def load_into(
    model: nn.Module,
    file: CheckpointFile,
    strict: bool = False,
    classes: Sequence[str] | None = None,
    logger: MMLogger | str | None = 'current',
    check: Callable[[CheckpointFile, LoadReport], None] | None = None,
) -> dict[str, Any]:
    """``load_checkpoint`` for a file that has been read.

    ``check`` may refuse the file by an error before a weight is changed, or add to the report; for
    a model that is not trained any more it is ``check_for_use`` with its config.
    """
    module = unwrap(model)
    if classes is None:
        classes = (getattr(module, 'dataset_meta', None) or {}).get('classes')
    rows = model_rows(module)
    fitted, report = _fit_to_model(file, module, rows, classes)
    if not any(name in file.state_dict for name in fitted):
        raise CheckpointError(f'no weight of the model fits any in the file\n{report.text()}')
    if check is not None:
        check(file, report)
    if strict and not report.exact:
        raise CheckpointError(f'strict loading: the file differs from the model\n{report.text()}')
    module.load_state_dict(fitted, strict=False)
    calm = report.complete and not (report.warnings or report.doubts)
    print_log(report.text(), logger=logger, level=logging.INFO if calm else logging.WARNING)
    print_log(report.text(full=True), logger=logger, level=logging.DEBUG)
    content = file.content if file.format == OWN_FORMAT else {}
    meta = {**file.meta, 'dataset_meta': _dataset_meta(file, rows.num_classes(module), classes)}
    return {**content, 'meta': meta, 'state_dict': fitted}


def _fit_to_model(
    file: CheckpointFile, model: nn.Module, rows: ModelRows, classes: Sequence[str | None] | None
) -> tuple[StateDict, LoadReport]:
    """Select and reshape the file's weights for a model.

    Returns:
        The part of the model's state dict that the file provides, and the account of all of it.
    """
    own = model.state_dict()
    report = LoadReport(file.filename, file.format, _describe(file))
    if file.averages and file.format != OWN_FORMAT:
        report.notes.append(f'averaged weights in the file: {", ".join(file.averages)}')
    fitted: StateDict = {}
    for name, value in own.items():
        found = file.state_dict.get(name)
        if found is None:
            # A counter that frozen batch norm does not have; it starts at zero.
            if name.endswith('.num_batches_tracked'):
                fitted[name] = torch.zeros_like(value)
                report.loaded.append(name)
            else:
                report.initialised[name] = ''
        elif name in rows.classes and found.shape[1:] == value.shape[1:]:
            class_rows = _ClassRows(name, found, value, rows.classes[name])
            fitted[name] = _fit_class_rows(class_rows, file, classes, report)
        elif found.shape == value.shape:
            fitted[name] = found
            report.loaded.append(name)
        elif name in rows.resizable and found.shape[1:] == value.shape[1:]:
            fitted[name] = _fit_rows(name, found, value, report)
        else:
            shapes = f'file {tuple(found.shape)}, model {tuple(value.shape)}'
            report.initialised[name] = shapes
    left_over = [name for name in file.state_dict if name not in own]
    report.unused = [n for n in left_over if not n.endswith('.num_batches_tracked')]
    report.unused += file.unknown
    _compare_architectures(file, model, report)
    return fitted, report


def _describe(file: CheckpointFile) -> str:
    if file.layout.architecture is None:
        return 'its architecture is not registered'
    return str(file.variant or file.layout.architecture.name)


def _compare_architectures(file: CheckpointFile, model: nn.Module, report: LoadReport) -> None:
    """Report what differs between the models, if both are of registered architectures."""
    own = model.state_dict()
    theirs, ours = file.layout.architecture, own_layout(own).architecture
    if theirs is None or ours is None:
        return
    if theirs is not ours:
        report.warnings.append(f'the file is of a {theirs.name}, the model a {ours.name}')
        return
    variant, own_variant = file.variant, ours.variant(own)
    if variant is not None and (differences := variant.differences(own_variant)):
        report.warnings.append(f'file and model differ in {"; ".join(differences)}')
    ours.check(file, model, report)


def _fit_rows(name: str, found: Tensor, own: Tensor, report: LoadReport) -> Tensor:
    """The first rows of the file, the model's own where the file has fewer."""
    count = min(len(found), len(own))
    report.mapped[name] = f'first {count} rows; the file has {len(found)}, the model {len(own)}'
    if count < len(own):
        report.new_rows[f'rows of {name}'] = [str(i) for i in range(count, len(own))]
    elif count < len(found):
        report.cut_rows.append(
            f'{name}: only {count} of the {len(found)} rows in the file are used'
        )
    return torch.cat((found[:count].to(own), own[count:]))


class _ClassRows(NamedTuple):
    """A weight with a row per class."""

    name: str
    found: Tensor
    own: Tensor
    has_no_object_row: bool


def _fit_class_rows(
    weight: _ClassRows,
    file: CheckpointFile,
    classes: Sequence[str | None] | None,
    report: LoadReport,
) -> Tensor:
    """The file's rows for the classes it knows and for no-object, the model's own for the rest."""
    name, found, own, no_object = weight
    found_no_object = file.has_no_object_row(len(found), name)
    if found_no_object is None:
        found_no_object = no_object
    num_found, num_own = len(found) - found_no_object, len(own) - no_object
    names = file.classes
    if file.stated_classes is not None:
        names = (*file.stated_classes, *(None,) * (num_found - len(file.stated_classes)))
    match = match_classes(names, clean_names(classes), num_found, num_own)
    rows, new, how, _ = match
    if no_object and found_no_object:
        rows, how = [*rows, (num_own, num_found)], f'{how}, and no-object'
    elif no_object:
        new = [*new, 'no-object']
    if rows == [(i, i) for i in range(len(found))] and len(own) == len(found):
        report.loaded.append(name)
        note = f'class rows: {match.text}'
        if '(' in match.text and note not in report.notes:
            report.notes.append(note)
        return found
    if match.guessed and match.rows and num_own != len(COCO_CLASSES):
        doubt = f'class rows: {match.text}; {_OTHER_CLASSES}'
        report.doubts = [doubt]
    fitted = own.clone()
    for row, found_row in rows:
        fitted[row] = found[found_row]
    report.mapped[name] = how
    if new:
        report.new_rows['classes'] = new
    return fitted


def _dataset_meta(
    file: CheckpointFile, num_classes: int | None, classes: Sequence[str] | None
) -> dict[str, Any]:
    """Classes of the model's rows: as given, as in the file, or COCO's by their number.

    Args:
        file: The file.
        num_classes: Classes of the model; None if it does not tell, and any number suits.
        classes: The model's class names, if known.
    """
    known = file.meta.get('dataset_meta')
    if not isinstance(known, Mapping):
        known = {}
    if classes is None and known and num_classes in (None, len(known.get('classes', ()))):
        return dict(known)
    guess = coco_names(num_classes) if num_classes else None
    for names in (clean_names(classes), file.classes, guess):
        if names is not None and num_classes in (None, len(names)):
            return dataset_meta(names)
    return {}
