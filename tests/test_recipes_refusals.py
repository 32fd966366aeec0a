"""What ``train FOLDER`` meets on other people's machines."""

import os
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmdetr.checkpoint import save_file
from mmdetr.config.reading import load_config
from mmdetr.recipes import Options, RecipeError, prepare
from mmdetr.recipes.result import best_checkpoint, next_commands, score_and_tell
from mmdetr.registry import MODELS
from tests.helpers.foreign_data import picture, write

NAME = 'dfine_n_8xb16-160e_coco'


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: Any) -> Path:
    for name in 'abcd':
        picture(tmp_path / f'photos/images/{name}.jpg')
        write(tmp_path / f'photos/labels/{name}.txt', '0 0.5 0.5 0.2 0.2')
    write(tmp_path / 'photos/data.yaml', 'names: [cat, dog]')
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'photos'


@pytest.fixture(scope='module')
def detector(tmp_path_factory: Any) -> Path:
    """A checkpoint of ours with two classes."""
    model = load_config(NAME).model
    model.bbox_head.num_classes = 2
    with DefaultScope.overwrite_default_scope('mmdetr'):
        content = MODELS.build(model).state_dict()
    path: Path = tmp_path_factory.mktemp('weights') / 'mine.pth'
    save_file(dict(state_dict=content, meta=dict(mmdetr_version='0')), str(path))
    return path


@pytest.mark.parametrize('model', [None, 'mine.py'])
def test_a_detector_before_anything_named_a_scope(
    photos: Path, detector: Path, monkeypatch: Any, model: str | None
) -> None:
    """The tool is the first that builds something: registries do not know yet whose they are."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', type(DefaultScope._instance_dict)())
    write(photos.parent / 'mine.py', f"_base_ = 'mmdetr::{NAME}.py'")
    file = prepare('photos', Options(weights=str(detector), epochs=2, model=model))
    cfg = load_config(str(file))
    assert cfg.load_from == str(detector)
    assert cfg.model.bbox_head.num_classes == 2


def test_a_detector_of_another_model_than_asked_for(photos: Path, detector: Path) -> None:
    options = Options(weights=str(detector), model='rtdetrv2_mobilenetv2_1xb4-40e_custom')
    with pytest.raises(
        RecipeError, match=r'mine\.pth is a detector of another model than rtdetrv2_'
    ):
        prepare('photos', options)


@pytest.mark.parametrize('folder', ["O'Brien", 'a"b', 'a{{b', 'a b ü#1'])
def test_folders_that_end_a_text_of_python(photos: Path, folder: str) -> None:
    options = Options(weights='none', model='dino_4scale_r50_8xb2-12e_coco', work_dir=folder)
    cfg = load_config(str(prepare('photos', options)))
    here = Path(folder).resolve()
    assert cfg.work_dir == str(here)
    assert cfg.val_evaluator.ann_file == str(here / 'annotations/val.json')


@pytest.mark.parametrize('epochs', [0, -1])
def test_a_training_without_epochs(photos: Path, epochs: int) -> None:
    with pytest.raises(RecipeError, match=f'epochs must be 1 or more, not {epochs}'):
        prepare('photos', Options(weights='none', epochs=epochs))


def test_the_best_of_an_earlier_training_in_the_folder_is_none_of_this_one(tmp_path: Path) -> None:
    """As where the second one had nothing to validate on."""
    old, last = write(tmp_path / 'best_a.pth', 'x'), write(tmp_path / 'epoch_1.pth', 'x')
    write(tmp_path / 'last_checkpoint', str(last))
    os.utime(old, (1000, 1000))
    assert best_checkpoint(tmp_path, since=2000) == last
    assert best_checkpoint(tmp_path) == old
    new = write(tmp_path / 'best_b.pth', 'x')
    os.utime(new, (2000, 2000))
    assert best_checkpoint(tmp_path, since=2000) == new


def test_a_score_of_nothing_is_no_result(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    class Runner:
        @classmethod
        def from_cfg(cls, cfg: Config) -> 'Runner':
            return cls()

        def test(self) -> dict[str, float]:
            return {'coco/bbox_mAP': -1.0, 'coco/bbox_mAP_50': -1.0}

    monkeypatch.setattr('mmdetr.engine.DetectionRunner', Runner)
    write(tmp_path / 'best_a.pth', 'x')
    dataset = dict(ann_file='data/val.json')
    cfg = Config(dict(work_dir=str(tmp_path), test_dataloader=dict(dataset=dataset)))
    score_and_tell(cfg, since=0)
    said = capsys.readouterr().out
    assert 'result: no score, since there is no object to be found, on val.json' in said
    assert '-1.0' not in said


def test_the_next_commands_can_be_pasted() -> None:
    said = next_commands(Path('my run/best.pth'))
    assert "next: mmdetr report 'my run'" in said
