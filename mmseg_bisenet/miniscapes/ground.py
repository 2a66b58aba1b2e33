"""The ground and the sky: asphalt, lane markings, kerbs, paving, shadows, clouds."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from mmseg_bisenet.miniscapes.canvas import Camera, Canvas, Light
from mmseg_bisenet.miniscapes.classes import ROAD, SIDEWALK, SKY
from mmseg_bisenet.miniscapes.noise import fractal, sample

KERB = 0.13  # metres
PAINT, KERBSTONE = np.array((228, 226, 218)), np.array((176, 173, 167))  # RGB


@dataclass(frozen=True)
class Street:
    """The layout of a street, in metres. The middle line is at t = 0, the camera at z = 0."""

    lane: float  # width of one of the two lanes
    left: float  # t of the left kerb, negative
    right: float  # t of the right kerb
    left_line: float  # t of the houses on the left, negative
    right_line: float  # t of the houses on the right
    crossing: tuple[float, float] | None  # z from kerb to kerb of a street that crosses
    zebra: float | None  # z of the near edge of a pedestrian crossing, 3 m deep
    asphalt: np.ndarray  # RGB
    paving: np.ndarray  # RGB
    slab: tuple[float, float]  # size of a paving slab


class Shadows:
    """Two maps of the ground seen from above: the shadows of the sun, and the dark spots under objects."""

    CELL = 0.08  # metres
    REACH = (-26.0, 26.0, 100.0)  # metres: t from, t to, z to

    def __init__(self, light: Light) -> None:
        left, right, far = self.REACH
        shape = round(far / self.CELL), round((right - left) / self.CELL)
        self.sun: np.ndarray = np.full(shape, 255, np.uint8)
        self.gloom: np.ndarray = np.full(shape, 255, np.uint8)
        up = max(float(light.sun[1]), 0.2)
        self.slant = -np.array([light.sun[0], light.sun[2]]) / up  # metres of shadow per metre of height

    def cast(self, outline: ArrayLike, bottom: float, top: float) -> None:
        """Draw the shadow of a prism between two heights. ``outline`` (N, 2) is its base, points t, z."""
        base = np.asarray(outline, np.float64)
        points = np.concatenate([base + self.slant * bottom, base + self.slant * top])
        cv2.fillConvexPoly(self.sun, cv2.convexHull(self._cells(points)), 0)

    def dim(self, outline: ArrayLike) -> None:
        """Darken the ground under an object with the base ``outline`` (N, 2)."""
        cv2.fillConvexPoly(self.gloom, cv2.convexHull(self._cells(np.asarray(outline, np.float64))), 0)

    def _cells(self, points: np.ndarray) -> np.ndarray:
        return np.round((points - [self.REACH[0], 0]) / self.CELL).clip(-20000, 20000).astype(np.int32)

    def finish(self) -> None:
        """Soften the edges, after all shadows are drawn."""
        self.sun = cv2.blur(cv2.blur(self.sun, (3, 3)), (5, 5))
        self.gloom = cv2.blur(cv2.blur(self.gloom, (7, 7)), (7, 7))

    def lit(self, t: float, z: float) -> float:
        """The share of the sunlight, 0 to 1, that reaches a point of the ground."""
        column, row = (np.array([t - self.REACH[0], z]) / self.CELL).astype(int)
        row, column = np.clip(row, 0, len(self.sun) - 1), np.clip(column, 0, self.sun.shape[1] - 1)
        return float(self.sun[row, column]) / 255

    def over(self, t: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The share of sunlight and of ambient light, 0 to 1, at points of the ground."""
        x = ((t - self.REACH[0]) / self.CELL).astype(np.float32)
        y = np.ascontiguousarray(np.broadcast_to(z / self.CELL, t.shape).astype(np.float32))
        x, y = x.clip(0, self.sun.shape[1] - 1), y.clip(0, len(self.sun) - 1)
        both = cv2.remap(cv2.merge([self.sun, self.gloom]), x, y, cv2.INTER_LINEAR)
        return both[..., 0] * np.float32(1 / 255), both[..., 1] * np.float32(1 / 255)


@dataclass
class Standing:
    """An object at one point of the ground."""

    t: float  # metres
    z: float  # metres

    @property
    def order(self) -> float:
        """Objects are painted from the largest ``order`` to the smallest, that is, from far to near."""
        return self.z


def paint_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint a gradient from the horizon to the zenith, clouds in perspective, and the glow around the sun."""
    camera, light = canvas.camera, canvas.light
    rows = int(np.ceil(camera.horizon))
    columns = camera.size[1]
    up = ((camera.horizon - np.arange(rows, dtype=np.float32)) / camera.focal)[:, None]
    across = ((np.arange(columns, dtype=np.float32) - camera.centre) / camera.focal)[None]
    height = np.clip(up / 0.42, 0, 1) ** 0.7
    sky = light.haze * (1 - height[..., None]) + light.zenith * height[..., None]
    distance = 0.16 / (up + 0.09)
    thick = sample(fractal(4, 7), rng.random() + across * distance * 0.9, rng.random() + distance)
    cover = np.clip((thick + 2.4 * light.clouds - 1.2) * 0.9, 0, 1) * np.clip(up / 0.05, 0, 1)
    bulge = np.clip(0.86 + 0.1 * thick, 0.7, 1.05)[..., None]
    white = light.haze * 0.25 + np.array([250, 248, 245]) * 0.75 * (0.75 + 0.25 * light.ambient.max())
    alpha = (cover * 0.9)[..., None].astype(np.float32)
    sky = (sky * (1 - alpha) + (white * bulge) * alpha).astype(np.float32)
    if light.sun[2] > 0.2:
        where = light.sun[[0, 1]] / light.sun[2]
        near = np.exp(-((across - where[0]) ** 2 + (up - where[1]) ** 2) / 0.09)
        sky += near[..., None] * light.glow.astype(np.float32) * 110
    canvas.area(0, np.clip(sky, 0, 255).astype(np.uint8), SKY)


def paint_ground(canvas: Canvas, street: Street, shadows: Shadows, rng: np.random.Generator) -> None:
    """Paint road and pavements. Each pixel below the horizon is projected onto the ground."""
    camera, light = canvas.camera, canvas.light
    low_t, low_z = camera.ground(0)
    high_t, high_z = camera.ground(KERB)
    pavement = _raised(street, high_t, high_z)
    face = _raised(street, low_t, low_z) & ~pavement
    asphalt, paint = _asphalt(camera, street, low_t, low_z, rng)
    slabs, stone = _slabs(camera, street, high_t, high_z, rng)
    stone[face], slabs[face] = 0.7, 0.0
    raised = pavement | face
    asphalt[raised], paint[raised], slabs[~raised], stone[~raised] = 0, 0, 0, 0
    colour = _mix((asphalt, paint, slabs, stone), (street.asphalt, PAINT, street.paving, KERBSTONE))
    sun, openness = shadows.over(np.where(raised, high_t, low_t), np.where(raised, high_z, low_z))
    up = light.factor((0, 1, 0), 1) - light.ambient
    seen = colour * _mix((0.55 + 0.45 * openness, sun * (0.3 + 0.7 * openness)), (light.ambient, up))
    veil = np.asarray(light.veil(low_z), np.float32)[..., None]
    seen *= 1 - veil
    seen += light.haze.astype(np.float32) * veil
    labels = np.where(raised, np.uint8(SIDEWALK), np.uint8(ROAD))
    canvas.area(camera.size[0] - len(labels), cv2.convertScaleAbs(seen), labels)


def _mix(shares: tuple[np.ndarray, ...], colours: tuple[np.ndarray, ...]) -> np.ndarray:
    """The sum of the colours, weighted by their shares (R, W) -> (R, W, 3) float32."""
    return cv2.transform(cv2.merge(shares), np.stack(colours, 1).astype(np.float32))


def _raised(street: Street, t: np.ndarray, z: np.ndarray) -> np.ndarray:
    raised = (t < street.left) | (t > street.right)
    if street.crossing:
        raised &= (z < street.crossing[0]) | (z > street.crossing[1])
    return raised


def _band(distance: np.ndarray, half: float, pixel: np.ndarray) -> np.ndarray:
    """The share of each pixel that a stripe covers; ``pixel`` is the size of a pixel in metres."""
    return np.clip((half - np.abs(distance)) / np.maximum(pixel, 1e-3) + 0.5, 0, 1) * np.minimum(2 * half / pixel, 1)


def _asphalt(
    camera: Camera, street: Street, t: np.ndarray, z: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The shares of asphalt and of paint at each pixel, (R, W) float32."""
    across, along = z / camera.focal, z * z / (camera.focal * camera.eye)  # size of a pixel in metres
    near = np.minimum(1, 0.04 / along)
    x, y = rng.random(2)
    grain = sample(fractal(64, 3), x + t / 2.5, y + z / 2.5) * (near * 5)
    spots = sample(fractal(2, 6), x + t / 17, y + z / 29) * 4
    tracks = np.abs(np.abs(np.abs(t) - street.lane / 2) - 0.75)  # metres from the tyre tracks
    grey = 1 + (grain + spots - np.maximum(5 - tracks * 12, 0)) / 100
    for _ in range(int(rng.integers(0, 4))):  # repaired patches of the road
        middle, depth, width = rng.uniform(4, 40), rng.uniform(1, 6), rng.uniform(0.5, 1.6)
        centre, shade = rng.uniform(street.left, street.right), rng.uniform(0.82, 1.1)
        grey = grey * (1 + (shade - 1) * _band(t - centre, width, across) * _band(z - middle, depth, along))

    paint = np.zeros_like(t)
    free = np.ones_like(z)
    if street.crossing:
        start, stop = street.crossing
        free = 1 - np.clip((z - start + 4.5) / along, 0, 1) * np.clip((stop + 4.5 - z) / along, 0, 1)
    dash = _band(np.mod(z + rng.uniform(0, 9), 9) - 4.5, 2, along)
    solid = rng.random() < 0.25
    paint += _band(t, 0.075, across) * free * (1 if solid else dash)
    for kerb in (street.left, street.right):
        if abs(kerb) > street.lane + 1.5:  # a lane to park in
            border = math.copysign(street.lane + 0.1, kerb)
            paint += _band(t - border, 0.06, across) * free * _band(np.mod(z, 2) - 1, 0.5, along)
    if street.zebra is not None:
        inside = _band(z - street.zebra - 1.5, 1.5, along)
        stripe = _band(np.mod(t - street.left, 1.0) - 0.5, 0.25, across)
        limits = np.clip((t - street.left - 0.2) / across, 0, 1) * np.clip((street.right - 0.2 - t) / across, 0, 1)
        paint = paint * (1 - inside) + inside * stripe * limits
        paint += _band(z - street.zebra + 1.2, 0.2, along) * _band(t - street.lane / 2, street.lane / 2 - 0.2, across)
    paint = np.clip(paint, 0, 1) * np.clip(0.78 + 0.03 * spots + 0.02 * grain, 0.3, 0.95)  # worn
    edge = np.minimum(np.abs(t - street.left), np.abs(t - street.right))
    gutter = _band(edge - 0.15, 0.15, across) * (free * np.float32(0.6))
    return grey * (1 - paint) * (1 - gutter) + 1.18 * gutter, paint * (1 - gutter)


def _slabs(
    camera: Camera, street: Street, t: np.ndarray, z: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The shares of paving and of kerbstone at each pixel, (R, W) float32."""
    across, along = z / camera.focal, z * z / (camera.focal * camera.eye)
    wide, deep = street.slab
    column = np.floor(t / wide).astype(np.int32)
    shift = (column & 1) * np.float32(0.5)  # slabs are laid in bond
    row = np.floor(z / deep + shift).astype(np.int32)
    tones = rng.standard_normal((64, 64)).astype(np.float32)
    near = np.minimum(1, deep / 3 / along)
    tone = tones[row & 63, column & 63] * near * 0.05
    x, y = rng.random(2)
    tone += sample(fractal(2, 6), x + t / 11, y + z / 17) * 0.035
    joint = np.abs(t / wide - column - 0.5) * wide > wide / 2 - 0.01 - across / 4
    joint |= np.abs(z / deep + shift - row - 0.5) * deep > deep / 2 - 0.01 - along / 4
    tone -= joint * (near * np.float32(0.12))
    stone = np.minimum(np.abs(t - street.left), np.abs(t - street.right)) < 0.16
    return np.where(stone, 0, 1 + tone), np.where(stone, 1 + tone, 0)
