"""What the queries of a deformable decoder are made of.

Legend: B images, N queries, D channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.models.layers import DenoisingQueries, sine_embedding
from mmdetr.models.transformers import Queries
from mmdetr.models.transformers.encoder_decoder import xavier_init
from mmdetr.registry import MODELS


class _QuerySource(nn.Module):
    """Attributes that a head asks for.

    Attributes:
        needs_proposals: Whether the encoder has to propose boxes.
        has_indicator: Whether the last channel of the content marks denoising queries.
        resizable_rows: Tensors with a row for each query.
    """

    needs_proposals = False
    has_indicator = False
    resizable_rows: tuple[str, ...] = ()


@MODELS.register_module()
class PointQueries(_QuerySource):
    """Learned position and content; the reference point follows from the position.

    Args:
        num_queries: N; the head passes it.
        embed_dims: D; the head passes it.

    Source: Deformable DETR, section 4.1 "deformable transformer decoder".
    """

    resizable_rows = ('embedding.weight',)

    def __init__(self, num_queries: int, embed_dims: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_queries, 2 * embed_dims)
        self.reference_points = nn.Linear(embed_dims, 2)
        xavier_init(self.reference_points)
        nn.init.zeros_(self.reference_points.bias)

    def forward(self, proposals: Tensor | None = None) -> Queries:
        """Return the same queries for every image."""
        position, content = self.embedding.weight.chunk(2, dim=-1)
        return Queries(position, content, self.reference_points(position).sigmoid())


@MODELS.register_module()
class AnchorQueries(_QuerySource):
    """A learned box and learned content.

    Args:
        num_queries: N; the head passes it.
        embed_dims: D; the head passes it.
        indicator: Keep the last channel of the content for a mark, 0 for these queries and 1 for
            denoising ones.

    Source: DAB-DETR, section 4.2; the indicator is DN-DETR's, section 4.5.
    """

    resizable_rows = ('content.weight', 'anchors.weight')

    def __init__(self, num_queries: int, embed_dims: int, indicator: bool = False) -> None:
        super().__init__()
        self.has_indicator = indicator
        self.content = nn.Embedding(num_queries, embed_dims - indicator)
        self.anchors = nn.Embedding(num_queries, 4)  # before the sigmoid

    def forward(self, proposals: Tensor | None = None) -> Queries:
        """Return the same queries for every image."""
        content = F.pad(self.content.weight, (0, int(self.has_indicator)))
        return Queries(content=content, reference_points=self.anchors.weight.float().sigmoid())


@MODELS.register_module()
class ProposalQueries(_QuerySource):
    """Position and content follow from the boxes that the encoder proposes.

    Args:
        num_queries: N; the head passes it.
        embed_dims: D; the head passes it.

    Source: Deformable DETR, appendix A.4 "two-stage Deformable DETR".
    """

    needs_proposals = True

    def __init__(self, num_queries: int, embed_dims: int) -> None:
        super().__init__()
        self.pos_trans = nn.Linear(2 * embed_dims, 2 * embed_dims)
        self.pos_trans_norm = nn.LayerNorm(2 * embed_dims)
        xavier_init(self.pos_trans)

    def forward(self, proposals: Tensor) -> Queries:
        """Boxes [B, N, 4] -> queries of each image."""
        num_feats = self.pos_trans.in_features // 4
        # Here the order of the features is x, y, w, h.
        waves = sine_embedding(proposals[..., (1, 0, 2, 3)], num_feats)
        embedding = self.pos_trans_norm(self.pos_trans(waves.to(self.pos_trans.weight.dtype)))
        position, content = embedding.chunk(2, dim=-1)
        return Queries(position, content, proposals)


@MODELS.register_module()
class MixedQueries(_QuerySource):
    """Boxes that the encoder proposes, and learned content.

    Args:
        num_queries: N; the head passes it.
        embed_dims: D; the head passes it.

    Source: DINO, section 3.4 "mixed query selection".
    """

    needs_proposals = True
    resizable_rows = ('content.weight',)

    def __init__(self, num_queries: int, embed_dims: int) -> None:
        super().__init__()
        self.content = nn.Embedding(num_queries, embed_dims)

    def forward(self, proposals: Tensor) -> Queries:
        """Boxes [B, N, 4], or fewer where the image has fewer pixels -> queries of each image."""
        return Queries(
            content=self.content.weight[: proposals.shape[1]], reference_points=proposals
        )


def with_denoising(queries: Queries, known: DenoisingQueries, content: Tensor) -> Queries:
    """Put denoising queries before the others.

    Args:
        queries: N queries with content [N, D] or [B, N, D] and boxes alike, without position.
        known: M denoising queries per image.
        content: [B, M, D] what these start with.
    """
    if queries.content is None or queries.reference_points is None or queries.position is not None:
        raise ValueError(
            'denoising needs queries that are content and boxes: set bbox_head.query_source to '
            'AnchorQueries or MixedQueries'
        )
    parts = queries.content, queries.reference_points
    learned, boxes = (part.expand(len(content), -1, -1) for part in parts)
    return Queries(
        content=torch.cat((content, learned), dim=1),
        reference_points=torch.cat((known.anchors.sigmoid(), boxes), dim=1),
        self_attn_mask=known.visible(learned.shape[1]),
        denoising=known,
    )
