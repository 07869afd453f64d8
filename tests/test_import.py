"""The package opens archives without the heavy libraries."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["gradatlas", "gradatlas.archive", "gradatlas.cli"])
def test_neither_torch_nor_matplotlib_is_loaded(module: str) -> None:
    program = f"import {module}, sys; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert module in loaded
    assert not loaded & {"torch", "matplotlib", "snakemake", "xarray"}
