"""Mask losses over matched pairs.

Legend: P matched pairs, S pixels of a padded image.
"""

from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least


@MODELS.register_module()
class SigmoidFocalLoss(nn.Module):
    """Binary cross entropy of each pixel in which easy pixels count less.

    Args:
        alpha: Weight of the mask's pixels; the others have ``1 - alpha``.
        gamma: Exponent of the distance to the truth; larger ones let easy pixels count less.
        loss_weight: Factor of the loss.

    Source: paper section 4.4 ("Focal loss for masks"); Lin et al., Focal Loss for Dense Object
        Detection, equation 5. Mean over pixels as in the authors' code.
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        check_at_least(0, 'SigmoidFocalLoss', alpha=alpha, gamma=gamma, loss_weight=loss_weight)
        if alpha > 1:
            raise ValueError(f'alpha of SigmoidFocalLoss must be 1 or less, not {alpha}')
        self.alpha, self.gamma, self.loss_weight = alpha, gamma, loss_weight

    def forward(self, masks: Tensor, target_masks: Tensor, avg_factor: Tensor) -> Tensor:
        """Logits and truth in 0..1, [P, S] both -> scalar, summed and divided by ``avg_factor``."""
        loss = sigmoid_focal_loss(masks, target_masks, self.alpha, self.gamma)
        return self.loss_weight * loss.mean(1).sum() / avg_factor


@MODELS.register_module()
class DiceLoss(nn.Module):
    """One minus the Dice coefficient of probabilities and truth.

    Args:
        loss_weight: Factor of the loss.

    Source: paper section 4.4; Milletari et al., V-Net. One is added to both parts of the fraction
        as in the authors' code, which makes it finite for empty masks.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        check_at_least(0, 'DiceLoss', loss_weight=loss_weight)
        self.loss_weight = loss_weight

    def forward(self, masks: Tensor, target_masks: Tensor, avg_factor: Tensor) -> Tensor:
        """Logits and truth in 0..1, [P, S] both -> scalar, summed and divided by ``avg_factor``."""
        probabilities = masks.sigmoid()
        common = (probabilities * target_masks).sum(1)
        total = probabilities.sum(1) + target_masks.sum(1)
        return self.loss_weight * (1 - (2 * common + 1) / (total + 1)).sum() / avg_factor
