"""Statistics of the trials' norms: spread, shape and tail of one scalar sample."""

import math

import numpy as np
from numpy.typing import NDArray

from gradatlas.core.runtime import compiled

Array = NDArray[np.float64]

# The Hill estimator at fewer order statistics has a relative standard error above 1 / sqrt(5).
MINIMUM_TAIL = 5


def shape_statistics(weights: Array, norms: Array) -> Array:
    """Mean, standard deviation, relative standard deviation, skewness and excess kurtosis.

    With unit weights these are the mean, the standard deviation with n - 1, their ratio,
    k3 / k2^1.5 and k4 / k2^2 (Fisher 1930; SciPy's ``skew`` and ``kurtosis`` with ``bias=False``).

    Args:
        weights: How often each trial counts, float64, shape (..., T).
        norms: Shape (T,).

    Returns:
        Shape (5, ...); NaN where the weights leave too few trials or no spread.
    """
    n = weights.sum(axis=-1)
    centre = norms.mean()
    deviations = norms - centre
    squares = deviations * deviations
    powers = np.stack(
        [deviations, squares, squares * deviations, squares * squares], axis=1
    )  # (T, power)
    first, second, third, fourth = np.moveaxis(weights @ powers, -1, 0) / n
    m2 = second - first**2
    m3 = third - 3 * first * second + 2 * first**3
    m4 = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    mean = centre + first
    with np.errstate(divide="ignore", invalid="ignore"):
        m2 = np.where(n > 1, m2, np.nan)
        deviation = np.sqrt(np.maximum(m2, 0) * n / (n - 1))
        spread = np.where(m2 > (4 * np.finfo(np.float64).eps * centre) ** 2, m2, np.nan)
        skewness = np.where(n > 2, np.sqrt(n * (n - 1)) / (n - 2) * m3 / spread**1.5, np.nan)
        kurtosis = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * m4 / spread**2 - 3 * (n - 1))
        kurtosis = np.where(n > 3, kurtosis, np.nan)
    return np.stack([mean, deviation, deviation / mean, skewness, kurtosis])


def hill_estimates(values: Array) -> Array:
    """Hill's tail index at every number of upper order statistics, for a plot against it.

    alpha_k = k / sum_{i<=k} log(x_(i) / x_(k+1)), x_(1) the largest value (Hill 1975).

    Args:
        values: Positive, shape (n,).

    Returns:
        alpha_k for k = 1 ... n - 1, shape (n - 1,); infinite where the largest values are equal.
    """
    logarithms = np.log(np.sort(values)[::-1])
    k = np.arange(1, len(values))
    excess = np.cumsum(logarithms)[:-1] - k * logarithms[1:]
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(excess > 0, k / excess, np.inf))


def hill_tail_index(values: Array) -> float:
    """Hill's tail index at k = floor(sqrt(n)) upper order statistics.

    The rule keeps the upper tail alone (3 % of 1000 trials) while k still grows with n, which
    consistency needs. The standard error is about alpha / sqrt(k). The estimator is not invariant
    under a shift: norms far from zero in units of their spread give a large index.

    Returns:
        NaN with fewer than 25 values (k below 5) or a value that is not positive.
    """
    k = math.isqrt(len(values))
    if k < MINIMUM_TAIL or values.min() <= 0:
        return math.nan
    index = hill_estimates(values)[k - 1]
    return float(index) if math.isfinite(index) else math.nan


def weighted_l_ratios(weights: Array, norms: Array) -> Array:
    """L-skewness and L-kurtosis of weighted trials (Hosking 1990); 0 and 0.1226 for a Gaussian.

    The probability-weighted moments b_r sum C(j - 1, r) x_(j) over ranks j. A trial that counts w
    times takes w neighbouring ranks, over which C(j - 1, r) sums to a difference of C(j, r + 1), so
    that resamples need not be sorted. With unit weights these are SciPy's ``lmoment``.

    Args:
        weights: How often each trial counts, whole numbers, shape (..., T).
        norms: Shape (T,).

    Returns:
        Shape (2, ...); NaN without spread or where there are fewer than 3 and 4 trials.
    """
    order = np.argsort(norms)
    centre = norms.mean()
    # Summation by parts: differences of norms instead of differences of binomials.
    gaps = -np.diff(norms[order] - centre, append=0.0)
    rows = np.ascontiguousarray(weights.reshape(-1, len(norms)), np.float64)
    n = weights.sum(axis=-1)
    sums = _rank_sums(rows, order, gaps).reshape(*n.shape, 4)
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
