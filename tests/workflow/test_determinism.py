"""The same configuration gives the same bytes, however the work is spread."""

from pathlib import Path

import pytest

from tests.workflow.smallest import COMPLETE, finish, results, set_up


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_cores(
    finished: Path, repository: Path, tmp_path: Path
) -> None:
    """Checkpoint, shards, atlas, statistics, tables, figures and pages, byte by byte."""
    directory = tmp_path / "experiment"
    set_up(directory, COMPLETE)

    finish(directory, "--cores", "1", repository=repository)

    assert results(directory) == results(finished)
