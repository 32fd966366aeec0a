"""RuntimeDetector around a session, whichever runtime that is."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmdetr.apis import RuntimeDetector
from mmdetr.deploy import ImageDetections, runtime, sessions
from mmdetr.deploy.metadata import ExportedFileError
from mmdetr.utils.image_decoding import UnreadableImageError
from tests.helpers.exported import metadata


class EchoSession:
    """Finds the mean of each image's first channel as the score, and the image's box."""

    def __init__(self, **changes: Any) -> None:
        self.metadata = metadata(postprocess=True, scale=None, **changes).to_json()
        self.batches: list[tuple] = []

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.batches.append(inputs['images'].shape)
        sizes = inputs['original_sizes'].astype(np.float32)
        boxes = np.concatenate((0 * sizes, sizes[:, ::-1]), 1)[:, None]
        pairs = zip(inputs['images'], inputs['sizes'], strict=True)
        scores = [image[:height, :width, 0].mean() / 255 for image, (height, width) in pairs]
        return dict(
            boxes=boxes,
            scores=np.float32(scores)[:, None],
            labels=np.ones((len(boxes), 1), np.int64),
        )


@pytest.fixture
def detector(monkeypatch: Any, tmp_path: Path) -> RuntimeDetector:
    monkeypatch.setattr(runtime, 'open_session', lambda *_: EchoSession(score_threshold=0.3))
    return RuntimeDetector(tmp_path / 'a.onnx', batch_size=2)


def test_images_of_one_size_share_a_batch_and_keep_their_order(detector: RuntimeDetector) -> None:
    sizes = [(80, 90), (70, 100), (80, 90), (80, 90), (70, 100)]
    images = [np.full((*size, 3), 50 * i, np.uint8) for i, size in enumerate(sizes)]
    found = detector.predict(images)
    assert detector.session.batches == [(2, 80, 90, 3), (1, 80, 90, 3), (2, 70, 100, 3)]
    for i, (each, (height, width)) in enumerate(zip(found, sizes, strict=True)):
        assert each.scores[0] == pytest.approx(50 * i / 255)
        assert each.boxes.tolist() == [[0, 0, width, height]]


def test_images_come_in_every_form(detector: RuntimeDetector, tmp_path: Path) -> None:
    rgb = np.zeros((80, 90, 3), np.uint8)
    rgb[..., 0] = 255  # red, which the network sees in the first channel
    image = Image.fromarray(rgb)
    content = io.BytesIO()
    image.save(content, 'PNG')
    path = tmp_path / 'red.png'
    image.save(path)
    for each in (path, str(path), content.getvalue(), image, rgb[..., ::-1]):
        single = detector(each)
        assert isinstance(single, ImageDetections)
        assert single.scores.tolist() == [1.0]
    assert len(detector([path, image])) == 2
    assert detector.predict([]) == []


def test_what_the_file_says(detector: RuntimeDetector) -> None:
    assert detector.classes == ('cat', 'dog')
    assert detector.score_threshold == 0.3
    detector.warmup(66, 77)
    assert detector.session.batches == [(1, 66, 77, 3)]


def test_what_is_no_image_is_named(detector: RuntimeDetector, tmp_path: Path) -> None:
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(b'no image')
    with pytest.raises(UnreadableImageError, match=r'broken\.jpg.*no image'):
        detector(broken)
    with pytest.raises(TypeError, match='image 1 of the list: no image: int'):
        detector.predict([np.zeros((64, 64, 3), np.uint8), 3])


def test_files_that_cannot_be_opened(monkeypatch: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportedFileError, match=r'missing\.onnx does not exist'):
        RuntimeDetector(tmp_path / 'missing.onnx')
    other = tmp_path / 'model.pth'
    other.touch()
    with pytest.raises(ExportedFileError, match=r'must end in \.onnx, \.xml, \.pt2'):
        RuntimeDetector(other)
    program = tmp_path / 'model.pt2'
    program.touch()
    with pytest.raises(ExportedFileError, match='openvino does not read'):
        RuntimeDetector(program, runtime='openvino')

    def missing(package: str) -> Any:
        raise ImportError(package)

    monkeypatch.setattr(sessions.importlib, 'import_module', missing)
    onnx = tmp_path / 'model.onnx'
    onnx.touch()
    message = r"^onnxruntime is not installed: pip install 'mmdetr\[export\]'$"
    with pytest.raises(ExportedFileError, match=message):
        RuntimeDetector(onnx)


def test_detections_above_a_score() -> None:
    found = ImageDetections(
        np.eye(3, 4, dtype=np.float32), np.float32([0.2, 0.9, 0.5]), np.arange(3)
    )
    kept = found.above(0.5)
    assert kept.labels.tolist() == [1, 2]
    assert kept.boxes.tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    assert len(kept) == 2
    assert found.above([0.1, 0.95, 0.5]).labels.tolist() == [2, 0]


def test_thresholds_by_class(monkeypatch: Any) -> None:
    numbers = dict(precision=0.5, recall=0.5, f1=0.5, num_objects=9)
    dog = dict(name='dog', threshold=0.7, **numbers)
    point = dict(
        everything=dict(name='all', threshold=0.4, **numbers), classes=[dog], iou=0.5, num_images=9
    )
    for asked, one, each in ((None, 0.4, (0.4, 0.7)), (0.2, 0.2, (0.2, 0.2))):
        session = EchoSession(score_threshold=asked, operating_point=point)
        monkeypatch.setattr(runtime, 'open_session', lambda *_, session=session: session)
        detector = RuntimeDetector('a.onnx')
        assert (detector.score_threshold, detector.thresholds) == (one, each)
