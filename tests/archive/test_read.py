"""The reading API, the same on shard, atlas and export."""

import errno
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, SupportsIndex

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import gradatlas
from gradatlas import archive
from gradatlas.archive import Archive, Selection
from gradatlas.archive.write import create_file
from gradatlas.core.errors import InputError
from gradatlas.core.files import file_digest
from gradatlas.core.settings import TrialRange
from tests.archive.examples import (
    SCALARS,
    SETTINGS,
    make_trials,
    shard_path,
    write_atlas,
    write_results,
    write_shard,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    atlas = write_atlas(folder)
    archive.export(atlas, folder / "export.h5")
    archive.export(atlas, folder / "compressed.h5", compress=True)
    return folder


@pytest.fixture(scope="module", params=["gradients.h5", "export.h5", "compressed.h5"])
def opened(request: pytest.FixtureRequest, folder: Path) -> Archive:
    return gradatlas.open(folder / request.param)


@pytest.fixture(scope="module", params=["gradients.h5", "export.h5", "shards"])
def selection(request: pytest.FixtureRequest, folder: Path) -> Selection:
    """Batch size 4 of protocol sgd at epoch 2, twelve trials in two shards."""
    if request.param == "shards":
        shards = [shard_path(folder, "sgd", 2, 4, TrialRange(*r)) for r in ((7, 11), (0, 6))]
        return archive.open_shards(shards)
    return archive.open(folder / request.param).select(protocol="sgd", epoch=2, batch_size=4)


@pytest.fixture(scope="module")
def expected() -> Mapping[str, NDArray[Any]]:
    return make_trials(TrialRange(0, 11), key=4)


def test_what_is_in_it(opened: Archive) -> None:
    assert opened.protocols == ("frozen", "sgd")
    assert opened.epochs("sgd") == (2, 30)
    assert opened.batch_sizes("sgd", 30) == (1, 4, 16)
    assert opened.batch_sizes("frozen", 2) == (4,)


def test_a_selection_knows_what_it_is(selection: Selection) -> None:
    assert (selection.protocol, selection.epoch, selection.batch_size) == ("sgd", 2, 4)
    assert selection.settings == SETTINGS
    assert selection.attributes["learning_rate"] == 0.01
    assert selection.trials.tolist() == list(range(12))
    assert selection.trials.dtype == np.int64
    assert selection.shape == (3, 8)
    assert selection.attributes["dataset"] == "MNIST"


def test_the_last_minibatch_is_counted(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard.h5", batch_size=5)
    assert (
        archive.open(tmp_path / "shard.h5").select().settings.batches_per_trial == 4
    )  # 5 + 5 + 5 + 1


def test_trials(selection: Selection, expected: Mapping[str, NDArray[Any]]) -> None:
    for trial in (0, 6, 7, 11):
        np.testing.assert_array_equal(selection.gradient(trial), expected["gradient"][trial])
        np.testing.assert_array_equal(
            selection.sample_index(trial), expected["sample_index"][trial]
        )


@pytest.mark.parametrize("trial", [-1, 12])
def test_a_trial_that_is_not_there(selection: Selection, trial: int) -> None:
    with pytest.raises(InputError, match=f"there is no trial {trial}, expected one of 0 to 11"):
        selection.gradient(trial)


@pytest.mark.parametrize("block_bytes", [1, 96, 500, 32 << 20])
def test_blocks(
    selection: Selection, expected: Mapping[str, NDArray[Any]], block_bytes: int
) -> None:
    blocks = list(selection.blocks(block_bytes))
    assert all(block.nbytes <= max(block_bytes, 96) for block in blocks)
    assert all(block.dtype == np.float32 for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), expected["gradient"])


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cuts=st.sets(st.integers(1, 59), max_size=5), first=st.integers(0, 59), count=st.integers(1, 60)
)
def test_rows_do_not_depend_on_shards(
    tmp_path: Path, cuts: set[int], first: int, count: int
) -> None:
    shape = (10, 1024)
    edges = [0, *sorted(cuts), 60]
    paths = []
    for start, stop in pairwise(edges):
        paths.append(tmp_path / f"trials{start}-{stop - 1}.h5")
        if not paths[-1].exists():
            write_shard(paths[-1], start, stop - 1, shape=shape)
    last = min(59, first + count - 1)
    rows = archive.open_shards(paths).rows("gradient", first, last)
    expected = make_trials(TrialRange(first, last), shape=shape)["gradient"]
    np.testing.assert_array_equal(rows, expected)


def test_scalars(selection: Selection, expected: Mapping[str, NDArray[Any]]) -> None:
    assert list(selection.scalars) == list(SCALARS)
    for name, values in selection.scalars.items():
        np.testing.assert_array_equal(values, expected[name])


def test_dataframe(opened: Archive, expected: Mapping[str, NDArray[Any]]) -> None:
    table = opened.to_dataframe()
    assert list(table.columns) == ["protocol", "epoch", "batch_size", "trial", *SCALARS]
    assert len(table) == 2 * 3 * 12 + 2 * 1 * 5
    rows = table.query("protocol == 'sgd' and epoch == 2 and batch_size == 4")
    np.testing.assert_array_equal(rows["path_length"], expected["path_length"])
    assert (
        opened.select(protocol="sgd", epoch=2, batch_size=4)
        .to_dataframe()
        .equals(rows.reset_index(drop=True))
    )


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({}, "protocol is not given in .*, expected one of: frozen, sgd"),
        ({"protocol": "adam"}, "no protocol 'adam' in .*, expected one of: frozen, sgd"),
        ({"protocol": "sgd"}, "epoch is not given in .* .protocol sgd., expected one of: 2, 30"),
        ({"protocol": "sgd", "epoch": 3}, "no epoch 3 in .*, expected one of: 2, 30"),
        (
            {"protocol": "sgd", "epoch": 2, "batch_size": 3},
            "no batch_size 3 in .* .protocol sgd, epoch 2., expected one of: 1, 4, 16",
        ),
    ],
)
def test_what_is_not_there(opened: Archive, wanted: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        opened.select(**wanted)


def test_what_is_unambiguous_may_be_left_out(opened: Archive) -> None:
    assert opened.select(protocol="frozen", epoch=30).batch_size == 4


def test_a_shard_opens_like_an_atlas(folder: Path, expected: Mapping[str, NDArray[Any]]) -> None:
    shard = archive.open(shard_path(folder, "sgd", 2, 4, TrialRange(7, 11)))
    assert (shard.protocols, shard.epochs(), shard.batch_sizes()) == (("sgd",), (2,), (4,))
    np.testing.assert_array_equal(shard.select().gradient(8), expected["gradient"][8])


def test_no_shards_to_open() -> None:
    with pytest.raises(InputError, match="no shards were given"):
        archive.open_shards([])


def test_an_atlas_is_not_a_shard(folder: Path) -> None:
    with pytest.raises(InputError, match=r"gradients\.h5 is an atlas, expected a shard"):
        archive.open_shards([folder / "gradients.h5"])


@pytest.mark.parametrize("name", ["gradients.h5", "export.h5"])
def test_a_file_may_be_open_elsewhere(folder: Path, name: str) -> None:
    """HDF5 refuses a file that is open in the same process with another way of locking."""
    with h5py.File(folder / name) as file:
        expected = file["sgd/epoch2/gradient"][1, 0]
        stored = archive.open(folder / name).select(protocol="sgd", epoch=2, batch_size=4)
        np.testing.assert_array_equal(stored.gradient(0), expected)


@pytest.mark.parametrize("name", ["gradients.h5", "export.h5"])
def test_xarray_reads_a_file_that_is_open_elsewhere(folder: Path, name: str) -> None:
    with h5py.File(folder / name) as file:
        dataset = archive.open(folder / name).to_xarray("sgd", 2)
        np.testing.assert_array_equal(dataset.gradient[1, 0], file["sgd/epoch2/gradient"][1, 0])
        dataset.close()


WITHOUT_LOCKS = """
import sys
from pathlib import Path
import gradatlas
from gradatlas.archive import verify
from tests.archive.examples import write_atlas
atlas = write_atlas(Path(sys.argv[1]))
opened = gradatlas.open(atlas)
chosen = opened.select(protocol="sgd", epoch=2, batch_size=4)
assert (opened.to_xarray("sgd", 2).gradient[1, 3] == chosen.gradient(3)).all()
assert verify(atlas) == []
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_file_system_without_locks_serves(tmp_path: Path) -> None:
    """As NFS without its lock service: what is written, read, shown by xarray and verified."""
    program = tmp_path / "program.py"
    program.write_text(WITHOUT_LOCKS)
    done = subprocess.run(
        [
            *("strace", "-f", "-o", str(tmp_path / "calls"), "-e", "trace=flock"),
            *("-e", "inject=flock:error=ENOLCK", sys.executable, str(program), str(tmp_path)),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_selection_is_read_only(selection: Selection, opened: Archive) -> None:
    with pytest.raises(ValueError, match="read-only"):
        selection.scalars["path_length"][0] = -1
    for mapping in (selection.scalars, selection.attributes, opened.attributes):
        with pytest.raises(TypeError, match="does not support item assignment"):
            mapping["epoch"] = 99  # type: ignore[index]
    changed = selection.scalars["path_length"].copy()
    changed[0] = -1
    assert selection.scalars["path_length"][0] != -1


def test_a_selection_goes_to_another_process(selection: Selection, opened: Archive) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(Selection.gradient, selection, 3).result()
        chosen = pool.submit(Archive.select, opened, protocol="sgd", epoch=2, batch_size=4).result()
    np.testing.assert_array_equal(there, selection.gradient(3))
    assert chosen.attributes == opened.select(protocol="sgd", epoch=2, batch_size=4).attributes


def test_an_archive_is_opened_as_files_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    with gradatlas.open("~/gradients.h5") as opened:
        chosen = opened.select(protocol="sgd", epoch=2, batch_size=4)
    assert len(chosen) == len(chosen.trials) == 12
    assert archive.verify(Path("~/export.h5")) == []


def test_a_file_that_vanishes(tmp_path: Path) -> None:
    shards, _ = write_results(tmp_path, {"sgd": ((4,), (TrialRange(0, 3),))}, epochs=(2,))
    opened = archive.open_shards(shards)
    shards[0].unlink()
    with pytest.raises(FileNotFoundError, match=r"cannot be read \(No such file"):
        opened.gradient(0)


def test_xarray(opened: Archive) -> None:
    dataset = opened.to_xarray("sgd", 30)
    assert dataset.gradient.dims == ("batch_size", "trial", "output", "input")
    assert dataset.gradient.variable._in_memory is False
    trial = dataset.gradient.sel(batch_size=16, trial=7)
    np.testing.assert_array_equal(trial, make_trials(TrialRange(7, 7), key=16)["gradient"][0])
    assert dataset.attrs["epoch"] == 30


def test_xarray_of_a_shard(folder: Path, expected: Mapping[str, NDArray[Any]]) -> None:
    dataset = archive.open(shard_path(folder, "sgd", 2, 4, TrialRange(0, 6))).to_xarray()
    assert dataset.gradient.dims == ("trial", "output", "input")
    for name, values in expected.items():
        np.testing.assert_array_equal(dataset[name], values[:7])


def test_xarray_with_dask_reads_in_pieces(folder: Path) -> None:
    opened = archive.open(folder / "gradients.h5")
    means = opened.to_xarray("sgd", 2).chunk(trial=5).gradient.mean("trial").compute()
    for index, batch_size in enumerate((1, 4, 16)):
        expected = make_trials(TrialRange(0, 11), key=batch_size)["gradient"].mean(axis=0)
        np.testing.assert_allclose(means[index], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("number", [np.int8(3), np.uint8(3), np.int16(3), np.int64(3)])
def test_a_trial_may_be_given_as_an_integer_of_numpy(
    selection: Selection, expected: Mapping[str, NDArray[Any]], number: SupportsIndex
) -> None:
    np.testing.assert_array_equal(selection.gradient(number), expected["gradient"][3])


def test_a_large_shard_by_small_integers(tmp_path: Path) -> None:
    content = write_shard(tmp_path / "shard.h5", 0, 99, shape=(10, 1024))
    stored = archive.open(tmp_path / "shard.h5").select()
    np.testing.assert_array_equal(stored.gradient(np.int8(99)), content["gradient"][99])


def test_what_is_not_there_is_named(selection: Selection, opened: Archive) -> None:
    with pytest.raises(InputError, match="no dataset 'nonsense', expected one of: gradient, "):
        selection.rows("nonsense", 0, 1)
    with pytest.raises(InputError, match="trials 5 to 3: expected the first number not above"):
        selection.rows("gradient", 5, 3)
    with pytest.raises(InputError, match=r"no attribute 'protocoll' in .*expected one of: batch_"):
        opened.matching(protocoll="sgd")


def test_selections_match_by_attributes_that_some_lack(tmp_path: Path) -> None:
    ranges = (TrialRange(0, 6),)
    shards, checkpoints = write_results(tmp_path, {"sgd": ((4,), ranges)})
    reordered = tmp_path / "gradients" / "reordered.h5"
    checkpoint = file_digest(checkpoints[2])
    write_shard(reordered, 0, 6, protocol="r", sample_sets=4, checkpoint_sha256=checkpoint)
    archive.build_atlas(tmp_path / "gradients.h5", [*shards, reordered], checkpoints)
    (found,) = archive.open(tmp_path / "gradients.h5").matching(sample_sets=4)
    assert found.protocol == "r"


@pytest.mark.parametrize("name", ["gradient", "sample_index", "path_length"])
@pytest.mark.parametrize("kind", ["atlas", "export", "shard"])
def test_a_file_in_the_place_of_another_is_not_read(tmp_path: Path, kind: str, name: str) -> None:
    write_atlas(tmp_path)
    shard = shard_path(tmp_path, "sgd", 2, 4, TrialRange(0, 6))
    export = tmp_path / "export.h5"
    archive.export(tmp_path / "gradients.h5", export)
    path = {"atlas": tmp_path / "gradients.h5", "export": export, "shard": shard}[kind]
    stored = archive.open(path).matching(protocol="sgd", epoch=2, batch_size=4)[0]
    stored.rows("gradient", 0, 3)
    replaced = export if kind == "export" else shard
    other = tmp_path / "other.h5"
    write_shard(other, 0, 6, key=99)
    other.replace(replaced)
    with pytest.raises(InputError, match="has changed since it was opened; open it again"):
        stored.rows(name, 0, 3)


def test_an_unreadable_file_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path / "shard.h5")
    stored = archive.open(tmp_path / "shard.h5").select()

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr("gradatlas.archive.shards.h5py.File", refused)
    with pytest.raises(PermissionError, match=r"shard\.h5 cannot be read \(Permission denied\)$"):
        stored.gradient(0)


def test_a_relative_path_outlives_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write_shard(tmp_path / "shard.h5")
    monkeypatch.chdir(tmp_path)
    stored = archive.open("shard.h5").select()
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(stored.gradient(2), content["gradient"][2])


def test_unknown_datasets_and_groups_are_ignored(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a later minor change of the format may add."""
    with h5py.File(folder / "export.h5") as file, create_file(tmp_path / "more.h5", 1) as new:
        for name in file:
            file.copy(file[name], new, name)
        new.attrs.update(file.attrs)
        new["unknown"] = 1
        new["sgd/summary/unknown"] = 1
        new["unknown_group/unknown"] = 1
        new["sgd/epoch2/unknown"] = 1
    opened = archive.open(tmp_path / "more.h5")
    assert len(opened.selections) == 8
    assert archive.verify(tmp_path / "more.h5") == []


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    write_shard(tmp_path / "shard.h5")
    return tmp_path / "shard.h5"


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file(shard: Path, kept: float) -> None:
    os.truncate(shard, int(shard.stat().st_size * kept))
    with pytest.raises(InputError, match=r"shard\.h5 is (damaged or was altered|not an HDF5 file)"):
        archive.open(shard)
    (shard.parent / "shard.h5.sha256").unlink()
    with pytest.raises(InputError, match=r"shard\.h5 is (damaged, it cannot be read|not an HDF5)"):
        archive.open(shard)


def test_a_file_that_was_edited(shard: Path) -> None:
    with h5py.File(shard, "r+") as file:
        file.attrs["seed"] = 1
    with pytest.raises(InputError, match="is damaged or was altered: its SHA-256 is"):
        archive.open(shard)


def test_statistics_need_a_digest(shard: Path) -> None:
    (shard.parent / "shard.h5.sha256").unlink()
    assert archive.open(shard).kind == "shard"
    with pytest.raises(InputError, match=r"shard\.h5\.sha256 is missing, so .* cannot be checked"):
        archive.open_shards([shard])


def test_a_file_that_is_not_hdf5(tmp_path: Path) -> None:
    (tmp_path / "notes.h5").write_text("These are notes.")
    with pytest.raises(InputError, match=r"notes\.h5 is not an HDF5 file, expected a shard"):
        archive.open(tmp_path / "notes.h5")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(InputError, match=r"pipe\.h5 is not a regular file, expected a shard"):
        archive.open(tmp_path / "pipe.h5")


def test_an_hdf5_file_of_another_program(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = [1, 2, 3]
    with pytest.raises(InputError, match=r"other\.h5 is no file of Gradient Atlas, expected"):
        archive.open(tmp_path / "other.h5")


def test_a_newer_format_version(shard: Path) -> None:
    (shard.parent / "shard.h5.sha256").unlink()
    with h5py.File(shard, "r+") as file:
        file.attrs["format_version"] = 3
    with pytest.raises(InputError, match="has format version 3, expected at most 2; update"):
        archive.open(shard)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.h5 cannot be opened"):
        archive.open(tmp_path / "nothing.h5")


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=r"cannot be opened \(Is a directory\)"):
        archive.open(tmp_path)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Root may read everything, so become nobody for a moment."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_that_may_not_be_read(shard: Path) -> None:
    shard.chmod(0)
    with ordinary_user(), pytest.raises(PermissionError, match=r"shard\.h5 cannot be opened"):
        archive.open(shard)
