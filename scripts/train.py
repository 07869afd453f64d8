"""Train once, keep the checkpoints."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.configuration import Training
from gradatlas.jobs import job
from gradatlas.training import run

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    settings = Training(**snakemake.params.training)
    run(
        Path(snakemake.params.data),
        dict(zip(settings.checkpoints, map(Path, snakemake.output.checkpoints), strict=True)),
        Path(snakemake.output.table),
        hidden=tuple(snakemake.params.hidden),
        settings=settings,
        seed=snakemake.params.seed,
        device=snakemake.config["device"],
        threads=snakemake.threads,
        digest=snakemake.params.digest,
    )
