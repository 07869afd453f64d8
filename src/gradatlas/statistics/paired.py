"""One protocol and epoch over all its batch sizes, trials paired."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradatlas.core.errors import InputError
from gradatlas.statistics.description import TrialScalars, read_trials

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sweep:
    """The scalars of the trials that did not diverge at any batch size of one protocol and epoch.

    Attributes:
        protocol: Name of the protocol.
        epoch: Epoch of the checkpoint.
        update: What the weights do between minibatches, ``sgd`` or ``none``.
        learning_rate: Step size of ``sgd``.
        samples_per_trial: Samples of one trial.
        training_samples: Samples of the training set.
        sample_sets: Number of sample sets the trials share; None: each its own.
        batch_sizes: Ascending, shape (B,).
        trials: Numbers of the trials, shape (T,).
        diverged: Trials left out because they diverged at one batch size or more.
        norm: |S|, shape (B, T).
        path_length: Sum over minibatches of |g_t|, shape (B, T).
        sum_of_squares: Sum over minibatches of |g_t|^2, shape (B, T).
        product_with_others: Average scalar product of S with those of the other trials, shape
            (B, T); NaN where it was not computed.
    """

    protocol: str
    epoch: int
    update: str
    learning_rate: float
    samples_per_trial: int
    training_samples: int
    sample_sets: int | None
    batch_sizes: NDArray[np.int64]
    trials: NDArray[np.int64]
    diverged: int
    norm: Array
    path_length: Array
    sum_of_squares: Array
    product_with_others: Array

    @property
    def batches_per_trial(self) -> NDArray[np.int64]:
        """Minibatches of one trial at each batch size, shape (B,)."""
        return -(-self.samples_per_trial // self.batch_sizes)

    @property
    def units(self) -> NDArray[np.int64]:
        """What is drawn independently, trial or sample set, shape (T,)."""
        return self.trials if self.sample_sets is None else self.trials % self.sample_sets


def read_sweeps(paths: Sequence[Path]) -> list[Sweep]:
    """Read the scalars of all batch sizes, one sweep per protocol and epoch.

    Args:
        paths: HDF5 files of ``gradatlas.statistics.batch_size.describe_batch_size``.

    Raises:
        InputError: Batch sizes of one protocol and epoch do not have the same trials.
    """
    scalars = sorted(map(read_trials, paths), key=lambda item: (*_key(item), item.batch_size))
    return [_sweep(list(members)) for _, members in groupby(scalars, _key)]


def _key(scalars: TrialScalars) -> tuple[str, int]:
    return scalars.protocol, scalars.epoch


def _sweep(members: Sequence[TrialScalars]) -> Sweep:
    first = members[0]
    for other in members[1:]:
        if not np.array_equal(other.columns["trial"], first.columns["trial"]):
            raise InputError(
                f"batch size {other.batch_size} of protocol {first.protocol}, epoch {first.epoch} "
                f"has {len(other.columns['trial'])} trials, expected the same "
                f"{len(first.columns['trial'])} as batch size {first.batch_size}; collect the rest"
            )
    finite = np.asarray(np.all([member.finite for member in members], axis=0))

    def stack(name: str) -> Array:
        missing = np.full(len(finite), np.nan)
        return np.stack([member.columns.get(name, missing)[finite] for member in members])

    return Sweep(
        protocol=first.protocol,
        epoch=first.epoch,
        update=first.update,
        learning_rate=first.learning_rate,
        samples_per_trial=first.samples_per_trial,
        training_samples=first.training_samples,
        sample_sets=first.sample_sets,
        batch_sizes=np.array([member.batch_size for member in members]),
        trials=first.columns["trial"][finite].astype(np.int64),
        diverged=int(np.count_nonzero(~finite)),
        norm=stack("norm"),
        path_length=stack("path_length"),
        sum_of_squares=stack("sum_of_squares"),
        product_with_others=stack("product_with_others"),
    )
