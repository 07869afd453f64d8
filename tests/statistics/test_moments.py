"""Central moments against SciPy, two passes, exact enumeration and known distributions."""

from functools import reduce
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats

from gradatlas.statistics.moments import (
    Moments,
    excess_kurtosis,
    merge,
    moments_of,
    squared_covariance_trace,
    standardised_moment,
    unbiased_central_moment,
    variance,
)

Array = NDArray[np.float64]


def two_passes(values: Array, order: int) -> Moments:
    mean = values.mean(axis=0, dtype=np.float64)
    sums = [((values - mean) ** power).sum(axis=0) for power in range(2, order + 1)]
    return Moments(len(values), mean, np.array(sums))


def assert_equal_moments(actual: Moments, expected: Moments, values: Array) -> None:
    """To 1e-9 of the sums of absolute powers, as odd powers cancel."""
    assert actual.count == expected.count
    scale = np.abs(values).max(axis=0) + np.finfo(float).tiny
    np.testing.assert_allclose(actual.mean / scale, expected.mean / scale, atol=1e-12)
    for power, (a, b) in enumerate(zip(actual.sums, expected.sums, strict=True), start=2):
        total = (np.abs(values - expected.mean) ** power).sum(axis=0)
        rounding = len(values) * (1e-13 * scale) ** power + np.finfo(np.float64).tiny
        assert (np.abs(a - b) <= 1e-9 * total + rounding).all()


@pytest.mark.parametrize("order", [2, 3, 6, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_pass_agrees_with_two(order: int, dtype: type[np.floating]) -> None:
    values = np.random.default_rng(order).gamma(2, size=(203, 3, 5)).astype(dtype)
    expected = two_passes(values.astype(np.float64), order)
    assert_equal_moments(moments_of(values, order), expected, values.astype(np.float64))


@given(
    values=arrays(
        np.float64,
        st.tuples(st.integers(1, 40), st.integers(1, 3)),
        elements=st.floats(-1e3, 1e3, allow_subnormal=False),
    ),
    cuts=st.lists(st.integers(0, 40), max_size=6),
)
@example(np.array([[0.0], [3.22884297e-107], [0.0], [0.0]]), [1])  # its cube is subnormal
@settings(deadline=None)
def test_merging_any_split_equals_one_pass(values: Array, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    parts = [moments_of(values[start:stop], 6) for start, stop in pairwise(edges)]
    assert_equal_moments(reduce(merge, parts), two_passes(values, 6), values)


def test_merging_is_exact_far_from_zero() -> None:
    """Means of squares less squared means lose every digit here, in float32 and float64."""
    values = (1e4 + 1e-2 * np.random.default_rng(1).normal(size=(400, 4))).astype(np.float32)
    merged = merge(moments_of(values[:150], 4), moments_of(values[150:], 4))
    exact = values.astype(np.float64)
    np.testing.assert_allclose(variance(merged), exact.var(axis=0, ddof=1), rtol=1e-9)
    kurtosis = stats.kurtosis(exact, bias=False)
    np.testing.assert_allclose(excess_kurtosis(merged), kurtosis, atol=1e-9)


def test_outliers_in_the_first_rows_cost_no_accuracy() -> None:
    """The first rows set the point that powers are taken about."""
    values = np.random.default_rng(2).normal(size=(6400, 3))
    values[:64] += 1e3
    assert_equal_moments(moments_of(values, 8), two_passes(values, 8), values)


def test_k_statistics_are_those_of_scipy() -> None:
    values = np.random.default_rng(3).standard_t(5, size=(60, 4))
    moments = moments_of(values, 6)
    np.testing.assert_allclose(variance(moments), stats.kstat(values, 2, axis=0), rtol=1e-9)
    np.testing.assert_allclose(
        standardised_moment(moments, 3), stats.skew(values, bias=False), rtol=1e-9
    )
    np.testing.assert_allclose(
        excess_kurtosis(moments), stats.kurtosis(values, bias=False), rtol=1e-9
    )
    third = unbiased_central_moment(moments, 3)
    np.testing.assert_allclose(third, stats.kstat(values, 3, axis=0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_central_moments_are_unbiased_over_all_samples(order: int) -> None:
    """The average over every sample of a population is the population's moment."""
    population = np.array([0.0, 1.0, 3.0, 7.5, -2.0])
    samples = np.array(list(product(population, repeat=order))).T  # (observation, sample)
    estimates = unbiased_central_moment(moments_of(samples, order), order)
    expected = np.mean((population - population.mean()) ** order)
    assert estimates.mean() == pytest.approx(expected, rel=1e-9)


def test_sixth_moment_is_unbiased_over_all_samples() -> None:
    population = np.array([0.0, 1.0, 3.5])
    samples = np.array(list(product(population, repeat=7))).T
    estimates = unbiased_central_moment(moments_of(samples, 6), 6)
    assert estimates.mean() == pytest.approx(np.mean((population - 1.5) ** 6), rel=1e-9)


def test_gaussian_moments_are_0_and_15() -> None:
    values = np.random.default_rng(4).normal(3, 2, size=(4000, 200))
    moments = moments_of(values, 6)
    for order, expected in ((5, 0.0), (6, 15.0)):
        estimates = standardised_moment(moments, order)
        standard_error = estimates.std(ddof=1) / np.sqrt(estimates.size)
        assert abs(estimates.mean() - expected) < 5 * standard_error


def test_student_t_has_the_excess_kurtosis_of_its_degrees_of_freedom() -> None:
    values = np.random.default_rng(5).standard_t(12, size=(4000, 400))
    estimates = excess_kurtosis(moments_of(values, 4))
    standard_error = estimates.std(ddof=1) / np.sqrt(estimates.size)
    assert abs(estimates.mean() - 6 / (12 - 4)) < 5 * standard_error


def test_too_few_tensors_give_nan() -> None:
    moments = moments_of(np.array([[1.0], [2.0], [4.0]]), 6)
    assert np.isfinite(standardised_moment(moments, 3)).all()
    assert np.isnan(excess_kurtosis(moments)).all()
    assert np.isnan(standardised_moment(moments, 5)).all()
    assert np.isnan(variance(moments_of(np.array([[1.0]]), 2))).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -7e5])
def test_equal_tensors_have_no_shape(value: float) -> None:
    moments = moments_of(np.full((1000, 2), value, np.float32), 4)
    np.testing.assert_array_equal(variance(moments), 0.0)
    assert np.isnan(standardised_moment(moments, 3)).all()
    assert np.isnan(excess_kurtosis(moments)).all()


def test_an_order_below_the_variance_is_refused() -> None:
    with pytest.raises(ValueError, match="order is 1, expected at least 2"):
        moments_of(np.ones((2, 2)), 1)


def test_squared_trace_is_unbiased_over_all_samples() -> None:
    population = np.array([[0.0, 1.0], [2.0, -1.0], [5.0, 3.0], [1.0, 1.5]])
    covariance = np.cov(population.T, bias=True)
    for count in (4, 5):
        estimates = [
            squared_covariance_trace(population[list(sample)])
            for sample in product(range(4), repeat=count)
        ]
        expected = np.trace(covariance @ covariance)
        assert np.mean(estimates) == pytest.approx(expected, rel=1e-9)


def test_squared_trace_agrees_with_the_covariance_matrix() -> None:
    """Himeno and Yamada's formula from D x D."""
    tensors = np.random.default_rng(0).gamma(1, size=(60, 9)) @ np.diag(np.arange(1.0, 10))

    def reference(rows: Array) -> float:
        n, covariance = len(rows), np.cov(rows.T)
        lengths = np.square(rows - rows.mean(axis=0)).sum(axis=1)
        fourth = np.square(lengths).sum() / (n - 1)
        total = (n - 1) * (n - 2) * np.trace(covariance @ covariance) + np.trace(covariance) ** 2
        return float((n - 1) / (n * (n - 2) * (n - 3)) * (total - n * fourth))

    assert squared_covariance_trace(tensors) == pytest.approx(reference(tensors), rel=1e-9)


def test_three_trials_have_no_squared_trace() -> None:
    assert np.isnan(squared_covariance_trace(np.eye(3)))
