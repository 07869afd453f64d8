"""Intervals against SciPy on the data themselves, pairing, units and degenerate samples."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gradatlas.bootstrap import Bootstrap, WeightedStatistic, bootstrap

Array = NDArray[np.float64]
SETTINGS = Bootstrap(resamples=400, confidence=0.9, seed=(0, 1))


def mean_and_spread(values: Array) -> WeightedStatistic:
    """Weighted mean and relative standard deviation."""

    def statistic(weights: Array) -> Array:
        n = weights.sum(axis=-1)
        mean = weights @ values / n
        square = np.maximum(weights @ values**2 / n - mean**2, 0)
        return np.stack([mean, np.sqrt(square * n / (n - 1)) / mean])

    return statistic


def mean(sample: Array, axis: int) -> Array:
    return np.asarray(np.mean(sample, axis=axis))


def relative_std(sample: Array, axis: int) -> Array:
    return np.asarray(np.std(sample, axis=axis, ddof=1) / np.mean(sample, axis=axis))


@pytest.mark.parametrize(("index", "statistic"), [(0, mean), (1, relative_std)])
def test_intervals_are_those_of_scipy(index: int, statistic: Callable[[Array, int], Array]) -> None:
    values = np.random.default_rng(0).gamma(2, size=70)
    found = bootstrap(mean_and_spread(values), np.arange(70), SETTINGS)
    expected = stats.bootstrap(
        (values,),
        lambda sample, axis: statistic(sample, axis),
        n_resamples=400,
        vectorized=True,
        confidence_level=0.9,
        rng=np.random.default_rng((0, 1)),
    )
    ends = [found.low[index], found.high[index]]
    np.testing.assert_allclose(ends, [*expected.confidence_interval], rtol=1e-9)
    assert found.standard_error[index] == pytest.approx(expected.standard_error, rel=1e-9)
    assert found.estimate[index] == pytest.approx(float(statistic(values, 0)), rel=1e-12)


def test_trials_of_one_unit_are_drawn_together() -> None:
    """Copies of a trial tell nothing new: the interval is that of the trials without copies."""
    values = np.random.default_rng(1).normal(5, 1, size=30)
    alone = bootstrap(lambda w: (w @ values / w.sum(-1))[None], np.arange(30), SETTINGS)
    copies = np.repeat(values, 4)
    units = np.repeat(np.arange(30), 4)
    together = bootstrap(lambda w: (w @ copies / w.sum(-1))[None], units, SETTINGS)
    np.testing.assert_allclose(together.low, alone.low, rtol=1e-12)
    np.testing.assert_allclose(together.high, alone.high, rtol=1e-12)


def test_equal_seeds_give_equal_intervals_and_others_do_not() -> None:
    statistic = mean_and_spread(np.random.default_rng(2).normal(5, 1, size=50))
    first = bootstrap(statistic, np.arange(50), SETTINGS)
    again = bootstrap(statistic, np.arange(50), SETTINGS)
    other = bootstrap(statistic, np.arange(50), Bootstrap(400, 0.9, (0, 2)))
    np.testing.assert_array_equal(first.low, again.low)
    assert (first.low != other.low).all()


def test_few_units_have_no_interval() -> None:
    found = bootstrap(mean_and_spread(np.arange(1.0, 22.0)), np.arange(21) % 7, SETTINGS)
    assert found.estimate[0] == 11
    assert np.isnan([found.low, found.high, found.standard_error]).all()


def test_a_statistic_without_spread_has_no_interval() -> None:
    found = bootstrap(mean_and_spread(np.full(20, 3.0)), np.arange(20), SETTINGS)
    assert found.estimate[0] == 3
    assert np.isnan(found.low[0])
