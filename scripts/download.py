"""Fetch the data set through torchvision."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    from gradatlas.data.idx import download

    download(snakemake.params.name, Path(snakemake.output[0]).parent)
