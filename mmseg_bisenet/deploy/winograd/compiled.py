"""Compiles the kernels, and keeps them on disk: compiling one takes seconds of each process that loads a network."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import cfunc
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc

from mmseg_bisenet.loops import SIGNATURE


def compiled(function: Callable[[Any], None], *variant: Any) -> Any:
    """``void function(int64_t *arguments)``, whose ``address`` it has.

    variant: what the function depends on beside the files of this folder.
    """
    try:
        result: Any = CFunc(function, (SIGNATURE.args, SIGNATURE.return_type), locals={}, options={})
        result._cache = _Cache(function, variant)
        result.compile()
        return result
    except Exception:  # no folder for the cache can be written, its content is broken, or another Numba
        return cfunc(SIGNATURE)(function)


class _Cache(FunctionCache):
    """Numba's cache on disk, with another key: in Numba's own, each process has new numbers for the intrinsics."""

    def __init__(self, function: Callable[[Any], None], variant: tuple) -> None:
        super().__init__(function)
        self.variant = variant

    def _index_key(self, signature: Any, codegen: Any) -> tuple:
        return signature, codegen.magic_tuple(), sources(), self.variant


@functools.cache
def sources() -> str:
    """A checksum of the files of this folder."""
    files = sorted(Path(__file__).parent.glob('*.py'))
    return hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest()
