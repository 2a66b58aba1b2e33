"""Runtime ``litert``: a model of LiteRT, formerly TensorFlow Lite, ``.tflite``.

Its input is ``images`` and its output ``labels`` or ``logits``, in the signature ``serving_default``. Settings: as many
threads as PyTorch uses; LiteRT gives to XNNPACK what it can.

A file is written from a graph in float32. fp16 is of the weights, which are converted when the file is opened; so such
a file runs on every CPU. In int8, deviations from the quantizer's recipe for static ranges:

- only the network is quantized: the products from logits to labels stay float;
- the last convolution stays float, as those that read the image do: LiteRT's int8 operators also give int8, and
  logits of 256 values would be equal too often.
"""

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmseg_bisenet.deploy import quantize
from mmseg_bisenet.deploy.backends.base import Engine, Exported, FileBackend, default_threads, reading, write_beside
from mmseg_bisenet.deploy.packages import require_packages

if TYPE_CHECKING:
    import torch

    from mmseg_bisenet.deploy.graph import Graph
    from mmseg_bisenet.deploy.network import DeployNetwork

# Tensors are named after the modules that make them: `package.Graph_whole/package.DeployNetwork_network/…`. A
# convolution and its activation make one tensor, with both names and `;` between them.
NETWORK = 'DeployNetwork_network/'


class LiteRT(FileBackend):
    """LiteRT, on CPUs."""

    name = format = 'litert'
    suffix = '.tflite'
    precisions = ('fp32', 'fp16', 'int8')
    weights_only = ('fp16',)
    devices = ('cpu',)
    packages = ('ai_edge_litert',)
    write_packages = ('litert_torch',)
    quantize_packages = ('ai_edge_quantizer',)
    needs_torch = False
    free_shapes = False

    def graph_precision(self, precision: str) -> str:
        return 'fp32'

    def write(
        self, path: Path, graph: 'Graph', metadata: dict, images: Sequence[np.ndarray], keep_float: Sequence[str]
    ) -> None:
        import torch

        from mmseg_bisenet.deploy.graph import Named, contiguous

        (litert_torch,) = require_packages('litert_torch')
        pixels = torch.zeros(1, *metadata['shape'], 3, dtype=torch.uint8)
        model = litert_torch.convert(Named(contiguous(graph)).eval(), sample_kwargs=dict(images=pixels)).model_content()
        if metadata['precision'] == 'fp16':
            model = _in_fp16(model)
        if metadata['precision'] == 'int8':
            model = _in_int8(model, graph, images, [*keep_float, 'decode_head.conv_seg'])
        path.write_bytes(model)
        write_beside([path], metadata)

    def open(
        self, exported: Exported, device: 'str | torch.device', throughput: bool = False, threads: int | None = None
    ) -> Engine:
        require_packages('ai_edge_litert')
        from ai_edge_litert.interpreter import Interpreter

        with reading(exported.path, self.name):
            interpreter = Interpreter(
                model_content=exported.path.read_bytes(), num_threads=threads or default_threads()
            )
            signature = interpreter.get_signature_runner()
        lock = threading.Lock()  # an interpreter serves one caller at a time

        def run(images: np.ndarray) -> np.ndarray:
            with lock:
                return signature(images=images)[exported.metadata['output_kind']]

        return run


def _in_fp16(model: bytes) -> bytes:
    from ai_edge_quantizer import quantizer

    own = quantizer.Quantizer(model)
    own.add_weight_only_config('.*', '*', num_bits=16, algorithm_key='float_casting')
    return bytes(own.quantize().quantized_model)


def _in_int8(model: bytes, graph: 'Graph', images: Sequence[np.ndarray], keep_float: Sequence[str]) -> bytes:
    from ai_edge_quantizer import quantizer

    own = quantizer.Quantizer(model)
    own.add_static_config(NETWORK, '*', activation_num_bits=8, weight_num_bits=8)
    for tensors in _tensors(graph.network, keep_float):
        own.update_quantization_recipe(tensors, '*', algorithm_key='no_quantize')
    ranges = own.calibrate(
        dict(serving_default=[dict(images=image[None]) for image in images]), num_threads=default_threads()
    )
    return bytes(own.quantize(ranges).quantized_model)


def _tensors(network: 'DeployNetwork', keep_float: Sequence[str]) -> list[str]:
    """Regular expressions of the tensors that modules make.

    Raises:
        InputError: ``keep_float`` names no module.
    """
    modules = [f'{name}/' for name, _ in network.named_modules() if name]
    patterns = quantize.patterns(keep_float, modules)
    kept = [name for name in modules if any(re.fullmatch(pattern, name) for pattern in patterns)]
    return [f'{re.escape(_scope(network, name[:-1]))}[/;]' for name in kept]


def _scope(network: 'DeployNetwork', name: str) -> str:
    """``decode_head.conv_seg`` -> ``DeployNetwork_network/package.TiledHead_decode_head/package.Conv2d_conv_seg``."""
    from torch import nn

    module: nn.Module = network
    parts = []
    for attribute in name.split('.'):
        module = getattr(module, attribute)
        if not isinstance(module, nn.ModuleList):  # which is never called
            parts.append(f'{type(module).__module__}.{type(module).__qualname__}_{attribute}')
    return NETWORK + '/'.join(parts)
