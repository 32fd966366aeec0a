"""What a row of class logits means: the one place that head, costs, losses and tools ask.

Legend: K classes; leading dimensions are free.
"""

import math

import torch
from torch import Tensor, nn

from mmdetr.registry import TASK_UTILS


@TASK_UTILS.register_module()
class SoftmaxClasses:
    """K classes and no-object share one softmax; the last of K + 1 logits is no-object.

    Source: paper section 3.1 (the class label "no object").
    """

    has_no_object = True

    def initialize(self, linear: nn.Linear) -> None:
        """Leave the layer that makes the logits as it is."""

    def num_logits(self, num_classes: int) -> int:
        """Number of logits of one query."""
        return num_classes + 1

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits [..., K + 1] -> probability of each class [..., K], without no-object."""
        return logits.softmax(-1)[..., :-1]

    def predicted_labels(self, logits: Tensor) -> Tensor:
        """Logits [..., K + 1] -> best label [...] in 0..K, K for no-object."""
        return logits.argmax(-1)


@TASK_UTILS.register_module()
class SigmoidClasses:
    """K independent probabilities; a query without object has low ones.

    Source: Lin et al., Focal Loss for Dense Object Detection, section 3 and 4.1 (the bias); used by
        the successors of DETR.
    """

    has_no_object = False

    def initialize(self, linear: nn.Linear) -> None:
        """Let the layer that makes the logits start with a probability of 0.01 everywhere.

        Else the many queries without object would rule the first steps.
        """
        nn.init.constant_(linear.bias, -math.log(99))

    def num_logits(self, num_classes: int) -> int:
        """Number of logits of one query."""
        return num_classes

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits [..., K] -> probability of each class [..., K]."""
        return logits.sigmoid()

    def predicted_labels(self, logits: Tensor) -> Tensor:
        """Logits [..., K] -> best label [...] in 0..K, K where no class reaches 0.5."""
        best, labels = logits.max(-1)
        return torch.where(best > 0, labels, logits.shape[-1])


ClassActivation = SoftmaxClasses | SigmoidClasses
