"""Faults: after each the next run completes, and its results are those of an undisturbed one."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import gradatlas
from tests.workflow.smallest import descendants, run, set_up, start

# A shard that takes a moment to write, so that faults find its writer at work.
GRADIENTS = {"trials": 3000, "trials_per_job": 3000, "batch_sizes": [1]}
SHARD = "results/gradients/sgd/epoch1/batch1/trials0-2999.h5"
ATLAS = "results/gradients.h5"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the atlas; tests copy it before they change anything."""
    directory = tmp_path_factory.mktemp("undisturbed") / "experiment"
    set_up(directory, GRADIENTS)
    status, output = run(directory, ATLAS)
    assert status == 0, output
    return directory


@pytest.fixture
def folder(undisturbed: Path, tmp_path: Path) -> Path:
    """A folder in which the network is trained and nothing collected."""
    copy = Path(shutil.copytree(undisturbed, tmp_path / "copy"))
    (copy / SHARD).unlink()
    (copy / ATLAS).unlink()
    return copy


def results(folder: Path) -> dict[str, bytes]:
    """Every file of the results but logs and timings, unfinished ones included."""
    root = folder / "results"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.relative_to(root).parts[0] not in ("logs", "benchmarks")
    }


def partials(folder: Path) -> list[Path]:
    return [*folder.rglob("*.partial")]


def start_until_writing(folder: Path) -> subprocess.Popen[str]:
    """Start the workflow and wait until a job is writing the shard."""
    process = start(folder, SHARD, output=subprocess.DEVNULL)
    while not partials(folder):
        assert process.poll() is None, "no shard was seen while it was written"
        time.sleep(0.002)
    return process


def assert_completes(folder: Path, undisturbed: Path, target: str = SHARD) -> None:
    status, output = run(folder, target)
    assert status == 0, output
    assert (folder / target).read_bytes() == (undisturbed / target).read_bytes()
    assert results(folder).items() <= results(undisturbed).items()


def test_snakemake_and_job_killed(folder: Path, undisturbed: Path) -> None:
    with start_until_writing(folder) as process:
        os.killpg(process.pid, signal.SIGKILL)
    assert not (folder / SHARD).exists()

    status, output = run(folder, SHARD)
    assert status != 0
    assert "--unlock" in output

    assert run(folder, "--unlock")[0] == 0
    assert_completes(folder, undisturbed, ATLAS)


def test_a_second_snakemake_beside_a_first_and_beside_its_orphan(
    folder: Path, undisturbed: Path
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

    assert_completes(folder, undisturbed)


def assert_written_beside_the_orphan(folder: Path) -> None:
    status, output = run(folder, SHARD)
    assert status == 0, output
    assert len(partials(folder)) == 1


def test_job_killed(folder: Path, undisturbed: Path) -> None:
    with start_until_writing(folder) as process:
        os.kill(descendants(process.pid)[-1], signal.SIGKILL)
    assert process.returncode != 0
    assert not (folder / SHARD).exists()

    assert_completes(folder, undisturbed)


def test_snakemake_asked_to_stop(folder: Path, undisturbed: Path) -> None:
    with start_until_writing(folder) as process:
        process.send_signal(signal.SIGTERM)

    assert_completes(folder, undisturbed)


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 128 kB under the shards."""
    disk = folder / "results" / "gradients"
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system is not permitted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_disk_full(folder: Path, small_disk: Path, undisturbed: Path) -> None:
    status, output = run(folder, SHARD)
    assert status != 0
    assert f"error: {SHARD} could not be written (No space left on device)" in output
    assert "Traceback" not in output
    assert not (folder / SHARD).exists()
    assert partials(folder) == []

    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert_completes(folder, undisturbed)


@pytest.fixture(params=[".", "results"])
def read_only(folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder of the experiment, on a file system that cannot be written."""
    place: Path = folder / request.param
    mount = ["mount", "--bind", str(place), str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system is not permitted here")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_read_only_folder_is_named(folder: Path, read_only: Path) -> None:
    status, output = run(folder, SHARD)

    assert status != 0
    assert f"{read_only} is read-only; to run, copy results/ to a folder of your own" in output
    assert "Traceback" not in output


def test_moved_results_are_complete_and_up_to_date_whatever_their_times(
    undisturbed: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(undisturbed, tmp_path / "elsewhere"))
    for days, path in enumerate(sorted((moved / "results").rglob("*"), reverse=True), start=-5):
        moment = time.time() + 86_400 * days
        os.utime(path, (moment, moment))
    expected = gradatlas.open(undisturbed / ATLAS).select().norms()

    assert gradatlas.open(moved / ATLAS).select().norms().tolist() == expected.tolist()
    assert "Nothing to be done" in run(moved, ATLAS, "--dry-run")[1]
