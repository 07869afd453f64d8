"""Collect one shard."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    from gradatlas.collect.shard import collect
    from gradatlas.core.settings import TrialRange, from_mapping

    collect(
        Path(snakemake.output.shard),
        from_mapping(snakemake.params.settings),
        TrialRange(int(snakemake.wildcards.first), int(snakemake.wildcards.last)),
        checkpoint=Path(snakemake.input.checkpoint[0]),
        data=Path(snakemake.input.data[0]).parent,
        device=snakemake.config["device"],
    )
