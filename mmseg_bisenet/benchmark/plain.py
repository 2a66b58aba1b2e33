"""The plain export, for comparison: how a user of MMSegmentation gets to a fast runtime without this package.

``torch.onnx.export`` takes MMSegmentation's own network unchanged, with normalisation before it and with resize and
argmax after it in the graph. ONNX Runtime and OpenVINO run the file with their default options. Only the precision is
set, because OpenVINO computes in bf16 by default if the CPU has it, and rows are compared at equal precision. int8 is
NNCF's default quantization; layers that are not quantized keep OpenVINO's default precision.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_bisenet.deploy.backends.openvino import kept_signal_stack, save
from mmseg_bisenet.deploy.quiet import quiet

# Modules that each method needs, and its precisions.
NEEDS = {
    'plain-onnxruntime': ('onnx', 'onnxscript', 'onnxruntime'),
    'plain-openvino': ('onnx', 'onnxscript', 'openvino'),
}
PRECISIONS = {'plain-onnxruntime': ('fp32',), 'plain-openvino': ('fp32', 'bf16', 'int8')}
HINTS = dict(fp32='f32', bf16='bf16')


class PlainNetwork(nn.Module):
    """images: (1, H, W, 3) uint8, BGR -> labels (1, H, W) uint8, through logits of full size."""

    def __init__(self, segmentor: EncoderDecoder) -> None:
        super().__init__()
        self.segmentor = segmentor

    def forward(self, images: Tensor) -> Tensor:
        x = self.segmentor.data_preprocessor(dict(inputs=[images[0].permute(2, 0, 1)]))['inputs']
        logits = self.segmentor.decode_head(self.segmentor.backbone(x))
        align = self.segmentor.align_corners
        logits = F.interpolate(logits, images.shape[1:3], mode='bilinear', align_corners=align)
        return logits.argmax(1).to(torch.uint8)


def export(segmentor: EncoderDecoder, shape: tuple[int, int], path: Path) -> None:
    """Write the segmentor, on the CPU, as ONNX for images of one shape (H, W)."""
    with quiet(), torch.no_grad():
        program: Any = torch.onnx.export(
            PlainNetwork(segmentor).eval(),
            (torch.zeros(1, *shape, 3, dtype=torch.uint8),),
            dynamo=True,
            input_names=['images'],
            output_names=['labels'],
            verbose=False,
        )
        program.save(path)


@kept_signal_stack()
def quantize(path: Path, images: Sequence[np.ndarray], target: Path) -> None:
    """Write an OpenVINO file in int8 from the ONNX file, calibrated on images (H, W, 3)."""
    import nncf
    import openvino

    model = openvino.Core().read_model(path)
    data = nncf.Dataset([image[None] for image in images])
    with quiet():
        model = nncf.quantize(model, data, subset_size=len(images))
    save(model, target, compress_to_fp16=False)


def run_onnxruntime(path: Path, precision: str) -> Callable[[np.ndarray], np.ndarray]:
    """(H, W, 3) uint8 -> labels (H, W) uint8."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return lambda image: session.run(None, {'images': image[None]})[0][0]


@kept_signal_stack()
def run_openvino(path: Path, precision: str) -> Callable[[np.ndarray], np.ndarray]:
    """(H, W, 3) uint8 -> labels (H, W) uint8."""
    import openvino

    options = {'INFERENCE_PRECISION_HINT': HINTS[precision]} if precision in HINTS else {}
    model = openvino.Core().compile_model(path, 'CPU', options)
    return lambda image: model(image[None])[0][0]


RUN = {'plain-onnxruntime': run_onnxruntime, 'plain-openvino': run_openvino}
