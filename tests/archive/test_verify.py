"""Damage of any kind is found, and never read as data."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from gradatlas import archive
from gradatlas.core.errors import InputError
from gradatlas.core.settings import TrialRange
from tests.archive.examples import flip, make_trials, shard_path, write_atlas, write_shard

FLIPS = 200


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    archive.export(write_atlas(folder), folder / "export.h5")
    return folder


def named(folder: Path, kind: str) -> Path:
    """The atlas, an export of it, or one of its shards."""
    names = {"atlas": "gradients.h5", "export": "export.h5"}
    shard = shard_path(folder, "sgd", 2, 4, TrialRange(0, 6))
    return folder / names[kind] if kind in names else shard


def test_sound_files_have_no_findings(results: Path) -> None:
    for path in (results / "gradients.h5", results / "export.h5", *results.rglob("trials*.h5")):
        assert archive.verify(path) == []


@pytest.mark.parametrize("kind", ["shard", "atlas", "export"])
def test_every_flipped_bit_is_found_and_none_is_read(results: Path, kind: str) -> None:
    """By ``verify``, by what statistics read, and in no other way than by a sentence."""
    path, shard = named(results, kind), named(results, "shard")
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for count, offset in enumerate(generator.choice(len(content), FLIPS, replace=False).tolist()):
        flip(path, offset, 1 << int(generator.integers(8)))
        assert any(finding.is_damage for finding in archive.verify(path)), offset
        with pytest.raises(InputError, match=r"is damaged or was altered|is not an HDF5 file"):
            archive.open(path)
        if path == shard:
            if count % 20 == 0:  # the atlas of fourteen shards takes a while
                assert archive.verify(results / "gradients.h5")
            with pytest.raises(InputError):
                archive.open_shards([path])
        path.write_bytes(content)
    assert archive.verify(path) == []


def test_a_flipped_bit_of_a_digest_is_found(results: Path) -> None:
    for kind in ("shard", "atlas", "export"):
        beside = named(results, kind).with_name(f"{named(results, kind).name}.sha256")
        content = beside.read_bytes()
        flip(beside, 10, 1)
        assert archive.verify(named(results, kind))
        beside.write_bytes(content)


def test_a_truncated_file_or_one_with_something_behind(results: Path) -> None:
    for kind in ("shard", "atlas", "export"):
        path = named(results, kind)
        content = path.read_bytes()
        for changed in (b"", content[:7], content[:-1], content + b"\0"):
            path.write_bytes(changed)
            (finding,) = archive.verify(path)
            assert finding.is_damage
            assert finding.where == path
        path.write_bytes(content)


def test_without_a_digest_damage_to_the_tensors_is_found_by_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    write_shard(path, 100, 199, shape=(10, 1024))
    (tmp_path / "shard.h5.sha256").unlink()
    (remark,) = archive.verify(path)
    assert not remark.is_damage
    assert "sha256 is missing: only the chunks of" in remark.what
    with h5py.File(path) as file:
        offset = file["gradient"].id.get_chunk_info(1).byte_offset
    flip(path, offset + 5)
    damage, _ = archive.verify(path)
    assert damage.is_damage
    assert "is damaged, gradient of trials 125-149 cannot be read" in damage.what
    stored = archive.open(path).select()
    with pytest.raises(InputError, match="is damaged, gradient of trials 130-130 cannot be read"):
        stored.gradient(130)
    stored.gradient(150)


@pytest.mark.parametrize("compress", [False, True])
def test_damage_in_the_chunks_of_an_export(tmp_path: Path, compress: bool) -> None:
    write_shard(tmp_path / "shard.h5")
    path = tmp_path / "export.h5"
    archive.export(tmp_path / "shard.h5", path, compress=compress)
    path.with_name("export.h5.sha256").unlink()
    with h5py.File(path) as file:
        offset = file["sgd/epoch2/gradient"].id.get_chunk_info(0).byte_offset
    flip(path, offset + 20)
    assert any(finding.is_damage for finding in archive.verify(path))


def test_everything_wrong_with_an_atlas_is_listed(tmp_path: Path) -> None:
    atlas = write_atlas(tmp_path)
    missing = shard_path(tmp_path, "sgd", 2, 1, TrialRange(0, 6))
    truncated = shard_path(tmp_path, "sgd", 2, 4, TrialRange(7, 11))
    flipped = shard_path(tmp_path, "frozen", 30, 4, TrialRange(0, 4))
    checkpoint = tmp_path / "checkpoints" / "epoch2.safetensors"
    missing.unlink()
    truncated.write_bytes(truncated.read_bytes()[:2000])
    flip(flipped, 3000)
    checkpoint.write_bytes(b"other weights")
    findings = archive.verify(atlas)
    assert {item.where for item in findings} == {missing, truncated, flipped, checkpoint}
    assert len(findings) == 4
    assert "is not the checkpoint the shards were collected from" in findings[0].what


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


MUTATE = """
import os, sys
from pathlib import Path
import numpy as np
from gradatlas import archive
from gradatlas.core.errors import InputError

path, seed = Path(sys.argv[1]), int(sys.argv[2])
original = path.read_bytes()
generator = np.random.default_rng(seed)
for _ in range(50):
    content = bytearray(original)
    start, length = int(generator.integers(len(content))), int(generator.integers(1, 300))
    match generator.integers(4):
        case 0:
            content[start : start + length] = generator.bytes(length)
        case 1:
            content[start : start + length] = bytes([generator.choice([0, 255])]) * length
        case 2:
            del content[start : start + length]
        case 3:
            content[start] ^= 1 << int(generator.integers(8))
    path.write_bytes(content)
    assert bytes(content) == original or archive.verify(path)
    try:
        archive.open(path)
        assert bytes(content) == original
    except InputError:
        pass
path.write_bytes(original)
print("done")
"""


@pytest.mark.parametrize("kind", ["shard", "atlas", "export"])
def test_a_mutated_file_ends_in_a_sentence(results: Path, kind: str) -> None:
    """In a process of its own: HDF5 may crash where it is given a damaged file."""
    command = [sys.executable, "-c", MUTATE, str(named(results, kind)), "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_the_reader_of_an_atlas_gets_the_right_numbers(results: Path) -> None:
    stored = archive.open(results / "gradients.h5").select(protocol="sgd", epoch=2, batch_size=4)
    expected = make_trials(TrialRange(0, 11), key=4)
    for name, values in expected.items():
        assert stored.rows(name, 0, 11).tobytes() == values.tobytes()
