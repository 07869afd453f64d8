"""Whatever happens on the way, results are those of a fresh run, and what was complete stays."""

import os
import signal
import subprocess
import time
from pathlib import Path

import h5py
import pytest

from tests.workflow.sequences import Sequence
from tests.workflow.smallest import ATLAS, LONG, descendants, finish, set_up, start


@pytest.mark.slow
def test_a_sequence_of_steps_ends_with_the_results_of_a_fresh_run(tmp_path: Path) -> None:
    sequence = Sequence(tmp_path, seed=0)

    assert sequence.play(5) == [], sequence.steps


def shards(folder: Path) -> list[Path]:
    return [path for path in (folder / "results" / "gradients").rglob("*.h5") if opens(path)]


def opens(path: Path) -> bool:
    """Whether a shard is as long as it says."""
    try:
        with h5py.File(path, locking=False):
            return True
    except OSError:
        return False


def kill_a_job_that_has_its_shard(folder: Path) -> tuple[Path, int]:
    """Kill it before it ends; the shard, and its number in the file system."""
    with start(folder, ATLAS, output=subprocess.DEVNULL) as process:
        while not shards(folder):
            assert process.poll() is None, "no shard was seen"
            time.sleep(0.001)
        os.kill(descendants(process.pid)[-1], signal.SIGKILL)
        [shard] = shards(folder)
        number = shard.stat().st_ino
    return shard, number


@pytest.mark.slow
def test_a_shard_that_a_killed_job_had_finished_stays(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    set_up(folder, LONG)
    shard, number = kill_a_job_that_has_its_shard(folder)
    finish(folder, ATLAS)
    assert shard.stat().st_ino == number
