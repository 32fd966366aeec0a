"""An exported file is scored as a checkpoint is; int8 is kept where it scores the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdetr.deploy import evaluation, export, quantization
from mmdetr.deploy.description import ExportError
from mmdetr.deploy.evaluation import ExportedModel, check_classes, is_exported, use_exported
from mmdetr.deploy.metadata import ExportedFileError
from mmdetr.deploy.postprocessing import to_detections
from mmdetr.deploy.preprocessing import make_inputs, resize
from mmdetr.engine import DetectionRunner
from mmdetr.utils.mask_frame import Frame
from tests.helpers.exported import CONFIGS, build, metadata

IMAGES = 4


def shapes_config(tmp_path: Path) -> Config:
    config = Config.fromfile(CONFIGS / 'detr_tiny_1xb32-12e_shapes.py')
    loader = config.test_dataloader
    loader.num_workers, loader.persistent_workers = 0, False
    loader.dataset.num_images = IMAGES
    config.work_dir = str(tmp_path)
    config.log_level = 'WARNING'
    return config


class TorchDetector:
    """A RuntimeDetector that computes in torch, of a file that never was."""

    def __init__(self, file: str, threads: int | None = None) -> None:
        self.model = build()
        self.metadata = metadata(scale=None, num_classes=3, classes=list('abc'))

    def predict(self, images: list[np.ndarray]) -> list:
        found = []
        for image in images:
            inputs = make_inputs([resize(image, self.metadata)], [image.shape[:2]], self.metadata)
            with torch.no_grad():
                logits, bboxes = self.model(torch.from_numpy(inputs['inputs']))
            frame = Frame(*[(image.shape[0], image.shape[1])] * 3)
            found += to_detections(logits[0].numpy(), bboxes[0].numpy(), [frame], self.metadata)
        return found


def test_the_metrics_are_those_of_the_model(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(evaluation, 'RuntimeDetector', TorchDetector)
    config = shapes_config(tmp_path)
    use_exported(config, 'a.onnx')
    runner = DetectionRunner.from_cfg(config)
    with pytest.raises(ExportedFileError, match='has the classes a, b, c, the data circle, rect'):
        check_classes(runner, 'a.onnx')
    ours = runner.test()

    plain = DetectionRunner.from_cfg(shapes_config(tmp_path))
    plain.model = TorchDetector('').model
    assert plain.test() == pytest.approx(ours)


def test_weights_that_are_averaged_in_training_are_not_looked_for(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """mmengine's EMAHook copies the model, and a session of a runtime cannot be copied."""

    class Session(TorchDetector):
        def __deepcopy__(self, memo: dict) -> None:
            raise TypeError('cannot pickle a session')

    monkeypatch.setattr(evaluation, 'RuntimeDetector', Session)
    config = shapes_config(tmp_path)
    config.custom_hooks = [dict(type='EMAHook'), dict(type='mmengine.EMAHook')]
    use_exported(config, 'a.onnx')
    assert 'coco/bbox_mAP' in DetectionRunner.from_cfg(config).test()


def test_the_pipeline_leaves_resizing_to_the_file() -> None:
    step = dict(type='mmdetr.Resize', scale=(8, 9))
    inner = dict(type='A', pipeline=[dict(type='LoadImageFromFile'), step])
    config = Config(dict(test_dataloader=dict(dataset=dict(type='B', datasets=[inner]))))
    use_exported(config, 'a.xml')
    assert config.test_dataloader.dataset.datasets[0].pipeline == [dict(type='LoadImageFromFile')]
    assert config.model == dict(type='ExportedModel', file='a.xml', threads=None)
    assert [is_exported(name) for name in ('a.onnx', 'b.pt2', 'c.pth')] == [True, True, False]


def test_a_file_does_not_train(monkeypatch: Any) -> None:
    monkeypatch.setattr(evaluation, 'RuntimeDetector', TorchDetector)
    with pytest.raises(ValueError, match="mode='predict' alone"):
        ExportedModel('a.onnx')([], [], mode='loss')


@pytest.mark.parametrize(
    ('scores', 'kept'),
    [((0.5, 0.491), True), ((0.5, 0.49, 0.495), True), ((0.5, 0.4, 0.49), False)],
)
def test_int8_is_kept_where_it_loses_less_than_a_point(
    tmp_path: Path, monkeypatch: Any, scores: tuple, kept: bool
) -> None:
    """After everything at once, convolutions alone are tried."""
    left, operators = list(scores), []
    monkeypatch.setattr(export, 'RuntimeDetector', lambda file: None)
    monkeypatch.setattr(export, 'calibration_inputs', lambda detector, images: [{}])
    monkeypatch.setattr(export, 'average_precision', lambda *_: left.pop(0))
    monkeypatch.setattr(export, 'quantize', lambda *given: operators.append(given[-1]))
    made = tmp_path / 'a.onnx'
    arguments = (Config(), tmp_path / 'float32.onnx', made, 'onnx', [], lambda text: None)
    if kept:
        assert export._quantize(*arguments) == (scores[0], scores[-1])
    else:
        with pytest.raises(ExportError, match=r'refused: AP falls from 0\.500 to 0\.400 or'):
            export._quantize(*arguments)
    assert operators == list(quantization.ATTEMPTS[: len(scores) - 1])


@pytest.mark.parametrize(
    ('config', 'scores', 'message'),
    [
        ('deformable_detr_tiny_1xb32-12e_shapes.py', (), None),
        ('dino_tiny_1xb32-12e_shapes.py', (0.5, 0.491), None),
        ('dfine_tiny_1xb32-12e_shapes.py', (0.5, 0.49), 'falls from 0.500 to 0.490'),
    ],
)
def test_float16_of_models_that_choose_proposals_is_kept_by_its_score(
    tmp_path: Path, monkeypatch: Any, config: str, scores: tuple, message: str | None
) -> None:
    """Rounding chooses others of nearly equal score, so single queries tell nothing."""
    left, compared = list(scores), []
    monkeypatch.setattr(export, 'trace', lambda network, described: described.dtype)
    monkeypatch.setattr(export, 'write', lambda program, file, *_: Path(file).write_text(program))
    monkeypatch.setattr(export, 'RuntimeDetector', lambda file: Path(file).read_text())
    monkeypatch.setattr(export, 'verify', lambda _, file: compared.append(file) or [])
    monkeypatch.setattr(export, 'average_precision', lambda *_: left.pop(0))
    file = tmp_path / 'a.pt2'
    arguments = dict(format='torch-export', dtype='float16')
    if message is None:
        report = export.export_detector(build(config), file, **arguments)
        assert report.accuracy == (scores or None)
        assert file.read_text() == report.metadata.dtype == 'float16'
    else:
        with pytest.raises(ExportError, match=message):
            export.export_detector(build(config), file, **arguments)
        assert not file.exists()
    assert compared == ['float32' if scores else 'float16']
    assert not left


def test_images_to_calibrate_on_are_those_of_the_training() -> None:
    config = Config.fromfile(CONFIGS / 'detr_tiny_1xb32-12e_shapes.py')
    images = list(quantization.training_images(config))
    assert len(images) == quantization.NUM_IMAGES
    assert {(image.shape, image.dtype.name) for image in images} == {((64, 64, 3), 'uint8')}
    with pytest.raises(ExportError, match='--calibration IMAGES'):
        next(quantization.training_images(Config()))
