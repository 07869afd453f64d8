"""Speed of a statistics job, coverage of intervals, level of the test of lack of fit, of verdicts.

python benchmarks/estimators.py speed
python benchmarks/estimators.py coverage --repetitions 2000
python benchmarks/estimators.py fit --repetitions 1000
PYTHONPATH=. python benchmarks/estimators.py claims --repetitions 1000
"""

import argparse
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # jobs are single-threaded
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402 - after the number of threads is set
import yaml  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy import integrate, special, stats  # noqa: E402

import gradatlas.statistics.resampling as limits  # noqa: E402
from gradatlas.archive import create_shard, open_shards  # noqa: E402
from gradatlas.core.configuration import read_experiment  # noqa: E402
from gradatlas.core.provenance import Provenance  # noqa: E402
from gradatlas.core.settings import TrialRange  # noqa: E402
from gradatlas.statistics.batch_size import describe_batch_size  # noqa: E402
from gradatlas.statistics.claims import TAIL_MARGIN, judge  # noqa: E402
from gradatlas.statistics.laws import relaxation_basis  # noqa: E402
from gradatlas.statistics.moments import moments_of  # noqa: E402
from gradatlas.statistics.noise_scale import signal_to_noise  # noqa: E402
from gradatlas.statistics.norms import (  # noqa: E402
    shape_intervals,
    shape_statistics,
    weighted_l_ratios,
)
from gradatlas.statistics.paired import PairedTrials  # noqa: E402
from gradatlas.statistics.resampling import (  # noqa: E402
    Bootstrap,
    Clusters,
    WeightedStatistic,
    bootstrap,
    jackknife,
    log_means_and_spreads,
    of_means,
    slope_contrast,
)
from gradatlas.statistics.variance_sources import analyse_variance  # noqa: E402
from tests.statistics.synthetic import make_paired  # noqa: E402

Array = NDArray[np.float64]
TRIALS, SHAPE = 1000, (10, 1024)
ROOT = Path(__file__).parents[1]
EXPERIMENT = read_experiment(
    yaml.safe_load((ROOT / "config.yaml").read_text()),
    ROOT / "workflow" / "schemas" / "config.schema.yaml",
)


def write_shard(folder: Path) -> Path:
    """One batch size of the default experiment, 41 MB of Gaussian gradients."""
    settings = EXPERIMENT.trial_settings("frozen", 2, 32, training_seed=0)
    provenance = Provenance("0" * 64, "cpu", "unknown", {})
    gradient = 1 + np.random.default_rng(0).standard_normal((TRIALS, *SHAPE), dtype=np.float32)
    norms = np.linalg.norm(gradient.reshape(TRIALS, -1), axis=1).astype(np.float64)
    path = folder / "shard.h5"
    with create_shard(path, settings, provenance, TrialRange(0, TRIALS - 1), SHAPE) as shard:
        shard.append(
            gradient=gradient,
            path_length=2 * norms,
            sum_of_squares=norms**2,
            first_loss=norms,
            last_loss=norms,
            sample_index=np.zeros((TRIALS, 1024), np.uint32),
        )
    return path


def best_of(runs: int, work: Callable[[], object]) -> float:
    """Shortest of several wall times, in seconds."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def measure_speed(orders: tuple[int, ...] = (4, 6, 8)) -> dict[str, float]:
    """Throughput in GB/s of reads and moment passes, seconds of a whole job without start-up."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shard = write_shard(folder)
        selection = open_shards([shard])
        size = TRIALS * SHAPE[0] * SHAPE[1] * 4 / 1e9
        (block,) = selection.blocks(1 << 30)
        found = {
            "plain_read_gb_per_s": size / best_of(5, lambda: np.fromfile(shard, np.uint8)),
            "archive_read_gb_per_s": size / best_of(5, lambda: list(selection.blocks())),
        }
        for order in orders:
            moments_of(block[:2], order)  # compiles
            seconds = best_of(5, lambda order=order: moments_of(block, order))  # type: ignore[misc]
            found[f"moments_to_order_{order}_gb_per_s"] = size / seconds
        found["moments_to_order_6_per_plain_read"] = (
            found["moments_to_order_6_gb_per_s"] / found["plain_read_gb_per_s"]
        )
        found["job_to_order_6_seconds"] = best_of(
            3,
            lambda: describe_batch_size(
                [shard],
                [shard],
                folder / "row.json",
                folder / "maps.h5",
                max_order=6,
                resamples=2000,
                confidence=0.95,
                seed=0,
            ),
        )
    return found


@dataclass(frozen=True)
class Coverage:
    """How often an interval at 95 % holds the truth.

    Attributes:
        statistic: What the interval is of.
        data: What is drawn.
        clusters: Independent draws.
        coverage: Share of the repetitions whose interval holds the truth.
        standard_error: Of the share.
        repetitions: Simulated data sets with an interval.
    """

    statistic: str
    data: str
    clusters: int
    coverage: float
    standard_error: float
    repetitions: int


Intervals = dict[str, tuple[float, float, float]]  # statistic: truth, low, high


@dataclass(frozen=True)
class Norms:
    """Norms drawn from a known distribution.

    Attributes:
        distribution: A distribution of ``scipy.stats`` with its parameters.
    """

    distribution: Any

    def __call__(self, rng: np.random.Generator, clusters: int, resampling: Bootstrap) -> Intervals:
        """Intervals of everything that ``statistics.csv`` says of the norms."""
        values = self.distribution.rvs(size=clusters, random_state=rng)
        found = bootstrap(
            lambda w: np.concatenate([shape_statistics(w, values), weighted_l_ratios(w, values)]),
            np.arange(clusters),
            resampling,
        )
        studentised = shape_intervals(values, np.arange(clusters), resampling)
        ends = [*found[1:].T, *studentised[1:].T]
        return {
            name: (truth, *pair)
            for (name, truth), pair in zip(self.truths().items(), ends, strict=True)
        }

    def truths(self) -> dict[str, float]:
        """What the intervals should hold, in their order."""
        mean, variance, skewness, kurtosis = map(float, self.distribution.stats("mvsk"))
        second, third, fourth = (self._l_moment(order) for order in (2, 3, 4))
        std = math.sqrt(variance)
        return {
            "mean": mean,
            "std": std,
            "relative std": std / mean,
            "skewness, BCa": skewness,
            "excess kurtosis, BCa": kurtosis,
            "L-skewness": third / second,
            "L-kurtosis": fourth / second,
            "skewness, studentised": skewness,
            "excess kurtosis, studentised": kurtosis,
        }

    @cache  # noqa: B019 - a handful of distributions
    def _l_moment(self, order: int) -> float:
        """Integral of the quantile function times a shifted Legendre polynomial."""
        polynomial = special.sh_legendre(order - 1)
        value, _ = integrate.quad(
            lambda u: self.distribution.ppf(u) * polynomial(u), 0, 1, limit=200
        )
        return float(value)


def paired_slopes(rng: np.random.Generator, clusters: int, resampling: Bootstrap) -> Intervals:
    """Exponents 0.15 of the mean and 0.1 of the spread, trials correlated by 0.9 over B."""
    sizes = np.array([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0])
    noise = np.sqrt(0.9) * rng.normal(size=clusters) + np.sqrt(0.1) * rng.normal(size=(6, clusters))
    values = 100 * sizes[:, None] ** 0.15 * (1 + 0.02 * sizes[:, None] ** 0.1 * noise)
    slope = slope_contrast(np.log(sizes))

    statistic, groups = log_means_and_spreads(values, np.arange(clusters))
    found = bootstrap(lambda w: np.tensordot(statistic(w), slope, (1, 0)), groups, resampling)
    return {
        "exponent of the mean": (0.15, *found[1:, 0]),
        "exponent of the spread": (0.1, *found[1:, 1]),
    }


def noise_scale(rng: np.random.Generator, clusters: int, resampling: Bootstrap) -> Intervals:
    """|mean|^2 / tr Sigma = 1 in 400 weights of unequal variance, as at an early checkpoint."""
    scales = np.linspace(0.2, 2, 400)
    mean = np.full(400, np.sqrt(np.square(scales).sum() / 400))
    tensors = mean + scales * rng.normal(size=(clusters, 400))
    found = bootstrap(*_signal_to_noise(tensors), resampling)
    return {"signal-to-noise ratio": (1.0, *found[1:, 0])}


def weak_noise_scale(rng: np.random.Generator, clusters: int, resampling: Bootstrap) -> Intervals:
    """|mean|^2 / tr Sigma = 1/20 in 40 weights: far below one standard deviation."""
    tensors = np.sqrt(1 / 20) + rng.normal(size=(clusters, 40))
    found = bootstrap(*_signal_to_noise(tensors), resampling)
    return {"signal-to-noise ratio": (1 / 20, *found[1:, 0])}


def _signal_to_noise(tensors: Array) -> tuple[WeightedStatistic, Clusters]:
    squares = np.square(tensors).sum(axis=1)
    products = (tensors @ tensors.sum(axis=0) - squares) / (len(tensors) - 1)
    expected = float(products.mean())
    return of_means(
        lambda means, _: signal_to_noise(means[0], means[1], expected)[None],
        np.stack([squares, products]),
        np.arange(len(tensors)),
    )


def sample_share(rng: np.random.Generator, clusters: int, resampling: Bootstrap) -> Intervals:
    """Share 0.7 of the samples, 20 orders per set: exact interval, and bootstrap over sets."""
    sets = np.arange(20 * clusters) % clusters
    norms = rng.normal(0, np.sqrt(0.7), size=clusters)[sets] + np.sqrt(0.3) * rng.normal(
        size=len(sets)
    )
    by_set = norms.reshape(20, clusters)
    within = by_set.var(axis=0, ddof=1)

    def share(weights: Array) -> Array:
        of_sets = weights[..., :clusters]
        total = of_sets.sum(axis=-1)
        means = by_set.mean(axis=0)
        centre = of_sets @ means / total
        between = (of_sets @ means**2 / total - centre**2) * total / (total - 1)
        inside = of_sets @ within / total
        return np.asarray(((between - inside / 20) / (between + inside * 19 / 20))[None])

    found = bootstrap(share, sets, resampling)
    return {
        "sample share, exact": (0.7, *analyse_variance(norms, sets).interval(0.95)),
        "sample share, bootstrap": (0.7, *found[1:, 0]),
    }


SIMULATIONS: tuple[tuple[str, Callable[..., Intervals], tuple[int, ...]], ...] = (
    ("Gaussian", Norms(stats.norm(500, 25)), (8, 16, 40, 200, 1000)),
    ("gamma 16", Norms(stats.gamma(16)), (40, 200, 1000)),
    ("gamma 4", Norms(stats.gamma(4)), (40, 200, 1000)),
    ("lognormal", Norms(stats.lognorm(0.25)), (40, 200, 1000)),
    ("logistic", Norms(stats.logistic(10, 1)), (40, 200, 1000)),
    ("paired batch sizes", paired_slopes, (40, 200, 1000)),
    ("signal as strong as noise", noise_scale, (40, 200)),
    ("weak signal", weak_noise_scale, (40, 200)),
    ("sample sets", sample_share, (10,)),
)


def measure_coverage(repetitions: int, resamples: int) -> Iterator[Coverage]:
    """Coverage of every interval on simulated data whose truth is known."""
    # Intervals that the package refuses are measured as well: they are why it refuses them.
    limits.MINIMUM_CLUSTERS = 2
    for data, simulate, counts in SIMULATIONS:
        for clusters in counts:
            inside: dict[str, list[bool]] = {}
            for seed in range(repetitions):
                resampling = Bootstrap(resamples, 0.95, (seed, 1))
                drawn = simulate(np.random.default_rng((seed, clusters)), clusters, resampling)
                for name, (truth, low, high) in drawn.items():
                    if np.isfinite([low, high]).all():
                        inside.setdefault(name, []).append(low <= truth <= high)
            for name, results in inside.items():
                share = float(np.mean(results))
                error = float(np.sqrt(share * (1 - share) / len(results)))
                yield Coverage(name, data, clusters, share, error, len(results))


# Curvatures and weights of drift terms; the last is a broad spectrum.
SPECTRA: dict[str, tuple[Array, Array]] = {
    "one curvature": (np.array([3.3]), np.ones(1)),
    "three curvatures": (np.array([0.35, 11.0, 180.0]), np.array([1.0, 0.7, 0.5])),
    "forty curvatures": (np.geomspace(0.01, 500, 40), np.ones(40)),
}


def measure_rejections(repetitions: int, trials: int) -> Iterator[tuple[str, Array]]:
    """P-values of the lack of fit of a relaxation law that holds, batch sizes correlated."""
    sizes = np.array([1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 256, 512, 1024], dtype=np.float64)
    columns, spread = relaxation_basis(sizes, 1024), np.linspace(0.05, 0.15, 15)[:, None]
    distance = np.abs(np.subtract.outer(np.arange(15), np.arange(15)))
    root = np.linalg.cholesky(0.97**distance)
    for name, (curvatures, weights) in SPECTRA.items():
        x = curvatures / sizes[:, None]
        curve = (-np.expm1(-x) / x) ** 2 @ weights
        p_values = np.empty(repetitions)
        for seed in range(repetitions):
            noise = root @ np.random.default_rng((seed, trials)).normal(size=(15, trials))
            squares = curve[:, None] * (1 + spread * noise)
            found = jackknife(lambda w, s=squares: (w @ s.T).T / w.sum(-1), np.arange(trials))  # type: ignore[misc]
            p_values[seed] = found.combine(columns)
        yield name, p_values


# Claims whose wrong verdict each simulated truth can give. Beyond the margin is as good as at it:
# the limit from above, where a claim has just become true.
OF_MARGIN = (1, 3, 4, 5, 7)
TRUTHS = {
    "no effect": (False, "reproduced", tuple(range(1, 8))),
    "at the margin": (True, "reproduced", tuple(range(1, 8))),
    "just beyond it": (True, "not reproduced", OF_MARGIN),
}
# Weight of a logistic quantile function beside the Gaussian one that adds 0.022 to L-kurtosis:
# L-moments are linear in it, with lambda_2 = 0.5642 and 1 and lambda_4 = 0.0692 and 1/6.
HEAVIER = (0.0692 - (0.1226 + TAIL_MARGIN) * 0.5642) / (0.1226 + TAIL_MARGIN - 1 / 6)


SIMULATED_TRIALS = 60


def simulated_experiment(rng: np.random.Generator, trials: int, effect: bool) -> list[PairedTrials]:
    """All that the claims of the default run are judged by: without any effect, or at the margin.

    At the margin the last batch size has a mean and a spread 10 % above the others and tails that
    are heavier by the margin of claim 5, the first checkpoint means 10 % above the second, and the
    samples half of the variance.
    """
    sizes = EXPERIMENT.protocols["sgd"].batch_sizes
    last = np.arange(len(sizes)) == len(sizes) - 1
    found = []
    for epoch in EXPERIMENT.checkpoints:
        u = stats.norm.cdf(0.8 * rng.normal(size=trials) + 0.6 * rng.normal(size=(15, trials)))
        noise = stats.norm.ppf(u)
        curve, spread = np.ones(15), np.full(15, 0.03)
        if effect:
            heavy = noise[-1] + HEAVIER * stats.logistic.ppf(u[-1])
            noise[-1] = heavy / math.sqrt(_variance_of_heavy())
            curve = np.where(last, 1.1, 1.0) * (1.1 if epoch == EXPERIMENT.checkpoints[0] else 1.0)
            spread = np.where(last, 1.1, 1.0) * spread
        norms = 100 * curve[:, None] * (1 + spread[:, None] * noise)
        found.append(make_paired(norms, sizes, epoch=epoch))
    for epoch in EXPERIMENT.checkpoints:
        sets = rng.normal(size=(3, 10))[:, np.arange(200) % 10]
        norms = 100 + sets + rng.normal(size=(3, 200))
        found.append(
            make_paired(norms, (1, 4, 8), protocol="sgd_reordered", epoch=epoch, sample_sets=10)
        )
    return found


@cache
def _variance_of_heavy() -> float:
    """Of the Gaussian quantile function with the logistic one added."""

    def squared(u: float) -> float:
        return float((stats.norm.ppf(u) + HEAVIER * stats.logistic.ppf(u)) ** 2)

    return float(integrate.quad(squared, 0, 1)[0])


def measure_verdicts(repetitions: int, trials: int) -> Iterator[tuple[str, float]]:
    """Share of simulated experiments with at least one wrong verdict."""
    for name, (effect, wrong, claims) in TRUTHS.items():
        errors = 0
        for seed in range(repetitions):
            rng = np.random.default_rng((seed, trials))
            table = judge(simulated_experiment(rng, trials, effect), Bootstrap(2, 0.95, (0,)))
            errors += bool((table["claim"].isin(claims) & (table["verdict"] == wrong)).any())
        yield name, errors / repetitions


def main() -> None:
    """Measure, print, and keep the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["speed", "coverage", "fit", "claims"])
    parser.add_argument("--repetitions", type=int, default=2000, help="simulated data sets")
    parser.add_argument("--resamples", type=int, default=1000, help="of each interval")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    results: list[dict[str, object]] = []
    if arguments.what == "speed":
        results.append({**measure_speed()})
        print("\n".join(f"{name:40} {value:10.3f}" for name, value in results[0].items()))
    elif arguments.what == "fit":
        for trials in (40, 200, 1000):
            for name, p_values in measure_rejections(arguments.repetitions, trials):
                shares = {level: float(np.mean(p_values < level)) for level in (0.05, 0.1, 0.5)}
                results.append({"law": name, "trials": trials, "rejected": shares})
                print(f"{name:20} {trials:5}", *(f"{share:7.1%}" for share in shares.values()))
    elif arguments.what == "claims":
        for truth, share in measure_verdicts(arguments.repetitions, SIMULATED_TRIALS):
            results.append({"truth": truth, "trials": SIMULATED_TRIALS, "wrong": share})
            print(f"{truth:20} {share:7.1%}", flush=True)
    else:
        for item in measure_coverage(arguments.repetitions, arguments.resamples):
            results.append(asdict(item))
            print(
                f"{item.statistic:26} {item.data:26} {item.clusters:5} "
                f"{item.coverage:6.1%} +- {item.standard_error:.1%} ({item.repetitions})",
                flush=True,
            )
    if arguments.json:
        facts = {"date": datetime.now(UTC).date().isoformat(), "machine": platform.processor()}
        arguments.json.write_text(json.dumps({**facts, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
