"""Where a file came from: the same facts in checkpoint, shard and table."""

import hashlib
import json
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("gradient-atlas", "h5py", "numba", "numpy", "scipy", "torch")


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


def mapping_digest(facts: Mapping[str, object]) -> str:
    """SHA-256 of a mapping's canonical JSON, the same for any order of its keys."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
