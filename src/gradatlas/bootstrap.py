"""Bootstrap intervals over trials, for any statistic of weighted trials."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

#: From weights of the trials, shape (..., T), to k statistics, shape (k, ...). Weights that are
#: all 1 give the estimate, whole numbers a resample, a single 0 a jackknife value.
WeightedStatistic = Callable[[Array], Array]

# Elements of the largest array of weights, 2 MB: it stays in the cache, whatever the resamples.
WEIGHTS_AT_A_TIME = 1 << 18

# With fewer independent units 95 % intervals of a spread cover less than 88 % (docs/statistics.md).
MINIMUM_UNITS = 20


@dataclass(frozen=True)
class Bootstrap:
    """Settings of every interval.

    Attributes:
        resamples: Number of resamples.
        confidence: Confidence level, between 0 and 1.
        seed: What determines the resamples: equal seeds resample the same trials.
    """

    resamples: int
    confidence: float
    seed: tuple[int, ...]


@dataclass(frozen=True)
class Intervals:
    """Estimates of k statistics with BCa confidence intervals, each float64, shape (k,).

    Attributes:
        estimate: The statistics of the trials themselves.
        low: Lower ends; NaN where there is no interval.
        high: Upper ends; NaN where there is no interval.
        standard_error: Standard deviations of the statistics over the resamples.
    """

    estimate: Array
    low: Array
    high: Array
    standard_error: Array


def bootstrap(
    statistic: WeightedStatistic, units: NDArray[np.integer], settings: Bootstrap
) -> Intervals:
    """Bias-corrected and accelerated bootstrap intervals (Efron 1987; SciPy's implementation).

    Trials are resampled by units that are independent of each other: single trials, or all trials
    of one sample set together. Statistics of several batch sizes that are computed from the same
    weights are paired.

    Args:
        statistic: All statistics at once.
        units: Unit of each trial, shape (T,); equal numbers are resampled together.
        settings: Number of resamples, level and seed.

    Returns:
        Estimates and intervals. With fewer than 20 units there are no intervals and no standard
        errors, as they would be far too narrow.
    """
    names, unit_of_trial = np.unique(units, return_inverse=True)
    if len(names) < MINIMUM_UNITS:
        estimate = np.asarray(statistic(np.ones(len(units))), dtype=np.float64)
        nothing = np.full_like(estimate, np.nan)
        return Intervals(estimate, nothing, nothing, nothing)

    def of_resample(index: NDArray[np.intp], axis: int = -1) -> Array:
        del axis  # SciPy always asks for the last one
        return statistic(_count(index, len(names))[..., unit_of_trial])

    with warnings.catch_warnings():
        # A statistic without spread has no BCa interval: SciPy warns and returns NaN, as we do.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        with np.errstate(divide="ignore", invalid="ignore"):
            estimate = np.asarray(of_resample(np.arange(len(names))), dtype=np.float64)
            result = stats.bootstrap(
                (np.arange(len(names)),),
                of_resample,
                n_resamples=settings.resamples,
                batch=max(1, WEIGHTS_AT_A_TIME // len(units)),
                vectorized=True,
                confidence_level=settings.confidence,
                rng=np.random.default_rng(settings.seed),
            )
    low, high = result.confidence_interval
    return Intervals(estimate, np.asarray(low), np.asarray(high), np.asarray(result.standard_error))


def _count(index: NDArray[np.intp], units: int) -> Array:
    """How often each unit was drawn: from shape (..., draw) to (..., unit)."""
    rows = index.reshape(-1, index.shape[-1])
    flat = rows + units * np.arange(len(rows))[:, None]
    counts = np.bincount(flat.ravel(), minlength=units * len(rows))
    return counts.reshape(*index.shape[:-1], units).astype(np.float64)
