"""One thread that computes, fed in batches of requests that wait at the same time."""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Work: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
_REMEMBERED = 0.9  # how slowly the estimate of the time per item follows


@dataclass(eq=False)
class _Job:
    work: Work
    group: Hashable
    item: Any
    future: Future = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)

    def alike(self, other: '_Job') -> bool:
        if self is other:
            return True
        return None is not self.group == other.group and self.work == other.work


class Batcher:
    """Compute submitted items in one thread, those of one kind and group together.

    The oldest item is next. It takes others of its kind and group along, wherever they stand in the
    queue, up to ``max_batch``, and waits for them up to ``max_wait`` seconds since it arrived. An
    error of a batch is tried again one by one, so that one item spoils no other's result.

    Args:
        max_batch: Items at once.
        max_wait: Seconds.
        on_batch: Told the size of each batch and the seconds it took.
    """

    def __init__(
        self,
        max_batch: int,
        max_wait: float,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._on_batch = on_batch
        self._jobs: list[_Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._busy_since: float | None = None
        self._seconds_each = 0.0
        self._thread = threading.Thread(target=self._run, name='batcher', daemon=True)
        self._thread.start()

    def submit(self, work: Work, group: Hashable, item: Any) -> Future:
        """Queue an item.

        Args:
            work: Turns items into as many results; called in the batcher's thread.
            group: Items of equal group may be computed together; None computes one alone.
            item: What ``work`` gets.

        Returns:
            The result to come; an item that is cancelled while it waits is never computed.

        Raises:
            RuntimeError: The batcher was closed.
        """
        job = _Job(work, group, item)
        with self._changed:
            if self._closed:
                raise RuntimeError('the batcher was closed')
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    @property
    def waiting(self) -> int:
        """Items that wait."""
        return len(self._jobs)

    def busy_seconds(self) -> float:
        """How long the batch that is being computed has taken so far; 0 where there is none."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def expected_seconds(self) -> float:
        """When what waits now will be done, by the time of the batches so far."""
        return (self.waiting + 1) * self._seconds_each

    def close(self) -> None:
        """Compute what waits, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            running = [job for job in batch if job.future.set_running_or_notify_cancel()]
            if running:
                self._busy_since = start = time.monotonic()
                _compute(running)
                self._busy_since = None
                self._note(len(running), time.monotonic() - start)

    def _next_batch(self) -> list[_Job]:
        """Wait for a batch; empty when the batcher was closed and nothing is left."""
        with self._changed:
            while not self._jobs:
                if self._closed:
                    return []
                self._changed.wait()
            first = self._jobs[0]
            while True:
                alike = [job for job in self._jobs if first.alike(job)][: self._max_batch]
                left = first.arrived + self._max_wait - time.monotonic()
                full = first.group is None or len(alike) == self._max_batch
                if full or left <= 0 or self._closed:
                    break
                self._changed.wait(left)
            self._jobs = [job for job in self._jobs if job not in alike]
            return alike

    def _note(self, size: int, seconds: float) -> None:
        each = seconds / size
        known = self._seconds_each or each
        self._seconds_each = _REMEMBERED * known + (1 - _REMEMBERED) * each
        self._on_batch(size, seconds)


def _compute(jobs: Sequence[_Job]) -> None:
    try:
        pairs = list(zip(jobs, jobs[0].work([job.item for job in jobs]), strict=True))
    except Exception as error:
        if len(jobs) == 1:
            jobs[0].future.set_exception(error)
            return
        for job in jobs:
            _compute([job])
        return
    for job, result in pairs:
        job.future.set_result(result)
