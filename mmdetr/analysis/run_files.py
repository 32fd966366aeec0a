"""What a training leaves in its folder: config, checkpoints, curves, warnings."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LINE = re.compile(r'^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d - \w+ - (?P<level>[A-Z]+) - (?P<text>.*)')
_VARYING = re.compile(r'\S*[\d./_]\S*')


@dataclass(frozen=True)
class Curve:
    """A logged number over the steps.

    Attributes:
        steps: Iterations of a training; of a validation what it was logged with, epochs or
            iterations.
        values: One for each step.
    """

    steps: list[float]
    values: list[float]


def find_config(work_dir: Path) -> Path | None:
    """The config that the run wrote last; None where there is none."""
    found = sorted(work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime)
    found = found or sorted(work_dir.glob('*/vis_data/config.py'))
    return found[-1] if found else None


def find_checkpoint(work_dir: Path) -> Path | None:
    """The best checkpoint, else the last; None where there is none."""
    for pattern in ('best_*.pth', 'epoch_*.pth', 'iter_*.pth', '*.pth'):
        found = sorted(work_dir.glob(pattern), key=lambda path: path.stat().st_mtime)
        if found:
            return found[-1]
    return None


def read_curves(work_dir: Path) -> tuple[dict[str, Curve], dict[str, Curve]]:
    """Read what was logged in training and in validation, by name.

    A run that was resumed, or begun anew, replaces what an earlier one logged from there on.
    """
    training: dict[str, dict[float, float]] = {}
    validation: dict[str, dict[float, float]] = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for group, rows in zip((training, validation), _read_scalars(path), strict=True):
            if not rows:
                continue
            start = min(row['step'] for row in rows)
            for values in group.values():
                for step in [step for step in values if step >= start]:
                    del values[step]
            for row in rows:
                for name, value in row.items():
                    if isinstance(value, int | float) and name not in ('step', 'epoch', 'iter'):
                        group.setdefault(name, {})[row['step']] = float(value)
    return _curves(training), _curves(validation)


def _read_scalars(path: Path) -> tuple[list[dict], list[dict]]:
    training: list[dict] = []
    validation: list[dict] = []
    for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
        try:
            row: Any = json.loads(line)
        except ValueError:  # the last line of a run that was killed
            continue
        if isinstance(row, dict) and isinstance(row.get('step'), int | float):
            (training if 'loss' in row else validation).append(row)
    return training, validation


def _curves(group: dict[str, dict[float, float]]) -> dict[str, Curve]:
    return {
        name: Curve(sorted(values), [values[step] for step in sorted(values)])
        for name, values in group.items()
        if values
    }


def read_warnings(work_dir: Path) -> list[tuple[str, int]]:
    """Read the warnings and errors of all logs; those that differ in names alone count as one.

    Returns:
        The first of each kind, whole, and how often such a one came.
    """
    kinds: Counter[str] = Counter()
    first: dict[str, str] = {}
    for path in sorted(work_dir.glob('*/*.log')):
        for text in _messages(path):
            kind = _VARYING.sub('*', text)
            kinds[kind] += 1
            first.setdefault(kind, text)
    return [(first[kind], count) for kind, count in kinds.items()]


def _messages(path: Path) -> list[str]:
    messages: list[str] = []
    open_message = False
    for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
        match = _LINE.match(line)
        if match:
            open_message = match['level'] in ('WARNING', 'ERROR', 'CRITICAL')
            if open_message:
                messages.append(match['text'].strip())
        elif open_message and line.strip():
            messages[-1] += f'\n{line}'
    return messages
