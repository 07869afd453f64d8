"""One job a checkpoint, continuing from the one before."""

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
        script:
            "../../scripts/download.py"


localrules:
    training_table,


CHECKPOINT = f"{planning.CHECKPOINTS}/{{key}}/epoch{{epoch}}.safetensors"


rule train:
    input:
        data=DATA_INPUT,
        earlier=earlier_checkpoint,
        again=lambda wildcards: again(
            [file.format(**wildcards) for file in checkpoint_files(CHECKPOINT)]
        ),
    output:
        **dict(
            zip(
                ("checkpoint", "digest", "table", "optimizer", "optimizer_digest"),
                map(kept, checkpoint_files(CHECKPOINT)),
            )
        ),
    log:
        "results/logs/train/{key}/epoch{epoch}.log",
    benchmark:
        "results/benchmarks/train/{key}/epoch{epoch}.tsv"
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        gpu=GPUS,
    params:
        facts=lambda wildcards: planning.run_record(
            experiment, RUNS[wildcards.key]
        ).checkpoint,
    script:
        "../../scripts/train.py"


rule training_table:
    input:
        table=lambda wildcards: have(checkpoint_files(checkpoints(wildcards)[-1])[2]),
        again=again_unless_current("<results>/training.csv"),
    output:
        table=table("training.csv", "training_table", "Training"),
        made=made("training_table"),
    log:
        "<results>/logs/training_table.log",
    benchmark:
        "<results>/benchmarks/training_table.tsv"
    conda:
        "../../environment.yml"
    params:
        facts=facts("training_table"),
    script:
        "../../scripts/training_table.py"
