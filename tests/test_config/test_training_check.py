"""Checks of a config against its data."""

from typing import Any

import pytest
from mmengine.config import ConfigDict

from mmdetr.config.training_check import (
    check_amount,
    check_batch,
    check_num_classes,
    check_same_classes,
    check_things,
    check_training,
    classes_of,
    find_key,
    find_num_queries,
)
from mmdetr.datasets import ShapesDataset


@pytest.mark.parametrize(
    ('accumulated', 'enable', 'world_size', 'level', 'text'),
    [
        (1, False, 8, 'info', '= 16 per optimiser step, learning rate 0.0001'),
        (4, False, 2, 'info', '= 16 per optimiser step, learning rate 0.0001'),
        (1, False, 1, 'warning', 'for 16 images; --auto-scale-lr would make it 1.25e-05'),
        (1, True, 1, 'info', 'scaled to 1.25e-05'),
    ],
)
def test_batch(accumulated: int, enable: bool, world_size: int, level: str, text: str) -> None:
    cfg = dict(
        train_dataloader=dict(batch_size=2),
        optim_wrapper=dict(optimizer=dict(lr=1e-4), accumulative_counts=accumulated),
        auto_scale_lr=dict(enable=enable, base_batch_size=16),
    )
    (finding,) = check_batch(cfg, world_size)
    assert finding.level == level
    assert text in finding.text


def test_amount() -> None:
    """COCO with 150 epochs is enough, ten epochs are not, published weights always are."""
    cfg = dict(
        train_cfg=dict(max_epochs=150),
        train_dataloader=dict(batch_size=2),
        optim_wrapper=dict(optimizer=dict(lr=1e-4)),
    )
    assert check_amount(cfg, num_images=118_287, world_size=8) == []
    (finding,) = check_amount(cfg | dict(train_cfg=dict(max_epochs=10)), 118_287, 8)
    assert 'for 73930 steps' in finding.text
    assert check_amount(cfg | dict(train_cfg=dict(max_iters=400_000)), 118_287, 8) == []
    assert (
        'on 500 images' in check_amount(cfg | dict(train_cfg=dict(max_iters=9**9)), 500, 8)[0].text
    )
    assert check_amount(cfg | dict(load_from='detr.pth'), num_images=500, world_size=1) == []
    # Denoising on a backbone's weights learns from a few hundred images; from nothing it does not.
    head = dict(denoising=dict(type='ContrastiveDenoising'))
    small = cfg | dict(model=dict(backbone=dict(pretrained=True), bbox_head=head))
    assert check_amount(small, 300, 1) == []
    assert check_amount(small | dict(model=dict(backbone={}, bbox_head=head)), 300, 1)


def test_amount_for_models_that_learn_from_few_images() -> None:
    """A sampling decoder does with a trained backbone, and neither alone."""
    cfg = dict(train_cfg=dict(max_epochs=40), train_dataloader=dict(batch_size=4))

    def findings(head: str, **backbone: Any) -> list[Any]:
        model = dict(bbox_head=dict(type=head), backbone=dict(type='TimmBackbone', **backbone))
        return check_amount(cfg | dict(model=model), 292, 1)

    assert findings('RTDETRHead', pretrained=True) == []
    assert findings('RTDETRHead')
    assert findings('DETRHead', pretrained=True)


@pytest.mark.parametrize(
    'optim_wrapper',
    [
        dict(optimizer=dict(type='AdamW')),  # with torch's learning rate
        dict(constructor='MyConstructor', generator=dict(lr=1), discriminator=dict(lr=2)),
        None,
    ],
)
@pytest.mark.parametrize('config', [dict, ConfigDict])
def test_learning_rate_that_the_config_does_not_state(optim_wrapper: Any, config: type) -> None:
    cfg = config(
        train_dataloader=dict(batch_size=2),
        train_cfg=dict(max_epochs=3),
        optim_wrapper=optim_wrapper,
        auto_scale_lr=dict(base_batch_size=16),
    )
    expected = 'batch: 2 images x 4 processes x 1 accumulated = 8 per optimiser step'
    assert check_batch(cfg, 4) == [('info', expected)]
    assert 'for 6 steps' in check_amount(cfg, 16, 4)[0].text


def test_loop_that_counts_otherwise() -> None:
    cfg = dict(train_dataloader=dict(batch_size=2), train_cfg=dict(type='MyLoop', hours=3))
    assert 'on 500 images: DETR needs' in check_amount(cfg, 500, 1)[0].text
    assert check_amount(cfg, 118_287, 1) == []


def test_missing_batch_size() -> None:
    cfg = dict(train_dataloader=dict(dataset=dict()), train_cfg=dict(max_epochs=3))
    assert check_batch(cfg, 1) == [('error', 'train_dataloader has no batch_size')]
    assert len(check_amount(cfg, 500, 1)) == 1


def test_generated_images_are_enough() -> None:
    cfg = dict(train_dataloader=dict(batch_size=2), train_cfg=dict(max_epochs=3))
    levels = [each.level for each in check_training(cfg, ShapesDataset(num_images=3), 1)]
    assert levels == ['info']


def test_number_of_classes() -> None:
    stated = [('model.a.num_classes', 3), ('model.b.num_classes', 7)]
    names = tuple('abcdefg')
    assert check_num_classes(stated, names, 'data') == [
        (
            'error',
            'model.a.num_classes is 3, but data has 7 classes (a, b, c, d, e, and 2 more): '
            'set model.a.num_classes=7 or the metainfo.classes of the dataset',
        )
    ]
    assert check_num_classes(stated, (), 'data') == []


def test_things_of_model_and_data() -> None:
    isthing = (True, True, False, False)
    assert check_things('things', range(2), isthing, 'data') == []
    assert check_things('things', range(91), (True, True), 'data') == []
    (finding,) = check_things('things', range(3), isthing, 'data')
    assert finding.text.endswith('which classes are things, for the labels 2: set things=2')
    (finding,) = check_things('things', {0, 3}, (False, True, False, True), 'data')
    assert finding.text.endswith('for the labels 0, 1: set things=[1, 3]')


def test_classes_of_two_datasets() -> None:
    assert classes_of(ShapesDataset(num_images=1)) == ('circle', 'rectangle', 'triangle')
    assert classes_of([1, 2]) == ()
    assert check_same_classes(('a', 'b'), ('a', 'b'), 'train', 'val') == []
    assert check_same_classes(('a', 'b'), (), 'train', 'val') == []
    (finding,) = check_same_classes(('a', 'b'), ('b', 'a'), 'train', 'val')
    assert finding.text.startswith('train and val differ in their classes or in the order')


def test_keys_at_any_depth() -> None:
    cfg = dict(model=dict(a=[dict(num_queries=5), dict(b=dict(num_queries=6))], num_classes=2))
    found = list(find_key(cfg['model'], 'num_queries', 'model'))
    assert found == [('model.a.0.num_queries', 5), ('model.a.1.b.num_queries', 6)]
    assert find_num_queries(cfg) == 5
    assert find_num_queries({}) is None
