"""Records of predictions and targets that carry more than DETR's."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from mmdetr.structures import (
    PER_LAYER,
    MaskTarget,
    SetPrediction,
    SetTarget,
    SigmoidClasses,
    SoftmaxClasses,
)

L, B, N, K = 3, 2, 5, 4


@dataclass(frozen=True)
class Richer(SetPrediction):
    """Masks of the last layer, references of all, the encoder's proposals, denoising parts."""

    masks: Tensor | None = None
    references: Tensor | None = field(default=None, metadata=PER_LAYER)
    proposals: SetPrediction | None = None
    denoising: dict | None = field(default=None, metadata=PER_LAYER)


def richer() -> Richer:
    return Richer(
        torch.randn(L, B, N, K),
        torch.rand(L, B, N, 4),
        masks=torch.rand(B, N, 7, 8),
        references=torch.rand(L, B, N, 2),
        proposals=SetPrediction(torch.randn(1, B, N, K), torch.rand(1, B, N, 4)),
        denoising=dict(part=SetPrediction(torch.randn(L, B, 2, K), torch.rand(L, B, 2, 4)), size=2),
        class_activation=SigmoidClasses(),
    )


@pytest.mark.parametrize('index', [0, 1, -1])
def test_a_layer_of_every_field_that_has_layers(index):
    every = richer()
    one = every.layer(index)
    assert type(one) is Richer
    assert one.num_layers == 1
    for name in ('logits', 'bboxes', 'references'):
        assert torch.equal(getattr(one, name)[0], getattr(every, name)[index])
    assert one.masks is every.masks
    assert one.proposals is every.proposals
    assert one.class_activation is every.class_activation
    part = every.denoising['part']
    assert torch.equal(one.denoising['part'].logits[0], part.logits[index])
    assert one.denoising['size'] == 2


def test_map_reaches_every_tensor():
    half = richer().map(Tensor.half)
    whole = half.replace(masks=torch.ones(2, dtype=torch.bool)).float()
    for record, dtype in ((half, torch.float16), (whole, torch.float32)):
        tensors = [record.logits, record.references, record.proposals.bboxes]
        tensors.append(record.denoising['part'].logits)
        assert {tensor.dtype for tensor in tensors} == {dtype}
    assert half.masks.dtype == torch.float16
    assert whole.masks.dtype == torch.bool
    assert isinstance(whole.class_activation, SigmoidClasses)


def test_unpacking_gives_logits_and_boxes():
    record = richer()
    logits, bboxes = record
    assert logits is record.logits
    assert bboxes is record.bboxes


def test_softmax_has_a_row_for_no_object():
    meaning = SoftmaxClasses()
    logits = torch.tensor([[2.0, 1, 0], [0, 1, 2]])
    assert meaning.num_logits(2) == 3
    torch.testing.assert_close(meaning.probabilities(logits), logits.softmax(-1)[:, :2])
    assert meaning.predicted_labels(logits).tolist() == [0, 2]


def test_sigmoid_has_none():
    meaning = SigmoidClasses()
    logits = torch.tensor([[2.0, 1], [-3, -1]])
    assert meaning.num_logits(2) == 2
    torch.testing.assert_close(meaning.probabilities(logits), 1 / (1 + (-logits).exp()))
    assert meaning.predicted_labels(logits).tolist() == [0, 2]


def test_targets_are_padded_with_all_their_fields():
    @dataclass(frozen=True)
    class Scored(SetTarget):
        scores: Tensor

    targets = [Scored(torch.arange(m), torch.rand(m, 4), torch.rand(m)) for m in (1, 3)]
    padded = SetTarget.pad(targets)
    assert type(padded) is Scored
    assert padded.labels.tolist() == [[0, 0, 0], [0, 1, 2]]
    assert padded.bboxes.shape == (2, 3, 4)
    assert torch.equal(padded.scores[1], targets[1].scores)
    assert padded.scores[0, 1:].tolist() == [0, 0]


def test_unpadded_fields_do_not_stack():
    """Masks of two images of unlike sizes stay out of the padded record."""
    targets = [
        MaskTarget(torch.zeros(n, dtype=torch.long), torch.rand(n, 4), torch.ones(n, n, 5).bool())
        for n in (2, 3)
    ]
    padded = SetTarget.pad(targets)
    assert padded.bboxes.shape == (2, 3, 4)
    assert padded.masks is None
