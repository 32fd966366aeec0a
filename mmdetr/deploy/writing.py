"""Write a traced network in the formats of the runtimes."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from mmdetr.utils.text import shorten

from .description import ExportError
from .metadata import KEY, ExportMetadata
from .sessions import require


def trace(network: nn.Module, metadata: ExportMetadata) -> ExportedProgram:
    """Trace a network whose batch, and where they are free height and width, stay symbols.

    Raises:
        ExportError: The network decides something by a size that is to be free.
    """
    example = _example(metadata)
    try:
        with _silence():
            return torch.export.export(
                network, (), example, dynamic_shapes=_dynamic_shapes(metadata), strict=False
            )
    # torch raises whatever its tracing leads it into.
    except Exception as error:
        reason = _reason(error)
        hint = '' if metadata.size is not None else '; a fixed size may do: --size HEIGHT WIDTH'
        raise ExportError(f'torch.export cannot trace {metadata.model}: {reason}{hint}') from error


def _reason(error: Exception) -> str:
    """The first line of torch's message, and which guards it names."""
    first, *lines = str(error).strip().splitlines()
    guards = [line.strip(' -') for line in lines if line.startswith('  - ')]
    return ' '.join([first.partition(' For more information')[0], shorten(guards, 2, ' ')]).strip()


def write(program: ExportedProgram, file: Path, metadata: ExportMetadata, format: str) -> None:
    """Write a program, with its metadata inside.

    Args:
        program: From :func:`trace`.
        file: Ends in the suffix of the format. OpenVINO writes a second file, ``.bin``, beside it.
        metadata: Goes into the file.
        format: ``'onnx'``, ``'openvino'`` or ``'torch-export'``.
    """
    if format == 'torch-export':
        torch.export.save(program, str(file), extra_files={KEY: metadata.to_json()})
        return
    onnx_file = file.with_suffix('.onnx')
    write_onnx(program, onnx_file, metadata)
    if format == 'openvino':
        onnx_to_openvino(onnx_file, file, metadata)
        onnx_file.unlink()


def write_onnx(program: ExportedProgram, file: Path, metadata: ExportMetadata) -> None:
    """Write ONNX, in one file."""
    with _silence():
        onnx_program: Any = torch.onnx.export(
            program,
            (),
            kwargs=_example(metadata),
            dynamo=True,
            external_data=False,
            input_names=list(metadata.inputs),
            output_names=list(metadata.outputs),
            verbose=False,
        )
    model = onnx_program.model
    _name_sizes(model)
    model.metadata_props[KEY] = metadata.to_json()
    onnx_program.save(str(file), external_data=False)


def onnx_to_openvino(onnx_file: Path, file: Path, metadata: ExportMetadata) -> None:
    """Turn ONNX into OpenVINO's pair of files.

    Raises:
        ExportError: OpenVINO does not take it.
    """
    openvino = require('openvino')
    try:
        model = openvino.convert_model(str(onnx_file))
    # OpenVINO's errors have classes of their own, and many lines.
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise ExportError(
            f'OpenVINO cannot convert {metadata.model} in {metadata.dtype}: {reason}'
        ) from error
    model.set_rt_info(metadata.to_json(), [KEY])
    openvino.save_model(model, str(file), compress_to_fp16=metadata.dtype == 'float16')


def _example(metadata: ExportMetadata) -> dict[str, torch.Tensor]:
    """Inputs of two images; a batch of one would be traced as a constant."""
    least = int(metadata.sides[0] or 1)
    multiple = metadata.multiple
    free = (-(-side // multiple) * multiple for side in (least + 32, least + 64))
    height, width = metadata.size or free
    sizes = [[height, width], [height - 1, width - 2]]
    arrays = dict(
        images=torch.zeros(2, height, width, 3, dtype=torch.uint8),
        # Of one tensor torch.export would make one input.
        original_sizes=torch.tensor(sizes),
        sizes=torch.tensor(sizes),
        inputs=torch.zeros(2, 3, height, width),
        padding_mask=torch.zeros(2, height, width, dtype=torch.bool),
    )
    return {name: arrays[name] for name in metadata.inputs}


def _dynamic_shapes(metadata: ExportMetadata) -> dict[str, dict[int, Any]]:
    batch = Dim('batch', min=1)
    places = dict(images=(1, 2), original_sizes=(), sizes=(), inputs=(2, 3), padding_mask=(1, 2))
    sides: tuple[Any, ...] = ()
    if metadata.size is None:
        least, most = metadata.sides
        multiple = metadata.multiple
        limits: dict[str, int] = dict(min=-(-int(least or 1) // multiple))
        if most is not None:
            limits['max'] = most // multiple
        symbols = (Dim(name, **limits) for name in ('height', 'width'))
        sides = tuple(symbol if multiple == 1 else multiple * symbol for symbol in symbols)
    return {
        name: {0: batch, **dict(zip(places[name], sides, strict=False))} for name in metadata.inputs
    }


def _name_sizes(model: Any) -> None:
    """Call the free sizes of the inputs, and where they come again, by their names."""
    names: dict[str, str] = {}
    for value in model.graph.inputs:
        for symbol, name in zip(value.shape, ('batch', *_free_names(value.name)), strict=False):
            if not isinstance(symbol, int) and name:
                names.setdefault(str(symbol.value), name)
    import onnx_ir

    for value in _values(model.graph):
        if value.shape is not None and not value.shape.frozen:
            for axis, symbol in enumerate(value.shape):
                if not isinstance(symbol, int) and str(symbol.value) in names:
                    value.shape[axis] = onnx_ir.SymbolicDim(names[str(symbol.value)])


def _free_names(name: str) -> tuple[str, ...]:
    return ('', 'height', 'width') if name == 'inputs' else ('height', 'width')


def _values(graph: Any) -> Iterator[Any]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep away what the exporters print and warn of on every model."""
    loggers = [logging.getLogger(name) for name in ('torch.onnx', 'torch.export', 'onnxscript')]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
