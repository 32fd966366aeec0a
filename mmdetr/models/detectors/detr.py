"""The detector: backbone, neck, head.

Legend: B images, H W padded input size, L decoder layers, N queries, K classes.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor

from mmdetr.models.fast import use_fast_forms
from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample, SetPrediction, SetTarget
from mmdetr.utils.build import build_component


@MODELS.register_module()
class DETR(BaseModel):
    """Detection transformer: backbone, neck, and a head that predicts a set.

    Each part is told the widths of the one before it, so a config states a width once. A part that
    has an argument ``strides`` or ``backbone_channels`` is told these, too.

    Args:
        backbone: Config of a module with ``out_channels`` (and ``strides``, if a neck asks for
            them), one entry per feature map that it returns.
        neck: Config of a module with ``out_channels`` that turns the backbone's maps into a tuple
            of maps.
        bbox_head: Config of the head (queries, transformer, branches, criterion).
        data_preprocessor: Config of the batch preparation.
        init_cfg: mmengine's initialisation config.
        fast_forms: On a CPU, compute with the faster forms of :mod:`mmdetr.models.fast`; False
            computes with the plain layers everywhere.
        trained_parts: What the names of trained parameters begin with, as
            ``['bbox_head.mask_head']``; the others keep their values, with the dropout of training
            around them. None trains all that the parts themselves do not freeze.

    Raises:
        ValueError: No parameter has such a name, or masks are wanted of a head that has none.

    Source: paper section 3.2, figure 2.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        bbox_head: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        fast_forms: bool = True,
        trained_parts: Sequence[str] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        channels, strides = self.backbone.out_channels, getattr(self.backbone, 'strides', None)
        self.neck = build_component(MODELS, neck, dict(in_channels=channels), dict(strides=strides))
        _check_masks(bbox_head)
        self.bbox_head = build_component(
            MODELS,
            bbox_head,
            dict(in_channels=self.neck.out_channels),
            dict(strides=getattr(self.neck, 'strides', strides), backbone_channels=channels),
        )
        if trained_parts is not None:
            self._freeze_others(trained_parts)
        if fast_forms:
            use_fast_forms(self)

    def _freeze_others(self, trained_parts: Sequence[str]) -> None:
        names = [name for name, _ in self.named_parameters()]
        for part in trained_parts:
            if not any(name.startswith(part) for name in names):
                raise ValueError(f'trained_parts names {part}, but no parameter begins with it')
        for name, parameter in self.named_parameters():
            if not name.startswith(tuple(trained_parts)):
                parameter.requires_grad_(False)

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` of each part says, read by mmdetr's safe initializer."""
        with DefaultScope.overwrite_default_scope('mmdetr'):
            super().init_weights()

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
            ``'tensor'``: the head's prediction; in training of all L decoder layers that the
            criterion supervises, else of the last one. ``'loss'``: dict of weighted losses and
            logged figures. ``'predict'``: the data samples with ``pred_instances``.
        """
        if mode == 'tensor':
            return self.network(inputs, padding_mask)
        if mode == 'loss':
            targets = self.bbox_head.targets(data_samples, inputs.device)
            # Only a model in training may see the ground truth.
            prediction = self.network(inputs, padding_mask, targets if self.training else None)
            return self.bbox_head.loss(prediction, data_samples, targets)
        if mode == 'predict':
            return self.bbox_head.predict(self.network(inputs, padding_mask), data_samples)
        raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', not {mode!r}")

    def network(
        self,
        inputs: Tensor,
        padding_mask: Tensor | None = None,
        targets: list[SetTarget] | None = None,
    ) -> SetPrediction:
        """Compute all that comes before losses or detections; torch.compile takes it at once.

        Args:
            inputs: As in :meth:`forward`.
            padding_mask: As in :meth:`forward`.
            targets: Ground truth for a head that denoises it; in training only.
        """
        maps = self.backbone(inputs)
        features = self.neck(maps)
        return self.bbox_head(features, padding_mask, backbone_features=maps, targets=targets)

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


def _check_masks(bbox_head: dict) -> None:
    """Refuse what masks are made or trained with beside a head that predicts none."""
    head = MODELS.get(bbox_head['type']) if isinstance(bbox_head.get('type'), str) else None
    if head is None or hasattr(head, 'masks_of'):
        return
    wanted = [name for name in ('mask_head', 'panoptic') if bbox_head.get(name) is not None]
    if (bbox_head.get('criterion') or {}).get('type') == 'MaskCriterion':
        wanted.append('MaskCriterion')
    if wanted:
        raise ValueError(
            f'{bbox_head["type"]} predicts no masks: leave out {", ".join(wanted)}, or take '
            'DETRMaskHead, ConditionalMaskHead or AnchorMaskHead, which attend to one feature map'
        )
