"""Every definition of "the gradient norm" that the stored scalars allow, side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradatlas.statistics.paired import PairedTrials
from gradatlas.statistics.resampling import (
    Bootstrap,
    bootstrap,
    jackknife,
    log_means,
    log_means_and_spreads,
    power_law_p_value,
    slope_contrast,
)

Array = NDArray[np.float64]

# Deviation from a law that a reader of a figure would see: 10 %.
LAW_MARGIN = np.log(1.10)

# Relative differences that float32 tensors do not resolve.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class NormDefinition:
    """One way to measure "the gradient norm" of a trial."""

    name: str
    formula: str
    values: Callable[[PairedTrials], Array]  # of each trial, shape (B, T)


def _over_k(paired: PairedTrials, values: Array) -> Array:
    return values / paired.batches_per_trial[:, None]


_ROOT, _MEAN_ROOT = "sqrt(sum |g_t|^2)", "sqrt(sum |g_t|^2 / K)"
NORM_DEFINITIONS = (
    NormDefinition("norm of the sum", "|S|", lambda p: p.norm),
    NormDefinition("over batch size", "|S| / B", lambda p: p.norm / p.batch_sizes[:, None]),
    NormDefinition("over steps", "|S| / K", lambda p: _over_k(p, p.norm)),
    NormDefinition("mean over steps", "sum |g_t| / K", lambda p: _over_k(p, p.path_length)),
    NormDefinition("root of summed squares", _ROOT, lambda p: np.sqrt(p.sum_of_squares)),
    NormDefinition(
        "root mean square over steps", _MEAN_ROOT, lambda p: np.sqrt(_over_k(p, p.sum_of_squares))
    ),
)


def square_root_deviations(batch_sizes: NDArray[np.integer]) -> tuple[Array, Array]:
    """Contrasts of log means, (B, B), and what less, (B,), they deviate from a square-root law."""
    centring = np.eye(len(batch_sizes)) - 1 / len(batch_sizes)
    return centring, centring @ (0.5 * np.log(batch_sizes))


def compare_definitions(trials: Sequence[PairedTrials], resampling: Bootstrap) -> pd.DataFrame:
    """Exponent, monotonicity and trend of the spread of every definition.

    Protocols whose trials share sample sets are left out: they have too few independent draws.

    Returns:
        One row per protocol, epoch and definition. Exponents are log-log slopes against B, of the
        mean and of the relative standard deviation; ``half_p_value`` is that of a two-sided test of
        exponent 1/2, ``lack_of_fit_p_value`` of the power law; ``square_root_deviation`` the
        largest relative deviation of a mean from the fitted square-root law, ``smallest_step`` the
        smallest ratio of neighbouring means.
    """
    rows = [
        (
            *paired.key,
            definition.name,
            definition.formula,
            *_compare(paired, definition, resampling),
        )
        for paired in trials
        if len(paired.batch_sizes) > 1 and len(paired.trials) > 1 and paired.own_samples
        for definition in NORM_DEFINITIONS
    ]
    columns = [
        *("protocol", "epoch", "norm_definition", "formula"),
        *("exponent", "exponent_low", "exponent_high", "half_p_value", "lack_of_fit_p_value"),
        *("square_root_deviation", "monotone", "smallest_step"),
        *("spread_exponent", "spread_exponent_low", "spread_exponent_high"),
        *("square_root_within_margin", "spread_grows"),
    ]
    return pd.DataFrame(rows, columns=columns)


def _compare(
    paired: PairedTrials, definition: NormDefinition, resampling: Bootstrap
) -> tuple[float | bool, ...]:
    """The columns of one definition behind its formula."""
    values, slope = definition.values(paired), slope_contrast(np.log(paired.batch_sizes))
    statistic, clusters = log_means_and_spreads(values, paired.clusters)
    found = bootstrap(lambda w: np.tensordot(statistic(w), slope, (1, 0)), clusters, resampling)
    exponent, spread_exponent = found.T.tolist()  # each with the ends of its interval
    means = jackknife(*log_means(values, paired.clusters))
    against_half = 2 * means.above(np.stack([slope, -slope]), np.array([0.5, -0.5])).min()
    _, law = square_root_deviations(paired.batch_sizes)
    deviation = np.abs(means.estimate - means.estimate.mean() - law).max()
    steps = np.diff(means.estimate)
    flat = np.abs(steps).max() < _ROUNDING  # as |S| where weights stay
    return (
        *exponent,
        np.nan if np.isnan(exponent[1]) else min(1.0, against_half),
        np.nan if flat else power_law_p_value(means, paired.batch_sizes),
        float(np.expm1(deviation)),
        bool((steps > _ROUNDING).all()),
        float(np.exp(steps.min())),
        *spread_exponent,
        bool(deviation < LAW_MARGIN),
        spread_exponent[1] > 0,
    )
