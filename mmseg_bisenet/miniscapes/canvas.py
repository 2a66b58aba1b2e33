"""Camera, light and canvas. Only the canvas writes image and labels, and always both together.

World coordinates are metres: ``t`` to the right of the middle of the road, ``y`` upwards from the asphalt, ``z``
ahead of the camera. Colours are RGB, 0 to 255.
"""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike

Triple = np.ndarray | tuple[float, float, float]  # a colour, or a direction t, y, z

SHIFT = 4  # cv2 draws with a precision of 1/16 pixel


@dataclass(frozen=True)
class Camera:
    """A pinhole camera above the road.

    Lengths in pixels are proportional to the image height, so a scene can be drawn at any size.
    """

    size: tuple[int, int]  # pixels (H, W)
    focal: float  # pixels
    horizon: float  # pixels from the top
    centre: float  # pixels from the left: the vanishing point of a straight road
    eye: float  # metres above the asphalt
    side: float  # metres to the right of the middle of the road
    bend: float  # 1/metres, curvature of the road

    def project(self, points: ArrayLike) -> np.ndarray:
        """World points (N, 3) as t, y, z -> pixels (N, 2) as column, row."""
        points = np.asarray(points, np.float64)
        z = points[:, 2]
        scale = self.focal / z
        pixels = (points[:, :2] - (self.side, self.eye)) * scale[:, None] * (1, -1) + (self.centre, self.horizon)
        if self.bend:
            pixels[:, 0] += (self.focal * self.bend / 2) * z
        return pixels

    def ground(self, height: float) -> tuple[np.ndarray, np.ndarray]:
        """For each pixel below the horizon, its point on the plane ``y = height``: t (R, W) and z (R, 1), float32."""
        rows, columns = self.size
        v = np.arange(int(np.ceil(self.horizon)), rows, dtype=np.float32)[:, None]
        z = self.focal * (self.eye - height) / np.maximum(v + 0.5 - self.horizon, 0.1)
        u = np.arange(columns, dtype=np.float32)[None] + 0.5
        return ((u - self.centre) * (z / self.focal) + (self.side - self.bend / 2 * z * z)).astype(np.float32), z


@dataclass(frozen=True)
class Light:
    """The time of day."""

    sun: np.ndarray  # unit vector (t, y, z) towards the sun
    glow: np.ndarray  # RGB factor of direct light
    ambient: np.ndarray  # RGB factor of ambient light
    haze: np.ndarray  # RGB at a far distance
    reach: float  # metres after which 63% of a colour is haze
    zenith: np.ndarray  # RGB of the sky overhead
    clouds: float  # 0 clear to 1 overcast

    def factor(self, normal: Triple, lit: float = 1.0) -> np.ndarray:
        """The RGB factor of a surface; ``lit`` is the share of the sunlight that reaches it."""
        return self.ambient + self.glow * (lit * max(0.0, float(np.dot(normal, self.sun))))

    def on(self, picture: np.ndarray, normal: Triple, lit: float, z: float | np.ndarray) -> np.ndarray:
        """Apply light and haze to a flat picture (h, w, 3) -> uint8. ``z`` can differ between columns."""
        veil = np.asarray(self.veil(z), np.float32)[..., None]
        factor = self.factor(normal, lit).astype(np.float32) * (1 - veil)
        seen = picture * factor
        seen += self.haze.astype(np.float32) * veil
        return cv2.convertScaleAbs(seen)  # a fast clip to uint8; nothing here is negative

    def veil(self, z: float | np.ndarray) -> float | np.ndarray:
        """The share of haze in a colour seen from ``z`` metres."""
        return 1 - np.exp(-np.maximum(z - 5, 0) / self.reach)


@dataclass
class Canvas:
    """An image and its labels."""

    camera: Camera
    light: Light
    photo: np.ndarray = field(init=False)  # (H, W, 3) uint8 RGB
    labels: np.ndarray = field(init=False)  # (H, W) uint8

    def __post_init__(self) -> None:
        self.photo = np.zeros((*self.camera.size, 3), np.uint8)
        self.labels = np.zeros(self.camera.size, np.uint8)

    def area(self, top: int, photo: np.ndarray, labels: np.ndarray | int) -> None:
        """Fill whole rows from ``top`` on, for sky and ground."""
        self.photo[top : top + len(photo)] = photo
        self.labels[top : top + len(photo)] = labels

    def polygon(self, points: np.ndarray, colour: tuple[int, int, int], label: int) -> None:
        """Fill a polygon of pixels (N, 2)."""
        fixed = [_fixed(points)]
        cv2.fillPoly(self.photo, fixed, colour, cv2.LINE_AA, SHIFT)
        cv2.fillPoly(self.labels, fixed, label, cv2.LINE_8, SHIFT)

    def line(self, points: np.ndarray, colour: tuple[int, int, int], label: int, width: float) -> None:
        """Draw an open line through pixels (N, 2), ``width`` pixels wide."""
        fixed, pixels = [_fixed(points)], max(1, round(width))
        cv2.polylines(self.photo, fixed, False, colour, pixels, cv2.LINE_AA, SHIFT)
        cv2.polylines(self.labels, fixed, False, label, pixels, cv2.LINE_8, SHIFT)

    def texture(self, corners: np.ndarray, texture: np.ndarray, label: int) -> None:
        """Stretch a picture (h, w, 3) uint8 over a quadrilateral, pixels (4, 2) clockwise from its top left."""
        low = np.maximum(np.floor(corners.min(0)) - 1, 0).astype(int)
        high = np.minimum(np.ceil(corners.max(0)) + 2, self.camera.size[::-1]).astype(int)
        if (high <= low).any():
            return
        shape, corners = (high - low).tolist(), corners - low
        height, width = texture.shape[:2]
        source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - np.float32(0.5)
        warp = cv2.getPerspectiveTransform(source, (corners - 0.5).astype(np.float32))
        picture = cv2.warpPerspective(texture, warp, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        alpha = np.zeros(shape[::-1], np.uint8)
        cv2.fillConvexPoly(alpha, _fixed(corners), 255, cv2.LINE_AA, SHIFT)
        self._blend(low, picture, alpha, label)

    def sprite(
        self, middle: np.ndarray, size: np.ndarray, sprite: np.ndarray, label: int, z: float, lit: float
    ) -> None:
        """Draw leaves with alpha (h, w, 4) uint8, resized to ``size`` (w, h), around ``middle`` (2,), in pixels."""
        size = np.maximum(np.round(size), 2).astype(int)
        start = np.round(np.asarray(middle) - size / 2).astype(int)
        low, high = np.maximum(start, 0), np.minimum(start + size, self.camera.size[::-1])
        if (high <= low).any():
            return
        sprite = cv2.resize(sprite, size.tolist(), interpolation=cv2.INTER_AREA)
        (left, top), (right, bottom) = low - start, high - start
        sprite = sprite[top:bottom, left:right]
        self._blend(low, self.light.on(sprite[..., :3], (0, 0.8, -0.5), lit, z), sprite[..., 3], label)

    def _blend(self, corner: np.ndarray, picture: np.ndarray, alpha: np.ndarray, label: int) -> None:
        height, width = alpha.shape
        part = np.s_[corner[1] : corner[1] + height, corner[0] : corner[0] + width]
        weight = alpha.astype(np.float32) / 255
        self.photo[part] = cv2.blendLinear(np.ascontiguousarray(picture), self.photo[part].copy(), weight, 1 - weight)
        self.labels[part][alpha > 127] = label

    def brush(self, label: int, z: float, lit: float = 1.0) -> 'Brush':
        """Return a brush for an object ``z`` metres away; ``lit`` is the share of the sunlight that reaches it."""
        return Brush(self, label, z, lit)


@dataclass
class Brush:
    """Draws one object. Its label, light and haze are constant."""

    canvas: Canvas
    label: int
    z: float
    lit: float

    def __post_init__(self) -> None:
        self.camera = self.canvas.camera
        self.scale = self.camera.focal / self.z  # pixels a metre
        light = self.canvas.light
        veil = float(light.veil(self.z))
        # Plain floats: for thousands of small polygons, NumPy calls would take longer than drawing.
        self.sun = tuple(light.sun.tolist())
        self.ambient = tuple((light.ambient * (1 - veil)).tolist())
        self.glow = tuple((light.glow * (self.lit * (1 - veil))).tolist())
        self.haze = tuple((light.haze * veil).tolist())

    def tone(
        self,
        colour: Triple,
        normal: Triple = (0.0, 0.5, -0.6),
        gain: float = 1.0,
    ) -> tuple[int, int, int]:
        """A colour after light and haze, as the camera sees it."""
        east, up, north = map(float, normal)
        slope = gain * max(0.0, east * self.sun[0] + up * self.sun[1] + north * self.sun[2])
        red, green, blue = map(float, colour)
        ambient, glow, haze = self.ambient, self.glow, self.haze
        return (
            min(255, int(red * (ambient[0] * gain + glow[0] * slope) + haze[0])),
            min(255, int(green * (ambient[1] * gain + glow[1] * slope) + haze[1])),
            min(255, int(blue * (ambient[2] * gain + glow[2] * slope) + haze[2])),
        )

    def fill(self, points: ArrayLike, colour: Triple, **tone: Any) -> None:
        """Fill a polygon of world points (N, 3)."""
        self.canvas.polygon(self.camera.project(points), self.tone(colour, **tone), self.label)

    def stroke(self, points: ArrayLike, colour: Triple, width: float, **tone: Any) -> None:
        """Draw a line through world points (N, 3), ``width`` metres wide."""
        self.canvas.line(self.camera.project(points), self.tone(colour, **tone), self.label, width * self.scale)


def _fixed(points: np.ndarray) -> np.ndarray:
    """Convert pixels, with the origin at a pixel's corner, to cv2's fixed point, with the origin at its middle."""
    return np.rint(np.asarray(points) * (1 << SHIFT) - (1 << SHIFT) / 2).astype(np.int32)
