"""One protocol and epoch over all its batch sizes, trials paired."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradatlas.core.errors import InputError
from gradatlas.core.settings import TrialSettings, check_one_experiment
from gradatlas.statistics.resampling import independent_draws
from gradatlas.statistics.tables import TrialScalars, key_of, read_trials

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PairedTrials:
    """The scalars of the trials of one protocol and epoch that diverged at no batch size.

    Trial k draws the same samples in the same order at every batch size, so that differences
    between batch sizes are taken trial by trial: what they share cancels.
    """

    settings: TrialSettings  # at the smallest batch size; only that changes
    batch_sizes: NDArray[np.int64]  # ascending, shape (B,)
    trials: NDArray[np.int64]  # numbers of the trials, shape (T,)
    diverged: int  # trials left out because they diverged at one batch size or more
    norm: Array  # |S|, shape (B, T)
    path_length: Array  # sum over minibatches of |g_t|, shape (B, T)
    sum_of_squares: Array  # sum over minibatches of |g_t|^2, shape (B, T)
    product_with_others: Array  # mean scalar product of S with those of other trials, or NaN

    @property
    def key(self) -> tuple[str, int]:
        """Protocol and epoch, which tell groups of rows apart in every table."""
        return key_of(self.settings)[:2]

    @property
    def own_samples(self) -> bool:
        """Whether every trial draws samples of its own."""
        return self.settings.sample_sets is None

    @property
    def batches_per_trial(self) -> NDArray[np.int64]:
        """Minibatches of one trial at each batch size, ceil(N / B), shape (B,)."""
        return -(-self.settings.samples_per_trial // self.batch_sizes)

    @property
    def clusters(self) -> NDArray[np.int64]:
        """What is drawn independently, trial or sample set, shape (T,)."""
        return independent_draws(self.settings, self.trials)


def read_paired(paths: Sequence[Path]) -> list[PairedTrials]:
    """Read files of maps, those of one protocol and epoch together, by ascending epoch.

    Raises:
        InputError: The files are of different experiments, or batch sizes of one protocol and epoch
            do not have the same trials.
    """
    # ``groupby`` joins neighbours alone. The order is also that of batch sizes and epochs.
    scalars = sorted(map(read_trials, paths), key=lambda item: key_of(item.settings))
    check_one_experiment(item.settings for item in scalars)
    groups = groupby(scalars, lambda item: key_of(item.settings)[:2])
    return [_pair(list(members)) for _, members in groups]


def _pair(members: Sequence[TrialScalars]) -> PairedTrials:
    first = members[0]
    settings, trials = first.settings, first.columns["trial"]
    for other in members[1:]:
        if not np.array_equal(other.columns["trial"], trials):
            raise InputError(
                f"batch size {other.settings.batch_size} of protocol {settings.protocol}, epoch "
                f"{settings.epoch} has {len(other.columns['trial'])} trials, expected the same "
                f"{len(trials)} as batch size {settings.batch_size}; collect the rest"
            )
    # A trial that diverged at one batch size is left out at all, so that pairs stay pairs.
    finite = np.asarray(np.all([member.finite for member in members], axis=0))

    def stack(name: str) -> Array:
        # Products with other trials exist only where they tell the noise scale.
        missing = np.full(len(finite), np.nan)
        return np.stack([member.columns.get(name, missing)[finite] for member in members])

    return PairedTrials(
        settings=settings,
        batch_sizes=np.array([member.settings.batch_size for member in members]),
        trials=trials[finite].astype(np.int64),
        diverged=int(np.count_nonzero(~finite)),
        norm=stack("norm"),
        path_length=stack("path_length"),
        sum_of_squares=stack("sum_of_squares"),
        product_with_others=stack("product_with_others"),
    )
