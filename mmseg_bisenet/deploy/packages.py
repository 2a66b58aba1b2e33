"""Whether the packages of a runtime are installed, and the command that installs them."""

import importlib
import importlib.util
from collections.abc import Sequence
from types import ModuleType

from mmseg_bisenet import install
from mmseg_bisenet.errors import InputError

SEPARATE = ('tensorrt',)  # packages that no extra brings: they need a GPU
# Extras of one runtime; `export` brings all other packages.
EXTRAS = dict(
    litert_torch='litert',
    ai_edge_litert='litert',
    ai_edge_quantizer='litert',
    executorch='executorch',
    ncnn='ncnn',
    pnnx='ncnn',
)


def require_packages(*names: str) -> list[ModuleType]:
    """Import modules.

    Raises:
        InputError: it names those that are not installed, and the command that installs them.
    """
    modules, missing = [], []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            missing.append(name)
    if missing:
        raise InputError(f'{", ".join(missing)} not installed; run: {installation(missing)}')
    return modules


def installation(missing: Sequence[str]) -> str:
    """The command that installs packages which are missing."""
    # Without PyTorch, files are only run, and an extra would bring what writes them too.
    separate = [name for name in missing if name in SEPARATE or not is_installed('torch')]
    if len(separate) == len(missing):
        return f'pip install {" ".join(separate)}'
    extras = dict.fromkeys(EXTRAS.get(name, 'export') for name in missing if name not in separate)
    return ' '.join([install.command(','.join(extras)), *separate])


def require_torch(what: str) -> None:
    """Raises:
    InputError: PyTorch is older than what exports and compiles as is needed here.
    """
    import torch

    if torch.__version__ < '2.6':  # a `TorchVersion` compares as a version
        raise InputError(f'{what}: PyTorch 2.6 or newer is needed, and this is {torch.__version__}; install it')


def is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
