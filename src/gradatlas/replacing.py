"""Replace a file whole or not at all.

The new content goes to a file of its own in the target's folder, is flushed to disk and then
renamed: what stands under the final name is complete at any moment, also after a crash.
"""

import fcntl
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gradatlas.errors import reworded

PARTIAL_SUFFIX = ".partial"


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that appears under its name once all of it is on disk.

    Args:
        path: Final name; an existing file is replaced, missing folders are made.
        content: The whole file.

    Raises:
        OSError: If the file cannot be written; the message names it and the reason.
    """
    with failures_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as descriptor, failures_named(path):
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]


@contextmanager
def replacing(path: Path) -> Iterator[int]:
    """Descriptor of a new file that takes the place of ``path`` if the block ends normally.

    Raises:
        OSError: If the file cannot be written; the message names it and the reason.
    """
    with failures_named(path):
        is_directory, is_other = path.is_dir(), path.exists() and not path.is_file()
    if is_directory:
        raise IsADirectoryError(f"{path} is a directory, expected the name of a file to write")
    if is_other:
        raise FileExistsError(f"{path} is a device or a pipe, expected the name of a file to write")
    _discard_stale(path)
    partial, descriptor = _open_partial(path)
    try:
        yield descriptor
        with failures_named(path):
            os.fsync(descriptor)
            partial.replace(path)
            _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)
        os.close(descriptor)


def _open_partial(path: Path) -> tuple[Path, int]:
    """Create and lock a file of our own next to ``path``; the lock says that we are alive."""
    while True:
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL_SUFFIX}")
        with failures_named(path):
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            alone = _lock(descriptor)
        except OSError:  # a file system without locks, where nobody discards anything as stale
            alone = True
        if alone and partial.exists():
            return partial, descriptor
        os.close(descriptor)  # taken for stale and discarded between creation and lock


def _discard_stale(path: Path) -> None:
    """Delete what writers of ``path`` that were killed left behind; a living one holds a lock."""
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL_SUFFIX}"):
        # Already gone, not ours to delete, or on a file system without locks: harmless.
        with suppress(OSError), partial.open("r+b") as file:
            if _lock(file.fileno()):
                partial.unlink(missing_ok=True)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def failures_named(path: Path) -> Iterator[None]:
    """Turn an operating system's error into a sentence that names the file to be written."""
    try:
        yield
    except OSError as error:
        raise write_failure(error, path) from error


def write_failure(error: OSError, path: Path) -> OSError:
    """What the operating system said about a write, in one sentence with the file's name."""
    reason = error.strerror or str(error)
    return reworded(error, f"{path} could not be written ({reason}); nothing was kept")
