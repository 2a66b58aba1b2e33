"""Two images in an exported file, with the labels that PyTorch gives them: what ``mmseg-bisenet verify`` replays.

A file that is right where it was written can be wrong on another machine, with another runtime, driver or version. The
images and labels travel in the file's metadata, so the check needs neither PyTorch nor data there. An image is stored
as a thumbnail and enlarged by OpenCV's bit-exact interpolation, its labels at full size; both as PNG.

This replays the gate of the export (:mod:`~.verify`): the same share of the labels must be right, and ties count as
right. Deviation: the export knows which classes are tied at a pixel, the file only that some are.
"""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmseg_bisenet.deploy.loading import load
from mmseg_bisenet.deploy.metadata import read
from mmseg_bisenet.deploy.predictor import Predictor
from mmseg_bisenet.errors import InputError

# Share of the labels that must be right.
NEEDED = dict(fp32=0.9999, bf16=0.99, fp16=0.99, int8=0.98)
TIED = 2**16 - 1  # in stored labels: a pixel where the largest logits are nearly equal
LONGEST = 256  # pixels of the longer side of a thumbnail
ROUNDS = 10  # that each image is timed


@dataclass(frozen=True)
class Verified:
    """What :func:`verify` found.

    Args:
        right: share of the labels that are those of PyTorch in fp32; ties count as right.
        ties: share of the pixels.
        needed: share that must be right.
        milliseconds: an image, from pixels to labels; median.
    """

    segment: Predictor
    right: float
    ties: float
    needed: float
    milliseconds: float


def verify(path: str | Path, device: str | None = None, threads: int | None = None) -> Verified:
    """Run a file on its reference images in the runtime that :func:`mmseg_bisenet.deploy.load` opens it with.

    Args:
        device: by default the one that the file is for.
        threads: as in ``load``.

    Raises:
        InputError: the file has no references, or does not load.
    """
    exported = read(path)
    if not exported.references:
        raise InputError(f'exported file {path} has no reference images: an earlier version wrote it; export it again')
    device = device or exported.metadata.get('device', exported.backend.devices[0])
    segment = load(path, device=device, threads=threads)
    right, ties, times = [], [], []
    for reference in exported.references:
        try:
            image, wanted = enlarged(_decoded(reference['image']), segment.shape), _decoded(reference['labels'])
            if image.shape != (*segment.shape, 3) or wanted.shape != segment.shape:
                raise ValueError('of another shape')
        except ValueError as error:
            raise InputError(
                f'exported file {path} has reference images that are damaged ({error}); export it again'
            ) from error
        for _ in range(ROUNDS):
            start = time.perf_counter()
            labels = segment(image)
            times.append(1000 * (time.perf_counter() - start))
        ties.append(wanted == TIED)
        right.append((labels == wanted) | (wanted == TIED))
    needed = NEEDED[segment.precision]
    return Verified(segment, float(np.mean(right)), float(np.mean(ties)), needed, float(np.median(times)))


def thumbnail(image: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) at a size that is stored."""
    scale = min(1, LONGEST / max(image.shape))
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def enlarged(thumbnail: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The image of a thumbnail, the same on every machine, (*shape, 3)."""
    return cv2.resize(thumbnail, tuple(shape)[::-1], interpolation=cv2.INTER_LINEAR_EXACT)


def encoded(thumbnail: np.ndarray, labels: np.ndarray) -> dict[str, str]:
    """A reference as the metadata hold it; ``labels``: (H, W) uint16."""
    return dict(image=_png(thumbnail), labels=_png(labels))


def _png(array: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode('.png', array)[1].tobytes()).decode()


def _decoded(text: str) -> Any:
    """(H, W, 3) uint8 or (H, W) uint16.

    Raises:
        ValueError: the text holds no image.
    """
    try:
        array = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError('empty') from error
    if array is None:
        raise ValueError('no PNG')
    return array
