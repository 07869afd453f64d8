"""Effective rank and gradient noise scale: what the covariance of the tensors says as a whole."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Trials of one Gram matrix: 32 MB, whatever the number of trials.
_TRIALS_AT_A_TIME = 2000
# Columns that are centred in float64 at a time.
_COLUMNS_AT_A_TIME = 1024


def squared_covariance_trace(tensors: NDArray[np.floating]) -> tuple[float, int]:
    """Unbiased estimate of tr Sigma^2, the squared Frobenius norm of the covariance.

    Himeno and Yamada (2014): with S the sample covariance of n trials and
    Q = sum_i |x_i - mean|^4 / (n - 1),
    (n - 1) / (n (n - 2) (n - 3)) ((n - 1) (n - 2) tr S^2 + (tr S)^2 - n Q),
    unbiased for any distribution. Computed from the Gram matrix of at most 2000 trials at a time,
    weighted by their number; D x D is never formed.

    Args:
        tensors: Trials, shape (t, element).

    Returns:
        The estimate (it may be negative) and the number of trials behind it; NaN and 0 if there
        are fewer than 4 trials.
    """
    parts = [
        (_squared_trace(_centred_gram(part)), len(part))
        for part in _in_parts(tensors)
        if len(part) >= 4
    ]
    trials = sum(count for _, count in parts)
    if trials == 0:
        return math.nan, 0
    return sum(estimate * count for estimate, count in parts) / trials, trials


def _in_parts(tensors: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    for start in range(0, len(tensors), _TRIALS_AT_A_TIME):
        yield tensors[start : start + _TRIALS_AT_A_TIME]


def _centred_gram(tensors: NDArray[np.floating]) -> Array:
    """Scalar products of the deviations from the mean, shape (t, t)."""
    gram = np.zeros((len(tensors), len(tensors)))
    for start in range(0, tensors.shape[1], _COLUMNS_AT_A_TIME):
        columns = tensors[:, start : start + _COLUMNS_AT_A_TIME].astype(np.float64)
        columns -= columns.mean(axis=0)
        gram += columns @ columns.T
    return gram


def _squared_trace(gram: Array) -> float:
    n = len(gram)
    squared_deviations = gram.diagonal()
    trace = squared_deviations.sum() / (n - 1)
    trace_of_square = np.square(gram).sum() / (n - 1) ** 2
    fourth = np.square(squared_deviations).sum() / (n - 1)
    sums = (n - 1) * (n - 2) * trace_of_square + trace**2 - n * fourth
    return float((n - 1) / (n * (n - 2) * (n - 3)) * sums)


def signal_to_noise(squared_norm: Array, product: Array, expected_product: float) -> Array:
    """|mean|^2 / tr Sigma of the trials' tensors.

    Both parts are U-statistics at unit weights: |mean|^2 is the average of the scalar products of
    different trials, tr Sigma the average squared norm less that. Other weights enter |mean|^2
    through its projection onto single trials (Hajek 1968), twice their weighted mean product less
    the mean at unit weights: a trial that is drawn twice then makes no product with itself, which
    would bias every resample by tr Sigma / T.

    Args:
        squared_norm: Weighted mean of |S_i|^2, any shape.
        product: Weighted mean of the average scalar product of S_i with the other trials.
        expected_product: The same at unit weights.

    Returns:
        Shape of the means; negative if the estimate of |mean|^2 is.
    """
    squared_mean = 2 * product - expected_product
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(squared_mean / (squared_norm - squared_mean))


def noise_scale_factor(samples: int, training_samples: int) -> float:
    """What turns tr Sigma_S / |mean S|^2 of trials into the noise scale of single samples.

    A trial sums N of P samples drawn without replacement: the mean is N G, the covariance
    N (1 - N / P) Sigma, so tr Sigma / |G|^2 (McCandlish et al. 2018, section 2.2) is
    N / (1 - N / P) times the ratio.

    Args:
        samples: N, below P.
        training_samples: P.
    """
    return samples / (1 - samples / training_samples)


def reciprocal_interval(estimate: float, low: float, high: float) -> tuple[float, float, float]:
    """Estimate, low and high end of 1 / x, given those of x.

    The interval of x has no pole. Where it reaches 0, that of 1 / x is unbounded, and its end
    NaN. A negative estimate stays negative: it says that |G|^2 cannot be told from 0.
    """
    return (
        1 / estimate if estimate else math.nan,
        1 / high if high > 0 else math.nan,
        1 / low if low > 0 else math.nan,
    )
