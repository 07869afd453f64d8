"""Copy all shards into one self-contained file."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    from gradatlas.archive.export import export
    from gradatlas.core.stamps import write_stamp

    export(Path(snakemake.input.atlas), Path(snakemake.output.export), progress=True)
    write_stamp(
        Path(snakemake.output.made), snakemake.params.facts, snakemake.input, snakemake.output
    )
