"""Statistics of the trials' norms: spread, shape and tail of one scalar sample."""

import math

import numpy as np
from numpy.typing import NDArray

from gradatlas.core.compiled import compiled
from gradatlas.statistics.resampling import Bootstrap, Clusters, cluster_sums, studentised_bootstrap

Array = NDArray[np.float64]

# The Hill estimator at fewer order statistics has a relative standard error above 1 / sqrt(5).
MINIMUM_TAIL = 5

_GAUSSIAN_KURTOSIS = 3.0


def shape_statistics(weights: Array, norms: Array) -> Array:
    """Mean, standard deviation, relative standard deviation, skewness and excess kurtosis.

    With unit weights these are the mean, the standard deviation with n - 1, their ratio,
    k3 / k2^1.5 and k4 / k2^2 (Fisher 1930; SciPy's ``skew`` and ``kurtosis`` with ``bias=False``).
    A trial of weight w counts as w equal trials. The mean and the k-statistics are unbiased; roots
    and ratios of them, all others here, are not.

    Args:
        weights: How often each trial counts, shape (..., T).
        norms: One number a trial, shape (T,).

    Returns:
        The five statistics, shape (5, ...), the first two in units of the norms, the others
        without; NaN where the weights leave too few trials or no spread.

    Example:
        Left out, drawn twice, once and once, as in a resample:

        >>> norms = np.array([1.0, 2.0, 3.0, 6.0])
        >>> shape_statistics(np.array([0.0, 2.0, 1.0, 1.0]), norms).round(3).tolist()
        [3.25, 1.893, 0.582, 1.659, 2.615]
        >>> shape_statistics(np.ones(4), np.array([2.0, 2.0, 3.0, 6.0])).round(3).tolist()
        [3.25, 1.893, 0.582, 1.659, 2.615]
    """
    # Powers about the mean of all trials, near that of any resample; about zero they would cancel.
    n, centre = weights.sum(axis=-1), norms.mean()
    d = norms - centre
    powers = np.stack([d, d * d, d * d * d, d * d * (d * d)], axis=1)  # (T, power)
    mean_powers = np.moveaxis(weights @ powers, -1, 0) / n  # (power, ...)
    m2, m3, m4 = _central_moments(mean_powers)
    mean = centre + mean_powers[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        m2 = np.where(n > 1, m2, np.nan)
        # Rounding may leave a negative variance where a resample repeats one trial alone.
        deviation = np.sqrt(np.maximum(m2, 0) * n / (n - 1))
        # As in ``moments``: less than the rounding of equal norms is no spread to divide by.
        spread = np.where(m2 > (4 * np.finfo(np.float64).eps * centre) ** 2, m2, np.nan)
        skewness = np.where(n > 2, np.sqrt(n * (n - 1)) / (n - 2) * m3 / spread**1.5, np.nan)
        kurtosis = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * m4 / spread**2 - 3 * (n - 1))
        kurtosis = np.where(n > 3, kurtosis, np.nan)
    return np.stack([mean, deviation, deviation / mean, skewness, kurtosis])


def _central_moments(mean_powers: Array) -> tuple[Array, Array, Array]:
    """Central moments m_2 to m_4 of mean powers 1 to 4 about any point, shape (4, ...).

    Example:
        1, 2 and 6 have the mean powers 3, 41 / 3, 75 and 1313 / 3 about zero:

        >>> powers = np.array([3.0, 41 / 3, 75.0, 1313 / 3])
        >>> [round(float(moment), 6) for moment in _central_moments(powers)]  # of -2, -1 and 3
        [4.666667, 6.0, 32.666667]
    """
    first, second, third, fourth = mean_powers
    m2 = second - first**2
    m3 = third - 3 * first * second + 2 * first**3
    return m2, m3, fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4


def shape_intervals(norms: Array, clusters: Clusters, resampling: Bootstrap) -> Array:
    """Studentised bootstrap intervals of skewness and excess kurtosis (Hall 1988).

    They are symmetric on the scales of asinh(skewness) and log(excess kurtosis + 3), where the
    standard error depends less on the value. The BCa interval, which takes the standard error to
    change with the statistic at a constant rate, covers less (docs/statistics.md). At 1000 trials
    95 % intervals of skewness cover 90 to 97 %. Those of excess kurtosis cover 92 % of Gaussian
    data, 88 to 90 % of skewed or heavy-tailed ones, and far less with fewer trials: there read
    L-kurtosis instead.

    Args:
        norms: One number a trial, shape (T,).
        clusters: Cluster of each trial, shape (T,).
        resampling: Number of resamples, confidence level and seed.

    Returns:
        Estimates, lower and upper ends of both, shape (3, 2); NaN where there is none, as with
        fewer than 20 clusters.

    Example:
        The gamma distribution of shape 4 has skewness 1 and excess kurtosis 1.5:

        >>> norms = np.random.default_rng(0).gamma(4, size=500)
        >>> found = shape_intervals(norms, np.arange(500), Bootstrap(300, 0.95, seed=(0,)))
        >>> found.T.round(2).tolist()  # estimate, low, high of each
        [[1.09, 0.79, 1.44], [1.64, 0.41, 3.31]]
    """
    estimates = shape_statistics(np.ones(len(norms)), norms)[3:]
    if np.isnan(estimates).any():
        return np.stack([estimates, *np.full((2, 2), np.nan)])
    # Neither statistic depends on unit or origin. Standardised, the products below, of powers up to
    # the eighth, stay of moderate size.
    powers = [((norms - norms.mean()) / norms.std()) ** power for power in range(5)]
    sums = np.ascontiguousarray(cluster_sums(np.stack(powers), clusters).T)  # (C, 5)
    products = (sums[:, :, None] * sums[:, None, :]).reshape(len(sums), -1)  # (C, 25)

    def statistic(weights: Array) -> Array:
        of_clusters = np.moveaxis(weights @ sums, -1, 0)  # (5, ...)
        of_pairs = np.moveaxis(weights @ products, -1, 0).reshape(5, 5, *of_clusters.shape[1:])
        return _on_their_scales(of_clusters, of_pairs)

    with np.errstate(divide="ignore", invalid="ignore"):
        found = studentised_bootstrap(statistic, np.arange(len(sums)), resampling)
    # Back from the scales: both are monotone, so the ends stay the ends.
    low, high = ((np.sinh(s), np.exp(k) - _GAUSSIAN_KURTOSIS) for s, k in found[1:])
    return np.stack([estimates, low, high])


def _on_their_scales(sums: Array, pairs: Array) -> Array:
    """asinh(skewness) and log(excess kurtosis + 3), and their standard errors, shape (4, ...).

    The standard errors are those of the delta method: a function of the mean powers M_p = S_p / S_0
    changes with one cluster by its gradient times (A_p - M_p A_0) / S_0. Given are S_p, the sums
    over clusters of A_p, shape (5, ...), and the sums of A_p A_q, shape (5, 5, ...).
    """
    n, mean_powers = sums[0], sums[1:] / sums[0]
    (skewness, kurtosis), gradients = _shape_and_gradients(mean_powers)
    centring = -(gradients * mean_powers).sum(axis=1, keepdims=True)
    influence = np.concatenate([centring, gradients], axis=1)  # (2, 5, ...)
    variances = np.einsum("kp...,pq...,kq...->k...", influence, pairs, influence) / n**2
    # From ratios of plain moments to those of k-statistics, which the estimates are made of.
    skewness = np.sqrt(n * (n - 1)) / (n - 2) * skewness
    excess = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * kurtosis - 3 * (n - 1))
    scales = np.stack([np.arcsinh(skewness), np.log(excess + _GAUSSIAN_KURTOSIS)])
    slopes = np.stack([1 / np.hypot(1, skewness), 1 / (excess + _GAUSSIAN_KURTOSIS)])
    return np.concatenate([scales, slopes * np.sqrt(variances)])


def _shape_and_gradients(mean_powers: Array) -> tuple[Array, Array]:
    """m3 / m2^1.5 and m4 / m2^2, shape (2, ...), and their gradients by M_1 to M_4, (2, 4, ...)."""
    first, second, third, _ = mean_powers
    zero, one = np.zeros_like(first), np.ones_like(first)
    m2, m3, m4 = _central_moments(mean_powers)
    # Derivatives of the formulas in ``_central_moments`` by the four mean powers.
    of_m2 = np.stack([-2 * first, one, zero, zero])
    of_m3 = np.stack([6 * first**2 - 3 * second, -3 * first, one, zero])
    of_m4 = np.stack([12 * first * (second - first**2) - 4 * third, 6 * first**2, -4 * first, one])
    skewness, kurtosis = m3 / m2**1.5, m4 / m2**2
    of_skewness = of_m3 / m2**1.5 - 1.5 * skewness / m2 * of_m2
    of_kurtosis = of_m4 / m2**2 - 2 * kurtosis / m2 * of_m2
    return np.stack([skewness, kurtosis]), np.stack([of_skewness, of_kurtosis])


def weighted_l_ratios(weights: Array, norms: Array) -> Array:
    """L-skewness and L-kurtosis of weighted trials (Hosking 1990); 0 and 0.1226 for a Gaussian.

    With b_r = sum_j C(j - 1, r) x_(j) / (n C(n - 1, r)), x_(1) the smallest of n values, the
    L-moments are l2 = 2 b1 - b0, l3 = 6 b2 - 6 b1 + b0 and l4 = 20 b3 - 30 b2 + 12 b1 - b0, all
    unbiased; the ratios l3 / l2 and l4 / l2 are not. As values enter linearly, a few large ones
    change them far less than k-statistics, and their intervals hold (docs/statistics.md).

    A trial that counts w times takes w neighbouring ranks, over which C(j - 1, r) sums to a
    difference of C(j, r + 1), so that resamples need not be sorted. With unit weights these are
    SciPy's ``lmoment``.

    Args:
        weights: How often each trial counts, shape (..., T).
        norms: One number a trial, shape (T,).

    Returns:
        Both ratios, without unit, shape (2, ...); NaN without spread or where there are fewer than
        3 and 4 trials.

    Example:
        They are 1/3 and 1/6 for an exponential distribution, and 0 for evenly spaced values:

        >>> norms = np.random.default_rng(0).exponential(size=20_000)
        >>> weighted_l_ratios(np.ones(20_000), norms).round(2).tolist()
        [0.34, 0.17]
        >>> weighted_l_ratios(np.ones(4), np.array([1.0, 2.0, 3.0, 4.0])).round(9).tolist()
        [0.0, 0.0]
    """
    order, centre = np.argsort(norms), norms.mean()
    # Summation by parts: differences of norms instead of differences of binomials.
    gaps = -np.diff(norms[order] - centre, append=0.0)
    # One layout and type, for which the loop is compiled once.
    rows = np.ascontiguousarray(weights.reshape(-1, len(norms)), np.float64)
    n = weights.sum(axis=-1)
    sums = _rank_sums(rows, order, gaps).reshape(*n.shape, 4)  # (..., 4)
    below = np.ones_like(n)
    b = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for r in range(4):
            below *= n - r  # (r + 1)! C(n, r + 1)
            b.append(sums[..., r] / below / (r + 1))
        second = 2 * b[1] - b[0]
        second = np.where(second > 4 * np.finfo(np.float64).eps * centre, second, np.nan)
        third = 6 * b[2] - 6 * b[1] + b[0]
        fourth = 20 * b[3] - 30 * b[2] + 12 * b[1] - b[0]
        return np.stack([third, fourth]) / second


@compiled()
def _rank_sums(weights: Array, order: NDArray[np.intp], gaps: Array) -> Array:
    """Sums over j of gap_j (r + 1)! C(rank_j, r + 1) for r = 0 to 3, shape (row, 4).

    The rank of a trial is the last one that it takes, the sum of weights up to its own.
    """
    sums = np.zeros((len(weights), 4))
    for row in range(len(weights)):
        rank = 0.0
        for j in range(len(order)):
            rank += weights[row, order[j]]
            term = gaps[j] * rank
            for r in range(4):
                sums[row, r] += term
                term *= rank - (r + 1)
    return sums


def hill_estimates(values: Array) -> Array:
    """Hill's tail index at every number of upper order statistics, for a plot against it.

    alpha_k = k / sum_{i<=k} log(x_(i) / x_(k+1)), x_(1) the largest of n values (Hill 1975), for
    k = 1 ... n - 1. If P(X > x) = (x / x_0)^-alpha, 1 / alpha_k is unbiased for 1 / alpha at every
    k, with standard error 1 / (alpha sqrt(k)); where only the upper tail is a power, a small k
    keeps to it and a large one averages more. A plot against k shows whether there is a plateau.

    Args:
        values: Shape (n,).

    Returns:
        alpha_1 to alpha_(n - 1), without unit; infinite where the largest values are equal. Empty
        if one is not positive, or with fewer than 2.

    Example:
        Of 8, 4, 2 and 1, the sums are log 2, 3 log 2 and 6 log 2:

        >>> (hill_estimates(np.array([4.0, 1.0, 8.0, 2.0])) * np.log(2)).round(6).tolist()
        [1.0, 0.666667, 0.5]
    """
    if len(values) < 2 or values.min() <= 0:
        return np.empty(0)
    logarithms = np.log(np.sort(values)[::-1])
    k = np.arange(1, len(values))
    # sum_{i<=k} log x_(i) - k log x_(k+1), for all k at once
    excess = np.cumsum(logarithms)[:-1] - k * logarithms[1:]
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(excess > 0, k / excess, np.inf))


def hill_tail_index(values: Array) -> float:
    """Hill's tail index at k = floor(sqrt(n)) upper order statistics (Hill 1975).

    The rule keeps the upper tail alone (3 % of 1000 trials) while k still grows with n, which
    consistency needs. The standard error is about alpha / sqrt(k). The estimator is not invariant
    under a shift: norms far from zero in units of their spread give a large index.

    Args:
        values: Shape (n,).

    Returns:
        alpha, without unit: P(X > x) falls as x^-alpha, and moments of order alpha and above are
        infinite. NaN with fewer than 25 values (k below 5) or one that is not positive.

    Example:
        A Pareto distribution of index 2, then the same a hundred units further from zero:

        >>> values = 1 + np.random.default_rng(0).pareto(2, size=10_000)
        >>> round(hill_tail_index(values), 2), round(hill_tail_index(100 + values), 1)
        (1.96, 13.8)
    """
    k, estimates = math.isqrt(len(values)), hill_estimates(values)
    index = estimates[k - 1] if k >= MINIMUM_TAIL and len(estimates) else math.nan
    return float(index) if math.isfinite(index) else math.nan
