"""Tests by jackknife covariance against SciPy's t tests and their own level."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gradatlas.bootstrap import WeightedStatistic
from gradatlas.jackknife import jackknife, slope_contrast

Array = NDArray[np.float64]


def means_of(values: Array) -> WeightedStatistic:
    """Weighted means of rows, shape (B, T) to (B, ...)."""
    return lambda weights: np.moveaxis(weights @ values.T, -1, 0) / weights.sum(axis=-1)


def test_means_give_students_paired_t_test() -> None:
    values = np.random.default_rng(0).normal([[1.0], [1.3]], 1, size=(2, 25))
    found = jackknife(means_of(values), np.arange(25))
    np.testing.assert_allclose(found.covariance, np.cov(values) / 25, rtol=1e-9)
    expected = stats.ttest_rel(values[1], values[0], alternative="greater").pvalue
    assert found.above(np.array([[-1.0, 1.0]]))[0] == pytest.approx(expected, rel=1e-9)
    shifted = stats.ttest_rel(values[1] - 0.2, values[0], alternative="greater").pvalue
    assert found.above(np.array([[-1.0, 1.0]]), 0.2)[0] == pytest.approx(shifted, rel=1e-9)


def test_one_contrast_vanishes_as_in_a_two_sided_t_test() -> None:
    values = np.random.default_rng(1).normal(size=(2, 30))
    found = jackknife(means_of(values), np.arange(30)).vanish(np.array([[-1.0, 1.0]]))
    assert found == pytest.approx(stats.ttest_rel(values[0], values[1]).pvalue, rel=1e-9)


def test_hotellings_test_holds_its_level() -> None:
    rng = np.random.default_rng(2)
    contrasts = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
    mixing = rng.normal(size=(3, 3))
    p_values = [
        jackknife(means_of(mixing @ rng.normal(size=(3, 20))), np.arange(20)).vanish(contrasts)
        for _ in range(400)
    ]
    assert stats.kstest(p_values, "uniform").pvalue > 1e-4


def test_units_are_left_out_whole() -> None:
    """The covariance of means over units of equal size is that of the units' own means."""
    values = np.random.default_rng(3).normal(size=(2, 40))
    units = np.arange(40) % 10
    found = jackknife(means_of(values), units)
    of_units = values.reshape(2, 4, 10).mean(axis=1)
    np.testing.assert_allclose(found.covariance, np.cov(of_units) / 10, rtol=1e-9)
    assert found.degrees_of_freedom == 9


def test_few_units_are_no_evidence() -> None:
    found = jackknife(means_of(np.arange(14.0).reshape(2, 7)), np.arange(7))
    assert found.above(np.array([[-1.0, 1.0]])) == 1


def test_contrasts_without_spread_are_not_tested() -> None:
    values = np.tile(np.random.default_rng(4).normal(size=20), (2, 1))
    found = jackknife(means_of(values), np.arange(20))
    assert np.isnan(found.vanish(np.array([[-1.0, 1.0]])))


def test_slope_contrast_is_the_least_squares_slope() -> None:
    x, y = np.random.default_rng(5).normal(size=(2, 9))
    assert slope_contrast(x) @ y == pytest.approx(stats.linregress(x, y).slope, rel=1e-9)
