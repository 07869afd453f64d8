"""Compiled loops, also where nothing can be stored."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradatlas.core.compiling import compiled

PROGRAM = """
from gradatlas.core.compiling import compiled

@compiled()
def add(a, b):
    return a + b

print(add(1, 2))
"""


def test_without_a_place_to_store_it(tmp_path: Path) -> None:
    """As in a container: the program's folder and the home folder cannot be written."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "file").touch()
    (tmp_path / "__pycache__").touch()  # so that no folder of this name can be made
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")],
        env={
            **os.environ,
            "HOME": str(tmp_path / "file"),
            "XDG_CACHE_HOME": str(tmp_path / "file"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "3\n", done.stderr


def test_other_failures_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise RuntimeError("another reason")

    monkeypatch.setattr("gradatlas.core.compiling.njit", refuse)
    with pytest.raises(RuntimeError, match="another reason"):
        compiled()(len)
