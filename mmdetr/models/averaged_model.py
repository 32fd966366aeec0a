"""Averaged weights that follow the model closely at first."""

import math
from typing import Any

from mmengine.model import ExponentialMovingAverage
from torch import Tensor, nn

from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least


@MODELS.register_module()
class ExpMomentumEMA(ExponentialMovingAverage):
    """Moving average whose memory grows from nothing: ``EMAHook(ema_type='ExpMomentumEMA')``.

    After n updates the average keeps ``(1 - momentum) * (1 - exp(-n / gamma))`` of itself.

    Args:
        model: The model to average.
        momentum: Part of the model that an update takes in the end.
        gamma: Updates of the warm-up.
        **kwargs: As in mmengine's ExponentialMovingAverage.

    Source: mmdetection's class of that name; RT-DETR, authors' code.
    """

    def __init__(
        self, model: nn.Module, momentum: float = 0.0002, gamma: float = 2000, **kwargs: Any
    ) -> None:
        super().__init__(model, momentum=momentum, **kwargs)
        check_at_least(1, 'ExpMomentumEMA', gamma=gamma)
        self.gamma = gamma

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """Update one tensor in place."""
        warm_up = 1 - math.exp(-(int(steps) + 1) / self.gamma)
        averaged_param.lerp_(source_param, 1 - (1 - self.momentum) * warm_up)
