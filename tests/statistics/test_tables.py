"""Rows become tables; sweeps pair the trials of all batch sizes; the comparison writes all."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradatlas.core.errors import InputError
from gradatlas.statistics.batch_size import describe_batch_size
from gradatlas.statistics.comparison import ComparisonFiles, compare_batch_sizes
from gradatlas.statistics.description import (
    Description,
    read_description,
    read_trials,
    write_description,
)
from gradatlas.statistics.paired import read_sweeps
from gradatlas.statistics.tables import gather
from tests.statistics.synthetic import SAMPLES, draw, write_shards

TABLES = (
    "scaling",
    "law_curves",
    "local_exponents",
    "readings",
    "variance_sources",
    "noise_scale",
    "claims",
    "notes",
)


def describe(
    folder: Path, shards: dict[int, list[Path]], name: str = "sgd"
) -> tuple[list[Path], list[Path]]:
    """Rows and maps of every batch size."""
    rows = [folder / f"{name}-{size}.json" for size in shards]
    maps = [folder / f"{name}-{size}.maps" for size in shards]
    for row, target, paths in zip(rows, maps, shards.values(), strict=True):
        describe_batch_size(
            paths,
            shards[max(shards)],
            row,
            target,
            max_order=5,
            resamples=100,
            confidence=0.9,
            seed=0,
        )
    return rows, maps


def compare(folder: Path, maps: list[Path]) -> tuple[dict[str, pd.DataFrame], str]:
    """Tables by name, and the page of verdicts."""
    tables = {name: folder / f"{name}.csv" for name in TABLES}
    page = folder / "claims.md"
    files = ComparisonFiles(**tables, claims_page=page)
    compare_batch_sizes(maps, files, resamples=100, confidence=0.95, seed=0)
    return {name: pd.read_csv(path) for name, path in tables.items()}, page.read_text()


def write_sweep(
    folder: Path, sizes: tuple[int, ...] = (1, 4, SAMPLES), **settings: object
) -> dict[int, list[Path]]:
    return {
        size: write_shards(folder, size**0.2 * draw(20), batch_size=size, **settings)  # type: ignore[arg-type]
        for size in sizes
    }


def test_a_row_survives_its_file(tmp_path: Path) -> None:
    row = Description(
        "sgd", 2, 8, {"mean_norm": 0.1 + 0.2, "skewness": math.nan}, {"skewness": "x"}
    )
    write_description(tmp_path / "row.json", row)
    found = read_description(tmp_path / "row.json")
    assert found.values["mean_norm"] == 0.1 + 0.2
    assert math.isnan(found.values["skewness"])
    assert (found.protocol, found.epoch, found.batch_size) == ("sgd", 2, 8)
    assert found.reasons == {"skewness": "x"}


def test_the_table_is_normalised_to_the_largest_batch_size(tmp_path: Path) -> None:
    rows, _ = describe(tmp_path, write_sweep(tmp_path))
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
    shards = write_sweep(tmp_path)
    broken = np.full((20, 3, 7), np.nan, np.float32)
    shards[SAMPLES] = write_shards(tmp_path, broken, batch_size=SAMPLES)
    rows, _ = describe(tmp_path, shards)
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
    rows, _ = describe(tmp_path, write_sweep(tmp_path))
    gather(rows, tmp_path / "statistics.csv", tmp_path / "notes.csv")
    found = pd.read_csv(tmp_path / "statistics.csv")
    assert found["mean_norm"][0] == read_description(rows[0]).values["mean_norm"]


def test_trials_survive_their_file(tmp_path: Path) -> None:
    _, maps = describe(tmp_path, write_sweep(tmp_path, first_trial=5))
    scalars = read_trials(maps[1])
    assert (scalars.batch_size, scalars.update, scalars.sample_sets) == (4, "sgd", None)
    assert scalars.batches_per_trial == 16
    np.testing.assert_array_equal(scalars.columns["trial"], np.arange(5, 25))
    np.testing.assert_allclose(
        scalars.columns["norm"],
        np.linalg.norm((4**0.2 * draw(20)).astype(np.float32).reshape(20, -1), axis=1),
        rtol=1e-6,
    )
    assert "mean" not in scalars.columns


def test_a_sweep_leaves_out_trials_that_diverged_anywhere(tmp_path: Path) -> None:
    broken = draw(20)
    broken[7] = np.inf
    shards = write_sweep(tmp_path)
    shards[4] = write_shards(tmp_path, broken, batch_size=4)
    (sweep,) = read_sweeps(describe(tmp_path, shards)[1])
    assert sweep.diverged == 1
    assert sweep.trials.tolist() == [trial for trial in range(20) if trial != 7]
    assert sweep.norm.shape == (3, 19)
    assert sweep.batch_sizes.tolist() == [1, 4, SAMPLES]
    assert sweep.batches_per_trial.tolist() == [64, 16, 1]


def test_batch_sizes_of_other_trials_are_not_compared(tmp_path: Path) -> None:
    _, maps = describe(tmp_path, write_sweep(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    shards = {8: write_shards(other, draw(9), batch_size=8)}
    with pytest.raises(InputError, match=r"batch size 8 .* has 9 trials, expected the same 20"):
        read_sweeps([*maps, *describe(other, shards)[1]])


def test_the_comparison_writes_every_table(tmp_path: Path) -> None:
    maps = []
    for epoch in (2, 30):
        for name, update, sets in (
            ("sgd", "sgd", None),
            ("frozen", "none", None),
            ("re", "sgd", 10),
        ):
            folder = tmp_path / f"{name}{epoch}"
            folder.mkdir()
            sweep = write_sweep(folder, protocol=name, update=update, sample_sets=sets, epoch=epoch)
            maps += describe(folder, sweep, name)[1]
    for order in (maps, maps[::-1]):
        found, page = compare(tmp_path, order)
        assert set(found["readings"]["protocol"]) == {"sgd", "frozen"}
        assert set(found["noise_scale"]["epoch"]) == {2, 30}
        assert found["claims"].groupby("claim").size().to_dict() == {
            **dict.fromkeys((1, 2, 3, 5, 6, 7), 2),
            4: 1,
        }
        assert found["variance_sources"]["sample_sets"].eq(10).all()
        assert page.startswith("# The article's claims")
    assert found["scaling"].empty  # three batch sizes do not tell laws apart


def test_batch_sizes_without_a_common_trial_give_empty_tables(tmp_path: Path) -> None:
    shards = write_sweep(tmp_path, (1, 2, 4, 8, SAMPLES))
    shards[4] = write_shards(tmp_path, np.full((20, 3, 7), np.nan, np.float32), batch_size=4)
    rows, maps = describe(tmp_path, shards)
    gather(rows, tmp_path / "statistics.csv", tmp_path / "notes.csv")
    found, page = compare(tmp_path, maps)
    assert all(table.empty for table in found.values())
    assert "no trials that this claim can be tested by" in page


def test_every_missing_number_of_the_comparison_has_a_reason(tmp_path: Path) -> None:
    shards = {
        size: write_shards(tmp_path, size**0.2 * draw(8), batch_size=size) for size in (1, SAMPLES)
    }
    _, maps = describe(tmp_path, shards)
    tables, _ = compare(tmp_path, maps)
    notes = tables.pop("notes")
    del tables["law_curves"]  # which leaves empty what a point of a curve does not have
    missing = {name: int(table.isna().to_numpy().sum()) for name, table in tables.items()}
    assert missing["local_exponents"] > 0
    counts = notes.groupby("table").size().to_dict()
    assert counts == {name: count for name, count in missing.items() if count}
    assert set(notes["reason"]) == {"8 trials that did not diverge, expected at least 20"}
