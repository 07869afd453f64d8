"""Samples or order: textbook analysis of variance, unbiasedness, coverage."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gradatlas.statistics.variance_sources import analyse_variance, split_variance
from tests.statistics.synthetic import make_paired

Array = NDArray[np.float64]


def draw_norms(
    rng: np.random.Generator, sets: int, orders: int, between: float, within: float
) -> tuple[Array, NDArray[np.int64]]:
    index = np.arange(sets * orders) % sets
    effects = rng.normal(0, np.sqrt(between), size=sets)
    return 50 + effects[index] + rng.normal(0, np.sqrt(within), size=sets * orders), index


def test_ratio_is_that_of_scipys_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    norms, index = draw_norms(rng, 6, 5, 2.0, 1.0)
    norms, index = norms[:-3], index[:-3]  # unequal numbers of orders
    found = analyse_variance(norms, index)
    expected = stats.f_oneway(*(norms[index == item] for item in range(6)))
    assert found.f_ratio == pytest.approx(expected.statistic, rel=1e-9)
    assert found.p_values(0.0)[0] == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.within_sets == pytest.approx(
        np.average(
            [norms[index == item].var(ddof=1) for item in range(6)],
            weights=np.bincount(index) - 1,
        ),
        rel=1e-9,
    )


def test_components_are_unbiased_also_where_sets_do_not_differ() -> None:
    rng = np.random.default_rng(1)
    found = [analyse_variance(*draw_norms(rng, 5, 4, 0.0, 1.0)) for _ in range(2000)]
    between = np.array([source.between_sets for source in found])
    within = np.array([source.within_sets for source in found])
    assert abs(between.mean()) < 5 * between.std() / np.sqrt(2000)
    assert between.min() < 0  # not clamped
    assert abs(within.mean() - 1) < 5 * within.std() / np.sqrt(2000)


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_intervals_of_the_share_are_exact(share: float) -> None:
    rng = np.random.default_rng(2)
    inside, above = 0, []
    for _ in range(2000):
        found = analyse_variance(*draw_norms(rng, 10, 20, share, 1 - share))
        low, high = found.interval(0.95)
        inside += low < share < high
        above.append(found.p_values(share)[0])
    assert 0.93 < inside / 2000 < 0.97
    assert stats.kstest(above, "uniform").pvalue > 1e-4


def test_one_row_per_batch_size_of_shared_samples() -> None:
    norms, _ = draw_norms(np.random.default_rng(3), 10, 6, 3.0, 1.0)
    paired = make_paired(np.stack([norms, 2 * norms]), (1, 32), sample_sets=10)
    table = split_variance([paired, make_paired(norms[None], (1,))], 0.95)
    assert table["batch_size"].tolist() == [1, 32]
    assert table["orders"].tolist() == [6, 6]
    np.testing.assert_allclose(table["sample_share"] + table["order_share"], 1)
    np.testing.assert_allclose(table["sample_share"], table["sample_share"][0])
