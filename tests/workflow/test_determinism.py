"""The same configuration gives the same bytes, however the work is spread."""

from pathlib import Path

import pytest

from tests.workflow.smallest import results, run, set_up


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_cores(smallest: Path, tmp_path: Path) -> None:
    """Checkpoint, shards, atlas, statistics, tables, figures and pages, byte by byte."""
    directory = tmp_path / "experiment"
    set_up(directory)

    status, output = run(directory, "--cores", "1")

    assert status == 0, output
    assert results(directory) == results(smallest)
