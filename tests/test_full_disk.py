"""Every writer of results on a full disk and under a limit on file sizes: whole or not at all."""

import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, chdir, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from gradatlas import archive
from gradatlas.cli import main
from gradatlas.core.files import file_digest
from gradatlas.figures.drawing import draw_details
from gradatlas.figures.pages import write_pages
from gradatlas.statistics.batch_size import describe_batch_size
from gradatlas.statistics.tables import gather
from gradatlas.train.checkpoint import save_checkpoint
from tests.archive.examples import write_shard
from tests.figures import tables as made_up
from tests.statistics.synthetic import draw, write_shards

SOURCES = "sources"


def write_sources(folder: Path) -> None:
    """What the writers read, in a folder of its own below theirs."""
    sources = folder / SOURCES
    sources.mkdir(parents=True)
    (shard,) = write_shards(sources, draw(12), batch_size=4)
    describe(shard, sources)
    (sources / "epoch2.safetensors").write_bytes(b"weights")
    digest = file_digest(sources / "epoch2.safetensors")
    write_shard(sources / "shard.h5", checkpoint_sha256=digest)
    made_up.statistics_table().to_csv(sources / "statistics.csv", index=False)
    made_up.steps_table().to_csv(sources / "steps.csv", index=False)


def describe(shard: Path, target: Path) -> None:
    row, maps = target / "row.json", target / "maps.h5"
    settings = {"max_order": 4, "resamples": 100, "confidence": 0.9, "seed": 0}
    describe_batch_size([shard], [shard], row, maps, **settings)  # type: ignore[arg-type]


def checkpoint(folder: Path) -> None:
    weights = {"last.weight": np.arange(4000, dtype=np.float32)}
    save_checkpoint(folder / "checkpoints" / "epoch1.safetensors", weights, {})


def shard(folder: Path) -> None:
    write_shard(folder / "gradients" / "trials0-9.h5")


def atlas(folder: Path) -> None:
    sources = folder / SOURCES
    archive.build_atlas(
        folder / "gradients.h5", [sources / "shard.h5"], {2: sources / "epoch2.safetensors"}
    )


def export(folder: Path) -> None:
    archive.export(folder / SOURCES / "shard.h5", folder / "export.h5")


def statistics(folder: Path) -> None:
    describe(next((folder / SOURCES).glob("sgd-*.h5")), folder)


def table(folder: Path) -> None:
    row = folder / SOURCES / "row.json"
    gather([row] * 20, folder / "statistics.csv", folder / "notes.csv")


def figures(folder: Path) -> None:
    sources = Path(SOURCES)
    with chdir(folder):  # a figure says by which names its sources went
        draw_details([sources / "maps.h5"], sources / "steps.csv", [folder / "tails.png"])


def pages(folder: Path) -> None:
    sources = folder / SOURCES
    pages = folder / "norm.html", folder / "distribution.html"
    write_pages(sources / "statistics.csv", [sources / "maps.h5"], *pages)


WRITERS = [checkpoint, shard, atlas, export, statistics, table, figures, pages]


@contextmanager
def full_disk(folder: Path) -> Iterator[str]:
    """No more than a page is free on the folder's file system; yields what the system says."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(bytes(4096))
        file.truncate(file.tell() - 4096)
    yield "No space left on device"
    ballast.unlink()


@contextmanager
def file_size_limit(_: Path) -> Iterator[str]:
    """No file may grow beyond 2000 bytes; yields what the system says."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        yield "File too large"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the writers write."""
    folder = tmp_path_factory.mktemp("undisturbed") / "folder"
    write_sources(folder)
    for write in WRITERS:
        write(folder)
    return folder


@pytest.fixture
def disk(undisturbed: Path, tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB that holds the sources."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system is not permitted here")
    shutil.copytree(undisturbed / SOURCES, tmp_path / SOURCES)
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "ballast")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("fault", [full_disk, file_size_limit])
@pytest.mark.parametrize("write", WRITERS)
def test_a_writer_says_what_it_could_not_write_and_leaves_nothing(
    write: Callable[[Path], None],
    fault: Callable[[Path], AbstractContextManager[str]],
    disk: Path,
    undisturbed: Path,
) -> None:
    with fault(disk) as reason:
        with pytest.raises(OSError, match=re.escape(reason)) as error:
            write(disk)
        named = rf"{disk}/\S+ could not be written \({reason}\); nothing was kept"
        assert re.fullmatch(named, str(error.value))
        assert contents(disk).items() <= contents(undisturbed).items()

    write(disk)
    assert contents(disk).items() <= contents(undisturbed).items()
    assert len(contents(disk)) > len(contents(undisturbed / SOURCES))


@pytest.mark.parametrize("fault", [full_disk, file_size_limit])
def test_the_command_line_says_it_too(
    fault: Callable[[Path], AbstractContextManager[str]],
    disk: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = disk / "export.h5"
    with fault(disk) as reason:
        status = main(["export", str(disk / SOURCES / "shard.h5"), str(target)])

    assert status == 1
    expected = f"gradatlas: {target} could not be written ({reason}); nothing was kept\n"
    assert capsys.readouterr().err == expected
    assert [path.name for path in disk.iterdir()] == [SOURCES]
