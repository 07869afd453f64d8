"""Whether anything costly that was once complete is ever gone or different."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py

from gradatlas.core.files import DIGEST_SUFFIX, digest_path, file_digest, stored_digest
from gradatlas.train.checkpoint import is_whole

FOLDERS = ("checkpoints", "gradients")
State = tuple[int, int, int]


@dataclass(frozen=True)
class _Seen:
    """A complete file as it was when last read."""

    sha256: str
    state: State


class Watch:
    r"""Remembers every complete checkpoint, shard and digest below a results folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     digest = Path(folder, "gradients", "trials0-1.h5.sha256")
        ...     digest.parent.mkdir()
        ...     written = digest.write_text("of no file\n")
        ...     watch = Watch(Path(folder))
        ...     watch.look()
        ...     watch.files, watch.removed  # a digest counts beside its file alone
        (0, [])
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        self._known: dict[Path, _Seen] = {}
        self.removed: list[str] = []  # what was gone or different, in words
        self.looks = 0

    @property
    def files(self) -> int:
        """Number of files that are known to be complete."""
        return len(self._known)

    def look(self) -> None:
        """Compare what is known with what is there, and get to know what is new."""
        self.looks += 1
        for path, seen in [*self._known.items()]:
            found = _seen(path, seen)
            if found is not None and found.sha256 == seen.sha256:
                self._known[path] = found
            else:
                self.removed.append(f"{path} {'is gone' if found is None else 'is different'}")
                del self._known[path]
        for path in _costly(self._results):
            if path not in self._known:
                with suppress(OSError):  # just renamed
                    self._learn(path)

    def forget(self, paths: Iterable[Path]) -> None:
        """Files that the one who looks has changed or removed, and digests of those."""
        for path in paths:
            self._known.pop(path, None)
            self._known.pop(digest_path(path), None)

    def move(self, results: Path) -> None:
        """The one who looks has moved the folder with all that is in it."""
        self._known = {
            results / path.relative_to(self._results): seen for path, seen in self._known.items()
        }
        self._results = results

    def _learn(self, path: Path) -> None:
        seen = _seen(path)
        if seen is not None and _is_complete(path, seen.sha256):
            self._known[path] = seen


def _costly(results: Path) -> Iterator[Path]:
    for folder in FOLDERS:
        for parent, _, names in os.walk(results / folder):
            for name in names:
                if name.removesuffix(DIGEST_SUFFIX).endswith((".h5", ".safetensors")):
                    yield Path(parent, name)


def _seen(path: Path, before: _Seen | None = None) -> _Seen | None:
    """A file as it is now, read only where its state has changed; None if it is gone."""
    try:
        status = path.stat()
        state = (status.st_ino, status.st_size, status.st_mtime_ns)
        if before is not None and before.state == state:
            return before
        return _Seen(file_digest(path), state)
    except FileNotFoundError:
        return None


def _is_complete(path: Path, sha256: str) -> bool:
    """Whether a file is what its digest says or, where it has none, in full length."""
    if path.suffix == DIGEST_SUFFIX:
        file = path.with_suffix("")
        return file.exists() and stored_digest(file) == file_digest(file)
    expected = stored_digest(path)
    if expected is not None:
        return expected == sha256
    return is_whole(path) if path.suffix == ".safetensors" else _opens(path)


def _opens(path: Path) -> bool:
    try:
        with h5py.File(path, locking=False):
            return True
    except OSError:  # truncated
        return False
