"""Intervals against SciPy on the data themselves, pairing, units and degenerate samples."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gradatlas.statistics.bootstrap import (
    Bootstrap,
    WeightedStatistic,
    bootstrap,
    of_means,
    resampling_units,
    studentised_bootstrap,
)

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


def test_many_units_are_resampled_in_groups_of_neighbours() -> None:
    """Jackknife values and resamples of every trial would take the square of their number."""
    assert resampling_units(np.arange(2000))[0] == 2000
    count, groups = resampling_units(np.arange(5001) + 7)
    assert count == 1667
    np.testing.assert_array_equal(groups, np.arange(5001) // 3)
    sets, groups = resampling_units(np.arange(6000) % 3000)
    assert sets == 1500
    np.testing.assert_array_equal(groups, np.arange(6000) % 3000 // 2)


def test_groups_leave_the_interval_as_it_is() -> None:
    values = np.random.default_rng(3).gamma(2, size=9000)
    found = bootstrap(mean_and_spread(values), np.arange(9000), Bootstrap(2000, 0.9, (0,)))
    expected = values.std(ddof=1) / np.sqrt(9000)
    assert found.standard_error[0] == pytest.approx(expected, rel=0.1)
    half = stats.norm.ppf(0.95) * expected
    assert found.high[0] - found.low[0] == pytest.approx(2 * half, rel=0.1)


@pytest.mark.parametrize("units", [np.arange(4100), np.arange(4100) % 25, np.arange(30) % 7])
def test_a_statistic_of_means_is_that_of_all_trials(units: NDArray[np.integer]) -> None:
    values = np.random.default_rng(6).gamma(2, size=(2, len(units)))
    settings = Bootstrap(60, 0.9, (0,))

    def ratio(means: Array, n: Array) -> Array:
        return np.stack([means[0] / means[1], means[0] * n / (n - 1)])

    def of_trials(weights: Array) -> Array:
        n = weights.sum(axis=-1)
        return ratio(np.moveaxis(weights @ values.T, -1, 0) / n, n)

    found, expected = (
        bootstrap(*of_means(ratio, values, units), settings),
        bootstrap(of_trials, units, settings),
    )
    for name in ("estimate", "low", "high", "standard_error"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-10)


def test_a_studentised_mean_has_students_interval() -> None:
    """Of Gaussian trials |mean - estimate| / standard error has Student's distribution, nearly."""
    values = np.random.default_rng(4).normal(5, 2, size=400)

    def mean_and_error(weights: Array) -> Array:
        n = weights.sum(axis=-1)
        mean = weights @ values / n
        return np.stack([mean, np.sqrt((weights @ values**2 / n - mean**2) / n)])

    found = studentised_bootstrap(mean_and_error, np.arange(400), Bootstrap(4000, 0.9, (0,)))
    error = values.std() / np.sqrt(400)
    margin = stats.t.ppf(0.95, 399) * error
    assert found.estimate == pytest.approx([values.mean()], rel=1e-12)
    assert found.standard_error == pytest.approx([error], rel=1e-12)
    assert found.high - found.estimate == pytest.approx([margin], rel=0.05)
    assert found.estimate - found.low == pytest.approx([margin], rel=0.05)


def test_few_units_have_no_studentised_interval() -> None:
    found = studentised_bootstrap(lambda w: np.stack([w.sum(-1)] * 2), np.arange(12), SETTINGS)
    assert found.estimate == 12
    assert np.isnan([found.low, found.high]).all()
