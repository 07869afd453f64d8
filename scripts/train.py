"""Train to one checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job

if TYPE_CHECKING:
    from snakemake.script import snakemake

earlier = snakemake.input.get("earlier")  # a checkpoint and what lies beside it

with job(snakemake.log[0]):
    from gradatlas.train.job import run

    run(
        Path(snakemake.output.checkpoint),
        int(snakemake.wildcards.epoch),
        snakemake.params.facts,
        data=Path(snakemake.input.data[0]).parent,
        earlier=Path(earlier[0]) if earlier else None,
        device=snakemake.config["device"],
        threads=snakemake.threads,
    )
