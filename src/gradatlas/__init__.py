"""Gradient Atlas: how the stochastic gradient depends on batch size, every tensor kept.

The folders stand in the order in which data flow: ``core``, ``data``, ``models``, ``train``,
``collect``, ``archive``, ``statistics``, ``figures``. ``planning`` is what the workflow asks before
it starts a job, ``cli`` the command line. ``docs/architecture.md`` follows one trial through them.
"""

from gradatlas.archive.read import open  # noqa: A004 - gradatlas.open(path) reads well

__all__ = ["open"]
