"""A run stops where a panoptic model and its data count other classes."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdetr.datasets import PanopticShapesDataset
from mmdetr.engine.hooks import NumClassCheckHook
from mmdetr.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'


def runner(**head) -> SimpleNamespace:
    """What the hook reads of a runner: the COCO panoptic model, and data of five classes."""
    init_default_scope('mmdetr')
    cfg = Config.fromfile(CONFIGS / 'detr_r50_panoptic_8xb2-25e_coco.py')
    cfg.merge_from_dict({f'model.bbox_head.{key}': value for key, value in head.items()})
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    loader = SimpleNamespace(dataset=PanopticShapesDataset(1))
    return SimpleNamespace(
        model=model, train_dataloader=loader, test_dataloader=loader, val_loop=None
    )


@pytest.mark.parametrize(
    ('head', 'message'),
    [
        ({}, r'model\.bbox_head\.num_classes is 133, but \w+\.dataset has 5 classes .*circle'),
        (dict(num_classes=250), r'num_classes is 250, but .*set model\.bbox_head\.num_classes=5'),
        (
            dict(num_classes=5),
            r'panoptic\.things and .* for the labels 3, 4: set .*panoptic\.things=3',
        ),
    ],
)
def test_other_classes_are_named_before_the_first_step(head, message):
    run = runner(**head)
    for check in (NumClassCheckHook().before_train, NumClassCheckHook().before_test):
        with pytest.raises(ValueError, match=message):
            check(run)


def test_a_model_for_the_data_is_accepted():
    head = {'num_classes': 5, 'panoptic.things': 3}
    NumClassCheckHook().before_train(runner(**head))
