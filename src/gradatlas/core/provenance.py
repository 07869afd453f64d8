"""Where a file came from: the same facts in checkpoint, shard, statistics and figures."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

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


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries that determine the numbers, without importing them."""
    return {library: version(library) for library in LIBRARIES}


def code_commit() -> str:
    """Git commit of the running code, with ``-dirty`` if tracked files were edited since.

    Returns:
        The full commit, or "unknown" where the code does not lie in a git checkout.
    """
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        result = subprocess.run(  # noqa: S603 - a constant command
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # no git on this machine
        return "unknown"
    return result.stdout.strip() if result.returncode == 0 else "unknown"
