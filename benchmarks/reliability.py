"""Put the workflow to bad configurations, faults and kills, and report what came of it.

Seven campaigns:

- ``configurations``: configurations mutated at random go through the check that every run makes;
- ``planning``: some of them go through a real ``snakemake --dry-run``;
- ``disk``: it runs on a file system that is too small, again and again, each time a little larger
  (needs the right to mount one);
- ``kills``: the smallest experiment runs again and again while jobs, Snakemake, or both are killed
  at random moments. All the while no checkpoint, shard or digest that was complete may be gone or
  different; after every kill all files under a final name are compared, byte by byte, with those
  of an undisturbed run; at the end the workflow has to complete;
- ``flips``: single bits are flipped at random in each kind of file of a finished experiment, and
  what reads or plans it has to notice;
- ``states``: random sequences of edits, faults and runs on the planning alone, the machine of
  ``tests/test_planning_states.py``;
- ``sequences``: the same through Snakemake; at the end of each the results are compared with those
  of a fresh run.

Usage: PYTHONPATH=. python benchmarks/reliability.py [configurations] [planning] [disk] [kills]
           [flips] [states] [sequences] [--configurations 1000] [--plans 50] [--kills 100]
           [--flips 200] [--states 1000] [--sequences 20] [--minutes 60] [--seed 0] [--json FILE]
"""

import argparse
import hashlib
import itertools
import json
import os
import platform
import random
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from tqdm import tqdm

import gradatlas
from gradatlas import planning
from gradatlas.archive import open_shards
from gradatlas.core.configuration import Experiment, read_experiment
from gradatlas.core.errors import InputError
from gradatlas.core.stamps import altered_files, read_stamp
from gradatlas.data.idx import data_digest, idx_paths
from gradatlas.planning import plan_shards
from gradatlas.train.checkpoint import optimizer_path, read_arrays
from tests.mutations import mutated
from tests.test_planning_states import STEPS, Maker, run_examples
from tests.workflow.sequences import Sequence
from tests.workflow.smallest import ROOT, descendants, finish, run, set_up, start
from tests.workflow.watch import Watch

SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
DEFAULT: dict[str, Any] = {**yaml.safe_load((ROOT / "config.yaml").read_text()), "seeds": [0, 1]}
# Enough trials for a shard to take a moment to write.
GRADIENTS = {"trials": 4000, "trials_per_job": 4000, "batch_sizes": [1, 16]}
TRAINING = {"momentum": 0.9, "checkpoints": [1, 2]}
SECONDS_BETWEEN_LOOKS = 0.02
CAMPAIGNS = ("configurations", "planning", "disk", "kills", "flips", "states", "sequences")
VICTIMS = ("job", "snakemake", "both")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def mutated_configurations(count: int, seed: int) -> list[dict[str, Any]]:
    """Configurations with one to three entries replaced, removed or added."""
    drawn: list[dict[str, Any]] = []

    @hypothesis_seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(mutated(DEFAULT))
    def draw(config: dict[str, Any]) -> None:
        drawn.append(config)

    draw()
    return drawn


def check_configurations(configurations: list[dict[str, Any]]) -> dict[str, int]:
    """Count what the check says: a sentence, an experiment, or a traceback."""
    outcomes: Counter[str] = Counter()
    for config in tqdm(configurations, desc="configurations"):
        outcomes[_outcome(config)] += 1
    return dict(outcomes)


def _outcome(config: dict[str, Any]) -> str:
    try:
        experiment = read_experiment(config, SCHEMA)
        for protocol in experiment.protocols.values():
            plan_shards(protocol.trials, experiment.trials_per_job)
    except InputError as error:
        return "refused in one sentence" if "\n" not in str(error) else "refused in several lines"
    except Exception as error:  # noqa: BLE001 - counting them is the purpose
        return f"traceback: {type(error).__name__}: {error}"
    return "accepted"


def plan_configurations(configurations: list[dict[str, Any]]) -> dict[str, int]:
    """Count what Snakemake prints on a dry run of each configuration."""
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as directory:
        for config in tqdm(configurations, desc="dry runs"):
            (Path(directory) / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
            status, output = run(Path(directory), "--dry-run", "--quiet")
            outcomes[_verdict(status, output)] += 1
    return dict(outcomes)


def _verdict(status: int, output: str) -> str:
    if "Traceback" in output:
        return f"traceback: {output.splitlines()[-1]}"
    if status == 0:
        return "planned"
    error = re.search(r"^(configuration|data): .+", output, re.MULTILINE)
    return "refused in one sentence" if error else f"refused otherwise: {output[-200:]}"


def results(directory: Path) -> dict[str, str]:
    """SHA-256 of every file under a final name but logs and timings, by path."""
    folder = directory / "results"
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in _files(folder)
        if path.relative_to(folder).parts[0] not in ("logs", "benchmarks")
        and not path.name.endswith(".partial")
    }


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def _set_up(directory: Path) -> None:
    """The smallest experiment with what it takes for every kind of file and a moment to write."""
    set_up(directory, GRADIENTS)
    path = directory / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["training"] |= TRAINING
    path.write_text(yaml.safe_dump(config))


class Kills:
    """The smallest experiment under kills, compared with an undisturbed run."""

    def __init__(self, directory: Path, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - not for secrets
        self._undisturbed, self._disturbed = directory / "undisturbed", directory / "disturbed"
        self._counts: Counter[str] = Counter()
        self._findings: list[str] = []
        self._watches: list[Watch] = []
        self._expected: dict[str, str] = {}
        self._longest = 0.0  # seconds until a kill

    def run(self, count: int, minutes: float) -> dict[str, Any]:
        """Kill so many times, or for so long, then let the workflow complete."""
        self._prepare()
        begun = time.monotonic()
        with tqdm(total=count, desc="kills", unit="kill") as progress:
            while progress.n < count and time.monotonic() - begun < 60 * minutes:
                what = self._once(self._chance.uniform(1, self._longest))
                progress.update(what.startswith("killed"))
                if what == "completed":
                    self._start_over()
        return self._finish()

    def _prepare(self) -> None:
        for folder in (self._undisturbed, self._disturbed):
            _set_up(folder)
        begun = time.monotonic()
        finish(self._undisturbed)
        self._longest = (time.monotonic() - begun) / 8
        self._expected = results(self._undisturbed)
        self._watches.append(Watch(self._disturbed / "results"))

    def _once(self, limit: float | None) -> str:
        """Run until a kill, and say of every file that is not as it has to be."""
        _unlock(self._disturbed)
        what = run_and_kill(self._disturbed, self._chance, limit, self._watches[-1])
        self._counts[what] += 1
        found = _differences(self._disturbed, self._expected)
        self._findings += [f"{what}: {item}" for item in found]
        return what

    def _start_over(self) -> None:
        """Remove everything, or each file with a probability, and what is left must stay."""
        share = self._chance.choice([1.0, 0.5, 0.2])
        for path in _files(self._disturbed / "results"):
            if self._chance.random() < share:
                path.unlink()
        self._watches.append(Watch(self._disturbed / "results"))
        self._watches[-1].look()

    def _finish(self) -> dict[str, Any]:
        what = self._once(None)
        return {
            "kills": dict(self._counts),
            "completed at the end": what == "completed"
            and results(self._disturbed) == self._expected,
            "left to do after that": "Nothing to be done" not in run(self._disturbed, "-n")[1],
            "files compared": len(self._expected),
            "looks": sum(watch.looks for watch in self._watches),
            "corrupt or lost": self._findings,
            "removed": [item for watch in self._watches for item in watch.removed],
        }


def run_and_kill(
    directory: Path, chance: random.Random, limit: float | None, watch: Watch, *arguments: str
) -> str:
    """Start the workflow, kill at a moment, and look all the time at what was complete.

    Args:
        directory: Working folder.
        chance: Draws whom to kill, and by which signal.
        limit: Seconds until the kill; None for none.
        watch: Looks at the results folder.
        arguments: Further arguments for Snakemake.

    Returns:
        What was killed, "completed", or how it failed.
    """
    victim, signal_ = chance.choice(VICTIMS), chance.choice(SIGNALS)
    begun, killed, log = time.monotonic(), False, directory / "output.log"
    # A file, as a job that outlives Snakemake would hold a pipe open.
    with log.open("w") as output, start(directory, *arguments, output=output) as process:
        while process.poll() is None:
            watch.look()
            if limit is not None and not killed and time.monotonic() - begun > limit:
                killed = _kill(process, victim, signal_)  # where there is no job, tried again
            time.sleep(SECONDS_BETWEEN_LOOKS)
    watch.look()
    if killed:
        return f"killed {victim} by {signal_.name}"
    return "completed" if process.returncode == 0 else f"failed: {log.read_text()[-300:]}"


def _kill(process: subprocess.Popen[str], victim: str, signal_: signal.Signals) -> bool:
    jobs = descendants(process.pid)
    if victim == "both":
        os.killpg(process.pid, signal_)
    elif victim == "snakemake":
        process.send_signal(signal_)
    elif jobs:
        os.kill(jobs[-1], signal_)
    return victim != "job" or bool(jobs)


def _unlock(directory: Path) -> None:
    """What the user types after Snakemake was killed."""
    locks = directory / ".snakemake" / "locks"
    if locks.exists() and any(locks.iterdir()):
        run(directory, "--unlock")


def flip_bits(count: int, seed: int, directory: Path) -> dict[str, dict[str, int]]:
    """Flip single bits in each kind of file, and count how often that is noticed."""
    _set_up(directory)
    finish(directory, "all", "results/gradients_export.h5")
    with chdir(directory):
        config = yaml.safe_load(Path("config.yaml").read_text())
        experiment = planning.complete(planning.read(config, ROOT), ROOT)
        return {
            f"{kind} ({path})": _noticed(Path(path), count, random.Random(seed), is_noticed)  # noqa: S311
            for kind, path, is_noticed in _kinds(experiment)
        }


def _kinds(experiment: Experiment) -> Iterator[tuple[str, str, Callable[[Path], object]]]:
    """A file of each kind, and what returns true or raises InputError where it is altered."""
    checkpoint = list(planning.wanted_checkpoints(experiment))[-1]
    shard = next(iter(planning.wanted_shards(experiment)))
    images = idx_paths(planning.data_folder(experiment, ROOT))["train_images"]
    data = planning.data_folder(experiment, ROOT)
    before = data_digest(data, experiment.dataset)

    def of_job(path: Path) -> bool:
        return str(path) in altered_files(planning.stamps(experiment))

    yield "checkpoint", checkpoint, read_arrays
    yield "optimizer's memory", str(optimizer_path(Path(checkpoint))), read_arrays
    yield "digest of a checkpoint", f"{checkpoint}.sha256", lambda _: read_arrays(Path(checkpoint))
    yield "shard", shard, lambda path: open_shards([path])
    yield "digest of a shard", f"{shard}.sha256", lambda _: open_shards([Path(shard)])
    yield "atlas", "results/gradients.h5", gradatlas.open
    yield "export", "results/gradients_export.h5", gradatlas.open
    yield "row of statistics", "results/statistics/sgd/epoch2/batch16.json", of_job
    yield "maps of statistics", "results/statistics/sgd/epoch2/batch16.h5", of_job
    yield "table", "results/claims.csv", of_job
    yield "figure", "results/figures/moments.png", of_job
    yield "page", "results/figures/norm_distribution.html", of_job
    stamp = read_stamp(Path("results/.made/claims.json"))
    yield "stamp", "results/.made/claims.json", lambda path: read_stamp(path) != stamp
    yield "data", str(images), lambda _: data_digest(data, experiment.dataset) != before


def _noticed(
    path: Path, count: int, chance: random.Random, is_noticed: Callable[[Path], object]
) -> dict[str, int]:
    content, outcomes = path.read_bytes(), Counter[str]()
    if is_noticed(path) is True:
        raise SystemExit(f"{path} counts as altered before it is")
    for _ in range(count):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            outcomes["noticed" if is_noticed(path) is True else "not noticed"] += 1
        except InputError:
            outcomes["refused in one sentence"] += 1
        except Exception as error:  # noqa: BLE001 - counting them is the purpose
            outcomes[f"traceback: {type(error).__name__}"] += 1
    path.write_bytes(content)
    return dict(outcomes)


def try_states(count: int, seed: int) -> dict[str, Any]:
    """Put the planning to random sequences of steps; what failed, if one did."""
    maker, begun = Maker(), time.monotonic()
    try:
        run_examples(maker, count, seed=seed, database=None, suppress_health_check=[*HealthCheck])
        failure = ""
    except Exception as error:  # noqa: BLE001 - reporting it is the purpose
        failure = f"{type(error).__name__}: {error}; {' '.join(error.__notes__)}"
    finally:
        maker.close()
    return {
        "examples": count,
        "steps of each": f"up to {STEPS}",
        "failed": failure,
        "seconds": round(time.monotonic() - begun),
    }


def try_sequences(count: int, minutes: float, steps: int, seed: int) -> dict[str, Any]:
    """Put the workflow to random sequences of steps, for so many of them or so long."""
    begun = time.monotonic()
    findings: list[dict[str, Any]] = []
    kinds: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        tqdm(total=count, desc="sequences", unit="sequence") as progress,
    ):
        for number in range(seed, seed + count):
            if time.monotonic() - begun > 60 * minutes:
                break
            sequence = Sequence(Path(directory), number)
            found = _play(sequence, steps)
            kinds.update(step.partition(" ")[0] for step in sequence.steps)
            tqdm.write(f"{sequence.steps}: {found or 'as a fresh run'}")
            if found:
                findings.append({"seed": number, "steps": sequence.steps, "found": found})
            progress.update()
        return {"sequences": progress.n, "steps": dict(kinds), "found": findings}


def _play(sequence: Sequence, steps: int) -> list[str]:
    try:
        return sequence.play(steps)
    except Exception as error:  # noqa: BLE001 - as above
        return [f"{type(error).__name__}: {str(error)[-2000:]}"]


def fill_disk(directory: Path, step: int) -> dict[str, Any]:
    """Run on a disk that is too small, then grow it a little, until the workflow completes.

    Args:
        directory: Where the experiments go.
        step: By how many bytes the disk grows after each failure.
    """
    undisturbed, disturbed = directory / "undisturbed", directory / "disturbed"
    for folder in (undisturbed, disturbed):
        set_up(folder, GRADIENTS)
    status, output = run(undisturbed)
    if status != 0:
        raise SystemExit(output)
    expected, disk = results(undisturbed), disturbed / "results"
    disk.mkdir()
    _mount(disk, f"size={step}")
    outcomes: Counter[str] = Counter()
    findings: list[str] = []
    try:
        for size in itertools.count(step, step):
            _mount(disk, f"remount,size={size}")
            status, output = run(disturbed)
            findings += [f"{size} bytes: {item}" for item in _differences(disturbed, expected)]
            if status == 0:
                break
            outcomes[_disk_verdict(output)] += 1
        return {
            "disks too small": dict(outcomes),
            "identical at the end": results(disturbed) == expected,
            "corrupt": findings,
        }
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _mount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=True)


def _disk_verdict(output: str) -> str:
    sentence = re.search(r"error: (.*No space left on device.*)", output)
    traceback = "Traceback" in output
    if sentence and not traceback:
        return "refused in one sentence"
    return f"{'traceback' if traceback else 'no sentence'}: {output[-600:]}"


def _differences(directory: Path, expected: dict[str, str]) -> list[str]:
    """Files under a final name that are not what an undisturbed run writes."""
    return [
        f"{path} differs" if path in expected else f"{path} is unexpected"
        for path, digest in results(directory).items()
        if expected.get(path) != digest
    ]


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("campaigns", nargs="*", default=CAMPAIGNS)
    parser.add_argument("--configurations", type=int, default=1000)
    parser.add_argument("--plans", type=int, default=50)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--flips", type=int, default=200, help="in each kind of file")
    parser.add_argument("--states", type=int, default=1000)
    parser.add_argument("--sequences", type=int, default=20)
    parser.add_argument("--steps", type=int, default=8, help="of a sequence")
    parser.add_argument(
        "--minutes", type=float, default=60, help="longest time for the kills, and the sequences"
    )
    parser.add_argument("--growth", type=int, default=96 * 1024, help="bytes the disk grows by")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Run the campaigns that were asked for."""
    chosen = arguments()
    # A shell has what it starts in the background ignore this, and so would all that is started.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    report: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "seed": chosen.seed,
    }
    if {"configurations", "planning"} & {*chosen.campaigns}:
        configurations = mutated_configurations(chosen.configurations, chosen.seed)
    if "configurations" in chosen.campaigns:
        report["configurations"] = check_configurations(configurations)
    if "planning" in chosen.campaigns:
        report["planning"] = plan_configurations(configurations[: chosen.plans])
    if "disk" in chosen.campaigns:
        with tempfile.TemporaryDirectory() as directory:
            report["disk"] = fill_disk(Path(directory), chosen.growth)
    if "kills" in chosen.campaigns:
        with tempfile.TemporaryDirectory() as directory:
            report["kills"] = Kills(Path(directory), chosen.seed).run(chosen.kills, chosen.minutes)
    if "flips" in chosen.campaigns:
        with tempfile.TemporaryDirectory() as directory:
            report["flips"] = flip_bits(chosen.flips, chosen.seed, Path(directory, "experiment"))
    if "states" in chosen.campaigns:
        report["states"] = try_states(chosen.states, chosen.seed)
    if "sequences" in chosen.campaigns:
        report["sequences"] = try_sequences(
            chosen.sequences, chosen.minutes, chosen.steps, chosen.seed
        )
    text = json.dumps(report, indent=1)
    print(text)
    if chosen.json:
        chosen.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
