"""Large maps that are not needed at the same time share memory, which then stays in the cache."""

import numpy as np
from torch.fx import Node

from mmseg_bisenet.deploy.int8.maps import padded, size
from mmseg_bisenet.deploy.int8.steps import Plan, shape_of

SMALL = 2**18  # bytes; smaller maps have memory of their own, whose surroundings are prepared once


class Memory:
    """One piece of memory for the large maps of a plan.

    Args:
        wholes: for each value that is stored, the one whose map holds it.
        halo: pixels around maps.

    Attributes:
        shared: the values that lie in it.
    """

    def __init__(self, plan: Plan, wholes: dict[Node, Node], halo: int) -> None:
        first: dict[Node, int] = {}
        last: dict[Node, int] = {}
        for i, step in enumerate(plan.steps):
            if step.output in wholes:
                first.setdefault(wholes[step.output], i)
            for node in (step.output, *_read(step)):
                if node in wholes:
                    last[wholes[node]] = i
        self._places: dict[Node, tuple[int, int]] = {}
        for node in sorted(first, key=first.__getitem__):
            _, channels, height, width = shape_of(node)
            length = -(-size(height, width, padded(channels), halo) // 64) * 64
            if length >= SMALL:
                taken = [self._places[other] for other in self._places if last[other] >= first[node]]
                self._places[node] = _lowest(sorted(taken), length), length
        self.shared = set(self._places)
        total = max((start + length for start, length in self._places.values()), default=0)
        self._bytes = np.empty(total, np.uint8)

    def of(self, node: Node) -> np.ndarray | None:
        """The memory of a map; None if it is small."""
        if node not in self._places:
            return None
        start, length = self._places[node]
        return self._bytes[start : start + length]


def _lowest(taken: list[tuple[int, int]], length: int) -> int:
    start = 0
    for other, size_of in taken:
        if start + length <= other:
            break
        start = max(start, other + size_of)
    return start


def _read(step: object) -> list[Node]:
    """What a step reads."""
    nodes = [getattr(step, name, None) for name in ('source', 'shortcut', 'gate', 'summand')]
    output: Node = step.output  # type: ignore[attr-defined]
    return [node for node in (*nodes, *output.all_input_nodes) if node is not None]
