"""Laws recover the curves they describe, are told from each other out of sample, and tested."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from gradatlas.core.updates import Frozen
from gradatlas.statistics.laws import (
    compare_laws,
    corrected_information_criterion,
    laws,
    left_out_errors,
    local_exponents,
    relative_errors,
    relaxation_basis,
)
from gradatlas.statistics.resampling import Bootstrap, jackknife
from tests.statistics.synthetic import make_paired, means_of, norms_of

Array = NDArray[np.float64]
SIZES = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 256, 512, 1024])
FEW = (1, 2, 8, 32, 128, 1024)
RESAMPLING = Bootstrap(300, 0.95, (0,))
LAWS = {law.name: law for law in laws(1024)}


def errors(name: str, squared_norms: Array, sizes: Array = SIZES) -> Array:
    """Relative errors of a fitted law."""
    predict, _ = LAWS[name].fit(sizes, squared_norms)
    return relative_errors(predict(sizes), squared_norms)


def rows(table: pd.DataFrame, key: str) -> dict[str, dict[Hashable, Any]]:
    """Rows by a column that names them."""
    return {str(row[key]): row for row in table.to_dict("records")}


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
    _, found = LAWS[name].fit(SIZES, squared_norms)
    assert found == parameters
    np.testing.assert_allclose(errors(name, squared_norms), 0, atol=1e-6)
    left_out = left_out_errors(LAWS[name], SIZES, squared_norms)
    np.testing.assert_allclose(left_out, 0, atol=1e-6)


def quadratic(curvature: float, drift: float, noise: float) -> Array:
    """Mean squared sum of gradients of SGD on one quadratic direction, step by step.

    The weight starts where the gradient is ``drift``; every batch of B samples gives the sum
    B (gradient + error), the error's variance noise^2 / B, and the step lr times its mean.
    """
    rate, samples, result = 0.01, 1024, []
    for size in SIZES.astype(int):
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
    sizes, squared_norms = SIZES[dividing], squared_norms[dividing]
    relaxation, power = LAWS["relaxation"], LAWS["power"]
    assert np.abs(errors("relaxation", squared_norms, sizes)).max() < 0.02
    worst = [
        np.abs(left_out_errors(law, sizes, squared_norms)).max() for law in (relaxation, power)
    ]
    assert worst[0] < worst[1]
    criteria = [
        corrected_information_criterion(
            np.log1p(errors(law.name, squared_norms, sizes)), law.fit(sizes, squared_norms)[1] + 1
        )
        for law in (relaxation, power)
    ]
    assert criteria[0] < criteria[1]


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
    assert np.abs(errors("relaxation", drift)).max() < 2e-4


def test_no_law_but_the_power_law_falls() -> None:
    falling = 5.0 / SIZES
    assert errors("power", falling).max() < 1e-9
    assert np.abs(errors("relaxation", falling)).max() > 1


def test_left_out_errors_predict_from_the_others() -> None:
    """One wild batch size is predicted by the law of the others."""
    squared_norms = np.full(15, 4.0)
    squared_norms[6] = 16.0
    left_out = left_out_errors(LAWS["constant"], SIZES, squared_norms)
    assert left_out[6] == pytest.approx(np.sqrt(4 / 16) - 1, rel=1e-6)


def test_information_criterion_is_that_of_hurvich_and_tsai() -> None:
    residuals = np.array([0.1, -0.2, 0.05, 0.3, -0.1, 0.02])
    sigma = np.sqrt(np.mean(residuals**2))
    log_likelihood = np.sum(-0.5 * (residuals / sigma) ** 2 - np.log(sigma))
    expected = -2 * log_likelihood + 2 * 2 + 2 * 2 * 3 / (6 - 2 - 1) - 6
    assert corrected_information_criterion(residuals, 2) == pytest.approx(expected, rel=1e-9)
    assert np.isnan(corrected_information_criterion(residuals, 5))


def test_laws_are_compared_out_of_sample() -> None:
    sizes = np.array(FEW, float)
    table = rows(compare_laws([make_paired(norms_of(100 * sizes**0.15), FEW)])[0], "law")
    assert min(table, key=lambda law: table[law]["left_out_error"]) == "power"
    assert table["power"]["largest_error"] < 0.02
    assert table["power"]["lack_of_fit_p_value"] > 1e-3
    assert table["square root"]["lack_of_fit_p_value"] < 1e-9


@pytest.mark.parametrize(
    ("law", "curve"),
    [
        ("constant", np.full(6, 30.0)),
        ("square root", 10 * np.sqrt(FEW)),
        ("linear squared norm", np.sqrt(900.0 + 5 * np.array(FEW))),
        ("power", 30.0 * np.array(FEW) ** 0.3),
    ],
)
def test_true_laws_are_not_rejected(law: str, curve: Array) -> None:
    """Trials whose relative spread is the same at all batch sizes keep the law of their means."""
    row = rows(compare_laws([make_paired(norms_of(curve), FEW)])[0], "law")[law]
    assert row["lack_of_fit_p_value"] > 1e-3
    assert row["largest_error"] < 0.02


def test_a_true_relaxation_law_is_rejected_as_often_as_the_level_says() -> None:
    """Two curvatures that are not on the grid of the fit, batch sizes paired."""
    sizes = np.array(FEW, float)
    x = np.array([3.3, 61.0]) / sizes[:, None]
    curve = 200 * np.sqrt((-np.expm1(-x) / x) ** 2 @ [1.0, 0.4])
    columns = relaxation_basis(sizes, 1024)
    p_values = []
    for seed in range(300):
        found = jackknife(means_of(np.square(norms_of(curve, seed=seed))), np.arange(200))
        p_values.append(found.combine(columns))
    for level in (0.05, 0.1, 0.5):
        rejected = np.mean(np.array(p_values) < level)
        assert abs(rejected - level) < 4 * np.sqrt(level * (1 - level) / 300)


@pytest.mark.parametrize(
    "curve",
    [
        np.array([30.0, 29.7, 31.0, 40.0, 50.0, 52.0]),  # the dip of 1 %
        3.0 * np.array(FEW) ** 1.2,  # steeper than a drift at rest
        np.array([1.0, 1.0, 1.0, 17.0, 17.0, 17.0]),
    ],
)
def test_curves_that_no_relaxation_gives_are_rejected(curve: Array) -> None:
    row = rows(compare_laws([make_paired(norms_of(curve), FEW)])[0], "law")["relaxation"]
    assert row["lack_of_fit_p_value"] < 1e-6


def test_a_line_with_a_negative_part_is_no_linear_squared_norm() -> None:
    """|S|^2 = a + b B with b below 0 is a line, but not the law."""
    curve = np.sqrt(2000.0 - np.array(FEW))
    row = rows(compare_laws([make_paired(norms_of(curve), FEW)])[0], "law")["linear squared norm"]
    assert row["lack_of_fit_p_value"] < 1e-6


def test_curves_of_the_laws_pass_the_measured_batch_sizes() -> None:
    sizes = np.array(FEW, float)
    paired = make_paired(norms_of(100 * sizes**0.2), FEW)
    scaling, table = compare_laws([paired])
    fits = rows(scaling, "law")
    assert set(table["law"]) == set(fits)
    for law, curve in table.groupby("law"):
        grid = curve["batch_size"].to_numpy()
        assert (np.diff(grid) > 0).all()
        assert grid[[0, -1]].tolist() == [1, 1024]
        measured = curve.dropna(subset="root_mean_square_norm")
        assert measured["batch_size"].tolist() == list(FEW)
        np.testing.assert_allclose(
            measured["root_mean_square_norm"], np.sqrt(np.square(paired.norm).mean(axis=1))
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


def test_trials_without_laws_have_no_curves() -> None:
    _, table = compare_laws([make_paired(norms_of(np.ones(6)), FEW, update=Frozen())])
    assert table.empty
    assert [*table.columns[:4]] == ["protocol", "epoch", "law", "batch_size"]


def test_laws_need_five_batch_sizes_and_moving_weights() -> None:
    few = make_paired(norms_of(np.array([1.0, 2.0, 3.0, 4.0])), FEW[:4])
    fixed = make_paired(norms_of(np.ones(6)), FEW, update=Frozen())
    assert all(table.empty for table in compare_laws([few, fixed]))


def test_local_exponents_are_paired() -> None:
    """Common noise of 50 % does not blur a step of 1 %."""
    curve = np.array([1.0, 1.01])
    paired = make_paired(norms_of(curve, 0.5, trials=400), (4, 5))
    row = rows(local_exponents([paired], RESAMPLING), "batch_size")["4"]
    expected = np.log(1.01) / np.log(5 / 4)
    assert row["exponent_low"] < expected < row["exponent_high"]
    unpaired = 1.96 * 0.5 * np.sqrt(2 / 400) / np.log(5 / 4)
    assert row["exponent_high"] - row["exponent_low"] < unpaired / 2
