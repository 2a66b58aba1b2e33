"""Drawn images, and videos that are written by PyAV."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8, of smooth colours."""
    return cv2.resize(np.random.RandomState(seed).randint(0, 256, (4, 8, 3), np.uint8), (width, height))


def write_video(
    path: Path, frames: list[np.ndarray], rate: int = 10, pixel_aspect: Fraction | None = None, angle: int = 0
) -> Path:
    """Frames (H, W, 3) BGR of even sides, nearly without loss."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=rate, options=dict(crf='1', preset='ultrafast'))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = 'yuv420p'
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if angle:
            stream.set_display_rotation(angle)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='bgr24')))
        container.mux(stream.encode())
    return path


def greys(count: int) -> list[np.ndarray]:
    """Frames that differ in brightness only, 10 steps from one to the next."""
    return [np.full((64, 96, 3), 10 + 10 * number, np.uint8) for number in range(count)]
