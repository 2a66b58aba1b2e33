"""Runtime ``onnxruntime``: an ONNX file, with its metadata in ``metadata_props``.

Its kernels for CPUs do not know bf16, and compute fp16 through fp32. So a file may be fp16, for its size and for other
machines, but is not loaded here.

Settings (https://onnxruntime.ai/docs/performance/tune-performance/threading.html): all graph optimisations, and as many
threads as PyTorch uses. Deviation: threads do not spin while they wait, as they do by default: they would take the
cores from the labels, which come next.

A file that ends in labels is cut at its logits, if ``onnx`` and Numba are installed: Numba's labels are faster. Without
one of them, as in the extra ``run``, the file runs as it is.

Deviation: nothing is reported. By default its wheels send events about each session to Microsoft (its Privacy.md).
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
from mmseg_bisenet.deploy.packages import is_installed, require_packages
from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    import torch

    from mmseg_bisenet.deploy.graph import Graph


os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')  # it is read when ONNX Runtime is imported


class ONNXRuntime(FileBackend):
    """ONNX Runtime."""

    name, format, suffix = 'onnxruntime', 'onnx', '.onnx'
    precisions = ('fp32', 'int8')
    written_in = ('fp32', 'fp16', 'int8')
    devices = ('cpu',)
    packages = ('onnxruntime',)
    write_packages = ('onnx', 'onnxscript')
    needs_torch = False
    parallel = True

    def write(
        self, path: Path, graph: 'Graph', metadata: dict, images: Sequence[np.ndarray], keep_float: Sequence[str]
    ) -> None:
        from mmseg_bisenet.deploy.graph import to_onnx

        model = to_onnx(graph, tuple(metadata['shape']), metadata['dynamic'])
        if metadata['precision'] == 'int8':
            model = quantize.quantize(model, images, keep_float)
        metadata['opset'] = next(item.version for item in model.opset_import if not item.domain)
        model.metadata_props.add(key=KEY, value=json.dumps(metadata))
        path.write_bytes(model.SerializeToString())

    def read(self, path: Path) -> tuple[str | None, object]:
        if not is_installed('onnx'):
            return self._read_by_session(path), None
        (onnx,) = require_packages('onnx')
        from google.protobuf.message import DecodeError

        try:
            model = onnx.load(path)
        except DecodeError as error:
            raise cut_short(path) from error
        except (onnx.checker.ValidationError, OSError) as error:  # weights in another file, by a path that is not taken
            reason = str(error).strip().partition('\n')[0]
            raise InputError(f'exported file {path} cannot be read ({reason}); export it again') from error
        # They come after the graph: a file that is cut short between two fields has none.
        return {item.key: item.value for item in model.metadata_props}.get(KEY), model

    def _read_by_session(self, path: Path) -> str | None:
        (ort,) = require_packages('onnxruntime')
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # they take most of the time
        with reading(path, self.name):
            session = ort.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        return session.get_modelmeta().custom_metadata_map.get(KEY)

    def open(
        self, exported: Exported, device: 'str | torch.device', throughput: bool = False, threads: int | None = None
    ) -> Engine:
        """With ``throughput`` each call runs in one thread, for as many callers as there are cores."""
        (ort,) = require_packages('onnxruntime')
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = 1 if throughput else threads or default_threads()
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        with reading(exported.path, self.name):
            session = ort.InferenceSession(_up_to_logits(exported), options, providers=['CPUExecutionProvider'])
        return lambda images: session.run(None, {'images': images})[0]

    def run_plainly(self, exported: Exported, device: 'str | torch.device') -> Run:
        (ort,) = require_packages('onnxruntime')
        session = ort.InferenceSession(exported.path, providers=['CPUExecutionProvider'])
        return lambda images: session.run(None, dict(images=images))[0]


def _up_to_logits(exported: Exported) -> bytes | Path:
    """The model without the labels that follow its logits; or the file, if they cannot be cut or computed faster."""
    if exported.metadata['output_kind'] != 'labels' or not (is_installed('onnx') and upsampling.is_compiled()):
        return exported.path
    import onnx

    model = onnx.load(exported.path) if exported.model is None else exported.model
    # It needs the shapes of inner tensors.
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model))
    return extractor.extract_model(['images'], ['logits']).SerializeToString()
