"""Functions that Numba has compiled, on disk: compiling one takes seconds of each process that loads a network.

All that needs Numba's own modules is here, which another release may change.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.ccallback import CFunc


def cached(function: Callable[..., None], signature: Any, options: dict[str, Any], variant: tuple) -> Any:
    """As ``numba.cfunc(signature, cache=True, **options)(function)``.

    Args:
        variant: what the function depends on beside the options and the files of its own folder.

    Raises:
        Exception: there is no folder for the cache, or its content is broken.
    """
    result: Any = CFunc(function, (signature.args, signature.return_type), locals={}, options=options)
    result._cache = _Cache(function, (repr(options), *variant))
    result.compile()
    return result


class _Cache(FunctionCache):
    """Numba's cache with another key: in Numba's own, each process has new numbers for the intrinsics."""

    def __init__(self, function: Callable[..., None], variant: tuple) -> None:
        super().__init__(function)
        self.variant = variant
        self.folder = Path(function.__code__.co_filename).parent
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())

    def _index_key(self, signature: Any, codegen: Any) -> tuple:
        return signature, codegen.magic_tuple(), sources(self.folder), self.variant


class _Files(IndexDataCacheFile):
    """Numba's files, each with its key: two processes that compile at once may give two keys the same file."""

    def save(self, key: tuple, data: Any) -> None:
        super().save(key, (key, data))

    def load(self, key: tuple) -> Any:
        found = super().load(key)
        return found[1] if found and found[0] == key else None


@functools.cache
def sources(folder: Path) -> str:
    """A checksum of the files of a folder, of :mod:`mmseg_bisenet.loops` and of this one."""
    files = sorted({Path(__file__), Path(__file__).with_name('loops.py'), *folder.glob('*.py')})
    return hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest()
