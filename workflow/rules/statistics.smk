"""From shards to tables: one job a batch size, then what compares batch sizes."""


localrules:
    statistics_table,


def largest_batch_shards(wildcards):
    """Shards of the largest batch size, which every other one is compared with."""
    largest = experiment.protocols[wildcards.protocol].batch_sizes[-1]
    return shards(wildcards.protocol, wildcards.epoch, largest)


rule statistics:
    input:
        shards=lambda wildcards: shards(**wildcards),
        largest_batch_shards=largest_batch_shards,
        code=code(
            "statistics",
            "archive.checksums",
            "archive.chunks",
            "archive.errors",
            "archive.layout",
            "archive.reading",
            "archive.seal",
            "archive.selection",
            "archive.sources",
            "bootstrap",
            "covariance",
            "description",
            "errors",
            "jobs",
            "moments",
            "norms",
            "provenance",
            "scan",
            "sharding",
            "statistics",
        ),
    output:
        row="results/statistics/{protocol}/epoch{epoch}/batch{batch_size}.json",
        maps="results/statistics/{protocol}/epoch{epoch}/batch{batch_size}.h5",
    log:
        "results/logs/statistics/{protocol}/epoch{epoch}/batch{batch_size}.log",
    benchmark:
        "results/benchmarks/statistics/{protocol}/epoch{epoch}/batch{batch_size}.tsv"
    threads: 1
    params:
        max_order=lookup("statistics/max_order", within=config),
        resamples=lookup("statistics/bootstrap", within=config),
        confidence=lookup("statistics/confidence", within=config),
        seed=experiment.seed,
    script:
        "../../scripts/statistics.py"


rule statistics_table:
    input:
        rows=[
            f"results/statistics/{protocol}/epoch{epoch}/batch{batch_size}.json"
            for protocol, epoch, batch_size in grid()
        ],
        code=code(
            "statistics_table",
            "archive.layout",
            "description",
            "errors",
            "jobs",
            "provenance",
            "tables",
        ),
    output:
        table="results/statistics.csv",
        notes="results/statistics_notes.csv",
    log:
        "results/logs/statistics_table.log",
    benchmark:
        "results/benchmarks/statistics_table.tsv"
    threads: 1
    script:
        "../../scripts/statistics_table.py"
