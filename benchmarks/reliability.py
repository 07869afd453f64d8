"""Put the workflow to bad configurations and to kills, and report what came of it.

Four campaigns:

- ``configurations``: configurations mutated at random go through the check that every run makes;
- ``planning``: some of them go through a real ``snakemake --dry-run``;
- ``disk``: it runs on a file system that is too small, again and again, each time a little larger
  (needs the right to mount one);
- ``kills``: the smallest experiment runs again and again while jobs, Snakemake, or both are killed
  at random moments. After every kill all files under a final name are compared, byte by byte, with
  those of an undisturbed run; at the end the workflow has to complete.

Usage: PYTHONPATH=. python benchmarks/reliability.py [configurations] [planning] [disk] [kills]
           [--configurations 1000] [--plans 50] [--kills 100] [--minutes 60] [--seed 0]
           [--json FILE]
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
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from tqdm import tqdm

from gradatlas.core.configuration import read_experiment
from gradatlas.core.errors import InputError
from gradatlas.planning import plan_shards
from tests.mutations import mutated
from tests.workflow.smallest import ROOT, descendants, run, set_up, start

SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
DEFAULT: dict[str, Any] = {**yaml.safe_load((ROOT / "config.yaml").read_text()), "seeds": [0, 1]}
# Enough trials for a shard to take a moment to write.
GRADIENTS = {"trials": 4000, "trials_per_job": 2000, "batch_sizes": [1, 16]}
CAMPAIGNS = ("configurations", "planning", "disk", "kills")
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
    error = re.search(r"(\w+Error|\w+Exception) in file .*:\n(.+)", output)
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


def kill_at_random(directory: Path, count: int, minutes: float, seed: int) -> dict[str, Any]:
    """Run the smallest experiment under kills, and compare with an undisturbed run."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    undisturbed, disturbed = directory / "undisturbed", directory / "disturbed"
    for folder in (undisturbed, disturbed):
        set_up(folder, GRADIENTS)
    begun = time.monotonic()
    status, output = run(undisturbed)
    if status != 0:
        raise SystemExit(output)
    duration, expected = time.monotonic() - begun, results(undisturbed)
    counts: Counter[str] = Counter()
    findings: list[str] = []
    with tqdm(total=count, desc="kills", unit="kill") as progress:
        while progress.n < count and time.monotonic() - begun < 60 * minutes:
            what = _run_and_kill(disturbed, chance, duration / 3)
            counts[what] += 1
            progress.update(what.startswith("killed"))
            findings += [f"{what}: {item}" for item in _differences(disturbed, expected)]
            if what == "completed" and results(disturbed).keys() == expected.keys():
                _start_over(disturbed)
    status, output = _complete(disturbed)
    findings += [f"at the end: {item}" for item in _differences(disturbed, expected)]
    return {
        "kills": dict(counts),
        "completed at the end": status == 0 and results(disturbed) == expected,
        "left to do after that": "Nothing to be done" not in run(disturbed, "--dry-run")[1],
        "files compared": len(expected),
        "corrupt or lost": findings,
        "last output": "" if status == 0 else output[-2000:],
    }


def _run_and_kill(directory: Path, chance: random.Random, longest: float) -> str:
    """Start the workflow, kill at a random moment; what was killed, or "completed"."""
    _unlock(directory)
    victim, signal_ = chance.choice(VICTIMS), chance.choice(SIGNALS)
    log = directory / "output.log"
    # A file, as a job that outlives Snakemake would hold a pipe open.
    with log.open("w") as output, start(directory, output=output) as process:
        try:
            status = process.wait(timeout=chance.uniform(1, longest))
        except subprocess.TimeoutExpired:
            killed = _kill(process, victim, signal_)
            process.wait()
            return f"killed {victim} by {signal_.name}" if killed else "nothing to kill yet"
    return "completed" if status == 0 else f"failed: {log.read_text()[-300:]}"


def _kill(process: subprocess.Popen[str], victim: str, signal_: signal.Signals) -> bool:
    jobs = descendants(process.pid)
    if victim == "both":
        os.killpg(process.pid, signal_)
    elif victim == "snakemake":
        process.send_signal(signal_)
    elif jobs:
        os.kill(jobs[-1], signal_)
    return victim != "job" or bool(jobs)


def _complete(directory: Path) -> tuple[int, str]:
    _unlock(directory)
    return run(directory)


def _unlock(directory: Path) -> None:
    """What the user types after Snakemake was killed."""
    locks = directory / ".snakemake" / "locks"
    if locks.exists() and any(locks.iterdir()):
        run(directory, "--unlock")


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


def _start_over(directory: Path) -> None:
    for path in _files(directory / "results"):
        path.unlink()


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("campaigns", nargs="*", default=CAMPAIGNS)
    parser.add_argument("--configurations", type=int, default=1000)
    parser.add_argument("--plans", type=int, default=50)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=60, help="longest time for the kills")
    parser.add_argument("--step", type=int, default=96 * 1024, help="bytes the disk grows by")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Run the campaigns that were asked for."""
    chosen = arguments()
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
            report["disk"] = fill_disk(Path(directory), chosen.step)
    if "kills" in chosen.campaigns:
        with tempfile.TemporaryDirectory() as directory:
            report["kills"] = kill_at_random(
                Path(directory), chosen.kills, chosen.minutes, chosen.seed
            )
    text = json.dumps(report, indent=1)
    print(text)
    if chosen.json:
        chosen.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
