"""The two forms of a detector that are exported: from prepared inputs, or from uint8 images.

Legend: B images, H W size of the network's input, N queries, K classes, M detections.
"""

import copy
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmdetr.models.fast import fold_batch_norms, use_fast_forms, use_plain_forms
from mmdetr.models.heads.postprocess import choose_detections
from mmdetr.structures import SetPrediction

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
    return copied


class RawNetwork(nn.Module):
    """Prepared inputs to raw predictions of the last layer."""

    def __init__(self, model: BaseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, padding_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Predict.

        Args:
            inputs: float32 [B, 3, H, W], normalised, zero-padded right and bottom.
            padding_mask: bool [B, H, W], True on padding; None for a model whose images are all
                resized to one size.

        Returns:
            ``logits`` float32 [B, N, K + 1] or [B, N, K], ``bboxes`` float32 [B, N, 4] cxcywh in
            0..1 of the unpadded image.
        """
        last = self.model.network(inputs, padding_mask).layer(-1).float()
        return dict(logits=last.logits[0], bboxes=last.bboxes[0])


class ImageNetwork(nn.Module):
    """Images to detections: normalisation, padding and postprocessing included."""

    def __init__(self, model: BaseModel) -> None:
        super().__init__()
        self.model = model

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
            [B, M], ``labels`` int64 [B, M].
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
        boxes, scores, labels, _ = choose_detections(
            prediction, original_sizes, self.model.bbox_head.max_per_img
        )
        return dict(boxes=boxes, scores=scores, labels=labels)
