"""Two processes over gloo do what one does."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mmdetr.checkpoint import load_file
from mmdetr.engine import DetectionRunner
from tests.helpers.ranks import run_ranks
from tests.helpers.toy import toy_config, weights

from .test_resume import Interrupt, InterruptedRunError


def _train(rank: int, config: Any, launcher: str, interrupt: int | None) -> None:
    config.launcher = launcher
    runner = DetectionRunner.from_cfg(config)
    if interrupt is None:
        runner.train()
    else:
        runner.register_hook(Interrupt('before_train_iter', interrupt))
        with pytest.raises(InterruptedRunError):
            runner.train()


def train_on_two(
    work_dir: Path, interrupt: int | None = None, launcher: str = 'pytorch', **changes: Any
) -> dict:
    run_ranks(2, _train, toy_config(work_dir, **changes), launcher, interrupt, launcher=launcher)
    return {} if interrupt is not None else load_file(work_dir / 'epoch_4.pth')


def difference(first: dict, second: dict) -> float:
    return max(
        float((first['state_dict'][key] - second['state_dict'][key]).abs().max())
        for key in first['state_dict']
    )


def test_two_processes_equal_one(tmp_path: Path) -> None:
    changes: dict = dict(model__dropout=0.0, optim_wrapper__optimizer__type='SGD')
    DetectionRunner.from_cfg(
        toy_config(tmp_path / 'one', train_dataloader__batch_size=4, **changes)
    ).train()
    two = train_on_two(tmp_path / 'two', train_dataloader__batch_size=2, **changes)
    one = load_file(tmp_path / 'one' / 'epoch_4.pth')
    assert difference(one, two) < 1e-6
    assert one['message_hub']['runtime_info']['best_score'] == pytest.approx(
        two['message_hub']['runtime_info']['best_score'], abs=1e-6
    )


def test_uneven_last_batch(tmp_path: Path) -> None:
    """Ten images in batches of four: the last has two in one process, one on each of two ranks."""
    changes: dict = dict(
        model__dropout=0.0,
        optim_wrapper__optimizer__type='SGD',
        train_dataloader__dataset__length=10,
    )
    DetectionRunner.from_cfg(
        toy_config(tmp_path / 'one', train_dataloader__batch_size=4, **changes)
    ).train()
    two = train_on_two(tmp_path / 'two', train_dataloader__batch_size=2, **changes)
    one = load_file(tmp_path / 'one' / 'epoch_4.pth')
    assert one['meta']['iter'] == two['meta']['iter'] == 12
    assert difference(one, two) < 1e-6


def _train_and_keep_weights(rank: int, config: Any) -> None:
    config.launcher = 'pytorch'
    runner = DetectionRunner.from_cfg(config)
    runner.train()
    torch.save([runner.iter, weights(runner)], f'{config.work_dir}/rank{rank}.pth')


def test_ranks_stay_equal_where_images_do_not_divide(tmp_path: Path) -> None:
    """Ten images on three ranks: two are repeated, and each rank has batches of 3 and 1."""
    config = toy_config(
        tmp_path, train_dataloader__batch_size=3, train_dataloader__dataset__length=10
    )
    run_ranks(3, _train_and_keep_weights, config)
    iterations, final = zip(*(torch.load(tmp_path / f'rank{i}.pth') for i in range(3)), strict=True)
    assert iterations == (8, 8, 8)
    assert torch.equal(final[0], final[1])
    assert torch.equal(final[0], final[2])


def _is_refused(rank: int, config: Any) -> None:
    config.launcher = 'pytorch'
    with pytest.raises(ValueError, match=r'would train on \[5, 4\] batches.*round_up=True'):
        DetectionRunner.from_cfg(config).train()


def test_different_numbers_of_batches_are_refused(tmp_path: Path) -> None:
    """They end in a rank that waits for ever."""
    config = toy_config(
        tmp_path, train_dataloader__batch_size=1, train_dataloader__dataset__length=9
    )
    config.train_dataloader.sampler.round_up = False
    run_ranks(2, _is_refused, config)


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """With dropout, augmentation, a drawn seed, and gradients half accumulated on each rank."""
    changes: dict = dict(
        optim_wrapper__accumulative_counts=2,
        train_dataloader__batch_size=2,
        train_dataloader__dataset__length=20,
        randomness=dict(seed=8, diff_rank_seed=True),
    )
    whole = train_on_two(tmp_path / 'whole', **changes)
    train_on_two(tmp_path / 'broken', interrupt=7, **changes)
    changes['randomness'] = dict(seed=None, diff_rank_seed=True)
    resumed = train_on_two(tmp_path / 'broken', resume='auto', **changes)
    assert load_file(tmp_path / 'whole' / 'epoch_3.pth')['gradients']
    # The mean over ranks is taken of the parts instead of the whole: the last bit may differ.
    assert difference(whole, resumed) < 1e-6


def test_slurm_variables(tmp_path: Path) -> None:
    content = train_on_two(tmp_path, launcher='slurm', train_cfg__max_epochs=4)
    assert content['meta']['epoch'] == 4
