"""Street lamps, traffic signs, bollards, and litter bins, which are void."""

from dataclasses import dataclass

import numpy as np

from mmseg_bisenet.miniscapes.canvas import Brush, Canvas
from mmseg_bisenet.miniscapes.classes import POLE, SIGN, VOID
from mmseg_bisenet.miniscapes.ground import KERB, Shadows, Standing

TURN = np.arange(24) * np.pi / 12
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], 1)
OCTAGON = np.stack([np.cos(TURN[::3] + np.pi / 8), np.sin(TURN[::3] + np.pi / 8)], 1)
SQUARE = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.85
TRIANGLE = np.array([(-1, -0.75), (1, -0.75), (0, 1)])
RED, WHITE, BLUE, YELLOW, BLACK = (
    np.array(colour) for colour in ((200, 30, 36), (240, 240, 236), (24, 82, 172), (244, 196, 28), (26, 26, 28))
)

# Layers from back to front: (outline, colour, size in half widths of the plate).
SIGNS = {
    'limit': (
        (CIRCLE, RED, 1.0),
        (CIRCLE, WHITE, 0.74),
        (SQUARE * [0.5, 1] + [-0.5, 0], BLACK, 0.4),
        (SQUARE * [0.5, 1] + [0.6, 0], BLACK, 0.4),
    ),
    'closed': ((CIRCLE, RED, 1.0), (SQUARE * [1.0, 0.28], WHITE, 0.75)),
    'stop': ((OCTAGON, RED, 1.05), (SQUARE * [1, 0.35], WHITE, 0.75)),
    'yield': ((TRIANGLE * [1, -1], RED, 1.15), (TRIANGLE * [1, -1], WHITE, 0.66)),
    'danger': ((TRIANGLE, RED, 1.15), (TRIANGLE, WHITE, 0.7), (SQUARE * [0.25, 1] + [0, -0.1], BLACK, 0.4)),
    'priority': (
        (SQUARE @ [[0.75, 0.75], [-0.75, 0.75]], WHITE, 1.1),
        (SQUARE @ [[0.75, 0.75], [-0.75, 0.75]], YELLOW, 0.86),
    ),
    'parking': (
        (SQUARE, BLUE, 1.05),
        (SQUARE * [0.25, 1] + [-0.4, 0], WHITE, 0.6),
        (CIRCLE + np.array([0.2, 0.5]), WHITE, 0.38),
        (CIRCLE + np.array([0.4, 1]), BLUE, 0.18),
    ),
    'crossing': ((SQUARE, BLUE, 1.05), (TRIANGLE, WHITE, 0.74), (SQUARE * [0.3, 1] + [0, -0.1], BLACK, 0.36)),
    'right': (
        (CIRCLE, BLUE, 1.0),
        (SQUARE * [1.0, 0.25], WHITE, 0.6),
        (TRIANGLE @ [[0, 1], [1, 0]] + [1.2, 0], WHITE, 0.4),
    ),
    'halt': ((CIRCLE, RED, 1.0), (CIRCLE, BLUE, 0.78), (SQUARE @ [[0.8, 0.8], [-0.12, 0.12]], RED, 0.9)),
    'way': (
        (SQUARE * [2.0, 0.62], WHITE, 1.0),
        (SQUARE * [2.0, 0.62], YELLOW, 0.93),
        (SQUARE * [1.6, 0.1], BLACK, 0.8),
        (TRIANGLE @ [[0, 1], [1, 0]] + [3.6, 0], BLACK, 0.35),
    ),
}

GAP = 2.3  # distance between plates, in half widths


def _upright(brush: Brush, t: float, z: float, low: float, high: float, width: float, colour: np.ndarray) -> None:
    """Paint a round post with a lighter edge towards the sun."""
    half = width / 2
    brush.fill([(t - half, low, z), (t + half, low, z), (t + half, high, z), (t - half, high, z)], colour, gain=0.8)
    if width * brush.scale > 2.5:
        shine = np.sign(brush.canvas.light.sun[0]) * half * 0.35
        edge = half * 0.4
        points = [(t + shine + x * edge, y, z) for x, y in ((-1, low), (1, low), (1, high), (-1, high))]
        brush.fill(points, colour, gain=1.2)


@dataclass
class Lamp(Standing):
    """A street lamp with an arm over the road."""

    height: float  # metres
    arm: float  # metres to the right, negative to the left
    colour: np.ndarray

    def cast(self, shadows: Shadows) -> None:
        """Cast a line."""
        shadows.cast(np.array([self.t, self.z]) + CIRCLE * 0.09, 0, self.height)
        shadows.dim(np.array([self.t, self.z]) + CIRCLE * 0.2)

    def paint(self, canvas: Canvas, shadows: Shadows) -> None:
        """Paint foot, mast, arm and head."""
        brush = canvas.brush(POLE, self.z, 0.3 + 0.7 * shadows.lit(self.t, self.z))
        _upright(brush, self.t, self.z, KERB, 1.2, 0.27, self.colour)
        _upright(brush, self.t, self.z, 1.2, self.height, 0.17, self.colour)
        share = np.linspace(0, 1, 8)
        bow = np.stack(
            [self.t + self.arm * share, self.height + 0.5 * np.sin(share * np.pi / 2), np.full(8, self.z)], 1
        )
        brush.stroke(bow, self.colour, 0.11)
        tip = bow[-1]
        head = [(0, 0.06), (0.7, 0.02), (0.7, -0.1), (0, -0.14)]
        brush.fill([(tip[0] + np.sign(self.arm) * x, tip[1] + y, self.z) for x, y in head], self.colour * 0.9)


@dataclass
class Sign(Standing):
    """One or two traffic signs on a post."""

    kinds: tuple[str, ...]  # from the top
    half: float  # metres, half of the width of a plate
    low: float  # metres, the lower edge of the lowest plate

    def cast(self, shadows: Shadows) -> None:
        """Cast the shadows of post and plates."""
        here = np.array([self.t, self.z])
        top = self.low + GAP * self.half * len(self.kinds)
        shadows.cast(here + CIRCLE * 0.05, 0, top)
        shadows.cast(here + CIRCLE * [self.half, 0.05], self.low, top)

    def paint(self, canvas: Canvas, shadows: Shadows) -> None:
        """Paint the post, then the plates."""
        lit = 0.45 + 0.55 * shadows.lit(self.t, self.z)
        top = self.low + GAP * self.half * len(self.kinds)
        _upright(canvas.brush(POLE, self.z, lit), self.t, self.z, KERB, top, 0.11, np.array((150, 152, 154)))
        brush = canvas.brush(SIGN, self.z, lit)
        for place, kind in enumerate(self.kinds):
            y = top - self.half * (1 + GAP * place)
            for outline, colour, size in SIGNS[kind]:
                points = outline * (size * self.half)
                brush.fill([(self.t + a, y + b, self.z - 0.06) for a, b in points], colour, gain=1.1)


@dataclass
class Bollard(Standing):
    """A short post at the kerb."""

    colour: np.ndarray

    def cast(self, shadows: Shadows) -> None:
        """Cast a short line."""
        shadows.cast(np.array([self.t, self.z]) + CIRCLE * 0.08, 0, 1.0)

    def paint(self, canvas: Canvas, shadows: Shadows) -> None:
        """Paint a post with a white ring."""
        brush = canvas.brush(POLE, self.z, 0.3 + 0.7 * shadows.lit(self.t, self.z))
        _upright(brush, self.t, self.z, KERB, 1.1, 0.17, self.colour)
        _upright(brush, self.t, self.z, 0.85, 0.97, 0.17, WHITE)


@dataclass
class Bin(Standing):
    """A litter bin. It is void, because it is no class that Cityscapes trains on."""

    colour: np.ndarray

    def cast(self, shadows: Shadows) -> None:
        """Cast a round shadow."""
        shadows.cast(np.array([self.t, self.z]) + CIRCLE * 0.25, 0, 1.0)
        shadows.dim(np.array([self.t, self.z]) + CIRCLE * 0.35)

    def paint(self, canvas: Canvas, shadows: Shadows) -> None:
        """Paint a barrel with a rim."""
        brush = canvas.brush(VOID, self.z, 0.3 + 0.7 * shadows.lit(self.t, self.z))
        _upright(brush, self.t, self.z, KERB, 1.0, 0.5, self.colour)
        _upright(brush, self.t, self.z, 0.95, 1.06, 0.56, self.colour * 0.6)
