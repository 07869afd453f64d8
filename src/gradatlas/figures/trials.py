"""The norms of single trials and the maps of single weights, from the statistics' HDF5 files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradatlas.statistics.description import read_trials

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BatchSize:
    """What figures show of one protocol, epoch and batch size.

    Attributes:
        protocol: Name of the protocol.
        epoch: Epoch of the checkpoint.
        batch_size: Samples per minibatch.
        parameter: Parameter whose gradient is described, such as ``last.weight``.
        diverged: Number of trials that diverged; nothing else here knows of them.
        norm: |S| of the trials that did not diverge, nats, shape (T,).
        hill_plot: Hill's tail index of the norm at k = 1, 2, ... largest values, shape (T - 1,).
        mean: Mean of S over trials, nats, of the parameter's shape.
        variance: Variance of S over trials, nats^2, of the parameter's shape.
    """

    protocol: str
    epoch: int
    batch_size: int
    parameter: str
    diverged: int
    norm: Array
    hill_plot: Array
    mean: Array
    variance: Array


def read_batch_sizes(paths: Sequence[Path]) -> list[BatchSize]:
    """Read files of ``statistics.description.write_maps``, by ascending epoch and batch size."""
    return sorted(map(_read, paths), key=lambda item: (item.epoch, item.batch_size))


def _read(path: Path) -> BatchSize:
    trials = read_trials(path)
    with h5py.File(path, "r") as file:
        return BatchSize(
            protocol=trials.protocol,
            epoch=trials.epoch,
            batch_size=trials.batch_size,
            parameter=str(file.attrs["parameter"]),
            diverged=int(np.count_nonzero(~trials.finite)),
            norm=trials.columns["norm"][trials.finite],
            hill_plot=np.asarray(file["hill_plot"][()]),
            mean=np.asarray(file["mean"][()]),
            variance=np.asarray(file["variance"][()]),
        )


def trial_counts(batch_sizes: Sequence[BatchSize]) -> pd.DataFrame:
    """Trials of each batch size: protocol, trials, diverged_trials."""
    rows = [(item.protocol, item.diverged + len(item.norm), item.diverged) for item in batch_sizes]
    return pd.DataFrame(rows, columns=["protocol", "trials", "diverged_trials"])


def by_epoch(batch_sizes: Sequence[BatchSize]) -> dict[int, list[BatchSize]]:
    """Batch sizes of each checkpoint, both ascending."""
    epochs = sorted({item.epoch for item in batch_sizes})
    return {epoch: [item for item in batch_sizes if item.epoch == epoch] for epoch in epochs}
