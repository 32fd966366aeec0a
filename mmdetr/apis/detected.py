"""What a detector found in an image, for people who go on with it in Python."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mmdetr.structures import DetDataSample, above_operating_point
from mmdetr.utils.operating_point import OperatingPoint
from mmdetr.visualization import DetVisualizer

if TYPE_CHECKING:
    import pandas
    import supervision


class DetectedImage:
    """Detections of one image, n of them, best first, and the image.

    Args:
        image: uint8 [h, w, 3] in RGB order.
        sample: With ``pred_instances``.
        classes: Names by label.
        threshold: A score, or the operating point of the model; detections below are left out.

    Attributes:
        image: As given.
        boxes: float32 [n, 4] xyxy in pixels of the image.
        scores: float32 [n] in 0..1.
        labels: int64 [n].
        names: Of the n classes.
        masks: n run-length codes as pycocotools has them; None of a model without masks.
    """

    def __init__(
        self,
        image: np.ndarray,
        sample: DetDataSample,
        classes: Sequence[str],
        threshold: float | OperatingPoint,
    ) -> None:
        pred = sample.pred_instances.cpu()
        pred = above_operating_point(pred, threshold, classes)
        pred = pred[pred.scores.argsort(descending=True)]
        self.image = image
        self.boxes: np.ndarray = pred.bboxes.numpy()
        self.scores: np.ndarray = pred.scores.numpy()
        self.labels: np.ndarray = pred.labels.numpy()
        self.names = [
            classes[label] if label < len(classes) else f'class {label}'
            for label in self.labels.tolist()
        ]
        self.masks: list[dict[str, Any]] | None = list(pred.masks) if 'masks' in pred else None
        self._sample = DetDataSample(metainfo=sample.metainfo, pred_instances=pred)
        self._classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        found = ', '.join(
            f'{name} {score:.2f}' for name, score in zip(self.names, self.scores, strict=True)
        )
        return f'DetectedImage({len(self)}: {found})'

    def draw(self) -> Image.Image:
        """Draw boxes, masks and names into a copy of the image; small images are enlarged."""
        visualizer = DetVisualizer()
        visualizer.dataset_meta = dict(classes=self._classes)
        return Image.fromarray(
            visualizer.draw(self.image, self._sample, draw_gt=False, pred_score_thr=0.0)
        )

    def save(self, path: str | Path) -> None:
        """Draw into a file."""
        self.draw().save(path)

    def _repr_png_(self) -> bytes:
        """Show the drawn image in a notebook."""
        file = io.BytesIO()
        self.draw().save(file, 'png')
        return file.getvalue()

    def to_coco(self, image_id: int | str, category_ids: Sequence[int] | None = None) -> list[dict]:
        """Make the entries of a COCO results file.

        Args:
            image_id: Of the image.
            category_ids: By label; labels from 1 on by default.
        """
        results = []
        for index, ((x1, y1, x2, y2), score, label) in enumerate(
            zip(self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True)
        ):
            entry: dict[str, Any] = dict(
                image_id=image_id,
                category_id=label + 1 if category_ids is None else category_ids[label],
                bbox=[x1, y1, x2 - x1, y2 - y1],
                score=score,
            )
            if self.masks is not None:
                mask = self.masks[index]
                counts = mask['counts']
                text = counts.decode('ascii') if isinstance(counts, bytes) else counts
                entry['segmentation'] = dict(size=list(mask['size']), counts=text)
            results.append(entry)
        return results

    def to_pandas(self) -> 'pandas.DataFrame':
        """Make a table with a row for each detection: name, label, score, x1, y1, x2, y2.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError('to_pandas needs pip install pandas') from error
        columns = dict(name=self.names, label=self.labels, score=self.scores)
        sides = {key: self.boxes[:, i] for i, key in enumerate(('x1', 'y1', 'x2', 'y2'))}
        return pandas.DataFrame({**columns, **sides})

    def to_supervision(self) -> 'supervision.Detections':
        """Make an object of supervision, with ``class_name`` in its data.

        Raises:
            ImportError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError('to_supervision needs pip install supervision') from error
        masks = None
        if self.masks is not None:
            from pycocotools import mask as coco_mask

            shape = (0, *self.image.shape[:2])
            decoded = [coco_mask.decode(mask).astype(bool) for mask in self.masks]
            masks = np.stack(decoded) if decoded else np.zeros(shape, bool)
        return supervision.Detections(
            xyxy=self.boxes.reshape(-1, 4),
            confidence=self.scores,
            class_id=self.labels,
            mask=masks,
            data=dict(class_name=np.array(self.names)),
        )
