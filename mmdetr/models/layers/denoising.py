"""Denoising queries: known objects with noise, which the decoder learns to restore.

Legend: B images, M objects of one image, T of the fullest, G groups, C copies of an object in one
group (2 with negatives), S = G * C * T slots, N matching queries, K classes, D channels, P known
pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.registry import TASK_UTILS
from mmdetr.structures import (
    DenoisingPrediction,
    QueryPrediction,
    SetPrediction,
    SetTarget,
    cxcywh_to_xyxy,
    xyxy_to_cxcywh,
)
from mmdetr.utils.arguments import check_at_least

from .reference_points import inverse_sigmoid


class DenoisingNoise(NamedTuple):
    """The random numbers of one batch, for every slot, also for those without object.

    Attributes:
        flip: [B, S] uniform in 0..1; a label is replaced where this is below the label noise.
        labels: int64 [B, S] in 0..K-1, the labels to take there.
        shift: [B, S, 4] uniform in 0..1, how far a box moves.
        signs: [B, S, 4] -1 or 1, where to; empty where ``shift`` says it alone.
    """

    flip: Tensor
    labels: Tensor
    shift: Tensor
    signs: Tensor


@dataclass(frozen=True)
class DenoisingQueries:
    """The denoising queries of a batch; S = 0 in a batch without objects.

    Slot ``(g * C + c) * T + m`` is copy c of object m in group g. An image with fewer than T
    objects leaves slots empty.

    Attributes:
        labels: int64 [B, S] noisy labels, K in empty slots.
        anchors: float32 [B, S, 4] noisy boxes cxcywh, before the sigmoid.
        known: bool [B, S] False in empty slots.
        image: int64 [P] image of each pair of a query and the object that it should restore.
        query: int64 [P] slot of that image.
        target: int64 [P] its object, counted over the objects of the batch.
        num_groups: G.
    """

    labels: Tensor
    anchors: Tensor
    known: Tensor
    image: Tensor
    query: Tensor
    target: Tensor
    num_groups: int

    def __len__(self) -> int:
        """S."""
        return self.labels.shape[1]

    def visible(self, num_queries: int) -> Tensor:
        """Who sees whom, see :func:`denoising_attention`."""
        group_size = len(self) // self.num_groups
        return denoising_attention(self.num_groups, group_size, num_queries, self.labels.device)

    def split(self, prediction: SetPrediction) -> QueryPrediction:
        """Take the first S of S + N predictions per image as those of the denoising queries."""
        denoising = prediction.map(lambda tensor: tensor[:, :, : len(self)])
        matching = prediction.map(lambda tensor: tensor[:, :, len(self) :])
        activation = prediction.class_activation
        known = DenoisingPrediction(
            denoising.logits,
            denoising.bboxes,
            self.image,
            self.query,
            self.target,
            self.num_groups,
            class_activation=activation,
        )
        return QueryPrediction(
            matching.logits, matching.bboxes, denoising=known, class_activation=activation
        )


def denoising_attention(
    num_groups: int, group_size: int, num_queries: int, device: torch.device | None = None
) -> Tensor:
    """Say which query may see which, the denoising queries first.

    The matching queries must not see the ground truth in the denoising ones, and no group may see
    another. A denoising query sees its group and the matching queries.

    Returns:
        bool [S + N, S + N], True where the query of the row may see that of the column.

    Source: DN-DETR, section 4.4.
    """
    num_denoising = num_groups * group_size
    group = torch.arange(num_denoising + num_queries, device=device) // max(group_size, 1)
    matching = torch.arange(num_denoising + num_queries, device=device) >= num_denoising
    return matching | (~matching[:, None] & (group[:, None] == group))


class LabelEmbedding(nn.Module):
    """What a denoising query starts with: a learned vector for each label.

    Args:
        num_classes: K; there is one row more, for queries without a label.
        embed_dims: D.
        indicator: Keep the last channel for a mark, 1 for denoising queries and 0 for the others.

    Source: DN-DETR, section 4.5 (label embedding and indicator); DINO has no indicator.
    """

    # For reading checkpoints, see mmdetr.checkpoint.model_rows: the last row is no class.
    class_rows = ('embedding.weight',)
    has_no_object_row = True

    def __init__(self, num_classes: int, embed_dims: int, indicator: bool = False) -> None:
        super().__init__()
        self.indicator = indicator
        self.embedding = nn.Embedding(num_classes + 1, embed_dims - indicator)

    def forward(self, queries: DenoisingQueries) -> Tensor:
        """Content of the denoising queries [B, S, D], zero in empty slots.

        Without any denoising query the table still takes part, so its gradient is zero and not
        missing, which a distributed run needs.
        """
        content = self.embedding(queries.labels)
        if self.indicator:
            content = F.pad(content, (0, 1), value=1.0)
        return content * queries.known[..., None]

    def without_label(self) -> Tensor:
        """Content of a matching query, [D]."""
        content = self.embedding.weight[-1]
        return F.pad(content, (0, 1)) if self.indicator else content


class _Denoising:
    """What both ways of denoising share.

    A batch gets as many groups as fit into ``max_queries``, at most ``num_groups``, at least one.
    """

    copies = 1
    placeholder: Sequence[float] | None = None

    def __init__(
        self,
        num_classes: int,
        num_groups: int | None,
        max_queries: int | None,
        label_noise: float,
        box_noise: float,
        eps: float,
    ) -> None:
        name = type(self).__name__
        check_at_least(1, name, num_groups=num_groups, max_queries=max_queries)
        check_at_least(0, name, label_noise=label_noise, box_noise=box_noise)
        if num_groups is None and max_queries is None:
            raise ValueError(f'{name} needs num_groups, max_queries or both')
        self.num_classes = num_classes
        self.num_groups = num_groups
        self.max_queries = max_queries
        self.label_noise = label_noise
        self.box_noise = box_noise
        self.eps = eps

    def __call__(
        self, targets: Sequence[SetTarget], noise: DenoisingNoise | None = None
    ) -> DenoisingQueries:
        """Make the denoising queries of a batch.

        Args:
            targets: The objects of each image.
            noise: The random numbers; by default those of :meth:`draw`.
        """
        padded = SetTarget.pad(targets)
        labels, bboxes, device = padded.labels, padded.bboxes, padded.labels.device
        counts = torch.tensor([len(target.labels) for target in targets])  # on the host: no wait
        placeholder = self.placeholder if not counts.any() else None
        if placeholder is not None:
            labels = labels.new_full((len(targets), 1), self.num_classes)
            bboxes = bboxes.new_tensor(placeholder).expand(len(targets), 1, 4)
        occupied = torch.arange(labels.shape[1]) < counts[:, None]  # [B, T]
        groups = self.groups(int(counts.max()))
        copies = groups * self.copies
        known = occupied.repeat(1, copies).to(device, non_blocking=True)
        labels, bboxes = labels.repeat(1, copies), bboxes.repeat(1, copies, 1)
        if noise is None:
            noise = self.draw(bboxes)
        labels = torch.where(noise.flip < self.label_noise, noise.labels, labels)
        anchors = inverse_sigmoid(self.noisy_bboxes(bboxes, noise, groups), self.eps)
        if placeholder is None:
            anchors = torch.where(known[..., None], anchors, self.empty_anchor())
        labels = labels.masked_fill(~known, self.num_classes)
        image, query, target = self._pairs(occupied, groups).to(device, non_blocking=True)
        return DenoisingQueries(labels, anchors, known, image, query, target, groups)

    def groups(self, num_objects: int) -> int:
        """Number of groups of a batch whose fullest image has ``num_objects``."""
        if num_objects == 0:
            return 1
        bounds = [] if self.num_groups is None else [self.num_groups]
        if self.max_queries is not None:
            bounds.append(max(self.max_queries // (self.copies * num_objects), 1))
        return min(bounds)

    def draw(self, bboxes: Tensor) -> DenoisingNoise:
        """Draw the random numbers for boxes [B, S, 4] from torch's global generators."""
        flip = torch.rand_like(bboxes[..., 0])
        labels = torch.randint_like(bboxes[..., 0], self.num_classes, dtype=torch.int64)
        shift = torch.rand_like(bboxes)
        return DenoisingNoise(flip, labels, shift, shift.new_empty(0))

    def noisy_bboxes(self, bboxes: Tensor, noise: DenoisingNoise, groups: int) -> Tensor:
        """Boxes cxcywh [B, S, 4] -> noisy boxes cxcywh [B, S, 4]."""
        raise NotImplementedError

    def empty_anchor(self) -> float:
        """Every coordinate of an anchor in an empty slot, before the sigmoid."""
        return 0.0

    def _pairs(self, occupied: Tensor, groups: int) -> Tensor:
        """bool [B, T] -> int64 [3, P]: image, slot of the first copy, object; group by group."""
        image, index = occupied.nonzero().unbind(1)
        starts = torch.arange(groups)[:, None] * self.copies * occupied.shape[1]
        parts = (image, index + starts, torch.arange(len(image)))
        return torch.stack([part.expand(groups, -1).flatten() for part in parts])


@TASK_UTILS.register_module()
class GroupDenoising(_Denoising):
    """Groups of noisy objects, each to be restored.

    Args:
        num_classes: K; the head passes it.
        num_groups: Groups of each batch.
        max_queries: At most that many slots, where one group does not need more; bounds time and
            memory on crowded images. None bounds nothing, as in the authors' code.
        label_noise: Probability that a label is replaced by a random one.
        box_noise: How far a centre moves, in halves of the width and height, and how much width
            and height change, in parts of themselves.
        eps: Of the inverse sigmoid.

    Source: DN-DETR, sections 4.3 and 4.4. The authors draw for known objects alone.
    """

    def __init__(
        self,
        num_classes: int,
        num_groups: int | None = 5,
        max_queries: int | None = None,
        label_noise: float = 0.2,
        box_noise: float = 0.4,
        eps: float = 1e-3,
    ) -> None:
        super().__init__(num_classes, num_groups, max_queries, label_noise, box_noise, eps)

    def noisy_bboxes(self, bboxes: Tensor, noise: DenoisingNoise, groups: int) -> Tensor:
        """Move centres by up to half a box and change sizes by up to a box, times the noise."""
        size = bboxes[..., 2:]
        reach = torch.cat((size / 2, size), dim=-1)
        return (bboxes + (2 * noise.shift - 1) * reach * self.box_noise).clamp(0, 1)


@TASK_UTILS.register_module()
class ContrastiveDenoising(_Denoising):
    """Each group has every object twice: with a little noise to be restored, with more to be
    rejected.

    Args:
        num_classes: K; the head passes it.
        num_groups: Most groups of a batch; None takes as many as fit into ``max_queries``.
        max_queries: At most that many slots, negatives included, where one group does not need
            more. The authors' ``dn_number`` of 100 is 200.
        label_noise: Probability that a label is replaced by a random one; the authors' ratio of
            0.5 is 0.25.
        box_noise: How far a corner moves, in halves of the width and height; a negative's moves
            by that and up to once more.
        eps: Of the inverse sigmoid; 1e-5 in RT-DETR and D-FINE.
        absolute_sizes: A width or height that the noise made negative counts as positive
            (D-FINE); else as ``eps``.
        empty_coordinate: Every coordinate of the box in an empty slot; 0 in RT-DETR and D-FINE.
        placeholder: Box cxcywh of a slot (and its negative) that a batch without objects gets;
            None gives it no slot. RT-DETR and D-FINE take (0.5, 0.5, 0.1, 0.1).

    Source: DINO, section 3.3. The authors draw for known objects alone, RT-DETR for all slots as
        here. Where ``dn_number`` is below 50, the authors do not divide it by the objects: that is
        ``num_groups`` of twice that number.
    """

    copies = 2

    def __init__(
        self,
        num_classes: int,
        num_groups: int | None = None,
        max_queries: int | None = 200,
        label_noise: float = 0.25,
        box_noise: float = 1.0,
        eps: float = 1e-3,
        absolute_sizes: bool = False,
        empty_coordinate: float = 0.5,
        placeholder: Sequence[float] | None = None,
    ) -> None:
        super().__init__(num_classes, num_groups, max_queries, label_noise, box_noise, eps)
        self.placeholder = placeholder
        self.absolute_sizes = absolute_sizes
        self.empty_coordinate = empty_coordinate

    def draw(self, bboxes: Tensor) -> DenoisingNoise:
        """Draw the random numbers for boxes [B, S, 4], in the authors' order."""
        flip = torch.rand_like(bboxes[..., 0])
        labels = torch.randint_like(bboxes[..., 0], self.num_classes, dtype=torch.int64)
        signs = 2 * torch.randint_like(bboxes, 2) - 1
        return DenoisingNoise(flip, labels, torch.rand_like(bboxes), signs)

    def noisy_bboxes(self, bboxes: Tensor, noise: DenoisingNoise, groups: int) -> Tensor:
        """Move corners by up to half a box, those of negatives by half a box to a whole one."""
        num_slots = bboxes.shape[1]
        copy = torch.arange(num_slots, device=bboxes.device) // max(num_slots // groups // 2, 1)
        distance = noise.shift + (copy % 2)[:, None]  # the second copy is the negative
        reach = (bboxes[..., 2:] / 2).repeat(1, 1, 2) * self.box_noise
        corners = cxcywh_to_xyxy(bboxes) + noise.signs * distance * reach
        noisy = xyxy_to_cxcywh(corners.clamp(0, 1))
        if self.absolute_sizes:
            noisy = torch.cat((noisy[..., :2], noisy[..., 2:].abs()), dim=-1)
        return noisy

    def empty_anchor(self) -> float:
        """The inverse sigmoid of ``empty_coordinate``."""
        return float(inverse_sigmoid(torch.tensor(self.empty_coordinate), self.eps))


Denoising = GroupDenoising | ContrastiveDenoising


def build_denoising(cfg: dict[str, Any] | None, num_classes: int) -> Denoising | None:
    """Build what makes the denoising queries; None where the config has none."""
    if cfg is None:
        return None
    return TASK_UTILS.build(cfg, default_args=dict(num_classes=num_classes))
