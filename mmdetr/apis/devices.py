"""Where a model runs."""

import torch


def find_device(device: str | torch.device | None = None) -> torch.device:
    """The device of that name; by default the GPU if there is one.

    Raises:
        ValueError: There is no such device here.
    """
    if device is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (AssertionError, RuntimeError, TypeError) as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(f'device {str(device)!r} cannot be used: {reason}') from error
    return found
