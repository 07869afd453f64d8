"""Settings of all tests."""

import os
from typing import Any

import pytest
from hypothesis import settings

# Tests run in two processes, so each computes on one thread. Before NumPy or torch is loaded.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

# The same examples in every run, so that a change is what makes a test fail. New ones are found by
# pytest --hypothesis-profile=default.
settings.register_profile("reproducible", derandomize=True)
settings.load_profile("reproducible")

# Files that share an experiment, which takes a minute; of all others each goes where there is room.
TOGETHER = {
    "tests/workflow/test_rebuild.py": "finished",
    "tests/workflow/test_report.py": "finished",
    "tests/workflow/test_storage.py": "finished",
    "tests/workflow/test_cluster_generic.py": "finished",
    "tests/workflow/test_bad_input.py": "collected",
    "tests/workflow/test_faults.py": "collected",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with what takes longest, so that no process waits for the other at the end."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out whole files, as the fixtures of a file are costly too."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist says no types
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return TOGETHER.get(file, file)

    return ByFile(config, log)
