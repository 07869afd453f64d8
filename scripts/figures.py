"""Draw the figures that need the tables alone."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    from gradatlas.core.stamps import write_stamp
    from gradatlas.figures.drawing import draw_summary

    draw_summary(
        {name: Path(path) for name, path in snakemake.input.items() if name != "again"},
        snakemake.params.confidence,
        [Path(target) for target in snakemake.output.figures],
        **snakemake.params.roles,
    )
    write_stamp(
        Path(snakemake.output.made), snakemake.params.facts, snakemake.input, snakemake.output
    )
