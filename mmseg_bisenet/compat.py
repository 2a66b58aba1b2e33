"""What the package changes in the installed stack: two fixes, and its name among MMEngine's packages.

The fixes make the upstream OpenMMLab line work with current versions of PyTorch. Each is a function that applies its
fix if the installed stack needs it, and returns whether the fix is active:

- :func:`stand_in_for_ops`: mmsegmentation 1.2.2 cannot be imported without ``mmcv.ops``, which needs a compiled mmcv;
- :func:`allow_training_checkpoints`: with PyTorch 2.6 or newer, mmengine 0.10.7 cannot load its training checkpoints.

The OneDL line fixes the first; for the second it lacks only some NumPy types. Whether a fix is needed is read from the
installed source files instead of version numbers or distribution names. This costs no import, and stays right when a
later release fixes its own code.

:func:`name_our_configs` lets MMEngine find our configs as ``mmseg_bisenet::bisenetv2/….py``, as it finds those of
OpenMMLab's packages.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

OPS = 'mmcv.ops'
# The only ops that mmseg 1.2.2 imports unguarded.
STAND_IN_OPS = ('point_sample', 'sigmoid_focal_loss')
COMPILE_FIX = 'pip uninstall -y mmcv-lite && pip install --no-build-isolation "mmcv>=2.1,<2.2"'

# The methods that a pickled `HistoryBuffer` refers to. Users who register methods of their own must allow them.
STATISTICS = ('min', 'max', 'current', 'mean')


def apply() -> dict[str, bool]:
    """Apply each fix that is needed, and return which are active. A second call changes nothing."""
    return {
        'stand-in for mmcv.ops': _try(stand_in_for_ops),
        'torch.load allow-list for training checkpoints': _try(allow_training_checkpoints),
    }


def prepare() -> None:
    """As :func:`apply`, but imports nothing: what changes a package is done as soon as that package is imported."""
    _try(stand_in_for_ops)
    after_import('torch', allow_training_checkpoints)
    after_import('mmengine.config.utils', name_our_configs)


def after_import(module: str, part: Callable[[], object]) -> None:
    """Call ``part`` once ``module`` is imported, which may be now. A part that fails changes nothing."""
    if module in sys.modules:
        _try(part)
    else:
        sys.meta_path.insert(0, _AfterImport(module, part))


class _AfterImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module as the other finders do, and continues after its import."""

    def __init__(self, module: str, part: Callable[[], object]) -> None:
        self.module, self.part = module, part

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.module:
            return None
        others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, 'find_spec')]
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec and spec.loader:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None  # because it is being imported
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        _try(self.part)


def _try(part: Callable[[], object]) -> bool:
    try:
        return bool(part())
    except Exception:  # the package must import even with a broken stack: `mmseg-bisenet env` explains it
        return False


def _folders(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    return list(spec.submodule_search_locations or []) if spec else []


def _source(package: str, file: str) -> str:
    """Text of a file of a package, found without importing the package; empty if there is none."""
    paths = [Path(folder, file) for folder in _folders(package)]
    return next((path.read_text(encoding='utf-8') for path in paths if path.is_file()), '')


# -- mmcv.ops ----------------------------------------------------------------------------------------------------------


def stand_in_for_ops() -> bool:
    """Make ``mmcv.ops`` importable if mmseg needs it and mmcv has no compiled ops."""
    if any(isinstance(finder, _OpsFinder) for finder in sys.meta_path):
        return True
    if OPS in sys.modules or not _mmseg_insists_on_ops() or not mmcv_lacks_ops():
        return False
    # First in the list, because mmcv-lite has the Python files of `mmcv.ops` without the library that they load.
    sys.meta_path.insert(0, _OpsFinder())
    return True


def _mmseg_insists_on_ops() -> bool:
    # A guarded import is indented. Among the files with an unguarded one, `import mmseg.models` reads this one first.
    return '\nfrom mmcv.ops import' in _source('mmseg', 'utils/mask_classification.py')


def mmcv_lacks_ops() -> bool:
    """Whether mmcv is installed without its compiled ops. It looks for the file as Python does, and imports nothing."""
    folders = _folders('mmcv')
    return bool(folders) and importlib.machinery.PathFinder.find_spec('mmcv._ext', folders) is None


class _OpsFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the stand-in at the first import of ``mmcv.ops``; until then mmcv need not be imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(OPS, self) if fullname == OPS else None

    def exec_module(self, module: ModuleType) -> None:
        for name in STAND_IN_OPS:
            setattr(module, name, _stand_in(name))
        module.__getattr__ = _missing_op  # type: ignore[method-assign]  # PEP 562


def _stand_in(name: str) -> Callable:
    def op(*args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(
            f'mmcv.ops.{name} needs an mmcv with compiled ops, and this one has none; run: {COMPILE_FIX}'
        )

    op.__name__ = op.__qualname__ = name
    return op


def _missing_op(name: str) -> Any:
    """Any other op fails as it does without the stand-in: mmcv, mmengine and mmseg expect exactly this error."""
    if name.startswith('_'):
        raise AttributeError(f'module {OPS!r} has no attribute {name!r}')
    raise ModuleNotFoundError("No module named 'mmcv._ext'", name='mmcv._ext')


# -- torch.load --------------------------------------------------------------------------------------------------------


def allow_training_checkpoints() -> bool:
    """Let ``torch.load`` read the logs and scores that mmengine puts into a training checkpoint."""
    checkpoint = _source('mmengine', 'runner/checkpoint.py')
    if not checkpoint:
        return False
    import torch

    if torch.__version__ < '2.6':  # loads everything; a `TorchVersion` compares as a version
        return False
    # OneDL's mmengine allows the other types itself, but only during a load. Without those that it lacks, it would fall
    # back to loading the checkpoint as code.
    lacks_all = 'get_torch_safe_globals' not in checkpoint
    torch.serialization.add_safe_globals(training_globals() if lacks_all else numpy_globals())
    return True


def training_globals() -> list:
    """What mmengine puts into a training checkpoint besides tensors, for ``torch.serialization.safe_globals``."""
    import numpy as np
    from mmengine.logging import HistoryBuffer

    # In logs, and in palettes that are arrays.
    dtypes = [type(np.dtype(kind)) for kind in (np.float64, np.int64, np.int32, np.uint8)]
    return [HistoryBuffer, np.ndarray, np.dtype, *dtypes, *numpy_globals(), (_statistic, 'builtins.getattr')]


def numpy_globals() -> list:
    """The part of :func:`training_globals` that OneDL's mmengine 0.10.12 does not allow."""
    import numpy as np

    # `numpy.core` became `numpy._core` in NumPy 2; a checkpoint has the name of its writer's version.
    constructors: list[Any] = [np.empty(0).__reduce__()[0], np.float64().__reduce__()[0]]
    functions = [
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for function in constructors
        for core in ('core', '_core')
    ]
    # float32: mmseg's metrics compute the best score in this type.
    return [type(np.dtype(np.float32)), *functions]


def _statistic(owner: object, name: str) -> Callable:
    """Replaces ``getattr`` while a checkpoint is read: it gives only the statistics of ``HistoryBuffer``."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in STATISTICS:
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed in a checkpoint')
    return getattr(HistoryBuffer, name)


# -- mmseg_bisenet:: ---------------------------------------------------------------------------------------------------


def name_our_configs() -> None:
    """Add this package to those whose configs MMEngine finds by ``PACKAGE::``."""
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE['mmseg_bisenet'] = 'mmseg_bisenet'
