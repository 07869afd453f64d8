"""Whether tables and figures are current, by content alone."""

from pathlib import Path

import pytest

from gradatlas.core.stamps import current_files, digest_of, write_stamp

# shard -> row -> table -> figure, and a table of nothing else
CHAIN = {"row": ["shard"], "table": ["row"], "figure": ["table"], "apart": []}
EXPECTED = {f"results/.made/{name}.json": digest_of(name) for name in CHAIN}


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder in which every job of the chain has run."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results")
    folder.mkdir()
    (folder / "shard").write_text("tensors")
    for name, read in CHAIN.items():
        (folder / name).write_text(name)
        stamp = Path("results/.made") / f"{name}.json"
        inputs = [f"results/{file}" for file in read]
        outputs = [f"results/{name}", str(stamp)]
        write_stamp(stamp, digest_of(name), [*inputs, "/data/images.gz", "elsewhere/x"], outputs)
    return folder


def current(expected: dict[str, str] | None = None) -> set[str]:
    found = current_files(expected or EXPECTED, {"results/shard"})
    stamps = {Path(file).stem for file in found if ".made" in file}
    assert stamps == {Path(file).name for file in found if ".made" not in file}
    return stamps


def test_all_is_current_after_a_run_wherever_the_folder_lies(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert current() == {*CHAIN}
    (tmp_path / "moved").mkdir()
    results.rename(tmp_path / "moved" / "results")
    monkeypatch.chdir(tmp_path / "moved")
    assert current() == {*CHAIN}


@pytest.mark.parametrize("what", ["other code or settings", "altered", "gone", "stamp gone"])
@pytest.mark.parametrize(
    ("name", "behind"),
    [
        ("row", {"row", "table", "figure"}),
        ("table", {"table", "figure"}),
        ("figure", {"figure"}),
        ("apart", {"apart"}),
    ],
)
def test_what_is_behind_an_outdated_file_is_outdated_too(
    results: Path, what: str, name: str, behind: set[str]
) -> None:
    expected = dict(EXPECTED)
    if what == "other code or settings":
        expected[f"results/.made/{name}.json"] = digest_of("edited")
    elif what == "altered":
        (results / name).write_text("edited")
    elif what == "gone":
        (results / name).unlink()
    else:
        (results / ".made" / f"{name}.json").unlink()

    assert current(expected) == {*CHAIN} - behind


def test_a_costly_file_that_is_to_be_made_outdates_what_is_behind_it(results: Path) -> None:
    assert current_files(EXPECTED, ()) == {"results/apart", "results/.made/apart.json"}
    (results / "shard").write_text("other tensors")
    assert current() == {"apart"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"facts": 1, "read": {}, "written"'])
def test_a_stamp_that_cannot_be_read_holds_for_nothing(results: Path, content: str) -> None:
    (results / ".made" / "figure.json").write_text(content)
    assert current() == {*CHAIN} - {"figure"}


def test_only_files_of_the_results_count(results: Path) -> None:
    text = (results / ".made" / "row.json").read_text()
    assert "images" not in text
    assert "elsewhere" not in text
    assert text.count(".json") == 0  # nor the stamp itself
