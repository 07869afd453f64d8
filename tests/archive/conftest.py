"""Settings of the tests of the archive."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> None:
    """Flushing matters when the power fails, which no test does; most time would go into it."""
    pytest.MonkeyPatch().setattr(os, "fsync", lambda _: None)
