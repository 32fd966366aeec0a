"""The decoder of D-FINE: RT-DETR's with a gate around the attention to the maps.

Legend: B images, N queries, D channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmdetr.models.layers.deformable_attention_v2 import DeformableAttentionV2
from mmdetr.registry import MODELS

from .rtdetr_transformer import RTDETRDecoder, RTDETRDecoderLayer

_LARGEST_HALF = 65504.0
_LARGEST_POSITION = 10.0


class Gate(nn.Module):
    """Weigh what a query was and what it has seen against each other, in each channel.

    Args:
        embed_dims: D.

    Source: D-FINE, appendix A.3 (target gating layer); starts at one half of each.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * embed_dims, 2 * embed_dims)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self, x: Tensor, attended: Tensor) -> Tensor:
        """[B, N, D] both -> [B, N, D]."""
        first, second = self.gate(torch.cat((x, attended), dim=-1)).sigmoid().chunk(2, dim=-1)
        return self.norm(first * x + second * attended)


class ClampedLayerNorm(nn.LayerNorm):
    """Layer norm of what float16 can hold."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return super().forward(x.clamp(-_LARGEST_HALF, _LARGEST_HALF))


class DFINEDecoderLayer(RTDETRDecoderLayer):
    """RTDETRDecoderLayer with a gate, and attention that projects neither values nor output.

    Source: D-FINE, appendix A.3.
    """

    def build_cross_attention(
        self, embed_dims: int, num_heads: int, num_points: Sequence[int], sampling: str
    ) -> None:
        """Build the attention to the maps and the gate."""
        self.cross_attn = DeformableAttentionV2(
            embed_dims, num_heads, num_points, sampling, projected=False
        )
        self.gateway = Gate(embed_dims)

    def build_last_norm(self, embed_dims: int) -> None:
        """Build the normalisation after the feed-forward part."""
        self.norm3 = ClampedLayerNorm(embed_dims)

    def add_attended(self, x: Tensor, attended: Tensor) -> Tensor:
        """Let the gate weigh stream and what was seen in the maps, [B, N, D] both."""
        return self.gateway(x, attended)


@MODELS.register_module()
class DFINEDecoder(RTDETRDecoder):
    """RTDETRDecoder of gated layers; its arguments are the same.

    Source: D-FINE, section 4.1 and appendix A.3.
    """

    layer_type = DFINEDecoderLayer

    def query_positions(self, bboxes: Tensor) -> Tensor:
        """Reference boxes [B, N, 4] -> what is added to queries and keys [B, N, D], bounded."""
        return self.query_pos_head(bboxes).clamp(-_LARGEST_POSITION, _LARGEST_POSITION)
