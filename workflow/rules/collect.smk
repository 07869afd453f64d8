"""Trials through the engine: one job a shard."""

from dataclasses import asdict


rule collect:
    input:
        checkpoint=checkpoint_input,
        data=DATA_FILES,
    output:
        "<results>/gradients/{protocol}/epoch{epoch}/batch{batch_size}/trials{first}-{last}.h5",
    log:
        "<results>/logs/collect/{protocol}/epoch{epoch}/batch{batch_size}/trials{first}-{last}.log",
    benchmark:
        "<results>/benchmarks/collect/{protocol}/epoch{epoch}/batch{batch_size}/trials{first}-{last}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GPUS,
    params:
        code=code(
            "collect",
            "archive.atomic",
            "archive.checksums",
            "archive.chunks",
            "archive.errors",
            "archive.layout",
            "archive.seal",
            "archive.shard",
            "archive.sums",
            "checkpoint",
            "collection",
            "compiling",
            "configuration",
            "data",
            "device",
            "engine",
            "engine.factors",
            "engine.layered",
            "engine.one_hidden_layer",
            "errors",
            "jobs",
            "model",
            "provenance",
            "replacing",
            "sampling",
            "sharding",
            "trials",
        ),
        training_code=TRAINING_CODE,
        collection=lambda wildcards: asdict(
            experiment.collection(wildcards.protocol, training_seed(wildcards))
        ),
        data=DATA,
    script:
        "../../scripts/collect.py"
