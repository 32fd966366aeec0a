"""The two forms of a detector that are exported: from prepared inputs, or from uint8 images.

Legend: B images, H W size of the network's input, h w size of masks, N queries, K classes, M
detections, C queries of a chunk.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmdetr.models.fast import fold_batch_norms, use_fast_forms, use_plain_forms
from mmdetr.models.heads.mask_head import MaskHead, SharedMaps
from mmdetr.models.heads.postprocess import choose_detections
from mmdetr.structures import MaskPrediction, SetPrediction

MaskMaker = Callable[[Any, MaskPrediction], Tensor]
_DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'int8': torch.float32}


def plain_copy(model: BaseModel, dtype: str) -> BaseModel:
    """Copy a detector for export: plain forms, batch norms in their convolutions, weights cast."""
    copied = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    use_fast_forms(copied)  # which folding takes
    fold_batch_norms(copied)
    use_plain_forms(copied)
    for name, part in copied.named_children():
        if name != 'data_preprocessor':  # half precision would spoil normalisation
            part.to(_DTYPES[dtype])
    if hasattr(copied.bbox_head, 'instance_masks'):
        copied.bbox_head.instance_masks = False  # traceable_masks makes them instead of the head
    return copied


def eager_masks(head: Any, prediction: MaskPrediction) -> Tensor:
    """Mask logits of all queries [B, N, h, w] as the head makes them."""
    if prediction.masks is None:
        prediction = head.with_masks(prediction)
    assert prediction.masks is not None
    return prediction.masks


def traceable_masks(head: Any, prediction: MaskPrediction) -> Tensor:
    """Compute the same where B is a symbol: chunks are of the queries of all images."""
    mask_head: MaskHead = head.mask_head
    inputs = prediction.mask_inputs
    assert inputs is not None
    attention = mask_head.attention(inputs.hidden, inputs.memory, inputs.padding_mask)
    chunks = attention.split(mask_head.chunk_size, dim=1)
    shared = SharedMaps(inputs.features, mask_head.lateral_maps(inputs.maps))
    return torch.cat([_decode(mask_head, chunk, shared) for chunk in chunks], dim=1)


def _decode(mask_head: MaskHead, attention: Tensor, shared: SharedMaps) -> Tensor:
    """Attention maps [B, C, A, ...], maps of the images [B, ...] -> logits [B, C, h, w]."""
    count = attention.shape[1]

    def of_each(maps: Tensor) -> Tensor:
        return maps[:, None].expand(-1, count, -1, -1, -1).flatten(0, 1)

    own = SharedMaps(of_each(shared.features), list(map(of_each, shared.laterals)))
    return mask_head.refine_all(attention.flatten(0, 1), own).unflatten(0, (-1, count))


class RawNetwork(nn.Module):
    """Prepared inputs to raw predictions of the last layer.

    Args:
        model: The detector.
        masks: What makes the masks of a model that has some.
    """

    def __init__(self, model: BaseModel, masks: MaskMaker = eager_masks) -> None:
        super().__init__()
        self.model = model
        self.masks = masks

    def forward(self, inputs: Tensor, padding_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Predict.

        Args:
            inputs: float32 [B, 3, H, W], normalised, zero-padded right and bottom.
            padding_mask: bool [B, H, W], True on padding; None for a model whose images are all
                resized to one size.

        Returns:
            ``logits`` float32 [B, N, K + 1] or [B, N, K], ``bboxes`` float32 [B, N, 4] cxcywh in
            0..1 of the unpadded image; of a model with masks ``masks`` float32 [B, N, h, w], logits
            over the padded input at a quarter of its size.
        """
        prediction = self.model.network(inputs, padding_mask)
        last = prediction.layer(-1).float()
        outputs = dict(logits=last.logits[0], bboxes=last.bboxes[0])
        if isinstance(prediction, MaskPrediction):
            outputs['masks'] = self.masks(self.model.bbox_head, prediction).float()
        return outputs


class ImageNetwork(nn.Module):
    """Images to detections: normalisation, padding and postprocessing included.

    Args:
        model: The detector.
        masks: What makes the masks of a model that has some.
    """

    def __init__(self, model: BaseModel, masks: MaskMaker = eager_masks) -> None:
        super().__init__()
        self.model = model
        self.masks = masks

    def forward(
        self, images: Tensor, original_sizes: Tensor, sizes: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Detect objects.

        Args:
            images: uint8 [B, H, W, 3] in RGB order, resized; smaller ones lie in the upper left
                corner, and what is right of and below them counts for nothing.
            original_sizes: int64 [B, 2] height and width of the original images.
            sizes: int64 [B, 2] height and width of the resized images; None for a model whose
                images are all resized to one size.

        Returns:
            ``boxes`` float32 [B, M, 4] xyxy in pixels of the original images, ``scores`` float32
            [B, M], ``labels`` int64 [B, M]; of a model with masks ``masks`` float32 [B, M, h, w],
            logits over the padded input at a quarter of its size.
        """
        preprocessor: Any = self.model.data_preprocessor
        inputs = images.permute(0, 3, 1, 2).float()
        if not preprocessor.bgr_to_rgb:
            inputs = inputs.flip(1)
        inputs = (inputs - preprocessor.mean) / preprocessor.std
        padding_mask = None
        if sizes is not None:
            rows, columns = (torch.arange(side, device=images.device) for side in images.shape[1:3])
            below = rows[None, :, None] >= sizes[:, 0, None, None]
            padding_mask = below | (columns >= sizes[:, 1, None, None])
            inputs = inputs.masked_fill(padding_mask[:, None], 0)
        prediction: SetPrediction = self.model.network(inputs, padding_mask)
        head: Any = self.model.bbox_head
        boxes, scores, labels, queries = choose_detections(
            prediction, original_sizes, head.max_per_img
        )
        outputs = dict(boxes=boxes, scores=scores, labels=labels)
        if isinstance(prediction, MaskPrediction):
            masks = self.masks(head, prediction).float()
            index = queries[..., None, None].expand(-1, -1, *masks.shape[-2:])
            outputs['masks'] = masks.gather(1, index)
        return outputs
