"""The experiment, and the paths that several rules share."""

from functools import cache

from gradatlas import planning
from gradatlas.core.code import code_digest
from gradatlas.core.configuration import check_file, read_experiment
from gradatlas.core.errors import InputError
from gradatlas.core.runtime import resolve_device
from gradatlas.core.settings import to_mapping
from gradatlas.data.idx import folder
from gradatlas.models.network import check_parameter
from snakemake.exceptions import WorkflowError

SCHEMA = Path(workflow.source_path("../schemas/config.schema.yaml"))

try:
    planning.check_writable([Path.cwd(), Path.cwd() / "results"])
    for path in workflow.configfiles:
        check_file(Path(path))
    experiment = read_experiment(config, SCHEMA)
    check_parameter(experiment.model, experiment.parameter)
    # GPUs that a job of training or collection asks for.
    GPUS = int(
        experiment.device == "cuda" or resolve_device(experiment.device) == "cuda"
    )
except InputError as error:
    raise WorkflowError(f"configuration: {error}") from None

DATA = folder(Path(workflow.basedir, experiment.data_root), experiment.dataset)
try:
    DATA_FILES, TO_DOWNLOAD = planning.data_files(experiment, DATA)
except (InputError, OSError) as error:
    raise WorkflowError(f"data: {error}") from None

RESULTS = planning.results_folders(experiment)
SEVERAL_SEEDS = len(RESULTS) > 1
GRID = planning.grid(experiment)
CHECKPOINTS = [
    f"<results>/checkpoints/epoch{epoch}.safetensors"
    for epoch in experiment.checkpoints
]


# What profiles/default has to give is for the jobs of this machine; a cluster has its own.
resource_scopes:
    gpu="local",


pathvars:
    results="{results}" if SEVERAL_SEEDS else next(iter(RESULTS)),


wildcard_constraints:
    results="|".join(RESULTS),
    protocol="[a-z][a-z0-9_]*",
    epoch="[0-9]+",
    batch_size="[0-9]+",
    first="[0-9]+",
    last="[0-9]+",


@cache
def code(script):
    """Digest of a script and the modules of the package that determine its output."""
    root = Path(workflow.basedir)
    return code_digest(root / "scripts" / f"{script}.py", root / "src")


def results(wildcards):
    """The results folder that a file belongs to."""
    return wildcards.get("results", next(iter(RESULTS)))


def training_seed(wildcards):
    """The seed of the training run that a file belongs to."""
    return RESULTS[results(wildcards)]


def training_digest(wildcards):
    """What the checkpoints of a run must carry: those that do stay."""
    return planning.training_digest(experiment, training_seed(wildcards), code("train"))


def shards(wildcards, protocol, epoch, batch_size):
    """Paths of the shards of a protocol, epoch and batch size."""
    return planning.shard_paths(
        experiment, results(wildcards), protocol, epoch, batch_size
    )


def all_shards(wildcards):
    """Paths of every shard of one training seed."""
    return [shard for cell in GRID for shard in shards(wildcards, *cell)]


def made_of_trials(wildcards):
    """Paths of what single batch sizes leave: shards, their digests, and statistics."""
    for folder in RESULTS:
        for protocol, epoch, batch_size in GRID:
            cell = dict(protocol=protocol, epoch=epoch, batch_size=batch_size)
            for shard in planning.shard_paths(experiment, folder, **cell):
                yield from (shard, f"{shard}.sha256")
            for path in rules.statistics.output:
                yield path.format(results=folder, **cell)


def largest_batch_shards(wildcards):
    """Shards of the largest batch size, which every other one is compared with."""
    largest = experiment.protocols[wildcards.protocol].batch_sizes[-1]
    return shards(wildcards, wildcards.protocol, wildcards.epoch, largest)


def starting_checkpoint(wildcards):
    """The checkpoint a shard starts from, ancient once it is what this experiment makes.

    Training runs again for a further checkpoint; that must not recollect from the others. Only a
    shard that is there gets an ancient input: when training runs, Snakemake passes over the jobs
    behind an ancient one, even those whose output is missing.
    """
    path = f"{results(wildcards)}/checkpoints/epoch{wildcards.epoch}.safetensors"
    shard = rules.collect.output.shard.format(**wildcards)
    kept = planning.is_kept(Path(path), Path(shard), training_digest(wildcards))
    return ancient(path) if kept else path


def settings(wildcards):
    """The record of the trials that a file holds."""
    return to_mapping(
        experiment.trial_settings(
            wildcards.get("protocol", ROLES["main"]),
            int(wildcards.get("epoch", 0)),
            int(wildcards.get("batch_size", 0)),
            training_seed(wildcards),
        )
    )


def statistics_files(suffix, *protocols):
    """What the statistics jobs of all protocols, or of some, write."""
    return [
        f"<results>/statistics/{protocol}/epoch{epoch}/batch{batch_size}.{suffix}"
        for protocol, epoch, batch_size in planning.grid(experiment, *protocols)
    ]


ROLES = planning.protocol_roles(experiment)
MAIN_PROTOCOL = planning.main_protocol(experiment)

FORMATS = config["figures"]["formats"]
# What goes into the report: a browser shows the svg at the size of a printed column, the png larger.
REPORT_FORMAT = next((name for name in ("png", "svg") if name in FORMATS), FORMATS[0])


def labels(**texts):
    """Labels of a file in the report, which also tell training seeds apart."""
    if not SEVERAL_SEEDS:
        return texts
    return lambda wildcards: {**texts, "training seed": str(training_seed(wildcards))}


def table(name, caption, shows):
    """A table of the report."""
    return report(
        f"<results>/{name}",
        caption=f"../report/{caption}.rst",
        category="7 Tables",
        labels=labels(table=shows),
    )


def figure(name, category, shows):
    """Files of a figure, the first of them in the report, with a caption where there is one."""
    captioned = Path(workflow.basedir, "workflow", "report", f"{name}.rst").exists()
    first = report(
        f"<results>/figures/{name}.{REPORT_FORMAT}",
        caption=f"../report/{name}.rst" if captioned else None,
        category=category,
        labels=labels(figure=shows),
    )
    others = [suffix for suffix in FORMATS if suffix != REPORT_FORMAT]
    return [first, *(f"<results>/figures/{name}.{suffix}" for suffix in others)]
