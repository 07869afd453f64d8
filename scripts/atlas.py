"""Show all shards as one file."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    from gradatlas.archive.atlas import build_atlas
    from gradatlas.core.stamps import write_stamp

    build_atlas(
        Path(snakemake.output.atlas),
        [Path(shard) for shard in snakemake.input.shards],
        dict(zip(snakemake.params.epochs, map(Path, snakemake.input.checkpoints), strict=True)),
        snakemake.params.trials,
    )
    write_stamp(
        Path(snakemake.output.made), snakemake.params.facts, snakemake.input, snakemake.output
    )
