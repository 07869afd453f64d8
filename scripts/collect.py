"""Collect one shard."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.collection import collect
from gradatlas.configuration import Collection
from gradatlas.jobs import job
from gradatlas.sharding import TrialRange

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    collect(
        Path(snakemake.output[0]),
        Collection(**snakemake.params.collection),
        epoch=int(snakemake.wildcards.epoch),
        batch_size=int(snakemake.wildcards.batch_size),
        trials=TrialRange(int(snakemake.wildcards.first), int(snakemake.wildcards.last)),
        checkpoint=Path(snakemake.input.checkpoint),
        data=Path(snakemake.params.data),
        device=snakemake.config["device"],
    )
