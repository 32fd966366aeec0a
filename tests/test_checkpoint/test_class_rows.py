import pytest

from mmdetr.checkpoint import match_classes
from mmdetr.checkpoint.class_rows import clean_names, coco_names, dataset_meta
from mmdetr.datasets.coco_classes import (
    COCO_CATEGORY_IDS,
    COCO_CLASSES,
    COCO_PANOPTIC_CATEGORY_IDS,
    COCO_PANOPTIC_CLASSES,
    COCO_PANOPTIC_ROWS_BY_ID,
    COCO_ROWS_BY_ID,
)

# The ids of COCO's 80 categories, as the published conversions of DETR's class head list them.
CATEGORY_IDS = [
    *range(1, 12), *range(13, 26), 27, 28, *range(31, 45), *range(46, 66), 67, 70,
    *range(72, 83), *range(84, 91),
]  # fmt: skip

STUFF_IDS = [92, 93, 95, 100, 107, 109, 112, 118, 119, 122, 125, 128, 130, 133, 138, 141, 144, 145]
STUFF_IDS += [147, 148, 149, 151, 154, 155, 156, 159, 161, 166, 168, 171, 175, 176, 177, 178, 180]
STUFF_IDS += [181, *range(184, 201)]


def test_coco_has_80_names_over_91_rows():
    assert list(COCO_CATEGORY_IDS) == CATEGORY_IDS
    assert len(COCO_CLASSES) == 80
    assert len(COCO_ROWS_BY_ID) == 91
    # Known points of the table, before and after each kind of gap.
    known = {1: 'person', 11: 'fire hydrant', 13: 'stop sign', 25: 'giraffe', 27: 'backpack'}
    known |= {44: 'bottle', 46: 'wine glass', 65: 'bed', 67: 'dining table', 70: 'toilet'}
    known |= {72: 'tv', 82: 'refrigerator', 84: 'book', 90: 'toothbrush'}
    assert {i: COCO_ROWS_BY_ID[i] for i in known} == known
    unused = [i for i, name in enumerate(COCO_ROWS_BY_ID) if name is None]
    assert unused == [0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83]


@pytest.mark.parametrize('target', [None, COCO_CLASSES])
@pytest.mark.parametrize('source', [None, COCO_ROWS_BY_ID])
def test_92_rows_to_the_80_classes(source, target):
    match = match_classes(source, target, 91, 80)
    assert match.rows == list(enumerate(CATEGORY_IDS))
    assert match.new == []


@pytest.mark.parametrize('target', [None, COCO_ROWS_BY_ID])
def test_91_classes_take_all_rows_as_they_are(target):
    match = match_classes(None, target, 91, 91)
    assert match.rows == [(i, i) for i in range(91)]
    assert match.new == []


def test_own_classes_take_the_rows_of_their_namesakes():
    match = match_classes(None, ('Dog', 'gnu', 'traffic-light', 'cell_phone'), 91, 4)
    assert match.rows == [(0, 18), (2, 10), (3, 77)]
    assert match.new == ['gnu']


def test_91_own_classes_are_not_taken_for_category_ids():
    match = match_classes(None, ('cat', *(f'thing {i}' for i in range(90))), 91, 91)
    assert match.rows == [(0, 17)]
    assert len(match.new) == 90


def test_80_classes_in_another_order():
    match = match_classes(COCO_CLASSES, tuple(reversed(COCO_CLASSES)), 80, 80)
    assert match.rows == [(i, 79 - i) for i in range(80)]


def test_panoptic_head_shares_the_rows_of_the_things():
    assert match_classes(None, COCO_CLASSES, 250, 80).rows == list(enumerate(CATEGORY_IDS))
    assert match_classes(None, None, 250, 91).rows == [(i, i) for i in range(91)]
    assert match_classes(None, None, 250, 250).rows == [(i, i) for i in range(250)]


def test_rows_of_things_and_stuff_go_by_name():
    """The published 250 rows into the 133 classes, in the order of their category ids."""
    match = match_classes(None, COCO_PANOPTIC_CLASSES, 250, 133)
    assert match.rows == list(enumerate(COCO_PANOPTIC_CATEGORY_IDS))
    # The ids and some names as the panoptic annotations have them.
    assert len(COCO_PANOPTIC_CLASSES) == 133
    assert COCO_PANOPTIC_CATEGORY_IDS[:80] == COCO_CATEGORY_IDS
    assert COCO_PANOPTIC_CATEGORY_IDS[80:] == tuple(STUFF_IDS)
    known = {92: 'banner', 119: 'flower', 149: 'road', 178: 'water-other', 187: 'sky-other-merged'}
    known |= {193: 'grass-merged', 197: 'building-other-merged', 200: 'rug-merged'}
    assert {i: COCO_PANOPTIC_ROWS_BY_ID[i] for i in known} == known
    assert dataset_meta(COCO_PANOPTIC_CLASSES)['cat_ids'] == COCO_PANOPTIC_CATEGORY_IDS


@pytest.mark.parametrize(('num_source', 'num_target'), [(5, 7), (91, 7), (5, 80)])
def test_without_names_heads_of_different_size_do_not_match(num_source, num_target):
    match = match_classes(None, None, num_source, num_target)
    assert match.rows == []
    assert len(match.new) == num_target


def test_without_names_heads_of_one_size_match_and_say_so():
    match = match_classes(None, ('a', 'b'), 2, 2)
    assert match.rows == [(0, 0), (1, 1)]
    assert 'does not name its 2 classes' in match.text


def test_names_of_another_number_than_the_rows_are_ignored():
    assert match_classes(('x', 'y'), ('x', 'y', 'z'), 91, 80).rows == list(enumerate(CATEGORY_IDS))


def test_placeholders_are_no_names():
    assert clean_names(['N/A', 'person', 'LABEL_2', '']) == (None, 'person', None, None)
    assert clean_names(['LABEL_0', 'LABEL_1']) is None
    assert clean_names(None) is None


def test_dataset_meta_numbers_coco_categories():
    assert dataset_meta(COCO_CLASSES) == dict(classes=COCO_CLASSES, cat_ids=tuple(CATEGORY_IDS))
    assert dataset_meta(COCO_ROWS_BY_ID)['cat_ids'] == tuple(range(91))
    assert dataset_meta(('a', None)) == dict(classes=('a', 'N/A'))


def test_only_coco_sizes_have_names():
    assert [n for n in range(300) if coco_names(n)] == [80, 91, 133, 250]
