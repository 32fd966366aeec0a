"""The detector: backbone, neck, head.

Legend: B images, H W padded input size, L decoder layers, N queries, K classes.
"""

from collections import OrderedDict

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import BaseModel
from torch import Tensor

from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample, SetPrediction


@MODELS.register_module()
class DETR(BaseModel):
    """Detection transformer: a convolutional backbone, a projection and a set prediction head.

    Each part is told the width of the one before it, so a config states a width once.

    Args:
        backbone: Config of a module with ``out_channels`` that returns a tuple of feature maps.
        neck: Config of a module with ``out_channels`` that maps the tuple to one feature map.
        bbox_head: Config of the head (queries, transformer, branches, criterion).
        data_preprocessor: Config of the batch preparation.
        init_cfg: mmengine's initialisation config.

    Source: paper section 3.2, figure 2.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        bbox_head: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(
            neck, default_args=dict(in_channels=self.backbone.out_channels[-1])
        )
        self.bbox_head = MODELS.build(
            bbox_head, default_args=dict(in_channels=self.neck.out_channels)
        )

    def forward(
        self,
        inputs: Tensor,
        padding_mask: Tensor | None = None,
        data_samples: list[DetDataSample] | None = None,
        mode: str = 'tensor',
    ) -> SetPrediction | dict[str, Tensor] | list[DetDataSample]:
        """Run the detector.

        Args:
            inputs: float32 [B, 3, H, W], normalised, zero-padded right and bottom.
            padding_mask: bool [B, H, W], True on padding; None when nothing is padded.
            data_samples: B samples; needed by ``'loss'`` (ground truth) and ``'predict'`` (sizes).
            mode: ``'tensor'``, ``'loss'`` or ``'predict'``.

        Returns:
            ``'tensor'``: SetPrediction; in training with auxiliary losses of all L decoder layers,
            else of the last one. ``'loss'``: dict of weighted losses and logged errors.
            ``'predict'``: the data samples with ``pred_instances``.
        """
        prediction = self.network(inputs, padding_mask)
        if mode == 'tensor':
            return prediction
        if mode == 'loss':
            return self.bbox_head.loss(prediction, data_samples)
        if mode == 'predict':
            return self.bbox_head.predict(prediction, data_samples)
        raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', not {mode!r}")

    def network(self, inputs: Tensor, padding_mask: Tensor | None = None) -> SetPrediction:
        """All that is computed before losses or detections; what torch.compile takes at once."""
        return self.bbox_head(self.neck(self.backbone(inputs)), padding_mask)

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Sum the losses and make the log, averaged over ranks, with one copy to the host.

        mmengine's version logs the main process alone and copies every value by itself.
        """
        total = torch.stack([value for name, value in losses.items() if 'loss' in name]).sum()
        names = ['loss', *losses]
        values = torch.stack([total, *losses.values()]).detach()
        if get_world_size() > 1:
            all_reduce(values, op='mean')
        return total, OrderedDict(zip(names, values.tolist(), strict=True))
