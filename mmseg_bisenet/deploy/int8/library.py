"""The kernels: compiled once for this machine's CPU, loaded, and run in OpenMP's threads."""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from mmseg_bisenet.deploy.precision import cpu_flags
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import cache_folder, made
from mmseg_bisenet.openmp import parallel

SOURCES = Path(__file__).with_name('kernels')
FLAGS = ('-O3', '-march=native', '-std=c++17', '-shared', '-fPIC', '-fvisibility=hidden')
INSTRUCTIONS = {'avx512bw', 'avx512vl', 'avx512_vnni', 'avx512vbmi'}
POINTERS = {
    *'source out weight scale bias shortcut shortcut_scale starts row_of column_of units scratch'.split(),
    *'order first gate summand rows columns classifier'.split(),
}
FIELDS = (
    'next threads source in_row in_pixel out out_row out_pixel height width outputs depth kernel across stride floats '
    'zero weight scale bias shortcut shortcut_row shortcut_pixel shortcut_scale relu starts row_of column_of units '
    'tiles scratch scratch_bytes order first gate summand small_width rows columns classifier sigmoid more'
)


class Layer(ctypes.Structure):
    """What a kernel takes; ``kernels/layer.h`` says what the fields are."""

    _fields_ = [(name, ctypes.c_void_p if name in POINTERS else ctypes.c_int64) for name in FIELDS.split()]


def require() -> None:
    """Raises:
    InputError: this machine cannot run the kernels.
    """
    if not cpu_flags() >= INSTRUCTIONS or parallel() is None:
        raise InputError(
            "runtime vnni needs Linux, a CPU with AVX-512-VNNI and AVX-512-VBMI, and GCC's OpenMP, and one of these is "
            'missing here; choose another, such as onnxruntime'
        )
    _compiler()


def _compiler() -> str:
    """Raises:
    InputError: there is none.
    """
    name = os.environ.get('CXX') or 'g++'
    found = shutil.which(name)
    if found is None:
        raise InputError(f'runtime vnni needs a compiler for C++, and there is no {name}; install g++, or set CXX')
    return found


def run(kernel: str, layer: Layer, threads: int) -> None:
    """Call a kernel in that many threads, and wait for them."""
    layer.next = layer.threads = 0
    parallel()(_function(kernel), ctypes.addressof(layer), threads, 0)


@functools.cache
def _function(kernel: str) -> int | None:
    return ctypes.cast(getattr(_library(), kernel), ctypes.c_void_p).value


@functools.cache
def _library() -> ctypes.CDLL:
    """From the user's cache, where a file is compiled once for each compiler, CPU and text of the kernels."""
    compiler = _compiler()
    parts = [path.read_text() for path in sorted(SOURCES.iterdir())] + [compiler, *FLAGS, *sorted(cpu_flags())]
    name = f'int8_{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}.so'
    folder = cache_folder()
    writable = made(folder)
    if writable and (folder / name).exists():
        return ctypes.CDLL(str(folder / name))
    with tempfile.TemporaryDirectory(dir=folder if writable else None) as build:
        built = Path(build, name)
        done = subprocess.run([compiler, *FLAGS, SOURCES / 'kernels.cpp', '-o', built], capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if 'error' in line] or done.stderr.splitlines() or ['']
            raise InputError(
                f'{compiler} does not compile the kernels of int8 ({lines[0].strip()[:200]}); set CXX to g++ 11 or '
                'newer, or choose another runtime, such as onnxruntime'
            )
        if writable:
            built = built.replace(folder / name)
        return ctypes.CDLL(str(built))
