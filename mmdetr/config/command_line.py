"""What the command line tools share: arguments, input files and errors of one line.

Imports nothing slow, so that ``--help`` and wrong arguments are answered at once.
"""

import argparse
import contextlib
import math
import os
import sys
from collections.abc import Iterator
from typing import Any

from .package_configs import PREFIX, closest_configs, find_config

# By which a word for a model is a config or a checkpoint, whether or not there is such a file.
CONFIG_SUFFIXES = ('.py', '.json', '.yaml', '.yml')
CHECKPOINT_SUFFIXES = ('.pth', '.pt', '.safetensors', '.bin')


class CfgOptions(argparse.Action):
    """mmengine's DictAction for ``--cfg-options``, with an error for what is no ``key=value``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        from mmengine.config import DictAction

        add = DictAction(self.option_strings, self.dest, nargs=self.nargs)
        for value in values:
            try:
                add(parser, namespace, [value], option_string)
            except (AssertionError, IndexError, RecursionError, ValueError):
                parser.error(f'{option_string} takes key=value, brackets in pairs, not {value!r}')


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``; its value is what ``read_config`` takes."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
        metavar='KEY=VALUE',
        help='change entries of the config, as model.bbox_head.num_queries=50 or a="[1,2]"',
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add ``--quiet``."""
    parser.add_argument(
        '--quiet',
        action='store_true',
        help='only results, warnings and errors on the console; the log file has everything',
    )


def tell(text: str, quiet: bool) -> None:
    """Say a line before what takes seconds, once for all processes of a job."""
    ranks = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    if not quiet and all(os.environ.get(name, '0') == '0' for name in ranks):
        print(text, flush=True)


def check_input_file(kind: str, path: str | None) -> None:
    """Look whether a file can be read, unless it is a URL or None.

    Args:
        kind: What the file is, for the message; ``'config'`` may be a name that the package has.
        path: What the command line says.

    Raises:
        SystemExit: The file is missing, a folder or not readable; the message names it.
    """
    if path is None or '://' in path:
        return
    try:
        if kind == 'config':
            path = find_config(path)
        if kind == 'checkpoint' and os.path.isdir(path):
            of_a_hub = ('model.safetensors', 'pytorch_model.bin')
            if any(name.startswith(of_a_hub) for name in os.listdir(path)):
                return
        elif os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
            # Opening a pipe would wait.
            sys.exit(f'error: {kind} cannot be read: {path}: no regular file')
        with open(path, 'rb'):
            pass
    except FileNotFoundError as error:
        if error.filename is None:  # find_config's
            sys.exit(f'error: {error}')
        hint = closest_configs(path) if kind == 'config' else ''
        sys.exit(f'error: {kind} not found: {path}{hint}')
    except OSError as error:
        sys.exit(f'error: {kind} cannot be read: {path}: {error.strerror}')


def add_model(parser: argparse.ArgumentParser, alone: str = '', weights: str = '') -> None:
    """Add CONFIG and CHECKPOINT, or one word for both; ``read_model`` reads them.

    Args:
        parser: Of the tool.
        alone: What else one word may be.
        weights: What else CHECKPOINT may be.
    """
    parser.add_argument(
        'config',
        help='config of the model; or, without CHECKPOINT, a checkpoint that carries its config, a '
        f'name that mmdetr models lists, or hf://OWNER/NAME{alone}',
    )
    parser.add_argument(
        'checkpoint', nargs='?', help=f'weights, of any format that mmdetr reads{weights}'
    )


def check_model(config: str, checkpoint: str | None) -> None:
    """Look whether the files of a model can be read; names are looked up later.

    Raises:
        SystemExit: A file is missing or not readable, or there is a config alone.
    """
    if checkpoint is not None or is_config(config):
        check_input_file('config', config)
        check_input_file('checkpoint', checkpoint)
        if checkpoint is None:
            sys.exit(f'error: {config} is a config: give a checkpoint of its model as well')
    elif os.path.dirname(config) or os.path.exists(config) or config.endswith(CHECKPOINT_SUFFIXES):
        check_input_file('checkpoint', config)


def is_config(word: str) -> bool:
    """Whether a word for a model means a config, by its suffix or as one of the package's."""
    if word.startswith(PREFIX):
        return True
    return word.endswith(CONFIG_SUFFIXES) or ('://' not in word and find_config(word) != word)


def check_launcher(launcher: str) -> None:
    """Refuse to start several processes as so many trainings that know nothing of each other.

    Raises:
        SystemExit: torchrun has started several, and ``--launcher`` does not say so.
    """
    processes = os.environ.get('WORLD_SIZE', '1')
    if launcher == 'none' and 'TORCHELASTIC_RUN_ID' in os.environ and processes != '1':
        sys.exit(f'error: torchrun started {processes} processes: add --launcher pytorch')


@contextlib.contextmanager
def errors_in_one_line(*errors: type[Exception]) -> Iterator[None]:
    """End the tool with the message of such an error instead of its traceback."""
    try:
        yield
    except errors as error:
        sys.exit(f'error: {" ".join(str(error).split())}')


def score(text: str) -> float:
    """Read a score of the command line, for ``type=`` of argparse.

    Raises:
        argparse.ArgumentTypeError: It is no number in 0..1.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'a score is a number in 0..1, not {text!r}')
    return value


def check_out_dir(option: str, path: str | os.PathLike) -> None:
    """Look before anything slow whether a folder can be made and written to.

    Args:
        option: Which names it, for the message.
        path: The folder, which need not be there yet.

    Raises:
        SystemExit: It cannot; the message says what is in the way.
    """
    folder = os.path.abspath(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        sys.exit(f'error: {option} {path}: {folder} is no folder')
    if not os.access(folder, os.W_OK | os.X_OK):
        sys.exit(f'error: {option} {path}: nothing may be written in {folder}')
