"""From a trial's number to its sample indices, in the order the trial processes them.

Only raw Philox output is used: NumPy guarantees that stream, and that of SeedSequence, across
versions (NEP 19), but not the streams of ``Generator`` methods such as ``permutation``.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """Independent random streams of one seed, first element of the spawn key.

    The numbers are part of every result: another one gives other weights, orders and samples.
    """

    INITIAL_WEIGHTS = 0
    TRAINING_ORDER = 1
    TRIAL_SAMPLES = 2
    TRIAL_ORDER = 3


def random_bits(seed: int, stream: Stream, index: int, count: int) -> NDArray[np.uint64]:
    """Draw ``count`` raw 64-bit numbers that depend on ``(seed, stream, index)`` alone.

    Philox is a counter-based generator (Salmon et al. 2011); SeedSequence makes its key of seed and
    spawn key. Streams with different keys are statistically independent.

    Args:
        seed: The seed, not negative.
        stream: What the numbers are for.
        index: Number of the trial, sample set, epoch or parameter.
        count: How many.

    Returns:
        Uniform over all 64-bit numbers, uint64, shape (count,).

    Example:
        The same on every machine; a longer draw begins with the shorter one:

        >>> random_bits(0, Stream.TRIAL_ORDER, 7, count=2).tolist()
        [11945965921720424894, 6298717370229931707]
        >>> random_bits(0, Stream.TRIAL_ORDER, 7, count=3).tolist()[:2]
        [11945965921720424894, 6298717370229931707]
        >>> random_bits(0, Stream.TRIAL_SAMPLES, 7, count=1).tolist()  # another stream
        [8398616886058741773]
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(stream, index))
    return np.random.Philox(sequence).random_raw(count)


def permutation(seed: int, stream: Stream, index: int, count: int) -> NDArray[np.intp]:
    """Put ``range(count)`` into a uniformly random order.

    Sorting by random keys is uniform as long as no two keys are equal, which 64 bits make a
    matter of 1e-10 for 60,000 samples; the stable sort keeps even that case deterministic.

    Args:
        seed: The seed, not negative.
        stream: What the order is for.
        index: Number of the trial or epoch.
        count: How many numbers are put into order.

    Returns:
        Each of 0 to ``count`` - 1 once, shape (count,).

    Example:
        >>> permutation(0, Stream.TRAINING_ORDER, index=1, count=6).tolist()
        [4, 0, 1, 5, 2, 3]
        >>> permutation(0, Stream.TRAINING_ORDER, index=2, count=6).tolist()  # the next epoch's
        [1, 0, 3, 5, 4, 2]
    """
    return np.argsort(random_bits(seed, stream, index, count), kind="stable")


def choice(seed: int, stream: Stream, index: int, population: int, count: int) -> NDArray[np.intp]:
    """Choose ``count`` of ``range(population)`` without replacement, in ascending order.

    Those with the smallest of ``population`` random keys: every subset is equally likely. A larger
    subset holds the smaller one.

    Example:
        >>> choice(0, Stream.TRIAL_SAMPLES, index=3, population=100, count=4).tolist()
        [14, 31, 35, 68]
        >>> choice(0, Stream.TRIAL_SAMPLES, index=3, population=100, count=5).tolist()
        [14, 31, 35, 52, 68]
    """
    keys = random_bits(seed, stream, index, population)
    # The smallest keys need no full sort. Their order within the partition is NumPy's own affair,
    # so it is not used: ascending is the same in every version.
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
        Indices into the training set, uint32 as they are stored, shape (samples,), without
        repetition.

    Example:
        There is no batch size among the arguments: a trial goes through the same samples in the
        same order at every batch size, in minibatches of one, of two or of all.

        >>> samples = trial_samples(0, trial=4, population=60_000, samples=6)
        >>> samples.tolist()
        [37374, 30362, 50126, 23876, 19883, 12062]
        >>> [samples[start : start + 2].tolist() for start in range(0, 6, 2)]  # batch size 2
        [[37374, 30362], [50126, 23876], [19883, 12062]]

        With three sample sets, trials 1 and 4 share their samples in orders of their own:

        >>> shared = {"population": 60_000, "samples": 6, "sample_sets": 3}
        >>> first, second = (trial_samples(0, trial, **shared) for trial in (1, 4))
        >>> sorted(first.tolist()) == sorted(second.tolist()), first.tolist() == second.tolist()
        (True, False)
    """
    sample_set = trial if sample_sets is None else trial % sample_sets
    # Which samples, by the set; in which order, by the trial: streams of their own, so that sets
    # are shared and orders are not.
    chosen = choice(seed, Stream.TRIAL_SAMPLES, sample_set, population, samples)
    order = permutation(seed, Stream.TRIAL_ORDER, trial, samples)
    return chosen[order].astype(np.uint32)
