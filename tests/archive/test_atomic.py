"""A file is written whole or not at all, whatever the operating system says."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradatlas import archive
from tests.archive.examples import write_atlas, write_shard

TEST_FOLDER = Path(__file__).parents[2]


class Failing:
    """Stands for a system call that fails from its n-th call on."""

    def __init__(self, call: Callable[..., Any], allowed: int) -> None:
        self._call = call
        self._allowed = allowed
        self.calls = 0

    def __call__(self, *arguments: Any) -> Any:
        """Make the call, or fail."""
        self.calls += 1
        if self.calls > self._allowed:
            raise OSError(28, "No space left on device")
        return self._call(*arguments)


def test_a_disk_that_is_full_at_any_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shard.h5"
    counting = Failing(os.pwrite, 10**9)
    monkeypatch.setattr(os, "pwrite", counting)
    write_shard(path)
    path.unlink()
    assert counting.calls > 10
    for allowed in range(counting.calls):
        monkeypatch.setattr(os, "pwrite", Failing(counting, allowed))
        with pytest.raises(OSError, match=r"shard\.h5 could not be written \(No space left"):
            write_shard(path)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "ftruncate", "fdatasync"])
def test_a_disk_that_fails_to_keep_what_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(os, call, Failing(getattr(os, call), 0))
    with pytest.raises(OSError, match=r"shard\.h5 could not be written"):
        write_shard(tmp_path / "shard.h5", 0, 449, shape=(10, 1024))  # 18 MB: flushed early too
    assert list(tmp_path.iterdir()) == []


def test_writes_may_be_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shard(tmp_path / "whole.h5")
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: write(fd, data[:100], offset))
    write_shard(tmp_path / "pieces.h5")
    assert (tmp_path / "pieces.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.parametrize("limit", [100, 3000, 40_000, 1_000_000])
def test_file_size_limit_ends_in_a_sentence(tmp_path: Path, limit: int) -> None:
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from tests.archive.examples import write_shard\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n"
        "    write_shard(Path(sys.argv[1]), 0, 99, shape=(10, 1024))\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "shard.h5")],
        cwd=TEST_FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(
        f"{tmp_path / 'shard.h5'} could not be written (File too large)"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    stale = tmp_path / ".shard.h5.0123456789abcdef.partial"
    stale.write_bytes(b"half a shard")
    other = tmp_path / ".other.h5.0123456789abcdef.partial"
    other.write_bytes(b"half of another shard")
    write_shard(tmp_path / "shard.h5")
    assert set(tmp_path.iterdir()) == {tmp_path / "shard.h5", other}


def test_what_another_writer_is_writing_stays(tmp_path: Path) -> None:
    living = tmp_path / ".shard.h5.0123456789abcdef.partial"
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_shard(tmp_path / "shard.h5")
        assert living.exists()


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", Failing(fcntl.flock, 0))
    stale = tmp_path / ".shard.h5.0123456789abcdef.partial"
    stale.write_bytes(b"half a shard")
    write_shard(tmp_path / "shard.h5")
    assert archive.verify(tmp_path / "shard.h5") == []
    assert stale.exists()  # its writer may be alive


def test_two_writers_of_one_shard(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.archive.examples import write_shard\n"
        "for _ in range(20):\n"
        "    write_shard(Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "shard.h5")]
    writers = [subprocess.Popen(command, cwd=TEST_FOLDER) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    write_shard(tmp_path / "undisturbed.h5")
    assert (tmp_path / "shard.h5").read_bytes() == (tmp_path / "undisturbed.h5").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        write_shard(tmp_path / "shard.h5")
    finally:
        os.umask(previous)
    assert (tmp_path / "shard.h5").stat().st_mode & 0o777 == 0o640


def test_a_directory_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a directory, expected the name of a file"):
        write_shard(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    atlas = write_atlas(tmp_path)
    target = tmp_path / "nowhere" / "export.h5"
    with pytest.raises(FileNotFoundError, match=r"export\.h5 could not be written"):
        archive.export(atlas, target)
