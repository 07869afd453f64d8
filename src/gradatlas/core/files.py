"""Files that are whole or not there, and the digests beside them.

New content goes to a file of its own in the target's folder, is flushed to disk and then renamed:
what stands under the final name is complete at any moment, also after a crash. A file that is
costly to make has its SHA-256 in ``NAME.sha256`` beside it, as ``sha256sum --check`` reads it.
"""

import errno
import glob
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from gradatlas.core.errors import InputError, reworded

PARTIAL_SUFFIX = ".partial"
DIGEST_SUFFIX = ".sha256"
STALE_SECONDS = 24 * 3600  # a living writer changes its file far more often


def mapping_digest(facts: Mapping[str, object]) -> str:
    """SHA-256 of a mapping's canonical JSON, the same for any order of its keys.

    Args:
        facts: Texts, numbers, None, and lists and mappings of them.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: A number is NaN or infinite.
        TypeError: A value has no place in JSON.

    Example:
        >>> mapping_digest({"seed": 0, "epoch": 2}) == mapping_digest({"epoch": 2, "seed": 0})
        True
        >>> mapping_digest({"seed": 0}) == mapping_digest({"seed": 0.0})  # 0 is not 0.0 in JSON
        False
    """
    # One text for equal facts: sorted keys, no spaces; NaN, which equals nothing, has no digest.
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits; the file is read in pieces.

    Raises:
        OSError: The file is missing or unreadable.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     written, _ = file.write(b"abc"), file.flush()
        ...     file_digest(Path(file.name))[:16]  # as sha256sum prints
        'ba7816bf8f01cfea'
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_path(path: Path) -> Path:
    """Where the digest of a file stands.

    Example:
        >>> digest_path(Path("results/gradients.h5")).as_posix()
        'results/gradients.h5.sha256'
    """
    return path.with_name(path.name + DIGEST_SUFFIX)


def stored_digest(path: Path) -> str | None:
    """SHA-256 that the digest beside a file says, without reading the file; None without one.

    Of a link it may also lie beside what the link leads to.
    """
    for place in (digest_path(path), digest_path(path.resolve())):
        with suppress(FileNotFoundError):
            # A digest with a flipped bit need not be text any more: it is then no digest of the
            # file.
            return place.read_text(errors="replace").partition(" ")[0]
    return None


def check_digest(path: Path, *, required: bool = True) -> str | None:
    """Compare a file with the digest beside it.

    Args:
        path: The file.
        required: Whether a file without a digest is refused.

    Returns:
        The file's SHA-256; None if there is no digest to compare it with.

    Raises:
        InputError: The two differ, or there is no digest and one is required.
        OSError: The file is missing or unreadable.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "table.csv")
        ...     replace_file(path, b"1,2", with_digest=True)
        ...     sound = check_digest(path) == file_digest(path)
        ...     written = path.write_bytes(b"1,3")
        ...     sound, stored_digest(path) == file_digest(path)  # so that check_digest would raise
        (True, False)
    """
    expected = stored_digest(path)
    if expected is None:
        if required:
            raise InputError(
                f"{digest_path(path)} is missing, so {path} cannot be checked; make both again"
            )
        return None
    found = file_digest(path)
    if found != expected:
        raise InputError(
            f"{path} is damaged or was altered: its SHA-256 is {found}, but {digest_path(path)} "
            f"says {expected!r}; restore the file from a copy or make it again"
        )
    return found


def has_digest(path: Path) -> bool:
    """Whether there is a digest beside a file, of the length that one has."""
    try:
        return digest_path(path).stat().st_size == len(f"{'0' * 64}  {path.name}\n".encode())
    except OSError:
        return False


def seal(path: Path) -> None:
    """Write the digest of a file that has none beside it.

    Raises:
        OSError: The file cannot be read, or the digest not written.
    """
    replace_file(digest_path(path), f"{file_digest(path)}  {path.name}\n".encode())


def replace_file(path: Path, content: bytes, *, with_digest: bool = False) -> None:
    """Write a file that appears under its name once all of it is on disk.

    For content that is made in memory; ``replacing`` is for files that are written piece by piece.

    Args:
        path: Final name; an existing file is replaced, missing folders are made.
        content: The whole file.
        with_digest: Whether to write its digest beside it.

    Raises:
        OSError: If the file cannot be written; the message names it and the reason.
    """
    with replacing(path, with_digest=with_digest) as partial, failures_named(path):
        partial.write_bytes(content)


@contextmanager
def replacing(path: Path, *, with_digest: bool = False) -> Iterator[Path]:
    """A new file beside ``path`` that takes its place if the block ends normally.

    Args:
        path: Final name; an existing file is replaced, missing folders are made.
        with_digest: Whether to write its digest beside it.

    Yields:
        The name under which to write, of an empty file.

    Raises:
        OSError: If the file cannot be written; the message names it and the reason.

    Example:
        A writer that fails on the way leaves the old file, and nothing else:

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "table.csv")
        ...     replace_file(path, b"old")
        ...     with suppress(RuntimeError), replacing(path) as partial:
        ...         written = partial.write_bytes(b"half of the new")
        ...         raise RuntimeError
        ...     path.read_bytes(), len(list(path.parent.iterdir()))
        (b'old', 1)
    """
    with failures_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_directory, is_other = path.is_dir(), path.exists() and not path.is_file()
    if is_directory:
        raise IsADirectoryError(f"{path} is a directory, expected the name of a file to write")
    if is_other:
        raise FileExistsError(f"{path} is a device or a pipe, expected the name of a file to write")
    _discard_stale(path)
    # In the same folder, as a file is renamed in one step only within a file system. Random, as
    # processes of two machines that share a disk may have the same number.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL_SUFFIX}")
    with failures_named(path):
        # Refused if it exists: no other writer's file is taken over. Permissions follow the umask,
        # as those of any new file.
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        yield partial
        # The digest is written before the file has its name, so that a full disk keeps neither.
        digest = replacing(digest_path(path)) if with_digest else nullcontext()
        with digest as beside, failures_named(path):
            if beside is not None:
                # Has the disk begin to write, which takes as long as the digest.
                with unsupported_ignored():
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                beside.write_text(f"{file_digest(partial)}  {path.name}\n")
            # Content first, then the name, then the folder that holds the name: a crash in between
            # leaves the old file, never a part of the new one.
            _flush(descriptor)
            partial.replace(path)
    finally:
        # Gone already where it has taken its name.
        partial.unlink(missing_ok=True)
        os.close(descriptor)
    _flush_folder(path)


def _discard_stale(path: Path) -> None:
    """Delete what a writer of ``path`` that was killed left behind, known by its age."""
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL_SUFFIX}"):
        with suppress(OSError):  # already gone, or not ours to delete: harmless
            if time.time() - partial.stat().st_mtime > STALE_SECONDS:
                partial.unlink()


# What a call says that a file system, or the kernel, does not have.
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def unsupported_ignored() -> Iterator[None]:
    """Go on where a file system lacks a call that only hastens or secures what is done."""
    try:
        yield
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def _flush(descriptor: int) -> None:
    with unsupported_ignored():
        os.fsync(descriptor)


def _flush_folder(path: Path) -> None:
    """Flush the folder of a file that has just got its name: the name is on disk only then.

    Raises:
        OSError: The disk failed; the file is there all the same, and the message says so.
    """
    try:
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            _flush(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise reworded(
            error,
            f"{path} was written, but its folder could not be flushed to the disk "
            f"({error.strerror}); the file may be gone after a power failure",
        ) from error


@contextmanager
def failures_named(path: Path) -> Iterator[None]:
    """Turn an operating system's error into a sentence that names the file to be written."""
    try:
        yield
    except OSError as error:
        # HDF5's own errors have a text and no strerror.
        reason = error.strerror or str(error)
        sentence = f"{path} could not be written ({reason}); nothing was kept"
        raise reworded(error, sentence) from error
