"""Runtime ``openvino``: an OpenVINO model, ``.xml`` with ``.bin`` beside it, with its metadata in ``rt_info``.

Settings (https://docs.openvino.ai, "Performance Hints and Thread Scheduling" and "Shared Memory on Inputs and
Outputs"):

- a latency hint, as many threads as PyTorch uses, inputs and outputs without a copy;
- the precision, because OpenVINO computes in bf16 by default if the CPU has it. For int8 networks, it is the precision
  of the layers that are not quantized;
- a file that ends in labels is cut at its logits, if Numba is installed, whose labels are faster. For 512x1024, 19
  classes and two threads, the labels of the graph took 54 ms as Interpolate and TopK, 8 ms as products of matrices;
- deviation: threads are not pinned to cores, because two programs on one machine would share the same cores.

A file is written from a graph in float32: fp16 and bf16 files hold its weights in fp16, and OpenVINO decides on bf16
when it runs. For int8, symmetric activations keep 99.5 % of the labels, NNCF's MIXED preset 98.7 % (see
:mod:`mmseg_bisenet.deploy.quantize`).

Workaround: OpenVINO (2026.4) gives the thread that compiles a network an alternate signal stack, and frees it later.
Python's signal handlers run on such a stack. The next signal with a handler, such as that of Ctrl-C or of a data
loader's worker that ends, then ends the process without a message. :func:`kept_signal_stack` restores the thread's own
stack.
"""

import ctypes
import io
import json
import os
import sys
import threading
import xml.etree.ElementTree
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmseg_bisenet import upsampling
from mmseg_bisenet.deploy import quantize
from mmseg_bisenet.deploy.backends.base import (
    KEY,
    Engine,
    Exported,
    FileBackend,
    Run,
    cut_short,
    default_threads,
    reading,
)
from mmseg_bisenet.deploy.packages import require_packages
from mmseg_bisenet.deploy.precision import cpu_has
from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    import torch

    from mmseg_bisenet.deploy.graph import Graph

# OpenVINO and NNCF report each import and export to Google Analytics, from a fork of the process, unless this package
# is missing, which None means.
sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]

UNMAPPED = dict(ENABLE_MMAP=False)  # a file that is cut short while it is mapped would end the process
HINTS = dict(fp32='f32', bf16='bf16', fp16='f16')


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Restore this thread's signal stack at the end."""
    if os.name != 'posix':
        yield
        return
    libc = ctypes.CDLL(None)
    before = ctypes.create_string_buffer(64)  # a `stack_t`, which is 24 bytes
    libc.sigaltstack(None, before)
    try:
        yield
    finally:
        libc.sigaltstack(before, None)


def save(model: Any, path: Path, compress_to_fp16: bool) -> None:
    """Write a model as two files.

    Raises:
        OSError: it cannot be written. OpenVINO's own error says neither what nor why.
    """
    (ov,) = require_packages('openvino')
    try:
        ov.save_model(model, path, compress_to_fp16=compress_to_fp16)
    except RuntimeError as error:
        raise OSError(f'OpenVINO: {error}, as on a full disk') from error


class OpenVINO(FileBackend):
    """OpenVINO."""

    name = format = 'openvino'
    suffix = '.xml'
    precisions = ('fp32', 'bf16', 'fp16', 'int8')
    devices = ('cpu',)
    packages = ('openvino',)
    write_packages = ('onnx', 'onnxscript')
    needs_torch = False
    parallel = True

    def require_build(self, precision: str, device: 'torch.device') -> None:
        super().require_build(precision, device)
        if precision == 'bf16':  # verification computes in it; other files run in fp32 everywhere
            self.require_machine(precision, device)

    def graph_precision(self, precision: str) -> str:
        return 'fp32'

    @kept_signal_stack()
    def write(
        self, path: Path, graph: 'Graph', metadata: dict, images: Sequence[np.ndarray], keep_float: Sequence[str]
    ) -> None:
        from mmseg_bisenet.deploy.graph import to_onnx

        (ov,) = require_packages('openvino')
        model = to_onnx(graph, tuple(metadata['shape']), metadata['dynamic'])
        model = ov.convert_model(io.BytesIO(model.SerializeToString()))
        if metadata['precision'] == 'int8':
            model = quantize.quantize(model, images, keep_float)
        model.set_rt_info(json.dumps(metadata), [KEY])
        save(model, path, compress_to_fp16=metadata['precision'] in ('fp16', 'bf16'))

    def parts(self, path: Path) -> list[Path]:
        return [path, path.with_suffix('.bin')]

    def read(self, path: Path) -> tuple[str | None, object]:
        try:
            root = xml.etree.ElementTree.parse(path).getroot()
        except xml.etree.ElementTree.ParseError as error:
            raise cut_short(path) from error
        node = root.find(f'rt_info/{KEY}')
        if node is None:
            return None, None
        weights = path.with_suffix('.bin')
        if not weights.is_file():
            raise InputError(f'exported file {path} lacks {weights.name} beside it, which has its weights; copy both')
        constants: Iterator[Any] = root.iterfind('.//layer[@type="Const"]/data')
        ends = (int(data.get('offset')) + int(data.get('size')) for data in constants)
        if weights.stat().st_size < max(ends, default=0):
            raise cut_short(weights)
        return node.get('value'), None

    @kept_signal_stack()
    def open(
        self, exported: Exported, device: 'str | torch.device', throughput: bool = False, threads: int | None = None
    ) -> Engine:
        """With ``throughput`` OpenVINO chooses how many calls run at the same time."""
        (ov,) = require_packages('openvino')
        precision = exported.metadata['precision']
        if precision == 'int8':
            precision = 'bf16' if cpu_has('bf16') else 'fp32'
        config = {
            'INFERENCE_PRECISION_HINT': HINTS[precision],
            'PERFORMANCE_HINT': 'THROUGHPUT' if throughput else 'LATENCY',
            'INFERENCE_NUM_THREADS': threads or default_threads(),
            'ENABLE_CPU_PINNING': False,
        }
        with reading(exported.path, self.name):
            core = ov.Core()
            core.set_property(UNMAPPED)
            model = core.read_model(exported.path)
            if exported.metadata['output_kind'] == 'labels' and upsampling.is_compiled():
                outputs = (output for node in model.get_ops() for output in node.outputs())
                logits = next(output for output in outputs if 'logits' in output.get_names())
                model = ov.Model([logits], model.get_parameters())
            model = core.compile_model(model, 'CPU', config)
        own = threading.local()  # a request serves one caller at a time

        def run(images: np.ndarray) -> np.ndarray:
            if not hasattr(own, 'request'):
                own.request = model.create_infer_request()
            return own.request.infer([images], share_inputs=True, share_outputs=True)[0]

        return run

    @kept_signal_stack()
    def run_plainly(self, exported: Exported, device: 'str | torch.device') -> Run:
        (ov,) = require_packages('openvino')
        hint = 'bf16' if exported.metadata['precision'] == 'bf16' else 'f32'
        core = ov.Core()
        core.set_property(UNMAPPED)
        model = core.compile_model(exported.path, 'CPU', dict(INFERENCE_PRECISION_HINT=hint))
        return lambda images: model(images)[0]
