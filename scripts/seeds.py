"""Compare training seeds."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    from gradatlas.core.stamps import write_stamp
    from gradatlas.statistics.tables import compare_seeds

    compare_seeds(
        [Path(table) for table in snakemake.input.statistics],
        [Path(table) for table in snakemake.input.claims],
        Path(snakemake.output.statistics),
        Path(snakemake.output.claims),
        confidence=snakemake.params.confidence,
    )
    write_stamp(
        Path(snakemake.output.made), snakemake.params.facts, snakemake.input, snakemake.output
    )
