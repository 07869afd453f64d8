"""The job that compares batch sizes: laws, readings, sources of variance, noise scale, claims."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradatlas.bootstrap import Bootstrap
from gradatlas.claims import judge, render
from gradatlas.noise_scale import noise_scales
from gradatlas.readings import compare_readings
from gradatlas.replacing import replace_file
from gradatlas.scaling import compare_laws, law_curves, local_exponents
from gradatlas.sweep import read_sweeps
from gradatlas.tables import write_csv
from gradatlas.variance_sources import split_variance


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
        maps: HDF5 files of ``gradatlas.statistics.describe_batch_size``.
        files: Where to write the tables.
        resamples: Bootstrap resamples of each interval.
        confidence: Confidence level of intervals and verdicts.
        seed: The experiment's seed.

    Raises:
        SweepError: Batch sizes of one protocol and epoch do not have the same trials.
        OSError: A file cannot be read or written.
    """
    sweeps = read_sweeps(maps)
    settings = Bootstrap(resamples, confidence, (seed, zlib.crc32(b"comparison")))
    readings = compare_readings(sweeps, settings)
    verdicts = judge(sweeps, settings)
    write_csv(files.scaling, compare_laws(sweeps))
    write_csv(files.law_curves, law_curves(sweeps))
    write_csv(files.local_exponents, local_exponents(sweeps, settings))
    write_csv(files.readings, readings)
    write_csv(files.variance_sources, split_variance(sweeps, confidence))
    write_csv(files.noise_scale, noise_scales(sweeps, settings))
    write_csv(files.claims, verdicts)
    replace_file(files.claims_page, render(verdicts, readings, confidence).encode())
