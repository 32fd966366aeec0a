"""What an exported file says about itself."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

# The key of the metadata in files of every format, and the version of what it holds.
KEY = 'mmdetr'
VERSION = 1

# Formats that are written, and how their files' names end.
SUFFIXES = {'onnx': '.onnx', 'openvino': '.xml', 'torch-export': '.pt2'}


class ExportedFileError(ValueError):
    """A file that is missing, broken, no export of mmdetr, or needs a package that is not there.

    The message names the file or the package.
    """


@dataclass(frozen=True)
class ExportMetadata:
    """What is needed to feed an exported model and to read what it gives.

    Attributes:
        mmdetr_version: Version of the package that wrote the file.
        model: Name of the config; of the file where the checkpoint carried the config.
        dtype: ``'float32'``, ``'float16'`` or ``'int8'``.
        postprocess: Whether the file takes uint8 images and gives detections.
        classes: Names of the classes; None where neither checkpoint nor config names them.
        num_classes: How many there are.
        mean: Of each channel of the network's input, in 0..255.
        std: Likewise.
        channel_order: ``'RGB'`` or ``'BGR'``, of the network's input. A file with postprocessing
            takes RGB images and turns them itself.
        pad_size_divisor: Height and width of the network's input are multiples of it.
        scale: Of the pipeline's Resize; None where images are taken as they are.
        keep_ratio: Of the pipeline's Resize.
        exif_frame: The frame of turned photographs, ``'shown'`` or ``'stored'``.
        size: (height, width) of the network's input; None where they are free.
        sides: Least and most pixels of free sides; the second is None where nothing limits them.
        padded: Whether images of a batch may differ in size; the file then takes their padding
            mask, or their sizes.
        has_no_object: Whether the last logit is no-object and classes share a softmax.
        max_per_img: Detections of an image; None for as many as queries.
        score_threshold: Below it detections are better left out, as whoever exported says in the
            place of the operating point; None where nothing was said. Nothing is left out by
            itself.
        masks: Whether detections get masks, from the file's mask logits.
        panoptic: How panoptic segments are made from them, as PanopticSegmentation has it:
            ``things``, ``score_thr`` and ``min_area``; None where none are made.
        operating_point: What a validation of the training found, by class, as
            ``OperatingPoint.to_dict`` has it; None where the checkpoint states none.
    """

    mmdetr_version: str
    model: str
    dtype: str
    postprocess: bool
    classes: list[str] | None
    num_classes: int
    mean: list[float]
    std: list[float]
    channel_order: str
    pad_size_divisor: int
    scale: list[int | None] | None
    keep_ratio: bool
    exif_frame: str
    size: list[int] | None
    sides: list[int | None]
    padded: bool
    has_no_object: bool
    max_per_img: int | None
    score_threshold: float | None = None
    operating_point: dict[str, Any] | None = None
    masks: bool = False
    panoptic: dict[str, Any] | None = None

    def to_json(self) -> str:
        """Write the text that an exported file carries under the key ``mmdetr``."""
        return json.dumps(dict(version=VERSION, **dataclasses.asdict(self)))

    @property
    def multiple(self) -> int:
        """What free sides are multiples of; if nothing is padded, of twice the largest stride."""
        return self.pad_size_divisor if self.padded else int(self.sides[0] or 1)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what the file takes."""
        if self.postprocess:
            return (
                ('images', 'original_sizes', 'sizes')
                if self.padded
                else ('images', 'original_sizes')
            )
        return ('inputs', 'padding_mask') if self.padded else ('inputs',)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what the file gives."""
        names = ('boxes', 'scores', 'labels') if self.postprocess else ('logits', 'bboxes')
        return (*names, 'masks') if self.masks or self.panoptic else names

    @classmethod
    def from_json(cls, text: str | None, file: str) -> 'ExportMetadata':
        """Read that text.

        Raises:
            ExportedFileError: There is none, or it is of a later version.
        """
        if not text:
            raise ExportedFileError(
                f'{file} was not written by mmdetr export: it does not say how to prepare images'
            )
        values = json.loads(text)
        version = values.pop('version', None)
        if version != VERSION:
            raise ExportedFileError(
                f'{file} was written by mmdetr {values.get("mmdetr_version")}, whose files this '
                f'version cannot read: export it anew'
            )
        return cls(**values)
