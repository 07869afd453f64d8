"""Follow the steps of single trials."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.configuration import Collection
from gradatlas.jobs import job
from gradatlas.steps import trace_steps

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    trace_steps(
        Path(snakemake.output[0]),
        Collection(**snakemake.params.collection),
        snakemake.params.batch_sizes,
        dict(zip(snakemake.params.epochs, map(Path, snakemake.input.checkpoints), strict=True)),
        Path(snakemake.params.data),
    )
