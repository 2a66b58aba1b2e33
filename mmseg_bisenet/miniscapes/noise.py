"""Smooth tileable noise, computed once. Asphalt, clouds, plaster and leaves are samples of it."""

from functools import cache

import cv2
import numpy as np

SIZE = 512


@cache
def fractal(first: int, octaves: int) -> np.ndarray:
    """Noise (SIZE, SIZE) float32, mean 0, standard deviation 1; its coarsest spots are ``SIZE / first`` pixels wide."""
    rng = np.random.default_rng((first, octaves))
    total = np.zeros((SIZE, SIZE), np.float32)
    for octave in range(octaves):
        cells = first << octave
        grid = np.pad(rng.standard_normal((cells, cells), np.float32), 2, mode='wrap')
        step = SIZE // cells
        wide = cv2.resize(grid, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        total += wide[2 * step : 2 * step + SIZE, 2 * step : 2 * step + SIZE] * 0.62**octave
    return (total - total.mean()) / total.std()


def sample(noise: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sample the noise at points. One unit of x or y is the whole tile."""
    x, y = ((axis - np.floor(axis)).astype(np.float32) * SIZE for axis in (x, y))  # much faster than np.mod
    x, y = (np.ascontiguousarray(axis) for axis in np.broadcast_arrays(x, y))
    return cv2.remap(noise, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def crop(noise: np.ndarray, rng: np.random.Generator, part: float, shape: tuple[int, int]) -> np.ndarray:
    """Cut out a random square with a side of ``part`` of the tile, and resize it to ``shape`` (h, w)."""
    width = int(part * SIZE)
    row, column = rng.integers(0, SIZE - width + 1, 2)
    return cv2.resize(noise[row : row + width, column : column + width], shape[::-1], interpolation=cv2.INTER_LINEAR)
