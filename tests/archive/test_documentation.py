"""The examples of the documentation run, and its three ways agree."""

import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from gradatlas import archive
from gradatlas.core.settings import TrialRange
from tests.archive.examples import make_trials, write_results, write_shard

DOCUMENTATION = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What all blocks of the guide print, run one after the other as one program."""
    folder = tmp_path_factory.mktemp("guide")
    shards, checkpoints = write_results(
        folder / "results",
        {"sgd": ((1, 32, 1024), (TrialRange(0, 3),)), "frozen": ((1,), (TrialRange(0, 4),))},
    )
    archive.build_atlas(folder / "results" / "gradients.h5", shards, checkpoints)
    guide = (DOCUMENTATION / "reanalysis.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", guide, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 8
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def numbers(printed: str, label: str) -> list[float]:
    return [float(value) for value in re.findall(rf"^{label} (\S+)$", printed, re.MULTILINE)]


def test_the_angle_is_the_same_in_three_ways(printed: str) -> None:
    a, b = (make_trials(TrialRange(3, 3), key=key)["gradient"][0] for key in (1, 1024))
    cosine = np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)
    expected = np.degrees(np.arccos(cosine))
    np.testing.assert_allclose(numbers(printed, "angle"), [expected] * 3, rtol=1e-5)


def test_the_sign_agreement_is_the_same_in_three_ways(printed: str) -> None:
    signs = np.sign(make_trials(TrialRange(0, 3), key=1024)["gradient"])
    expected = np.mean(np.abs(signs.sum(axis=0)) == 4)  # 95 % of four trials: all of them
    np.testing.assert_allclose(numbers(printed, "sign agreement"), [expected] * 3)
    assert expected > 0


def test_every_dataset_and_attribute_is_described(tmp_path: Path) -> None:
    described = set(
        re.findall(r"`([a-zA-Z_0-9]+)`", (DOCUMENTATION / "archive-format.md").read_text())
    )
    write_shard(tmp_path / "shard.h5", sample_sets=5)
    with h5py.File(tmp_path / "shard.h5") as file:
        assert set(file) | set(file.attrs) <= described
    archive.export(tmp_path / "shard.h5", tmp_path / "export.h5")
    with h5py.File(tmp_path / "export.h5") as file:
        group = file["sgd/epoch2"]
        assert set(group) | set(group.attrs) | set(group["sources"]) <= described
