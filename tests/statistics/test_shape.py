"""Intervals of skewness and kurtosis against a slow reference, symmetries and sample sets."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gradatlas.statistics.bootstrap import Bootstrap
from gradatlas.statistics.shape import shape_intervals

Array = NDArray[np.float64]
SETTINGS = Bootstrap(resamples=300, confidence=0.9, seed=(3,))


def slow_shape(values: Array) -> tuple[Array, Array]:
    """Skewness and kurtosis on their scales with standard errors, by influence functions."""
    z = (values - values.mean()) / values.std()
    skewness, kurtosis = (z**3).mean(), (z**4).mean()
    influence = np.stack(
        [
            z**3 - 3 * z - skewness - 1.5 * skewness * (z**2 - 1),
            z**4 - 4 * skewness * z - kurtosis - 2 * kurtosis * (z**2 - 1),
        ]
    )
    errors = np.sqrt(np.square(influence).sum(axis=1)) / len(values)
    found = stats.skew(values, bias=False), stats.kurtosis(values, bias=False) + 3
    slopes = np.array([1 / np.sqrt(1 + found[0] ** 2), 1 / found[1]])
    return np.array([np.arcsinh(found[0]), np.log(found[1])]), slopes * errors


def test_intervals_are_those_of_a_slow_studentised_bootstrap() -> None:
    values = np.random.default_rng(0).gamma(4, size=60)
    estimate, error = slow_shape(values)

    def pivot(index: NDArray[np.intp]) -> Array:
        resampled, its_error = slow_shape(values[index])
        return np.abs(resampled - estimate) / its_error

    draws = stats.bootstrap(
        (np.arange(60),),
        lambda index, axis: np.array([pivot(row) for row in np.atleast_2d(index)]).T,
        n_resamples=300,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng((3,)),
    ).bootstrap_distribution
    margin = np.quantile(draws, 0.9, axis=-1) * error
    ends = np.stack([estimate - margin, estimate + margin])
    found = shape_intervals(values, np.arange(60), SETTINGS)
    np.testing.assert_allclose(found[0, 1:], np.sinh(ends[:, 0]), rtol=1e-9)
    np.testing.assert_allclose(found[1, 1:], np.exp(ends[:, 1]) - 3, rtol=1e-9)
    expected = stats.skew(values, bias=False), stats.kurtosis(values, bias=False)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-9)


def test_units_and_sign_of_the_norm_do_not_matter() -> None:
    values = np.random.default_rng(1).gamma(4, size=80)
    found = shape_intervals(values, np.arange(80), SETTINGS)
    scaled = shape_intervals(500 + 3 * values, np.arange(80), SETTINGS)
    mirrored = shape_intervals(-values, np.arange(80), SETTINGS)
    np.testing.assert_allclose(scaled, found, rtol=1e-9)
    np.testing.assert_allclose(mirrored[1], found[1], rtol=1e-9)
    np.testing.assert_allclose(mirrored[0, [0, 2, 1]], -found[0], rtol=1e-9)


def test_copies_of_a_trial_tell_nothing_new() -> None:
    values = np.random.default_rng(2).gamma(4, size=2000)
    alone = shape_intervals(values, np.arange(2000), SETTINGS)
    copies = shape_intervals(np.repeat(values, 3), np.repeat(np.arange(2000), 3), SETTINGS)
    np.testing.assert_allclose(copies, alone, rtol=0.02)


@pytest.mark.parametrize("count", [1, 3, 19])
def test_few_trials_have_no_interval(count: int) -> None:
    values = np.random.default_rng(3).normal(size=count)
    found = shape_intervals(values, np.arange(count), SETTINGS)
    assert np.isnan(found[:, 1:]).all()
    assert np.isfinite(found[:, 0]).tolist() == [count >= 3, count >= 4]


@pytest.mark.parametrize("value", [3.0, 0.1])
def test_equal_norms_have_no_shape(value: float) -> None:
    assert np.isnan(shape_intervals(np.full(30, value), np.arange(30), SETTINGS)).all()


def test_the_interval_of_many_skewed_norms_is_that_of_the_delta_method() -> None:
    values = np.random.default_rng(4).gamma(16, size=30_000)
    found = shape_intervals(values, np.arange(30_000), SETTINGS)
    estimate, error = slow_shape(values)
    margin = stats.norm.ppf(0.95) * error
    np.testing.assert_allclose(np.arcsinh(found[0, 1:]), estimate[0] + [-1, 1] * margin[:1], 0.02)
    np.testing.assert_allclose(
        np.log(found[1, 1:] + 3), estimate[1] + [-1, 1] * margin[1:], rtol=0.02
    )
