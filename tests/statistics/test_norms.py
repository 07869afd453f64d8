"""Statistics of the norms against SciPy, slow references and known tails."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gradatlas.statistics.norms import (
    hill_estimates,
    hill_tail_index,
    shape_statistics,
    weighted_l_ratios,
)

Array = NDArray[np.float64]


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
