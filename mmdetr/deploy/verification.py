"""Compare an exported file, as its runtime runs it, with the model in torch.

Legend: B images, H W size of the network's input, h w size of masks, N queries, K classes, n m
detections of an image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from PIL import Image

from mmdetr.apis.inference import inference_detector
from mmdetr.structures import DetDataSample

from .comparison import (
    TOLERANCES,
    Difference,
    Size,
    Tolerance,
    compare_detections,
    compare_predictions,
)
from .description import ExportError
from .detections import ImageDetections, PanopticSegments
from .metadata import ExportMetadata
from .networks import ImageNetwork, RawNetwork
from .preprocessing import canvas_size, make_inputs, resize
from .runtime import RuntimeDetector

BATCH_SIZES = (1, 2)


def verify(model: BaseModel, detector: RuntimeDetector) -> list[Difference]:
    """Compare on three sizes and two batch sizes.

    What the network gives for random pictures of unlike sizes in one batch, and what comes of whole
    images through resizing, batching and postprocessing.

    Args:
        model: On the CPU.
        detector: Of the exported file.

    Returns:
        The differences, all within the tolerance of the file's dtype.

    Raises:
        ExportError: One is not.
    """
    tolerance = TOLERANCES[detector.metadata.dtype]
    found = []
    for difference in _differences(model, detector, tolerance):
        if not difference.largest <= difference.allowed:
            size = ' x '.join(map(str, difference.size))
            raise ExportError(
                f'the exported file differs from the model and is not kept: {difference.what} by '
                f'{difference.largest:.3g} at size {size}, allowed is {difference.allowed:g}'
            )
        found.append(difference)
    return found


def _differences(
    model: BaseModel, detector: RuntimeDetector, tolerance: Tolerance
) -> Iterator[Difference]:
    metadata = detector.metadata
    rng = np.random.default_rng(0)
    for size in network_sizes(metadata):
        for batch_size in BATCH_SIZES:
            sizes = [_part(size, i if metadata.padded else 0) for i in range(batch_size)]
            images = [random_picture(rng, each) for each in sizes]
            yield from _compare_network(model, detector, images, tolerance)
    images = [random_picture(rng, size) for size in image_sizes(metadata)]
    for image, ours in zip(images, detector.predict(images), strict=True):
        shape = (image.shape[0], image.shape[1])
        theirs = torch_detections(model, image, metadata)
        yield from compare_detections(theirs, ours, shape, tolerance)


def network_sizes(metadata: ExportMetadata) -> list[Size]:
    """Three sizes (height, width) of images as the network sees them; one where no other fits."""
    if metadata.size is None:
        least, most = metadata.sides
        multiple = metadata.multiple
        wanted = [(96, 128), (128, 96), (65, 83)]
        if metadata.scale is not None:
            wanted = [(320, 448), (448, 320), (161, 223)]
        limit = most or max(map(max, wanted))
        clipped = [[max(least or 1, min(side, limit)) for side in size] for size in wanted]
        return [(h // multiple * multiple, w // multiple * multiple) for h, w in clipped]
    height, width = metadata.size
    if not metadata.padded:
        return [(height, width)]
    return [(height, width), (height - height // 3, width), (height // 2 + 1, width // 2 + 1)]


def image_sizes(metadata: ExportMetadata) -> list[Size]:
    """Three sizes (height, width) of whole images."""
    if metadata.scale is None:
        return network_sizes(metadata)
    return [(480, 640), (640, 480), (241, 317)]


def _part(size: Size, number: int) -> Size:
    """The size of an image of a batch: each next one is smaller."""
    height, width = size
    return height - height // 4 * number, width - width // 8 * number


def random_picture(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Blots of colour, uint8 [height, width, 3]: noise alone looks like nothing to a network."""
    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    picture = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
    noise = rng.integers(-12, 13, (*size, 3))
    return (np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)


def torch_detections(
    model: BaseModel, image: np.ndarray, metadata: ExportMetadata
) -> ImageDetections:
    """Detect in torch; for a file of fixed size on its canvas, since padding has an influence."""
    if metadata.size is None:
        sample = inference_detector(model, image)
    else:
        shape, resized = image.shape[:2], resize(image, metadata)
        inputs = make_inputs([resized], [shape], replace(metadata, postprocess=False))
        sample = DetDataSample(metainfo=dict(img_shape=resized.shape[:2], ori_shape=shape))
        with torch.no_grad():
            prediction = model.network(*map(torch.from_numpy, inputs.values()))
            (sample,) = model.bbox_head.predict(prediction, [sample])
    found, segments = sample.pred_instances.numpy(), None
    if 'pred_panoptic' in sample:
        records: Any = sample.pred_panoptic.segments
        segments = PanopticSegments(sample.pred_panoptic.ids, records)
    masks = found.masks if 'masks' in found else None
    return ImageDetections(found.bboxes, found.scores, found.labels, masks, segments)


def _compare_network(
    model: BaseModel,
    detector: RuntimeDetector,
    images: Sequence[np.ndarray],
    tolerance: Tolerance,
) -> Iterator[Difference]:
    metadata = detector.metadata
    shapes = [(image.shape[0], image.shape[1]) for image in images]
    originals = [(2 * height + 1, 3 * width) for height, width in shapes]
    inputs = make_inputs(images, originals, metadata)
    ours = detector.session.run(inputs)
    network = ImageNetwork(model) if metadata.postprocess else RawNetwork(model)
    with torch.no_grad():
        outputs = network(**{name: torch.from_numpy(each) for name, each in inputs.items()})
    theirs = {name: each.numpy() for name, each in outputs.items()}
    if metadata.postprocess:
        for i, shape in enumerate(originals):
            a, b = (
                ImageDetections(each['boxes'][i], each['scores'][i], each['labels'][i])
                for each in (theirs, ours)
            )
            logits = [each['masks'][i] for each in (theirs, ours) if 'masks' in each]
            yield from compare_detections(a, b, shape, tolerance, logits)
        return
    size = (len(images), *canvas_size(shapes, metadata))
    yield from compare_predictions(theirs, ours, size, tolerance)
