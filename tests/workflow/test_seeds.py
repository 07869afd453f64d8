"""Several training seeds: a results folder for each, and tables of the spread between them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import gradatlas
from gradatlas.cli import main
from tests.workflow.smallest import finish, set_up

pytestmark = pytest.mark.slow
SHARD = "gradients/sgd-*/epoch1/batch5/trials0-5.h5"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One training seed run to its end, then another."""
    directory = tmp_path_factory.mktemp("seeds") / "experiment"
    set_up(directory)
    finish(directory, "--cores", "2")
    config = yaml.safe_load((directory / "config.yaml").read_text())
    [shard] = (directory / "results").glob(SHARD)
    (directory / "before").write_bytes(shard.read_bytes())
    (directory / "config.yaml").write_text(yaml.safe_dump({**config, "seeds": [1, 0]}))
    (directory / "log").write_text(finish(directory, "--cores", "2"))
    return directory


def folders(directory: Path) -> list[Path]:
    results = directory / "results"
    return [results, results / "seed1"]


def test_the_first_seed_keeps_its_files_and_is_not_run_again(directory: Path) -> None:
    shards = [path.read_bytes() for path in (directory / "results").glob(SHARD)]
    assert (directory / "before").read_bytes() in shards
    assert len(shards) == 2
    jobs = [line.split() for line in (directory / "log").read_text().splitlines()]
    assert ["train", "1"] in jobs
    assert ["collect", "2"] in jobs


def test_every_seed_has_an_archive_of_its_own_with_the_same_samples(directory: Path) -> None:
    opened = [gradatlas.open(folder / "gradients.h5") for folder in folders(directory)]
    first, *others = [atlas.select(protocol="sgd", epoch=1, batch_size=5) for atlas in opened]
    for other in others:
        np.testing.assert_array_equal(other.sample_index(0), first.sample_index(0))
        assert not np.array_equal(other.gradient(0), first.gradient(0))


def test_archives_pass_their_check(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in folders(directory):
        assert main(["verify", str(folder / "gradients.h5")]) == 0, capsys.readouterr().out


def test_spread_between_seeds_is_that_of_their_tables(directory: Path) -> None:
    table = pd.read_csv(directory / "results" / "seeds.csv").query("statistic == 'mean_norm'")
    tables = [pd.read_csv(folder / "statistics.csv") for folder in folders(directory)]
    norms = np.array([rows["mean_norm"].to_numpy() for rows in tables])
    np.testing.assert_allclose(table["mean"].to_numpy(), norms.mean(axis=0))
    np.testing.assert_allclose(table["std"].to_numpy(), norms.std(axis=0, ddof=1))
    assert (directory / "results" / "seed_claims.csv").exists()


def test_every_seed_has_its_figures(directory: Path) -> None:
    for folder in folders(directory):
        assert (folder / "figures" / "norm_vs_batch_size.png").stat().st_size > 0


def test_the_export_is_that_of_every_seed(directory: Path) -> None:
    output = finish(directory, "export", "--dry-run")
    for folder in ("results", "results/seed1"):
        assert f"{folder}/gradients_export.h5" in output
