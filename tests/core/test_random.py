"""Random streams: what they depend on, and that they are uniform."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2, chisquare

from gradatlas.core.random import Stream, choice, permutation, random_bits, trial_samples

SEEDS = st.integers(0, 2**32 - 1)


def test_bits_are_those_of_philox_with_the_spawn_key() -> None:
    sequence = np.random.SeedSequence(7, spawn_key=(Stream.TRIAL_ORDER, 11))
    generator = np.random.Generator(np.random.Philox(sequence))

    expected = generator.integers(0, 2**64, 5, np.uint64)

    np.testing.assert_array_equal(random_bits(7, Stream.TRIAL_ORDER, 11, 5), expected)


def test_streams_seeds_and_indices_are_independent() -> None:
    draws = {
        tuple(random_bits(seed, stream, index, 2).tolist())
        for seed in range(5)
        for stream in Stream
        for index in range(50)
    }

    assert len(draws) == 5 * len(Stream) * 50


@given(seed=SEEDS, index=st.integers(0, 2**31), count=st.integers(1, 200))
def test_a_permutation_holds_every_number_once(seed: int, index: int, count: int) -> None:
    order = permutation(seed, Stream.TRAINING_ORDER, index, count)

    np.testing.assert_array_equal(np.sort(order), np.arange(count))


def test_all_permutations_are_equally_likely() -> None:
    orders = list(permutations(range(4)))
    counts = dict.fromkeys(orders, 0)
    for index in range(4800):
        counts[tuple(permutation(0, Stream.TRAINING_ORDER, index, 4).tolist())] += 1

    assert chisquare(list(counts.values())).pvalue > 1e-4


@given(seed=SEEDS, population=st.integers(1, 300), data=st.data())
def test_a_choice_is_without_replacement_and_ascending(
    seed: int, population: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, population))

    chosen = choice(seed, Stream.TRIAL_SAMPLES, 3, population, count)

    assert len(chosen) == count
    assert np.all(np.diff(chosen) > 0)
    assert chosen[0] >= 0
    assert chosen[-1] < population


def test_every_sample_is_chosen_equally_often() -> None:
    chosen = [choice(0, Stream.TRIAL_SAMPLES, trial, 50, 10) for trial in range(2000)]
    counts = np.bincount(np.concatenate(chosen), minlength=50)

    # Draws within a trial exclude each other, so counts vary less than chi-square's multinomial.
    statistic = np.sum((counts - 400) ** 2 / 400) / (1 - 10 / 50)
    assert chi2.sf(statistic, 49) > 1e-4


def test_the_choice_is_that_of_the_smallest_keys() -> None:
    keys = random_bits(3, Stream.TRIAL_SAMPLES, 9, 100)
    slow = sorted(sorted(range(100), key=lambda sample: keys[sample])[:17])

    assert choice(3, Stream.TRIAL_SAMPLES, 9, 100, 17).tolist() == slow


def test_trials_have_samples_and_order_of_their_own() -> None:
    first, second = (trial_samples(0, trial, population=500, samples=64) for trial in (0, 1))

    assert first.dtype == np.uint32
    assert set(first.tolist()) != set(second.tolist())
    assert first.tolist() != sorted(first.tolist())


@given(seed=SEEDS, trial=st.integers(0, 10**6), sets=st.integers(1, 50))
def test_trials_share_the_samples_of_a_set_in_orders_of_their_own(
    seed: int, trial: int, sets: int
) -> None:
    def samples(number: int) -> NDArray[np.uint32]:
        return trial_samples(seed, number, population=100, samples=40, sample_sets=sets)

    first, second = samples(trial), samples(trial + sets)

    assert np.array_equal(np.sort(first), np.sort(second))
    assert not np.array_equal(first, second)


def test_as_many_sets_as_trials_are_samples_of_their_own() -> None:
    for trial in range(5):
        np.testing.assert_array_equal(
            trial_samples(1, trial, population=100, samples=10, sample_sets=5),
            trial_samples(1, trial, population=100, samples=10),
        )


@pytest.mark.parametrize("samples", [1, 60])
def test_a_trial_may_take_one_sample_or_all_of_them(samples: int) -> None:
    chosen = trial_samples(0, 0, population=60, samples=samples)

    assert len(set(chosen.tolist())) == samples
