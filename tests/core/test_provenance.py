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
    root = tmp_path / "atlas"
    copy_of_ours(root)
    commit(root)
    monkeypatch.setattr(provenance, "__file__", str(root / MODULE))
    return root


MODULE = Path("src", "gradatlas", "core", "provenance.py")


def copy_of_ours(root: Path) -> None:
    """A module where ours lies, in a project of our name."""
    (root / MODULE).parent.mkdir(parents=True)
    (root / MODULE).write_text("first\n")
    (root / "pyproject.toml").write_text('[project]\nname = "gradient-atlas"\n')


def commit(root: Path) -> None:
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "First")


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
    (checkout / MODULE).write_text("second\n")

    assert code_commit() == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_new_files_such_as_results_are_no_edit(checkout: Path) -> None:
    (checkout / "results.csv").write_text("1\n")

    assert not code_commit().endswith("-dirty")


def test_code_outside_a_checkout_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_of_ours(tmp_path / "atlas")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "atlas" / MODULE))

    assert code_commit() == "unknown"


def test_the_commit_of_a_project_around_ours_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_of_ours(tmp_path / "thesis" / "vendored")
    commit(tmp_path / "thesis")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "thesis" / "vendored" / MODULE))

    assert code_commit() == "unknown"


def test_the_commit_of_a_project_that_took_our_sources_is_not_ours(checkout: Path) -> None:
    (checkout / "pyproject.toml").write_text('[project]\nname = "thesis"\n')

    assert code_commit() == "unknown"


def test_variables_of_git_change_nothing(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = code_commit()
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    commit(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))

    assert code_commit() == expected
    assert expected != "unknown"


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
