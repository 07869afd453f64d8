"""Intervals and tests against SciPy on the data themselves, clusters and degenerate samples."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gradatlas.statistics.resampling import (
    Bootstrap,
    WeightedStatistic,
    bootstrap,
    jackknife,
    log_means_and_spreads,
    number_clusters,
    of_means,
    slope_contrast,
    studentised_bootstrap,
)
from tests.statistics.synthetic import means_of

Array = NDArray[np.float64]
SETTINGS = Bootstrap(resamples=400, confidence=0.9, seed=(0, 1))


def mean_and_spread(values: Array) -> WeightedStatistic:
    """Weighted mean and relative standard deviation."""

    def statistic(weights: Array) -> Array:
        n = weights.sum(axis=-1)
        mean = weights @ values / n
        square = np.maximum(weights @ values**2 / n - mean**2, 0)
        return np.stack([mean, np.sqrt(square * n / (n - 1)) / mean])

    return statistic


def mean(sample: Array, axis: int) -> Array:
    return np.asarray(np.mean(sample, axis=axis))


def relative_std(sample: Array, axis: int) -> Array:
    return np.asarray(np.std(sample, axis=axis, ddof=1) / np.mean(sample, axis=axis))


@pytest.mark.parametrize(("index", "statistic"), [(0, mean), (1, relative_std)])
def test_intervals_are_those_of_scipy(index: int, statistic: Callable[[Array, int], Array]) -> None:
    values = np.random.default_rng(0).gamma(2, size=70)
    found = bootstrap(mean_and_spread(values), np.arange(70), SETTINGS)
    expected = stats.bootstrap(
        (values,),
        lambda sample, axis: statistic(sample, axis),
        n_resamples=400,
        vectorized=True,
        confidence_level=0.9,
        rng=np.random.default_rng((0, 1)),
    )
    estimate, low, high = found[:, index]
    np.testing.assert_allclose([low, high], [*expected.confidence_interval], rtol=1e-9)
    assert estimate == pytest.approx(float(statistic(values, 0)), rel=1e-12)


def test_trials_of_one_cluster_are_drawn_together() -> None:
    """Copies of a trial tell nothing new: the interval is that of the trials without copies."""
    values = np.random.default_rng(1).normal(5, 1, size=30)
    alone = bootstrap(lambda w: (w @ values / w.sum(-1))[None], np.arange(30), SETTINGS)
    copies = np.repeat(values, 4)
    clusters = np.repeat(np.arange(30), 4)
    together = bootstrap(lambda w: (w @ copies / w.sum(-1))[None], clusters, SETTINGS)
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_equal_seeds_give_equal_intervals_and_others_do_not() -> None:
    statistic = mean_and_spread(np.random.default_rng(2).normal(5, 1, size=50))
    first = bootstrap(statistic, np.arange(50), SETTINGS)
    again = bootstrap(statistic, np.arange(50), SETTINGS)
    other = bootstrap(statistic, np.arange(50), Bootstrap(400, 0.9, (0, 2)))
    np.testing.assert_array_equal(first, again)
    assert (first[1] != other[1]).all()


def test_few_clusters_have_no_interval() -> None:
    found = bootstrap(mean_and_spread(np.arange(1.0, 22.0)), np.arange(21) % 7, SETTINGS)
    assert found[0, 0] == 11
    assert np.isnan(found[1:]).all()


def test_a_statistic_without_spread_has_no_interval() -> None:
    found = bootstrap(mean_and_spread(np.full(20, 3.0)), np.arange(20), SETTINGS)
    assert found[0, 0] == 3
    assert np.isnan(found[1, 0])


def test_many_clusters_are_resampled_in_groups_of_neighbours() -> None:
    """Jackknife values and resamples of every trial would take the square of their number."""
    assert number_clusters(np.arange(2000))[0] == 2000
    count, groups = number_clusters(np.arange(5001) + 7)
    assert count == 1667
    np.testing.assert_array_equal(groups, np.arange(5001) // 3)
    sets, groups = number_clusters(np.arange(6000) % 3000)
    assert sets == 1500
    np.testing.assert_array_equal(groups, np.arange(6000) % 3000 // 2)


def test_groups_leave_the_interval_as_it_is() -> None:
    values = np.random.default_rng(3).gamma(2, size=9000)
    found = bootstrap(mean_and_spread(values), np.arange(9000), Bootstrap(2000, 0.9, (0,)))
    half = stats.norm.ppf(0.95) * values.std(ddof=1) / np.sqrt(9000)
    assert found[2, 0] - found[1, 0] == pytest.approx(2 * half, rel=0.1)


@pytest.mark.parametrize("clusters", [np.arange(4100), np.arange(4100) % 25, np.arange(30) % 7])
def test_a_statistic_of_means_is_that_of_all_trials(clusters: NDArray[np.integer]) -> None:
    values = np.random.default_rng(6).gamma(2, size=(2, len(clusters)))
    settings = Bootstrap(60, 0.9, (0,))

    def ratio(means: Array, n: Array) -> Array:
        return np.stack([means[0] / means[1], means[0] * n / (n - 1)])

    def of_trials(weights: Array) -> Array:
        n = weights.sum(axis=-1)
        return ratio(np.moveaxis(weights @ values.T, -1, 0) / n, n)

    found = bootstrap(*of_means(ratio, values, clusters), settings)
    np.testing.assert_allclose(found, bootstrap(of_trials, clusters, settings), rtol=1e-10)


def test_a_studentised_mean_has_students_interval() -> None:
    """Of Gaussian trials |mean - estimate| / standard error has Student's distribution, nearly."""
    values = np.random.default_rng(4).normal(5, 2, size=400)

    def mean_and_error(weights: Array) -> Array:
        n = weights.sum(axis=-1)
        mean = weights @ values / n
        return np.stack([mean, np.sqrt((weights @ values**2 / n - mean**2) / n)])

    found = studentised_bootstrap(mean_and_error, np.arange(400), Bootstrap(4000, 0.9, (0,)))
    estimate, low, high = found[:, 0]
    margin = stats.t.ppf(0.95, 399) * values.std() / np.sqrt(400)
    assert estimate == pytest.approx(values.mean(), rel=1e-12)
    assert high - estimate == pytest.approx(margin, rel=0.05)
    assert estimate - low == pytest.approx(margin, rel=0.05)


def test_few_clusters_have_no_studentised_interval() -> None:
    found = studentised_bootstrap(lambda w: np.stack([w.sum(-1)] * 2), np.arange(12), SETTINGS)
    assert found[0] == 12
    assert np.isnan(found[1:]).all()


def test_log_mean_and_spread_are_those_of_repeated_trials() -> None:
    noise = np.random.default_rng(0).normal(size=(2, 20))
    values = np.array([[3.0], [5.0]]) * (1 + 0.05 * noise)
    weights = np.random.default_rng(1).integers(0, 4, size=(5, 20)).astype(float)
    statistic, clusters = log_means_and_spreads(values, np.arange(20))
    np.testing.assert_array_equal(clusters, np.arange(20))
    mean, spread = statistic(weights)
    for row, counts in enumerate(weights.astype(int)):
        repeated = np.repeat(values, counts, axis=1)
        np.testing.assert_allclose(mean[:, row], np.log(repeated.mean(axis=1)), rtol=1e-9)
        relative = repeated.std(axis=1, ddof=1) / repeated.mean(axis=1)
        np.testing.assert_allclose(spread[:, row], np.log(relative), rtol=1e-9)


def test_means_give_students_paired_t_test() -> None:
    values = np.random.default_rng(0).normal([[1.0], [1.3]], 1, size=(2, 25))
    found = jackknife(means_of(values), np.arange(25))
    np.testing.assert_allclose(found.covariance(np.eye(2)), np.cov(values) / 25, rtol=1e-9)
    expected = stats.ttest_rel(values[1], values[0], alternative="greater").pvalue
    assert found.above(np.array([[-1.0, 1.0]]))[0] == pytest.approx(expected, rel=1e-9)
    shifted = stats.ttest_rel(values[1] - 0.2, values[0], alternative="greater").pvalue
    assert found.above(np.array([[-1.0, 1.0]]), 0.2)[0] == pytest.approx(shifted, rel=1e-9)


def test_one_contrast_vanishes_as_in_a_two_sided_t_test() -> None:
    values = np.random.default_rng(1).normal(size=(2, 30))
    found = jackknife(means_of(values), np.arange(30)).vanish(np.array([[-1.0, 1.0]]))
    assert found == pytest.approx(stats.ttest_rel(values[0], values[1]).pvalue, rel=1e-9)


def test_hotellings_test_holds_its_level() -> None:
    rng = np.random.default_rng(2)
    contrasts = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
    mixing = rng.normal(size=(3, 3))
    p_values = [
        jackknife(means_of(mixing @ rng.normal(size=(3, 20))), np.arange(20)).vanish(contrasts)
        for _ in range(400)
    ]
    assert stats.kstest(p_values, "uniform").pvalue > 1e-4


def test_clusters_are_left_out_whole() -> None:
    """The covariance of means over clusters of equal size is that of their own means."""
    values = np.random.default_rng(3).normal(size=(2, 40))
    clusters = np.arange(40) % 10
    found = jackknife(means_of(values), clusters)
    of_clusters = values.reshape(2, 4, 10).mean(axis=1)
    np.testing.assert_allclose(found.covariance(np.eye(2)), np.cov(of_clusters) / 10, rtol=1e-9)
    assert found.clusters == 10


def test_many_clusters_are_left_out_in_groups() -> None:
    values = np.random.default_rng(10).normal(size=(2, 6000))
    found = jackknife(means_of(values), np.arange(6000))
    assert found.influence.shape == (2, 2000)
    np.testing.assert_allclose(
        np.diag(found.covariance(np.eye(2))), values.var(axis=1) / 6000, rtol=0.2
    )


def test_few_clusters_are_no_evidence() -> None:
    found = jackknife(means_of(np.arange(14.0).reshape(2, 7)), np.arange(7))
    assert found.above(np.array([[-1.0, 1.0]])) == 1


def test_contrasts_without_spread_are_not_tested() -> None:
    values = np.tile(np.random.default_rng(4).normal(size=20), (2, 1))
    found = jackknife(means_of(values), np.arange(20))
    assert np.isnan(found.vanish(np.array([[-1.0, 1.0]])))


def test_slope_contrast_is_the_least_squares_slope() -> None:
    x, y = np.random.default_rng(5).normal(size=(2, 9))
    assert slope_contrast(x) @ y == pytest.approx(stats.linregress(x, y).slope, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_equal_estimates_are_no_evidence_and_no_warning(seed: int) -> None:
    """The variance of their difference is 0, and rounding must not make it negative."""
    values = np.tile(np.random.default_rng(seed).normal(300, 1, size=25), (4, 1))
    found = jackknife(means_of(values), np.arange(25))
    contrasts = np.random.default_rng(seed + 100).normal(size=(50, 4))
    contrasts -= contrasts.mean(axis=1, keepdims=True)
    assert found.above(contrasts).min() > 0.01
    assert found.above(contrasts, -1.0).max() < 1e-9


def test_a_cone_that_binds_is_rejected_as_often_as_its_level_says() -> None:
    """Estimates on a ray of a cone of many columns, with errors that they share."""
    angles = np.linspace(0, 1, 40)
    columns = np.stack([np.ones(40), angles, angles**2, angles**3])
    ray = columns[:, 17]
    rng = np.random.default_rng(6)
    mixing = np.eye(4) + 0.9
    p_values = np.array(
        [
            jackknife(
                means_of(ray[:, None] + 0.05 * mixing @ rng.normal(size=(4, 40))), np.arange(40)
            ).combine(columns)
            for _ in range(400)
        ]
    )
    assert 0.02 < (p_values < 0.05).mean() < 0.08
    assert 0.05 < (p_values < 0.1).mean() < 0.15


def test_estimates_inside_a_cone_are_not_rejected_and_outside_are() -> None:
    noise = 0.01 * np.random.default_rng(7).normal(size=(3, 30))
    found = jackknife(means_of(np.array([[1.0], [2.0], [3.0]]) + noise), np.arange(30))
    assert found.combine(np.eye(3)) == 1
    assert found.combine(-np.eye(3)) < 1e-9
    assert found.combine(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])) < 1e-9


def test_columns_that_are_always_used_give_hotellings_test() -> None:
    rng = np.random.default_rng(8)
    found = jackknife(means_of(rng.normal([[2.0], [3.0], [4.1]], 1, size=(3, 30))), np.arange(30))
    columns = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    curvature = np.array([[1.0, -2.0, 1.0]])
    assert found.combine(columns) == pytest.approx(found.vanish(curvature), rel=1e-9)


def test_too_few_clusters_give_no_test_of_a_cone() -> None:
    values = np.random.default_rng(9).normal(size=(6, 6))
    assert np.isnan(jackknife(means_of(values), np.arange(6)).combine(np.ones((6, 1))))


@pytest.mark.filterwarnings("error")
def test_no_contrasts_have_no_p_value() -> None:
    pooled = jackknife(lambda weights: weights.sum(axis=-1)[None], np.arange(30))
    assert math.isnan(pooled.vanish(np.empty((0, 1))))
