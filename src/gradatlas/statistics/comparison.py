"""The job that compares batch sizes: laws, readings, sources of variance, noise scale, claims."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gradatlas.core.files import replace_file
from gradatlas.statistics.bootstrap import MINIMUM_UNITS, Bootstrap
from gradatlas.statistics.claims import judge, render
from gradatlas.statistics.noise_scale import noise_scales
from gradatlas.statistics.norm_definitions import compare_readings
from gradatlas.statistics.paired import Sweep, read_sweeps
from gradatlas.statistics.scaling import compare_laws, law_curves, local_exponents
from gradatlas.statistics.tables import write_csv
from gradatlas.statistics.variance_components import split_variance


@dataclass(frozen=True)
class ComparisonFiles:
    """Files that ``compare_batch_sizes`` writes, all CSV but the last."""

    scaling: Path
    law_curves: Path
    local_exponents: Path
    readings: Path
    variance_sources: Path
    noise_scale: Path
    claims: Path
    notes: Path
    claims_page: Path


def compare_batch_sizes(
    maps: Sequence[Path],
    files: ComparisonFiles,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> None:
    """Compare all batch sizes of all protocols and epochs.

    Args:
        maps: HDF5 files of ``gradatlas.statistics.batch_size.describe_batch_size``.
        files: Where to write the tables.
        resamples: Bootstrap resamples of each interval.
        confidence: Confidence level of intervals and verdicts.
        seed: The experiment's seed.

    Raises:
        InputError: Batch sizes of one protocol and epoch do not have the same trials.
        OSError: A file cannot be read or written.
    """
    sweeps = read_sweeps(maps)
    settings = Bootstrap(resamples, confidence, (seed, zlib.crc32(b"comparison")))
    tables = {
        "scaling": compare_laws(sweeps),
        "local_exponents": local_exponents(sweeps, settings),
        "readings": compare_readings(sweeps, settings),
        "variance_sources": split_variance(sweeps, confidence),
        "noise_scale": noise_scales(sweeps, settings),
        "claims": judge(sweeps, settings),
    }
    for name, table in tables.items():
        write_csv(getattr(files, name), table)
    write_csv(files.notes, _notes(tables, sweeps))
    write_csv(files.law_curves, law_curves(sweeps))
    page = render(tables["claims"], tables["readings"], confidence)
    replace_file(files.claims_page, page.encode())


def _notes(tables: Mapping[str, pd.DataFrame], sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """Why a number is missing: table, protocol, epoch, item, column, reason.

    An item is what tells rows of one protocol and epoch apart: law, reading, batch size, claim.
    """
    reasons = {(sweep.protocol, sweep.epoch): _why_missing(sweep) for sweep in sweeps}
    missing = [
        (name, row["protocol"], row["epoch"], row[_item(table)], column)
        for name, table in tables.items()
        for _, row in table.iterrows()
        for column in table.columns[row.isna()]
    ]
    notes = pd.DataFrame(missing, columns=["table", "protocol", "epoch", "item", "column"])
    keys = zip(notes["protocol"], notes["epoch"], strict=True)
    return notes.assign(reason=[reasons[key] for key in keys])


def _item(table: pd.DataFrame) -> str:
    return next(str(name) for name in table if name not in ("protocol", "epoch"))


def _why_missing(sweep: Sweep) -> str:
    units = len(np.unique(sweep.units))
    kind = "trials" if sweep.sample_sets is None else "sample sets"
    if units < MINIMUM_UNITS:
        return f"{units} {kind} that did not diverge, expected at least {MINIMUM_UNITS}"
    return f"what it is computed from does not vary, or not enough for {units} {kind} to tell"
