"""Writing a shard: what is stored, that it is whole, and that its bytes are determined."""

import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradatlas import archive
from gradatlas.archive.layout import CHUNK_BYTES, chunks
from gradatlas.core.errors import InputError
from gradatlas.core.sharding import TrialRange
from tests.archive.examples import ATTRIBUTES, SAMPLES, SCALARS, TENSOR, make_trials, write_shard


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
        assert file.attrs["format_version"] == 1


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
    assert archive.open(tmp_path / "shard.h5").select().sample_sets is None


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
    with archive.create_shard(tmp_path / "shard.h5", ATTRIBUTES, trials, TENSOR) as shard:
        shard.append(**content)
    stored = archive.open(tmp_path / "shard.h5").select()
    block = next(stored.blocks())
    assert block.tobytes() == content["gradient"].tobytes()
    np.testing.assert_array_equal(stored.scalars["last_loss"], content["last_loss"])


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_bytes_do_not_depend_on_blocks(tmp_path: Path, blocks: list[int]) -> None:
    shape = (10, 1024)  # 25 trials a chunk
    trials = TrialRange(0, sum(blocks) - 1)
    content = make_trials(trials, shape=shape)
    path = tmp_path / "blocks.h5"
    with archive.create_shard(path, ATTRIBUTES, trials, shape) as shard:
        start = 0
        for block in blocks:
            shard.append(**{n: values[start : start + block] for n, values in content.items()})
            start += block
    write_shard(tmp_path / "whole.h5", 0, trials.last, shape=shape, block=len(trials))
    assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_bytes_do_not_depend_on_time(tmp_path: Path) -> None:
    write_shard(tmp_path / "early.h5")
    time.sleep(1.1)  # HDF5 counts whole seconds
    write_shard(tmp_path / "late.h5")
    assert (tmp_path / "early.h5").read_bytes() == (tmp_path / "late.h5").read_bytes()


def append_some(path: Path, count: int, **changed: Any) -> None:
    content = make_trials(TrialRange(0, count - 1)) | changed
    with archive.create_shard(path, ATTRIBUTES, TrialRange(0, 9), TENSOR) as shard:
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
    with archive.create_shard(path, ATTRIBUTES, TrialRange(0, 9), TENSOR) as shard:
        shard.append(**make_trials(TrialRange(0, 4)))
        raise ZeroDivisionError


def test_an_exception_leaves_what_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    write_shard(path)
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        write_half(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_memory_does_not_grow_with_trials(tmp_path: Path) -> None:
    block = make_trials(TrialRange(0, 9), shape=(10, 1024))

    def peak(blocks: int) -> int:
        tracemalloc.start()
        trials = TrialRange(0, 10 * blocks - 1)
        attributes = replace(ATTRIBUTES, batch_size=blocks % SAMPLES + 1)
        with archive.create_shard(tmp_path / "shard.h5", attributes, trials, (10, 1024)) as shard:
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
@pytest.mark.parametrize("samples", [1, 100, 1024, 60_000])
def test_chunks_are_near_a_megabyte_and_in_step(shape: tuple[int, ...], samples: int) -> None:
    gradient, index = chunks(shape, samples, 10**6)
    assert 4 * np.prod(gradient) <= 1.05 * CHUNK_BYTES
    assert 4 * np.prod(index) <= CHUNK_BYTES
    assert max(gradient[0], index[0]) % min(gradient[0], index[0]) == 0
    at_least = CHUNK_BYTES / 3
    assert 4 * np.prod(gradient) > at_least or gradient[0] == index[0]
    assert 4 * np.prod(index) > at_least or gradient[0] == index[0]


@pytest.mark.parametrize("block", [1, 7, 300])
def test_a_bias_is_written_in_chunks_whatever_the_blocks(tmp_path: Path, block: int) -> None:
    """Its tensors are smaller than a trial's sample indices."""
    trials, samples = TrialRange(0, 599), 1024
    content = {
        "gradient": np.random.default_rng(0).standard_normal((600, 10), np.float32),
        "sample_index": np.random.default_rng(1).integers(0, 60000, (600, samples), np.uint32),
        **dict.fromkeys(SCALARS, np.arange(600.0)),
    }
    attributes = replace(ATTRIBUTES, samples_per_trial=samples)
    for path, step in ((tmp_path / "shard.h5", block), (tmp_path / "at_once.h5", 600)):
        with archive.create_shard(path, attributes, trials, (10,)) as shard:
            for start in range(0, 600, step):
                rows = slice(start, start + step)
                shard.append(**{name: values[rows] for name, values in content.items()})
    assert (tmp_path / "shard.h5").read_bytes() == (tmp_path / "at_once.h5").read_bytes()
    with h5py.File(tmp_path / "shard.h5") as file:
        assert file["sample_index"].chunks == (256, samples)
    stored = archive.open(tmp_path / "shard.h5").select()
    for name, values in content.items():
        np.testing.assert_array_equal(stored.rows(name, 0, 599), values)
