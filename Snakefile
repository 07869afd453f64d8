"""Gradient Atlas: checkpoints -> gradients -> statistics -> figures."""

from pathlib import Path

from gradatlas.core.configuration import check_file
from gradatlas.planning import in_one_sentence
from snakemake.utils import min_version

min_version("9.27")


# A folder of its own (--directory) need not bring a configuration.
own_config = Path("config.yaml")
if own_config.exists():
    with in_one_sentence("configuration"):
        check_file(own_config)


configfile: own_config if own_config.exists() else workflow.source_path("config.yaml")


include: "workflow/rules/common.smk"
include: "workflow/rules/current.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/archive.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/figures.smk"


localrules:
    all,


TABLES_AND_FIGURES = [
    rules.training_table,
    rules.steps,
    rules.atlas,
    rules.statistics_table,
    rules.claims,
    rules.figures,
    rules.detail_figures,
    rules.pages,
]


# Every file that a job leaves: Snakemake makes a missing one again only where a target names it.
rule all:
    default_target: True
    input:
        [have(file) for files in COSTLY for file in files],
        [
            path.format(results=folder, **cell)
            for folder in RESULTS
            for cell in CELLS
            for path in map(as_written, rules.statistics.output)
        ],
        [
            path.format(results=folder)
            for folder in RESULTS
            for rule in TABLES_AND_FIGURES
            for path in map(as_written, rule.output)
        ],
        rules.seeds.output if SEVERAL_SEEDS else [],


if PLANS:
    look_around()
