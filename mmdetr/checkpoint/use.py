"""Whether a checkpoint may be tested or used: nothing random, nothing of another model."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmdetr.utils.text import shorten

from .class_rows import clean_names, same_classes
from .comparison import config_differences
from .config_text import parse_config
from .file import CheckpointFile
from .io import CheckpointError
from .layouts import OWN_FORMAT
from .report import LoadReport

_SHOWN = 12


def check_for_use(
    file: CheckpointFile,
    report: LoadReport,
    config: Mapping[str, Any] | None = None,
    loader: str = 'test_dataloader',
    allow_mismatch: bool = False,
) -> None:
    """Refuse to predict with weights that neither the file nor the config accounts for.

    Args:
        file: The checkpoint.
        report: How it fits the model; with ``allow_mismatch`` it gets what was found as warnings.
        config: Config of the model and its data, which is compared with the checkpoint's own.
        loader: The dataloader of ``config`` whose pipeline prepares the images.
        allow_mismatch: Go on nevertheless.

    Raises:
        CheckpointError: Rows or tensors of the model are not in the file, or a difference of the
            configs changes what the model computes.
    """
    found = [*_random_parts(file, report), *report.warnings]
    theirs = parse_config(file.meta.get('cfg')) if file.format == OWN_FORMAT else None
    if theirs is not None and config is not None:
        found += config_differences(theirs, config, loader)
    elif file.format == OWN_FORMAT and file.meta.get('cfg') is not None and config is not None:
        report.notes.append('its config cannot be read, so it was not compared with this one')
    if not found:
        return
    if allow_mismatch:
        report.warnings += [line for line in found if line not in report.warnings]
        return
    raise CheckpointError(
        f'{file.filename} and the config do not belong together: '
        f'{shorten(found, _SHOWN, separator="; ")}. Mend the config or take another file; '
        'allow_mismatch=True (--allow-mismatch) goes on nevertheless'
    )


def check_class_order(file: CheckpointFile, classes: Sequence[str] | None) -> None:
    """Refuse weights whose class rows were loaded before the names of the data were known.

    Raises:
        CheckpointError: Rows and names do not belong together.
    """
    names, wanted = file.classes, clean_names(classes)
    if names is not None and wanted is not None and not same_classes(names, wanted):
        raise CheckpointError(
            f'{file.filename} has the classes {shorten(map(str, names), _SHOWN)}, the data '
            f'{shorten(map(str, wanted), _SHOWN)}: set load_from, which takes rows by name'
        )


def _random_parts(file: CheckpointFile, report: LoadReport) -> list[str]:
    """What of the model the file does not settle."""
    found = []
    for what, rows in report.new_rows.items():
        if what == 'classes':
            known = [name or 'N/A' for name in file.classes or ()]
            has = f'it has {shorten(known, _SHOWN)}' if known else 'it names no classes'
            found.append(f'no weights for the classes {shorten(rows, _SHOWN)} in the file ({has})')
        else:
            found.append(f'no values for {len(rows)} {what}: {shorten(rows)}')
    found += report.cut_rows
    if report.initialised:
        names = [f'{name} ({why})' if why else name for name, why in report.initialised.items()]
        found.append(f'no values for {len(names)} tensors: {shorten(names, 3)}')
    return found
