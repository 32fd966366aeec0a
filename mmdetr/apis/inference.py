"""A trained detector in two calls: build it, give it images."""

import copy
import os
import warnings
from collections.abc import Iterable
from functools import partial
from typing import Any, overload

import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope

from mmdetr.checkpoint import CheckpointFile, check_for_use, load_into, read_checkpoint
from mmdetr.config.check import INFERENCE_KEYS, check_config_types
from mmdetr.config.options import apply_cfg_options
from mmdetr.config.reading import load_config
from mmdetr.datasets.transforms import UnreadableImageError
from mmdetr.registry import DATASETS, MODELS, TRANSFORMS
from mmdetr.structures import DetDataSample
from mmdetr.utils.operating_point import operating_point_of

from .devices import find_device
from .images import ImageInput, is_single, to_pipeline_input
from .named_models import find_named
from .optimize import optimize_for_inference
from .threads import building, leave_threads_to_parent


def init_detector(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike | CheckpointFile | None = None,
    device: str | torch.device | None = None,
    cfg_options: dict[str, Any] | None = None,
    optimize: bool | dict[str, Any] = False,
    allow_mismatch: bool = False,
) -> BaseModel:
    """Build a detector for inference.

    Args:
        config: Config file, name of one of the package's (as ``'detr_r50_8xb2-150e_coco'``), or
            object. Without ``checkpoint`` also a checkpoint that carries its config, or a published
            model: a name that ``mmdetr models`` lists (as ``'detr-r50'``) or ``'hf://OWNER/NAME'``.
        checkpoint: File of any format that ``mmdetr.checkpoint`` reads, or what it read. None
            beside a config leaves the weights random, with a warning; weights named by ``init_cfg``
            are never fetched here.
        device: Where the model runs; the GPU if there is one by default.
        cfg_options: Overrides of the config, as ``{'model.bbox_head.num_queries': 50}``.
        optimize: Make the model ready to serve, see :func:`optimize_for_inference`; a dict holds
            its arguments, as ``dict(dtype='bfloat16', compile=True)``.
        allow_mismatch: Go on where the checkpoint leaves a part of the model random or was trained
            with a config that makes another model; the log has what differs.

    Returns:
        The model in eval mode, with ``cfg`` and ``dataset_meta`` set; its ``classes`` come from
        the checkpoint, else from the config, and are missing where neither names them.
        ``operating_point`` holds the score thresholds that a validation measured, 0.3 where the
        checkpoint states none, and ``score_threshold`` the one for all classes.

    Raises:
        FileNotFoundError: Config or checkpoint does not exist.
        OSError: The file of a published model cannot be fetched.
        KeyError: A key of ``cfg_options`` is misspelt.
        ConfigError: The config cannot be read.
        TypeError: A value of the model or the test data has the wrong type.
        ValueError: The config has no model, or there is no such device.
        CheckpointError: The checkpoint cannot be used, leaves a part of the model random or is of
            another model; the message names classes, weights and keys of the config.
    """
    device = find_device(device)
    weights: Any = checkpoint
    if isinstance(config, Config):
        config = config.copy()
    elif checkpoint is None:
        config, weights = find_named(os.fspath(config))
    else:
        config = load_config(config)
    apply_cfg_options(config, cfg_options)
    check_config_types(config, INFERENCE_KEYS)
    if config.get('model') is None:
        raise ValueError(f'the config has no model: {config.filename}')
    with building(), DefaultScope.overwrite_default_scope('mmdetr'):
        model = MODELS.build(_without_pretrained(config.model))
    meta: dict[str, Any] = {}
    # The class head is loaded by name where the config names classes.
    model.dataset_meta = _config_meta(config)
    if weights is None:
        warnings.warn('init_detector without checkpoint: all weights are random', stacklevel=2)
    else:
        check = partial(check_for_use, config=config, allow_mismatch=allow_mismatch)
        is_read = isinstance(weights, CheckpointFile)
        file = weights if is_read else read_checkpoint(weights, 'cpu', model)
        file = file.with_classes(config.get('checkpoint_classes'))
        loaded = load_into(model, file, check=check)
        model.dataset_meta = loaded.get('meta', {}).get('dataset_meta') or model.dataset_meta
        meta = file.meta
    model.cfg = config
    model.operating_point = operating_point_of(meta)
    model.score_threshold = model.operating_point.threshold
    model = model.to(device).eval()
    if optimize is False:
        return model
    return optimize_for_inference(model, **({} if optimize is True else optimize))


@overload
def inference_detector(model: BaseModel, imgs: ImageInput) -> DetDataSample: ...


@overload
def inference_detector(model: BaseModel, imgs: Iterable[ImageInput]) -> list[DetDataSample]: ...


@torch.no_grad()
def inference_detector(
    model: BaseModel, imgs: ImageInput | Iterable[ImageInput]
) -> DetDataSample | list[DetDataSample]:
    """Detect objects, one image at a time so that no image is padded for another's sake.

    Images pass the config's test pipeline. May be called from several threads at once.

    Args:
        model: From :func:`init_detector`.
        imgs: One of these, or a list, generator or other iterable of them:

            - a path, or an http(s) URL;
            - the bytes of an image file, or a file opened with ``'rb'``;
            - a PIL image, read as files are: turned upright by its EXIF tag, without alpha;
            - a uint8 array [h, w, 3] in BGR order, as cv2 and mmcv read images; [h, w] and
              [h, w, 1] are grey, the fourth channel of BGRA is dropped;
            - a tensor [3, h, w] in RGB order, as torchvision reads images: uint8, or float in 0..1;
              [1, h, w] is grey, the fourth channel of RGBA is dropped.

    Returns:
        A data sample with ``pred_instances`` (``bboxes`` absolute xyxy in the frame of the original
        image, ``scores``, ``labels``), or a list of them for several images.

    Raises:
        UnreadableImageError: A file is missing or no image; the message names it.
        TypeError: Something is no image.
        ValueError: An array or tensor has another layout or range; nothing is guessed.
    """
    leave_threads_to_parent()
    single = is_single(imgs)
    images: Any = [imgs] if single else imgs
    load, transform = test_pipeline(model)
    results = []
    for number, img in enumerate(images):
        try:
            data = to_pipeline_input(img, load)
        except (TypeError, ValueError, UnreadableImageError) as error:
            if single:
                raise
            raise type(error)(f'image {number} of the list: {error}') from error
        data['img_id'] = number
        results += model.test_step(pseudo_collate([transform(data)]))
    return results[0] if single else results


def _without_pretrained(model_cfg: Any) -> Any:
    """A copy without ``init_cfg``: the checkpoint brings all weights, nothing is downloaded."""
    if isinstance(model_cfg, dict):
        copied = copy.copy(model_cfg)
        copied.pop('init_cfg', None)
        for key, value in copied.items():
            copied[key] = _without_pretrained(value)
        return copied
    if isinstance(model_cfg, (list, tuple)):
        return type(model_cfg)(_without_pretrained(value) for value in model_cfg)
    return model_cfg


def _config_meta(config: Config) -> dict[str, Any]:
    """What the config says about classes without reading an annotation file."""
    dataset = config.get('test_dataloader', {}).get('dataset', {})
    with building(), DefaultScope.overwrite_default_scope('mmdetr'):
        dataset_class = DATASETS.get(dataset['type']) if 'type' in dataset else None
    meta = dict(getattr(dataset_class, 'METAINFO', {}))
    return meta | dict(dataset.get('metainfo', {}))


def test_pipeline(model: BaseModel) -> tuple[Any, Compose]:
    """The loading step and the rest of the test pipeline of a model's config, without annotations.

    They are built once, kept with the model, and built anew when the config has another pipeline.

    Raises:
        ValueError: The config has no test data.
    """
    if 'test_dataloader' not in model.cfg:
        raise ValueError('the config has no test_dataloader, whose pipeline prepares the images')
    steps = model.cfg.test_dataloader.dataset.get('pipeline', [])
    kept = getattr(model, '_test_pipeline', None)
    if kept is None or kept[0] != steps:
        with building():
            kept = getattr(model, '_test_pipeline', None)
            if kept is None or kept[0] != steps:
                kept = copy.deepcopy(steps), _build_pipeline(steps)
                model._test_pipeline = kept
    return kept[1]


def _build_pipeline(steps: list[dict]) -> tuple[Any, Compose]:
    load_cfg: dict[str, Any] = dict(type='LoadImageFromFile')
    others = []
    for step in steps:
        name = step['type'].rpartition('.')[2]
        if name == 'LoadImageFromFile':
            load_cfg = step
        elif name != 'LoadAnnotations':
            others.append(step)
    with DefaultScope.overwrite_default_scope('mmdetr'):
        return TRANSFORMS.build(load_cfg), Compose(others)
