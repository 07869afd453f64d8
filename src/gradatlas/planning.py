"""What the workflow has to know before a job starts: plain functions of an experiment.

The rules name inputs, outputs and scripts; which shards there are to be, and which checkpoint still
holds, is said here.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from gradatlas.core.configuration import Experiment, Protocol
from gradatlas.core.errors import InputError
from gradatlas.core.files import mapping_digest
from gradatlas.core.settings import TrialRange, check_samples
from gradatlas.core.updates import SGD
from gradatlas.data.idx import IDX_FILES, count_training_samples, idx_paths, is_absent
from gradatlas.train.checkpoint import read_facts

_SHARD_NAME = re.compile(r"trials(\d+)-(\d+)\.h5")


def check_writable(folders: Iterable[Path]) -> None:
    """Refuse a folder where Snakemake would end in a traceback.

    Raises:
        InputError: A folder is there and cannot be written to.
    """
    for folder in folders:
        if folder.exists() and not os.access(folder, os.W_OK):
            raise InputError(
                f"{folder} is read-only; to run, copy results/ to a folder of your own and name "
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


def shard_paths(
    experiment: Experiment, results: str, protocol: str, epoch: int | str, batch_size: int | str
) -> list[str]:
    """Paths of a batch size's shards, those already collected included."""
    folder = Path(results, "gradients", protocol, f"epoch{epoch}", f"batch{batch_size}")
    names = (_SHARD_NAME.fullmatch(path.name) for path in folder.glob("*.h5"))
    existing = frozenset(TrialRange(*map(int, name.groups())) for name in names if name)
    trials = experiment.protocols[protocol].trials
    planned = plan_shards(trials, experiment.trials_per_job, existing)
    return [f"{folder}/trials{trials}.h5" for trials in planned]


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
        Shards in ascending order that cover every trial exactly once.
    """
    longest = {
        shard.first: shard
        for shard in sorted(existing, key=lambda shard: shard.last)
        if shard.last < trials
    }
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
    return TrialRange(first, min(first + trials_per_job, following) - 1)


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


def data_files(experiment: Experiment, folder: Path) -> tuple[list[str], bool]:
    """Files of the data set, and whether they are still to be downloaded.

    Raises:
        InputError: The files are incomplete or damaged, or too few for a trial.
        OSError: A file cannot be read.
    """
    if is_absent(folder):
        return [str(folder / pattern.format(3)) for pattern in IDX_FILES.values()], True
    paths = [str(path) for path in idx_paths(folder).values()]
    available = count_training_samples(folder)
    for protocol in experiment.protocols.values():
        check_samples(protocol.settings, available)
    return paths, False


def training_digest(experiment: Experiment, seed: int, code: str) -> str:
    """SHA-256 of what makes a checkpoint: all settings of training, and its code.

    Args:
        experiment: Which epochs are kept is not part of it.
        seed: Seed of the training run.
        code: Digest of the training code.
    """
    facts = {
        "seed": seed,
        "data": experiment.dataset,
        "model": dict(experiment.model),
        **vars(experiment.training),
        "code": code,
    }
    return mapping_digest(facts)


def is_kept(checkpoint: Path, shard: Path, expected: str) -> bool:
    """Whether a shard stays although training runs again, as for a further checkpoint.

    Args:
        checkpoint: The checkpoint that the shard starts from.
        shard: The shard.
        expected: ``training_digest`` of the checkpoint that the experiment makes.
    """
    return shard.exists() and read_facts(checkpoint).get("training_digest") == expected
