"""All shards as one file."""


localrules:
    atlas,
    export_archive,
    export,


rule atlas:
    input:
        shards=all_shards,
        checkpoints=CHECKPOINTS,
    output:
        atlas="<results>/gradients.h5",
        digest="<results>/gradients.h5.sha256",
    log:
        "<results>/logs/atlas.log",
    benchmark:
        "<results>/benchmarks/atlas.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code("atlas"),
        epochs=experiment.checkpoints,
    script:
        "../../scripts/atlas.py"


rule export_archive:
    input:
        atlas=rules.atlas.output.atlas,
        shards=all_shards,
    output:
        export="<results>/gradients_export.h5",
        digest="<results>/gradients_export.h5.sha256",
    log:
        "<results>/logs/export.log",
    benchmark:
        "<results>/benchmarks/export.tsv"
    conda:
        "../../environment.yml"
    params:
        code=code("export"),
    script:
        "../../scripts/export.py"


rule export:
    input:
        expand(rules.export_archive.output, results=RESULTS),
