"""What the tests of figures share: the house style, and files of the statistics."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gradatlas.figures.style import house_style
from gradatlas.statistics.batch_size import describe_batch_size
from tests.statistics.synthetic import draw, write_shards


@pytest.fixture(autouse=True)
def _styled() -> Iterator[None]:
    with house_style():
        yield


@pytest.fixture(scope="session")
def maps(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Statistics of 12 trials at batch sizes 4 and 64, of which trial 3 diverged."""
    folder = tmp_path_factory.mktemp("maps")
    gradient = draw(12)
    gradient[3] = np.nan
    paths = []
    for size in (4, 64):
        shards = write_shards(folder, gradient, batch_size=size)
        row, path = folder / f"{size}.json", folder / f"{size}.h5"
        describe_batch_size(
            shards, shards, row, path, max_order=4, resamples=100, confidence=0.9, seed=0
        )
        paths.append(path)
    return paths
