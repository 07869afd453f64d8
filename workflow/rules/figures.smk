"""From tables to figures, and what the report says about them."""

FORMATS = config["figures"]["formats"]
# What a browser shows best goes into the report.
REPORT_FORMAT = next((name for name in ("svg", "png") if name in FORMATS), FORMATS[0])


def main_protocol():
    """The protocol the article measured: weights that move, samples of its own for every trial."""
    protocols = experiment.protocols.values()
    moving = [item for item in protocols if item.update == "sgd"]
    own_samples = [item for item in moving if item.sample_sets is None]
    return [*own_samples, *moving, *protocols][0].name


def figure(name, category, shows):
    """Files of a figure, the first of them in the report under its category."""
    first = report(
        f"results/figures/{name}.{REPORT_FORMAT}",
        caption=f"../report/{name}.rst",
        category=category,
        labels={"shows": shows},
    )
    others = [suffix for suffix in FORMATS if suffix != REPORT_FORMAT]
    return [first, *(f"results/figures/{name}.{suffix}" for suffix in others)]


SUMMARY_FIGURES = [
    *figure("norm_vs_batch_size", "Gradient norm", "norm against batch size"),
    *figure(
        "normalised_norm_vs_batch_size",
        "Gradient norm",
        "spread at equal mean norm",
    ),
]


rule figures:
    input:
        statistics="results/statistics.csv",
        style=Path(workflow.basedir, "src/gradatlas/gradatlas.mplstyle"),
        code=code(
            "figures",
            "errors",
            "figures",
            "figures.norm",
            "figures.reading",
            "figures.remarks",
            "figures.style",
            "figures.summary",
            "jobs",
            "provenance",
        ),
    output:
        SUMMARY_FIGURES,
    log:
        "results/logs/figures.log",
    benchmark:
        "results/benchmarks/figures.tsv"
    threads: 1
    params:
        tables=["statistics"],
        protocol=main_protocol(),
    script:
        "../../scripts/figures.py"
