"""Loops that numba compiles, kept on disk for the next process."""

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

Function = TypeVar("Function", bound=Callable[..., Any])

_DIGEST_BYTES = 32


def compiled(**options: Any) -> Callable[[Function], Function]:  # noqa: ANN401 - numba's
    """Decorate a function to be compiled, once for all processes where that can be stored.

    Numba refuses to store anything where neither the package's folder nor the user's own is
    writable, as in many containers; then every process compiles for itself.

    Args:
        options: Those of ``numba.njit``.
    """

    def decorate(function: Function) -> Function:
        result: Any = njit(**options)(function)
        try:
            result._cache = _Cache(function)  # as numba's own ``cache=True`` does
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
        compiled_function: Function = result
        return compiled_function

    return decorate


class _Cache(FunctionCache):
    """Compiled code of one function on disk, where nothing is kept without need for it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _CheckedFiles(self._cache_path, self._impl.filename_base, stamp)

    def save_overload(self, signature: Any, data: Any) -> None:  # noqa: ANN401 - numba's
        with suppress(OSError):  # a full disk: the next process compiles again
            super().save_overload(signature, data)


class _CheckedFiles(IndexDataCacheFile):
    """Numba's files with their SHA-256 at the end: one that a power cut garbled counts as missing.

    What is behind the end of a pickle is not read.
    """

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[BinaryIO]:
        content = io.BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + hashlib.sha256(content.getvalue()).digest())

    def _load_index(self) -> dict[Any, str]:
        index: dict[Any, str] = super()._load_index() if _is_whole(self._index_path) else {}
        return index

    def _load_data(self, name: str) -> Any:  # noqa: ANN401 - numba's
        if not _is_whole(self._data_path(name)):
            raise FileNotFoundError(name)  # which numba takes for code that is not there yet
        return super()._load_data(name)


def _is_whole(path: str) -> bool:
    try:
        content = Path(path).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-_DIGEST_BYTES]).digest() == content[-_DIGEST_BYTES:]
