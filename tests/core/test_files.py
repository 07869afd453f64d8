"""A file is replaced whole or not at all."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradatlas.core.files import replace_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_content_appears_in_folders_that_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "table.csv"

    replace_file(path, b"first")
    replace_file(path, b"second")

    assert path.read_bytes() == b"second"
    assert names(path.parent) == ["table.csv"]


def test_an_empty_file_is_content_too(tmp_path: Path) -> None:
    replace_file(tmp_path / "empty", b"")

    assert (tmp_path / "empty").read_bytes() == b""


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", b"")
    (tmp_path / "plain").write_bytes(b"")

    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(IsADirectoryError, match="folder is a directory, expected the name of"):
        replace_file(tmp_path / "folder", b"content")


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_bytes(b"in the way")

    with pytest.raises(OSError, match=r"results/table\.csv could not be written \(File exists\)"):
        replace_file(tmp_path / "results" / "table.csv", b"content")


def test_a_file_size_limit_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    replace_file(path, b"old")

    result = limited(path, 10_000)

    assert result.stderr.strip().endswith("could not be written (File too large); nothing was kept")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["table.csv"]


def limited(path: Path, size: int) -> subprocess.CompletedProcess[str]:
    """Replace a file in a process that may write no file larger than 4096 bytes."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    program = (
        "import sys; from pathlib import Path; from gradatlas.core.files import replace_file\n"
        "try: replace_file(Path(sys.argv[1]), bytes(int(sys.argv[2])))\n"
        "except OSError as error: sys.exit(str(error))"
    )
    return subprocess.run(
        [sys.executable, "-c", program, str(path), str(size)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    program = (
        "import sys; from pathlib import Path; from gradatlas.core.files import replacing\n"
        "with replacing(Path(sys.argv[1])): print('open', flush=True); sys.stdin.read()"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        partial = next(tmp_path.glob(".table.csv.*.partial"))

        replace_file(path, b"by another writer")
        assert partial.exists()  # its writer is alive

        writer.kill()
        writer.wait()
        replace_file(path, b"after the kill")

    assert path.read_bytes() == b"after the kill"
    assert names(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.01, 0.03])
def test_a_kill_at_any_time_leaves_one_whole_content(tmp_path: Path, delay: float) -> None:
    path = tmp_path / "table.csv"
    program = (
        "import sys; from pathlib import Path; from gradatlas.core.files import replace_file\n"
        "print('ready', flush=True)\n"
        "for i in range(10**6): replace_file(Path(sys.argv[1]), b'%d,' % (i % 10) * 50_000)"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    with writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        while not path.exists():
            time.sleep(0.001)
        time.sleep(delay)
        os.kill(writer.pid, signal.SIGKILL)

    content = path.read_bytes()
    assert content == content[:2] * 50_000
