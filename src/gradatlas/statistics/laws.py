"""How the norm depends on batch size: laws side by side, and exponents between neighbours."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from gradatlas.statistics.paired import PairedTrials
from gradatlas.statistics.resampling import (
    Bootstrap,
    WeightedStatistic,
    bootstrap,
    jackknife,
    log_means,
    of_means,
    power_law_p_value,
)

Array = NDArray[np.float64]
Curve = Callable[[Array], Array]

# Fewer batch sizes leave nothing to compare laws of two parameters by when one is left out.
MINIMUM_BATCH_SIZES = 5

# Curvatures of the relaxation law. Its shape in x no longer changes below the first and changes
# like a power above the last, where a step of SGD would be unstable anyway (lr lambda = 2).
_RELAXATION_RANGE = (1e-4, 2.0)
# A squared norm of any curvature in between is met within 0.02 %, below the error of 1000 trials.
_RELAXATION_TERMS = 500

# Points of a fitted curve, besides the measured batch sizes.
_CURVE_POINTS = 60


@dataclass(frozen=True)
class Law:
    """A family of curves of the mean squared norm against batch size.

    ``columns`` are curves, from batch sizes to shape (B, c), whose combinations without a negative
    coefficient are the law; None for the power law, a straight line of the logarithms.

    Example:
        >>> sizes = np.array([1.0, 4.0, 16.0, 64.0])
        >>> for law in laws(samples=1024)[:4]:  # all fitted to |S|^2 = 9 B
        ...     curve, parameters = law.fit(sizes, 9 * sizes)
        ...     print(f"{law.name}: {math.sqrt(curve(np.array([100.0]))[0]):.3g}, {parameters}")
        constant: 8.49, 1
        square root: 30, 1
        linear squared norm: 30, 1
        power: 30, 2
    """

    name: str
    formula: str
    columns: Curve | None

    def fit(self, batch_sizes: Array, squared_norms: Array) -> tuple[Curve, int]:
        """Curve fitted to mean squared norms by least squares of logarithms, and its parameters.

        Least squares of relative errors, which is convex, chooses the terms and where to start.

        Args:
            batch_sizes: Shape (B,).
            squared_norms: Mean squared norm at each, positive, shape (B,).

        Returns:
            The curve of the mean squared norm, from batch sizes to the same shape; and how many
            coefficients it has, without those that non-negative least squares set to 0. As these
            were chosen by the data, the number understates the freedom of the relaxation law.
        """
        columns = self.columns
        if columns is None:
            slope, intercept = np.polyfit(np.log(batch_sizes), np.log(squared_norms), 1)
            return lambda b: np.exp(intercept + slope * np.log(b)), 2
        measured = columns(batch_sizes)  # (B, c)
        # Divided by the measured, so that residuals are relative errors of the squared norm.
        start, _ = nnls(measured / squared_norms[:, None], np.ones(len(batch_sizes)))
        active = start > 0

        def residuals(logarithms: Array) -> Array:
            # Logarithms of coefficients: none can become negative on the way.
            return np.log(measured[:, active] @ np.exp(logarithms) / squared_norms)

        coefficients = np.exp(least_squares(residuals, np.log(start[active])).x)
        return lambda b: columns(b)[:, active] @ coefficients, int(np.count_nonzero(active))


def laws(samples: int) -> tuple[Law, ...]:
    """The laws that are compared, for trials of so many samples; docs/statistics.md explains them.

    Args:
        samples: N, samples of a trial, which the relaxation law depends on.

    Example:
        >>> for law in laws(1024)[1:4]:
        ...     print(f"{law.name}: {law.formula}")
        square root: |S|^2 = b B
        linear squared norm: |S|^2 = a + b B
        power: |S| = c B^p
    """
    relaxation = "|S|^2 = sum of a ((1 - e^-x) / x)^2 + b (1 - e^-2x) / 2x, x = lr lambda N / B"
    return (
        Law("constant", "|S|^2 = a", lambda b: np.ones((len(b), 1))),
        Law("square root", "|S|^2 = b B", lambda b: b[:, None]),
        Law("linear squared norm", "|S|^2 = a + b B", lambda b: np.vander(b, 2, increasing=True)),
        Law("power", "|S| = c B^p", None),
        Law("relaxation", relaxation, lambda b: relaxation_basis(b, samples)),
    )


def relaxation_basis(batch_sizes: Array, samples: int) -> Array:
    """Curves of single curvatures, the columns of the relaxation law.

    Gradient descent on a quadratic with x = lr lambda N / B gives, for mean gradient G and noise
    sigma per sample in the direction of curvature lambda,
    |S|^2 = N^2 G^2 ((1 - e^-x) / x)^2 + N sigma^2 (1 - e^-2x) / (2 x).
    (1 - e^-x) / x is the average of e^-xs over a trial, s from 0 to 1: drift and noise decay while
    the trial runs. Where x is small, at large batches, both factors are 1 and the norm no longer
    depends on B. Where x is large the drift's is B^2 and the noise's B, up to constants: the norm
    then has slope 1 and slope 1/2. No combination falls with B, nor rises faster than B.

    Args:
        batch_sizes: Shape (B,).
        samples: N, samples of a trial.

    Returns:
        The two factors, drift first, on a logarithmic grid of lr lambda N, shape (B, 2 * 500).

    Example:
        The largest curvature of the grid, from batch size 1 to 1024:

        >>> columns = relaxation_basis(np.array([1.0, 2.0, 1024.0]), samples=1024)
        >>> drift, noise = columns[:, 499], columns[:, -1]
        >>> (drift[1] / drift[0]).round(3).tolist(), (noise[1] / noise[0]).round(3).tolist()
        (4.0, 2.0)
        >>> columns[:, 0].round(3).tolist()  # and the smallest, which drifts on undamped
        [1.0, 1.0, 1.0]
    """
    low, high = _RELAXATION_RANGE
    curvature = samples * np.geomspace(low / samples, high, _RELAXATION_TERMS)
    x = curvature / batch_sizes[:, None]  # (B, curvature)
    # expm1 keeps the digits of 1 - e^-x that a subtraction loses at small x.
    drift = (-np.expm1(-x) / x) ** 2
    noise = -np.expm1(-2 * x) / (2 * x)
    return np.concatenate([drift, noise], axis=1)


def relative_errors(predicted: Array, squared_norms: Array) -> Array:
    """Fitted over measured norm, less 1, of mean squared norms.

    Example:
        >>> relative_errors(np.array([121.0]), np.array([100.0])).round(9).tolist()  # 11 for 10
        [0.1]
    """
    return np.sqrt(predicted / squared_norms) - 1


def left_out_errors(law: Law, batch_sizes: Array, squared_norms: Array) -> Array:
    """Relative error at each batch size of the law that is fitted to all others, shape (B,).

    Unlike residuals these do not shrink with the number of parameters. The smallest and the largest
    batch size are extrapolated, the others interpolated.

    Args:
        law: The law.
        batch_sizes: Shape (B,).
        squared_norms: Mean squared norm at each, positive, shape (B,).

    Example:
        Norms that go as the square root of B, predicted by that law and by a constant:

        >>> sizes, (constant, square_root, *_) = np.array([1.0, 4.0, 16.0, 64.0]), laws(1024)
        >>> np.abs(left_out_errors(square_root, sizes, 9 * sizes)).round(6).tolist()
        [0.0, 0.0, 0.0, 0.0]
        >>> left_out_errors(constant, sizes, 9 * sizes).round(2).tolist()
        [3.0, 0.59, -0.37, -0.75]
    """
    errors = np.empty(len(batch_sizes))
    for index in range(len(batch_sizes)):
        kept = np.arange(len(batch_sizes)) != index
        predict, _ = law.fit(batch_sizes[kept], squared_norms[kept])
        errors[~kept] = relative_errors(predict(batch_sizes[~kept]), squared_norms[~kept])
    return errors


def corrected_information_criterion(residuals: Array, parameters: int) -> float:
    """AICc of n Gaussian residuals of unknown variance (Hurvich and Tsai 1989); lower is better.

    n log(RSS / n) + 2 k + 2 k (k + 1) / (n - k - 1), RSS the residual sum of squares. The last term
    is the correction for few residuals. Only differences between laws fitted to the same data tell.

    Args:
        residuals: Shape (n,).
        parameters: k, the variance among them.

    Returns:
        AICc; NaN where n - k - 1 is not positive, or every residual is 0.

    Example:
        One parameter more that leaves the same residuals costs more than 2:

        >>> residuals = np.array([0.1, -0.1, 0.1, -0.1, 0.1])
        >>> fewer, more = (corrected_information_criterion(residuals, k) for k in (2, 3))
        >>> round(more - fewer, 6)
        20.0
    """
    n, k, squares = len(residuals), parameters, float(np.square(residuals).sum())
    if n - k - 1 <= 0 or squares == 0:
        return math.nan
    return n * math.log(squares / n) + (2 * k + 2 * k * (k + 1) / (n - k - 1))


def compare_laws(trials: Sequence[PairedTrials]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fit every law to the root of the mean squared norm, where weights move.

    All laws are fitted to the same numbers by the same least squares of logarithms, and tested for
    lack of fit by Hotelling's T^2 about the law (``Jackknife.combine``, ``Jackknife.vanish``). A
    high p-value does not make a law true: the relaxation law is flexible.

    Args:
        trials: Of each protocol and epoch.

    Returns:
        How good each law is: ``left_out_error`` is the root mean square of the relative errors
        where each batch size is predicted from all others, ``interpolation_error`` the largest
        without the smallest and the largest batch size. And its curve, over the measured batch
        sizes and more in between. Protocols with fewer than 5 batch sizes are left out.

    Example:
        Of norms that go as the square root of B, the constant alone is refused:

        >>> from types import SimpleNamespace
        >>> sizes, trial = np.array([1, 2, 4, 8, 16]), np.arange(60)
        >>> noise = np.random.default_rng(0).normal(1, 0.05, size=(5, 60))
        >>> paired = SimpleNamespace(
        ...     settings=SimpleNamespace(update=SimpleNamespace(moves=True), samples_per_trial=64),
        ...     key=("sgd", 2), batch_sizes=sizes, trials=trial, clusters=trial,
        ...     norm=3 * np.sqrt(sizes)[:, None] * noise)
        >>> scaling, curves = compare_laws([paired])
        >>> scaling.loc[scaling["lack_of_fit_p_value"] < 0.05, "law"].tolist()
        ['constant']
    """
    rows: list[tuple[object, ...]] = []
    points: list[tuple[object, ...]] = []
    for paired in trials:
        enough = len(paired.batch_sizes) >= MINIMUM_BATCH_SIZES and len(paired.trials) > 1
        if not (paired.settings.update.moves and enough):
            continue
        for law in laws(paired.settings.samples_per_trial):
            row, curve = _compare(paired, law)
            rows.append((*paired.key, law.name, law.formula, *row))
            points += ((*paired.key, law.name, *point) for point in curve.tolist())
    key = ["protocol", "epoch", "law"]
    errors = ["largest_error", "left_out_error", "largest_left_out_error", "interpolation_error"]
    tests = ["information_criterion", "lack_of_fit_p_value"]
    point = ["batch_size", "fitted_norm", "root_mean_square_norm", "relative_error"]
    scaling = pd.DataFrame(rows, columns=[*key, "formula", "parameters", *errors, *tests])
    return scaling, pd.DataFrame(points, columns=[*key, *point])


def _compare(paired: PairedTrials, law: Law) -> tuple[tuple[float, ...], Array]:
    """The columns of one law behind its formula, and the points of its curve, shape (point, 4)."""
    sizes, squares = paired.batch_sizes.astype(np.float64), np.square(paired.norm).mean(axis=1)
    predict, parameters = law.fit(sizes, squares)
    errors = relative_errors(predict(sizes), squares)
    left_out = np.abs(left_out_errors(law, sizes, squares))
    row = (
        *(parameters, np.abs(errors).max(), math.sqrt(np.square(left_out).mean())),
        # The first and the last batch size are extrapolated; ``interpolation_error`` is without
        # them.
        *(left_out.max(), left_out[1:-1].max()),
        # Logarithms of norms are what was fitted. The variance of the residuals is one parameter
        # more.
        corrected_information_criterion(np.log1p(errors), parameters + 1),
        _lack_of_fit(paired, law),
    )
    # The measured batch sizes are points of the curve, so that a figure shows residuals beside it.
    grid = np.union1d(sizes, np.geomspace(sizes[0], sizes[-1], _CURVE_POINTS))
    fitted, measured = np.sqrt(predict(grid)), np.full(len(grid), np.nan)
    measured[np.searchsorted(grid, sizes)] = np.sqrt(squares)
    return row, np.stack([grid, fitted, measured, fitted / measured - 1], axis=1)


def _lack_of_fit(paired: PairedTrials, law: Law) -> float:
    """Test of a law by the mean squared norms, whose errors batch sizes share."""
    sizes, squares = paired.batch_sizes.astype(np.float64), np.square(paired.norm)
    if law.columns is not None:
        # Combinations of columns are a cone in the mean squares, not in their logarithms.
        means = jackknife(*of_means(lambda means, _: means, squares, paired.clusters))
        return means.combine(law.columns(sizes))
    return power_law_p_value(jackknife(*log_means(squares, paired.clusters)), sizes)


def _slopes(statistic: WeightedStatistic, steps: Array) -> WeightedStatistic:
    """Differences of neighbouring values of a statistic over the steps between them."""
    return lambda weights: (np.diff(statistic(weights), axis=0).T / steps).T


def local_exponents(trials: Sequence[PairedTrials], resampling: Bootstrap) -> pd.DataFrame:
    """Exponent of the mean norm between neighbouring batch sizes, with paired intervals.

    log(m' / m) / log(B' / B) of the mean norms m and m' at B and B' > B: what a single slope over
    all batch sizes hides. BCa bootstrap intervals of pairs: trials share samples over batch sizes,
    so noise that is common to both cancels.

    Args:
        trials: Of each protocol and epoch; those with one batch size or trial are left out.
        resampling: Number of resamples, confidence level and seed.

    Returns:
        One row per protocol, epoch and pair of neighbouring batch sizes.

    Example:
        A norm that rises as the square root of B and then no more:

        >>> from types import SimpleNamespace
        >>> noise = np.random.default_rng(0).normal(1, 0.1, size=(3, 40))
        >>> paired = SimpleNamespace(
        ...     key=("sgd", 2), batch_sizes=np.array([1, 4, 16]), trials=np.arange(40),
        ...     clusters=np.arange(40), norm=np.array([[1.0], [2.0], [2.0]]) * noise)
        >>> local_exponents([paired], Bootstrap(200, 0.95, (0,)))["exponent"].round(2).tolist()
        [0.53, -0.02]
    """
    rows: list[tuple[object, ...]] = []
    for paired in trials:
        sizes, steps = paired.batch_sizes.tolist(), np.diff(np.log(paired.batch_sizes))
        if len(sizes) > 1 and len(paired.trials) > 1:
            means, groups = log_means(paired.norm, paired.clusters)
            ends = bootstrap(_slopes(means, steps), groups, resampling).tolist()
            rows += [(*paired.key, *row) for row in zip(sizes[:-1], sizes[1:], *ends, strict=True)]
    columns = [
        *("protocol", "epoch", "batch_size", "next_batch_size"),
        *("exponent", "exponent_low", "exponent_high"),
    ]
    return pd.DataFrame(rows, columns=columns)
