"""Statistics of weighted trials: bootstrap intervals, and tests by their jackknife covariance."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from gradatlas.core.settings import TrialSettings

Array = NDArray[np.float64]

#: From weights of the trials, shape (..., T), to k statistics, shape (k, ...). Weights that are
#: all 1 give the estimate, whole numbers a resample, a single 0 a jackknife value.
WeightedStatistic = Callable[[Array], Array]

#: Number of the cluster of each trial, shape (T,): those of equal numbers are drawn together.
Clusters = NDArray[np.integer]
Clustered = tuple[WeightedStatistic, Clusters]

# Elements of an array of weights, 2 MB: it stays in the cache, whatever the resamples. With fewer
# than 8 of them it would cost more to prepare the statistic than to compute it.
_WEIGHTS_AT_A_TIME = 1 << 18

# Of fewer independent draws, 95 % intervals of a spread cover below 88 % (docs/statistics.md).
MINIMUM_CLUSTERS = 20

# The standard error of 2000 draws is itself known to 1.6 %, as well as from 2000 resamples.
_MAXIMUM_CLUSTERS = 2000


@dataclass(frozen=True)
class Bootstrap:
    """How every interval is found: equal seeds resample the same trials."""

    resamples: int
    confidence: float  # level, between 0 and 1
    seed: tuple[int, ...]


def independent_draws(settings: TrialSettings, trials: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cluster of each trial: itself, or the sample set that it shares with others, shape (T,)."""
    return trials if settings.sample_sets is None else trials % settings.sample_sets


def number_clusters(clusters: Clusters) -> tuple[int, NDArray[np.intp]]:
    """Number of clusters, and that of each trial from 0; neighbours are grouped beyond 2000.

    Groups of independent draws are independent too. Without them time would grow as the square of
    the number of trials, for jackknife values and resamples that tell no more.
    """
    names, cluster_of_trial = np.unique(clusters, return_inverse=True)
    group_of_trial = cluster_of_trial // -(-len(names) // _MAXIMUM_CLUSTERS)
    return int(group_of_trial.max()) + 1, group_of_trial


def cluster_sums(values: Array, clusters: Clusters) -> Array:
    """Sums over the trials of each cluster, or group of them, of values (m, T), shape (m, C)."""
    count, group = number_clusters(clusters)
    return np.stack([np.bincount(group, row, count) for row in values])


def of_means(
    statistic: Callable[[Array, Array], Array], values: Array, clusters: Clusters
) -> Clustered:
    """A statistic of means as one of weighted groups of clusters, and the numbers of the groups.

    It takes the means of values (m, T), shape (m, ...), and how many trials count, shape (...).
    However many there are, a resample then costs no more than one of 2000.
    """
    count, group = number_clusters(clusters)
    trials = np.bincount(group, minlength=count).astype(np.float64)
    sums = cluster_sums(values, clusters)

    def of_groups(weights: Array) -> Array:
        n = weights @ trials
        return statistic(np.moveaxis(weights @ sums.T, -1, 0) / n, n)

    return of_groups, np.arange(count)


def log_means(values: Array, clusters: Clusters) -> Clustered:
    """Logarithms of the means of positive values, shape (B, T)."""
    return of_means(lambda means, _: np.log(means), values, clusters)


def log_means_and_spreads(values: Array, clusters: Clusters) -> Clustered:
    """Logarithms of means and relative standard deviations of positive values, shape (B, T).

    The statistic has the shape (2, B, ...); minus infinity where there is no spread.
    """
    centres = values.mean(axis=1)
    deviations = values - centres[:, None]

    def statistic(means: Array, n: Array) -> Array:
        first, second = np.split(means, 2)  # (B, ...)
        mean = centres.reshape(-1, *(1,) * n.ndim) + first
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = np.maximum(second - first**2, 0) * n / (n - 1)
            return np.stack([np.log(mean), 0.5 * np.log(variance) - np.log(mean)])

    return of_means(statistic, np.concatenate([deviations, np.square(deviations)]), clusters)


def log_spreads(values: Array, clusters: Clusters) -> Clustered:
    """Logarithms of the relative standard deviations of positive values, shape (B, T)."""
    both, groups = log_means_and_spreads(values, clusters)
    return lambda weights: both(weights)[1], groups


def bootstrap(statistic: WeightedStatistic, clusters: Clusters, resampling: Bootstrap) -> Array:
    """Bias-corrected and accelerated bootstrap intervals (Efron 1987; SciPy's implementation).

    Statistics of several batch sizes that are computed from the same weights are paired. Estimates,
    lower and upper ends of the k statistics, shape (3, k); the ends are NaN where there is no
    spread, and with fewer than 20 clusters, as intervals would be far too narrow.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.asarray(statistic(np.ones(len(clusters))), dtype=np.float64)
    ends, _ = _resample(statistic, clusters, resampling, bca=True)
    return np.stack([estimate, *ends])


def studentised_bootstrap(
    statistic: WeightedStatistic, clusters: Clusters, resampling: Bootstrap
) -> Array:
    """Symmetric studentised bootstrap intervals (Hall 1988, Annals of Statistics 16, 927).

    The statistic's first half are k statistics, its second their standard errors. The distribution
    of |resample's statistic - estimate| / resample's standard error says how many standard errors
    the interval reaches to either side. Returned is what ``bootstrap`` returns.
    """
    estimate, error = np.split(np.asarray(statistic(np.ones(len(clusters)))), 2)

    def pivot(weights: Array) -> Array:
        values, errors = np.split(np.asarray(statistic(weights)), 2)
        return np.asarray(np.abs((values.T - estimate).T) / errors)

    _, pivots = _resample(pivot, clusters, resampling, bca=False)
    margin = error * np.quantile(pivots, resampling.confidence, axis=-1)
    margin = np.where(np.isfinite(margin), margin, np.nan)
    return np.stack([estimate, estimate - margin, estimate + margin])


def _resample(
    statistic: WeightedStatistic, clusters: Clusters, resampling: Bootstrap, *, bca: bool
) -> tuple[Array, Array]:
    """SciPy's bootstrap of clusters, not observations: ends (2, k) and values (k, resamples)."""
    count, cluster_of_trial = number_clusters(clusters)

    def of_resample(index: NDArray[np.intp], axis: int = -1) -> Array:
        del axis  # SciPy always asks for the last one
        rows = index.reshape(-1, index.shape[-1])
        numbered = rows + count * np.arange(len(rows))[:, None]
        draws = np.bincount(numbered.ravel(), minlength=count * len(rows)).astype(np.float64)
        return statistic(draws.reshape(*index.shape[:-1], count)[..., cluster_of_trial])

    # A statistic without spread has no BCa interval: SciPy warns and returns NaN, as we do.
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        if count < MINIMUM_CLUSTERS:
            nothing = np.full_like(statistic(np.ones(len(clusters))), np.nan)
            return np.stack([nothing, nothing]), nothing[:, None]
        result = stats.bootstrap(
            (np.arange(count),),
            of_resample,
            n_resamples=resampling.resamples,
            batch=max(8, _WEIGHTS_AT_A_TIME // len(clusters)),
            vectorized=True,
            confidence_level=resampling.confidence,
            method="BCa" if bca else "percentile",
            rng=np.random.default_rng(resampling.seed),
        )
    return np.stack([*result.confidence_interval]), np.asarray(result.bootstrap_distribution)


@dataclass(frozen=True, eq=False)
class Jackknife:
    """Estimates of k statistics of the same trials, and what each cluster contributes to them."""

    estimate: Array  # shape (k,)
    influence: Array  # of each cluster, mean 0, shape (k, C)

    @property
    def clusters(self) -> int:
        """Number of clusters; the variance of a contrast has one degree of freedom less."""
        return int(self.influence.shape[1])

    def covariance(self, contrasts: Array) -> Array:
        """Covariance of contrasts (c, k) of the estimates (Efron and Stein 1981), shape (c, c)."""
        influence = contrasts @ self.influence
        return np.asarray(influence @ influence.T / (self.clusters * (self.clusters - 1)))

    def above(self, contrasts: Array, bound: Array | float = 0.0) -> Array:
        """One-sided p-values of "contrasts (c, k) are above the bound", Student's t, shape (c,).

        They are 1, no evidence, with fewer than 20 clusters.
        """
        if self.clusters < MINIMUM_CLUSTERS:
            return np.ones(len(contrasts))
        # Of the contrasts' own influence: the covariance's rounding may leave a negative variance.
        errors = np.sqrt(np.diag(self.covariance(contrasts)))
        # What rounding may leave of contrasts of equal estimates, shape (c,).
        rounding = np.finfo(np.float64).eps * (np.abs(contrasts) @ np.abs(self.estimate))
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (contrasts @ self.estimate - bound) / np.maximum(errors, rounding)
        p_values = np.asarray(stats.t.sf(t, self.clusters - 1))
        return np.where(np.isnan(p_values), 1.0, p_values)

    def vanish(self, contrasts: Array) -> float:
        """P-value of "all contrasts are 0" (Hotelling 1931), linearly independent, shape (c, k).

        NaN without contrasts, with too few clusters for an F distribution, or with contrasts that
        do not vary.
        """
        count, clusters = len(contrasts), self.clusters
        if count == 0:
            return float("nan")
        differences, covariance = contrasts @ self.estimate, self.covariance(contrasts)
        if clusters <= count or np.linalg.matrix_rank(covariance, hermitian=True) < count:
            return float("nan")
        squared = differences @ np.linalg.solve(covariance, differences)
        f = squared * (clusters - count) / (count * (clusters - 1))
        return float(stats.f.sf(f, count, clusters - count))

    def combine(self, columns: Array) -> float:
        """P-value of "the estimates combine the columns, no coefficient being negative".

        Such combinations are a cone. Conditionally on the columns that the closest combination
        uses, the squared distance from it, in the metric of the covariance, is distributed as if
        these columns alone had been given, or is less: the test rejects a true hypothesis no more
        often than its level, and as often where the cone binds (Cox and Shi 2023, Review of
        Economic Studies 90, 201). With columns that are always used it is Hotelling's test.
        1 where the estimates are such a combination of the columns, shape (k, c); NaN as for
        ``vanish``.
        """
        size = len(self.estimate)
        covariance = self.covariance(np.eye(size))
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


def jackknife(statistic: WeightedStatistic, clusters: Clusters) -> Jackknife:
    """Leave out one cluster, or group of them, at a time."""
    count, cluster_of_trial = number_clusters(clusters)
    step = max(8, _WEIGHTS_AT_A_TIME // len(clusters))
    values = []
    for start in range(0, count, step):
        left_out = np.arange(start, min(start + step, count))
        values.append(statistic((left_out[:, None] != cluster_of_trial).astype(np.float64)))
    without = np.concatenate(values, axis=-1)  # (k, C)
    influence = (count - 1) * (without.mean(axis=-1, keepdims=True) - without)
    return Jackknife(np.asarray(statistic(np.ones(len(clusters)))), influence)


def slope_contrast(x: Array) -> Array:
    """Weights whose sum with y is the least-squares slope of y against x, shape of x."""
    centred = x - x.mean()
    return np.asarray(centred / np.square(centred).sum())


def power_law_p_value(means: Jackknife, batch_sizes: NDArray[np.integer] | Array) -> float:
    """P-value of "log means lie on a straight line against log B", by Hotelling's test."""
    logarithms = np.log(batch_sizes)
    design = np.stack([np.ones(len(logarithms)), logarithms], axis=1)
    return means.vanish(residual_contrasts(design))


def residual_contrasts(design: Array) -> Array:
    """Orthonormal contrasts that vanish where values lie on the columns of a full-rank design."""
    complete, _ = np.linalg.qr(design, mode="complete")
    return np.asarray(complete[:, design.shape[1] :].T)
