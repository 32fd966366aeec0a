"""Denoising queries against the authors' numbers and by hand."""

import numpy as np
import pytest
import torch

from mmdetr.models import ContrastiveDenoising, GroupDenoising
from mmdetr.models.layers import LabelEmbedding, denoising_attention
from mmdetr.structures import SetPrediction, SetTarget, SigmoidClasses
from tests.helpers.successor_cases import authors_state_dict, noise_of, read_case, read_targets


def targets_with(*counts: int) -> list[SetTarget]:
    """Images with that many objects."""
    return [SetTarget(torch.arange(n) % 3, torch.full((n, 4), 0.4)) for n in counts]


def check_against(case: str, denoising, copies: int, indicator: bool) -> None:
    """Compare queries, what they start with and who sees whom."""
    meta, arrays = read_case(case)
    targets = read_targets()
    queries = denoising(targets, noise_of(arrays, targets, copies, denoising.label_noise))
    assert len(queries) == meta['dn']['pad_size']
    assert queries.num_groups == meta['dn']['groups']
    num_queries = len(arrays['dn_attn_mask']) - len(queries)
    np.testing.assert_array_equal(~queries.visible(num_queries), arrays['dn_attn_mask'])

    pad = len(queries)
    np.testing.assert_allclose(queries.anchors, arrays['dn_query_bbox'][:, :pad], atol=1e-5)
    table = authors_state_dict(meta)['label_enc.weight']
    embedding = LabelEmbedding(len(table) - 1, 256, indicator)
    embedding.embedding.weight.data = table
    content = embedding(queries).detach()
    np.testing.assert_array_equal(content[..., :3], arrays['dn_query_label'][:, :pad])


def test_groups_equal_the_authors_of_dn_detr() -> None:
    check_against('dn', GroupDenoising(num_classes=91, num_groups=3), copies=3, indicator=True)


def test_contrastive_groups_equal_the_authors_of_dino() -> None:
    # 12 is not divided by the objects there, since twice that is below 100.
    denoising = ContrastiveDenoising(num_classes=91, num_groups=24, max_queries=None)
    check_against('dino_denoising', denoising, copies=48, indicator=False)


def test_pairs_are_the_objects_of_each_group() -> None:
    queries = GroupDenoising(num_classes=3, num_groups=2)(targets_with(1, 3))
    assert queries.image.tolist() == [0, 1, 1, 1] * 2
    assert queries.query.tolist() == [0, 0, 1, 2, 3, 3, 4, 5]
    assert queries.target.tolist() == [0, 1, 2, 3] * 2
    negatives_between = ContrastiveDenoising(num_classes=3, num_groups=2)(targets_with(1, 3))
    assert negatives_between.query.tolist() == [0, 0, 1, 2, 6, 6, 7, 8]


@pytest.mark.parametrize(('objects', 'groups'), [(1, 100), (7, 14), (30, 3), (100, 1), (500, 1)])
def test_crowded_batches_get_fewer_groups(objects: int, groups: int) -> None:
    queries = ContrastiveDenoising(num_classes=3, max_queries=200)(targets_with(objects, 0))
    assert (queries.num_groups, len(queries)) == (groups, groups * 2 * objects)
    bounded = GroupDenoising(num_classes=3, num_groups=5, max_queries=100)
    assert bounded(targets_with(objects)).num_groups == min(5, max(100 // objects, 1))


def test_a_denoising_query_sees_its_group_and_the_matching_queries() -> None:
    visible = denoising_attention(num_groups=2, group_size=1, num_queries=2).int().tolist()
    assert visible == [[1, 0, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_a_batch_without_objects_has_no_denoising_query_but_every_gradient() -> None:
    queries = ContrastiveDenoising(num_classes=3)(targets_with(0, 0))
    assert len(queries) == 0
    assert queries.visible(5).all()
    embedding = LabelEmbedding(3, 8)
    content = torch.cat((embedding(queries), torch.ones(2, 5, 8)), dim=1)
    content.sum().backward()
    assert not embedding.embedding.weight.grad.any()
    prediction = SetPrediction(torch.zeros(6, 2, 5, 3), torch.zeros(6, 2, 5, 4))
    assert queries.split(prediction).denoising.logits.shape == (6, 2, 0, 3)


def test_a_placeholder_stands_in_for_missing_objects() -> None:
    denoising = ContrastiveDenoising(
        num_classes=3, box_noise=0.0, placeholder=(0.5, 0.5, 0.1, 0.1), eps=1e-5
    )
    queries = denoising(targets_with(0, 0))
    assert queries.labels.tolist() == [[3, 3]] * 2
    assert len(queries.target) == 0
    expected = torch.tensor([0.5, 0.5, 0.1, 0.1]).expand(2, 2, 4)
    torch.testing.assert_close(queries.anchors.sigmoid(), expected)
    assert not LabelEmbedding(3, 8)(queries).any()


def test_negative_sizes_become_positive_or_the_least() -> None:
    targets = targets_with(1)
    for absolute, size in ((True, 0.4), (False, 1e-3)):
        denoising = ContrastiveDenoising(3, num_groups=1, absolute_sizes=absolute)
        noise = denoising.draw(torch.zeros(1, 2, 4))
        inwards = torch.tensor([1.0, 1.0, -1.0, -1.0]).expand(1, 2, 4)
        noise = noise._replace(shift=torch.ones(1, 2, 4), signs=inwards)
        # The corners of the negative change places: 0.2 + 0.4 and 0.6 - 0.4.
        bbox = denoising(targets, noise).anchors.sigmoid()[0, 1]
        torch.testing.assert_close(bbox, torch.tensor([0.4, 0.4, size, size]))


def test_empty_slots_of_rt_detr() -> None:
    denoising = ContrastiveDenoising(3, num_groups=1, eps=1e-5, empty_coordinate=0.0)
    anchors = denoising(targets_with(2, 1)).anchors
    assert anchors[1, 1].tolist() == pytest.approx([np.log(1e-5)] * 4, rel=1e-5)


def test_the_seed_decides() -> None:
    denoising = GroupDenoising(num_classes=3)
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(denoising(targets_with(4, 2)).anchors)
    assert results[0].equal(results[1])
    assert not results[0].equal(results[2])


def test_split_gives_each_side_its_predictions() -> None:
    queries = GroupDenoising(num_classes=3, num_groups=2)(targets_with(1, 2))
    logits = torch.arange(6.0).expand(1, 2, 6)[..., None].repeat(1, 1, 1, 3)
    whole = SetPrediction(
        logits, logits[..., :1].repeat(1, 1, 1, 4), class_activation=SigmoidClasses()
    )
    parts = queries.split(whole)
    assert parts.denoising.logits[0, 0, :, 0].tolist() == [0, 1, 2, 3]
    assert parts.logits[0, 0, :, 0].tolist() == [4, 5]
    assert parts.class_activation == parts.denoising.class_activation == whole.class_activation


def test_neither_groups_nor_bound_is_refused() -> None:
    with pytest.raises(ValueError, match='needs num_groups, max_queries or both'):
        GroupDenoising(num_classes=3, num_groups=None)
