"""Writing a shard: what is stored, that it is whole, and that its bytes are determined."""

import json
import os
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gradatlas import archive
from gradatlas.archive.format import CHUNK_BYTES, chunk_shape, stored_bytes
from gradatlas.core.errors import InputError
from gradatlas.core.settings import TrialRange
from tests.archive.examples import (
    PROVENANCE,
    SAMPLES,
    SCALARS,
    SETTINGS,
    TENSOR,
    make_trials,
    write_shard,
)


def test_plain_h5py_reads_what_was_written(tmp_path: Path) -> None:
    content = write_shard(tmp_path / "shard.h5", 5, 17, sample_sets=4)
    with h5py.File(tmp_path / "shard.h5") as file:
        for name, values in content.items():
            assert file[name].dtype == values.dtype
            np.testing.assert_array_equal(file[name][:], values)
        assert file["trial"][:].tolist() == list(range(5, 18))
        assert {name: file.attrs[name] for name in ("protocol", "epoch", "batch_size")} == {
            "protocol": "sgd",
            "epoch": 2,
            "batch_size": 4,
        }
        assert file.attrs["sample_sets"] == 4
        assert file.attrs["library_versions"] == '{"h5py": "3.12", "numpy": "2.1"}'
        assert file.attrs["format_version"] == 2
        assert json.loads(file.attrs["settings"])["update"] == {
            "name": "sgd",
            "learning_rate": 0.01,
        }


def test_every_field_of_the_record_stands_under_its_own_name(tmp_path: Path) -> None:
    """None may have the name of another attribute of the file, which would hide it."""
    write_shard(tmp_path / "shard.h5", 5, 17, sample_sets=4)
    settings = replace(SETTINGS, sample_sets=4)
    expected = {**vars(settings), **vars(settings.update), "update": settings.update.name}
    with h5py.File(tmp_path / "shard.h5") as file:
        for name, value in expected.items():
            if isinstance(value, str | int | float):
                assert file.attrs[name] == value, name


def test_dimensions_are_named_and_have_scales(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard.h5")
    with h5py.File(tmp_path / "shard.h5") as file:
        dimensions = [(dim.label, dim[0].name) for dim in file["gradient"].dims]
        assert dimensions == [("trial", "/trial"), ("output", "/output"), ("input", "/input")]
        assert [dim.label for dim in file["sample_index"].dims] == ["trial", "sample"]


def test_trials_that_share_nothing_have_no_sample_sets(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard.h5", sample_sets=None)
    with h5py.File(tmp_path / "shard.h5") as file:
        assert "sample_sets" not in file.attrs
    assert archive.open(tmp_path / "shard.h5").select().settings.sample_sets is None


@pytest.mark.parametrize(
    ("shape", "chunk"),
    [
        ((10, 1024), (25, 10, 1024)),  # the default: 1,024,000 bytes
        ((10,), (40, 10)),  # a bias: all trials in one chunk
        ((1024, 784), (1, 256, 784)),  # a hidden weight: a quarter of a trial
        ((1000, 784), (1, 334, 784)),  # the last part is shorter
    ],
)
def test_chunks_are_near_one_megabyte(
    tmp_path: Path, shape: tuple[int, ...], chunk: tuple[int, ...]
) -> None:
    trials = 40 if shape[0] == 10 else 3
    content = write_shard(tmp_path / "shard.h5", 0, trials - 1, shape=shape)
    with h5py.File(tmp_path / "shard.h5") as file:
        assert file["gradient"].chunks == chunk
        assert file["gradient"].fletcher32
        assert file["gradient"].compression is None
        np.testing.assert_array_equal(file["gradient"][:], content["gradient"])  # HDF5's checksum
        names = [dim.label for dim in file["gradient"].dims]
    assert names == ["trial", "output", "input"][: len(shape) + 1]
    stored = archive.open(tmp_path / "shard.h5").select()
    np.testing.assert_array_equal(stored.gradient(2), content["gradient"][2])
    np.testing.assert_array_equal(np.concatenate(list(stored.blocks())), content["gradient"])


def test_not_a_number_and_infinity_are_stored_as_they_are(tmp_path: Path) -> None:
    trials = TrialRange(0, 2)
    content = make_trials(trials)
    content["gradient"][0] = np.nan
    content["gradient"][1, 0, 0] = -np.inf
    content["gradient"].view(np.uint32)[2, 1, 1] = 0x7FC12345  # a NaN with a payload
    content["last_loss"][1] = np.nan
    with archive.create_shard(tmp_path / "shard.h5", SETTINGS, PROVENANCE, trials, TENSOR) as shard:
        shard.append(**content)
    stored = archive.open(tmp_path / "shard.h5").select()
    block = next(stored.blocks())
    assert block.tobytes() == content["gradient"].tobytes()
    np.testing.assert_array_equal(stored.scalars["last_loss"], content["last_loss"])


def test_bytes_do_not_depend_on_time(tmp_path: Path) -> None:
    write_shard(tmp_path / "early.h5")
    time.sleep(1.1)  # HDF5 counts whole seconds
    write_shard(tmp_path / "late.h5")
    assert (tmp_path / "early.h5").read_bytes() == (tmp_path / "late.h5").read_bytes()


def append_some(path: Path, count: int, **changed: Any) -> None:
    content = make_trials(TrialRange(0, count - 1)) | changed
    with archive.create_shard(path, SETTINGS, PROVENANCE, TrialRange(0, 9), TENSOR) as shard:
        shard.append(**content)


@pytest.mark.parametrize(
    ("count", "changed", "sentence"),
    [
        (9, {}, "9 trials were appended to .*, expected 10"),
        (11, {}, "11 trials were appended to .*, expected 10"),
        (
            10,
            {"gradient": np.zeros((10, 8, 3), np.float32)},
            r"gradient .* shape \(10, 8, 3\), expected \(10, 3, 8\)",
        ),
        (10, {"gradient": np.zeros((10, 3, 8))}, "gradient is float64, expected float32"),
        (10, {"first_loss": np.zeros(9)}, r"first_loss .* shape \(9,\), expected \(10,\)"),
        (
            10,
            {"sample_index": np.zeros((10, SAMPLES), np.int64)},
            "sample_index is int64, expected uint32",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_left(
    tmp_path: Path, count: int, changed: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        append_some(tmp_path / "shard.h5", count, **changed)
    assert list(tmp_path.iterdir()) == []


def write_half(path: Path) -> None:
    with archive.create_shard(path, SETTINGS, PROVENANCE, TrialRange(0, 9), TENSOR) as shard:
        shard.append(**make_trials(TrialRange(0, 4)))
        raise ZeroDivisionError


def test_an_exception_leaves_what_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    write_shard(path)
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        write_half(path)
    assert path.read_bytes() == before
    assert set(tmp_path.iterdir()) == {path, tmp_path / "shard.h5.sha256"}


def test_memory_does_not_grow_with_trials(tmp_path: Path) -> None:
    block = make_trials(TrialRange(0, 9), shape=(10, 1024))

    def peak(blocks: int) -> int:
        tracemalloc.start()
        trials = TrialRange(0, 10 * blocks - 1)
        target = tmp_path / "shard.h5"
        with archive.create_shard(target, SETTINGS, PROVENANCE, trials, (10, 1024)) as shard:
            for _ in range(blocks):
                shard.append(**block)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(10)  # imports and caches
    few, many = peak(10), peak(100)
    assert many < few + 300_000  # 90 more blocks are 37 MB


def test_scalars_are_float64(tmp_path: Path) -> None:
    content = write_shard(tmp_path / "shard.h5")
    scalars = archive.open(tmp_path / "shard.h5").select().scalars
    assert list(scalars) == list(SCALARS)
    for name, values in scalars.items():
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, content[name])


@pytest.mark.parametrize("shape", [(10,), (10, 64), (10, 1024), (512, 784), (300_000,)])
def test_a_chunk_is_near_a_megabyte(shape: tuple[int, ...]) -> None:
    chunk = chunk_shape(shape, 10**6)
    assert CHUNK_BYTES / 3 < 4 * np.prod(chunk) <= 1.05 * CHUNK_BYTES
    assert chunk_shape(shape, 3)[0] <= 3


@pytest.mark.parametrize("shape", [(10,), (3, 8), (10, 1024), (1000, 784)])
@pytest.mark.parametrize("trials", [1, 26, 300])
def test_room_is_reserved_for_all_of_a_shard_and_given_back(
    tmp_path: Path, shape: tuple[int, ...], trials: int
) -> None:
    trials = trials if np.prod(shape) < 100_000 else 3
    write_shard(tmp_path / "shard.h5", 0, trials - 1, shape=shape)
    size = (tmp_path / "shard.h5").stat().st_size
    with h5py.File(tmp_path / "shard.h5") as file:
        assert file.id.get_filesize() == size
    assert size <= stored_bytes(trials, shape, SAMPLES)


@pytest.mark.parametrize("block", [1, 7, 300])
def test_a_bias_is_written_in_chunks_whatever_the_blocks(tmp_path: Path, block: int) -> None:
    """Its tensors are smaller than a trial's sample indices."""
    trials, samples = TrialRange(0, 599), 1024
    content = {
        "gradient": np.random.default_rng(0).standard_normal((600, 10), np.float32),
        "sample_index": np.random.default_rng(1).integers(0, 60000, (600, samples), np.uint32),
        **dict.fromkeys(SCALARS, np.arange(600.0)),
    }
    settings, path = replace(SETTINGS, samples_per_trial=samples), tmp_path / "shard.h5"
    with archive.create_shard(path, settings, PROVENANCE, trials, (10,)) as shard:
        for start in range(0, 600, block):
            rows = slice(start, start + block)
            shard.append(**{name: values[rows] for name, values in content.items()})
    with h5py.File(path) as file:
        assert file["sample_index"].chunks == (256, samples)
    stored = archive.open(path).select()
    for name, values in content.items():
        np.testing.assert_array_equal(stored.rows(name, 0, 599), values)


def test_the_digest_beside_it_is_read_by_sha256sum(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard.h5")
    command = ["sha256sum", "--check", "--strict", "shard.h5.sha256"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_every_element_says_what_it_is(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard.h5")
    with h5py.File(tmp_path / "shard.h5") as file:
        kinds = {
            name: (item.attrs["kind"], item.attrs["format_version"]) for name, item in file.items()
        }
        assert file.attrs["kind"] == "shard"
    coordinates = dict.fromkeys(("trial", "output", "input", "sample"), ("coordinate", 2))
    rows = dict.fromkeys(("gradient", "sample_index", *SCALARS), ("trials", 2))
    assert kinds == coordinates | rows


@pytest.mark.parametrize("limit", [100, 3000, 40_000, 1_000_000])
def test_a_file_size_limit_ends_in_a_sentence(tmp_path: Path, limit: int) -> None:
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from tests.archive.examples import write_shard\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n"
        "    write_shard(Path(sys.argv[1]), 0, 99, shape=(10, 1024))\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "shard.h5")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(
        f"{tmp_path / 'shard.h5'} could not be written (File too large)"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["posix_fallocate", "fsync", "truncate"])
def test_a_disk_that_fails_to_keep_what_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(OSError, match=r"shard\.h5 could not be written \(No space left"):
        write_shard(tmp_path / "shard.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a directory, expected the name of a file"):
        write_shard(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_shard(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.archive.examples import write_shard\n"
        "for _ in range(20):\n"
        "    write_shard(Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "shard.h5")]
    writers = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    write_shard(tmp_path / "undisturbed.h5")
    assert (tmp_path / "shard.h5").read_bytes() == (tmp_path / "undisturbed.h5").read_bytes()
    assert archive.verify(tmp_path / "shard.h5") == []
    assert len(list(tmp_path.iterdir())) == 4
