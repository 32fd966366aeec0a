"""Training data whose augmentation depends on (seed, epoch, sample index) alone.

mmengine seeds each worker once, so what a sample gets depends on the number of workers, and a
resumed run repeats the augmentation of its first epoch. Here the sampler sends seed and epoch
along with the index, and the dataset seeds itself from them for this one sample.
"""

import copy
from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, get_worker_info

from .randomness import cpu_random_state_kept, derive_seed, seed_cpu


class SampleIndex(int):
    """A sample index that knows the run's seed and the epoch it is drawn in."""

    seed: int
    epoch: int

    def __new__(cls, index: int, seed: int, epoch: int) -> 'SampleIndex':
        self = super().__new__(cls, index)
        self.seed, self.epoch = seed, epoch
        return self

    def __getnewargs__(self) -> tuple:
        return int(self), self.seed, self.epoch


class SeededDataset(Dataset):
    """A dataset that seeds the CPU generators anew for every sample it loads.

    Args:
        dataset: The dataset or its config. Everything but item access is passed on to it.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset' or name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        if not isinstance(index, SampleIndex):
            return self.dataset[index]
        seed = derive_seed(index.seed, index.epoch, int(index))
        if get_worker_info() is not None:
            seed_cpu(seed)
            return self.dataset[int(index)]
        with cpu_random_state_kept():
            seed_cpu(seed)
            return self.dataset[int(index)]


class EpochSampler(Sampler):
    """Send the seed and the epoch along with the indices of another sampler.

    Args:
        dataset: What the sampler draws from.
        seed: The run's seed, the same on every rank.
        sampler: Config of the sampler. Of an :class:`InfiniteSampler`, the epoch of an index is
            the number of completed passes over the dataset.
    """

    def __init__(self, dataset: Any, seed: int, sampler: dict) -> None:
        self.dataset = dataset
        self.sampler = DATA_SAMPLERS.build(
            copy.deepcopy(sampler), default_args=dict(dataset=dataset, seed=seed)
        )
        self._seed_from_config = 'seed' in sampler
        self.seed = seed
        self.epoch = 0
        self.skip = 0  # indices to leave out of the next pass

    @property
    def infinite(self) -> bool:
        return isinstance(self.sampler, InfiniteSampler)

    def set_seed(self, seed: int) -> None:
        """Take up the seed of a resumed run; only before the first index is drawn."""
        self.seed = seed
        if not self._seed_from_config:
            self.sampler.seed = seed

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[SampleIndex]:
        skip, self.skip = self.skip, 0
        rank, world_size = get_dist_info()
        epoch = self.epoch
        for drawn, index in enumerate(islice(self.sampler, skip, None), start=skip):
            if self.infinite:
                epoch = (rank + drawn * world_size) // len(self.dataset)
            yield SampleIndex(index, self.seed, epoch)


class SkippingBatchSampler(Sampler):
    """Batches of another batch sampler, the first ``skip`` of the next pass left out unloaded.

    Args:
        sampler: Sampler of indices.
        batch_size: Images per batch and rank.
        drop_last: Whether an incomplete last batch is dropped.
        batch_sampler: Config of the batch sampler; torch's by default.
    """

    def __init__(
        self,
        sampler: EpochSampler,
        batch_size: int,
        drop_last: bool = False,
        batch_sampler: dict | None = None,
    ) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.skip = 0
        self.batch_sampler: Any
        if batch_sampler is None:
            self.batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        else:
            self.batch_sampler = DATA_SAMPLERS.build(
                copy.deepcopy(batch_sampler),
                default_args=dict(sampler=sampler, batch_size=batch_size),
            )

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        skip, self.skip = self.skip, 0
        if type(self.batch_sampler) is BatchSampler:  # subclasses may form batches otherwise
            # Many times faster than to form the batches: a long run skips millions of indices.
            self.sampler.skip, skip = skip * self.batch_size, 0
        yield from islice(self.batch_sampler, skip, None)


def seeded_dataloader_cfg(dataloader: dict, seed: int) -> dict:
    """Put the three classes above into the config of a training dataloader.

    Args:
        dataloader: Config as :meth:`mmengine.runner.Runner.build_dataloader` takes it.
        seed: The run's seed, the same on every rank.
    """
    cfg = copy.deepcopy(dict(dataloader))
    cfg['dataset'] = dict(type=SeededDataset, dataset=cfg['dataset'])
    cfg['sampler'] = dict(type=EpochSampler, sampler=cfg['sampler'], seed=seed)
    cfg['batch_sampler'] = dict(
        type=SkippingBatchSampler,
        batch_sampler=cfg.get('batch_sampler'),
        drop_last=cfg.pop('drop_last', False),
    )
    return cfg


def position_dataloader(dataloader: DataLoader, epoch: int, skip: int = 0) -> None:
    """Let the next pass be that of ``epoch``, from its batch ``skip`` on.

    Raises:
        RuntimeError: Batches are to be skipped, but the loader was not built by the runner.
    """
    batches = dataloader.batch_sampler
    if isinstance(batches, SkippingBatchSampler):
        batches.sampler.set_epoch(epoch)
        batches.skip = skip
    elif skip:
        raise RuntimeError(
            f'cannot resume {skip} batches into an epoch with a dataloader built by hand; give '
            'train_dataloader as a config'
        )
    elif hasattr(dataloader.sampler, 'set_epoch'):
        dataloader.sampler.set_epoch(epoch)
