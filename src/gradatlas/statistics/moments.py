"""Moments of tensors in float64: central ones, element by element and mergeable, and tr Sigma^2."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import comb, factorial, perm

import numpy as np
from numpy.typing import NDArray

from gradatlas.core.runtime import compiled

Array = NDArray[np.float64]

# Rows whose mean stands in for the block's while powers are summed.
_SHIFT_ROWS = 64

# Columns that are centred in float64 at a time.
_COLUMNS_AT_A_TIME = 1024


@dataclass(frozen=True)
class Moments:
    """Central moments of tensors, element by element."""

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
    """Central moments of a block of tensors, shape (t, *shape), up to an order of at least 2.

    Deviations are taken from the mean of the block's first 64 rows and moved to the mean of all n
    afterwards. The two are at most sqrt(n / 64) standard deviations apart, so one pass costs no
    accuracy, unlike powers about zero.
    """
    if order < 2:
        raise ValueError(f"order is {order}, expected at least 2, the order of the variance")
    count, shape = len(block), block.shape[1:]
    if count == 0:
        return Moments(0, np.zeros(shape), np.zeros((order - 1, *shape)))
    flat = block.reshape(count, -1)  # (t, element)
    shift = flat[:_SHIFT_ROWS].mean(axis=0, dtype=np.float64)
    sums = np.zeros((order, flat.shape[1]))
    _kernel(order)(flat, shift, sums)
    offset = sums[0] / count
    central = _moved([np.full_like(offset, count), *sums], -offset)
    return Moments(count, (shift + offset).reshape(shape), central.reshape(order - 1, *shape))


def merge(first: Moments, second: Moments) -> Moments:
    """Moments of two sets of tensors together, to the same order (Pébay 2008, SAND2008-6212)."""
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
    """Unbiased variance (n - 1 in the denominator); NaN for a single tensor."""
    return unbiased_central_moment(moments, 2)


def unbiased_central_moment(moments: Moments, order: int) -> Array:
    """Unbiased estimate of a central moment, the h-statistic (Dwyer 1937).

    E (X - mu)^r = sum_j C(r, j) (-1)^j E[X^(r-j)] mu^j, and the mean of
    x_0^(r-j) x_1 ... x_j over all choices of distinct observations is unbiased for the j-th
    product of expectations. NaN if there are fewer than ``order`` observations.
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
    """k4 / k2^2 (Fisher 1930), the ratio of unbiased estimates; 0 for a Gaussian.

    NaN with fewer than 4 observations or without spread.
    """
    n = moments.count
    if n < 4:
        return np.full_like(moments.mean, np.nan)
    m2, m4 = moments.sums[0] / n, moments.sums[2] / n
    k4 = n**2 * ((n + 1) * m4 - 3 * (n - 1) * m2**2) / ((n - 1) * (n - 2) * (n - 3))
    return np.asarray(k4 / _spread(moments) ** 2)


def standardised_moment(moments: Moments, order: int) -> Array:
    """Unbiased central moment over k2^(order / 2): skewness at order 3 (Fisher 1930).

    0 and 15 at orders 3 and 6 for a Gaussian; NaN with fewer than ``order`` observations or without
    spread.
    """
    return unbiased_central_moment(moments, order) / _spread(moments) ** (order / 2)


def _spread(moments: Moments) -> Array:
    """Variance, NaN where the deviations are no more than the rounding of equal values."""
    spread = variance(moments)
    rounding = (4 * np.finfo(np.float64).eps * moments.mean) ** 2
    return np.where(spread > rounding, spread, np.nan)


def _elementary_symmetric(powers: Sequence[Array]) -> list[Array]:
    """Elementary symmetric polynomials of observations from their power sums (Newton)."""
    elementary = [np.ones_like(powers[0])]
    for k in range(1, len(powers)):
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
    """Unbiased estimate of tr Sigma^2, which may be negative; NaN with fewer than 4 trials.

    Himeno and Yamada (2014): with S the sample covariance of n trials and
    Q = sum_i |x_i - mean|^4 / (n - 1),
    (n - 1) / (n (n - 2) (n - 3)) ((n - 1) (n - 2) tr S^2 + (tr S)^2 - n Q),
    unbiased for any distribution. Computed from the Gram matrix (t, t); D x D is never formed.
    """
    n = len(tensors)
    if n < 4:
        return math.nan
    gram = np.zeros((n, n))
    for start in range(0, tensors.shape[1], _COLUMNS_AT_A_TIME):
        columns = tensors[:, start : start + _COLUMNS_AT_A_TIME].astype(np.float64)
        columns -= columns.mean(axis=0)
        gram += columns @ columns.T
    squared_deviations = gram.diagonal()
    trace = squared_deviations.sum() / (n - 1)
    trace_of_square = np.square(gram).sum() / (n - 1) ** 2
    fourth = np.square(squared_deviations).sum() / (n - 1)
    sums = (n - 1) * (n - 2) * trace_of_square + trace**2 - n * fourth
    return float((n - 1) / (n * (n - 2) * (n - 3)) * sums)
