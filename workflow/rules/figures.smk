"""From tables to figures and pages."""

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
        checkpoints=lambda wildcards: list(map(have, checkpoints(wildcards))),
        digests=lambda wildcards: [
            have(checkpoint_files(path)[1]) for path in checkpoints(wildcards)
        ],
        data=DATA_INPUT,
        again=again_unless_current("<results>/steps.csv"),
    output:
        steps="<results>/steps.csv",
        made=made("steps"),
    log:
        "<results>/logs/steps.log",
    benchmark:
        "<results>/benchmarks/steps.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        facts=facts("steps"),
        settings=record,
        batch_sizes=MAIN_PROTOCOL.batch_sizes,
        epochs=EPOCHS,
    script:
        "../../scripts/steps.py"


rule figures:
    input:
        statistics=in_folder("<results>/statistics.csv"),
        training=in_folder("<results>/training.csv"),
        law_curves=in_folder("<results>/law_curves.csv"),
        variance_sources=in_folder("<results>/variance_sources.csv"),
        noise_scale=in_folder("<results>/noise_scale.csv"),
        claims=in_folder("<results>/claims.csv"),
        again=again_unless_current(SUMMARY_FIGURES[0]),
    output:
        figures=SUMMARY_FIGURES,
        made=made("figures"),
    log:
        "<results>/logs/figures.log",
    benchmark:
        "<results>/benchmarks/figures.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        facts=facts("figures"),
        roles=ROLES,
        confidence=STATISTICS["confidence"],
    script:
        "../../scripts/figures.py"


rule detail_figures:
    input:
        maps=all_in_folder(statistics_files("h5", ROLES["main"])),
        steps=in_folder("<results>/steps.csv"),
        again=again_unless_current(DETAIL_FIGURES[0]),
    output:
        figures=DETAIL_FIGURES,
        made=made("detail_figures"),
    log:
        "<results>/logs/detail_figures.log",
    benchmark:
        "<results>/benchmarks/detail_figures.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        facts=facts("detail_figures"),
    script:
        "../../scripts/detail_figures.py"


rule pages:
    input:
        statistics=in_folder("<results>/statistics.csv"),
        maps=all_in_folder(statistics_files("h5")),
        again=again_unless_current("<results>/figures/norm_vs_batch_size.html"),
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
        made=made("pages"),
    log:
        "<results>/logs/pages.log",
    benchmark:
        "<results>/benchmarks/pages.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        facts=facts("pages"),
    script:
        "../../scripts/pages.py"
