"""Fetch the data set through torchvision."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job
from gradatlas.data.idx import download

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    download(snakemake.params.name, Path(snakemake.output[0]).parent)
