"""Runtime ``vnni``: the network in int8 by kernels of this package, for CPUs with AVX-512-VNNI (:mod:`~.int8`).

It is named after the instructions that it needs. A file (``.vnni``) has the network's steps, its weights in float32 and
the ranges that were measured on calibration images. What opens it quantizes the weights, and translates the kernels for
its own CPU, once. That needs a compiler for C++, but neither PyTorch nor calibration images.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmseg_bisenet.deploy.backends.base import KEY, Engine, Exported, FileBackend, cut_short, default_threads, reading
from mmseg_bisenet.deploy.int8 import file, library
from mmseg_bisenet.deploy.packages import require_packages

if TYPE_CHECKING:
    import torch

    from mmseg_bisenet.deploy.graph import Graph


class Vnni(FileBackend):
    """Kernels of this package in int8, on CPUs."""

    name = format = 'vnni'
    suffix = '.vnni'
    precisions = ('int8',)
    devices = ('cpu',)
    packages = ('safetensors',)
    quantize_packages = ()
    output_kinds = ('logits',)
    needs_torch = False
    in_openmp = True
    free_shapes = False
    keeps_float = False

    def require_machine(self, precision: str, device: 'str | torch.device') -> None:
        super().require_machine(precision, device)
        library.require()

    def require_build(self, precision: str, device: 'torch.device') -> None:
        super().require_build(precision, device)
        self.require_machine(precision, device)  # verification runs the file

    def write(
        self, path: Path, graph: 'Graph', metadata: dict, images: Sequence[np.ndarray], keep_float: Sequence[str]
    ) -> None:
        from mmseg_bisenet.deploy.int8.plan import plan
        from mmseg_bisenet.deploy.int8.ranges import measure
        from mmseg_bisenet.deploy.int8.trace import trace

        traced = trace(graph.network, tuple(metadata['shape']))
        steps = plan(traced)
        measure(traced, steps, images)
        file.write(path, steps, {KEY: json.dumps(metadata)})

    def read(self, path: Path) -> tuple[str | None, object]:
        (safetensors,) = require_packages('safetensors')
        try:
            return file.read_metadata(path).get(KEY), None
        except safetensors.SafetensorError as error:
            raise cut_short(path) from error

    def open(
        self, exported: Exported, device: 'str | torch.device', throughput: bool = False, threads: int | None = None
    ) -> Engine:
        from mmseg_bisenet.deploy.int8.network import Int8Network

        with reading(exported.path, self.name):
            plan = file.read(exported.path)
            network = Int8Network(plan, threads or default_threads())
            (_, *shape), (classes, *_) = plan.values[plan.image].shape, plan.values[plan.logits].shape
            if (shape, classes) != ([*exported.metadata['shape']], exported.metadata['num_classes']):
                raise ValueError(f'its network is for {shape} and {classes} classes, unlike its metadata')
        return network
