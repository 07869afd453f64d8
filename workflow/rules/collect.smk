"""Trials through the engine: one job a shard."""


rule collect:
    input:
        checkpoint=starting_checkpoint,
        data=DATA_FILES,
    output:
        shard="<results>/gradients/{protocol}/epoch{epoch}/batch{batch_size}/trials{first}-{last}.h5",
        digest="<results>/gradients/{protocol}/epoch{epoch}/batch{batch_size}/trials{first}-{last}.h5.sha256",
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
        code=code("collect"),
        training_code=code("train"),
        settings=settings,
        data=DATA,
    script:
        "../../scripts/collect.py"
