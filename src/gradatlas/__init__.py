"""Gradient Atlas: how the stochastic gradient depends on batch size, every tensor kept."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradatlas.archive import Archive

__all__ = ["open"]


def open(path: str | os.PathLike[str]) -> "Archive":  # noqa: A001 - gradatlas.open(path) reads well
    """Open a shard, an atlas or an export; see ``gradatlas.archive.open``."""
    from gradatlas import archive

    return archive.open(path)
