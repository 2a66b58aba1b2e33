"""What a runtime declares and does: the classes that each file beside this one fills in, and what they share.

To add a runtime, write one file with one class, add it to the list in ``__init__.py``, and add a row to
``tests/deploy/test_backends.py``. The command line, ``load``, ``export``, verification and the benchmark read the list.
"""

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmseg_bisenet import install
from mmseg_bisenet.deploy import precision as precisions
from mmseg_bisenet.deploy.graph import Graph
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import BiSeNetSegmentor

# images (N, H, W, 3), a contiguous uint8 tensor, BGR, on the engine's device -> logits (N, num_classes, h, w) of a
# floating type, or labels (N, H, W) uint8. The next call in the same thread may overwrite the result. Any number of
# threads may call an engine.
Engine = Callable[[Tensor], Tensor]
# images (N, H, W, 3) uint8 -> logits or labels
Run = Callable[[np.ndarray], np.ndarray]

KEY = 'mmseg_bisenet'  # under which a file that can hold metadata holds ours
SEPARATE = ('tensorrt',)  # packages that no extra brings: they need a GPU


class Backend:
    """A runtime that runs a network of this process.

    Attributes:
        name: its name in ``load`` and on the command line.
        precisions: what it computes in.
        devices: types of devices that it runs on; the first is what errors advise.
        packages: modules that it needs besides PyTorch, its own first.
        any_shape: whether a network takes batches and images of every shape, not only those that it was made for.
        parallel: whether several images at a time give more images a second.
    """

    name: str
    precisions: tuple[str, ...]
    devices: tuple[str, ...] = ('cpu', 'cuda')
    packages: tuple[str, ...] = ()
    any_shape = False
    parallel = False

    def needs(self, quantized: bool) -> tuple[str, ...]:
        """Modules that making and running a network takes; ``quantized``: in int8."""
        return self.packages

    def require_machine(self, precision: str, device: torch.device) -> None:
        """Check that this machine has the device, and that the device computes in the precision.

        Raises:
            InputError: it has not.
        """
        if device.type not in self.devices:
            raise InputError(f"runtime {self.name} does not run on device '{device}'; give device={self.devices[0]!r}")
        if device.type == 'cuda' and not torch.cuda.is_available():
            fix = ", or give device='cpu'" if 'cpu' in self.devices else ''
            raise InputError(f"device '{device}': PyTorch sees no GPU; install its build for CUDA{fix}")
        if not precisions.available(precision, device):
            reason = (
                'this CPU has no instructions for it' if device.type == 'cpu' else 'this GPU does not compute in it'
            )
            others = [name for name in self.precisions if precisions.available(name, device)]
            raise InputError(f'precision {precision}: {reason}; choose {" or ".join(others)}')

    def require_build(self, precision: str, device: torch.device) -> None:
        """Check what :meth:`build`, or the writing of a file, needs besides the device.

        Raises:
            InputError: a package, a compiler or an instruction is missing.
        """

    def build(
        self,
        segmentor: BiSeNetSegmentor,
        precision: str,
        shape: tuple[int, int],
        device: torch.device,
        images: Sequence[np.ndarray],
    ) -> Engine:
        """The segmentor as an engine.

        Args:
            segmentor: on ``device``; the engine may keep it.
            shape: height and width of the images that it is made for.
            images: (H, W, 3) uint8 BGR of that shape, to calibrate int8; otherwise none.
        """
        raise NotImplementedError


class FileBackend(Backend):
    """A runtime that runs a file, which is written from a graph of ``torch.export``.

    Attributes:
        format: name of the file format.
        suffix: of the file's name.
        written_in: precisions that a file may have; by default ``precisions``.
        write_packages: modules that writing needs besides ``packages``.
        traced_on_device: whether the graph is traced on the device that will run it, otherwise on the CPU.
        cast_by_float: whether the graph converts between bytes and other types through float32 only.
    """

    format: str
    suffix: str
    written_in: tuple[str, ...] = ()
    write_packages: tuple[str, ...] = ()
    traced_on_device = False
    cast_by_float = False

    def __init__(self) -> None:
        self.written_in = self.written_in or self.precisions

    def needs(self, quantized: bool) -> tuple[str, ...]:
        names = (*self.write_packages, *self.packages, *(['nncf'] if quantized and 'int8' in self.written_in else []))
        return tuple(dict.fromkeys(names))

    def require_build(self, precision: str, device: torch.device) -> None:
        require_torch(f'format {self.format}')
        require_packages(*self.needs(precision == 'int8'))

    def graph_dtype(self, precision: str) -> torch.dtype:
        """What the graph computes in that a file is written from."""
        return precisions.DTYPES.get(precision, torch.float32)

    def write(
        self, path: Path, graph: Graph, metadata: dict, images: Sequence[np.ndarray], keep_float: Sequence[str]
    ) -> None:
        """Write the file with its metadata; what only this format knows is added to ``metadata``.

        Args:
            metadata: as in :func:`mmseg_bisenet.deploy.metadata.read_metadata`.
            images: to calibrate int8.
            keep_float: modules that stay float in int8.
        """
        raise NotImplementedError

    def parts(self, path: Path) -> list[Path]:
        """The files that hold the network."""
        return [path]

    def read(self, path: Path) -> tuple[str | None, object]:
        """The metadata, or None if the file has none; and the model if it had to be loaded for them, or None.

        Raises:
            InputError: the file is cut short, or a part is missing.
        """
        return _read_beside(path), None

    def open(self, exported: 'Exported', device: torch.device, throughput: bool = False) -> Engine:
        """The file as an engine, set up as the runtime's documentation advises for latency.

        Args:
            throughput: run many calls at the same time instead, if the runtime is ``parallel``.

        Raises:
            InputError: a package is missing, or the runtime does not take the file.
        """
        raise NotImplementedError

    def run_plainly(self, exported: 'Exported', device: torch.device) -> Run:
        """The file in its own runtime with as few settings as possible, for verification."""
        return on_arrays(self.open(exported, device), device)


@dataclass
class Exported:
    """An exported file.

    Args:
        metadata: as in :func:`mmseg_bisenet.deploy.metadata.read_metadata`.
        model: what reading the metadata had to load, so that opening does not load it again.
    """

    backend: FileBackend
    path: Path
    metadata: dict
    model: Any = None


def on_arrays(engine: Engine, device: torch.device) -> Run:
    """The engine as a function of arrays."""

    def run(images: np.ndarray) -> np.ndarray:
        output = engine(torch.from_numpy(images).to(device))
        return (output.float() if output.is_floating_point() else output).cpu().numpy()

    return run


# -- what must be installed --------------------------------------------------------------------------------------------


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
    separate = [name for name in missing if name in SEPARATE]
    if len(separate) == len(missing):
        return f'pip install {" ".join(separate)}'
    return ' '.join([install.command('export'), *separate])


def require_torch(what: str) -> None:
    """Raises:
    InputError: PyTorch is older than what exports and compiles as is needed here.
    """
    if torch.__version__ < '2.6':  # a `TorchVersion` compares as a version
        raise InputError(f'{what}: PyTorch 2.6 or newer is needed, and this is {torch.__version__}; install it')


# -- files -------------------------------------------------------------------------------------------------------------


@contextmanager
def reading(path: Path, runtime: str) -> Iterator[None]:
    """Report the error of a runtime that does not take a file in one line."""
    try:
        yield
    except Exception as error:  # each runtime has its own exceptions
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f'exported file {path} does not load in {runtime} ({reason}); it is damaged, or of a newer version: export '
            'it again'
        ) from error


def cut_short(path: Path) -> InputError:
    return InputError(f'exported file {path} is cut short or damaged; copy it again, or export it again')


def beside(path: Path) -> Path:
    """The file with the metadata of a file that cannot hold them."""
    return path.with_name(f'{path.name}.json')


def write_beside(path: Path, metadata: dict) -> None:
    """Write the metadata beside the file, with its size, which shows whether a copy is whole."""
    beside(path).write_text(json.dumps(metadata | dict(bytes=path.stat().st_size)))


def _read_beside(path: Path) -> str | None:
    if not beside(path).is_file():
        raise InputError(
            f'exported file {path} lacks {beside(path).name} beside it, or another program wrote it; copy both, or '
            'export it again'
        )
    text = beside(path).read_text()
    try:
        size = json.loads(text)['bytes']
    except (TypeError, ValueError, KeyError):
        return None
    if path.stat().st_size != size:
        raise cut_short(path)
    return text
