"""Boxes that the encoder proposes.

Legend: B images, S pixels of all levels, N proposals, K classes, D channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmdetr.models.layers import MLP
from mmdetr.models.transformers.encoder_decoder import xavier_init
from mmdetr.models.transformers.records import Memory
from mmdetr.registry import MODELS
from mmdetr.structures import ClassActivation, SetPrediction
from mmdetr.utils.compiling import at_most

# Side of a proposal of the first level, in parts of the image; twice that on each next one.
_SIDE = 0.05


class Proposals(NamedTuple):
    """What the encoder proposes.

    Attributes:
        bboxes: float32 [B, N, 4] cxcywh in 0..1, best first, without gradient.
        prediction: What the criterion compares with the objects, one layer.
    """

    bboxes: Tensor
    prediction: SetPrediction


@MODELS.register_module()
class EncoderProposals(nn.Module):
    """Predict class and box from every pixel, relative to a square around it, and take the best.

    Args:
        num_queries: N; the head passes this and what follows.
        embed_dims: D.
        num_classes: K.
        class_activation: What a row of logits means.
        class_agnostic: Class 0 stands for "object": it ranks the proposals, and the criterion gets
            those of all pixels. Otherwise the best class ranks them, and the criterion gets the N
            chosen ones.
        num_reg_layers: Linear layers of the box branch.

    Source: Deformable DETR, appendix A.4 "two-stage Deformable DETR"; DINO, section 3.4 (ranked by
        the best class).
    """

    def __init__(
        self,
        num_queries: int,
        embed_dims: int,
        num_classes: int,
        class_activation: ClassActivation,
        class_agnostic: bool = False,
        num_reg_layers: int = 3,
    ) -> None:
        super().__init__()
        self.num_queries = num_queries
        self.class_activation = class_activation
        self.class_agnostic = class_agnostic
        self.projection = nn.Linear(embed_dims, embed_dims)
        self.norm = nn.LayerNorm(embed_dims)
        xavier_init(self.projection)
        self.cls_branch = nn.Linear(embed_dims, class_activation.num_logits(num_classes))
        self.reg_branch = MLP(embed_dims, embed_dims, 4, num_reg_layers)
        class_activation.initialize(self.cls_branch)
        self.reg_branch.start_at_zero()

    # For reading checkpoints, see mmdetr.checkpoint.model_rows: row 0 stays "object".
    @property
    def class_rows(self) -> tuple[str, ...]:
        """Tensors with a row per class."""
        return () if self.class_agnostic else self._rows

    @property
    def resizable_rows(self) -> tuple[str, ...]:
        """Tensors whose rows keep their meaning when there are more or fewer."""
        return self._rows if self.class_agnostic else ()

    _rows = ('cls_branch.weight', 'cls_branch.bias')

    def forward(self, memory: Memory) -> Proposals:
        """Propose; fewer than N boxes where the image has fewer pixels."""
        anchors, valid = self._anchors(memory)
        # What has no sensible anchor is there all the same: it ranks low.
        tokens = self.norm(self.projection(memory.tokens.masked_fill(~valid, 0.0)))
        logits = self.cls_branch(tokens)
        scores = logits[..., 0] if self.class_agnostic else logits.amax(-1)
        count = at_most(self.num_queries, scores.shape[1])
        chosen = scores.topk(count, dim=1).indices[..., None]

        def choose(x: Tensor) -> Tensor:
            return x.gather(1, chosen.expand(-1, -1, x.shape[-1]))

        if self.class_agnostic and self.training:
            bboxes = (self.reg_branch(tokens) + anchors).sigmoid()
            best = choose(bboxes)
        else:
            bboxes = best = (self.reg_branch(choose(tokens)) + choose(anchors)).sigmoid()
            logits = choose(logits)
        prediction = SetPrediction(
            logits[None], bboxes[None], class_activation=self.class_activation
        )
        return Proposals(best.detach(), prediction)

    @staticmethod
    def _anchors(memory: Memory) -> tuple[Tensor, Tensor]:
        """Squares around the pixels before the sigmoid [B, S, 4], and which are valid [B, S, 1].

        Those in the padding or too near to the border of the image are infinite.
        """
        sides = [
            memory.centres.new_full((height * width,), _SIDE * 2.0**level)
            for level, (height, width) in enumerate(memory.shapes)
        ]
        side = torch.cat(sides)[None, :, None].expand_as(memory.centres)
        anchors = torch.cat((memory.centres, side), dim=-1)
        valid = ((anchors > 0.01) & (anchors < 0.99)).all(-1, keepdim=True)
        if memory.padding_mask is not None:
            valid = valid & ~memory.padding_mask[..., None]
        anchors = (anchors / (1 - anchors)).log()
        return anchors.masked_fill(~valid, torch.inf), valid
