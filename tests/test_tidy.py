"""What a results folder holds that the configuration does not use."""

import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradatlas import planning, tidy
from gradatlas.cli import main
from gradatlas.core.configuration import Experiment
from gradatlas.core.errors import InputError
from gradatlas.core.settings import TrialRange
from gradatlas.core.stamps import write_stamp
from gradatlas.train.checkpoint import save_checkpoint
from tests.archive.examples import write_shard
from tests.workflow.smallest import planned, set_up

FAST = {"gradients": {"protocols": {"sgd": {"learning_rate": 0.5}}}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files of an experiment, and those at another learning rate."""
    directory = tmp_path / "experiment"
    set_up(directory)
    monkeypatch.chdir(directory)
    (directory / "fast.yaml").write_text(yaml.safe_dump(FAST))
    for overlays in ([], ["fast.yaml"]):
        write_results(tidy.configured([Path(name) for name in overlays]))
    return directory


def write_results(experiment: Experiment) -> None:
    for path, record in planning.wanted_checkpoints(experiment).items():
        if not Path(path).exists():
            save_checkpoint(Path(path), {}, {"facts": record.checkpoint})
            Path(path).with_suffix(".csv").write_text("epoch\n0\n1\n")
    for path, record in planning.wanted_shards(experiment).items():
        settings: dict[str, Any] = vars(record)
        trials = TrialRange(*map(int, Path(path).stem.removeprefix("trials").split("-")))
        write_shard(Path(path), trials.first, trials.last, **settings)


def files() -> set[str]:
    return {path.as_posix() for path in Path("results").rglob("*") if path.is_file()}


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["tidy", *arguments]) == 0
    return capsys.readouterr().out


def test_another_learning_rate_is_listed_with_its_value(
    capsys: pytest.CaptureFixture[str],
) -> None:
    [item] = tidy.find_unused(tidy.configured([]))

    assert item.why == "other update learning_rate 0.5, now 0.01"
    assert len(item.files) == 4  # two batch sizes, with digests
    assert item.size == sum(path.stat().st_size for path in item.files)
    text = listed(capsys)
    assert f"{item.folder}: 4 files, " in text
    assert "What another configuration uses in the same folder is listed here as well." in text
    # With the other configuration it is the other way round.
    assert "learning_rate 0.01, now 0.5" in listed(capsys, "--configfile", "fast.yaml")


def test_a_folder_is_named_from_anywhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.parent)
    assert "4 files" in listed(capsys, "--directory", "experiment")
    overlay = str(Path("experiment", "fast.yaml"))
    assert "now 0.5" in listed(capsys, "--directory", "experiment", "--configfile", overlay)


@pytest.mark.parametrize(
    ("answer", "is_deleted"), [("", False), ("n\n", False), ("y\n", True), ("yes\n", True)]
)
def test_nothing_is_deleted_without_an_answer(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    is_deleted: bool,
) -> None:
    before, wanted = files(), planning.wanted_shards(tidy.configured([]))
    listed(capsys)
    assert files() == before

    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert "Delete 4 files, " in listed(capsys, "--delete")
    assert len(before - files()) == (4 if is_deleted else 0)
    assert {*wanted} <= files()


def test_deleted_without_the_question_and_then_there_is_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed(capsys, "--delete", "--yes")
    assert listed(capsys) == "nothing lies in results/ that the configuration does not use\n"
    assert not any(path.is_dir() and not any(path.iterdir()) for path in Path("results").rglob("*"))


def test_what_was_collected_from_one_checkpoint_alone(capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints, shards = (
        {*wanted(tidy.configured([]))}
        for wanted in (planning.wanted_checkpoints, planning.wanted_shards)
    )
    text = listed(capsys, "--epoch", "1", "--delete", "--yes")
    assert "collected from the checkpoint of epoch 1" in text
    assert not shards & files()
    assert checkpoints <= files()
    with pytest.raises(InputError, match="no checkpoint of epoch 7, expected one of: 1"):
        tidy.of_epoch(tidy.configured([]), 7)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"training": {"momentum": 0.5}}, "other training momentum 0.0, now 0.5"),
        ({"model": {"hidden": [5]}}, "other model hidden [4], now [5]"),
        ({"seed": 3}, "other training_seed 0, now 3"),
    ],
)
def test_checkpoints_say_in_what_they_differ(change: Mapping[str, Any], why: str) -> None:
    Path("other.yaml").write_text(yaml.safe_dump(change))
    found = tidy.find_unused(tidy.configured([Path("other.yaml")]))
    assert why in [item.why for item in found if "checkpoints" in str(item.folder)]
    [checkpoint] = [item for item in found if "checkpoints" in str(item.folder)]
    assert sorted(path.suffix for path in checkpoint.files) == [".csv", ".safetensors", ".sha256"]


def test_other_code_and_protocols_dropped_and_damaged_files_are_told() -> None:
    configured = tidy.configured([])
    shards = [*planning.wanted_shards(configured)]
    Path("dropped.yaml").write_text("gradients: {protocols: {mine: {update: none}}}")
    write_results(tidy.configured([Path("dropped.yaml")]))
    write_results(planned(Path(), {"seed": 9}))
    Path("results/gradients/sgd-00000000").mkdir()
    Path("results/gradients/sgd-00000000/trials0-5.h5").write_bytes(b"no HDF5")
    shutil.copytree(Path(shards[0]).parents[1], "results/gradients/sgd/epoch1")  # of version 1

    found = {str(item.folder).rpartition("/")[2]: item.why for item in tidy.find_unused(configured)}

    assert found["sgd-00000000"].endswith(
        "is not an HDF5 file, expected a shard, an atlas or an export of Gradient Atlas"
    )
    assert found["sgd"] == "not among those that are asked for"
    [mine] = [why for name, why in found.items() if name.startswith("mine-")]
    assert mine == "other protocol mine, now none of that name"
    assert any("other seed 9, now 0" in why for why in found.values())


def test_tables_and_figures_of_jobs_that_are_not_asked_for() -> None:
    """Those of a batch size that was dropped, and of a further training seed."""
    for name, written in (
        ("results/.made/statistics/sgd/epoch1/batch4.json", "results/statistics/sgd/batch4.json"),
        ("results/seed1/.made/claims.json", "results/seed1/claims.csv"),
        ("results/.made/claims.json", "results/claims.csv"),
    ):
        Path(written).parent.mkdir(parents=True, exist_ok=True)
        Path(written).write_text("numbers")
        write_stamp(Path(name), "facts", [], [written])

    outlived = [
        item for item in tidy.find_unused(tidy.configured([])) if item.why.startswith("of no job")
    ]

    assert [str(item.folder) for item in outlived] == ["results/statistics/sgd", "results/seed1"]
    for item in outlived:
        tidy.remove(item)
    assert "results/claims.csv" in files()
    assert not [name for name in files() if "seed1" in name or "batch4" in name]


def test_a_package_without_its_workflow_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidy, "__file__", str(tmp_path / "lib" / "gradatlas" / "tidy.py"))
    with pytest.raises(InputError, match=r"there is no Snakefile in .*; install the package by"):
        tidy.configured([])
