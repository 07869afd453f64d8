"""Collect one shard."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.collect.shard import collect
from gradatlas.core.job_log import job
from gradatlas.core.settings import TrialRange, from_mapping

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    collect(
        Path(snakemake.output.shard),
        from_mapping(snakemake.params.settings),
        TrialRange(int(snakemake.wildcards.first), int(snakemake.wildcards.last)),
        checkpoint=Path(snakemake.input.checkpoint[0]),
        data=Path(snakemake.input.data[0]).parent,
        device=snakemake.config["device"],
    )
