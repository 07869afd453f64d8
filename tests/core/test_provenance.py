"""Facts about where a file came from."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from gradatlas.core import provenance
from gradatlas.core.provenance import Provenance, code_commit, library_versions


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    command = ["git", *identity, *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit that stands for the one the running code lies in."""
    (tmp_path / "module.py").write_text("first\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "module.py")
    git(tmp_path, "commit", "--quiet", "--message", "First")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "module.py"))
    return tmp_path


def test_versions_are_those_of_the_imported_libraries() -> None:
    versions = library_versions()

    assert versions["numpy"] == np.__version__
    assert versions.keys() >= {"h5py", "numba", "scipy", "torch", "gradient-atlas"}


def test_the_commit_is_the_checkout_s(checkout: Path) -> None:
    assert code_commit() == git(checkout, "rev-parse", "HEAD")


def test_a_tag_does_not_hide_the_commit(checkout: Path) -> None:
    git(checkout, "tag", "-a", "v1", "--message", "Release")

    assert code_commit() == git(checkout, "rev-parse", "HEAD")


def test_an_edit_is_told(checkout: Path) -> None:
    (checkout / "module.py").write_text("second\n")

    assert code_commit() == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_new_files_such_as_results_are_no_edit(checkout: Path) -> None:
    (checkout / "results.csv").write_text("1\n")

    assert not code_commit().endswith("-dirty")


def test_code_outside_a_checkout_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "module.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert code_commit() == "unknown"


def test_a_machine_without_git_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert code_commit() == "unknown"


def test_it_comes_back_from_attributes() -> None:
    found = Provenance("1" * 64, "cpu", "2" * 40, {"torch": "2.15", "h5py": "3.16"})

    attributes = found.to_attributes()

    assert all(isinstance(value, str) for value in attributes.values())
    assert Provenance.from_attributes({**attributes, "title": "of something else"}) == found


@pytest.mark.parametrize("name", Provenance.__dataclass_fields__)
def test_an_attribute_that_is_missing_is_named(name: str) -> None:
    attributes = Provenance("1" * 64, "cpu", "unknown", {}).to_attributes()
    del attributes[name]

    with pytest.raises(KeyError, match=name):
        Provenance.from_attributes(attributes)
