"""Nothing is lost: what was collected stays, whatever is changed, removed, cut short or fails.

Up to the atlas: what comes behind it is planned in ``test_rebuild``.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest
import yaml

import gradatlas
from gradatlas.cli import main
from tests.workflow.smallest import ATLAS, EXPERIMENT, finish, results, run, set_up

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of an experiment of one protocol."""
    directory = tmp_path_factory.mktemp("lost") / "experiment"
    set_up(directory)
    finish(directory, ATLAS, "--cores", "2")
    return directory


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy, in which the data lie elsewhere too, and Snakemake's notes are gone."""
    copy = Path(shutil.copytree(original, tmp_path / "copy"))
    shutil.rmtree(copy / ".snakemake")
    configure(copy)
    return copy


def configure(folder: Path, protocol: dict[str, Any] | None = None, **changes: Any) -> None:
    """Write the configuration anew, with changes of gradients or of the protocol."""
    config = {**EXPERIMENT, "data": {"name": "Letters", "root": str(folder)}}
    protocols = {"sgd": {"update": "sgd", "learning_rate": 0.01, **(protocol or {})}}
    config["gradients"] = {**EXPERIMENT["gradients"], "protocols": protocols, **changes}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def tensors(folder: Path) -> dict[str, bytes]:
    """What is costly: checkpoints, shards and their digests."""
    found = results(folder)
    return {n: c for n, c in found.items() if n.startswith(("checkpoints/", "gradients/"))}


def test_a_copy_has_nothing_to_do_whatever_its_times(folder: Path) -> None:
    for days, path in enumerate(sorted((folder / "results").rglob("*"), reverse=True)):
        os.utime(path, (86_400 * days, 86_400 * days))
    assert "Nothing to be done" in finish(folder, ATLAS, "--dry-run")

    link = folder.with_name("link")
    link.symlink_to(folder)
    assert "Nothing to be done" in finish(link, ATLAS, "--dry-run")


def test_another_learning_rate_collects_only_itself_and_back_there_is_nothing_to_collect(
    folder: Path,
) -> None:
    before = results(folder)
    configure(folder, {"learning_rate": 0.5})
    output = finish(folder, ATLAS)
    assert "gradatlas: collects 2 shards of sgd (learning_rate 0.5); 2 files of other" in output
    assert "rule train" not in output
    assert tensors(folder).items() >= {n: before[n] for n in tensors(folder) if n in before}.items()
    assert len(tensors(folder)) == len([n for n in before if n in tensors(folder)]) + 4
    assert results(folder)["gradients.h5"] != before["gradients.h5"]

    configure(folder)
    output = finish(folder, ATLAS)
    assert "rule collect" not in output
    assert results(folder).items() >= before.items()


@pytest.mark.parametrize("size", [None, 10])
def test_a_lost_checkpoint_is_trained_and_nothing_else_is_touched(
    folder: Path, size: int | None
) -> None:
    before = results(folder)
    [checkpoint] = folder.glob("results/checkpoints/*/epoch1.safetensors")
    if size is None:
        checkpoint.unlink()
    else:
        os.truncate(checkpoint, size)
    output = finish(folder, ATLAS)
    assert "rule train" in output
    assert "rule collect" not in output
    assert results(folder) == before
    assert main(["verify", str(folder / "results" / "gradients.h5")]) == 0
    assert "Nothing to be done" in finish(folder, ATLAS, "--dry-run")


def test_a_digest_that_is_lost_or_cut_short_comes_back_and_its_shard_stays(folder: Path) -> None:
    before = results(folder)
    first, second = sorted(folder.glob("results/gradients/**/*.sha256"))
    places = {path: path.with_suffix("").stat().st_ino for path in (first, second)}
    first.unlink()
    os.truncate(second, 5)
    finish(folder, ATLAS)
    assert results(folder) == before
    for path, place in places.items():
        assert path.with_suffix("").stat().st_ino == place  # not even written again


def test_a_job_that_fails_takes_nothing_away(folder: Path) -> None:
    """Shards cannot be checked against their digests, and the checkpoint to begin from is bad."""
    before = tensors(folder)
    for path in folder.glob("results/gradients/**/*.sha256"):
        path.unlink()
    [checkpoint] = folder.glob("results/checkpoints/*/epoch1.safetensors")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1] + b"?")
    shard, *_ = sorted(folder.glob("results/gradients/**/*.h5"))
    with h5py.File(shard) as file:
        place = file["gradient"].id.get_chunk_info(0).byte_offset
    damaged = bytearray(shard.read_bytes())
    damaged[place] ^= 1
    shard.write_bytes(damaged)

    status, output = run(folder, ATLAS, "--keep-going")
    assert status != 0
    assert "is damaged or was altered: its SHA-256 is" in output
    after = tensors(folder)
    assert {n: c for n, c in before.items() if n.endswith(".h5")}.keys() <= after.keys()
    assert shard.read_bytes() == damaged


def test_fewer_trials_are_read_from_the_longer_shard_and_tidy_lists_the_rest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tensors(folder)
    configure(folder, trials=10)
    finish(folder, ATLAS)
    configure(folder, trials=4)
    output = finish(folder, ATLAS)
    assert "rule collect" not in output
    assert tensors(folder).items() >= before.items()
    atlas = gradatlas.open(folder / "results" / "gradients.h5")
    assert {len(item.trials) for item in atlas.selections} == {4}

    arguments = ["tidy", "--directory", str(folder)]
    assert main(arguments) == 0
    listed = capsys.readouterr().out
    assert "4 files" in listed
    assert "not among those that are asked for" in listed
    assert main([*arguments, "--delete", "--yes"]) == 0
    assert tensors(folder) == before
    assert "Nothing to be done" in finish(folder, ATLAS, "--dry-run")


def test_a_retrained_checkpoint_of_other_bits_beside_old_shards_is_named(folder: Path) -> None:
    [checkpoint] = folder.glob("results/checkpoints/*/epoch1.safetensors")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1] + b"?")
    finish(folder, ATLAS, "--dry-run")
    digest = checkpoint.with_name(f"{checkpoint.name}.sha256")
    digest.unlink()
    status, output = run(folder, ATLAS)
    assert status != 0
    assert "restore the checkpoint from a copy, or remove what was collected" in output
    assert "gradatlas tidy --epoch 1 --delete" in output
