"""Files that are no archives, or no longer what was written, are refused before HDF5 sees them."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import pytest

from gradatlas import archive
from gradatlas.archive.seal import payload_extents
from gradatlas.core.errors import InputError
from tests.archive.examples import flip, write_atlas, write_shard


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    write_shard(tmp_path / "shard.h5")
    return tmp_path / "shard.h5"


def test_every_byte_outside_the_payload_is_sealed(shard: Path) -> None:
    with h5py.File(shard) as file:
        payload = payload_extents(file)
    content = shard.read_bytes()
    structure = set(range(len(content))) - {
        offset for extent in payload for offset in range(extent.offset, extent.end)
    }
    for offset in sorted(structure)[:: len(structure) // 300]:
        flip(shard, offset)
        with pytest.raises(InputError, match=r"shard\.h5 "):
            archive.open(shard)
        shard.write_bytes(content)
    archive.open(shard)


def test_payload_is_the_chunks_of_the_large_datasets(shard: Path) -> None:
    with h5py.File(shard) as file:
        chunks = [
            file[name].id.get_chunk_info(index)
            for name in ("gradient", "sample_index")
            for index in range(file[name].id.get_num_chunks())
        ]
        extents = payload_extents(file)
    assert sum(extent.length for extent in extents) == sum(chunk.size for chunk in chunks)
    for chunk in chunks:
        end = chunk.byte_offset + chunk.size
        assert any(e.offset <= chunk.byte_offset and end <= e.end for e in extents)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file(shard: Path, kept: float) -> None:
    size = shard.stat().st_size
    os.truncate(shard, int(size * kept))
    with pytest.raises(InputError, match=r"shard\.h5 (has no seal|is not an HDF5 file)"):
        archive.open(shard)


def test_one_byte_less_and_one_byte_more(shard: Path) -> None:
    content = shard.read_bytes()
    for changed in (content[:-1], content + b"\0"):
        shard.write_bytes(changed)
        with pytest.raises(InputError, match="has no seal at its end"):
            archive.open(shard)


def test_a_file_that_is_not_hdf5(tmp_path: Path) -> None:
    (tmp_path / "notes.h5").write_text("These are notes.")
    with pytest.raises(InputError, match=r"notes\.h5 is not an HDF5 file; expected a shard"):
        archive.open(tmp_path / "notes.h5")


def test_an_hdf5_file_of_another_program(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = [1, 2, 3]
    with pytest.raises(InputError, match=r"other\.h5 has no seal.*no file of Gradient Atlas"):
        archive.open(tmp_path / "other.h5")


def test_a_newer_format_version(shard: Path) -> None:
    with h5py.File(shard, "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(InputError, match="has format version 2, expected at most 1; update"):
        archive.open(shard)


def test_a_file_that_was_edited(shard: Path) -> None:
    with h5py.File(shard, "r+") as file:
        file.attrs["seed"] = 1
    with pytest.raises(InputError, match="has no seal at its end"):
        archive.open(shard)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.h5 cannot be opened"):
        archive.open(tmp_path / "nothing.h5")


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a directory, expected a shard"):
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


def test_an_atlas_is_sealed_as_a_whole(tmp_path: Path) -> None:
    atlas = write_atlas(tmp_path)
    content = atlas.read_bytes()
    for offset in range(8, len(content), len(content) // 100):
        flip(atlas, offset)
        with pytest.raises(InputError, match=r"gradients\.h5 "):
            archive.open(atlas)
        atlas.write_bytes(content)
