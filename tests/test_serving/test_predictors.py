"""Both detectors of the service behind one interface."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmdetr.deploy import ImageDetections
from mmdetr.serving.predictor import NoAttentionError, as_text
from mmdetr.serving.runtime_predictor import RuntimePredictor
from mmdetr.utils.operating_point import OperatingPoint

ROOT = Path(__file__).parents[2]


class Exported:
    """What RuntimeDetector offers; finds one box whose score is the blue of the first pixel."""

    file = Path('folder/model.onnx')
    classes = ('cat', 'dog')
    score_threshold = None
    thresholds: tuple[float, ...] = (0.3, 0.3)
    operating_point = OperatingPoint(None)

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        return height // 2, width // 2

    def predict(self, images: list[np.ndarray]) -> list[ImageDetections]:
        code = dict(size=[2, 3], counts=b'06')
        return [
            ImageDetections(
                np.float32([[0, 0, *image.shape[1::-1]]]),
                np.float32([image[0, 0, 0] / 255]),
                np.array([1]),
                [code],
            )
            for image in images
        ]


def test_exported_file() -> None:
    detector: Any = Exported()
    predictor = RuntimePredictor(detector)
    assert (predictor.name, predictor.score_thr, predictor.attention) == ('model.onnx', 0.3, None)
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 2] = 51  # blue: the detector takes BGR
    prepared = predictor.prepare(image)
    assert (prepared.group, prepared.size) == ((2, 3), (6, 4))
    (found,) = predictor.predict([prepared])
    assert found.boxes.tolist() == [[0, 0, 6, 4]]
    assert found.scores.tolist() == [np.float32(0.2)]
    assert found.labels.tolist() == [1]
    assert found.queries is None
    assert found.masks == [dict(size=[2, 3], counts='06')]
    with pytest.raises(NoAttentionError, match='exported file'):
        predictor.attend([(prepared, 0)])


def test_threshold_that_the_file_recommends() -> None:
    detector: Any = Exported()
    detector.score_threshold, detector.thresholds = 0.25, (0.25, 0.25)
    predictor = RuntimePredictor(detector)
    assert (predictor.score_thr, predictor.thresholds) == (0.25, None)
    detector.thresholds = (0.25, 0.6)
    assert RuntimePredictor(detector).thresholds == (0.25, 0.6)


def test_masks_as_text() -> None:
    assert as_text([dict(size=(2, 3), counts='06')]) == [dict(size=[2, 3], counts='06')]


def test_a_runtime_is_served_without_torch() -> None:
    pytest.importorskip('fastapi')
    code = """
import sys
import mmdetr.serving.server, mmdetr.serving.app, mmdetr.serving.runtime_predictor
print(*{'torch', 'mmengine', 'cv2', 'pycocotools'} & set(sys.modules))
"""
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
