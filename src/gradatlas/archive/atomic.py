"""Write an HDF5 file whole or not at all.

A file is written under a name of its own in the target's folder, flushed to disk and renamed:
what stands under the final name is complete. HDF5 itself never learns that a write failed, as it
then leaves unreadable files behind and may crash at exit; the failure is kept and raised once
HDF5 is done.
"""

import fcntl
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import h5py

from gradatlas.archive.errors import reworded
from gradatlas.archive.seal import payload_extents, seal_file

PARTIAL_SUFFIX = ".partial"


class _Target:
    """The file object under HDF5; keeps the first failure and from then on drops all writes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0
        self.failure: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = os.fstat(self._descriptor).st_size if whence == os.SEEK_END else 0
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        return os.pread(self._descriptor, size, self._position)

    def readinto(self, buffer: memoryview) -> int:
        return os.preadv(self._descriptor, [buffer], self._position)

    def write(self, buffer: memoryview) -> int:
        written = 0
        while written < len(buffer) and self.failure is None:
            try:
                written += os.pwrite(self._descriptor, buffer[written:], self._position + written)
            except OSError as error:
                self.failure = error
        return len(buffer)

    def truncate(self, size: int) -> int:
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            self.failure = self.failure or error
        return size

    def flush(self) -> None:
        """Nothing is buffered here."""


@dataclass(frozen=True)
class NewFile:
    """An HDF5 file that is being written, and the name it will have."""

    hdf5: h5py.File
    path: Path
    _target: _Target

    def check(self) -> None:
        """Raise the first failed write, so that a long job need not go on in vain.

        Raises:
            OSError: Disk full, file size limit, or whatever else the operating system said.
        """
        if self._target.failure is not None:
            raise _sentence(self._target.failure, self.path) from self._target.failure


@contextmanager
def create_file(path: Path) -> Iterator[NewFile]:
    """Write an HDF5 file that appears under its name once it is complete, sealed and on disk.

    On an exception, inside the block or from the operating system, nothing is left behind and a
    file that was there before stays as it was.

    Args:
        path: Final name of the file; an existing file is replaced.

    Raises:
        OSError: If the file cannot be written; the message names it and the reason.
    """
    with _replacing(path) as descriptor:
        target = _Target(descriptor)
        with h5py.File(target, "w", rdcc_nbytes=0) as hdf5:
            new = NewFile(hdf5, path, target)
            yield new
            hdf5.flush()
            payload = payload_extents(hdf5)
        new.check()
        with _failures_named(path):
            seal_file(descriptor, payload)


@contextmanager
def _replacing(path: Path) -> Iterator[int]:
    """Descriptor of a new file that takes the place of ``path`` if the block ends normally."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, expected the name of a file to write")
    _discard_stale(path)
    partial, descriptor = _open_partial(path)
    try:
        yield descriptor
        with _failures_named(path):
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
        with _failures_named(path):
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if _lock(descriptor) and partial.exists():
            return partial, descriptor
        os.close(descriptor)  # taken for stale and discarded between creation and lock


def _discard_stale(path: Path) -> None:
    """Delete what writers of ``path`` that were killed left behind; a living one holds a lock."""
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL_SUFFIX}"):
        with suppress(OSError):  # already gone, or not ours to delete: harmless
            descriptor = os.open(partial, os.O_RDWR)
            if _lock(descriptor):
                partial.unlink(missing_ok=True)
            os.close(descriptor)


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
def _failures_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _sentence(error, path) from error


def _sentence(error: OSError, path: Path) -> OSError:
    reason = error.strerror or str(error)
    return reworded(error, f"{path} could not be written ({reason}); nothing was kept")
