"""From shards to tables: one job a batch size, then what compares batch sizes."""


localrules:
    statistics_table,


CELL = planning.CELL


rule statistics:
    input:
        shards=lambda wildcards: list(map(have, batch_size_shards(wildcards))),
        largest_batch_shards=lambda wildcards: list(
            map(have, largest_batch_shards(wildcards))
        ),
        digests=lambda wildcards: [
            have(planning.shard_files(shard)[1])
            for shards in (batch_size_shards, largest_batch_shards)
            for shard in shards(wildcards)
        ],
        again=again_unless_current(f"<results>/{CELL}.json"),
    output:
        row=f"<results>/{CELL}.json",
        maps=f"<results>/{CELL}.h5",
        made=made(CELL),
    log:
        f"<results>/logs/{CELL}.log",
    benchmark:
        f"<results>/benchmarks/{CELL}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        facts=facts("statistics"),
        settings={**STATISTICS, "seed": experiment.seed},
        trials=lambda wildcards: experiment.protocols[wildcards.protocol].trials,
    script:
        "../../scripts/statistics.py"


rule statistics_table:
    input:
        rows=all_in_folder(statistics_files("json")),
        again=again_unless_current("<results>/statistics.csv"),
    output:
        table=table("statistics.csv", "statistics_table", "All statistics"),
        notes=table(
            "statistics_notes.csv", "statistics_notes", "Why a number is missing"
        ),
        made=made("statistics_table"),
    log:
        "<results>/logs/statistics_table.log",
    benchmark:
        "<results>/benchmarks/statistics_table.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        facts=facts("statistics_table"),
    script:
        "../../scripts/statistics_table.py"


rule claims:
    input:
        maps=all_in_folder(statistics_files("h5")),
        again=again_unless_current("<results>/claims.csv"),
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
        made=made("claims"),
    log:
        "<results>/logs/claims.log",
    benchmark:
        "<results>/benchmarks/claims.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        facts=facts("claims"),
        settings={**STATISTICS, "seed": experiment.seed},
    script:
        "../../scripts/claims.py"


# Only where there are several training seeds.
rule seeds:
    input:
        statistics=lambda wildcards: [have(f"{one}/statistics.csv") for one in RESULTS],
        claims=lambda wildcards: [have(f"{one}/claims.csv") for one in RESULTS],
        again=again_unless_current("results/seeds.csv"),
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
        made="results/.made/seeds.json",
    log:
        "results/logs/seeds.log",
    benchmark:
        "results/benchmarks/seeds.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    params:
        facts=facts("seeds"),
        confidence=STATISTICS["confidence"],
    script:
        "../../scripts/seeds.py"
