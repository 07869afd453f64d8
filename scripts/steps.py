"""Follow the steps of single trials."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    from gradatlas.collect.trajectory import trace_steps
    from gradatlas.core.settings import from_mapping
    from gradatlas.core.stamps import write_stamp

    trace_steps(
        Path(snakemake.output.steps),
        from_mapping(snakemake.params.settings),
        snakemake.params.batch_sizes,
        dict(zip(snakemake.params.epochs, map(Path, snakemake.input.checkpoints), strict=True)),
        Path(snakemake.input.data[0]).parent,
    )
    write_stamp(
        Path(snakemake.output.made), snakemake.params.facts, snakemake.input, snakemake.output
    )
