"""The runtimes: each loads a file and turns named arrays into named arrays.

Their packages are imported when a file needs them.
"""

import importlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .metadata import KEY, ExportedFileError

PIP = "pip install 'mmdetr[export]'"
RUNTIMES = {'.onnx': 'onnxruntime', '.xml': 'openvino', '.pt2': 'torch'}
Arrays = Mapping[str, np.ndarray]


class Session(Protocol):
    """A file that is ready to run; may be run from several threads at once.

    Attributes:
        metadata: The text under the key ``mmdetr``, or None.
    """

    metadata: str | None

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Return the outputs by name."""


def require(package: str) -> Any:
    """Import an optional package.

    Raises:
        ExportedFileError: It is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = package.partition('.')[0]
        raise ExportedFileError(f'{name} is not installed: {PIP}') from error


def open_session(file: Path, runtime: str | None = None, threads: int | None = None) -> Session:
    """Load an exported file.

    Args:
        file: ``.onnx``, ``.xml`` of OpenVINO or ``.pt2`` of torch.export.
        runtime: ``'onnxruntime'``, ``'openvino'`` or ``'torch'``; by default the one of the file's
            format. OpenVINO reads ONNX files, too.
        threads: Of the runtime; by default as many as it finds useful.

    Raises:
        ExportedFileError: The file is missing or broken, or the runtime is not installed or does
            not read it.
    """
    if not file.is_file():
        raise ExportedFileError(f'{file} does not exist')
    if file.suffix not in RUNTIMES:
        raise ExportedFileError(
            f'{file} is no exported file: its name must end in {", ".join(RUNTIMES)}'
        )
    wanted = runtime or RUNTIMES[file.suffix]
    if wanted != RUNTIMES[file.suffix] and (wanted, file.suffix) != ('openvino', '.onnx'):
        raise ExportedFileError(f'{wanted} does not read {file}')
    require(wanted)
    try:
        if wanted == 'onnxruntime':
            return OnnxSession(file, threads)
        if wanted == 'openvino':
            return OpenVinoSession(file, threads)
        return TorchSession(file, threads)
    except ExportedFileError:
        raise
    # Each runtime raises errors of its own about files that it cannot read.
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise ExportedFileError(f'{wanted} cannot load {file}: {reason}') from error


class OnnxSession:
    """ONNX Runtime, on a GPU if its package has one, else on the CPU."""

    def __init__(self, file: Path, threads: int | None = None) -> None:
        ort = require('onnxruntime')
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors; what it warns of is not for whoever runs it
        if threads is not None:
            options.intra_op_num_threads = threads
        known = ('CUDAExecutionProvider', 'CPUExecutionProvider')
        providers = [each for each in known if each in ort.get_available_providers()]
        self._session = ort.InferenceSession(str(file), options, providers=providers)
        self.metadata = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        self._outputs = [each.name for each in self._session.get_outputs()]

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        results = self._session.run(self._outputs, dict(inputs))
        return dict(zip(self._outputs, results, strict=True))


class OpenVinoSession:
    """OpenVINO on the CPU."""

    def __init__(self, file: Path, threads: int | None = None) -> None:
        openvino = require('openvino')
        core = openvino.Core()
        model = core.read_model(str(file))
        self.metadata = self._read_metadata(model)
        # Where the processor has bfloat16 the plugin would compute in it.
        options: dict[str, Any] = {'INFERENCE_PRECISION_HINT': 'f32'}
        if threads is not None:
            options['INFERENCE_NUM_THREADS'] = threads
        self._model = core.compile_model(model, 'CPU', options)
        # One output may have several names: the file's and those of tensors that are the same.
        self._names = [name for each in self._model.outputs for name in each.get_names()]
        self._requests = threading.local()

    @staticmethod
    def _read_metadata(model: Any) -> str | None:
        for path in ([KEY], ['framework', KEY]):  # its own files, ONNX files
            if model.has_rt_info(path):
                return str(model.get_rt_info(path).astype(str))
        return None

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        request = getattr(self._requests, 'request', None)
        if request is None:
            request = self._requests.request = self._model.create_infer_request()
        request.infer(dict(inputs))
        return {name: request.get_tensor(name).data.copy() for name in self._names}


class TorchSession:
    """A program of torch.export; needs torch."""

    def __init__(self, file: Path, threads: int | None = None) -> None:
        torch = require('torch')
        if threads is not None:
            torch.set_num_threads(threads)
        extra = {KEY: ''}
        program = torch.export.load(str(file), extra_files=extra)
        self.metadata = extra[KEY] or None
        self._torch = torch
        self._module = program.module()

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        tensors = {name: self._torch.from_numpy(each) for name, each in inputs.items()}
        with self._torch.no_grad():
            outputs = self._module(**tensors)
        return {name: each.numpy() for name, each in outputs.items()}
