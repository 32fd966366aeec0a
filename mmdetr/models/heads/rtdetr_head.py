"""The head of RT-DETR: proposals of the encoder become queries that the decoder refines.

Legend: B images, H W padded input size, h w feature size, S pixels of all maps, L decoder layers,
N queries, K classes, D channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmdetr.models.layers import MLP
from mmdetr.models.layers.denoising import DenoisingQueries, build_denoising
from mmdetr.models.layers.grid_anchors import grid_anchors
from mmdetr.models.layers.reference_points import inverse_sigmoid
from mmdetr.models.transformers import Queries, Refine, TransformerOutput
from mmdetr.models.transformers.rtdetr_transformer import Memory
from mmdetr.registry import MODELS
from mmdetr.structures import QueryPrediction, SetPrediction, SetTarget
from mmdetr.utils.compiling import at_most

from .detr_head import DETRHead

# An anchor nearer to the border than this, in any coordinate, proposes nothing.
_MARGIN = 0.01


class LabelTable(nn.Embedding):
    """A learned vector for each class, and one that stays zero for slots without object.

    Args:
        num_classes: K.
        embed_dims: D.
    """

    # For reading checkpoints, see mmdetr.checkpoint.model_rows: the last row is no class.
    class_rows = ('weight',)
    has_no_object_row = True

    def __init__(self, num_classes: int, embed_dims: int) -> None:
        super().__init__(num_classes + 1, embed_dims, padding_idx=num_classes)


@MODELS.register_module()
class RTDETRHead(DETRHead):
    """Predict a set of N boxes and classes from the maps of a HybridEncoder.

    Args:
        num_classes: K.
        num_queries: N; fewer where the maps have fewer pixels.
        in_channels: Width of the maps; the detector passes it.
        transformer: Config of the transformer, a RTDETRTransformer.
        criterion: Config of the loss; None for a model that is never trained.
        denoising: Config of what makes denoising queries in training; None for none.
        class_activation: Config of what a row of class logits means; sigmoids by default.
        max_per_img: Detections kept per image, best first; None keeps as many as queries.

    Raises:
        ValueError: A count is below 1.

    Source: RT-DETR, section 4.3 (without its uncertainty, as the authors' code) and 4.1; DINO,
        section 3.3 to 3.5 (denoising, look forward twice).
    """

    def __init__(
        self,
        num_classes: int,
        num_queries: int,
        in_channels: int,
        transformer: dict,
        criterion: dict | None = None,
        denoising: dict | None = None,
        class_activation: dict | None = None,
        max_per_img: int | None = 300,
    ) -> None:
        super().__init__(
            num_classes,
            num_queries,
            in_channels,
            None,
            transformer,
            criterion,
            class_activation or dict(type='SigmoidClasses'),
            max_per_img=max_per_img,
        )
        self.denoising = build_denoising(denoising, num_classes)
        if self.denoising is not None:
            self.label_embedding = LabelTable(num_classes, self.embed_dims)

    @property
    def class_rows(self) -> tuple[str, ...]:  # type: ignore[override]
        """Tensors with a row per class: what a checkpoint of other classes may fit by name."""
        branches = [f'cls_branches.{i}' for i in range(len(self.cls_branches))]
        names = [*branches, 'enc_cls_branch']
        return tuple(f'{name}.{kind}' for name in names for kind in ('weight', 'bias'))

    resizable_rows = ()

    @property
    def chooses_proposals(self) -> bool:
        """Always."""
        return True

    def build_queries(self, num_queries: int) -> None:
        """Nothing of the queries is learned: the encoder proposes them."""
        self.num_queries = num_queries

    def build_transformer(self, transformer: dict, in_channels: int) -> None:
        """Build the transformer, which may change the width."""
        self.transformer = MODELS.build(transformer, default_args=dict(in_channels=in_channels))
        self.embed_dims = self.transformer.embed_dims

    def build_branches(self) -> None:
        """Build the branches of the proposals and of each decoder layer."""
        dims = self.embed_dims
        linear = nn.Linear(dims, dims)
        nn.init.xavier_uniform_(linear.weight)
        self.enc_output = nn.Sequential(linear, nn.LayerNorm(dims))
        self.enc_cls_branch = self._class_branch()
        self.enc_reg_branch = self.box_branch(4)
        num_layers = len(self.transformer.decoder.layers)
        self.cls_branches = nn.ModuleList(self._class_branch() for _ in range(num_layers))
        self.reg_branches = self.build_box_branches(num_layers)

    def build_box_branches(self, num_layers: int) -> nn.ModuleList:
        """Build the box branch of each decoder layer."""
        return nn.ModuleList(self.box_branch(4) for _ in range(num_layers))

    def _class_branch(self) -> nn.Linear:
        branch = nn.Linear(self.embed_dims, self.class_activation.num_logits(self.num_classes))
        self.class_activation.initialize(branch)
        return branch

    def box_branch(self, out_channels: int) -> MLP:
        """A box branch that moves nothing at first."""
        branch = MLP(self.embed_dims, self.embed_dims, out_channels, self.num_reg_layers)
        branch.start_at_zero()
        return branch

    def forward(
        self,
        features: Sequence[Tensor],
        padding_mask: Tensor | None = None,
        backbone_features: Sequence[Tensor] | None = None,
        targets: Sequence[SetTarget] | None = None,
        all_layers: bool | None = None,
    ) -> QueryPrediction:
        """Predict.

        Args:
            features: Maps of the neck, finest first.
            padding_mask: None: images of a batch have the same size.
            backbone_features: Not read.
            targets: Ground truth of B images in training, for the denoising queries.
            all_layers: Predict from all L decoder layers; by default in training.

        Returns:
            logits [L, B, N, K] and bboxes [L, B, N, 4], L = 1 when only the last layer; in training
            the proposals and the denoising queries, too.

        Raises:
            ValueError: Images are padded, which convolutions between the maps would blur.
        """
        if padding_mask is not None:
            raise ValueError(
                f'{type(self).__name__} takes images of one size without padding: resize them with '
                'keep_ratio=False'
            )
        if all_layers is None:
            all_layers = self._supervises_all_layers()
        memory = self.transformer.encode(features)
        content, proposals = self.propose(memory)
        # Detached: the decoder does not train what it is given.
        content, boxes = content.detach(), proposals.bboxes[0].detach()
        noisy, mask = None, None
        if self.denoising is not None and targets is not None:
            noisy = self.denoising(targets)
            labels = self.label_embedding(noisy.labels)
            mask = noisy.visible(content.shape[1])
            content = torch.cat((labels.to(content.dtype), content), dim=1)
            boxes = torch.cat((noisy.anchors.sigmoid().to(boxes.dtype), boxes), dim=1)
        queries = Queries(content=content, reference_points=boxes, self_attn_mask=mask)
        refine = self.refiner()
        output = self.transformer(memory, queries, refine, all_layers)
        prediction = self.decode(output, refine)
        return self.label_parts(prediction, noisy).replace(
            proposals=proposals if self.training else None
        )

    def propose(self, memory: Memory) -> tuple[Tensor, SetPrediction]:
        """Take the pixels with the highest class score as queries.

        Returns:
            Their features [B, N, D] and their classes and boxes, L = 1.
        """
        anchors = grid_anchors(memory.shapes, memory.pixels.device)
        valid = ((anchors > _MARGIN) & (anchors < 1 - _MARGIN)).all(-1, keepdim=True)
        candidates = self.enc_output(memory.pixels * valid.to(memory.pixels.dtype))
        logits = self.enc_cls_branch(candidates)
        count = at_most(self.num_queries, logits.shape[1])
        index = logits.amax(-1).topk(count).indices[..., None]
        content = candidates.gather(1, index.expand(-1, -1, candidates.shape[-1]))
        starts = torch.where(valid, anchors.logit(), torch.inf)[index[..., 0]]
        # The branch needs to see the chosen ones alone.
        boxes = (self.enc_reg_branch(content) + starts).sigmoid()
        chosen = logits.gather(1, index.expand(-1, -1, logits.shape[-1]))
        proposals = SetPrediction(chosen[None], boxes[None], class_activation=self.class_activation)
        return content, proposals

    def refiner(self) -> Refine:
        """Return what moves the boxes of one forward pass."""
        return self.refine

    def refine(self, layer: int, hidden: Tensor, reference_points: Tensor) -> Tensor:
        """Move boxes cxcywh [B, N, 4] by the output [B, N, D] of a decoder layer."""
        return (self.reg_branches[layer](hidden) + inverse_sigmoid(reference_points)).sigmoid()

    def decode(self, output: TransformerOutput, refine: Refine | None = None) -> SetPrediction:
        """Turn hidden states [L, B, N, D] into classes and boxes.

        A box is moved from the box of the layer before with its gradient, so that each layer also
        learns from the next (look forward twice).

        Args:
            output: Of the decoder.
            refine: Not needed here.
        """
        references = output.reference_points
        assert references is not None
        logits, bboxes, previous = [], [], references[0]
        pairs = zip(output.hidden, references, strict=True)
        for i, (hidden, reference) in enumerate(pairs, self._first(output)):
            step = self.reg_branches[i](hidden)
            bboxes.append((step + inverse_sigmoid(previous)).sigmoid())
            previous = (step + inverse_sigmoid(reference)).sigmoid()
            logits.append(self.cls_branches[i](hidden))
        return SetPrediction(
            torch.stack(logits), torch.stack(bboxes), class_activation=self.class_activation
        )

    def _first(self, output: TransformerOutput) -> int:
        """Index of the decoder layer of the first hidden state."""
        return self.transformer.decoder.num_eval_layers - 1 if len(output.hidden) == 1 else 0

    def label_parts(
        self, prediction: SetPrediction, noisy: DenoisingQueries | None
    ) -> QueryPrediction:
        """Tell the denoising queries from the others."""
        if noisy is not None:
            return noisy.split(prediction)
        return QueryPrediction(*prediction, class_activation=self.class_activation)
