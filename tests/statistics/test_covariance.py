"""Effective rank and noise scale: exact enumeration, D x D references, known populations."""

from itertools import combinations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from gradatlas.statistics.covariance import (
    noise_scale_factor,
    reciprocal_interval,
    signal_to_noise,
    squared_covariance_trace,
)

Array = NDArray[np.float64]


def test_squared_trace_is_unbiased_over_all_samples() -> None:
    population = np.array([[0.0, 1.0], [2.0, -1.0], [5.0, 3.0], [1.0, 1.5]])
    covariance = np.cov(population.T, bias=True)
    for count in (4, 5):
        estimates = [
            squared_covariance_trace(population[list(sample)])[0]
            for sample in product(range(4), repeat=count)
        ]
        expected = np.trace(covariance @ covariance)
        assert np.mean(estimates) == pytest.approx(expected, rel=1e-9)


def test_squared_trace_agrees_with_the_covariance_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Himeno and Yamada's formula from D x D, and the average over parts of the trials."""
    tensors = np.random.default_rng(0).gamma(1, size=(60, 9)) @ np.diag(np.arange(1.0, 10))

    def reference(rows: Array) -> float:
        n, covariance = len(rows), np.cov(rows.T)
        lengths = np.square(rows - rows.mean(axis=0)).sum(axis=1)
        fourth = np.square(lengths).sum() / (n - 1)
        total = (n - 1) * (n - 2) * np.trace(covariance @ covariance) + np.trace(covariance) ** 2
        return float((n - 1) / (n * (n - 2) * (n - 3)) * (total - n * fourth))

    estimate, trials = squared_covariance_trace(tensors)
    assert estimate == pytest.approx(reference(tensors), rel=1e-9)
    assert trials == 60
    monkeypatch.setattr("gradatlas.statistics.covariance._TRIALS_AT_A_TIME", 29)
    estimate, trials = squared_covariance_trace(tensors)  # 29, 29 and 2, too few for an estimate
    expected = (reference(tensors[:29]) + reference(tensors[29:58])) / 2
    assert estimate == pytest.approx(expected, rel=1e-9)
    assert trials == 58


def test_three_trials_have_no_squared_trace() -> None:
    estimate, trials = squared_covariance_trace(np.eye(3))
    assert np.isnan(estimate)
    assert trials == 0


def of_equal_weights(tensors: Array) -> float:
    squares = np.square(tensors).sum(axis=1)
    products = (tensors @ tensors.sum(axis=0) - squares) / (len(tensors) - 1)
    return float(signal_to_noise(squares.mean(), products.mean(), products.mean()))


def test_signal_to_noise_is_the_ratio_of_unbiased_estimates() -> None:
    tensors = 1 + np.random.default_rng(1).normal(size=(25, 6))
    variance = tensors.var(axis=0, ddof=1).sum()
    squared_mean = np.square(tensors.mean(axis=0)).sum() - variance / 25
    found = of_equal_weights(tensors)
    assert found == pytest.approx(squared_mean / variance, rel=1e-9)


def test_signal_to_noise_is_not_clamped() -> None:
    tensors = np.random.default_rng(2).normal(size=(8, 50))
    tensors -= tensors.mean(axis=0)
    assert of_equal_weights(tensors) < 0


def test_noise_scale_of_a_population_drawn_without_replacement() -> None:
    """All trials of 4 of 7 samples: the noise scale is tr Sigma / |G|^2 of the population."""
    gradients = np.random.default_rng(3).normal(0.8, 1, size=(7, 3))
    trials = np.array([gradients[list(chosen)].sum(axis=0) for chosen in combinations(range(7), 4)])
    mean = trials.mean(axis=0)
    ratio = np.square(trials - mean).sum() / len(trials) / np.square(mean).sum()
    expected = gradients.var(axis=0, ddof=1).sum() / np.square(gradients.mean(axis=0)).sum()
    assert noise_scale_factor(4, 7) * ratio == pytest.approx(expected, rel=1e-9)


def test_reciprocal_of_an_interval() -> None:
    assert reciprocal_interval(0.5, 0.25, 1.0) == (2, 1, 4)
    estimate, low, high = reciprocal_interval(0.5, -0.1, 1.0)
    assert (estimate, low) == (2, 1)
    assert np.isnan(high)
    estimate, low, high = reciprocal_interval(-0.5, -1.0, -0.1)
    assert estimate == -2
    assert np.isnan([low, high]).all()
