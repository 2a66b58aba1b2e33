"""Large maps that are not needed at the same time share memory, which then stays in the cache."""

import numpy as np

from mmseg_bisenet.deploy.int8.maps import padded, size
from mmseg_bisenet.deploy.int8.steps import Plan, inputs_of

SMALL = 2**18  # bytes; smaller maps have memory of their own, whose surroundings are prepared once


class Memory:
    """One piece of memory for the large maps of a plan.

    Args:
        wholes: for each value that is stored, the one whose map holds it.
        halo: pixels around maps.

    Attributes:
        shared: the values that lie in it.
    """

    def __init__(self, plan: Plan, wholes: dict[str, str], halo: int) -> None:
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for i, step in enumerate(plan.steps):
            if step.output in wholes:
                first.setdefault(wholes[step.output], i)
            for name in (step.output, *inputs_of(step)):
                if name in wholes:
                    last[wholes[name]] = i
        self._places: dict[str, tuple[int, int]] = {}
        for name in sorted(first, key=first.__getitem__):
            channels, height, width = plan.values[name].shape
            length = -(-size(height, width, padded(channels), halo) // 64) * 64
            if length >= SMALL:
                taken = [self._places[other] for other in self._places if last[other] >= first[name]]
                self._places[name] = _lowest(sorted(taken), length), length
        self.shared = set(self._places)
        total = max((start + length for start, length in self._places.values()), default=0)
        self._bytes = np.empty(total, np.uint8)

    def of(self, name: str) -> np.ndarray | None:
        """The memory of a map; None if it is small."""
        if name not in self._places:
            return None
        start, length = self._places[name]
        return self._bytes[start : start + length]


def _lowest(taken: list[tuple[int, int]], length: int) -> int:
    start = 0
    for other, size_of in taken:
        if start + length <= other:
            break
        start = max(start, other + size_of)
    return start
