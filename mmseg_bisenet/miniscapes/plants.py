"""Trees and hedges."""

from dataclasses import dataclass

import cv2
import numpy as np

from mmseg_bisenet.miniscapes.canvas import Canvas, Light
from mmseg_bisenet.miniscapes.classes import VEGETATION
from mmseg_bisenet.miniscapes.ground import KERB, Shadows, Standing
from mmseg_bisenet.miniscapes.noise import crop, fractal

# colours of dark, medium and bright leaves
LEAVES = {
    'green': ((30, 48, 22), (70, 104, 44), (134, 160, 74)),
    'deep': ((22, 40, 26), (48, 84, 46), (98, 130, 76)),
    'fresh': ((48, 70, 24), (102, 138, 48), (172, 190, 96)),
    'autumn': ((76, 46, 18), (166, 104, 34), (224, 170, 72)),
    'blossom': ((96, 72, 72), (192, 150, 156), (244, 218, 218)),
}


def crown(rng: np.random.Generator, light: Light, leaves: str, pixels: int, slim: bool) -> np.ndarray:
    """Draw the crown of a tree, RGB and alpha (pixels, pixels, 4) uint8."""
    shape = (pixels, pixels)
    y, x = (np.mgrid[:pixels, :pixels].astype(np.float32) + 0.5) / pixels * 2 - 1
    lumps, tufts, specks = (
        crop(fractal(*kind), rng, part, shape) for kind, part in (((4, 2), 0.7), ((16, 3), 0.8), ((64, 3), 0.6))
    )
    radius = np.sqrt(x * x + y * y * (1.0 if slim else np.where(y > 0, 1.25, 0.95)))
    solid = 0.82 - radius + 0.09 * lumps + 0.06 * tufts + 0.045 * specks
    alpha = np.clip(solid * pixels / 6, 0, 1) * np.clip((solid + 0.16 + 0.14 * tufts + 0.1 * specks) * 12, 0, 1)
    bright = (
        0.47
        + 0.2 * (float(light.sun[0]) * x - 0.9 * y)
        + 0.09 * lumps
        + 0.13 * tufts
        + 0.09 * specks
        - 0.12 * (0.6 - radius)
    )
    tones = np.stack([np.interp(np.arange(256), (0, 128, 255), channel) for channel in np.transpose(LEAVES[leaves])], 1)
    colour = cv2.LUT(cv2.merge([np.clip(bright * 255, 0, 255).astype(np.uint8)] * 3), tones[None].astype(np.uint8))
    return np.dstack([colour, (alpha * 255).astype(np.uint8)])


@dataclass
class Tree(Standing):
    """A street tree."""

    height: float  # metres to the top
    width: float  # metres
    bare: float  # metres of trunk under the crown
    sprite: np.ndarray
    behind: float = 0.0  # metres; more than the depth of a hedge or wall that hides the trunk

    @property
    def order(self) -> float:
        """Painted before the hedge or wall in front of it."""
        return self.z + self.behind

    def cast(self, shadows: Shadows) -> None:
        """Cast an ellipse for the crown and a line for the trunk."""
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        round_ = np.stack([np.cos(turn), np.sin(turn)], 1)
        here = np.array([self.t, self.z])
        shadows.cast(here + round_ * self.width * 0.4, self.bare + 0.5, self.height - 0.5)
        shadows.cast(here + round_ * 0.14, 0, self.bare + 1)
        shadows.dim(here + round_ * 0.4)

    def paint(self, canvas: Canvas, shadows: Shadows) -> None:
        """Paint trunk, branches and crown."""
        lit = 0.4 + 0.6 * shadows.lit(self.t, self.z)
        brush = canvas.brush(VEGETATION, self.z, lit)
        foot, fork = KERB, self.bare + 0.25 * (self.height - self.bare)
        wide = 0.05 + 0.024 * self.height
        for share, gain in ((1.0, 0.75), (0.45, 1.1)):
            shift = np.sign(canvas.light.sun[0]) * wide * (1 - share) * 0.7
            outline = [(-wide * 1.25, foot), (-wide * 0.7, fork), (wide * 0.7, fork), (wide * 1.25, foot)]
            brush.fill([(self.t + x * share + shift, y, self.z) for x, y in outline], (92, 76, 60), gain=gain)
        for lean in (-0.28, 0.24):
            end = (self.t + lean * self.width, self.bare + 0.5 * (self.height - self.bare), self.z)
            brush.stroke([(self.t, self.bare, self.z), end], (84, 70, 56), wide)
        middle = canvas.camera.project([(self.t, (self.height + self.bare) / 2, self.z)])[0]
        size = np.array([self.width, self.height - self.bare]) * brush.scale
        canvas.sprite(middle, size, self.sprite, VEGETATION, self.z, lit)


@dataclass
class Hedge:
    """A clipped hedge along the houses or around a park."""

    side: int  # -1 left, 1 right
    front: float  # t of the face towards the street
    deep: float  # metres
    near: float
    far: float
    height: float
    sprite: np.ndarray

    @property
    def order(self) -> float:
        """Painted before everything in front of it."""
        return self.far - 0.1

    def cast(self, shadows: Shadows) -> None:
        """Cast the shadow of the box."""
        back = self.front + self.side * self.deep
        box = [(self.front, self.near), (back, self.near), (back, self.far), (self.front, self.far)]
        shadows.cast(box, 0, self.height)
        shadows.dim([(self.front - self.side * 0.2, z) for z in (self.near, self.far)] + box[1:3])

    def paint(self, canvas: Canvas, shadows: Shadows) -> None:
        """Paint the end, the face towards the street, and the top if the camera is above it."""
        camera, light = canvas.camera, canvas.light
        back = self.front + self.side * self.deep
        quarter = len(self.sprite) // 4
        leaves = np.ascontiguousarray(self.sprite[quarter:-quarter, quarter:-quarter, :3])
        pieces = max(1, round((self.far - self.near) / 4))
        steps = np.linspace(self.near, self.far, pieces + 1)
        lit = shadows.lit(self.front - self.side * 0.5, min((self.near + self.far) / 2, 99))

        def face(points: list, normal: tuple[float, float, float], z: float) -> None:
            canvas.texture(camera.project(points), light.on(leaves, normal, lit, z), VEGETATION)

        low, high = KERB - 0.05, self.height
        for near, far in zip(steps[-2::-1], steps[:0:-1], strict=True):
            if high < camera.eye:
                top = [(self.front, high, far), (back, high, far), (back, high, near), (self.front, high, near)]
                face(top, (0, 1, 0), near)
            front = [(self.front, high, near), (self.front, high, far), (self.front, low, far), (self.front, low, near)]
            face(front, (-self.side * 0.9, 0.4, 0), near)
        end = [(self.front, high), (back, high), (back, low), (self.front, low)]
        face([(t, y, self.near) for t, y in end], (0, 0.4, -0.9), self.near)
