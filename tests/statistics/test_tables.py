"""Rows become tables, and tables of training seeds their spread."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gradatlas.statistics.tables import (
    Description,
    compare_seeds,
    gather,
    read_description,
    read_trials,
    write_description,
)
from tests.statistics.synthetic import (
    SAMPLES,
    describe_all,
    draw,
    make_settings,
    write_batch_sizes,
    write_shards,
)

SEEDS = 4


def test_a_row_survives_its_file(tmp_path: Path) -> None:
    settings = make_settings(batch_size=8)
    row = Description(settings, {"mean_norm": 0.1 + 0.2, "skewness": math.nan}, {"skewness": "x"})
    write_description(tmp_path / "row.json", row)
    found = read_description(tmp_path / "row.json")
    assert found.values["mean_norm"] == 0.1 + 0.2
    assert math.isnan(found.values["skewness"])
    assert found.settings == settings
    assert found.reasons == {"skewness": "x"}


def test_the_table_is_normalised_to_the_largest_batch_size(tmp_path: Path) -> None:
    rows, _ = describe_all(tmp_path, write_batch_sizes(tmp_path))
    table, notes = tmp_path / "statistics.csv", tmp_path / "notes.csv"
    gather(rows[::-1], table, notes)
    found = pd.read_csv(table)
    assert found["batch_size"].tolist() == [1, 4, SAMPLES]
    np.testing.assert_allclose(found["normalised_mean"], found["mean_norm"].iloc[-1], rtol=1e-12)
    np.testing.assert_allclose(
        found["normalised_std"] / found["normalised_mean"], found["relative_std"], rtol=1e-12
    )
    expected = [*("mean_norm", "mean_norm_low", "mean_norm_high", "std_norm", "relative_std")]
    assert set(expected) < set(found.columns)
    reasons = pd.read_csv(notes)
    assert reasons.columns.tolist() == ["protocol", "epoch", "batch_size", "column", "reason"]
    missing = int(found.isna().to_numpy().sum())
    assert len(reasons) == missing


def test_what_cannot_be_normalised_has_a_reason(tmp_path: Path) -> None:
    shards = write_batch_sizes(tmp_path)
    broken = np.full((20, 3, 7), np.nan, np.float32)
    shards[SAMPLES] = write_shards(tmp_path, broken, batch_size=SAMPLES)
    rows, _ = describe_all(tmp_path, shards)
    gather(rows, tmp_path / "statistics.csv", tmp_path / "notes.csv")
    found, notes = pd.read_csv(tmp_path / "statistics.csv"), pd.read_csv(tmp_path / "notes.csv")
    missing = {
        (size, column)
        for column in found.columns
        for size in found.loc[found[column].isna(), "batch_size"].tolist()
    }
    assert (1, "normalised_mean") in missing
    assert missing <= set(zip(notes["batch_size"], notes["column"], strict=True))


def test_numbers_are_written_in_full(tmp_path: Path) -> None:
    rows, _ = describe_all(tmp_path, write_batch_sizes(tmp_path))
    gather(rows, tmp_path / "statistics.csv", tmp_path / "notes.csv")
    found = pd.read_csv(tmp_path / "statistics.csv")
    assert found["mean_norm"][0] == read_description(rows[0]).values["mean_norm"]


def test_trials_survive_their_file(tmp_path: Path) -> None:
    _, maps = describe_all(tmp_path, write_batch_sizes(tmp_path, first_trial=5))
    scalars = read_trials(maps[1])
    assert (scalars.settings.batch_size, scalars.settings.update.name) == (4, "sgd")
    assert scalars.settings.batches_per_trial == 16
    np.testing.assert_array_equal(scalars.columns["trial"], np.arange(5, 25))
    np.testing.assert_allclose(
        scalars.columns["norm"],
        np.linalg.norm((4**0.2 * draw(20)).astype(np.float32).reshape(20, -1), axis=1),
        rtol=1e-6,
    )
    assert "mean" not in scalars.columns


def write_seeds(folder: Path) -> tuple[list[Path], list[Path]]:
    """Statistics and claims of four training seeds; the last has no tail index."""
    random = np.random.default_rng(0)
    statistics, claims = [], []
    for seed in range(SEEDS):
        rows = pd.DataFrame(
            {
                "protocol": "sgd",
                "epoch": [2, 2, 30],
                "batch_size": [1, 8, 1],
                "mean_norm": random.normal(100, 5, 3),
                "mean_norm_low": 0.0,
                "mean_norm_high": 1.0,
                "hill_tail_index": random.normal(9, 1, 3) if seed < SEEDS - 1 else np.nan,
            }
        )
        verdict = pd.DataFrame(
            {
                "claim": [1, 4],
                "protocol": "sgd",
                "epoch": [2, 30],
                "statistic": ["slope", f"smallest ratio (batch size {seed})"],
                "estimate": random.normal(0, 1, 2),
                "verdict": ["reproduced", "undecided" if seed == 0 else "not reproduced"],
            }
        )
        statistics.append(folder / f"statistics{seed}.csv")
        claims.append(folder / f"claims{seed}.csv")
        rows.to_csv(statistics[-1], index=False)
        verdict.to_csv(claims[-1], index=False)
    return statistics, claims


def compare(folder: Path, seeds: int = SEEDS) -> tuple[pd.DataFrame, pd.DataFrame]:
    statistics, claims = write_seeds(folder)
    targets = folder / "seeds.csv", folder / "seed_claims.csv"
    compare_seeds(statistics[:seeds], claims[:seeds], *targets, confidence=0.9)
    return pd.read_csv(targets[0]), pd.read_csv(targets[1])


def test_a_row_for_every_statistic_and_its_t_interval(tmp_path: Path) -> None:
    table, _ = compare(tmp_path)
    assert set(table["statistic"]) == {"mean_norm", "hill_tail_index"}
    assert len(table) == 6
    row = table.query("statistic == 'mean_norm' and epoch == 2 and batch_size == 8").iloc[0]
    values = [pd.read_csv(tmp_path / f"statistics{n}.csv")["mean_norm"][1] for n in range(SEEDS)]
    low, high = stats.t.interval(0.9, SEEDS - 1, np.mean(values), stats.sem(values))
    assert row["training_seeds"] == SEEDS
    expected = [np.mean(values), np.std(values, ddof=1), low, high]
    np.testing.assert_allclose(row[["mean", "std", "low", "high"]].to_numpy(float), expected)


def test_a_seed_without_a_number_is_not_counted(tmp_path: Path) -> None:
    table, _ = compare(tmp_path)
    tails = table.query("statistic == 'hill_tail_index'")
    assert (tails["training_seeds"] == SEEDS - 1).all()
    assert tails[["mean", "std", "low", "high"]].notna().all(axis=None)


def test_one_seed_has_a_mean_and_no_spread(tmp_path: Path) -> None:
    table, claims = compare(tmp_path, seeds=1)
    assert table["mean"].notna().all()
    assert table[["std", "low", "high"]].isna().all(axis=None)
    assert (claims["training_seeds"] == 1).all()


def test_claims_count_the_verdicts_of_all_seeds(tmp_path: Path) -> None:
    _, claims = compare(tmp_path)
    first, fourth = (claims.query("claim == @number").iloc[0] for number in (1, 4))
    assert [first[name] for name in ("reproduced", "not reproduced", "undecided")] == [SEEDS, 0, 0]
    assert [fourth[name] for name in ("reproduced", "not reproduced", "undecided")] == [0, 3, 1]
    estimates = [pd.read_csv(tmp_path / f"claims{n}.csv")["estimate"][1] for n in range(SEEDS)]
    assert fourth["mean"] == pytest.approx(np.mean(estimates))
    assert fourth["std"] == pytest.approx(np.std(estimates, ddof=1))
