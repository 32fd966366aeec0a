"""A model that is no DETR: two levels, names of its own, sigmoid classes without no-object."""

import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from torch import nn

from mmdetr.apis import init_detector
from mmdetr.checkpoint import (
    CheckpointError,
    convert,
    load_checkpoint,
    load_file,
    read_checkpoint,
)
from mmdetr.engine import DetectionRunner
from mmdetr.models.heads import DETRHead
from mmdetr.registry import MODELS
from tests.helpers.reference import facebook_state_dict, model_config, read_case
from tests.helpers.toy import toy_config

CLASSES = ('circle', 'square', 'triangle')


class LevelNeck(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(3, 8, 1) for _ in range(2))


class SigmoidHead(nn.Module):
    class_rows = ('label.weight', 'label.bias')
    has_no_object_row = False
    resizable_rows = ('anchors.weight',)

    def __init__(self, num_classes: int, num_anchors: int) -> None:
        super().__init__()
        self.anchors = nn.Embedding(num_anchors, 4)
        self.label, self.corners = nn.Linear(8, num_classes), nn.Linear(8, 4)


@MODELS.register_module()
class AnchorModel(BaseModel):
    """Learns nothing but the sum of its weights."""

    def __init__(self, num_classes: int = 3, num_anchors: int = 5) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))
        self.pyramid = LevelNeck()
        self.detect = SigmoidHead(num_classes, num_anchors)

    def forward(self, inputs, target, mode='tensor'):
        loss = sum(p.square().sum() for p in self.parameters())
        return dict(loss=loss) if mode == 'loss' else [loss.detach()]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A checkpoint as our training writes it."""
    folder = tmp_path_factory.mktemp('other')
    config = toy_config(folder, model=dict(type='AnchorModel'), train_cfg__max_epochs=1)
    DetectionRunner.from_cfg(config).train()
    return folder / 'epoch_1.pth'


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_instance('test_other')
    logger.addHandler(caplog.handler)
    yield lambda: '\n'.join(r.getMessage() for r in caplog.records if r.levelno >= logging.INFO)
    logger.removeHandler(caplog.handler)


def load(model, path, **kwargs):
    return load_checkpoint(model, path, logger=MMLogger.get_instance('test_other'), **kwargs)


def assert_equal(model, path):
    own, saved = model.state_dict(), load_file(path)['state_dict']
    assert own.keys() == saved.keys()
    assert all(torch.equal(own[name], value) for name, value in saved.items())


def test_its_file_is_ours(trained):
    file = read_checkpoint(trained)
    assert file.format == 'mmdetr'
    assert file.meta['mmdetr_version']
    assert file.classes == CLASSES


def test_every_weight_is_accounted_for(trained, log):
    model = AnchorModel()
    checkpoint = load(model, trained, strict=True)
    assert_equal(model, trained)
    total = len(model.state_dict())
    assert f'loaded: {total} of {total} weights of the model' in log()
    assert 'format: mmdetr; its architecture is not registered' in log()
    assert checkpoint['meta']['dataset_meta']['classes'] == CLASSES


def test_for_inference(trained):
    config = Config(dict(default_scope='mmdetr', model=dict(type='AnchorModel')))
    model = init_detector(config, trained, device='cpu')
    assert_equal(model, trained)
    assert tuple(model.dataset_meta['classes']) == CLASSES
    config.model.num_anchors = 4
    other = DetectionRunner.from_cfg(
        toy_config(trained.parent, model=config.model, load_from=str(trained))
    )
    other.load_or_resume()
    assert torch.equal(other.model.detect.anchors.weight, model.detect.anchors.weight[:4])


def test_sigmoid_rows_go_by_name(trained, log):
    model = AnchorModel(num_classes=3, num_anchors=7)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    checkpoint = load(model, trained, classes=('Triangle', 'gnu', 'circle'))

    own, saved = model.state_dict(), load_file(trained)['state_dict']
    for leaf in ('weight', 'bias'):
        rows, found = own[f'detect.label.{leaf}'], saved[f'detect.label.{leaf}']
        assert torch.equal(rows[[0, 2]], found[[2, 0]])
        assert torch.equal(rows[1], before[f'detect.label.{leaf}'][1])
    assert torch.equal(own['detect.anchors.weight'][:5], saved['detect.anchors.weight'])
    assert torch.equal(own['detect.anchors.weight'][5:], before['detect.anchors.weight'][5:])
    assert 'NEWLY INITIALISED classes (1): gnu' in log()
    assert 'no-object' not in log()
    assert checkpoint['meta']['dataset_meta'] == dict(classes=('Triangle', 'gnu', 'circle'))


def test_conversion(trained, tmp_path):
    file = read_checkpoint(trained)
    with pytest.raises(CheckpointError, match=r'epoch_1\.pth: its architecture is not registered'):
        convert(file, tmp_path / 'a.pth', 'facebook')
    convert(file, tmp_path / 'a.pth', 'mmdetr')
    stripped = load_file(tmp_path / 'a.pth')
    assert stripped.keys() == {'meta', 'state_dict'}
    assert stripped['meta'] == file.meta
    load(AnchorModel(), tmp_path / 'a.pth', strict=True)


# Class rows of softmax and sigmoid heads, in a model that has DETR's names.


@MODELS.register_module()
class SigmoidDETRHead(DETRHead):
    has_no_object_row = False

    def __init__(self, num_classes: int, **kwargs) -> None:
        super().__init__(num_classes, **kwargs)
        self.cls_branch = nn.Linear(self.cls_branch.in_features, num_classes)


def detr(num_classes: int, **head) -> nn.Module:
    config = model_config(read_case('sine_post')[0])
    config['bbox_head'] |= dict(num_classes=num_classes, **head)
    return MODELS.build(config)


def test_a_published_softmax_head_fills_a_sigmoid_head(tmp_path, log):
    meta, _ = read_case('sine_post')
    weights = facebook_state_dict(meta['shapes'], meta['seed'])
    torch.save(dict(model=weights), tmp_path / 'detr.pth')
    model = detr(2, type='SigmoidDETRHead')

    load(model, tmp_path / 'detr.pth', strict=True, classes=('dog', 'cat'))

    assert torch.equal(model.bbox_head.cls_branch.bias, weights['class_embed.bias'][[18, 17]])
    assert '2 of 2 classes by name' in log()
    assert 'no-object' not in log()


def test_a_sigmoid_head_fills_heads_of_both_kinds(tmp_path, log):
    """The number of names tells that each row of the file is a class."""
    source = detr(3, type='SigmoidDETRHead')
    meta = dict(mmdetr_version='0.2.0', dataset_meta=dict(classes=CLASSES))
    path = tmp_path / 'a.pth'
    torch.save(dict(meta=meta, state_dict=source.state_dict()), path)

    same, other, softmax = detr(3, type='SigmoidDETRHead'), detr(2, type='SigmoidDETRHead'), detr(3)
    initial = softmax.bbox_head.cls_branch.bias[-1].clone()
    load(same, path, strict=True)
    load(other, path, strict=True, classes=('triangle', 'square'))
    bias = source.bbox_head.cls_branch.bias
    assert torch.equal(same.bbox_head.cls_branch.bias, bias)
    assert torch.equal(other.bbox_head.cls_branch.bias, bias[[2, 1]])
    assert 'NEWLY' not in log()

    load(softmax, path)
    assert torch.equal(softmax.bbox_head.cls_branch.bias, torch.cat((bias, initial[None])))
    assert 'NEWLY INITIALISED classes (1): no-object' in log()
    with pytest.raises(CheckpointError, match='a class head in facebook has a no-object row'):
        convert(read_checkpoint(path), tmp_path / 'b.pth', 'facebook')
