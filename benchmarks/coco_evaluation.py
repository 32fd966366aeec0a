"""CocoMetric with faster-coco-eval against CocoMetric with pycocotools, on data like val2017's.

    python benchmarks/coco_evaluation.py [--images N] [--repeats N]

Timed for each backend: the whole of an evaluation, which is a new CocoMetric, ``process`` for every
image and ``compute_metrics``; and of that, ``compute_metrics`` alone, which reads the annotation
file, scores and averages. The twelve numbers of both backends must be equal, else the run ends
with an error.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import compare, ratio, summary, write_result

from mmdetr.evaluation import CocoMetric

# val2017: 5,000 images, 36,781 boxes, 80 classes; detectors return 100 boxes an image.
CLASSES = 80
BOXES_PER_IMAGE = 7.356
CROWD = 0.012
DETECTIONS = 100
WIDTH, HEIGHT = 640, 480
# Share of small, medium and large objects, and their sides in pixels (area below 32^2, 96^2).
SIZES = ((0.41, 6, 32), (0.34, 32, 96), (0.25, 96, 400))
BACKENDS = ('pycocotools', 'faster_coco_eval')
TOLERANCE = 1e-12


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--images', type=int, default=5000, help='default: 5000')
    parser.add_argument('--repeats', type=int, default=3, help='rounds (default: 3)')
    args = parser.parse_args()
    if args.images < 1 or args.repeats < 1:
        parser.error('--images and --repeats must be at least 1')
    return args


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """[count, 4] xyxy inside the image, sizes as in COCO."""
    shares, lows, highs = (np.array(column) for column in zip(*SIZES, strict=True))
    kind = rng.choice(len(SIZES), count, p=shares)
    side = rng.uniform(lows[kind], highs[kind])
    stretch = rng.uniform(0.7, 1.4, count)
    size = np.stack([side * stretch, side / stretch], axis=1).clip(2, (WIDTH, HEIGHT))
    top_left = rng.random((count, 2)) * ((WIDTH, HEIGHT) - size)
    return np.concatenate([top_left, top_left + size], axis=1)


def generate(num_images: int, seed: int = 0) -> tuple[dict, list[dict]]:
    """Content of an annotation file, and what a model returns for each image.

    Each object is detected two to five times, more or less well; the rest of the detections is
    noise with low scores. Frequent classes are far more frequent than rare ones, as in COCO.
    """
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, CLASSES + 1)
    frequency /= frequency.sum()
    annotations: list[dict] = []
    samples = []
    for img_id in range(1, num_images + 1):
        boxes = random_boxes(rng, rng.poisson(BOXES_PER_IMAGE))
        labels = rng.choice(CLASSES, len(boxes), p=frequency)
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=img_id,
                    category_id=label + 1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=0.6 * (x2 - x1) * (y2 - y1),  # of the mask
                    iscrowd=int(rng.random() < CROWD),
                )
            )
        samples.append(dict(img_id=img_id, pred_instances=_detect(rng, boxes, labels, frequency)))
    content = dict(
        images=[dict(id=i, width=WIDTH, height=HEIGHT) for i in range(1, num_images + 1)],
        categories=[dict(id=k, name=f'class {k}') for k in range(1, CLASSES + 1)],
        annotations=annotations,
    )
    return content, samples


def _detect(
    rng: np.random.Generator, boxes: np.ndarray, labels: np.ndarray, frequency: np.ndarray
) -> dict[str, torch.Tensor]:
    times = rng.integers(2, 6, len(boxes))
    found = boxes.repeat(times, axis=0)[:DETECTIONS]
    size = np.tile(found[:, 2:] - found[:, :2], 2)
    found = found + rng.normal(0, 0.08, found.shape) * size
    noise = random_boxes(rng, DETECTIONS - len(found))
    found_labels = labels.repeat(times)[:DETECTIONS]
    confused = rng.random(len(found)) < 0.2
    found_labels = np.where(confused, rng.integers(0, CLASSES, len(found)), found_labels)
    scores = np.concatenate([rng.beta(2, 2, len(found)), rng.beta(1, 12, len(noise))])
    noise_labels = rng.choice(CLASSES, len(noise), p=frequency)
    return dict(
        bboxes=torch.from_numpy(np.concatenate([found, noise])).float(),
        scores=torch.from_numpy(scores).float(),
        labels=torch.from_numpy(np.concatenate([found_labels, noise_labels])),
    )


class Evaluation:
    """One evaluation as a run does it, by one backend; a call does it anew."""

    def __init__(self, backend: str, ann_file: Path, samples: list[dict]) -> None:
        self.backend = backend
        self.ann_file = ann_file
        self.samples = samples
        self.numbers: dict[str, float] = {}
        self.compute_seconds: list[float] = []
        """Of all calls: compute_metrics alone."""

    def __call__(self) -> None:
        metric = CocoMetric(ann_file=str(self.ann_file), backend=self.backend)
        metric.dataset_meta = dict(classes=[f'class {k}' for k in range(1, CLASSES + 1)])
        for sample in self.samples:
            metric.process(None, [sample])
        start = time.perf_counter()
        self.numbers = metric.compute_metrics(metric.results)
        self.compute_seconds.append(time.perf_counter() - start)


def check_equal(numbers: dict[str, dict[str, float]]) -> dict[str, float]:
    """The twelve numbers, which all backends share.

    Raises:
        ValueError: They differ.
    """
    (first, expected), *others = numbers.items()
    if len(expected) != 12:
        raise ValueError(f'{first} gives {len(expected)} numbers instead of 12')
    for name, found in others:
        for key, value in expected.items():
            if not abs(found[key] - value) <= TOLERANCE:
                raise ValueError(f'{key}: {first} gives {value!r}, {name} {found[key]!r}')
    return expected


def run(num_images: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Checks and times both backends."""
    content, samples = generate(num_images)
    ann_file = folder / 'annotations.json'
    ann_file.write_text(json.dumps(content), encoding='utf-8')
    evaluations = {backend: Evaluation(backend, ann_file, samples) for backend in BACKENDS}
    whole = compare(dict(evaluations), repeats, warmup=0)
    numbers = check_equal({name: each.numbers for name, each in evaluations.items()})
    print(f'the same 12 numbers: {", ".join(f"{k} {v:.4f}" for k, v in numbers.items())}')
    parts = {name: each.compute_seconds for name, each in evaluations.items()}
    return dict(
        images=num_images,
        detections=num_images * DETECTIONS,
        annotations=len(content['annotations']),
        numbers=numbers,
        whole=report('whole', whole),
        compute_metrics=report('compute_metrics', parts),
    )


def report(title: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """Prints and returns the seconds of both backends and their ratio."""
    middle, low, high = ratio(times['pycocotools'], times['faster_coco_eval'])
    for backend, seconds in times.items():
        print(f'{title}: {backend}: {summary(seconds)}')
    print(f'{title}: {middle:.2f} x pycocotools ({low:.2f} to {high:.2f})')
    return dict(
        seconds={name: [round(each, 3) for each in seconds] for name, seconds in times.items()},
        ratio=dict(median=round(middle, 3), min=round(low, 3), max=round(high, 3)),
    )


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = run(args.images, args.repeats, Path(folder))
        except ValueError as error:
            sys.exit(f'error: {error}')
    write_result('coco_evaluation', result)


if __name__ == '__main__':
    main()
