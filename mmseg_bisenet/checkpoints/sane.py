"""Whether what a checkpoint holds can be the weights of a network, and the names and colours of its classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
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


def fault_of_names(meta: Any) -> str | None:
    """What is wrong with names (``classes``) and colours (``palette``) of classes; None if all is right."""
    if not isinstance(meta, Mapping):
        return f'dataset_meta is {type(meta).__name__}, not a dict'
    classes, palette = meta.get('classes'), meta.get('palette')
    if classes is not None and not _are_names(classes):
        return 'has classes that are no list of names'
    if palette is not None and not _are_colours(palette, classes):
        return 'has a palette that is no list of (red, green, blue) from 0 to 255, one a class'
    return None


def _are_names(classes: Any) -> bool:
    return isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)


def _are_colours(palette: Any, classes: Any) -> bool:
    try:
        colours = np.asarray(palette)
    except ValueError:  # rows of different lengths
        return False
    if colours.shape == (0,):
        return True
    if colours.ndim != 2 or colours.dtype.kind not in 'iu':
        return False
    return colours.shape == (len(classes or colours), 3) and bool(((colours >= 0) & (colours <= 255)).all())
