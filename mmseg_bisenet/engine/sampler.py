"""The order of training images, and the randomness of their augmentation, as a pure function of the seed.

Deviations from MMEngine's ``InfiniteSampler``:

- Any position is reached at once. Stock draws one permutation after the other from a generator, so that a resumed run
  has to draw, and upstream even to read, what was trained on before (mmengine#1520).
- A draw brings the seed of its augmentation. Stock lets each data worker go on with the random state it has, which a
  resumed run, or another number of workers, cannot repeat.
"""

import itertools
from collections.abc import Iterator, Sequence, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmseg_bisenet.registry import DATA_SAMPLERS

ORDER, AUGMENTATION, STEP = range(3)  # what random numbers are for, so that no two uses share them


def derive_seed(seed: int, *purpose: int) -> int:
    """A seed below 2**32 for one purpose, such as ``AUGMENTATION, 7``, independent of those of all others."""
    return int(np.random.SeedSequence(seed, spawn_key=purpose).generate_state(1)[0])


class Draw(int):
    """Index of an image in the data set, with the ``seed`` of its augmentation."""

    seed: int

    def __new__(cls, index: int, seed: int) -> 'Draw':
        draw = super().__new__(cls, index)
        draw.seed = seed
        return draw

    def __getnewargs__(self) -> tuple[int, int]:
        return int(self), self.seed


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler[Draw]):
    """Endless draws: one permutation of the data set after the other, dealt to the processes in turn.

    Draw k of all processes together depends on ``seed`` and k alone, and process r of W takes the draws r, r + W, ...
    So an iteration sees the same images under the same augmentation for any number of data workers, and for any number
    of processes with the same total batch.

    Args:
        shuffle: Otherwise every round is in the data set's order.
        seed: At least 0, and the same in all processes; by default they agree on a random one.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.start = 0

    def skip(self, num_samples: int) -> None:
        """Let the next iterator begin after ``num_samples`` draws of this process, counted from the very first."""
        self.start = num_samples

    def __len__(self) -> int:
        """Size of the data set, as stock has it."""
        return self.size

    def __iter__(self) -> Iterator[Draw]:
        current = order = None
        for number in itertools.count(self.start * self.world_size + self.rank, self.world_size):
            turn, place = divmod(number, self.size)
            if turn != current:
                current, order = turn, self._order(turn)
            yield Draw(order[place], derive_seed(self.seed, AUGMENTATION, number))

    def _order(self, turn: int) -> Sequence[int]:
        if not self.shuffle:
            return range(self.size)
        return np.random.default_rng(derive_seed(self.seed, ORDER, turn)).permutation(self.size)
