"""Draw the figures that show single trials and single weights."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    from gradatlas.core.stamps import write_stamp
    from gradatlas.figures.drawing import draw_details

    draw_details(
        [Path(maps) for maps in snakemake.input.maps],
        Path(snakemake.input.steps),
        [Path(target) for target in snakemake.output.figures],
    )
    write_stamp(
        Path(snakemake.output.made), snakemake.params.facts, snakemake.input, snakemake.output
    )
