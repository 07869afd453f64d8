"""Read an archive through and list everything that is wrong with it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from gradatlas.archive.errors import ArchiveError
from gradatlas.archive.layout import CHECKSUMS, SCALARS
from gradatlas.archive.reading import Archive, read_archive
from gradatlas.archive.segment import Segment
from gradatlas.archive.sources import check_source
from gradatlas.provenance import file_digest
from gradatlas.sharding import TrialRange

_MOST_BYTES = 32 << 20
_FEWEST_TRIALS = 25


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with an archive.

    Attributes:
        where: The file.
        what: One sentence that names the place and what to do.
    """

    where: Path
    what: str


def verify(path: Path, *, progress: bool = False) -> list[Finding]:
    """Read a shard, an atlas with all its shards, or an export through.

    Checked are the seal of every file, the checksums of every chunk and of every trial, and for an
    atlas that every shard is there and is the one it was built from, and that the checkpoints
    are those the shards were collected from.

    Args:
        path: The file.
        progress: Whether to draw a progress bar on standard error.

    Returns:
        What was found, nothing if the archive is sound.
    """
    path = Path(path)
    try:
        archive = read_archive(path)
    except (ArchiveError, OSError) as error:
        return [_finding(path, error)]
    findings = [*_check_sources(archive), *_check_checkpoints(archive)]
    unusable = {finding.where for finding in findings}
    parts = [
        (segment, name, max(_FEWEST_TRIALS, _MOST_BYTES // (4 * math.prod(selection.shape))))
        for selection in archive.selections
        for segment in selection.segments
        if segment.path not in unusable
        for name in (*CHECKSUMS, *SCALARS)
    ]
    for segment, name, most in tqdm(parts, desc="verify", unit="dataset", disable=not progress):
        findings += _check_dataset(segment, name, most)
    return findings


def _check_sources(archive: Archive) -> Iterator[Finding]:
    if archive.kind != "atlas":
        return
    for source in archive.sources:
        try:
            check_source(archive.path, source)
        except (ArchiveError, OSError) as error:
            yield _finding(archive.path.resolve().parent / source.path, error)


def _check_checkpoints(archive: Archive) -> Iterator[Finding]:
    """Compare the checkpoints of an atlas with those its shards were collected from."""
    for path, expected in archive.checkpoints.items():
        try:
            digest = file_digest(path)
        except OSError as error:
            yield Finding(path, f"{path} cannot be read ({error.strerror}); restore the checkpoint")
            continue
        if digest != expected:
            yield Finding(
                path,
                f"{path} is not the checkpoint the shards were collected from: its SHA-256 is "
                f"{digest}, expected {expected}; restore it",
            )


def _check_dataset(segment: Segment, name: str, most: int) -> list[Finding]:
    """Check every trial, and where all are sound what else the chunks hold."""
    findings = [*_check_rows(segment, name, segment.trials, most)]
    if not findings and name in CHECKSUMS:
        try:
            segment.check_chunks(name)
        except (ArchiveError, OSError) as error:
            findings = [_finding(segment.path, error)]
    return findings


def _check_rows(segment: Segment, name: str, trials: TrialRange, most: int) -> Iterator[Finding]:
    """Check at most so many trials at once; where something is wrong, fewer, to say where."""
    for first in range(trials.first, trials.last + 1, most):
        part = TrialRange(first, min(first + most - 1, trials.last))
        try:
            segment.read(name, part.first, part.last)
        except (ArchiveError, OSError) as error:
            if len(part) > _FEWEST_TRIALS:
                yield from _check_rows(segment, name, part, _FEWEST_TRIALS)
            else:
                yield _finding(segment.path, error)


def _finding(path: Path, error: Exception) -> Finding:
    return Finding(path, str(error))
