"""``preprocessor_config.json``: how transformers is to prepare images for a converted model."""

from collections.abc import Iterator, Mapping
from typing import Any

from .config_text import parse_config

_PROCESSORS = {
    'detr': 'DetrImageProcessor',
    'conditional_detr': 'ConditionalDetrImageProcessor',
    'dab-detr': 'ConditionalDetrImageProcessor',
    'deformable_detr': 'DeformableDetrImageProcessor',
    'rt_detr_v2': 'RTDetrImageProcessor',
    'rt_detr': 'RTDetrImageProcessor',
    'd_fine': 'RTDetrImageProcessor',
}
# The published models' where a file says nothing of its own.
_MEAN, _STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
_SCALE = (800, 1333)


def image_processor_config(model_type: str, config_text: Any) -> dict[str, Any] | None:
    """Make the content of the file.

    Args:
        model_type: Of the converted model's ``config.json``.
        config_text: The config that a checkpoint of ours carries, ``meta['cfg']``; the sizes and
            the normalisation are its. Where there is none they are those of the published models.

    Returns:
        None for a model that transformers has no processor for, or that takes BGR images.
    """
    if model_type not in _PROCESSORS:
        return None
    real_time = _PROCESSORS[model_type].startswith('RTDetr')
    cfg = parse_config(config_text) or {}
    preprocessor = (cfg.get('model') or {}).get('data_preprocessor') or {}
    if not preprocessor.get('bgr_to_rgb', True):
        return None
    defaults = ([0.0] * 3, [255.0] * 3) if real_time else (_MEAN, _STD)
    mean = preprocessor.get('mean', defaults[0])
    std = preprocessor.get('std', defaults[1])
    result: dict[str, Any] = dict(
        image_processor_type=_PROCESSORS[model_type],
        format='coco_detection',
        do_resize=True,
        size=dict(height=640, width=640) if real_time else _size_within(*_SCALE),
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=any(mean) or any(value != 255 for value in std),
        image_mean=[value / 255 for value in mean],
        image_std=[value / 255 for value in std],
        do_pad=not real_time,
    )
    resize = next(_resize_steps(cfg.get('test_dataloader')), None)
    if resize is not None:
        result.update(size=_size_of(resize))
    elif cfg.get('test_dataloader'):
        result.update(do_resize=False)
    return result


def _resize_steps(node: Any) -> Iterator[Mapping[str, Any]]:
    """The steps named Resize of a dataloader's pipeline, at any depth."""
    if isinstance(node, Mapping):
        if node.get('type') == 'Resize' and node.get('scale'):
            yield node
        for value in node.values():
            yield from _resize_steps(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _resize_steps(value)


def _size_of(resize: Mapping[str, Any]) -> dict[str, int]:
    first, second = resize['scale']
    if not resize.get('keep_ratio', False):  # width and height
        return dict(height=second, width=first)
    if second is None:
        return dict(shortest_edge=first)
    return _size_within(min(first, second), max(first, second))


def _size_within(shortest: int, longest: int) -> dict[str, int]:
    return dict(shortest_edge=shortest, longest_edge=longest)
