"""Checkpoints on disk at every moment, checks before the first step, bounded logs."""

import errno
import json
import multiprocessing
import os
import random
import signal
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.registry import METRICS

from mmdetr.checkpoint import load_file
from mmdetr.engine import DetectionRunner
from mmdetr.engine.hooks import CheckpointHook, HistoryLimitHook
from mmdetr.engine.resume.history import ValidationHistory
from mmdetr.utils.operating_point import ClassPoint, OperatingPoint, operating_point_of
from tests.helpers.toy import CLASSES, ScriptedMetric, toy_config, weights

FORK = multiprocessing.get_context('fork')


def train(work_dir: Path, **changes: Any) -> DetectionRunner:
    runner = DetectionRunner.from_cfg(toy_config(work_dir, **changes))
    runner.train()
    return runner


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob('*.pth')}


# Checkpoints


def test_there_is_always_a_complete_checkpoint(tmp_path: Path, monkeypatch: Any) -> None:
    """Older checkpoints go only when their successor is there: seen at every file operation."""
    seen: list[set[str]] = []
    real_unlink, real_replace = Path.unlink, os.replace

    def look() -> None:
        seen.append(names(tmp_path))

    def unlink(path: Path, missing_ok: bool = False) -> None:
        real_unlink(path, missing_ok)
        look()

    def replace(source: Any, target: Any) -> None:
        look()
        real_replace(source, target)
        look()

    monkeypatch.setattr(Path, 'unlink', unlink)
    monkeypatch.setattr('mmdetr.checkpoint.io.os.replace', replace)
    better_and_better = dict(type='ScriptedMetric', scores=[1.0, 2.0, 3.0, 4.0])
    train(tmp_path, default_hooks__checkpoint__max_keep_ckpts=1, val_evaluator=better_and_better)

    epochs = [{name for name in files if name.startswith('epoch')} for files in seen]
    bests = [files - epoch for files, epoch in zip(seen, epochs, strict=True)]
    for kind in (epochs, bests):
        first = next(i for i, files in enumerate(kind) if files)
        assert all(kind[first:]), 'at one moment there was none'
        assert max(map(len, kind)) == 2
    assert names(tmp_path) == {'epoch_4.pth', *bests[-1]}


def test_best_is_chosen_by_rule(tmp_path: Path) -> None:
    """The file is named after the epoch with the best score and holds its weights."""
    evaluator = dict(type='ScriptedMetric', scores=[1.0, 3.0, 2.0, 3.0])
    train(tmp_path, default_hooks__checkpoint__max_keep_ckpts=-1, val_evaluator=evaluator)
    best = 2
    path = tmp_path / f'best_toy_score_epoch_{best}.pth'
    assert names(tmp_path) == {path.name, *(f'epoch_{i}.pth' for i in range(1, 5))}
    content, epoch = load_file(path), load_file(tmp_path / f'epoch_{best}.pth')
    assert all(torch.equal(v, epoch['state_dict'][k]) for k, v in content['state_dict'].items())
    assert 'optimizer' not in content
    assert content['meta']['epoch'] == best


def test_a_score_of_nothing_is_no_best(tmp_path: Path) -> None:
    """COCO's -1 stands for data without an object to be found."""
    evaluator = dict(type='ScriptedMetric', scores=[-1.0, -1.0, 0.0, -1.0])
    train(tmp_path, val_evaluator=evaluator)
    assert {name for name in names(tmp_path) if 'best' in name} == {'best_toy_score_epoch_3.pth'}
    assert 'toy/score is -1' in '\n'.join(path.read_text() for path in tmp_path.rglob('*.log'))


def test_best_by_several_metrics_and_unknown_metric(tmp_path: Path) -> None:
    train(tmp_path / 'a', default_hooks__checkpoint__save_best=['toy/score'])
    assert any(name.startswith('best_toy_score_') for name in names(tmp_path / 'a'))
    with pytest.raises(KeyError, match=r"save_best='toy/other'.*'toy/score'"):
        train(tmp_path / 'b', default_hooks__checkpoint__save_best='toy/other')
    for name in ('coco/bbox_mAP', 'score'):  # before the first step, by the prefix
        with pytest.raises(ValueError, match=rf"save_best='{name}' is no metric.* with toy/$"):
            train(tmp_path / 'c', default_hooks__checkpoint__save_best=name)
    assert not list((tmp_path / 'c').glob('*.pth'))


def test_epoch_checkpoint_is_written_once(tmp_path: Path, monkeypatch: Any) -> None:
    written: list[str] = []
    real = DetectionRunner.save_checkpoint

    def save(self: DetectionRunner, out_dir: str, filename: str, **kwargs: Any) -> None:
        written.append(filename)
        real(self, out_dir, filename, **kwargs)

    monkeypatch.setattr(DetectionRunner, 'save_checkpoint', save)
    train(tmp_path)
    epochs = [name for name in written if name.startswith('epoch')]
    assert epochs == [f'epoch_{i}.pth' for i in range(1, 5)]


@METRICS.register_module()
class PointMetric(ScriptedMetric):
    """Give scores and an operating point, whose threshold is the score."""

    operating_point = None

    def compute_metrics(self, results: list) -> dict[str, float]:
        metrics = super().compute_metrics(results)
        point = ClassPoint('all', metrics['score'], 0.5, 0.5, 0.5, 9)
        self.operating_point = OperatingPoint(point, (point,), num_images=4)
        return metrics


def test_operating_point_is_in_the_best_and_the_last_checkpoint(tmp_path: Path) -> None:
    """Each states that of its own weights; those in between state none."""
    evaluator = dict(type='PointMetric', scores=[0.1, 0.3, 0.2, 0.25])
    train(tmp_path, default_hooks__checkpoint__max_keep_ckpts=-1, val_evaluator=evaluator)
    points = {
        path.name: operating_point_of(load_file(path)['meta']) for path in tmp_path.glob('*.pth')
    }
    stated = {name: point.threshold for name, point in points.items() if point.measured}
    assert stated == {'best_toy_score_epoch_2.pth': 0.3, 'epoch_4.pth': 0.25}
    # Written again, it can be resumed as before.
    content = load_file(tmp_path / 'epoch_4.pth')
    assert {'optimizer', 'param_schedulers'} <= content.keys()
    position = {key: content['meta'][key] for key in ('epoch', 'iter', 'batches_done')}
    assert position == dict(epoch=4, iter=20, batches_done=0)
    entries = json.loads((tmp_path / 'validation_history.json').read_text())
    assert ['operating_point' in entry for entry in entries] == [False, False, False, True]
    longer = train(
        tmp_path,
        resume=True,
        train_cfg__max_epochs=5,
        val_evaluator=dict(type='PointMetric', scores=[0.4]),
    )
    assert len(ValidationHistory(longer.message_hub).entries) == 5


def test_full_disk_stops_with_the_last_checkpoint_intact(tmp_path: Path, monkeypatch: Any) -> None:
    real, calls = os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(os.readlink(f'/proc/self/fd/{descriptor}'))
        if 'epoch_3.pth' in calls[-1]:
            raise OSError(errno.ENOSPC, 'No space left on device')
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr('mmdetr.checkpoint.io.os.fsync', fsync)
        with pytest.raises(OSError, match=r'cannot write .*epoch_3\.pth: No space left on device'):
            train(tmp_path)
    assert {'epoch_1.pth', 'epoch_2.pth'} <= names(tmp_path)
    resumed = train(tmp_path, resume='auto')
    assert torch.equal(weights(resumed), weights(train(tmp_path / 'whole')))


def test_leftovers_of_a_killed_run_are_cleared(tmp_path: Path) -> None:
    train(tmp_path, train_cfg__max_epochs=3)
    history = json.loads((tmp_path / 'validation_history.json').read_text())
    for i, entry in enumerate(history):  # as if each had been better than the one before
        entry['best']['best_ckpt'] = str(tmp_path / f'best_toy_score_epoch_{i + 1}.pth')
        (tmp_path / f'best_toy_score_epoch_{i + 1}.pth').touch()
    (tmp_path / 'validation_history.json').write_text(json.dumps(history))
    (tmp_path / '.epoch_4.pth.99.tmp').touch()
    (tmp_path / 'epoch_1.pth').touch()  # removed by the run, had it not been killed
    (tmp_path / 'best_of_mine.pth').touch()
    content = load_file(tmp_path / 'epoch_3.pth')
    content['message_hub']['runtime_info']['keep_ckpt_ids'] = [1, 2, 3]
    torch.save(content, tmp_path / 'epoch_3.pth')

    config = toy_config(tmp_path, resume='auto', train_cfg__max_epochs=3)
    DetectionRunner.from_cfg(config).train()
    kept = {'epoch_2.pth', 'epoch_3.pth', 'best_toy_score_epoch_3.pth', 'best_of_mine.pth'}
    assert names(tmp_path) == kept
    assert not list(tmp_path.glob('.*.tmp'))


def test_unsupported_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match='backend_args is not supported'):
        CheckpointHook(backend_args=dict(backend='petrel'))
    with pytest.raises(TypeError, match='takes no max_keep_cpkts'):
        CheckpointHook(max_keep_cpkts=3)


class KillHook(Hook):
    """The kernel kills this process a while after a chosen iteration of it.

    The timer runs in the process itself: one of the parent's could come after the training's end.
    """

    priority = 'VERY_HIGH'

    def __init__(self, iterations: int, delay: float) -> None:
        self.iterations, self.delay = iterations, delay

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        self.iterations -= 1
        if self.iterations == 0:
            signal.setitimer(signal.ITIMER_REAL, self.delay)  # SIGALRM has no handler: it kills


def _train_until_killed(config: Any, iterations: int, delay: float) -> None:
    runner = DetectionRunner.from_cfg(config)
    runner.register_hook(KillHook(iterations, delay))
    runner.train()


def test_killed_at_random_and_resumed(tmp_path: Path) -> None:
    """Killed again and again without notice; the run ends where one never killed ends."""
    changes: dict = dict(
        by_epoch=False, train_cfg__max_iters=60, default_hooks__checkpoint__interval=1
    )
    expected = train(tmp_path / 'whole', **changes)
    random_ = random.Random(0)
    exits = []
    while not exits or exits[-1] == -signal.SIGALRM:
        config = toy_config(tmp_path / 'killed', resume='auto', **changes)
        arguments = (config, random_.randrange(2, 8), random_.uniform(1e-4, 0.01))
        child = FORK.Process(target=_train_until_killed, args=arguments)
        child.start()
        child.join()
        exits.append(child.exitcode)
        assert len(exits) < 60, 'the run does not get on'
    assert exits[-1] == 0
    assert len(exits) > 3
    content = load_file(tmp_path / 'killed' / 'iter_60.pth')['state_dict']
    assert all(torch.equal(content[k], v) for k, v in expected.model.state_dict().items())
    assert names(tmp_path / 'killed') == names(tmp_path / 'whole')


# The classes of model and data


def test_num_classes_of_model_and_data(tmp_path: Path) -> None:
    for stage, loader in (('train', 'train_dataloader'), ('val', 'val_dataloader')):
        runner = DetectionRunner.from_cfg(toy_config(tmp_path, model__num_classes=7))
        message = rf'model\.num_classes is 7, but {loader}\.dataset has 3 classes \(circle, square'
        with pytest.raises(ValueError, match=message):
            getattr(runner, stage)()


def test_classes_of_training_and_validation(tmp_path: Path) -> None:
    runner = DetectionRunner.from_cfg(toy_config(tmp_path))
    reordered = (CLASSES[1], CLASSES[0], CLASSES[2])
    runner.val_dataloader.dataset.metainfo = dict(classes=reordered)
    with pytest.raises(ValueError, match='differ in their classes or in the order of them'):
        runner.train()


# The log


def test_history_is_bounded() -> None:
    class Runner:
        iter = 999
        message_hub = MessageHub('bounded')

    hub = Runner.message_hub
    for i in range(40):
        hub.update_scalar('train/loss', float(i))
    HistoryLimitHook(max_length=10).after_train_iter(Runner, batch_idx=0)
    hub.update_scalar('train/loss', 40.0)
    log, count = hub.get_scalar('train/loss').data
    assert log.tolist() == list(range(31, 41))
    assert len(count) == 10


class Log(Hook):
    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.text: list[str] = []

    def before_run(self, runner: Any) -> None:
        runner.logger.info = self.text.append  # type: ignore[method-assign]


def test_log_shows_eta_loss_rate_and_errors(tmp_path: Path) -> None:
    runner = DetectionRunner.from_cfg(toy_config(tmp_path))
    log = Log()
    runner.register_hook(log)
    runner.train()
    line = next(text for text in log.text if text.startswith('Epoch(train) [2][4/5]'))
    for part in ('lr: 1.0000e-02', 'eta: ', 'loss: ', 'class_error: ', 'time: ', 'data_time: '):
        assert part in line


def test_history_file_survives_damage(tmp_path: Path) -> None:
    def read(name: str, until_iter: int) -> ValidationHistory:
        history = ValidationHistory(MessageHub(name))
        history.read(tmp_path, until_iter, getLogger())
        return history

    hub = MessageHub('written')
    hub.update_info('best_score', np.float64(0.5))
    history = ValidationHistory(hub)
    history.add(1, 5, dict(score=0.5, table='not a number'))
    history.write(tmp_path)
    assert read('whole', 5).entries == [
        dict(epoch=1, iter=5, metrics=dict(score=0.5), best=dict(best_score=0.5))
    ]
    assert read('whole', 5).has(5)
    assert not read('earlier', 4).has(5), 'a later validation is not this run'
    (tmp_path / 'validation_history.json').write_text('[{')
    assert read('damaged', 5).entries == []
