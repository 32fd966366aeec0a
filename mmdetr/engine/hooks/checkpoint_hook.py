"""mmengine's CheckpointHook in an order that a kill at any moment survives."""

import os
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner

from mmdetr.checkpoint.io import atomic_write, remove_temporary_files
from mmdetr.registry import HOOKS
from mmdetr.utils.operating_point import META_KEY

from ..resume.history import ValidationHistory

_BEST = 'best_'


def _check_template(template: str) -> None:
    """Refuse names that differ too little, or by which resuming does not find the files.

    Raises:
        ValueError: Names the argument and what is wrong with it.
    """
    try:
        names = {template.format(step) for step in (*range(1, 100), 10**6, 10**6 + 1)}
    except (AttributeError, IndexError, KeyError, ValueError) as error:
        raise ValueError(
            f'CheckpointHook: filename_tmpl={template!r} is no template for a number: {error}'
        ) from error
    problem = None
    if len(names) < 101:
        problem = "gives several checkpoints one name; put '{}' where the number belongs"
    elif not template.endswith('.pth') or template.startswith(_BEST) or '/' in template:
        problem = f"must end in '.pth', not begin with {_BEST!r} and name no folder"
    if problem:
        raise ValueError(f'CheckpointHook: filename_tmpl={template!r} {problem}')


def _operating_point(runner: Any) -> dict | None:
    """What the validation just completed says of score thresholds, on the main process."""
    metrics = getattr(runner.val_loop.evaluator, 'metrics', ())
    points = [getattr(metric, 'operating_point', None) for metric in metrics]
    return next((point.to_dict() for point in points if point is not None), None)


def _now(runner: Runner, point: dict | None) -> dict[str, Any]:
    """Meta information of a checkpoint that is written after a validation."""
    position = dict(epoch=runner.epoch, iter=runner.iter, batches_done=0)
    return position if point is None else {**position, META_KEY: point}


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """Save checkpoints, each complete on disk before an older one goes.

    Takes mmengine's arguments, except for remote storage and publishing. A validation's outcome
    goes into a small file beside the checkpoints, where mmengine writes the whole checkpoint a
    second time. The operating point of a validation goes into the best checkpoint and, at the end
    of the training, into the last one, which is written again for it. Each file is written by the
    runner: atomically by DetectionRunner, not so by mmengine's.
    """

    out_dir: Any
    kept_steps: list[int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._training = False
        self._nothing_measured: set[str] = set()
        if self.args:  # mmengine keeps them for the first saving, an epoch later
            raise TypeError(f'CheckpointHook takes no {", ".join(sorted(self.args))}')
        for name in ('file_client_args', 'backend_args', 'published_keys'):
            if getattr(self, name) is not None:
                raise ValueError(f'CheckpointHook: {name} is not supported')
        _check_template(self.filename_tmpl)

    def before_train(self, runner: Runner) -> None:
        """Take up what a resumed run kept, and clear away what a killed one left."""
        self._training = True
        self._check_best(runner)
        if self.out_dir is None:
            self.out_dir = runner.work_dir
        else:
            self.out_dir = os.path.join(self.out_dir, os.path.basename(runner.work_dir))
        runner.logger.info(f'Checkpoints will be saved to {self.out_dir}')
        self.kept_steps = list(runner.message_hub.get_info('keep_ckpt_ids', []))
        if is_main_process():
            Path(self.out_dir).mkdir(parents=True, exist_ok=True)
            for folder in {self.out_dir, runner.work_dir}:
                for path in remove_temporary_files(folder):
                    runner.logger.info(f'Removed {path}, left by a run that was killed')
            self._remove_superseded_best(runner)
        self._remove_surplus(runner)

    def _check_best(self, runner: Any) -> None:
        """Refuse a metric that no evaluation gives before an epoch is spent on it.

        Raises:
            ValueError: Names the metric and those there are.
        """
        if not self.save_best or runner.val_loop is None:
            return
        prefixes = [metric.prefix for metric in runner.val_loop.evaluator.metrics]
        if not all(prefixes):
            return  # their names begin with anything
        for key in self.key_indicators:
            if key != 'auto' and not key.startswith(tuple(f'{prefix}/' for prefix in prefixes)):
                raise ValueError(
                    f'default_hooks.checkpoint.save_best={key!r} is no metric of val_evaluator: '
                    f'their names begin with {" or ".join(f"{prefix}/" for prefix in prefixes)}'
                )

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if step not in self.kept_steps:
            self.kept_steps.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.kept_steps))
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = os.path.join(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            **self.args,
        )
        if is_main_process():
            with atomic_write(Path(runner.work_dir) / 'last_checkpoint') as file:
                file.write(self.last_ckpt.encode())
        self._remove_surplus(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Save the best checkpoint and put the validation on record."""
        if not self._training:
            return
        point = _operating_point(runner)
        superseded = self._save_best(runner, metrics, point) if self.save_best and metrics else []
        history = ValidationHistory(runner.message_hub)
        history.add(runner.epoch, runner.iter, metrics or {}, point)
        if is_main_process():
            history.write(self.out_dir)
        for name in superseded:
            self._remove_best(name)

    def after_train(self, runner: Runner) -> None:
        """Give the last checkpoint, written before its validation, the operating point of it."""
        step = runner.epoch if self.by_epoch else runner.iter
        newest = (ValidationHistory(runner.message_hub).entries or [{}])[-1]
        if newest.get('iter') != runner.iter or META_KEY not in newest:
            return
        name = self.filename_tmpl.format(step)
        if step in self.kept_steps and os.path.isfile(os.path.join(self.out_dir, name)):
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=_now(runner, newest[META_KEY]),
            )

    def _save_best(
        self, runner: Runner, metrics: dict[str, float], point: dict | None
    ) -> list[str]:
        """Save the model once per metric that it is best in; return the files outdone by it."""
        if 'auto' in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        hub, superseded = runner.message_hub, []
        for key, rule in zip(self.key_indicators, self.rules, strict=True):
            if key not in metrics:
                raise KeyError(f'save_best={key!r} is none of the metrics: {sorted(metrics)}')
            if rule == 'greater' and metrics[key] == -1:
                if key in self._nothing_measured:
                    continue
                self._nothing_measured.add(key)
                runner.logger.warning(
                    f'{key} is -1: the validation data have no object that it could be measured '
                    'on. It is not taken for a best value'
                )
                continue
            suffix = '' if len(self.key_indicators) == 1 else f'_{key}'
            previous = hub.get_info(f'best_score{suffix}', self.init_value_map[rule])
            if not self.is_better_than[key](metrics[key], previous):
                continue
            step = runner.epoch if self.by_epoch else runner.iter
            name = f'{_BEST}{key}_{self.filename_tmpl.format(step)}'.replace('/', '_')
            outdone = os.path.basename(hub.get_info(f'best_ckpt{suffix}') or '')
            path = os.path.join(self.out_dir, name)
            hub.update_info(f'best_score{suffix}', float(metrics[key]))
            hub.update_info(f'best_ckpt{suffix}', path)
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=False,
                save_param_scheduler=False,
                meta=_now(runner, point),
            )
            runner.logger.info(f'Best {key} so far, {metrics[key]:.4f}: saved to {name}')
            if outdone and outdone != name:
                superseded.append(outdone)
        return superseded

    def _remove_superseded_best(self, runner: Runner) -> None:
        """Remove best checkpoints if a kill left them when a better one was saved."""
        names = [
            {os.path.basename(v) for k, v in entry['best'].items() if k.startswith('best_ckpt')}
            for entry in ValidationHistory(runner.message_hub).entries
        ]
        for name in set().union(*names[:-1]) - names[-1] if names else ():
            self._remove_best(name)

    def _remove_surplus(self, runner: Runner) -> None:
        while 0 < self.max_keep_ckpts < len(self.kept_steps):
            self._remove(self.filename_tmpl.format(self.kept_steps.pop(0)))
        runner.message_hub.update_info('keep_ckpt_ids', list(self.kept_steps))

    def _remove_best(self, name: str) -> None:
        # Names come from a file and from checkpoints, which may be damaged.
        if name.startswith(_BEST) and os.path.basename(name) == name:
            self._remove(name)

    def _remove(self, name: str) -> None:
        if is_main_process():
            (Path(self.out_dir) / name).unlink(missing_ok=True)
