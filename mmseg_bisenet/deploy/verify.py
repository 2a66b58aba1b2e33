"""Whether a file computes what the network in PyTorch does, in float32 and eager, by running it with its own runtime.

Labels are compared pixel by pixel. Where the network's logits of two classes are nearly equal, rounding decides, and
either counts as right: classes whose logits differ by less than ``TIE`` times the deviation of a pixel's logits. Maps
of random weights are nearly all such ties, of trained ones hardly. Seen at 256x512 with V2 trained on drawn streets:
float32 100% equal, bf16 99.92%, int8 99.4% and 99.99% but for ties; with random weights bf16 91%, 99.7% but for ties.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmseg_bisenet.deploy import engines
from mmseg_bisenet.deploy.graph import bilinear
from mmseg_bisenet.deploy.metadata import require
from mmseg_bisenet.deploy.network import DeployNetwork
from mmseg_bisenet.deploy.signal_stack import kept_signal_stack

# Share of the labels that must be right, and what is a tie.
NEEDED = dict(fp32=0.9999, bf16=0.99, fp16=0.99, int8=0.98)
TIE = dict(fp32=0.001, bf16=0.3, fp16=0.3, int8=0.3)
ROWS = 64  # of logits of full size at a time

Run = Callable[[np.ndarray], np.ndarray]


@torch.inference_mode()
def compare(run: Run, network: DeployNetwork, batches: list[np.ndarray], metadata: dict) -> tuple[float, float]:
    """Share of the labels that are equal, and share that are equal but for ties.

    Args:
        run: what the file does: images (N, H, W, 3) -> labels, or logits, as ``metadata`` says.
        network: in float32.
        batches: of images.
    """
    equal, right, total = 0, 0, 0
    for images in batches:
        logits = network(torch.from_numpy(images).to(_device(network))).cpu()
        output = torch.from_numpy(np.ascontiguousarray(run(images)))
        size = images.shape[1:3]
        for i in range(len(images)):
            for rows, wanted in _upsampled(logits[i], size, network.align_corners):
                if metadata['output_kind'] == 'labels':
                    labels = output[i, rows].long()
                else:
                    labels = next(_upsampled(output[i].float(), size, network.align_corners, rows))[1].argmax(0)
                best = wanted.max(dim=0)
                lost = best.values - wanted.gather(0, labels.clamp(max=len(wanted) - 1)[None])[0]
                equal += int((labels == best.indices).sum())
                tied = lost <= TIE[metadata['precision']] * wanted.std(dim=0, correction=0)
                right += int((tied & (labels < len(wanted))).sum())
                total += labels.numel()
    return equal / total, right / total


def _device(network: DeployNetwork) -> torch.device:
    return next(network.parameters()).device


def _upsampled(
    logits: Tensor, size: tuple[int, int], align_corners: bool, only: slice | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Some rows at a time of logits (C, h, w) of full size: which, and (C, rows, W)."""
    rows, columns = (
        bilinear(source, target, align_corners, logits.device)
        for source, target in zip(logits.shape[1:], size, strict=True)
    )
    for part in [only] if only else (slice(start, start + ROWS) for start in range(0, size[0], ROWS)):
        yield part, rows[part] @ (logits @ columns.T)


@kept_signal_stack()
def runner(path: Path, metadata: dict, device: torch.device) -> Run:
    """The file in its own runtime, the plain way; ``device`` is for a package of AOTInductor."""
    if metadata['format'] == 'onnx':
        (ort,) = require('onnxruntime')
        session = ort.InferenceSession(path, providers=['CPUExecutionProvider'])
        return lambda images: session.run(None, dict(images=images))[0]
    if metadata['format'] == 'openvino':
        (ov,) = require('openvino')
        # Of an int8 network it is what the layers left out compute in.
        hint = dict(bf16='bf16').get(metadata['precision'], 'f32')
        model = ov.Core().compile_model(path, 'CPU', dict(INFERENCE_PRECISION_HINT=hint))
        return lambda images: model(images)[0]
    if metadata['format'] == 'tensorrt':
        device, engine = torch.device('cuda'), engines.tensorrt(path, metadata)
    else:
        engine = engines.aot_inductor(path, device)

    def run(images: np.ndarray) -> np.ndarray:
        output = engine(torch.from_numpy(images).to(device))
        return (output.float() if output.is_floating_point() else output).cpu().numpy()

    return run
