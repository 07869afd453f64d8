"""What the report says: of the experiment what the atlas holds, and of each file a caption."""

import sys

from gradatlas.core.stamps import altered_files


report: "../report/workflow.rst"


if any(argument.startswith("--report") for argument in sys.argv):
    # Snakemake takes what is there into the report, of whatever run it is.
    altered = sorted(altered_files(planning.stamps(experiment)))
    if altered:
        sys.exit(
            f"report: {altered[0]} is not what other results were made from or with; run "
            "snakemake to its end first, so that the report is of one experiment"
        )
    config["archive"] = planning.archive_facts(
        Path(next(iter(RESULTS)), "gradients.h5")
    )


# What goes into the report: a browser shows the svg at the size of a printed column, the png larger.
REPORT_FORMAT = next((name for name in ("png", "svg") if name in FORMATS), FORMATS[0])


def labels(**texts):
    """Labels of a file in the report, which also tell training seeds apart."""
    if not SEVERAL_SEEDS:
        return texts
    return lambda wildcards: {**texts, "training seed": str(training_seed(wildcards))}


def table(name, caption, shows):
    """A table of the report."""
    return report(
        f"<results>/{name}",
        caption=f"../report/{caption}.rst",
        category="7 Tables",
        labels=labels(table=shows),
    )


def figure(name, category, shows):
    """Files of a figure, the first of them in the report, with a caption where there is one."""
    captioned = Path(ROOT, "workflow", "report", f"{name}.rst").exists()
    first = report(
        f"<results>/figures/{name}.{REPORT_FORMAT}",
        caption=f"../report/{name}.rst" if captioned else None,
        category=category,
        labels=labels(figure=shows),
    )
    others = [suffix for suffix in FORMATS if suffix != REPORT_FORMAT]
    return [first, *(f"<results>/figures/{name}.{suffix}" for suffix in others)]
