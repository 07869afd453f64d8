"""The experiment, and the paths that several rules share."""

import re

from gradatlas.configuration import check_file, read_experiment
from gradatlas.data import folder
from gradatlas.errors import InputError
from gradatlas.sharding import TrialRange, plan_shards
from snakemake.exceptions import WorkflowError

try:
    for path in workflow.configfiles:
        check_file(Path(path))
    experiment = read_experiment(
        config, Path(workflow.source_path("../schemas/config.schema.yaml"))
    )
except InputError as error:
    raise WorkflowError(f"configuration: {error}") from None

DATA = folder(Path(workflow.basedir, experiment.data_root), experiment.dataset)


wildcard_constraints:
    protocol="[a-z][a-z0-9_]*",
    epoch="[0-9]+",
    batch_size="[0-9]+",
    first="[0-9]+",
    last="[0-9]+",


def code(script, *modules):
    """The script and the modules of the package that determine a rule's output."""
    package = Path(workflow.basedir, "src", "gradatlas")
    paths = [package / module.replace(".", "/") for module in modules]
    return [
        Path(workflow.basedir, "scripts", f"{script}.py"),
        *(
            path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            for path in paths
        ),
    ]


def checkpoint(epoch):
    return f"results/checkpoints/epoch{epoch}.safetensors"


def shards(protocol, epoch, batch_size):
    """Paths of a batch size's shards, those already collected included."""
    folder = Path(f"results/gradients/{protocol}/epoch{epoch}/batch{batch_size}")
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
