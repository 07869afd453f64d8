"""Moments of tensors in float64: central ones, element by element and mergeable, and tr Sigma^2."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import comb, factorial, perm

import numpy as np
from numpy.typing import NDArray

from gradatlas.core.compiled import compiled

Array = NDArray[np.float64]

# Rows whose mean stands in for the block's while powers are summed.
_SHIFT_ROWS = 64

# Columns that are centred in float64 at a time, so that no copy of the whole block is made.
_COLUMNS_AT_A_TIME = 1024


@dataclass(frozen=True)
class Moments:
    """Central moments of tensors, element by element.

    Sums are kept instead of moments: those of two sets add up once they refer to the same mean, and
    every estimator below has its own denominator.
    """

    count: int  # number of tensors
    mean: Array  # any shape
    sums: Array  # of the powers 2, 3, ... of the deviations, shape (order - 1, *mean.shape)

    @property
    def order(self) -> int:
        """Highest order."""
        return len(self.sums) + 1

    @property
    def power_sums(self) -> list[Array]:
        """Sums of the powers 0, 1, 2, ... of the deviations."""
        return [np.full_like(self.mean, self.count), np.zeros_like(self.mean), *self.sums]


def moments_of(block: NDArray[np.floating], order: int) -> Moments:
    """Central moments of a block of tensors, in one pass.

    Deviations are taken from the mean of the block's first 64 rows and moved to the mean of all n
    afterwards. The two are at most sqrt(n / 64) standard deviations apart, so one pass costs no
    accuracy, unlike powers about zero.

    Args:
        block: Tensors, float32 or float64, shape (t, *shape); t may be 0.
        order: Highest power that is summed, at least 2.

    Returns:
        Count, mean and sums of the powers 2 to ``order`` in float64, each of the tensors' shape.
        Those of no tensors are neutral to ``merge``.

    Raises:
        ValueError: The order is below 2.

    Example:
        Deviations of 1, 2 and 6 from their mean 3 are -2, -1 and 3:

        >>> moments = moments_of(np.array([[1.0], [2.0], [6.0]]), order=3)
        >>> moments.mean.tolist(), moments.sums.tolist()  # 4 + 1 + 9 and -8 - 1 + 27
        ([3.0], [[14.0], [18.0]])

        Far from zero, the mean square less the squared mean loses what is left here:

        >>> far = 1e8 + np.array([[0.0], [1.0], [2.0]])  # variance 1 with n - 1, 2/3 with n
        >>> variance(moments_of(far, 2)).tolist(), float((far**2).mean() - far.mean() ** 2)
        ([1.0], 2.0)
    """
    if order < 2:
        raise ValueError(f"order is {order}, expected at least 2, the order of the variance")
    count, shape = len(block), block.shape[1:]
    # The neutral element of ``merge``: a pass over blocks starts with it, and a block may be empty.
    if count == 0:
        return Moments(0, np.zeros(shape), np.zeros((order - 1, *shape)))
    flat = block.reshape(count, -1)  # (t, element)
    shift = flat[:_SHIFT_ROWS].mean(axis=0, dtype=np.float64)  # (element,)
    sums = np.zeros((order, flat.shape[1]))  # (power, element)
    _kernel(order)(flat, shift, sums)
    offset = sums[0] / count  # what is left to the block's mean
    central = _moved([np.full_like(offset, count), *sums], -offset)
    return Moments(count, (shift + offset).reshape(shape), central.reshape(order - 1, *shape))


def merge(first: Moments, second: Moments) -> Moments:
    """Moments of two sets of tensors together, to the same order (Pébay 2008, SAND2008-6212).

    With delta = mean_B - mean_A and n = n_A + n_B, deviations from the common mean are those from
    the own mean plus a step, -n_B delta / n in A and n_A delta / n in B. The binomial theorem moves
    the power sums: sum (d + step)^p = sum_k C(p, k) step^k sum d^(p - k). Only differences of means
    enter, so no digits are lost to the tensors' distance from zero.

    Args:
        first: Moments of one set; of no tensors, the other set is returned.
        second: Moments of another set, to the same order and of the same shape.

    Returns:
        The moments of both, as if all tensors had been in one block.

    Example:
        >>> first = moments_of(np.array([[1.0], [2.0]]), order=3)
        >>> both = merge(first, moments_of(np.array([[6.0]]), order=3))
        >>> both.count, both.mean.tolist(), both.sums.tolist()  # as of 1, 2 and 6 at once
        (3, [3.0], [[14.0], [18.0]])
    """
    if first.count == 0 or second.count == 0:
        return second if first.count == 0 else first
    count = first.count + second.count
    delta = second.mean - first.mean
    # Deviations from the common mean are those from the own mean plus these steps.
    steps = (-second.count * delta / count, first.count * delta / count)
    sums = _moved(first.power_sums, steps[0]) + _moved(second.power_sums, steps[1])
    return Moments(count, first.mean - steps[0], sums)


def _moved(power_sums: Sequence[Array], step: Array) -> Array:
    """Power sums 2, 3, ... of deviations plus a step, from power sums 0, 1, ... of those alone."""
    moved = [
        sum(comb(order, k) * step**k * power_sums[order - k] for k in range(order + 1))
        for order in range(2, len(power_sums))
    ]
    return np.stack(moved)


def variance(moments: Moments) -> Array:
    """Unbiased variance, sum (x - mean)^2 / (n - 1), of each element; NaN for a single tensor.

    The sum of squares about the sample's mean falls short of that about the expectation by one
    variance on average, which n - 1 in place of n makes good.

    Args:
        moments: Moments of n tensors.

    Returns:
        The tensors' shape, in squared units of the elements.

    Example:
        >>> variance(moments_of(np.array([[1.0, 5.0], [3.0, 5.0]]), 2)).tolist()
        [2.0, 0.0]
        >>> variance(moments_of(np.array([[1.0]]), 2)).tolist()
        [nan]
    """
    return unbiased_central_moment(moments, 2)


def unbiased_central_moment(moments: Moments, order: int) -> Array:
    """Unbiased estimate of a central moment, the h-statistic (Dwyer 1937).

    E (X - mu)^r = sum_j C(r, j) (-1)^j E[X^(r-j)] mu^j, and the mean of
    x_0^(r-j) x_1 ... x_j over all choices of distinct observations is unbiased for the j-th
    product of expectations. Newton's identities give these means from power sums. The plug-in
    moment sum (x - mean)^r / n is biased, as the mean is itself an estimate.

    Args:
        moments: Moments of n tensors, to this order or beyond.
        order: r, at least 2.

    Returns:
        E (X - mu)^r of each element, of the tensors' shape, in units of the elements to the power
        r; NaN if n is below r, as there are no r distinct observations then.

    Example:
        The average over every sample of a small population is the population's moment:

        >>> from itertools import product
        >>> population = np.array([0.0, 0.0, 3.0])  # mean 1, third moment (-1 - 1 + 8) / 3 = 2
        >>> samples = np.array(list(product(population, repeat=3))).T  # all 27 samples of three
        >>> float(unbiased_central_moment(moments_of(samples, 3), 3).mean().round(9))
        2.0
        >>> float(((samples - samples.mean(axis=0)) ** 3).mean().round(3))  # the plug-in moment
        0.444
    """
    count = moments.count
    if count < order:
        return np.full_like(moments.mean, np.nan)
    powers = moments.power_sums[: order + 1]
    elementary = _elementary_symmetric(powers)
    # j = r and j = r - 1 are both products of r (or more) means, r! e_r over distinct tuples.
    sign = (-1) ** (order - 1)
    total: Array = elementary[order] * (sign * (order - 1) * factorial(order) / perm(count, order))
    for j in range(order - 1):
        # One observation to the power order - j times j distinct others, summed over all choices.
        products = np.zeros_like(total)
        for k in range(j + 1):
            products += (-1) ** k * powers[order - j + k] * elementary[j - k]
        total += comb(order, j) * (-1) ** j * factorial(j) / perm(count, j + 1) * products
    return total


def excess_kurtosis(moments: Moments) -> Array:
    """Excess kurtosis k4 / k2^2 of each element; 0 for a Gaussian.

    k2 and k4 are the k-statistics (Fisher 1930), unbiased estimates of the second and fourth
    cumulant. Their ratio is not unbiased. Of skewed or heavy-tailed data it is mostly too small,
    as a sample lacks the rare largest values that the fourth cumulant consists of.

    Args:
        moments: Moments of n tensors, to order 4 or beyond.

    Returns:
        The tensors' shape, without unit; NaN with n below 4 or without spread. SciPy's
        ``kurtosis`` with ``bias=False`` is the same.

    Example:
        A uniform distribution has excess kurtosis -1.2:

        >>> evenly_spaced = np.linspace(0, 1, 1001)[:, None]  # (t, element)
        >>> excess_kurtosis(moments_of(evenly_spaced, 4)).round(2).tolist()
        [-1.2]
    """
    n = moments.count
    if n < 4:
        return np.full_like(moments.mean, np.nan)
    m2, m4 = moments.sums[0] / n, moments.sums[2] / n
    k4 = n**2 * ((n + 1) * m4 - 3 * (n - 1) * m2**2) / ((n - 1) * (n - 2) * (n - 3))
    return np.asarray(k4 / _spread(moments) ** 2)


def standardised_moment(moments: Moments, order: int) -> Array:
    """Unbiased central moment over k2^(order / 2): skewness at order 3 (Fisher 1930).

    Numerator and k2 are unbiased (Dwyer 1937), their ratio is not. For a Gaussian it is 0 at odd
    orders and 3, 15, 105 at orders 4, 6, 8; note that order 4 is the kurtosis, not its excess.

    Args:
        moments: Moments of n tensors, to this order or beyond.
        order: At least 2.

    Returns:
        The tensors' shape, without unit; NaN with n below ``order`` or without spread.

    Example:
        >>> values = np.random.default_rng(0).exponential(size=(100_000, 1))  # skewness 2
        >>> standardised_moment(moments_of(values, 3), 3).round(1).tolist()
        [2.0]
    """
    return unbiased_central_moment(moments, order) / _spread(moments) ** (order / 2)


def _spread(moments: Moments) -> Array:
    """Variance, NaN where the deviations are no more than the rounding of equal values."""
    spread = variance(moments)
    # The mean of equal values is off by a few roundings, and so are deviations from it: a shape
    # made of them would be noise.
    rounding = (4 * np.finfo(np.float64).eps * moments.mean) ** 2
    return np.where(spread > rounding, spread, np.nan)


def _elementary_symmetric(powers: Sequence[Array]) -> list[Array]:
    """Elementary symmetric polynomials of observations from their power sums (Newton)."""
    elementary = [np.ones_like(powers[0])]
    for k in range(1, len(powers)):
        # k e_k = sum_i (-1)^(i - 1) e_(k - i) p_i, with p_i the i-th power sum
        terms = ((-1) ** (i - 1) * elementary[k - i] * powers[i] for i in range(1, k + 1))
        elementary.append(np.asarray(sum(terms)) / k)
    return elementary


@cache
def _kernel(order: int) -> Callable[[NDArray[np.floating], Array, Array], None]:
    """Compiled loop that adds the sums over rows of (block - shift)^1, ^2, ... to ``sums``."""

    def add_power_sums(block: NDArray[np.floating], shift: Array, sums: Array) -> None:
        # Four rows at a time: the sums are loaded and stored a quarter as often.
        fours = len(block) - len(block) % 4
        for row in range(0, fours, 4):
            for column in range(block.shape[1]):
                a = block[row, column] - shift[column]
                b = block[row + 1, column] - shift[column]
                c = block[row + 2, column] - shift[column]
                d = block[row + 3, column] - shift[column]
                a_power, b_power, c_power, d_power = a, b, c, d
                for power in range(order):
                    sums[power, column] += (a_power + b_power) + (c_power + d_power)
                    a_power *= a
                    b_power *= b
                    c_power *= c
                    d_power *= d
        # The three rows at most that make no group of four.
        for row in range(fours, len(block)):
            for column in range(block.shape[1]):
                a = block[row, column] - shift[column]
                a_power = a
                for power in range(order):
                    sums[power, column] += a_power
                    a_power *= a

    # The order is a constant of the closure, so the compiler unrolls the powers and vectorises
    # over columns: with the order as an argument the loop is ten times slower.
    return compiled()(add_power_sums)


def squared_covariance_trace(tensors: NDArray[np.floating]) -> float:
    """Unbiased estimate of tr Sigma^2, the squared Frobenius norm of the weights' covariance.

    Himeno and Yamada (2014): with S the sample covariance of n trials and
    Q = sum_i |x_i - mean|^4 / (n - 1),
    (n - 1) / (n (n - 2) (n - 3)) ((n - 1) (n - 2) tr S^2 + (tr S)^2 - n Q),
    unbiased for any distribution, so that it may be negative. The plug-in tr S^2 exceeds it by
    about (tr Sigma)^2 / n, which is most of it where there are more weights than trials. Computed
    from the Gram matrix (n, n); D x D is never formed.

    Args:
        tensors: One trial a row, shape (n, D).

    Returns:
        tr Sigma^2, in units of the weights to the fourth power; NaN with fewer than 4 trials.

    Example:
        Of 1000 independent weights of variance 1, tr Sigma^2 is 1000:

        >>> tensors = np.random.default_rng(0).normal(size=(20, 1000))
        >>> round(squared_covariance_trace(tensors))  # by 20 trials
        1044
        >>> round(float(np.square(np.cov(tensors.T)).sum()))  # the plug-in estimate
        52820
    """
    n = len(tensors)
    if n < 4:
        return math.nan
    gram = np.zeros((n, n))  # (trial, trial)
    for start in range(0, tensors.shape[1], _COLUMNS_AT_A_TIME):
        columns = tensors[:, start : start + _COLUMNS_AT_A_TIME].astype(np.float64)
        columns -= columns.mean(axis=0)
        gram += columns @ columns.T
    squared_deviations = gram.diagonal()  # (trial,)
    trace = squared_deviations.sum() / (n - 1)
    # The Gram matrix and (n - 1) S have the same eigenvalues other than 0, so tr S^2 is its squared
    # Frobenius norm over (n - 1)^2.
    trace_of_square = np.square(gram).sum() / (n - 1) ** 2
    fourth = np.square(squared_deviations).sum() / (n - 1)
    sums = (n - 1) * (n - 2) * trace_of_square + trace**2 - n * fourth
    return float((n - 1) / (n * (n - 2) * (n - 3)) * sums)
