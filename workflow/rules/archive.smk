"""All shards as one file."""


localrules:
    atlas,


rule atlas:
    input:
        shards=[shard for cell in grid() for shard in shards(*cell)],
        checkpoints=[checkpoint(epoch) for epoch in experiment.training.checkpoints],
        code=code("atlas", "archive.atlas", "archive.sources", "jobs"),
    output:
        "results/gradients.h5",
    log:
        "results/logs/atlas.log",
    benchmark:
        "results/benchmarks/atlas.tsv"
    params:
        epochs=experiment.training.checkpoints,
    script:
        "../../scripts/atlas.py"
