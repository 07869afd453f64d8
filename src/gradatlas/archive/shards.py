"""What a shard is to its readers: its header, whether it is whole, whether several belong together.

Also how any archive file is opened, with what HDF5 stumbles over turned into a sentence.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import h5py

from gradatlas.archive.format import FORMAT, FORMAT_VERSION, element, plain, read_attributes
from gradatlas.core.errors import InputError, reworded
from gradatlas.core.files import check_digest, stored_digest
from gradatlas.core.provenance import Provenance
from gradatlas.core.settings import TrialRange, TrialSettings, from_attributes

# The first bytes of every HDF5 file: others are refused before HDF5 looks at them.
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
EXPECTED = "expected a shard, an atlas or an export of Gradient Atlas"

Opened = TypeVar("Opened")

# What h5py raises for a damaged or foreign file.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)


@dataclass(frozen=True)
class Shard:
    """A shard, as read from its file or as an atlas or export recorded it."""

    path: Path
    settings: TrialSettings
    provenance: Provenance
    experiment_digest: str  # SHA-256 of what all trials of the protocol have in common
    trials: TrialRange  # the first of those in the file, mostly all of them
    shape: tuple[int, ...]  # of one trial's tensor
    size: int  # of the file, bytes
    # digest of the file; None where format version 1 recorded it, which had another
    sha256: str | None
    rows: int  # trials in the file


def check_regular(path: Path) -> None:
    """Refuse what is no HDF5 file, without waiting for a pipe.

    Raises:
        OSError: If the file is missing, a directory or unreadable.
        InputError: If it is no regular file, or none of HDF5.
    """
    try:
        # To open a pipe would wait for a writer.
        if path.is_fifo() or path.is_socket() or path.is_char_device():
            raise InputError(f"{path} is not a regular file, {EXPECTED}")
        with path.open("rb") as file:
            start = file.read(len(HDF5_MAGIC))
    except OSError as error:
        reason = f"{path} cannot be opened ({error.strerror}), {EXPECTED}; check the path"
        raise reworded(error, reason) from error
    if start != HDF5_MAGIC:
        raise InputError(f"{path} is not an HDF5 file, {EXPECTED}")


def open_unlocked(path: Path) -> h5py.File:
    """Open a file for reading without a lock, and without a cache of chunks.

    Blocks are whole chunks, so none is read again.
    """
    return unlocked(lambda options: h5py.File(path, "r", rdcc_nbytes=0, **options))


def unlocked(open_file: Callable[[dict[str, bool]], Opened]) -> Opened:
    """Open a file without a lock: named files never change, and not every file system has any.

    A program that has the file open already, with HDF5's default, decides for both.

    Args:
        open_file: Opens it with these options of HDF5.
    """
    try:
        return open_file({"locking": False})
    except OSError as error:
        if "file locking flag values don't match" not in str(error):
            raise
        return open_file({})


@contextmanager
def damage_named(path: Path, what: str = "it") -> Iterator[None]:
    """Turn what h5py raises for a damaged file into a sentence.

    Args:
        path: The file.
        what: What of it is read, in words.
    """
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            reason = f"{path} cannot be read ({os.strerror(error.errno)})"
            raise reworded(error, reason) from error
        raise InputError(
            f"{path} is damaged, {what} cannot be read ({error}); restore the file from a copy or "
            "make it again"
        ) from error


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an archive file for reading.

    Raises:
        OSError: If the file is missing, a directory or unreadable.
        InputError: If it is no archive, damaged or of a newer format version.
    """
    check_regular(path)
    with damage_named(path), open_unlocked(path) as file:
        # Format before version: only this program's version numbers mean anything here.
        if file.attrs.get("format") != FORMAT:
            raise InputError(f"{path} is no file of Gradient Atlas, {EXPECTED}")
        version = plain(file.attrs["format_version"])
        if version > FORMAT_VERSION:
            raise InputError(
                f"{path} has format version {version}, expected at most {FORMAT_VERSION}; update "
                "Gradient Atlas to read it"
            )
        yield file


def read_shard(path: Path) -> Shard:
    """Read what a shard holds, after comparing the file with the digest beside it.

    Raises:
        OSError: If the file is missing, a directory or unreadable.
        InputError: If it is no shard, damaged, without a digest or of a newer format.
    """
    check_regular(path)
    sha256 = check_digest(path)
    with open_hdf5(path) as file:
        return read_header(path, file, sha256)


def read_header(path: Path, file: h5py.File, sha256: str | None) -> Shard:
    """What an open shard holds; raises InputError if it is another kind of file."""
    attributes = read_attributes(file)
    if attributes["kind"] != "shard":
        raise InputError(f"{path} is an {attributes['kind']}, expected a shard")
    return Shard(
        path=path,
        settings=from_attributes(attributes),
        provenance=Provenance.from_attributes(attributes),
        experiment_digest=attributes["experiment_digest"],
        trials=TrialRange(attributes["first_trial"], attributes["last_trial"]),
        shape=file["gradient"].shape[1:],
        size=path.stat().st_size,
        sha256=sha256,
        rows=file["gradient"].shape[0],
    )


def first_trials(shards: Sequence[Shard], trials: int | None) -> list[Shard]:
    """What of some shards belongs to the first ``trials`` trials: a longer shard serves too.

    Args:
        shards: In any order.
        trials: Number of trials; None takes all there are.
    """
    if trials is None:
        return [*shards]
    return [
        replace(shard, trials=TrialRange(shard.trials.first, min(shard.trials.last, trials - 1)))
        for shard in shards
        if shard.trials.first < trials
    ]


def check_present(shard: Shard) -> None:
    """Check that a shard is there in full length, with its digest, without reading it.

    Raises:
        OSError: If it is missing or unreadable.
        InputError: If size or digest are not those that the atlas recorded.
    """
    try:
        size = shard.path.stat().st_size
        # A file may have a size and still not be readable for this user.
        os.close(os.open(shard.path, os.O_RDONLY))
    except OSError as error:
        reason = f"{shard.path}, a shard of the atlas, cannot be read ({error.strerror})"
        raise reworded(error, f"{reason}; restore it, or collect it again") from error
    # What the digest beside the shard says: to compute it would read every shard at every opening.
    sha256 = stored_digest(shard.path) if shard.sha256 else None
    if size != shard.size or (sha256 is not None and sha256 != shard.sha256):
        raise InputError(
            f"{shard.path} is not the shard that the atlas was built from, of {shard.size} bytes "
            f"with SHA-256 {shard.sha256}; restore it, or build the atlas again"
        )


def check_agreement(
    shards: Sequence[Shard], facts: Callable[[Shard], Mapping[str, object]]
) -> None:
    """Refuse shards that do not belong together.

    Args:
        shards: At least one.
        facts: What must be the same in all of them.

    Raises:
        InputError: Names two shards and in what they differ.
    """
    first = facts(shards[0])
    for shard in shards[1:]:
        for name, value in facts(shard).items():
            if value != first[name]:
                raise InputError(
                    f"{shard.path} has {name} {value}, but {shards[0].path} has {first[name]}; "
                    "shards of different experiments are not mixed, collect one of them again"
                )


def in_order(shards: Sequence[Shard]) -> list[Shard]:
    """Sort the shards of one protocol, epoch and batch size.

    Raises:
        InputError: If one does not belong, or trials are missing or there twice.
    """

    def facts(shard: Shard) -> dict[str, object]:
        checkpoint = shard.provenance.checkpoint_sha256
        return {**same_in_protocol(shard), **vars(shard.settings), "checkpoint_sha256": checkpoint}

    # In order first, so that a gap or an overlap shows between neighbours.
    ordered = sorted(shards, key=lambda shard: shard.trials.first)
    check_agreement(ordered, facts)
    for before, after in pairwise(ordered):
        if after.trials.first != before.trials.last + 1:
            raise InputError(
                f"{after.path} starts at trial {after.trials.first}, expected "
                f"{before.trials.last + 1}, the trial after {before.path}"
            )
    return ordered


def same_in_protocol(shard: Shard) -> dict[str, object]:
    """What the shards of a protocol have in common."""
    digest = shard.experiment_digest
    return {**vars(shard.settings.shared), "experiment_digest": digest, "shape": shard.shape}


def write_table(group: h5py.Group, shards: Sequence[Shard], folder: Path) -> None:
    """Write the table of the shards of one protocol and epoch, a column a dataset.

    Args:
        group: The protocol and epoch.
        shards: Its shards.
        folder: What their paths are relative to.
    """
    table = group.create_group("sources")
    table.attrs.update(element("sources"))
    columns: dict[str, list[Any]] = {
        "path": [relative_path(shard.path, folder) for shard in shards],
        "batch_size": [shard.settings.batch_size for shard in shards],
        "first_trial": [shard.trials.first for shard in shards],
        "last_trial": [shard.trials.last for shard in shards],
        "size": [shard.size for shard in shards],
        "sha256": [shard.sha256 or "" for shard in shards],
        **{
            name: [shard.provenance.to_attributes()[name] for shard in shards]
            for name in ("code_commit", "library_versions", "device")
        },
    }
    for name, values in columns.items():
        # Text of variable length: paths and versions have no common one.
        dtype = h5py.string_dtype() if isinstance(values[0], str) else "i8"
        table.create_dataset(name, data=values, dtype=dtype).attrs.update(element("column"))


def read_table(group: h5py.Group, settings: TrialSettings, folder: Path) -> list[Shard]:
    """Inverse of ``write_table``, with the record of the protocol and epoch."""
    columns = {
        name: (column.asstr() if h5py.check_string_dtype(column.dtype) else column)[:].tolist()
        for name, column in group["sources"].items()
    }
    attributes, shape = read_attributes(group), group["gradient"].shape[2:]
    has_digests = "format_version" in attributes  # which groups of version 1 lack
    return [
        Shard(
            path=folder / row["path"],
            settings=replace(settings, batch_size=row["batch_size"]),
            provenance=Provenance.from_attributes({**attributes, **row}),
            experiment_digest=attributes["experiment_digest"],
            trials=TrialRange(row["first_trial"], row["last_trial"]),
            shape=shape,
            size=row["size"],
            sha256=row["sha256"] or None if has_digests else None,
            rows=row["last_trial"] + 1 - row["first_trial"],
        )
        for values in zip(*columns.values(), strict=True)
        for row in [dict(zip(columns, values, strict=True))]
    ]


def relative_path(path: Path, folder: Path) -> str:
    """Path from a folder to a file in it, or beside it, by their names or by what links lead to.

    Raises:
        InputError: The file is neither below the folder nor below the one above.

    Example:
        >>> relative_path(Path("results/gradients/sgd/trials0-9.h5"), Path("results"))
        'gradients/sgd/trials0-9.h5'
        >>> relative_path(Path("results/gradients/sgd/trials0-9.h5"), Path("results/seed1"))
        '../gradients/sgd/trials0-9.h5'
    """
    # By name first: a shard may be a link to another disk and still lie in the folder.
    for absolute in (os.path.abspath, os.path.realpath):
        inside, outer = Path(absolute(path)), Path(absolute(folder))
        if inside.is_relative_to(outer.parent):
            return Path(os.path.relpath(inside, outer)).as_posix()
    raise InputError(
        f"{path} lies outside {folder.parent}, where the atlas has its folder; expected it inside, "
        "so that both can be moved together"
    )
