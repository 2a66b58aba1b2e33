"""Cars: a few profiles, extended over the width of the car and painted face by face."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mmseg_bisenet.miniscapes.canvas import Canvas
from mmseg_bisenet.miniscapes.classes import CAR
from mmseg_bisenet.miniscapes.ground import Shadows, Standing

PAINT = np.array(
    [
        (196, 198, 200), (232, 232, 230), (44, 46, 50), (96, 100, 106), (150, 34, 34), (36, 62, 116), (60, 92, 132),
        (170, 150, 116), (40, 78, 62), (204, 96, 40), (120, 126, 134), (212, 176, 60), (24, 26, 30), (92, 30, 44),
    ]
)  # fmt: skip

# Profile from the rear bumper over the roof to the front bumper: metres ahead of the rear, height, half of the width.
# Points 2 and 6 are the ends of the belt line, points 3 to 5 the roof.
SHAPES = {
    'hatch': (
        (0.05, 0.26, 0.8), (0.0, 0.62, 0.84), (0.1, 0.95, 0.83), (0.55, 1.43, 0.62), (1.5, 1.5, 0.63),
        (2.15, 1.45, 0.62), (3.0, 0.98, 0.8), (3.75, 0.82, 0.78), (3.98, 0.6, 0.82), (3.95, 0.24, 0.78),
    ),
    'sedan': (
        (0.06, 0.27, 0.82), (0.0, 0.62, 0.86), (0.85, 1.0, 0.85), (1.5, 1.38, 0.62), (2.1, 1.45, 0.63),
        (2.75, 1.4, 0.62), (3.55, 0.96, 0.82), (4.4, 0.8, 0.8), (4.62, 0.58, 0.84), (4.58, 0.24, 0.8),
    ),
    'estate': (
        (0.06, 0.27, 0.82), (0.0, 0.66, 0.86), (0.06, 0.98, 0.85), (0.4, 1.46, 0.64), (1.8, 1.54, 0.65),
        (2.8, 1.46, 0.63), (3.55, 0.98, 0.82), (4.4, 0.84, 0.8), (4.62, 0.6, 0.84), (4.58, 0.24, 0.8),
    ),
    'suv': (
        (0.06, 0.34, 0.88), (0.0, 0.74, 0.92), (0.08, 1.12, 0.91), (0.45, 1.66, 0.7), (1.7, 1.74, 0.71),
        (2.55, 1.68, 0.7), (3.3, 1.14, 0.88), (4.15, 1.02, 0.86), (4.42, 0.74, 0.9), (4.38, 0.32, 0.87),
    ),
    'van': (
        (0.05, 0.3, 0.88), (0.0, 0.72, 0.92), (0.03, 1.08, 0.92), (0.2, 1.86, 0.78), (1.9, 1.94, 0.79),
        (3.3, 1.84, 0.76), (4.1, 1.12, 0.88), (4.6, 0.96, 0.86), (4.78, 0.66, 0.9), (4.74, 0.28, 0.87),
    ),
}  # fmt: skip
GLASS = np.array([54, 62, 72])
RUBBER = np.array([30, 30, 32])


@dataclass
class Car(Standing):
    """A parked or moving car; ``t``, ``z`` is the middle of its base."""

    ahead: tuple[float, float]  # unit vector (t, z) from its rear to its front
    shape: str
    colour: np.ndarray  # RGB
    bright: bool = False  # the lights are on

    def __post_init__(self) -> None:
        east, north = self.ahead
        self.length = SHAPES[self.shape][-2][0]  # metres
        self.turn = np.array([(east, 0, north), (0, 1, 0), (north, 0, -east)])
        self.rear = np.array([self.t - self.length / 2 * east, 0, self.z - self.length / 2 * north])

    def outline(self) -> np.ndarray:
        """The corners of its base (4, 2)."""
        wide = SHAPES[self.shape][1][2]
        return self._ground([(0.1, -wide), (0.1, wide), (self.length - 0.1, wide), (self.length - 0.1, -wide)])

    def cast(self, shadows: Shadows) -> None:
        """Cast the shadows of body and cabin, and darken the ground under the car."""
        shape = SHAPES[self.shape]
        shadows.cast(self.outline(), 0.2, shape[6][1])
        cabin = [(shape[3][0], -0.62), (shape[3][0], 0.62), (shape[5][0], 0.62), (shape[5][0], -0.62)]
        shadows.cast(self._ground(cabin), 0.9, shape[4][1])
        shadows.dim(self.outline())

    def _ground(self, points: list[tuple[float, float]]) -> np.ndarray:
        return self._world([(along, 0, right) for along, right in points])[:, [0, 2]]

    def _world(self, points: ArrayLike) -> np.ndarray:
        """Convert points (..., 3), ahead, above and right of the rear, to world points."""
        return np.asarray(points, np.float64) @ self.turn + self.rear

    def paint(self, canvas: Canvas, shadows: Shadows) -> None:
        """Paint the wheels, then the visible faces from far to near."""
        camera = canvas.camera
        lit = shadows.lit(self.t + 0.3, self.z)
        brush = canvas.brush(CAR, self.z, 0.25 + 0.75 * lit)
        rings = np.array(SHAPES[self.shape])
        eye = np.array([camera.side - camera.bend / 2 * self.z**2, camera.eye, 0])

        def seen(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            """For faces (F, N, 3), return which are visible, their normals and their distances."""
            world = self._world(faces)
            normals = np.cross(world[:, -1] - world[:, 0], world[:, 1] - world[:, 0])
            normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
            away = eye - world.mean(1)
            return (normals * away).sum(1) > 0, normals, np.linalg.norm(away, axis=1)

        def face(points: ArrayLike, colour: np.ndarray, normal: np.ndarray, gain: float = 1.0) -> None:
            brush.fill(self._world(points), colour, normal=normal, gain=gain)

        def strip(i: int, low: float, high: float, left: float, right: float) -> np.ndarray:
            """A part of the face between rings i and i + 1, given as shares of its length and half width."""
            a, b = rings[i] + (rings[i + 1] - rings[i]) * low, rings[i] + (rings[i + 1] - rings[i]) * high
            return np.array(
                [(*a[:2], a[2] * left), (*a[:2], a[2] * right), (*b[:2], b[2] * right), (*b[:2], b[2] * left)]
            )

        wide = rings[1, 2]
        radius = 0.3 + 0.05 * (rings[4, 1] > 1.6)
        axles = (0.78, self.length - 0.82)
        visible, normals, distances = seen(np.array([strip(i, 0, 1, -1, 1) for i in range(9)]))
        end = 0.35 if visible[1] else self.length - 0.35
        for side in (-1, 1):
            inner, outer = side * (wide - 0.27), side * (wide - 0.04)
            face(
                [(end, 0, inner), (end, 0, outer), (end, 0.5, outer), (end, 0.5, inner)], RUBBER, np.array([0, 0, -0.5])
            )
        face(
            [(end, 0.2, -wide + 0.1), (end, 0.2, wide - 0.1), (end, 0.5, wide - 0.1), (end, 0.5, -wide + 0.1)],
            RUBBER * 0.6,
            np.array([0, 0, -0.5]),
        )

        fine = brush.scale > 13  # pixels a metre
        for i in np.argsort(-distances):
            if visible[i]:
                self._end(int(i), strip, face, normals[i], fine)
        visible, normals, _ = seen(np.array([self._flank(rings, side) for side in (-1, 1)]))
        for place, side in enumerate((-1, 1)):
            if visible[place]:
                self._side(side, rings, face, normals[place], axles, radius, fine)

    def _end(self, i: int, strip: Callable, face: Callable, normal: np.ndarray, fine: bool) -> None:
        """Paint the face between two rings: bumper, tail, window, roof, bonnet or nose."""
        body = self.colour
        face(strip(i, 0, 1, -1, 1), body * (0.8 if i in (0, 8) else 1), normal)
        sedan = self.shape == 'sedan'
        if not fine and i not in (1, 2, 5, 7):
            return
        if i in (2, 5):
            face(strip(i, 0.08, 0.9, -0.9, 0.9), GLASS, normal, 1.25)
            face(strip(i, 0.5, 0.9, -0.88, 0.88), GLASS * 1.7, normal, 1.25)
            if i == 5:
                face(strip(i, 0.1, 0.9, -0.1, 0.04), GLASS * 2.2, normal, 1.2)
        elif i == 0:
            face(strip(0, 0, 0.45, -1, 1), RUBBER * 1.6, normal)
            if sedan:
                face(strip(0, 0.6, 0.95, -0.3, 0.3), np.array([222, 222, 214]), normal)
        elif i == 1:
            red = np.array([236, 60, 40]) if self.bright else np.array([176, 30, 28])
            low, high = (0.1, 0.36) if sedan else (0.3, 0.95)
            for left, right in ((-0.99, -0.68), (0.68, 0.99)):
                face(strip(1, low, high, left, right), red, normal, 1.5 if self.bright else 1.15)
                face(strip(1, low, low + (high - low) * 0.35, left, right), np.array([226, 150, 120]), normal)
            if not sedan:
                face(strip(1, 0.08, 0.42, -0.31, 0.31), np.array([222, 222, 214]), normal)
        elif i == 7:
            lamp = np.array([255, 250, 226]) if self.bright else np.array([206, 212, 214])
            face(strip(7, 0.25, 0.95, -0.6, 0.6), RUBBER * 1.3, normal)
            for left, right in ((-0.98, -0.64), (0.64, 0.98)):
                face(strip(7, 0.15, 0.9, left, right), lamp, normal, 1.5 if self.bright else 1.1)
        elif i == 8:
            face(strip(8, 0.5, 0.95, -0.75, 0.75), RUBBER * 1.2, normal)
            face(strip(8, 0.12, 0.42, -0.3, 0.3), np.array([222, 222, 214]), normal)

    @staticmethod
    def _flank(rings: np.ndarray, side: int) -> np.ndarray:
        """The lower half of a side, from sill to belt. Its first, second and last point define the normal."""
        points = np.array([(x, y, side * w) for x, y, w in rings[[0, 9, 8, 7, 6, 2, 1]]])
        return points if side > 0 else np.roll(points[::-1], 1, axis=0)

    def _side(
        self, side: int, rings: np.ndarray, face: Callable, normal: np.ndarray, axles: tuple, radius: float, fine: bool
    ) -> None:
        body = self.colour
        points = self._flank(rings, side)
        cabin = np.array([(x, y, side * w) for x, y, w in rings[2:7]])
        face(cabin, body, normal + np.array([0, 0.3, 0]), 1.05)
        face(points, body, normal)
        belt = side * rings[6, 2]
        shade = [(0.2, 0.3, belt), (self.length - 0.2, 0.28, belt), (self.length - 0.1, 0.5, belt), (0.1, 0.5, belt)]
        face(shade, body * 0.72, normal)
        middle = cabin.mean(0)
        glass = middle + (cabin - middle) * [0.9, 0.78, 1.0] + [0, 0.015, 0]
        face(glass, GLASS, normal, 1.2)
        split = rings[4, 0] * 0.5 + rings[5, 0] * 0.5
        tops = glass[:, 1].max(), glass[:, 1].min()
        for x in (split, split - 1.0):
            if fine and x > rings[3, 0] + 0.2:
                inner = [(x, tops[1], belt), (x + 0.1, tops[1], belt)]
                face([*inner, (x + 0.06, tops[0], glass[2, 2]), (x - 0.02, tops[0], glass[2, 2])], body * 0.8, normal)
            seam = rings[6, 1]
            face([(x, 0.36, belt), (x + 0.03, 0.36, belt), (x + 0.03, seam, belt), (x, seam, belt)], body * 0.6, normal)
            face(
                [
                    (x - 0.3, seam - 0.16, belt),
                    (x - 0.12, seam - 0.16, belt),
                    (x - 0.12, seam - 0.11, belt),
                    (x - 0.3, seam - 0.11, belt),
                ],
                body * 0.5,
                normal,
            )
        turn = np.linspace(0, 2 * np.pi, 18, endpoint=False)
        circle = np.stack([np.cos(turn), np.sin(turn)], 1)
        for x in axles:
            for size, colour in (
                (1.18, RUBBER * 0.7),
                (1.0, RUBBER),
                (0.64, np.array([150, 152, 156])),
                (0.22, np.array([70, 72, 74])),
            ):
                wheel = np.column_stack(
                    [x + circle[:, 0] * radius * size, radius + circle[:, 1] * radius * size, np.full(18, belt)]
                )
                if size > 1.1:  # the wheel arch is part of the body and ends above the ground
                    wheel[:, 1] = np.maximum(wheel[:, 1], 0.25)
                face(wheel, colour, normal)
        x = rings[6, 0] - 0.25
        out = belt + side * 0.16
        mirror = [
            (x, rings[6, 1], belt),
            (x, rings[6, 1], out),
            (x, rings[6, 1] + 0.14, out),
            (x, rings[6, 1] + 0.14, belt),
        ]
        face(mirror, body * 0.7, np.array([0, 0.2, -0.8]))
