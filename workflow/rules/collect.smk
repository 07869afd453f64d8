"""Trials through the engine: one job a shard."""

SHARD = (
    f"{planning.SHARDS}/{{protocol}}-{{key}}/epoch{{epoch}}/batch{{batch_size}}/"
    "trials{first}-{last}.h5"
)
TRIALS = "collect/{protocol}-{key}/epoch{epoch}/batch{batch_size}/trials{first}-{last}"


rule collect:
    input:
        checkpoint=starting_checkpoint,
        data=DATA_INPUT,
        again=lambda wildcards: again(
            [file.format(**wildcards) for file in planning.shard_files(SHARD)]
        ),
    output:
        shard=kept(SHARD),
        digest=kept(f"{SHARD}.sha256"),
    log:
        f"results/logs/{TRIALS}.log",
    benchmark:
        f"results/benchmarks/{TRIALS}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GPUS,
    params:
        settings=lambda wildcards: to_mapping(
            experiment.trial_settings(
                wildcards.protocol,
                int(wildcards.epoch),
                int(wildcards.batch_size),
                COLLECTIONS[wildcards.protocol, wildcards.key],
            )
        ),
    script:
        "../../scripts/collect.py"
