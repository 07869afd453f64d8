"""The experiment, and the paths that several rules share."""

import os
import re
from functools import cache

from gradatlas.checkpoint import training_digest
from gradatlas.configuration import check_file, read_experiment
from gradatlas.data import folder
from gradatlas.device import resolve_device
from gradatlas.errors import InputError
from gradatlas.provenance import file_digest, mapping_digest
from gradatlas.sharding import TrialRange, plan_shards
from snakemake.exceptions import WorkflowError

# Where Snakemake itself would end in a traceback.
for path in (Path.cwd(), Path.cwd() / "results"):
    if path.exists() and not os.access(path, os.W_OK):
        raise WorkflowError(
            f"{path} is read-only; to run, copy results/ to a folder of your own and name that by "
            "--directory; to read, use gradatlas.open and gradatlas verify"
        )

try:
    for path in workflow.configfiles:
        check_file(Path(path))
    experiment = read_experiment(
        config, Path(workflow.source_path("../schemas/config.schema.yaml"))
    )
except InputError as error:
    raise WorkflowError(f"configuration: {error}") from None

# GPUs that a job of training or collection asks for.
GPUS = int(experiment.device == "cuda" or resolve_device(experiment.device) == "cuda")


# What profiles/default has to give is for the jobs of this machine; a cluster has its own.
resource_scopes:
    gpu="local",


DATA = folder(Path(workflow.basedir, experiment.data_root), experiment.dataset)


# The results folder of each training seed. That of the trials' seed is the plain one, so that
# further training seeds leave its files where they are.
RESULTS = {
    "results" if seed == experiment.seed else f"results/seed{seed}": seed
    for seed in experiment.training_seeds
}
SEVERAL_SEEDS = len(experiment.training_seeds) > 1


pathvars:
    results="{results}" if SEVERAL_SEEDS else next(iter(RESULTS)),


wildcard_constraints:
    results="|".join(RESULTS),
    protocol="[a-z][a-z0-9_]*",
    epoch="[0-9]+",
    batch_size="[0-9]+",
    first="[0-9]+",
    last="[0-9]+",


source_digest = cache(file_digest)


def code(script, *modules):
    """Digest of the script and the modules of the package that determine a rule's output."""
    package = Path(workflow.basedir, "src", "gradatlas")
    paths = [package / module.replace(".", "/") for module in modules]
    sources = [
        Path(workflow.basedir, "scripts", f"{script}.py"),
        *(
            path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            for path in paths
        ),
    ]
    return mapping_digest({"code": [source_digest(source) for source in sources]})


def checkpoint(epoch):
    return f"<results>/checkpoints/epoch{epoch}.safetensors"


def results(wildcards):
    """The results folder that a file belongs to."""
    return wildcards.get("results", next(iter(RESULTS)))


def training_seed(wildcards):
    """The seed of the training run that a file belongs to."""
    return RESULTS[results(wildcards)]


def shards(wildcards, protocol, epoch, batch_size):
    """Paths of a batch size's shards, those already collected included."""
    folder = Path(results(wildcards), "gradients", protocol)
    folder = folder / f"epoch{epoch}" / f"batch{batch_size}"
    names = (
        re.fullmatch(r"trials(\d+)-(\d+)\.h5", path.name)
        for path in folder.glob("*.h5")
    )
    existing = frozenset(TrialRange(*map(int, name.groups())) for name in names if name)
    planned = plan_shards(
        experiment.protocols[protocol].trials, experiment.trials_per_job, existing
    )
    return [f"{folder}/trials{trials}.h5" for trials in planned]


def grid():
    """Every (protocol, epoch, batch size) of the experiment."""
    for protocol in experiment.protocols.values():
        for epoch in experiment.training.checkpoints:
            for batch_size in protocol.batch_sizes:
                yield protocol.name, epoch, batch_size


def all_shards(wildcards):
    """Paths of every shard of one training seed."""
    return [shard for cell in grid() for shard in shards(wildcards, *cell)]


def batch_size_shards(wildcards):
    """Shards of the batch size that a file belongs to."""
    return shards(wildcards, wildcards.protocol, wildcards.epoch, wildcards.batch_size)


TRAINING_CODE = code(
    "train",
    "checkpoint",
    "configuration",
    "data",
    "device",
    "errors",
    "jobs",
    "model",
    "provenance",
    "replacing",
    "sampling",
    "training",
    "trials",
)

# What makes a checkpoint beside the seed, which epochs are kept apart.
TRAINING_FACTS = {
    "data": experiment.dataset,
    "hidden": experiment.hidden,
    "batch_size": experiment.training.batch_size,
    "learning_rate": experiment.training.learning_rate,
    "momentum": experiment.training.momentum,
    "code": TRAINING_CODE,
}


def expected_training_digest(wildcards):
    """What the checkpoints of a run must carry: those that do stay."""
    return mapping_digest({"seed": training_seed(wildcards), **TRAINING_FACTS})


def checkpoint_input(wildcards):
    """The checkpoint a shard starts from, ancient once it is what this experiment makes.

    Training runs again for a further checkpoint; that must not recollect from the others. Only a
    shard that is there gets an ancient input: when training runs, Snakemake passes over the jobs
    behind an ancient one, even those whose output is missing.
    """
    path = checkpoint(wildcards.epoch).replace("<results>", results(wildcards))
    expected = expected_training_digest(wildcards)
    collected = Path(rules.collect.output[0].format(**wildcards)).exists()
    kept = collected and training_digest(Path(path)) == expected
    return ancient(path) if kept else path


def largest_batch_shards(wildcards):
    """Shards of the largest batch size, which every other one is compared with."""
    largest = experiment.protocols[wildcards.protocol].batch_sizes[-1]
    return shards(wildcards, wildcards.protocol, wildcards.epoch, largest)


def protocol_roles():
    """Which protocol figures show as what; the main one is what the article measured."""
    protocols = experiment.protocols.values()
    moving = [item for item in protocols if item.update == "sgd"]
    own_samples = [item for item in moving if item.sample_sets is None]
    return {
        "main": [*own_samples, *moving, *protocols][0].name,
        "frozen": [item.name for item in protocols if item.update == "none"],
        "reordered": [item.name for item in protocols if item.sample_sets is not None],
    }


FORMATS = config["figures"]["formats"]
# What goes into the report: a browser shows the svg at the size of a printed column, the png larger.
REPORT_FORMAT = next((name for name in ("png", "svg") if name in FORMATS), FORMATS[0])


def labels(**texts):
    """Labels of a file in the report, which also tell training seeds apart."""
    if not SEVERAL_SEEDS:
        return texts
    return lambda wildcards: {**texts, "training seed": str(training_seed(wildcards))}


def figure(name, category, shows):
    """Files of a figure, the first of them in the report under its category."""
    first = report(
        f"<results>/figures/{name}.{REPORT_FORMAT}",
        caption=f"../report/{name}.rst",
        category=category,
        labels=labels(figure=shows),
    )
    others = [suffix for suffix in FORMATS if suffix != REPORT_FORMAT]
    return [first, *(f"<results>/figures/{name}.{suffix}" for suffix in others)]
