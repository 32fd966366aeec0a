"""The recipes of docs/own_data.md with supervision run, and keep boxes, classes and scores."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

sv = pytest.importorskip('supervision')

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / 'configs/detr_tiny_1xb32-12e_shapes.py')


@pytest.fixture(scope='module')
def blocks() -> list[str]:
    page = (ROOT / 'docs/own_data.md').read_text()
    section = page.partition('## Tracking, zones, slices, video')[2]
    return re.findall(r'^```python\n(.*?)^```', section, re.M | re.S)


@pytest.fixture(scope='module')
def names(blocks: list[str]) -> dict[str, Any]:
    """What the first block defines, for a model of random weights whose scores are spread."""
    torch.manual_seed(0)
    scope: dict[str, Any] = dict(CONFIG=CONFIG, CHECKPOINT=None)
    exec(blocks[0], scope)
    scope['image'] = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    return scope


def sample_of(scope: dict[str, Any]) -> Any:
    return scope['inference_detector'](scope['model'], scope['image'])


def test_boxes_classes_and_scores(names: dict[str, Any]) -> None:
    instances = sample_of(names).pred_instances
    threshold = float(instances.scores.median())
    found = names['detect'](names['image'], threshold)
    kept = (instances.scores > threshold).numpy()
    assert 0 < len(found) == kept.sum() < len(instances)
    np.testing.assert_array_equal(found.xyxy, instances.bboxes.numpy()[kept])
    np.testing.assert_array_equal(found.confidence, instances.scores.numpy()[kept])
    np.testing.assert_array_equal(found.class_id, instances.labels.numpy()[kept])
    shapes = names['model'].dataset_meta['classes']
    assert found.data['class_name'].tolist() == [shapes[label] for label in found.class_id]


def test_masks(names: dict[str, Any], monkeypatch: Any) -> None:
    sample = sample_of(names)
    number = len(sample.pred_instances)
    truth = np.zeros((number, 480, 640), dtype=bool)
    for i in range(number):
        truth[i, i : 2 * i + 5, 3 : 40 + i] = True
    rows = [coco_mask.encode(np.asfortranarray(mask.view(np.uint8))) for mask in truth]
    sample.pred_instances.masks = rows
    monkeypatch.setitem(names, 'inference_detector', lambda *_: sample)
    found = names['detect'](names['image'], 0.0)
    np.testing.assert_array_equal(found.mask, truth)


def test_zone_and_slices(names: dict[str, Any], blocks: list[str]) -> None:
    scope = dict(names)
    plain = scope['detect']
    scope['detect'] = lambda image: plain(image, 0.0)
    exec(blocks[1], scope)
    detections = scope['detections']
    anchor = detections.get_anchors_coordinates(sv.Position.BOTTOM_CENTER)
    assert len(scope['inside']) == (np.round(anchor)[:, 0] <= 320).sum()
    assert scope['picture'].shape == (480, 640, 3)

    seen: list[tuple] = []

    def in_the_middle(image: np.ndarray) -> Any:
        seen.append(image.shape[:2])
        return plain(image, 0.0)[:1]

    scope['detect'] = in_the_middle
    exec(blocks[2], scope)
    assert set(seen) == {(320, 320)}
    assert len(scope['detections']) > 1
    assert (scope['detections'].xyxy <= [640, 480, 640, 480]).all()


def test_tracking_in_a_video(names: dict[str, Any], blocks: list[str], monkeypatch: Any) -> None:
    """Two objects that pass each other keep their numbers."""
    pytest.importorskip('trackers')
    scope = dict(names)

    def moving(frame: np.ndarray) -> Any:
        x = 10.0 * frame[0, 0, 0]  # the number of the frame
        boxes = np.array([[x, 50, x + 60, 110], [400 - x, 300, 460 - x, 380]])
        return sv.Detections(boxes, confidence=np.array([0.9, 0.8]), class_id=np.array([0, 1]))

    scope['detect'] = moving
    given: list[tuple] = []
    monkeypatch.setattr(sv, 'process_video', lambda *files, callback: given.append(files))
    exec(blocks[3], scope)
    assert given == [('in.mp4', 'out.mp4')]
    rows: list[Any] = []
    update = scope['tracker'].update
    scope['tracker'].update = lambda found: rows.append(update(found)) or rows[-1]
    for index in range(8):
        frame = np.full((480, 640, 3), index, np.uint8)
        assert (scope['annotate'](frame, index) != index).any()
    numbers = [
        dict(zip(each.class_id.tolist(), each.tracker_id.tolist(), strict=True))
        for each in rows[4:]
    ]
    assert all(each == numbers[0] for each in numbers)
    assert len(set(numbers[0].values())) == 2
