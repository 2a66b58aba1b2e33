"""Whether what a checkpoint holds can be the weights of a network."""

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)  # counters
VARIANCES = ('running_var', '_variance')  # PyTorch's name, and Paddle's


def faults(state_dict: dict[str, Tensor]) -> dict[str, list[str]]:
    """What no network can have, by kind of fault, for :func:`mmseg_bisenet.checkpoints.files.listed`."""
    found: dict[str, list[str]] = {}
    for key, value in state_dict.items():
        if fault := _fault(key, value):
            found.setdefault(fault, []).append(key)
    return found


def _fault(key: str, value: Tensor) -> str | None:
    if value.is_meta:
        return 'without values (meta device)'
    if value.layout != torch.strided:
        return 'sparse'
    if value.dtype not in FLOATS + INTEGERS:
        return f'of type {str(value.dtype).removeprefix("torch.")}'
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return 'larger than what is stored'  # one value, expanded
    if value.dtype in FLOATS and not value.float().isfinite().all():  # networks compute in float32
        return 'with NaN or infinite values'
    if key.endswith(VARIANCES) and (value < 0).any():
        return 'with negative variances'
    return None
