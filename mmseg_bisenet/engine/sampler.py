"""The order of training images and the random numbers of their augmentation, as a pure function of the seed.

Deviations from MMEngine's ``InfiniteSampler``:

- It can start at any position. Stock draws one permutation after the other from a generator, so a resumed run must draw
  all earlier ones again. Upstream even reads the images again (mmengine#1520).
- Each draw has a seed for its augmentation. In stock, the augmentation depends on the random state of the data worker,
  which a resumed run, or a run with another number of workers, cannot repeat.
"""

import itertools
from collections.abc import Iterator, Sequence, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmseg_bisenet.registry import DATA_SAMPLERS

ORDER, AUGMENTATION, STEP = range(3)  # the uses of random numbers; each has its own seeds


def derive_seed(seed: int, *purpose: int) -> int:
    """Return a seed below 2**32 for one purpose, such as ``AUGMENTATION, 7``. Each purpose gets an independent seed."""
    return int(np.random.SeedSequence(seed, spawn_key=purpose).generate_state(1)[0])


class Draw(int):
    """The index of an image in the data set, with the ``seed`` of its augmentation."""

    seed: int

    def __new__(cls, index: int, seed: int) -> 'Draw':
        draw = super().__new__(cls, index)
        draw.seed = seed
        return draw

    def __getnewargs__(self) -> tuple[int, int]:  # type: ignore[override]  # typeshed's is that of plain integers
        return int(self), self.seed


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler[Draw]):
    """Endless draws: one permutation of the data set after the other, divided among the processes.

    Draw k depends only on ``seed`` and k. Process r of W takes the draws r, r + W, r + 2 W and so on. An iteration
    therefore sees the same images with the same augmentation for any number of data workers, and for any number of
    processes with the same total batch size.

    Args:
        shuffle: if False, every epoch is in the order of the data set.
        seed: an integer from 0, the same in all processes. By default they agree on a random one.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.start = 0

    def skip(self, num_samples: int) -> None:
        """Start the next iterator after the first ``num_samples`` draws of this process."""
        self.start = num_samples

    def __len__(self) -> int:
        """The size of the data set, as in stock."""
        return self.size

    def __iter__(self) -> Iterator[Draw]:
        current: int | None = None
        order: Sequence[int] | np.ndarray = ()
        for number in itertools.count(self.start * self.world_size + self.rank, self.world_size):
            epoch, place = divmod(number, self.size)
            if epoch != current:
                current, order = epoch, self._order(epoch)
            yield Draw(order[place], derive_seed(self.seed, AUGMENTATION, number))

    def _order(self, epoch: int) -> Sequence[int] | np.ndarray:
        if not self.shuffle:
            return range(self.size)
        return np.random.default_rng(derive_seed(self.seed, ORDER, epoch)).permutation(self.size)
