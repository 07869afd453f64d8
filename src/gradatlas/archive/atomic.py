"""Write an HDF5 file whole or not at all.

HDF5 itself never learns that a write failed, as it then leaves unreadable files behind and may
crash at exit; the failure is kept and raised once HDF5 is done.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py

from gradatlas.archive.errors import ArchiveError
from gradatlas.archive.seal import payload_extents, seal_file
from gradatlas.replacing import failures_named, replacing, write_failure

_EARLY_FLUSH_BYTES = 8 << 20


class _EarlyFlush:
    """Has the disk write what is there while more is computed, so that the last flush is short."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._thread = ThreadPoolExecutor(1)
        self._waiting = 0
        self._flush: Future[None] | None = None

    def add(self, count: int) -> None:
        """Count bytes that were written.

        Raises:
            OSError: If an earlier flush failed; the kernel says so only once.
        """
        self._waiting += count
        if self._waiting >= _EARLY_FLUSH_BYTES and (self._flush is None or self._flush.done()):
            self.wait()
            self._waiting = 0
            self._flush = self._thread.submit(os.fdatasync, self._descriptor)

    def wait(self) -> None:
        """Wait for the flush under way, before the file is closed, say.

        Raises:
            OSError: If it failed.
        """
        if self._flush is not None:
            self._flush.result()


class _Target:
    """The file object under HDF5; keeps the first failure and from then on drops all writes."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        self._position = 0
        self._early_flush = _EarlyFlush(descriptor)
        self._failure: OSError | None = None

    def check(self) -> None:
        """Raise the first failure, naming the final path."""
        if self._failure is not None:
            raise write_failure(self._failure, self._path) from self._failure

    def finish(self) -> None:
        """Wait until the descriptor is no longer in use, then check."""
        try:
            self._early_flush.wait()
        except OSError as error:
            self._failure = self._failure or error
        self.check()

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
        while written < len(buffer) and self._failure is None:
            try:
                count = os.pwrite(self._descriptor, buffer[written:], self._position + written)
                self._early_flush.add(count)
                written += count
            except OSError as error:
                self._failure = error
        return len(buffer)

    def truncate(self, size: int) -> int:
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            self._failure = self._failure or error
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
        self._target.check()


def refuse_input(target: Path, inputs: Iterable[Path]) -> None:
    """Refuse to replace a file that the new one is made from.

    Raises:
        ArchiveError: Names the target.
    """
    for path in inputs:
        if target.exists() and path.exists() and target.samefile(path):
            raise ArchiveError(
                f"{target} is one of the files to be read; choose another name to write to"
            )


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
    with replacing(path) as descriptor:
        target = _Target(descriptor, path)
        try:
            with h5py.File(target, "w", rdcc_nbytes=0) as hdf5:
                yield NewFile(hdf5, path, target)
                hdf5.flush()
                payload = payload_extents(hdf5)
        finally:
            target.finish()  # a failed write is the cause of what HDF5 stumbled over
        with failures_named(path):
            seal_file(descriptor, payload)
