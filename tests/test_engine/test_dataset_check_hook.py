"""The data checks before the first step of a training."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.dataset import ConcatDataset

from mmdetr.datasets import CocoDataset, ShapesDataset
from mmdetr.datasets.check import DatasetError
from mmdetr.engine.distributed import init_cpu_process_group
from mmdetr.engine.hooks import DatasetCheckHook
from mmdetr.registry import HOOKS
from tests.helpers.coco_files import GOOD_ANNOTATIONS, GOOD_IMAGES, write_coco, write_images
from tests.helpers.ranks import run_ranks

ROOT = Path(__file__).parents[2]


def coco(folder: Path, annotations: list) -> CocoDataset:
    ann_file = write_coco(folder, GOOD_IMAGES, annotations)
    return CocoDataset(ann_file, data_prefix=dict(img=str(folder)))


class Log:
    def __init__(self) -> None:
        self.text = ''

    def log(self, level: int, text: str) -> None:
        self.text += f'{level} {text}\n'


def runner_of(dataset: Any) -> Any:
    cfg = ConfigDict(
        model=dict(bbox_head=dict(num_queries=100)),
        train_cfg=dict(max_epochs=1),
        train_dataloader=dict(batch_size=2),
        optim_wrapper=dict(optimizer=dict(lr=1e-4)),
    )
    wrapped = SimpleNamespace(dataset=dataset)
    return SimpleNamespace(
        train_dataloader=wrapped, cfg=cfg, world_size=1, logger=Log(), val_loop=None
    )


def test_before_training(tmp_path: Path) -> None:
    runner = runner_of(coco(tmp_path, GOOD_ANNOTATIONS))
    write_images(tmp_path, GOOD_IMAGES[1:])
    DatasetCheckHook().before_train(runner)
    assert '30 training data: 1 of 4 image files looked for are missing' in runner.logger.text
    assert '30 training from scratch on 4 images' in runner.logger.text
    assert '20 batch: 2 images' in runner.logger.text

    with pytest.raises(ValueError, match=r'cannot be trained on.*none of 4 images has an object'):
        DatasetCheckHook().before_train(runner_of(coco(tmp_path, [])))
    runner = runner_of(ConcatDataset([coco(tmp_path, []), coco(tmp_path, GOOD_ANNOTATIONS)]))
    DatasetCheckHook().before_train(runner)
    assert '30 training data, dataset 0: none of 4 images' in runner.logger.text


def test_validation_data_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / 'val').mkdir()
    for folder in (tmp_path, tmp_path / 'val'):
        write_images(folder, GOOD_IMAGES)
    train = coco(tmp_path, GOOD_ANNOTATIONS)
    runner = runner_of(train)
    runner.val_loop = object()
    runner.val_dataloader = SimpleNamespace(dataset=coco(tmp_path / 'val', []))
    DatasetCheckHook().before_train(runner)
    assert '30 validation data: none of 4 images has an object' in runner.logger.text
    assert '4 pictures stand in both training data and validation data' in runner.logger.text

    (tmp_path / 'val' / '2.png').unlink()
    ann_file = write_coco(tmp_path / 'val', GOOD_IMAGES, GOOD_ANNOTATIONS)
    val = CocoDataset(ann_file, data_prefix=dict(img=str(tmp_path / 'val')), test_mode=True)
    runner.val_dataloader = SimpleNamespace(dataset=val)
    with pytest.raises(DatasetError, match=r'validation data: 1 of 4 image files.*val/2\.png'):
        DatasetCheckHook().before_train(runner)


@pytest.mark.parametrize('stage', ['val', 'test'])
def test_data_of_a_test_before_the_first_image(tmp_path: Path, stage: str) -> None:
    write_images(tmp_path, GOOD_IMAGES)
    fractions = [dict(each, bbox=[0.1, 0.1, 0.2, 0.2]) for each in GOOD_ANNOTATIONS]
    runner = runner_of(None)
    loader = SimpleNamespace(dataset=coco(tmp_path, fractions))
    setattr(runner, f'{stage}_dataloader', loader)
    hook = DatasetCheckHook()
    with pytest.raises(DatasetError, match=r'cannot be scored: .*fractions of the image'):
        getattr(hook, f'before_{stage}')(runner)


def test_before_training_on_other_data() -> None:
    runner = runner_of([1, 2, 3])
    DatasetCheckHook().before_train(runner)
    assert runner.logger.text == ''
    runner = runner_of(ShapesDataset(num_images=3))
    runner.cfg = Config()
    DatasetCheckHook().before_train(runner)
    assert 'scratch' not in runner.logger.text


def test_on_by_default() -> None:
    cfg = Config.fromfile(ROOT / 'configs/_base_/default_runtime.py')
    assert isinstance(HOOKS.build(cfg.default_hooks.dataset_check), DatasetCheckHook)


def _check(rank: int, folder: Path) -> None:
    os.environ['XDG_CACHE_HOME'] = str(folder)
    init_cpu_process_group('pytorch')
    try:
        DatasetCheckHook().before_train(runner_of(coco(folder / str(rank), [])))
    except DatasetError as error:
        (folder / f'message{rank}').write_text(str(error))


def test_every_rank_ends_with_one_sentence(tmp_path: Path) -> None:
    """Only the main rank looks at the data, and the others do not wait for it afterwards."""
    for rank in (0, 1):
        (tmp_path / str(rank)).mkdir()
        write_images(tmp_path / str(rank), GOOD_IMAGES)
    run_ranks(2, _check, tmp_path, limit=60)
    assert 'none of 4 images has an object' in (tmp_path / 'message0').read_text()
    message = (tmp_path / 'message1').read_text()
    assert message == 'rank 1 of 2 ends with rank 0, which says why'
