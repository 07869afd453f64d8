"""Bootstrap intervals over trials, for any statistic of weighted trials."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

#: From weights of the trials, shape (..., T), to k statistics, shape (k, ...). Weights that are
#: all 1 give the estimate, whole numbers a resample, a single 0 a jackknife value.
WeightedStatistic = Callable[[Array], Array]

#: From means of the trials, shape (m, ...), and how many count, shape (...), to k statistics.
StatisticOfMeans = Callable[[Array, Array], Array]

# Elements of the largest array of weights, 2 MB: it stays in the cache, whatever the resamples.
_WEIGHTS_AT_A_TIME = 1 << 18
# Fewer resamples at a time would cost more to prepare the statistic than to compute it.
_MINIMUM_AT_A_TIME = 8

# With fewer independent units 95 % intervals of a spread cover less than 88 % (docs/statistics.md).
MINIMUM_UNITS = 20

# The standard error of 2000 units is itself known to 1.6 %, as well as from 2000 resamples.
_MAXIMUM_UNITS = 2000


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


def resampling_units(units: NDArray[np.integer]) -> tuple[int, NDArray[np.intp]]:
    """Number the independent units, neighbours grouped where there are more than 2000.

    Groups of independent units are independent too. Without them time would grow as the square of
    the number of trials, for jackknife values and resamples that tell no more.

    Args:
        units: Unit of each trial, shape (T,).

    Returns:
        The number of groups and the group of each trial, from 0, shape (T,).
    """
    names, unit_of_trial = np.unique(units, return_inverse=True)
    group_of_trial = unit_of_trial // -(-len(names) // _MAXIMUM_UNITS)
    return int(group_of_trial.max()) + 1, group_of_trial


def resamples_at_a_time(trials: int) -> int:
    """How many weightings of the trials are held in memory together."""
    return max(_MINIMUM_AT_A_TIME, _WEIGHTS_AT_A_TIME // trials)


def of_means(
    statistic: StatisticOfMeans, values: Array, units: NDArray[np.integer]
) -> tuple[WeightedStatistic, NDArray[np.intp]]:
    """A statistic of means, summed over trials that are resampled together.

    However many trials there are, a resample then costs no more than one of 2000.

    Args:
        statistic: All statistics at once.
        values: What the means are of, shape (m, T).
        units: Unit of each trial, shape (T,).

    Returns:
        A statistic of weighted groups of trials, and the units to resample it by.
    """
    count, group = resampling_units(units)
    trials = np.bincount(group, minlength=count).astype(np.float64)
    sums = np.stack([np.bincount(group, row, count) for row in values])  # (m, group)

    def of_groups(weights: Array) -> Array:
        n = weights @ trials
        return statistic(np.moveaxis(weights @ sums.T, -1, 0) / n, n)

    return of_groups, np.arange(count)


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
    count, unit_of_trial = resampling_units(units)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.asarray(statistic(np.ones(len(units))), dtype=np.float64)
    if count < MINIMUM_UNITS:
        return _without_interval(estimate)
    low, high, error, _ = _resample(statistic, count, unit_of_trial, settings, "BCa")
    return Intervals(estimate, low, high, error)


def studentised_bootstrap(
    statistic: WeightedStatistic, units: NDArray[np.integer], settings: Bootstrap
) -> Intervals:
    """Symmetric studentised bootstrap intervals (Hall 1988, Annals of Statistics 16, 927).

    The distribution of |resample's statistic - estimate| / resample's standard error says how many
    standard errors the interval reaches to either side.

    Args:
        statistic: k statistics and their k standard errors, shape (2 k, ...).
        units: As for ``bootstrap``.
        settings: Number of resamples, level and seed.

    Returns:
        The k estimates with intervals; NaN with fewer than 20 units, or where a resample has no
        statistic or no standard error.
    """
    count, unit_of_trial = resampling_units(units)
    estimate, error = np.split(np.asarray(statistic(np.ones(len(units)))), 2)
    if count < MINIMUM_UNITS:
        return _without_interval(estimate)

    def pivot(weights: Array) -> Array:
        values, errors = np.split(np.asarray(statistic(weights)), 2)
        return np.asarray(np.abs((values.T - estimate).T) / errors)

    *_, pivots = _resample(pivot, count, unit_of_trial, settings, "percentile")
    margin = error * np.quantile(pivots, settings.confidence, axis=-1)
    margin = np.where(np.isfinite(margin), margin, np.nan)
    return Intervals(estimate, estimate - margin, estimate + margin, error)


def _without_interval(estimate: Array) -> Intervals:
    nothing = np.full_like(estimate, np.nan)
    return Intervals(estimate, nothing, nothing, nothing)


def _resample(
    statistic: WeightedStatistic,
    count: int,
    unit_of_trial: NDArray[np.intp],
    settings: Bootstrap,
    method: Literal["BCa", "percentile"],
) -> tuple[Array, Array, Array, Array]:
    """SciPy's bootstrap of units instead of observations.

    Returns:
        Lower and upper ends and standard errors, each shape (k,), and all resamples' statistics,
        shape (k, resamples).
    """

    def of_resample(index: NDArray[np.intp], axis: int = -1) -> Array:
        del axis  # SciPy always asks for the last one
        return statistic(_count(index, count)[..., unit_of_trial])

    with warnings.catch_warnings():
        # A statistic without spread has no BCa interval: SciPy warns and returns NaN, as we do.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        with np.errstate(divide="ignore", invalid="ignore"):
            result = stats.bootstrap(
                (np.arange(count),),
                of_resample,
                n_resamples=settings.resamples,
                batch=resamples_at_a_time(len(unit_of_trial)),
                vectorized=True,
                confidence_level=settings.confidence,
                method=method,
                rng=np.random.default_rng(settings.seed),
            )
    found = (*result.confidence_interval, result.standard_error, result.bootstrap_distribution)
    low, high, error, values = map(np.asarray, found)
    return low, high, error, values


def _count(index: NDArray[np.intp], units: int) -> Array:
    """How often each unit was drawn: from shape (..., draw) to (..., unit)."""
    rows = index.reshape(-1, index.shape[-1])
    flat = rows + units * np.arange(len(rows))[:, None]
    counts = np.bincount(flat.ravel(), minlength=units * len(rows))
    return counts.reshape(*index.shape[:-1], units).astype(np.float64)
