"""Every definition of "the gradient norm" that the stored scalars allow, side by side."""

from collections.abc import Callable, Mapping, Sequence

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


def _over_k(paired: PairedTrials, values: Array) -> Array:
    return values / paired.batches_per_trial[:, None]


#: Ways to measure "the gradient norm" of a trial: by name, the formula, and its values (B, T).
NORM_DEFINITIONS: Mapping[str, tuple[str, Callable[[PairedTrials], Array]]] = {
    "norm of the sum": ("|S|", lambda p: p.norm),
    "over batch size": ("|S| / B", lambda p: p.norm / p.batch_sizes[:, None]),
    "over steps": ("|S| / K", lambda p: _over_k(p, p.norm)),
    "mean over steps": ("sum |g_t| / K", lambda p: _over_k(p, p.path_length)),
    "root of summed squares": ("sqrt(sum |g_t|^2)", lambda p: np.sqrt(p.sum_of_squares)),
    "root mean square over steps": (
        "sqrt(sum |g_t|^2 / K)",
        lambda p: np.sqrt(_over_k(p, p.sum_of_squares)),
    ),
}


def square_root_law(batch_sizes: NDArray[np.integer]) -> tuple[Array, Array]:
    """Contrasts of log means, (B, B), and what less, (B,), they deviate from a square-root law.

    The least-squares fit of log m = a + log(B) / 2 has a = mean(log m - log(B) / 2): each contrast
    is a log mean less the mean of all, and less the same of log(B) / 2 it is the log of measured
    over fitted.

    Args:
        batch_sizes: Shape (B,).

    Example:
        >>> contrasts, law = square_root_law(np.array([1, 4, 16]))
        >>> deviations = contrasts @ np.log([3.0, 6.0, 12.0]) - law  # of 3 sqrt(B)
        >>> np.abs(deviations).round(9).tolist()
        [0.0, 0.0, 0.0]
        >>> np.exp(contrasts @ np.log([3.0, 6.6, 12.0]) - law).round(3).tolist()  # 10 % more
        [0.969, 1.066, 0.969]
    """
    centring = np.eye(len(batch_sizes)) - 1 / len(batch_sizes)
    return centring, centring @ (0.5 * np.log(batch_sizes))


def compare_definitions(trials: Sequence[PairedTrials], resampling: Bootstrap) -> pd.DataFrame:
    """Exponent, monotonicity and trend of the spread of every definition.

    "The gradient norm" may be any of ``NORM_DEFINITIONS``, and each has an exponent of its own. A
    slope of 1/2 alone does not show a square-root law, as a curve that is flat, rises and is flat
    again can have it: hence the tests of fit and the largest deviation.

    Protocols whose trials share sample sets are left out: they have too few independent draws.

    Returns:
        One row per protocol, epoch and definition. Exponents are log-log slopes against B, of the
        mean and of the relative standard deviation; ``half_p_value`` is that of a two-sided test of
        exponent 1/2, ``lack_of_fit_p_value`` of the power law; ``square_root_deviation`` the
        largest relative deviation of a mean from the fitted square-root law, ``smallest_step`` the
        smallest ratio of neighbouring means.

    Example:
        Fixed weights and no signal: a minibatch of B independent samples has |g_t| = sqrt(B), and a
        trial of 64 samples |S| = 8 at every batch size.

        >>> from types import SimpleNamespace
        >>> sizes, trial = np.array([1, 4, 16]), np.arange(40)
        >>> noise = np.random.default_rng(0).normal(1, 0.05, size=40)
        >>> paired = SimpleNamespace(
        ...     key=("frozen", 2), own_samples=True, batch_sizes=sizes, trials=trial,
        ...     batches_per_trial=64 // sizes, clusters=trial, norm=np.full((3, 1), 8) * noise,
        ...     path_length=(64 / np.sqrt(sizes))[:, None] * noise,
        ...     sum_of_squares=np.full((3, 1), 64) * noise**2)
        >>> table = compare_definitions([paired], Bootstrap(100, 0.95, (0,)))
        >>> for row in table.itertuples():
        ...     print(f"{row.formula}: {round(row.exponent, 2) + 0.0:+.1f}")
        |S|: +0.0
        |S| / B: -1.0
        |S| / K: +1.0
        sum |g_t| / K: +0.5
        sqrt(sum |g_t|^2): +0.0
        sqrt(sum |g_t|^2 / K): +0.5
    """
    rows = [
        (*paired.key, name, formula, *_compare(paired, values(paired), resampling))
        for paired in trials
        if len(paired.batch_sizes) > 1 and len(paired.trials) > 1 and paired.own_samples
        for name, (formula, values) in NORM_DEFINITIONS.items()
    ]
    columns = [
        *("protocol", "epoch", "norm_definition", "formula"),
        *("exponent", "exponent_low", "exponent_high", "half_p_value", "lack_of_fit_p_value"),
        *("square_root_deviation", "monotone", "smallest_step"),
        *("spread_exponent", "spread_exponent_low", "spread_exponent_high"),
        *("square_root_within_margin", "spread_grows"),
    ]
    return pd.DataFrame(rows, columns=columns)


def _is_exact(norms: Array) -> bool:
    """Whether all trials share the factors between batch sizes, as |S| / B where weights stay."""
    logarithms = np.log(norms)  # (B, T)
    return bool(np.ptp(logarithms - logarithms[0], axis=1).max() < _ROUNDING)


def _compare(paired: PairedTrials, norms: Array, resampling: Bootstrap) -> tuple[float | bool, ...]:
    """The columns of one definition behind its formula."""
    slope = slope_contrast(np.log(paired.batch_sizes))
    statistic, clusters = log_means_and_spreads(norms, paired.clusters)
    found = bootstrap(lambda w: np.tensordot(statistic(w), slope, (1, 0)), clusters, resampling)
    is_exact = _is_exact(norms)
    if is_exact:  # the exponent follows from the definition; all the rest would be rounding
        found[1:, 0] = found[:, 1] = np.nan
    exponent, spread_exponent = found.T.tolist()  # each with the ends of its interval
    means = jackknife(*log_means(norms, paired.clusters))
    # Two-sided: twice the smaller of both one-sided p-values.
    against_half = 2 * means.above(np.stack([slope, -slope]), np.array([0.5, -0.5])).min()
    _, law = square_root_law(paired.batch_sizes)
    # As ``square_root_law``'s contrasts, which subtract the mean over batch sizes.
    deviation = np.abs(means.estimate - means.estimate.mean() - law).max()
    steps = np.diff(means.estimate)  # logarithms of ratios of neighbours, (B - 1,)
    return (
        *exponent,
        # Where the exponent has no interval, for want of draws or spread, it has no test either.
        np.nan if np.isnan(exponent[1]) else min(1.0, against_half),
        np.nan if is_exact else power_law_p_value(means, paired.batch_sizes),
        float(np.expm1(deviation)),
        bool((steps > _ROUNDING).all()),
        float(np.exp(steps.min())),
        *spread_exponent,
        bool(deviation < LAW_MARGIN),
        # The lower end of the interval: NaN, no interval, counts as no growth.
        spread_exponent[1] > 0,
    )
