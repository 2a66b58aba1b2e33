"""Place the objects of a street."""

import itertools
from typing import Protocol

import numpy as np

from mmseg_bisenet.miniscapes.buildings import Building
from mmseg_bisenet.miniscapes.canvas import Camera, Canvas, Light
from mmseg_bisenet.miniscapes.cars import PAINT, SHAPES, Car
from mmseg_bisenet.miniscapes.ground import KERB, Shadows, Street
from mmseg_bisenet.miniscapes.people import Bicycle, Person
from mmseg_bisenet.miniscapes.plants import LEAVES, Hedge, Tree, crown
from mmseg_bisenet.miniscapes.poles import SIGNS, Bin, Bollard, Lamp, Sign

FAR = 90.0  # metres to the last house


class Thing(Protocol):
    """An object in a street."""

    @property
    def order(self) -> float:
        """Metres ahead of the camera. Objects are painted from far to near."""

    def cast(self, shadows: Shadows) -> None:
        """Draw its shadow."""

    def paint(self, canvas: Canvas, shadows: Shadows) -> None:
        """Draw it into image and labels."""


class Town:
    """Places objects in a street, without overlap."""

    def __init__(self, street: Street, light: Light, camera: Camera, rng: np.random.Generator) -> None:
        self.street, self.rng, self.camera = street, rng, camera
        self.things: list[Thing] = []
        self.taken: list[tuple[float, float, float, float]] = []
        pixels = round(camera.size[0] * 0.55)
        slim = rng.random() < 0.2
        species = rng.choice(list(LEAVES), 2, p=[0.36, 0.26, 0.2, 0.12, 0.06])
        self.crowns = [
            crown(np.random.default_rng(self._seed()), light, kind, pixels, slim) for kind in (*species, 'deep')
        ]
        self.slim = slim
        self.lines = {-1: street.left_line, 1: street.right_line}
        self.kerbs = {-1: street.left, 1: street.right}

    def build(self) -> list[Thing]:
        """Return all objects of the scene, unordered."""
        rng = self.rng
        kind = ('city', 'old', 'house')[rng.choice(3, p=[0.4, 0.33, 0.27])]
        park = int(rng.choice([-1, 1])) if rng.random() < 0.22 else 0
        for side in (-1, 1):
            self._park(side) if side == park else self._row(side, kind)
        self._traffic()
        for side in (-1, 1):
            self._kerbside(side)
        self._crossers()
        for side in (-1, 1):
            self._walkers(side)
        return self.things

    def _seen(self, t: float) -> float:
        """The smallest z at which a point of the ground at ``t`` is inside the image."""
        camera = self.camera
        room = (camera.size[1] - camera.centre) if t > camera.side else camera.centre
        return max(
            abs(t - camera.side) * camera.focal / room, camera.eye * camera.focal / (camera.size[0] - camera.horizon)
        )

    def _place(
        self, thing: Car | Person | Bicycle | Tree | Lamp | Sign | Bollard | Bin, half: tuple[float, float]
    ) -> bool:
        """Add an object, unless its box overlaps another. ``half`` is half its size (t, z) in metres."""
        box = thing.t - half[0], thing.t + half[0], thing.z - half[1], thing.z + half[1]
        if any(box[0] < b[1] and b[0] < box[1] and box[2] < b[3] and b[2] < box[3] for b in self.taken):
            return False
        self.taken.append(box)
        self.things.append(thing)
        return True

    def _seed(self) -> int:
        return int(self.rng.integers(1 << 32))

    def _junction(self, z: float, room: float) -> bool:
        """Whether a point at the kerb is on a crossing street or a pedestrian crossing."""
        street = self.street
        if street.crossing and street.crossing[0] - room < z < street.crossing[1] + room:
            return True
        return street.zebra is not None and street.zebra - room / 2 < z < street.zebra + 3 + room / 2

    def _row(self, side: int, kind: str) -> None:
        """Place houses along one side, with gaps for a crossing street and gardens."""
        rng, line = self.rng, self.lines[side]
        mouth = self._mouth(side)
        z, last = rng.uniform(-4, 3), 0.0
        low, high = {'city': (3, 6), 'old': (2, 4), 'house': (2, 3)}[kind]
        while z < FAR:
            bays = int(rng.integers(*{'city': (4, 7), 'old': (2, 5), 'house': (3, 5)}[kind]))
            far = jump = z + bays * rng.uniform(2.3, 3.1)
            if z < mouth[1] and far > mouth[0]:  # the house at the corner
                far, jump = mouth
                bays = int((far - z) / 2.6)
            if bays > 0 and far > 1.5:
                house = Building(
                    side=side,
                    line=line,
                    near=max(z, 1.0),
                    far=far,
                    floors=int(rng.integers(low, high)),
                    storey=rng.uniform(2.9, 3.5),
                    bays=bays,
                    pitch=rng.uniform(0.75, 1.15) if kind != 'city' or rng.random() < 0.4 else 0.0,
                    kind=kind,
                    gable=kind == 'old' and rng.random() < 0.35,
                    free=z > last,
                    seed=self._seed(),
                )
                self.things.append(house)
                last = far
                if kind == 'house' and rng.random() < 0.5 and far - max(z, 2.0) > 3:
                    self._hedge(side, line - side * 0.75, 0.7, max(z, 2.0) + 1.5, far, rng.uniform(0.7, 1.15))
            z = jump
            if kind == 'house' and jump == far and rng.random() < 0.7:
                z += rng.uniform(2.5, 5)
                self._garden(side, far, z)

    def _mouth(self, side: int) -> tuple[float, float]:
        """The z range without houses at a crossing street; without one, an empty range behind the camera."""
        if not self.street.crossing:
            return -100.0, -100.0
        walk = abs(self.lines[side] - self.kerbs[side])
        return self.street.crossing[0] - walk, self.street.crossing[1] + walk

    def _hedge(self, side: int, front: float, deep: float, near: float, far: float, height: float) -> None:
        self.things.append(Hedge(side, front, deep, near, far, height, self.crowns[2]))

    def _garden(self, side: int, near: float, far: float) -> None:
        """Place a hedge and two trees between houses."""
        rng, line = self.rng, self.lines[side]
        if far < 4:
            return
        self._hedge(side, line, 1.0, max(near, 3.0), far, rng.uniform(1.2, 1.9))
        for z in (near + 1, far - 0.5):
            t, height, width = line + side * rng.uniform(2, 4), rng.uniform(4.5, 8), rng.uniform(3, 4.5)
            self.things.append(Tree(t, max(z, 4), height, width, 1.0, self.crowns[0], behind=5))

    def _park(self, side: int) -> None:
        """Place a hedge and rows of trees behind it, instead of houses."""
        rng, line = self.rng, self.lines[side]
        mouth = self._mouth(side)
        height = rng.uniform(1.5, 2.0)
        for near, far in itertools.pairwise(np.sort([*np.arange(2, FAR, 5), *mouth]).tolist()):
            if near >= 2 and far - near > 0.1 and not mouth[0] <= near < mouth[1]:
                self._hedge(side, line, 1.5, near, far, height)
        for row, step in ((2.5, 5.0), (6.5, 6.0), (11.0, 8.0)):
            for z in np.arange(5 + rng.uniform(0, 3), FAR, step).tolist():
                t = line + side * (row + rng.uniform(-0.8, 0.8))
                tall, kind = rng.uniform(6, 9) + row * 0.25, self.crowns[int(rng.integers(3))]
                if not mouth[0] - 1 < z < mouth[1] + 1:
                    self.things.append(Tree(t, z, tall, tall * rng.uniform(0.75, 0.95), 1.2, kind, behind=7))

    def _traffic(self) -> None:
        """Place cars: ahead, oncoming, crossing and parked."""
        rng, street = self.rng, self.street
        lane = street.lane / 2
        along, back = (0.0, 1.0), (0.0, -1.0)
        if rng.random() < 0.62:
            self._drive(lane + rng.uniform(-0.2, 0.2), rng.uniform(11, 34), along)
        self._drive(lane, rng.uniform(44, 60), along)
        for z in np.cumsum(rng.uniform(9, 26, 3)):
            if rng.random() < 0.72:
                self._drive(-lane + rng.uniform(-0.2, 0.15), float(z + 2), back)
        if street.crossing and rng.random() < 0.75:
            go = int(rng.choice([-1, 1]))
            z = street.crossing[0] + (street.crossing[1] - street.crossing[0]) * (0.28 if go > 0 else 0.72)
            self._drive(float(rng.uniform(-11, 11)), float(z), (float(go), 0.0), across=True)
        for side in (-1, 1):
            kerb = self.kerbs[side]
            if abs(kerb) < street.lane + 1.5:
                continue
            z = self._seen(kerb) + rng.uniform(0, 3)
            while z < 75:
                if rng.random() < 0.72 and not self._junction(z, 6.5):
                    car = self._car(kerb - side * 1.08, z, along if side > 0 else back)
                    self._place(car, (1.0, 2.5))
                z += rng.uniform(5.3, 6.4)

    def _car(self, t: float, z: float, ahead: tuple[float, float]) -> Car:
        rng = self.rng
        shape = str(rng.choice(list(SHAPES), p=[0.32, 0.22, 0.2, 0.18, 0.08]))
        return Car(
            t, z, ahead, shape, PAINT[rng.integers(len(PAINT))] * rng.uniform(0.9, 1.05), bool(rng.random() < 0.3)
        )

    def _drive(self, t: float, z: float, ahead: tuple[float, float], across: bool = False) -> None:
        """Place a moving car, unless it would block a crossing."""
        if across or not self._junction(z, 3.2):
            self._place(self._car(t, z, ahead), (2.6, 1.2) if across else (1.1, 3.4))

    def _kerbside(self, side: int) -> None:
        """Place trees, lamps, signs, bicycles, bollards and bins along the kerb."""
        rng, kerb = self.rng, self.kerbs[side]
        strip = kerb + side * 0.65
        seen = self._seen(strip)
        steel = np.array(((74, 78, 82), (46, 62, 54), (150, 152, 150), (60, 58, 66))[rng.integers(4)])

        z = max(seen, 8.5) + rng.uniform(0.2, 5)  # signs first, so that nothing takes their places
        for _ in range(int(rng.integers(1, 5))):
            two = 2 if rng.random() < 0.35 else 1
            kinds = tuple(str(name) for name in rng.choice(list(SIGNS), two, replace=False))
            sign = Sign(kerb + side * 0.45, z, kinds, rng.uniform(0.38, 0.5), rng.uniform(1.9, 2.3))
            if not self._junction(z, 0.5):
                self._place(sign, (0.3, 0.5))
            z += rng.uniform(4, 12)

        z = max(seen, 7.5) + rng.uniform(0.5, 9)
        height, arm = rng.uniform(5.0, 7.5), rng.uniform(0.9, 2.2)
        step = rng.uniform(15, 22)
        while z < 90:
            if not self._junction(z, 2):
                self._place(Lamp(kerb + side * 0.45, float(z), height, -side * arm, steel), (0.2, 0.4))
            z += step

        for _ in range(int(rng.integers(1, 3))):  # rows of parked bicycles
            z = seen + rng.uniform(1.5, 12)
            slant = rng.uniform(0.0, 0.7) * rng.choice([-1, 1])
            ahead = (float(np.cos(slant)), float(np.sin(slant)))
            for place in range(int(rng.integers(2, 6))):
                spot = float(z + place * 0.75)
                if not self._junction(spot, 2.5):
                    bicycle = Bicycle(kerb + side * 1.15, spot, ahead, KERB, self._seed())
                    self._place(bicycle, (0.75, 0.33))

        if rng.random() < 0.62:
            z, step = max(seen, 9) + rng.uniform(0, 6), rng.uniform(8, 13)
            tall = rng.uniform(5.5, 8.5)
            width = tall * (rng.uniform(0.3, 0.38) if self.slim else rng.uniform(0.55, 0.72))
            while z < 80:
                if not self._junction(z, 4):
                    gain = rng.uniform(0.85, 1.12)
                    bare = rng.uniform(1.9, 2.5)
                    tree = Tree(strip, float(z), tall * gain, width * gain, bare, self.crowns[int(rng.integers(2))])
                    self._place(tree, (0.3, 0.4))
                z += step * rng.uniform(0.85, 1.15)

        if rng.random() < 0.35:
            z = seen + rng.uniform(0, 4)
            for _ in range(int(rng.integers(4, 10))):
                self._place(Bollard(kerb + side * 0.3, float(z), steel), (0.1, 0.1))
                z += 1.8
        if rng.random() < 0.3:
            colour = np.array(((70, 74, 70), (196, 96, 40), (54, 92, 66))[rng.integers(3)])
            self._place(Bin(kerb + side * 0.5, float(seen + rng.uniform(1, 16)), colour), (0.3, 0.3))

    def _crossers(self) -> None:
        """Place persons on the pedestrian crossing, and cyclists on the road."""
        rng, street = self.rng, self.street
        if street.zebra is not None:
            for _ in range(int(rng.integers(0, 4))):
                t = float(rng.uniform(street.left + 0.3, street.right - 0.3))
                z = float(street.zebra + rng.uniform(0.5, 2.5))
                self._place(self._person(t, z, 0.0, across=True), (0.4, 0.3))
        for _ in range(2):
            if rng.random() < 0.4:
                right = rng.random() < 0.6
                z = float(rng.uniform(9, 26))
                if right:
                    t, ahead = street.lane - 0.7, (0.24, 0.97)
                else:
                    t, ahead = -street.lane + 0.7, (0.24, -0.97)
                if street.zebra is not None and rng.random() < 0.4:
                    t, z, ahead = float(rng.uniform(-2.5, 2.5)), street.zebra + 3.4, (float(rng.choice([-1, 1])), 0.0)
                half = (0.9, 0.4) if abs(ahead[0]) > 0.5 else (0.4, 0.9)
                self._place(Bicycle(t, z, ahead, 0.0, self._seed(), ridden=True), half)

    def _walkers(self, side: int) -> None:
        """Place persons on a pavement, alone or in pairs, more of them near the camera."""
        rng = self.rng
        inner, outer = sorted((self.kerbs[side] + side * 1.0, self.lines[side] - side * 0.9))
        for _ in range(int(rng.integers(5, 9))):
            t = float(rng.uniform(inner, outer))
            z = float(self._seen(t) + 0.6 + rng.gamma(1.6, 6.0))
            base = KERB
            if self.street.crossing and self.street.crossing[0] - 0.3 < z < self.street.crossing[1] + 0.3:
                continue
            if self._place(self._person(t, z, base), (0.32, 0.35)) and rng.random() < 0.4:
                self._place(self._person(t + 0.66, z + float(rng.uniform(-0.2, 0.2)), base), (0.3, 0.3))

    def _person(self, t: float, z: float, base: float, across: bool = False) -> Person:
        rng = self.rng
        height = rng.uniform(1.05, 1.35) if rng.random() < 0.12 else rng.uniform(1.58, 1.92)
        return Person(t, z, float(height), base, self._seed(), across)
