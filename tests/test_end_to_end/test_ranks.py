"""A real DETR on several processes: ranks without objects, parameters without use, evaluation."""

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.registry import DATASETS

from mmdetr.checkpoint import load_file
from mmdetr.datasets import ShapesDataset
from mmdetr.engine.runner import DetectionRunner
from tests.helpers.coco_files import annotation, image, write_coco, write_images
from tests.helpers.ranks import run_ranks

from .test_tools_chain import rename, scalars, small_config, weights

EXACT = {  # what makes two processes compute what one does
    'model.bbox_head.transformer.dropout': 0.0,
    'optim_wrapper.optimizer': dict(type='SGD', lr=0.01, _delete_=True),
    'train_cfg.max_epochs': 1,
    'train_dataloader.sampler.shuffle': False,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
}
BOXES_WITHOUT_LOSS = {
    'model.bbox_head.criterion.loss_bbox': None,
    'model.bbox_head.criterion.loss_giou': None,
}


@DATASETS.register_module()
class SparseShapesDataset(ShapesDataset):
    """No objects in images whose number is divisible by ``empty``."""

    def __init__(self, *args: Any, empty: int, **kwargs: Any) -> None:
        self.empty = empty
        super().__init__(*args, **kwargs)

    def _scene(self, img_id: int) -> tuple:
        background, shapes, rng = super()._scene(img_id)
        return background, shapes if img_id % self.empty else [], rng


def exact_config(work_dir: Path, **options: Any) -> Config:
    cfg = small_config(work_dir, **{**EXACT, **options})
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    return cfg


def _train(rank: int, cfg: Config) -> None:
    cfg.launcher = 'pytorch'
    rename(cfg, f'{cfg.work_dir} {rank}')
    DetectionRunner.from_cfg(cfg).train()


def train_alone_and_on_two(tmp_path: Path, **options: Any) -> None:
    DetectionRunner.from_cfg(exact_config(tmp_path / 'one', **options)).train()
    options['train_dataloader.batch_size'] = 2
    run_ranks(2, _train, exact_config(tmp_path / 'two', **options))


def assert_same_training(tmp_path: Path) -> None:
    one, two = (
        [line for line in scalars(tmp_path / name) if 'loss' in line] for name in ('one', 'two')
    )
    assert len(one) == len(two) == 4
    for ours, theirs in zip(one, two, strict=True):
        for key in ours:
            if 'loss' in key:
                assert theirs[key] == pytest.approx(ours[key], rel=1e-4, abs=1e-6), key
    expected, actual = weights(tmp_path / 'one', 1), weights(tmp_path / 'two', 1)
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize('empty', [2, 1])
def test_rank_without_any_object(tmp_path: Path, empty: int) -> None:
    """Images take turns between ranks: every second is empty, so that one rank sees no object."""
    dataset = dict(type='SparseShapesDataset', empty=empty)
    options = {f'train_dataloader.dataset.{key}': value for key, value in dataset.items()}
    options['default_hooks.dataset_check'] = None  # it refuses data without any object
    train_alone_and_on_two(tmp_path, **options)
    assert_same_training(tmp_path)
    counts = [line['num_matched'] for line in scalars(tmp_path / 'one') if 'loss' in line]
    assert all(counts) if empty == 2 else not any(counts)


@pytest.mark.parametrize(
    'options',
    [
        {'model.bbox_head.criterion.aux_loss': False},
        {'model.backbone.frozen_stages': 2, 'model.backbone.norm_frozen': False},
        {**BOXES_WITHOUT_LOSS, 'find_unused_parameters': True},
    ],
    ids=['no auxiliary losses', 'frozen backbone', 'unused parameters allowed'],
)
def test_same_training_where_parameters_have_less_to_do(tmp_path: Path, options: dict) -> None:
    train_alone_and_on_two(tmp_path, **options)
    assert_same_training(tmp_path)


def _is_refused(rank: int, cfg: Config) -> None:
    with pytest.raises(RuntimeError) as caught:
        _train(rank, cfg)
    message = str(caught.value)
    assert re.search(rf'rank {rank}: \d+ parameters got no gradient in the first step: ', message)
    assert 'bbox_head.reg_branch' in message
    assert 'find_unused_parameters=True' in message


def test_unused_parameters_are_named(tmp_path: Path) -> None:
    """On every rank and in the first step, before they wait for each other."""
    run_ranks(2, _is_refused, exact_config(tmp_path, **BOXES_WITHOUT_LOSS))


def test_unused_parameters_in_one_process(tmp_path: Path) -> None:
    cfg = exact_config(tmp_path, **BOXES_WITHOUT_LOSS)
    DetectionRunner.from_cfg(cfg).train()
    log = next(tmp_path.glob('*/*.log')).read_text()
    warnings = [line for line in log.splitlines() if 'got no gradient' in line]
    assert len(warnings) == 1
    assert 'bbox_head.reg_branch' in warnings[0]
    assert 'they are not trained' in warnings[0]


# Evaluation


SIZES = [(96, 72), (72, 96), (96, 72), (60, 60), (96, 72), (72, 96), (96, 72)]


def evaluation_config(tmp_path: Path, name: str, batch_size: int) -> Config:
    cfg = small_config(tmp_path / name)
    cfg.test_dataloader.update(batch_size=batch_size)
    cfg.test_dataloader.dataset = dict(
        type='CocoDataset',
        ann_file=f'{tmp_path}/coco.json',
        data_prefix=dict(img=f'{tmp_path}/'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackDetInputs')],
        test_mode=True,
    )
    cfg.test_evaluator = dict(type='CocoMetric', ann_file=f'{tmp_path}/coco.json')
    cfg.load_from = f'{tmp_path}/random.pth'
    return cfg


def _evaluate(rank: int, cfg: Config, launcher: str, out: Path) -> None:
    cfg.launcher = launcher
    rename(cfg, f'{cfg.work_dir} {rank}')
    runner = DetectionRunner.from_cfg(cfg)
    runner.test_evaluator.metrics.append(DumpResults(out_file_path=f'{out}.pkl'))
    batches = [list(batch) for batch in runner.test_dataloader.batch_sampler]
    torch.save([batches, runner.test()], f'{out}_{rank}.pth')


@pytest.mark.parametrize(
    ('batch_size', 'world_size'),
    [(1, 2), pytest.param(2, 2, marks=pytest.mark.slow), (2, 3), (8, 4)],
)
def test_evaluation_over_ranks_equals_one_process(
    tmp_path: Path, batch_size: int, world_size: int
) -> None:
    """Seven images of three sizes: they divide by nothing, and the last time a rank has none."""
    images = [image(number, *size) for number, size in enumerate(SIZES)]
    write_images(tmp_path, images)
    # Where random weights predict: in the middle, half the image's size.
    boxes = [
        annotation(3 * i + k, i, cat_id, [w / 4, h / 4, w / 2, h / 2], area=w * h / 4)
        for i, (w, h) in enumerate(SIZES)
        for k, cat_id in enumerate((7, 2, 90))
    ]
    write_coco(tmp_path, images, boxes)
    cfg = evaluation_config(tmp_path, 'one', batch_size)
    torch.manual_seed(0)
    model = DetectionRunner.from_cfg({**cfg.to_dict(), 'load_from': None}).model
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'random.pth')

    # As in the ranks: another number of threads sums in another order.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _evaluate(0, cfg, 'none', tmp_path / 'one')
    finally:
        torch.set_num_threads(threads)
    cfg = evaluation_config(tmp_path, 'many', batch_size)
    run_ranks(world_size, _evaluate, cfg, 'pytorch', tmp_path / 'many')

    batches, expected = load_file(tmp_path / 'one_0.pth')
    shares = [load_file(tmp_path / f'many_{rank}.pth') for rank in range(world_size)]
    assert sorted(batch for share, _ in shares for batch in share) == sorted(batches)
    assert all(metrics == expected for _, metrics in shares)
    assert expected['coco/bbox_mAP'] > 0
    one, many = (pickle.loads((tmp_path / f'{n}.pkl').read_bytes()) for n in ('one', 'many'))
    assert len(one) == len(many) == len(SIZES)
    of_one = {sample['img_id']: sample['pred_instances'] for sample in one}
    for sample in many:
        for key, value in sample['pred_instances'].items():
            assert torch.equal(value, of_one[sample['img_id']][key])
