"""From a trial's number to its sample indices, in the order the trial processes them.

Only raw Philox output is used: NumPy guarantees that stream, and that of SeedSequence, across
versions (NEP 19), but not the streams of ``Generator`` methods such as ``permutation``.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """Independent random streams of one seed, first element of the spawn key."""

    INITIAL_WEIGHTS = 0
    TRAINING_ORDER = 1
    TRIAL_SAMPLES = 2
    TRIAL_ORDER = 3


def random_bits(seed: int, stream: Stream, index: int, count: int) -> NDArray[np.uint64]:
    """Draw ``count`` raw 64-bit numbers that depend on ``(seed, stream, index)`` alone."""
    sequence = np.random.SeedSequence(seed, spawn_key=(stream, index))
    return np.random.Philox(sequence).random_raw(count)


def permutation(seed: int, stream: Stream, index: int, count: int) -> NDArray[np.intp]:
    """Put ``range(count)`` into a uniformly random order.

    Sorting by random keys is uniform as long as no two keys are equal, which 64 bits make a
    matter of 1e-10 for 60,000 samples; the stable sort keeps even that case deterministic.
    """
    return np.argsort(random_bits(seed, stream, index, count), kind="stable")


def choice(seed: int, stream: Stream, index: int, population: int, count: int) -> NDArray[np.intp]:
    """Choose ``count`` of ``range(population)`` without replacement, in ascending order."""
    keys = random_bits(seed, stream, index, population)
    return np.sort(np.argpartition(keys, count - 1)[:count])


def trial_samples(
    seed: int, trial: int, *, population: int, samples: int, sample_sets: int | None = None
) -> NDArray[np.uint32]:
    """Sample indices of one trial, in processing order.

    The result depends on the seed and the trial's number alone, so it is the same at every batch
    size and checkpoint, and however trials are split into jobs.

    Args:
        seed: The experiment's seed.
        trial: Number of the trial, from 0.
        population: Size of the training set.
        samples: Samples of one trial, at most ``population``.
        sample_sets: Number of distinct sample sets; trial k uses set ``k % sample_sets`` in an
            order of its own. None gives every trial its own samples.

    Returns:
        Indices into the training set, shape (samples,), without repetition.
    """
    sample_set = trial if sample_sets is None else trial % sample_sets
    chosen = choice(seed, Stream.TRIAL_SAMPLES, sample_set, population, samples)
    order = permutation(seed, Stream.TRIAL_ORDER, trial, samples)
    return chosen[order].astype(np.uint32)
