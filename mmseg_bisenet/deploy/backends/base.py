"""What a runtime declares and does: the classes that each file beside this one fills in, and what they share.

To add a runtime, write one file with one class, add it to the list in ``__init__.py``, and add a row to
``tests/deploy/test_backends.py``. The command line, ``load``, ``export``, verification and the benchmark read the list.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmseg_bisenet.deploy import precision as precisions
from mmseg_bisenet.deploy.packages import require_packages, require_torch
from mmseg_bisenet.deploy.quiet import quiet
from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    import torch

    from mmseg_bisenet.deploy.graph import Graph
    from mmseg_bisenet.models import BiSeNetSegmentor

# images (N, H, W, 3), contiguous uint8, BGR -> logits (N, num_classes, h, w) of a floating type, or labels (N, H, W)
# uint8: tensors on the engine's device if the backend has `needs_torch`, otherwise arrays. The next call in the same
# thread may overwrite the result. Any number of threads may call an engine.
Engine = Callable[[Any], Any]
# images (N, H, W, 3) uint8 -> logits or labels
Run = Callable[[np.ndarray], np.ndarray]

KEY = 'mmseg_bisenet'  # under which a file that can hold metadata holds ours
SMALLEST = 64  # pixels a side: two pixels of the deepest map, below which a free shape cannot be traced
LARGEST = 16384


class Backend:
    """A runtime that runs a network of this process.

    Attributes:
        name: its name in ``load`` and on the command line.
        precisions: what it computes in.
        devices: types of devices that it runs on; the first is what errors advise.
        packages: modules that running it needs besides PyTorch, its own first.
        needs_torch: whether its engine is of PyTorch, and takes tensors. Modules of other backends import no PyTorch.
        weights_only: precisions that only weights are in; it computes in fp32.
        any_shape: whether a network takes batches and images of every shape, not only those that it was made for.
        parallel: whether several images at a time give more images a second.
        in_openmp: whether it computes in the threads of :mod:`mmseg_bisenet.openmp`; only if not ``needs_torch``.
    """

    name: str
    precisions: tuple[str, ...]
    devices: tuple[str, ...] = ('cpu', 'cuda')
    packages: tuple[str, ...] = ()
    weights_only: tuple[str, ...] = ()
    needs_torch = True
    any_shape = parallel = in_openmp = False

    def needs(self, quantized: bool) -> tuple[str, ...]:
        """Modules that making and running a network takes; ``quantized``: in int8."""
        return self.packages

    def require_machine(self, precision: str, device: 'str | torch.device') -> None:
        """Check that this machine has the device, and that the device computes in the precision.

        Raises:
            InputError: it has not.
        """
        kind = str(device).partition(':')[0]
        if kind not in self.devices:
            raise InputError(f"runtime {self.name} does not run on device '{device}'; give device={self.devices[0]!r}")
        if kind == 'cuda' and not _sees_gpu():
            fix = ", or give device='cpu'" if 'cpu' in self.devices else ''
            raise InputError(f"device '{device}': PyTorch sees no GPU; install its build for CUDA{fix}")
        if precision not in self.weights_only and not precisions.available(precision, kind):
            reason = 'this CPU has no instructions for it' if kind == 'cpu' else 'this GPU does not compute in it'
            others = [name for name in self.precisions if precisions.available(name, kind)]
            raise InputError(f'precision {precision}: {reason}; choose {" or ".join(others)}')

    def require_build(self, precision: str, device: 'torch.device') -> None:
        """Check what :meth:`build`, or the writing of a file, needs besides the device.

        Raises:
            InputError: a package, a compiler or an instruction is missing.
        """

    def build(
        self,
        segmentor: 'BiSeNetSegmentor',
        precision: str,
        shape: tuple[int, int],
        device: 'torch.device',
        images: Sequence[np.ndarray],
    ) -> Engine:
        """The segmentor as an engine.

        Args:
            segmentor: on ``device``; the engine may keep it.
            shape: height and width of the images that it is made for.
            images: (H, W, 3) uint8 BGR of that shape, to calibrate int8; otherwise none.
        """
        raise NotImplementedError

    def on_arrays(self, engine: Engine, device: 'str | torch.device') -> Run:
        """The engine as a function of arrays."""
        if not self.needs_torch:
            return engine
        import torch

        def run(images: np.ndarray) -> np.ndarray:
            output = engine(torch.from_numpy(images).to(device))
            return (output.float() if output.is_floating_point() else output).cpu().numpy()

        return run


class FileBackend(Backend):
    """A runtime that runs a file, which is written from a graph of ``torch.export``.

    Attributes:
        format: name of the file format.
        suffix: of the file's name.
        written_in: precisions that a file may have; by default ``precisions``.
        output_kinds: what a file may end in; the first is the default.
        free_shapes: whether a file may take batches and images of every shape.
        write_packages: modules that writing needs besides ``packages``.
        quantize_packages: those that writing needs for int8, if the file may be in it.
        keeps_float: whether modules may stay float in int8.
        traced_on_device: whether the graph is traced on the device that will run it, otherwise on the CPU.
        cast_by_float: whether the graph converts between bytes and other types through float32 only.
    """

    format: str
    suffix: str
    written_in: tuple[str, ...] = ()
    output_kinds: tuple[str, ...] = ('labels', 'logits')
    free_shapes = True
    write_packages: tuple[str, ...] = ()
    quantize_packages: tuple[str, ...] = ('nncf',)
    keeps_float = True
    traced_on_device = False
    cast_by_float = False

    def __init__(self) -> None:
        self.written_in = self.written_in or self.precisions

    def needs(self, quantized: bool) -> tuple[str, ...]:
        more = self.quantize_packages if quantized and 'int8' in self.written_in else ()
        return tuple(dict.fromkeys((*self.write_packages, *self.packages, *more)))

    def require_build(self, precision: str, device: 'torch.device') -> None:
        require_torch(f'format {self.format}')
        with quiet():  # what they print when they are imported
            require_packages(*self.needs(precision == 'int8'))

    def graph_precision(self, precision: str) -> str:
        """What the graph computes in that a file is written from, ``fp32``, ``bf16`` or ``fp16``."""
        return 'fp32' if precision == 'int8' else precision

    def write(
        self, path: Path, graph: 'Graph', metadata: dict, images: Sequence[np.ndarray], keep_float: Sequence[str]
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
        return _read_beside(self.parts(path)), None

    def open(
        self, exported: 'Exported', device: 'str | torch.device', throughput: bool = False, threads: int | None = None
    ) -> Engine:
        """The file as an engine, set up as the runtime's documentation advises for latency.

        Args:
            throughput: run many calls at the same time instead, if the runtime is ``parallel``.
            threads: on a CPU, by default :func:`default_threads`.

        Raises:
            InputError: a package is missing, or the runtime does not take the file.
        """
        raise NotImplementedError

    def run_plainly(self, exported: 'Exported', device: 'str | torch.device') -> Run:
        """The file in its own runtime with as few settings as possible, for verification."""
        return self.on_arrays(self.open(exported, device), device)


@dataclass
class Exported:
    """An exported file.

    Args:
        metadata: as in :func:`mmseg_bisenet.deploy.metadata.read_metadata`.
        model: what reading the metadata had to load, so that opening does not load it again.
        references: two images and their labels, as :mod:`mmseg_bisenet.deploy.references` stores them; or none.
    """

    backend: FileBackend
    path: Path
    metadata: dict
    model: Any = None
    references: list[dict[str, str]] = field(default_factory=list)


def default_threads() -> int:
    """As many as PyTorch uses if this process has loaded it; otherwise OMP_NUM_THREADS, or one a core."""
    if 'torch' in sys.modules:
        return sys.modules['torch'].get_num_threads()
    asked = os.environ.get('OMP_NUM_THREADS', '')
    return int(asked) if asked.isdigit() and int(asked) else _cores()


def _cores() -> int:
    """Cores that this process may use. Two processors of one core share what multiplies, and count as one."""
    processors = os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') else range(os.cpu_count() or 1)
    siblings = [Path(f'/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list') for number in processors]
    return len({path.read_text() if path.exists() else str(path) for path in siblings})


def _sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


# -- files -------------------------------------------------------------------------------------------------------------


@contextmanager
def reading(path: Path, runtime: str) -> Iterator[None]:
    """Report the error of a runtime that does not take a file in one line."""
    try:
        yield
    except Exception as error:  # each runtime has its own exceptions
        try:
            os.getcwd()  # packages that are imported meanwhile may need it
        except FileNotFoundError:
            raise InputError('the current folder was removed; change to another, and try again') from error
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f'exported file {path} does not load in {runtime} ({reason}); it is damaged, or of a newer version: export '
            'it again'
        ) from error


def cut_short(path: str | Path) -> InputError:
    return InputError(f'exported file {path} is cut short or damaged; copy it again, or export it again')


def beside(path: Path) -> Path:
    """The file with the metadata of a file that cannot hold them."""
    return path.with_name(f'{path.name}.json')


def write_beside(parts: Sequence[Path], metadata: dict) -> None:
    """Write the metadata beside the first of the parts, with their size, which shows whether a copy is whole."""
    beside(parts[0]).write_text(json.dumps(metadata | dict(bytes=_size(parts))))


def _size(parts: Sequence[Path]) -> int:
    return sum(part.stat().st_size for part in parts)


def _read_beside(parts: Sequence[Path]) -> str | None:
    path = parts[0]
    for other in (*parts[1:], beside(path)):
        if not other.is_file():
            raise InputError(
                f'exported file {path} lacks {other.name} beside it, or another program wrote it; copy both, or '
                'export it again'
            )
    text = beside(path).read_text()
    try:
        size = json.loads(text)['bytes']
    except (TypeError, ValueError, KeyError):
        return None
    if _size(parts) != size:
        raise cut_short(path)
    return text
