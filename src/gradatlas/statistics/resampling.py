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

# A p-value is never 0: floats end before the tails of a distribution do.
SMALLEST = float(np.finfo(np.float64).tiny)

# Of fewer independent draws, 95 % intervals of a spread cover below 88 % (docs/statistics.md).
MINIMUM_CLUSTERS = 20

# The standard error of 2000 draws is itself known to 1.6 %, as well as from 2000 resamples.
_MAXIMUM_CLUSTERS = 2000


@dataclass(frozen=True)
class Bootstrap:
    """How every interval is found: equal seeds resample the same trials.

    The standard error of an interval's end falls as 1 / sqrt(resamples): more of them make an
    interval reproducible, not narrower.
    """

    resamples: int
    confidence: float  # level, between 0 and 1
    seed: tuple[int, ...]


def independent_draws(settings: TrialSettings, trials: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cluster of each trial: itself, or the sample set that it shares with others, shape (T,).

    Trials of one sample set are dependent. An interval that resampled them one by one would take
    the orders of few sets for many independent draws, and be too narrow.

    Example:
        >>> from types import SimpleNamespace
        >>> shared = SimpleNamespace(sample_sets=3)  # trial k takes set k modulo 3
        >>> independent_draws(shared, np.arange(5)).tolist()
        [0, 1, 2, 0, 1]
    """
    return trials if settings.sample_sets is None else trials % settings.sample_sets


def number_clusters(clusters: Clusters) -> tuple[int, NDArray[np.intp]]:
    """Number of clusters, and that of each trial from 0; neighbours are grouped beyond 2000.

    Groups of independent draws are independent too. Without them time would grow as the square of
    the number of trials, for jackknife values and resamples that tell no more.

    Args:
        clusters: Any number for each cluster, shape (T,).

    Returns:
        C, and numbers from 0 to C - 1, shape (T,).

    Example:
        >>> count, numbers = number_clusters(np.array([7, 7, 3, 9]))
        >>> count, numbers.tolist()
        (3, [1, 1, 0, 2])
        >>> number_clusters(np.arange(5000))[0]  # groups of three neighbours
        1667
    """
    names, cluster_of_trial = np.unique(clusters, return_inverse=True)
    # Groups of equal size, the smallest that leaves no more than 2000; rounded up without floats.
    group_of_trial = cluster_of_trial // -(-len(names) // _MAXIMUM_CLUSTERS)
    return int(group_of_trial.max()) + 1, group_of_trial


def cluster_sums(values: Array, clusters: Clusters) -> Array:
    """Sums over the trials of each cluster, or group of them, of values (m, T), shape (m, C).

    Example:
        >>> cluster_sums(np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([0, 1, 0, 1])).tolist()
        [[4.0, 6.0]]
    """
    count, group = number_clusters(clusters)
    return np.stack([np.bincount(group, row, count) for row in values])


def of_means(
    statistic: Callable[[Array, Array], Array], values: Array, clusters: Clusters
) -> Clustered:
    """A statistic of means as one of weighted groups of clusters, and the numbers of the groups.

    It takes the means of values (m, T), shape (m, ...), and how many trials count, shape (...).
    However many there are, a resample then costs no more than one of 2000: means need only sums
    over the trials that are resampled together.

    Example:
        The ratio of two means, with every trial once, then without the last:

        >>> values = np.array([[1.0, 2.0, 6.0], [1.0, 1.0, 4.0]])
        >>> ratio, groups = of_means(lambda means, n: means[0] / means[1], values, np.arange(3))
        >>> ratio(np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])).tolist()  # 9 / 6 and 3 / 2
        [1.5, 1.5]
    """
    count, group = number_clusters(clusters)
    trials = np.bincount(group, minlength=count).astype(np.float64)  # of each group, (C,)
    sums = cluster_sums(values, clusters)  # (m, C)

    def of_groups(weights: Array) -> Array:
        n = weights @ trials
        return statistic(np.moveaxis(weights @ sums.T, -1, 0) / n, n)

    return of_groups, np.arange(count)


def log_means(values: Array, clusters: Clusters) -> Clustered:
    """Logarithms of the means of positive values, shape (B, T).

    Their differences are log ratios, and their slope against log B is an exponent. The logarithm of
    a mean lies below that of the expectation by about relative variance / (2 T).

    Example:
        >>> means, groups = log_means(np.array([[1.0, 3.0], [2.0, 6.0]]), np.arange(2))
        >>> np.exp(means(np.ones(2))).round(9).tolist()
        [2.0, 4.0]
    """
    return of_means(lambda means, _: np.log(means), values, clusters)


def log_means_and_spreads(values: Array, clusters: Clusters) -> Clustered:
    """Logarithms of means and relative standard deviations of positive values, shape (B, T).

    The statistic has the shape (2, B, ...); minus infinity where there is no spread. The standard
    deviation is that with n - 1.

    Example:
        >>> both, groups = log_means_and_spreads(np.array([[1.0, 2.0, 3.0]]), np.arange(3))
        >>> np.exp(both(np.ones(3))).round(9).tolist()  # mean 2, standard deviation 1
        [[2.0], [0.5]]
    """
    # Squares of deviations from fixed centres: squares of the norms themselves would cancel.
    centres = values.mean(axis=1)
    deviations = values - centres[:, None]  # (B, T)

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

    The ends are quantiles of the resampled statistic, at levels that allow for a bias of its median
    and for a standard error that changes with its value; the jackknife gives the rate of change.
    Statistics of several batch sizes that are computed from the same weights are paired. Coverage
    by kind of data and number of draws is in docs/statistics.md: at 1000 trials, 95 % intervals of
    means, spreads, exponents and L-moments cover between 92 and 97 %.

    Args:
        statistic: From weights of the trials, shape (..., T), to k statistics, shape (k, ...).
        clusters: Cluster of each trial, shape (T,); whole clusters are drawn.
        resampling: Number of resamples, confidence level and seed.

    Returns:
        Estimates, lower and upper ends of the k statistics, shape (3, k); the ends are NaN where
        there is no spread, and with fewer than 20 clusters, as intervals would be far too narrow.

    Example:
        The interval of a mean whose truth is 2:

        >>> values = np.random.default_rng(0).gamma(2, size=200)
        >>> mean, groups = of_means(lambda means, n: means, values[None], np.arange(200))
        >>> bootstrap(mean, groups, Bootstrap(500, 0.95, seed=(0,)))[:, 0].round(2).tolist()
        [1.91, 1.72, 2.09]

        If these were 200 orders of ten sample sets, there would be an estimate and no interval:

        >>> mean, groups = of_means(lambda means, n: means, values[None], np.arange(200) % 10)
        >>> bootstrap(mean, groups, Bootstrap(500, 0.95, seed=(0,)))[:, 0].round(2).tolist()
        [1.91, nan, nan]
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
    the interval reaches to either side. Equal-tailed ones, with a quantile for each side, cover
    less of excess kurtosis (docs/statistics.md).

    Args:
        statistic: From weights of the trials, shape (..., T), to shape (2 k, ...).
        clusters: Cluster of each trial, shape (T,); whole clusters are drawn.
        resampling: Number of resamples, confidence level and seed.

    Returns:
        Estimates, lower and upper ends of the k statistics, shape (3, k); the ends are NaN as for
        ``bootstrap``.

    Example:
        A mean with its standard error; Student's t has the quantile 1.98 for 99 degrees of freedom:

        >>> values = np.random.default_rng(0).normal(5, 2, size=100)
        >>> def mean_and_error(means, n):
        ...     return np.stack([means[0], np.sqrt((means[1] - means[0] ** 2) / n)])
        >>> statistic = of_means(mean_and_error, np.stack([values, values**2]), np.arange(100))
        >>> found = studentised_bootstrap(*statistic, Bootstrap(2000, 0.95, (0,)))[:, 0]
        >>> ((found - values.mean()) / (values.std() / 10)).round(1).tolist()  # in standard errors
        [0.0, -2.0, 2.0]
    """
    estimate, error = np.split(np.asarray(statistic(np.ones(len(clusters)))), 2)

    def pivot(weights: Array) -> Array:
        values, errors = np.split(np.asarray(statistic(weights)), 2)
        return np.asarray(np.abs((values.T - estimate).T) / errors)

    _, pivots = _resample(pivot, clusters, resampling, bca=False)
    # One quantile of the absolute value for both sides: the interval is symmetric.
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
        # How often each cluster was drawn, of all resamples in one count: shifted by C from one
        # resample to the next, their numbers do not mix.
        rows = index.reshape(-1, index.shape[-1])
        numbered = rows + count * np.arange(len(rows))[:, None]
        draws = np.bincount(numbered.ravel(), minlength=count * len(rows)).astype(np.float64)
        return statistic(draws.reshape(*index.shape[:-1], count)[..., cluster_of_trial])

    # A statistic without spread has no BCa interval: SciPy warns and returns NaN, which stays.
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        if count < MINIMUM_CLUSTERS:
            # The statistic is computed for its shape alone.
            nothing = np.full_like(statistic(np.ones(len(clusters))), np.nan)
            return np.stack([nothing, nothing]), nothing[:, None]
        result = stats.bootstrap(
            (np.arange(count),),  # SciPy draws numbers of clusters
            of_resample,
            n_resamples=resampling.resamples,
            batch=max(8, _WEIGHTS_AT_A_TIME // len(clusters)),
            vectorized=True,
            confidence_level=resampling.confidence,
            # Studentised intervals take the resampled values; the percentile ends are the cheapest.
            method="BCa" if bca else "percentile",
            # Begun anew in every call: equal clusters are resampled equally for every statistic.
            rng=np.random.default_rng(resampling.seed),
        )
    return np.stack([*result.confidence_interval]), np.asarray(result.bootstrap_distribution)


@dataclass(frozen=True, eq=False)
class Jackknife:
    """Estimates of k statistics of the same trials, and what each cluster contributes to them.

    The statistics may share trials, as those of all batch sizes do: contrasts keep what is common.

    Example:
        Two batch sizes whose trials share most of their noise. The covariance of means is the
        sample covariance over T, and the test of a difference is the paired t-test:

        >>> rng = np.random.default_rng(0)
        >>> shared, own = rng.normal(size=40), 0.2 * rng.normal(size=40)
        >>> norms = np.stack([10 + shared, 10.2 + shared + own])
        >>> means = jackknife(*of_means(lambda means, n: means, norms, np.arange(40)))
        >>> bool(np.allclose(means.covariance(np.eye(2)), np.cov(norms) / 40))
        True
        >>> difference = np.array([[-1.0, 1.0]])  # second less first
        >>> paired = stats.ttest_rel(norms[1], norms[0], alternative="greater").pvalue
        >>> bool(np.allclose(means.above(difference), paired)), bool(paired < 1e-8)
        (True, True)
        >>> alone = stats.ttest_ind(norms[1], norms[0], alternative="greater").pvalue  # unpaired
        >>> round(float(alone), 2)
        0.08
    """

    estimate: Array  # shape (k,)
    influence: Array  # of each cluster, mean 0, shape (k, C)

    @property
    def clusters(self) -> int:
        """Number of clusters; the variance of a contrast has one degree of freedom less."""
        return int(self.influence.shape[1])

    def covariance(self, contrasts: Array) -> Array:
        """Covariance of contrasts (c, k) of the estimates (Efron and Stein 1981), shape (c, c).

        Influences times their transpose over C (C - 1). For means it is the unbiased sample
        covariance over C; for other statistics it tends to be too large rather than too small.
        """
        influence = contrasts @ self.influence
        return np.asarray(influence @ influence.T / (self.clusters * (self.clusters - 1)))

    def above(self, contrasts: Array, bound: Array | float = 0.0) -> Array:
        """One-sided p-values of "contrasts (c, k) are above the bound", Student's t, shape (c,).

        t = (contrast - bound) / jackknife standard error, with C - 1 degrees of freedom: exact for
        means of Gaussian draws, an approximation otherwise.

        Args:
            contrasts: Weights of the k estimates, shape (c, k).
            bound: What each contrast is compared with, shape (c,) or one for all.

        Returns:
            P-values, small where a contrast lies above its bound; 1, no evidence, with fewer than
            20 clusters or where a contrast is NaN.
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
        return np.where(np.isnan(p_values), 1.0, np.maximum(p_values, SMALLEST))

    def vanish(self, contrasts: Array) -> float:
        """P-value of "all contrasts are 0" by Hotelling's T^2 test (1931).

        T^2 = d' V^-1 d of contrasts d with covariance V; T^2 (C - c) / (c (C - 1)) has an F
        distribution with c and C - c degrees of freedom, exactly for means of Gaussian draws.

        Args:
            contrasts: Linearly independent, shape (c, k).

        Returns:
            P-value; NaN without contrasts, with too few clusters for an F distribution, or with
            contrasts that do not vary.

        Example:
            Of one contrast this is the two-sided paired t-test:

            >>> norms = np.random.default_rng(0).normal(10, 1, size=(2, 30))
            >>> means = jackknife(*of_means(lambda means, n: means, norms, np.arange(30)))
            >>> round(means.vanish(np.array([[-1.0, 1.0]])), 6)
            0.144232
            >>> round(float(stats.ttest_rel(norms[0], norms[1]).pvalue), 6)
            0.144232
        """
        count, clusters = len(contrasts), self.clusters
        if count == 0:
            return float("nan")
        differences, covariance = contrasts @ self.estimate, self.covariance(contrasts)
        # The covariance of more contrasts than clusters, or of some that do not vary, is singular.
        if clusters <= count or np.linalg.matrix_rank(covariance, hermitian=True) < count:
            return float("nan")
        squared = differences @ np.linalg.solve(covariance, differences)
        f = squared * (clusters - count) / (count * (clusters - 1))
        return max(float(stats.f.sf(f, count, clusters - count)), SMALLEST)

    def combine(self, columns: Array) -> float:
        """P-value of "the estimates combine the columns, no coefficient being negative".

        Such combinations are a cone. Conditionally on the columns that the closest combination
        uses, the squared distance from it, in the metric of the covariance, is distributed as if
        these columns alone had been given, or is less: the test rejects a true hypothesis no more
        often than its level, and as often where the cone binds (Cox and Shi 2023, Review of
        Economic Studies 90, 201). With columns that are always used it is Hotelling's test.
        1 where the estimates are such a combination of the columns, shape (k, c); NaN as for
        ``vanish``.

        Example:
            Means near 1, 2 and 4, by a law a + b x at x = 0, 1, 2 and by one that may not curve
            downwards either, a + b x + c x^2:

            >>> noise = 0.1 * np.random.default_rng(0).normal(size=(3, 40))
            >>> norms = np.array([[1.0], [2.0], [4.0]]) + noise
            >>> means = jackknife(*of_means(lambda means, n: means, norms, np.arange(40)))
            >>> columns = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 2.0, 4.0]])
            >>> means.combine(columns[:, :2]) < 1e-9, means.combine(columns)
            (True, 1.0)
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
        # Whitened, the distance in the metric of the covariance is the Euclidean one, which
        # non-negative least squares minimises.
        root = np.linalg.cholesky(correlation)
        scaled = np.column_stack([columns, self.estimate]) / scale[:, None]
        whitened = solve_triangular(root, scaled, lower=True)
        coefficients, _ = nnls(whitened[:, :-1], whitened[:, -1])
        used = scaled[:, :-1][:, coefficients > 0]
        return 1.0 if used.shape[1] >= size else self.vanish(residual_contrasts(used) / scale)


def jackknife(statistic: WeightedStatistic, clusters: Clusters) -> Jackknife:
    """Leave out one cluster, or group of them, at a time.

    The influence of cluster c is (C - 1) (mean of all leave-one-out values - value without c). Of a
    mean over clusters of equal size it is the cluster's mean less the whole.

    Args:
        statistic: From weights of the trials, shape (..., T), to k statistics, shape (k, ...).
        clusters: Cluster of each trial, shape (T,).

    Returns:
        Estimates (k,), and influences (k, C), which give their covariance and tests of contrasts.

    Example:
        >>> mean = of_means(lambda means, n: means, np.array([[1.0, 2.0, 6.0]]), np.arange(3))
        >>> found = jackknife(*mean)
        >>> found.estimate.tolist(), found.influence.tolist()
        ([3.0], [[-2.0, -1.0, 3.0]])
    """
    count, cluster_of_trial = number_clusters(clusters)
    step = max(8, _WEIGHTS_AT_A_TIME // len(clusters))
    values = []
    for start in range(0, count, step):
        left_out = np.arange(start, min(start + step, count))  # (step,)
        values.append(statistic((left_out[:, None] != cluster_of_trial).astype(np.float64)))
    without = np.concatenate(values, axis=-1)  # (k, C)
    influence = (count - 1) * (without.mean(axis=-1, keepdims=True) - without)
    return Jackknife(np.asarray(statistic(np.ones(len(clusters)))), influence)


def slope_contrast(x: Array) -> Array:
    """Weights whose sum with y is the least-squares slope of y against x, shape of x.

    (x - mean x) / sum (x - mean x)^2. As a contrast of log means against log B it is the exponent
    of a power law, whatever curve the means really follow.

    Example:
        >>> float(slope_contrast(np.array([0.0, 1.0, 2.0])) @ np.array([1.0, 3.0, 5.0]))
        2.0
    """
    centred = x - x.mean()
    return np.asarray(centred / np.square(centred).sum())


def power_law_p_value(means: Jackknife, batch_sizes: NDArray[np.integer] | Array) -> float:
    """P-value of "log means lie on a straight line against log B", by Hotelling's test.

    Args:
        means: Of log means at B batch sizes.
        batch_sizes: Shape (B,).

    Returns:
        P-value with B - 2 contrasts; NaN with two batch sizes, through which a line always passes,
        or with too few clusters for an F distribution.

    Example:
        A square root of the batch size, and one that a constant is added to:

        >>> sizes = np.array([1, 4, 16, 64])
        >>> noise = np.random.default_rng(0).normal(1, 0.05, size=(4, 60))
        >>> for curve in (np.sqrt(sizes), 1 + np.sqrt(sizes)):
        ...     means = jackknife(*log_means(curve[:, None] * noise, np.arange(60)))
        ...     print(f"{power_law_p_value(means, sizes):.2g}")
        0.86
        5.9e-17
    """
    logarithms = np.log(batch_sizes)
    design = np.stack([np.ones(len(logarithms)), logarithms], axis=1)  # (B, 2)
    return means.vanish(residual_contrasts(design))


def residual_contrasts(design: Array) -> Array:
    """Orthonormal contrasts that vanish where values lie on the columns of a full-rank design.

    Args:
        design: Shape (k, c), c at most k.

    Returns:
        Shape (k - c, k): what is left of the k directions.

    Example:
        >>> line = np.stack([np.ones(4), np.arange(4.0)], axis=1)
        >>> contrasts = residual_contrasts(line)
        >>> contrasts.shape, np.abs(contrasts @ (2 + 3 * np.arange(4.0))).round(9).tolist()
        ((2, 4), [0.0, 0.0])
    """
    # The columns of Q behind those of the design are orthogonal to all of them.
    complete, _ = np.linalg.qr(design, mode="complete")
    return np.asarray(complete[:, design.shape[1] :].T)
