"""CocoMetric with faster-coco-eval against CocoMetric with pycocotools, on data like val2017's.

    python benchmarks/coco_evaluation.py [--images N] [--repeats N]

Timed for each backend: the whole of an evaluation, which is a new CocoMetric, ``process`` for every
image and ``compute_metrics``; and of that, ``compute_metrics`` alone, which reads the annotation
file, scores and averages. The twelve numbers of both backends must be equal, else the run ends
with an error.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _common import parser, positive, ratio, summary, time_in_turns, write_result

BACKENDS = ('pycocotools', 'faster_coco_eval')
TOLERANCE = 1e-12


def parse_args() -> argparse.Namespace:
    options = parser(__doc__, repeats=3)
    options.add_argument('--images', type=positive, default=5000, help='default: 5000')
    return options.parse_args()


class Evaluation:
    """One evaluation as a run does it, by one backend; a call does it anew."""

    def __init__(self, backend: str, ann_file: Path, classes: list[str], samples: list[dict]):
        self.backend = backend
        self.ann_file = ann_file
        self.classes = classes
        self.samples = samples
        self.numbers: dict[str, float] = {}
        self.compute_seconds: list[float] = []
        """Of all calls: compute_metrics alone."""

    def __call__(self) -> None:
        from mmdetr.evaluation import CocoMetric

        metric = CocoMetric(ann_file=str(self.ann_file), backend=self.backend)
        metric.dataset_meta = dict(classes=self.classes)
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
    """Check and time both backends."""
    from _coco_data import DETECTIONS, objects_and_detections

    file, samples = objects_and_detections(num_images)
    ann_file = folder / 'annotations.json'
    file.write(ann_file)
    classes = [category['name'] for category in file.categories]
    evaluations = {name: Evaluation(name, ann_file, classes, samples) for name in BACKENDS}
    whole = time_in_turns(dict(evaluations), repeats, warmup=0)
    numbers = check_equal({name: each.numbers for name, each in evaluations.items()})
    print(f'the same 12 numbers: {", ".join(f"{k} {v:.4f}" for k, v in numbers.items())}')
    parts = {name: each.compute_seconds for name, each in evaluations.items()}
    return dict(
        images=num_images,
        detections=num_images * DETECTIONS,
        annotations=len(file.annotations),
        numbers=numbers,
        whole=report('whole', whole),
        compute_metrics=report('compute_metrics', parts),
    )


def report(title: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """Print and return the seconds of both backends and their ratio."""
    faster = ratio(times['pycocotools'], times['faster_coco_eval'])
    for backend, seconds in times.items():
        print(f'{title}: {backend}: {summary(seconds)}')
    print(f'{title}: {faster} x pycocotools')
    return dict(
        seconds={name: [round(each, 3) for each in seconds] for name, seconds in times.items()},
        ratio=[round(each, 3) for each in faster],
    )


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = run(args.images, args.repeats, Path(folder))
        except (ImportError, ValueError) as error:
            sys.exit(f'error: {error}')
    write_result('coco_evaluation', result)


if __name__ == '__main__':
    main()
