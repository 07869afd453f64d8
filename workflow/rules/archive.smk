"""All shards as one file."""


localrules:
    atlas,
    export_archive,
    export,


rule atlas:
    input:
        shards=lambda wildcards: list(map(have, all_shards(wildcards))),
        digests=lambda wildcards: [
            have(planning.shard_files(shard)[1]) for shard in all_shards(wildcards)
        ],
        checkpoints=lambda wildcards: list(map(have, checkpoints(wildcards))),
        again=again_unless_current("<results>/gradients.h5"),
    output:
        atlas="<results>/gradients.h5",
        digest="<results>/gradients.h5.sha256",
        made=made("atlas"),
    log:
        "<results>/logs/atlas.log",
    benchmark:
        "<results>/benchmarks/atlas.tsv"
    conda:
        "../../environment.yml"
    params:
        facts=facts("atlas"),
        epochs=EPOCHS,
        trials=trials(),
    script:
        "../../scripts/atlas.py"


rule export_archive:
    input:
        atlas=in_folder("<results>/gradients.h5"),
        digest=in_folder("<results>/gradients.h5.sha256"),
        shards=lambda wildcards: list(map(have, all_shards(wildcards))),
        again=again_unless_current("<results>/gradients_export.h5"),
    output:
        export="<results>/gradients_export.h5",
        digest="<results>/gradients_export.h5.sha256",
        made=made("export"),
    log:
        "<results>/logs/export.log",
    benchmark:
        "<results>/benchmarks/export.tsv"
    conda:
        "../../environment.yml"
    params:
        facts=facts("export"),
    script:
        "../../scripts/export.py"


rule export:
    input:
        expand("{results}/gradients_export.h5", results=RESULTS),
