"""Where a detector looks: decoder attention of each detection, encoder attention of points.

Legend: N detections, h w size of the attended map, K points of all heads and levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from torch import Tensor
from torch.nn import functional as F

from mmdetr.apis.images import ImageInput, to_pipeline_input
from mmdetr.apis.inference import test_pipeline
from mmdetr.apis.threads import leave_threads_to_parent
from mmdetr.structures import DetDataSample, above_operating_point

from .attention_record import DenseCall, SampledCall, recorded_attention

_CROSS = ('cross_attn', 'multihead_attn')
_LONG_SIDE = 64  # cells of a map that is made from sampling points


@dataclass(frozen=True)
class AttentionMaps:
    """Attention over one image, from each of N starting points; all of it covers the whole image.

    Attributes:
        layer: Name of the attention module in the detector.
        maps: float32 [N, h, w], the mean over the heads, its sum 1 unless it lies partly outside.
            Of deformable attention: the weights of its points, put into cells.
        points: float32 [N, K, 2] x, y in 0..1 of the image where deformable attention looks; may
            lie outside. None for attention to every pixel.
        weights: float32 [N, K], 1 in sum for each of N; None as ``points``.
    """

    layer: str
    maps: Tensor
    points: Tensor | None = None
    weights: Tensor | None = None

    def on_image(self, index: int, height: int, width: int) -> Tensor:
        """Stretch a map over the image: float32 [height, width], its largest value 1."""
        stretched = F.interpolate(
            self.maps[index][None, None], size=(height, width), mode='bilinear'
        )[0, 0]
        return stretched / stretched.max().clamp(min=1e-12)


@dataclass(frozen=True)
class ImageAttention:
    """The attention of one forward pass.

    Attributes:
        sample: With all ``pred_instances``, boxes in pixels of the original image.
        calls: Of the attention layers, in order.
        shapes: (h, w) of the neck's maps.
        valid: Share of width and height of the network's input that is no padding.
    """

    sample: DetDataSample
    calls: list[DenseCall | SampledCall]
    shapes: list[tuple[int, int]]
    valid: tuple[float, float]

    def cross(self, queries: Tensor) -> AttentionMaps:
        """The last decoder layer's attention to the image, for some of the queries [N].

        Raises:
            ValueError: The model has no decoder attention that is known here.
        """
        calls = [call for call in self.calls if call.name.rpartition('.')[2] in _CROSS]
        if not calls:
            raise ValueError('the model has no decoder with attention to the image')
        return self._maps(calls[-1], queries)

    def encoder(self, points_xy: Sequence[tuple[float, float]]) -> AttentionMaps:
        """The last encoder layer's self-attention, at points of the original image in pixels.

        With several levels the attention starts from the first level that it covers.

        Raises:
            ValueError: The model has no encoder with attention, or a point is outside.
        """
        calls = [
            call
            for call in self.calls
            if 'encoder' in call.name.split('.') and call.name.endswith('.self_attn')
        ]
        if not calls:
            raise ValueError(
                'the model has no encoder with self-attention, so there is nothing to show of it'
            )
        call = calls[-1]
        height, width = call.shapes[0] if isinstance(call, SampledCall) else self.shapes[-1]
        image_height, image_width = self.sample.ori_shape[:2]
        rows = []
        for x, y in points_xy:
            if not (0 <= x < image_width and 0 <= y < image_height):
                raise ValueError(
                    f'point {x:g},{y:g} is outside of the image of {image_width} x {image_height}'
                )
            column = int(x / image_width * self.valid[0] * width)
            rows.append(int(y / image_height * self.valid[1] * height) * width + column)
        return self._maps(call, torch.tensor(rows, dtype=torch.long))

    def _maps(self, call: DenseCall | SampledCall, rows: Tensor) -> AttentionMaps:
        if isinstance(call, SampledCall):
            return self._sampled(call, rows.to(call.weights.device))
        weights = call.rows(rows).cpu()
        shape = next(s for s in reversed(self.shapes) if s[0] * s[1] == weights.shape[1])
        maps = weights.unflatten(1, shape)
        # The rest is padding, which has no weight; exact to half a pixel of the map.
        columns, lines = (
            max(1, round(size * share)) for size, share in zip(shape[::-1], self.valid, strict=True)
        )
        return AttentionMaps(call.name, maps[:, :lines, :columns].contiguous())

    def _sampled(self, call: SampledCall, rows: Tensor) -> AttentionMaps:
        weights = (call.weights[rows] / call.weights.shape[1]).flatten(1).cpu()
        points = call.locations[rows].flatten(1, 2).cpu() / torch.tensor(self.valid)
        height, width = self.sample.ori_shape[:2]
        scale = _LONG_SIDE / max(height, width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        return AttentionMaps(call.name, splat(points, weights, size), points, weights)


def splat(points: Tensor, weights: Tensor, size: tuple[int, int]) -> Tensor:
    """Put weighted points into the cells that they lie in.

    Args:
        points: [N, K, 2] x, y in 0..1; those outside are left out.
        weights: [N, K].
        size: (h, w).

    Returns:
        [N, h, w]
    """
    height, width = size
    cells = (points * points.new_tensor((width, height))).floor().long()
    inside = ((cells >= 0) & (cells < cells.new_tensor((width, height)))).all(-1)
    index = (cells[..., 1] * width + cells[..., 0]).where(inside, torch.zeros_like(cells[..., 0]))
    flat = weights.new_zeros(len(weights), height * width)
    flat.scatter_add_(1, index, weights * inside)
    return flat.unflatten(1, (height, width))


@torch.no_grad()
def attend(model: BaseModel, image: ImageInput) -> ImageAttention:
    """Run a detector on one image and keep its attention.

    Args:
        model: From :func:`~mmdetr.apis.init_detector`; a compiled one runs uncompiled here.
        image: As :func:`~mmdetr.apis.inference_detector` takes it.

    Raises:
        UnreadableImageError, TypeError, ValueError: As ``inference_detector``.
    """
    leave_threads_to_parent()
    load, transform = test_pipeline(model)
    packed: Any = transform(dict(to_pipeline_input(image, load), img_id=0))
    data = model.data_preprocessor(pseudo_collate([packed]), False)
    inputs, padding_mask = data['inputs'], data['padding_mask']
    with recorded_attention(model) as calls:
        maps = model.backbone(inputs)
        features = model.neck(maps)
        prediction = model.bbox_head(features, padding_mask, backbone_features=maps)
    (sample,) = model.bbox_head.predict(prediction, data['data_samples'])
    height, width = sample.img_shape[:2]
    valid = width / inputs.shape[-1], height / inputs.shape[-2]
    return ImageAttention(sample, calls, [tuple(each.shape[-2:]) for each in features], valid)


def cross_attention_of(
    model: BaseModel, image: ImageInput, score_thr: float | None = None
) -> tuple[DetDataSample, AttentionMaps]:
    """Detect objects, and say for each where in the image the decoder's last layer looked.

    Args:
        model: From :func:`~mmdetr.apis.init_detector`.
        image: As :func:`~mmdetr.apis.inference_detector` takes it.
        score_thr: Least score; by default the operating point of the model.

    Returns:
        The sample with N ``pred_instances`` by descending score, and ``maps`` [N, h, w] in their
        order.
    """
    attention = attend(model, image)
    pred = attention.sample.pred_instances
    if score_thr is None:
        pred = above_operating_point(
            pred, model.operating_point, model.dataset_meta.get('classes', ())
        )
    else:
        pred = pred[pred.scores >= score_thr]
    pred = pred[pred.scores.argsort(descending=True)]
    attention.sample.pred_instances = pred
    return attention.sample, attention.cross(pred.queries)
