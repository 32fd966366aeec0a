"""mmengine's Runner, made to resume exactly, read files safely and write them atomically."""

import copy
import os
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_reduce, is_distributed, is_main_process
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.optim import OptimWrapper, ReduceOnPlateauParamScheduler
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.checkpoint import _load_checkpoint_to_model, weights_to_cpu
from mmengine.utils import apply_to
from torch import nn
from torch.utils.data import DataLoader

from mmdetr.checkpoint import CheckpointError, Source, load_source, save_file
from mmdetr.config.check import check_config_types
from mmdetr.registry import RUNNERS

from .data_sampling import SkippingBatchSampler, seeded_dataloader_cfg
from .distributed import choose_backend, explain_lost_rank, init_cpu_process_group
from .hooks import (
    HistoryLimitHook,
    IterationSeedHook,
    MallocTrimHook,
    NumClassCheckHook,
    PositionCheckHook,
    RankCheckHook,
)
from .loops import ResumableEpochLoop, ResumableIterLoop
from .resume.find import (
    StartCheckpoint,
    check_complete,
    drop_needless_pretraining,
    newest_training,
    read_training,
    read_weights,
)
from .resume.state import (
    ValidationHistory,
    pending_gradients,
    plain,
    plain_message_hub,
    restore_message_hub,
    resume_param_scheduler_state,
)

_LOOPS = {'EpochBasedTrainLoop': ResumableEpochLoop, 'IterBasedTrainLoop': ResumableIterLoop}


@RUNNERS.register_module()
class DetectionRunner(Runner):
    """Trains, validates and tests a detector from a config.

    On top of mmengine's Runner: a resumed run ends with the same weights as one never interrupted
    (also within an epoch and with gradients half accumulated); checkpoints are read without
    running code and replaced atomically; distributed training works on the CPU.

    ``resume=True`` without ``load_from`` takes the newest intact checkpoint of ``work_dir``.
    ``resume='auto'`` does too, and begins from ``load_from``, if given, where there is none.
    """

    # Set by mmengine, first as configs, later as what was built from them.
    _train_dataloader: Any
    _resume: Any
    optim_wrapper: Any
    param_schedulers: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.history = ValidationHistory()
        self._start: StartCheckpoint | None = None
        self._start_is_known = False
        super().__init__(*args, **kwargs)

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'Runner':
        """Build a runner from a config.

        Raises:
            TypeError: A value has the wrong type; the message names its key.
        """
        check_config_types(cfg)
        return super().from_cfg(cfg)

    # Environment

    def setup_env(self, env_cfg: dict) -> None:
        """Also chooses the backend of torch.distributed where the config names none."""
        if not torch.cuda.is_available():
            # oneDNN keeps a thousand compiled operations, of every image size its own: strewn over
            # the heap they let it grow with each new size. A step at one size is no slower for it.
            os.environ.setdefault('ONEDNN_PRIMITIVE_CACHE_CAPACITY', '64')
        env_cfg = copy.deepcopy(dict(env_cfg))
        dist_cfg = env_cfg.setdefault('dist_cfg', {})
        dist_cfg['backend'] = choose_backend(dist_cfg.get('backend'))
        if self.distributed and not is_distributed() and not torch.cuda.is_available():
            init_cpu_process_group(self.launcher, dist_cfg.get('timeout'))
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Also wraps a model on the CPU, where DistributedDataParallel takes no device ids."""
        if not self.distributed or is_model_wrapper(model) or get_device() != 'cpu':
            return super().wrap_model(model_wrapper_cfg, model)
        options = dict(
            broadcast_buffers=False,
            find_unused_parameters=self.cfg.get('find_unused_parameters', False),
        )
        if model_wrapper_cfg is not None:
            options = {key: value for key, value in model_wrapper_cfg.items() if key != 'type'}
        return MMDistributedDataParallel(module=model, **options)

    @property
    def shared_seed(self) -> int:
        """The seed that all ranks have in common."""
        differs = self._randomness_cfg.get('diff_rank_seed', False)
        return self.seed - self.rank if differs else self.seed

    # Building

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """mmengine's loops in their resumable form, over data seeded per sample."""
        if isinstance(loop, BaseLoop):
            return loop
        cfg = dict(loop)
        if 'type' not in cfg:
            by_epoch = cfg.pop('by_epoch', True)
            cfg['type'] = 'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop'
        cfg['type'] = _LOOPS.get(cfg['type'], cfg['type'])
        original = self._train_dataloader
        if isinstance(original, dict):
            self._train_dataloader = seeded_dataloader_cfg(original, self.shared_seed)
        try:
            return super().build_train_loop(cfg)
        finally:
            self._train_dataloader = original

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        """Also registers the hooks that exact resuming and early checks need.

        ``None`` turns off a hook, where mmengine lets it turn off its own alone.
        """
        own = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
        hooks = {k: hook for k, hook in (hooks or {}).items() if hook is not None or k in own}
        super().register_default_hooks(hooks)
        for hook in (
            IterationSeedHook,
            NumClassCheckHook,
            PositionCheckHook,
            RankCheckHook,
            HistoryLimitHook,
            MallocTrimHook,
        ):
            self.register_hook(hook())

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Scale the learning rate linearly with the images per optimiser step.

        Unlike mmengine's, it counts accumulated batches.
        """
        if not auto_scale_lr or not auto_scale_lr.get('enable', False):
            return
        loader = self._train_dataloader
        batch = loader.batch_size if isinstance(loader, DataLoader) else loader['batch_size']
        effective = batch * self.world_size * optim_wrapper._accumulative_counts
        ratio = effective / auto_scale_lr['base_batch_size']
        for group in optim_wrapper.optimizer.param_groups:
            group['lr'] *= ratio
        self.logger.info(
            f'Learning rates scaled by {ratio:g}: {effective} images per optimiser step, the '
            f'config is for {auto_scale_lr["base_batch_size"]}'
        )

    def train(self) -> nn.Module:
        """Launch training; hooks may keep what led to NaN or infinite predictions."""
        try:
            with explain_lost_rank():
                return super().train()
        except FloatingPointError as error:
            self.call_hook('after_floating_point_error', error=error)
            raise

    def val(self) -> dict:
        """Launch validation."""
        with explain_lost_rank():
            return super().val()

    def test(self) -> dict:
        """Launch test."""
        with explain_lost_rank():
            return super().test()

    def _init_model_weights(self) -> None:
        """Initialise what the checkpoint to start from leaves open, fetching nothing in vain."""
        if self._has_loaded:
            return
        start = self._find_start()
        if start is not None:
            for name in drop_needless_pretraining(self._bare_model, start.state_dict):
                self.logger.info(f'{name}: its weights come from {start.filename}')
        super()._init_model_weights()

    @property
    def _bare_model(self) -> nn.Module:
        return self.model.module if is_model_wrapper(self.model) else self.model

    # Reading checkpoints

    def _find_start(self) -> StartCheckpoint | None:
        """The checkpoint that ``resume`` and ``load_from`` ask for, read once."""
        if self._start_is_known:
            return self._start
        if self._resume and (self._resume == 'auto' or self._load_from is None):
            self._start = newest_training(self.work_dir, self.logger)
            self._resume = self._start is not None
            if self._start is None:
                source = f'from {self._load_from}' if self._load_from else 'anew'
                self.logger.warning(f'Nothing to resume in {self.work_dir}: begins {source}')
        elif self._resume:
            self._start = read_training(str(self._load_from))
        if self._start is None and self._load_from is not None:
            self._start = read_weights(str(self._load_from), self._bare_model)
        self._start_is_known = True
        return self._start

    def load_or_resume(self) -> None:
        """Load the checkpoint that ``resume`` and ``load_from`` ask for, once."""
        start = None if self._has_loaded else self._find_start()
        if start is None:
            return
        if self._resume:
            self.resume(start.filename)
        else:
            checkpoint = self.load_checkpoint(start.filename)
            if not isinstance(self._train_loop, BaseLoop):
                check_complete(self._bare_model, checkpoint['state_dict'], start.filename)
        self._start = None

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        revise_keys: list = [(r'^module\.', '')],  # noqa: B006
    ) -> dict:
        """Load weights into the model, a detector's from any published DETR format.

        Args:
            filename: As :func:`mmdetr.checkpoint.load_file` takes it.
            map_location: As in :func:`torch.load`.
            strict: Whether every weight has to match; a mismatch is only logged otherwise.
            revise_keys: Regular expressions and what replaces them in the names of weights, for a
                model that is no detector.

        Returns:
            The content of the file, its ``state_dict`` as it was loaded.
        """
        start = self._start
        if start is None or start.filename != filename:
            start = read_weights(filename, self._bare_model, map_location)
        if isinstance(start.content, Source):
            checkpoint = load_source(self.model, start.content, strict, self._classes())
            self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        else:
            checkpoint = start.content
            self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
            _load_checkpoint_to_model(self._bare_model, checkpoint, strict, revise_keys=revise_keys)
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return checkpoint

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = 'cpu',
    ) -> None:
        """Continue the training that a checkpoint comes from.

        Args:
            filename: A local file.
            resume_optimizer: Whether to take up the optimiser's state.
            resume_param_scheduler: Whether to take up the learning rate schedule's state.
            map_location: Not used: what was saved is moved to where the model is.

        Raises:
            CheckpointError: The file is damaged or holds no state of a training.
            RuntimeError: The file is of another model.
        """
        self._resume = True
        if self._start is None or self._start.filename != filename:
            self._start = read_training(filename)
        checkpoint = self.load_checkpoint(filename, strict=True)
        self._resume_position(filename, checkpoint['meta'])
        restore_message_hub(self.message_hub, checkpoint['message_hub'])
        self.history = ValidationHistory.read(Path(filename).parent, self.iter)
        if self.history.has(self.iter):
            self.message_hub.update_info_dict(self.history.entries[-1]['best'])
        if resume_optimizer:
            self._resume_optimizer(checkpoint)
        if resume_param_scheduler and self.param_schedulers is not None:
            self._resume_param_schedulers(checkpoint)
        self.logger.info(f'resumed epoch: {self.epoch}, iter: {self.iter}')

    def _resume_position(self, filename: str, meta: dict) -> None:
        loop: Any = self.train_loop
        loop._epoch, loop._iter = meta['epoch'], meta['iter']
        length, previous = len(loop.dataloader), meta.get('batches_per_epoch')
        done = meta.get('batches_done', 0)
        if previous is not None and previous != length:
            done = round(done * length / previous)
            self.logger.warning(
                f'An epoch has {length} iterations, {previous} when {filename} was written: the '
                'resumed run is not the one that was interrupted'
            )
        loop.batches_done = done
        seed = meta.get('seed')
        if seed is not None and seed != self.shared_seed:
            if self._randomness_cfg.get('seed') is not None:
                self.logger.warning(
                    f'The checkpoint has seed {seed}, the config {self.seed}; {seed} is used'
                )
            self._randomness_cfg.update(seed=seed)
            self.set_randomness(**self._randomness_cfg)
            batch_sampler = loop.dataloader.batch_sampler
            if isinstance(batch_sampler, SkippingBatchSampler):
                batch_sampler.sampler.set_seed(self.shared_seed)
        classes, saved = self._classes(), (meta.get('dataset_meta') or {}).get('classes')
        if classes is not None and saved is not None and list(classes) != list(saved):
            self.logger.warning(f'{filename} was trained on classes {saved}, not {classes}')

    def _classes(self) -> list[str] | None:
        """Class names of the data that the model is to work on, where they are known."""
        for loop in (self._train_loop, self._val_loop, self._test_loop):
            if isinstance(loop, BaseLoop):
                metainfo: Any = getattr(loop.dataloader.dataset, 'metainfo', None)
                return (metainfo or {}).get('classes')
        return None

    def _resume_optimizer(self, checkpoint: dict) -> None:
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        self.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        parameters = dict(self._bare_model.named_parameters())
        for name, gradient in checkpoint.get('gradients', {}).items():
            parameters[name].grad = gradient.to(parameters[name].device)

    def _resume_param_schedulers(self, checkpoint: dict) -> None:
        self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
        saved = checkpoint.get('param_schedulers', [])
        if len(saved) != len(self.param_schedulers):
            raise CheckpointError(
                f'the checkpoint has {len(saved)} learning rate schedules, the config has '
                f'{len(self.param_schedulers)}: resume with the param_scheduler it was written with'
            )
        for scheduler, state in zip(self.param_schedulers, saved, strict=True):
            resume_param_scheduler_state(scheduler, state)

    @property
    def validation_missed(self) -> bool:
        """Whether this run resumed from a checkpoint that does not know its validation."""
        if not self._resume:
            return False
        schedulers = self.param_schedulers or []
        steps_on_metrics = any(isinstance(s, ReduceOnPlateauParamScheduler) for s in schedulers)
        return steps_on_metrics or not self.history.has(self.iter)

    # Writing checkpoints

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """Write a checkpoint on the main process; to be called on all.

        The file loads with ``torch.load(..., weights_only=True)``.

        Args:
            out_dir: Folder to write into.
            filename: Name of the file there.
            file_client_args: Only None: files are local.
            save_optimizer: Whether to save what resuming needs of the optimiser.
            save_param_scheduler: Whether to save the state of the learning rate schedule.
            meta: Entries to add to the meta information.
            by_epoch: Whether the current epoch is complete, or else the current iteration.
            backend_args: Only None: files are local.

        Raises:
            OSError: The file cannot be written; a previous one of that name is intact.
        """
        if file_client_args is not None or backend_args is not None:
            raise ValueError('checkpoints are written to local folders only')
        gradients = self._mean_pending_gradients() if save_optimizer else {}
        if not is_main_process():
            return
        checkpoint: dict[str, Any] = dict(
            meta=self._checkpoint_meta(meta or {}, by_epoch),
            state_dict=weights_to_cpu(self._bare_model.state_dict()),
            message_hub=plain_message_hub(self.message_hub, self.logger),
        )
        if save_optimizer:
            checkpoint['optimizer'] = _to_cpu(self.optim_wrapper.state_dict())
            if gradients:
                checkpoint['gradients'] = _to_cpu(gradients)
        if save_param_scheduler and self.param_schedulers is not None:
            checkpoint['param_schedulers'] = [s.state_dict() for s in self.param_schedulers]
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        save_file(checkpoint, Path(out_dir) / filename)

    def _mean_pending_gradients(self) -> dict:
        """Half accumulated gradients, averaged: until the step every rank has its own."""
        gradients = pending_gradients(self._bare_model, self.optim_wrapper)
        if is_distributed():
            for gradient in gradients.values():
                all_reduce(gradient, op='mean')
        return gradients

    @cached_property
    def _cfg_text(self) -> str:
        """Formatting a config takes up to a second: not for every checkpoint."""
        return self.cfg.pretty_text

    def _checkpoint_meta(self, meta: dict, by_epoch: bool) -> dict:
        loop: Any = self.train_loop
        done = 0 if by_epoch else getattr(loop, 'batches_done', -1) + 1
        dataset_meta = getattr(self.train_dataloader.dataset, 'metainfo', None)
        return (
            dict(
                epoch=self.epoch + int(by_epoch),
                iter=self.iter + int(not by_epoch),
                batches_done=done,
                batches_per_epoch=len(self.train_dataloader),
                cfg=self.cfg.pretty_text,
                seed=self.shared_seed,
                experiment_name=self.experiment_name,
                time=time.strftime('%Y%m%d_%H%M%S'),
                mmengine_version=mmengine.__version__,
                dataset_meta=plain(dataset_meta),
            )
            | meta
        )


def _to_cpu(tensors: Any) -> Any:
    return apply_to(tensors, lambda value: hasattr(value, 'cpu'), lambda value: value.cpu())
