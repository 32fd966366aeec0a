"""Peers of a comparison, each in a process of its own.

Memory that one model frees and another one takes up costs both of them page faults that neither has
alone, so models are not timed side by side in one process.
"""

import multiprocessing
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from _common import wait_for_gpu

# Builds a peer: what to time, and what it computes, for comparison with the others.
Factory = Callable[..., tuple[Callable[[], Any], Callable[[], dict[str, np.ndarray]]]]


class Peer:
    """A factory's product in a child process.

    Args:
        factory: Function of a module; is called in the child.
        arguments: Its keyword arguments.
        path: Folder to put first on the child's import path.

    Attributes:
        outputs: What the peer computes.
        build_seconds: How long it took to build and compute that.
    """

    def __init__(self, factory: Factory, arguments: dict, path: Path | None = None) -> None:
        context = multiprocessing.get_context('spawn')
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, factory, arguments, path), daemon=True
        )
        self._process.start()
        theirs.close()
        self.outputs, self.build_seconds = self._receive()

    def __call__(self) -> float:
        """Run once, until a GPU has finished, and return the CPU seconds that it took."""
        self._connection.send('run')
        return self._receive()

    def peak_memory(self) -> float:
        """Largest memory so far, in MiB.

        That of tensors where they are on a GPU; or the resident memory above that after importing
        the libraries.
        """
        self._connection.send('peak')
        return self._receive()

    def close(self) -> None:
        self._connection.close()
        self._process.join()

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError:
            raise RuntimeError('a peer died; its error stands above') from None
        return answer


def _serve(connection: Any, factory: Factory, arguments: dict, path: Path | None) -> None:
    if path is not None:
        sys.path.insert(0, str(path))
    import torch  # part of the memory before the peer

    import mmdetr.apis  # noqa: F401

    before = _peak()
    start = time.perf_counter()
    run, outputs = factory(**arguments)
    connection.send((outputs(), time.perf_counter() - start))
    with suppress(EOFError):  # the comparison has ended
        while True:
            if connection.recv() == 'run':
                start = time.process_time()
                run()
                wait_for_gpu()
                connection.send(time.process_time() - start)
            elif torch.cuda.is_initialized():
                connection.send(torch.cuda.max_memory_allocated() / 2**20)
            else:
                connection.send(_peak() - before)


def _peak() -> float:
    # Not getrusage: what it says includes the peak of the process that started this one.
    status = Path('/proc/self/status').read_text(encoding='ascii')
    return int(status.split('VmHWM:')[1].split()[0]) / 1024


def check_agreement(
    peers: dict[str, Peer], reference: str, tolerances: dict[str, float]
) -> dict[str, float]:
    """Compare outputs before anything is timed.

    Args:
        peers: All of them.
        reference: The one that the others have to agree with.
        tolerances: Largest absolute difference allowed, by peer.

    Returns:
        Largest absolute difference found, by peer.

    Raises:
        SystemExit: A peer computes something else.
    """
    found = {}
    for name, peer in peers.items():
        differences = [
            float(np.abs(peer.outputs[key] - expected).max())
            for key, expected in peers[reference].outputs.items()
        ]
        found[name] = max(differences)
        if not found[name] <= tolerances[name]:
            sys.exit(f'error: {name} differs from {reference} by {found[name]:.3g}')
    return found
