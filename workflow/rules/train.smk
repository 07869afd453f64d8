"""One training run gives all checkpoints."""

from dataclasses import asdict

from gradatlas.data import IDX_FILES, DataError, idx_paths

try:
    DATA_FILES = [str(path) for path in idx_paths(DATA).values()]
except DataError:  # to be fetched; the names are those the download gives them
    DATA_FILES = [str(DATA / pattern.format(3)) for pattern in IDX_FILES.values()]

    rule download:
        output:
            DATA_FILES,
        log:
            "results/logs/download.log",
        benchmark:
            "results/benchmarks/download.tsv"
        params:
            name=experiment.dataset,
            folder=DATA,
        script:
            "../../scripts/download.py"


rule train:
    input:
        data=DATA_FILES,
        code=code(
            "train",
            "checkpoint",
            "configuration",
            "data",
            "device",
            "errors",
            "jobs",
            "model",
            "provenance",
            "sampling",
            "training",
        ),
    output:
        checkpoints=[checkpoint(epoch) for epoch in experiment.training.checkpoints],
        table="results/training.csv",
    log:
        "results/logs/train.log",
    benchmark:
        "results/benchmarks/train.tsv"
    threads: 2
    params:
        seed=experiment.seed,
        data=DATA,
        hidden=experiment.hidden,
        training=asdict(experiment.training),
    script:
        "../../scripts/train.py"
