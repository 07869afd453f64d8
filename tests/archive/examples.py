"""Small archives of made-up trials."""

import atexit
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatlas import archive
from gradatlas.core.files import file_digest
from gradatlas.core.provenance import Provenance
from gradatlas.core.settings import TrialRange
from tests.record import RECORD

TENSOR = (3, 8)
SAMPLES = 16
SCALARS = ("path_length", "sum_of_squares", "first_loss", "last_loss")
SETTINGS = replace(RECORD, samples_per_trial=SAMPLES)
PROVENANCE = Provenance(
    checkpoint_sha256="2" * 64,
    device="cpu",
    code_commit="1" * 40,
    library_versions={"numpy": "2.1", "h5py": "3.12"},
)


def make_trials(
    trials: TrialRange, *, shape: tuple[int, ...] = TENSOR, key: int = 0
) -> dict[str, NDArray[Any]]:
    """Random trials that depend on their numbers and ``key`` alone."""
    rows = []
    for trial in range(trials.first, trials.last + 1):
        generator = np.random.default_rng((key, trial))
        gradient = generator.standard_normal(shape, np.float32)
        scalars = generator.random(len(SCALARS))
        rows.append((gradient, generator.integers(0, 60000, SAMPLES, np.uint32), *scalars))
    gradients, indices, *columns = zip(*rows, strict=True)
    return {
        "gradient": np.stack(gradients),
        "sample_index": np.stack(indices),
        **{name: np.array(values) for name, values in zip(SCALARS, columns, strict=True)},
    }


def write_shard(
    path: Path,
    first: int = 0,
    last: int = 9,
    *,
    shape: tuple[int, ...] = TENSOR,
    block: int = 4,
    key: int = 0,
    **changes: Any,
) -> dict[str, NDArray[Any]]:
    """Write made-up trials as a shard and return them; changes are of settings or provenance."""
    trials = TrialRange(first, last)
    content = make_trials(trials, shape=shape, key=key)
    path.parent.mkdir(parents=True, exist_ok=True)
    of_settings = {name: value for name, value in changes.items() if name in vars(SETTINGS)}
    of_provenance = {name: value for name, value in changes.items() if name not in of_settings}
    settings = replace(SETTINGS, **of_settings)
    provenance = replace(PROVENANCE, **of_provenance)
    with archive.create_shard(path, settings, provenance, trials, shape) as shard:
        for start in range(0, len(trials), block):
            rows = slice(start, start + block)
            shard.append(**{name: values[rows] for name, values in content.items()})
    return content


def write_checkpoints(folder: Path, epochs: Sequence[int] = (2, 30)) -> dict[int, Path]:
    """Files that stand for checkpoints."""
    paths = {epoch: folder / "checkpoints" / f"epoch{epoch}.safetensors" for epoch in epochs}
    for epoch, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights of epoch %d" % epoch)
    return paths


def shard_path(
    folder: Path, protocol: str, epoch: int, batch_size: int, trials: TrialRange
) -> Path:
    """Where the workflow puts a shard."""
    group = folder / "gradients" / protocol / f"epoch{epoch}"
    return group / f"batch{batch_size}" / f"trials{trials}.h5"


def write_results(
    folder: Path,
    plan: Mapping[str, tuple[Sequence[int], Sequence[TrialRange]]] | None = None,
    epochs: Sequence[int] = (2, 30),
) -> tuple[list[Path], dict[int, Path]]:
    """Write the shards of batch sizes and trial ranges per protocol, and the checkpoints.

    The key of the made-up trials is the batch size.
    """
    plan = plan or {
        "sgd": ((1, 4, 16), (TrialRange(0, 6), TrialRange(7, 11))),
        "frozen": ((4,), (TrialRange(0, 4),)),
    }
    checkpoints = write_checkpoints(folder, epochs)
    shards = []
    for protocol, (batch_sizes, ranges) in plan.items():
        for epoch in epochs:
            for batch_size in batch_sizes:
                for trials in ranges:
                    path = shard_path(folder, protocol, epoch, batch_size, trials)
                    write_shard(
                        path,
                        trials.first,
                        trials.last,
                        key=batch_size,
                        protocol=protocol,
                        epoch=epoch,
                        batch_size=batch_size,
                        checkpoint_sha256=file_digest(checkpoints[epoch]),
                    )
                    shards.append(path)
    return shards, checkpoints


def write_atlas(folder: Path) -> Path:
    """Write the default results and their atlas."""
    shutil.copytree(_written_once(), folder, dirs_exist_ok=True)
    return folder / "gradients.h5"


@cache
def _written_once() -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    shards, checkpoints = write_results(folder)
    archive.build_atlas(folder / "gradients.h5", shards, checkpoints)
    return folder


def flip(path: Path, offset: int, mask: int = 0xFF) -> None:
    """Change one byte of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))
