"""Laws recover the curves they describe, and are told from each other out of sample."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from gradatlas.statistics.laws import (
    corrected_information_criterion,
    fit_law,
    laws,
    relaxation_basis,
)

Array = NDArray[np.float64]
SIZES = np.array([1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 256, 512, 1024])
LAWS = {law.name: law for law in laws(1024)}


@pytest.mark.parametrize(
    ("name", "squared_norms", "parameters"),
    [
        ("constant", np.full(15, 9.0), 1),
        ("square root", 7.0 * SIZES, 1),
        ("linear squared norm", 3.0 + 0.2 * SIZES, 2),
        ("power", 5.0 * SIZES**0.3, 2),
    ],
)
def test_a_law_fits_its_own_curve(name: str, squared_norms: Array, parameters: int) -> None:
    fit = fit_law(LAWS[name], SIZES, squared_norms)
    assert fit.parameters == parameters
    np.testing.assert_allclose(fit.relative_errors, 0, atol=1e-6)
    np.testing.assert_allclose(fit.left_out_errors, 0, atol=1e-6)


def quadratic(curvature: float, drift: float, noise: float) -> Array:
    """Mean squared sum of gradients of SGD on one quadratic direction, step by step.

    The weight starts where the gradient is ``drift``; every batch of B samples gives the sum
    B (gradient + error), the error's variance noise^2 / B, and the step lr times its mean.
    """
    rate, samples, result = 0.01, 1024, []
    for size in SIZES:
        steps, decay = samples // size, 1 - rate * curvature
        mean = size * drift * sum(decay**step for step in range(steps))
        # The error of step t enters its own sum, and through the weights all later ones.
        weights = [
            size * (1 - rate * curvature * sum(decay**later for later in range(steps - step - 1)))
            for step in range(steps)
        ]
        result.append(mean**2 + noise**2 / size * np.square(weights).sum())
    return np.array(result)


def test_relaxation_describes_sgd_on_a_quadratic() -> None:
    dividing = np.array([1024 % size == 0 for size in SIZES])
    error = 1 + 1e-3 * np.random.default_rng(0).normal(size=len(SIZES))
    squared_norms = error * (quadratic(3.0, 1.0, 5.0) + quadratic(0.2, 2.0, 1.0))
    fit = fit_law(LAWS["relaxation"], SIZES[dividing], squared_norms[dividing])
    power = fit_law(LAWS["power"], SIZES[dividing], squared_norms[dividing])
    assert np.abs(fit.relative_errors).max() < 0.02
    assert np.abs(fit.left_out_errors).max() < np.abs(power.left_out_errors).max()
    assert fit.information_criterion < power.information_criterion


def test_relaxation_terms_are_the_integrals_of_an_exponential_decay() -> None:
    """(1 - e^-x) / x is the average of e^-xs over a trial, (1 - e^-2x) / 2x that of e^-2xs."""
    basis = relaxation_basis(np.array([16.0]), 1024)
    terms = basis.shape[1] // 2
    lowest, highest = 1e-4 / 16, 2.0 * 1024 / 16
    for column, x in ((0, lowest), (terms - 1, highest)):
        drift = quad(lambda s, x=x: np.exp(-x * s), 0, 1)[0] ** 2
        noise = quad(lambda s, x=x: np.exp(-2 * x * s), 0, 1)[0]
        np.testing.assert_allclose(basis[0, [column, column + terms]], [drift, noise], rtol=1e-6)


@pytest.mark.parametrize("curvature", [0.0, 0.03, 4.79, 26.9, 231.0])
def test_curvatures_between_the_terms_are_met(curvature: float) -> None:
    """A single curvature is the hardest, as no others help."""
    x = np.maximum(curvature, 1e-12) / SIZES
    drift = (-np.expm1(-x) / x) ** 2
    assert np.abs(fit_law(LAWS["relaxation"], SIZES, drift).relative_errors).max() < 2e-4


def test_no_law_but_the_power_law_falls() -> None:
    falling = 5.0 / SIZES
    assert fit_law(LAWS["power"], SIZES, falling).relative_errors.max() < 1e-9
    assert np.abs(fit_law(LAWS["relaxation"], SIZES, falling).relative_errors).max() > 1


def test_left_out_errors_predict_from_the_others() -> None:
    """One wild batch size is predicted by the law of the others."""
    squared_norms = np.full(15, 4.0)
    squared_norms[6] = 16.0
    left_out = fit_law(LAWS["constant"], SIZES, squared_norms).left_out_errors
    assert left_out[6] == pytest.approx(np.sqrt(4 / 16) - 1, rel=1e-6)


def test_information_criterion_is_that_of_hurvich_and_tsai() -> None:
    residuals = np.array([0.1, -0.2, 0.05, 0.3, -0.1, 0.02])
    sigma = np.sqrt(np.mean(residuals**2))
    log_likelihood = np.sum(-0.5 * (residuals / sigma) ** 2 - np.log(sigma))
    expected = -2 * log_likelihood + 2 * 2 + 2 * 2 * 3 / (6 - 2 - 1) - 6
    assert corrected_information_criterion(residuals, 2) == pytest.approx(expected, rel=1e-9)
    assert np.isnan(corrected_information_criterion(residuals, 5))
