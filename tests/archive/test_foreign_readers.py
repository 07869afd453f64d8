"""The files open with other programs, without this package and without plug-ins."""

import shutil
import subprocess
import sys
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from gradatlas import archive
from gradatlas.core.settings import TrialRange
from tests.archive.examples import make_trials, shard_path, write_atlas

ENGINES = ("netcdf4", "h5netcdf")

needs_h5dump = pytest.mark.skipif(
    shutil.which("h5dump") is None, reason="needs h5dump (package hdf5-tools)"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    archive.export(write_atlas(folder), folder / "export.h5")
    archive.export(folder / "gradients.h5", folder / "compressed.h5", compress=True)
    shutil.copy(shard_path(folder, "sgd", 2, 16, TrialRange(0, 6)), folder / "shard.h5")
    return folder


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["gradients.h5", "export.h5", "compressed.h5"])
def test_xarray_opens_a_group(folder: Path, name: str, engine: str) -> None:
    with xr.open_dataset(folder / name, group="sgd/epoch2", engine=engine) as dataset:
        assert dataset.gradient.dims == ("batch_size", "trial", "output", "input")
        trial = dataset.gradient.sel(batch_size=16, trial=8)
        np.testing.assert_array_equal(trial, make_trials(TrialRange(8, 8), key=16)["gradient"][0])
        assert dataset.sample_index.dims == ("batch_size", "trial", "sample")


@pytest.mark.parametrize("engine", ENGINES)
def test_xarray_opens_a_shard(folder: Path, engine: str) -> None:
    with xr.open_dataset(folder / "shard.h5", engine=engine) as dataset:
        assert dataset.gradient.dims == ("trial", "output", "input")
        assert dataset.attrs["protocol"] == "sgd"
        assert dataset.gradient.attrs["units"] == "1"


@pytest.mark.parametrize("name", ["gradients.h5", "export.h5"])
def test_netcdf4(folder: Path, name: str) -> None:
    with netCDF4.Dataset(folder / name) as file:
        group = file["sgd/epoch30"]
        assert group["gradient"].dimensions == ("batch_size", "trial", "output", "input")
        np.testing.assert_array_equal(
            group["gradient"][1], make_trials(TrialRange(0, 11), key=4)["gradient"]
        )
        assert group["sources/path"][0] == "gradients/sgd/epoch30/batch1/trials0-6.h5"


@needs_h5dump
@pytest.mark.parametrize("name", ["shard.h5", "gradients.h5", "export.h5", "compressed.h5"])
def test_h5dump(folder: Path, name: str) -> None:
    result = subprocess.run(
        ["h5dump", "-H", name], cwd=folder, capture_output=True, text=True, check=True
    )
    assert 'DATASET "gradient"' in result.stdout
    assert 'ATTRIBUTE "experiment_digest"' in result.stdout


@needs_h5dump
def test_h5dump_prints_the_numbers(folder: Path) -> None:
    command = ["h5dump", "-m", "%.9g", "-y", "-w", "1", "-d", "/path_length", "shard.h5"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    lines = result.stdout.partition("DATA {")[2].partition("}")[0]
    expected = make_trials(TrialRange(0, 6), key=16)["path_length"]
    np.testing.assert_allclose(np.array(lines.replace(",", " ").split(), float), expected, 1e-8)


def test_no_other_package_is_needed(folder: Path) -> None:
    """Plain h5py in a fresh process: nothing of ours is imported."""
    program = (
        "import h5py, sys\n"
        "with h5py.File('gradients.h5') as file:\n"
        "    print(file['sgd/epoch2/gradient'][2, 8].sum())\n"
        "assert not any(name.startswith('gradatlas') for name in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    expected = make_trials(TrialRange(8, 8), key=16)["gradient"].sum()
    assert float(result.stdout) == pytest.approx(float(expected), rel=1e-4)
