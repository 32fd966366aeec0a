"""Whoever runs an exported model has no torch."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRAINING_ALONE = ('torch', 'mmengine', 'mmcv', 'cv2', 'torchvision', 'scipy', 'pycocotools')


def test_importing_the_runtime() -> None:
    code = f"""
import sys
from mmdetr.apis import ImageDetections, RuntimeDetector
print(*(name for name in {TRAINING_ALONE!r} if name in sys.modules))
assert 'numpy' in sys.modules, 'the probe sees nothing'
"""
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
