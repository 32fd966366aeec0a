"""mmengine's Runner, made to resume exactly, read files safely and write them atomically."""

import contextlib
import copy
import os
import warnings
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_distributed, is_main_process
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmengine.runner import BaseLoop, Runner
from mmengine.visualization import Visualizer
from torch import nn

from mmdetr.checkpoint import (
    CheckpointError,
    CheckpointFile,
    LoadReport,
    check_class_order,
    check_for_use,
    load_into,
    save_file,
)
from mmdetr.config.check import check_config_types
from mmdetr.registry import RUNNERS
from mmdetr.utils.model import unwrap

from .distributed import check_ranks, choose_backend, explain_lost_rank, init_cpu_process_group
from .hooks import ALWAYS_REGISTERED
from .lock import work_dir_lock
from .loops import ResumableEpochLoop, ResumableIterLoop
from .narrated_runner import NarratedRunner
from .randomness import random_state, set_random_state
from .resume.differences import data_file_hashes
from .resume.find import (
    StartCheckpoint,
    drop_needless_pretraining,
    find_start,
    read_training,
    read_weights,
)
from .resume.hook_states import without_average
from .resume.optimizer import LOAD_FROM
from .resume.restore import load_weights, name_differences, restore_training
from .resume.save import ConfigText, training_checkpoint
from .resume.state import pending_gradients

_LOOPS = {'EpochBasedTrainLoop': ResumableEpochLoop, 'IterBasedTrainLoop': ResumableIterLoop}
_MMENGINE_HOOKS = [
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
]

_timestamps: set[str] = set()


# Of mmengine and torch on a GPU; nobody who trains can do anything about them. Gradients of 1x1
# kernels in channels-last layout are copied by DistributedDataParallel.
_HARMLESS = (r'`torch\.cuda\.amp\.GradScaler', 'Grad strides do not match bucket view strides')


def _unique(timestamp: str) -> str:
    """Tell runs of one process apart that begin within a second; all ranks count alike."""
    name, count = timestamp, 1
    while name in _timestamps:
        count += 1
        name = f'{timestamp}_{count}'
    _timestamps.add(name)
    return name


def _forget(logger: MMLogger, visualizer: type, names: tuple[str, str]) -> None:
    """Close the log of a run that nobody has any more; mmengine keeps it open for good."""
    shared: list[Any] = [MMLogger, MessageHub, visualizer, Visualizer]
    for manager in shared:
        for name in names:
            manager._instance_dict.pop(name, None)
    for handler in logger.handlers:
        handler.close()


@RUNNERS.register_module()
class DetectionRunner(NarratedRunner):
    """Train, validate and test a detector from a config.

    On top of mmengine's Runner: a resumed run ends with the same weights as one never interrupted
    (also within an epoch and with gradients half accumulated); checkpoints are read without
    running code and replaced atomically; distributed training works on the CPU. How a run is saved
    and resumed is in :mod:`mmdetr.engine.resume`.

    Args:
        load_from: Checkpoint to take weights from, or with ``resume=True`` to resume from.
        resume: ``True`` without ``load_from`` takes the newest intact checkpoint of ``work_dir``.
            ``'auto'`` does too, and begins from ``load_from``, if given, where there is none.
        randomness: ``seed``, ``diff_rank_seed`` and ``deterministic``.
        kwargs: As mmengine's Runner takes them.

    Attributes:
        has_loaded: Whether the model holds the weights of a checkpoint.
        config_text: The config as it goes into checkpoints.
    """

    # Set by mmengine, first as configs, later as what was built from them.
    optim_wrapper: Any
    param_schedulers: Any

    def __init__(
        self,
        *args: Any,
        load_from: str | None = None,
        resume: bool | str = False,
        randomness: dict | None = None,
        **kwargs: Any,
    ) -> None:
        self.randomness = dict(randomness or {'seed': None})
        self.has_loaded = False
        self.config_text = ConfigText()
        self._start_from = (resume, load_from)
        self._stage: str | None = None
        self._unchecked: tuple[CheckpointFile, LoadReport] | None = None
        super().__init__(*args, randomness=self.randomness, **kwargs)
        self._random_state = random_state()
        names = self.experiment_name, self.visualizer.instance_name
        weakref.finalize(self, _forget, self.logger, type(self.visualizer), names)

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
        """Also choose the backend of torch.distributed where the config names none."""
        if not torch.cuda.is_available():
            # oneDNN caches 1024 primitives, one per input shape, which fragment the heap; 64 are
            # enough for a fixed size.
            os.environ.setdefault('ONEDNN_PRIMITIVE_CACHE_CAPACITY', '64')
        for message in _HARMLESS:
            warnings.filterwarnings('ignore', message=message)
        env_cfg = copy.deepcopy(dict(env_cfg))
        # mmengine only switches it on, and an earlier run of the process may have done so.
        torch.backends.cudnn.benchmark = bool(env_cfg.get('cudnn_benchmark'))
        dist_cfg = env_cfg.setdefault('dist_cfg', {})
        dist_cfg['backend'] = choose_backend(dist_cfg.get('backend'))
        if self.distributed and not is_distributed():
            check_ranks(self.launcher)
        if self.distributed and not is_distributed() and not torch.cuda.is_available():
            init_cpu_process_group(self.launcher, dist_cfg.get('timeout'))
        super().setup_env(env_cfg)
        self._timestamp = _unique(self.timestamp)

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Also undo what an earlier run of the process asked for: its determinism and its seed."""
        if seed is None:
            np.random.seed(None)  # mmengine draws the seed from it
        if not deterministic and torch.are_deterministic_algorithms_enabled():
            torch.use_deterministic_algorithms(False)
            torch.backends.cudnn.deterministic = False
        super().set_randomness(seed, diff_rank_seed, deterministic)

    def build_visualizer(self, visualizer: Visualizer | dict | None = None) -> Visualizer:
        """Build a visualizer of the run's own: mmengine shares them between equal names."""
        if isinstance(visualizer, dict):
            name = visualizer.get('name')
            own = f'{name}_{self.experiment_name}' if name else self.experiment_name
            visualizer = {**visualizer, 'name': own}
        return super().build_visualizer(visualizer)

    def dump_config(self) -> None:
        """Write the config to the work directory where it has none yet.

        That of a training is replaced when the next one has taken it up: a run that is refused, or
        a test, does not leave a config that nothing was trained with.
        """
        name = Path(self.cfg.filename or f'{self.timestamp}.py').name
        target = Path(self.work_dir) / name
        if self.cfg.filename and target.resolve() == Path(self.cfg.filename).resolve():
            return  # the work directory is where its author keeps it
        if self._stage == 'train' or not target.exists():
            super().dump_config()

    def _enter(self, stage: str) -> None:
        """Make the process that of this run again, where others were built since."""
        self._stage = stage
        set_random_state(self._random_state)
        shared: list[Any] = [MMLogger, MessageHub, DefaultScope, type(self.visualizer), Visualizer]
        names = {self.experiment_name, self.visualizer.instance_name}
        for manager in shared:
            # The newest counts as the current one; mmengine has no public name for that.
            for name in names & manager._instance_dict.keys():
                manager._instance_dict[name] = manager._instance_dict.pop(name)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Also wrap a model on the CPU, where DistributedDataParallel takes no device ids."""
        if not self.distributed or is_model_wrapper(model) or get_device() != 'cpu':
            return super().wrap_model(model_wrapper_cfg, model)
        unused = self.cfg.get('find_unused_parameters', False)
        options = dict(broadcast_buffers=False, find_unused_parameters=unused)
        if model_wrapper_cfg is not None:
            options = {key: value for key, value in model_wrapper_cfg.items() if key != 'type'}
        return MMDistributedDataParallel(module=model, **options)

    @property
    def shared_seed(self) -> int:
        """Seed that all ranks have in common."""
        return self.seed - self.rank if self.randomness.get('diff_rank_seed') else self.seed

    # Building

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build mmengine's loops in their resumable form."""
        if isinstance(loop, BaseLoop):
            return loop
        cfg = dict(loop)
        if 'type' not in cfg:
            by_epoch = cfg.pop('by_epoch', True)
            cfg['type'] = 'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop'
        cfg['type'] = _LOOPS.get(cfg['type'], cfg['type'])
        return super().build_train_loop(cfg)

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        """Also register the hooks that exact resuming and early checks need.

        A hook set to None is disabled; mmengine allows that for its own hooks only.
        """
        wanted = dict(hooks or {})
        for name in [n for n, hook in wanted.items() if hook is None and n not in _MMENGINE_HOOKS]:
            del wanted[name]
        super().register_default_hooks(wanted)
        for hook in ALWAYS_REGISTERED:
            self.register_hook(hook())

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Scale the learning rate linearly with the images per optimiser step.

        Unlike mmengine's, it counts accumulated batches.
        """
        if not auto_scale_lr or not auto_scale_lr.get('enable', False):
            return
        sampler: Any = self.train_dataloader.batch_sampler
        # No public name of mmengine's tells how many batches make a step.
        effective = sampler.batch_size * self.world_size * optim_wrapper._accumulative_counts
        ratio = effective / auto_scale_lr['base_batch_size']
        for group in optim_wrapper.optimizer.param_groups:
            group['lr'] *= ratio
        self.logger.info(
            f'Learning rates scaled by {ratio:g}: {effective} images per optimiser step, the '
            f'config is for {auto_scale_lr["base_batch_size"]}'
        )

    # Running

    def train(self) -> nn.Module:
        """Launch training."""
        self._enter('train')
        with contextlib.ExitStack() as stack:
            if is_main_process():
                stack.enter_context(work_dir_lock(self.work_dir, self.logger))
            stack.enter_context(explain_lost_rank())
            return super().train()

    def val(self) -> dict:
        """Launch validation."""
        self._enter('val')
        with explain_lost_rank():
            return super().val()

    def test(self) -> dict:
        """Launch test."""
        self._enter('test')
        with explain_lost_rank():
            return super().test()

    @property
    def _classes(self) -> list[str] | None:
        """Class names of the data that the model is to work on, where they are known."""
        if self._stage is None:
            return None
        dataset = getattr(self, f'{self._stage}_dataloader').dataset
        return (getattr(dataset, 'metainfo', None) or {}).get('classes')

    @cached_property
    def data_files(self) -> dict[str, str]:
        """Hashes of the annotation files of training and validation, by their keys."""
        loaders = {'train_dataloader': self.train_dataloader}
        if self.val_loop is not None:
            loaders['val_dataloader'] = self.val_dataloader
        return data_file_hashes(
            {f'{key}.dataset': getattr(each, 'dataset', None) for key, each in loaders.items()}
        )

    # Reading checkpoints

    @cached_property
    def _start(self) -> StartCheckpoint | None:
        """The checkpoint that ``resume`` and ``load_from`` ask for, read once."""
        return find_start(*self._start_from, self.work_dir, unwrap(self.model), self.logger)

    def _init_model_weights(self) -> None:
        """Initialise only the weights that the starting checkpoint does not provide.

        mmengine calls it before it loads a checkpoint; that is the one moment in which a needless
        download can be left out.
        """
        if self.has_loaded:
            return
        if self._start is not None:
            for name in drop_needless_pretraining(unwrap(self.model), self._start.state_dict):
                self.logger.info(f'{name}: its weights come from {self._start.filename}')
        with DefaultScope.overwrite_default_scope('mmdetr'):  # mmengine's own runs what files hold
            super()._init_model_weights()

    def load_or_resume(self) -> None:
        """Load the checkpoint that ``resume`` and ``load_from`` ask for, once."""
        self._load_or_resume()
        if self._stage == 'train':
            self.dump_config()
            if is_main_process():
                self.data_files  # noqa: B018  the files may be changed while the run goes on

    def _load_or_resume(self) -> None:
        if self.has_loaded or self._start is None:
            self._check_what_is_there()
            return
        start, self._start = self._start, None  # to keep its tensors no longer than needed
        if start.resumes:
            self.resume(start)
            return
        self.load_checkpoint(start)

    def _check_for_use(self, file: CheckpointFile, report: LoadReport) -> None:
        """Refuse a file that leaves a part of a model random which is tested, not trained."""
        if self._stage is None:  # nobody knows yet what the weights are for
            meta = dict(meta=file.meta)
            self._unchecked = (replace(file, state_dict={}, content=meta), report)
        elif self._stage != 'train':
            allow = self.cfg.get('allow_mismatch', False)
            check_for_use(file, report, self.cfg, f'{self._stage}_dataloader', allow)

    def _check_what_is_there(self) -> None:
        """Look at weights that no ``load_from`` brought, before they are tested."""
        unchecked, self._unchecked = self._unchecked, None
        if self._stage == 'train':
            return
        if unchecked is not None:
            check_class_order(unchecked[0], self._classes)
            self._check_for_use(*unchecked)
        elif not self.has_loaded and not self.iter:
            self.logger.warning(
                'No checkpoint was loaded and nothing trained: the weights of the model are random '
                'unless they were set by hand'
            )

    def load_checkpoint(
        self,
        filename: str | StartCheckpoint,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        revise_keys: list = [(r'^module\.', '')],  # noqa: B006
    ) -> dict:
        """Load weights into the model, from any layout that mmdetr.checkpoint knows.

        Args:
            filename: As :func:`mmdetr.checkpoint.load_file` takes it, or a file already read.
            map_location: As in :func:`torch.load`.
            strict: Whether every weight has to match; a mismatch is only logged otherwise.
            revise_keys: Only used to resume: regular expressions and what replaces them in the
                names of weights.

        Returns:
            The content of the file, its ``state_dict`` as it was loaded.
        """
        if isinstance(filename, StartCheckpoint):
            start = filename
        else:
            start = read_weights(filename, unwrap(self.model), map_location)
        if isinstance(start.content, CheckpointFile):
            file = start.content.with_classes(self.cfg.get('checkpoint_classes'))
            checkpoint = load_into(
                self.model, file, strict, self._classes, check=self._check_for_use
            )
            self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        else:
            checkpoint = without_average(self, start.content) if start.resumes else start.content
            self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
            load_weights(unwrap(self.model), checkpoint, strict, revise_keys)
        self.has_loaded = True
        self.logger.info(f'Load checkpoint from {start.filename}')
        return checkpoint

    def resume(
        self,
        filename: str | StartCheckpoint,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = 'cpu',
    ) -> None:
        """Continue the training that a checkpoint comes from.

        Args:
            filename: A local file, or one already read.
            resume_optimizer: Whether to restore the optimiser's state.
            resume_param_scheduler: Whether to restore the learning rate schedule's state.
            map_location: Not used: what was saved is moved to where the model is.

        Raises:
            CheckpointError: The file is damaged, holds no state of a training, or is of another
                model.
        """
        self._resume = True  # mmengine's EMAHook asks for it
        start = filename if isinstance(filename, StartCheckpoint) else read_training(filename)
        content: Any = start.content
        name_differences(self, start.filename, content['meta'])
        try:
            checkpoint = self.load_checkpoint(start, strict=True)
        except RuntimeError as error:
            reason = ' '.join(str(error).split())
            raise CheckpointError(
                f'{start.filename} is of another model: {reason}. {LOAD_FROM}'
            ) from error
        restore_training(self, start.filename, checkpoint, resume_optimizer, resume_param_scheduler)
        self.logger.info(f'resumed epoch: {self.epoch}, iter: {self.iter}')

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
        gradients = {}
        if save_optimizer:  # on all ranks
            gradients = pending_gradients(unwrap(self.model), self.optim_wrapper)
        if not is_main_process():
            return
        checkpoint = training_checkpoint(
            self, gradients, meta or {}, by_epoch, save_optimizer, save_param_scheduler
        )
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        save_file(checkpoint, Path(out_dir) / filename)
