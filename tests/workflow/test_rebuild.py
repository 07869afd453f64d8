"""Only what changed is rebuilt: the workflow's own plan after each kind of change."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gradatlas.cli import main
from tests.workflow.conftest import PARTS, TINY, run_workflow


def finish(directory: Path, repository: Path, *targets: str, **arguments: Any) -> None:
    result = run_workflow(directory, *targets, repository=repository, **arguments)
    assert result.returncode == 0, result.stdout + result.stderr


def plan(
    directory: Path, repository: Path, change: Mapping[str, Any] | None = None
) -> Counter[str]:
    """Number of jobs by rule that a dry run announces."""
    result = run_workflow(directory, "--dry-run", change=change, repository=repository)
    assert result.returncode == 0, result.stdout + result.stderr
    output = result.stdout + result.stderr
    table = re.search(r"^Job stats:\n(.*?)^total", output, re.MULTILINE | re.DOTALL)
    if table is None:
        assert "Nothing to be done" in output
        return Counter()
    rows = re.findall(r"^(\w+) +(\d+)$", table.group(1), re.MULTILINE)
    return Counter({rule: int(count) for rule, count in rows})


def edit(path: Path) -> str:
    """Change a module without changing what it does; returns its former text."""
    before = path.read_text()
    path.write_text(before + "\n# edited\n")
    return before


def test_second_run_has_nothing_to_do(finished: Path, repository: Path) -> None:
    assert plan(finished, repository) == Counter()


def test_touched_files_rerun_nothing(finished: Path, repository: Path) -> None:
    sources = [path for part in PARTS for path in (repository / part).rglob("*") if path.is_file()]
    for path in [*sources, *(finished / "results" / "checkpoints").iterdir()]:
        os.utime(path)
    assert plan(finished, repository) == Counter()


def test_further_batch_size_adds_only_its_jobs(finished: Path, repository: Path) -> None:
    change = {"gradients": {"batch_sizes": [*TINY["gradients"]["batch_sizes"], 8]}}
    jobs = plan(finished, repository, change)
    assert jobs["collect"] == 2  # protocol sgd at two checkpoints
    assert jobs["statistics"] == 2
    assert jobs["atlas"] == jobs["statistics_table"] == 1
    assert jobs["train"] == 0


def test_further_trials_add_only_new_shards(finished: Path, repository: Path) -> None:
    change = {"gradients": {"trials": 10}}
    jobs = plan(finished, repository, change)
    assert jobs["collect"] == 2 * 2  # batch sizes x checkpoints of sgd; the others set their own
    assert jobs["train"] == 0


def test_further_checkpoint_trains_again_but_keeps_the_collected(
    finished: Path, repository: Path
) -> None:
    jobs = plan(finished, repository, {"training": {"checkpoints": [0, 1, 2]}})
    assert jobs["train"] == 1
    assert jobs["collect"] == 6  # three protocols, two batch sizes, the new checkpoint


def test_further_training_seed_leaves_the_first_alone(finished: Path, repository: Path) -> None:
    jobs = plan(finished, repository, {"seeds": [0, 1]})
    assert jobs["train"] == jobs["atlas"] == jobs["seeds"] == 1
    assert jobs["collect"] == jobs["statistics"] == 12


def test_another_seed_recollects_everything(finished: Path, repository: Path) -> None:
    jobs = plan(finished, repository, {"seed": 1})
    assert jobs["train"] == 1
    assert jobs["collect"] == 12


@pytest.mark.parametrize(
    ("module", "rerun", "kept"),
    [
        ("figures/style.py", {"figures"}, {"train", "collect", "atlas", "statistics", "claims"}),
        ("scaling.py", {"claims"}, {"train", "collect", "atlas", "statistics"}),
        ("statistics.py", {"statistics", "statistics_table"}, {"train", "collect", "atlas"}),
        ("engine/one_hidden_layer.py", {"collect", "atlas", "statistics"}, {"train"}),
        ("training.py", {"train", "collect"}, set()),
    ],
)
def test_edited_module_reruns_what_it_determines(
    finished: Path, repository: Path, module: str, rerun: set[str], kept: set[str]
) -> None:
    path = repository / "src" / "gradatlas" / module
    before = edit(path)
    try:
        jobs = plan(finished, repository)
    finally:
        path.write_text(before)
    assert all(jobs[rule] for rule in rerun), jobs
    assert not any(jobs[rule] for rule in kept), jobs


def test_an_edit_counts_whatever_its_date(finished: Path, repository: Path) -> None:
    path = repository / "src" / "gradatlas" / "statistics.py"
    before = edit(path)
    os.utime(path, (0, 0))
    try:
        jobs = plan(finished, repository)
    finally:
        path.write_text(before)
    assert jobs["statistics"] == 12


def test_growth_keeps_the_bytes_of_what_is_there(
    finished: Path, repository: Path, tmp_path: Path
) -> None:
    """Really run with a further batch size and more trials: old shards stay as they were."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    gradients = tmp_path / "results" / "gradients"
    before = {path: path.read_bytes() for path in gradients.rglob("*.h5")}
    change = {"gradients": {"batch_sizes": [5, 8, 32], "trials": 8}}
    finish(tmp_path, repository, "results/gradients.h5", change=change)
    for path, content in before.items():
        assert path.read_bytes() == content
    assert len(list(gradients.rglob("*.h5"))) > len(before)
    assert main(["verify", str(tmp_path / "results" / "gradients.h5")]) == 0


def test_shards_do_not_depend_on_how_trials_are_split(
    finished: Path, repository: Path, tmp_path: Path
) -> None:
    """One job of six trials, or three jobs of two, on one core: the same tensors."""
    import h5py
    import numpy as np

    (tmp_path / "results").mkdir()
    shutil.copytree(finished / "results" / "checkpoints", tmp_path / "results" / "checkpoints")
    target = "results/gradients/sgd/epoch1/batch5/trials{}-{}.h5"
    parts = [target.format(first, first + 1) for first in (0, 2, 4)]
    finish(tmp_path, repository, *parts, "--cores", "1")
    with h5py.File(finished / target.format(0, 5)) as whole:
        for name in ("gradient", "path_length", "sample_index", "last_loss"):
            pieces = []
            for part in parts:
                with h5py.File(tmp_path / part) as file:
                    pieces.append(file[name][:])
            np.testing.assert_array_equal(np.concatenate(pieces), whole[name][:])
