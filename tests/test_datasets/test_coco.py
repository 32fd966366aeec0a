import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from mmdetr.datasets import CocoDataset, coco
from mmdetr.datasets.coco_objects import clean_bboxes
from mmdetr.datasets.transforms import Resize, UnreadableImageError
from mmdetr.registry import DATASETS
from tests.helpers.coco_files import annotation, image, write_coco, write_images

BCCD = Path(__file__).parents[3] / 'shared' / 'data' / 'bccd'
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackDetInputs'),
]


@pytest.fixture
def warnings_seen(monkeypatch) -> list[str]:
    seen: list[str] = []
    monkeypatch.setattr(coco, 'print_log', lambda message, logger, level: seen.append(message))
    return seen


def boxes_of(dataset: CocoDataset, idx: int) -> list[tuple]:
    instances = dataset.get_data_info(idx)['instances']
    return [(each['bbox'], each['bbox_label'], each['ignore_flag']) for each in instances]


# ---- classes and data list ----


@pytest.fixture
def ann_file(tmp_path) -> str:
    images = [image(30), image(10), image(20)]
    annotations = [
        annotation(1, 10, 90, [1, 2, 3, 4]),
        annotation(2, 30, 2, [10, 20, 30, 40]),
        annotation(3, 10, 7, [5, 6, 7, 8], iscrowd=1),
    ]
    return write_coco(tmp_path, images, annotations)


@pytest.mark.parametrize('serialize_data', [True, False])
def test_data_list(ann_file, serialize_data):
    dataset = CocoDataset(ann_file, data_prefix=dict(img='pictures'), serialize_data=serialize_data)
    assert dataset.metainfo == dict(classes=('cat', 'dog', 'bird'), cat_ids=(2, 7, 90))
    assert [dataset.get_data_info(i)['img_id'] for i in range(3)] == [30, 10, 20]
    info = dataset.get_data_info(0)
    assert (info['img_path'], info['width'], info['height']) == ('pictures/30.png', 100, 80)
    assert boxes_of(dataset, 0) == [([10.0, 20.0, 40.0, 60.0], 0, 0)]
    assert boxes_of(dataset, 1) == [([1, 2, 4, 6], 2, 0), ([5, 6, 12, 14], 1, 1)]
    assert boxes_of(dataset, 2) == []
    assert dataset.get_cat_ids(1) == [2, 1]


def test_chosen_classes_keep_their_order(ann_file):
    dataset = CocoDataset(ann_file, metainfo=dict(classes=['bird', 'cat']))
    assert dataset.metainfo == dict(classes=('bird', 'cat'), cat_ids=(90, 2))
    assert [boxes_of(dataset, i) for i in range(3)] == [
        [([10.0, 20.0, 40.0, 60.0], 1, 0)],
        [([1.0, 2.0, 4.0, 6.0], 0, 0)],
        [],
    ]


def test_unknown_class_lists_the_known(ann_file):
    with pytest.raises(ValueError, match=r"no category \['cow'\]; it has \['cat', 'dog', 'bird'\]"):
        CocoDataset(ann_file, metainfo=dict(classes=('cat', 'cow')))


@pytest.mark.parametrize('classes', ['cat', ('cat', 'cat')])
def test_classes_must_be_a_list_of_names(ann_file, classes):
    with pytest.raises(ValueError, match=r'metainfo\.classes must be a list of different names'):
        CocoDataset(ann_file, metainfo=dict(classes=classes))


def test_lazy_init(ann_file):
    dataset = CocoDataset(ann_file, lazy_init=True)
    dataset.full_init()
    assert len(dataset) == 3


def test_indices(ann_file):
    dataset = CocoDataset(ann_file, indices=[2, 0])
    assert [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))] == [20, 30]


def test_arguments_are_checked(ann_file):
    with pytest.raises(ValueError, match='needs ann_file'):
        CocoDataset()
    with pytest.raises(ValueError, match="needs 'img'"):
        CocoDataset(ann_file, data_prefix=dict(img_path='pictures'))
    with pytest.raises(ValueError, match='min_size'):
        CocoDataset(ann_file, filter_cfg=dict(filter_empty=True))


@pytest.mark.parametrize('scope', ['mmdetr', None])
def test_transforms_are_ours_without_a_default_scope(ann_file, scope, monkeypatch):
    if scope is None:
        monkeypatch.setattr(DefaultScope, '_instance_dict', type(DefaultScope._instance_dict)())
    resize = dict(type='Resize', scale=(800, 1333), keep_ratio=True)
    choice = dict(type='RandomChoiceResize', scales=[(800, 1333)], keep_ratio=True)
    dataset = DATASETS.build(dict(type='CocoDataset', ann_file=ann_file, pipeline=[resize, choice]))
    built, chosen = dataset.pipeline.transforms
    assert type(built) is Resize
    assert type(chosen.resize) is Resize


# ---- which images stay ----


def sized_images(tmp_path) -> str:
    images = [image(1, 100, 80), image(2, 100, 31), image(3, 32, 100), image(4, 50, 50)]
    annotations = [
        annotation(1, 1, 2, [1, 1, 5, 5]),
        annotation(2, 2, 2, [1, 1, 5, 5]),
        annotation(3, 3, 7, [1, 1, 5, 5]),
        annotation(4, 4, 2, [1, 1, 5, 5], iscrowd=1),
    ]
    return write_coco(tmp_path, images, annotations)


@pytest.mark.parametrize(
    ('filter_cfg', 'test_mode', 'kept'),
    [
        (None, False, [1, 2, 3, 4]),
        (dict(filter_empty_gt=True), False, [1, 2]),  # 3 is of no chosen class, 4 is a crowd
        (dict(min_size=32), False, [1, 3, 4]),
        (dict(filter_empty_gt=True, min_size=32), False, [1]),
        (dict(filter_empty_gt=True, min_size=32), True, [1, 2, 3, 4]),
    ],
)
def test_filter(tmp_path, filter_cfg, test_mode, kept):
    dataset = CocoDataset(
        sized_images(tmp_path),
        metainfo=dict(classes=('cat',)),
        filter_cfg=filter_cfg,
        test_mode=test_mode,
    )
    assert [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))] == kept


def test_filter_that_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match='leaves no image'):
        CocoDataset(sized_images(tmp_path), filter_cfg=dict(min_size=1000))


# ---- dirty boxes ----


@pytest.mark.parametrize(
    ('bbox', 'clipped', 'problem'),  # in an image of 100 x 80
    [
        ([0, 0, 100, 80], [0, 0, 100, 80], None),
        ([10, 20, 30, 40], [10, 20, 40, 60], None),
        ([-5, 70, 10, 20], [0, 70, 5, 80], 'clipped'),
        ([90, -1, 10.5, 200], [90, 0, 100, 80], 'clipped'),
        ([90, 10, 10.005, 10], [90, 10, 100, 20], None),  # COCO's rounding
        ([10, 20, 0, 40], None, 'zero size'),
        ([10, 20, 30, 0], None, 'zero size'),
        ([10, 20, -30, 40], None, 'zero size'),
        ([90, 20, 1e-7, 40], None, 'zero size'),  # nothing of it is left in float32
        ([100, 20, 30, 40], None, 'outside'),
        ([-30, 20, 30, 40], None, 'outside'),
        ([10, 500, 30, 40], None, 'outside'),
        ([math.nan, 20, 30, 40], None, 'non-finite'),
        ([10, 20, math.inf, 40], None, 'non-finite'),
        ([-math.inf, 20, 0, 40], None, 'non-finite'),
        ([10, 20, 1e308, 1e308], [10, 20, 100, 80], 'clipped'),
        ([1e308, 20, 1e308, 40], None, 'outside'),
    ],
)
def test_clean_bboxes(bbox, clipped, problem):
    bboxes, problems = clean_bboxes(np.array([bbox], dtype=float), np.array([[100, 80]]))
    assert [reason for reason, where in problems.items() if where[0]] == [problem] * bool(problem)
    if clipped is not None:
        np.testing.assert_allclose(bboxes, [clipped], rtol=0, atol=1e-12)


def test_one_warning_counts_and_names_images(tmp_path, warnings_seen):
    images = [image(number) for number in range(100, 115)]
    annotations = [annotation(number, number, 7, [10, 10, 0, 5]) for number in range(100, 115)]
    annotations += [
        annotation(1, 100, 7, [10, 10, 0, 5]),
        annotation(2, 103, 2, [1, 2, 3, 4]),
        annotation(3, 104, 2, [90, 2, 30, 4]),
        annotation(4, 105, 2, [math.nan, 2, 30, 4]),
        annotation(5, 106, 90, [0, 0, -1, -1]),  # of a class that is not chosen
    ]
    path = write_coco(tmp_path, images, annotations)
    dataset = CocoDataset(path, metainfo=dict(classes=('cat', 'dog')))
    assert warnings_seen == [
        f'{path}: boxes 1 dropped (non-finite) in image ids 105; '
        '16 dropped (zero size) in image ids 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, '
        'and 5 more; 1 clipped in image ids 104'
    ]
    assert dataset.dirty_boxes == {
        'non-finite': [105],
        'zero size': [*range(100, 115), 100],
        'clipped': [104],
    }
    assert boxes_of(dataset, 3) == [([1, 2, 4, 6], 0, 0)]
    assert boxes_of(dataset, 4) == [([90, 2, 100, 6], 0, 0)]
    assert sum(len(boxes_of(dataset, i)) for i in range(15)) == 2


def test_bad_segmentations_are_counted_as_dirty_boxes(tmp_path, warnings_seen):
    square = [[10, 10, 30, 10, 30, 30, 10, 30]]
    box = [10, 10, 20, 20]
    stated = [
        (1, box, dict(segmentation=square)),
        (1, box, dict(segmentation=[[10, 10, 30, 10, 30]])),
        (2, box, dict(segmentation=[])),
        (2, box, dict()),
        (2, [10, 10, 0, 20], dict()),  # has a reason already
        (3, box, dict(segmentation=dict(size=[80, 100], counts=[10, 20]))),
        (3, box, dict(segmentation=dict(size=[80, 100], counts=[10, 7990]), iscrowd=1)),
        (3, [90, 10, 20, 20], dict(segmentation=square)),
    ]
    annotations = [
        annotation(number, image_id, 7, bbox, **more)
        for number, (image_id, bbox, more) in enumerate(stated)
    ]
    path = write_coco(tmp_path, [image(i) for i in (1, 2, 3)], annotations)
    dataset = CocoDataset(path, with_mask=True)
    assert dataset.dirty_boxes == {
        'zero size': [2],
        'clipped': [3],
        'no segmentation': [2, 2],
        'malformed segmentation': [1],
        'segmentation of another image size': [3],
    }
    assert '1 dropped (malformed segmentation) in image ids 1' in warnings_seen[0]
    masks = [[each['mask'] for each in dataset.get_data_info(i)['instances']] for i in range(3)]
    assert masks == [[square], [], [dict(size=[80, 100], counts=[10, 7990]), square]]
    assert [flag for _, _, flag in boxes_of(dataset, 2)] == [1, 0]

    unasked = CocoDataset(path)
    assert unasked.dirty_boxes == {'zero size': [2], 'clipped': [3]}
    instances = [each for i in range(3) for each in unasked.get_data_info(i)['instances']]
    assert len(instances) == 7
    assert all('mask' not in each for each in instances)


def test_clean_data_needs_no_warning(ann_file, warnings_seen):
    assert CocoDataset(ann_file).dirty_boxes == {}
    assert warnings_seen == []


# ---- loading ----


@pytest.fixture
def folder(tmp_path):
    images = [image(number) for number in range(6)]
    annotations = [
        annotation(1, 0, 2, [1, 2, 3, 4]),
        annotation(2, 0, 7, [5, 6, 7, 8], iscrowd=1),
        annotation(3, 1, 90, [5, 6, 7, 8]),
    ]
    write_coco(tmp_path, images, annotations)
    write_images(tmp_path, images)
    return tmp_path


def load(folder: Path, **kwargs) -> CocoDataset:
    return CocoDataset('coco.json', data_root=str(folder), pipeline=PIPELINE, **kwargs)


def test_crowd_boxes_are_no_ground_truth(folder):
    sample = load(folder)[0]['data_samples']
    assert sample.gt_instances.bboxes.tolist() == [[1, 2, 4, 6]]
    assert sample.gt_instances.labels.tolist() == [0]
    assert sample.img_id == 0


def test_unreadable_image_gives_way_to_another(folder, warnings_seen):
    (folder / '2.png').write_bytes(b'no image')
    (folder / '4.png').unlink()
    dataset = load(folder)
    ids = []
    for _ in range(2):
        np.random.seed(3)
        ids.append([dataset[index]['data_samples'].img_id for index in [2, 0, 4, 2, 4, 5]])
    assert ids[0] == ids[1]
    assert not {2, 4} & set(ids[0])
    assert (ids[0][1], ids[0][5]) == (0, 5)
    assert len(warnings_seen) == 2  # once per file
    assert f'cannot read image {folder / "2.png"}' in warnings_seen[0]
    assert f'cannot read image {folder / "4.png"}' in warnings_seen[1]


def test_too_many_unreadable_images(folder, warnings_seen):
    for number in (1, 2, 3):
        (folder / f'{number}.png').unlink()
    dataset = load(folder, max_unreadable=2)
    for index in (1, 1, 2):
        dataset._note_unreadable(str(folder / f'{index}.png'), f'cannot read image {index}.png')
    with pytest.raises(RuntimeError, match='3 images cannot be read') as error:
        dataset[3]
    for name in ('1.png', '2.png', '3.png', 'max_unreadable=2', 'data_prefix'):
        assert name in str(error.value)


def test_no_unreadable_image_allowed(folder):
    (folder / '2.png').unlink()
    with pytest.raises(RuntimeError, match=r'2\.png'):
        load(folder, max_unreadable=0)[2]


def test_no_image_is_readable(folder, warnings_seen):
    dataset = load(folder, data_prefix=dict(img='elsewhere'))
    with pytest.raises(RuntimeError, match='6 images cannot be read'):
        dataset[0]


def test_unreadable_image_in_testing(folder):
    (folder / '2.png').write_bytes(b'no image')
    with pytest.raises(UnreadableImageError, match=r'2\.png'):
        load(folder, test_mode=True)[2]


def test_other_errors_are_not_swallowed(folder):
    def fail(results):
        raise KeyError('a mistake in a transform')

    dataset = CocoDataset('coco.json', data_root=str(folder), pipeline=[fail])
    with pytest.raises(KeyError):
        dataset[0]


# ---- real data ----


@pytest.mark.skipif(not BCCD.exists(), reason='the blood-cell photographs are not here')
def test_bccd(warnings_seen):
    def build(name, **kwargs):
        return CocoDataset(
            f'{name}.json', data_root=str(BCCD), data_prefix=dict(img='images'), **kwargs
        )

    train, val = build('train', pipeline=PIPELINE), build('val', test_mode=True)
    assert (len(train), len(val)) == (292, 72)
    assert train.metainfo['classes'] == ('Platelets', 'RBC', 'WBC')
    assert train.dirty_boxes == {'zero size': [238, 242]}
    assert val.dirty_boxes == {}
    assert len(warnings_seen) == 1
    assert '2 dropped (zero size) in image ids 238, 242' in warnings_seen[0]
    assert sum(len(boxes_of(train, i)) for i in range(292)) == 3943 - 2
    sample = train[237]
    assert sample['inputs'].shape == (3, 480, 640)
    assert sample['inputs'].dtype == torch.uint8
    bboxes = sample['data_samples'].gt_instances.bboxes
    assert (bboxes[:, 2:] > bboxes[:, :2]).all()


def test_category_ids_as_labels(ann_file):
    dataset = CocoDataset(ann_file=ann_file, category_ids_as_labels=True)
    named = CocoDataset(ann_file=ann_file)
    assert len(dataset.metainfo['classes']) == 91
    assert dataset.metainfo['cat_ids'] == tuple(range(91))
    assert [dataset.metainfo['classes'][i] for i in (0, 2, 7, 90)] == [
        'unused 0',
        'cat',
        'dog',
        'bird',
    ]
    cat_ids = named.metainfo['cat_ids']
    for idx in range(len(dataset)):
        labels = [each['bbox_label'] for each in dataset.get_data_info(idx)['instances']]
        expected = [each['bbox_label'] for each in named.get_data_info(idx)['instances']]
        assert labels == [cat_ids[label] for label in expected]


def test_category_ids_too_large_for_labels(tmp_path):
    """Each would become a class: memory without end."""
    path = write_coco(tmp_path, [image(1)], [], [dict(id=2**62, name='dog')])
    with pytest.raises(ValueError, match=f'category id {2**62} is too large for a label'):
        CocoDataset(ann_file=path, category_ids_as_labels=True)


def test_category_ids_as_labels_leave_no_choice_of_classes(ann_file):
    with pytest.raises(ValueError, match='exclude'):
        CocoDataset(ann_file=ann_file, category_ids_as_labels=True, metainfo=dict(classes=['cat']))
