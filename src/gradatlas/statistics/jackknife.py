"""Tests of statistics of weighted trials, by their jackknife covariance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from gradatlas.statistics.bootstrap import (
    MINIMUM_UNITS,
    WeightedStatistic,
    resamples_at_a_time,
    resampling_units,
)

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Jackknife:
    """Estimates of k statistics of the same trials, and what each unit contributes to them.

    Attributes:
        estimate: The statistics, shape (k,).
        influence: Contribution of each of U independent units, mean 0, shape (k, U).
    """

    estimate: Array
    influence: Array

    @property
    def degrees_of_freedom(self) -> int:
        """Of the variance of a contrast."""
        return int(self.influence.shape[1]) - 1

    @property
    def covariance(self) -> Array:
        """Covariance of the estimates (Efron and Stein 1981), shape (k, k)."""
        return self._covariance(np.eye(len(self.estimate)))

    def above(self, contrasts: Array, bound: Array | float = 0.0) -> Array:
        """One-sided p-values of "the contrast is above the bound", Student's t.

        Args:
            contrasts: Weights of the estimates, shape (c, k).
            bound: What the contrasts are compared with, one for all or shape (c,).

        Returns:
            Shape (c,); 1, no evidence, where there are fewer than 20 units.
        """
        if self.influence.shape[1] < MINIMUM_UNITS:
            return np.ones(len(contrasts))
        # Of the contrasts' own influence: the covariance's rounding may leave a negative variance.
        errors = np.sqrt(np.diag(self._covariance(contrasts)))
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (contrasts @ self.estimate - bound) / np.maximum(errors, self._rounding(contrasts))
        p_values = np.asarray(stats.t.sf(t, self.degrees_of_freedom))
        return np.where(np.isnan(p_values), 1.0, p_values)

    def vanish(self, contrasts: Array) -> float:
        """P-value of "all contrasts are 0" (Hotelling 1931).

        Args:
            contrasts: Linearly independent weights of the estimates, shape (c, k).

        Returns:
            NaN without contrasts, with too few units for an F distribution, or with contrasts that
            do not vary.
        """
        count, units = len(contrasts), self.influence.shape[1]
        if count == 0:
            return float("nan")
        differences, covariance = contrasts @ self.estimate, self._covariance(contrasts)
        if units <= count or np.linalg.matrix_rank(covariance, hermitian=True) < count:
            return float("nan")
        squared = differences @ np.linalg.solve(covariance, differences)
        f = squared * (units - count) / (count * (units - 1))
        return float(stats.f.sf(f, count, units - count))

    def combine(self, columns: Array) -> float:
        """P-value of "the estimates combine the columns, no coefficient being negative".

        Such combinations are a cone. Conditionally on the columns that the closest combination
        uses, the squared distance from it, in the metric of the covariance, is distributed as if
        these columns alone had been given, or is less: the test rejects a true hypothesis no more
        often than its level, and as often where the cone binds (Cox and Shi 2023, Review of
        Economic Studies 90, 201). With columns that are always used it is Hotelling's test.

        Args:
            columns: Shape (k, c), any number of them.

        Returns:
            1 where the estimates are such a combination; NaN as for ``vanish``.
        """
        size, covariance = len(self.estimate), self.covariance
        # In units of their standard errors: estimates may differ by orders of magnitude.
        scale = np.sqrt(np.diag(covariance))
        if scale.min() == 0:
            return float("nan")
        correlation = covariance / np.outer(scale, scale)
        if np.linalg.matrix_rank(correlation, hermitian=True) < size:
            return float("nan")
        root = np.linalg.cholesky(correlation)
        scaled = np.column_stack([columns, self.estimate]) / scale[:, None]
        whitened = solve_triangular(root, scaled, lower=True)
        coefficients, _ = nnls(whitened[:, :-1], whitened[:, -1])
        used = scaled[:, :-1][:, coefficients > 0]
        return 1.0 if used.shape[1] >= size else self.vanish(residual_contrasts(used) / scale)

    def _covariance(self, contrasts: Array) -> Array:
        units = self.influence.shape[1]
        influence = contrasts @ self.influence
        return np.asarray(influence @ influence.T / (units * (units - 1)))

    def _rounding(self, contrasts: Array) -> Array:
        """What may be left of contrasts of equal estimates, shape (c,)."""
        return np.finfo(np.float64).eps * np.asarray(np.abs(contrasts) @ np.abs(self.estimate))


def jackknife(statistic: WeightedStatistic, units: NDArray[np.integer]) -> Jackknife:
    """Leave out one independent unit, or group of them, at a time.

    Args:
        statistic: All k statistics at once, paired where several batch sizes are among them.
        units: Unit of each trial, shape (T,); equal numbers are left out together.
    """
    count, unit_of_trial = resampling_units(units)
    at_a_time = resamples_at_a_time(len(units))
    values = [
        statistic(
            (np.arange(start, min(start + at_a_time, count))[:, None] != unit_of_trial).astype(
                np.float64
            )
        )
        for start in range(0, count, at_a_time)
    ]
    left_out = np.concatenate(values, axis=-1)  # (k, U)
    influence = (count - 1) * (left_out.mean(axis=-1, keepdims=True) - left_out)
    return Jackknife(np.asarray(statistic(np.ones(len(units)))), influence)


def slope_contrast(x: Array) -> Array:
    """Weights whose sum with y is the least-squares slope of y against x, shape of x."""
    centred = x - x.mean()
    return np.asarray(centred / np.square(centred).sum())


def residual_contrasts(design: Array) -> Array:
    """Orthonormal contrasts that vanish where values lie on the columns of a design.

    Args:
        design: Shape (B, p), full rank.

    Returns:
        Shape (B - p, B).
    """
    complete, _ = np.linalg.qr(design, mode="complete")
    return np.asarray(complete[:, design.shape[1] :].T)
