"""The atlas: growth, provenance, and sources that are not what they were."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from gradatlas import archive
from gradatlas.core.errors import InputError
from gradatlas.core.settings import TrialRange
from gradatlas.core.training import Training
from gradatlas.core.updates import SGD
from tests.archive.examples import (
    make_trials,
    shard_path,
    write_atlas,
    write_checkpoints,
    write_results,
    write_shard,
)

RANGES = (TrialRange(0, 6), TrialRange(7, 11))


def test_plain_h5py_reads_the_atlas(tmp_path: Path) -> None:
    with h5py.File(write_atlas(tmp_path)) as file:
        group = file["sgd/epoch30"]
        assert group["gradient"].shape == (3, 12, 3, 8)
        assert np.isnan(group["gradient"].fillvalue)
        labels = [dim.label for dim in group["gradient"].dims]
        assert labels == ["batch_size", "trial", "output", "input"]
        assert group["batch_size"][:].tolist() == [1, 4, 16]
        for index, batch_size in enumerate((1, 4, 16)):
            expected = make_trials(TrialRange(0, 11), key=batch_size)
            for name, values in expected.items():
                np.testing.assert_array_equal(group[name][index], values)


def test_the_atlas_says_where_its_data_came_from(tmp_path: Path) -> None:
    with h5py.File(write_atlas(tmp_path)) as file:
        attributes = dict(file["sgd/epoch2"].attrs)
        assert attributes["checkpoint"] == "checkpoints/epoch2.safetensors"
        assert attributes["code_commit"] == "1" * 40
        paths = file["sgd/epoch2/sources/path"].asstr()[:].tolist()
    assert paths[:2] == [
        "gradients/sgd/epoch2/batch1/trials0-6.h5",
        "gradients/sgd/epoch2/batch1/trials7-11.h5",
    ]


def test_more_of_everything_extends_the_atlas_and_keeps_the_shards(tmp_path: Path) -> None:
    shards, checkpoints = write_results(tmp_path, {"sgd": ((4,), RANGES[:1])}, epochs=(2,))
    archive.build_atlas(tmp_path / "gradients.h5", shards, checkpoints)
    before = {path: path.read_bytes() for path in shards}

    grown = tmp_path / "grown"
    more, checkpoints = write_results(
        grown, {"sgd": ((4, 8), RANGES), "frozen": ((4,), RANGES[:1])}, epochs=(2, 30)
    )
    for path in more:
        target = tmp_path / path.relative_to(grown)
        if target not in before:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
            path.with_name(f"{path.name}.sha256").rename(f"{target}.sha256")
    checkpoints = write_checkpoints(tmp_path)
    everything = sorted(tmp_path.glob("gradients/**/*.h5"))
    archive.build_atlas(tmp_path / "gradients.h5", everything, checkpoints)

    atlas = archive.open(tmp_path / "gradients.h5")
    assert atlas.protocols == ("frozen", "sgd")
    assert atlas.epochs("sgd") == (2, 30)
    assert atlas.batch_sizes("sgd", 2) == (4, 8)
    assert len(atlas.select(protocol="sgd", epoch=2, batch_size=4).trials) == 12
    assert {path: path.read_bytes() for path in before} == before


def test_bytes_depend_on_neither_order_nor_time(tmp_path: Path) -> None:
    shards, checkpoints = write_results(tmp_path)
    archive.build_atlas(tmp_path / "a.h5", shards, checkpoints)
    time.sleep(1.1)  # HDF5 counts whole seconds
    archive.build_atlas(tmp_path / "b.h5", shards[::-1], checkpoints)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seed": 1}, "has seed 1, but .* has 0; shards of different experiments are not mixed"),
        ({"dataset": "KMNIST"}, "has dataset KMNIST, but .* has MNIST"),
        ({"parameter": "hidden1.weight"}, "has parameter hidden1.weight, but"),
        ({"update": SGD(0.1)}, "has update .*learning_rate=0.1.*, but .*=0.01"),
        ({"samples_per_trial": 16, "sample_sets": 2}, "has sample_sets 2, but .* has None"),
        ({"model": {"hidden": [9]}}, r"has model .*\[9\].*, but .* has .*\[1024\]"),
        ({"training": Training(64, 0.01, 0.0)}, "has training .*batch_size=64"),
        ({"shape": (3, 9)}, r"has shape \(3, 9\), but .* has \(3, 8\)"),
    ],
)
def test_mixed_provenance_is_refused(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    shards, checkpoints = write_results(tmp_path, {"sgd": ((4,), RANGES)}, epochs=(2,))
    foreign = archive.open(shards[1]).select().attributes
    known = {"checkpoint_sha256": foreign["checkpoint_sha256"]}
    write_shard(shards[1], 7, 11, **(known | changes))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=sentence):
        archive.build_atlas(tmp_path / "gradients.h5", shards, checkpoints)
    assert not (tmp_path / "gradients.h5").exists()
    with pytest.raises(InputError, match=sentence):
        archive.open_shards(shards)


def test_other_code_and_versions_are_not_mixed_provenance(tmp_path: Path) -> None:
    shards, checkpoints = write_results(tmp_path, {"sgd": ((4,), RANGES)}, epochs=(2,))
    sha256 = archive.open(shards[1]).select().attributes["checkpoint_sha256"]
    write_shard(shards[1], 7, 11, code_commit="9" * 40, checkpoint_sha256=sha256)
    archive.build_atlas(tmp_path / "gradients.h5", shards, checkpoints)
    opened = archive.open(tmp_path / "gradients.h5")
    assert opened.select().attributes["code_commit"] == f"{'1' * 40}; {'9' * 40}"
    assert [source.provenance.code_commit for source in opened.sources] == ["1" * 40, "9" * 40]


def test_another_checkpoint_of_some_shards_is_refused(tmp_path: Path) -> None:
    shards, checkpoints = write_results(tmp_path, {"sgd": ((4,), RANGES)}, epochs=(2,))
    write_shard(shards[1], 7, 11, checkpoint_sha256="f" * 64)
    with pytest.raises(InputError, match=r"was not collected from .*epoch2\.safetensors"):
        archive.build_atlas(tmp_path / "gradients.h5", shards, checkpoints)
    with pytest.raises(InputError, match="has checkpoint_sha256 ffff"):
        archive.open_shards(shards)


def test_another_checkpoint_is_refused(tmp_path: Path) -> None:
    shards, checkpoints = write_results(tmp_path)
    checkpoints[30].write_bytes(b"other weights")
    with pytest.raises(InputError, match=r"was not collected from .*epoch30\.safetensors"):
        archive.build_atlas(tmp_path / "gradients.h5", shards, checkpoints)


def test_a_checkpoint_that_is_not_given(tmp_path: Path) -> None:
    shards, checkpoints = write_results(tmp_path)
    del checkpoints[30]
    with pytest.raises(InputError, match="needs the checkpoint of epoch 30, none is given"):
        archive.build_atlas(tmp_path / "gradients.h5", shards, checkpoints)


@pytest.mark.parametrize(
    ("kept", "sentence"),
    [
        ([TrialRange(0, 6)], "batch size 8 .* has trials 0-6, but batch size 4 has 0-11"),
        ([TrialRange(0, 3), TrialRange(7, 11)], "starts at trial 7, expected 4"),
        ([TrialRange(0, 7), TrialRange(7, 11)], "starts at trial 7, expected 8"),
    ],
)
def test_trials_that_are_missing_or_there_twice(
    tmp_path: Path, kept: list[TrialRange], sentence: str
) -> None:
    shards, checkpoints = write_results(tmp_path, {"sgd": ((4,), RANGES)}, epochs=(2,))
    sha256 = archive.open(shards[0]).select().attributes["checkpoint_sha256"]
    for trials in kept:
        path = shard_path(tmp_path, "sgd", 2, 8, trials)
        write_shard(path, trials.first, trials.last, batch_size=8, checkpoint_sha256=sha256)
        shards.append(path)
    with pytest.raises(InputError, match=sentence):
        archive.build_atlas(tmp_path / "gradients.h5", shards, checkpoints)


def test_shards_may_lie_beside_the_folder_but_no_farther(tmp_path: Path) -> None:
    shards, checkpoints = write_results(tmp_path)
    beside, farther = tmp_path / "seed1", tmp_path / "another" / "seed1"
    archive.build_atlas(beside / "gradients.h5", shards, checkpoints)
    moved = beside.parent.rename(tmp_path.with_name("moved")) / "seed1" / "gradients.h5"

    assert archive.verify(moved) == []
    with h5py.File(moved) as file:  # by HDF5 itself, past our reading
        tensors = file["sgd/epoch2/gradient"][:]
    assert np.isfinite(tensors).all()
    moved.parents[1].rename(tmp_path)
    with pytest.raises(InputError, match=r"lies outside .*another, where the atlas has its folder"):
        archive.build_atlas(farther / "gradients.h5", shards, checkpoints)


def test_of_a_longer_shard_the_first_trials_are_shown(tmp_path: Path) -> None:
    shards, checkpoints = write_results(tmp_path, {"sgd": ((1, 4), (TrialRange(0, 5),))})
    path = tmp_path / "gradients.h5"
    archive.build_atlas(path, shards, checkpoints, {"sgd": 4})

    selection = archive.open(path).select(protocol="sgd", epoch=2, batch_size=4)
    content = make_trials(TrialRange(0, 5), key=4)
    np.testing.assert_array_equal(selection.rows("gradient", 0, 3), content["gradient"][:4])
    assert (selection.first, selection.last) == (0, 3)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["sgd/epoch2/gradient"][1], content["gradient"][:4])
        assert file["sgd/epoch2/trial"][:].tolist() == [0, 1, 2, 3]
    assert archive.verify(path) == []
    archive.export(path, tmp_path / "export.h5")
    assert archive.verify(tmp_path / "export.h5") == []
    shorter = archive.open_shards([shards[1]], trials=4)
    np.testing.assert_array_equal(shorter.trials, np.arange(4))
    with pytest.raises(InputError, match="there is no trial 4, expected one of 0 to 3"):
        shorter.gradient(4)


def test_an_atlas_without_shards(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no shards were given"):
        archive.build_atlas(tmp_path / "gradients.h5", [], {})


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def swap(path: Path) -> None:
    """The shard and its digest take the place of another batch size's."""
    other = path.parents[1] / "batch4" / path.name
    for suffix in ("", ".sha256"):
        a, b = path.with_name(path.name + suffix), other.with_name(other.name + suffix)
        content = a.read_bytes()
        a.write_bytes(b.read_bytes())
        b.write_bytes(content)


def replace_by_foreign(path: Path) -> None:
    write_shard(path, 0, 6, seed=1)


@pytest.mark.parametrize(
    ("damage", "error", "sentence"),
    [
        (delete, FileNotFoundError, "a shard of the atlas, cannot be read .No such file"),
        (truncate, InputError, "is not the shard that the atlas was built from, of [0-9]+ bytes"),
        (swap, InputError, "is not the shard that the atlas was built from"),
        (replace_by_foreign, InputError, "is not the shard that the atlas was built from"),
    ],
)
def test_a_source_that_is_not_what_it_was(
    tmp_path: Path, damage: Callable[[Path], None], error: type[Exception], sentence: str
) -> None:
    atlas = write_atlas(tmp_path)
    shard = shard_path(tmp_path, "sgd", 2, 1, TrialRange(0, 6))
    damage(shard)
    with pytest.raises(error, match=sentence):
        archive.open(atlas)
    assert shard in {finding.where for finding in archive.verify(atlas)}


def test_results_may_be_moved_and_be_read_only(tmp_path: Path) -> None:
    atlas = write_atlas(tmp_path / "here")
    expected = archive.open(atlas).select(protocol="frozen", epoch=2).gradient(3)
    shutil.move(tmp_path / "here", tmp_path / "there")
    for path in (tmp_path / "there").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    moved = archive.open(tmp_path / "there" / "gradients.h5").select(protocol="frozen", epoch=2)
    np.testing.assert_array_equal(moved.gradient(3), expected)
    with h5py.File(tmp_path / "there" / "gradients.h5") as file:
        np.testing.assert_array_equal(file["frozen/epoch2/gradient"][0, 3], expected)
    for path in (tmp_path / "there").rglob("*"):
        path.chmod(0o755)


def test_an_atlas_is_found_through_a_symbolic_link(tmp_path: Path) -> None:
    atlas = write_atlas(tmp_path / "results")
    (tmp_path / "link.h5").symlink_to(atlas)
    linked = archive.open(tmp_path / "link.h5").select(protocol="frozen", epoch=2)
    assert linked.gradient(0).shape == (3, 8)


def test_names_may_hold_a_percent_sign(tmp_path: Path) -> None:
    shards, checkpoints = write_results(tmp_path, {"sgd": ((4,), RANGES[:1])}, epochs=(2,))
    odd = tmp_path / "100%b.h5"
    shards[0].rename(odd)
    shards[0].with_name(f"{shards[0].name}.sha256").rename(tmp_path / "100%b.h5.sha256")
    archive.build_atlas(tmp_path / "gradients.h5", [odd], checkpoints)
    with h5py.File(tmp_path / "gradients.h5") as file:
        assert not np.isnan(file["sgd/epoch2/gradient"][:]).any()


def test_shards_on_another_disk_behind_a_link(tmp_path: Path) -> None:
    results, scratch = tmp_path / "results", tmp_path / "scratch"
    results.mkdir()
    (scratch / "gradients").mkdir(parents=True)
    (results / "gradients").symlink_to(scratch / "gradients")
    atlas = write_atlas(results)
    assert archive.verify(atlas) == []
    stored = archive.open(atlas).select(protocol="sgd", epoch=2, batch_size=4)
    expected = make_trials(TrialRange(0, 0), key=4)["gradient"][0]
    np.testing.assert_array_equal(stored.gradient(0), expected)


@pytest.mark.parametrize("name", ["gradients.h5", "gradients/sgd/epoch2/batch4/trials0-6.h5"])
def test_a_link_to_an_archive(tmp_path: Path, name: str) -> None:
    write_atlas(tmp_path / "results")
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.h5"
    link.symlink_to(tmp_path / "results" / name)
    assert archive.verify(link) == []
    assert archive.open(link).selections


def test_an_atlas_does_not_replace_what_it_is_made_of(tmp_path: Path) -> None:
    shards, checkpoints = write_results(tmp_path)
    for target in (shards[0], checkpoints[2]):
        content = target.read_bytes()
        with pytest.raises(InputError, match="is one of the files to be read"):
            archive.build_atlas(target, shards, checkpoints)
        assert target.read_bytes() == content
