"""The machine that a benchmark ran on, and the versions that ran there."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path

import torch

from mmseg_bisenet.deploy.backends import BACKENDS

# Each runtime's own package, and two that the networks' int8 and convolutions use. That of vnni is this one.
LIBRARIES = (
    *(backend.packages[0] for backend in BACKENDS if backend.packages and backend.name != 'vnni'),
    'nncf',
    'numba',
)


def name(device: str) -> str:
    """The GPU's name, or the processor's name with its vector instructions."""
    if device.startswith('cuda'):
        return torch.cuda.get_device_name(device)
    info = Path('/proc/cpuinfo')
    found = re.search(r'^model name\s*:\s*(.+)$', info.read_text(), re.MULTILINE) if info.exists() else None
    processor = found[1].strip() if found else platform.processor() or 'CPU'
    return f'{processor} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})'


def describe(device: str) -> dict[str, object]:
    """``machine``, ``cores`` that this process may use, ``threads`` of PyTorch, and versions by library.

    On a GPU also ``tf32``: whether convolutions in fp32 round to TF32, which is PyTorch's default.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    setting: dict[str, object] = dict(machine=name(device), cores=cores, threads=torch.get_num_threads())
    if device.startswith('cuda'):
        setting['tf32'] = torch.backends.cudnn.allow_tf32
    return setting | versions()


def line(setting: dict[str, object]) -> str:
    """The result of :func:`describe` on one line."""
    return ', '.join(f'{key} {value}' for key, value in setting.items() if value != '')


def versions() -> dict[str, str]:
    """Versions of PyTorch, MMSegmentation (either distribution) and the runtimes; '' if one is not installed."""
    import mmseg

    found = dict(torch=torch.__version__, mmseg=mmseg.__version__)
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = ''
    return found
