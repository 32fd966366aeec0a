"""Post-training quantisation to 8 bits, and what it costs in accuracy."""

import contextlib
import io
import itertools
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmdetr.apis.threads import building
from mmdetr.registry import DATASETS

from .description import ExportError
from .evaluation import use_exported
from .metadata import KEY, ExportMetadata
from .preprocessing import make_inputs, resize
from .runtime import RuntimeDetector
from .sessions import require

NUM_IMAGES = 64
MOST_LOST = 0.01  # AP, one point of a hundred
_METRIC = 'bbox_mAP'
_WHY = 'int8, and float16 of models that choose proposals, are kept only where AP stays'
# What is tried one after the other: convolutions alone lose less.
ATTEMPTS = (('Conv', 'MatMul', 'Gemm'), ('Conv',))


class Accuracy(NamedTuple):
    """bbox AP in 0..1 on the test data of the config, in the file's own runtime.

    Attributes:
        float32: Of the model in float32.
        kept: Of the file that was kept.
    """

    float32: float
    kept: float


def quantize(
    float_file: Path, file: Path, inputs: Sequence[dict], operators: Sequence[str]
) -> None:
    """Write an ONNX file whose convolutions and linear layers compute in 8 bits.

    Products of two activations, as in attention, stay in float32. Weights are scaled per channel.

    Args:
        float_file: ONNX in float32.
        file: To be written, with the same metadata.
        inputs: What the network is calibrated on, its inputs by name.
        operators: Which kinds are quantised.
    """
    onnx, tool = require('onnx'), require('onnxruntime.quantization')
    model = onnx.load(str(float_file))
    constants = {each.name for each in model.graph.initializer}
    nodes = [
        node.name
        for node in model.graph.node
        if node.op_type in operators and any(name in constants for name in node.input)
    ]
    feed = iter(inputs)

    # All that is asked of a CalibrationDataReader.
    reader = SimpleNamespace(get_next=lambda: next(feed, None))
    with _silence():
        tool.quantize_static(
            str(float_file),
            str(file),
            reader,
            op_types_to_quantize=list(operators),
            nodes_to_quantize=nodes,
            per_channel=True,
            # Without VNNI 8 bits of weights times 8 of activations overflow in 16.
            reduce_range=True,
            activation_type=tool.QuantType.QUInt8,
            weight_type=tool.QuantType.QInt8,
        )
    text = {each.key: each.value for each in model.metadata_props}[KEY]
    described = replace(ExportMetadata.from_json(text, str(float_file)), dtype='int8')
    quantized = onnx.load(str(file))
    onnx.helper.set_model_props(quantized, {KEY: described.to_json()})
    onnx.save(quantized, str(file))


def calibration_inputs(detector: RuntimeDetector, images: Iterable[Any]) -> list[dict]:
    """Prepare images for calibration, one by one as in use.

    Args:
        detector: Of the float32 file.
        images: As :class:`RuntimeDetector` takes them; the first 64 are used.

    Raises:
        ExportError: There is none.
    """
    found = []
    for image in itertools.islice(images, NUM_IMAGES):
        pixels = detector.read(image)
        shape = (pixels.shape[0], pixels.shape[1])
        found.append(make_inputs([resize(pixels, detector.metadata)], [shape], detector.metadata))
    if not found:
        raise ExportError('int8 needs images to calibrate on: --calibration IMAGES')
    return found


def training_images(config: Config) -> Iterator[np.ndarray]:
    """Yield the training images of a config as they are loaded, uint8 [h, w, 3] in BGR order.

    Raises:
        ExportError: The config has none that can be read.
    """
    settings = config.get('train_dataloader')
    if not settings or 'pipeline' not in settings.dataset:
        raise ExportError(
            'int8 needs images to calibrate on, and the config has no plain train_dataloader: '
            '--calibration IMAGES'
        )
    dataset_cfg = settings.dataset.copy()
    loading = [step for step in dataset_cfg.pipeline if step['type'].endswith('LoadImageFromFile')]
    dataset_cfg.pipeline = loading
    with building(), DefaultScope.overwrite_default_scope('mmdetr'):
        dataset = DATASETS.build(dataset_cfg)
    for place in np.linspace(0, len(dataset) - 1, min(len(dataset), NUM_IMAGES)).astype(int):
        yield dataset[int(place)]['img']


def average_precision(config: Config, file: Path) -> float:
    """Score an exported file on the test data of a config: its bbox AP in 0..1.

    Raises:
        ExportError: The config has no test data, or its metric gives no AP of boxes.
    """
    from mmdetr.engine import DetectionRunner  # training's part of the package, for this alone

    if config.get('test_evaluator') is None:
        raise ExportError(f'{_WHY}: the config has no test_evaluator')
    config = config.copy()
    use_exported(config, str(file))
    with tempfile.TemporaryDirectory() as folder:
        config.work_dir = folder
        config.log_level = 'WARNING'
        config.console = dict(quiet=True)
        runner = DetectionRunner.from_cfg(config)
        runner.has_loaded = True
        with contextlib.redirect_stdout(io.StringIO()):
            scores = runner.test()
    for name, score in scores.items():
        if name.rpartition('/')[2] == _METRIC:
            return score
    raise ExportError(f'{_WHY}, but the metric gives no {_METRIC}')


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep away advice that onnxruntime logs at the root logger."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
