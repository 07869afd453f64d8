"""Tests of statistics of weighted trials, by their jackknife covariance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gradatlas.bootstrap import MINIMUM_UNITS, WEIGHTS_AT_A_TIME, WeightedStatistic

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
        units = self.influence.shape[1]
        return np.asarray(self.influence @ self.influence.T / (units * (units - 1)))

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
        errors = np.sqrt(np.einsum("ci,ij,cj->c", contrasts, self.covariance, contrasts))
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (contrasts @ self.estimate - bound) / errors
        p_values = np.asarray(stats.t.sf(t, self.degrees_of_freedom))
        return np.where(np.isnan(p_values), 1.0, p_values)

    def vanish(self, contrasts: Array) -> float:
        """P-value of "all contrasts are 0" (Hotelling 1931).

        Args:
            contrasts: Linearly independent weights of the estimates, shape (c, k).

        Returns:
            NaN with too few units for an F distribution or contrasts that do not vary.
        """
        count, units = len(contrasts), self.influence.shape[1]
        differences = contrasts @ self.estimate
        covariance = contrasts @ self.covariance @ contrasts.T
        if units <= count or np.linalg.matrix_rank(covariance, hermitian=True) < count:
            return float("nan")
        squared = differences @ np.linalg.solve(covariance, differences)
        f = squared * (units - count) / (count * (units - 1))
        return float(stats.f.sf(f, count, units - count))


def jackknife(statistic: WeightedStatistic, units: NDArray[np.integer]) -> Jackknife:
    """Leave out one independent unit at a time.

    Args:
        statistic: All k statistics at once, paired where several batch sizes are among them.
        units: Unit of each trial, shape (T,); equal numbers are left out together.
    """
    names, unit_of_trial = np.unique(units, return_inverse=True)
    at_a_time = max(1, WEIGHTS_AT_A_TIME // len(units))
    values = [
        statistic(
            (np.arange(start, min(start + at_a_time, len(names)))[:, None] != unit_of_trial).astype(
                np.float64
            )
        )
        for start in range(0, len(names), at_a_time)
    ]
    left_out = np.concatenate(values, axis=-1)  # (k, U)
    influence = (len(names) - 1) * (left_out.mean(axis=-1, keepdims=True) - left_out)
    return Jackknife(np.asarray(statistic(np.ones(len(units)))), influence)


def slope_contrast(x: Array) -> Array:
    """Weights whose sum with y is the least-squares slope of y against x, shape of x."""
    centred = x - x.mean()
    return np.asarray(centred / np.square(centred).sum())
