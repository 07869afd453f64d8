"""Compare all batch sizes and put the article's claims to the test."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job
from gradatlas.statistics.claims import compare_batch_sizes

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    compare_batch_sizes(
        [Path(maps) for maps in snakemake.input.maps],
        {name: Path(path) for name, path in snakemake.output.items()},
        resamples=snakemake.params.resamples,
        confidence=snakemake.params.confidence,
        seed=snakemake.params.seed,
    )
