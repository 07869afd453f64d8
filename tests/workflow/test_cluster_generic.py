"""The workflow through any submit command, as a batch system has one: the same bytes."""

from pathlib import Path

import pytest

from tests.workflow.smallest import COMPLETE, finish, results, set_up

# Starts the job in the background and says its number, as sbatch, qsub and bsub do.
SUBMIT = """\
#!/bin/sh
nohup sh "$1" > "$1.out" 2>&1 &
echo $!
"""


@pytest.mark.slow
def test_results_are_those_of_a_local_run(finished: Path, repository: Path, tmp_path: Path) -> None:
    directory, submit = tmp_path / "experiment", tmp_path / "submit"
    set_up(directory, COMPLETE)
    submit.write_text(SUBMIT)
    submit.chmod(0o755)
    executor = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", str(submit)]

    output = finish(directory, *executor, "--jobs", "2", repository=repository)

    assert output.count("with external jobid") == 18  # without training_table and other local ones
    assert results(directory) == results(finished)
    again = finish(directory, *executor, "--jobs", "2", repository=repository)
    assert "Nothing to be done" in again
