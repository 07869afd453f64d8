"""From tables to figures and pages, and what the report says about them."""


report: "../report/workflow.rst"


STYLE = Path(workflow.basedir, "src/gradatlas/figures/house.mplstyle")


SUMMARY_FIGURES = [
    *figure("norm_vs_batch_size", "1 Gradient norm", "Norm against batch size"),
    *figure("normalised_norm_vs_batch_size", "1 Gradient norm", "Spread at equal mean"),
    *figure("relative_spread", "1 Gradient norm", "Relative spread, with its control"),
    *figure("moments", "2 Distribution", "Skewness and kurtosis"),
    *figure("coherence", "3 Steps", "How far the steps agree"),
    *figure("direction", "3 Steps", "How the sum turns"),
    *figure("claims", "5 Verdicts", "The article's claims"),
    *figure("training", "6 Training", "Loss and accuracy"),
]
if MAIN_PROTOCOL.settings.update.moves:
    SUMMARY_FIGURES += figure("scaling_laws", "1 Gradient norm", "Laws and residuals")
if ROLES["reordered"]:
    SUMMARY_FIGURES += figure("variance_sources", "4 Sources", "Samples or order")
if ROLES["frozen"]:
    SUMMARY_FIGURES += figure("noise_scale", "4 Sources", "Gradient noise scale")

DETAIL_FIGURES = [
    *figure("norm_distribution", "2 Distribution", "Norms of single trials"),
    *figure("tails", "2 Distribution", "Tails of the norm"),
    *figure("steps", "3 Steps", "Steps of one trial"),
    *figure("weight_maps", "3 Steps", "Single weights"),
]


rule steps:
    input:
        checkpoints=CHECKPOINTS,
        data=DATA_FILES,
    output:
        "<results>/steps.csv",
    log:
        "<results>/logs/steps.log",
    benchmark:
        "<results>/benchmarks/steps.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        code=code("steps"),
        settings=settings,
        batch_sizes=MAIN_PROTOCOL.batch_sizes,
        epochs=experiment.checkpoints,
        data=DATA,
    script:
        "../../scripts/steps.py"


rule figures:
    input:
        statistics="<results>/statistics.csv",
        training="<results>/training.csv",
        law_curves="<results>/law_curves.csv",
        variance_sources="<results>/variance_sources.csv",
        noise_scale="<results>/noise_scale.csv",
        claims="<results>/claims.csv",
        style=STYLE,
    output:
        SUMMARY_FIGURES,
    log:
        "<results>/logs/figures.log",
    benchmark:
        "<results>/benchmarks/figures.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        code=code("figures"),
        roles=ROLES,
        confidence=lookup("statistics/confidence", within=config),
    script:
        "../../scripts/figures.py"


rule detail_figures:
    input:
        maps=statistics_files("h5", ROLES["main"]),
        steps="<results>/steps.csv",
        style=STYLE,
    output:
        DETAIL_FIGURES,
    log:
        "<results>/logs/detail_figures.log",
    benchmark:
        "<results>/benchmarks/detail_figures.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        code=code("detail_figures"),
    script:
        "../../scripts/detail_figures.py"


rule pages:
    input:
        statistics="<results>/statistics.csv",
        maps=statistics_files("h5"),
    output:
        norm=report(
            "<results>/figures/norm_vs_batch_size.html",
            caption="../report/norm_page.rst",
            category="8 Interactive pages",
            labels=labels(page="Norm against batch size"),
        ),
        distribution=report(
            "<results>/figures/norm_distribution.html",
            caption="../report/distribution_page.rst",
            category="8 Interactive pages",
            labels=labels(page="Norms of single trials"),
        ),
    log:
        "<results>/logs/pages.log",
    benchmark:
        "<results>/benchmarks/pages.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        code=code("pages"),
    script:
        "../../scripts/pages.py"
