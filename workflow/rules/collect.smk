"""Trials through the engine: one job a shard."""


def start(wildcards):
    """The checkpoint a shard starts from, ancient once it is what this experiment makes.

    Training runs again for a further checkpoint; that must not recollect from the others. Only a
    shard that is there gets an ancient input: when training runs, Snakemake passes over the jobs
    behind an ancient one, even those whose output is missing.
    """
    path = f"{results(wildcards)}/checkpoints/epoch{wildcards.epoch}.safetensors"
    shard = rules.collect.output.shard.format(**wildcards)
    kept = planning.is_kept(Path(path), Path(shard), training_digest(wildcards))
    return ancient(path) if kept else path


rule collect:
    input:
        checkpoint=start,
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
