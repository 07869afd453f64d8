"""Follow the steps of single trials."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.collect.trajectory import trace_steps
from gradatlas.core.job_log import job
from gradatlas.core.settings import from_mapping

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    trace_steps(
        Path(snakemake.output[0]),
        from_mapping(snakemake.params.settings),
        snakemake.params.batch_sizes,
        dict(zip(snakemake.params.epochs, map(Path, snakemake.input.checkpoints), strict=True)),
        Path(snakemake.params.data),
    )
