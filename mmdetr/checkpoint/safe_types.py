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

_PLAIN_KINDS = 'biufcSU'


class _Dtype:
    """A numpy dtype of plain numbers or text; of its pickled state only the byte order is used."""

    def __init__(self, code: str, *_: Any) -> None:
        dtype = np.dtype(code) if isinstance(code, str) else None
        if dtype is None or dtype.kind not in _PLAIN_KINDS:
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
        HistoryBuffer.__init__(self, log, count, int(state['max_length']))
        self.__class__ = HistoryBuffer


def _reconstruct_array(*_: Any) -> _Array:
    return _Array()


def _numpy_scalar(dtype: _Dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype.dtype, count=1)[0]


def _no_attribute(*_: Any) -> None:
    """In place of ``getattr``: its only use in checkpoints is to name functions, dropped here."""


def _alias(target: Any, full_name: str) -> Any:
    """Let torch's allow-list find ``target`` under the name that files use.

    torch < 2.6 takes no explicit names, it asks the object for its own.
    """
    if not isinstance(target, type):

        def call(*args: Any) -> Any:
            return target(*args)

        alias: Any = call
    else:
        alias = target
    alias.__module__, _, alias.__qualname__ = full_name.rpartition('.')
    alias.__name__ = alias.__qualname__
    return alias


# argparse.Namespace (the authors' checkpoints keep their options in one) is a bag of attributes.
# torch < 2.6 does not know set.
SAFE_TYPES: list[Any] = [
    argparse.Namespace,
    set,
    _alias(_Dtype, 'numpy.dtype'),
    _alias(_Array, 'numpy.ndarray'),
    _alias(_HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
    _alias(_no_attribute, 'builtins.getattr'),
    *(
        _alias(function, f'{module}.multiarray.{name}')
        for module in ('numpy.core', 'numpy._core')
        for function, name in ((_reconstruct_array, '_reconstruct'), (_numpy_scalar, 'scalar'))
    ),
]
