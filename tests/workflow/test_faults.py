"""Faults: after each the next run completes, and its results are those of an collected one."""

import itertools
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

import gradatlas
from gradatlas.core.files import digest_path
from tests.workflow.smallest import ATLAS, SHARD, descendants, finish, results, run, start


@pytest.fixture
def folder(collected: Path, tmp_path: Path) -> Path:
    """A folder in which the network is trained and nothing collected."""
    copy = Path(shutil.copytree(collected, tmp_path / "copy"))
    for path in (copy / SHARD, copy / ATLAS):
        path.unlink()
        digest_path(path).unlink()
    return copy


def partials(folder: Path) -> list[Path]:
    return [*folder.rglob("*.partial")]


def start_until_writing(folder: Path) -> subprocess.Popen[str]:
    """Start the workflow and wait until a job is writing the shard."""
    process = start(folder, SHARD, output=subprocess.DEVNULL)
    while not partials(folder):
        assert process.poll() is None, "no shard was seen while it was written"
        time.sleep(0.002)
    return process


def assert_completes(folder: Path, collected: Path, target: str = SHARD) -> None:
    """A day later, when what a killed writer left is known for that."""
    for partial in partials(folder):
        os.utime(partial, (0, 0))
    finish(folder, target)
    assert (folder / target).read_bytes() == (collected / target).read_bytes()
    assert results(folder).items() <= results(collected).items()


@pytest.mark.slow
def test_snakemake_and_job_killed(folder: Path, collected: Path) -> None:
    with start_until_writing(folder) as process:
        os.killpg(process.pid, signal.SIGKILL)
    assert not (folder / SHARD).exists()

    status, output = run(folder, SHARD)
    assert status != 0
    assert "--unlock" in output

    assert run(folder, "--unlock")[0] == 0
    assert_completes(folder, collected, ATLAS)


@pytest.mark.slow
def test_a_second_snakemake_beside_a_first_and_beside_its_orphan(
    folder: Path, collected: Path
) -> None:
    with start_until_writing(folder) as process:
        job = descendants(process.pid)[-1]
        os.kill(job, signal.SIGSTOP)
        status, output = run(folder, SHARD)
        assert status != 0
        assert "cannot be locked" in output
        process.kill()

    run(folder, "--unlock")
    assert_written_beside_the_orphan(folder)
    os.kill(job, signal.SIGCONT)
    while partials(folder):
        time.sleep(0.01)

    assert_completes(folder, collected)


def assert_written_beside_the_orphan(folder: Path) -> None:
    finish(folder, SHARD)
    assert len(partials(folder)) == 1


def test_job_killed(folder: Path, collected: Path) -> None:
    with start_until_writing(folder) as process:
        os.kill(descendants(process.pid)[-1], signal.SIGKILL)
    assert process.returncode != 0
    assert not (folder / SHARD).exists()

    assert_completes(folder, collected)


@pytest.mark.slow
def test_snakemake_asked_to_stop(folder: Path, collected: Path) -> None:
    with start_until_writing(folder) as process:
        process.send_signal(signal.SIGTERM)

    assert_completes(folder, collected)


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 128 kB under the shards."""
    disk = folder / "results" / "gradients"
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system is not permitted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_disk_full(folder: Path, small_disk: Path, collected: Path) -> None:
    status, output = run(folder, SHARD)
    assert status != 0
    assert f"error: {SHARD} could not be written (No space left on device)" in output
    assert "Traceback" not in output
    assert not (folder / SHARD).exists()
    assert partials(folder) == []

    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert_completes(folder, collected)


# All files of jobs that need nothing of each other, so that one run tries them all.
LAYERS = [
    ("gradients.h5*", "steps.csv", "statistics/sgd/epoch1/batch5.*"),
    (
        *("gradients_export.h5*", "statistics*.csv", "claims.*", "scaling.csv", "law_curves.csv"),
        *("local_exponents.csv", "norm_definitions.csv", "variance_sources.csv", "noise_scale.csv"),
    ),
    ("figures/*",),
]


@contextmanager
def full_disk(folder: Path) -> Iterator[str]:
    """Nothing is free below the results; yields what is said."""
    ballast = folder / "results" / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    yield "No space left on device"
    ballast.unlink()


@contextmanager
def file_size_limit(_: Path) -> Iterator[str]:
    """Files may hold 12 kB, enough for Snakemake's log; yields the same as ``full_disk``."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, before[1]))
    try:
        yield "File too large"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def exported(finished: Path, repository: Path, tmp_path: Path) -> Iterator[Path]:
    """A finished experiment, exported, with its results on a disk of 8 MB."""
    copy = Path(shutil.copytree(finished, tmp_path / "exported"))
    disk = copy / "results"
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system is not permitted here")
    shutil.copytree(finished / "results", disk, dirs_exist_ok=True)
    finish(copy, "results/gradients_export.h5", repository=repository)
    yield copy
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def remove(folder: Path, patterns: Iterable[str]) -> list[str]:
    """Remove files of the results; their names as targets."""
    files = [path for pattern in patterns for path in (folder / "results").glob(pattern)]
    for path in files:
        path.unlink()
    return [str(path.relative_to(folder)) for path in files]


@pytest.mark.slow
@pytest.mark.parametrize("fault", [full_disk, file_size_limit])
def test_every_stage_says_what_it_could_not_write_and_then_completes(
    fault: Callable[[Path], AbstractContextManager[str]],
    exported: Path,
    repository: Path,
    tmp_path: Path,
) -> None:
    expected = results(exported)
    kept = shutil.copytree(exported / "results", tmp_path / "kept")
    for layer in LAYERS:
        targets = remove(exported, layer)
        with fault(exported) as reason:
            status, output = run(exported, "--keep-going", *targets, repository=repository)
        assert status != 0
        assert re.search(rf"^error: \S+ could not be written \({reason}\)", output, re.MULTILINE)
        assert "Traceback" not in output
        # What one job had finished before another file of it found no room is whole, and stays.
        assert results(exported).items() <= expected.items()
        shutil.copytree(kept, exported / "results", dirs_exist_ok=True)

    remove(exported, itertools.chain(*LAYERS))
    for target in ("all", "results/gradients_export.h5"):
        finish(exported, target, repository=repository)
    assert results(exported) == expected


@pytest.fixture
def read_only(folder: Path) -> Iterator[Path]:
    """A folder of an experiment, on a file system that cannot be written."""
    mount = ["mount", "--bind", str(folder), str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system is not permitted here")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_read_only_folder_is_named(read_only: Path) -> None:
    status, output = run(read_only, SHARD)

    assert status != 0
    assert f"{read_only} is read-only; to run, copy results/ to a folder of your own" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_an_environment_in_a_folder_with_a_blank(
    folder: Path, collected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = tmp_path / "my environment"
    environment.symlink_to(sys.prefix)
    python = environment / "bin" / Path(sys.executable).name
    monkeypatch.setattr(sys, "executable", str(python))
    assert_completes(folder, collected)


def test_moved_results_are_complete_and_up_to_date_whatever_their_times(
    collected: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(collected, tmp_path / "elsewhere"))
    for days, path in enumerate(sorted((moved / "results").rglob("*"), reverse=True), start=-5):
        moment = time.time() + 86_400 * days
        os.utime(path, (moment, moment))

    found, expected = (
        gradatlas.open(folder / ATLAS).select().rows("gradient", 0, 2999)
        for folder in (moved, collected)
    )
    np.testing.assert_array_equal(found, expected)
    assert "Nothing to be done" in run(moved, ATLAS, "--dry-run")[1]


@pytest.mark.slow
def test_results_from_the_future_are_named_and_a_touch_mends_them(
    folder: Path, collected: Path
) -> None:
    """The clock was set back by a day since the network was trained."""
    for path in (folder / "results").rglob("*"):
        moment = path.stat().st_mtime + 86_400
        os.utime(path, (moment, moment))
    status, output = run(folder, SHARD)
    assert status != 0
    assert "has older modification time" in output
    assert "Traceback" not in output
    assert (folder / SHARD).read_bytes() == (collected / SHARD).read_bytes()  # whole, so it stays

    find = ["find", "results", "-newermt", "now", "-exec", "touch", "{}", "+"]
    subprocess.run(find, cwd=folder, check=True)
    assert_completes(folder, collected)
