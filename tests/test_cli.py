"""The command line: what it prints, and its exit status."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import h5py
import pytest

from gradatlas import archive
from gradatlas.cli import main
from gradatlas.core.files import digest_path, replace_file
from gradatlas.core.settings import TrialRange
from tests.archive.examples import flip, shard_path, write_atlas, write_shard


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    return write_atlas(tmp_path)


def test_info(atlas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(atlas)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{atlas}: atlas, format version 2, ")
    rows = [line.split() for line in printed.splitlines()]
    assert ["sgd", "30", "16", "0-11", "3", "x", "8", "1.15kB", "2"] in rows
    assert ["seed", "0"] in rows


def test_info_as_json(atlas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(atlas), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["format_version"]) == ("atlas", 2)
    assert len(facts["selections"]) == 8
    assert facts["selections"][-1]["batch_size"] == 16
    assert facts["selections"][-1]["shape"] == [3, 8]
    assert len(facts["sources"]) == 14
    assert facts["sources"][0]["trials"] == {"first": 0, "last": 4}


def test_verify_a_sound_atlas(atlas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(atlas)]) == 0
    assert capsys.readouterr().out == f"{atlas}: complete and undamaged\n"


def test_verify_says_what_is_wrong(atlas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = shard_path(atlas.parent, "sgd", 2, 1, TrialRange(0, 6))
    shard.unlink()
    assert main(["verify", str(atlas)]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{shard}, a shard of the atlas, cannot be read (No such file")
    assert last == f"{atlas}: damage found: 1"


def test_a_file_without_its_digest_is_checked_by_its_chunks_and_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = tmp_path / "shard.h5"
    write_shard(shard)
    digest_path(shard).unlink()
    assert main(["verify", str(shard)]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"{digest_path(shard)} is missing: only the chunks of {shard} were checked"
    assert last == f"{shard}: complete and undamaged"


def test_export(tmp_path: Path, atlas: Path) -> None:
    target = tmp_path / "part.h5"
    arguments = ["--protocol", "sgd", "--epoch", "2", "--batch-size", "4", "--compress"]
    assert main(["export", str(atlas), str(target), *arguments]) == 0
    (selection,) = archive.open(target).selections
    assert (selection.protocol, selection.epoch, selection.batch_size) == ("sgd", 2, 4)


@pytest.mark.parametrize("command", ["info", "export"])
def test_an_error_is_one_sentence(
    tmp_path: Path, atlas: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(atlas, 100)
    target = [str(tmp_path / "copy.h5")] if command == "export" else []
    assert main([command, str(atlas), *target]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"gradatlas: {atlas} is damaged")
    assert printed.err.count("\n") == 1


def remove(path: Path) -> None:
    path.unlink()


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def replace_by_text(path: Path) -> None:
    path.write_text("These are notes.")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def write_newer(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 3
    replace_file(path, path.read_bytes(), with_digest=True)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (remove, "cannot be opened (No such file or directory)"),
        (replace_by_folder, "cannot be opened (Is a directory), expected a shard"),
        (truncate, "is damaged or was altered: its SHA-256 is "),
        (replace_by_text, "is not an HDF5 file, expected a shard"),
        (empty, "is not an HDF5 file, expected a shard"),
        (write_newer, "has format version 3, expected at most 2; update"),
    ],
)
@pytest.mark.parametrize("command", ["info", "verify", "export"])
def test_whatever_is_wrong_with_a_file_is_one_sentence(
    tmp_path: Path,
    command: str,
    damage: Callable[[Path], None],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shard, copy = tmp_path / "shard.h5", tmp_path / "copy.h5"
    write_shard(shard)
    damage(shard)
    assert main([command, str(shard), *([str(copy)] if command == "export" else [])]) == 1
    printed = capsys.readouterr()
    first, *_ = (printed.out if command == "verify" else printed.err).splitlines()
    assert first.removeprefix("gradatlas: ").startswith(f"{shard} {sentence}")
    assert "Traceback" not in printed.err
    assert not copy.exists()


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["inform"])
    assert ended.value.code == 2
    assert "invalid choice: 'inform'" in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"gradatlas {version('gradient-atlas')}\n"


def test_python_m_is_the_same_command(atlas: Path) -> None:
    command = [sys.executable, "-m", "gradatlas", "verify", str(atlas)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{atlas}: complete and undamaged\n"


@pytest.mark.parametrize(
    "arguments",
    [["info", ""], ["verify", ""], ["export", "", "x.h5"], ["export", "x.h5", ""]],
    ids=" ".join,
)
def test_an_empty_name_is_called_empty(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "the name is empty, expected that of a file or folder" in capsys.readouterr().err


def test_a_home_folder_that_no_shell_has_replaced(
    atlas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(atlas.parent))
    assert main(["verify", f"~/{atlas.name}"]) == 0


def test_a_foreign_file_is_not_exported_over(
    atlas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thesis = atlas.with_name("thesis.txt")
    thesis.write_text("three years of work\n")
    assert main(["export", str(atlas), str(thesis)]) == 1
    assert f"{thesis} is there and is no export; choose" in capsys.readouterr().err
    assert main(["export", str(atlas), str(thesis), "--force"]) == 0


def test_a_reader_that_leaves_gives_no_traceback(atlas: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = "import sys; from gradatlas.cli import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", program, "info", str(atlas)],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (result.returncode, result.stderr) == (1, "")


def test_an_interrupt_gives_no_traceback(
    atlas: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(archive, "open", interrupted)
    assert main(["info", str(atlas)]) == 130
    assert capsys.readouterr().err == ""


def test_a_pipe_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert main(["info", str(tmp_path / "pipe")]) == 1
    assert "pipe is not a regular file, expected a shard" in capsys.readouterr().err


@pytest.mark.parametrize(
    "attributes",
    [
        {"format": [1, 2]},
        {"format": "gradatlas"},
        {"format": "gradatlas", "format_version": "two"},
        {"format": "gradatlas", "format_version": [1, 2]},
    ],
)
def test_a_foreign_hdf5_file(
    tmp_path: Path, attributes: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file.attrs.update(attributes)
    assert main(["info", str(tmp_path / "foreign.h5")]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"gradatlas: {tmp_path / 'foreign.h5'} is ")
    assert printed.err.count("\n") == 1


def test_a_name_that_the_terminal_cannot_show(tmp_path: Path) -> None:
    write_shard(tmp_path / "gr\u00f6\u00dfe.h5")
    shown = subprocess.run(
        [Path(sys.executable).with_name("gradatlas"), "info", tmp_path / "gr\u00f6\u00dfe.h5"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "gr\\xf6\\xdfe.h5: shard" in shown.stdout
