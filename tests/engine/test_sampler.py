"""Draws: permutations, the same for any division among processes, and the same when begun anywhere."""

import itertools
import pickle

import pytest

from mmseg_bisenet.engine import sampler as module
from mmseg_bisenet.engine.sampler import ResumableSampler


def draws(sampler: ResumableSampler, number: int) -> list[tuple[int, int]]:
    return [(int(draw), draw.seed) for draw in itertools.islice(sampler, number)]


def test_each_round_is_a_permutation_and_no_two_are_alike():
    indices = [index for index, _ in draws(ResumableSampler(range(7), seed=0), 21)]
    rounds = [indices[:7], indices[7:14], indices[14:]]
    assert all(sorted(turn) == list(range(7)) for turn in rounds)
    assert rounds[0] != rounds[1] != rounds[2] != rounds[0]


def test_without_shuffling_the_order_is_the_data_sets():
    assert [index for index, _ in draws(ResumableSampler(range(3), shuffle=False, seed=0), 7)] == [0, 1, 2, 0, 1, 2, 0]


def test_every_draw_has_an_augmentation_of_its_own_and_another_seed_has_others():
    seeds = {seed for _, seed in draws(ResumableSampler(range(7), seed=0), 700)}
    others = {seed for _, seed in draws(ResumableSampler(range(7), seed=1), 700)}
    assert len(seeds | others) == 1400


@pytest.mark.parametrize('start', [0, 1, 6, 7, 20])
def test_begun_anywhere_it_goes_on_as_from_the_start(start):
    sampler = ResumableSampler(range(7), seed=5)
    whole = draws(sampler, 30)
    sampler.skip(start)
    assert draws(sampler, 30 - start) == whole[start:]


def test_a_position_that_cannot_be_counted_up_to():
    sampler = ResumableSampler(range(10**6), seed=5)
    sampler.skip(10**15 + 3)
    (third,) = draws(sampler, 1)
    sampler.skip(10**15)
    assert draws(sampler, 4)[3] == third


@pytest.mark.parametrize('world_size', [2, 3, 4])
def test_processes_share_the_draws_of_one(monkeypatch, world_size):
    alone = draws(ResumableSampler(range(7), seed=5), 24)
    shares = []
    for rank in range(world_size):
        monkeypatch.setattr(module, 'get_dist_info', lambda rank=rank: (rank, world_size))
        sampler = ResumableSampler(range(7), seed=5)
        sampler.skip(2)
        shares.append(draws(sampler, 3))
    assert sorted(itertools.chain(*shares)) == sorted(alone[2 * world_size : 5 * world_size])


def test_a_draw_reaches_a_worker_whole():
    draw = next(iter(ResumableSampler(range(7), seed=5)))
    copy = pickle.loads(pickle.dumps(draw))
    assert (copy, copy.seed, type(copy)) == (draw, draw.seed, type(draw))
