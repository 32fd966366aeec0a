"""Harmless stand-ins for the types that checkpoints of the ecosystem hold besides tensors.

torch's ``weights_only`` unpickler calls what its allow-list names. numpy's own functions do not
belong there: ``dtype.__setstate__`` believes what the file says, and an object dtype whose flags
were changed makes numpy take raw bytes for pointers. ``getattr``, which mmengine's HistoryBuffer
asks for, hands out anything. So the names lead to the classes below, which take the data only.
"""

import argparse
from pickle import UnpicklingError
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer

_NUMBERS_AND_TEXT = 'biufcSU'


class _Dtype:
    """A numpy dtype of plain numbers or text; of its pickled state only the byte order is used."""

    def __init__(self, code: str, *_: Any) -> None:
        dtype = np.dtype(code) if isinstance(code, str) else None
        if dtype is None or dtype.kind not in _NUMBERS_AND_TEXT:
            raise UnpicklingError(f'numpy data of type {code!r}: only numbers and text are read')
        self.dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """A numpy array of plain numbers or text."""

    def __new__(cls, *_: Any) -> '_Array':
        return super().__new__(cls, (0,))

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran_order, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise UnpicklingError('numpy array whose content is neither numbers nor text')
        super().__setstate__((1, shape, dtype.dtype, fortran_order, data))

    def __reduce__(self) -> Any:
        return np.asarray(self).__reduce__()


class _HistoryBuffer(HistoryBuffer):
    """mmengine's log history, without the functions that its files carry along."""

    def __setstate__(self, state: dict) -> None:
        log, count = np.asarray(state['_log_history']), np.asarray(state['_count_history'])
        super().__init__(log, count, int(state['max_length']))

    def __reduce__(self) -> Any:
        return HistoryBuffer, (*self.data, self.max_length)


def _reconstruct_array(*_: Any) -> _Array:
    return _Array()


def _numpy_scalar(dtype: _Dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype.dtype, count=1)[0]


def _no_attribute(*_: Any) -> None:
    """In place of ``getattr``: its only use in checkpoints is to name functions, dropped here."""


# What files ask for by name, for torch.serialization.safe_globals. argparse.Namespace (the authors'
# checkpoints keep their options in one) is a bag of attributes.
SAFE_TYPES: list[Any] = [
    argparse.Namespace,
    (_Dtype, 'numpy.dtype'),
    (_Array, 'numpy.ndarray'),
    (_HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_no_attribute, 'builtins.getattr'),
    # numpy 1 writes numpy.core, numpy 2 numpy._core.
    (_reconstruct_array, 'numpy.core.multiarray._reconstruct'),
    (_reconstruct_array, 'numpy._core.multiarray._reconstruct'),
    (_numpy_scalar, 'numpy.core.multiarray.scalar'),
    (_numpy_scalar, 'numpy._core.multiarray.scalar'),
]
