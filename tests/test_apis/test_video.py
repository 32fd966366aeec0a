"""Videos, cameras, batches and text files of tools/infer.py."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmdetr.apis import inference_detector
from mmdetr.apis import video as module
from mmdetr.apis.batches import detect_in_batches
from mmdetr.apis.sources import Picture
from mmdetr.apis.video import Camera, VideoError, VideoFile, VideoWriter
from tests.test_apis.test_inference import detector, files, infer  # noqa: F401

HEIGHT, WIDTH, FRAMES = 48, 66, 6
# The matrix of a track in an MP4 file: 3 x 3 fixed point numbers, row by row.
PLAIN = bytes.fromhex('00010000' + '00' * 12 + '00010000' + '00' * 12 + '40000000')
# A quarter turn clockwise, as a phone that is held upright writes it.
TURNED = bytes.fromhex('000000000001000000000000ffff0000' + '00' * 16 + '40000000')


@pytest.fixture
def av() -> Any:
    return pytest.importorskip('av', reason='videos need PyAV: pip install av')


def frames() -> list[np.ndarray]:
    """RGB, brighter from frame to frame, the upper half red."""
    pictures = np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    pictures[:, : HEIGHT // 2, :, 0] = 200
    pictures[..., 2] = np.arange(FRAMES)[:, None, None] * 30
    return list(pictures)


@pytest.fixture
def video(av: Any, tmp_path: Path) -> Path:
    """Written by PyAV itself, at 10 frames per second."""
    path = tmp_path / 'short.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, 'yuv420p'
        stream.bit_rate = 4_000_000
        for image in frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode())
    return path


def read(path: Path) -> list[Picture]:
    return list(VideoFile(str(path), path.parent / 'out').read(lambda data: data))


def test_frames_and_times(video: Path) -> None:
    pictures = read(video)
    assert VideoFile(str(video), video.parent / 'out').total == FRAMES
    assert [each.where for each in pictures] == [
        dict(frame=i, time=pytest.approx(i / 10)) for i in range(FRAMES)
    ]
    for picture, expected in zip(pictures, frames(), strict=True):
        assert picture.image.shape == (HEIGHT, WIDTH, 3)
        # Lossy, and its colours are halved in resolution.
        assert np.abs(picture.image[..., ::-1].astype(int) - expected).mean() < 12


def test_a_turned_video_comes_upright(video: Path) -> None:
    content = video.read_bytes()
    track = content.index(PLAIN, content.index(b'tkhd'))
    video.write_bytes(content[:track] + TURNED + content[track + len(TURNED) :])
    picture = read(video)[0]
    assert picture.image.shape == (WIDTH, HEIGHT, 3)
    # Turned clockwise, what was above is on the right.
    red = picture.image[..., 2].mean(0)
    assert red[-HEIGHT // 4 :].min() > 120
    assert red[: HEIGHT // 4].max() < 80


def test_a_video_through_the_tool(av: Any, infer: Any, video: Path, tmp_path: Path) -> None:  # noqa: F811
    out = tmp_path / 'out'
    options = ('--score-thr', 0, '--batch-size', 4, '--save-txt')
    assert infer(video, '--out-dir', out, *options) == 0
    records = json.loads((out / 'predictions.json').read_text())
    assert [record['frame'] for record in records] == list(range(FRAMES))
    assert [record['time'] for record in records] == pytest.approx([i / 10 for i in range(FRAMES)])
    assert {record['file'] for record in records} == {str(video)}
    assert all(len(record['boxes']) == 6 for record in records)
    names = [f'short_{i:06}.txt' for i in range(FRAMES)]
    assert sorted(path.name for path in (out / 'labels').iterdir()) == names
    drawn = read(out / 'short.mp4')
    assert [each.where['time'] for each in drawn] == pytest.approx([i / 10 for i in range(FRAMES)])
    # Small pictures are drawn larger.
    assert drawn[0].image.shape[0] % HEIGHT == 0
    assert 'choose another --out-dir' in infer(video, '--out-dir', video.parent)


def test_odd_sizes_and_equal_times(av: Any, tmp_path: Path) -> None:
    path = tmp_path / 'folder' / 'a.mp4'
    with VideoWriter(path) as writer:
        for seconds in (0, 0, 0.5):
            writer.write(np.full((31, 33, 3), 90, np.uint8), seconds)
    pictures = read(path)
    assert [each.where['time'] for each in pictures] == pytest.approx([0, 0.001, 0.5])
    assert pictures[0].image.shape == (32, 34, 3)


def test_what_is_no_video(av: Any, infer: Any, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / 'broken.mp4'
    path.write_bytes(b'no video')
    message = infer(path, '--out-dir', tmp_path / 'out')
    assert f'{path} cannot be read as a video' in message
    assert '\n' not in message


def test_without_pyav(infer: Any, tmp_path: Path, monkeypatch: Any) -> None:  # noqa: F811
    monkeypatch.setitem(sys.modules, 'av', None)
    path = tmp_path / 'a.mp4'
    path.touch()
    assert infer(path) == "error: videos need PyAV: pip install av, or pip install 'mmdetr[video]'"


class FakeCapture:
    """Three pictures of a camera, then it is unplugged or the user interrupts."""

    interrupts = False

    def __init__(self, number: int) -> None:
        self.left = 3 if number == 1 else 0

    def isOpened(self) -> bool:  # noqa: N802
        return self.left > 0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        if self.left < 0 and self.interrupts:
            raise KeyboardInterrupt
        return self.left >= 0, np.full((20, 20, 3), 7, np.uint8)

    def release(self) -> None:
        self.left = -1


@pytest.mark.parametrize('interrupts', [False, True])
def test_a_camera(infer: Any, tmp_path: Path, monkeypatch: Any, interrupts: bool) -> None:  # noqa: F811
    monkeypatch.setattr(module, '_has_device', lambda number: True)
    monkeypatch.setattr(module.cv2, 'VideoCapture', FakeCapture)
    monkeypatch.setattr(FakeCapture, 'interrupts', interrupts)
    assert infer(1, '--out-dir', tmp_path, '--no-draw') == 0
    records = json.loads((tmp_path / 'predictions.json').read_text())
    assert [record['frame'] for record in records] == [0, 1, 2]
    assert all(record['file'] == 'camera 1' for record in records)
    for is_there in (True, False):
        monkeypatch.setattr(module, '_has_device', lambda number, there=is_there: there)
        with pytest.raises(VideoError, match='no camera answers to number 0'):
            Camera(0)


def test_text_and_json_files(infer: Any, files: Path, tmp_path: Path) -> None:  # noqa: F811
    options = ('--score-thr', 0, '--save-txt', '--save-json', '--no-draw')
    assert infer(files / 'images', '--out-dir', tmp_path, *options) == 0
    assert not list(tmp_path.glob('*.png'))
    records = json.loads((tmp_path / 'predictions.json').read_text())
    for record in records:
        stem = tmp_path / 'labels' / Path(record['file']).stem
        if record['file'].endswith('.bmp'):
            stem = stem.with_name(f'{stem.name}.bmp')
        assert json.loads(stem.with_name(f'{stem.name}.json').read_text()) == record
        width, height = Image.open(record['file']).size
        lines = stem.with_name(f'{stem.name}.txt').read_text().splitlines()
        assert len(lines) == len(record['boxes']) == 6
        for line, box, score, label in zip(
            lines, record['boxes'], record['scores'], record['labels'], strict=True
        ):
            number, cx, cy, w, h, confidence = map(float, line.split())
            corners = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            back = [share * side for share, side in zip(corners, [width, height] * 2, strict=True)]
            assert back == pytest.approx(box, abs=1e-3)
            assert (number, confidence) == (label, pytest.approx(score, abs=1e-6))


def test_batches_change_nothing(detector: Any, files: Path) -> None:  # noqa: F811
    """Images of three sizes, two of each, in batches of four: none is padded, in their order."""
    paths = sorted((files / 'images').iterdir()) * 2
    pictures = [Picture(path.name, Path(path.name), np.array(Image.open(path))) for path in paths]
    found = list(detect_in_batches(detector, iter(pictures), batch_size=4))
    assert [picture.file for picture, _ in found] == [path.name for path in paths]
    for picture, sample in found:
        alone = inference_detector(detector, picture.image)
        assert sample.ori_shape == alone.ori_shape
        np.testing.assert_allclose(
            sample.pred_instances.bboxes, alone.pred_instances.bboxes, atol=1e-3
        )
        np.testing.assert_allclose(
            sample.pred_instances.scores, alone.pred_instances.scores, atol=1e-5
        )
