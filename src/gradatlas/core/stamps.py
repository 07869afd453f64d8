"""Stamps say what tables and figures were made from, by content: whether they are current.

A stamp is a JSON file beside the results of a job: what the job depends on besides files (its code
and settings), and every file that it read and wrote with size and SHA-256. It holds as long as all
of that is as it was, whatever the files' times and wherever the folder lies.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gradatlas.core.files import file_digest, mapping_digest, replace_file, stored_digest


@dataclass(frozen=True)
class Stamp:
    """What a job depended on, and the files that it read and wrote as relative paths."""

    facts: str  # digest of code and settings
    read: Mapping[str, str]
    written: Mapping[str, str]


def digest_of(*facts: Any) -> str:  # noqa: ANN401 - whatever JSON holds
    """Digest of what a job depends on besides the content of files.

    Example:
        >>> digest_of("code", ["a.h5"]) == digest_of("code", ("a.h5",))
        True
    """
    return mapping_digest({"facts": facts})


def write_stamp(path: Path, facts: str, read: Iterable[str], written: Iterable[str]) -> None:
    """Write the stamp of a job that has ended well.

    Args:
        path: File to write.
        facts: See ``digest_of``.
        read: Files that the job read; those outside the results do not count.
        written: Files that it wrote.

    Raises:
        OSError: A file cannot be read, or the stamp not written.
    """
    content = {
        "facts": facts,
        **{
            name: {file: content_of(file) for file in sorted(files) if _is_result(file, path)}
            for name, files in (("read", read), ("written", written))
        },
    }
    replace_file(path, (json.dumps(content, indent=1) + "\n").encode())


def read_stamp(path: Path) -> Stamp | None:
    """A stamp, or None where there is none that can be read."""
    try:
        return Stamp(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def current_files(expected: Mapping[str, str], there: Collection[str]) -> set[str]:
    """What jobs have written that would not write anything else today.

    A job's files are current if the job would be the same, all that it read and wrote is as it was,
    and what it read of other jobs is current too.

    Args:
        expected: By the path of each stamp, what the job depends on now, see ``digest_of``.
        there: Files of jobs without stamps that need not be made.

    Returns:
        The jobs' files, stamps included.
    """
    content = cache(content_of)  # of a file that many jobs read
    stamps = {
        path: stamp
        for path, facts in expected.items()
        if (stamp := read_stamp(Path(path))) and stamp.facts == facts
        if not any(_altered(stamp, content))
    }
    while True:
        found = {file for path, stamp in stamps.items() for file in (path, *stamp.written)}
        settled = found.union(there)
        outdated = [path for path, stamp in stamps.items() if not settled.issuperset(stamp.read)]
        if not outdated:
            return found
        for path in outdated:
            del stamps[path]


def altered_files(stamps: Iterable[str]) -> set[str]:
    """Files that are not as a job read or wrote them: results of several runs, or altered by hand.

    Args:
        stamps: Paths of stamps; one that is not there says nothing.
    """
    content = cache(content_of)
    found = filter(None, (read_stamp(Path(path)) for path in stamps))
    return {file for stamp in found for file in _altered(stamp, content)}


def _altered(stamp: Stamp, content: Callable[[str], str]) -> Iterator[str]:
    """Files that are gone or other than when the job read or wrote them."""
    for file, expected in {**stamp.read, **stamp.written}.items():
        try:
            is_same = content(file) == expected
        except OSError:
            is_same = False
        if not is_same:
            yield file


def _is_result(file: str, stamp: Path) -> bool:
    """Whether a file lies in the folder of the results, and is not the stamp itself."""
    return Path(file).parts[0] == stamp.parts[0] and Path(file) != stamp


def content_of(file: str) -> str:
    """Size and SHA-256 of a file, for a large one as the digest beside it says.

    Raises:
        OSError: It is missing or unreadable.
    """
    path = Path(file)
    return f"{path.stat().st_size} {stored_digest(path) or file_digest(path)}"
