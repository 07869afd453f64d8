"""Statistics of the norms against SciPy, slow references, symmetries and known tails."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gradatlas.statistics.norms import (
    hill_estimates,
    hill_tail_index,
    shape_intervals,
    shape_statistics,
    weighted_l_ratios,
)
from gradatlas.statistics.resampling import Bootstrap

Array = NDArray[np.float64]
RESAMPLING = Bootstrap(resamples=300, confidence=0.9, seed=(3,))


def expected_shape(norms: Array) -> list[float]:
    return [
        norms.mean(),
        norms.std(ddof=1),
        norms.std(ddof=1) / norms.mean(),
        float(stats.skew(norms, bias=False)),
        float(stats.kurtosis(norms, bias=False)),
    ]


def test_shape_at_unit_weights_is_that_of_scipy() -> None:
    norms = 500 + np.random.default_rng(0).gamma(3, size=40)
    found = shape_statistics(np.ones(40), norms)
    np.testing.assert_allclose(found, expected_shape(norms), rtol=1e-9)


def test_weights_count_trials() -> None:
    rng = np.random.default_rng(1)
    norms = 100 + rng.normal(size=30)
    weights = rng.integers(0, 4, size=(6, 30)).astype(np.float64)
    repeated = [np.repeat(norms, row.astype(int)) for row in weights]
    np.testing.assert_allclose(
        shape_statistics(weights, norms).T, [expected_shape(row) for row in repeated], rtol=1e-9
    )
    np.testing.assert_allclose(
        weighted_l_ratios(weights, norms).T,
        [stats.lmoment(row)[2:] for row in repeated],
        rtol=1e-9,
    )


def test_equal_norms_have_a_mean_and_no_shape() -> None:
    mean, std, relative, skewness, kurtosis = shape_statistics(np.ones(50), np.full(50, 0.3))
    assert mean == pytest.approx(0.3)
    assert std == pytest.approx(0, abs=1e-15)
    assert relative == pytest.approx(0, abs=1e-15)
    assert np.isnan([skewness, kurtosis]).all()
    assert np.isnan(weighted_l_ratios(np.ones(50), np.full(50, 0.3))).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_norms_give_nan(count: int) -> None:
    found = shape_statistics(np.ones(count), np.arange(1.0, count + 1))
    assert np.isfinite(found[: min(count, 3) + (count > 1)]).all()
    assert np.isnan(found[count + (count > 1) :]).all()
    ratios = weighted_l_ratios(np.ones(count), np.arange(1.0, count + 1))
    assert np.isnan(ratios).tolist() == [count < 3, count < 4]


def test_l_kurtosis_of_known_distributions() -> None:
    """Values from Hosking (1990)."""
    rng = np.random.default_rng(2)
    for sample, expected in (
        (rng.normal(size=(40, 2000)), 0.1226),
        (rng.logistic(size=(40, 2000)), 1 / 6),
        (rng.uniform(size=(40, 2000)), 0.0),
    ):
        found = np.array([weighted_l_ratios(np.ones(2000), row)[1] for row in sample])
        assert abs(found.mean() - expected) < 5 * found.std(ddof=1) / np.sqrt(len(found))


def test_hill_estimates_are_the_definition() -> None:
    values = 1 + np.random.default_rng(3).pareto(2, size=12)
    descending = sorted(values, reverse=True)
    expected = [
        k / sum(np.log(descending[i] / descending[k]) for i in range(k)) for k in range(1, 12)
    ]
    np.testing.assert_allclose(hill_estimates(values), expected, rtol=1e-9)


@pytest.mark.parametrize("alpha", [1.5, 4.0])
def test_hill_finds_the_tail_of_a_pareto(alpha: float) -> None:
    rng = np.random.default_rng(4)
    found = np.array([hill_tail_index(1 + rng.pareto(alpha, size=10_000)) for _ in range(30)])
    # 1 / index is unbiased at every k, with standard error 1 / (alpha sqrt(k)).
    assert abs((1 / found).mean() - 1 / alpha) < 5 / (alpha * np.sqrt(100 * 30))


def test_hill_needs_25_positive_values() -> None:
    values = np.random.default_rng(5).pareto(2, size=30) + 1
    assert np.isfinite(hill_tail_index(values))
    assert np.isnan(hill_tail_index(values[:24]))
    assert np.isnan(hill_tail_index(np.append(values, 0.0)))
    assert np.isnan(hill_tail_index(np.ones(30)))


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
    found = shape_intervals(values, np.arange(60), RESAMPLING)
    np.testing.assert_allclose(found[1:, 0], np.sinh(ends[:, 0]), rtol=1e-9)
    np.testing.assert_allclose(found[1:, 1], np.exp(ends[:, 1]) - 3, rtol=1e-9)
    expected = stats.skew(values, bias=False), stats.kurtosis(values, bias=False)
    np.testing.assert_allclose(found[0], expected, rtol=1e-9)


def test_unit_and_sign_of_the_norm_do_not_matter() -> None:
    values = np.random.default_rng(1).gamma(4, size=80)
    found = shape_intervals(values, np.arange(80), RESAMPLING)
    scaled = shape_intervals(500 + 3 * values, np.arange(80), RESAMPLING)
    mirrored = shape_intervals(-values, np.arange(80), RESAMPLING)
    np.testing.assert_allclose(scaled, found, rtol=1e-9)
    np.testing.assert_allclose(mirrored[:, 1], found[:, 1], rtol=1e-9)
    np.testing.assert_allclose(mirrored[[0, 2, 1], 0], -found[:, 0], rtol=1e-9)


def test_copies_of_a_trial_tell_nothing_new() -> None:
    values = np.random.default_rng(2).gamma(4, size=2000)
    alone = shape_intervals(values, np.arange(2000), RESAMPLING)
    copies = shape_intervals(np.repeat(values, 3), np.repeat(np.arange(2000), 3), RESAMPLING)
    np.testing.assert_allclose(copies, alone, rtol=0.02)


@pytest.mark.parametrize("count", [1, 3, 19])
def test_few_trials_have_no_interval(count: int) -> None:
    values = np.random.default_rng(3).normal(size=count)
    found = shape_intervals(values, np.arange(count), RESAMPLING)
    assert np.isnan(found[1:]).all()
    assert np.isfinite(found[0]).tolist() == [count >= 3, count >= 4]


@pytest.mark.parametrize("value", [3.0, 0.1])
def test_equal_norms_have_no_shape(value: float) -> None:
    assert np.isnan(shape_intervals(np.full(30, value), np.arange(30), RESAMPLING)).all()


def test_the_interval_of_many_skewed_norms_is_that_of_the_delta_method() -> None:
    values = np.random.default_rng(4).gamma(16, size=30_000)
    found = shape_intervals(values, np.arange(30_000), RESAMPLING)
    estimate, error = slow_shape(values)
    margin = stats.norm.ppf(0.95) * error
    np.testing.assert_allclose(np.arcsinh(found[1:, 0]), estimate[0] + [-1, 1] * margin[:1], 0.02)
    np.testing.assert_allclose(
        np.log(found[1:, 1] + 3), estimate[1] + [-1, 1] * margin[1:], rtol=0.02
    )
