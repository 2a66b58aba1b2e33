"""Paddle's ``.pdparams``: a pickle of a dict of NumPy arrays, read without Paddle and as data only."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmseg_bisenet.errors import InputError

SUFFIX = '.pdparams'
NAMES = 'StructuredToParameterName@@'  # Paddle's own names of the parameters; no array
# NumPy 1 and 2 pickle an array as a call of one of these, with `ndarray` and `dtype`.
RECONSTRUCT = ('numpy.core.multiarray', '_reconstruct'), ('numpy._core.multiarray', '_reconstruct')
ARRAYS = {('numpy', 'ndarray'): np.ndarray, ('numpy', 'dtype'): np.dtype}


class Forbidden(pickle.UnpicklingError):
    """The file names something else than arrays."""


class ArrayUnpickler(pickle.Unpickler):
    """Reads dicts, text, numbers and arrays. Anything else that a pickle can name is refused before it is used."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in RECONSTRUCT:
            return _empty
        if (module, name) == ('_codecs', 'encode'):  # pickle protocol 2 writes bytes as text
            return _bytes
        if (module, name) not in ARRAYS:
            raise Forbidden(f'{module}.{name}')
        return ARRAYS[module, name]


def read(path: Path) -> dict[str, Tensor]:
    """The state dict of a ``.pdparams`` file, with the file's names.

    Raises:
        InputError: the file is damaged, names something else than arrays, or holds no state dict.
    """
    try:
        with path.open('rb') as file:
            content = ArrayUnpickler(file).load()
    except Forbidden as error:
        raise InputError(
            f'checkpoint {path} is refused: it names {error}, and only arrays are read; save its state dict alone'
        ) from error
    except Exception as error:  # a damaged pickle raises anything
        raise InputError(
            f'checkpoint {path} is damaged or no {SUFFIX} file ({type(error).__name__}); get it again'
        ) from error
    arrays = {key: value for key, value in content.items() if key != NAMES} if isinstance(content, dict) else {}
    if not arrays or not all(
        isinstance(key, str) and isinstance(value, np.ndarray) and value.dtype.kind in 'fiu'
        for key, value in arrays.items()
    ):
        raise InputError(f'checkpoint {path} holds no state dict of arrays; give another file')
    return {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}


def _empty(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """NumPy's ``_reconstruct`` for arrays alone; the pickle then sets shape, type and values."""
    if kind is not np.ndarray:
        raise Forbidden(f'an array of {kind}')
    return np.ndarray.__new__(np.ndarray, (0,), 'b')


def _bytes(text: str, encoding: str) -> bytes:
    if encoding != 'latin1':
        raise Forbidden(f'the encoding {encoding}')
    return text.encode(encoding)
