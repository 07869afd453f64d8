"""Describe one batch size: a row of the table of statistics, and maps of the weights."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job
from gradatlas.statistics.batch_size import describe_batch_size

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    describe_batch_size(
        [Path(shard) for shard in snakemake.input.shards],
        [Path(shard) for shard in snakemake.input.largest_batch_shards],
        Path(snakemake.output.row),
        Path(snakemake.output.maps),
        max_order=snakemake.params.max_order,
        resamples=snakemake.params.resamples,
        confidence=snakemake.params.confidence,
        seed=snakemake.params.seed,
    )
