"""Collection and training on a GPU against the CPU; only where there is one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gradatlas import archive
from gradatlas.collect import reference
from gradatlas.collect.prepare import prepare
from gradatlas.collect.shard import collect
from gradatlas.core.settings import TrialRange
from gradatlas.core.training import Training
from gradatlas.core.updates import SGD, Frozen
from gradatlas.data.idx import Split
from gradatlas.models.module import build, problem_of
from gradatlas.models.perceptron import Architecture, Perceptron, initial_parameters
from gradatlas.train.checkpoint import save_checkpoint
from gradatlas.train.loop import train
from tests.collect.test_engines import relative_errors
from tests.collect.test_shard import ARCHITECTURE, MNIST, SETTINGS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


@pytest.mark.parametrize("hidden", [(9,), (9, 7), (8, 6, 5)])
@pytest.mark.parametrize("batch_size", [1, 3, 16, 100])
@pytest.mark.parametrize("update", [SGD(0.1), Frozen()])
def test_float64_on_the_gpu_equals_the_reference(
    hidden: tuple[int, ...], batch_size: int, update: SGD | Frozen
) -> None:
    random = np.random.default_rng(0)
    weights = {
        name: value.astype(np.float64)
        for name, value in initial_parameters(Architecture(12, hidden, 4), 0).items()
    }
    inputs, labels = random.standard_normal((300, 12)), random.integers(0, 4, 300)
    index = np.stack([random.permutation(300)[:100] for _ in range(6)]).astype(np.uint32)
    measured = Perceptron(weights), update, [*weights], batch_size, inputs, labels
    expected = reference.prepare(*measured)(index)
    found = prepare(*measured, device="cuda")(index)
    for name, errors in relative_errors(found, expected).items():
        assert errors.max() <= 1e-12, name


def test_a_network_of_ones_own_on_the_gpu_equals_the_cpu() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, 3)
    )
    random = np.random.default_rng(0)
    inputs, labels = random.standard_normal((40, 1, 6, 6)), random.integers(0, 3, 40)
    index = np.stack([random.permutation(40)[:20] for _ in range(2)]).astype(np.uint32)
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    problem = problem_of(module, loss, torch.float64)
    measured = problem, SGD(0.1), ["0.weight", "3.bias"], 4, inputs, labels
    on_cpu, on_gpu = (prepare(*measured, device=device)(index) for device in ("cpu", "cuda"))
    for name, errors in relative_errors(on_gpu, on_cpu).items():
        assert errors.max() <= 1e-12, name


def test_a_shard_of_the_gpu_holds_what_one_of_the_cpu_does(tmp_path: Path) -> None:
    checkpoint = tmp_path / "epoch0.safetensors"
    save_checkpoint(checkpoint, initial_parameters(ARCHITECTURE, 0), {})
    shards = {}
    for device in ("cpu", "cuda"):
        path = tmp_path / device / "trials0-9.h5"
        settings = replace(SETTINGS, protocol="sgd")
        collect(path, settings, TrialRange(0, 9), checkpoint=checkpoint, data=MNIST, device=device)
        assert archive.verify(path) == []
        shards[device] = archive.open_shards([path])
    assert shards["cuda"].attributes["device"] == "cuda"
    cpu, gpu = (shards[device].rows("gradient", 0, 9) for device in ("cpu", "cuda"))
    errors = np.linalg.norm(gpu - cpu, axis=(1, 2)) / np.linalg.norm(cpu, axis=(1, 2))
    assert np.median(errors) < 1e-5
    np.testing.assert_array_equal(shards["cpu"].sample_index(3), shards["cuda"].sample_index(3))


def test_training_on_the_gpu_ends_where_the_cpu_does() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 600)
    inputs = random.normal(labels[:, None], 1, (600, 9)).astype(np.float32)
    split = Split(inputs, labels)
    settings = Training(batch_size=100, learning_rate=0.05, momentum=0.9)
    ends = {}
    for device in ("cpu", "cuda"):
        network = build({"hidden": [6]}, split, 0)
        *_, ends[device] = train(split, split, *network, settings, 3, seed=0, device=device)
    for name, value in ends["cpu"].weights.items():
        np.testing.assert_allclose(ends["cuda"].weights[name], value, rtol=1e-3, atol=1e-4)
