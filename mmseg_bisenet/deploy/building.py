"""Engines from a config or a segmentor: built in this process, or by way of a temporary file."""

import copy
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from mmseg_bisenet import model_index
from mmseg_bisenet.deploy import forks, quantize, verify
from mmseg_bisenet.deploy.backends import Backend, FileBackend
from mmseg_bisenet.deploy.backends.base import Engine
from mmseg_bisenet.deploy.export import checked_shape, write
from mmseg_bisenet.deploy.network import describe
from mmseg_bisenet.deploy.precision import switch_tf32_off
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import BiSeNetSegmentor
from mmseg_bisenet.zoo import get_model


def build(
    source: str | Path | BiSeNetSegmentor,
    checkpoint: str | Path | bool | None,
    backend: Backend,
    precision: str,
    shape: tuple[int, int],
    device: str | torch.device,
    throughput: bool,
    threads: int | None,
    calibration: Iterable[np.ndarray],
) -> tuple[Engine, dict]:
    """The engine and its metadata; the arguments are those of :func:`mmseg_bisenet.deploy.load`."""
    device = torch.device(device)
    if checkpoint and isinstance(source, BiSeNetSegmentor):
        raise InputError(f'the segmentor has its weights; leave checkpoint {checkpoint} out')
    if not isinstance(source, BiSeNetSegmentor):
        wanted = 'a name of the model index, the path of a config or of an exported file, or a segmentor'
        model_index.require_name(source, wanted)
    if threads and backend.needs_torch:
        forks.set_threads(threads)
    quantize.require_int8(precision, calibration)
    images = quantize.checked(calibration, shape) if precision == 'int8' else []
    backend.require_build(precision, device)
    switch_tf32_off(precision, device)
    if isinstance(source, BiSeNetSegmentor):
        segmentor = copy.deepcopy(source).eval().to(device)
    else:
        if checkpoint is None:
            checkpoint = (model_index.renamed(str(source)) or source) in model_index.entries()
        segmentor = get_model(str(source), checkpoint, device=device)
    if isinstance(backend, FileBackend):
        return _through_file(segmentor, backend, precision, shape, device, throughput, threads, images)
    engine = backend.build(segmentor, precision, shape, device, images)
    return engine, dict(precision=precision, shape=shape, dynamic=backend.any_shape) | describe(segmentor)


def _through_file(
    segmentor: BiSeNetSegmentor,
    backend: FileBackend,
    precision: str,
    shape: tuple[int, int],
    device: torch.device,
    throughput: bool,
    threads: int | None,
    images: list[np.ndarray],
) -> tuple[Engine, dict]:
    """Write a temporary file and open it. What is verified is the engine that is returned."""
    # Windows cannot remove a file that a runtime has mapped into memory.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        exported, network = write(backend, segmentor, precision, checked_shape(shape), folder, device, images=images)
        engine = backend.open(exported, device, throughput, threads)
    fix = 'calibrate with other images, or take another precision' if precision == 'int8' else 'take another precision'
    run = backend.on_arrays(engine, device)
    name = f'runtime {backend.name} in {precision}'
    verify.require(run, network, verify.batches(images, shape), exported.metadata, name, fix)
    return engine, exported.metadata
