import numpy as np
import pytest
import torch

from mmdetr.datasets.transforms import PackDetInputs

IMG = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize('view', [IMG, IMG[:, ::-1], IMG[1:3, 2:5], IMG[..., ::-1]])
def test_image(view):
    inputs = PackDetInputs()(dict(img=view))['inputs']
    assert inputs.dtype == torch.uint8
    assert inputs.is_contiguous()
    np.testing.assert_array_equal(inputs.numpy(), np.moveaxis(view, 2, 0))


def test_data_sample():
    results = dict(
        img=IMG,
        img_id=5,
        img_path='a.png',
        ori_shape=(40, 60),
        img_shape=(4, 6),
        scale_factor=(0.1, 0.1),
        flip=False,
        flip_direction=None,
        gt_bboxes=np.array([[1, 2, 3, 4]], np.float32),
        gt_bboxes_labels=np.array([2]),
        width=60,
        instances=[dict(bbox=[10, 20, 30, 40], bbox_label=2, ignore_flag=0)],
    )
    sample = PackDetInputs()(results)['data_samples']
    assert sample.metainfo == dict(
        img_id=5,
        img_path='a.png',
        ori_shape=(40, 60),
        img_shape=(4, 6),
        scale_factor=(0.1, 0.1),
        flip=False,
        flip_direction=None,
    )
    assert sample.gt_instances.bboxes.tolist() == [[1, 2, 3, 4]]
    assert sample.gt_instances.bboxes.dtype == torch.float32
    assert sample.gt_instances.labels.tolist() == [2]
    assert sample.gt_instances.labels.dtype == torch.int64
    chosen = PackDetInputs(meta_keys=('img_id', 'instances', 'absent'))(results)['data_samples']
    assert chosen.metainfo == dict(img_id=5, instances=results['instances'])


def test_without_ground_truth():
    assert 'gt_instances' not in PackDetInputs()(dict(img=IMG))['data_samples']


def test_without_objects():
    results = dict(
        img=IMG, gt_bboxes=np.zeros((0, 4), np.float32), gt_bboxes_labels=np.zeros(0, np.int64)
    )
    instances = PackDetInputs()(results)['data_samples'].gt_instances
    assert instances.bboxes.shape == (0, 4)
    assert len(instances) == 0
