"""The head of Conditional DETR.

Legend: L decoder layers, B images, N queries, D channels.
"""

from mmdetr.models.layers import move_points
from mmdetr.models.transformers import TransformerOutput
from mmdetr.registry import MODELS
from mmdetr.structures import SetPrediction

from .detr_head import DETRHead


@MODELS.register_module()
class ConditionalHead(DETRHead):
    """DETRHead whose boxes start at the decoder's reference points.

    Arguments are those of :class:`DETRHead`; the transformer's decoder has to give reference
    points.

    Source: Conditional DETR, section 3.1, equation 1.
    """

    def build_branches(self) -> None:
        """Build the prediction feed-forward networks; boxes start at the reference points."""
        super().build_branches()
        self.reg_branch.start_at_zero()

    def decode(self, output: TransformerOutput) -> SetPrediction:
        """Turn hidden states [L, B, N, D] and points [L, B, N, 2] into classes and boxes."""
        return SetPrediction(
            self.cls_branch(output.hidden),
            move_points(self.reg_branch(output.hidden), output.points()),
            class_activation=self.class_activation,
        )
