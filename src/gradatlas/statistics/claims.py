"""The article's seven claims, each a hypothesis with a rule for its verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradatlas.statistics.bootstrap import Bootstrap
from gradatlas.statistics.evidence import Evidence, collect_evidence
from gradatlas.statistics.paired import Sweep

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Claim:
    """One claim and the two tests that decide on it.

    Attributes:
        text: The claim.
        supported: What the test for it shows.
        opposed: What the test against it shows.
    """

    text: str
    supported: str
    opposed: str


_RISES = "the log-log slope is positive"
_FALLS = "the slope is negative, or some batch size lies more than 5 % below a smaller one"

CLAIMS: Mapping[int, Claim] = {
    1: Claim("The mean norm rises with batch size", _RISES, _FALLS),
    2: Claim(
        "The mean norm rises as the square root of batch size",
        "every mean lies within 10 % of the fitted square-root law",
        "some mean lies more than 10 % off the fitted square-root law",
    ),
    3: Claim(
        "At equal mean distance the relative spread rises with batch size",
        _RISES,
        _FALLS,
    ),
    4: Claim(
        "Early gradients are larger than late ones",
        "the mean norm of the first checkpoint is larger at every batch size",
        "it is smaller at some batch size",
    ),
    5: Claim(
        "Larger batches have heavier tails",
        "the L-kurtosis of the norm rises with batch size",
        "it rises by less than 0.022 over all batch sizes, half the step from the Gaussian to the "
        "logistic distribution",
    ),
    6: Claim(
        "Samples in a batch compete: one large step is shorter than the sum of the small ones",
        "the mean norm at the largest batch size is below that at every other",
        "it is above that at some other",
    ),
    7: Claim(
        "The spread comes from the samples, not from their order",
        "the samples account for more than half of the norm's variance at every batch size",
        "they account for less than half at some batch size",
    ),
}


def judge(sweeps: Sequence[Sweep], settings: Bootstrap) -> pd.DataFrame:
    """Put every claim to the test at every checkpoint.

    Every piece of evidence has two p-values, for and against the claim. All of them together are
    corrected by Holm's procedure (1979), so that the probability of a single wrong rejection is at
    most 1 - confidence. A claim is ``not reproduced`` where the test against it rejects,
    ``reproduced`` where only the test for it does, and ``undecided`` otherwise.

    Args:
        sweeps: In ascending order of epochs.
        settings: Of the intervals; their level is also that of the verdicts.

    Returns:
        claim, protocol, epoch, statistic, estimate, low, high, verdict, the corrected p-values and
        a remark; one row per claim, protocol and epoch.
    """
    evidence = [vars(item) for item in collect_evidence(sweeps, settings)]
    table = pd.DataFrame(evidence, columns=[field.name for field in fields(Evidence)])
    sides = ["for_p_value", "against_p_value"]
    table[sides] = holm(table[sides].to_numpy(dtype=float).ravel()).reshape(-1, 2)
    alpha = 1 - settings.confidence
    opposed, supported = table["against_p_value"] < alpha, table["for_p_value"] < alpha
    verdicts = np.select([opposed, supported], ["not reproduced", "reproduced"], "undecided")
    table.insert([*table].index("high") + 1, "verdict", verdicts)
    return table.sort_values(["claim", "protocol", "epoch"], ignore_index=True)


def holm(p_values: Array) -> Array:
    """P-values corrected for their number by Holm's step-down procedure (1979), same shape."""
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(steps)
    corrected[order] = np.minimum(1, np.maximum.accumulate(steps))
    return corrected


def render(verdicts: pd.DataFrame, readings: pd.DataFrame, confidence: float) -> str:
    """The verdicts as a Markdown page."""
    level = f"{confidence:.0%}"
    parts = [
        "# The article's claims",
        f"Intervals are BCa bootstrap intervals at {level}, except those of claim 7, which are "
        "exact for Gaussian effects. Verdicts use p-values corrected for the number of tests "
        f"(Holm) at {level}: *not reproduced* where the test against the claim rejects, "
        "*reproduced* where only the test for it does, *undecided* otherwise.",
        *(_render_claim(number, verdicts) for number in CLAIMS),
        _render_readings(readings),
    ]
    return "\n\n".join(parts) + "\n"


def _render_claim(number: int, verdicts: pd.DataFrame) -> str:
    claim = CLAIMS[number]
    rows = verdicts[verdicts["claim"] == number]
    lines = [
        f"- {row.protocol!s}, epoch {row.epoch}: **{row.verdict!s}**. "
        f"{row.statistic!s}: {row.estimate:.4g} [{row.low:.4g}, {row.high:.4g}]; {row.remark!s} "
        f"(p for {row.for_p_value:.2g}, against {row.against_p_value:.2g})."
        for row in rows.itertuples()
    ]
    return "\n\n".join(
        [
            f"## {number}. {claim.text}",
            f"For: {claim.supported}. Against: {claim.opposed}.",
            "\n".join(lines or ["- There are no trials that this claim can be tested by."]),
        ]
    )


def _render_readings(readings: pd.DataFrame) -> str:
    """Which reading of the norm gives the square-root law and a growing spread."""
    header = (
        "| protocol | epoch | reading | exponent | spread exponent | square-root law within 10 % "
        "| spread grows |\n|---|---|---|---|---|---|---|"
    )
    rows = [
        f"| {row.protocol!s} | {row.epoch} | {row.reading!s} "
        f"| {row.exponent:.3f} | {row.spread_exponent:.3f} "
        f"| {'yes' if row.square_root_within_margin else 'no'} "
        f"| {'yes' if row.spread_grows else 'no'} |"
        for row in readings.itertuples()
    ]
    both = readings[
        readings["square_root_within_margin"].eq(True) & readings["spread_grows"].eq(True)
    ]
    found = "; ".join(
        f"{row.reading!s} ({row.protocol!s}, epoch {row.epoch})" for row in both.itertuples()
    )
    answer = f"Both hold for: {found}." if found else "Both hold for none of them."
    title = "## Which reading of the gradient norm gives the square-root law and a growing spread?"
    return "\n\n".join([title, "\n".join([header, *rows]), answer])
