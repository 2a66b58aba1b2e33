"""Whether a runtime computes what the network does in PyTorch, in float32 without TF32, and in eager mode.

Labels are compared pixel by pixel. If the network's logits of two classes are nearly equal, rounding decides between
them, and both count as right. Nearly equal means a difference below ``TIE`` times the standard deviation of the pixel's
logits. With random weights nearly every pixel is such a tie, with trained weights hardly any.

Examples at 256x512: V2 trained on drawn streets keeps 100 % of its labels in float32, 99.92 % in bf16, and 99.4 % in
int8 (99.99 % except for ties). V2 with random weights keeps 91 % in bf16 (99.7 % except for ties).
"""

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mmseg_bisenet.deploy.backends.base import SMALLEST
from mmseg_bisenet.deploy.graph import bilinear
from mmseg_bisenet.deploy.network import DeployNetwork
from mmseg_bisenet.deploy.precision import tf32
from mmseg_bisenet.deploy.references import NEEDED, TIED, encoded, enlarged, thumbnail
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes.scene import draw_scene

logger = logging.getLogger(__name__)

# What is a tie, in standard deviations of a pixel's logits.
TIE = dict(fp32=0.001, bf16=0.3, fp16=0.3, int8=0.3)
ROWS = 64  # of logits of full size at a time


def require(
    run: Callable[[np.ndarray], np.ndarray],
    network: DeployNetwork,
    images: Sequence[np.ndarray],
    metadata: dict,
    name: str,
    fix: str,
) -> None:
    """Compare as :func:`compare` does, and log how many labels are equal.

    Args:
        images: batches (N, H, W, 3); see :func:`batches`.
        name: of what is verified, for the error.
        fix: what to do if it fails, for the error.

    Raises:
        InputError: fewer labels are right than ``NEEDED``.
    """
    equal, right = compare(run, network, images, metadata)
    needed = NEEDED[metadata['precision']]
    if right < needed:
        raise InputError(
            f'{name}: {right:.2%} of the labels are those of PyTorch in fp32, and {needed:.2%} are needed; {fix}'
        )
    logger.info('%.3f%% of the labels equal those of PyTorch in fp32, %.3f%% except for ties', 100 * equal, 100 * right)


def batches(images: Sequence[np.ndarray], shape: tuple[int, int], dynamic: bool = False) -> list[np.ndarray]:
    """Two images to compare labels of; if shapes are free, also both as one batch, and a smaller batch.

    Args:
        images: (H, W, 3) of ``shape``, whose first and last are taken; streets are drawn if there are none.
    """
    height, width = shape
    both = np.stack([images[0], images[-1]] if images else [draw_scene(seed, shape)[0] for seed in (0, 1)])
    if not dynamic:
        return [both[:1], both[1:]]
    return [both[:1], both, both[:, : max(SMALLEST, height - 13), : max(SMALLEST, width - 27)].copy()]


@tf32(False)
@torch.inference_mode()
def compare(
    run: Callable[[np.ndarray], np.ndarray], network: DeployNetwork, images: Sequence[np.ndarray], metadata: dict
) -> tuple[float, float]:
    """Share of the labels that are equal, and share that are equal except for ties.

    Args:
        run: what is verified: images (N, H, W, 3) -> labels (N, H, W), or logits (N, num_classes, h, w), as
            ``metadata['output_kind']`` says.
        network: in float32.
        images: batches (N, H, W, 3) uint8.
        metadata: ``output_kind`` and ``precision``.
    """
    equal, right, total = 0, 0, 0
    for batch in images:
        logits = network(torch.from_numpy(batch).to(_device(network))).cpu()
        output = torch.from_numpy(np.ascontiguousarray(run(batch)))
        size = batch.shape[1:3]
        for i in range(len(batch)):
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


@torch.inference_mode()
def references(
    network: DeployNetwork, images: Sequence[np.ndarray], shape: tuple[int, int], precision: str
) -> list[dict[str, str]]:
    """Two images with their labels, for a file (:mod:`~.references`). The arguments are as above."""
    found = []
    for batch in batches(images, shape):
        small = thumbnail(batch[0])
        pixels = torch.from_numpy(enlarged(small, shape)[None]).to(_device(network))
        labels = np.empty(shape, np.uint16)
        for rows, wanted in _upsampled(network(pixels)[0].cpu(), shape, network.align_corners):
            best, second = wanted.topk(2, dim=0).values
            tied = best - second <= TIE[precision] * wanted.std(dim=0, correction=0)
            labels[rows] = wanted.argmax(dim=0).masked_fill(tied, TIED).numpy()
        found.append(encoded(small, labels))
    return found


def _device(network: DeployNetwork) -> torch.device:
    return next(network.parameters()).device


def _upsampled(
    logits: Tensor, size: tuple[int, int], align_corners: bool, only: slice | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Some rows at a time of logits (C, h, w) upsampled to ``size``: which rows, and (C, rows, W)."""
    rows, columns = (
        bilinear(source, target, align_corners, logits.device)
        for source, target in zip(logits.shape[1:], size, strict=True)
    )
    for part in [only] if only else (slice(start, start + ROWS) for start in range(0, size[0], ROWS)):
        yield part, rows[part] @ (logits @ columns.T)
