"""Write the interactive pages."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    from gradatlas.core.stamps import write_stamp
    from gradatlas.figures.pages import write_pages

    write_pages(
        Path(snakemake.input.statistics),
        [Path(maps) for maps in snakemake.input.maps],
        Path(snakemake.output.norm),
        Path(snakemake.output.distribution),
    )
    write_stamp(
        Path(snakemake.output.made), snakemake.params.facts, snakemake.input, snakemake.output
    )
