"""Export a detector to a file that other runtimes run, and keep it only if it computes the same."""

import copy
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config
from mmengine.model import BaseModel

from mmdetr.apis.images import ImageInput

from .comparison import Difference
from .description import ExportError, describe
from .metadata import SUFFIXES, ExportMetadata
from .networks import ImageNetwork, RawNetwork, plain_copy, traceable_masks
from .quantization import (
    ATTEMPTS,
    MOST_LOST,
    Accuracy,
    average_precision,
    calibration_inputs,
    quantize,
    training_images,
)
from .runtime import RuntimeDetector
from .sessions import require
from .verification import verify
from .writing import onnx_to_openvino, trace, write

DTYPES = ('float32', 'float16', 'int8')
_PACKAGES = {
    'onnx': ('onnx', 'onnxscript', 'onnxruntime'),
    'openvino': ('onnx', 'onnxscript', 'openvino'),
    'torch-export': (),
}


@dataclass(frozen=True)
class ExportReport:
    """What an export did.

    Attributes:
        file: Where the file lies.
        metadata: What it says about itself.
        differences: From the model in torch; those in float32 where ``accuracy`` is given.
        seconds: How long it took.
        accuracy: AP in float32 and of the file, of int8 and of models that choose proposals in
            float16.
    """

    file: Path
    metadata: ExportMetadata
    differences: list[Difference]
    seconds: float
    accuracy: Accuracy | None = None

    def largest(self) -> dict[str, float]:
        """Largest difference of each kind."""
        found: dict[str, float] = {}
        for each in self.differences:
            found[each.what] = max(each.largest, found.get(each.what, 0.0))
        return found


def export_detector(
    model: BaseModel,
    file: str | os.PathLike,
    format: str = 'onnx',
    dtype: str = 'float32',
    size: tuple[int, int] | None = None,
    dynamic: bool = False,
    with_postprocess: bool = False,
    score_threshold: float | None = None,
    calibration: Iterable[ImageInput] | None = None,
    log: Callable[[str], None] = lambda text: None,
) -> ExportReport:
    """Write a detector into a file that :class:`~mmdetr.apis.RuntimeDetector` and others run.

    The batch is free, and so are height and width, unless ``size`` fixes them or the pipeline makes
    all images alike. The file is compared with the model before it gets its name.

    Args:
        model: From :func:`~mmdetr.apis.init_detector`; not changed.
        file: Its suffix is the format's: ``.onnx``, ``.xml`` (OpenVINO, with a ``.bin`` beside it)
            or ``.pt2``.
        format: ``'onnx'``, ``'openvino'`` or ``'torch-export'``.
        dtype: ``'float32'`` or ``'float16'`` of weights and computation, or ``'int8'`` of
            convolutions and linear layers; images, scores and boxes stay float32. int8 is kept
            where it loses less than one point of AP on the test data of the model's config, and
            so is float16 of a model whose queries are proposals of its encoder.
        size: (height, width) of the network's input. Images are resized by the pipeline's rule,
            smaller where they would not fit, and padded, which a model for small images notices.
        dynamic: Keep height and width free also where the pipeline makes all images alike.
        with_postprocess: Take uint8 images and give boxes in pixels, scores and labels, instead of
            prepared inputs and raw predictions.
        score_threshold: What the file recommends to whoever shows its detections, in the place of
            the operating point that the checkpoint states.
        calibration: Images that int8 is calibrated on, the first 64 of them; by default training
            images of the model's config.
        log: Called with a line before each step.

    Returns:
        Where the file lies and how far it is from the model.

    Raises:
        ExportError: The model cannot be exported as asked, or the file differs from it; no file is
            left then.
        ExportedFileError: A package is missing; the message says how to install it.
    """
    start = time.monotonic()
    target = check_target(file, format, dtype)
    if size is not None and dynamic:
        raise ExportError('size fixes height and width, dynamic frees them: give one of them')
    metadata = describe(model, dtype, size, dynamic, with_postprocess, score_threshold)
    metadata = replace(metadata, model=metadata.model or target.stem)
    if next(model.parameters()).device.type != 'cpu' or model.training:
        model = copy.deepcopy(model).cpu().eval()
    with tempfile.TemporaryDirectory(prefix='.export-', dir=target.parent) as folder:
        made = Path(folder, target.name)
        kind = ImageNetwork if with_postprocess else RawNetwork

        def write_file(path: Path, dtype: str, format: str) -> None:
            log(f'tracing the network in {dtype}')
            network = kind(plain_copy(model, dtype), traceable_masks)
            written = replace(metadata, dtype=dtype)
            program = trace(network.eval(), written)
            log(f'writing {format}')
            write(program, path, written, format)

        accuracy = None
        if dtype == 'int8':
            exact = Path(folder, 'float32.onnx')
            write_file(exact, 'float32', 'onnx')
            differences = verify(model, RuntimeDetector(exact))
            accuracy = _quantize(model.cfg, exact, made, format, calibration, log)
        elif dtype == 'float16' and model.bbox_head.chooses_proposals:
            exact = Path(folder, f'float32{target.suffix}')
            write_file(exact, 'float32', format)
            differences = verify(model, RuntimeDetector(exact))
            write_file(made, 'float16', format)
            accuracy = _score_half(model.cfg, exact, made, log)
        else:
            write_file(made, dtype, format)
            log('comparing with torch')
            differences = verify(model, RuntimeDetector(made))
        _move(made, target)
    return ExportReport(target, metadata, differences, time.monotonic() - start, accuracy)


def _score_half(
    config: Config, float_file: Path, made: Path, log: Callable[[str], None]
) -> Accuracy:
    """Score float16 of a model that chooses proposals.

    Rounding decides between proposals of nearly equal score, and every query attends to those that
    were chosen. So no single query says whether the file is right.

    Raises:
        ExportError: It loses a point of AP.
    """
    log('scoring float32')
    before = average_precision(config, float_file)
    log('scoring float16')
    after = average_precision(config, made)
    if after > before - MOST_LOST:
        return Accuracy(before, after)
    raise ExportError(
        f'float16 is refused: AP falls from {before:.3f} to {after:.3f}, a point or more; export '
        'float32'
    )


def _quantize(
    config: Config,
    float_file: Path,
    made: Path,
    format: str,
    calibration: Iterable[ImageInput] | None,
    log: Callable[[str], None],
) -> Accuracy:
    """Write the 8-bit file that loses less than a point of AP.

    Raises:
        ExportError: None does.
    """
    images = training_images(config) if calibration is None else calibration
    inputs = calibration_inputs(RuntimeDetector(float_file), images)
    log('scoring float32')
    before = average_precision(config, float_file)
    tried = []
    for operators in ATTEMPTS:
        log(f'quantising {" and ".join(operators)}, calibrated on {len(inputs)} images')
        onnx_file = made.with_suffix('.onnx')
        quantize(float_file, onnx_file, inputs, operators)
        if format == 'openvino':
            onnx_to_openvino(onnx_file, made, RuntimeDetector(onnx_file).metadata)
            onnx_file.unlink()
        log('scoring int8')
        after = average_precision(config, made)
        if after > before - MOST_LOST:
            return Accuracy(before, after)
        tried.append(f'{after:.3f}')
    raise ExportError(
        f'int8 is refused: AP falls from {before:.3f} to {" or ".join(tried)}, a point or more. '
        'More or other images for --calibration may help; float16 halves the file'
    )


def check_target(file: str | os.PathLike, format: str, dtype: str) -> Path:
    """Check what is asked for and what it needs, before anything slow begins.

    Raises:
        ExportError: There is no such format or dtype, or the file's suffix or folder is wrong.
        ExportedFileError: A package is missing.
    """
    target = Path(file)
    if format not in SUFFIXES:
        raise ExportError(f'format must be one of {", ".join(SUFFIXES)}, not {format!r}')
    if dtype not in DTYPES:
        raise ExportError(f'dtype must be one of {", ".join(DTYPES)}, not {dtype!r}')
    if target.suffix != SUFFIXES[format]:
        raise ExportError(f'{target}: a file of format {format} ends in {SUFFIXES[format]}')
    if dtype == 'int8' and format == 'torch-export':
        raise ExportError('int8 is written for onnx and openvino, not for torch-export')
    for package in (*_PACKAGES[format], *(['onnxruntime'] if dtype == 'int8' else [])):
        require(package)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _move(made: Path, target: Path) -> None:
    """Give the file its name, weights first: whoever sees the .xml finds its .bin."""
    weights = made.with_suffix('.bin')
    if weights.exists():
        shutil.move(weights, target.with_suffix('.bin'))
    os.replace(made, target)
