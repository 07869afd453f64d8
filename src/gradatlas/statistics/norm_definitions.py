"""Every reading of "the gradient norm" that the stored scalars allow, side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradatlas.statistics.bootstrap import Bootstrap, WeightedStatistic, bootstrap, of_means
from gradatlas.statistics.jackknife import jackknife, residual_contrasts, slope_contrast
from gradatlas.statistics.paired import Sweep

Array = NDArray[np.float64]

# Deviation from a law that a reader of a figure would see: 10 %.
LAW_MARGIN = np.log(1.10)

_COLUMNS = [
    *("protocol", "epoch", "reading", "formula"),
    *("exponent", "exponent_low", "exponent_high", "half_p_value", "lack_of_fit_p_value"),
    *("square_root_deviation", "monotone", "smallest_step"),
    *("spread_exponent", "spread_exponent_low", "spread_exponent_high"),
    *("square_root_within_margin", "spread_grows"),
]

# Relative differences that float32 tensors do not resolve.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Reading:
    """One way to measure "the gradient norm" of a trial.

    Attributes:
        name: Name in the table.
        formula: What it is.
        values: From a sweep to the reading of each trial, shape (B, T).
    """

    name: str
    formula: str
    values: Callable[[Sweep], Array]


READINGS = (
    Reading("norm of the sum", "|S|", lambda sweep: sweep.norm),
    Reading("over batch size", "|S| / B", lambda sweep: sweep.norm / sweep.batch_sizes[:, None]),
    Reading("over steps", "|S| / K", lambda sweep: sweep.norm / sweep.batches_per_trial[:, None]),
    Reading(
        "mean over steps",
        "sum |g_t| / K",
        lambda sweep: sweep.path_length / sweep.batches_per_trial[:, None],
    ),
    Reading(
        "root of summed squares",
        "sqrt(sum |g_t|^2)",
        lambda sweep: np.sqrt(sweep.sum_of_squares),
    ),
    Reading(
        "root mean square over steps",
        "sqrt(sum |g_t|^2 / K)",
        lambda sweep: np.sqrt(sweep.sum_of_squares / sweep.batches_per_trial[:, None]),
    ),
)


def log_means(
    values: Array, units: NDArray[np.integer]
) -> tuple[WeightedStatistic, NDArray[np.intp]]:
    """Logarithms of the means of positive values, shape (B, T), as ``of_means`` returns them."""
    return of_means(lambda means, _: np.log(means), values, units)


def log_means_and_spreads(
    values: Array, units: NDArray[np.integer]
) -> tuple[WeightedStatistic, NDArray[np.intp]]:
    """Logarithms of mean and relative standard deviation, as ``of_means`` returns a statistic.

    Args:
        values: Shape (B, T), positive.
        units: Unit of each trial, shape (T,).

    Returns:
        The statistic's values have shape (2, B, ...), the spreads second: minus infinity without
        spread.
    """
    centres = values.mean(axis=1)
    deviations = values - centres[:, None]

    def statistic(means: Array, n: Array) -> Array:
        first, second = np.split(means, 2)  # (B, ...)
        mean = centres.reshape(-1, *(1,) * n.ndim) + first
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = np.maximum(second - first**2, 0) * n / (n - 1)
            return np.stack([np.log(mean), 0.5 * np.log(variance) - np.log(mean)])

    return of_means(statistic, np.concatenate([deviations, np.square(deviations)]), units)


def square_root_deviations(batch_sizes: NDArray[np.integer]) -> tuple[Array, Array]:
    """What turns log means into deviations from the fitted square-root law.

    Returns:
        Contrasts, shape (B, B), and what to subtract from their values, shape (B,).
    """
    count = len(batch_sizes)
    centring = np.eye(count) - 1 / count
    return centring, centring @ (0.5 * np.log(batch_sizes))


def compare_readings(sweeps: Sequence[Sweep], settings: Bootstrap) -> pd.DataFrame:
    """Exponent, monotonicity and trend of the spread of every reading.

    Protocols whose trials share sample sets are left out: they have too few independent draws.

    Returns:
        One row per protocol, epoch and reading: ``exponent`` (log-log slope of the mean against B)
        with interval, ``half_p_value`` (two-sided test of exponent 1/2), ``lack_of_fit_p_value``
        (Hotelling's test of the power law), ``square_root_deviation`` (largest deviation of a mean
        from the fitted square-root law, relative), ``monotone`` (every batch size's mean lies
        above that of the next smaller one), ``smallest_step`` (smallest ratio of neighbouring
        means), ``spread_exponent`` (log-log slope of the relative standard deviation) with
        interval, and whether the square-root law holds within 10 % and the spread grows.
    """
    rows = [
        _describe(sweep, reading, settings)
        for sweep in sweeps
        if len(sweep.batch_sizes) > 1 and len(sweep.trials) > 1 and sweep.sample_sets is None
        for reading in READINGS
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _describe(sweep: Sweep, reading: Reading, settings: Bootstrap) -> dict[str, object]:
    values = reading.values(sweep)
    logarithms = np.log(sweep.batch_sizes)
    slope = slope_contrast(logarithms)

    statistic, groups = log_means_and_spreads(values, sweep.units)
    found = bootstrap(lambda w: np.tensordot(statistic(w), slope, (1, 0)), groups, settings)
    means = jackknife(*log_means(values, sweep.units))
    against_half = means.above(np.stack([slope, -slope]), np.array([0.5, -0.5]))
    _, subtract = square_root_deviations(sweep.batch_sizes)
    deviations = means.estimate - means.estimate.mean() - subtract
    design = np.stack([np.ones(len(logarithms)), logarithms], axis=1)
    steps = np.diff(means.estimate)
    flat = bool(np.abs(steps).max() < _ROUNDING)  # as |S| under update none
    return {
        "protocol": sweep.protocol,
        "epoch": sweep.epoch,
        "reading": reading.name,
        "formula": reading.formula,
        "exponent": found.estimate[0],
        "exponent_low": found.low[0],
        "exponent_high": found.high[0],
        "half_p_value": np.nan if np.isnan(found.low[0]) else min(1.0, 2 * against_half.min()),
        "lack_of_fit_p_value": np.nan if flat else means.vanish(residual_contrasts(design)),
        "square_root_deviation": float(np.expm1(np.abs(deviations).max())),
        "monotone": bool((steps > _ROUNDING).all()),
        "smallest_step": float(np.exp(steps.min())),
        "spread_exponent": found.estimate[1],
        "spread_exponent_low": found.low[1],
        "spread_exponent_high": found.high[1],
        "square_root_within_margin": bool(np.abs(deviations).max() < LAW_MARGIN),
        "spread_grows": bool(found.low[1] > 0),
    }
