"""The seal at the end of an archive file: proof that its structure is as it was written.

Fletcher-32 checks the chunks of the large datasets (the payload) whenever they are read. All other
bytes, HDF5's own structures, attributes, coordinates and per-trial scalars, are under no checksum
in HDF5, so a changed byte there may give wrong numbers or crash the library. The seal holds their
SHA-256 behind the end of the HDF5 data, where HDF5 ignores it, and is checked before HDF5 sees
the file.
"""

import hashlib
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py

from gradatlas.archive.errors import ArchiveError
from gradatlas.archive.layout import CHECKSUMS, FORMAT, FORMAT_VERSION
from gradatlas.errors import reworded

MAGIC = b"\x89GRADATLAS SEAL\n"
SEAL_VERSION = 1
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_FOOTER = struct.Struct("<QII32s16s")  # size of the HDF5 data, version, extents, digest, magic
_EXTENT = struct.Struct("<QQ")  # offset, length
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Extent:
    """Consecutive bytes of a file."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """Offset of the first byte behind."""
        return self.offset + self.length


def payload_extents(hdf5: h5py.File) -> list[Extent]:
    """Where the chunks of the checksummed datasets lie, neighbours joined, in file order."""
    names: list[str] = []
    hdf5.visit(names.append)
    chunks: list[Extent] = []
    for name in names:
        if name.rpartition("/")[2] in CHECKSUMS and hdf5[name].chunks:
            hdf5[name].id.chunk_iter(lambda c: chunks.append(Extent(c.byte_offset, c.size)))
    return _join(sorted(chunks, key=lambda chunk: chunk.offset))


def _join(extents: Sequence[Extent]) -> list[Extent]:
    joined: list[Extent] = []
    for extent in extents:
        if joined and joined[-1].end == extent.offset:
            joined[-1] = Extent(joined[-1].offset, joined[-1].length + extent.length)
        else:
            joined.append(extent)
    return joined


def seal_file(descriptor: int, payload: Sequence[Extent]) -> None:
    """Append the seal to a finished HDF5 file."""
    size = os.fstat(descriptor).st_size
    table = b"".join(_EXTENT.pack(extent.offset, extent.length) for extent in payload)
    digest = _structure_digest(descriptor, size, payload, table)
    footer = _FOOTER.pack(size, SEAL_VERSION, len(payload), digest, MAGIC)
    _write_all(descriptor, table + footer, size)


def check_seal(path: Path) -> str:
    """Check that a file's structure is as it was written.

    Args:
        path: An archive file.

    Returns:
        SHA-256 of the structure, which identifies the content: it covers a checksum per trial.

    Raises:
        OSError: If the file is missing, a directory or unreadable.
        ArchiveError: If it is no archive file, truncated, altered or of a newer format.
    """
    descriptor = _open_readable(path)
    try:
        return _check_descriptor(descriptor, path)
    finally:
        os.close(descriptor)


def _open_readable(path: Path) -> int:
    kinds = "a shard, an atlas or an export"
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(f"{path} is a directory, expected {kinds}")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for a writer
            raise ArchiveError(f"{path} is not a regular file, expected {kinds}")
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        if error.errno is None:
            raise
        reason = f"{path} cannot be opened ({error.strerror}), expected {kinds}; check the path"
        raise reworded(error, reason) from error


def _check_descriptor(descriptor: int, path: Path) -> str:
    if os.pread(descriptor, len(HDF5_MAGIC), 0) != HDF5_MAGIC:
        raise ArchiveError(
            f"{path} is not an HDF5 file; expected a shard, an atlas or an export of Gradient Atlas"
        )
    file_size = os.fstat(descriptor).st_size
    footer = os.pread(descriptor, _FOOTER.size, max(0, file_size - _FOOTER.size))
    if len(footer) < _FOOTER.size or not footer.endswith(MAGIC):
        check_version(path, _stored_version(path))
        raise ArchiveError(
            f"{path} has no seal at its end: it is truncated, was altered after it was written, or "
            "is no file of Gradient Atlas; restore it from a copy or make it again"
        )
    size, version, count, digest, _ = _FOOTER.unpack(footer)
    if version != SEAL_VERSION:
        raise ArchiveError(
            f"{path} has a seal of version {version}, expected {SEAL_VERSION}: it was written by a "
            "newer version of Gradient Atlas, or is damaged; update the package"
        )
    if size + count * _EXTENT.size + _FOOTER.size == file_size:
        table = os.pread(descriptor, count * _EXTENT.size, size)
        payload = [Extent(*pair) for pair in _EXTENT.iter_unpack(table)]
        if _structure_digest(descriptor, size, payload, table) == digest:
            return str(digest.hex())
    raise ArchiveError(
        f"{path} is damaged: its structure is not as it was written; restore it from a copy or "
        "make it again"
    )


def check_version(path: Path, version: int | None) -> None:
    """Refuse a file of a newer format version.

    Raises:
        ArchiveError: If the version is newer than this package knows.
    """
    if version is not None and version > FORMAT_VERSION:
        raise ArchiveError(
            f"{path} has format version {version}, expected at most {FORMAT_VERSION}; update "
            "Gradient Atlas to read it"
        )


def _stored_version(path: Path) -> int | None:
    """Format version of a file that has no seal of ours, as far as HDF5 can tell."""
    # What HDF5 and h5py raise for a damaged or foreign file is not limited to OSError.
    damaged = (OSError, RuntimeError, KeyError, ValueError, TypeError)
    with suppress(*damaged), h5py.File(path, "r") as file:
        if file.attrs.get("format") == FORMAT:
            return int(file.attrs["format_version"])
    return None


def _structure_digest(descriptor: int, size: int, payload: Sequence[Extent], table: bytes) -> bytes:
    digest = hashlib.sha256(struct.pack("<Q", size) + table)
    for extent in _between(payload, size):
        for block in _read_blocks(descriptor, extent):
            digest.update(block)
    return digest.digest()


def _between(payload: Sequence[Extent], size: int) -> Iterator[Extent]:
    """What a file holds besides its payload."""
    position = 0
    for extent in payload:
        yield Extent(position, extent.offset - position)
        position = extent.end
    yield Extent(position, size - position)


def _read_blocks(descriptor: int, extent: Extent) -> Iterator[bytes]:
    position = extent.offset
    while position < extent.end:
        block = os.pread(descriptor, min(_BLOCK_BYTES, extent.end - position), position)
        if not block:
            return
        yield block
        position += len(block)


def _write_all(descriptor: int, content: bytes, position: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, position)
        content = content[written:]
        position += written
