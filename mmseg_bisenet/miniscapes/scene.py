"""One synthetic street scene: choose the street, place the objects, and paint them from far to near."""

from collections.abc import Sequence

import cv2
import numpy as np

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes import classes
from mmseg_bisenet.miniscapes.canvas import Camera, Canvas, Light
from mmseg_bisenet.miniscapes.cars import PAINT
from mmseg_bisenet.miniscapes.ground import Shadows, Street, paint_ground, paint_sky
from mmseg_bisenet.miniscapes.town import Town

SMALLEST = 64  # pixels a side; smaller streets cannot be recognised

# share of the scenes, glow, ambient, haze, zenith, elevation of the sun in degrees, clouds, reach of the haze in metres
HOURS = (
    (0.36, (0.72, 0.66, 0.54), (0.58, 0.61, 0.67), (206, 218, 230), (92, 142, 206), (40, 62), (0.1, 0.55), 260),
    (0.18, (0.56, 0.52, 0.44), (0.66, 0.67, 0.7), (220, 222, 222), (132, 164, 200), (32, 52), (0.3, 0.6), 110),
    (0.2, (0.1, 0.1, 0.1), (0.9, 0.92, 0.95), (208, 212, 216), (160, 168, 178), (50, 60), (0.85, 1.0), 150),
    (0.18, (0.86, 0.6, 0.32), (0.62, 0.59, 0.62), (244, 206, 160), (118, 142, 190), (18, 30), (0.2, 0.6), 170),
    (0.08, (0.3, 0.2, 0.15), (0.64, 0.61, 0.7), (226, 178, 160), (92, 104, 150), (12, 18), (0.3, 0.7), 140),
)


def draw_scene(seed: int, size: Sequence[int] = (256, 512)) -> tuple[np.ndarray, np.ndarray]:
    """Draw a synthetic street scene, seen from the driver's seat.

    The same seed gives the same street at every size, with more detail at larger sizes.

    Args:
        seed: any integer from 0.
        size: pixels (H, W), each at least 64.

    Returns:
        The image (H, W, 3) uint8 BGR, and its Cityscapes labelIds (H, W) uint8.

    Raises:
        InputError: the seed is negative, or the size is too small.
    """
    check(seed, size)
    plan, look, film = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    light = _light(plan)
    street = _street(plan)
    height, width = size
    camera = Camera(
        size=(height, width),
        focal=height * plan.uniform(1.5, 1.75),
        horizon=height * plan.uniform(0.42, 0.5),
        centre=width / 2 + height * plan.uniform(-0.16, 0.16),
        eye=plan.uniform(1.3, 1.65),
        side=street.lane / 2 + plan.uniform(-0.25, 0.25),
        bend=plan.choice([0, 1]) * plan.uniform(-1, 1) / 260,
    )
    canvas = Canvas(camera, light)
    town = Town(street, light, camera, plan)
    things = town.build()
    shadows = Shadows(light)
    for thing in things:
        thing.cast(shadows)
    shadows.finish()
    paint_sky(canvas, look)
    paint_ground(canvas, street, shadows, look)
    _skyline(canvas, town.crowns[2], look)
    for thing in sorted(things, key=lambda thing: -thing.order):
        thing.paint(canvas, shadows)
    if look.random() < 0.12:
        _bonnet(canvas, look)
    return _develop(canvas.photo, film), canvas.labels


def check(seed: int, size: Sequence[int]) -> None:
    """Check the arguments of :func:`draw_scene`.

    Raises:
        InputError: the seed is negative, or the size is too small.
    """
    if seed < 0:
        raise InputError(f'seed {seed} is negative; use an integer from 0')
    if len(size) != 2 or min(size) < SMALLEST:
        raise InputError(f'size {tuple(size)} is too small; use (H, W) of at least {SMALLEST} pixels each')


def _light(rng: np.random.Generator) -> Light:
    hour = HOURS[rng.choice(len(HOURS), p=[row[0] for row in HOURS])]
    glow, ambient, haze, zenith = (np.array(rgb) for rgb in hour[1:5])
    height, turn = np.radians(rng.uniform(*hour[5])), np.radians(rng.choice([0, 180]) + rng.normal(0, 38))
    sun = np.array([np.cos(height) * np.sin(turn), np.sin(height), np.cos(height) * np.cos(turn)])
    gain = rng.uniform(0.9, 1.12)
    warm = 1 + rng.uniform(-0.04, 0.04) * np.array([1, 0, -1])
    return Light(
        sun=sun,
        glow=glow * gain * warm * 1.15,
        ambient=ambient * gain * warm,
        haze=haze * warm,
        zenith=zenith * rng.uniform(0.9, 1.1),
        clouds=rng.uniform(*hour[6]),
        reach=hour[7] * rng.uniform(0.8, 1.3),
    )


def _street(rng: np.random.Generator) -> Street:
    lane = rng.uniform(3.0, 3.5)
    left = -lane - 2.2 * (rng.random() < 0.55)
    right = lane + 2.2 * (rng.random() < 0.4)
    start = rng.uniform(20, 42)
    crossing = (start, start + rng.uniform(6.5, 8.5)) if rng.random() < 0.5 else None
    zebra = start - 4.5 if crossing else rng.uniform(11, 24)
    grey = rng.uniform(84, 116)
    paving = ((172, 164, 152), (158, 156, 154), (178, 150, 132), (188, 178, 156), (150, 146, 150))[rng.integers(5)]
    return Street(
        lane=lane,
        left=left,
        right=right,
        left_line=left - rng.uniform(2.6, 4.4),
        right_line=right + rng.uniform(2.6, 4.2),
        crossing=crossing,
        zebra=zebra if rng.random() < 0.6 else None,
        asphalt=grey * (1 + rng.uniform(-0.03, 0.03) * np.array([1, 0, -1])),
        paving=np.array(paving) * rng.uniform(0.92, 1.08),
        slab=((0.5, 0.5), (0.4, 0.8), (0.8, 0.8), (0.3, 0.3))[rng.integers(4)],
    )


def _skyline(canvas: Canvas, sprite: np.ndarray, rng: np.random.Generator) -> None:
    """Draw hazy houses and trees behind the end of the street, so that the road never meets the sky."""
    camera = canvas.camera
    small = round(camera.size[0] * 0.12)
    sprite = cv2.resize(sprite, (small, small), interpolation=cv2.INTER_AREA)
    z = 150.0
    town = canvas.brush(classes.BUILDING, z)
    left = camera.side - camera.bend / 2 * z * z - z * 0.9
    t = left
    while t < left + z * 1.8:
        width, height = rng.uniform(9, 20), rng.uniform(6, 15)
        colour = rng.uniform(110, 190) * np.array([1, 0.95, 0.88])
        roof = [(t, height, z), (t + width / 2, height + rng.uniform(0, 5), z), (t + width, height, z)]
        town.fill([(t, -3, z), *roof, (t + width, -3, z)], colour)
        t += width * 0.95
    for t in rng.uniform(left, left + z * 1.8, 24):
        size = rng.uniform(6, 11)
        middle = camera.project([(t, size * 0.3, 140.0)])[0]
        canvas.sprite(middle, np.array([size * 1.4, size]) * camera.focal / 140, sprite, classes.VEGETATION, 140.0, 0.7)


def _bonnet(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw the bonnet of the own car, void."""
    height, width = canvas.camera.size
    x = np.linspace(-0.1, 1.1, 25)
    top = 1.0 - rng.uniform(0.03, 0.055) + 0.05 * (2 * x - 1) ** 4
    colour = PAINT[rng.integers(len(PAINT))] * 0.55
    brush = canvas.brush(classes.VOID, 2.0, 0.5)
    for share, gain in ((0.0, 0.8), (0.012, 1.0)):
        rim = np.stack([x * width, (top + share) * height], 1)
        outline = np.concatenate([rim, [(1.1 * width, 1.1 * height), (-0.1 * width, 1.1 * height)]])
        canvas.polygon(outline, brush.tone(colour, (0, 1, 0), gain), classes.VOID)


def _develop(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the effects of lens and sensor: blur, dark corners, noise; RGB -> BGR."""
    height, width = photo.shape[:2]
    soft = cv2.GaussianBlur(photo, (0, 0), height * rng.uniform(0.0012, 0.0017)).astype(np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    corners = 1.03 - 0.11 * (x * x + y * y)
    grain = rng.standard_normal((height, width), np.float32) * np.float32(rng.uniform(1.2, 3.0))
    exposure = np.clip((116 / soft.mean()) ** 0.6, 0.85, 1.4)
    soft = soft * (corners * exposure)[..., None] + grain[..., None]
    return cv2.cvtColor(cv2.convertScaleAbs(np.maximum(soft, 0)), cv2.COLOR_RGB2BGR)
