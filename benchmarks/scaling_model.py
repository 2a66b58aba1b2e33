"""A model of training on many GPUs: the efficiency that follows from one step and the network between the GPUs.

The model (:func:`expect`) assumes:

- Each GPU has the same batch, whatever the number of GPUs, and takes the same time for a step.
- A ring all-reduce averages the gradients: each process sends ``2 (n - 1) / n`` of their bytes in ``2 (n - 1)``
  messages.
- The lower bound of the efficiency assumes that the all-reduce starts after the backward pass. The upper bound assumes
  that it starts with the backward pass and overlaps with all of it. DDP sends the gradients in buckets during the
  backward pass, and lies between the two.

The model leaves out the two small messages of SyncBN for each norm layer and step, evaluation, and processes that wait
for a slow one.
"""

import math
from dataclasses import dataclass

COUNTS = (1, 2, 4, 8, 16, 32, 64)
LATENCY = 1e-5  # seconds a message, if the network was not measured: an assumption, about that of NCCL


@dataclass(frozen=True)
class Network:
    """The network of a ring: bytes a second on its slowest link, and seconds a message."""

    bandwidth: float
    latency: float = LATENCY

    def all_reduce(self, size: float, processes: int) -> float:
        """Seconds that a ring all-reduce of ``size`` bytes takes."""
        steps = 2 * (processes - 1)
        return steps / processes * size / self.bandwidth + steps * self.latency

    @classmethod
    def from_times(cls, size: int, processes: int, large: float, small: float) -> 'Network':
        """The inverse: ``large`` is the seconds of ``size`` bytes, ``small`` the seconds of an empty message."""
        steps = 2 * (processes - 1)
        return cls(steps / processes * size / max(large - small, 1e-9), small / steps)


@dataclass(frozen=True)
class Step:
    """Seconds of the parts of a training step in one process, without communication."""

    forward: float
    backward: float
    optimizer: float

    @property
    def total(self) -> float:
        return self.forward + self.backward + self.optimizer


@dataclass(frozen=True)
class Expectation:
    """For ``gpus`` GPUs: seconds of the all-reduce, and bounds of the efficiency, in (0, 1]."""

    gpus: int
    all_reduce: float
    low: float
    high: float


def expect(step: Step, size: int, network: Network, gpus: int) -> Expectation:
    """Efficiency is the time of a step on one GPU divided by the time on ``gpus`` GPUs.

    Args:
        step: of one process.
        size: of the gradients, in bytes.
        network: between the GPUs.
        gpus: their number.
    """
    travel = network.all_reduce(size, gpus)
    exposed = max(0.0, travel - step.backward)
    return Expectation(gpus, travel, step.total / (step.total + travel), step.total / (step.total + exposed))


def expect_all(step: Step, size: int, network: Network | None) -> list[Expectation]:
    """:func:`expect` for each of ``COUNTS``; without a network, for one GPU only."""
    counts = COUNTS if network else COUNTS[:1]
    network = network or Network(math.inf)
    return [expect(step, size, network, gpus) for gpus in counts]


def workers_needed(step_rate: float, loader_rate: float) -> int:
    """Data workers for one GPU, from the images a second that it trains and that one worker loads."""
    return math.ceil(step_rate / loader_rate)
