"""Exports: self-contained copies of an archive or of a part of it."""

import json
import os
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gradatlas import archive
from gradatlas.core.errors import InputError
from gradatlas.core.files import file_digest
from gradatlas.core.settings import TrialRange
from gradatlas.train.checkpoint import save_checkpoint
from tests.archive.examples import (
    flip,
    make_trials,
    shard_path,
    write_atlas,
    write_results,
    write_shard,
)
from tests.record import RECORD


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    return write_atlas(tmp_path / "results")


@pytest.mark.parametrize("compress", [False, True])
def test_an_export_stands_alone(tmp_path: Path, atlas: Path, compress: bool) -> None:
    archive.export(atlas, tmp_path / "export.h5", compress=compress)
    shutil.rmtree(atlas.parent)
    assert archive.verify(tmp_path / "export.h5") == []
    with h5py.File(tmp_path / "export.h5") as file:
        group = file["sgd/epoch30"]
        assert (group["gradient"].compression == "gzip") == compress
        assert group["gradient"].fletcher32
        for index, batch_size in enumerate((1, 4, 16)):
            for name, values in make_trials(TrialRange(0, 11), key=batch_size).items():
                np.testing.assert_array_equal(group[name][index], values)


def test_an_export_keeps_provenance(tmp_path: Path, atlas: Path) -> None:
    archive.export(atlas, tmp_path / "export.h5")
    before, after = archive.open(atlas), archive.open(tmp_path / "export.h5")
    told = [replace(s, path=s.path.relative_to(tmp_path)) for s in after.sources]
    known = [replace(s, path=s.path.relative_to(atlas.parent)) for s in before.sources]
    assert told == known
    for selection, original in zip(after.selections, before.selections, strict=True):
        expected = dict(original.attributes)
        del expected["checkpoint"]  # a path that means nothing elsewhere
        assert selection.attributes == expected


@pytest.mark.parametrize(
    ("chosen", "selections"),
    [
        ({"protocol": "frozen"}, [("frozen", 2, 4), ("frozen", 30, 4)]),
        ({"epoch": 2, "batch_size": 4}, [("frozen", 2, 4), ("sgd", 2, 4)]),
        ({"protocol": "sgd", "epoch": 30, "batch_size": 16}, [("sgd", 30, 16)]),
    ],
)
def test_a_part(
    tmp_path: Path,
    atlas: Path,
    chosen: dict[str, Any],
    selections: list[tuple[str, int, int]],
) -> None:
    archive.export(atlas, tmp_path / "part.h5", **chosen)
    opened = archive.open(tmp_path / "part.h5")
    assert [(s.protocol, s.epoch, s.batch_size) for s in opened.selections] == selections
    for selection in opened.selections:
        expected = make_trials(
            TrialRange(selection.first, selection.last), key=selection.batch_size
        )
        np.testing.assert_array_equal(selection.gradient(3), expected["gradient"][3])
    shards = [source.settings for source in opened.sources]
    assert {(s.protocol, s.epoch, s.batch_size) for s in shards} == set(selections)


def test_an_export_of_an_export_and_of_a_shard(tmp_path: Path, atlas: Path) -> None:
    archive.export(atlas, tmp_path / "first.h5", protocol="frozen", epoch=2)
    archive.export(tmp_path / "first.h5", tmp_path / "second.h5")
    assert (tmp_path / "first.h5").read_bytes() == (tmp_path / "second.h5").read_bytes()
    shard = shard_path(atlas.parent, "frozen", 2, 4, TrialRange(0, 4))
    archive.export(shard, tmp_path / "third.h5")
    stored = archive.open(tmp_path / "third.h5").select()
    np.testing.assert_array_equal(stored.gradient(2), archive.open(shard).select().gradient(2))


@pytest.mark.parametrize("shape", [(10, 1024), (1000, 784), (10,)])
def test_tensors_of_any_size(tmp_path: Path, shape: tuple[int, ...]) -> None:
    trials = 60 if shape[0] == 10 else 3
    content = write_shard(tmp_path / "shard.h5", 10, 9 + trials, shape=shape)
    archive.export(tmp_path / "shard.h5", tmp_path / "export.h5")
    with h5py.File(tmp_path / "export.h5") as file:
        np.testing.assert_array_equal(file["sgd/epoch2/gradient"][0], content["gradient"])
    stored = archive.open(tmp_path / "export.h5").select()
    np.testing.assert_array_equal(np.concatenate(list(stored.blocks())), content["gradient"])


def test_nothing_that_fits(tmp_path: Path, atlas: Path) -> None:
    with pytest.raises(
        InputError,
        match="protocol sgd, batch_size 3, expected of: protocol frozen, sgd; batch_size 1, 4",
    ):
        archive.export(atlas, tmp_path / "part.h5", protocol="sgd", batch_size=3)


def test_an_archive_is_not_overwritten_by_its_export(tmp_path: Path, atlas: Path) -> None:
    shard = shard_path(atlas.parent, "frozen", 2, 4, TrialRange(0, 4))
    os.link(shard, tmp_path / "same.h5")
    checkpoint = atlas.parent / "checkpoints" / "epoch2.safetensors"
    for target in (atlas, shard, tmp_path / "same.h5", checkpoint):
        with pytest.raises(InputError, match="is one of the files to be read"):
            archive.export(atlas, target)
    assert archive.verify(atlas) == []


def test_a_foreign_file_is_replaced_by_force_alone(tmp_path: Path, atlas: Path) -> None:
    target = tmp_path / "thesis.txt"
    target.write_text("three years of work\n")
    with pytest.raises(InputError, match=r"thesis\.txt is there and is no export; choose another"):
        archive.export(atlas, target)
    assert target.read_text() == "three years of work\n"
    archive.export(atlas, target, force=True)
    assert archive.verify(target) == []


@pytest.mark.parametrize("kind", ["a shard", "a foreign HDF5 file", "an export cut short"])
def test_only_an_export_is_replaced(tmp_path: Path, atlas: Path, kind: str) -> None:
    target = tmp_path / "other.h5"
    if kind == "a shard":
        write_shard(target, seed=7)
    elif kind == "a foreign HDF5 file":
        h5py.File(target, "w").close()
    else:
        archive.export(atlas, target)
        target.write_bytes(target.read_bytes()[:4000])
    before = target.read_bytes()
    with pytest.raises(InputError, match="is there and is no export"):
        archive.export(atlas, target)
    assert target.read_bytes() == before


def test_an_export_is_replaced_unless_it_is_write_protected(tmp_path: Path, atlas: Path) -> None:
    target = tmp_path / "export.h5"
    archive.export(atlas, target, batch_size=4)
    archive.export(atlas, target, batch_size=1)
    target.chmod(0o444)
    with pytest.raises(InputError, match=r"export\.h5 is write-protected; choose another name"):
        archive.export(atlas, target)
    assert archive.open(target).batch_sizes("sgd", 2) == (1,)
    archive.export(atlas, target, batch_size=16, force=True)
    assert archive.open(target).batch_sizes("sgd", 2) == (16,)


def test_a_file_in_the_place_of_the_digest_is_not_replaced(tmp_path: Path, atlas: Path) -> None:
    beside = tmp_path / "export.h5.sha256"
    beside.write_text("a list of another program\n")
    with pytest.raises(InputError, match=r"export\.h5\.sha256 is there and is no digest"):
        archive.export(atlas, tmp_path / "export.h5")
    assert beside.read_text() == "a list of another program\n"
    assert not (tmp_path / "export.h5").exists()


def test_an_export_tells_its_whole_story_to_plain_h5py(tmp_path: Path) -> None:
    """Ten years later: the network, its training and what it reached, data, code and project."""
    shards, checkpoints = write_results(tmp_path, epochs=(2,))
    facts = {
        "loss": "cross_entropy",
        "normalisation": {"mean": 0.1307, "std": 0.3081},
        "test_accuracy": 0.85,
        "train_loss": 0.7,
        "epoch": 2,
        "facts": {"model": {"hidden": [1024]}},
    }
    save_checkpoint(checkpoints[2], {"last.bias": np.zeros(3, np.float32)}, facts)
    for path in shards:
        write_again(path, file_digest(checkpoints[2]))
    archive.build_atlas(tmp_path / "gradients.h5", shards, checkpoints)
    archive.export(tmp_path / "gradients.h5", tmp_path / "export.h5", protocol="sgd")
    archive.export(tmp_path / "export.h5", tmp_path / "again.h5")
    for name in ("export.h5", "again.h5"):
        with h5py.File(tmp_path / name) as file:
            assert file.attrs["source"] == f"Gradient Atlas {version('gradient-atlas')}"
            told = dict(file["sgd/epoch2"].attrs)
        assert json.loads(told["checkpoint_facts"]) == facts
        assert json.loads(told["model"]) == {"hidden": [1024]}
        assert json.loads(told["training"])["learning_rate"] == 0.01
        assert json.loads(told["settings"])["data_sha256"] == RECORD.data_sha256
        assert (told["loss"], told["test_accuracy"], told["train_loss"]) == (
            "cross_entropy",
            0.85,
            0.7,
        )
        assert (told["normalisation_mean"], told["normalisation_std"]) == (0.1307, 0.3081)


def write_again(path: Path, checkpoint_sha256: str) -> None:
    shard = archive.open(path).select()
    write_shard(
        path,
        shard.first,
        shard.last,
        protocol=shard.protocol,
        epoch=shard.epoch,
        batch_size=shard.batch_size,
        checkpoint_sha256=checkpoint_sha256,
    )


def test_a_pipe_is_not_replaced(tmp_path: Path, atlas: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="is a device or a pipe, expected the name of a file"):
        archive.export(atlas, tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_damage_is_not_exported(tmp_path: Path, atlas: Path) -> None:
    shard = shard_path(atlas.parent, "sgd", 2, 4, TrialRange(0, 6))
    with h5py.File(shard) as file:
        offset = file["gradient"].id.get_chunk_info(0).byte_offset
    flip(shard, offset + 100)
    with pytest.raises(InputError, match=r"trials0-6\.h5 is damaged, gradient of trials 0-6 "):
        archive.export(atlas, tmp_path / "export.h5")
    assert not list(tmp_path.glob("*export*"))
