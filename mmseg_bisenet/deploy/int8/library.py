"""The kernels: compiled once for this machine's CPU, loaded, and run in PyTorch's threads."""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

from mmseg_bisenet.deploy.winograd.layer import _parallel
from mmseg_bisenet.errors import InputError

SOURCES = Path(__file__).with_name('kernels')
FLAGS = ('-O3', '-march=native', '-std=c++17', '-shared', '-fPIC')

_POINTERS = 'source out weight scale bias shortcut shortcut_scale starts units scratch order first gate summand rows columns'.split()


class Layer(ctypes.Structure):
    """``kernels/layer.h`` says what the fields are."""

    _fields_ = [
        (name, ctypes.c_void_p if name in _POINTERS else ctypes.c_int64)
        for name in (
            'next threads source in_row in_pixel out out_row out_pixel height width outputs depth kernel stride wide '
            'floats zero weight scale bias shortcut shortcut_row shortcut_pixel shortcut_scale relu starts units '
            ' tiles scratch scratch_bytes order first gate summand '
            'small_width rows columns'
        ).split()
    ]


@functools.cache
def library() -> ctypes.CDLL:
    files = sorted(SOURCES.iterdir())
    compiler = os.environ.get('CXX', 'g++')
    text = b''.join(path.read_bytes() for path in files) + ' '.join((compiler, *FLAGS)).encode()
    text += Path('/proc/cpuinfo').read_text().partition('flags')[2].partition('\n')[0].encode()
    folder = Path(os.environ.get('XDG_CACHE_HOME', '~/.cache')).expanduser() / 'mmseg_bisenet'
    path = folder / f'int8_{hashlib.sha256(text).hexdigest()[:16]}.so'
    if not path.exists():
        if shutil.which(compiler) is None:
            raise InputError('no compiler')
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as build:
            made = Path(build, path.name)
            subprocess.run([compiler, *FLAGS, SOURCES / 'kernels.cpp', '-o', made], check=True, capture_output=True)
            made.replace(path)
    return ctypes.CDLL(str(path))


def run(kernel: str, layer: Layer) -> None:
    layer.next = layer.threads = 0
    function = ctypes.cast(getattr(library(), kernel), ctypes.c_void_p).value
    _parallel()(function, ctypes.addressof(layer), torch.get_num_threads(), 0)
