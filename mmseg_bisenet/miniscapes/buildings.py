"""Terraced houses."""

from dataclasses import dataclass

import numpy as np

from mmseg_bisenet.miniscapes.canvas import Brush, Canvas
from mmseg_bisenet.miniscapes.classes import BUILDING
from mmseg_bisenet.miniscapes.facade import Look, draw_facade, draw_roof
from mmseg_bisenet.miniscapes.ground import Shadows

ROOFS = np.array([(146, 76, 58), (122, 66, 54), (92, 84, 84), (76, 78, 86), (164, 92, 64)])


@dataclass
class Building:
    """A house in a row, with its front along the street."""

    side: int  # -1 left, 1 right
    line: float  # t of the front
    near: float  # z
    far: float
    floors: int
    storey: float  # metres
    bays: int
    pitch: float  # metres that the roof rises per metre, 0 for a flat roof
    kind: str  # 'city', 'old' or 'house'
    gable: bool  # the front ends in a gable
    free: bool  # no neighbour hides its near end
    seed: int

    @property
    def order(self) -> float:
        """Painted before everything in front of it."""
        return self.far

    @property
    def height(self) -> float:
        """Height of the eaves, metres."""
        return self.floors * self.storey + 0.7

    def cast(self, shadows: Shadows) -> None:
        """Cast the shadow of the whole block."""
        back = self.line + self.side * 9
        outline = [(self.line, self.near), (back, self.near), (back, self.far), (self.line, self.far)]
        shadows.cast(outline, 0, self.height)
        foot = self.line - self.side * 0.25
        shadows.dim([(foot, self.near), (back, self.near), (back, self.far), (foot, self.far)])

    def paint(self, canvas: Canvas, shadows: Shadows) -> None:
        """Paint end wall, roof, front and balconies."""
        column = canvas.camera.project([(self.line, 0, self.far)])[0, 0]
        if not -20 < column < canvas.camera.size[1] + 20:  # then the near end is further outside
            return
        rng = np.random.default_rng(self.seed)
        roof = ROOFS[rng.integers(len(ROOFS))] * rng.uniform(0.9, 1.1)
        look = Look.draw(self.kind, canvas.light, rng)
        camera, light = canvas.camera, canvas.light
        lit = _open(shadows, self)
        brush = canvas.brush(BUILDING, self.near + 2)

        deep, back = (8.0, self.line + self.side * 8.0)
        top, ridge = self.height, self.height + self.pitch * deep / 2
        tile = self._tile(canvas)
        corners = [(self.line, top, self.near), (back, top, self.near), (back, 0, self.near), (self.line, 0, self.near)]
        if self.free:
            wall_end = draw_facade(look, rng, self.floors, 3, (tile[0], tile[0]), 'plain')
            wall_end = light.on(wall_end, (0, 0, -1), 0.8, self.near)
            canvas.texture(camera.project(corners), wall_end, BUILDING)
        else:
            brush.fill(corners, look.wall * 0.97, normal=(0, 0, -1))
        middle = (self.line + back) / 2
        if self.pitch and not self.gable:
            triangle = [(self.line, top, self.near), (middle, ridge, self.near), (back, top, self.near)]
            brush.fill(triangle, look.wall * 0.97, normal=(0, 0, -1))
            near = [(self.line, top, self.near), (middle, ridge, self.near)]
            slope = camera.project([*near, (middle, ridge, self.far), (self.line, top, self.far)])
            if slope[1, 1] < slope[0, 1] and (slope[1, 0] - slope[2, 0]) * self.side > 0:
                steep = np.array([-self.side * self.pitch, 1, 0]) / np.hypot(self.pitch, 1)
                tiles = light.on(draw_roof(roof, rng), steep, 0.9, np.linspace(self.near, self.far, 80))
                canvas.texture(slope[[1, 2, 3, 0]], tiles, BUILDING)
                self._chimney(brush, middle, ridge, rng)

        ground = {'city': 'shop', 'old': 'shop', 'house': 'door'}[self.kind]
        picture = draw_facade(look, rng, self.floors, self.bays, tile, ground if rng.random() < 0.75 else 'door')
        reach = np.linspace(self.near, self.far, picture.shape[1])
        picture = light.on(picture, (-self.side, 0, 0), lit, reach)
        pixels = camera.project(
            [
                (self.line, y, z)
                for y, z in zip((top, top, 0, 0), (self.near, self.far, self.far, self.near), strict=True)
            ]
        )
        if self.gable:
            peak = top + (self.far - self.near) * rng.uniform(0.25, 0.4)
            step = np.array([(0, 0), (0, 0.15), (0.2, 0.15), (0.2, 0.5), (0.36, 0.5), (0.36, 1)])
            step = np.concatenate([step, (step * [-1, 1] + [1, 0])[::-1]])  # a stepped gable
            outline = [(self.line, top + (peak - top) * y, self.near + (self.far - self.near) * z) for z, y in step]
            brush.fill(outline, look.wall, normal=(-self.side, 0, 0))
            brush.stroke(outline, look.trim, 0.22, normal=(-self.side, 0, 0))
        canvas.texture(pixels, picture, BUILDING)
        if self.kind == 'city' and self.near < 45 and rng.random() < 0.5:
            self._balconies(canvas, look, rng, lit)

    def _tile(self, canvas: Canvas) -> tuple[int, int]:
        """Size in pixels (h, w) of a window with its wall, about as large as it appears in the image."""
        camera = canvas.camera
        off = abs(self.line - camera.side)
        z = max(self.near, off * camera.focal / (camera.size[1] * 0.55))
        most = camera.size[0] * 0.4
        tall = camera.focal * self.storey / z
        wide = camera.focal * off * (self.far - self.near) / self.bays / (z * z)
        return round(float(np.clip(tall * 0.9, 4, most))), round(float(np.clip(wide, 4, most)))

    def _chimney(self, brush: Brush, t: float, y: float, rng: np.random.Generator) -> None:
        z = self.near + (self.far - self.near) * rng.uniform(0.2, 0.8)
        for low, high, wide, colour in ((-0.5, 0.9, 0.35, (134, 84, 70)), (0.85, 1.0, 0.42, (92, 72, 66))):
            box = [(t - wide, y + low, z), (t + wide, y + low, z), (t + wide, y + high, z), (t - wide, y + high, z)]
            brush.fill(box, colour, normal=(0, 0, -1))

    def _balconies(self, canvas: Canvas, look: Look, rng: np.random.Generator, lit: float) -> None:
        bay = (self.far - self.near) / self.bays
        out = self.line - self.side * 1.0
        rail = np.array((70, 72, 76)) if rng.random() < 0.5 else look.trim
        columns = [i for i in range(self.bays) if i % 2 == int(rng.integers(2))]
        for bay_index in reversed(columns):
            near = self.near + bay * (bay_index + 0.12)
            far = near + bay * 0.76
            brush = canvas.brush(BUILDING, near, lit)
            for floor in range(1, self.floors):
                y = floor * self.storey + 0.1
                brush.fill([(self.line, y, near), (out, y, near), (out, y, far), (self.line, y, far)], rail * 0.5)
                for points, normal in (
                    ([(out, 0, near), (out, 0, far), (out, 1, far), (out, 1, near)], (-self.side, 0, 0)),
                    ([(self.line, 0, near), (out, 0, near), (out, 1, near), (self.line, 1, near)], (0, 0, -1)),
                ):
                    brush.fill([(t, y - 0.12 + up * 1.0, z) for t, up, z in points], rail, normal=normal)


def _open(shadows: Shadows, house: Building) -> float:
    """The share of sunlight on a front: that of the pavement, raised because higher walls get more light."""
    middle = min((house.near + house.far) / 2, 95)
    return 0.35 + 0.65 * shadows.lit(house.line - house.side * 1.5, middle)
