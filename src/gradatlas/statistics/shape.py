"""Intervals of skewness and excess kurtosis: studentised, as their spread depends on them."""

import numpy as np
from numpy.typing import NDArray

from gradatlas.statistics.bootstrap import Bootstrap, resampling_units, studentised_bootstrap
from gradatlas.statistics.norms import shape_statistics

Array = NDArray[np.float64]

_GAUSSIAN_KURTOSIS = 3.0


def shape_intervals(norms: Array, units: NDArray[np.integer], settings: Bootstrap) -> Array:
    """Studentised bootstrap intervals of skewness and excess kurtosis.

    They are symmetric on the scales of asinh(skewness) and log(excess kurtosis + 3), where the
    standard error depends less on the value. The BCa interval, which knows the standard error at
    the estimate alone, covers less (docs/statistics.md).

    Args:
        norms: Shape (T,).
        units: What is drawn independently, shape (T,).
        settings: Number of resamples, level and seed.

    Returns:
        Estimate, lower and upper end, shape (2, 3), a row for skewness and one for excess kurtosis;
        NaN where there is none.
    """
    estimates = shape_statistics(np.ones(len(norms)), norms)[3:]
    if np.isnan(estimates).any():
        return np.stack([estimates, *np.full((2, 2), np.nan)], axis=1)
    sums = _unit_sums(norms, units)
    products = (sums[:, :, None] * sums[:, None, :]).reshape(len(sums), -1)

    def statistic(weights: Array) -> Array:
        of_units = np.moveaxis(weights @ sums, -1, 0)
        of_pairs = np.moveaxis(weights @ products, -1, 0).reshape(5, 5, *of_units.shape[1:])
        return _on_their_scales(of_units, of_pairs)

    with np.errstate(divide="ignore", invalid="ignore"):
        found = studentised_bootstrap(statistic, np.arange(len(sums)), settings)
    ends = [
        np.array([np.sinh(skewness), np.exp(kurtosis) - _GAUSSIAN_KURTOSIS])
        for skewness, kurtosis in (found.low, found.high)
    ]
    return np.stack([estimates, *ends], axis=1)


def _unit_sums(norms: Array, units: NDArray[np.integer]) -> Array:
    """Sums of the powers 0 to 4 of the standardised norms of each unit, shape (U, 5)."""
    count, unit_of_trial = resampling_units(units)
    standardised = (norms - norms.mean()) / norms.std()
    return np.stack(
        [np.bincount(unit_of_trial, standardised**power, count) for power in range(5)], axis=1
    )


def _on_their_scales(sums: Array, pairs: Array) -> Array:
    """asinh(skewness) and log(excess kurtosis + 3), and their standard errors.

    The standard errors are those of the delta method: a function of the mean powers M_p = S_p / S_0
    changes with one unit by its gradient times (A_p - M_p A_0) / S_0.

    Args:
        sums: S_p, sums over units of A_p, shape (5, ...).
        pairs: Sums over units of A_p A_q, shape (5, 5, ...).

    Returns:
        Shape (4, ...).
    """
    n, mean_powers = sums[0], sums[1:] / sums[0]
    (skewness, kurtosis), gradients = _shape_and_gradients(mean_powers)
    centring = -(gradients * mean_powers).sum(axis=1, keepdims=True)
    influence = np.concatenate([centring, gradients], axis=1)  # (2, 5, ...)
    variances = np.einsum("kp...,pq...,kq...->k...", influence, pairs, influence) / n**2
    skewness = np.sqrt(n * (n - 1)) / (n - 2) * skewness
    excess = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * kurtosis - 3 * (n - 1))
    scales = np.stack([np.arcsinh(skewness), np.log(excess + _GAUSSIAN_KURTOSIS)])
    slopes = np.stack([1 / np.hypot(1, skewness), 1 / (excess + _GAUSSIAN_KURTOSIS)])
    return np.concatenate([scales, slopes * np.sqrt(variances)])


def _shape_and_gradients(mean_powers: Array) -> tuple[Array, Array]:
    """m3 / m2^1.5 and m4 / m2^2, and their gradients by the mean powers M_1 to M_4.

    Args:
        mean_powers: Shape (4, ...).

    Returns:
        Shapes (2, ...) and (2, 4, ...).
    """
    first, second, third, fourth = mean_powers
    zero, one = np.zeros_like(first), np.ones_like(first)
    m2 = second - first**2
    m3 = third - 3 * first * second + 2 * first**3
    m4 = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    of_m2 = np.stack([-2 * first, one, zero, zero])
    of_m3 = np.stack([6 * first**2 - 3 * second, -3 * first, one, zero])
    of_m4 = np.stack([12 * first * (second - first**2) - 4 * third, 6 * first**2, -4 * first, one])
    skewness, kurtosis = m3 / m2**1.5, m4 / m2**2
    of_skewness = of_m3 / m2**1.5 - 1.5 * skewness / m2 * of_m2
    of_kurtosis = of_m4 / m2**2 - 2 * kurtosis / m2 * of_m2
    return np.stack([skewness, kurtosis]), np.stack([of_skewness, of_kurtosis])
