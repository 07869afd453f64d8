"""Files that earlier versions of the format wrote are read for ever.

They were written by the releases named in the folders and are never made anew; ``expected.npz``
holds what went into them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gradatlas
from gradatlas import archive
from gradatlas.core.updates import SGD

FROZEN = Path(__file__).parents[1] / "archives"
SHARD = "gradients/sgd/epoch2/batch4/trials0-2.h5"


@pytest.fixture
def expected() -> Mapping[str, NDArray[Any]]:
    with np.load(FROZEN / "v1" / "expected.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("name", ["gradients.h5", "export.h5", SHARD])
def test_version_1_is_read(name: str, expected: Mapping[str, NDArray[Any]]) -> None:
    opened = gradatlas.open(FROZEN / "v1" / name)
    assert opened.attributes["format_version"] == 1
    stored = opened.select(protocol="sgd")
    trials = len(stored.trials)
    assert trials == (3 if name == SHARD else 5)
    for dataset in ("gradient", "sample_index", *stored.scalars):
        rows = stored.rows(dataset, 0, trials - 1)
        np.testing.assert_array_equal(rows, expected[f"sgd/2/4/{dataset}"][:trials])


def test_version_1_says_what_its_trials_are() -> None:
    opened = gradatlas.open(FROZEN / "v1" / "gradients.h5")
    plain, shared = opened.select(protocol="sgd"), opened.select(protocol="sgd_reordered")
    assert plain.settings.update == SGD(0.01)
    assert (plain.settings.sample_sets, shared.settings.sample_sets) == (None, 2)
    assert (plain.settings.model, plain.settings.training) == (None, None)  # it did not keep them
    assert [source.trials.last for source in opened.sources] == [2, 4, 3]


@pytest.mark.parametrize("name", ["gradients.h5", "export.h5", SHARD])
def test_version_1_is_verified_by_its_chunks(name: str) -> None:
    (remark,) = archive.verify(FROZEN / "v1" / name)
    assert not remark.is_damage
    assert "only the chunks" in remark.what


def test_version_1_is_exported_by_the_present_one(
    tmp_path: Path, expected: Mapping[str, NDArray[Any]]
) -> None:
    archive.export(FROZEN / "v1" / "gradients.h5", tmp_path / "export.h5")
    assert archive.verify(tmp_path / "export.h5") == []
    stored = gradatlas.open(tmp_path / "export.h5").select(protocol="sgd_reordered")
    np.testing.assert_array_equal(
        np.concatenate(list(stored.blocks())), expected["sgd_reordered/2/4/gradient"]
    )
