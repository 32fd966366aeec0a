"""The pipeline and the batch sizes of the last epochs."""

import random
from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import InstanceData
from torch import nn
from torch.utils.data import DataLoader

from mmdetr.engine.hooks import PipelineSwitchHook
from mmdetr.models import MultiScaleDataPreprocessor
from mmdetr.structures import DetDataSample


class Numbers:
    """Items are what the pipeline makes of a dict."""

    def __init__(self):
        self.pipeline = lambda results: results['value']

    def __len__(self):
        return 4

    def __getitem__(self, index):
        value = self.pipeline(dict(value=index))
        return value if isinstance(value, int) else value['value']


@pytest.mark.parametrize('num_workers', [0, 1])
def test_the_pipeline_switches_at_its_epoch(num_workers):
    loader = DataLoader(
        Numbers(), num_workers=num_workers, persistent_workers=num_workers > 0, batch_size=4
    )
    model = nn.Module()
    model.data_preprocessor = MultiScaleDataPreprocessor(sizes=[32])
    runner = SimpleNamespace(epoch=0, train_dataloader=loader, model=model)
    hook = PipelineSwitchHook(switch_epoch=1, switch_pipeline=[])
    hook.switch_pipeline = [lambda results: dict(value=-results['value'])]
    for runner.epoch, expected in enumerate([[0, 1, 2, 3], [0, -1, -2, -3], [0, -1, -2, -3]]):
        hook.before_train_epoch(runner)
        assert next(iter(loader)).tolist() == expected
        assert model.data_preprocessor.sizes == ((32,) if runner.epoch == 0 else ())


def test_a_resumed_run_switches_as_well():
    loader = DataLoader(Numbers(), batch_size=4)
    runner = SimpleNamespace(epoch=5, train_dataloader=loader, model=nn.Module())
    runner.model.data_preprocessor = nn.Identity()
    hook = PipelineSwitchHook(switch_epoch=2, switch_pipeline=[], fixed_size=False)
    hook.switch_pipeline = [lambda results: dict(value=7)]
    hook.before_train_epoch(runner)
    assert next(iter(loader)).tolist() == [7] * 4


def test_every_batch_has_a_size_of_its_own():
    preprocessor = MultiScaleDataPreprocessor(sizes=[16, 48])
    seen = set()
    for seed in range(8):
        random.seed(seed)
        sample = DetDataSample()
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[2.0, 4, 6, 8]]), labels=torch.tensor([0])
        )
        data = dict(inputs=[torch.zeros(3, 20, 40, dtype=torch.uint8)], data_samples=[sample])
        batch = preprocessor(data, training=True)
        side, (sample,) = batch['inputs'].shape[-1], batch['data_samples']
        seen.add(side)
        assert batch['inputs'].shape == (1, 3, side, side)
        assert sample.img_shape == (side, side)
        expected = torch.tensor([[2.0 / 40, 4 / 20, 6 / 40, 8 / 20]]) * side
        torch.testing.assert_close(sample.gt_instances.bboxes, expected)
    assert seen == {16, 48}
    batch = preprocessor(dict(inputs=[torch.zeros(3, 20, 40)], data_samples=None))
    assert batch['inputs'].shape == (1, 3, 20, 40)


def test_images_of_several_sizes_are_refused():
    preprocessor = MultiScaleDataPreprocessor(sizes=[16])
    images = [torch.zeros(3, 8, 8), torch.zeros(3, 8, 12)]
    with pytest.raises(ValueError, match='keep_ratio=False'):
        preprocessor(dict(inputs=images, data_samples=None), training=True)
