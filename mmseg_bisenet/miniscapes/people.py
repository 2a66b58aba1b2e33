"""Persons, drawn limb by limb, and bicycles."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import ArrayLike

from mmseg_bisenet.miniscapes.canvas import Brush, Canvas
from mmseg_bisenet.miniscapes.classes import BICYCLE, PERSON
from mmseg_bisenet.miniscapes.ground import Shadows, Standing

SKIN = np.array([(228, 182, 152), (206, 154, 120), (160, 110, 80), (104, 70, 52), (236, 196, 170)])
HAIR = np.array([(40, 30, 26), (86, 60, 40), (150, 110, 64), (120, 116, 112), (24, 22, 24), (130, 70, 40)])
TOPS = np.array(
    [
        (178, 44, 46), (38, 58, 108), (226, 222, 214), (52, 52, 56), (66, 112, 84), (222, 176, 60), (124, 84, 132),
        (96, 146, 186), (196, 110, 60), (110, 112, 100), (232, 130, 130), (30, 100, 110), (150, 120, 90),
    ]
)  # fmt: skip
LEGS = np.array([(44, 54, 80), (34, 34, 38), (100, 92, 78), (76, 92, 122), (140, 126, 100), (60, 58, 56)])
CIRCLE = np.stack([np.cos(np.arange(12) * np.pi / 6), np.sin(np.arange(12) * np.pi / 6)], 1).astype(np.float32)


class Figure:
    """Draws in a plane that faces the camera. Points are right of and above the foot, in heights of the person."""

    def __init__(self, brush: Brush, foot: tuple[float, float, float], size: float, flip: int) -> None:
        self.brush, self.size = brush, size * brush.scale
        self.origin = brush.camera.project([foot])[0]
        self.flip = flip
        self.shine = 1 if brush.canvas.light.sun[0] > 0 else -1

    def _pixels(self, points: ArrayLike) -> np.ndarray:
        return self.origin + np.asarray(points) * self.size * [self.flip, -1]

    def shape(self, points: ArrayLike, colour: np.ndarray, gain: float = 1.0) -> None:
        """Fill an outline; the half towards the sun is lighter."""
        pixels = self._pixels(points)
        brush = self.brush
        brush.canvas.polygon(pixels, brush.tone(colour, gain=gain * 0.8), brush.label)
        if self.size > 50:
            middle = pixels.mean(0)
            width = np.ptp(pixels[:, 0])
            inner = middle + (pixels - middle) * [0.6, 0.96] + [self.shine * width * 0.17, 0]
            brush.canvas.polygon(inner, brush.tone(colour, gain=gain * 1.08), brush.label)

    def limb(
        self, points: list[tuple[float, float]], widths: tuple[float, ...], colour: np.ndarray, gain: float = 1.0
    ) -> None:
        """Draw a rounded limb through the points; ``widths`` are its thickness at each point."""
        for (start, stop), (thick, thin) in zip(pairwise(points), pairwise(widths), strict=True):
            ends = np.array([start, stop], np.float32)
            rounds = np.concatenate([CIRCLE * (thick / 2) + ends[0], CIRCLE * (thin / 2) + ends[1]])
            self.shape(cv2.convexHull(rounds)[:, 0], colour, gain)


@dataclass
class Person(Standing):
    """A standing or walking person."""

    height: float  # metres
    base: float  # metres, height of the ground
    seed: int
    across: bool = False  # walks across the image

    def cast(self, shadows: Shadows) -> None:
        """Cast a narrow shadow."""
        foot = np.array([self.t, self.z]) + CIRCLE * 0.22
        shadows.cast(foot, 0, self.height * 0.95)
        shadows.dim(foot)

    def paint(self, canvas: Canvas, shadows: Shadows) -> None:
        """Paint the limbs from far to near."""
        rng = np.random.default_rng(self.seed)
        brush = canvas.brush(PERSON, self.z, 0.3 + 0.7 * shadows.lit(self.t, self.z))
        figure = Figure(brush, (self.t, self.base, self.z), self.height, 1 if rng.random() < 0.5 else -1)
        clothes = Clothes(rng)
        if self.across or rng.random() < 0.35:
            self._profile(figure, clothes, rng)
        else:
            self._facing(figure, clothes, rng)

    @staticmethod
    def _profile(figure: Figure, clothes: 'Clothes', rng: np.random.Generator) -> None:
        swing = rng.uniform(0.1, 0.17)
        hip, knee = (0.0, 0.5), 0.27
        legs = clothes.skin if clothes.skirt else clothes.legs
        for sign, gain in ((-1, 0.72), (1, 1.0)):
            bend = 0.05 if sign > 0 else -0.02
            joint = (sign * swing * 0.55 + bend, knee)
            foot = (sign * swing, 0.035 if sign > 0 else 0.06)
            figure.limb([hip, joint, foot], (0.12, 0.085, 0.06), legs, gain)
            figure.limb([foot, (foot[0] + 0.07, foot[1] - 0.012)], (0.05, 0.04), clothes.shoes, gain)
            if sign < 0:
                figure.limb([(0.01, 0.79), (0.09, 0.66), (0.16, 0.57)], (0.075, 0.06, 0.045), clothes.top, 0.7)
        if clothes.skirt:
            figure.shape([(-0.08, 0.54), (0.08, 0.54), (0.13, 0.3), (-0.12, 0.3)], clothes.legs)
        if clothes.pack:
            figure.shape([(-0.06, 0.8), (-0.16, 0.77), (-0.17, 0.6), (-0.07, 0.57)], clothes.bag)
        low = 0.34 if clothes.coat else 0.49
        figure.shape(
            [
                (-0.055, 0.83),
                (0.045, 0.83),
                (0.085, 0.72),
                (0.075, 0.55),
                (0.1, low),
                (-0.1, low),
                (-0.085, 0.6),
                (-0.09, 0.76),
            ],
            clothes.top,
        )
        figure.limb([(-0.01, 0.79), (-0.07, 0.64), (-0.05, 0.53)], (0.08, 0.065, 0.05), clothes.top, 0.92)
        figure.limb([(-0.05, 0.525), (-0.045, 0.5)], (0.045, 0.04), clothes.skin)
        Person._head(figure, clothes, 0.015, True)

    @staticmethod
    def _facing(figure: Figure, clothes: 'Clothes', rng: np.random.Generator) -> None:
        legs = clothes.skin if clothes.skirt else clothes.legs
        lift = rng.uniform(0.0, 0.09)
        for sign, up in ((-1, lift), (1, 0.0)):
            gain = 0.8 if up > 0.04 else 1.0
            foot = (sign * 0.065, 0.03 + up)
            figure.limb([(sign * 0.055, 0.5), (sign * 0.065, 0.27 + up * 0.4), foot], (0.115, 0.085, 0.06), legs, gain)
            figure.limb([foot, (sign * 0.08, 0.015 + up)], (0.06, 0.05), clothes.shoes, gain)
        if clothes.skirt:
            figure.shape([(-0.1, 0.54), (0.1, 0.54), (0.14, 0.3), (-0.14, 0.3)], clothes.legs)
        out = rng.uniform(0.0, 0.04)
        for sign in (-1, 1):
            hand = (sign * (0.17 + out), 0.49)
            figure.limb(
                [(sign * 0.12, 0.79), (sign * (0.16 + out), 0.65), hand], (0.08, 0.065, 0.05), clothes.top, 0.86
            )
            figure.limb([hand, (hand[0], 0.465)], (0.045, 0.04), clothes.skin)
        low = 0.32 if clothes.coat else 0.48
        wide = 0.125 if clothes.coat else 0.105
        figure.shape(
            [
                (-0.05, 0.845),
                (0.05, 0.845),
                (0.135, 0.8),
                (0.115, 0.65),
                (wide, low),
                (-wide, low),
                (-0.115, 0.65),
                (-0.135, 0.8),
            ],
            clothes.top,
        )
        if clothes.pack:
            figure.shape([(-0.085, 0.8), (0.085, 0.8), (0.09, 0.6), (-0.09, 0.6)], clothes.bag)
        elif clothes.hand:
            figure.shape([(0.14, 0.47), (0.24, 0.47), (0.25, 0.34), (0.13, 0.34)], clothes.bag)
        Person._head(figure, clothes, 0.0, False)

    @staticmethod
    def _head(figure: Figure, clothes: 'Clothes', x: float, profile: bool) -> None:
        figure.limb([(x * 0.5, 0.83), (x, 0.88)], (0.06, 0.06), clothes.skin, 0.8)
        face = [(x + a * 0.056, 0.925 + b * 0.07) for a, b in CIRCLE]
        figure.shape(face, clothes.skin)
        back = -0.022 if profile else 0.0
        behind = clothes.behind and not profile
        if clothes.long:  # long hair on the back, or on both sides of the face
            locks = ((-0.042, 0.05),) if profile else ((0.0, 0.1),) if behind else ((-0.047, 0.03), (0.047, 0.03))
            for shift, wide in locks:
                figure.limb([(x + shift, 0.95), (x + shift, 0.84)], (wide, wide * 0.9), clothes.hair)
        low = -0.05 if behind else 0.0
        cap = [(x + back + a * 0.061, 0.945 + max(b * 0.055, low)) for a, b in CIRCLE]
        figure.shape(cap, clothes.bag if clothes.hat else clothes.hair)


class Clothes:
    """The colours and clothes of a person."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.skin, self.hair = SKIN[rng.integers(len(SKIN))], HAIR[rng.integers(len(HAIR))]
        self.top, self.legs = TOPS[rng.integers(len(TOPS))] * rng.uniform(0.85, 1.1), LEGS[rng.integers(len(LEGS))]
        self.bag = TOPS[rng.integers(len(TOPS))] * 0.7
        self.shoes = np.array((44, 40, 40)) if rng.random() < 0.6 else np.array((206, 204, 200))
        self.coat, self.skirt, self.pack, self.hand, self.hat, self.long, self.behind = rng.random(7) < (
            0.3, 0.22, 0.25, 0.4, 0.15, 0.45, 0.5,
        )  # fmt: skip
        if self.skirt:
            self.legs = TOPS[rng.integers(len(TOPS))]


@dataclass
class Bicycle(Standing):
    """A bicycle in an upright plane, maybe with a rider, who is labelled person."""

    ahead: tuple[float, float]  # unit vector (t, z)
    base: float
    seed: int
    ridden: bool = False

    def cast(self, shadows: Shadows) -> None:
        """Cast a line, and the shadow of the rider."""
        ahead = np.array(self.ahead)
        across = np.array([ahead[1], -ahead[0]]) * 0.06
        here = np.array([self.t, self.z])
        box = [here - ahead * 0.85 - across, here - ahead * 0.85 + across, here + ahead * 0.85 + across]
        shadows.cast([*box, here + ahead * 0.85 - across], 0, 0.8)
        shadows.dim([*box, here + ahead * 0.85 - across])
        if self.ridden:
            shadows.cast(here + CIRCLE * 0.25, 0.8, 1.75)

    def _world(self, points: ArrayLike) -> np.ndarray:
        turn = np.array([(self.ahead[0], 0, self.ahead[1]), (0, 1, 0)])
        return np.asarray(points, np.float64) @ turn + [self.t, self.base, self.z]

    def paint(self, canvas: Canvas, shadows: Shadows) -> None:
        """Paint wheels, frame, and the rider between far and near leg."""
        rng = np.random.default_rng(self.seed)
        lit = 0.3 + 0.7 * shadows.lit(self.t, self.z)
        brush = canvas.brush(BICYCLE, self.z, lit)
        colour = TOPS[rng.integers(len(TOPS))]
        black = np.array((34, 34, 36))
        turn = np.linspace(0, 2 * np.pi, 25)
        wheel = np.stack([np.cos(turn), np.sin(turn)], 1) * 0.33
        rider = Rider(canvas, self, lit, rng) if self.ridden else None
        thin = min(1.0, abs(self.ahead[0]) + 0.25)
        if rider:
            rider.leg(self._world, -0.1, 0.24, (-0.12, 0.38), 0.75)
        count = 6 if brush.scale > 15 else 2
        for hub in (-0.53, 0.53):
            axle = np.array([hub, 0.34])
            if abs(self.ahead[0]) < 0.35:  # from behind, a wheel is an upright bar
                brush.stroke(self._world([(hub, 0.03), (hub, 0.66)]), black, 0.085)
            for spoke in np.arange(count) * np.pi / count + 0.2:
                end = np.array([np.cos(spoke), np.sin(spoke)]) * 0.33
                brush.stroke(self._world([axle + end, axle - end]), (150, 152, 154), 0.012 * thin)
            brush.stroke(self._world(wheel + axle), black, 0.05 * thin)
        hubs, crank, saddle, head = ((-0.53, 0.34), (0.53, 0.34)), (-0.08, 0.3), (-0.22, 0.86), (0.38, 0.84)
        tubes = [
            [hubs[0], crank, head],
            [hubs[0], (-0.19, 0.72), (0.36, 0.74)],
            [crank, saddle],
            [hubs[1], head, (0.34, 0.98)],
        ]
        for tube in tubes:
            brush.stroke(self._world(tube), colour, 0.045)
        brush.stroke(self._world([(-0.34, 0.9), (-0.1, 0.9)]), black, 0.07)
        brush.stroke(self._world([(0.34, 0.98), (0.46, 1.02), (0.28, 1.02)]), black, 0.045)
        bar = np.array([self.ahead[1], 0, -self.ahead[0]]) * 0.27
        grip = self._world([(0.33, 1.0)])[0]
        brush.stroke([grip - bar, grip + bar], black, 0.045)
        brush.stroke(self._world([(-0.86, 0.45), (-0.75, 0.66), (-0.53, 0.72), (-0.32, 0.66)]), black * 1.3, 0.035)
        if rng.random() < 0.4 and not self.ridden:
            basket = self._world([(0.4, 0.98), (0.7, 0.98), (0.66, 0.74), (0.42, 0.74)])
            brush.fill(basket, (132, 104, 70))
        if rider:
            rider.body(self._world)


class Rider:
    """The rider of a bicycle, drawn in its plane and as wide as a person."""

    def __init__(self, canvas: Canvas, bicycle: Bicycle, lit: float, rng: np.random.Generator) -> None:
        self.brush = canvas.brush(PERSON, bicycle.z, lit)
        self.clothes = Clothes(rng)
        self.across = np.array([bicycle.ahead[1], 0, -bicycle.ahead[0]])
        self.wide = 0.5 + 0.5 * (1 - abs(bicycle.ahead[0]))  # the torso is wider from behind

    def leg(self, world: Callable, side: float, knee: float, foot: tuple[float, float], gain: float) -> None:
        """Draw a leg from the saddle to a pedal, ``side`` metres from the frame."""
        out = self.across * side
        along, low = foot
        points = world([(-0.2, 0.92), (knee, 0.55 + low * 0.4), (along + 0.05, low)]) + out
        self.brush.stroke(points, self.clothes.legs, 0.14, gain=gain)
        self.brush.stroke(
            world([(along, low - 0.04), (along + 0.2, low - 0.04)]) + out, self.clothes.shoes, 0.09, gain=gain
        )

    def body(self, world: Callable) -> None:
        """Draw the near leg, torso, arm and head."""
        clothes = self.clothes
        self.leg(world, 0.1, 0.16, (0.02, 0.22), 1.0)
        self.brush.stroke(world([(-0.22, 0.95), (-0.06, 1.22), (0.06, 1.4)]), clothes.top, 0.4 * self.wide)
        self.brush.stroke(world([(0.08, 1.4), (0.2, 1.15), (0.36, 1.04)]), clothes.top, 0.11, gain=0.8)
        self.brush.stroke(world([(0.1, 1.44), (0.13, 1.56)]), clothes.skin, 0.1)
        self.brush.stroke(world([(0.13, 1.6), (0.15, 1.63)]), clothes.skin, 0.22)
        self.brush.stroke(world([(0.08, 1.69), (0.16, 1.7)]), clothes.bag, 0.16)
