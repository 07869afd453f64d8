"""Where a file came from: the same facts in checkpoint, shard, statistics and figures."""

import json
import os
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

FACTS = "gradatlas"  # one entry of metadata: safetensors writes several in an order of its own
LIBRARIES = ("gradient-atlas", "h5py", "numba", "numpy", "scipy", "torch")


@dataclass(frozen=True)
class Provenance:
    """How trials came about; none of it is meant to determine what they are."""

    checkpoint_sha256: str  # SHA-256 of the checkpoint file
    device: str  # device the trials ran on
    code_commit: str  # git commit of the code
    library_versions: Mapping[str, str]  # versions of the libraries, by name

    def to_attributes(self) -> dict[str, str]:
        """The facts as attributes of an HDF5 file, the versions as JSON."""
        versions = json.dumps(dict(self.library_versions), sort_keys=True)
        return {**vars(self), "library_versions": versions}

    @staticmethod
    def from_attributes(attributes: Mapping[str, Any]) -> "Provenance":
        """Inverse of ``to_attributes``; raises KeyError where one is missing."""
        return Provenance(
            checkpoint_sha256=attributes["checkpoint_sha256"],
            device=attributes["device"],
            code_commit=attributes["code_commit"],
            library_versions=json.loads(attributes["library_versions"]),
        )


def read_facts(path: Path) -> dict[str, Any]:
    """Facts about the run that made a checkpoint, without reading its weights.

    Returns:
        Empty where there is no checkpoint, or one that was made elsewhere.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(json.loads((file.metadata() or {}).get(FACTS, "{}")))
    except (OSError, SafetensorError, ValueError, TypeError):  # damage is told when it is loaded
        return {}


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries that determine the numbers, without importing them."""
    return {library: version(library) for library in LIBRARIES}


def code_commit() -> str:
    """Git commit of the running code, with ``-dirty`` if tracked files were edited since.

    Returns:
        The full commit, or "unknown" where the code does not lie in a checkout of its own, as in
        a copy inside of another project.
    """
    root = Path(__file__).parents[3]
    if not _is_ours(root / "pyproject.toml"):
        return "unknown"
    # Variables such as GIT_DIR speak of another repository, and no folder above is ours.
    others = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment = {**others, "GIT_CEILING_DIRECTORIES": str(root.parent)}
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        result = subprocess.run(  # noqa: S603 - a constant command
            command, cwd=root, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # no git on this machine
        return "unknown"
    return result.stdout.strip() if result.returncode == 0 else "unknown"


def _is_ours(project: Path) -> bool:
    """Whether a folder's pyproject.toml is this project's."""
    try:
        return bool(tomllib.loads(project.read_text())["project"]["name"] == LIBRARIES[0])
    except (OSError, ValueError, KeyError):
        return False
