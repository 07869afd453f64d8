"""Made-up tables and maps with the columns that figures read."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from gradatlas.core.settings import TrialSettings
from gradatlas.figures.inputs import BatchSize
from tests.record import RECORD

BATCH_SIZES = (1, 2, 3, 8, 64, 1024)


def statistics_table(
    protocols: Sequence[str] = ("sgd", "frozen"),
    epochs: Sequence[int] = (2, 30),
    batch_sizes: Sequence[int] = BATCH_SIZES,
    trials: int = 1000,
) -> pd.DataFrame:
    """Norms that rise with batch size and fall with epoch, and some value for all other columns."""
    rng = np.random.default_rng(0)
    keys = [(name, epoch, size) for name in protocols for epoch in epochs for size in batch_sizes]
    table = pd.DataFrame(keys, columns=["protocol", "epoch", "batch_size"])
    table["trials"], table["diverged_trials"] = trials, 0
    table["mean_norm"] = 200 * table["batch_size"] ** 0.15 / (1 + table["epoch"] / 20)
    table["relative_std"] = 0.02 + 0.005 * np.log2(table["batch_size"])
    table["std_norm"] = table["mean_norm"] * table["relative_std"]
    largest = table.groupby(["protocol", "epoch"])["mean_norm"].transform("max")
    table["normalised_mean"] = largest
    table["normalised_std"] = table["std_norm"] * largest / table["mean_norm"]
    for column in ("skewness", "excess_kurtosis", "l_skewness", "l_kurtosis"):
        table[column] = rng.normal(scale=0.2, size=len(table))
    table["coherence"] = table["batch_size"] / max(batch_sizes)
    table["cosine_to_largest_batch"] = 0.7 + 0.3 * table["coherence"]
    interval_columns = ("relative_std", "skewness", "excess_kurtosis", "coherence")
    for column in (*interval_columns, "cosine_to_largest_batch"):
        table[f"{column}_low"] = table[column] - 0.01
        table[f"{column}_high"] = table[column] + 0.02
    return table


def law_curves(epochs: Sequence[int] = (2, 30)) -> pd.DataFrame:
    """Two fitted laws at measured batch sizes and one point in between."""
    rows = [
        (
            *("sgd", epoch, law, size, 100 * size**slope),
            *((98 * size**slope, 100 / 98 - 1) if size in BATCH_SIZES else (np.nan, np.nan)),
        )
        for epoch in epochs
        for law, slope in (("constant", 0.0), ("power", 0.2), ("relaxation", 0.1))
        for size in sorted({*BATCH_SIZES, 22.6})
    ]
    columns = ["protocol", "epoch", "law", "batch_size", "fitted_norm"]
    return pd.DataFrame(rows, columns=[*columns, "root_mean_square_norm", "relative_error"])


def variance_sources() -> pd.DataFrame:
    """Shares that rise with batch size."""
    rows = [
        ("sgd_reordered", epoch, size, 10, 20.0, share, share - 0.1, min(share + 0.1, 1.0))
        for epoch in (2, 30)
        for size, share in ((1, 0.1), (32, 0.8), (256, 0.97))
    ]
    columns = ["protocol", "epoch", "batch_size", "sample_sets", "orders", "sample_share"]
    return pd.DataFrame(rows, columns=[*columns, "sample_share_low", "sample_share_high"])


def noise_scales() -> pd.DataFrame:
    """Two estimators at two checkpoints; one interval has no upper end."""
    rows = [
        ("frozen", 2, "trial covariance", 1024, 1024, 80.0, 70.0, 90.0),
        ("frozen", 2, "two batch sizes", 1, 1024, 82.0, 78.0, 86.0),
        ("frozen", 30, "trial covariance", 1024, 1024, 900.0, 600.0, np.nan),
        ("frozen", 30, "two batch sizes", 1, 1024, 800.0, 700.0, 950.0),
    ]
    columns = ["protocol", "epoch", "estimator", "small_batch", "large_batch", "noise_scale"]
    return pd.DataFrame(rows, columns=[*columns, "noise_scale_low", "noise_scale_high"])


def claims_table() -> pd.DataFrame:
    """Some verdict on claims 1 to 6 at two checkpoints; none on claim 7."""
    verdicts = ("reproduced", "not reproduced", "undecided")
    rows = [
        (
            claim,
            "sgd",
            epoch,
            0.1 * claim,
            0.1 * claim - 0.05,
            0.1 * claim + 0.05,
            verdicts[claim % 3],
        )
        for claim in range(1, 7)
        for epoch in (2, 30)
    ]
    columns = ["claim", "protocol", "epoch", "estimate", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def training_table() -> pd.DataFrame:
    """Thirty epochs that learn something."""
    epochs = np.arange(31)
    return pd.DataFrame(
        {
            "epoch": epochs,
            "train_loss": 2.3 / (1 + epochs),
            "train_accuracy": 1 - 0.9 / (1 + epochs),
            "test_loss": 2.4 / (1 + epochs),
            "test_accuracy": 1 - 0.91 / (1 + epochs),
        }
    )


def trial_settings(epoch: int, batch_size: int) -> TrialSettings:
    """The default experiment's moving protocol."""
    return replace(RECORD, epoch=epoch, batch_size=batch_size)


def batch_sizes_with_trials(
    epochs: Sequence[int] = (2, 30), sizes: Sequence[int] = BATCH_SIZES, trials: int = 200
) -> list[BatchSize]:
    """Norms of trials and maps of a 10 x 12 weight."""
    rng = np.random.default_rng(0)
    return [
        BatchSize(
            trial_settings(epoch, size),
            diverged=0,
            norm=rng.normal(200, 10, trials),
            hill_plot=rng.uniform(5, 50, max(trials - 1, 0)),
            mean=rng.normal(size=(10, 12)) * rng.uniform(0, 5, 12),
            variance=rng.uniform(0, 5, (10, 12)),
        )
        for epoch in epochs
        for size in sizes
    ]


def steps_table(epochs: Sequence[int] = (2, 30)) -> pd.DataFrame:
    """Paths of two pictures at each checkpoint."""
    pair = [(1, 0, 0, 0), (1, 1, 2, 2.5), (1, 2, 5, -0.5), (2, 0, 0, 0), (2, 2, 5.2, 0)]
    trial = [(1, 0, 0, 0), (1, 512, 60, 20), (1, 1024, 100, 50), (1024, 0, 0, 0)]
    trial += [(1024, 1024, 500, 0)]
    rows = [
        (epoch, picture, size, samples, x, y, float(np.hypot(x, y)) + 1)
        for epoch in epochs
        for picture, points in (("two samples", pair), ("trial", trial))
        for size, samples, x, y in points
    ]
    columns = ["epoch", "picture", "batch_size", "samples", "x", "y", "norm"]
    return pd.DataFrame(rows, columns=columns)
