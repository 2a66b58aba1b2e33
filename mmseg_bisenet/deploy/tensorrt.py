"""Engines of TensorRT from ONNX files. Not measured: no GPU was at hand.

TensorRT 11 has strongly typed networks only: each tensor has the type that the ONNX file gives it, so precision is
decided there. The flag is for TensorRT 10, where it is a choice; 11 accepts and ignores it. fp32 is without TF32, which
TensorRT has on by default: its ten bits would not keep 99.99 % of the labels.
"""

from typing import TYPE_CHECKING

from mmseg_bisenet.deploy.metadata import require
from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    import onnx

LARGEST_BATCH = 8  # of an engine with free shapes


def build(model: 'onnx.ModelProto', shape: tuple[int, int], dynamic: bool, smallest: int) -> bytes:
    """The serialized engine, for the GPU that is current and this version of TensorRT.

    Args:
        dynamic: every shape from ``smallest`` to twice ``shape``, and batches of up to 8; fastest at ``shape``.

    Raises:
        InputError: no TensorRT, no GPU, or a network that it refuses.
    """
    (trt,) = require('tensorrt', cure='run: pip install tensorrt')
    trt_logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(trt_logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt_logger)
    if not parser.parse(model.SerializeToString()):
        reason = ' '.join(str(parser.get_error(0)).split())
        raise InputError(f'TensorRT {trt.__version__} cannot read the network ({reason}); try another precision')
    config = builder.create_builder_config()
    quantized = any(node.op_type == 'QuantizeLinear' for node in model.graph.node)  # what it leaves in fp32 may round
    if not quantized and hasattr(trt.BuilderFlag, 'TF32'):
        config.clear_flag(trt.BuilderFlag.TF32)
    if dynamic:
        height, width = shape
        profile = builder.create_optimization_profile()
        profile.set_shape(
            'images', (1, smallest, smallest, 3), (1, height, width, 3), (LARGEST_BATCH, 2 * height, 2 * width, 3)
        )
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise InputError(f'TensorRT {trt.__version__} builds no engine of the network; its errors are above')
    return bytes(engine)
