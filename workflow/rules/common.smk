"""The experiment, and where its files lie."""

import shlex
import sys
from functools import cache

from gradatlas import planning
from gradatlas.core.code import code_digest
from gradatlas.core.configuration import check_file, remove_nulls
from gradatlas.core.runtime import resolve_device
from gradatlas.core.settings import to_mapping

ROOT = Path(workflow.basedir)

# Snakemake (9.27) writes the path of its Python into the commands of jobs without quotes, where a blank
# would end it. Quoted once: a process may read a workflow twice.
if Path(sys.executable).exists():
    sys.executable = shlex.quote(sys.executable)


@cache
def code(script):
    """Digest of a script and the modules of the package that determine its output."""
    return code_digest(ROOT / "scripts" / f"{script}.py", ROOT / "src")


with planning.in_one_sentence("configuration"):
    planning.check_writable([Path.cwd(), Path.cwd() / "results"])
    for path in workflow.configfiles:
        check_file(Path(path))
    remove_nulls(config)
    experiment = planning.read(config, ROOT)
    # GPUs that a job of training or collection asks for.
    GPUS = int(
        experiment.device == "cuda" or resolve_device(experiment.device) == "cuda"
    )

with planning.in_one_sentence("data"):
    DATA_FILES, TO_DOWNLOAD = planning.data_files(
        experiment, planning.data_folder(experiment, ROOT)
    )
    experiment = planning.complete(experiment, ROOT)

IN_STORAGE = workflow.storage_settings.default_storage_provider is not None
# Data stay on this machine, and no file's time matters: the keys say what is in them.
DATA_FILES = [local(file) if IN_STORAGE else file for file in DATA_FILES]
DATA_INPUT = list(map(ancient, DATA_FILES))

RESULTS = planning.results_folders(experiment)
SEVERAL_SEEDS = len(RESULTS) > 1
GRID = planning.grid(experiment)
EPOCHS = experiment.checkpoints
MOMENTUM = experiment.training.momentum > 0
ROLES = planning.protocol_roles(experiment)
MAIN_PROTOCOL = planning.main_protocol(experiment)
STATISTICS = config["statistics"]
FORMATS = config["figures"]["formats"]
CELLS = [
    dict(protocol=protocol, epoch=epoch, batch_size=batch_size)
    for protocol, epoch, batch_size in GRID
]


# What profiles/default has to give is for the jobs of this machine; a cluster has its own.
resource_scopes:
    gpu="local",


pathvars:
    results="{results}" if SEVERAL_SEEDS else next(iter(RESULTS)),


wildcard_constraints:
    results="|".join(RESULTS),
    protocol="[a-z][a-z0-9_]*",
    key="[0-9a-f]{8}",
    epoch="[0-9]+",
    batch_size="[0-9]+",
    first="[0-9]+",
    last="[0-9]+",


def results(wildcards):
    """The results folder that a file belongs to."""
    return wildcards.get("results", next(iter(RESULTS)))


def training_seed(wildcards):
    """The seed of the training run that a file belongs to."""
    return RESULTS[results(wildcards)]


# The training seed of every checkpoint and shard, by the keys in their paths.
RUNS = {
    planning.run_record(experiment, seed).checkpoint_key: seed
    for seed in RESULTS.values()
}
COLLECTIONS = {
    (protocol, experiment.trial_settings(protocol, 0, 0, seed).key): seed
    for protocol in experiment.protocols
    for seed in RESULTS.values()
}


@cache
def cell_shards(seed, protocol, epoch, batch_size):
    """Paths of the shards of one protocol, epoch and batch size."""
    record = experiment.trial_settings(protocol, epoch, batch_size, seed)
    return planning.shard_paths(experiment, record)


def all_cell_shards():
    """Paths of the shards of all training seeds."""
    cells = [(seed, *cell) for seed in RESULTS.values() for cell in GRID]
    return [shard for cell in cells for shard in cell_shards(*cell)]


def checkpoint_files(path):
    """A checkpoint and what training writes beside it."""
    return planning.checkpoint_files(path, momentum=MOMENTUM)


def shards(wildcards, protocol, epoch, batch_size):
    """Paths of the shards of a protocol, epoch and batch size."""
    seed = training_seed(wildcards)
    return cell_shards(seed, protocol, int(epoch), int(batch_size))


def all_shards(wildcards):
    """Paths of every shard of one training seed."""
    return [shard for cell in GRID for shard in shards(wildcards, *cell)]


def checkpoints(wildcards):
    """Path of every checkpoint of one training seed."""
    seed = training_seed(wildcards)
    return [planning.checkpoint_path(experiment, seed, epoch) for epoch in EPOCHS]


def batch_size_shards(wildcards):
    """Shards of one batch size."""
    return shards(wildcards, wildcards.protocol, wildcards.epoch, wildcards.batch_size)


def largest_batch_shards(wildcards):
    """Shards of the largest batch size, which every other one is compared with."""
    largest = experiment.protocols[wildcards.protocol].batch_sizes[-1]
    return shards(wildcards, wildcards.protocol, wildcards.epoch, largest)


def record(wildcards):
    """The record of the trials that a file holds."""
    return to_mapping(
        experiment.trial_settings(
            wildcards.get("protocol", ROLES["main"]),
            int(wildcards.get("epoch", 0)),
            int(wildcards.get("batch_size", 0)),
            training_seed(wildcards),
        )
    )


def trials(*protocols):
    """Number of trials of each protocol, or of some."""
    return {
        name: protocol.trials
        for name, protocol in experiment.protocols.items()
        if not protocols or name in protocols
    }


def statistics_files(suffix, *protocols):
    """What the statistics jobs of all protocols, or of some, write."""
    return [
        f"<results>/statistics/{protocol}/epoch{epoch}/batch{batch_size}.{suffix}"
        for protocol, epoch, batch_size in planning.grid(experiment, *protocols)
    ]
