"""Experiments that several tests share; tests copy them before they change anything."""

import shutil
from pathlib import Path

import pytest

from tests.workflow.smallest import ATLAS, COMPLETE, LONG, ROOT, finish, set_up

PARTS = ("Snakefile", "config.yaml", "environment.yml", "profiles", "scripts", "src", "workflow")


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, what was compiled included; a test that edits it takes its edit back."""
    copy = tmp_path_factory.mktemp("repository")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, copy / part)
        else:
            shutil.copy2(source, copy / part)
    return copy


@pytest.fixture(scope="session")
def finished(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The complete experiment, run to its end on two cores."""
    directory = tmp_path_factory.mktemp("finished") / "experiment"
    set_up(directory, COMPLETE)
    finish(directory, "--cores", "2", repository=repository)
    return directory


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One long shard and its atlas."""
    directory = tmp_path_factory.mktemp("collected") / "experiment"
    set_up(directory, LONG)
    finish(directory, ATLAS)
    return directory
