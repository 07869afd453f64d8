"""Run the real workflow in a folder of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.smallest import run, set_up

ROOT = Path(__file__).parents[2]

# Small enough for seconds, but with every protocol, two shards and a remainder minibatch.
TINY: dict[str, Any] = {
    "model": {"hidden": [8]},
    "training": {"checkpoints": [0, 1]},
    "gradients": {
        "samples_per_trial": 32,
        "trials": 6,
        "trials_per_job": 6,
        "batch_sizes": [5, 32],
        "protocols": {
            "frozen": {"trials": 6, "batch_sizes": [5, 32]},
            "sgd_reordered": {"trials": 6, "sample_sets": 2, "batch_sizes": [5, 32]},
        },
    },
    "statistics": {"bootstrap": 100},
    "figures": {"formats": ["png"]},
}

Workflow = Callable[..., subprocess.CompletedProcess[str]]


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Overlay one configuration on another, as Snakemake's --configfile does."""
    result = dict(base)
    for key, value in change.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else value
    return result


def run_workflow(
    directory: Path,
    *arguments: str,
    change: Mapping[str, Any] | None = None,
    repository: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake on the tiny experiment in a folder.

    Args:
        directory: Working folder; results land below it.
        arguments: Further arguments for Snakemake.
        change: Configuration overlaid on ``TINY``.
        repository: Checkout whose Snakefile runs.
    """
    overlay = directory / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(merged(TINY, change or {})))
    return subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--cores", "2"),
            *("--snakefile", str(repository / "Snakefile")),
            *("--workflow-profile", str(repository / "profiles" / "default")),
            *("--directory", str(directory)),
            *arguments,
            *("--configfile", str(overlay)),  # takes every word that follows
        ],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


PARTS = (
    *("Snakefile", "config.yaml", "environment.yml"),
    *("profiles", "resources", "scripts", "src", "workflow"),
)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code; a test that edits it takes its edit back."""
    copy = tmp_path_factory.mktemp("repository")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy / part)
    return copy


@pytest.fixture(scope="session")
def finished(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished tiny experiment; tests copy it before they change anything."""
    directory = tmp_path_factory.mktemp("finished")
    result = run_workflow(directory, repository=repository)
    assert result.returncode == 0, result.stdout + result.stderr
    return directory


@pytest.fixture(scope="session")
def smallest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest experiment, run to its end on two cores; tests copy it before they change it."""
    directory = tmp_path_factory.mktemp("smallest") / "experiment"
    set_up(directory)
    status, output = run(directory, "--cores", "2")
    assert status == 0, output
    return directory
