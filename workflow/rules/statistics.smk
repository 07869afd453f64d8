"""From shards to tables: one job a batch size, then what compares batch sizes."""


localrules:
    statistics_table,


rule statistics:
    input:
        shards=lambda wildcards: shards(
            wildcards, wildcards.protocol, wildcards.epoch, wildcards.batch_size
        ),
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
        code=code("statistics"),
        max_order=lookup("statistics/max_order", within=config),
        resamples=lookup("statistics/bootstrap", within=config),
        confidence=lookup("statistics/confidence", within=config),
        seed=experiment.seed,
    script:
        "../../scripts/statistics.py"


rule statistics_table:
    input:
        rows=statistics_files("json"),
    output:
        table=table("statistics.csv", "statistics_table", "All statistics"),
        notes=table(
            "statistics_notes.csv", "statistics_notes", "Why a number is missing"
        ),
    log:
        "<results>/logs/statistics_table.log",
    benchmark:
        "<results>/benchmarks/statistics_table.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        code=code("statistics_table"),
    script:
        "../../scripts/statistics_table.py"


rule claims:
    input:
        maps=statistics_files("h5"),
    output:
        scaling=table("scaling.csv", "scaling_table", "Laws"),
        law_curves="<results>/law_curves.csv",
        local_exponents="<results>/local_exponents.csv",
        norm_definitions=table(
            "norm_definitions.csv", "norm_definitions_table", "Definitions of the norm"
        ),
        variance_sources="<results>/variance_sources.csv",
        noise_scale="<results>/noise_scale.csv",
        claims="<results>/claims.csv",
        notes="<results>/comparison_notes.csv",
        claims_page=table("claims.md", "claims_page", "Claims, with their rules"),
    log:
        "<results>/logs/claims.log",
    benchmark:
        "<results>/benchmarks/claims.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        code=code("claims"),
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
        code=code("seeds"),
        confidence=lookup("statistics/confidence", within=config),
    script:
        "../../scripts/seeds.py"
