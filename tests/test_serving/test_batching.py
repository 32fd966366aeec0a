"""One thread computes for many."""

import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest

from mmdetr.serving.batching import Batcher


class Work:
    """Doubles numbers and remembers the batches; the first one waits until it may go on."""

    def __init__(self) -> None:
        self.batches: list[list] = []
        self.go_on = threading.Event()

    def __call__(self, items: Any) -> list:
        self.batches.append(list(items))
        assert self.go_on.wait(60)
        if 13 in items:
            raise ValueError('unlucky')
        return [2 * item for item in items]


@pytest.fixture
def work() -> Work:
    return Work()


def started(work: Work, batcher: Batcher) -> Future:
    """Occupy the thread with 0, so that what comes next waits together."""
    future = batcher.submit(work, None, 0)
    while not work.batches:
        time.sleep(0.001)
    return future


def test_equal_groups_are_computed_together(work: Work) -> None:
    batcher = Batcher(3, 0)
    first = started(work, batcher)
    groups = [(1, 'a'), (2, 'b'), (3, 'a'), (4, None), (5, None), (6, 'a'), (7, 'a'), (8, 'b')]
    futures = [batcher.submit(work, group, item) for item, group in groups]
    assert batcher.waiting == 8
    work.go_on.set()
    assert [each.result(60) for each in futures] == [2, 4, 6, 8, 10, 12, 14, 16]
    assert first.result() == 0
    # The oldest is next, others of its group come along, up to three at a time.
    assert work.batches == [[0], [1, 3, 6], [2, 8], [4], [5], [7]]
    batcher.close()


def test_different_work_is_not_mixed(work: Work) -> None:
    batcher = Batcher(4, 0)
    started(work, batcher)
    other = Work()
    other.go_on.set()
    futures = [batcher.submit(each, 'a', i) for i, each in enumerate((work, other, work), 1)]
    work.go_on.set()
    assert [each.result(60) for each in futures] == [2, 4, 6]
    assert work.batches == [[0], [1, 3]]
    batcher.close()


def test_an_error_is_that_of_its_item_alone(work: Work) -> None:
    batcher = Batcher(4, 0)
    started(work, batcher)
    futures = [batcher.submit(work, 'a', item) for item in (1, 13, 3)]
    work.go_on.set()
    assert futures[0].result(60) == 2
    assert futures[2].result(60) == 6
    with pytest.raises(ValueError, match='unlucky'):
        futures[1].result(60)
    batcher.close()


def test_cancelled_items_are_not_computed(work: Work) -> None:
    batcher = Batcher(4, 0)
    started(work, batcher)
    futures = [batcher.submit(work, 'a', item) for item in (1, 2)]
    assert futures[0].cancel()
    work.go_on.set()
    assert futures[1].result(60) == 4
    assert work.batches == [[0], [2]]
    batcher.close()


def test_waits_for_others(work: Work) -> None:
    work.go_on.set()
    sizes: list[int] = []
    batcher = Batcher(2, 600.0, lambda size, seconds: sizes.append(size))
    first = batcher.submit(work, 'a', 1)
    time.sleep(0.05)
    assert not first.done()
    # Not after the whole time: the batch is full.
    assert batcher.submit(work, 'a', 2).result(60) == 4
    batcher.close()
    assert sizes == [2]


def test_what_waits_is_computed_before_it_closes(work: Work) -> None:
    batcher = Batcher(1, 5.0)
    started(work, batcher)
    futures = [batcher.submit(work, 'a', item) for item in (1, 2, 3)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    work.go_on.set()
    closing.join(60)
    assert [each.result(0) for each in futures] == [2, 4, 6]
    with pytest.raises(RuntimeError, match='closed'):
        batcher.submit(work, 'a', 4)


def test_says_how_long_it_takes(work: Work) -> None:
    batcher = Batcher(1, 0)
    assert batcher.expected_seconds() == 0
    started(work, batcher)
    time.sleep(0.05)
    assert batcher.busy_seconds() >= 0.05
    work.go_on.set()
    batcher.close()
    assert batcher.busy_seconds() == 0
    assert batcher.expected_seconds() >= 0.05
