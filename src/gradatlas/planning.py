"""What the workflow has to know before a job starts: plain functions of an experiment.

The rules name inputs, outputs and scripts; where checkpoints and shards lie, which of them are
there and whole, and which the experiment does not use, is said here.
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradatlas.archive.read import read_archive
from gradatlas.core.code import code_digest
from gradatlas.core.configuration import Experiment, Protocol, read_experiment
from gradatlas.core.errors import InputError
from gradatlas.core.files import has_digest
from gradatlas.core.settings import TrialRange, TrialSettings, check_samples, to_mapping
from gradatlas.core.updates import SGD, update_settings
from gradatlas.data.idx import (
    IDX_FILES,
    check_labels,
    count_training_samples,
    data_digest,
    folder,
    idx_paths,
    is_absent,
)
from gradatlas.models.network import check_parameter
from gradatlas.train.checkpoint import optimizer_path, table_path

# Of all training seeds, side by side; relative to the working folder.
CHECKPOINTS, SHARDS = "results/checkpoints", "results/gradients"
# What is made of one batch size.
CELL = "statistics/{protocol}/epoch{epoch}/batch{batch_size}"
# Jobs that there are once a training seed.
STAGES = (
    *("training_table", "steps", "atlas", "export", "statistics_table", "claims"),
    *("figures", "detail_figures", "pages"),
)
_SHARD_NAME = re.compile(r"trials(\d+)-(\d+)\.h5")


@contextmanager
def in_one_sentence(subject: str) -> Iterator[None]:
    """End the process with what the user can mend, instead of Snakemake's frame around an error.

    Args:
        subject: What the sentence is about, such as ``configuration``.
    """
    try:
        yield
    except (InputError, OSError) as error:
        sys.exit(f"{subject}: {error}")


def check_writable(folders: Iterable[Path]) -> None:
    """Refuse a folder where Snakemake would end in a traceback.

    Raises:
        InputError: A folder is there and cannot be written to.
    """
    for path in folders:
        if path.exists() and not os.access(path, os.W_OK):
            raise InputError(
                f"{path} is read-only; to run, copy results/ to a folder of your own and name "
                "that by --directory; to read, use gradatlas.open and gradatlas verify"
            )


def results_folders(experiment: Experiment) -> dict[str, int]:
    """The results folder of each training seed.

    That of the trials' seed is the plain one, so that further training seeds leave its files where
    they are.
    """
    return {
        "results" if seed == experiment.seed else f"results/seed{seed}": seed
        for seed in experiment.training_seeds
    }


def grid(experiment: Experiment, *protocols: str) -> list[tuple[str, int, int]]:
    """Every (protocol, epoch, batch size) of the experiment, or of some of its protocols."""
    return [
        (name, epoch, batch_size)
        for name, protocol in experiment.protocols.items()
        if not protocols or name in protocols
        for epoch in experiment.checkpoints
        for batch_size in protocol.batch_sizes
    ]


def read(config: Mapping[str, Any], root: Path) -> Experiment:
    """Check a configuration and return the experiment it describes.

    Args:
        config: The merged configuration, as YAML gives it.
        root: Folder of the Snakefile.

    Raises:
        InputError: One sentence with the key, the value and what is allowed.
    """
    _check_braces("the folder of the Snakefile", root)
    experiment = read_experiment(config, root / "workflow" / "schemas" / "config.schema.yaml")
    check_parameter(experiment.model, experiment.parameter)
    return experiment


def data_folder(experiment: Experiment, root: Path) -> Path:
    """Folder of the data set's files: where it can, a path that is the same in a moved folder.

    Raises:
        InputError: ``data.root`` names a home that there is not, or a path with braces.
    """
    try:
        above = Path(experiment.data_root).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"data.root is {experiment.data_root!r}, expected a folder: {error}"
        ) from error
    path = folder(root / above, experiment.dataset)
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    _check_braces("data.root", path)
    return path


def _check_braces(name: str, path: Path) -> None:
    if set("{}") & set(str(path)):
        raise InputError(
            f"{name} is {path}, expected a path without braces, which Snakemake takes for "
            "wildcards; rename the folder"
        )


def complete(experiment: Experiment, root: Path) -> Experiment:
    """The experiment with what its results depend on besides the configuration: data and code.

    Args:
        experiment: As the configuration describes it.
        root: Folder of the Snakefile.

    Raises:
        InputError: The data set's files are incomplete, or torchvision knows no such data set.
    """
    data = data_digest(data_folder(experiment, root), experiment.dataset)
    training, collection = (
        code_digest(root / "scripts" / f"{script}.py", root / "src")
        for script in ("train", "collect")
    )

    def completed(protocol: Protocol) -> Protocol:
        settings = replace(
            protocol.settings,
            data_sha256=data,
            training_code=training,
            collection_code=collection,
        )
        return replace(protocol, settings=settings)

    protocols = {name: completed(protocol) for name, protocol in experiment.protocols.items()}
    return replace(experiment, protocols=protocols)


def run_record(experiment: Experiment, training_seed: int) -> TrialSettings:
    """The record of any trials of a training run, to tell what its checkpoints depend on."""
    return experiment.trial_settings(next(iter(experiment.protocols)), 0, 0, training_seed)


def checkpoint_path(experiment: Experiment, training_seed: int, epoch: int) -> str:
    """Where the checkpoint of a training run and epoch lies."""
    key = run_record(experiment, training_seed).checkpoint_key
    return f"{CHECKPOINTS}/{key}/epoch{epoch}.safetensors"


def shard_paths(experiment: Experiment, record: TrialSettings) -> list[str]:
    """Paths of the shards of a protocol, epoch and batch size, those collected included."""
    key = f"{record.protocol}-{record.key}"
    folder = f"{SHARDS}/{key}/epoch{record.epoch}/batch{record.batch_size}"
    names = ((path, _SHARD_NAME.fullmatch(path.name)) for path in Path(folder).glob("*.h5"))
    existing = frozenset(
        TrialRange(*map(int, name.groups()))
        for path, name in names
        if name and is_whole_shard(path)
    )
    trials = experiment.protocols[record.protocol].trials
    planned = plan_shards(trials, experiment.trials_per_job, existing)
    return [f"{folder}/trials{trials}.h5" for trials in planned]


def wanted_checkpoints(experiment: Experiment) -> dict[str, TrialSettings]:
    """Every checkpoint of the experiment by its path, with a record of its epoch."""
    return {
        checkpoint_path(experiment, seed, epoch): replace(run_record(experiment, seed), epoch=epoch)
        for seed in experiment.training_seeds
        for epoch in experiment.checkpoints
    }


def wanted_shards(experiment: Experiment) -> dict[str, TrialSettings]:
    """Every shard of the experiment by its path, with the record of its trials."""
    records = (
        experiment.trial_settings(*cell, training_seed=seed)
        for seed in experiment.training_seeds
        for cell in grid(experiment)
    )
    return {path: record for record in records for path in shard_paths(experiment, record)}


def checkpoint_files(checkpoint: str, *, momentum: bool) -> list[str]:
    """A checkpoint and what training writes beside it."""
    path = Path(checkpoint)
    memory = str(optimizer_path(path))
    return [
        *(checkpoint, f"{checkpoint}.sha256", str(table_path(path))),
        *([memory, f"{memory}.sha256"] if momentum else []),
    ]


def shard_files(shard: str) -> list[str]:
    """A shard and its digest."""
    return [shard, f"{shard}.sha256"]


def is_whole_shard(path: Path) -> bool:
    """Whether a shard has the length that it announces, and its digest beside it.

    The end of an HDF5 file stands in its superblock (HDF5 file format 3.0, II.A), so that thousands
    of shards are told in a moment. What is in them is compared with the digest when they are read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(52)
        place = {0: 40, 1: 44, 2: 28, 3: 28}[start[8]]
        end = int.from_bytes(start[place : place + 8], "little")
        return path.stat().st_size == end and has_digest(path)
    except (OSError, LookupError):
        return False


def plan_shards(
    trials: int, trials_per_job: int, existing: frozenset[TrialRange] = frozenset()
) -> list[TrialRange]:
    """Split trials into shards, keeping the existing ones that fit.

    With nothing collected yet every shard has ``trials_per_job`` trials, the last one what is
    left. Later on, the shards that are there stay, so that more trials collect only new ones.

    Args:
        trials: Number of trials wanted.
        trials_per_job: Most trials of a new shard.
        existing: Shards already collected.

    Returns:
        Shards in ascending order that cover every trial once; the last may go beyond them.
    """
    longest = {shard.first: shard for shard in sorted(existing, key=lambda shard: shard.last)}
    shards: list[TrialRange] = []
    first = 0
    while first < trials:
        shard = longest.get(first) or _new_shard(first, trials, trials_per_job, longest)
        shards.append(shard)
        first = shard.last + 1
    return shards


def _new_shard(
    first: int, trials: int, trials_per_job: int, existing: Mapping[int, TrialRange]
) -> TrialRange:
    following = min((start for start in existing if start > first), default=trials)
    return TrialRange(first, min(first + trials_per_job, following, trials) - 1)


def main_protocol(experiment: Experiment) -> Protocol:
    """The protocol closest to the article's: plain SGD, every trial with samples of its own.

    Where several are as close, the first in alphabetical order: that of the configuration depends
    on which file names a protocol first.
    """

    def distance(protocol: Protocol) -> tuple[bool, bool, bool, str]:
        settings = protocol.settings
        moves, plain = settings.update.moves, isinstance(settings.update, SGD)
        return not moves, settings.sample_sets is not None, not plain, settings.protocol

    return min(experiment.protocols.values(), key=distance)


def protocol_roles(experiment: Experiment) -> dict[str, str | list[str]]:
    """Which protocols figures show as what.

    Returns:
        ``main``: that of ``main_protocol``; ``frozen``: those whose weights stay; ``reordered``:
        those whose trials share sample sets.
    """
    records = [protocol.settings for protocol in experiment.protocols.values()]
    return {
        "main": main_protocol(experiment).settings.protocol,
        "frozen": [item.protocol for item in records if not item.update.moves],
        "reordered": [item.protocol for item in records if item.sample_sets is not None],
    }


def data_files(experiment: Experiment, directory: Path) -> tuple[list[str], bool]:
    """Files of the data set, and whether they are still to be downloaded.

    Raises:
        InputError: The files are incomplete or damaged, or too few for a trial.
        OSError: A file cannot be read.
    """
    if is_absent(directory):
        return [str(directory / pattern.format(3)) for pattern in IDX_FILES.values()], True
    paths = [str(path) for path in idx_paths(directory).values()]
    available = count_training_samples(directory)
    check_labels(directory)
    for protocol in experiment.protocols.values():
        check_samples(protocol.settings, available)
    return paths, False


def announcement(experiment: Experiment, new: Collection[str], unused: int) -> str | None:
    """One line that says what a run will add and what lies there unused; None if neither.

    Args:
        experiment: The experiment.
        new: Checkpoints and shards that are to be made.
        unused: Number of those that the experiment does not use.
    """
    checkpoints = sum(path.startswith(CHECKPOINTS) for path in new)
    shards = Counter(Path(path).parts[2].rpartition("-")[0] for path in new if path.endswith(".h5"))
    collected = [
        f"{_counted(count, 'shard')} of {name} ({_in_words(experiment.protocols[name].settings)})"
        for name, count in sorted(shards.items())
    ]
    parts = []
    if checkpoints:
        parts.append(f"trains {_counted(checkpoints, 'checkpoint')}")
    if collected:
        parts.append(f"collects {', '.join(collected)}")
    if unused:
        parts.append(f"{_counted(unused, 'file')} of other settings stay: see 'gradatlas tidy'")
    return "; ".join(parts) or None


def _counted(count: int, noun: str) -> str:
    """A number with its noun, in the plural where there are several.

    Example:
        >>> _counted(1, "shard"), _counted(30, "shard")
        ('1 shard', '30 shards')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _in_words(settings: TrialSettings) -> str:
    update = update_settings(settings.update)
    name = update.pop("name")
    return ", ".join(f"{key} {value}" for key, value in update.items()) or f"update {name}"


def unused_files(wanted: Collection[str]) -> list[Path]:
    """Checkpoints and shards that lie in the results folder and are not among the wanted ones."""
    found = (
        path
        for directory, suffix in ((CHECKPOINTS, "safetensors"), (SHARDS, "h5"))
        for path in sorted(Path(directory).rglob(f"*.{suffix}"))
        if not path.name.endswith(".optimizer.safetensors")
    )
    return [path for path in found if path.as_posix() not in wanted]


def stamps(experiment: Experiment) -> dict[str, tuple[str, dict[str, Any]]]:
    """The stamp of every job that makes tables or figures.

    Returns:
        By its path, the job's rule and its wildcards.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for results in results_folders(experiment):
        for name in STAGES:
            found[f"{results}/.made/{name}.json"] = (name, {"results": results})
        for protocol, epoch, batch_size in grid(experiment):
            place = {"protocol": protocol, "epoch": epoch, "batch_size": batch_size}
            path = f"{results}/.made/{CELL.format(**place)}.json"
            found[path] = ("statistics", {"results": results, **place})
    if len(experiment.training_seeds) > 1:
        found["results/.made/seeds.json"] = ("seeds", {})
    return found


def archive_facts(atlas: Path) -> list[dict[str, Any]]:
    """What an atlas holds, for the report: a record of each protocol with its trials and sizes.

    Returns:
        Settings by name, as JSON has them, with ``epochs``, ``batch_sizes`` and ``trials``; nothing
        where there is no atlas that can be read.
    """
    try:
        archive = read_archive(atlas)
    except (InputError, OSError):
        return []
    found = []
    for protocol in archive.protocols:
        epochs = archive.epochs(protocol)
        sizes = archive.batch_sizes(protocol, epochs[0])
        first = archive.select(protocol=protocol, epoch=epochs[0], batch_size=sizes[0])
        more = {"epochs": epochs, "batch_sizes": sizes, "trials": len(first.trials)}
        found.append(to_mapping(first.settings) | more)
    return found
