"""Laws and exponents from trials: known curves, paired intervals, tests of fit."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from gradatlas.statistics.bootstrap import Bootstrap
from gradatlas.statistics.jackknife import jackknife
from gradatlas.statistics.laws import relaxation_basis
from gradatlas.statistics.norm_definitions import READINGS, compare_readings, log_means_and_spreads
from gradatlas.statistics.scaling import compare_laws, law_curves, local_exponents
from tests.statistics.synthetic import make_sweep, means_of

Array = NDArray[np.float64]
SIZES = (1, 2, 8, 32, 128, 1024)
SETTINGS = Bootstrap(300, 0.95, (0,))


def norms(curve: Array, spread: Array | float = 0.05, trials: int = 200, seed: int = 0) -> Array:
    """Norms with a common part over batch sizes and a small own part, shape (B, T)."""
    rng = np.random.default_rng(seed)
    common, own = rng.normal(size=trials), rng.normal(size=(len(curve), trials))
    relative = np.broadcast_to(spread, len(curve))[:, None]
    return np.asarray(curve[:, None] * (1 + relative * (common + 0.1 * own) / np.sqrt(1.01)))


def rows(table: pd.DataFrame, key: str) -> dict[str, dict[Hashable, Any]]:
    """Rows by a column that names them."""
    return {str(row[key]): row for row in table.to_dict("records")}


def test_log_mean_and_spread_are_those_of_repeated_trials() -> None:
    values = norms(np.array([3.0, 5.0]), trials=20)
    weights = np.random.default_rng(1).integers(0, 4, size=(5, 20)).astype(float)
    statistic, units = log_means_and_spreads(values, np.arange(20))
    np.testing.assert_array_equal(units, np.arange(20))
    mean, spread = statistic(weights)
    for row, counts in enumerate(weights.astype(int)):
        repeated = np.repeat(values, counts, axis=1)
        np.testing.assert_allclose(mean[:, row], np.log(repeated.mean(axis=1)), rtol=1e-9)
        relative = repeated.std(axis=1, ddof=1) / repeated.mean(axis=1)
        np.testing.assert_allclose(spread[:, row], np.log(relative), rtol=1e-9)


def test_readings_of_a_power_law() -> None:
    sizes = np.array(SIZES, float)
    sweep = make_sweep(norms(100 * sizes**0.2, 0.05 * sizes**0.1), SIZES)
    table = rows(compare_readings([sweep], SETTINGS), "reading")
    assert len(table) == len(READINGS)
    row = table["norm of the sum"]
    assert row["exponent_low"] < 0.2 < row["exponent_high"]
    assert row["spread_exponent_low"] < 0.1 < row["spread_exponent_high"]
    assert row["lack_of_fit_p_value"] > 1e-3
    assert row["half_p_value"] < 1e-9
    assert row["monotone"]
    assert row["spread_grows"]
    assert not row["square_root_within_margin"]
    assert table["over batch size"]["exponent"] == pytest.approx(row["exponent"] - 1)
    assert not table["over batch size"]["monotone"]


def test_readings_are_what_their_formulas_say() -> None:
    """Batch size 3 of 1024 samples: 342 steps, the last one the remainder."""
    sweep = make_sweep(norms(np.array([5.0, 7.0])), (3, 1024))
    steps = np.array([[342.0], [1.0]])
    expected = {
        "|S|": sweep.norm,
        "|S| / B": sweep.norm / [[3], [1024]],
        "|S| / K": sweep.norm / steps,
        "sum |g_t| / K": sweep.path_length / steps,
        "sqrt(sum |g_t|^2)": np.sqrt(sweep.sum_of_squares),
        "sqrt(sum |g_t|^2 / K)": np.sqrt(sweep.sum_of_squares / steps),
    }
    assert [reading.formula for reading in READINGS] == [*expected]
    for reading in READINGS:
        np.testing.assert_allclose(reading.values(sweep), expected[reading.formula], rtol=1e-12)


def test_noise_alone_gives_the_root_mean_square_a_square_root_law() -> None:
    """Independent samples: |g_t|^2 goes as B, and so their sum over K steps stays the same."""
    sweep = make_sweep(norms(np.full(6, 9.0)), SIZES)  # sum of squares half the squared norm
    row = rows(compare_readings([sweep], SETTINGS), "reading")["root mean square over steps"]
    assert row["exponent"] == pytest.approx(0.5, abs=0.01)
    assert row["square_root_within_margin"]


def test_a_square_root_law_is_recognised() -> None:
    sweep = make_sweep(norms(100 * np.sqrt(SIZES)), SIZES)
    row = rows(compare_readings([sweep], SETTINGS), "reading")["norm of the sum"]
    assert row["square_root_within_margin"]
    assert row["square_root_deviation"] < 0.01
    assert row["half_p_value"] > 1e-3


def test_an_exponent_of_one_half_does_not_hide_a_hump() -> None:
    """Flat, steep and flat again: the slope is near 1/2 and the law is still wrong."""
    curve = np.array([1.0, 1.0, 1.0, 17.0, 17.0, 17.0])
    row = rows(compare_readings([make_sweep(norms(curve), SIZES)], SETTINGS), "reading")[
        "norm of the sum"
    ]
    assert 0.4 < row["exponent"] < 0.6
    assert not row["square_root_within_margin"]
    assert row["lack_of_fit_p_value"] < 1e-9


def test_sums_that_do_not_depend_on_batch_size_are_not_tested_for_fit() -> None:
    same = np.tile(norms(np.array([7.0])), (3, 1))
    rounded = same * (1 + 1e-8 * np.random.default_rng(2).normal(size=same.shape))
    sweep = make_sweep(rounded, (1, 32, 1024), update="none", protocol="frozen")
    row = rows(compare_readings([sweep], SETTINGS), "reading")["norm of the sum"]
    assert np.isnan(row["lack_of_fit_p_value"])
    assert not row["monotone"]
    assert row["exponent"] == pytest.approx(0, abs=1e-6)


def test_laws_are_compared_out_of_sample() -> None:
    sizes = np.array(SIZES, float)
    table = rows(compare_laws([make_sweep(norms(100 * sizes**0.15), SIZES)]), "law")
    assert min(table, key=lambda law: table[law]["left_out_error"]) == "power"
    assert table["power"]["largest_error"] < 0.02
    assert table["power"]["lack_of_fit_p_value"] > 1e-3
    assert table["square root"]["lack_of_fit_p_value"] < 1e-9


@pytest.mark.parametrize(
    ("law", "curve"),
    [
        ("constant", np.full(6, 30.0)),
        ("square root", 10 * np.sqrt(SIZES)),
        ("linear squared norm", np.sqrt(900.0 + 5 * np.array(SIZES))),
        ("power", 30.0 * np.array(SIZES) ** 0.3),
    ],
)
def test_true_laws_are_not_rejected(law: str, curve: Array) -> None:
    """Trials whose relative spread is the same at all batch sizes keep the law of their means."""
    row = rows(compare_laws([make_sweep(norms(curve), SIZES)]), "law")[law]
    assert row["lack_of_fit_p_value"] > 1e-3
    assert row["largest_error"] < 0.02


def test_a_true_relaxation_law_is_rejected_as_often_as_the_level_says() -> None:
    """Two curvatures that are not on the grid of the fit, batch sizes paired."""
    sizes = np.array(SIZES, float)
    x = np.array([3.3, 61.0]) / sizes[:, None]
    curve = 200 * np.sqrt((-np.expm1(-x) / x) ** 2 @ [1.0, 0.4])
    columns = relaxation_basis(sizes, 1024)
    p_values = []
    for seed in range(300):
        found = jackknife(means_of(np.square(norms(curve, seed=seed))), np.arange(200))
        p_values.append(found.combine(columns))
    for level in (0.05, 0.1, 0.5):
        rejected = np.mean(np.array(p_values) < level)
        assert abs(rejected - level) < 4 * np.sqrt(level * (1 - level) / 300)


@pytest.mark.parametrize(
    "curve",
    [
        np.array([30.0, 29.7, 31.0, 40.0, 50.0, 52.0]),  # the dip of 1 %
        3.0 * np.array(SIZES) ** 1.2,  # steeper than a drift at rest
        np.array([1.0, 1.0, 1.0, 17.0, 17.0, 17.0]),
    ],
)
def test_curves_that_no_relaxation_gives_are_rejected(curve: Array) -> None:
    row = rows(compare_laws([make_sweep(norms(curve), SIZES)]), "law")["relaxation"]
    assert row["lack_of_fit_p_value"] < 1e-6


def test_a_line_with_a_negative_part_is_no_linear_squared_norm() -> None:
    """|S|^2 = a + b B with b below 0 is a line, but not the law."""
    curve = np.sqrt(2000.0 - np.array(SIZES))
    row = rows(compare_laws([make_sweep(norms(curve), SIZES)]), "law")["linear squared norm"]
    assert row["lack_of_fit_p_value"] < 1e-6


def test_curves_of_the_laws_pass_the_measured_batch_sizes() -> None:
    sizes = np.array(SIZES, float)
    sweep = make_sweep(norms(100 * sizes**0.2), SIZES)
    table = law_curves([sweep])
    fits = rows(compare_laws([sweep]), "law")
    assert set(table["law"]) == set(fits)
    for law, curve in table.groupby("law"):
        grid = curve["batch_size"].to_numpy()
        assert (np.diff(grid) > 0).all()
        assert grid[[0, -1]].tolist() == [1, 1024]
        measured = curve.dropna(subset="root_mean_square_norm")
        assert measured["batch_size"].tolist() == list(SIZES)
        np.testing.assert_allclose(
            measured["root_mean_square_norm"], np.sqrt(np.square(sweep.norm).mean(axis=1))
        )
        np.testing.assert_allclose(
            measured["fitted_norm"],
            measured["root_mean_square_norm"] * (1 + measured["relative_error"]),
        )
        largest = measured["relative_error"].abs().max()
        assert largest == pytest.approx(fits[str(law)]["largest_error"], rel=1e-9)
        between = curve[curve["root_mean_square_norm"].isna()]
        assert between["relative_error"].isna().all()
        assert np.isfinite(between["fitted_norm"]).all()
    power = table[table["law"] == "power"]
    slopes = np.diff(np.log(power["fitted_norm"])) / np.diff(np.log(power["batch_size"]))
    np.testing.assert_allclose(slopes, 0.2, atol=0.01)


def test_sweeps_without_laws_have_no_curves() -> None:
    table = law_curves([make_sweep(norms(np.ones(6)), SIZES, update="none")])
    assert table.empty
    assert [*table.columns[:4]] == ["protocol", "epoch", "law", "batch_size"]


def test_laws_need_five_batch_sizes_and_moving_weights() -> None:
    few = make_sweep(norms(np.array([1.0, 2.0, 3.0, 4.0])), SIZES[:4])
    fixed = make_sweep(norms(np.ones(6)), SIZES, update="none")
    assert compare_laws([few, fixed]).empty


def test_local_exponents_are_paired() -> None:
    """Common noise of 50 % does not blur a step of 1 %."""
    curve = np.array([1.0, 1.01])
    sweep = make_sweep(norms(curve, 0.5, trials=400), (4, 5))
    row = rows(local_exponents([sweep], SETTINGS), "batch_size")["4"]
    expected = np.log(1.01) / np.log(5 / 4)
    assert row["exponent_low"] < expected < row["exponent_high"]
    unpaired = 1.96 * 0.5 * np.sqrt(2 / 400) / np.log(5 / 4)
    assert row["exponent_high"] - row["exponent_low"] < unpaired / 2


def test_few_trials_have_an_exponent_and_no_test() -> None:
    sweep = make_sweep(norms(100 * np.sqrt(SIZES), trials=12), SIZES)
    row = rows(compare_readings([sweep], SETTINGS), "reading")["norm of the sum"]
    assert row["exponent"] == pytest.approx(0.5, abs=0.01)
    assert np.isnan([row["exponent_low"], row["half_p_value"]]).all()
    assert not row["spread_grows"]
