"""Verdicts on trials that are made to fulfil or to break each claim, and their error rate."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradatlas.statistics.bootstrap import Bootstrap
from gradatlas.statistics.claims import CLAIMS, holm, judge, render
from gradatlas.statistics.norm_definitions import compare_readings
from gradatlas.statistics.paired import Sweep
from tests.statistics.synthetic import make_sweep

Array = NDArray[np.float64]
SIZES = np.array([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0])
SETTINGS = Bootstrap(200, 0.95, (0,))


def make(
    curve: Array,
    *,
    spread: Array | float = 0.03,
    epoch: int = 2,
    trials: int = 300,
    seed: int = 0,
    diverged: int = 0,
) -> Sweep:
    """Norms that share most of their noise over batch sizes."""
    rng = np.random.default_rng(seed)
    noise = 0.9 * rng.normal(size=trials) + 0.44 * rng.normal(size=(len(curve), trials))
    relative = np.broadcast_to(spread, len(curve))[:, None]
    norms = curve[:, None] * (1 + relative * noise)
    return make_sweep(norms, SIZES.astype(int).tolist(), epoch=epoch, diverged=diverged)


def verdicts(*sweeps: Sweep) -> dict[tuple[int, int], dict[Hashable, Any]]:
    """Rows by claim and epoch."""
    rows = judge(sweeps, SETTINGS).to_dict("records")
    return {(row["claim"], row["epoch"]): row for row in rows}


def test_columns_are_the_public_ones() -> None:
    table = judge([make(SIZES**0.1)], SETTINGS)
    assert [*table.columns][:8] == [
        *("claim", "protocol", "epoch", "statistic", "estimate", "low", "high", "verdict")
    ]
    assert set(table["verdict"]) <= {"reproduced", "not reproduced", "undecided"}


@pytest.mark.parametrize(
    ("curve", "verdict"),
    [
        (100 * SIZES**0.1, "reproduced"),
        (100 * SIZES**-0.1, "not reproduced"),
        (np.array([100.0, 130.0, 160.0, 190.0, 170.0, 200.0]), "not reproduced"),  # a hump
        (np.array([100.0, 99.0, 120.0, 130.0, 140.0, 150.0]), "reproduced"),  # a fall of 1 %
    ],
)
def test_the_mean_rises(curve: Array, verdict: str) -> None:
    assert verdicts(make(curve))[1, 2]["verdict"] == verdict


def test_a_fall_is_named() -> None:
    row = verdicts(make(np.array([100.0, 99.0, 120.0, 130.0, 140.0, 150.0])))[1, 2]
    assert row["remark"].startswith("falls by up to 1.")
    assert row["remark"].endswith("from batch size 1 to 4")


@pytest.mark.parametrize(
    ("curve", "verdict"),
    [
        (10 * SIZES**0.5, "reproduced"),
        (10 * SIZES**0.15, "not reproduced"),
        (np.array([1.0, 1.0, 1.0, 17.0, 17.0, 17.0]), "not reproduced"),  # slope near 1/2
    ],
)
def test_the_square_root_law(curve: Array, verdict: str) -> None:
    assert verdicts(make(curve))[2, 2]["verdict"] == verdict


@pytest.mark.parametrize(
    ("spread", "verdict"),
    [(0.02 * SIZES**0.15, "reproduced"), (0.05 * SIZES**-0.15, "not reproduced")],
)
def test_the_relative_spread_rises(spread: Array, verdict: str) -> None:
    assert verdicts(make(100 * SIZES**0.1, spread=spread))[3, 2]["verdict"] == verdict


@pytest.mark.parametrize(
    ("late", "verdict"),
    [
        (90 * SIZES**0.1, "reproduced"),
        (110 * SIZES**0.1, "not reproduced"),
        (100 * SIZES**0.1 * np.array([0.5, 0.5, 0.5, 0.5, 0.5, 1.1]), "not reproduced"),
        (100 * SIZES**0.1 * np.array([0.5, 0.5, 0.5, 0.5, 0.5, 1.0]), "undecided"),
    ],
)
def test_early_gradients_are_larger(late: Array, verdict: str) -> None:
    found = verdicts(make(100 * SIZES**0.1), make(late, epoch=30, seed=1))
    assert found[4, 30]["verdict"] == verdict
    assert (4, 2) not in found


def tailed(*, heavy: bool) -> Sweep:
    """Norms with Gaussian tails at batch size 1, and heavy ones at the largest if asked for."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 1200))
    if heavy:
        noise[1] = rng.standard_t(2.5, size=1200)
    return make_sweep(500 + noise, (1, 1024))


def test_tails() -> None:
    assert verdicts(tailed(heavy=True))[5, 2]["verdict"] == "reproduced"
    assert verdicts(tailed(heavy=False))[5, 2]["verdict"] == "not reproduced"


@pytest.mark.parametrize(("exponent", "verdict"), [(-0.1, "reproduced"), (0.1, "not reproduced")])
def test_competition(exponent: float, verdict: str) -> None:
    row = verdicts(make(100 * SIZES**exponent))[6, 2]
    assert row["verdict"] == verdict
    assert row["low"] < 1024**exponent < row["high"]


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.97, "reproduced"), (0.05, "not reproduced"), (0.55, "undecided")]
)
def test_samples_or_order(share: float, verdict: str) -> None:
    rng = np.random.default_rng(1)
    sets = rng.normal(0, np.sqrt(share), size=10)[np.arange(200) % 10]
    norms = 100 + sets + rng.normal(0, np.sqrt(1 - share), size=(2, 200))
    sweep = make_sweep(norms, (1, 32), protocol="sgd_reordered", sample_sets=10)
    found = verdicts(sweep)
    assert [*found] == [(7, 2)]
    assert found[7, 2]["verdict"] == verdict


def test_few_trials_decide_nothing() -> None:
    found = verdicts(make(100 * SIZES**0.1, trials=5), make(SIZES, trials=5, epoch=30))
    assert len(found) == 11
    assert {row["verdict"] for row in found.values()} == {"undecided"}


def test_survivors_decide_nothing() -> None:
    found = verdicts(make(100 * SIZES**0.1, diverged=30))
    assert {row["verdict"] for row in found.values()} == {"undecided"}
    assert "30 of 330 trials diverged" in found[1, 2]["remark"]


def test_nothing_true_is_rejected_more_often_than_the_level() -> None:
    """Norms of one distribution at every batch size: neither rises nor falls, in 95 of 100."""
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(100):
        norms = 100 + rng.normal(size=(4, 40)) + rng.normal(size=40)
        table = judge([make_sweep(norms, (1, 4, 16, 64))], Bootstrap(2, 0.95, (0,)))
        wrong += bool((table["verdict"][table["claim"].isin([1, 3, 6])] != "undecided").any())
    assert wrong <= 11  # 5 expected, binomial 99 %


def test_holm_corrects_as_by_hand() -> None:
    corrected = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(corrected, [0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).max() == 1


def test_the_page_names_every_claim_and_its_rule() -> None:
    sweep = make(100 * SIZES**0.1)
    page = render(judge([sweep], SETTINGS), compare_readings([sweep], SETTINGS), 0.95)
    for number, claim in CLAIMS.items():
        assert f"## {number}. {claim.text}" in page
        assert claim.supported in page
    assert "**not reproduced**" in page
    assert "There are no trials that this claim can be tested by." in page
    assert "Both hold for none of them." in page
