"""The tables of faster-coco-eval, fed class by class, against those of pycocotools."""

from typing import Any

import numpy as np
import pytest

from mmdetr.evaluation.box_scores import score_boxes
from mmdetr.evaluation.detections import Detections

pytest.importorskip('faster_coco_eval')
NUM_CLASSES = 4  # the last without objects


def random_set(seed: int, num_images: int = 30) -> tuple[list[dict[str, Any]], Detections]:
    """Many equal scores, images without objects of a class, crowds, and crowded images."""
    rng = np.random.default_rng(seed)
    truth, columns = [], []
    for image in range(num_images):
        objects = rng.integers(0, 4)
        boxes = np.concatenate(
            [rng.uniform(0, 200, (objects, 2)), rng.choice([20, 60, 150], (objects, 2))], axis=1
        )
        labels = rng.integers(0, NUM_CLASSES - 1, objects)
        for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
            truth.append(
                dict(
                    image_id=image + 1,
                    category_id=label + 1,
                    bbox=box,
                    area=0.7 * box[2] * box[3],
                    iscrowd=int(rng.random() < 0.15),
                )
            )
        found = np.concatenate([boxes + rng.normal(0, 4, boxes.shape), boxes]).clip(1)
        count = len(found) + rng.integers(0, 12)
        noise = np.concatenate(
            [rng.uniform(0, 200, (count, 2)), rng.choice([20, 60, 150], (count, 2))], axis=1
        )
        all_labels = np.concatenate([labels, labels, rng.integers(0, NUM_CLASSES, count)])
        scores = rng.integers(1, 6, len(all_labels)) / 5
        bboxes = np.concatenate([found, noise])
        columns.append((np.full(len(bboxes), image), all_labels, scores, bboxes))
    return truth, Detections(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def both(truth, detections, num_images, max_dets):
    return [
        score_boxes(
            [dict(each) for each in truth], detections, num_images, NUM_CLASSES, max_dets, backend
        )
        for backend in ('pycocotools', 'faster_coco_eval')
    ]


@pytest.mark.parametrize('max_dets', [(1, 10, 100), (1, 2, 3)])
@pytest.mark.parametrize('seed', range(15))
def test_tables_equal_pycocotools(seed, max_dets):
    truth, detections = random_set(seed)
    expected, found = both(truth, detections, 30, max_dets)
    assert 0.05 < expected.precision[expected.precision >= 0].mean() < 0.95
    assert (expected.precision[:, :, -1] == -1).all()
    np.testing.assert_allclose(found.precision, expected.precision, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.recall, expected.recall, rtol=0, atol=1e-12)


@pytest.mark.parametrize('seed', range(5))
def test_objects_without_detections_and_the_reverse(seed):
    truth, detections = random_set(seed)
    nothing = detections.take(np.zeros(0, dtype=int))
    for case in [(truth, nothing), ([], detections)]:
        expected, found = both(*case, 30, (1, 10, 100))
        np.testing.assert_array_equal(found.precision, expected.precision)
        np.testing.assert_array_equal(found.recall, expected.recall)


def test_by_class_keeps_the_order():
    detections = Detections(
        image_index=np.array([0, 0, 1, 2]),
        labels=np.array([2, 0, 2, 0]),
        scores=np.array([0.1, 0.2, 0.3, 0.4]),
        bboxes_xywh=np.arange(16.0).reshape(4, 4),
    )
    parts = list(detections.by_class(4))
    assert [part.scores.tolist() for part in parts] == [[0.2, 0.4], [], [0.1, 0.3], []]
    assert parts[2].bboxes_xywh[:, 0].tolist() == [0, 8]
    assert parts[0].image_index.tolist() == [0, 2]
