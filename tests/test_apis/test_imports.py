"""What inference loads, in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / 'configs').glob('detr*.py'))
TRAINING = ('mmdetr.engine', 'mmengine.runner', 'mmengine.hooks', 'mmengine._strategy')
PLOTTING = ('matplotlib', 'mmengine.visualization', 'mmdetr.visualization')
PRINT_LOADED = f"""
import sys
print(*(name for name in sys.modules if f'{{name}}.'.startswith(
    {tuple(f'{name}.' for name in TRAINING + PLOTTING)!r})))
"""


def loaded_by(code: str) -> list[str]:
    """Modules of training and plotting that a fresh process has after ``code``."""
    command = [sys.executable, '-c', code + PRINT_LOADED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


def test_importing_the_api() -> None:
    assert loaded_by('import mmdetr.apis') == []


def test_building_detectors() -> None:
    """The config is checked without what it names for training."""
    code = f"""
import torch
from mmdetr.apis import init_detector
for config in {[str(path) for path in CONFIGS]!r}:
    with torch.device('meta'):
        init_detector(config, device='meta')
"""
    assert loaded_by(code) == []


def test_detecting() -> None:
    code = f"""
import numpy as np
from mmdetr.apis import inference_detector, init_detector
model = init_detector({str(ROOT / 'configs/detr_tiny_1xb32-12e_shapes.py')!r}, device='cpu')
inference_detector(model, np.zeros((64, 64, 3), np.uint8))
"""
    assert loaded_by(code) == []


@pytest.mark.parametrize('module', ['mmdetr.engine', 'mmdetr.visualization'])
def test_the_probe_sees(module: str) -> None:
    assert module in loaded_by(f'import {module}')
