"""What a compiler or an exporter of torch needs to see otherwise."""

import torch


def is_exporting() -> bool:
    """Whether a graph for other runtimes is being made, by any of torch's ways."""
    # torch 2.6 has no torch.compiler.is_exporting.
    by_export = getattr(torch.compiler, 'is_exporting', lambda: False)
    return torch.onnx.is_in_onnx_export() or by_export() or torch.jit.is_tracing()


def at_most(count: int, available: int) -> int:
    """Return the smaller number; ``available`` may be a symbol."""
    if is_exporting():
        return min(count, available)
    # A branch: Inductor's freezing (torch 2.14) fails on the minimum of several symbols.
    return count if count <= available else available
