"""SIGKILL at any moment: what has a final name is complete, and resuming gives the same bytes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradatlas import archive
from gradatlas.core.settings import TrialRange
from tests.archive.examples import PROVENANCE, SETTINGS, make_trials

SHAPE = (10, 256)
SHARDS = [TrialRange(0, 99), TrialRange(100, 149)]
BLOCK = 20
REPOSITORY = Path(__file__).parents[2]
SYSTEM_CALLS = ("open", "posix_fallocate", "posix_fadvise", "truncate", "fsync", "replace")


def collect(folder: Path) -> None:
    """A job in small: write the shards that are not there yet."""
    for trials in SHARDS:
        path = folder / f"trials{trials}.h5"
        if path.exists() and path.with_name(f"{path.name}.sha256").exists():
            continue  # as the workflow, for which both are outputs of the job
        content = make_trials(trials, shape=SHAPE)
        with archive.create_shard(path, SETTINGS, PROVENANCE, trials, SHAPE) as shard:
            for start in range(0, len(trials), BLOCK):
                shard.append(**{n: rows[start : start + BLOCK] for n, rows in content.items()})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    collect(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def in_child(work: Callable[[], None]) -> int:
    """Start the work in a forked process and return its number."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return child


def check_and_resume(folder: Path, undisturbed: dict[str, bytes]) -> None:
    """Everything with a final name is as undisturbed; a run a day later leaves nothing else."""
    for path in folder.glob("*.h5"):
        assert path.read_bytes() == undisturbed[path.name]
    for path in folder.glob(".*.partial"):
        os.utime(path, (0, 0))
    collect(folder)
    left = {path for path in folder.iterdir() if path.suffix != ".partial"}
    assert {path.name: path.read_bytes() for path in left} == undisturbed


def run_and_kill(folder: Path, seconds: float) -> bool:
    """Kill a job after some time; whether it was still at work."""
    child = in_child(lambda: collect(folder))
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_at_random_moments(tmp_path: Path, undisturbed: dict[str, bytes], kills: int) -> None:
    generator = np.random.default_rng(kills)
    start = time.perf_counter()
    collect(tmp_path)
    duration = time.perf_counter() - start
    at_work = 0
    for _ in range(kills):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        at_work += run_and_kill(tmp_path, generator.uniform(0, duration))
        check_and_resume(tmp_path, undisturbed)
    assert at_work > kills / 2


def killed_at(call: Callable[..., Any], allowed: int) -> Callable[..., Any]:
    """The call, which kills its process instead when it is made once more than allowed."""
    calls = 0

    def counted(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > allowed:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **keywords)

    return counted


def collect_until(folder: Path, name: str, allowed: int) -> bool:
    """Run a job that is killed at a system call of this name; whether it came to that."""

    def work() -> None:
        module: Any = Path if name == "replace" else os
        setattr(module, name, killed_at(getattr(module, name), allowed))
        collect(folder)

    return os.WIFSIGNALED(os.waitpid(in_child(work), 0)[1])


@pytest.mark.parametrize("call", SYSTEM_CALLS)
def test_a_kill_at_every_call(tmp_path: Path, undisturbed: dict[str, bytes], call: str) -> None:
    for allowed in range(10_000):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        killed = collect_until(tmp_path, call, allowed)
        check_and_resume(tmp_path, undisturbed)
        if not killed:
            break
    assert allowed >= len(SHARDS)


def traced(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys; from pathlib import Path; from tests.archive.test_kills import collect; "
        "collect(Path(sys.argv[1]))"
    )
    return subprocess.run(
        ["strace", "-f", *options, sys.executable, "-c", program, str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("call", ["pwrite64", "fallocate", "truncate", "fsync", "rename", "unlink"])
def test_a_kill_at_every_system_call(
    tmp_path: Path, undisturbed: dict[str, bytes], call: str
) -> None:
    counted = traced(tmp_path, "-e", f"trace={call}")
    calls = len(re.findall(rf"{call}\(", counted.stderr))
    assert calls >= len(SHARDS)
    for number in range(1, calls + 1):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        result = traced(tmp_path, "-e", f"inject={call}:signal=SIGKILL:when={number}")
        assert result.returncode != 0
        check_and_resume(tmp_path, undisturbed)
