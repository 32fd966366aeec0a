"""Attention with dropout on a CPU.

Legend: B images, Q queries, S keys, D channels.
"""

import torch
from torch import Tensor

from mmdetr.models.layers import MultiheadAttention

from .dropout import dropout


class FastMultiheadAttention(MultiheadAttention):
    """Attention whose dropout takes fast random numbers.

    torch has no fused attention with dropout for the CPU. Step by step it draws the mask slowly and
    looks for empty rows in the softmax.
    """

    def attend(self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None) -> Tensor:
        """Heads [B, heads, Q or S, D / heads] -> [B, heads, Q, D / heads]."""
        p = self.dropout if self.training else 0.0
        if p == 0 or q.device.type != 'cpu' or torch.compiler.is_compiling():
            return super().attend(q, k, v, attn_mask)
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-2, -1))
        if attn_mask is None:
            weights = scores.softmax(-1)
        elif attn_mask.dtype == torch.bool:
            weights = torch._safe_softmax(scores.masked_fill(~attn_mask, -torch.inf), -1)
        else:
            weights = torch._safe_softmax(scores + attn_mask, -1)
        return torch.matmul(dropout(weights, p, training=True), v)
