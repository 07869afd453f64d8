"""Compiled loops: stored for the next process, also where what was stored is garbled."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gradatlas.core.compiled import compiled

PROGRAM = """
from gradatlas.core.compiled import compiled

@compiled()
def add(a, b):
    return a + b

total = add(1, 2)
print(total, "stored" if add.stats.cache_hits else "compiled")
"""


def len_of(values: list[int]) -> int:
    return len(values)


def test_loops_compile_without_a_place_to_store_them(tmp_path: Path) -> None:
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
    assert done.stdout == "3 compiled\n", done.stderr


def test_other_failures_to_compile_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("another reason")

    monkeypatch.setattr("gradatlas.core.compiled._Cache", refuse)
    with pytest.raises(RuntimeError, match="another reason"):
        compiled()(len_of)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program whose loop is compiled and stored."""
    path = tmp_path_factory.mktemp("program") / "program.py"
    path.write_text(PROGRAM)
    assert run(path) == "3 compiled\n"
    return path


def run(program: Path, longest_file: int = -1) -> str:
    """What it prints: the sum, and whether its code was compiled anew."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (longest_file, longest_file))

    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        ("nbi", lambda _: b""),
        ("nbi", flip),
        ("nbc", flip),
        ("nbc", lambda content: bytes(len(content))),
    ],
    ids=["an empty index", "a bit of an index", "a bit of code", "zeros"],
)
def test_code_that_is_garbled_is_compiled_anew(
    program: Path, suffix: str, damage: Callable[[bytes], bytes]
) -> None:
    [path] = program.parent.rglob(f"*.{suffix}")
    path.write_bytes(damage(path.read_bytes()))
    assert run(program) == "3 compiled\n"
    assert run(program) == "3 stored\n"


def test_a_full_disk_under_the_stored_code_stops_nothing(program: Path) -> None:
    for path in program.parent.rglob("*.nb?"):
        path.unlink()
    assert run(program, longest_file=100) == "3 compiled\n"
    assert not list(program.parent.rglob("*.nbc"))
