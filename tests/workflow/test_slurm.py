"""The workflow on a real Slurm of one node: the same bytes, and jobs that end before their time."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.workflow import cluster
from tests.workflow.smallest import ROOT, set_up

Found = TypeVar("Found")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(cluster.why_not()), reason=cluster.why_not() or "Slurm can start"),
]
QUICK = ["--configfile", str(ROOT / "tests" / "quick.yaml")]
# Shorter than a site would want, on a node with nothing else to do.
IMPATIENT = ["--slurm-init-seconds-before-status-checks", "3", "--seconds-between-status-checks=3"]
PATIENCE = 300.0  # seconds


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with cluster.running(tmp_path_factory.mktemp("slurm")):
        yield


def start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start Snakemake in a folder; all it prints goes to the file ``output`` there."""
    directory.mkdir(exist_ok=True)
    with (directory / "output").open("w") as output:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
                *("--directory", str(directory), *arguments),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )


def run(directory: Path, *arguments: str) -> str:
    """Run Snakemake to a good end; all it printed."""
    status = start(directory, *arguments).wait()
    output = (directory / "output").read_text()
    assert status == 0, output
    return output


def wait_for(look: Callable[[], Found]) -> Found:
    """What is found at last; everything but something empty counts."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the quick experiment without a cluster, but for its figures."""
    directory = tmp_path_factory.mktemp("local")
    run(directory, "--cores", "2", "results/statistics.csv", "results/gradients.h5", *QUICK)
    return directory / "results"


def test_cancelled_and_overdue_jobs_are_reported_and_run_again(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    directory = tmp_path / "experiment"
    # A stream of jobs: the executor asks ever less often while none ends.
    set_up(directory, {"trials": 8, "trials_per_job": 1})
    process = start(
        directory,
        *("--profile", str(ROOT / "profiles" / "slurm"), *IMPATIENT, "results/gradients.h5"),
    )

    def collecting() -> list[int]:
        return [job for job, comment in cluster.jobs("RUNNING") if "rule_collect" in comment]

    first, second = wait_for(lambda: collecting()[:2] if len(collecting()) > 1 else [])
    cluster.cancel(first)
    cluster.halt_for_a_minute(second)
    request.getfixturevalue("local")  # while the minute passes
    status = process.wait(PATIENCE)
    output = (directory / "output").read_text()
    assert status == 0, output
    assert set(re.findall(r"SLURM status is: '(\w+)'", output)) == {"CANCELLED", "TIMEOUT"}
    assert output.count("Trying to restart job") == 2
    attempts = re.findall(r"rule collect:.*?mem_mb=(\d+)", output, re.DOTALL)
    assert sorted(attempts) == [*["1500"] * 16, "3000", "3000"]
    assert len([*(directory / "results" / "gradients").rglob("*.h5")]) == 16


def test_quick_experiment_gives_the_bytes_of_a_local_run(local: Path, tmp_path: Path) -> None:
    profile = ["--profile", str(ROOT / "profiles" / "slurm"), *IMPATIENT]
    run(tmp_path / "slurm", *profile, *QUICK)
    remote = tmp_path / "slurm" / "results"
    patterns = ("checkpoints/**/*.*", "gradients/**/*.h5*", "statistics/**/*.*", "*.h5*", "*.csv")
    files = [path.relative_to(local) for pattern in patterns for path in local.glob(pattern)]
    assert len(files) > 50
    for path in files:
        assert (local / path).read_bytes() == (remote / path).read_bytes(), path
    assert (remote / "figures" / "norm_vs_batch_size.png").stat().st_size > 0


def test_a_job_on_a_gpu_asks_for_one(tmp_path: Path) -> None:
    directory = tmp_path / "experiment"
    set_up(directory)
    config = (directory / "config.yaml").read_text().replace("device: cpu", "device: cuda")
    (directory / "config.yaml").write_text(config)
    profile = ["--profile", str(ROOT / "profiles" / "slurm"), *IMPATIENT, "--retries", "0"]
    process = start(directory, *profile)

    def training() -> list[int]:
        jobs = cluster.jobs("PENDING", "RUNNING")
        return [job for job, comment in jobs if comment.startswith("rule_train_")]

    assert cluster.generic_resources(wait_for(training)[0]) == "gres:gpu:1"
    if process.wait(PATIENCE) != 0:  # here the GPU is a stand-in
        assert "torch finds no CUDA device here" in (directory / "output").read_text()
