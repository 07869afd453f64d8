"""The shards an atlas is made of: what identifies them, and whether they belong together."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from gradatlas.archive.errors import ArchiveError
from gradatlas.archive.layout import (
    ShardAttributes,
    decode_attributes,
    plain,
    read_attributes,
)
from gradatlas.archive.seal import check_seal, check_version
from gradatlas.sharding import TrialRange

SAME_EVERYWHERE = ("seed", "training_seed", "dataset", "training_samples", "parameter")
SAME_IN_PROTOCOL = (
    "update",
    "learning_rate",
    "samples_per_trial",
    "sample_sets",
    "experiment_digest",
)
SAME_AT_EPOCH = ("checkpoint_sha256",)
SAME_IN_SELECTION = ("protocol", "epoch", "batch_size")


@dataclass(frozen=True)
class Source:
    """A shard that data came from, as an atlas or export records it.

    Attributes:
        path: Path relative to the folder of the atlas.
        protocol: Name of the protocol.
        epoch: Epoch of the checkpoint.
        batch_size: Samples of one minibatch.
        trials: The shard's trials.
        size: Size of the file in bytes.
        sha256: Digest of its structure, which covers a checksum of every trial.
        code_commit: Git commit of the code that made it.
        library_versions: Versions of the libraries, JSON.
        device: Device the trials ran on.
    """

    path: str
    protocol: str
    epoch: int
    batch_size: int
    trials: TrialRange
    size: int
    sha256: str
    code_commit: str
    library_versions: str
    device: str


@dataclass(frozen=True)
class StoredShard:
    """A shard on disk whose structure has been checked.

    Attributes:
        path: The file.
        attributes: What it holds.
        trials: Its trials.
        shape: Shape of one trial's tensor.
        size: Size of the file in bytes.
        sha256: Digest of its structure.
    """

    path: Path
    attributes: ShardAttributes
    trials: TrialRange
    shape: tuple[int, ...]
    size: int
    sha256: str

    def source(self, folder: Path) -> Source:
        """The shard as an atlas in ``folder`` records it.

        Raises:
            ArchiveError: If the shard lies outside the folder, so that they cannot move together.
        """
        return Source(
            path=relative_path(self.path, folder),
            protocol=self.attributes.protocol,
            epoch=self.attributes.epoch,
            batch_size=self.attributes.batch_size,
            trials=self.trials,
            size=self.size,
            sha256=self.sha256,
            code_commit=self.attributes.code_commit,
            library_versions=json.dumps(dict(self.attributes.library_versions), sort_keys=True),
            device=self.attributes.device,
        )


def relative_path(path: Path, folder: Path) -> str:
    """Path from a folder to a file below it, by their names or by what links lead to.

    Raises:
        ArchiveError: If the file is not below the folder.
    """
    for absolute in (os.path.abspath, os.path.realpath):
        inside, outer = Path(absolute(path)), Path(absolute(folder))
        if inside.is_relative_to(outer):
            return inside.relative_to(outer).as_posix()
    raise ArchiveError(
        f"{path} lies outside {folder}, the folder of the atlas; expected it inside, so that "
        "both can be moved together"
    )


def read_shard(path: Path) -> StoredShard:
    """Read what a shard holds, its structure checked against the seal, its data not read.

    Raises:
        OSError: If the file is missing, a directory or unreadable.
        ArchiveError: If it is no shard, damaged or of a newer format.
    """
    sha256 = check_seal(path)
    with open_hdf5(path) as file:
        stored = read_attributes(file)
        if stored["kind"] != "shard":
            raise ArchiveError(f"{path} is an {stored['kind']}, expected a shard")
        return read_header(path, file["gradient"], stored, sha256)


def read_header(
    path: Path, gradient: h5py.Dataset, stored: Mapping[str, Any], sha256: str
) -> StoredShard:
    """What an open shard holds.

    Args:
        path: The file.
        gradient: Its gradients.
        stored: Its root attributes.
        sha256: Digest of its structure.
    """
    return StoredShard(
        path=path,
        attributes=decode_attributes(stored),
        trials=TrialRange(stored["first_trial"], stored["last_trial"]),
        shape=gradient.shape[1:],
        size=path.stat().st_size,
        sha256=sha256,
    )


def open_hdf5(path: Path) -> h5py.File:
    """Open a sealed file and check that this version can read it.

    Raises:
        ArchiveError: If it is of a newer format version.
    """
    file = h5py.File(path, "r", rdcc_nbytes=0)
    check_version(path, plain(file.attrs["format_version"]))
    return file


def check_provenance(shards: Sequence[StoredShard]) -> None:
    """Refuse shards of different experiments.

    Raises:
        ArchiveError: Names two shards that do not belong together, and in what they differ.
    """
    _check_agree(shards, SAME_EVERYWHERE)
    for protocol in {shard.attributes.protocol for shard in shards}:
        _check_agree([s for s in shards if s.attributes.protocol == protocol], SAME_IN_PROTOCOL)
    for epoch in {shard.attributes.epoch for shard in shards}:
        _check_agree([s for s in shards if s.attributes.epoch == epoch], SAME_AT_EPOCH)


def _check_agree(shards: Sequence[StoredShard], names: Sequence[str]) -> None:
    first = shards[0]
    for shard in shards[1:]:
        for name in names:
            value, expected = getattr(shard.attributes, name), getattr(first.attributes, name)
            if value != expected:
                raise ArchiveError(
                    f"{shard.path} has {name} {value}, but {first.path} has {expected}; shards of "
                    "different experiments are not mixed, collect one of them again"
                )
        if shard.shape != first.shape:
            raise ArchiveError(
                f"{shard.path} has tensors of shape {shard.shape}, but {first.path} of "
                f"{first.shape}; shards of different experiments are not mixed"
            )


def check_selection(shards: Sequence[StoredShard]) -> list[StoredShard]:
    """Sort the shards of one protocol, epoch and batch size, and check that no trial is missing.

    Raises:
        ArchiveError: If one does not belong, or trials are missing or there twice.
    """
    ordered = sorted(shards, key=lambda shard: shard.trials.first)
    _check_agree(ordered, (*SAME_IN_SELECTION, *SAME_EVERYWHERE, *SAME_IN_PROTOCOL, *SAME_AT_EPOCH))
    for before, after in pairwise(ordered):
        if after.trials.first != before.trials.last + 1:
            raise ArchiveError(
                f"{after.path} starts at trial {after.trials.first}, expected "
                f"{before.trials.last + 1}, the trial after {before.path}"
            )
    return ordered


def write_sources(group: h5py.Group, sources: Sequence[Source]) -> None:
    """Write the table of sources of one protocol and epoch, a column per dataset."""
    table = group.create_group("sources")
    columns = {
        "batch_size": [source.batch_size for source in sources],
        "first_trial": [source.trials.first for source in sources],
        "last_trial": [source.trials.last for source in sources],
        "size": [source.size for source in sources],
    }
    for name, numbers in columns.items():
        table.create_dataset(name, data=np.asarray(numbers, np.int64))
    for name in ("path", "sha256", "code_commit", "library_versions", "device"):
        texts = [getattr(source, name) for source in sources]
        table.create_dataset(name, data=texts, dtype=h5py.string_dtype())


def read_sources(group: h5py.Group) -> list[Source]:
    """Inverse of ``write_sources``."""
    protocol, epoch = plain(group.attrs["protocol"]), plain(group.attrs["epoch"])
    table = group["sources"]
    texts = ("path", "sha256", "code_commit", "library_versions", "device")
    numbers = ("batch_size", "size", "first_trial", "last_trial")
    columns = {name: table[name].asstr()[:].tolist() for name in texts}
    columns |= {name: table[name][:].tolist() for name in numbers}
    sources = []
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        trials = TrialRange(row.pop("first_trial"), row.pop("last_trial"))
        sources.append(Source(protocol=protocol, epoch=epoch, trials=trials, **row))
    return sources


def check_source(atlas: Path, source: Source) -> None:
    """Check that a source is there and is the shard the atlas was built from, its data unread.

    Raises:
        OSError: If it is missing or unreadable.
        ArchiveError: If it is damaged, another shard, or outside the atlas's folder.
    """
    folder = atlas.resolve().parent
    path = folder / source.path
    relative_path(path, folder)
    try:
        sha256 = check_seal(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path} is missing, but {atlas} needs it for trials {source.trials}; restore it or "
            "collect it again"
        ) from error
    if sha256 != source.sha256:
        raise ArchiveError(
            f"{path} is not the shard that {atlas} was built from: {_contents(path)}; restore that "
            "shard, or build the atlas again"
        )


def _contents(path: Path) -> str:
    """What a shard holds, in words."""
    shard = read_shard(path)
    names = ("protocol", "epoch", "batch_size", "seed", "checkpoint_sha256")
    facts = ", ".join(f"{name} {getattr(shard.attributes, name)}" for name in names)
    return f"it holds {facts}, trials {shard.trials}"
