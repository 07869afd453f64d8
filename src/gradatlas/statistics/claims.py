"""The article's seven claims, each with a rule for its verdict, and the job that compares all."""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

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

# The smallest change of a mean or spread that counts, up or down: a smaller one no figure shows.
RISE, FALL = LAW_MARGIN, math.log(0.90)
# L-kurtosis: half the step from the Gaussian (0.1226) to the logistic distribution (0.1667).
TAIL_MARGIN = 0.022
# The samples are the source of the spread if they account for more of it than the order does.
SAMPLE_SHARE = 0.5

# Where more trials diverged, those that are left are survivors and decide nothing.
DIVERGED_LIMIT = 0.05
# More trials than anybody collects.
MOST_TRIALS = 1e8


# Below it a page says so: no statistic of so few trials is normal that far out.
SMALLEST_P_VALUE = 1e-6
# The probability that as many trials as a page asks for decide a claim.
POWER = 0.9

_RISES = (
    "the value at the largest batch size exceeds that at the smallest by more than 10 %, and at no "
    "batch size does it lie more than 10 % below that at a smaller one"
)
_DOES_NOT_RISE = (
    "it exceeds it by less, or lies more than 10 % below that at a smaller one somewhere"
)

#: The claim, what the test for it shows, and what the test against it shows: two sides of one
#: margin, so that of both exactly one is true, and enough trials tell which.
CLAIMS: Mapping[int, tuple[str, str, str]] = {
    1: ("The mean norm rises with batch size", _RISES, _DOES_NOT_RISE),
    2: (
        "The mean norm rises as the square root of batch size",
        "every mean lies within 10 % of the fitted square-root law",
        "some mean lies more than 10 % off the fitted square-root law",
    ),
    3: (
        "At equal mean distance the relative spread rises with batch size",
        _RISES,
        _DOES_NOT_RISE,
    ),
    4: (
        "Early gradients are larger than late ones",
        "the mean norm of the first checkpoint is more than 10 % larger at every batch size",
        "at some batch size it is not",
    ),
    5: (
        "Larger batches have heavier tails",
        "the L-kurtosis of the norm at the largest batch size exceeds that at the smallest by more "
        "than 0.022, half the step from the Gaussian to the logistic distribution",
        "it exceeds it by less, or lies below",
    ),
    6: (
        "Samples in a batch compete: one large step is shorter than the sum of the small ones",
        "the mean norm at the largest batch size lies more than 10 % below that at every other",
        "at some other it does not",
    ),
    7: (
        "The spread comes from the samples, not from their order",
        "the samples account for more than half of the norm's variance at every batch size below "
        "that of one minibatch a trial",
        "at some of them they account for less than half",
    ),
}


@dataclass(frozen=True)
class Evidence:
    """What trials say on a claim."""

    statistic: str  # the one that decides
    ends: Sequence[float]  # its estimate, lower and upper end
    supports: Array  # p-values of what must all hold for the claim
    opposes: Array  # p-values of what speaks against it if one of it holds
    # by how much each of these is multiplied for their number (Bonferroni); all alike unless given
    weights: Array | None = None
    remark: str = ""  # what the statistic does not show

    @property
    def for_p_value(self) -> float:
        """That of an intersection-union test: the largest, as all must hold."""
        return float(self.supports.max())

    @property
    def against_p_value(self) -> float:
        """The smallest of all, each multiplied by its weight, as one suffices."""
        return min(1.0, float((self.opposes * self._weights).min()))

    @property
    def _weights(self) -> Array:
        return (
            np.full(len(self.opposes), len(self.opposes)) if self.weights is None else self.weights
        )

    def growth(self, level: float) -> float:
        """By how much the number of trials must grow to decide, with probability ``POWER``.

        Standard errors fall with its square root. With the estimates as they are, the side that
        they are on is shown once its deciding z value has grown to z(level) + z(POWER).

        Args:
            level: Of the p-value, corrected for the number of claims.

        Returns:
            Infinite where an estimate lies on its margin, or there are too few trials to tell.
        """
        power = stats.norm.ppf(POWER)
        if self.for_p_value < 0.5:
            factors = (stats.norm.isf(level) + power) / stats.norm.isf(self.supports)
            return float(np.square(factors).max())
        z = stats.norm.isf(self.opposes)  # positive where the estimates are on this side
        with np.errstate(divide="ignore"):
            factors = (stats.norm.isf(level / self._weights) + power) / np.maximum(z, 0)
        return float(np.square(factors).min())


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

    Every piece of evidence has two p-values, for and against the claim, of hypotheses of which
    exactly one is true. The smaller ones of all rows are corrected together by Holm's procedure
    (1979), so that the probability of a single wrong rejection is at most 1 - confidence. A claim
    is ``reproduced`` or ``not reproduced`` where the test for or against it rejects, and
    ``undecided`` otherwise; the remark then says how many trials would decide it. Trials are in
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
        *("claim", "protocol", "epoch", "statistic", "estimate", "low", "high", "verdict"),
        *("for_p_value", "against_p_value", "remark"),
    ]
    found = [*_evidence(trials, resampling)]
    p_values = np.array(
        [(e.for_p_value, e.against_p_value) if _may_decide(p) else (1.0, 1.0) for _, p, e in found]
    ).reshape(-1, 2)
    corrected, level = correct(p_values), 1 - resampling.confidence
    rows = []
    for (claim, paired, evidence), pair in zip(found, corrected, strict=True):
        verdict = _verdict(pair, level)
        remark = evidence.remark + _of_diverged(paired)
        if verdict == "undecided" and _may_decide(paired):
            remark += _trials_needed(paired, evidence.growth(level / len(found)))
        rows.append(
            (claim, *paired.key, evidence.statistic, *evidence.ends, verdict, *pair, remark)
        )
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["claim", "protocol", "epoch"], ignore_index=True)


def _verdict(p_values: Array, level: float) -> str:
    """From both p-values after their correction, for and against."""
    supporting, opposing = p_values < level
    if opposing:
        return "not reproduced"
    return "reproduced" if supporting else "undecided"


def correct(p_values: Array) -> Array:
    """P-values of pairs of hypotheses, of each of which exactly one is true, corrected by Holm.

    A wrong rejection is then one of a pair's true hypothesis, of which there is one a row: rows are
    counted, not hypotheses. The smaller p-values of all rows are corrected as by ``holm``, and the
    larger ones by the factor of their row.

    Args:
        p_values: Shape (rows, 2).

    Example:
        >>> correct(np.array([[0.01, 0.99], [0.7, 0.3]])).tolist()
        [[0.02, 1.0], [0.7, 0.3]]
    """
    smaller = p_values.min(axis=1, initial=1.0)
    factors = np.empty(len(p_values))
    factors[np.argsort(smaller)] = np.arange(len(p_values), 0, -1)
    return np.minimum(1, np.maximum(p_values * factors[:, None], holm(smaller)[:, None]))


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
    own, claim 7 moving ones whose trials share sample sets.
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
        # With weights that stay, or one minibatch a trial, the order makes no difference.
        settings = paired.settings
        if settings.update.moves and paired.batch_sizes[0] < settings.samples_per_trial:
            yield 7, paired, _samples_not_order(paired, resampling)


def _may_decide(paired: PairedTrials) -> bool:
    return paired.diverged <= DIVERGED_LIMIT * (len(paired.trials) + paired.diverged)


def _of_diverged(paired: PairedTrials) -> str:
    if not paired.diverged:
        return ""
    total = len(paired.trials) + paired.diverged
    told = f"; {paired.diverged} of {total} trials diverged and are left out"
    return told if _may_decide(paired) else f"{told}, too many for a verdict"


def _trials_needed(paired: PairedTrials, growth: float) -> str:
    """How many trials, or sample sets, would decide, to two digits; nothing where none can tell."""
    draws = len(np.unique(paired.clusters))
    if draws < MINIMUM_CLUSTERS:
        return ""
    kind = "trials" if paired.own_samples else "sample sets"
    if not draws * growth < MOST_TRIALS:
        return f"; at this estimate no number of {kind} within reach would decide it"
    needed = draws * max(growth, 1.0)
    return f"; at this estimate about {float(f'{needed:.2g}'):,.0f} {kind} would decide it"


def _interval(contrast: Array, statistic: Clustered, resampling: Bootstrap) -> list[float]:
    """Estimate and BCa interval of one contrast of statistics of shape (B, ...)."""
    values, clusters = statistic
    found = bootstrap(lambda w: np.tensordot(contrast, values(w), 1)[None], clusters, resampling)
    return [float(end) for end in found[:, 0]]


def _rises(name: str, sizes: Sizes, statistic: Clustered, resampling: Bootstrap) -> Evidence:
    """The last lies more than 10 % above the first, and no later one more than 10 % below a former.

    Values are in logarithms, so that the difference of a pair is the log of a ratio. Both parts of
    the negation count alike: half the level goes to the whole rise, half to all falls together.
    """
    pooled, each = jackknife(*statistic), np.eye(len(sizes))
    whole = each[-1] - each[0]
    # Every pair, not neighbours alone: a slow decline over many batch sizes is a fall as well.
    pairs = np.stack([b - a for a, b in combinations(each, 2)])  # larger less smaller batch size
    supports = np.append(pooled.above(whole[None], RISE), pooled.above(pairs, FALL))
    opposes = np.append(pooled.above(-whole[None], -RISE), pooled.above(-pairs, -FALL))
    return Evidence(
        f"{name} at batch size {sizes[-1]} over that at {sizes[0]}",
        np.exp(_interval(whole, statistic, resampling)).tolist(),
        supports,
        opposes,
        np.array([2, *(2 * len(pairs),) * len(pairs)]),
        _largest_fall(sizes, pairs, pairs @ pooled.estimate),
    )


def _largest_fall(sizes: Sizes, pairs: Array, changes: Array) -> str:
    worst = int(np.argmin(changes))
    if changes[worst] >= 0:
        return "rises from every batch size to the next"
    smaller, larger = sizes[pairs[worst] < 0][0], sizes[pairs[worst] > 0][0]
    fall = -100 * math.expm1(changes[worst])
    return f"falls by up to {fall:.1f} %, from batch size {smaller} to {larger}"


def _square_root(sizes: Sizes, means: Clustered, resampling: Bootstrap) -> Evidence:
    """Every log mean within the margin of the fitted law, from both sides; or some outside."""
    pooled, (contrasts, law) = jackknife(*means), square_root_law(sizes)
    both_sides, laws = np.concatenate([contrasts, -contrasts]), np.concatenate([law, -law])
    deviations = contrasts @ pooled.estimate - law
    worst = int(np.argmax(np.abs(deviations)))
    slope = slope_contrast(np.log(sizes)) @ pooled.estimate
    return Evidence(
        f"mean norm at batch size {sizes[worst]} over the fitted square-root law",
        np.exp(np.array(_interval(contrasts[worst], means, resampling)) - law[worst]).tolist(),
        # Contrast c with law l: c - l and l - c above -margin is inside, one of them above margin
        # outside.
        pooled.above(both_sides, laws - LAW_MARGIN),
        pooled.above(both_sides, laws + LAW_MARGIN),
        remark=f"the log-log slope is {slope:.3f}, 1/2 by the claim",
    )


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
    supports, opposes = pooled.above(each, RISE), pooled.above(-each, -RISE)
    return common, Evidence(name, ends, supports, opposes, remark=remark)


def _tails(paired: PairedTrials, resampling: Bootstrap) -> Evidence:
    """L-kurtosis at the largest batch size less that at the smallest, above the margin or below."""
    sizes = paired.batch_sizes[[0, -1]]
    change = np.array([-1.0, 1.0])

    def kurtosis(weights: Array) -> Array:
        return np.stack([weighted_l_ratios(weights, paired.norm[end])[1] for end in (0, -1)])

    pooled = jackknife(kurtosis, paired.clusters)
    first, last = pooled.estimate
    return Evidence(
        f"L-kurtosis of the norm at batch size {sizes[1]} less that at {sizes[0]}",
        _interval(change, (kurtosis, paired.clusters), resampling),
        pooled.above(change[None], TAIL_MARGIN),
        pooled.above(-change[None], -TAIL_MARGIN),
        remark=f"it is {first:.3f} and {last:.3f}, 0.123 for a Gaussian",
    )


def _competition(paired: PairedTrials, means: Clustered, resampling: Bootstrap) -> Evidence:
    """The mean of |S| at the largest batch size is more than 10 % below all others, or not.

    Compared with the sum of the steps' lengths one large step would be shorter by the triangle
    inequality wherever the weights stay, which would test nothing.
    """
    sizes, each = paired.batch_sizes, np.eye(len(paired.batch_sizes))
    larger = each[-1] - each[:-1]  # largest batch size less each other
    pooled = jackknife(*means)
    nearest = int(np.argmax(larger @ pooled.estimate))
    left = float((paired.norm[0] / paired.path_length[0]).mean())
    return Evidence(
        f"mean norm at batch size {sizes[-1]} over that at {sizes[nearest]}, the largest ratio",
        np.exp(_interval(larger[nearest], means, resampling)).tolist(),
        pooled.above(-larger, -FALL),
        pooled.above(larger, FALL),
        remark=f"at batch size {sizes[0]} the sum is {left:.2f} of the path's length",
    )


def _samples_not_order(paired: PairedTrials, resampling: Bootstrap) -> Evidence:
    """The sets have more than half of the variance at every batch size below N, or less at one."""
    below = paired.batch_sizes < paired.settings.samples_per_trial
    sizes = paired.batch_sizes[below]
    sources = [analyse_variance(norms, paired.clusters) for norms in paired.norm[below]]
    more, less = np.array([source.p_values(SAMPLE_SHARE) for source in sources]).T  # (B,) each
    shares = [source.sample_share for source in sources]
    smallest = int(np.argmin(shares))
    listed = (f"{share:.2f} at {size}" for share, size in zip(shares, sizes, strict=True))
    name = "smallest share of the samples in the variance of the norm"
    return Evidence(
        f"{name} (batch size {sizes[smallest]})",
        # The exact interval: a bootstrap over the few sets covers too little.
        (shares[smallest], *sources[smallest].interval(resampling.confidence)),
        more,
        less,
        remark=f"share of the samples by batch size: {', '.join(listed)}",
    )


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
        f"Every claim has one margin, the smallest effect that counts, and two tests at {level}: "
        "that the truth lies beyond the margin, and that it does not. *Reproduced* or *not "
        "reproduced* where one of them rejects, *undecided* otherwise. P-values are corrected for "
        "the number of claims, protocols and checkpoints (Holm). Claims 1 and 6 are one test with "
        "opposite signs: at most one of them can hold.",
        f"Intervals are BCa bootstrap intervals at {level}, except those of claim 7, which are "
        "exact for Gaussian effects. Each is of one statistic by itself; to compare two intervals "
        "by whether they overlap is no test.",
        "The margins were set after a first run of the default experiment had been seen, and the "
        "pilot of 100 trials that served to plan it shared its seed. What they say of that "
        "experiment is therefore no independent confirmation; other seeds are.",
        *(_render_claim(number, verdicts) for number in CLAIMS),
        _render_definitions(definitions),
    ]
    return "\n\n".join(parts) + "\n"


def _shown(p_value: Any) -> str:  # noqa: ANN401 - pandas says of no row what it holds
    """A p-value as far as the tests resolve it: tails of t and F are not known beyond."""
    return f"{p_value:.2g}" if p_value >= SMALLEST_P_VALUE else f"below {SMALLEST_P_VALUE:g}"


def _render_claim(number: int, verdicts: pd.DataFrame) -> str:
    text, supported, opposed = CLAIMS[number]
    lines = [
        f"- {row.protocol!s}, epoch {row.epoch}: **{row.verdict!s}**. "
        f"{row.statistic!s}: {row.estimate:.4g} [{row.low:.4g}, {row.high:.4g}]; {row.remark!s} "
        f"(p for {_shown(row.for_p_value)}, against {_shown(row.against_p_value)})."
        for row in verdicts[verdicts["claim"] == number].itertuples()
    ]
    found = "\n".join(lines or ["- There are no trials that this claim can be tested by."])
    return f"## {number}. {text}\n\nFor: {supported}. Against: {opposed}.\n\n{found}"


def _number(value: Any) -> str:  # noqa: ANN401 - as above
    """Three decimals, without the sign of a zero."""
    return "none" if math.isnan(value) else f"{round(value, 3) + 0.0:.3f}"


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
            f"| {row.protocol!s} | {row.epoch} | {row.norm_definition!s} | {_number(row.exponent)} "
            f"| {_number(row.spread_exponent)} | {'yes' if law else 'no'} "
            f"| {'yes' if grows else 'no'} |"
        )
        if law and grows:
            both.append(f"{row.norm_definition!s} ({row.protocol!s}, epoch {row.epoch})")
    answer = f"Both hold for: {'; '.join(both)}." if both else "Both hold for none of them."
    title = "## Which definition of the norm gives the square-root law and a growing spread?"
    return "\n\n".join([title, "\n".join(lines), answer])
