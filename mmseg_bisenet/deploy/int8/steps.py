"""What a plan is made of: each step gives the value of one node of the network's graph."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.fx import Node


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
    """``source * factor + summand``, which linear steps give; with ``more``, ``source * (factor + 1)``."""

    output: Node
    source: Node
    factor: Node | None = None
    summand: Node | None = None
    more: bool = False


@dataclass
class Other:
    """By PyTorch, in float32."""

    output: Node


Step = Convolution | Pool | Gate | Mean | Linear | Scaled | Other


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
