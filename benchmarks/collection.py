"""Time the collection of gradients: the engine against what a researcher would write today.

Contenders take turns in one run, so that their ratios hold on a noisy machine:

- the plain PyTorch loop as people write it, one process on all cores;
- the plain loop, one single-threaded process a core, the strict comparison;
- the engine, one single-threaded process a core, as the workflow runs it.

Usage: python benchmarks/collection.py [--rounds 5] [--json FILE]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from gradatlas.collect.prepare import prepare
from gradatlas.collect.trial import Engine
from gradatlas.core.configuration import read_experiment
from gradatlas.core.random import trial_samples
from gradatlas.core.settings import to_mapping
from gradatlas.core.training import Training, batches
from gradatlas.core.updates import SGD, Frozen
from gradatlas.data.idx import Split, load_train
from gradatlas.models.perceptron import Architecture, Perceptron, initial_parameters
from gradatlas.train.checkpoint import save_checkpoint

ROOT = Path(__file__).parents[1]
EXPERIMENT = read_experiment(
    yaml.safe_load((ROOT / "config.yaml").read_text()),
    ROOT / "workflow" / "schemas" / "config.schema.yaml",
)
BATCH_SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 256, 512, 1024]
INPUTS, HIDDEN, CLASSES, SAMPLES = 784, 1024, 10, 1024
RATE = 0.01
UPDATE = SGD(RATE)
LAST = "last.weight"
PARTED = 1e-4  # relative error beyond which a trial took another path than in float64
CORES = os.cpu_count() or 1
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Weights = dict[str, NDArray[np.float32]]


def median(values: Sequence[float]) -> float:
    """Not from ``statistics``: a benchmark beside this one has that name."""
    return float(np.median(values))


def mean(values: Sequence[float]) -> float:
    """As above."""
    return float(np.mean(values))


# --- What a process measures -------------------------------------------------------------------


class _Process:
    """State of one worker process: data, checkpoint, and where all workers wait for each other."""

    barrier: Barrier
    data: Split
    weights: Weights
    index: NDArray[np.uint32]


def _start(barrier: Barrier, weights: Weights, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    _Process.barrier = barrier
    _Process.data = load_train(ROOT / "resources" / "mnist")
    _Process.weights = weights
    _Process.index = np.stack(
        [trial_samples(0, k, population=60_000, samples=SAMPLES) for k in range(4)]
    )


def _timed(work: Callable[[NDArray[np.uint32]], Any], repeat: int) -> float:
    """Seconds a trial, after one that is not counted, beside the other workers."""
    work(_Process.index[0])
    _Process.barrier.wait()
    begin = time.perf_counter()
    for k in range(repeat):
        work(_Process.index[k % len(_Process.index)])
    return (time.perf_counter() - begin) / repeat


def measure_plain(batch_size: int, repeat: int) -> float:
    """The plain loop, loading the checkpoint included."""
    return _timed(plain_loop(batch_size), repeat)


def plain_loop(batch_size: int) -> Callable[[NDArray[np.uint32]], NDArray[np.float32]]:
    """The loop that a user would write: S of a trial, in float32."""
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    names = ["hidden1.weight", "hidden1.bias", "last.weight", "last.bias"]
    state = {
        key: torch.tensor(_Process.weights[name])
        for key, name in zip(model.state_dict(), names, strict=True)
    }
    inputs, labels = torch.tensor(_Process.data.inputs), torch.tensor(_Process.data.labels)
    loss_function = nn.CrossEntropyLoss()

    def trial(index: NDArray[np.uint32]) -> NDArray[np.float32]:
        model.load_state_dict(state)
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        chosen = torch.tensor(index.astype(np.int64))
        x, y = inputs[chosen], labels[chosen]
        total = torch.zeros(CLASSES, HIDDEN)
        for batch in batches(SAMPLES, batch_size):
            optimizer.zero_grad()
            loss_function(model(x[batch]), y[batch]).backward()
            gradient = model[2].weight.grad
            if gradient is not None:
                total += gradient * (batch.stop - batch.start)
            optimizer.step()
        return np.asarray(total)

    return trial


def measure_engine(batch_size: int, repeat: int) -> float:
    """The engine, prepared once for all trials as in a job."""
    run = _prepare(batch_size)
    return _timed(lambda index: run(index[None]), repeat)


def _prepare(batch_size: int) -> Engine:
    return _prepare_with(_Process.weights, batch_size)


def _prepare_with(weights: Mapping[str, NDArray[Any]], batch_size: int) -> Engine:
    data = _Process.data
    return prepare(Perceptron(weights), UPDATE, [LAST], batch_size, data.inputs, data.labels)


def measure_preparation() -> float:
    """Seconds that a job spends before its first trial."""
    begin = time.perf_counter()
    _prepare(1)
    return time.perf_counter() - begin


def measure_sgemm() -> float:
    """GFLOP/s of one thread in a large single-precision matrix product, beside the others."""
    a, b = np.random.default_rng(0).random((2, 2048, 2048), np.float32)
    out = np.empty_like(a)
    return 2 * 2048**3 / 1e9 / _timed(lambda _: np.matmul(a, b, out=out), 5)


def measure_accuracy(batch_size: int, trials: int) -> tuple[list[float], list[float]]:
    """Relative error of S against float64, of the engine and of the plain loop, per trial.

    The engine in float64 stands for the definition, with which it agrees to 1e-12 in the tests, at
    a hundredth of the time.
    """
    double = {name: value.astype(np.float64) for name, value in _Process.weights.items()}
    exact, engine = _prepare_with(double, batch_size), _prepare(batch_size)
    plain = plain_loop(batch_size)
    errors: tuple[list[float], list[float]] = ([], [])
    for k in range(trials):
        index = trial_samples(0, k, population=60_000, samples=SAMPLES)
        expected = exact(index[None]).parameters[LAST].gradient[0]
        errors[0].append(_error(engine(index[None]).parameters[LAST].gradient[0], expected))
        errors[1].append(_error(plain(index), expected))
    return errors


def _error(found: NDArray[Any], expected: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


# --- Per-sample gradients with frozen weights: what the peers can do ------------------------------


def measure_per_sample(contender: str) -> float:
    """Per-sample last-layer gradients of one trial: their sum and the sum of their norms."""
    work = {
        "engine (frozen, B = 1)": _frozen_engine,
        "torch.func vmap": _per_sample_vmap,
        "BackPACK": _per_sample_backpack,
        "Opacus": _per_sample_opacus,
    }[contender]
    return _timed(work(), 3)


def _frozen_engine() -> Callable[[NDArray[np.uint32]], Any]:
    data = _Process.data
    run = prepare(Perceptron(_Process.weights), Frozen(), [LAST], 1, data.inputs, data.labels)
    return lambda index: run(index[None])


def _tensors(index: NDArray[np.uint32]) -> Any:  # noqa: ANN401 - torch is imported late
    import torch

    return torch.tensor(_Process.data.inputs[index]), torch.tensor(_Process.data.labels[index])


def _sum_and_path(per_sample: Any) -> Any:  # noqa: ANN401
    return per_sample.sum(dim=0), per_sample.flatten(1).norm(dim=1).sum()


def _per_sample_vmap() -> Callable[[NDArray[np.uint32]], Any]:
    import torch
    from torch.func import grad, vmap
    from torch.nn.functional import cross_entropy

    from gradatlas.models.perceptron import logits

    weights = {name: torch.tensor(value) for name, value in _Process.weights.items()}

    def loss(last: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return cross_entropy(logits({**weights, "last.weight": last}, x[None]), y[None])

    per_sample = vmap(grad(loss), in_dims=(None, 0, 0))
    return lambda index: _sum_and_path(per_sample(weights["last.weight"], *_tensors(index)))


def _module() -> Any:  # noqa: ANN401
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    for parameter, value in zip(model.parameters(), _Process.weights.values(), strict=True):
        parameter.data = torch.tensor(value)
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    return model


def _per_sample_backpack() -> Callable[[NDArray[np.uint32]], Any]:
    from backpack import backpack, extend
    from backpack.extensions import BatchGrad
    from torch import nn

    model, loss = extend(_module()), extend(nn.CrossEntropyLoss(reduction="sum"))

    def trial(index: NDArray[np.uint32]) -> Any:  # noqa: ANN401
        x, y = _tensors(index)
        model.zero_grad()
        with backpack(BatchGrad()):
            loss(model(x), y).backward()
        return _sum_and_path(model[2].weight.grad_batch)

    return trial


def _per_sample_opacus() -> Callable[[NDArray[np.uint32]], Any]:
    from opacus import GradSampleModule
    from torch import nn

    model, loss = GradSampleModule(_module()), nn.CrossEntropyLoss(reduction="sum")

    def trial(index: NDArray[np.uint32]) -> Any:  # noqa: ANN401
        x, y = _tensors(index)
        model.zero_grad()
        loss(model(x), y).backward()
        return _sum_and_path(model._module[2].weight.grad_sample)

    return trial


# --- The whole run ------------------------------------------------------------------------------


@contextmanager
def workers(count: int, threads: int, weights: Weights) -> Iterator[Callable[..., list[Any]]]:
    """Start processes with a number of threads each; yields a function that all run at once."""
    context = get_context("spawn")
    barrier = context.Barrier(count)
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=_start, initargs=(barrier, weights, threads)
    ) as pool:

        def run(function: Callable[..., Any], *arguments: object) -> list[Any]:
            return [f.result() for f in [pool.submit(function, *arguments) for _ in range(count)]]

        run(_wait_for_all)
        yield run


def _wait_for_all() -> None:
    _Process.barrier.wait()


def varying_inputs() -> int:
    """Inputs that enter a trial's Gram matrix, on average: those that vary, and a constant."""
    data = load_train(ROOT / "resources" / "mnist").inputs
    trials = [data[trial_samples(0, k, population=60_000, samples=SAMPLES)] for k in range(20)]
    return round(mean([(x != x[0]).any(axis=0).sum() + 1 for x in trials]))


def engine_gflop(batch_size: int, inputs: int) -> float:
    """Arithmetic of one trial in the engine: products with earlier samples, and the last layer."""
    block = max(1, 64 // batch_size) * batch_size
    steps = [(s.start, s.stop) for s in batches(SAMPLES, block)]
    gram = sum((stop - start) * (stop if block > batch_size else start) for start, stop in steps)
    earlier = sum((stop - start) * start for start, stop in steps)
    within = sum((b.stop - b.start) * (b.start % block) for b in batches(SAMPLES, batch_size))
    last_layer = 4 * SAMPLES * CLASSES * HIDDEN
    multiplications = gram * inputs + (earlier + within) * HIDDEN + last_layer
    return float(2 * multiplications / 1e9)


def checkpoint(epochs: int) -> Weights:
    """The default model after some epochs of the default training."""
    from gradatlas.models.module import build
    from gradatlas.train.loop import train

    data = load_train(ROOT / "resources" / "mnist")
    few = Split(data.inputs[:10], data.labels[:10])
    network = build({"hidden": [HIDDEN]}, data, seed=0)
    settings = Training(batch_size=1024, learning_rate=RATE, momentum=0.0)
    *_, last = train(data, few, *network, settings, epochs, seed=0, device="cpu", threads=CORES)
    return last.weights


def compare(rounds: int, weights: Weights) -> dict[str, Any]:
    """Contenders in turn, ``rounds`` times, for every batch size."""
    seconds: dict[str, dict[int, list[float]]] = {
        name: {size: [] for size in BATCH_SIZES} for name in ("plain", "plain strict", "engine")
    }
    sgemm, preparation = [], []
    with (
        workers(1, CORES, weights) as alone,
        workers(CORES, 1, weights) as plain,
        workers(CORES, 1, weights) as fast,
    ):
        for _ in range(rounds):
            sgemm.append(sum(fast(measure_sgemm)))
            preparation.append(max(fast(measure_preparation)))
            for size in BATCH_SIZES:
                repeat = 1 if size < 8 else 3
                seconds["plain"][size].append(alone(measure_plain, size, repeat)[0])
                strict = plain(measure_plain, size, repeat)
                seconds["plain strict"][size].append(mean(strict) / CORES)
                quick = fast(measure_engine, size, 8)
                seconds["engine"][size].append(mean(quick) / CORES)
    return {
        "seconds": {
            name: {size: median(values) for size, values in column.items()}
            for name, column in seconds.items()
        },
        "sgemm_gflops": median(sgemm),
        "preparation_seconds": median(preparation),
        "job_peak_memory_megabytes": job_peak_memory(weights),
    }


def job_peak_memory(weights: Weights) -> float:
    """Largest resident size of a process that collects a shard as the workflow does."""
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder, "checkpoint.safetensors")
        save_checkpoint(start, weights, {})
        settings = EXPERIMENT.trial_settings("sgd", 0, 1, training_seed=0)
        work = f"""
from pathlib import Path
from gradatlas.collect.shard import collect
from gradatlas.core.settings import TrialRange, from_mapping
collect(Path({folder!r}, "shard.h5"), from_mapping({to_mapping(settings)}), TrialRange(0, 99),
        checkpoint=Path({str(start)!r}), data=Path({str(ROOT / "resources" / "mnist")!r}),
        device="cpu")
"""
        command = [sys.executable, "-c", work + _PRINT_PEAK]
        one_thread = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
        result = subprocess.run(command, env=one_thread, capture_output=True, text=True, check=True)
    return float(result.stdout) / 1024


# The kernel's own high-water mark: getrusage would count what the parent held when it forked.
_PRINT_PEAK = """
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(status["VmHWM"].split()[0])
"""


def peers(rounds: int, weights: Weights) -> dict[str, float | str]:
    """Milliseconds of one frozen trial with per-sample gradients, one thread."""
    names = ["engine (frozen, B = 1)", "torch.func vmap", "BackPACK", "Opacus"]
    found: dict[str, list[float]] = {name: [] for name in names}
    missing: dict[str, float | str] = {}
    with workers(1, 1, weights) as run:
        for _ in range(rounds):
            for name in names:
                try:
                    found[name].append(1000 * run(measure_per_sample, name)[0])
                except ModuleNotFoundError as error:
                    missing[name] = f"not installed ({error.name})"
    return {**{n: median(v) for n, v in found.items() if v}, **missing}


def measure_size(batch_size: int, samples: int, hidden: int, trials: int) -> float:
    """Seconds a trial of the engine for another number of samples or hidden units."""
    weights = initial_parameters(Architecture(INPUTS, (hidden,), CLASSES), 0)
    run = _prepare_with(weights, batch_size)
    index = np.stack(
        [trial_samples(0, k, population=60_000, samples=samples) for k in range(trials)]
    )
    run(index[:1])
    begin = time.perf_counter()
    run(index)
    return (time.perf_counter() - begin) / trials


def growth(rounds: int, weights: Weights) -> dict[str, dict[int, float]]:
    """Milliseconds a trial, one thread, B = 8, as one size grows and the others stay."""
    table: dict[str, dict[int, float]] = {}
    sizes = {
        "samples_per_trial": [(SAMPLES * k // 4, HIDDEN, 8) for k in (1, 2, 4, 8)],
        "hidden_units": [(SAMPLES, HIDDEN * k // 4, 8) for k in (1, 2, 4, 8)],
        "trials": [(SAMPLES, HIDDEN, k) for k in (4, 16, 64)],
    }
    with workers(1, 1, weights) as run:
        for column, (name, rows) in enumerate(sizes.items()):
            table[name] = {
                row[column]: 1000 * median([run(measure_size, 8, *row)[0] for _ in range(rounds)])
                for row in rows
            }
    return table


def accuracy(trials: int, weights: Weights) -> dict[int, dict[str, float]]:
    """Of each batch size, the median error and the share of trials that took another path."""
    table = {}
    with workers(1, 1, weights) as run:
        for size in BATCH_SIZES:
            engine, plain = run(measure_accuracy, size, trials)[0]
            table[size] = {
                "engine median": median(engine),
                "engine parted": float(np.mean(np.greater(engine, PARTED))),
                "plain median": median(plain),
                "plain parted": float(np.mean(np.greater(plain, PARTED))),
            }
    return table


def _ratios(result: dict[str, Any]) -> dict[str, Any]:
    seconds = result["seconds"]
    sums = {name: sum(column.values()) for name, column in seconds.items()}
    inputs = varying_inputs()
    gflop = {size: engine_gflop(size, inputs) for size in BATCH_SIZES}
    rate = sum(gflop.values()) / sums["engine"]
    return {
        "total_seconds_a_trial": sums,
        "total_ratio": sums["plain"] / sums["engine"],
        "total_ratio_strict": sums["plain strict"] / sums["engine"],
        "ratio_strict": {
            size: seconds["plain strict"][size] / seconds["engine"][size] for size in BATCH_SIZES
        },
        "ratio": {size: seconds["plain"][size] / seconds["engine"][size] for size in BATCH_SIZES},
        "varying_inputs": inputs,
        "engine_gflop": gflop,
        "engine_gflops": rate,
        "share_of_sgemm": rate / result["sgemm_gflops"],
    }


def _print(result: dict[str, Any]) -> None:
    seconds = result["seconds"]
    print("  B   plain  strict  engine (ms)   ratio  strict   GFLOP/s")
    for size in BATCH_SIZES:
        row = [1000 * seconds[name][size] for name in ("plain", "plain strict", "engine")]
        rate = result["engine_gflop"][size] / seconds["engine"][size]
        print(
            f"{size:5d} {row[0]:7.1f} {row[1]:7.1f} {row[2]:7.1f}"
            f"{result['ratio'][size]:13.1f} {result['ratio_strict'][size]:7.1f} {rate:9.0f}"
        )
    print(
        f"all: {result['total_ratio']:.1f} times the plain loop, "
        f"{result['total_ratio_strict']:.1f} times one plain loop a core; "
        f"{result['engine_gflops']:.0f} GFLOP/s, {result['share_of_sgemm']:.0%} of sgemm "
        f"({result['sgemm_gflops']:.0f}); preparation {result['preparation_seconds']:.2f} s; "
        f"peak memory of a job {result['job_peak_memory_megabytes']:.0f} MB"
    )


def main() -> None:
    """Run everything and print it, or write it as JSON as well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2, help="training epochs of the checkpoint")
    parser.add_argument("--growth", action="store_true", help="other sizes of the problem too")
    parser.add_argument("--accuracy-trials", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    weights = checkpoint(arguments.epochs)
    result = compare(arguments.rounds, weights)
    result |= _ratios(result)
    _print(result)
    result["per_sample_milliseconds"] = peers(arguments.rounds, weights)
    print("per-sample gradients, one thread (ms):", result["per_sample_milliseconds"])
    if arguments.growth:
        result["growth_milliseconds"] = growth(arguments.rounds, weights)
        print("milliseconds a trial:", json.dumps(result["growth_milliseconds"]))
    if arguments.accuracy_trials:
        result["relative_error"] = accuracy(arguments.accuracy_trials, weights)
        print("relative error:", json.dumps(result["relative_error"], indent=1))
    result["machine"] = {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "cores": CORES,
        "versions": {name: version(name) for name in ("numpy", "numba", "torch")},
        "rounds": arguments.rounds,
        "epochs": arguments.epochs,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
