"""Gather the rows of all batch sizes into one table."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    from gradatlas.core.stamps import write_stamp
    from gradatlas.statistics.tables import gather

    gather(
        [Path(row) for row in snakemake.input.rows],
        Path(snakemake.output.table),
        Path(snakemake.output.notes),
    )
    write_stamp(
        Path(snakemake.output.made), snakemake.params.facts, snakemake.input, snakemake.output
    )
