"""The spread between training seeds, against NumPy and SciPy on the rows of each."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gradatlas.statistics.seeds import compare_seeds

SEEDS = 4


def write_tables(folder: Path) -> tuple[list[Path], list[Path]]:
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
    statistics, claims = write_tables(folder)
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
