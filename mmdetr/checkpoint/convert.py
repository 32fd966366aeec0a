"""Rewrite a checkpoint in another format, without optimizer state."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from mmdetr import __version__
from mmdetr.utils.operating_point import META_KEY

from .class_rows import COCO_HEADS, Names, coco_names, dataset_meta
from .file import POINT_IN_CONFIG, CheckpointFile
from .image_processor import image_processor_config
from .io import CheckpointError, atomic_write, save_file
from .layouts import OWN_FORMAT, Layout, StateDict, get_layout, layouts, own_layout

# Bias of a row without a class: exp() of it is 0 beside any real score, in half precision as well.
_NEVER = -1e4


def writable_formats() -> list[str]:
    """Formats that ``convert`` writes for some registered architecture."""
    return list(dict.fromkeys([OWN_FORMAT, *(x.format for x in layouts() if x.suffixes)]))


def convert(source: CheckpointFile, path: str | os.PathLike, fmt: str) -> list[Path]:
    """Write a checkpoint in another format; the weights keep their bits.

    Where a format has a row per category id, a head of COCO's classes gets them. The added rows
    can never win, and the way back removes exactly such rows. Other heads stay as they are.
    ``config.json`` and ``preprocessor_config.json`` are written beside a file of Hugging Face
    unless they are there: transformers' ``pipeline('object-detection', FOLDER)`` needs both. The
    operating point goes along, there in ``config.json``.

    Args:
        source: The file as read.
        path: Where to write; ``.safetensors`` or ``.bin`` for Hugging Face, else ``.pth``.
        fmt: The format to write, one of :func:`writable_formats`.

    Returns:
        The files written.

    Raises:
        CheckpointError: The format cannot hold this model or the name does not suit it.
    """
    path = Path(path)
    try:
        layout = _target_layout(source, fmt)
        suffixes = layout.suffixes or ('.pth', '.pt')
        if path.suffix not in suffixes:
            raise CheckpointError(f'{path}: a {fmt} checkpoint is named *{" or *".join(suffixes)}')
        names, state_dict = _refit_class_rows(source, layout)
        weights = layout.from_ours(state_dict)
        if layout.architecture is not None:
            layout.architecture.check_written(source, weights)
        config = layout.config(source, names) if layout.config else None
    except ValueError as error:
        raise CheckpointError(f'{source.filename}: {error}') from error
    path.parent.mkdir(parents=True, exist_ok=True)
    if config is None:
        key = 'state_dict' if fmt == OWN_FORMAT else 'model'
        save_file({'meta': _meta(source, names, fmt), key: weights}, path)
        return [path]
    _write_weights(weights, path)
    if source.layout is layout and source.config:
        config = source.config
    if META_KEY in source.meta:
        config = {**config, POINT_IN_CONFIG: source.meta[META_KEY]}
    cfg = source.meta.get('cfg') if source.format == OWN_FORMAT else None
    beside = {
        'config.json': config,
        'preprocessor_config.json': image_processor_config(config.get('model_type', ''), cfg),
    }
    written = [path]
    for name, content in beside.items():
        file = path.with_name(name)
        if content is not None and not file.exists():
            file.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
            written.append(file)
    return written


def class_names(source: CheckpointFile) -> Names | None:
    """Names of the head's rows: as declared, or COCO's where the number of rows says so.

    A head without gaps, of 80 or 133 undeclared classes, is COCO's only in the formats that number
    classes like this.
    """
    num_classes = _num_classes(source)
    if source.classes is not None and num_classes in (None, len(source.classes)):
        return source.classes
    if num_classes is None:
        return None
    without_gaps = [len(head.classes) for head in COCO_HEADS]
    if num_classes in without_gaps and source.layout.rows_by_category_id:
        return None
    return coco_names(num_classes)


def _target_layout(source: CheckpointFile, fmt: str) -> Layout:
    architecture = source.layout.architecture
    if fmt == OWN_FORMAT:
        return own_layout(source.state_dict)
    if architecture is None:
        raise ValueError(f'its architecture is not registered, so it has no {fmt} format')
    layout = get_layout(architecture.name, fmt)
    if not layout.suffixes:
        raise ValueError(f'files of format {fmt} are read, not written')
    if _has_no_object_row(source) not in (None, architecture.has_no_object_row):
        has, lacks = ('a', 'none') if architecture.has_no_object_row else ('no', 'one')
        raise ValueError(f'a class head in {fmt} has {has} no-object row, this one has {lacks}')
    return layout


def _class_rows(source: CheckpointFile) -> list[str]:
    architecture = source.layout.architecture
    wanted = architecture.class_rows if architecture else ()
    return [name for name in wanted if name in source.state_dict]


def _has_no_object_row(source: CheckpointFile) -> bool | None:
    """Whether a no-object row follows the classes; None if the file has no known class rows."""
    architecture, names = source.layout.architecture, _class_rows(source)
    if architecture is None or not names:
        return None
    told = source.has_no_object_row(len(source.state_dict[names[0]]))
    return architecture.has_no_object_row if told is None else told


def _num_classes(source: CheckpointFile) -> int | None:
    names = _class_rows(source)
    return len(source.state_dict[names[0]]) - bool(_has_no_object_row(source)) if names else None


def _refit_class_rows(source: CheckpointFile, layout: Layout) -> tuple[Names | None, StateDict]:
    """Class names and weights, with COCO's rows as the layout has them."""
    state_dict, names = dict(source.state_dict), class_names(source)
    heads = {name: state_dict[name] for name in _class_rows(source)}
    no_object = dict.fromkeys(heads, bool(_has_no_object_row(source)))
    tables = _label_rows(source)
    no_object |= dict.fromkeys(tables, True)
    both = {**heads, **tables}
    for head in COCO_HEADS:
        num_rows = len(head.rows_by_id)
        rows = {
            name: [*head.category_ids, *[num_rows] * has_more]
            for name, has_more in no_object.items()
        }
        if layout.rows_by_category_id and names == head.classes:
            return head.rows_by_id, state_dict | {
                name: _spread(value, rows[name], num_rows + no_object[name])
                for name, value in both.items()
            }
        if (
            not layout.rows_by_category_id
            and names == head.rows_by_id
            and all(_never_wins(value, rows[name]) for name, value in heads.items())
        ):
            return head.classes, state_dict | {
                name: value[rows[name]] for name, value in both.items()
            }
    return names, state_dict


def _label_rows(source: CheckpointFile) -> StateDict:
    """Tables with a row per class and one more; one without the last row stays as it is."""
    architecture, num_classes = source.layout.architecture, _num_classes(source)
    wanted = architecture.label_rows if architecture and num_classes is not None else ()
    tables = {name: source.state_dict[name] for name in wanted if name in source.state_dict}
    return {name: value for name, value in tables.items() if len(value) == (num_classes or 0) + 1}


def _spread(value: Tensor, rows: list[int], num_rows: int) -> Tensor:
    """Put the rows of a weight or bias among others that can never win."""
    wide = value.new_full((num_rows, *value.shape[1:]), _filler(value))
    wide[rows] = value
    return wide


def _never_wins(value: Tensor, used_rows: list[int]) -> bool:
    """Whether all other rows are those that a conversion adds."""
    others = torch.ones(len(value), dtype=torch.bool)
    others[used_rows] = False
    return bool((value[others] == _filler(value)).all())


def _filler(value: Tensor) -> float:
    return _NEVER if value.ndim == 1 else 0.0


def _meta(source: CheckpointFile, names: Names | None, fmt: str) -> dict[str, Any]:
    meta = source.meta
    if source.format == 'mmdetection':
        # Its other entries describe that codebase's run.
        meta = {'source_config': meta.get('cfg', meta.get('config'))}
    elif source.config:
        meta['source_config'] = source.config
    meta.pop('mmdetr_version', None)
    if fmt == OWN_FORMAT:
        meta['mmdetr_version'] = __version__
    if names is not None:
        known = meta.get('dataset_meta')
        meta['dataset_meta'] = {
            **(known if isinstance(known, Mapping) else {}),
            **dataset_meta(names),
        }
    return meta


def _write_weights(weights: StateDict, path: Path) -> None:
    if path.suffix != '.safetensors':
        save_file(weights, path)
        return
    contiguous = {name: value.contiguous() for name, value in weights.items()}
    with atomic_write(path) as file:
        file.write(save(contiguous, metadata={'format': 'pt'}))
