"""Damage of any kind is found, and never read as data."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from gradatlas import archive
from gradatlas.archive.seal import payload_extents
from gradatlas.core.errors import InputError
from gradatlas.core.sharding import TrialRange
from tests.archive.examples import flip, make_trials, shard_path, write_atlas, write_shard

MUTANTS = 500


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    write_shard(tmp_path / "shard.h5")
    return tmp_path / "shard.h5"


def payload_offsets(path: Path) -> NDArray[np.int64]:
    with h5py.File(path) as file:
        return np.concatenate([np.arange(e.offset, e.end) for e in payload_extents(file)])


def test_sound_files_have_no_findings(tmp_path: Path) -> None:
    atlas = write_atlas(tmp_path)
    archive.export(atlas, tmp_path / "export.h5", compress=True)
    for path in (atlas, tmp_path / "export.h5", *tmp_path.glob("gradients/**/*.h5")):
        assert archive.verify(path) == []


def test_every_flipped_byte_of_the_data_is_found(shard: Path) -> None:
    content = shard.read_bytes()
    generator = np.random.default_rng(0)
    for offset in generator.choice(payload_offsets(shard), 200, replace=False):
        flip(shard, int(offset), int(generator.integers(1, 256)))
        assert archive.verify(shard), f"a change at {offset} was not found"
        shard.write_bytes(content)


def test_a_finding_names_file_and_trials(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    write_shard(path, 100, 199, shape=(10, 1024))
    with h5py.File(path) as file:
        offset = file["gradient"].id.get_chunk_info(1).byte_offset
    flip(path, offset + 5)
    (finding,) = archive.verify(path)
    assert finding.where == path
    assert "gradient of trial 125 does not have its checksum" in finding.what


def test_trials_of_one_chunk_are_told_apart(tmp_path: Path) -> None:
    """Forty trials share a chunk: damage to one is one finding, and says nothing of the others."""
    path = tmp_path / "shard.h5"
    write_shard(path, 0, 39)
    with h5py.File(path) as file:
        offset = file["gradient"].id.get_chunk_info(0).byte_offset
    flip(path, offset + 5 * 96)
    (finding,) = archive.verify(path)
    assert "gradient of trial 5 does not have its checksum" in finding.what
    for trial in (*range(14, 40), 3):
        flip(path, offset + trial * 96)
    first, second = archive.verify(path)
    assert "of each of the trials 3, 5, 14, 15, " in first.what
    assert "and 3 more does not have its checksum" in first.what
    assert "trials 25, 26" in second.what


def test_a_chunk_whose_own_checksum_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    write_shard(path, 10, 29, shape=(10, 1024))
    with h5py.File(path) as file:
        chunk = file["gradient"].id.get_chunk_info(0)
    flip(path, chunk.byte_offset + chunk.size - 1)
    (finding,) = archive.verify(path)
    assert (
        "chunk of gradient with trials 10-29 differs, though every trial is sound" in finding.what
    )


@pytest.mark.parametrize("compress", [False, True])
def test_damage_in_an_export(tmp_path: Path, compress: bool) -> None:
    archive.export(write_atlas(tmp_path), tmp_path / "export.h5", compress=compress)
    offset = int(payload_offsets(tmp_path / "export.h5")[1000])
    flip(tmp_path / "export.h5", offset)
    assert archive.verify(tmp_path / "export.h5")


def test_everything_wrong_with_an_atlas_is_listed(tmp_path: Path) -> None:
    atlas = write_atlas(tmp_path)
    missing = shard_path(tmp_path, "sgd", 2, 1, TrialRange(0, 6))
    truncated = shard_path(tmp_path, "sgd", 2, 4, TrialRange(7, 11))
    flipped = shard_path(tmp_path, "frozen", 30, 4, TrialRange(0, 4))
    checkpoint = tmp_path / "checkpoints" / "epoch2.safetensors"
    missing.unlink()
    truncated.write_bytes(truncated.read_bytes()[:2000])
    flip(flipped, int(payload_offsets(flipped)[10]))
    checkpoint.write_bytes(b"other weights")
    findings = archive.verify(atlas)
    assert {item.where for item in findings} == {missing, truncated, flipped, checkpoint}
    assert len(findings) == 4
    assert "is not the checkpoint the shards were collected from" in findings[2].what


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    atlas = write_atlas(tmp_path)
    (tmp_path / "checkpoints" / "epoch30.safetensors").unlink()
    (finding,) = archive.verify(atlas)
    assert "epoch30.safetensors cannot be read (No such file" in finding.what


def test_a_file_that_does_not_open(tmp_path: Path) -> None:
    (finding,) = archive.verify(tmp_path / "nothing.h5")
    assert (
        "nothing.h5 cannot be opened (No such file or directory), expected a shard" in finding.what
    )


def overwrite(content: bytearray, generator: np.random.Generator) -> None:
    start, length = generator.integers(len(content)), generator.integers(1, 200)
    content[start : start + length] = generator.bytes(int(length))


def fill(content: bytearray, generator: np.random.Generator) -> None:
    start, length = generator.integers(len(content)), generator.integers(1, 5)
    content[start : start + length] = bytes([generator.choice([0, 255])]) * int(length)


def exchange(content: bytearray, generator: np.random.Generator) -> None:
    length = int(generator.choice([4, 96, 128, 1024]))
    a, b = (int(start) for start in generator.integers(len(content) - length, size=2))
    content[a : a + length], content[b : b + length] = (
        content[b : b + length],
        content[a : a + length],
    )


def flip_bits(content: bytearray, generator: np.random.Generator) -> None:
    for place in generator.integers(len(content), size=generator.integers(1, 4)):
        content[place] ^= 1 << generator.integers(8)


def cut(content: bytearray, generator: np.random.Generator) -> None:
    start = int(generator.integers(len(content)))
    del content[start : start + int(generator.integers(1, 500))]


@pytest.mark.parametrize("mutate", [overwrite, fill, exchange, flip_bits, cut])
def test_a_mutated_shard_gives_the_right_data_or_an_error(
    tmp_path: Path,
    shard: Path,
    mutate: Callable[[bytearray, np.random.Generator], None],
) -> None:
    """Neither a wrong number nor another exception; what reads back right may be verified."""
    expected = make_trials(TrialRange(0, 9))
    original = shard.read_bytes()
    generator = np.random.default_rng(1)
    refused = 0
    for _ in range(MUTANTS // 5):
        content = bytearray(original)
        mutate(content, generator)
        shard.write_bytes(content)
        try:
            stored = archive.open(shard).select()
            for name, values in expected.items():
                assert stored.rows(name, 0, 9).tobytes() == values.tobytes()
        except InputError:
            refused += 1
        assert content == original or archive.verify(shard)
    assert refused > 0
