"""Draw ground truth and predictions."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from mmengine.visualization import Visualizer
from PIL import Image

from mmdetr.registry import VISUALIZERS
from mmdetr.structures import DetDataSample, above_operating_point
from mmdetr.utils.operating_point import OperatingPoint
from mmdetr.utils.text import shorten

from .drawing import (
    class_colour,
    draw_boxes,
    draw_names,
    enlarged,
    side_by_side,
    stacked,
    with_title,
)
from .fonts import check_font, font_for
from .mask_drawing import draw_masks, draw_segments, object_colours
from .sample_parts import (
    Segmentation,
    listed_instances,
    listed_segmentation,
    mask_arrays,
    predicted_segmentation,
)


@VISUALIZERS.register_module()
class DetVisualizer(Visualizer):
    """Draw detection samples and hand the pictures to files or to mmengine's backends.

    Class names come from ``dataset_meta['classes']``; numbers stand in where they are unknown, or
    where no installed font has their characters, which one warning says. Unlike mmengine's, it
    draws on every rank: in a distributed test each rank writes the files of its own images, while
    the backends still hear from the main process only.

    Args:
        name: Name of the instance.
        font: Font file for class names; by default, and for names that it cannot write, one of the
            installed fonts that can.
        **kwargs: mmengine's arguments (``vis_backends``, ``save_dir``, ...).

    Attributes:
        operating_point: Score thresholds of predictions where a call names none; 0.3 until someone
            sets those of a model.

    Raises:
        ValueError: ``font`` is no font file.
    """

    def __init__(self, name: str = 'visualizer', font: str | None = None, **kwargs: Any) -> None:
        if font is not None:
            check_font(font)
        super().__init__(name, **kwargs)
        self.font = font
        self.operating_point = OperatingPoint(None)
        self._unwritable: set[str] = set()

    @property
    def dataset_meta(self) -> dict | None:
        """Meta information of the dataset."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: DetDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | Path | None = None,
        pred_score_thr: float | None = None,
        step: int = 0,
    ) -> None:
        """Draw a sample and show it, write it to a file, or else to the backends.

        Args:
            name: Name of the picture in the backends.
            image, data_sample, draw_gt, draw_pred, pred_score_thr: As for :meth:`draw`.
            show: Open a window.
            wait_time: Seconds the window stays; 0 waits for a key.
            out_file: Image file to write instead of telling the backends; its folder is made.
            step: Step of the picture in the backends.
        """
        drawn = self.draw(image, data_sample, draw_gt, draw_pred, pred_score_thr)
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            path = Path(out_file)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn).save(path)
        else:
            self.add_image(name, drawn, step)

    def draw(
        self,
        image: np.ndarray,
        data_sample: DetDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        pred_score_thr: float | None = None,
    ) -> np.ndarray:
        """Draw a sample, ground truth left and predictions right where both are there.

        Objects with masks are drawn as these, each in a shade of its class's colour. Panoptic
        segments get pictures of their own below, or on the right of a single picture of objects,
        which then shows things only.

        Args:
            image: uint8 [h, w, 3] RGB, the original image or the network's input; boxes follow.
            data_sample: Ground truth are its ``gt_instances`` (boxes in the frame of the network's
                input), else the ``instances`` that the dataset listed in its metainfo (boxes in
                the frame of the original image), and the ``segments`` with ``segment_ids`` or
                ``seg_map_path``; predictions are its ``pred_instances`` (the same frame) and
                ``pred_panoptic``. Each is optional.
            draw_gt: Draw the ground truth if there is any.
            draw_pred: Draw the predictions if there are any.
            pred_score_thr: Predictions with lower scores are left out; by default those below
                their class's threshold of ``operating_point``.

        Returns:
            uint8 RGB. Small images are enlarged.

        Raises:
            ValueError: The image has neither the shape of the original nor of the input.
        """
        instances, segments = [], []
        if data_sample is not None:
            network_scale, original_scale = _scales(image, data_sample)
            if draw_gt and 'gt_instances' in data_sample:
                instances.append(('ground truth', data_sample.gt_instances, network_scale))
            elif draw_gt and 'instances' in data_sample:
                listed = listed_instances(data_sample)
                instances.append(('ground truth', listed, original_scale))
            if draw_pred and 'pred_instances' in data_sample:
                pred, title = self._chosen(data_sample.pred_instances, pred_score_thr)
                instances.append((title, pred, original_scale))
            segments += [('panoptic ground truth', listed_segmentation(data_sample))] * draw_gt
            segments += [('panoptic prediction', predicted_segmentation(data_sample))] * draw_pred
        found = [(title, each) for title, each in segments if each is not None]
        titled = len(instances) + len(found) > 1
        rows = [
            [
                self._draw_instances(image, each, scale, title if titled else '', bool(found))
                for title, each, scale in instances
            ],
            [self._draw_segments(image, each, title if titled else '') for title, each in found],
        ]
        if not any(rows):
            return draw_boxes(image, np.zeros((0, 4)), [], [])
        if max(map(len, rows)) == 1:  # one of each kind
            rows = [[picture for row in rows for picture in row]]
        return stacked([side_by_side(*row) for row in rows if row])

    def _chosen(self, pred: InstanceData, score_thr: float | None) -> tuple[InstanceData, str]:
        """Return the predictions that are drawn and the title of their picture."""
        if score_thr is not None:
            return pred[pred.scores >= score_thr], f'prediction, score >= {score_thr:g}'
        title = f'prediction, score >= {self.operating_point.span()}'
        classes = (self.dataset_meta or {}).get('classes', ())
        return above_operating_point(pred, self.operating_point, classes), title

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        scale: np.ndarray,
        title: str,
        things_only: bool,
    ) -> np.ndarray:
        """Draw boxes or, where there are any, masks; without stuff if that is drawn elsewhere."""
        isthing = (self.dataset_meta or {}).get('isthing')
        if things_only and isthing is not None:
            things = [label < len(isthing) and isthing[label] for label in instances.labels]
            instances = instances[torch.tensor(things, dtype=torch.bool)]
        if 'scores' in instances:
            instances = instances[instances.scores.argsort(descending=True)]
        labels = instances.labels.tolist()
        captions = [self._class_name(label) for label in labels]
        if 'scores' in instances:
            scores = instances.scores.tolist()
            captions = [f'{c} {s:.2f}' for c, s in zip(captions, scores, strict=True)]
        bboxes_xyxy = instances.bboxes.float().cpu().numpy().reshape(-1, 4) * scale
        masks = mask_arrays(instances)
        if masks is None:
            colours = [class_colour(label) for label in labels]
            return draw_boxes(image, bboxes_xyxy, captions, colours, title, self.font)
        colours = object_colours(labels)
        canvas = enlarged(image)
        draw_masks(canvas, masks, colours)
        bboxes_xyxy = bboxes_xyxy * (canvas.shape[1] / image.shape[1])
        # A box stands for a mask without pixels, which would not be seen.
        empty = [not mask.any() for mask in masks]
        return draw_boxes(canvas, bboxes_xyxy, captions, colours, title, self.font, empty)

    def _draw_segments(self, image: np.ndarray, segments: Segmentation, title: str) -> np.ndarray:
        colours = object_colours(segments.labels)
        canvas = enlarged(image)
        points = draw_segments(canvas, segments.ids, segments.segment_ids, colours)
        captions = [self._class_name(label) for label in segments.labels]
        return with_title(draw_names(canvas, points, captions, colours, self.font), title)

    def _class_name(self, label: int) -> str:
        classes = (self.dataset_meta or {}).get('classes', ())
        if label >= len(classes):
            return f'class {label}'
        name = ' '.join(str(classes[label]).split())  # Pillow measures single lines only
        if self._is_writable(name):
            return name
        if name not in self._unwritable:
            self._warn_of_unwritable(classes)
        return f'class {label}'

    def _is_writable(self, name: str) -> bool:
        """Whether a font has all characters of a name and of the score behind it."""
        return font_for(f'{name} 0123456789.', self.font) is not None

    def _warn_of_unwritable(self, classes: Sequence) -> None:
        """Name all classes that cannot be written, once for all pictures."""
        names = [' '.join(str(each).split()) for each in classes]
        without_font = [name for name in names if not self._is_writable(name)]
        self._unwritable |= set(without_font)
        print_log(
            f'{len(without_font)} of {len(names)} class names are drawn as numbers, since no '
            f'installed font has their characters: {shorten(without_font)}. Install one that has '
            'them (Debian: fonts-noto-cjk for Chinese, Japanese and Korean), or name a font file: '
            "--font of infer, visualizer=dict(type='DetVisualizer', font=...) in a config",
            logger='current',
            level=logging.WARNING,
        )


def _scales(image: np.ndarray, data_sample: DetDataSample) -> tuple[np.ndarray, np.ndarray]:
    """Return [4] factors each from network input and original to the frame of the image."""
    shape = tuple(image.shape[:2])
    original = tuple(data_sample.get('ori_shape', shape)[:2])
    network = tuple(data_sample.get('img_shape', original)[:2])
    to_network = np.array([*data_sample.get('scale_factor', (1.0, 1.0))] * 2)
    if shape == original:
        return 1 / to_network, np.ones(4)
    if shape == network:
        return np.ones(4), to_network
    raise ValueError(
        f'image id {data_sample.get("img_id")}: the image to draw on is {shape}, but the original '
        f'image is {original} and the network input {network} (height, width)'
    )
