"""What figures are drawn from: tables, and files of single trials and single weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradatlas.archive.shards import open_unlocked
from gradatlas.core.errors import InputError
from gradatlas.core.settings import TrialSettings
from gradatlas.statistics.tables import read_trials

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BatchSize:
    """What figures show of one protocol, epoch and batch size that stands in no table."""

    settings: TrialSettings  # what is measured
    norm: Array  # |S| of the trials that did not diverge, nats, shape (T,)
    diverged: int  # number of trials that did; nothing else here knows of them
    # hill's tail index of the norm at k = 1, 2, ... largest values, shape (T - 1,)
    hill_plot: Array
    mean: Array  # mean of S over trials, nats, of the parameter's shape
    variance: Array  # variance of S over trials, nats^2, of the parameter's shape

    @property
    def has_spread(self) -> bool:
        """Whether there is a distribution to show."""
        return len(self.norm) > 1 and float(np.ptp(self.norm)) > 0


@dataclass(frozen=True, eq=False)
class Summary:
    """What the figures of the tables are drawn from."""

    # by name: statistics, training, law_curves, variance_sources, noise_scale and claims
    tables: Mapping[str, pd.DataFrame]
    confidence: float  # level of the intervals
    main: str  # the article's protocol: weights move, every trial has samples of its own
    frozen: Sequence[str]  # protocols whose weights stay; the main one is compared with them
    reordered: Sequence[str]  # those whose trials share sample sets; the first is split into parts

    @property
    def compared(self) -> list[str]:
        """The main protocol and those whose weights stay."""
        return [self.main, *(name for name in self.frozen if name != self.main)]


def read_norms(maps: Path) -> tuple[TrialSettings, Array, int]:
    """Read the norms of single trials and nothing larger.

    Args:
        maps: HDF5 file of ``gradatlas.statistics.batch_size``.

    Returns:
        What is measured, |S| of the trials that did not diverge, and the number of those that did.
    """
    trials = read_trials(maps)
    diverged = int(np.count_nonzero(~trials.finite))
    return trials.settings, trials.columns["norm"][trials.finite], diverged


def read_batch_size(maps: Path) -> BatchSize:
    """Read all that figures show of one of the statistics' HDF5 files."""
    settings, norm, diverged = read_norms(maps)
    with open_unlocked(maps) as file:
        arrays = {name: np.asarray(file[name][()]) for name in ("hill_plot", "mean", "variance")}
    return BatchSize(settings, norm, diverged, **arrays)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of the workflow, a CSV file with a header.

    Raises:
        InputError: The file is no such table.
    """
    try:
        return pd.read_csv(path)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as a table ({error}); remove it, and the workflow writes it "
            "again"
        ) from error


def trial_counts(batch_sizes: Sequence[BatchSize]) -> pd.DataFrame:
    """Trials of each batch size: protocol, trials, diverged_trials."""
    rows = [
        (item.settings.protocol, item.diverged + len(item.norm), item.diverged)
        for item in batch_sizes
    ]
    return pd.DataFrame(rows, columns=["protocol", "trials", "diverged_trials"])


def left_out(trials: pd.DataFrame) -> str:
    """How many trials diverged, which no figure shows, a line a protocol; empty where none did.

    Args:
        trials: At least the columns protocol, trials and diverged_trials.
    """
    counts = trials.groupby("protocol", sort=False)[["diverged_trials", "trials"]].sum()
    return "\n".join(
        f"{diverged} of {total} trials of {protocol} diverged and are left out"
        for protocol, diverged, total in counts.itertuples()
        if diverged
    )


def of_protocols(table: pd.DataFrame, *protocols: str) -> pd.DataFrame:
    """Rows of the protocols named."""
    return table[table["protocol"].isin(protocols)]
