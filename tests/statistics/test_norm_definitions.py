"""Definitions of the norm on trials of known curves, and what their formulas say."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradatlas.core.updates import Frozen
from gradatlas.statistics.norm_definitions import NORM_DEFINITIONS, compare_definitions
from gradatlas.statistics.paired import PairedTrials
from gradatlas.statistics.resampling import Bootstrap
from tests.statistics.synthetic import make_paired, norms_of

Array = NDArray[np.float64]
SIZES = (1, 2, 8, 32, 128, 1024)
RESAMPLING = Bootstrap(300, 0.95, (0,))


def compare(*trials: PairedTrials) -> dict[str, dict[Hashable, Any]]:
    """Rows by norm definition."""
    table = compare_definitions(trials, RESAMPLING).to_dict("records")
    return {str(row["norm_definition"]): row for row in table}


def test_definitions_of_a_power_law() -> None:
    sizes = np.array(SIZES, float)
    paired = make_paired(norms_of(100 * sizes**0.2, 0.05 * sizes**0.1), SIZES)
    table = compare(paired)
    assert len(table) == len(NORM_DEFINITIONS)
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


def test_definitions_are_what_their_formulas_say() -> None:
    """Batch size 3 of 1024 samples: 342 steps, the last one the remainder."""
    paired = make_paired(norms_of(np.array([5.0, 7.0])), (3, 1024))
    steps = np.array([[342.0], [1.0]])
    expected = {
        "|S|": paired.norm,
        "|S| / B": paired.norm / [[3], [1024]],
        "|S| / K": paired.norm / steps,
        "sum |g_t| / K": paired.path_length / steps,
        "sqrt(sum |g_t|^2)": np.sqrt(paired.sum_of_squares),
        "sqrt(sum |g_t|^2 / K)": np.sqrt(paired.sum_of_squares / steps),
    }
    assert [formula for formula, _ in NORM_DEFINITIONS.values()] == [*expected]
    for formula, values in NORM_DEFINITIONS.values():
        np.testing.assert_allclose(values(paired), expected[formula], rtol=1e-12)


def test_noise_alone_gives_the_root_mean_square_a_square_root_law() -> None:
    """Independent samples: |g_t|^2 goes as B, and so their sum over K steps stays the same."""
    paired = make_paired(norms_of(np.full(6, 9.0)), SIZES)  # sum of squares half the squared norm
    row = compare(paired)["root mean square over steps"]
    assert row["exponent"] == pytest.approx(0.5, abs=0.01)
    assert row["square_root_within_margin"]


def test_a_square_root_law_is_recognised() -> None:
    paired = make_paired(norms_of(100 * np.sqrt(SIZES)), SIZES)
    row = compare(paired)["norm of the sum"]
    assert row["square_root_within_margin"]
    assert row["square_root_deviation"] < 0.01
    assert row["half_p_value"] > 1e-3


def test_an_exponent_of_one_half_does_not_hide_a_hump() -> None:
    """Flat, steep and flat again: the slope is near 1/2 and the law is still wrong."""
    curve = np.array([1.0, 1.0, 1.0, 17.0, 17.0, 17.0])
    row = compare(make_paired(norms_of(curve), SIZES))["norm of the sum"]
    assert 0.4 < row["exponent"] < 0.6
    assert not row["square_root_within_margin"]
    assert row["lack_of_fit_p_value"] < 1e-9


@pytest.mark.parametrize(
    ("definition", "exponent"),
    [("norm of the sum", 0), ("over batch size", -1), ("over steps", 1)],
)
def test_what_follows_from_a_definition_is_no_finding(definition: str, exponent: float) -> None:
    """With weights held |S| is the same at every batch size, but for rounding."""
    same = np.tile(norms_of(np.array([7.0])), (3, 1))
    rounded = same * (1 + 1e-8 * np.random.default_rng(2).normal(size=same.shape))
    # As many samples a trial as a minibatch at most: K = N / B.
    paired = make_paired(rounded, (1, 8, 64), update=Frozen(), protocol="frozen")
    row = compare(paired)[definition]
    assert row["exponent"] == pytest.approx(exponent, abs=1e-6)
    ends = [f"{name}_{end}" for name in ("exponent", "spread_exponent") for end in ("low", "high")]
    missing = [*ends, "half_p_value", "lack_of_fit_p_value", "spread_exponent"]
    assert np.isnan([row[name] for name in missing]).all()
    assert not row["spread_grows"]
    assert row["monotone"] == (definition == "over steps")


def test_few_trials_have_an_exponent_and_no_test() -> None:
    paired = make_paired(norms_of(100 * np.sqrt(SIZES), trials=12), SIZES)
    row = compare(paired)["norm of the sum"]
    assert row["exponent"] == pytest.approx(0.5, abs=0.01)
    assert np.isnan([row["exponent_low"], row["half_p_value"]]).all()
    assert not row["spread_grows"]
