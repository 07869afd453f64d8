"""Open a shard, an atlas or an export; one API for the three."""

import copyreg
import math
import operator
import os
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, SupportsIndex, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from gradatlas.archive.format import DATASETS, SCALARS, chunk_shape, read_attributes
from gradatlas.archive.shards import (
    Shard,
    check_present,
    check_regular,
    damage_named,
    first_trials,
    in_order,
    open_hdf5,
    open_unlocked,
    read_header,
    read_shard,
    read_table,
    unlocked,
)
from gradatlas.core.errors import InputError
from gradatlas.core.files import check_digest
from gradatlas.core.settings import TrialRange, TrialSettings, from_attributes, to_attributes

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

# What a process has open beside shards: libraries, terminals, notebooks' sockets.
_OTHER_FILES = 64
Value = TypeVar("Value")
BLOCK_BYTES = 2 << 20  # blocks of this size get the same memory again and again, in the cache


def read_only(mapping: Mapping[str, Value]) -> MappingProxyType[str, Value]:
    """A mapping that cannot be changed."""
    return MappingProxyType(dict(mapping))


# So that it can go to another process: of itself Python does not know how.
copyreg.pickle(MappingProxyType, lambda mapping: (read_only, (dict(mapping),)))

#: From the first and the last trial to their rows of a dataset.
Reader = Callable[[int, int], NDArray[Any]]


@dataclass(frozen=True)
class Segment:
    """Consecutive trials in one file."""

    path: Path  # the file, absolute
    group: str  # HDF5 group that holds the datasets
    # index along the leading batch size axis; None where a group has no such axis
    batch: int | None
    trials: TrialRange  # the trials, the first of which is the first row
    # inode, size and time of the last change, by which a file is told from another in its place;
    # None if it was missing
    identity: tuple[int, int, int] | None

    @staticmethod
    def of(path: Path, group: str, batch: int | None, trials: TrialRange) -> "Segment":
        """A segment of the file that is there now."""
        path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
        try:
            identity = _identity(path.stat())
        except OSError:
            identity = None  # reading it, or checking it before, says why
        return Segment(path, group, batch, trials, identity)

    @contextmanager
    def opened(self, name: str) -> Iterator[Reader]:
        """Open a dataset to read rows of trials ``first`` to ``last`` (included).

        HDF5 compares the checksums of their chunks.

        Yields:
            Function of first and last.

        Raises:
            InputError: If the file is damaged, or another than the one that was opened.
            OSError: If it is gone or unreadable.
        """
        with damage_named(self.path):
            # What was checked when the archive was opened holds for that file alone.
            if _identity(self.path.stat()) != self.identity:
                raise InputError(f"{self.path} has changed since it was opened; open it again")
            file = open_unlocked(self.path)
            dataset = file[self.group][name]  # found once: it takes as long as to read a trial

        def read(first: int, last: int) -> NDArray[Any]:
            rows = slice(first - self.trials.first, last + 1 - self.trials.first)
            with damage_named(self.path, f"{name} of trials {first}-{last}"):
                return np.asarray(dataset[rows if self.batch is None else (self.batch, rows)])

        # Outside ``damage_named``: what goes wrong in the caller's block is not damage.
        with file:
            yield read


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(frozen=True, eq=False)
class Selection:
    """The trials of one protocol, epoch and batch size, in ascending order without a gap."""

    settings: TrialSettings  # the record of the trials
    # what identifies the data, as stored (see docs/archive-format.md)
    attributes: Mapping[str, str | int | float]  # read-only
    shape: tuple[int, ...]  # shape of one trial's tensor
    segments: tuple[Segment, ...]  # the files' parts that hold the trials

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return self.settings.protocol

    @property
    def epoch(self) -> int:
        """Epoch of the checkpoint."""
        return self.settings.epoch

    @property
    def batch_size(self) -> int:
        """Samples of one minibatch; the last one of a trial may have fewer."""
        return self.settings.batch_size

    @property
    def first(self) -> int:
        """Number of the first trial."""
        return self.segments[0].trials.first

    @property
    def last(self) -> int:
        """Number of the last trial."""
        return self.segments[-1].trials.last

    def __len__(self) -> int:
        """Number of trials."""
        return self.last - self.first + 1

    @property
    def trials(self) -> NDArray[np.int64]:
        """Numbers of the trials, shape (T,)."""
        return np.arange(self.first, self.last + 1)

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[NDArray[np.float32]]:
        r"""Iterate over all tensors in bounded memory.

        How trials are divided into blocks depends on ``block_bytes`` alone, not on the files.

        Args:
            block_bytes: Most bytes of a block, unless a single tensor is larger.

        Yields:
            Tensors of consecutive trials, in ascending order, shape (t, \*shape).

        Raises:
            InputError: If a file is damaged.
        """
        step = self._trials_per_block(block_bytes)
        starts = range(self.first, self.last + 1, step)
        yield from self._read("gradient", ((k, min(k + step - 1, self.last)) for k in starts))

    def _trials_per_block(self, block_bytes: int) -> int:
        """Whole chunks, as a chunk that is cut in two would be read twice."""
        trials = max(1, block_bytes // (4 * math.prod(self.shape)))
        chunk = chunk_shape(self.shape, trials)[0]
        return trials - trials % chunk if trials > chunk else trials

    def rows(self, name: str, first: SupportsIndex, last: SupportsIndex) -> NDArray[Any]:
        """Rows of a dataset for the trials ``first`` to ``last`` (included).

        Args:
            name: ``gradient``, ``sample_index`` or the name of a scalar.
            first: Number of the first trial.
            last: Number of the last trial.

        Returns:
            Shape (last - first + 1, ...).

        Raises:
            InputError: If there is no such dataset, there are no such trials, or a file is
                damaged.
        """
        if name not in DATASETS:
            raise InputError(
                f"there is no dataset {name!r}, expected one of: {', '.join(DATASETS)}"
            )
        first, last = self._known_trial(first), self._known_trial(last)
        if first > last:
            raise InputError(f"trials {first} to {last}: expected the first number not above")
        return next(self._read(name, [(first, last)]))

    def _read(self, name: str, ranges: Iterable[tuple[int, int]]) -> Iterator[NDArray[Any]]:
        """Rows of each range of trials; a file stays open from one range to the next."""
        with ExitStack() as stack:
            current = None
            for first, last in ranges:
                parts = []
                for segment in self.segments:
                    start, stop = max(first, segment.trials.first), min(last, segment.trials.last)
                    if start > stop:
                        continue
                    # The last file stays open, as the next range mostly begins in it; one at a
                    # time.
                    if segment is not current:
                        stack.close()
                        read, current = stack.enter_context(segment.opened(name)), segment
                    parts.append(read(start, stop))
                yield parts[0] if len(parts) == 1 else np.concatenate(parts)

    def gradient(self, trial: SupportsIndex) -> NDArray[np.float32]:
        """Tensor of the trial with this number; raises as ``rows``."""
        return np.asarray(self.rows("gradient", trial, trial)[0])

    def sample_index(self, trial: SupportsIndex) -> NDArray[np.uint32]:
        """Sample indices of one trial in processing order, shape (samples_per_trial,)."""
        return np.asarray(self.rows("sample_index", trial, trial)[0])

    def _known_trial(self, number: SupportsIndex) -> int:
        """The number as Python's integer: one of NumPy's of few bits would overflow."""
        trial = operator.index(number)
        if not self.first <= trial <= self.last:
            raise InputError(
                f"there is no trial {trial}, expected one of {self.first} to {self.last}"
            )
        return trial

    @cached_property
    def scalars(self) -> Mapping[str, NDArray[np.float64]]:
        """path_length, sum_of_squares, first_loss and last_loss of every trial, each (T,).

        They are kept, and therefore read-only: ``copy()`` gives one that may be changed.
        """
        read = {name: self.rows(name, self.first, self.last) for name in SCALARS}
        for values in read.values():
            values.flags.writeable = False
        return read_only(read)

    def to_dataframe(self) -> "pd.DataFrame":
        """One row per trial: protocol, epoch, batch_size, trial and the scalars."""
        # Only here: an archive is opened without waiting for pandas.
        import pandas as pd

        place = {name: getattr(self, name) for name in ("protocol", "epoch", "batch_size")}
        return pd.DataFrame({**place, "trial": self.trials, **self.scalars})


@dataclass(frozen=True, eq=False)
class Archive:
    """What a shard, an atlas or an export holds."""

    path: Path  # the file
    kind: str  # ``shard``, ``atlas`` or ``export``
    attributes: Mapping[str, Any]  # root attributes of the file, read-only
    selections: tuple[Selection, ...]  # one per protocol, epoch and batch size, in ascending order
    sources: tuple[Shard, ...]  # the shards the data came from

    def __enter__(self) -> Self:
        """Itself: files are open only while something is read from them."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to close."""

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
        return tuple(dict.fromkeys(item.epoch for item in self._narrow(protocol=protocol)))

    def batch_sizes(self, protocol: str | None = None, epoch: int | None = None) -> tuple[int, ...]:
        """Batch sizes of a protocol and epoch, which may be left out where there is one only."""
        return tuple(item.batch_size for item in self._narrow(protocol=protocol, epoch=epoch))

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
            InputError: If there is no such selection, or more than one fits.
        """
        return self._narrow(protocol=protocol, epoch=epoch, batch_size=batch_size)[0]

    def _narrow(self, **wanted: str | int | None) -> list[Selection]:
        """The selections with these properties; None stands for the only one that is left."""
        chosen = [*self.selections]
        place = ""
        for name, value in wanted.items():
            present = [*dict.fromkeys(getattr(item, name) for item in chosen)]
            found = present[0] if value is None and len(present) == 1 else value
            if found not in present:
                problem = (
                    f"{name} is not given" if found is None else f"there is no {name} {found!r}"
                )
                raise InputError(
                    f"{problem} in {self.path}{f' ({place})' if place else ''}, expected one of: "
                    f"{', '.join(map(str, present))}"
                )
            place += f"{', ' if place else ''}{name} {found}"
            chosen = [item for item in chosen if getattr(item, name) == found]
        return chosen

    def matching(self, **wanted: Any) -> list[Selection]:  # noqa: ANN401 - text or number
        """The selections with these attributes, such as ``protocol="sgd", batch_size=8``.

        Raises:
            InputError: If no selection has an attribute of that name.
        """
        names = {name for item in self.selections for name in item.attributes}
        for name in wanted:
            if name not in names:
                raise InputError(
                    f"there is no attribute {name!r} in {self.path}, expected one of: "
                    f"{', '.join(sorted(names))}"
                )
        return [
            item
            for item in self.selections
            if all(item.attributes.get(name) == value for name, value in wanted.items())
        ]

    def to_dataframe(self) -> "pd.DataFrame":
        """One row per trial: protocol, epoch, batch_size, trial and the scalars."""
        import pandas as pd

        return pd.concat([item.to_dataframe() for item in self.selections], ignore_index=True)

    def to_xarray(self, protocol: str | None = None, epoch: int | None = None) -> "xr.Dataset":
        """A protocol and epoch as xarray opens it: gradient (batch_size, trial, output, input) ...

        Tensors are read when they are asked for. A shard has one dataset, without ``batch_size``.

        Raises:
            InputError: If protocol or epoch are not there, or not given where there are several; or
                an atlas has more shards than this process may open files.
            ModuleNotFoundError: If xarray or h5netcdf are not installed.
        """
        import xarray as xr

        if self.kind == "atlas":
            _allow_open_files(self)

        first = self._narrow(protocol=protocol, epoch=epoch)[0]
        group = None if self.kind == "shard" else f"{first.protocol}/epoch{first.epoch}"
        return unlocked(
            lambda options: xr.open_dataset(
                self.path, group=group, engine="h5netcdf", driver_kwds=options
            )
        )


def files_needed(archive: Archive) -> int:
    """Files that HDF5 may hold open to read a virtual dataset, and this process besides."""
    return len(archive.sources) + _OTHER_FILES


def _allow_open_files(archive: Archive) -> None:
    """Raise this process's limit: HDF5 shows fill values, without an error, beyond it."""
    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    if highest < files_needed(archive):
        raise InputError(
            f"{archive.path} shows {len(archive.sources)} shards, and this process may open "
            f"{highest} files, expected {files_needed(archive)}; read it by select(), which takes "
            "one shard at a time, or export it"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))  # others may be open too


def open(path: str | os.PathLike[str]) -> Archive:  # noqa: A001 - gradatlas.open(path) reads well
    """Open a shard, an atlas or an export; ``gradatlas.archive`` has an example.

    The file is compared with the digest beside it, if there is one, before HDF5 sees it. Every
    shard of an atlas must be there, in its full length and with the digest that the atlas was built
    from; ``verify`` compares their contents too. Chunks are checked when they are read.

    Args:
        path: The file.

    Raises:
        OSError: If a file is missing, a directory or unreadable.
        InputError: If it is no archive, damaged, of a newer format, or a shard is not its own.
    """
    path = Path(path).expanduser()
    check_regular(path)
    archive = read_archive(path, check_digest(path, required=False))
    # HDF5 would read fill values, without an error, where a shard of an atlas is missing.
    if archive.kind == "atlas":
        for source in archive.sources:
            check_present(source)
    return archive


def read_archive(path: Path, sha256: str | None = None) -> Archive:
    """Open a file without a look at its digest or the shards it refers to; otherwise as ``open``.

    Args:
        path: The file.
        sha256: Its digest, if it was compared.
    """
    with open_hdf5(path) as file:
        attributes = read_attributes(file)
        if attributes["kind"] == "shard":
            shards = [read_header(path, file, sha256)]
            selections = [join_shards(shards)]
        else:
            selections, shards = _read_groups(path, attributes["kind"], file)
    return Archive(
        path, attributes["kind"], read_only(attributes), tuple(selections), tuple(shards)
    )


def open_shards(paths: Sequence[Path], trials: int | None = None) -> Selection:
    """The shards of one protocol, epoch and batch size as one selection, contents checked.

    Args:
        paths: The shards, in any order.
        trials: How many trials, from the first; all of them without it.

    Returns:
        All trials in ascending order, however they are split into shards.

    Raises:
        OSError: If a shard is missing, a directory or unreadable.
        InputError: If a shard is damaged or without a digest, the shards do not belong together, or
            trials are missing or there twice.

    Example:
        >>> open_shards([])
        Traceback (most recent call last):
        gradatlas.core.errors.InputError: no shards were given, expected at least one
    """
    if not paths:
        raise InputError("no shards were given, expected at least one")
    return join_shards(first_trials([read_shard(Path(path)) for path in paths], trials))


def join_shards(shards: Sequence[Shard]) -> Selection:
    """The selection that shards of one protocol, epoch and batch size make up."""
    ordered = in_order(shards)
    first = ordered[0]
    return Selection(
        settings=first.settings,
        attributes=read_only(
            {
                **to_attributes(first.settings),
                **first.provenance.to_attributes(),
                "experiment_digest": first.experiment_digest,
            }
        ),
        shape=first.shape,
        segments=tuple(Segment.of(shard.path, "/", None, shard.trials) for shard in ordered),
    )


def _read_groups(path: Path, kind: str, file: h5py.File) -> tuple[list[Selection], list[Shard]]:
    selections: list[Selection] = []
    shards: list[Shard] = []
    # A later version of the format may add datasets and groups: what is unknown is left alone.
    groups = [child for child in file.values() if isinstance(child, h5py.Group)]
    for group in (item for protocol in groups for item in protocol.values()):
        if isinstance(group, h5py.Group) and "protocol" in group.attrs:
            settings = from_attributes({"batch_size": 0, **read_attributes(group)})
            members = read_table(group, settings, path.resolve().parent)
            shards += members
            selections += _read_group(path, kind, group, settings, members)
    selections.sort(key=lambda item: (item.protocol, item.epoch, item.batch_size))
    return selections, shards


def _read_group(
    path: Path, kind: str, group: h5py.Group, settings: TrialSettings, shards: Sequence[Shard]
) -> Iterator[Selection]:
    """One selection per batch size: over the shards of an atlas, or within an export."""
    trials = TrialRange(int(group["trial"][0]), int(group["trial"][-1]))
    attributes, shape = read_attributes(group), group["gradient"].shape[2:]
    for index, batch_size in enumerate(group["batch_size"][:].tolist()):
        own = replace(settings, batch_size=batch_size)
        members = [shard for shard in shards if shard.settings.batch_size == batch_size]
        # An export holds the data itself. An atlas is read past its virtual datasets, shard by
        # shard, so that a missing one is an error.
        inside = [Segment.of(path, group.name, index, trials)]
        outside = [Segment.of(shard.path, "/", None, shard.trials) for shard in members]
        yield Selection(
            settings=own,
            attributes=read_only({**attributes, **to_attributes(own)}),
            shape=shape,
            segments=tuple(inside if kind == "export" else outside),
        )
