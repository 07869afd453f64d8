"""The article's seven claims, each with a rule for its verdict, and the job that compares all."""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradatlas.core.files import replace_file
from gradatlas.core.runtime import single_threaded
from gradatlas.statistics.laws import compare_laws, local_exponents
from gradatlas.statistics.noise_scale import noise_scales
from gradatlas.statistics.norm_definitions import LAW_MARGIN, compare_definitions, square_root_law
from gradatlas.statistics.norms import weighted_l_ratios
from gradatlas.statistics.paired import PairedTrials, read_paired
from gradatlas.statistics.resampling import (
    MINIMUM_CLUSTERS,
    Bootstrap,
    Clustered,
    bootstrap,
    jackknife,
    log_means,
    log_spreads,
    of_means,
    slope_contrast,
)
from gradatlas.statistics.tables import write_csv
from gradatlas.statistics.variance_sources import analyse_variance, is_split, split_variance

Array = NDArray[np.float64]
Sizes = NDArray[np.int64]

#: What trials say on a claim: the statistic, its estimate and interval, p-values of what must all
#: hold for the claim, p-values of what speaks against it if one of it holds, and a remark on what
#: the statistic does not show.
Evidence = tuple[str, Sequence[float], Array, Array, str]

# A fall of 5 % is the least that counts against "rises": smaller ones no figure shows.
FALL_MARGIN = math.log(0.95)
# L-kurtosis: half the step from the Gaussian (0.1226) to the logistic distribution (0.1667).
TAIL_MARGIN = 0.022
# The samples are the source of the spread if they account for more of it than the order does.
SAMPLE_SHARE = 0.5

# Where more trials diverged, those that are left are survivors and decide nothing.
DIVERGED_LIMIT = 0.05


_RISES = "the log-log slope is positive"
_FALLS = "the slope is negative, or some batch size lies more than 5 % below a smaller one"

#: The claim, what the test for it shows, and what the test against it shows.
CLAIMS: Mapping[int, tuple[str, str, str]] = {
    1: ("The mean norm rises with batch size", _RISES, _FALLS),
    2: (
        "The mean norm rises as the square root of batch size",
        "every mean lies within 10 % of the fitted square-root law",
        "some mean lies more than 10 % off the fitted square-root law",
    ),
    3: ("At equal mean distance the relative spread rises with batch size", _RISES, _FALLS),
    4: (
        "Early gradients are larger than late ones",
        "the mean norm of the first checkpoint is larger at every batch size",
        "it is smaller at some batch size",
    ),
    5: (
        "Larger batches have heavier tails",
        "the L-kurtosis of the norm rises with batch size",
        "it rises by less than 0.022 over all batch sizes, half the step from the Gaussian to the "
        "logistic distribution",
    ),
    6: (
        "Samples in a batch compete: one large step is shorter than the sum of the small ones",
        "the mean norm at the largest batch size is below that at every other",
        "it is above that at some other",
    ),
    7: (
        "The spread comes from the samples, not from their order",
        "the samples account for more than half of the norm's variance at every batch size",
        "they account for less than half at some batch size",
    ),
}


@single_threaded()
def compare_batch_sizes(
    maps: Sequence[Path],
    files: Mapping[str, Path],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> None:
    """Compare all batch sizes of all protocols and epochs: the job behind the comparing tables.

    Only scalars of the trials are read, never a tensor.

    Args:
        maps: The maps of all batch sizes.
        files: CSV files to write: scaling, law_curves, local_exponents, norm_definitions,
            variance_sources, noise_scale, claims, notes; and claims_page, Markdown.
        resamples: Bootstrap resamples of each interval.
        confidence: Confidence level of intervals and verdicts.
        seed: The experiment's seed.

    Raises:
        InputError: Batch sizes of one protocol and epoch do not have the same trials.
        OSError: A file cannot be read or written.
    """
    trials = read_paired(maps)
    # One seed for all tables, so that batch sizes are compared by the same resamples. CRC-32 is the
    # same in every process, which Python's hash of a text is not.
    resampling = Bootstrap(resamples, confidence, (seed, zlib.crc32(b"comparison")))
    scaling, curves = compare_laws(trials)
    tables = {
        "scaling": scaling,
        "local_exponents": local_exponents(trials, resampling),
        "norm_definitions": compare_definitions(trials, resampling),
        "variance_sources": split_variance(trials, confidence),
        "noise_scale": noise_scales(trials, resampling),
        "claims": judge(trials, resampling),
    }
    others = {"law_curves": curves, "notes": _notes(tables, trials)}
    for name, table in {**tables, **others}.items():
        write_csv(files[name], table)
    page = render(tables["claims"], tables["norm_definitions"], confidence)
    replace_file(files["claims_page"], page.encode())


def _notes(tables: Mapping[str, pd.DataFrame], trials: Sequence[PairedTrials]) -> pd.DataFrame:
    """Why a number is missing, by table, protocol, epoch, item and column.

    An item, such as a law or a batch size, is in the first column that is neither of the first two.
    """
    reasons = {paired.key: _why_missing(paired) for paired in trials}
    missing = []
    for name, table in tables.items():
        item = next(str(column) for column in table if column not in ("protocol", "epoch"))
        for _, row in table.iterrows():
            key = row["protocol"], row["epoch"]
            columns = table.columns[row.isna()]
            missing += [(name, *key, row[item], column, reasons[key]) for column in columns]
    names = ["table", "protocol", "epoch", "item", "column", "reason"]
    return pd.DataFrame(missing, columns=names)


def _why_missing(paired: PairedTrials) -> str:
    draws = len(np.unique(paired.clusters))
    kind = "trials" if paired.own_samples else "sample sets"
    if draws < MINIMUM_CLUSTERS:
        return f"{draws} {kind} that did not diverge, expected at least {MINIMUM_CLUSTERS}"
    return f"what it is computed from does not vary, or not enough for {draws} {kind} to tell"


def judge(trials: Sequence[PairedTrials], resampling: Bootstrap) -> pd.DataFrame:
    """Put every claim to the test at every checkpoint.

    Every piece of evidence has two p-values, for and against the claim. All of them together are
    corrected by Holm's procedure (1979), so that the probability of a single wrong rejection is at
    most 1 - confidence. A claim is ``not reproduced`` where the test against it rejects,
    ``reproduced`` where only the test for it does, and ``undecided`` otherwise. Trials are in
    ascending order of epochs; where two are compared, the row is that of the later one.

    The tests use the jackknife covariance of paired statistics and Student's t with one degree of
    freedom less than there are independent draws; that of claim 7 is the F test of the analysis of
    variance. The rules and margins are in ``CLAIMS`` and docs/statistics.md.

    Args:
        trials: Of each protocol and epoch.
        resampling: For the intervals beside the verdicts; its confidence is also that of verdicts.

    Returns:
        One row per claim, protocol and epoch, with p-values after the correction.
    """
    columns = [
        *("claim", "protocol", "epoch", "statistic", "estimate", "low", "high"),
        *("for_p_value", "against_p_value", "remark"),
    ]
    rows = [
        (claim, *paired.key, *_weigh(paired, evidence))
        for claim, paired, evidence in _evidence(trials, resampling)
    ]
    table, sides = pd.DataFrame(rows, columns=columns), ["for_p_value", "against_p_value"]
    table[sides] = holm(table[sides].to_numpy(dtype=float).ravel()).reshape(-1, 2)
    supported, opposed = (table[side] < 1 - resampling.confidence for side in sides)
    # The test against a claim goes first: a mean may rise on the whole and yet fall too far
    # somewhere.
    verdicts = np.select([opposed, supported], ["not reproduced", "reproduced"], "undecided")
    table.insert(columns.index("for_p_value"), "verdict", verdicts)
    return table.sort_values(["claim", "protocol", "epoch"], ignore_index=True)


def holm(p_values: Array) -> Array:
    """P-values corrected for their number by Holm's step-down procedure (1979).

    The i-th smallest of m, times m - i + 1, is at least the corrected value before it and at most
    1. To reject what lies below a level then errs in any of them with at most that probability,
    however the tests depend on each other. Bonferroni's correction, all times m, rejects less.

    Args:
        p_values: Shape (m,).

    Returns:
        The corrected p-values in the order given, shape (m,).

    Example:
        0.01 times 3, then 0.03 times 2; 0.04 times 1 is raised to the one before it:

        >>> holm(np.array([0.01, 0.04, 0.03])).round(9).tolist()
        [0.03, 0.06, 0.06]
        >>> np.minimum(1, 3 * np.array([0.01, 0.04, 0.03])).round(9).tolist()  # Bonferroni's
        [0.03, 0.12, 0.09]
    """
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(steps)
    # No hypothesis is rejected before one whose p-value is smaller.
    corrected[order] = np.minimum(1, np.maximum.accumulate(steps))
    return corrected


def _evidence(
    trials: Sequence[PairedTrials], resampling: Bootstrap
) -> Iterator[tuple[int, PairedTrials, Evidence]]:
    """What the trials say on every claim at every checkpoint.

    Claims 1 to 6 concern the protocols whose weights move and whose trials have samples of their
    own, claim 7 those whose trials share sample sets.
    """
    moving = [p for p in trials if p.settings.update.moves and p.own_samples and len(p.trials) > 1]
    for paired in moving:
        if len(paired.batch_sizes) > 1:
            sizes, means = paired.batch_sizes, log_means(paired.norm, paired.clusters)
            spreads = log_spreads(paired.norm, paired.clusters)
            yield 1, paired, _rises("mean norm", sizes, means, resampling)
            yield 2, paired, _square_root(sizes, means, resampling)
            yield 3, paired, _rises("relative standard deviation", sizes, spreads, resampling)
            yield 5, paired, _tails(paired, resampling)
            yield 6, paired, _competition(paired, means, resampling)
        first = next(other for other in moving if other.key[0] == paired.key[0])
        if first.settings.epoch < paired.settings.epoch:
            yield 4, *_early_larger(first, paired, resampling)
    for paired in filter(is_split, trials):
        yield 7, paired, _samples_not_order(paired, resampling)


def _weigh(paired: PairedTrials, evidence: Evidence) -> tuple[object, ...]:
    """Evidence with one p-value for the claim and one against; 1 where many trials diverged.

    The largest counts where all must hold (an intersection-union test), the smallest, corrected for
    their number (Bonferroni), where one suffices.
    """
    statistic, ends, supports, opposes, remark = evidence
    p_values = float(supports.max()), min(1.0, len(opposes) * float(opposes.min()))
    total = len(paired.trials) + paired.diverged
    if paired.diverged:
        remark += f"; {paired.diverged} of {total} trials diverged and are left out"
    if paired.diverged > DIVERGED_LIMIT * total:
        p_values = 1.0, 1.0
        remark += ", too many for a verdict"
    return statistic, *ends, *p_values, remark


def _interval(contrast: Array, statistic: Clustered, resampling: Bootstrap) -> list[float]:
    """Estimate and BCa interval of one contrast of statistics of shape (B, ...)."""
    values, clusters = statistic
    found = bootstrap(lambda w: np.tensordot(contrast, values(w), 1)[None], clusters, resampling)
    return [float(end) for end in found[:, 0]]


def _rises(name: str, sizes: Sizes, statistic: Clustered, resampling: Bootstrap) -> Evidence:
    """The slope is positive, or negative, or some pair falls by more than 5 %.

    Means are in logarithms, so that the difference of a pair is the log of a ratio. The smallest
    p-value of all pairs is multiplied by their number (Bonferroni).
    """
    slope, pooled = slope_contrast(np.log(sizes)), jackknife(*statistic)
    each = np.eye(len(sizes))
    # Every pair, not neighbours alone: a slow decline over many batch sizes is a fall as well.
    falls = np.stack([a - b for a, b in combinations(each, 2)])  # smaller less larger batch size
    falling = len(falls) * pooled.above(falls, -FALL_MARGIN).min()
    supports, negative = pooled.above(slope[None]), pooled.above(-slope[None])
    ends = _interval(slope, statistic, resampling)
    remark = _largest_fall(sizes, falls, falls @ pooled.estimate)
    return f"log-log slope of the {name}", ends, supports, np.append(negative, falling), remark


def _largest_fall(sizes: Sizes, falls: Array, values: Array) -> str:
    worst = int(np.argmax(values))
    if values[worst] <= 0:
        return "rises from every batch size to the next"
    smaller, larger = sizes[falls[worst] > 0][0], sizes[falls[worst] < 0][0]
    fall = -100 * math.expm1(-values[worst])
    return f"falls by up to {fall:.1f} %, from batch size {smaller} to {larger}"


def _square_root(sizes: Sizes, means: Clustered, resampling: Bootstrap) -> Evidence:
    """Every log mean within the margin of the fitted law, from both sides; or some outside."""
    pooled, (contrasts, law) = jackknife(*means), square_root_law(sizes)
    both_sides, laws = np.concatenate([contrasts, -contrasts]), np.concatenate([law, -law])
    # Contrast c with law l: c - l and l - c above -margin is inside, one of them above margin
    # outside.
    inside = pooled.above(both_sides, laws - LAW_MARGIN)
    outside = pooled.above(both_sides, laws + LAW_MARGIN)
    deviations = contrasts @ pooled.estimate - law
    worst = int(np.argmax(np.abs(deviations)))
    times = f"{math.exp(deviations[worst]):.2f} times the fitted square-root law"
    remark = f"the mean norm at batch size {sizes[worst]} is {times}"
    ends = _interval(slope_contrast(np.log(sizes)), means, resampling)
    return "log-log slope of the mean norm, 1/2 by the claim", ends, inside, outside, remark


def _early_larger(
    early: PairedTrials, late: PairedTrials, resampling: Bootstrap
) -> tuple[PairedTrials, Evidence]:
    """What both checkpoints have in common of the later one, and what it says."""
    sizes, *rows = np.intersect1d(early.batch_sizes, late.batch_sizes, return_indices=True)
    trials, *columns = np.intersect1d(early.trials, late.trials, return_indices=True)
    norms = [p.norm[np.ix_(r, c)] for p, r, c in zip((early, late), rows, columns, strict=True)]

    def log_ratios(means: Array, _: Array) -> Array:
        first, second = np.split(means, 2)  # (B, ...)
        return np.asarray(np.log(first / second))

    # The trials of both epochs draw the same samples, so their ratio is paired too.
    ratios, each = of_means(log_ratios, np.concatenate(norms), trials), np.eye(len(sizes))
    pooled = jackknife(*ratios)
    smallest = int(np.argmin(pooled.estimate))
    epochs = f"epoch {early.settings.epoch} over {late.settings.epoch}"
    name = f"smallest ratio of the mean norms, {epochs} (batch size {sizes[smallest]})"
    ends = [math.exp(end) for end in _interval(each[smallest], ratios, resampling)]
    remark = f"the largest ratio is {math.exp(pooled.estimate.max()):.2f}"
    # Known is how many diverged at each epoch, not at one or the other: at least the larger.
    common = replace(late, trials=trials, diverged=max(early.diverged, late.diverged))
    return common, (name, ends, pooled.above(each), pooled.above(-each), remark)


def _tails(paired: PairedTrials, resampling: Bootstrap) -> Evidence:
    """The slope of L-kurtosis against log B is positive, or stays below the margin over all B."""
    sizes, logarithms = paired.batch_sizes, np.log(paired.batch_sizes)
    # The slope times the range of log B: a change of L-kurtosis, which the margin is given for.
    change = slope_contrast(logarithms) * np.ptp(logarithms)

    def kurtosis(weights: Array) -> Array:
        return np.stack([weighted_l_ratios(weights, norms)[1] for norms in paired.norm])

    pooled = jackknife(kurtosis, paired.clusters)
    name = "change of the norm's L-kurtosis over all batch sizes, from its slope against log B"
    ends = _interval(change, (kurtosis, paired.clusters), resampling)
    rises = pooled.above(change[None])
    stays = pooled.above(-change[None], -TAIL_MARGIN)
    first, last = pooled.estimate[[0, -1]]
    found = f"{first:.3f} at batch size {sizes[0]} and {last:.3f} at {sizes[-1]}"
    return name, ends, rises, stays, f"L-kurtosis is {found}, 0.123 for a Gaussian"


def _competition(paired: PairedTrials, means: Clustered, resampling: Bootstrap) -> Evidence:
    """The mean of |S| at the largest batch size is below all others, or above one.

    Compared with the sum of the steps' lengths one large step would be shorter by the triangle
    inequality wherever the weights stay, which would test nothing.
    """
    smallest, largest = paired.batch_sizes[[0, -1]]
    each = np.eye(len(paired.batch_sizes))
    larger = each[-1] - each[:-1]  # largest batch size less each other
    pooled = jackknife(*means)
    name = f"mean norm at batch size {largest} over that at {smallest}"
    ends = [math.exp(end) for end in _interval(larger[0], means, resampling)]
    left = float((paired.norm[0] / paired.path_length[0]).mean())
    remark = f"at batch size {smallest} the sum is {left:.2f} of the path's length"
    return name, ends, pooled.above(-larger), pooled.above(larger), remark


def _samples_not_order(paired: PairedTrials, resampling: Bootstrap) -> Evidence:
    """The sets have more than half of the variance at every batch size, or less at one."""
    sizes = paired.batch_sizes
    sources = [analyse_variance(norms, paired.clusters) for norms in paired.norm]
    more, less = np.array([source.p_values(SAMPLE_SHARE) for source in sources]).T  # (B,) each
    shares = [source.sample_share for source in sources]
    smallest = int(np.argmin(shares))
    # The exact interval: a bootstrap over the few sets covers too little.
    ends = (shares[smallest], *sources[smallest].interval(resampling.confidence))
    listed = (f"{share:.2f} at {size}" for share, size in zip(shares, sizes, strict=True))
    remark = f"share of the samples by batch size: {', '.join(listed)}"
    name = "smallest share of the samples in the variance of the norm"
    return f"{name} (batch size {sizes[smallest]})", ends, more, less, remark


def render(verdicts: pd.DataFrame, definitions: pd.DataFrame, confidence: float) -> str:
    """The verdicts as a Markdown page.

    Args:
        verdicts: The table of ``judge``.
        definitions: The table of ``compare_definitions``.
        confidence: Level of intervals and verdicts, between 0 and 1.
    """
    level = f"{confidence:.0%}"
    parts = [
        "# The article's claims",
        f"Intervals are BCa bootstrap intervals at {level}, except those of claim 7, which are "
        "exact for Gaussian effects. Verdicts use p-values corrected for the number of tests "
        f"(Holm) at {level}: *not reproduced* where the test against the claim rejects, "
        "*reproduced* where only the test for it does, *undecided* otherwise.",
        *(_render_claim(number, verdicts) for number in CLAIMS),
        _render_definitions(definitions),
    ]
    return "\n\n".join(parts) + "\n"


def _render_claim(number: int, verdicts: pd.DataFrame) -> str:
    text, supported, opposed = CLAIMS[number]
    lines = [
        f"- {row.protocol!s}, epoch {row.epoch}: **{row.verdict!s}**. "
        f"{row.statistic!s}: {row.estimate:.4g} [{row.low:.4g}, {row.high:.4g}]; {row.remark!s} "
        f"(p for {row.for_p_value:.2g}, against {row.against_p_value:.2g})."
        for row in verdicts[verdicts["claim"] == number].itertuples()
    ]
    found = "\n".join(lines or ["- There are no trials that this claim can be tested by."])
    return f"## {number}. {text}\n\nFor: {supported}. Against: {opposed}.\n\n{found}"


def _render_definitions(definitions: pd.DataFrame) -> str:
    """Which definition of the norm gives the square-root law and a growing spread."""
    lines = [
        "| protocol | epoch | norm definition | exponent | spread exponent "
        "| square-root law within 10 % | spread grows |",
        "|---|---|---|---|---|---|---|",
    ]
    both = []
    for row in definitions.itertuples():
        law, grows = bool(row.square_root_within_margin), bool(row.spread_grows)
        lines.append(
            f"| {row.protocol!s} | {row.epoch} | {row.norm_definition!s} | {row.exponent:.3f} "
            f"| {row.spread_exponent:.3f} | {'yes' if law else 'no'} | {'yes' if grows else 'no'} |"
        )
        if law and grows:
            both.append(f"{row.norm_definition!s} ({row.protocol!s}, epoch {row.epoch})")
    answer = f"Both hold for: {'; '.join(both)}." if both else "Both hold for none of them."
    title = "## Which definition of the norm gives the square-root law and a growing spread?"
    return "\n\n".join([title, "\n".join(lines), answer])
