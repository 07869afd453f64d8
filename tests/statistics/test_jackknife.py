"""Tests by jackknife covariance against SciPy's t tests and their own level."""

import math

import numpy as np
import pytest
from scipy import stats

from gradatlas.statistics.jackknife import jackknife, slope_contrast
from tests.statistics.synthetic import means_of


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


def test_many_units_are_left_out_in_groups() -> None:
    values = np.random.default_rng(10).normal(size=(2, 6000))
    found = jackknife(means_of(values), np.arange(6000))
    assert found.influence.shape == (2, 2000)
    np.testing.assert_allclose(np.diag(found.covariance), values.var(axis=1) / 6000, rtol=0.2)


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


@pytest.mark.parametrize("seed", range(5))
def test_equal_estimates_are_no_evidence_and_no_warning(seed: int) -> None:
    """The variance of their difference is 0, and rounding must not make it negative."""
    values = np.tile(np.random.default_rng(seed).normal(300, 1, size=25), (4, 1))
    found = jackknife(means_of(values), np.arange(25))
    contrasts = np.random.default_rng(seed + 100).normal(size=(50, 4))
    contrasts -= contrasts.mean(axis=1, keepdims=True)
    assert found.above(contrasts).min() > 0.01
    assert found.above(contrasts, -1.0).max() < 1e-9


def test_a_cone_that_binds_is_rejected_as_often_as_its_level_says() -> None:
    """Estimates on a ray of a cone of many columns, with errors that they share."""
    angles = np.linspace(0, 1, 40)
    columns = np.stack([np.ones(40), angles, angles**2, angles**3])
    ray = columns[:, 17]
    rng = np.random.default_rng(6)
    mixing = np.eye(4) + 0.9
    p_values = np.array(
        [
            jackknife(
                means_of(ray[:, None] + 0.05 * mixing @ rng.normal(size=(4, 40))), np.arange(40)
            ).combine(columns)
            for _ in range(400)
        ]
    )
    assert 0.02 < (p_values < 0.05).mean() < 0.08
    assert 0.05 < (p_values < 0.1).mean() < 0.15


def test_estimates_inside_a_cone_are_not_rejected_and_outside_are() -> None:
    noise = 0.01 * np.random.default_rng(7).normal(size=(3, 30))
    found = jackknife(means_of(np.array([[1.0], [2.0], [3.0]]) + noise), np.arange(30))
    assert found.combine(np.eye(3)) == 1
    assert found.combine(-np.eye(3)) < 1e-9
    assert found.combine(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])) < 1e-9


def test_columns_that_are_always_used_give_hotellings_test() -> None:
    rng = np.random.default_rng(8)
    found = jackknife(means_of(rng.normal([[2.0], [3.0], [4.1]], 1, size=(3, 30))), np.arange(30))
    columns = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    curvature = np.array([[1.0, -2.0, 1.0]])
    assert found.combine(columns) == pytest.approx(found.vanish(curvature), rel=1e-9)


def test_too_few_units_give_no_test_of_a_cone() -> None:
    values = np.random.default_rng(9).normal(size=(6, 6))
    assert np.isnan(jackknife(means_of(values), np.arange(6)).combine(np.ones((6, 1))))


@pytest.mark.filterwarnings("error")
def test_no_contrasts_have_no_p_value() -> None:
    pooled = jackknife(lambda weights: weights.sum(axis=-1)[None], np.arange(30))
    assert math.isnan(pooled.vanish(np.empty((0, 1))))
