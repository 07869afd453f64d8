"""Time the archive: writing and reading gradients against plain NumPy files and zarr.

Contenders take turns in every round, so that their ratios hold on a noisy machine; all of them
write the same tensors and sample indices, and flush them to disk. Reading is warm.

Usage: python benchmarks/archive.py [--shards 15] [--trials 1000] [--rounds 5] [--json FILE]
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from gradatlas import archive
from gradatlas.core.configuration import read_experiment
from gradatlas.core.files import file_digest
from gradatlas.core.provenance import Provenance
from gradatlas.core.settings import TrialRange, TrialSettings

ROOT = Path(__file__).parents[1]
EXPERIMENT = read_experiment(
    yaml.safe_load((ROOT / "config.yaml").read_text()),
    ROOT / "workflow" / "schemas" / "config.schema.yaml",
)
TENSOR = (10, 1024)
SAMPLES = 1024
BLOCK = 50  # trials a job appends at once
RANDOM_TRIALS = 200


@dataclass(frozen=True)
class Workload:
    """Tensors of one shard, and the folder that everything is written to."""

    folder: Path
    shards: int
    gradient: NDArray[np.float32]
    sample_index: NDArray[np.uint32]
    scalars: NDArray[np.float64]

    @property
    def trials(self) -> int:
        """Trials of a shard."""
        return len(self.gradient)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return self.shards * self.gradient.nbytes


def make_workload(folder: Path, shards: int, trials: int) -> Workload:
    """Random tensors of the default size."""
    generator = np.random.default_rng(0)
    return Workload(
        folder,
        shards,
        generator.standard_normal((trials, *TENSOR), np.float32),
        generator.integers(0, 60000, (trials, SAMPLES), np.uint32),
        generator.random(trials),
    )


def write_numpy(work: Workload) -> None:
    """The strict comparison: one call to np.save and one fsync a file."""
    for shard in range(work.shards):
        with (work.folder / f"{shard}.npy").open("wb") as file:
            np.save(file, work.gradient)
            np.save(file, work.sample_index)
            file.flush()
            os.fsync(file.fileno())


def read_numpy(work: Workload) -> None:
    """Load every tensor, a file at a time."""
    for shard in range(work.shards):
        np.load(work.folder / f"{shard}.npy", allow_pickle=False)


def settings(shard: int) -> TrialSettings:
    """The record of a made-up shard; each one is another batch size."""
    return EXPERIMENT.trial_settings("sgd", 2, shard + 1, training_seed=0)


def checkpoint(work: Workload) -> Path:
    """A file that stands for the checkpoint."""
    path = work.folder / "epoch2.safetensors"
    if not path.exists():
        path.write_bytes(b"weights")
    return path


def shard_path(work: Workload, shard: int) -> Path:
    """Where a shard is written."""
    return work.folder / f"{shard}.h5"


def write_archive(work: Workload) -> None:
    """Write shards block by block, as a collection job does."""
    trials = TrialRange(0, work.trials - 1)
    provenance = Provenance(file_digest(checkpoint(work)), "cpu", "unknown", {})
    for shard in range(work.shards):
        path = shard_path(work, shard)
        with archive.create_shard(path, settings(shard), provenance, trials, TENSOR) as writer:
            for start in range(0, work.trials, BLOCK):
                rows = slice(start, start + BLOCK)
                writer.append(
                    gradient=work.gradient[rows],
                    path_length=work.scalars[rows],
                    sum_of_squares=work.scalars[rows],
                    first_loss=work.scalars[rows],
                    last_loss=work.scalars[rows],
                    sample_index=work.sample_index[rows],
                )


def read_archive(work: Workload) -> None:
    """Compare every shard with its digest, as a statistics job does, and iterate over it."""
    for shard in range(work.shards):
        for _ in archive.open_shards([shard_path(work, shard)]).blocks():
            pass


def write_zarr(work: Workload) -> None:
    """The peer, with chunks of the same size and no compression either; it does not fsync."""
    import zarr

    for shard in range(work.shards):
        group = zarr.open_group(work.folder / f"{shard}.zarr", mode="w")
        for name, data, chunk in (
            ("gradient", work.gradient, (25, *TENSOR)),
            ("sample_index", work.sample_index, (250, SAMPLES)),
        ):
            array = group.create_array(
                name, shape=data.shape, dtype=data.dtype, chunks=chunk, compressors=None
            )
            array[:] = data


def read_zarr(work: Workload) -> None:
    """Read every tensor, a group at a time."""
    import zarr

    for shard in range(work.shards):
        _ = zarr.open_array(work.folder / f"{shard}.zarr", path="gradient", mode="r")[:]


def build_atlas(work: Workload) -> None:
    """Build the atlas over all shards."""
    shards = [shard_path(work, shard) for shard in range(work.shards)]
    archive.build_atlas(work.folder / "atlas.h5", shards, {2: checkpoint(work)})


def open_atlas(work: Workload) -> None:
    """Open the atlas, which compares its digest and looks for every shard."""
    archive.open(work.folder / "atlas.h5")


def read_random_trials(work: Workload) -> None:
    """Read single trials in random order."""
    selection = archive.open(work.folder / "atlas.h5").select(batch_size=1)
    for trial in np.random.default_rng(0).integers(0, work.trials, RANDOM_TRIALS):
        selection.gradient(int(trial))


def scan_atlas(work: Workload) -> None:
    """Iterate over all tensors of the atlas, checked."""
    for selection in archive.open(work.folder / "atlas.h5").selections:
        for _ in selection.blocks():
            pass


def export(work: Workload) -> None:
    """Copy the atlas into one file."""
    archive.export(work.folder / "atlas.h5", work.folder / "export.h5")


def verify(work: Workload) -> None:
    """Read everything and compare all checksums."""
    findings = archive.verify(work.folder / "atlas.h5")
    if findings:
        raise RuntimeError(findings[0].what)


def contenders() -> dict[str, Callable[[Workload], None]]:
    """What is timed, in the order of a round."""
    steps: dict[str, Callable[[Workload], None]] = {
        "write numpy": write_numpy,
        "write archive": write_archive,
        "read numpy": read_numpy,
        "read archive": read_archive,
        "build atlas": build_atlas,
        "open atlas": open_atlas,
        "scan atlas": scan_atlas,
        "random trials": read_random_trials,
        "export": export,
        "verify": verify,
    }
    if find_spec("zarr"):
        steps |= {"write zarr": write_zarr, "read zarr": read_zarr}
    return steps


def measure(work: Workload, rounds: int) -> dict[str, list[float]]:
    """Seconds of every step in every round."""
    seconds = defaultdict(list)
    for _ in range(rounds):
        for name, step in contenders().items():
            start = time.perf_counter()
            step(work)
            seconds[name].append(time.perf_counter() - start)
    return dict(seconds)


def report(work: Workload, seconds: dict[str, list[float]]) -> dict[str, object]:
    """Median and fastest round of every step, and ratios to NumPy.

    The ratio of the fastest rounds is the one to trust where other programs take the processor
    now and then; the median of the rounds' ratios says what to expect there.
    """
    fastest = {name: min(values) for name, values in seconds.items()}
    moving = [name for name in seconds if name.split()[0] not in ("build", "open", "random")]
    ratios = {
        name: {
            "fastest": fastest[name] / fastest[reference],
            "median": float(np.median(np.divide(seconds[name], seconds[reference]))),
        }
        for name, reference in (
            ("write archive", "write numpy"),
            ("read archive", "read numpy"),
            ("scan atlas", "read numpy"),
        )
    }
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg()[0],
        "versions": {name: version(name) for name in ("h5py", "numpy", "gradient-atlas")},
        "megabytes": work.nbytes / 1e6,
        "median_seconds": {name: float(np.median(values)) for name, values in seconds.items()},
        "fastest_seconds": fastest,
        "fastest_megabytes_per_second": {
            name: work.nbytes / 1e6 / fastest[name] for name in moving
        },
        "ratio_to_numpy": ratios,
        "milliseconds_per_random_trial": 1e3 * fastest["random trials"] / RANDOM_TRIALS,
    }


def main() -> None:
    """Run the benchmark and print or write its report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shards", type=int, default=15, help="batch sizes")
    parser.add_argument("--trials", type=int, default=1000, help="trials of a shard")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--json", type=Path, help="file to write the report to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        work = make_workload(Path(folder), options.shards, options.trials)
        result = report(work, measure(work, options.rounds))
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
