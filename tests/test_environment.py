"""pyproject.toml, requirements.lock and environment.yml say the same."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())


def wanted() -> list[Requirement]:
    """Direct dependencies, those of all extras included."""
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for text in sum(extras, PROJECT["dependencies"])]


def locked() -> dict[str, str]:
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;]+)", LOCK, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def conda() -> dict[str, str]:
    (pip,) = (entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict))
    pins = [Requirement(line) for line in pip if not line.startswith("-")]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_lock_and_environment_satisfy_pyproject(requirement: Requirement) -> None:
    version = locked()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)
    assert conda()[canonicalize_name(requirement.name)] == version


def test_environment_asks_for_nothing_else() -> None:
    assert set(conda()) == {canonicalize_name(requirement.name) for requirement in wanted()}


def test_python_is_the_same_everywhere() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    assert "python >=3.11,<3.15" in ENVIRONMENT["dependencies"]


def test_every_locked_file_has_a_digest_and_no_host() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.split("\n", 2)[2].strip())
    assert len(entries) == len(locked())
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    assert "://" not in LOCK
    assert "--index-url" not in LOCK


def test_the_running_environment_is_the_locked_one() -> None:
    from importlib.metadata import version

    for requirement in wanted():
        assert version(requirement.name) == locked()[canonicalize_name(requirement.name)]
