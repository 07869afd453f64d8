"""The spread between training seeds: how far another training run would move every statistic."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from gradatlas.statistics.tables import KEY, write_csv

CLAIM_KEY = ["claim", "protocol", "epoch"]
SPREAD = ["training_seeds", "mean", "std", "low", "high"]
VERDICTS = ["reproduced", "not reproduced", "undecided"]


def compare_seeds(
    statistics: Sequence[Path],
    claims: Sequence[Path],
    statistics_table: Path,
    claims_table: Path,
    *,
    confidence: float,
) -> None:
    """Write how statistics and verdicts differ between training runs.

    Trials take the same samples in every run, so what is left between them is the training.

    Args:
        statistics: Table of statistics of each training seed.
        claims: Table of claims of each training seed.
        statistics_table: CSV file to write, one row per protocol, epoch, batch size and statistic.
        claims_table: CSV file to write, one row per claim, protocol and epoch.
        confidence: Level of the intervals of the means over seeds.
    """
    rows = pd.concat(map(pd.read_csv, statistics), ignore_index=True)
    names = [str(name) for name in rows]
    measured = [name for name in names if name not in KEY and not name.endswith(("_low", "_high"))]
    long = rows.melt(id_vars=KEY, value_vars=measured, var_name="statistic")
    write_csv(statistics_table, spread(long, [*KEY, "statistic"], "value", confidence))
    verdicts = pd.concat(map(pd.read_csv, claims), ignore_index=True)
    verdicts = verdicts.assign(**{name: verdicts["verdict"] == name for name in VERDICTS})
    counts = verdicts.groupby(CLAIM_KEY, sort=False)[VERDICTS].sum().reset_index()
    estimates = spread(verdicts, CLAIM_KEY, "estimate", confidence)
    write_csv(claims_table, estimates.merge(counts, on=CLAIM_KEY))


def spread(rows: pd.DataFrame, key: Sequence[str], value: str, confidence: float) -> pd.DataFrame:
    """Mean and standard deviation of a value over training seeds.

    Args:
        rows: One row per key and training seed.
        key: Columns that tell apart what is measured.
        value: Column of the numbers, NaN where a run has none.
        confidence: Level of the interval.

    Returns:
        One row per key, in the order they first appear: training_seeds that have a number, mean
        and std (ddof 1) over them, low and high of Student's t interval of the mean. NaN where
        fewer than two seeds have a number, and mean where none has.
    """
    found = rows.groupby(list(key), sort=False)[value].agg(["count", "mean", "std"])
    degrees = (found["count"] - 1).clip(lower=1)  # of freedom; std is NaN where there are none
    half = stats.t.ppf((1 + confidence) / 2, degrees) * found["std"] / np.sqrt(found["count"])
    found = found.assign(low=found["mean"] - half, high=found["mean"] + half)
    return found.rename(columns={"count": "training_seeds"})[SPREAD].reset_index()
