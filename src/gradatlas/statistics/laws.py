"""Laws of the gradient norm against batch size, fitted and compared out of sample."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

Array = NDArray[np.float64]
Predictor = Callable[[Array], Array]
Columns = Callable[[Array], Array]

# Curvatures of the relaxation law. Its shape in x no longer changes below the first and changes
# like a power above the last, where a step of SGD would be unstable anyway (lr lambda = 2).
_RELAXATION_RANGE = (1e-4, 2.0)
# A squared norm of any curvature in between is met within 0.02 %, below the error of 1000 trials.
_RELAXATION_TERMS = 500


@dataclass(frozen=True)
class Law:
    """A family of curves of the mean squared norm against batch size.

    Attributes:
        name: Name in the tables.
        formula: What it says.
        fit: From batch sizes and mean squared norms, each shape (B,), to the fitted curve and the
            number of its free parameters.
        columns: From batch sizes, shape (B,), to curves whose combinations without a negative
            coefficient are the law, shape (B, c); None for the power law, which is a straight line
            of the logarithms.
    """

    name: str
    formula: str
    fit: Callable[[Array, Array], tuple[Predictor, int]]
    columns: Columns | None = None


@dataclass(frozen=True)
class Fit:
    """How well a law describes the norm, the root of the mean squared norm.

    Attributes:
        law: Name of the law.
        formula: What it says.
        parameters: Free parameters; for the relaxation law the terms with a positive weight.
        relative_errors: Fitted over measured norm, less 1, shape (B,).
        left_out_errors: The same, each batch size predicted from all others, shape (B,).
        information_criterion: AICc of the logarithms of the norm; NaN with too few batch sizes.
    """

    law: str
    formula: str
    parameters: int
    relative_errors: Array
    left_out_errors: Array
    information_criterion: float


def relaxation_basis(batch_sizes: Array, samples: int) -> Array:
    """Curves of single curvatures, the columns of the relaxation law.

    Gradient descent on a quadratic with x = lr lambda N / B gives, for mean gradient G and noise
    sigma per sample in the direction of curvature lambda,
    |S|^2 = N^2 G^2 ((1 - e^-x) / x)^2 + N sigma^2 (1 - e^-2x) / (2 x).
    Columns are the two factors, on a logarithmic grid of lr lambda N.

    Args:
        batch_sizes: Shape (B,).
        samples: N, samples of one trial.

    Returns:
        Shape (B, 2 * 500), values in (0, 1].
    """
    low, high = _RELAXATION_RANGE
    curvature = samples * np.geomspace(low / samples, high, _RELAXATION_TERMS)
    x = curvature / batch_sizes[:, None]
    drift = (-np.expm1(-x) / x) ** 2
    noise = -np.expm1(-2 * x) / (2 * x)
    return np.concatenate([drift, noise], axis=1)


def laws(samples: int) -> tuple[Law, ...]:
    """The laws that are compared.

    Args:
        samples: Samples of one trial.
    """
    return (
        _linear("constant", "|S|^2 = a", lambda b: np.ones((len(b), 1))),
        _linear("square root", "|S|^2 = b B", lambda b: b[:, None]),
        _linear(
            "linear squared norm",
            "|S|^2 = a + b B",
            lambda b: np.stack([np.ones(len(b)), b], axis=1),
        ),
        Law("power", "|S| = c B^p", _fit_power),
        _linear(
            "relaxation",
            "|S|^2 = sum of a ((1 - e^-x) / x)^2 + b (1 - e^-2x) / 2x, x = lr lambda N / B",
            lambda b: relaxation_basis(b, samples),
        ),
    )


def _linear(name: str, formula: str, columns: Columns) -> Law:
    """Fit coefficients that are not negative, least squares of the logarithms as for the power law.

    Least squares of relative errors, which is convex, chooses the terms and where to start.
    """

    def fit(batch_sizes: Array, squared_norms: Array) -> tuple[Predictor, int]:
        measured = columns(batch_sizes)
        start, _ = nnls(measured / squared_norms[:, None], np.ones(len(batch_sizes)))
        active = start > 0

        def residuals(logarithms: Array) -> Array:
            return np.log(measured[:, active] @ np.exp(logarithms) / squared_norms)

        coefficients = np.exp(least_squares(residuals, np.log(start[active])).x)
        return lambda b: columns(b)[:, active] @ coefficients, int(np.count_nonzero(active))

    return Law(name, formula, fit, columns)


def _fit_power(batch_sizes: Array, squared_norms: Array) -> tuple[Predictor, int]:
    slope, intercept = np.polyfit(np.log(batch_sizes), np.log(squared_norms), 1)
    return lambda b: np.exp(intercept + slope * np.log(b)), 2


def fit_law(law: Law, batch_sizes: NDArray[np.integer], squared_norms: Array) -> Fit:
    """Fit a law to all batch sizes, and to all but each in turn.

    Args:
        law: The law.
        batch_sizes: At least 3, shape (B,).
        squared_norms: Mean squared norm at each, positive, shape (B,).
    """
    sizes = batch_sizes.astype(np.float64)
    predict, parameters = law.fit(sizes, squared_norms)
    errors = _relative_errors(predict(sizes), squared_norms)
    left_out = np.empty(len(sizes))
    for index in range(len(sizes)):
        kept = np.arange(len(sizes)) != index
        predict_left_out, _ = law.fit(sizes[kept], squared_norms[kept])
        predicted = predict_left_out(sizes[~kept])
        left_out[index] = _relative_errors(predicted, squared_norms[~kept])[0]
    criterion = corrected_information_criterion(np.log1p(errors), parameters + 1)
    return Fit(law.name, law.formula, parameters, errors, left_out, criterion)


def _relative_errors(predicted: Array, squared_norms: Array) -> Array:
    return np.sqrt(predicted / squared_norms) - 1


def corrected_information_criterion(residuals: Array, parameters: int) -> float:
    """AICc of Gaussian residuals of unknown variance (Hurvich and Tsai 1989); lower is better.

    Args:
        residuals: Shape (n,).
        parameters: Free parameters k, the variance among them.

    Returns:
        n log(RSS / n) + 2 k + 2 k (k + 1) / (n - k - 1); NaN where n - k - 1 is not positive.
    """
    n, squares = len(residuals), float(np.square(residuals).sum())
    if n - parameters - 1 <= 0 or squares == 0:
        return math.nan
    penalty = 2 * parameters + 2 * parameters * (parameters + 1) / (n - parameters - 1)
    return n * math.log(squares / n) + penalty
