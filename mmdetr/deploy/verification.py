"""Compare an exported file, as its runtime runs it, with the model in torch.

Legend: B images, H W size of the network's input, N queries, K classes, n m detections of an image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from mmengine.model import BaseModel
from PIL import Image
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from mmdetr.apis.inference import inference_detector
from mmdetr.models.heads.postprocess import choose_detections

from .description import ExportError
from .detections import ImageDetections
from .metadata import ExportMetadata
from .networks import ImageNetwork, RawNetwork
from .preprocessing import canvas_size, make_inputs, resize
from .runtime import RuntimeDetector

BATCH_SIZES = (1, 2)
Size = tuple[int, int]
Arrays = Mapping[str, np.ndarray]
_OTHER = 1e9  # the cost of pairing detections of different labels


class Tolerance(NamedTuple):
    """Largest differences that pass.

    Attributes:
        logits: Of a class logit.
        bboxes: Of a coordinate in 0..1, and of one in pixels by the longer side of its image.
        scores: Of a probability.
    """

    logits: float
    bboxes: float
    scores: float


TOLERANCES = {
    'float32': Tolerance(logits=1e-4, bboxes=1e-4, scores=1e-4),
    'float16': Tolerance(logits=0.1, bboxes=5e-3, scores=1e-2),
}


class Difference(NamedTuple):
    """What one comparison found.

    Attributes:
        what: ``'logits'`` and ``'bboxes'`` of raw outputs; ``'scores'``, ``'boxes'`` (by the longer
            side of the image) and ``'number of ...'`` of detections.
        size: (B, H, W) of the input, or (height, width) of the image.
        largest: Largest difference.
        allowed: Its tolerance.
    """

    what: str
    size: tuple[int, ...]
    largest: float
    allowed: float


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
        found = inference_detector(model, image).pred_instances.numpy()
        return ImageDetections(found.bboxes, found.scores, found.labels)
    shape = (image.shape[0], image.shape[1])
    inputs = make_inputs([resize(image, metadata)], [shape], replace(metadata, postprocess=False))
    with torch.no_grad():
        prediction = model.network(*map(torch.from_numpy, inputs.values()))
        columns = choose_detections(prediction, torch.tensor([shape]), metadata.max_per_img)
    boxes, scores, labels = (each[0].numpy() for each in columns[:3])
    return ImageDetections(boxes, scores, labels)


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
            yield from compare_detections(a, b, shape, tolerance)
        return
    size = (len(images), *canvas_size(shapes, metadata))
    yield from compare_predictions(theirs, ours, size, tolerance)


def compare_predictions(
    theirs: Arrays, ours: Arrays, size: tuple[int, ...], tolerance: Tolerance
) -> Iterator[Difference]:
    """Compare raw outputs as sets: proposals of nearly equal score may change places.

    Args:
        theirs: ``logits`` [B, N, K] and ``bboxes`` [B, N, 4] of torch.
        ours: Those of the file.
        size: For the report.
        tolerance: What is allowed.
    """
    units = dict(logits=tolerance.logits, bboxes=tolerance.bboxes)
    yield _not_finite(ours, size)
    rows = [
        np.concatenate([each[name] / unit for name, unit in units.items()], -1)
        for each in (theirs, ours)
    ]
    order = [
        linear_sum_assignment(cdist(*pair, 'chebyshev'))[1] for pair in zip(*rows, strict=True)
    ]
    for name, unit in units.items():
        matched = np.stack([each[i] for each, i in zip(ours[name], order, strict=True)])
        yield Difference(name, size, float(np.abs(theirs[name] - matched).max()), unit)


def compare_detections(
    theirs: ImageDetections, ours: ImageDetections, size: Size, tolerance: Tolerance
) -> Iterator[Difference]:
    """Compare the detections of an image as sets.

    A detection whose score is within the tolerance of the lowest one may be missing: where the best
    pairs of query and class are taken, rounding decides about the last.

    Args:
        theirs: [n] of torch.
        ours: [m] of the file.
        size: (height, width) of the image.
        tolerance: What is allowed.
    """
    if len(theirs) != len(ours):
        yield Difference('number of detections', size, abs(len(theirs) - len(ours)), 0)
        return
    yield _not_finite(dict(scores=ours.scores, boxes=ours.boxes), size)
    scores = np.abs(theirs.scores[:, None] - ours.scores)
    boxes = cdist(theirs.boxes, ours.boxes, 'chebyshev') / max(size)
    other = theirs.labels[:, None] != ours.labels
    cost = np.maximum(scores / tolerance.scores, boxes / tolerance.bboxes) + _OTHER * other
    pairs = linear_sum_assignment(cost)
    sure = theirs.scores[pairs[0]] > theirs.scores.min(initial=1) + tolerance.scores
    sure |= cost[pairs] < 1
    kept = tuple(each[sure] for each in pairs)
    yield Difference('number of other labels', size, float(other[kept].sum()), 0)
    yield Difference('scores', size, float(scores[kept].max(initial=0)), tolerance.scores)
    yield Difference('boxes', size, float(boxes[kept].max(initial=0)), tolerance.bboxes)


def _not_finite(arrays: Arrays, size: tuple[int, ...]) -> Difference:
    """Half precision overflows, and what is no number cannot be compared."""
    count = sum(int((~np.isfinite(each)).sum()) for each in arrays.values())
    return Difference('number of infinite or undefined values', size, count, 0)
