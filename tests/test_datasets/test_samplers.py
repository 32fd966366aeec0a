"""Batches of one size: seen in the images that come out, not in what the sampler believes."""

import logging
from collections import Counter
from itertools import chain

import numpy as np
import pytest
from mmengine.dataset import BaseDataset, ConcatDataset, DefaultSampler, RepeatDataset
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from PIL import Image

from mmdetr.datasets import CocoDataset, SameSizeBatchSampler, ShapesDataset
from mmdetr.registry import MODELS
from tests.helpers.coco_files import image, write_coco, write_images

SIZES = [(64, 48), (48, 64), (64, 48), (50, 50), (128, 96), (48, 64), (64, 48), (31, 90), (48, 64)]
ORIENTATION = 0x0112
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(40, 60), keep_ratio=True),
    dict(type='PackDetInputs'),
]


@pytest.fixture
def dataset(tmp_path):
    """Nine images of five sizes, two of which become one; the last is turned by its EXIF tag."""
    images = [image(100 - number, *size) for number, size in enumerate(SIZES)]
    write_images(tmp_path, images)
    tag = Image.Exif()
    tag[ORIENTATION] = 6
    pixels = np.zeros((48, 64, 3), dtype=np.uint8)  # stored 64 wide; stated, and upright, 48
    Image.fromarray(pixels).save(tmp_path / images[-1]['file_name'], exif=tag)
    ann_file = write_coco(tmp_path, images, [])
    return CocoDataset(
        ann_file, data_prefix=dict(img=f'{tmp_path}/'), pipeline=PIPELINE, test_mode=True
    )


def loader(dataset, batch_size, **sampler):
    return Runner.build_dataloader(
        dict(
            batch_size=batch_size,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False, **sampler),
            batch_sampler=dict(type='SameSizeBatchSampler'),
            dataset=dataset,
        )
    )


def image_ids(batches):
    return [[sample.img_id for sample in batch['data_samples']] for batch in batches]


@pytest.fixture
def warnings():
    records = []

    class Keep(logging.Handler):
        def emit(self, record):
            if record.levelno >= logging.WARNING:
                records.append(record.getMessage())

    handler = Keep()
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.mark.parametrize('batch_size', [1, 2, 3, 8])
def test_images_of_a_batch_have_one_size_and_each_comes_once(dataset, batch_size, warnings):
    batches = list(loader(dataset, batch_size))
    shapes = [{tuple(each.shape) for each in batch['inputs']} for batch in batches]
    assert all(len(each) == 1 for each in shapes)
    ids = image_ids(batches)
    assert sorted(chain(*ids)) == list(range(92, 101))
    assert max(map(len, ids)) <= batch_size

    by_size = Counter(tuple(sample['inputs'].shape) for sample in dataset)
    assert len(by_size) == 4
    assert len(batches) == sum(-(-count // batch_size) for count in by_size.values())
    assert len(loader(dataset, batch_size)) == len(batches)
    assert not warnings


def test_nothing_is_padded(dataset):
    preprocessor = MODELS.build(dict(type='DetDataPreprocessor'))
    masks = [preprocessor(batch)['padding_mask'] for batch in loader(dataset, 8)]
    assert masks == [None] * 4
    together = dict(inputs=[sample['inputs'] for sample in dataset])
    assert preprocessor(together)['padding_mask'].any(), 'there was something to avoid'


def test_single_images_come_in_order(dataset):
    assert image_ids(loader(dataset, 1)) == [[i] for i in range(100, 91, -1)]


@pytest.mark.parametrize('world_size', [2, 3, 4, 12])
def test_ranks_share_the_batches_of_one_process(dataset, world_size):
    def batches(rank, world_size):
        sampler = DefaultSampler(dataset, shuffle=False)
        sampler.rank, sampler.world_size = rank, world_size
        return list(SameSizeBatchSampler(sampler, batch_size=2))

    shares = [batches(rank, world_size) for rank in range(world_size)]
    assert sorted(chain(*shares)) == sorted(batches(0, 1))
    counts = [sum(map(len, share)) for share in shares]
    assert max(counts) - min(counts) <= 2


def test_sizes_of_several_datasets_in_one(dataset, warnings):
    shapes = ShapesDataset(3, (40, 53), pipeline=[dict(type='PackDetInputs')], test_mode=True)
    both = ConcatDataset([shapes, dataset], ignore_keys=['classes', 'cat_ids'])
    batches = list(loader(both, 8))
    assert sorted(len(batch['inputs']) for batch in batches) == [1, 1, 3, 7]
    assert not warnings


class SizelessDataset(BaseDataset):
    def load_data_list(self):
        return [dict(img_id=i) for i in range(5)]


def test_unknown_sizes_are_batched_in_order_with_a_reason(dataset, warnings):
    crop = dict(type='RandomCrop', min_size=20, max_size=30)
    mmcv_resize = dict(type='mmcv.Resize', scale=(40, 60), keep_ratio=True)
    prefix = dict(img=dataset.data_prefix['img'])
    cases = [
        (
            CocoDataset(
                dataset.ann_file, data_prefix=prefix, pipeline=[*PIPELINE[:2], step, PIPELINE[2]]
            ),
            f'the step {name} of the pipeline may change their sizes',
        )
        for step, name in ((crop, 'mmdetr.RandomCrop'), (mmcv_resize, 'mmcv.Resize'))
    ]
    cases.append((SizelessDataset(), "SizelessDataset does not state the 'width' of image 0"))
    cases.append((RepeatDataset(dataset, 2), 'RepeatDataset has no pipeline to tell'))
    for each, reason in cases:
        warnings.clear()
        sampler = SameSizeBatchSampler(DefaultSampler(each, shuffle=False), batch_size=4)
        assert list(chain(*sampler)) == list(range(len(each)))
        assert all(len(batch) == 4 for batch in list(sampler)[:-1])
        assert len(warnings) == 1
        assert reason in warnings[0]
        warnings.clear()
        SameSizeBatchSampler(DefaultSampler(each, shuffle=False), batch_size=1)
        assert not warnings, 'nothing is padded then'


def test_padding_is_masked_where_the_sizes_are_unknown(dataset, tmp_path):
    pipeline = [PIPELINE[0], dict(type='mmcv.Resize', scale=(40, 60), keep_ratio=True), PIPELINE[2]]
    prefix = dict(img=dataset.data_prefix['img'])
    unknown = CocoDataset(dataset.ann_file, data_prefix=prefix, pipeline=pipeline, test_mode=True)
    batch = next(iter(loader(unknown, 8)))
    mask = MODELS.build(dict(type='DetDataPreprocessor'))(batch)['padding_mask']
    valid = (~mask).flatten(1).sum(1).tolist()
    assert valid == [img.shape[1] * img.shape[2] for img in batch['inputs']]


def test_training_samplers_are_refused(dataset):
    for sampler in (DefaultSampler(dataset, shuffle=True), range(9)):
        with pytest.raises(ValueError, match='shuffle=False'):
            SameSizeBatchSampler(sampler, batch_size=2)
