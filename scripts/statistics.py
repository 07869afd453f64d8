"""Describe one batch size: a row of the table of statistics, and maps of the weights."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    from gradatlas.core.stamps import write_stamp
    from gradatlas.statistics.batch_size import describe_batch_size

    describe_batch_size(
        [Path(shard) for shard in snakemake.input.shards],
        [Path(shard) for shard in snakemake.input.largest_batch_shards],
        Path(snakemake.output.row),
        Path(snakemake.output.maps),
        max_order=snakemake.params.settings["max_order"],
        resamples=snakemake.params.settings["bootstrap"],
        confidence=snakemake.params.settings["confidence"],
        seed=snakemake.params.settings["seed"],
        trials=snakemake.params.trials,
    )
    write_stamp(
        Path(snakemake.output.made), snakemake.params.facts, snakemake.input, snakemake.output
    )
