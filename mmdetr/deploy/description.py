"""What a model's file is to say, read from the model and its config.

Refuses what cannot be exported before anything slow begins.
"""

from pathlib import Path
from typing import Any

from mmengine.model import BaseModel

from mmdetr.apis.inference import test_pipeline
from mmdetr.datasets.transforms import PackDetInputs, Resize
from mmdetr.models.data_preprocessor import DetDataPreprocessor
from mmdetr.models.fast.winograd import WinogradConv2d
from mmdetr.models.heads.mask_postprocess import PanopticSegmentation
from mmdetr.models.layers.positional_encoding import LearnedPositionalEncoding
from mmdetr.version import __version__

from .metadata import ExportMetadata

# Feature maps of a single pixel would be special cases of the traced network.
_SMALLEST_SIDE = 64


class ExportError(ValueError):
    """A model that cannot be exported as asked; the message says why and what to do instead."""


def describe(
    model: BaseModel,
    dtype: str,
    size: tuple[int, int] | None,
    dynamic: bool,
    postprocess: bool,
    score_threshold: float | None,
) -> ExportMetadata:
    """Describe an export.

    Args:
        model: From :func:`mmdetr.apis.init_detector`.
        dtype: Of the file.
        size: (height, width) of the network's input.
        dynamic: Height and width are free, also where the pipeline makes all images alike.
        postprocess: Whether images come in and detections go out.
        score_threshold: What to recommend in the place of the checkpoint's operating point.

    Raises:
        ExportError: The model, its pipeline or its preparation of batches has no exported form.
    """
    _check_model(model)
    if dtype == 'int8' and hasattr(model.bbox_head, 'mask_head'):
        raise ExportError(
            'int8 is kept where AP of boxes stays, which says nothing of masks: export this model '
            'in float32 or float16'
        )
    preprocessor = model.data_preprocessor
    load, _ = test_pipeline(model)
    scale, keep_ratio = _resize_rule(model)
    one_size = scale is not None and not keep_ratio
    if size is None and one_size and not dynamic:
        assert scale is not None
        size = (int(scale[1] or 0), int(scale[0] or 0))
    divisor = preprocessor.pad_size_divisor
    if size is not None:
        if one_size:
            scale = [size[1], size[0]]
        _check_size(size, divisor)
        _check_encodings(model, size)
    head = model.bbox_head
    classes = (model.dataset_meta or {}).get('classes')
    return ExportMetadata(
        mmdetr_version=__version__,
        model=Path(model.cfg.filename or '').stem,
        dtype=dtype,
        postprocess=postprocess,
        classes=None if classes is None else list(classes),
        num_classes=head.num_classes,
        mean=preprocessor.mean.flatten().tolist(),
        std=preprocessor.std.flatten().tolist(),
        channel_order='RGB' if preprocessor.bgr_to_rgb else 'BGR',
        pad_size_divisor=divisor,
        scale=scale,
        keep_ratio=keep_ratio,
        exif_frame=getattr(load, 'exif_frame', 'shown'),
        size=None if size is None else list(size),
        sides=_sides(model),
        padded=not one_size,
        has_no_object=head.class_activation.has_no_object,
        max_per_img=head.max_per_img,
        score_threshold=score_threshold,
        operating_point=model.operating_point.to_dict(),
        masks=getattr(head, 'instance_masks', False),
        panoptic=_panoptic(head, postprocess),
    )


def _check_model(model: BaseModel) -> None:
    if type(model.data_preprocessor).forward.__module__ != DetDataPreprocessor.__module__:
        raise ExportError(
            f'{type(model.data_preprocessor).__name__} prepares batches in a way of its own, which '
            'an exported file cannot repeat: use DetDataPreprocessor'
        )
    if any(isinstance(module, WinogradConv2d) for module in model.modules()):
        raise ExportError('the model went through optimize_for_inference: export it before')


def _panoptic(head: Any, postprocess: bool) -> dict[str, Any] | None:
    """What panoptic segments are made by; detections alone do not always tell what it needs."""
    made_by = getattr(head, 'panoptic', None)
    if made_by is None:
        return None
    if type(made_by) is not PanopticSegmentation:
        raise ExportError(
            f'{type(made_by).__name__} makes panoptic segments in a way of its own, which '
            'RuntimeDetector cannot repeat: set model.bbox_head.panoptic=None'
        )
    every_query = head.class_activation.has_no_object and head.max_per_img is None
    if postprocess and not (every_query and made_by.score_thr >= 0.5):
        raise ExportError(
            'panoptic segments of this model are made from raw predictions: export it without '
            'postprocessing, or set model.bbox_head.panoptic=None'
        )
    things = sorted(made_by.things)
    return dict(things=things, score_thr=made_by.score_thr, min_area=made_by.min_area)


def _resize_rule(model: BaseModel) -> tuple[list[int | None] | None, bool]:
    """Scale and keep_ratio of the test pipeline's Resize."""
    _, steps = test_pipeline(model)
    scale: list[int | None] | None = None
    keep_ratio = False
    for step in steps.transforms:
        if type(step) is Resize and scale is None:
            scale, keep_ratio = list(step.scale), step.keep_ratio
        elif not isinstance(step, PackDetInputs):
            raise ExportError(
                f'the test pipeline has the step {type(step).__name__}, which an exported file '
                'cannot repeat: it may hold LoadImageFromFile, one Resize and PackDetInputs'
            )
    return scale, keep_ratio


def _check_size(size: tuple[int, int], divisor: int) -> None:
    if min(size) < 1:
        raise ExportError(f'size must be two sides of 1 or more, not {size}')
    if any(side % divisor for side in size):
        raise ExportError(
            f'size {size[0]} x {size[1]}: the model takes multiples of {divisor} '
            '(data_preprocessor.pad_size_divisor)'
        )


def _strides(model: BaseModel) -> list[int]:
    found: Any = getattr(model.neck, 'strides', None) or getattr(model.backbone, 'strides', None)
    return list(found or [32])


def _check_encodings(model: BaseModel, size: tuple[int, int]) -> None:
    for name, module in model.named_modules():
        if hasattr(module, 'check_size'):
            rows, columns = (-(-side // min(_strides(model))) for side in size)
            try:
                module.check_size(rows, columns)
            except ValueError as error:
                raise ExportError(f'size {size[0]} x {size[1]}: {error} (model.{name})') from error


def _sides(model: BaseModel) -> list[int | None]:
    """Least and most pixels of a free side."""
    strides = _strides(model)
    most = [
        min(module.row_embed.num_embeddings, module.col_embed.num_embeddings) * min(strides)
        for module in model.modules()
        if isinstance(module, LearnedPositionalEncoding) and not module.interpolate
    ]
    return [max(_SMALLEST_SIDE, 2 * max(strides)), min(most, default=None)]
