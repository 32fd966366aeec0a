"""Counters in Prometheus' text format."""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'


class Counter:
    """Counts by labels.

    Args:
        name: Of the metric; ends in ``_total``.
        text: What it counts.
        labels: Names of the labels.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self.name, self.text, self.labels = name, text, labels
        self._values: dict[tuple[str, ...], int] = defaultdict(int)
        self._lock = threading.Lock()

    def add(self, *values: str) -> None:
        """Count one more for these values of the labels."""
        with self._lock:
            self._values[values] += 1

    def lines(self) -> list[str]:
        """Return the lines of the metric."""
        with self._lock:
            items = sorted(self._values.items())
        return [
            *_head(self.name, self.text, 'counter'),
            *(f'{self.name}{_labels(self.labels, key)} {count}' for key, count in items),
        ]


class Histogram:
    """How often values were at most so much, with their sum and number.

    Args:
        name: Of the metric.
        text: What is measured.
        bounds: Upper bounds of the buckets, ascending.
    """

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self.name, self.text, self.bounds = name, text, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def add(self, value: float) -> None:
        """Count one value."""
        place = sum(value > bound for bound in self.bounds)
        with self._lock:
            self._counts[place] += 1
            self._sum += value

    def lines(self) -> list[str]:
        """Return the lines of the metric."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        lines = _head(self.name, self.text, 'histogram')
        below = 0
        for bound, count in zip([*map(repr, self.bounds), '+Inf'], counts, strict=True):
            below += count
            lines.append(f'{self.name}_bucket{{le="{bound}"}} {below}')
        return [*lines, f'{self.name}_sum {total!r}', f'{self.name}_count {below}']


class Metrics:
    """All figures of a service.

    Args:
        gauges: Name and text of a figure, and what tells it when it is asked for.
    """

    def __init__(self, gauges: Mapping[tuple[str, str], Callable[[], float]]) -> None:
        self.requests = Counter(
            'mmdetr_requests_total', 'Answered requests by path and status.', ('path', 'status')
        )
        self.request_seconds = Histogram(
            'mmdetr_request_seconds', 'From the head of a detection request to its answer.', SECONDS
        )
        self.batch_seconds = Histogram(
            'mmdetr_batch_seconds', 'What the model took for a batch.', SECONDS
        )
        self.batch_size = Histogram('mmdetr_batch_size', 'Images of a batch.', SIZES)
        self._gauges = gauges

    def on_batch(self, size: int, seconds: float) -> None:
        """Count a batch; what a Batcher tells."""
        self.batch_size.add(size)
        self.batch_seconds.add(seconds)

    def text(self) -> str:
        """Return all metrics as Prometheus reads them."""
        lines: list[str] = []
        for part in (self.requests, self.request_seconds, self.batch_seconds, self.batch_size):
            lines += part.lines()
        for (name, text), value in self._gauges.items():
            lines += [*_head(name, text, 'gauge'), f'{name} {value()!r}']
        return '\n'.join([*lines, ''])


def _head(name: str, text: str, kind: str) -> list[str]:
    return [f'# HELP {name} {text}', f'# TYPE {name} {kind}']


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = zip(names, values, strict=True)
    return '{' + ','.join(f'{name}="{value}"' for name, value in pairs) + '}'
