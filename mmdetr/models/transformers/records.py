"""What goes into the transformer and what comes out, for DETR and its successors.

Legend: L decoder layers, B images, N queries, S pixels of all feature maps, D channels.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from torch import Tensor

from mmdetr.models.layers import DenoisingQueries

# (layer, hidden [B, N, D], reference points [B, N, 2 or 4]) -> reference points of the next layer.
Refine: TypeAlias = Callable[[int, Tensor, Tensor], Tensor]


class Queries(NamedTuple):
    """The object queries of a batch; a leading axis B where they differ per image.

    Attributes:
        position: [N, D] or [B, N, D] what a query looks for; DETR's learned object queries.
        content: [N, D] or [B, N, D] what the decoder's stream starts with; None starts it at zero.
        reference_points: [N, 2 or 4] or [B, N, 2 or 4] in 0..1 of the unpadded image, for decoders
            that refine boxes layer by layer.
        self_attn_mask: Over [B, heads, N, N], bool with True where a query may see another; keeps
            denoising queries apart.
        denoising: What the first of the N queries stand for, if they are denoising queries; the
            head splits their predictions off.
    """

    position: Tensor | None = None
    content: Tensor | None = None
    reference_points: Tensor | None = None
    self_attn_mask: Tensor | None = None
    denoising: DenoisingQueries | None = None


class TransformerOutput(NamedTuple):
    """What a transformer returns.

    Attributes:
        hidden: [L, B, N, D] normalised outputs of the decoder layers; L = 1 for the last alone.
        reference_points: [L, B, N, 2 or 4] reference points that each of these layers worked with;
            None where the decoder has none.
        memory: [B, S, D] output of the encoder, the pixels of all maps in order.
    """

    hidden: Tensor
    reference_points: Tensor | None
    memory: Tensor

    def points(self) -> Tensor:
        """Return the reference points, for a head that cannot do without.

        Raises:
            ValueError: The decoder has none.
        """
        if self.reference_points is None:
            raise ValueError(
                'the head needs reference points, which transformer.decoder does not give: set it '
                'to ConditionalDecoder or AnchorDecoder, as the head wants'
            )
        return self.reference_points
