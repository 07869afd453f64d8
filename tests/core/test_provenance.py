"""Facts about where a file came from."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatlas.core import provenance
from gradatlas.core.provenance import code_commit, file_digest, library_versions, mapping_digest


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


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5))
def test_a_digest_does_not_depend_on_the_order_of_keys(facts: dict[str, object]) -> None:
    assert mapping_digest(facts) == mapping_digest(dict(reversed(facts.items())))
    assert mapping_digest(facts) == mapping_digest(json.loads(json.dumps(facts)))


def test_a_digest_depends_on_every_value() -> None:
    facts = {"seed": 0, "hidden": (1024,), "sets": None}

    digests = {mapping_digest({**facts, **change}) for change in ({}, {"seed": 1}, {"sets": 1})}

    assert len(digests) == 3


def test_a_number_that_is_none_has_no_digest() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        mapping_digest({"learning_rate": float("nan")})


def test_a_file_s_digest_is_its_sha256(tmp_path: Path) -> None:
    content = os.urandom(100_000)
    (tmp_path / "file").write_bytes(content)

    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()
