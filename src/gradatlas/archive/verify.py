"""Read an archive through and list everything that is wrong with it."""

import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from gradatlas.archive.format import DATASETS
from gradatlas.archive.read import Archive, Segment, files_needed, read_archive
from gradatlas.archive.shards import Shard, check_present, check_regular
from gradatlas.core.errors import InputError
from gradatlas.core.files import check_digest, digest_path, file_digest
from gradatlas.core.training import batches

# Trials of one chunk of 10 x 1024 tensors: a finding names the trials that cannot be read, and no
# chunk is read twice.
_TRIALS_AT_A_TIME = 25


@dataclass(frozen=True)
class Finding:
    """Something about an archive that its reader should know."""

    where: Path  # the file
    what: str  # one sentence that names the place and what to do
    is_damage: bool = True  # false where a file could only be checked in part


def verify(path: Path, *, progress: bool = False) -> list[Finding]:
    """Read a shard, an atlas with all its shards, or an export through.

    Every file is compared with its digest, the one beside it or, for the shards and checkpoints of
    an atlas, the one it was built from. Of a file without a digest the chunks are checked, and a
    finding says so.

    Args:
        path: The file.
        progress: Whether to draw a progress bar on standard error.

    Returns:
        What was found, nothing if the archive is sound. Nothing is raised: a file that cannot be
        read is a finding too.

    Example:
        >>> [finding] = verify(Path("no-such-folder/gradients.h5"))
        >>> finding.is_damage, finding.what.partition(",")[0]
        (True, 'no-such-folder/gradients.h5 cannot be opened (No such file or directory)')
    """
    path = Path(path).expanduser()
    try:
        check_regular(path)
        # The digest first: HDF5 reads some damaged files as wrong values, and crashes on others.
        sha256 = check_digest(path, required=False)
        archive = read_archive(path, sha256)
    except (InputError, OSError) as error:
        return [Finding(path, str(error))]
    findings = [*_check_checkpoints(archive)]
    if archive.kind == "atlas":
        for shard in tqdm(archive.sources, desc="verify", unit="shard", disable=not progress):
            findings += _check_shard(shard)
        findings += _check_open_files(archive)
    elif sha256 is None:
        for selection in tqdm(archive.selections, desc="verify", disable=not progress):
            for segment in selection.segments:
                findings += _check_chunks(segment)
    if sha256 is None:
        remark = f"{digest_path(path)} is missing: only the chunks of {path} were checked"
        findings.append(Finding(path, remark, is_damage=False))
    return findings


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


def _check_open_files(archive: Archive) -> Iterator[Finding]:
    """Tell who reads with other tools that their files are too many for this process."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = files_needed(archive)
    if limit < needed:
        yield Finding(
            archive.path,
            f"{archive.path} shows {len(archive.sources)} shards, but a process started here may "
            f"open {limit} files: h5py and xarray would read NaN and 0 beyond that without an "
            f"error, so run 'ulimit -n {needed}' first, or read through gradatlas",
            is_damage=False,
        )


def _check_shard(shard: Shard) -> list[Finding]:
    """Compare a shard with what the atlas recorded of it; of version 1, chunk by chunk."""
    try:
        check_present(shard)
        # Format version 1 recorded a digest of a part of the file alone.
        if shard.sha256 is None:
            segment = Segment.of(shard.path, "/", None, shard.trials)
            return [*_check_chunks(segment)]
        digest = file_digest(shard.path)
    except (InputError, OSError) as error:
        return [Finding(shard.path, str(error))]
    if digest == shard.sha256:
        return []
    return [
        Finding(
            shard.path,
            f"{shard.path} is damaged or is not the shard the atlas was built from: its SHA-256 is "
            f"{digest}, expected {shard.sha256}; restore it from a copy, or collect it again",
        )
    ]


def _check_chunks(segment: Segment) -> Iterator[Finding]:
    """Read every dataset in small parts, by which HDF5 compares the checksums of their chunks."""
    trials = range(segment.trials.first, segment.trials.last + 1)
    for name in DATASETS:
        for part in batches(len(trials), _TRIALS_AT_A_TIME):
            try:
                with segment.opened(name) as read:
                    read(trials[part][0], trials[part][-1])
            except (InputError, OSError) as error:
                yield Finding(segment.path, str(error))
