"""All shards as one file."""


localrules:
    atlas,
    export_archive,
    export,


rule atlas:
    input:
        shards=all_shards,
        checkpoints=[checkpoint(epoch) for epoch in experiment.training.checkpoints],
    output:
        "<results>/gradients.h5",
    log:
        "<results>/logs/atlas.log",
    benchmark:
        "<results>/benchmarks/atlas.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code(
            "atlas",
            "archive.atlas",
            "archive.atomic",
            "archive.errors",
            "archive.groups",
            "archive.layout",
            "archive.seal",
            "archive.sources",
            "errors",
            "jobs",
            "provenance",
            "replacing",
            "sharding",
        ),
        epochs=experiment.training.checkpoints,
    script:
        "../../scripts/atlas.py"


rule export_archive:
    input:
        atlas=rules.atlas.output[0],
        shards=all_shards,
    output:
        "<results>/gradients_export.h5",
    log:
        "<results>/logs/export.log",
    benchmark:
        "<results>/benchmarks/export.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code(
            "export",
            "archive.atomic",
            "archive.checksums",
            "archive.chunks",
            "archive.errors",
            "archive.exporting",
            "archive.groups",
            "archive.layout",
            "archive.lazy",
            "archive.reading",
            "archive.seal",
            "archive.segment",
            "archive.selection",
            "archive.sources",
            "archive.sums",
            "compiling",
            "errors",
            "jobs",
            "replacing",
            "sharding",
        ),
    script:
        "../../scripts/export.py"


rule export:
    input:
        expand(rules.export_archive.output, results=RESULTS),
