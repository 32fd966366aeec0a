"""What inference loads, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / 'configs').glob('detr*.py'))
TRAINING = ('mmdetr.engine', 'mmengine.runner', 'mmengine.hooks', 'mmengine._strategy')
PLOTTING = ('matplotlib', 'mmengine.visualization', 'mmdetr.visualization')
# Each stage prints which modules of training and plotting the process has after it.
STAGES = {
    'importing the api': 'import mmdetr.apis',
    # The config is checked without what it names for training.
    'building detectors': f"""
import torch
from mmdetr.apis import init_detector
for config in {[str(path) for path in CONFIGS]!r}:
    with torch.device('meta'):
        init_detector(config, device='meta')
""",
    'detecting': f"""
import numpy as np
from mmdetr.apis import inference_detector
model = init_detector({str(ROOT / 'configs/detr_tiny_1xb32-12e_shapes.py')!r}, device='cpu')
inference_detector(model, np.zeros((64, 64, 3), np.uint8))
""",
    'visualization': 'import mmdetr.visualization',
    'engine': 'import mmdetr.engine',
}
PRINT_LOADED = f"""
print('loaded:', *(name for name in sys.modules if f'{{name}}.'.startswith(
    {tuple(f'{name}.' for name in TRAINING + PLOTTING)!r})))
"""


@pytest.fixture(scope='module')
def loaded() -> dict[str, list[str]]:
    """Modules of training and plotting that a fresh process has after each stage."""
    code = 'import sys\n' + PRINT_LOADED.join([*STAGES.values(), ''])
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith('loaded:')]
    return {stage: line.split()[1:] for stage, line in zip(STAGES, lines, strict=True)}


@pytest.mark.parametrize('stage', ['importing the api', 'building detectors', 'detecting'])
def test_nothing_of_training_or_plotting(loaded: dict[str, list[str]], stage: str) -> None:
    assert loaded[stage] == []


@pytest.mark.parametrize('module', ['visualization', 'engine'])
def test_the_probe_sees(loaded: dict[str, list[str]], module: str) -> None:
    assert f'mmdetr.{module}' in loaded[module]
