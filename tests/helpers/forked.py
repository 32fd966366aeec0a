"""Tools in processes of their own that need not import anything again."""

import os
import runpy
import sys
from pathlib import Path

import torch

from tests.helpers.ranks import FORK

ROOT = Path(__file__).parents[2]


def _run(tool: str, arguments: tuple[str, ...], folder: Path, path: Path, out: Path) -> None:
    with open(out, 'w') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(number, 'w', 1) for number in (1, 2))
    os.chdir(folder)
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    torch.set_num_threads(1)
    sys.path.insert(0, str(path))
    sys.argv = [tool, *arguments]
    runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')


def run_tool(tool: str, *arguments: str, folder: Path, path: Path) -> str:
    """Run a tool in a folder, with another one on Python's path; returns what it printed."""
    out = folder / 'printed.txt'
    process = FORK.Process(target=_run, args=(tool, arguments, folder, path, out))
    process.start()
    process.join()
    printed = out.read_text()
    assert process.exitcode == 0, printed[-3000:]
    return printed
