"""A network that is ready to label images, in any runtime, from a config or an exported file.

    segment = load('bisenetv2_camvid', runtime='torch', precision='bf16')
    labels = segment(image)  # (H, W, 3) uint8, BGR -> (H, W) uint8

Every runtime except ``eager`` stops at the low-resolution logits, and ``upsample_argmax`` turns them into labels, which
is faster than any runtime's own resizing and argmax. On CUDA ``compile`` does both in one graph. Files of runtimes that
do not need PyTorch are loaded without it.
"""

import ctypes
import gc
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmseg_bisenet import install
from mmseg_bisenet.deploy import backends, forks
from mmseg_bisenet.deploy.backends import Backend
from mmseg_bisenet.deploy.backends.base import Engine, default_threads
from mmseg_bisenet.deploy.metadata import is_exported, read
from mmseg_bisenet.deploy.precision import switch_tf32_off
from mmseg_bisenet.deploy.predictor import Predictor
from mmseg_bisenet.errors import InputError, require_flags, require_paths, require_texts
from mmseg_bisenet.sizes import check_pixels, height_and_width
from mmseg_bisenet.surroundings import own_settings

if TYPE_CHECKING:
    import torch

    from mmseg_bisenet.models import BiSeNetSegmentor

WARM_UP = 3  # calls
MOST_THREADS = 256  # with thousands, a runtime does not come back


@own_settings()
def load(
    config_or_exported: 'str | Path | BiSeNetSegmentor',
    checkpoint: str | Path | bool | None = None,
    runtime: str | None = None,
    precision: str | None = None,
    shape: Sequence[int] | None = None,
    device: 'str | torch.device' = 'cpu',
    *,
    channel_order: str = 'bgr',
    threads: int | None = None,
    throughput: bool = False,
    calibration: Iterable[np.ndarray] = (),
) -> Predictor:
    """A network that is ready to label images, warmed up.

    It ignores autocast, inference mode, and the default dtype and device of PyTorch, now and when it is called.

    Args:
        config_or_exported: a name of :func:`mmseg_bisenet.list_models`, the path of a config, a segmentor, or a file
            that ``mmseg-bisenet export`` wrote, which determines ``runtime``, ``precision`` and ``shape``.
        checkpoint: weights: a file, True for those of the model index, or False for random ones. By default those of
            the index for a name, and random ones for a config.
        runtime: ``eager`` (the default: the segmentor as MMSegmentation tests it, without the resizing of its test
            pipeline), ``torch`` (rewritten for inference), ``compile`` (the same through ``torch.compile``), or another
            name of :data:`mmseg_bisenet.deploy.backends.RUNTIMES`, such as ``onnxruntime``: a file is written for it.
        precision: ``fp32`` (the default), ``bf16``, ``fp16`` or ``int8``. ``fp32`` on CUDA switches TF32 off in the
            whole process.
        shape: height and width of the images, by default (512, 1024). ``eager`` and ``torch`` take others too, and are
            warmed up with this one.
        device: ``cpu`` or ``cuda``.
        channel_order: of the images, ``bgr`` as OpenCV reads them, or ``rgb``.
        threads: on a CPU, at most 256; by default as many as PyTorch uses if it is loaded, or OMP_NUM_THREADS, or one a
            core. For a runtime of PyTorch it becomes the number of the whole process. Processes that are forked later
            use one of PyTorch's threads, which do not survive a fork; spawned ones use as many as they ask for.
        throughput: run images of a batch at the same time, each in few threads, if the runtime gains by it (if its
            backend is ``parallel``).
        calibration: for ``int8`` of a config: images (H, W, 3) uint8 BGR of ``shape``, which set its ranges.

    Raises:
        InputError: options contradict each other or the file; this machine lacks what they need; a package is not
            installed; a file is missing, damaged or of another version; the labels are not those of PyTorch.
    """
    forks.guard()
    require_texts(runtime=runtime, precision=precision, channel_order=channel_order)
    if not isinstance(checkpoint, bool | None):
        require_paths(checkpoint=checkpoint)
    device = str(device)
    if not re.fullmatch(r'(cpu|cuda)(:\d+)?', device):
        raise InputError(f'device={device!r} is not known; give cpu or cuda')
    if channel_order not in ('bgr', 'rgb'):
        raise InputError(f'channel_order={channel_order!r} is not known; give bgr or rgb')
    if threads is not None and not (type(threads) is int and 1 <= threads <= MOST_THREADS):
        raise InputError(f'threads={threads!r}: give a number from 1 to {MOST_THREADS}')
    require_flags(throughput=throughput)
    shape = None if shape is None else _checked(shape)
    file: str | Path | None = None
    if isinstance(config_or_exported, str | Path) and is_exported(config_or_exported):
        file = config_or_exported
        if checkpoint is not None:
            raise InputError(f'exported file {config_or_exported} has its weights; leave checkpoint {checkpoint} out')
        if not isinstance(calibration, Iterable) or any(True for _ in calibration):
            raise InputError(f'exported file {config_or_exported} has its ranges; leave calibration out')
        with install.needing('openmmlab', f'exported file {config_or_exported}'):
            backend, engine, metadata = _from_file(
                config_or_exported, runtime, precision, shape, device, throughput, threads
            )
    else:
        shape = shape or (512, 1024)
        runtime = 'eager' if runtime is None else runtime
        precision = 'fp32' if precision is None else precision
        with install.needing('openmmlab', 'deploy.load of a model that is not exported'):
            from mmseg_bisenet.deploy import building
        backend = backends.require(runtime, precision, device)
        engine, metadata = building.build(
            config_or_exported,
            checkpoint,
            backend,
            precision,
            shape,
            device,
            throughput,
            threads,
            calibration,
        )
    release_memory()
    threads = threads or default_threads()
    workers = threads if throughput and backend.parallel else None
    arguments = engine, backend, metadata, channel_order, threads, workers
    if backend.needs_torch:
        with install.needing('openmmlab', f'runtime {backend.name}'):
            from mmseg_bisenet.deploy.tensor_predictor import TensorPredictor

        predictor: Predictor = TensorPredictor(*arguments, device=device)
    else:
        predictor = Predictor(*arguments)
    images = np.zeros((workers or 1, *predictor.shape, 3), np.uint8)
    try:
        for _ in range(WARM_UP):
            predictor(images)
    except InputError:
        raise
    except Exception as error:  # each runtime has its own
        if file is None:
            raise
        reason = ' '.join(str(error).split())[:200]
        raise InputError(f'exported file {file} does not run in {backend.name} ({reason}); export it again') from error
    return predictor


def release_memory() -> None:
    """Return what only building took to the system. glibc would keep it, half of the process's memory."""
    gc.collect()  # graphs refer to themselves
    if trim := getattr(ctypes.CDLL(None), 'malloc_trim', None):
        trim(0)


def _checked(shape: Sequence[int]) -> tuple[int, int]:
    height, width = height_and_width(shape)
    if min(height, width) < 1:
        raise InputError(f'shape={(height, width)}: give a height and a width of 1 or more')
    check_pixels('shape', width, height)
    return height, width


def _from_file(
    path: str | Path,
    runtime: str | None,
    precision: str | None,
    shape: Sequence[int] | None,
    device: str,
    throughput: bool,
    threads: int | None,
) -> tuple[Backend, Engine, dict]:
    exported = read(path)
    backend, metadata = exported.backend, exported.metadata
    metadata['shape'] = tuple(metadata['shape'])
    for name, value, found in (
        ('runtime', runtime, backend.name),
        ('precision', precision, metadata['precision']),
        ('shape', shape, metadata['shape']),
    ):
        if value not in (None, found) and not (name == 'shape' and metadata['dynamic']):
            raise InputError(
                f'exported file {path} is of {name} {found}, not {value}; leave {name} out, or export another'
            )
    metadata['shape'] = shape or metadata['shape']
    try:
        backends.require(backend.name, metadata['precision'], device)
    except InputError as error:
        raise InputError(f'exported file {path}: {error}') from error
    switch_tf32_off(metadata['precision'], device)
    kind = device.partition(':')[0]
    made_for = metadata.get('device', kind)  # only files that are traced on their device have it
    if made_for != kind:
        raise InputError(f'exported file {path} runs on {made_for}, not on {device}; give device={made_for!r}')
    return backend, backend.open(exported, device, throughput, threads), metadata
