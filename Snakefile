"""Gradient Atlas: checkpoints -> gradients -> statistics -> figures."""

from pathlib import Path

from gradatlas.core.configuration import check_file
from snakemake.utils import min_version

min_version("9.27")


# A folder of its own (--directory) need not bring a configuration.
own_config = Path("config.yaml")
if own_config.exists():
    check_file(own_config)


configfile: own_config if own_config.exists() else workflow.source_path("config.yaml")


include: "workflow/rules/common.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/archive.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/figures.smk"


localrules:
    all,


# Every file that a job leaves: Snakemake makes a missing one again only where a target names it.
rule all:
    default_target: True
    input:
        made_of_trials,
        expand(
            [
                rules.train.output.table,
                *rules.steps.output,
                *rules.atlas.output,
                *rules.statistics_table.output,
                *rules.claims.output,
                *rules.figures.output,
                *rules.detail_figures.output,
                *rules.pages.output,
            ],
            results=RESULTS,
        ),
        rules.seeds.output if SEVERAL_SEEDS else [],
