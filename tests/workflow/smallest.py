"""The smallest experiment that has every stage, on a data set of its own: seconds."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import yaml

from gradatlas import planning
from gradatlas.core.configuration import Experiment
from tests.data.test_idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, write

ROOT = Path(__file__).parents[2]

EXPERIMENT: dict[str, Any] = {
    "seed": 0,
    "device": "cpu",
    "data": {"name": "Letters", "root": "."},
    "model": {"hidden": [4]},
    "training": {"batch_size": 16, "learning_rate": 0.01, "momentum": 0.0, "checkpoints": [1]},
    "gradients": {
        "parameter": "last.weight",
        "samples_per_trial": 16,
        "trials": 6,
        "trials_per_job": 6,
        "batch_sizes": [5, 16],
        "protocols": {"sgd": {"update": "sgd", "learning_rate": 0.01}},
    },
    "statistics": {"max_order": 4, "bootstrap": 100, "confidence": 0.95},
    "figures": {"formats": ["png"]},
}


# Overlaid on gradients: with every protocol, so that every figure is drawn.
COMPLETE: dict[str, Any] = {
    "protocols": {
        **EXPERIMENT["gradients"]["protocols"],
        "frozen": {"update": "none"},
        "sgd_reordered": {"update": "sgd", "learning_rate": 0.01, "sample_sets": 2},
    }
}

# Overlaid likewise: a shard that takes a moment to write, so that faults find its writer at work.
LONG: dict[str, Any] = {"trials": 3000, "trials_per_job": 3000, "batch_sizes": [1]}
ATLAS = "results/gradients.h5"


def write_data(folder: Path) -> None:
    """Write 60 training and 20 test images of 4 x 4 pixels in three classes."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    parts = ((TRAIN_IMAGES, TRAIN_LABELS, 60), (TEST_IMAGES, TEST_LABELS, 20))
    for images, labels, samples in parts:
        write(folder / images, random.integers(0, 256, (samples, 4, 4), np.uint8))
        write(folder / labels, np.arange(samples, dtype=np.uint8) % 3)


def set_up(directory: Path, gradients: Mapping[str, Any] | None = None) -> None:
    """Write the experiment's configuration and data into a folder that is yet to be made."""
    write_data(directory / "letters")
    config = {**EXPERIMENT, "data": {"name": "Letters", "root": str(directory)}}
    config["gradients"] = {**EXPERIMENT["gradients"], **(gradients or {})}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))


def planned(directory: Path, change: Mapping[str, Any] | None = None) -> Experiment:
    """The experiment of a folder, with a change of its configuration, its data and our code."""
    config = yaml.safe_load((directory / "config.yaml").read_text()) | dict(change or {})
    return planning.complete(planning.read(config, ROOT), ROOT)


def _locate() -> tuple[str, str]:
    """The checkpoint and the shard of the long experiment, which lie where their facts say."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "experiment")
        set_up(directory, LONG)
        experiment = planned(directory)
    return next(iter(planning.wanted_checkpoints(experiment))), next(
        iter(planning.wanted_shards(experiment))
    )


CHECKPOINT, SHARD = _locate()


def start(
    directory: Path,
    *arguments: str,
    output: IO[str] | int = subprocess.PIPE,
    repository: Path = ROOT,
) -> subprocess.Popen[str]:
    """Start Snakemake in a folder, in a process group of its own.

    Args:
        directory: Working folder; results land below it.
        arguments: Further arguments for Snakemake.
        output: Where all it prints goes.
        repository: Checkout whose Snakefile runs.
    """
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "snakemake", "--cores", "1"),
            *("--snakefile", str(repository / "Snakefile")),
            *("--workflow-profile", str(repository / "profiles" / "default")),
            *("--directory", str(directory)),
            *arguments,
        ],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository / "src")},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def descendants(parent: int) -> list[int]:
    """Processes below one, the deepest last."""
    children: list[str] = []
    for path in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(OSError):  # the thread has just ended
            children += path.read_text().split()
    return [item for child in map(int, children) for item in (child, *descendants(child))]


def results(directory: Path) -> dict[str, bytes]:
    """Every file of the results but logs and timings, unfinished ones included."""
    root = directory / "results"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.relative_to(root).parts[0] not in ("logs", "benchmarks")
    }


def run(directory: Path, *arguments: str, repository: Path = ROOT) -> tuple[int, str]:
    """Run Snakemake in a folder; exit status and all it printed."""
    with start(directory, *arguments, repository=repository) as process:
        output, _ = process.communicate()
    return process.returncode, output


def finish(directory: Path, *arguments: str, repository: Path = ROOT) -> str:
    """Run Snakemake to a good end; all it printed."""
    status, output = run(directory, *arguments, repository=repository)
    assert status == 0, output
    return output
