"""Bilinear upsampling and argmax in one pass: labels from low-resolution logits, without a full-size float map.

Bilinear interpolation is separable into columns and rows. There are three implementations:

- CPU with Numba: :mod:`mmseg_bisenet.upsampling`, in PyTorch's threads.
- CPU without Numba: PyTorch's operators do the same on strips of rows.
- CUDA: a Triton kernel (``upsample_argmax_triton.py``). Without Triton, PyTorch's operators.

All give the labels of ``F.interpolate`` and ``argmax``: the first of equal classes, and NaN is the largest. They round
in a different order, so classes whose logits differ only in the last bits may be swapped.
"""

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_bisenet import upsampling
from mmseg_bisenet.models.inference.labels import largest

STRIP = 2**17  # pixels in a strip, for PyTorch's operators


def upsample_argmax(logits: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """The class with the largest logit at each pixel, after bilinear upsampling; the first of equals.

    Args:
        logits: (N, C, h, w), C at most 256, any floating type, contiguous or not; interpolated in float32.
        size: height H and width W of the labels, larger or smaller than h and w.
        align_corners: align the centres of the corner pixels.

    Returns:
        (N, H, W) uint8.

    Raises:
        InputError: as :func:`mmseg_bisenet.upsampling.upsample_argmax`.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return reference(logits, size, align_corners)
    size = upsampling.check(logits.shape, size)
    if not len(logits):
        return reference(logits, size, align_corners)
    if logits.shape[1] == 1:
        return logits.new_zeros(len(logits), *size, dtype=torch.uint8)
    implementations = {'cpu': _on_cpu, 'cuda': _on_cuda}
    return implementations.get(logits.device.type, reference)(logits.detach(), size, align_corners)


def reference(logits: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """:func:`upsample_argmax` in three operators of PyTorch, for traced graphs and for tests."""
    upsampling.check_classes(logits.shape[1])
    return _interpolate(logits.float(), size, align_corners).argmax(1).to(torch.uint8)


def _interpolate(x: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    return F.interpolate(x, tuple(size), mode='bilinear', align_corners=align_corners)


# On CUDA

_triton_failed = False


def _on_cuda(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    global _triton_failed
    if not _triton_failed:
        try:
            from mmseg_bisenet.models.inference import upsample_argmax_triton

            return upsample_argmax_triton.upsample_argmax(logits, size, align_corners)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # Triton is not installed, or finds no C compiler; it has its own exceptions
            _triton_failed = True
            reason = str(error).strip().partition('\n')[0]
            warnings.warn(f'Triton fails, so labels take more time and memory: {reason}', stacklevel=3)
    return reference(logits, size, align_corners)


# On a CPU


def _on_cpu(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    return (_on_arrays if upsampling.is_compiled() else _in_strips)(logits, size, align_corners)


def _on_arrays(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    array = logits.float().contiguous().numpy()
    return torch.from_numpy(
        upsampling.upsample_argmax(array, size, align_corners, torch.get_num_threads(), in_openmp=True)
    )


def _in_strips(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    if not logits.isfinite().all():
        return reference(logits, size, align_corners)
    wide = _interpolate(logits.float().contiguous(), (logits.shape[2], size[1]), align_corners)
    upper, lower, weights = map(torch.from_numpy, upsampling.taps(logits.shape[2], size[0], align_corners))
    labels = torch.empty(len(logits), *size, dtype=torch.uint8)
    rows = max(STRIP // (len(logits) * size[1]), 1)
    for first in range(0, size[0], rows):
        strip = slice(first, first + rows)
        planes = (
            torch.lerp(x.index_select(1, upper[strip]), x.index_select(1, lower[strip]), weights[strip, None])
            for x in wide.unbind(1)
        )
        labels[:, strip] = largest(planes, torch.uint8)
    return labels
