"""Compare all batch sizes and put the article's claims to the test."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradatlas.core.job_log import job

if TYPE_CHECKING:
    from snakemake.script import snakemake

with job(snakemake.log[0]):
    from gradatlas.core.stamps import write_stamp
    from gradatlas.statistics.claims import compare_batch_sizes

    compare_batch_sizes(
        [Path(maps) for maps in snakemake.input.maps],
        {name: Path(path) for name, path in snakemake.output.items() if name != "made"},
        resamples=snakemake.params.settings["bootstrap"],
        confidence=snakemake.params.settings["confidence"],
        seed=snakemake.params.settings["seed"],
    )
    write_stamp(
        Path(snakemake.output.made), snakemake.params.facts, snakemake.input, snakemake.output
    )
