"""What a plan is made of: each step gives one value, a feature map or a vector, named as in the network's graph."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Convolution:
    """Weights (K, C / groups, k, k) and bias (K,) in float32.

    Those of the image have four channels: blue, green, red, and 1 on the image and 0 around it. With ``gated``, results
    of another convolution, it gives ``gated * sigmoid(result)`` in float32.
    """

    output: str
    source: str
    weight: np.ndarray
    bias: np.ndarray
    stride: int
    groups: int
    relu: bool = False
    shortcut: str | None = None
    gated: str | None = None


@dataclass
class Pool:
    """The largest of a square."""

    output: str
    source: str
    kernel: int
    stride: int


@dataclass
class Nearest:
    """``source`` resized by nearest neighbour: which of its rows and columns each of the output copies, int64."""

    output: str
    source: str
    row_of: np.ndarray
    column_of: np.ndarray


@dataclass
class Bilinear:
    """``source`` resized; ``resizing``: ``bilinear``, or ``corners`` for the same with aligned corners."""

    output: str
    source: str
    resizing: str


@dataclass
class Gate:
    """``source * sigmoid(resized gate) + resized summand``; the last two are results of convolutions, in float32.

    ``resizing`` may also be ``nearest``, by a whole factor.
    """

    output: str
    source: str
    gate: str
    resizing: str
    summand: str | None = None


@dataclass
class Mean:
    """The mean of each channel, in float32."""

    output: str
    source: str


@dataclass
class Linear:
    """A vector in float32 by weights (K, C), and what follows."""

    output: str
    source: str
    weight: np.ndarray
    bias: np.ndarray
    relu: bool = False
    sigmoid: bool = False


@dataclass
class Scaled:
    """``source * factor + summand``, which linear steps give; with ``more``, ``source * (factor + 1)``.

    ``shortcut`` is another map that is added.
    """

    output: str
    source: str
    factor: str | None = None
    summand: str | None = None
    more: bool = False
    shortcut: str | None = None


Step = Convolution | Pool | Nearest | Bilinear | Gate | Mean | Linear | Scaled
INPUTS = ('source', 'shortcut', 'gated', 'gate', 'factor', 'summand')


@dataclass
class Value:
    """What a step gives, or a concatenation.

    Args:
        shape: (channels, height, width).
        positive: it is never negative.
        parts: of a concatenation, which are written in their places in it.
        largest: absolute value on calibration images, for values that are stored in bytes.
    """

    shape: tuple[int, ...]
    positive: bool = False
    parts: list[str] = field(default_factory=list)
    largest: float = 0.0


@dataclass
class Plan:
    """The steps for one image.

    Args:
        image, logits: the names of the pixels and of the result.
        values: by name, in the order in which they are computed.
    """

    image: str
    logits: str
    values: dict[str, Value]
    steps: list[Step]

    @property
    def convolutions(self) -> list[Convolution]:
        return [step for step in self.steps if isinstance(step, Convolution)]

    @property
    def stored(self) -> list[str]:
        """The values that lie in maps of bytes, in order: what kernels read, what all but convolutions and vectors
        give, and the parts of what is joined.
        """
        read = {self.image, *(step.source for step in self.steps if not isinstance(step, Linear))}
        read |= {step.shortcut for step in self.steps if isinstance(step, Convolution | Scaled) and step.shortcut}
        read |= {step.output for step in self.steps if isinstance(step, Pool | Nearest | Bilinear | Gate | Scaled)}
        for name in reversed(self.values):
            if name in read:
                read |= {*self.values[name].parts}
        return [name for name in self.values if name in read]

    @property
    def reads(self) -> Counter[str]:
        """How often each value is read."""
        found = Counter(name for step in self.steps for name in inputs_of(step))
        found.update(part for value in self.values.values() for part in value.parts)
        return found

    def whole(self, name: str) -> str | None:
        """The concatenation that a value is a part of."""
        return next((whole for whole, value in self.values.items() if name in value.parts), None)


def inputs_of(step: Step) -> list[str]:
    """What a step reads."""
    return [name for key in INPUTS if (name := getattr(step, key, None))]
