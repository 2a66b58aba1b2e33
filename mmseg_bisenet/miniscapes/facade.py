"""Facades of houses: small flat pictures, which are stretched in perspective."""

from dataclasses import dataclass

import cv2
import numpy as np

from mmseg_bisenet.miniscapes.canvas import SHIFT, Light, Triple
from mmseg_bisenet.miniscapes.noise import crop, fractal

PLASTER = np.array(
    [
        (226, 208, 170), (214, 178, 128), (196, 142, 112), (222, 196, 184), (190, 186, 178), (172, 184, 162),
        (232, 226, 212), (206, 160, 92), (168, 176, 190), (182, 122, 96), (212, 206, 196), (228, 200, 140),
    ]
)  # fmt: skip
BRICK = np.array([(150, 84, 66), (166, 100, 74), (128, 76, 64), (176, 124, 92), (140, 98, 84)])
CLOTH = np.array([(176, 52, 48), (46, 96, 78), (52, 76, 130), (206, 160, 60), (90, 52, 80), (60, 60, 64)])
COARSE = 8  # pixels; narrower windows are drawn without details


@dataclass(frozen=True)
class Look:
    """The colours of a house, RGB, and the size of its windows as shares of a bay."""

    brick: bool
    wall: np.ndarray
    trim: np.ndarray
    frame: np.ndarray
    shutter: np.ndarray | None
    tall: float
    wide: float
    evening: float  # 0 by day; larger values light more windows

    @staticmethod
    def draw(kind: str, light: Light, rng: np.random.Generator) -> 'Look':
        """Choose a random look."""
        brick = bool(rng.random() < {'city': 0.3, 'old': 0.2, 'house': 0.4}[kind])
        paints = BRICK if brick else PLASTER
        wall = paints[rng.integers(len(paints))] * rng.uniform(0.88, 1.06)
        return Look(
            brick=brick,
            wall=wall,
            trim=np.clip(wall * 0.4 + 140, 0, 245) if rng.random() < 0.7 else wall * 0.7,
            frame=np.array((238, 236, 230) if rng.random() < 0.75 else (84, 66, 54)),
            shutter=CLOTH[rng.integers(len(CLOTH))] if kind != 'city' and rng.random() < 0.45 else None,
            tall=rng.uniform(0.5, 0.68),
            wide=rng.uniform(0.36, 0.56),
            evening=float(np.clip(0.95 - light.ambient.mean(), 0, 1)),
        )


def _box(tile: np.ndarray, left: float, top: float, right: float, bottom: float, colour: Triple) -> None:
    """Fill a rectangle with smooth edges; its corners are shares of the tile."""
    height, width = tile.shape[0] << SHIFT, tile.shape[1] << SHIFT
    half = 1 << SHIFT >> 1
    left, right = round(left * width) - half, round(right * width) - half
    top, bottom = round(top * height) - half, round(bottom * height) - half
    points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.int32)
    cv2.fillConvexPoly(tile, points, tuple(map(float, colour)), cv2.LINE_AA, SHIFT)


def _window(look: Look, shape: tuple[int, int]) -> np.ndarray:
    tile = np.full((*shape, 3), look.wall, np.float32)
    half, tall = look.wide / 2, look.tall
    left, right, top, bottom = 0.5 - half, 0.5 + half, 0.9 - tall, 0.9
    if shape[1] < COARSE:
        _box(tile, left - 0.05, top - 0.05, right + 0.05, bottom + 0.05, look.trim)
        _box(tile, left + 0.04, top + 0.04, right - 0.04, bottom, (64, 74, 86))
        return tile
    if look.shutter is not None:
        _box(tile, left - half * 0.8, top, left, bottom, look.shutter)
        _box(tile, right, top, right + half * 0.8, bottom, look.shutter)
    _box(tile, left - 0.05, top - 0.07, right + 0.05, bottom + 0.02, look.trim)
    _box(tile, left, top, right, bottom, look.frame)
    edge, bar = 0.035, 0.02
    for start, stop in ((left + edge, 0.5 - bar), (0.5 + bar, right - edge)):
        _box(tile, start, top + 0.03, stop, bottom - 0.03, (58, 66, 78))
        _box(tile, start, top + 0.03, stop, top + 0.2, (110, 128, 146))
    _box(tile, left - 0.07, bottom, right + 0.07, bottom + 0.04, look.trim * 0.82)
    return tile


def _shop(look: Look, shape: tuple[int, int], cloth: np.ndarray, awning: bool, rng: np.random.Generator) -> np.ndarray:
    tile = np.full((*shape, 3), look.wall * 0.9, np.float32)
    _box(tile, 0.06, 0.3, 0.94, 0.97, look.frame * 0.5)
    lamps = rng.random() < 0.3 + look.evening
    _box(tile, 0.09, 0.34, 0.91, 0.9, (186, 152, 100) if lamps else (76, 84, 92))
    _box(tile, 0.09, 0.34, 0.91, 0.5, (160, 132, 92) if lamps else (112, 128, 142))
    fine = shape[1] >= COARSE
    goods = rng.uniform([0.1, 0.6, 0.05], [0.75, 0.82, 0.12], (5, 3))
    wares = rng.uniform(50, 180, (5, 3))
    if fine:
        for (x, y, wide), colour in zip(goods, wares, strict=True):
            _box(tile, x, y, x + wide, 0.9, colour)
    _box(tile, 0.0, 0.06, 1.0, 0.22, cloth)
    if fine:
        _box(tile, 0.2, 0.1, 0.8, 0.18, np.clip(cloth * 0.3 + 170, 0, 255))
    if awning and fine:
        _box(tile, 0, 0.22, 1, 0.38, (232, 228, 220))
        for stripe in range(3):
            _box(tile, stripe / 3, 0.22, stripe / 3 + 1 / 6, 0.38, cloth)
    _box(tile, 0, 0.95, 1, 1, look.wall * 0.55)
    return tile


def _door(look: Look, shape: tuple[int, int], cloth: np.ndarray) -> np.ndarray:
    tile = np.full((*shape, 3), look.wall * 0.9, np.float32)
    _box(tile, 0, 0.95, 1, 1, look.wall * 0.55)
    _box(tile, 0.26, 0.16, 0.74, 1.0, look.trim)
    _box(tile, 0.31, 0.2, 0.69, 1.0, cloth * 0.8)
    _box(tile, 0.36, 0.23, 0.64, 0.42, (96, 110, 124))
    _box(tile, 0.36, 0.5, 0.64, 0.9, cloth * 0.65)
    return tile


def draw_facade(
    look: Look, rng: np.random.Generator, floors: int, bays: int, tile: tuple[int, int], ground: str
) -> np.ndarray:
    """Draw the flat picture of a front, (h, w, 3) float32 RGB, with its near end on the left."""
    height, width = tile
    plain = np.full((height, width, 3), look.wall, np.float32)
    window = _window(look, tile)
    blind = rng.random((floors, bays)) < (0.5 if ground == 'plain' else 0)
    rows = [
        np.concatenate([plain if blind[floor, i] else window for i in range(bays)], 1) for floor in range(1, floors)
    ]
    cloth = CLOTH[rng.integers(len(CLOTH))] * rng.uniform(0.8, 1.15)
    door = int(rng.integers(bays))
    base = window.copy()
    _box(base, 0, 0.95, 1, 1, look.wall * 0.55)
    if ground == 'shop':
        awning = rng.random() < 0.4
        panes = [_shop(look, tile, cloth, awning, rng) for _ in range(2)]
    else:
        panes = [base, base]
    street = [panes[i % 2] for i in range(bays)]
    if ground != 'plain':
        street[door] = _door(look, tile, cloth)
    rows.append(np.concatenate(street, 1))
    picture = np.concatenate(rows, 0)

    glass = height * np.array([0.93 - look.tall, 0.87]), width * (0.5 + np.array([-0.5, 0.5]) * look.wide * 0.86)
    (top, bottom), (left, right) = glass[0].astype(int), np.ceil(glass[1]).astype(int)
    gain, lamp = rng.uniform(0.6, 1.5, (floors, bays)), rng.random((floors, bays)) < look.evening * 0.7
    for floor in range(floors - 1 if width >= COARSE else 0):
        for bay in range(bays):
            part = picture[floor * height + top : floor * height + bottom, bay * width + left : bay * width + right]
            if lamp[floor, bay] and not blind[floor, bay]:
                part[:] = part * 0.4 + np.array([190, 150, 86], np.float32) * 0.8
            elif not blind[floor, bay]:
                part *= gain[floor, bay] * 0.7 + 0.3

    band = max(1, round(height * 0.05))
    for floor in range(1, floors):
        if floor == floors - 1 or look.tall > 0.6:  # a ledge above the ground floor, or above each floor
            picture[floor * height - band : floor * height] = look.trim
            picture[floor * height : floor * height + max(1, band // 2)] *= 0.8
    eaves = np.full((max(2, round(height * 0.22)), picture.shape[1], 3), look.trim * 0.95, np.float32)
    eaves[-max(1, len(eaves) // 3) :] *= 0.68
    picture = np.concatenate([eaves, picture], 0)

    bricks = rng.uniform(0.9, 1.06, (60, 50)).astype(np.float32)
    if look.brick and height > 30:
        course = max(2, round(height / 28))
        picture[::course] *= 0.93
        picture *= cv2.resize(bricks, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)[..., None]
    stains = crop(fractal(2, 6), rng, 0.6, picture.shape[:2]) * 0.04
    fall = np.linspace(1.03, 0.9, len(picture), dtype=np.float32)[:, None]
    edge = np.ones(picture.shape[1], np.float32)
    edge[: max(1, width // 14)] = 0.82
    picture *= ((1 + stains) * fall * edge)[..., None]
    return picture


def draw_roof(colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the flat picture of a tiled roof, (80, 80, 3) float32 RGB."""
    rows = np.repeat(rng.uniform(0.9, 1.08, 20), 4)[:, None] * np.where(np.arange(80) % 4 == 3, 0.8, 1)[:, None]
    grey = (rows * (1 + crop(fractal(2, 6), rng, 0.5, (80, 80)) * 0.06)).astype(np.float32)
    return grey[..., None] * colour.astype(np.float32)
