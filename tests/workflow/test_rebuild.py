"""Only what changed is rebuilt: the workflow's own plan after each kind of change."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import gradatlas
from gradatlas.cli import main
from tests.workflow.conftest import PARTS
from tests.workflow.smallest import finish


def overlaid(directory: Path, change: Mapping[str, Any]) -> tuple[str, str]:
    """Arguments that overlay a change on the experiment's configuration."""
    overlay = directory / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(dict(change)))
    return "--configfile", str(overlay)


def growth(**main: Any) -> dict[str, Any]:
    """A change of the main protocol alone."""
    others = {"batch_sizes": [5, 16], "trials": 6}
    return {"gradients": {**main, "protocols": {"frozen": others, "sgd_reordered": others}}}


def plan(
    directory: Path,
    repository: Path,
    change: Mapping[str, Any] | None = None,
    *arguments: str,
) -> Counter[str]:
    """Number of jobs by rule that a dry run announces."""
    overlay = overlaid(directory, change or {"device": "cpu"})
    output = finish(directory, "--dry-run", *arguments, *overlay, repository=repository)
    table = re.search(r"^Job stats:\n(.*?)^total", output, re.MULTILINE | re.DOTALL)
    if table is None:
        assert "Nothing to be done" in output
        return Counter()
    rows = re.findall(r"^(\w+) +(\d+)$", table.group(1), re.MULTILINE)
    return Counter({rule: int(count) for rule, count in rows})


@contextmanager
def edited(repository: Path, *modules: str) -> Iterator[None]:
    """Change modules without changing what they do, with a date long ago."""
    paths = [repository / "src" / "gradatlas" / module for module in modules]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.open("a").write("\nEDITED = True\n")
        os.utime(path, (0, 0))
    yield
    for path, content in zip(paths, before, strict=True):
        path.write_bytes(content)


def test_touched_files_rerun_nothing(finished: Path, repository: Path) -> None:
    sources = [path for part in PARTS for path in (repository / part).rglob("*") if path.is_file()]
    for path in [*sources, *(finished / "results" / "checkpoints").rglob("*")]:
        os.utime(path)
    assert plan(finished, repository) == Counter()


def test_further_batch_size_and_trials_add_only_their_jobs(
    finished: Path, repository: Path
) -> None:
    """Of the main protocol; the others keep their own."""
    jobs = plan(finished, repository, growth(batch_sizes=[5, 8, 16], trials=10, trials_per_job=10))
    assert jobs["collect"] == 1 + 2  # all trials of the new batch size, further ones of the others
    assert jobs["statistics"] == 3
    assert jobs["atlas"] == jobs["statistics_table"] == 1
    assert jobs["train"] == 0


def test_a_further_checkpoint_trains_and_collects_from_it_alone(
    finished: Path, repository: Path
) -> None:
    jobs = plan(finished, repository, {"training": {"checkpoints": [0, 1]}})
    assert jobs["train"] == 1
    assert jobs["collect"] == 6  # three protocols, two batch sizes, the new checkpoint


def test_further_training_seed_leaves_the_first_alone(finished: Path, repository: Path) -> None:
    jobs = plan(finished, repository, {"seeds": [0, 1]})
    assert jobs["train"] == jobs["atlas"] == jobs["seeds"] == 1
    assert jobs["collect"] == jobs["statistics"] == 6


# What needs nothing of each other in one plan; files marked by True are cut short, not missing.
@pytest.mark.parametrize(
    ("damage", "planned"),
    [
        (
            {
                "gradients/sgd-*/epoch1/batch5/trials0-5.h5": False,
                "gradients/frozen-*/epoch1/batch5/trials0-5.h5": True,
                "gradients/sgd-*/epoch1/batch16/trials0-5.h5.sha256": False,
            },
            {"collect": 3, "train": 0},
        ),
        ({"checkpoints/*/epoch1.safetensors": False}, {"train": 1, "collect": 0}),
        ({"checkpoints/*/epoch1.csv": True}, {"train": 1, "collect": 0}),
        (
            {
                "statistics/sgd/epoch1/batch16.json": False,
                "statistics/frozen/epoch1/batch5.h5": True,
                ".made/atlas.json": False,
            },
            {"statistics": 2, "atlas": 1, "collect": 0, "train": 0},
        ),
        (
            {"law_curves.csv": False, "figures/tails.png": True},
            {"claims": 1, "detail_figures": 1, "statistics": 0, "collect": 0, "train": 0},
        ),
    ],
)
def test_what_is_missing_or_cut_short_is_made_again(
    finished: Path, repository: Path, damage: dict[str, bool], planned: dict[str, int]
) -> None:
    moved = []
    for name, is_cut in damage.items():
        [path] = (finished / "results").glob(name)
        moved.append((path, path.rename(path.with_name(f"{path.name}.away"))))
        if is_cut:
            path.write_bytes(moved[-1][1].read_bytes()[:40])
    jobs = plan(finished, repository)
    for path, away in moved:
        away.rename(path)
    assert {rule: jobs[rule] for rule in planned} == planned


def test_another_learning_rate_collects_its_protocol_alone_and_null_removes_another(
    finished: Path, repository: Path
) -> None:
    change = {"gradients": {"protocols": {"sgd": {"learning_rate": 0.5}, "frozen": None}}}
    jobs = plan(finished, repository, change)
    assert jobs["collect"] == jobs["statistics"] == 2
    assert jobs["train"] == 0


def test_another_seed_recollects_everything(finished: Path, repository: Path) -> None:
    jobs = plan(finished, repository, {"seed": 1})
    assert jobs["train"] == 1
    assert jobs["collect"] == 6


# Which scripts a module belongs to is tested with the planning; here, that the rules ask for it.
@pytest.mark.parametrize(
    ("modules", "rerun", "kept"),
    [
        (
            ("statistics/batch_size.py", "figures/style.py"),
            {"statistics": 6, "statistics_table": 1, "claims": 1, "figures": 1, "pages": 1},
            {"train", "collect", "atlas"},
        ),
        (
            ("collect/engines/mlp_cpu.py",),
            {"collect": 6, "atlas": 1, "statistics": 6, "steps": 1},
            {"train", "training_table"},
        ),
        (("train/loop.py",), {"train": 1, "collect": 6}, set()),
    ],
)
def test_edited_module_reruns_what_it_determines_whatever_its_date(
    finished: Path,
    repository: Path,
    modules: tuple[str, ...],
    rerun: dict[str, int],
    kept: set[str],
) -> None:
    with edited(repository, *modules):
        jobs = plan(finished, repository)
    assert {rule: jobs[rule] for rule in rerun} == rerun
    assert not any(jobs[rule] for rule in kept), jobs


def test_growth_keeps_the_bytes_of_what_is_there(
    finished: Path, repository: Path, tmp_path: Path
) -> None:
    """Really run with a further batch size and more trials: old shards stay as they were."""
    grown = Path(shutil.copytree(finished, tmp_path / "grown"))
    gradients = grown / "results" / "gradients"
    before = {path: path.read_bytes() for path in gradients.rglob("*.h5*")}
    change = overlaid(grown, growth(batch_sizes=[8, 16], trials=8, trials_per_job=8))
    finish(grown, "--cores", "2", "results/gradients.h5", *change, repository=repository)
    for path, content in before.items():
        assert path.read_bytes() == content
    assert len(list(gradients.rglob("*.h5*"))) == len(before) + 4  # two shards and their digests
    assert main(["verify", str(grown / "results" / "gradients.h5")]) == 0
    assert gradatlas.open(grown / "results" / "gradients.h5").batch_sizes("sgd", 1) == (8, 16)
