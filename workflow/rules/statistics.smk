"""From shards to tables: one job a batch size, then what compares batch sizes."""


localrules:
    statistics_table,


rule statistics:
    input:
        shards=batch_size_shards,
        largest_batch_shards=largest_batch_shards,
    output:
        row="<results>/statistics/{protocol}/epoch{epoch}/batch{batch_size}.json",
        maps="<results>/statistics/{protocol}/epoch{epoch}/batch{batch_size}.h5",
    log:
        "<results>/logs/statistics/{protocol}/epoch{epoch}/batch{batch_size}.log",
    benchmark:
        "<results>/benchmarks/statistics/{protocol}/epoch{epoch}/batch{batch_size}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        code=code(
            "statistics",
            "archive.checksums",
            "archive.chunks",
            "archive.errors",
            "archive.groups",
            "archive.layout",
            "archive.lazy",
            "archive.reading",
            "archive.seal",
            "archive.segment",
            "archive.selection",
            "archive.sources",
            "archive.sums",
            "bootstrap",
            "compiling",
            "covariance",
            "description",
            "errors",
            "jobs",
            "moments",
            "norms",
            "provenance",
            "replacing",
            "scan",
            "shape",
            "sharding",
            "statistics",
        ),
        max_order=lookup("statistics/max_order", within=config),
        resamples=lookup("statistics/bootstrap", within=config),
        confidence=lookup("statistics/confidence", within=config),
        seed=experiment.seed,
    script:
        "../../scripts/statistics.py"


rule statistics_table:
    input:
        rows=[
            f"<results>/statistics/{protocol}/epoch{epoch}/batch{batch_size}.json"
            for protocol, epoch, batch_size in grid()
        ],
    output:
        table=report(
            "<results>/statistics.csv",
            caption="../report/statistics_table.rst",
            category="7 Tables",
            labels=labels(table="All statistics"),
        ),
        notes=report(
            "<results>/statistics_notes.csv",
            caption="../report/statistics_notes.rst",
            category="7 Tables",
            labels=labels(table="Why a number is missing"),
        ),
    log:
        "<results>/logs/statistics_table.log",
    benchmark:
        "<results>/benchmarks/statistics_table.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        code=code(
            "statistics_table",
            "archive.layout",
            "description",
            "errors",
            "jobs",
            "provenance",
            "replacing",
            "sharding",
            "tables",
        ),
    script:
        "../../scripts/statistics_table.py"


rule claims:
    input:
        maps=[
            f"<results>/statistics/{protocol}/epoch{epoch}/batch{batch_size}.h5"
            for protocol, epoch, batch_size in grid()
        ],
    output:
        scaling=report(
            "<results>/scaling.csv",
            caption="../report/scaling_table.rst",
            category="7 Tables",
            labels=labels(table="Laws"),
        ),
        law_curves="<results>/law_curves.csv",
        local_exponents="<results>/local_exponents.csv",
        readings=report(
            "<results>/readings.csv",
            caption="../report/readings_table.rst",
            category="7 Tables",
            labels=labels(table="Readings of the norm"),
        ),
        variance_sources="<results>/variance_sources.csv",
        noise_scale="<results>/noise_scale.csv",
        claims="<results>/claims.csv",
        notes="<results>/comparison_notes.csv",
        claims_page=report(
            "<results>/claims.md",
            caption="../report/claims_page.rst",
            category="7 Tables",
            labels=labels(table="Claims, with their rules"),
        ),
    log:
        "<results>/logs/claims.log",
    benchmark:
        "<results>/benchmarks/claims.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        code=code(
            "claims",
            "archive.layout",
            "bootstrap",
            "claims",
            "comparison",
            "compiling",
            "covariance",
            "description",
            "errors",
            "evidence",
            "jackknife",
            "jobs",
            "laws",
            "noise_scale",
            "norms",
            "provenance",
            "readings",
            "replacing",
            "scaling",
            "sharding",
            "sweep",
            "tables",
            "variance_sources",
        ),
        resamples=lookup("statistics/bootstrap", within=config),
        confidence=lookup("statistics/confidence", within=config),
        seed=experiment.seed,
    script:
        "../../scripts/claims.py"


# Only where there are several training seeds.
rule seeds:
    input:
        statistics=expand(rules.statistics_table.output.table, results=RESULTS),
        claims=expand(rules.claims.output.claims, results=RESULTS),
    output:
        statistics=report(
            "results/seeds.csv",
            caption="../report/seeds_table.rst",
            category="7 Tables",
            labels={"table": "Spread between training seeds"},
        ),
        claims=report(
            "results/seed_claims.csv",
            caption="../report/seed_claims_table.rst",
            category="7 Tables",
            labels={"table": "Claims across training seeds"},
        ),
    log:
        "results/logs/seeds.log",
    benchmark:
        "results/benchmarks/seeds.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        code=code(
            "seeds",
            "archive.layout",
            "description",
            "errors",
            "jobs",
            "provenance",
            "replacing",
            "seeds",
            "sharding",
            "tables",
        ),
        confidence=lookup("statistics/confidence", within=config),
    script:
        "../../scripts/seeds.py"
