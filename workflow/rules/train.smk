"""One training run gives all checkpoints."""

from dataclasses import asdict

from gradatlas.configuration import check_samples
from gradatlas.data import IDX_FILES, count_training_samples, idx_paths, is_absent

if is_absent(DATA):
    # To be fetched; the names are those the download gives them.
    DATA_FILES = [str(DATA / pattern.format(3)) for pattern in IDX_FILES.values()]

    rule download:
        output:
            DATA_FILES,
        log:
            "results/logs/download.log",
        benchmark:
            "results/benchmarks/download.tsv"
        conda:
            "../../environment.yml"
        params:
            name=experiment.dataset,
            folder=DATA,
        script:
            "../../scripts/download.py"

else:
    try:
        DATA_FILES = [str(path) for path in idx_paths(DATA).values()]
        available = count_training_samples(DATA)
        for protocol in experiment.protocols.values():
            check_samples(
                protocol.name,
                protocol.samples_per_trial,
                experiment.dataset,
                available,
            )
    except (InputError, OSError) as error:
        raise WorkflowError(f"data: {error}") from None


rule train:
    input:
        data=DATA_FILES,
    output:
        checkpoints=[
            update(checkpoint(epoch)) for epoch in experiment.training.checkpoints
        ],
        table=report(
            "<results>/training.csv",
            caption="../report/training_table.rst",
            category="7 Tables",
            labels=labels(table="Training"),
        ),
    log:
        "<results>/logs/train.log",
    benchmark:
        "<results>/benchmarks/train.tsv"
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        gpu=GPUS,
    params:
        code=TRAINING_CODE,
        seed=training_seed,
        data=DATA,
        hidden=experiment.hidden,
        training=asdict(experiment.training),
        digest=expected_training_digest,
    script:
        "../../scripts/train.py"
