"""What a word for a model means: a config, a checkpoint that carries one, or a published model."""

import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdetr.checkpoint import CheckpointError, CheckpointFile, fetch_weights, read_checkpoint
from mmdetr.checkpoint.config_text import parse_config
from mmdetr.checkpoint.foreign_files import is_safetensors, is_torch_zip
from mmdetr.config.command_line import CHECKPOINT_SUFFIXES, CONFIG_SUFFIXES, errors_in_one_line
from mmdetr.config.options import prepare_config, read_config
from mmdetr.config.package_configs import PREFIX, find_config
from mmdetr.config.reading import ConfigError, load_config
from mmdetr.zoo import ModelEntry, UnknownModelError, known_models, unknown_model

Weights = str | CheckpointFile


def read_model(
    config: str,
    checkpoint: str | None,
    options: dict[str, Any] | None = None,
    required: Collection[str] = ('model', 'test_dataloader'),
) -> tuple[Config, Weights]:
    """Read the model that a command line names: CONFIG and CHECKPOINT, or one word for both.

    Args:
        config: A config; without ``checkpoint`` a word as of :func:`find_named`.
        checkpoint: Weights, or None.
        options: What ``--cfg-options`` says.
        required: Top-level keys that the tool cannot do without.

    Raises:
        SystemExit: One of them cannot be found, read or used; the message names it.
    """
    if checkpoint is not None:
        return read_config(config, options, required), checkpoint
    with errors_in_one_line(CheckpointError, ConfigError, UnknownModelError, OSError):
        cfg, weights = find_named(config)
    if weights is None:
        sys.exit(f'error: {config} is a config: give a checkpoint of its model as well')
    return prepare_config(cfg, cfg.filename or config, options, required), weights


def find_named(word: str) -> tuple[Config, Weights | None]:
    """Find the config and the weights that one word stands for.

    Args:
        word: A config, as :func:`load_config` takes it; a name that ``mmdetr models`` lists, whose
            file is fetched; ``hf://OWNER/NAME``; or a checkpoint whose file carries its config.

    Returns:
        The config, and the weights; None where the word is a config.

    Raises:
        FileNotFoundError: There is no such file or name.
        ConfigError: The config cannot be read.
        UnknownModelError: An index of models cannot be read.
        CheckpointError: The checkpoint cannot be read or carries no config.
        OSError: A file cannot be fetched.
    """
    entry = _entry(word)
    if entry is not None:
        return load_config(entry.config), fetch_weights(entry.weights, entry.sha256)
    if _is_checkpoint(word):
        file = read_checkpoint(word)
        return config_in(file), file
    try:
        return load_config(word), None
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{error}, and {unknown_model(word)}') from error


def config_in(file: CheckpointFile) -> Config:
    """Return the config that a checkpoint of ours carries; nothing in it is executed.

    Raises:
        CheckpointError: It carries none that can be read.
    """
    found = parse_config(file.meta.get('cfg'))
    if not found or 'model' not in found:
        raise CheckpointError(
            f'{file.filename} carries no config: give the config that it was trained with'
        )
    return Config(found)


def _entry(word: str) -> ModelEntry | None:
    """The model of that name, unless a config has it; or the one whose weights the word is."""
    if word.startswith('hf://'):
        entries = known_models().values()
        return next((entry for entry in entries if entry.weights == word), None)
    if '/' in word or os.path.exists(word) or find_config(word) != word:
        return None
    return known_models().get(word)


def _is_checkpoint(word: str) -> bool:
    if word.startswith(('hf://', 'http://', 'https://')):
        return True
    if word.startswith(PREFIX) or word.endswith(CONFIG_SUFFIXES):
        return False
    if word.endswith(CHECKPOINT_SUFFIXES) or not Path(word).is_file():
        return word.endswith(CHECKPOINT_SUFFIXES)
    return is_torch_zip(word) or is_safetensors(word)
