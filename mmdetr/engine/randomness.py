"""Random numbers that follow from where a run is, not from how it got there."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*parts: int | str) -> int:
    """Derive a 63-bit seed from numbers and names; equal parts give equal seeds on any machine."""
    text = '/'.join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), 'little') >> 1


def seed_cpu(seed: int) -> None:
    """Seed ``random``, ``numpy.random`` and torch's CPU generator.

    ``torch.manual_seed`` also queues a call for CUDA, which costs more than all of this together.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


def seed_all(seed: int) -> None:
    """Seed ``random``, ``numpy.random`` and torch on every device."""
    seed_cpu(seed)
    torch.manual_seed(seed)


def random_state() -> tuple:
    """The state of all generators."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def set_random_state(state: tuple) -> None:
    """Put all generators back to a state of :func:`random_state`."""
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])
    if state[3]:
        torch.cuda.set_rng_state_all(state[3])


@contextmanager
def cpu_random_state_kept() -> Iterator[None]:
    """Put the CPU generators back afterwards as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
