"""Which files are there and current: asked once, by the process that plans. Jobs need not know."""

import time

from gradatlas.core.stamps import current_files, digest_of
from gradatlas.train.checkpoint import is_whole_checkpoint
from snakemake.iocontainers import Wildcards
from snakemake.logging import logger

PLANS = workflow.is_main_process


COSTLY = (
    [
        *map(checkpoint_files, planning.wanted_checkpoints(experiment)),
        *map(planning.shard_files, all_cell_shards()),
    ]
    if PLANS
    else []
)


def is_whole(files):
    """Whether a costly file and all that belongs to it are there in full length."""
    if IN_STORAGE:
        return all(exists(file) for file in files)
    if files[0].endswith(".h5"):
        return planning.is_whole_shard(Path(files[0]))
    return is_whole_checkpoint(Path(files[0]), momentum=MOMENTUM)


THERE = {file for files in COSTLY if PLANS and is_whole(files) for file in files}
# Outputs of the other jobs whose stamp holds; filled at the end of the Snakefile.
CURRENT = set()
NEW = [files[0] for files in COSTLY if files[0] not in THERE]
# A file as new as this run, input of what must be made again although it is there.
OUTDATED = ".snakemake/outdated"


def have(path):
    """A file as an input: one that is there and current has no job, or none that its time starts."""
    if path in THERE:
        return ancient(before_update(path))
    return ancient(path) if path in CURRENT else path


def kept(path):
    """A costly output, which stays until its replacement is complete, even while its job runs."""
    return path if IN_STORAGE else update(path)


def as_written(output):
    """The path of an output as its rule gives it, which a default storage replaces by its own."""
    if not IN_STORAGE:
        return output
    prefix = workflow.storage_settings.default_storage_prefix
    return output.flags["storage_object"].query.removeprefix(prefix).lstrip("/")


def again(files):
    """What starts the job of a costly file that is there and not whole."""
    is_damaged = PLANS and not IN_STORAGE and files[0] not in THERE
    return OUTDATED if is_damaged and any(map(os.path.exists, files)) else []


def again_unless_current(pattern):
    """What starts the job of a table or figure that is there and not current."""

    def ask(wildcards):
        if IN_STORAGE:
            return []
        path = pattern.replace("<results>", results(wildcards)).format(**wildcards)
        return ancient(OUTDATED) if path in CURRENT else OUTDATED

    return ask


def made(name):
    """The stamp of a job: the code, settings and files that its results were made from."""
    return f"<results>/.made/{name}.json"


def earlier_checkpoint(wildcards):
    """The checkpoint before, with all that lies beside it."""
    before = [epoch for epoch in EPOCHS if epoch < int(wildcards.epoch)]
    if not before:
        return []
    path = planning.checkpoint_path(experiment, RUNS[wildcards.key], before[-1])
    return [have(file) for file in checkpoint_files(path)]


def starting_checkpoint(wildcards):
    """The checkpoint that a shard starts from, and its digest."""
    seed = COLLECTIONS[wildcards.protocol, wildcards.key]
    path = planning.checkpoint_path(experiment, seed, wildcards.epoch)
    return [have(file) for file in checkpoint_files(path)[:2]]


def in_folder(pattern):
    """A file of a results folder as an input."""
    return lambda wildcards: have(pattern.replace("<results>", results(wildcards)))


def all_in_folder(patterns):
    """Several files of a results folder as an input."""
    return lambda wildcards: [in_folder(pattern)(wildcards) for pattern in patterns]


STYLE = Path(ROOT, "src/gradatlas/figures/house.mplstyle").read_text()

# What each job depends on beside its code and the content of the files it reads.
DEPENDS_ON = {
    "training_table": lambda wildcards: checkpoints(wildcards)[-1:],
    "steps": lambda wildcards: [
        record(wildcards),
        MAIN_PROTOCOL.batch_sizes,
        checkpoints(wildcards),
    ],
    "atlas": lambda wildcards: [
        all_shards(wildcards),
        checkpoints(wildcards),
        trials(),
    ],
    "export": lambda wildcards: [],
    "statistics": lambda wildcards: [
        batch_size_shards(wildcards),
        largest_batch_shards(wildcards),
        trials(wildcards.protocol),
        STATISTICS,
        experiment.seed,
    ],
    "statistics_table": lambda wildcards: statistics_files("json"),
    "claims": lambda wildcards: [statistics_files("h5"), STATISTICS, experiment.seed],
    "figures": lambda wildcards: [ROLES, STATISTICS["confidence"], FORMATS, STYLE],
    "detail_figures": lambda wildcards: [
        statistics_files("h5", ROLES["main"]),
        FORMATS,
        STYLE,
    ],
    "pages": lambda wildcards: statistics_files("h5"),
    "seeds": lambda wildcards: [[*RESULTS], STATISTICS["confidence"]],
}


def facts(name):
    """Digest of what a job depends on: its code, and what stands for it above."""
    return lambda wildcards: digest_of(code(name), *DEPENDS_ON[name](wildcards))


def expected_stamps():
    """By the path of every stamp, what its job depends on now."""
    for path, (name, wildcards) in planning.stamps(experiment).items():
        yield path, facts(name)(Wildcards(fromdict=wildcards))


def look_around():
    """Find out what is current, and say in one line what is new and what lies there unused."""
    unused = 0
    if not IN_STORAGE:
        CURRENT.update(current_files(dict(expected_stamps()), THERE))
        unused = len(planning.unused_files({files[0] for files in COSTLY}))
        # A run under way has its own, and its files must not look old beside a newer one.
        if not any(Path(".snakemake/locks").glob("*")):
            Path(OUTDATED).parent.mkdir(exist_ok=True)
            Path(OUTDATED).write_text(str(time.time_ns()))
    line = planning.announcement(experiment, NEW, unused)
    if line:
        logger.info(f"gradatlas: {line}")
