"""Runtime ``onnxruntime``: an ONNX file, with its metadata in ``metadata_props``.

Its kernels for CPUs do not know bf16, and compute fp16 through fp32. So a file may be fp16, for its size and for other
machines, but is not loaded here.

Settings (https://onnxruntime.ai/docs/performance/tune-performance/threading.html): all graph optimisations, and as many
threads as PyTorch uses. Deviation: threads do not spin while they wait, as they do by default: they would take the
cores from the labels, which come next.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mmseg_bisenet.deploy import quantize
from mmseg_bisenet.deploy.backends.base import (
    KEY,
    Engine,
    Exported,
    FileBackend,
    Run,
    cut_short,
    reading,
    require_packages,
)
from mmseg_bisenet.deploy.graph import Graph, to_onnx


class ONNXRuntime(FileBackend):
    """ONNX Runtime."""

    name, format, suffix = 'onnxruntime', 'onnx', '.onnx'
    precisions = ('fp32', 'int8')
    written_in = ('fp32', 'fp16', 'int8')
    devices = ('cpu',)
    packages = ('onnxruntime', 'onnx')
    write_packages = ('onnx', 'onnxscript')
    parallel = True

    def write(
        self, path: Path, graph: Graph, metadata: dict, images: Sequence[np.ndarray], keep_float: Sequence[str]
    ) -> None:
        model = to_onnx(graph, tuple(metadata['shape']), metadata['dynamic'])
        if metadata['precision'] == 'int8':
            model = quantize.quantize(model, images, keep_float)
        metadata['opset'] = next(item.version for item in model.opset_import if not item.domain)
        model.metadata_props.add(key=KEY, value=json.dumps(metadata))
        path.write_bytes(model.SerializeToString())

    def read(self, path: Path) -> tuple[str | None, object]:
        (onnx,) = require_packages('onnx')
        from google.protobuf.message import DecodeError

        try:
            model = onnx.load(path)
        except DecodeError as error:
            raise cut_short(path) from error
        # They come after the graph: a file that is cut short between two fields has none.
        return {item.key: item.value for item in model.metadata_props}.get(KEY), model

    def open(self, exported: Exported, device: torch.device, throughput: bool = False) -> Engine:
        """With ``throughput`` each call runs in one thread, for as many callers as there are cores."""
        ort, onnx = require_packages(*self.packages)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = 1 if throughput else torch.get_num_threads()
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        with reading(exported.path, self.name):
            model = onnx.load(exported.path) if exported.model is None else exported.model
            if exported.metadata['output_kind'] == 'labels':
                # It needs the shapes of inner tensors.
                extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model))
                model = extractor.extract_model(['images'], ['logits'])
            session = ort.InferenceSession(model.SerializeToString(), options, providers=['CPUExecutionProvider'])
        return lambda images: torch.from_numpy(session.run(['logits'], {'images': images.numpy()})[0])

    def run_plainly(self, exported: Exported, device: torch.device) -> Run:
        (ort,) = require_packages('onnxruntime')
        session = ort.InferenceSession(exported.path, providers=['CPUExecutionProvider'])
        return lambda images: session.run(None, dict(images=images))[0]
