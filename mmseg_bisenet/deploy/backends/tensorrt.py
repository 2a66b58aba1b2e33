"""Runtime ``tensorrt``: an engine of TensorRT, built from an ONNX model. It was never measured or run: no GPU was
available.

Settings (https://docs.nvidia.com/deeplearning/tensorrt):

- TensorRT 11 has strongly typed networks only: each tensor has the type that the ONNX model gives it, so the model
  decides on the precision. The flag is for TensorRT 10, in which that is a choice; 11 accepts and ignores it.
- fp32 is without TF32, which TensorRT uses by default: its ten bits would not keep 99.99 % of the labels.
- Each caller has a stream of its own, because on the default stream TensorRT waits for the GPU before and after.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmseg_bisenet.deploy import quantize
from mmseg_bisenet.deploy.backends.base import SMALLEST, Engine, Exported, FileBackend, write_beside
from mmseg_bisenet.deploy.packages import require_packages
from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    import onnx
    import torch

    from mmseg_bisenet.deploy.graph import Graph

LARGEST_BATCH = 8  # of an engine with free shapes
DTYPES = dict(FLOAT='float32', HALF='float16', BF16='bfloat16', UINT8='uint8')


class TensorRT(FileBackend):
    """TensorRT, on NVIDIA's GPUs."""

    name = format = 'tensorrt'
    suffix = '.engine'
    precisions = ('fp32', 'bf16', 'fp16', 'int8')
    devices = ('cuda',)
    packages = ('tensorrt',)
    write_packages = ('onnx', 'onnxscript')
    cast_by_float = True

    def require_build(self, precision: str, device: 'torch.device') -> None:
        super().require_build(precision, device)
        self.require_machine(precision, device)

    def write(
        self, path: Path, graph: 'Graph', metadata: dict, images: Sequence[np.ndarray], keep_float: Sequence[str]
    ) -> None:
        from mmseg_bisenet.deploy.graph import to_onnx

        model = to_onnx(graph, tuple(metadata['shape']), metadata['dynamic'])
        if metadata['precision'] == 'int8':
            model = quantize.quantize(model, images, keep_float, signed=True)
        path.write_bytes(build_engine(model, tuple(metadata['shape']), metadata['dynamic']))
        write_beside([path], metadata)

    def open(
        self, exported: Exported, device: 'str | torch.device', throughput: bool = False, threads: int | None = None
    ) -> Engine:
        """On the current GPU if ``device`` has no index.

        The engine raises InputError for images of a shape that it does not take.
        """
        import torch

        (trt,) = require_packages('tensorrt')
        path = exported.path
        with torch.cuda.device(device):
            runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
            engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise InputError(
                f'exported file {path} does not load in TensorRT {trt.__version__}: an engine runs with the version '
                'and on the kind of GPU that it was built with; export it again here'
            )
        name = exported.metadata['output_kind']
        dtype = getattr(torch, DTYPES[engine.get_tensor_dtype(name).name])
        own = threading.local()  # a context serves one caller at a time

        def run(images: torch.Tensor) -> torch.Tensor:
            with torch.cuda.device(images.device):  # each thread has its own current GPU
                if not hasattr(own, 'context'):
                    own.context, own.stream = engine.create_execution_context(), torch.cuda.Stream()
                context, current, shape = own.context, torch.cuda.current_stream(), tuple(images.shape)
                if not context.set_input_shape('images', shape):
                    least, _, most = map(tuple, engine.get_tensor_profile_shape('images', 0))
                    raise InputError(
                        f'images of shape {shape}: {path} takes {least} to {most}; export with --dynamic and a larger '
                        '--shape'
                    )
                result = torch.empty(tuple(context.get_tensor_shape(name)), dtype=dtype, device=images.device)
                context.set_tensor_address('images', images.data_ptr())
                context.set_tensor_address(name, result.data_ptr())
                own.stream.wait_stream(current)
                if not context.execute_async_v3(own.stream.cuda_stream):
                    raise InputError(
                        f'images of shape {shape}: TensorRT {trt.__version__} cannot run {path}, and its errors are '
                        'above; free memory of the GPU, or export it again here'
                    )
                current.wait_stream(own.stream)
                return result

        return run


def build_engine(model: 'onnx.ModelProto', shape: tuple[int, int], dynamic: bool) -> bytes:
    """The serialized engine, for the current GPU and this version of TensorRT.

    Args:
        dynamic: take every shape from ``SMALLEST`` to twice ``shape``, and batches of up to 8; fastest at ``shape``.

    Raises:
        InputError: no TensorRT, no GPU, or a network that it refuses.
    """
    (trt,) = require_packages('tensorrt')
    trt_logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(trt_logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt_logger)
    if not parser.parse(model.SerializeToString()):
        reason = ' '.join(str(parser.get_error(0)).split())
        raise InputError(f'TensorRT {trt.__version__} cannot read the network ({reason}); try another precision')
    config = builder.create_builder_config()
    quantized = any(node.op_type == 'QuantizeLinear' for node in model.graph.node)  # the layers left in fp32 may round
    if not quantized and hasattr(trt.BuilderFlag, 'TF32'):
        config.clear_flag(trt.BuilderFlag.TF32)
    if dynamic:
        height, width = shape
        profile = builder.create_optimization_profile()
        profile.set_shape(
            'images', (1, SMALLEST, SMALLEST, 3), (1, height, width, 3), (LARGEST_BATCH, 2 * height, 2 * width, 3)
        )
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise InputError(f'TensorRT {trt.__version__} builds no engine of the network; its errors are above')
    return bytes(engine)
