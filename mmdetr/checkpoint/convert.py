"""Rewrite a checkpoint in another format, without optimizer state."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from mmdetr.datasets.coco_classes import COCO_CATEGORY_IDS, COCO_CLASSES, COCO_ROWS_BY_ID

from .class_head import Names, coco_names, dataset_meta
from .io import CheckpointError, atomic_write, save_file
from .key_maps import StateDict, from_mmdetr
from .source import Source

FORMATS = ('mmdetr', 'facebook', 'huggingface')

_HEAD = 'bbox_head.cls_branch'
# Bias of a row without a class: exp() of it is 0 beside any real score, in half precision as well.
_NEVER = -1e4


def convert(source: Source, path: str | os.PathLike, fmt: str) -> list[Path]:
    """Write a checkpoint in a format of ``FORMATS``; the weights keep their bits.

    For the other codebases a head of COCO's 80 classes becomes one with a row per category id. The
    added rows can never win, and the way back removes exactly such rows. Other heads stay as they
    are. Hugging Face's ``config.json`` is written beside the file unless there is one.

    Args:
        source: The file as read.
        path: Where to write; ``.safetensors`` or ``.bin`` for Hugging Face, else ``.pth``.
        fmt: The format to write.

    Returns:
        The files written.

    Raises:
        CheckpointError: The format cannot hold this model or the name does not suit it.
    """
    path = Path(path)
    suffixes = ('.safetensors', '.bin') if fmt == 'huggingface' else ('.pth', '.pt')
    if path.suffix not in suffixes:
        raise CheckpointError(f'{path}: a {fmt} checkpoint is named *{" or *".join(suffixes)}')
    path.parent.mkdir(parents=True, exist_ok=True)
    names, state_dict = _refit_class_rows(source, fmt)
    try:
        weights = from_mmdetr(state_dict, fmt)
    except ValueError as error:
        raise CheckpointError(f'{source.filename}: {error}') from error
    if fmt == 'huggingface':
        return _write_huggingface(source, weights, names, path)
    content = {'meta': _meta(source, names), 'state_dict' if fmt == 'mmdetr' else 'model': weights}
    save_file(content, path)
    return [path]


def class_names(source: Source) -> Names | None:
    """Names of the head's rows: as declared, or COCO's where the number of rows says so.

    A head of 80 undeclared classes is COCO's only in the formats that number classes without gaps.
    """
    rows = source.variant.class_rows
    if rows is None:
        return None
    if source.classes is not None and len(source.classes) == rows - 1:
        return source.classes
    if rows - 1 == len(COCO_CLASSES) and source.format in ('facebook', 'huggingface'):
        return None
    return coco_names(rows - 1)


def _refit_class_rows(source: Source, fmt: str) -> tuple[Names | None, StateDict]:
    state_dict, names = dict(source.state_dict), class_names(source)
    if names is None:
        return None, state_dict
    weight, bias = state_dict[f'{_HEAD}.weight'], state_dict[f'{_HEAD}.bias']
    rows = [*COCO_CATEGORY_IDS, len(COCO_ROWS_BY_ID)]
    if fmt != 'mmdetr' and names == COCO_CLASSES:
        wide = weight.new_zeros(len(COCO_ROWS_BY_ID) + 1, weight.shape[1])
        wide_bias = bias.new_full((len(wide),), _NEVER)
        wide[rows], wide_bias[rows] = weight, bias
        state_dict |= {f'{_HEAD}.weight': wide, f'{_HEAD}.bias': wide_bias}
        return COCO_ROWS_BY_ID, state_dict
    if fmt == 'mmdetr' and names == COCO_ROWS_BY_ID and _never_wins(weight, bias, rows):
        state_dict |= {f'{_HEAD}.weight': weight[rows], f'{_HEAD}.bias': bias[rows]}
        return COCO_CLASSES, state_dict
    return names, state_dict


def _never_wins(weight: Tensor, bias: Tensor, used_rows: list[int]) -> bool:
    """Whether all other rows are those that a conversion adds."""
    others = torch.ones(len(bias), dtype=torch.bool)
    others[used_rows] = False
    return bool((bias[others] == _NEVER).all() and (weight[others] == 0).all())


def _meta(source: Source, names: Names | None) -> dict[str, Any]:
    meta = source.meta
    if source.format == 'mmdetection':
        # Its other entries describe that codebase's run.
        meta = {'source_config': meta.get('cfg', meta.get('config'))}
    elif source.config:
        meta['source_config'] = source.config
    if names is not None:
        known = meta.get('dataset_meta')
        meta['dataset_meta'] = {
            **(known if isinstance(known, Mapping) else {}),
            **dataset_meta(names),
        }
    return meta


def _write_huggingface(
    source: Source, weights: StateDict, names: Names | None, path: Path
) -> list[Path]:
    for axis in ('row', 'column'):
        # transformers 5 moved the learned positions without renaming them in files of 4.x.
        name = f'{axis}_embeddings.weight'
        if (table := weights.get(f'model.backbone.position_embedding.{name}')) is not None:
            weights[f'model.position_embedding.{name}'] = table.clone()
    config = json.dumps(_huggingface_config(source, names), indent=2)
    if path.suffix == '.bin':
        save_file(weights, path)
    else:
        contiguous = {name: value.contiguous() for name, value in weights.items()}
        with atomic_write(path) as file:
            file.write(save(contiguous, metadata={'format': 'pt'}))
    config_path = path.with_name('config.json')
    if config_path.exists():
        return [path]
    config_path.write_text(config + '\n', encoding='utf-8')
    return [path, config_path]


def _huggingface_config(source: Source, names: Names | None) -> dict[str, Any]:
    """What transformers' DetrConfig needs beside its defaults."""
    if source.format == 'huggingface' and source.config:
        return source.config
    variant = source.variant
    if variant.backbone is None or variant.feedforward_channels is None:
        raise CheckpointError(
            f'{source.filename}: the huggingface format has no place for this model: {variant}'
        )
    labels = names or (None,) * ((variant.class_rows or 1) - 1)
    id2label = {str(i): name or 'N/A' for i, name in enumerate(labels)}
    config: dict[str, Any] = {
        'architectures': ['DetrForObjectDetection'],
        'model_type': 'detr',
        'use_timm_backbone': True,
        'use_pretrained_backbone': False,
        'backbone': variant.backbone.lower().replace('-', ''),
        'd_model': variant.embed_dims,
        'encoder_layers': variant.encoder_layers,
        'decoder_layers': variant.decoder_layers,
        'encoder_ffn_dim': variant.feedforward_channels,
        'decoder_ffn_dim': variant.feedforward_channels,
        'encoder_attention_heads': 8,
        'decoder_attention_heads': 8,
        'num_queries': variant.num_queries,
        'position_embedding_type': 'learned'
        if variant.positional_encoding == 'learned'
        else 'sine',
        'id2label': id2label,
        'label2id': {name: int(i) for i, name in id2label.items()},
    }
    if source.dilation is not None:
        config['dilation'] = source.dilation
    return config
