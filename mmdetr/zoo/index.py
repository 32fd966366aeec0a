"""The index of models: which config and which file belong to a name.

The package has ``models.json``. A file of the same form that ``MMDETR_MODELS`` names adds models,
or replaces those of the same name.
"""

import dataclasses
import difflib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = 'MMDETR_MODELS'
_PACKAGE_INDEX = Path(__file__).with_name('models.json')


class UnknownModelError(ValueError):
    """A name that no index has, or an index that cannot be read; the message names it."""


@dataclass(frozen=True)
class ModelEntry:
    """A model that has a name.

    Attributes:
        name: As ``detr-r50``.
        config: Name of one of the package's configs, or a file.
        weights: An ``http(s)://`` address, ``hf://OWNER/NAME`` or a file.
        sha256: Of the file, or its first digits; None where its publisher states none.
        ap: As published, in percent.
        measure: What ``ap`` is: box AP or PQ, of COCO's validation images.
        parameters: In millions.
        megabytes: Size of the file; None where it is not stated.
        licence: Of the weights.
        source: Who published them.
    """

    name: str
    config: str
    weights: str
    sha256: str | None = None
    ap: float | None = None
    measure: str = 'box AP'
    parameters: float | None = None
    megabytes: float | None = None
    licence: str = ''
    source: str = ''


def known_models() -> dict[str, ModelEntry]:
    """Return all models by name.

    Raises:
        UnknownModelError: An index cannot be read.
    """
    found = _read(_PACKAGE_INDEX)
    own = os.environ.get(VARIABLE)
    return found | _read(Path(own).expanduser()) if own else found


def find_model(name: str) -> ModelEntry:
    """Find a model by its name.

    Raises:
        UnknownModelError: There is none; the message has the closest names.
    """
    models = known_models()
    if name not in models:
        raise UnknownModelError(unknown_model(name))
    return models[name]


def unknown_model(name: str) -> str:
    """Say that no model has that name, with the closest names."""
    models = known_models()
    close = difflib.get_close_matches(name.lower().replace('_', '-'), models, n=3, cutoff=0.4)
    hint = f'; close names: {", ".join(close)}' if close else ''
    return f'there is no model {name!r}{hint} (mmdetr models lists them all)'


def models_table() -> str:
    """All models for people, a line each."""
    rows = [('model', 'parameters', 'published', 'file', 'licence', 'source', 'config')]
    for entry in known_models().values():
        rows.append(
            (
                entry.name,
                '-' if entry.parameters is None else f'{entry.parameters:.1f} M',
                '-' if entry.ap is None else f'{entry.ap:.1f} {entry.measure}',
                '-' if entry.megabytes is None else f'{entry.megabytes:.0f} MB',
                entry.licence or '-',
                entry.source or '-',
                Path(entry.config).stem,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return '\n'.join(lines)


def _read(file: Path) -> dict[str, ModelEntry]:
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise UnknownModelError(f'cannot read the index of models {file}: {error}') from error
    if not isinstance(content, list):
        raise UnknownModelError(f'{file}: an index of models is a list of objects')
    entries = [_entry(each, file, number) for number, each in enumerate(content)]
    return {entry.name: entry for entry in entries}


def _entry(values: Any, file: Path, number: int) -> ModelEntry:
    known = {each.name for each in dataclasses.fields(ModelEntry)}
    if not isinstance(values, dict) or not {'name', 'config', 'weights'} <= values.keys():
        raise UnknownModelError(f'{file}: entry {number} needs name, config and weights')
    if surplus := values.keys() - known:
        raise UnknownModelError(f'{file}: {values["name"]}: unknown key {min(surplus)!r}')
    values = dict(values)
    # Files are named from where the index lies.
    for key in ('config', 'weights'):
        beside = file.parent / values[key]
        if '://' not in values[key] and beside.is_file():
            values[key] = str(beside)
    return ModelEntry(**values)
