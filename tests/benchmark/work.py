"""Known work for processes of their own, which import this file: it imports nothing but PyTorch."""

from collections.abc import Callable

import torch

MB = 10**6


def holds(kept: int, passing: int, building: int = 0) -> Callable[[], torch.Tensor]:
    """Keeps one tensor, and what is returned makes another one, of so many megabytes, for a moment."""
    tensor = torch.ones(kept * MB // 4)
    torch.ones(building * MB // 4).sum()
    return lambda: torch.ones(passing * MB // 4).sum() + tensor[0]


def breaks() -> None:
    raise RuntimeError('broken')
