"""Results in object storage: the same bytes, and only what is missing is made, by a real S3."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from tests.workflow.smallest import COMPLETE, finish, results, set_up
from tests.workflow.test_rebuild import overlaid, plan

pytestmark = pytest.mark.slow

RUN = "atlas/run"
STORAGE = ["--default-storage-provider", "s3", "--default-storage-prefix", f"s3://{RUN}"]
OTHER_RATE = {"gradients": {"protocols": {"sgd": {"learning_rate": 0.02}}}}


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3FileSystem]:
    """A server of S3 with an empty bucket, and the environment in which Snakemake finds it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("SNAKEMAKE_STORAGE_S3_ENDPOINT_URL", address)
            environment.setenv("AWS_ACCESS_KEY_ID", "anybody")
            environment.setenv("AWS_SECRET_ACCESS_KEY", "anything")
            files = S3FileSystem(endpoint_url=address, use_listings_cache=False)
            files.mkdir(PurePosixPath(RUN).parts[0])
            yield files
    finally:
        server.stop()


@pytest.fixture(scope="module")
def stored(
    bucket: S3FileSystem, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Working folder of the complete experiment, whose results went to the bucket."""
    directory = tmp_path_factory.mktemp("stored") / "experiment"
    set_up(directory, COMPLETE)
    finish(directory, "--cores", "2", *STORAGE, repository=repository)
    return directory


def contents(bucket: S3FileSystem, *parts: str) -> dict[str, bytes]:
    """Every file of the results in the bucket but logs, timings and stamps, or of some parts."""
    root = f"{RUN}/results/"
    found = bucket.cat(bucket.find(root))
    named = {path.removeprefix(root): content for path, content in found.items()}
    apart = {"logs", "benchmarks", ".made"}
    return {
        name: content
        for name, content in named.items()
        if (first := name.partition("/")[0]) not in apart and (not parts or first in parts)
    }


def planned(
    directory: Path, repository: Path, change: Mapping[str, Any] | None = None
) -> Counter[str]:
    """Number of jobs by rule that a dry run with the bucket announces."""
    return plan(directory, repository, change, *STORAGE)


def test_bytes_are_those_of_a_local_run(finished: Path, stored: Path, bucket: S3FileSystem) -> None:
    local = results(finished)
    expected = {name: local[name] for name in local if not name.startswith(".made/")}
    assert contents(bucket) == expected
    assert not (stored / "results").exists()


def test_second_run_has_nothing_to_do(stored: Path, repository: Path) -> None:
    assert planned(stored, repository) == Counter()


def test_deleted_checkpoint_is_trained_again_and_nothing_collected(
    stored: Path, repository: Path, bucket: S3FileSystem
) -> None:
    before = contents(bucket, "checkpoints", "gradients")
    (checkpoint,) = (name for name in before if name.endswith(".safetensors"))
    bucket.rm_file(f"{RUN}/results/{checkpoint}")
    jobs = planned(stored, repository)
    cheap = ("training_table", "steps", "atlas", "figures", "detail_figures")
    assert jobs == Counter(("train", *cheap, "all"))
    finish(stored, f"results/{checkpoint}", *STORAGE, repository=repository)
    assert contents(bucket, "checkpoints", "gradients") == before
    assert not planned(stored, repository)["train"]


def test_edited_rate_collects_itself_and_edited_back_nothing(
    stored: Path, repository: Path, bucket: S3FileSystem
) -> None:
    before = contents(bucket, "gradients")
    change = overlaid(stored, OTHER_RATE)
    atlas = ("results/gradients.h5", *STORAGE)
    output = finish(stored, *atlas, *change, repository=repository)
    assert "collects 2 shards of sgd (learning_rate 0.02)" in output
    after = contents(bucket, "gradients")
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 4  # two shards and their digests

    jobs = planned(stored, repository)
    assert jobs["atlas"] == 1
    assert not jobs["train"]
    assert not jobs["collect"]
    finish(stored, *atlas, repository=repository)
    assert contents(bucket, "gradients") == after


def test_tables_of_an_edited_setting_are_made_again(stored: Path, repository: Path) -> None:
    """Their stamps cannot be read here: Snakemake's record of parameters says so."""
    jobs = planned(stored, repository, {"statistics": {"bootstrap": 101}})
    assert (jobs["statistics"], jobs["statistics_table"], jobs["claims"]) == (6, 1, 1)
    assert not jobs["train"]
    assert not jobs["collect"]


def test_shards_and_export_open_where_they_lie(
    stored: Path, repository: Path, bucket: S3FileSystem
) -> None:
    """HDF5 follows no link of the atlas there, without an error: its sources are opened by name."""
    finish(stored, "export", *STORAGE, repository=repository)
    root = f"{RUN}/results"
    with (
        bucket.open(f"{root}/gradients_export.h5") as export,
        bucket.open(f"{root}/gradients.h5") as atlas,
        h5py.File(export) as exported,
        h5py.File(atlas) as linked,
    ):
        complete = exported["sgd/epoch1/gradient"][:]
        virtual = linked["sgd/epoch1/gradient"]
        assert np.isfinite(complete).all()
        assert np.isnan(virtual[:]).all()
        for row, source in enumerate(virtual.virtual_sources()):
            with bucket.open(f"{root}/{source.file_name}") as file, h5py.File(file) as shard:
                np.testing.assert_array_equal(shard[source.dset_name][:], complete[row])
