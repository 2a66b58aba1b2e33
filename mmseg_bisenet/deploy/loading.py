"""A network that is ready to label images, in any runtime, from a config or an exported file.

    segment = load('bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024', 'weights.pth', runtime='torch', precision='bf16')
    labels = segment(image)  # (H, W, 3) uint8, BGR -> (H, W) uint8

Every runtime except ``eager`` stops at the low-resolution logits, and ``upsample_argmax`` turns them into labels, which
is faster than any runtime's own resizing and argmax. On CUDA ``compile`` does both in one graph.
"""

import copy
import operator
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from mmseg_bisenet.deploy import backends, quantize, verify
from mmseg_bisenet.deploy.backends import Backend, FileBackend
from mmseg_bisenet.deploy.backends.base import Engine, on_arrays
from mmseg_bisenet.deploy.export import checked_shape, write
from mmseg_bisenet.deploy.metadata import SUFFIXES, read
from mmseg_bisenet.deploy.network import describe
from mmseg_bisenet.deploy.precision import switch_tf32_off
from mmseg_bisenet.deploy.predictor import Predictor
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import BiSeNetSegmentor
from mmseg_bisenet.zoo import get_model

WARM_UP = 3  # calls


def load(
    config_or_exported: str | Path | BiSeNetSegmentor,
    checkpoint: str | Path | bool | None = None,
    runtime: str | None = None,
    precision: str | None = None,
    shape: Sequence[int] | None = None,
    device: str | torch.device = 'cpu',
    *,
    channel_order: str = 'bgr',
    threads: int | None = None,
    throughput: bool = False,
    calibration: Iterable[np.ndarray] = (),
) -> Predictor:
    """A network that is ready to label images, warmed up.

    Args:
        config_or_exported: a name of :func:`mmseg_bisenet.list_models`, the path of a config, a segmentor, or a file
            that ``mmseg-bisenet export`` wrote, which determines ``runtime``, ``precision`` and ``shape``.
        checkpoint: weights for a config: a file, or True for those of the model index. Without it they are random.
        runtime: ``eager`` (the default: the segmentor as MMSegmentation tests it, without the resizing of its test
            pipeline), ``torch`` (rewritten for inference), ``compile`` (the same through ``torch.compile``), or the
            runtime of a file, which is written for it: ``onnxruntime``, ``openvino``, ``pt2`` (AOTInductor) or
            ``tensorrt``.
        precision: ``fp32`` (the default), ``bf16``, ``fp16`` or ``int8``. ``fp32`` on CUDA switches TF32 off in the
            whole process.
        shape: height and width of the images, by default (512, 1024). ``eager`` and ``torch`` take others too, and are
            warmed up with this one.
        device: ``cpu`` or ``cuda``.
        channel_order: of the images, ``bgr`` as OpenCV reads them, or ``rgb``.
        threads: on a CPU, by default as many as PyTorch uses. It becomes PyTorch's number for the whole process, which
            the labels are made with in every runtime.
        throughput: run images of a batch at the same time, each in few threads, if the runtime gains by it
            (``onnxruntime`` and ``openvino``).
        calibration: for ``int8`` of a config: images (H, W, 3) uint8 BGR of ``shape``, which set its ranges.

    Raises:
        InputError: options contradict each other or the file; this machine lacks what they need; a package is not
            installed; a file is missing, damaged or of another version; the labels are not those of PyTorch.
    """
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise InputError(f'device={device!r} is not known; give cpu or cuda') from error
    if channel_order not in ('bgr', 'rgb'):
        raise InputError(f'channel_order={channel_order!r} is not known; give bgr or rgb')
    if threads is not None:
        if threads < 1:
            raise InputError(f'threads={threads}: give 1 or more')
        torch.set_num_threads(threads)
    if isinstance(config_or_exported, str | Path) and Path(config_or_exported).suffix in SUFFIXES.values():
        if checkpoint:
            raise InputError(f'exported file {config_or_exported} has its weights; leave checkpoint {checkpoint} out')
        backend, engine, metadata = _from_file(
            config_or_exported, runtime, precision, shape and _checked(shape), device, throughput
        )
    else:
        shape = _checked(shape or (512, 1024))
        backend = backends.require(runtime or 'eager', precision or 'fp32', device)
        engine, metadata = _from_config(
            config_or_exported, checkpoint, backend, precision or 'fp32', shape, device, throughput, calibration
        )
    workers = torch.get_num_threads() if throughput and backend.parallel else None
    predictor = Predictor(engine, backend, metadata, device, channel_order, workers)
    images = np.zeros((workers or 1, *predictor.shape, 3), np.uint8)
    for _ in range(WARM_UP):
        predictor(images)
    return predictor


def _checked(shape: Sequence[int]) -> tuple[int, int]:
    try:
        height, width = map(operator.index, shape)
    except (TypeError, ValueError) as error:
        raise InputError(f'shape={shape!r}: give (height, width) in pixels') from error
    if min(height, width) < 1:
        raise InputError(f'shape={(height, width)}: give a height and a width of 1 or more')
    return height, width


def _from_file(
    path: str | Path,
    runtime: str | None,
    precision: str | None,
    shape: Sequence[int] | None,
    device: torch.device,
    throughput: bool,
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
    backends.require(backend.name, metadata['precision'], device)
    switch_tf32_off(metadata['precision'], device)
    made_for = metadata.get('device', device.type)  # only files that are traced on their device have it
    if made_for != device.type:
        raise InputError(f'exported file {path} runs on {made_for}, not on {device}; give device={made_for!r}')
    return backend, backend.open(exported, device, throughput), metadata


def _from_config(
    source: str | Path | BiSeNetSegmentor,
    checkpoint: str | Path | bool | None,
    backend: Backend,
    precision: str,
    shape: tuple[int, int],
    device: torch.device,
    throughput: bool,
    calibration: Iterable[np.ndarray],
) -> tuple[Engine, dict]:
    images = quantize.checked(calibration, shape) if precision == 'int8' else []
    backend.require_build(precision, device)
    switch_tf32_off(precision, device)
    if isinstance(source, BiSeNetSegmentor):
        segmentor = copy.deepcopy(source).eval().to(device)
    else:
        segmentor = get_model(str(source), checkpoint or False, device=device)
    if isinstance(backend, FileBackend):
        return _through_file(segmentor, backend, precision, shape, device, throughput, images)
    engine = backend.build(segmentor, precision, shape, device, images)
    return engine, dict(precision=precision, shape=shape, dynamic=backend.any_shape) | describe(segmentor)


def _through_file(
    segmentor: BiSeNetSegmentor,
    backend: FileBackend,
    precision: str,
    shape: tuple[int, int],
    device: torch.device,
    throughput: bool,
    images: list[np.ndarray],
) -> tuple[Engine, dict]:
    """Write a temporary file and open it. What is verified is the engine that is returned."""
    # Windows cannot remove a file that a runtime has mapped into memory.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        exported, network = write(backend, segmentor, precision, checked_shape(shape), folder, device, images=images)
        engine = backend.open(exported, device, throughput)
    fix = 'calibrate with other images, or take another precision' if precision == 'int8' else 'take another precision'
    run = on_arrays(engine, device)
    name = f'runtime {backend.name} in {precision}'
    verify.require(run, network, verify.batches(images, shape), exported.metadata, name, fix)
    return engine, exported.metadata
