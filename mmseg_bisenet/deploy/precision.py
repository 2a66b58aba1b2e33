"""Precisions, and whether this machine's CPU or GPU computes in them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

NAMES = ('fp32', 'bf16', 'fp16', 'int8')

# Instructions that multiply numbers of a type, named as in `torch.cpu.get_capabilities` and as in Linux. Without them a
# CPU converts to fp32 first, and is slower than in fp32.
INSTRUCTIONS = dict(
    bf16=('avx512_bf16', 'amx_bf16', 'bf16'),
    fp16=('avx512_fp16', 'amx_fp16', 'fp16_arith', 'asimdhp'),
)


def available(precision: str, kind: str) -> bool:
    """Whether this machine's device of that kind, ``cpu`` or ``cuda``, computes in the precision."""
    if kind == 'cpu':
        return cpu_has(precision)
    import torch

    return precision != 'bf16' or torch.cuda.is_bf16_supported()


def switch_tf32_off(precision: str, device: 'str | torch.device') -> None:
    """Switch TF32 off in the whole process if the precision is ``fp32`` on CUDA.

    By default PyTorch rounds convolutions in fp32 to the ten bits of TF32, which would not keep 99.99 % of the labels.
    """
    if str(device).startswith('cuda') and precision == 'fp32':
        import torch

        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Round both convolutions and matrix products to TF32, or neither; by default PyTorch rounds only convolutions."""
    import torch

    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def cpu_has(precision: str) -> bool:
    """Whether this machine's CPU multiplies numbers of that type itself."""
    return precision not in INSTRUCTIONS or not _instructions().isdisjoint(INSTRUCTIONS[precision])


def cpu_has_tiles() -> bool:
    """Whether this machine's CPU multiplies matrices of bf16 (AMX): sixteen times as fast as AVX-512 does in fp32."""
    return 'amx_bf16' in _instructions()


def _instructions() -> set[str]:
    torch = sys.modules.get('torch')  # files run without it, and importing it takes a second
    if torch and hasattr(torch.cpu, 'get_capabilities'):  # from PyTorch 2.11 on
        return {name for name, value in torch.cpu.get_capabilities().items() if value is True}
    return cpu_flags()


def cpu_flags() -> set[str]:
    """What Linux says that this machine's CPU has; empty on other systems."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else ()
    return {flag for line in lines if line.startswith(('flags', 'Features')) for flag in line.partition(':')[2].split()}
