"""Run an exported model, without torch."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, overload

import numpy as np

from mmdetr.apis.images import ImageInput, is_single, to_pipeline_input
from mmdetr.utils.arguments import check_at_least
from mmdetr.utils.image_decoding import UnreadableImageError
from mmdetr.utils.mask_frame import Frame
from mmdetr.utils.operating_point import META_KEY, operating_point_of

from .detections import ImageDetections
from .metadata import ExportMetadata
from .postprocessing import add_masks, to_detections
from .preprocessing import FileLoader, canvas_size, make_inputs, network_size, resize
from .sessions import open_session


class RuntimeDetector:
    """A detector from a file that ``mmdetr export`` wrote.

    Needs the file's runtime, numpy and Pillow. May be called from several threads at once.

    Args:
        file: ``.onnx``, ``.xml`` or ``.pt2`` (which needs torch).
        runtime: ``'openvino'`` runs an ONNX file in OpenVINO; by default the format's own runtime.
        threads: Threads of the runtime; by default as many as it finds useful.
        batch_size: Most images that are computed at once. Only images that have one size when
            resized share a batch, so that none is padded for another's sake.

    Attributes:
        metadata: What the file says about itself.
        classes: Names of the classes; numbers as text where the file names none.
        score_threshold: What the file recommends for all classes, or None. Detections come with all
            scores.
        thresholds: What it recommends for each class, as ``ImageDetections.above`` takes it: the
            one that whoever exported asked for, else the operating point.
        operating_point: Score thresholds by class that a validation of the training found best;
            0.3 where none did.

    Raises:
        ExportedFileError: The file is missing, broken or no export of mmdetr, or its runtime is
            not installed.
    """

    def __init__(
        self,
        file: str | os.PathLike,
        runtime: str | None = None,
        threads: int | None = None,
        batch_size: int = 8,
    ) -> None:
        check_at_least(1, 'RuntimeDetector', threads=threads, batch_size=batch_size)
        self.file = Path(file)
        self.batch_size = batch_size
        self.session = open_session(self.file, runtime, threads)
        self.metadata = ExportMetadata.from_json(self.session.metadata, str(file))
        names = self.metadata.classes or map(str, range(self.metadata.num_classes))
        self.classes = tuple(names)
        point = self.operating_point = operating_point_of({META_KEY: self.metadata.operating_point})
        self.score_threshold = asked = self.metadata.score_threshold
        if asked is None and point.measured:
            self.score_threshold = point.threshold
        self.thresholds = tuple(
            point.threshold_of(name) if asked is None else asked for name in self.classes
        )
        self._load = FileLoader(self.metadata.exif_frame)

    @overload
    # A text is an iterable of texts.
    def __call__(self, imgs: ImageInput) -> ImageDetections: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, imgs: Iterable[ImageInput]) -> list[ImageDetections]: ...

    def __call__(
        self, imgs: ImageInput | Iterable[ImageInput]
    ) -> ImageDetections | list[ImageDetections]:
        """Detect objects.

        Args:
            imgs: One image or several, as :func:`mmdetr.apis.inference_detector` takes them.

        Returns:
            Detections, or a list of them for several images.

        Raises:
            UnreadableImageError: A file is missing or no image; the message names it.
            TypeError, ValueError: Something is no image, or an array of another layout or range.
        """
        if not is_single(imgs):
            several: Any = imgs
            return self.predict(several)
        img: Any = imgs
        return self._detect([self.read(img)])[0]

    def predict(self, images: Iterable[ImageInput]) -> list[ImageDetections]:
        """Detect objects in several images; see :meth:`__call__`."""
        pixels = []
        for number, image in enumerate(images):
            try:
                pixels.append(self.read(image))
            except (TypeError, ValueError, UnreadableImageError) as error:
                raise type(error)(f'image {number} of the list: {error}') from error
        return self._detect(pixels)

    def read(self, image: ImageInput) -> np.ndarray:
        """Return an image's pixels, uint8 [h, w, 3] in BGR order, which is an image again."""
        return to_pipeline_input(image, self._load)['img']

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (h, w) of what the network sees of an image; images of one share a batch."""
        return network_size((height, width), self.metadata)

    def warmup(self, height: int = 480, width: int = 640) -> None:
        """Detect in a grey image of that size: the first call of a runtime is slower."""
        self._detect([np.full((height, width, 3), 128, np.uint8)])

    def _detect(self, images: list[np.ndarray]) -> list[ImageDetections]:
        groups: dict[tuple[int, int], list[int]] = {}
        for i, image in enumerate(images):
            groups.setdefault(self.network_size(*image.shape[:2]), []).append(i)
        results: dict[int, ImageDetections] = {}
        for members in groups.values():
            for start in range(0, len(members), self.batch_size):
                batch = members[start : start + self.batch_size]
                found = self._detect_batch([images[i] for i in batch])
                results.update(zip(batch, found, strict=True))
        return [results[i] for i in range(len(images))]

    def _detect_batch(self, images: list[np.ndarray]) -> list[ImageDetections]:
        original_sizes = [(image.shape[0], image.shape[1]) for image in images]
        resized = [resize(image, self.metadata) for image in images]
        outputs = self.session.run(make_inputs(resized, original_sizes, self.metadata))
        sizes = [(image.shape[0], image.shape[1]) for image in resized]
        canvas = canvas_size(sizes, self.metadata)
        pairs = zip(sizes, original_sizes, strict=True)
        frames = [Frame(canvas, *pair) for pair in pairs]
        masks = outputs.get('masks')
        if self.metadata.postprocess:
            columns = (outputs[name] for name in ('boxes', 'scores', 'labels'))
            found = [ImageDetections(*each) for each in zip(*columns, strict=True)]
            if masks is None:
                return found
            own = np.arange(masks.shape[1])  # a detection's logits stand at its place
            return [
                add_masks(each, logits, own, (each.scores, each.labels), frame, self.metadata)
                for each, logits, frame in zip(found, masks, frames, strict=True)
            ]
        return to_detections(outputs['logits'], outputs['bboxes'], frames, self.metadata, masks)
