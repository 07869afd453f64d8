"""Open a shard, an atlas or an export; one API for the three."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from gradatlas.archive.errors import ArchiveError
from gradatlas.archive.layout import encode_attributes, read_attributes
from gradatlas.archive.seal import check_seal
from gradatlas.archive.segment import Segment, segment_of
from gradatlas.archive.selection import Selection
from gradatlas.archive.sources import (
    Source,
    StoredShard,
    check_selection,
    check_source,
    open_hdf5,
    read_header,
    read_shard,
    read_sources,
)
from gradatlas.sharding import TrialRange

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@dataclass(frozen=True, eq=False)
class Archive:
    """What a shard, an atlas or an export holds.

    Attributes:
        path: The file.
        kind: ``shard``, ``atlas`` or ``export``.
        attributes: Root attributes of the file.
        selections: One per protocol, epoch and batch size, in ascending order.
        sources: The shards the data came from.
    """

    path: Path
    kind: str
    attributes: Mapping[str, Any]
    selections: tuple[Selection, ...]
    sources: tuple[Source, ...]

    @property
    def checkpoints(self) -> dict[Path, str]:
        """Checkpoint files that belong to an atlas, and the SHA-256 each had at collection."""
        if self.kind != "atlas":
            return {}
        folder = self.path.resolve().parent
        return {
            folder / str(item.attributes["checkpoint"]): str(item.attributes["checkpoint_sha256"])
            for item in self.selections
        }

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names of the protocols."""
        return tuple(dict.fromkeys(item.protocol for item in self.selections))

    def epochs(self, protocol: str | None = None) -> tuple[int, ...]:
        """Epochs of a protocol's checkpoints; the protocol may be left out if there is one."""
        chosen = self.matching(protocol=self._one("protocol", protocol))
        return tuple(dict.fromkeys(item.epoch for item in chosen))

    def batch_sizes(self, protocol: str | None = None, epoch: int | None = None) -> tuple[int, ...]:
        """Batch sizes of a protocol and epoch, which may be left out where there is one only."""
        protocol = self._one("protocol", protocol)
        epoch = self._one("epoch", epoch, protocol=protocol)
        return tuple(item.batch_size for item in self.matching(protocol=protocol, epoch=epoch))

    def select(
        self,
        *,
        protocol: str | None = None,
        epoch: int | None = None,
        batch_size: int | None = None,
    ) -> Selection:
        """The trials of one protocol, epoch and batch size.

        Args:
            protocol: Name of the protocol; may be left out, as the others, if there is one only.
            epoch: Epoch of the checkpoint.
            batch_size: Samples of one minibatch.

        Raises:
            ArchiveError: If there is no such selection, or more than one fits.
        """
        protocol = self._one("protocol", protocol)
        epoch = self._one("epoch", epoch, protocol=protocol)
        batch_size = self._one("batch_size", batch_size, protocol=protocol, epoch=epoch)
        return self.matching(protocol=protocol, epoch=epoch, batch_size=batch_size)[0]

    def matching(self, **wanted: Any) -> list[Selection]:  # noqa: ANN401 - text or number
        """The selections with these attributes, such as ``protocol="sgd", batch_size=8``.

        Raises:
            ArchiveError: If no selection has an attribute of that name.
        """
        names = {name for item in self.selections for name in item.attributes}
        for name in wanted:
            if name not in names:
                raise ArchiveError(
                    f"there is no attribute {name!r} in {self.path}, expected one of: "
                    f"{', '.join(sorted(names))}"
                )
        return [
            item
            for item in self.selections
            if all(item.attributes.get(name) == value for name, value in wanted.items())
        ]

    def _one(self, name: str, wanted: Any, **chosen: Any) -> Any:  # noqa: ANN401 - text or number
        """The wanted value if it is there, the only one if nothing is wanted."""
        present = list(dict.fromkeys(item.attributes[name] for item in self.matching(**chosen)))
        if wanted in present:
            return wanted
        if wanted is None and len(present) == 1:
            return present[0]
        place = ", ".join(f"{key} {value}" for key, value in chosen.items())
        expected = ", ".join(map(str, present))
        problem = f"{name} is not given" if wanted is None else f"there is no {name} {wanted!r}"
        raise ArchiveError(
            f"{problem} in {self.path}{f' ({place})' if place else ''}, expected one of: {expected}"
        )

    def to_dataframe(self) -> "pd.DataFrame":
        """One row per trial: protocol, epoch, batch_size, trial and the scalars."""
        import pandas as pd

        return pd.concat([item.to_dataframe() for item in self.selections], ignore_index=True)

    def to_xarray(self, protocol: str | None = None, epoch: int | None = None) -> "xr.Dataset":
        """Lazy dataset of a protocol and epoch: gradient (batch_size, trial, output, input) ...

        Raises:
            ArchiveError: If protocol or epoch are not there, or not given where there are several.
            ModuleNotFoundError: If xarray is not installed.
        """
        from gradatlas.archive.lazy import archive_dataset

        protocol = self._one("protocol", protocol)
        epoch = self._one("epoch", epoch, protocol=protocol)
        return archive_dataset(self.matching(protocol=protocol, epoch=epoch))


def open(path: str | os.PathLike[str]) -> Archive:  # noqa: A001 - gradatlas.open(path) reads well
    """Open a shard, an atlas or an export.

    The structure of the file is checked against its seal, and every shard of an atlas must be
    there and be the one the atlas was built from. The tensors are checked when they are read.

    Args:
        path: The file.

    Raises:
        OSError: If a file is missing, a directory or unreadable.
        ArchiveError: If it is no archive, damaged, of a newer format, or a shard is not its own.
    """
    archive = read_archive(Path(path))
    if archive.kind == "atlas":
        for source in archive.sources:
            check_source(archive.path, source)
    return archive


def read_archive(path: Path) -> Archive:
    """Open a file without a look at the shards an atlas refers to; otherwise as ``open``."""
    sha256 = check_seal(path)
    with open_hdf5(path) as file:
        attributes = read_attributes(file)
        if attributes["kind"] == "shard":
            shard = read_header(path, file["gradient"], attributes, sha256)
            selections, sources = [join_shards([shard])], [shard.source(path.parent)]
        else:
            selections, sources = _read_groups(path, attributes["kind"], file)
    return Archive(path, attributes["kind"], attributes, tuple(selections), tuple(sources))


def open_shards(paths: Sequence[Path]) -> Selection:
    """The shards of one protocol, epoch and batch size as one selection.

    Args:
        paths: The shards, in any order.

    Raises:
        OSError: If a shard is missing, a directory or unreadable.
        ArchiveError: If a shard is damaged, the shards do not belong together, or trials are
            missing or there twice.
    """
    if not paths:
        raise ArchiveError("no shards were given, expected at least one")
    return join_shards([read_shard(Path(path)) for path in paths])


def join_shards(shards: Sequence[StoredShard]) -> Selection:
    """The selection that shards of one protocol, epoch and batch size make up."""
    ordered = check_selection(shards)
    return Selection(
        attributes=encode_attributes(ordered[0].attributes),
        shape=ordered[0].shape,
        segments=tuple(segment_of(shard.path, "/", None, shard.trials) for shard in ordered),
    )


def _read_groups(path: Path, kind: str, file: h5py.File) -> tuple[list[Selection], list[Source]]:
    selections: list[Selection] = []
    sources: list[Source] = []
    groups = [child for child in file.values() if isinstance(child, h5py.Group)]
    for group in (item for protocol in groups for item in protocol.values()):
        if isinstance(group, h5py.Group) and "protocol" in group.attrs:
            members = read_sources(group)
            sources += members
            selections += _read_group(path, kind, group, members)
    selections.sort(key=lambda item: (item.protocol, item.epoch, item.batch_size))
    return selections, sources


def _read_group(
    path: Path, kind: str, group: h5py.Group, sources: Sequence[Source]
) -> Iterator[Selection]:
    """One selection per batch size: over the shards of an atlas, or within an export."""
    attributes = read_attributes(group)
    trials = TrialRange(int(group["trial"][0]), int(group["trial"][-1]))
    shape = group["gradient"].shape[2:]
    folder = path.resolve().parent
    shards: dict[int, list[Segment]] = defaultdict(list)
    for source in sources:
        shards[source.batch_size].append(segment_of(folder / source.path, "/", None, source.trials))
    for index, batch_size in enumerate(group["batch_size"][:].tolist()):
        inside = [segment_of(path, group.name, index, trials)]
        yield Selection(
            attributes={**attributes, "batch_size": batch_size},
            shape=shape,
            segments=tuple(inside if kind == "export" else shards[batch_size]),
        )
