"""Verdicts on trials that fulfil or break each claim, their error rate, and the whole job."""

import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from gradatlas.core.updates import Frozen
from gradatlas.statistics.claims import (
    CLAIMS,
    compare_batch_sizes,
    correct,
    holm,
    judge,
    render,
)
from gradatlas.statistics.norm_definitions import compare_definitions
from gradatlas.statistics.paired import PairedTrials
from gradatlas.statistics.resampling import Bootstrap
from gradatlas.statistics.tables import gather
from tests.statistics.synthetic import (
    MOVING,
    SAMPLES,
    describe_all,
    draw,
    make_paired,
    write_batch_sizes,
    write_shards,
)

Array = NDArray[np.float64]
SIZES = np.array([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0])
RESAMPLING = Bootstrap(200, 0.95, (0,))
TABLES = (
    *("scaling", "law_curves", "local_exponents", "norm_definitions", "variance_sources"),
    *("noise_scale", "claims", "notes"),
)


def make(
    curve: Array,
    *,
    spread: Array | float = 0.03,
    epoch: int = 2,
    trials: int = 300,
    seed: int = 0,
    diverged: int = 0,
) -> PairedTrials:
    """Norms that share most of their noise over batch sizes."""
    rng = np.random.default_rng(seed)
    noise = 0.9 * rng.normal(size=trials) + 0.44 * rng.normal(size=(len(curve), trials))
    relative = np.broadcast_to(spread, len(curve))[:, None]
    norms = curve[:, None] * (1 + relative * noise)
    return make_paired(norms, SIZES.astype(int).tolist(), epoch=epoch, diverged=diverged)


def verdicts(*trials: PairedTrials) -> dict[tuple[int, int], dict[Hashable, Any]]:
    """Rows by claim and epoch."""
    rows = judge(trials, RESAMPLING).to_dict("records")
    return {(row["claim"], row["epoch"]): row for row in rows}


def test_columns_are_the_public_ones() -> None:
    table = judge([make(SIZES**0.1)], RESAMPLING)
    assert [*table.columns][:8] == [
        *("claim", "protocol", "epoch", "statistic", "estimate", "low", "high", "verdict")
    ]
    assert set(table["verdict"]) <= {"reproduced", "not reproduced", "undecided"}


STEPS = np.array([1.0, 1.03, 1.03, 1.03, 1.03, 1.03])
SAW = np.array([1.0, 1.045, 1.0, 1.045, 1.0, 1.045])
VALLEY = np.array([1.0, 0.97, 0.963, 0.963, 0.97, 1.0])


@pytest.mark.parametrize(
    ("curve", "verdict"),
    [
        (100 * SIZES**0.1, "reproduced"),
        (100 * SIZES**-0.1, "not reproduced"),
        (100 * SIZES ** (np.log(1.0005) / np.log(1024)), "not reproduced"),  # 0.05 % in all
        (100 * SIZES ** (np.log(0.998) / np.log(1024)), "not reproduced"),  # a fall of 0.2 %
        (np.full(6, 100.0), "not reproduced"),
        (100 * STEPS, "not reproduced"),
        (100 * SAW, "not reproduced"),
        (100 * VALLEY, "not reproduced"),
        (np.array([100.0, 85.0, 70.0, 85.0, 100.0, 130.0]), "not reproduced"),  # U of 30 %
        (np.array([100.0, 130.0, 160.0, 190.0, 165.0, 200.0]), "not reproduced"),  # a hump of 13 %
        (np.array([100.0, 98.0, 95.6, 96.0, 110.0, 140.0]), "reproduced"),  # a fall of 4 %
        (np.array([100.0, 130.0, 160.0, 170.0, 165.0, 162.0]), "reproduced"),  # a hump of 5 %
        (100 * (1 + SIZES / (SIZES + 20)), "reproduced"),  # saturates
    ],
)
def test_the_mean_rises(curve: Array, verdict: str) -> None:
    assert verdicts(make(curve))[1, 2]["verdict"] == verdict


@pytest.mark.parametrize("claim", [1, 3, 6])
def test_flat_is_neither_a_rise_nor_a_competition(claim: int) -> None:
    assert verdicts(make(np.full(6, 100.0), trials=1000))[claim, 2]["verdict"] == "not reproduced"


@pytest.mark.parametrize("curve", [100 * SIZES**0.1, 100 * SIZES**-0.1, np.full(6, 100.0)])
def test_at_most_one_of_two_opposite_claims_holds(curve: Array) -> None:
    found = verdicts(make(curve))
    assert [found[1, 2]["verdict"], found[6, 2]["verdict"]].count("reproduced") <= 1


@pytest.mark.parametrize("seed", range(5))
def test_few_independent_trials_leave_a_measured_fall_open(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = np.exp(0.3 * rng.normal(size=(15, 40)))
    curve = np.array([100, 90, 82, 76, 74, 76, 80, 90, 100, 110, 120, 130, 140, 150, 160])
    norms = curve[:, None] * noise / noise.mean(axis=1, keepdims=True)  # so as measured
    paired = make_paired(norms, (*range(1, 9), 16, 32, 64, 128, 256, 512, 1024))
    assert verdicts(paired)[1, 2]["verdict"] == "undecided"


def test_a_fall_is_named() -> None:
    row = verdicts(make(np.array([100.0, 99.0, 120.0, 130.0, 140.0, 150.0])))[1, 2]
    assert row["remark"].startswith("falls by up to 1.")
    assert row["remark"].endswith("from batch size 1 to 4")


@pytest.mark.parametrize(
    ("curve", "verdict"),
    [
        *((10 * SIZES**exponent, "reproduced") for exponent in (0.48, 0.5, 0.52)),
        *((10 * SIZES**exponent, "not reproduced") for exponent in (0.15, 0.47, 0.53)),
        (10 * SIZES**0.5 * np.array([1.0, 1.0, 1.15, 1.0, 1.0, 1.0]), "not reproduced"),
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


@pytest.mark.parametrize("seed", range(5))
def test_a_spread_that_falls_before_it_rises_is_not_reproduced(seed: int) -> None:
    spread = 0.03 * np.array([1.0, 0.9, 0.81, 0.9, 1.2, 1.5])
    found = verdicts(make(100 * SIZES**0.1, spread=spread, trials=100, seed=seed))
    assert found[3, 2]["verdict"] != "reproduced"


@pytest.mark.parametrize(
    ("late", "verdict"),
    [
        (85 * SIZES**0.1, "reproduced"),
        (95 * SIZES**0.1, "not reproduced"),  # 5 % larger
        (110 * SIZES**0.1, "not reproduced"),
        (100 * SIZES**0.1 * np.array([0.5, 0.5, 0.5, 0.5, 0.5, 1.1]), "not reproduced"),
        (100 * SIZES**0.1 * np.array([0.5, 0.5, 0.5, 0.5, 0.5, 1.01]), "not reproduced"),
        (100 * SIZES**0.1 * np.array([0.5, 0.5, 0.5, 0.5, 0.5, 1 / 1.1]), "undecided"),
    ],
)
def test_early_gradients_are_larger(late: Array, verdict: str) -> None:
    found = verdicts(make(100 * SIZES**0.1), make(late, epoch=30, seed=1))
    assert found[4, 30]["verdict"] == verdict
    assert (4, 2) not in found


def tailed(*, heavy: bool) -> PairedTrials:
    """Norms with Gaussian tails at batch size 1, and heavy ones at the largest if asked for."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 1200))
    if heavy:
        noise[1] = rng.standard_t(2.5, size=1200)
    return make_paired(500 + noise, (1, 1024))


def test_tails() -> None:
    assert verdicts(tailed(heavy=True))[5, 2]["verdict"] == "reproduced"
    assert verdicts(tailed(heavy=False))[5, 2]["verdict"] == "not reproduced"


@pytest.mark.parametrize(
    ("exponent", "verdict", "ratio"),
    [
        (-0.1, "reproduced", 4**-0.1),
        (-0.05, "not reproduced", 4**-0.05),  # 7 % below the one before
        (0.1, "not reproduced", 1024**0.1),
    ],
)
def test_competition(exponent: float, verdict: str, ratio: float) -> None:
    row = verdicts(make(100 * SIZES**exponent))[6, 2]
    assert row["verdict"] == verdict
    assert row["low"] < ratio < row["high"]


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.97, "reproduced"), (0.05, "not reproduced"), (0.55, "undecided")]
)
def test_samples_or_order(share: float, verdict: str) -> None:
    rng = np.random.default_rng(1)
    sets = rng.normal(0, np.sqrt(share), size=10)[np.arange(200) % 10]
    norms = 100 + sets + rng.normal(0, np.sqrt(1 - share), size=(2, 200))
    paired = make_paired(norms, (1, 32), protocol="sgd_reordered", sample_sets=10)
    found = verdicts(paired)
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


def at_the_margin(rng: np.random.Generator) -> PairedTrials:
    """Means, spreads and tails that differ by just what counts, and by no more."""
    noise = rng.normal(size=(4, 60))
    curve = 100 * np.array([1.0, 1.0, 1.0, 1.1])
    norms = curve[:, None] * np.exp(0.03 * np.array([1.0, 1.0, 1.0, 1.1])[:, None] * noise)
    return make_paired(norms, (1, 4, 16, 64))


def flat(rng: np.random.Generator) -> PairedTrials:
    """One distribution at every batch size."""
    return make_paired(100 + rng.normal(size=(4, 60)) + rng.normal(size=60), (1, 4, 16, 64))


@pytest.mark.parametrize(
    ("experiment", "wrong"),
    [
        (flat, {1: "reproduced", 3: "reproduced", 5: "reproduced", 6: "reproduced"}),
        (at_the_margin, {1: "reproduced", 3: "reproduced", 5: "reproduced", 6: "reproduced"}),
    ],
)
def test_nothing_true_is_rejected_more_often_than_the_level(
    experiment: Callable[[np.random.Generator], PairedTrials], wrong: dict[int, str]
) -> None:
    rng = np.random.default_rng(2)
    errors = 0
    for _ in range(100):
        table = judge([experiment(rng)], Bootstrap(2, 0.95, (0,)))
        found = dict(zip(table["claim"], table["verdict"], strict=True))
        errors += any(found[claim] == verdict for claim, verdict in wrong.items())
    assert errors <= 11  # 5 expected at most, binomial 99 %


def test_of_each_row_one_hypothesis_is_true_so_rows_are_counted() -> None:
    corrected = correct(np.array([[0.001, 0.999], [0.98, 0.02], [0.5, 0.5]]))
    np.testing.assert_allclose(corrected, [[0.003, 1.0], [1.0, 0.04], [0.5, 0.5]])
    assert correct(np.empty((0, 2))).shape == (0, 2)


def test_as_many_trials_as_a_row_asks_for_decide_it() -> None:
    """At the estimate of the first trials, nine times of ten."""
    truth = 100 * np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.2])

    def row(trials: int, seed: int) -> dict[Hashable, Any]:
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(6, trials))
        noise -= noise.mean(axis=1, keepdims=True) if trials == 60 else 0  # so as is the truth
        norms = truth[:, None] * (1 + 0.3 * noise)
        return verdicts(make_paired(norms, SIZES.astype(int).tolist()))[1, 2]

    few = row(60, 0)
    assert few["verdict"] == "undecided"
    asked = re.search(r"at this estimate about ([\d,]+) trials would decide it$", few["remark"])
    assert asked is not None
    trials = int(asked.group(1).replace(",", ""))
    decided = [row(trials, seed)["verdict"] == "reproduced" for seed in range(1, 21)]
    assert 14 <= sum(decided) <= 20  # 18 expected; binomial 99 % from 14


def test_no_p_value_is_zero_and_the_page_says_where_they_end() -> None:
    paired = make(100 * SIZES**0.3, spread=0.001)
    table = judge([paired], RESAMPLING)
    smaller = table[["for_p_value", "against_p_value"]].min(axis=1)
    assert 0 < smaller.min() < 1e-100
    page = render(table, compare_definitions([paired], RESAMPLING), 0.95)
    assert "(p for below 1e-06, against 1)" in page


def test_holm_corrects_as_by_hand() -> None:
    corrected = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(corrected, [0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).max() == 1


def test_the_page_names_every_claim_and_its_rule() -> None:
    paired = make(100 * SIZES**0.1)
    page = render(judge([paired], RESAMPLING), compare_definitions([paired], RESAMPLING), 0.95)
    for number, (text, supported, _) in CLAIMS.items():
        assert f"## {number}. {text}" in page
        assert supported in page
    assert "**not reproduced**" in page
    assert "There are no trials that this claim can be tested by." in page
    assert "Both hold for none of them." in page


def test_the_page_names_the_definitions_that_fulfil_both_claims() -> None:
    paired = make(100 * SIZES**0.5, spread=0.01 * SIZES**0.2)
    page = render(judge([paired], RESAMPLING), compare_definitions([paired], RESAMPLING), 0.95)
    assert "Both hold for: norm of the sum (sgd, epoch 2)" in page


def compare(folder: Path, maps: list[Path]) -> tuple[dict[str, pd.DataFrame], str]:
    """Tables by name, and the page of verdicts."""
    tables = {name: folder / f"{name}.csv" for name in TABLES}
    page = folder / "claims.md"
    files = {**tables, "claims_page": page}
    compare_batch_sizes(maps, files, resamples=100, confidence=0.95, seed=0)
    return {name: pd.read_csv(path) for name, path in tables.items()}, page.read_text()


def test_the_comparison_writes_every_table(tmp_path: Path) -> None:
    maps = []
    for epoch in (2, 30):
        for name, update, sets in (
            ("sgd", MOVING, None),
            ("frozen", Frozen(), None),
            ("re", MOVING, 10),
        ):
            folder = tmp_path / f"{name}{epoch}"
            folder.mkdir()
            shards = write_batch_sizes(
                folder, protocol=name, update=update, sample_sets=sets, epoch=epoch
            )
            maps += describe_all(folder, shards, name)[1]
    for order in (maps, maps[::-1]):
        found, page = compare(tmp_path, order)
        assert set(found["norm_definitions"]["protocol"]) == {"sgd", "frozen"}
        assert set(found["noise_scale"]["epoch"]) == {2, 30}
        assert found["claims"].groupby("claim").size().to_dict() == {
            **dict.fromkeys((1, 2, 3, 5, 6, 7), 2),
            4: 1,
        }
        assert found["variance_sources"]["sample_sets"].eq(10).all()
        assert page.startswith("# The article's claims")
    assert found["scaling"].empty  # three batch sizes do not tell laws apart


def test_batch_sizes_without_a_common_trial_give_empty_tables(tmp_path: Path) -> None:
    shards = write_batch_sizes(tmp_path, (1, 2, 4, 8, SAMPLES))
    shards[4] = write_shards(tmp_path, np.full((20, 3, 7), np.nan, np.float32), batch_size=4)
    rows, maps = describe_all(tmp_path, shards)
    gather(rows, tmp_path / "statistics.csv", tmp_path / "notes.csv")
    found, page = compare(tmp_path, maps)
    assert all(table.empty for table in found.values())
    assert "no trials that this claim can be tested by" in page


def test_every_missing_number_of_the_comparison_has_a_reason(tmp_path: Path) -> None:
    shards = {
        size: write_shards(tmp_path, size**0.2 * draw(8), batch_size=size) for size in (1, SAMPLES)
    }
    _, maps = describe_all(tmp_path, shards)
    tables, _ = compare(tmp_path, maps)
    notes = tables.pop("notes")
    del tables["law_curves"]  # which leaves empty what a point of a curve does not have
    missing = {name: int(table.isna().to_numpy().sum()) for name, table in tables.items()}
    assert missing["local_exponents"] > 0
    counts = notes.groupby("table").size().to_dict()
    assert counts == {name: count for name, count in missing.items() if count}
    assert set(notes["reason"]) == {"8 trials that did not diverge, expected at least 20"}
