"""What a job leaves on the terminal and in its log."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from gradatlas.core.errors import InputError
from gradatlas.core.job_log import job
with job(sys.argv[1]):
    {work}
"""


def run_job(log: Path, work: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(work=work), str(log)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "collect" / "sgd" / "job.log"


def test_a_job_that_ends_well_says_so_in_its_log_alone(log: Path) -> None:
    result = run_job(log, "pass")

    assert result.returncode == 0
    assert result.stdout == ""
    assert result.stderr == ""
    assert [line.split()[-1] for line in log.read_text().splitlines()] == ["started", "finished"]


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        ("raise InputError('data.csv is empty, fill it')", "data.csv is empty, fill it"),
        ("open('/nowhere/at/all')", "[Errno 2] No such file or directory: '/nowhere/at/all'"),
        ("bytearray(1 << 60)", "not enough memory"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence_on_terminal_and_log(
    log: Path, work: str, sentence: str
) -> None:
    result = run_job(log, work)

    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {sentence}")
    assert len(result.stderr.splitlines()) == 1
    assert sentence in log.read_text()
    assert "Traceback" not in log.read_text()
    assert "finished" not in log.read_text()


def test_a_log_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_bytes(b"in the way")

    result = run_job(tmp_path / "logs" / "job.log", "pass")

    assert result.returncode == 1
    assert "error: [Errno 17] File exists: " in result.stderr
    assert "Traceback" not in result.stderr


def test_a_log_on_a_full_disk_does_not_hide_the_sentence() -> None:
    result = run_job(Path("/dev/full"), "raise InputError('disk full, make room')")

    assert result.returncode == 1
    assert result.stderr == "error: disk full, make room\n"


def test_a_defect_keeps_its_traceback(log: Path) -> None:
    result = run_job(log, "1 / 0")

    assert result.returncode == 1
    for text in (result.stderr, log.read_text()):
        assert "Traceback" in text
        assert "ZeroDivisionError" in text


def test_a_second_attempt_starts_a_log_of_its_own(log: Path) -> None:
    run_job(log, "1 / 0")
    run_job(log, "pass")

    assert "Traceback" not in log.read_text()


def test_an_import_that_fails_is_in_the_log(log: Path) -> None:
    result = run_job(log, "import a_library_that_is_broken")

    assert result.returncode == 1
    assert "started" in log.read_text()
    assert "No module named 'a_library_that_is_broken'" in log.read_text()


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda p: p.stem)
def test_a_script_imports_its_work_inside_its_job(script: Path) -> None:
    """So that the log is there from the first line, whatever fails."""
    before = script.read_text().partition("with job(")[0]
    imports = re.findall(r"^ *(?:from|import) (\S+)", before, re.MULTILINE)
    assert set(imports) <= {"pathlib", "typing", "snakemake.script", "gradatlas.core.job_log"}


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_no_variable_keeps_figures_from_being_drawn(
    log: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", backend)
    result = run_job(log, "import gradatlas.figures.drawing")
    assert (result.returncode, result.stderr) == (0, "")
