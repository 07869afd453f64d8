"""A file is replaced whole or not at all, and its digest beside it tells whether it was altered."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatlas.core.errors import InputError
from gradatlas.core.files import (
    check_digest,
    digest_path,
    file_digest,
    mapping_digest,
    replace_file,
    replacing,
    stored_digest,
)


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


WRITE = """
import sys
from pathlib import Path
from gradatlas.core.files import check_digest, replace_file
try:
    replace_file(Path(sys.argv[1]), b"content", with_digest=True)
except OSError as error:
    sys.exit(f"errno {error.errno}: {error}")
check_digest(Path(sys.argv[1]))
"""


def write_with_faults(path: Path, *faults: str) -> subprocess.CompletedProcess[str]:
    """Write a file with its digest while calls of the system fail, as strace injects them."""
    command = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fsync,fadvise64,renameat,rename"]
    inject = [argument for fault in faults for argument in ("-e", f"inject={fault}")]
    return subprocess.run(
        [*command, *inject, sys.executable, "-c", WRITE, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )


with_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@with_strace
@pytest.mark.parametrize("reason", ["EINVAL", "ENOSYS", "EOPNOTSUPP"])
def test_what_a_file_system_does_not_support_is_no_error(tmp_path: Path, reason: str) -> None:
    """Network and FUSE file systems that flush no folders, or know nothing of flushing at all."""
    path = tmp_path / "table.csv"
    faults = (f"fsync:error={reason}", f"fadvise64:error={reason}")
    result = write_with_faults(path, *faults)
    assert (result.returncode, result.stderr) == (0, "")
    assert names(tmp_path) == ["table.csv", "table.csv.sha256"]


@with_strace
def test_a_disk_that_fails_after_the_file_has_its_name_is_not_said_to_have_kept_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "table.csv"
    result = write_with_faults(path, "fsync:error=EIO:when=4")  # file, digest, their folder twice
    assert result.returncode == 1
    expected = f"errno 5: {path} was written, but its folder could not be flushed to the disk"
    assert result.stderr.startswith(f"{expected} (Input/output error); the file may be gone")
    assert path.read_bytes() == b"content"
    check_digest(path)


@with_strace
def test_a_disk_that_fails_before_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    result = write_with_faults(path, "fsync:error=EIO:when=1")
    assert result.returncode == 1
    assert result.stderr.strip().endswith("(Input/output error); nothing was kept")
    assert names(tmp_path) == []


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
        assert partial.exists()  # nobody can tell yet
        os.utime(partial, (0, 0))
        replace_file(path, b"a day later")

    assert path.read_bytes() == b"a day later"
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


def sha256sum_check(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sha256sum", "--check", name], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_digest_beside_a_file_is_what_sha256sum_reads(tmp_path: Path) -> None:
    path = tmp_path / "a shard.h5"
    replace_file(path, b"content", with_digest=True)

    assert names(tmp_path) == ["a shard.h5", "a shard.h5.sha256"]
    assert digest_path(path).name == "a shard.h5.sha256"
    assert sha256sum_check(tmp_path, "a shard.h5.sha256").stdout == "a shard.h5: OK\n"
    path.write_bytes(b"kontent")
    assert sha256sum_check(tmp_path, "a shard.h5.sha256").returncode != 0


def test_the_digest_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    for content in (b"first", b"second"):
        replace_file(path, content, with_digest=True)

        assert check_digest(path) == hashlib.sha256(content).hexdigest()


def test_a_block_that_fails_leaves_file_and_digest_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    replace_file(path, b"first", with_digest=True)

    def write_half() -> None:
        with replacing(path, with_digest=True) as partial:
            partial.write_bytes(b"half of the sec")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()

    assert check_digest(path) == file_digest(path)
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["shard.h5", "shard.h5.sha256"]


def test_a_file_whose_digest_cannot_be_written_is_not_kept_either(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    digest_path(path).mkdir()

    with pytest.raises(IsADirectoryError, match=r"^\S+/shard\.h5\.sha256 is a directory"):
        replace_file(path, b"content", with_digest=True)

    assert names(tmp_path) == ["shard.h5.sha256"]


def test_a_digest_need_not_be_there_if_none_is_required(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    replace_file(path, b"content")
    assert check_digest(path, required=False) is None
    assert stored_digest(path) is None

    replace_file(path, b"content", with_digest=True)
    assert check_digest(path, required=False) == stored_digest(path) == file_digest(path)


def test_a_file_without_its_digest_says_which_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    path.write_bytes(b"content")

    with pytest.raises(InputError) as error:
        check_digest(path)

    sentence = f"{path}.sha256 is missing, so {path} cannot be checked; make both again"
    assert str(error.value) == sentence


@pytest.mark.parametrize("beside", [b"0" * 64 + b"  shard.h5\n", b"", b"\xff\x00\n"])
def test_a_file_that_is_not_what_its_digest_says_is_refused(tmp_path: Path, beside: bytes) -> None:
    path = tmp_path / "shard.h5"
    replace_file(path, b"content", with_digest=True)
    digest_path(path).write_bytes(beside)

    with pytest.raises(InputError) as error:
        check_digest(path)

    assert str(error.value).startswith(f"{path} is damaged or was altered: its SHA-256 is ")
    assert f"but {path}.sha256 says '" in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("restore the file from a copy or make it again")


def test_a_missing_file_has_no_digest_to_compare(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    replace_file(path, b"content", with_digest=True)
    path.unlink()

    with pytest.raises(FileNotFoundError):
        check_digest(path)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5))
def test_a_digest_does_not_depend_on_the_order_of_keys(facts: dict[str, object]) -> None:
    assert mapping_digest(facts) == mapping_digest(dict(reversed(facts.items())))
    assert mapping_digest(facts) == mapping_digest(json.loads(json.dumps(facts)))


def test_a_digest_depends_on_every_value() -> None:
    facts = {"seed": 0, "hidden": (1024,), "sets": None}

    digests = {mapping_digest({**facts, **change}) for change in ({}, {"seed": 1}, {"sets": 1})}

    assert len(digests) == 3


def test_a_number_that_is_none_has_no_digest() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        mapping_digest({"learning_rate": float("nan")})


def test_a_file_s_digest_is_its_sha256(tmp_path: Path) -> None:
    content = os.urandom(100_000)
    (tmp_path / "file").write_bytes(content)

    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()
