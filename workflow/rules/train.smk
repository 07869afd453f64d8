"""One training run gives all checkpoints."""

if TO_DOWNLOAD:

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


rule train:
    input:
        data=DATA_FILES,
    output:
        checkpoints=[update(checkpoint) for checkpoint in CHECKPOINTS],
        digests=[update(f"{checkpoint}.sha256") for checkpoint in CHECKPOINTS],
        table=table("training.csv", "training_table", "Training"),
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
        code=code("train"),
        seed=training_seed,
        data=DATA,
        model=experiment.model,
        training=vars(experiment.training),
        epochs=experiment.checkpoints,
        digest=training_digest,
    script:
        "../../scripts/train.py"
