"""One protocol and epoch in a file of several: the group that atlas and export share."""

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from gradatlas.archive.layout import (
    CHECKSUMS,
    SCALARS,
    add_coordinate,
    add_coordinates,
    dimension_names,
    write_attributes,
)
from gradatlas.archive.sources import Source, write_sources
from gradatlas.sharding import TrialRange

DATASETS: dict[str, np.dtype[Any]] = {
    "gradient": np.dtype(np.float32),
    "sample_index": np.dtype(np.uint32),
    **dict.fromkeys(SCALARS, np.dtype(np.float64)),
    **dict.fromkeys(CHECKSUMS.values(), np.dtype(np.uint64)),
}


def create_group(
    file: h5py.File,
    attributes: dict[str, Any],
    batch_sizes: Sequence[int],
    trials: TrialRange,
    shape: tuple[int, ...],
    sources: Sequence[Source],
) -> h5py.Group:
    """Create ``/{protocol}/epoch{E}`` with attributes, coordinates and the table of sources."""
    group = file.create_group(f"{attributes['protocol']}/epoch{attributes['epoch']}")
    shared = {**attributes, **_varying(sources)}
    del shared["batch_size"]
    write_attributes(group, shared)
    add_coordinate(group, "batch_size", np.asarray(batch_sizes, np.int64))
    add_coordinates(group, trials, shape, attributes["samples_per_trial"])
    write_sources(group, sources)
    return group


def _varying(sources: Sequence[Source]) -> dict[str, str]:
    """What may differ between the shards of a group: every distinct value."""
    return {
        name: "; ".join(sorted({getattr(source, name) for source in sources}))
        for name in ("code_commit", "library_versions", "device")
    }


def row_shape(name: str, shape: tuple[int, ...], samples: int) -> tuple[int, ...]:
    """Shape of one trial's entry of a dataset."""
    return {"gradient": shape, "sample_index": (samples,)}.get(name, ())


def row_dimensions(name: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the dimensions of one trial's entry of a dataset."""
    return {"gradient": dimension_names(shape), "sample_index": ("sample",)}.get(name, ())
