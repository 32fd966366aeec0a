"""Multi-head attention over torch's fused kernel.

Legend: B images, Q queries, S keys, D channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.utils.arguments import check_at_least


class MultiheadAttention(nn.Module):
    """Multi-head attention with the parameters of ``torch.nn.MultiheadAttention`` (batch first).

    torch's module projects query, key and value apart as soon as one of them differs, which in
    DETR is always (positions are added to query and key only). Parameter names and initialisation
    are torch's, so published weights fit.

    Args:
        embed_dims: D.
        num_heads: Number of heads; divides D.
        dropout: Dropout of the attention weights in training.

    Source: paper appendix A.1, equations 3 to 8.
    """

    def __init__(self, embed_dims: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        check_at_least(1, 'MultiheadAttention', num_heads=num_heads)
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims {embed_dims} is not a multiple of num_heads {num_heads}')
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dims, embed_dims))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dims))
        self.out_proj = nn.Linear(embed_dims, embed_dims)
        # Xavier on the fused matrix has a smaller bound than on three square ones; the authors'
        # recipe is the fused one.
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
    ) -> Tensor:
        """Attend from query to key.

        Args:
            query: [B, Q, D].
            key: [B, S, D]; pass the same object as ``query`` to project both in one product.
            value: [B, S, D].
            attn_mask: Broadcastable to [B, heads, Q, S]; bool with True where attention is
                allowed, or float that is added to the scores.

        Returns:
            [B, Q, D]
        """
        dims = query.shape[-1]
        if query is key:
            projected = self._project(query, 0, 2)
            q, k = projected.split(dims, dim=-1)
        else:
            q, k = self._project(query, 0, 1), self._project(key, 1, 2)
        v = self._project(value, 2, 3)
        attended = self.attend(
            self._split_heads(q), self._split_heads(k), self._split_heads(v), attn_mask
        )
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None) -> Tensor:
        """Heads [B, heads, Q or S, D / heads] -> [B, heads, Q, D / heads]."""
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, dropout_p=dropout)

    def _project(self, x: Tensor, first: int, last: int) -> Tensor:
        """Apply blocks first..last-1 of the fused projection (0 query, 1 key, 2 value)."""
        rows = slice(first * x.shape[-1], last * x.shape[-1])
        return F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])

    def _split_heads(self, x: Tensor) -> Tensor:
        """[B, S, D] -> [B, heads, S, D / heads]."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
