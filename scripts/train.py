"""Train once, keep the checkpoints."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job
from gradatlas.core.settings import Training
from gradatlas.train.loop import run

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    run(
        Path(snakemake.params.data),
        dict(zip(snakemake.params.epochs, map(Path, snakemake.output.checkpoints), strict=True)),
        Path(snakemake.output.table),
        model=snakemake.params.model,
        settings=Training(**snakemake.params.training),
        seed=snakemake.params.seed,
        device=snakemake.config["device"],
        threads=snakemake.threads,
        digest=snakemake.params.digest,
    )
