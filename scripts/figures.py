"""Draw the figures that need the tables alone."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job
from gradatlas.figures.drawing import Roles, draw_summary

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    draw_summary(
        {name: Path(snakemake.input[name]) for name in snakemake.params.tables},
        Roles(**snakemake.params.roles),
        snakemake.params.confidence,
        [Path(target) for target in snakemake.output],
    )
