"""An atlas of more shards than a process may open files, in processes of their own."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gradatlas import archive
from gradatlas.core.settings import TrialRange
from tests.archive.examples import write_results

SHARDS, LIMIT = 100, 80
READ = """
import sys, h5py, numpy as np, gradatlas
path, how = sys.argv[1:]
if how == "plain":
    values = h5py.File(path, locking=False)["sgd/epoch2/path_length"][0]
elif how == "ours":
    values = gradatlas.open(path).select().scalars["path_length"]
else:
    values = gradatlas.open(path).to_xarray()["path_length"].values[0]
print(np.isnan(values).sum(), len(values))
"""


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    ranges = [TrialRange(number, number) for number in range(SHARDS)]
    shards, checkpoints = write_results(folder, {"sgd": ((4,), ranges)}, epochs=(2,))
    archive.build_atlas(folder / "gradients.h5", shards, checkpoints)
    return folder / "gradients.h5"


def run(*arguments: str, highest: int | None = None) -> subprocess.CompletedProcess[str]:
    """A fresh Python that may open few files, and raise that to ``highest``."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return subprocess.run(
        [sys.executable, *arguments],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, highest or hard)),
        capture_output=True,
        text=True,
        check=False,
    )


def test_plain_h5py_reads_fill_values_beyond_the_limit(atlas: Path) -> None:
    """What all this is about; should HDF5 ever raise, the rest can go."""
    missing, total = map(int, run("-c", READ, str(atlas), "plain").stdout.split())
    assert total == SHARDS
    assert missing > 0


@pytest.mark.parametrize("how", ["ours", "xarray"])
def test_our_reader_reads_every_trial(atlas: Path, how: str) -> None:
    result = run("-c", READ, str(atlas), how)
    assert result.stdout.split() == ["0", str(SHARDS)], result.stderr


def test_our_reader_reads_every_trial_where_the_limit_cannot_be_raised(atlas: Path) -> None:
    result = run("-c", READ, str(atlas), "ours", highest=LIMIT)
    assert result.stdout.split() == ["0", str(SHARDS)], result.stderr


def test_xarray_is_refused_where_the_limit_cannot_be_raised(atlas: Path) -> None:
    result = run("-c", READ, str(atlas), "xarray", highest=LIMIT)
    assert result.stdout == ""
    assert f"shows {SHARDS} shards, and this process may open {LIMIT} files" in result.stderr


def test_verify_says_so_and_calls_it_no_damage(atlas: Path) -> None:
    result = run("-c", "from gradatlas.cli import main; main()", "verify", str(atlas))
    assert result.returncode == 0, result.stderr
    assert "ulimit -n" in result.stdout + result.stderr
