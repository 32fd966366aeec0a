"""Parties of benchmarks/deploy.py, each built in a process of its own."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import COCO_CONFIG
from _models import NUM_CLASSES, authors, images, infer, nested, ours
from torch import Tensor, nn

from mmdetr.deploy.export import export_detector
from mmdetr.deploy.sessions import open_session

Built = tuple[Callable[[], Any], Callable[[], dict[str, np.ndarray]]]


def export_ours(path: str, file: Path) -> None:
    """Write our model as ONNX, compared with torch on the way."""
    export_detector(ours(path), file)


class _Authors(nn.Module):
    """The authors' model from tensors to tensors, for one size."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.model = authors(path)

    def forward(self, inputs: Tensor, padding_mask: Tensor) -> tuple[Tensor, Tensor]:
        output = self.model(nested(inputs, padding_mask))
        return output['pred_logits'], output['pred_boxes']


def export_authors(path: str, file: str, batch: int, height: int, width: int) -> Built:
    """Factory that writes the authors' model as ONNX of a fixed size, the best case for it."""
    inputs, mask = images(batch, height, width, padded=False)
    mask = torch.zeros(batch, height, width, dtype=torch.bool)
    torch.onnx.export(
        _Authors(path).eval(),
        (inputs, mask),
        file,
        dynamo=True,
        external_data=False,
        input_names=['inputs', 'padding_mask'],
        output_names=['logits', 'bboxes'],
        verbose=False,
    )
    return (lambda: None), dict


def in_torch(threads: int, **arguments: Any) -> Built:
    """Factory of a party that computes in torch."""
    torch.set_num_threads(threads)
    return infer(**arguments)


def in_runtime(file: str, runtime: str, batch: int, height: int, width: int, threads: int) -> Built:
    """Factory of a party that runs an exported file."""
    session = open_session(Path(file), runtime, threads)
    inputs, _ = images(batch, height, width, padded=False)
    given = dict(inputs=inputs.numpy(), padding_mask=np.zeros((batch, height, width), bool))

    def run() -> dict[str, np.ndarray]:
        return session.run(given)

    return run, run


_FIRST_IMAGE = 'detector(numpy.zeros((480, 640, 3), numpy.uint8))'
_IN_RUNTIME = f"""
import numpy
from mmdetr.apis import RuntimeDetector
detector = RuntimeDetector({{file!r}}, runtime={{runtime!r}}, threads={{threads}})
{_FIRST_IMAGE}
"""
_IN_TORCH = f"""
import numpy, torch
from mmdetr.apis import inference_detector, init_detector
torch.set_num_threads({{threads}})
options = {{{{'model.bbox_head.num_classes': {NUM_CLASSES}}}}}
model = init_detector({str(COCO_CONFIG)!r}, {{file!r}}, 'cpu', options, optimize={{optimize}})
detector = lambda image: inference_detector(model, image)
{_FIRST_IMAGE}
"""


def start_up_seconds(file: str, threads: int, runtime: str | None, optimize: bool = False) -> float:
    """Seconds from the start of a process to its first detections in an image of 480 x 640."""
    code = _IN_TORCH if runtime is None else _IN_RUNTIME
    text = code.format(file=file, threads=threads, runtime=runtime, optimize=optimize)
    start = time.perf_counter()
    subprocess.run([sys.executable, '-c', text], check=True, capture_output=True)
    return time.perf_counter() - start
