"""What a plan is made of: each step gives the value of one node of the network's graph."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from mmseg_bisenet.deploy.int8.maps import LANES

aten = torch.ops.aten


@dataclass
class Convolution:
    """``output`` is the last node that it computes.

    With ``gated``, results of another convolution, that is ``gated * sigmoid(result)``, in float32.
    """

    output: Node
    source: Node
    weight: Tensor
    bias: Tensor
    stride: int
    groups: int
    relu: bool = False
    shortcut: Node | None = None
    gated: Node | None = None


@dataclass
class Pool:
    """The largest of a square."""

    output: Node
    source: Node
    kernel: int
    stride: int


@dataclass
class Nearest:
    """``source`` resized by nearest neighbour."""

    output: Node
    source: Node


@dataclass
class Gate:
    """``source * sigmoid(resized gate) + resized summand``."""

    output: Node
    source: Node
    gate: Node
    align_corners: bool
    summand: Node | None = None


@dataclass
class Mean:
    """Of each channel, in float32, (1, C, 1, 1)."""

    output: Node
    source: Node


@dataclass
class Linear:
    """A 1x1 convolution of values of the shape (1, C, 1, 1), in float32, and what follows it."""

    output: Node
    source: Node
    weight: Tensor
    bias: Tensor
    relu: bool = False
    sigmoid: bool = False


@dataclass
class Scaled:
    """``source * factor + summand``, which linear steps give; with ``more``, ``source * (factor + 1)``.

    ``shortcut`` is another map that is added.
    """

    output: Node
    source: Node
    factor: Node | None = None
    summand: Node | None = None
    more: bool = False
    shortcut: Node | None = None


@dataclass
class Other:
    """By PyTorch, in float32."""

    output: Node


Step = Convolution | Pool | Nearest | Gate | Mean | Linear | Scaled | Other


@dataclass
class Plan:
    """The steps for one image.

    Args:
        image, logits: the nodes of the pixels (1, 4, H, W) and of the result.
        constants: weights and other tensors, by their nodes.
        positive: values that are never negative.
    """

    image: Node
    logits: Node
    constants: dict[Node, Tensor]
    positive: set[Node] = field(default_factory=set)
    steps: list[Step] = field(default_factory=list)

    @property
    def convolutions(self) -> list[Convolution]:
        return [step for step in self.steps if isinstance(step, Convolution)]

    @property
    def stored(self) -> list[Node]:
        """The values that lie in maps of bytes, in order: what kernels read, what all but convolutions and means
        give, and the parts of what is joined.
        """
        read = {self.image, *(step.source for step in self.steps if not isinstance(step, Linear | Other))}
        read |= {step.shortcut for step in self.convolutions if step.shortcut is not None}
        read |= {step.shortcut for step in self.steps if isinstance(step, Scaled) and step.shortcut is not None}
        read |= {step.output for step in self.steps if isinstance(step, Pool | Nearest | Gate | Scaled)}
        nodes = [self.image, *(step.output for step in self.steps)]
        for node in reversed(nodes):
            if node in read and self.joins(node):
                read |= set(parts_of(node))
        return [node for node in nodes if node in read]

    def joins(self, node: Node) -> bool:
        """Whether a value can be joined from maps that are written in their places in it."""
        if node.target is not aten.cat.default or list(node.args[1:]) != [1]:
            return False
        parts = parts_of(node)
        alone = all(sum(user.target is aten.cat.default for user in part.users) == 1 for part in parts)
        aligned = all(shape_of(part)[1] % LANES == 0 for part in parts[:-1])
        return alone and aligned and len({*parts}) == len(parts) and len({part in self.positive for part in parts}) == 1


def shape_of(node: Node) -> tuple[int, ...]:
    """Of the value, (1, C, H, W)."""
    return tuple(node.meta['val'].shape)


def is_vector(node: Any) -> bool:
    """Whether a value has the shape (1, C, 1, 1)."""
    return isinstance(node, Node) and len(shape_of(node)) == 4 and shape_of(node)[2:] == (1, 1)


def parts_of(node: Node) -> list[Node]:
    """What a concatenation joins."""
    parts: Any = node.args[0]
    return list(parts)
