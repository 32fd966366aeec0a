"""What a sample looks like depends on seed, epoch and index, and on nothing else."""

import copy
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import Runner
from torch.utils.data import BatchSampler, DataLoader, Sampler, SequentialSampler

from mmdetr.engine.data_sampling import (
    EpochSampler,
    SampleIndex,
    SeededDataset,
    position_dataloader,
    seeded_dataloader_cfg,
)
from tests.helpers.toy import CLASSES, ToyDataset


def build(seed: int = 0, sampler: str | dict = 'DefaultSampler', **changes: Any) -> DataLoader:
    cfg: dict = dict(
        batch_size=3,
        num_workers=0,
        sampler=dict(type=sampler, shuffle=True),
        dataset=dict(type='ToyDataset', length=10),
    )
    if isinstance(sampler, dict):
        cfg['sampler'] = sampler | dict(shuffle=True)
    return Runner.build_dataloader(seeded_dataloader_cfg(cfg | changes, seed), seed=seed)


def samples(loader: DataLoader, epoch: int, skip: int = 0, batches: int = 99) -> torch.Tensor:
    """[S, 4] inputs of a pass: position (index / 10) and three random numbers."""
    position_dataloader(loader, epoch, skip)
    rows = []
    for count, batch in enumerate(loader, 1):
        rows += batch['inputs']
        if count == batches:
            break
    return torch.stack(rows)


def test_independent_of_workers() -> None:
    loaders = [
        build(num_workers=n, persistent_workers=n == 2, prefetch_factor=2 if n else None)
        for n in (0, 1, 2)
    ]
    for epoch in (0, 1):
        first, *others = (samples(loader, epoch) for loader in loaders)
        assert len(first) == 10
        for other in others:
            assert torch.equal(first, other)


def test_differs_between_epochs_seeds_and_samples() -> None:
    loader = build()
    dataset: Any = loader.dataset
    rows = {
        (seed, epoch, index): tuple(dataset[SampleIndex(index, seed, epoch)]['inputs'][1:].tolist())
        for seed in (0, 1)
        for epoch in (0, 1)
        for index in (0, 1)
    }
    numbers = [number for row in rows.values() for number in row]
    assert len(set(numbers)) == len(numbers) == 24
    first, second = samples(loader, 0), samples(loader, 1)
    assert not torch.equal(first[:, 0], second[:, 0]), 'not shuffled anew'
    first, second = (rows[rows[:, 0].argsort()] for rows in (first, second))
    assert torch.equal(first[:, 0], second[:, 0])
    assert (first[:, 1:] != second[:, 1:]).all(), 'augmentation repeats'


def test_same_sample_whatever_was_drawn_before() -> None:
    dataset = SeededDataset(ToyDataset(10))
    index = SampleIndex(3, seed=5, epoch=7)
    first = dataset[index]['inputs']
    for draw in (random.random, np.random.rand, torch.rand(3).sum):
        draw()
        assert torch.equal(dataset[index]['inputs'], first)


def test_generators_of_the_process_are_left_alone() -> None:
    dataset = SeededDataset(ToyDataset(10))
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    np.random.randn()  # leaves a second number cached
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    dataset[SampleIndex(3, seed=5, epoch=7)]
    assert random.getstate() == before[0]
    for now, then in zip(np.random.get_state(), before[1], strict=True):
        np.testing.assert_array_equal(now, then)
    assert torch.equal(torch.get_rng_state(), before[2])


def test_plain_index_is_not_seeded() -> None:
    """Looking at the data by hand shows its variety."""
    dataset = SeededDataset(ToyDataset(10))
    assert not torch.equal(dataset[3]['inputs'], dataset[3]['inputs'])


def test_skipped_batches_are_not_loaded(tmp_path: Path) -> None:
    log = tmp_path / 'log'
    loader = build(dataset=dict(type='ToyDataset', length=10, log=str(log)))
    whole = samples(loader, 4)
    log.unlink()
    rest = samples(loader, 4, skip=2)
    assert torch.equal(rest, whole[6:])
    assert [int(line) for line in log.read_text().split()] == (rest[:, 0] * 10).round().tolist()
    assert len(samples(loader, 5)) == 10, 'the skip outlived its pass'


@pytest.mark.parametrize('skip', [0, 3, 11])
def test_infinite_sampler(skip: int) -> None:
    whole = samples(build(sampler='InfiniteSampler'), 0, batches=20)
    assert torch.equal(
        samples(build(sampler='InfiniteSampler'), 0, skip, batches=20 - skip), whole[3 * skip :]
    )
    passes = whole[:50].reshape(5, 10, 4)
    for one in passes:
        assert sorted((one[:, 0] * 10).round().tolist()) == list(range(10))
    assert len({tuple(row.tolist()) for row in whole[:, 1:]}) == 60, 'augmentation repeats'


def test_infinite_sampler_over_ranks(monkeypatch: Any) -> None:
    """Ranks share a pass; its number goes with the sample, wherever it is drawn."""
    drawn = []
    for rank in range(3):
        for module in ('mmdetr.engine.data_sampling', 'mmengine.dataset.sampler'):
            monkeypatch.setattr(f'{module}.get_dist_info', lambda rank=rank: (rank, 3))
        sampler = EpochSampler(ToyDataset(10), 0, dict(type='InfiniteSampler', shuffle=True))
        indices = iter(sampler)
        drawn += [next(indices) for _ in range(10)]
    assert sorted((i.epoch, int(i)) for i in drawn) == [(e, i) for e in range(3) for i in range(10)]


class ListedDataset(BaseDataset):
    METAINFO = dict(classes=CLASSES)

    def load_data_list(self) -> list[dict]:
        return [dict(position=i) for i in range(4)]


def add_noise(results: dict) -> dict:
    return results | dict(noise=random.random())


def test_dataset_wrappers() -> None:
    """Copies of an image in one epoch are augmented differently; attributes come through."""
    parts = [ListedDataset(pipeline=[add_noise]) for _ in range(2)]
    dataset = SeededDataset(RepeatDataset(dict(type=ConcatDataset, datasets=parts), times=2))
    assert len(dataset) == 16
    assert dataset.metainfo['classes'] == CLASSES
    with pytest.raises(AttributeError, match='nothing_of_the_kind'):
        dataset.nothing_of_the_kind  # noqa: B018
    copies = [dataset[SampleIndex(i, 0, 0)] for i in (2, 6, 10, 14)]
    assert {sample['position'] for sample in copies} == {2}
    assert len({sample['noise'] for sample in copies}) == 4
    assert dataset[SampleIndex(6, 0, 0)] == copies[1]


def test_pickles_for_spawned_workers() -> None:
    dataset = pickle.loads(pickle.dumps(SeededDataset(ToyDataset(10))))
    index = pickle.loads(pickle.dumps(SampleIndex(3, seed=5, epoch=7)))
    assert (index, index.seed, index.epoch) == (3, 5, 7)
    expected = SeededDataset(ToyDataset(10))[SampleIndex(3, seed=5, epoch=7)]['inputs']
    assert torch.equal(dataset[index]['inputs'], expected)
    assert copy.deepcopy(dataset).metainfo == dataset.metainfo


@DATA_SAMPLERS.register_module()
class ParitySampler(BatchSampler):
    """Batches of even or of odd indices, as samplers by aspect ratio have them."""

    def __init__(self, sampler: Sampler, batch_size: int) -> None:
        self.sampler, self.batch_size = sampler, batch_size

    def __len__(self) -> int:
        return len(self.sampler) // self.batch_size

    def __iter__(self) -> Iterator[list]:
        groups: list[list] = [[], []]
        for index in self.sampler:
            group = groups[index % 2]
            group.append(index)
            if len(group) == self.batch_size:
                yield group.copy()
                group.clear()


def test_batch_sampler_of_the_config() -> None:
    loader = build(batch_sampler=dict(type='ParitySampler'))
    whole = samples(loader, 1)
    parities = (whole[:, 0] * 10).round().long().reshape(-1, 3) % 2
    assert (parities == parities[:, :1]).all()
    assert torch.equal(samples(loader, 1, skip=1), whole[3:])


def test_seed_in_the_sampler_config_stays() -> None:
    order = [
        samples(build(seed, sampler=dict(type='DefaultSampler', seed=9)), 0)[:, 0].tolist()
        for seed in (0, 1)
    ]
    assert order[0] == order[1]


def test_drop_last() -> None:
    assert len(samples(build(drop_last=True), 0)) == 9


def test_dataloader_built_by_hand() -> None:
    loader = DataLoader(ToyDataset(4), sampler=SequentialSampler(range(4)))
    position_dataloader(loader, 1)
    with pytest.raises(RuntimeError, match='train_dataloader as a config'):
        position_dataloader(loader, 1, skip=2)
