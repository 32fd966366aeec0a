"""mmengine's Runner that says on the console what it does, and the rest in the log file."""

import contextlib
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmdetr.utils.console import Console

from .console_handler import take_over
from .hooks.console_hook import ConsoleHook


class NarratedRunner(Runner):
    """Say a line for each part of a run that takes a while to build.

    With ``console=dict(quiet=...)`` in the config standard output has a header, a progress bar and
    the numbers of each validation, written by :class:`ConsoleHook`, and warnings and errors. The
    log file has everything. Without the key, or with None, mmengine's whole log goes to standard
    output as well.

    Attributes:
        console: Where it is said; None without the key.
    """

    console: Console | None = None

    def build_logger(
        self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: Any
    ) -> MMLogger:
        """Also take standard output from the log."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        settings = self.cfg.get('console')
        if settings is not None:
            quiet = settings.get('quiet', False)
            self.console = Console(quiet=quiet, muted=self.rank != 0)
            self._handler = take_over(logger, self.console)
        return logger

    def register_hooks(
        self,
        default_hooks: dict[str, Hook | dict] | None = None,
        custom_hooks: list[Hook | dict] | None = None,
    ) -> None:
        """Also register the one that writes to the console."""
        super().register_hooks(default_hooks, custom_hooks)
        if self.console is not None:
            self.register_hook(ConsoleHook(self.console, self._handler))

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Build the model."""
        self._say('builds the model')
        return super().build_model(model)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop and its data."""
        if not isinstance(loop, BaseLoop):
            self._say('reads the training data')
        return super().build_train_loop(loop)

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the validation loop and its data."""
        if not isinstance(loop, BaseLoop):
            self._say('reads the validation data')
        return super().build_val_loop(loop)

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the test loop and its data."""
        if not isinstance(loop, BaseLoop):
            self._say('reads the test data')
        return super().build_test_loop(loop)

    def train(self) -> nn.Module:
        """Launch training; the bar ends with it."""
        with self.console or contextlib.nullcontext():
            return super().train()

    def val(self) -> dict:
        """Launch validation; the bar ends with it."""
        with self.console or contextlib.nullcontext():
            return super().val()

    def test(self) -> dict:
        """Launch test; the bar ends with it."""
        with self.console or contextlib.nullcontext():
            return super().test()

    def _say(self, text: str) -> None:
        if self.console is not None:
            self.console.say(text, 'dim')
