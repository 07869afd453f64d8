"""Build the atlas: one file with virtual datasets over all shards."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import h5py
import numpy as np

from gradatlas.archive.format import (
    DATASETS,
    add_coordinate,
    add_coordinates,
    checkpoint_attributes,
    describe,
    element,
    entry_dimensions,
    entry_shape,
    file_attributes,
    project_attributes,
)
from gradatlas.archive.shards import (
    Shard,
    check_agreement,
    first_trials,
    in_order,
    read_shard,
    relative_path,
    same_in_protocol,
    write_table,
)
from gradatlas.core.errors import InputError
from gradatlas.core.files import file_digest, replace_file
from gradatlas.core.provenance import read_facts
from gradatlas.core.settings import (
    PROTOCOL_FIELDS,
    TrialRange,
    TrialSettings,
    to_attributes,
    to_mapping,
)

# What differs between protocols; the rest of their settings is the experiment's.
_OF_PROTOCOL = {"protocol", "update", *PROTOCOL_FIELDS, "experiment_digest"}
_FILL_VALUES = {"f": np.nan, "u": 0}


def build_atlas(
    path: Path,
    shards: Sequence[Path],
    checkpoints: Mapping[int, Path],
    trials: Mapping[str, int] | None = None,
) -> None:
    """Build an atlas over shards; existing shards and their bytes stay as they are.

    Args:
        path: File of the atlas, written whole or not at all. Shards and checkpoints must lie in
            its folder, or beside it, as the atlas refers to them by relative paths.
        shards: Shards of any protocols, epochs, batch sizes and trials, in any order. At one
            protocol and epoch every batch size needs the same trials, without a gap.
        checkpoints: Checkpoint file of each epoch.
        trials: How many trials of each protocol, from the first; all there are without it.

    Raises:
        OSError: If a file is missing or unreadable, or the atlas cannot be written.
        InputError: If a shard is damaged, shards and checkpoints do not belong together,
            or the atlas would replace one of them.
    """
    if not shards:
        raise InputError(f"no shards were given for {path}, expected at least one")
    # Before anything is read: a mistaken name must not cost a file.
    refuse_input(path, [*shards, *checkpoints.values()])
    stored = [
        shard
        for one in map(read_shard, shards)
        for shard in first_trials([one], (trials or {}).get(one.settings.protocol))
    ]
    _check_experiment(stored)
    _check_checkpoints(stored, checkpoints)
    content = io.BytesIO()  # some hundred bytes a shard
    with h5py.File(content, "w") as file:
        file.attrs.update(file_attributes("atlas", "Gradient Atlas") | project_attributes())
        for (_, epoch), members in groupby(sorted(stored, key=_group_key), _group_key):
            group = _write_group(file, list(members), path.parent)
            checkpoint = relative_path(checkpoints[epoch], path.parent)
            facts = checkpoint_attributes(read_facts(checkpoints[epoch]))
            group.attrs.update({"checkpoint": checkpoint, **facts})
    replace_file(path, content.getvalue(), with_digest=True)


def refuse_input(target: Path, inputs: Iterable[Path]) -> None:
    """Refuse to replace a file that the new one is made from.

    Raises:
        InputError: Names the target.
    """
    for path in inputs:
        if target.exists() and path.exists() and target.samefile(path):
            raise InputError(
                f"{target} is one of the files to be read; choose another name to write to"
            )


def _group_key(shard: Shard) -> tuple[str, int]:
    return shard.settings.protocol, shard.settings.epoch


def _check_experiment(shards: Sequence[Shard]) -> None:
    """Refuse shards of different experiments, protocol by protocol to name what differs."""

    def of_experiment(shard: Shard) -> dict[str, object]:
        return {n: v for n, v in same_in_protocol(shard).items() if n not in _OF_PROTOCOL}

    check_agreement(shards, of_experiment)
    for protocol in {shard.settings.protocol for shard in shards}:
        members = [shard for shard in shards if shard.settings.protocol == protocol]
        check_agreement(members, same_in_protocol)


def _check_checkpoints(shards: Sequence[Shard], checkpoints: Mapping[int, Path]) -> None:
    # Of the files themselves: a digest beside one says what it was when written.
    digests = {epoch: file_digest(checkpoint) for epoch, checkpoint in checkpoints.items()}
    for shard in shards:
        epoch, expected = shard.settings.epoch, shard.provenance.checkpoint_sha256
        if epoch not in digests:
            raise InputError(f"{shard.path} needs the checkpoint of epoch {epoch}, none is given")
        if expected != digests[epoch]:
            raise InputError(
                f"{shard.path} was not collected from {checkpoints[epoch]}: the checkpoint's "
                f"SHA-256 is {digests[epoch]}, expected {expected}; restore the checkpoint from a "
                f"copy, or remove what was collected from the other one by 'gradatlas tidy --epoch "
                f"{epoch} --delete' and collect again"
            )


def _write_group(file: h5py.File, shards: Sequence[Shard], folder: Path) -> h5py.Group:
    rows = _rows(shards)
    # Every batch size has the same ones, as ``_rows`` has checked.
    trials = TrialRange(rows[0][0].trials.first, rows[0][-1].trials.last)
    group = create_group(file, [shard for row in rows for shard in row], trials, folder)
    for name in DATASETS:
        _write_virtual(group, name, rows, trials, folder)
    return group


def create_group(
    file: h5py.File, shards: Sequence[Shard], trials: TrialRange, folder: Path
) -> h5py.Group:
    """Create ``/{protocol}/epoch{E}`` with attributes, coordinates and the table of shards.

    Args:
        file: An atlas or export.
        shards: All shards of the protocol and epoch, by ascending batch size.
        trials: The trials of every batch size.
        folder: What the paths in the table are relative to.
    """
    first = shards[0]
    # A group holds all batch sizes; 0 stands in its record, and a coordinate has them.
    settings = replace(first.settings, batch_size=0)
    group = file.create_group(f"{settings.protocol}/epoch{settings.epoch}")
    attributes = to_attributes(settings)
    del attributes["batch_size"]
    group.attrs.update(
        {
            **element("trials"),
            **attributes,
            **_described(settings),
            **_joined_provenance(shards),
            "experiment_digest": first.experiment_digest,
        }
    )
    add_coordinate(
        group, "batch_size", [*dict.fromkeys(shard.settings.batch_size for shard in shards)]
    )
    add_coordinates(group, trials, first.shape, settings.samples_per_trial)
    write_table(group, shards, folder)
    return group


def _described(settings: TrialSettings) -> dict[str, str]:
    """Network and training as text of JSON, for people; files of version 1 do not say them."""
    nested = to_mapping(settings)
    parts = {name: nested[name] for name in ("model", "training")}
    return {name: json.dumps(part) for name, part in parts.items() if part is not None}


def _joined_provenance(shards: Sequence[Shard]) -> dict[str, str]:
    """What may differ between the shards of a group: every distinct value."""
    each = [shard.provenance.to_attributes() for shard in shards]
    # Other code, devices and library versions are no reason to refuse shards: they are recorded.
    return {name: "; ".join(sorted({facts[name] for facts in each})) for name in each[0]}


def _rows(shards: Sequence[Shard]) -> list[list[Shard]]:
    """The shards of each batch size in order of trials, ascending batch sizes.

    Raises:
        InputError: If a batch size lacks trials that another has.
    """

    def batch_size(shard: Shard) -> int:
        return shard.settings.batch_size

    rows = [in_order([*row]) for _, row in groupby(sorted(shards, key=batch_size), batch_size)]
    spans = [TrialRange(row[0].trials.first, row[-1].trials.last) for row in rows]
    for row, span in zip(rows, spans, strict=True):
        if span != spans[0]:
            settings = row[0].settings
            raise InputError(
                f"batch size {settings.batch_size} of protocol {settings.protocol}, epoch "
                f"{settings.epoch} has trials {span}, but batch size "
                f"{rows[0][0].settings.batch_size} has {spans[0]}; collect the missing trials"
            )
    return rows


def _write_virtual(
    group: h5py.Group,
    name: str,
    rows: Sequence[Sequence[Shard]],
    trials: TrialRange,
    folder: Path,
) -> None:
    shape, samples = rows[0][0].shape, rows[0][0].settings.samples_per_trial
    entry, dtype = entry_shape(name, shape, samples), DATASETS[name]
    layout = h5py.VirtualLayout((len(rows), len(trials), *entry), dtype)
    layout.dcpl.set_obj_track_times(False)  # unlike other datasets, they record the time otherwise
    for index, row in enumerate(rows):
        for shard in row:
            start = shard.trials.first - trials.first
            # HDF5 takes a % in the name of a virtual dataset's source for the start of a pattern.
            source = relative_path(shard.path, folder).replace("%", "%%")
            stored = h5py.VirtualSource(source, name, (shard.rows, *entry), dtype)
            layout[index, start : start + len(shard.trials)] = stored[: len(shard.trials)]
    # What HDF5 returns, without an error, where a shard is missing: NaN if the type has one.
    dataset = group.create_virtual_dataset(name, layout, fillvalue=_FILL_VALUES[dtype.kind])
    describe(dataset, "trials", ("batch_size", "trial", *entry_dimensions(name, shape)))
