"""Random edits, faults, kills and runs of the whole workflow, and what has to hold at their end."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

import gradatlas
from gradatlas.archive.format import DATASETS
from gradatlas.archive.read import Selection
from gradatlas.archive.verify import verify
from tests.workflow.smallest import EXPERIMENT, finish, run, start, write_data
from tests.workflow.watch import Watch

# Values of every setting that a step may change; the first of each is that of the beginning.
CHOICES: dict[str, tuple[Any, ...]] = {
    "training.learning_rate": (0.01, 0.02),
    "training.momentum": (0.0, 0.5),
    "training.checkpoints": ([1], [1, 2], [0, 1]),
    "seed": (0, 1),
    "seeds": ([0], [0, 1]),
    "model.hidden": ([4], [3]),
    "gradients.batch_sizes": ([5, 16], [16], [5, 8, 16]),
    "gradients.trials": (6, 4, 9),
    "gradients.trials_per_job": (6, 4, 20),
    "gradients.protocols.sgd.learning_rate": (0.01, 0.1),
    "statistics.bootstrap": (100, 120),
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# They say how trials are split into shards, which depends on what was there; what the atlas reads
# does not. The rest is compared byte by byte.
OF_SHARDS = ("gradients", ".made", "gradients.h5", "gradients.h5.sha256")
PATIENCE = 25.0  # seconds until a kill at most


def configuration(chosen: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The smallest experiment with one value of every setting."""
    config = deepcopy(EXPERIMENT) | {"data": {"name": "Letters", "root": str(folder)}}
    for name, value in chosen.items():
        *above, key = name.split(".")
        place = config
        for part in above:
            place = place[part]
        place[key] = value
    return config


def set_up_and_run(folder: Path, chosen: Mapping[str, Any]) -> None:
    """Run the workflow in a folder of its own, where there is nothing yet."""
    write_data(folder / "letters")
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration(chosen, folder)))
    finish(folder)


class Sequence:
    """One folder, changed and run again and again."""

    def __init__(self, top: Path, seed: int) -> None:
        """Sequences with the same ``top`` begin with copies of one run."""
        self._chance = random.Random(seed)  # noqa: S311 - not for secrets
        self._beginning, self._fresh = top / "beginning", top / f"fresh{seed}"
        self._folder = top / f"place{seed}"
        self._chosen = {name: values[0] for name, values in CHOICES.items()}
        self._before: list[tuple[str, Any]] = []
        self._watch = Watch(self._folder / "results")
        self._kinds: dict[str, tuple[int, Callable[[], str]]] = {
            "edit": (4, self._edit),
            "undo": (2, self._undo),
            "remove": (2, self._remove),
            "truncate": (2, self._truncate),
            "move": (1, self._move),
            "kill": (2, self._kill),
            "run": (1, self._run),
        }
        self.steps: list[str] = []  # what was done, in words

    def play(self, steps: int) -> list[str]:
        """Run to the end, take random steps, run again; what is wrong at the end, in words.

        Args:
            steps: Number of steps between the first run and the last.
        """
        if not self._beginning.exists():
            set_up_and_run(self._beginning, self._chosen)
        shutil.copytree(self._beginning, self._folder)
        weights = [weight for weight, _ in self._kinds.values()]
        for kind in self._chance.choices([*self._kinds], weights, k=steps):
            self.steps.append(f"{kind} {self._kinds[kind][1]()}".strip())
        self._run()
        plan = run(self._folder, "--dry-run")[1]
        left = [] if "Nothing to be done" in plan else [f"left to do: {plan[-500:]}"]
        return [*left, *self._watch.removed, *self._differences()]

    def _run(self) -> str:
        self._prepare()
        finish(self._folder)
        self._watch.look()
        return ""

    def _prepare(self) -> None:
        """Write the configuration, and unlock the folder where Snakemake was killed."""
        text = yaml.safe_dump(configuration(self._chosen, self._folder))
        (self._folder / "config.yaml").write_text(text)
        if any((self._folder / ".snakemake" / "locks").glob("*")):
            run(self._folder, "--unlock")
        self._watch.look()

    def _edit(self) -> str:
        name = self._chance.choice([*CHOICES])
        self._before.append((name, self._chosen[name]))
        others = [value for value in CHOICES[name] if value != self._chosen[name]]
        self._chosen[name] = self._chance.choice(others)
        return f"{name} to {self._chosen[name]}"

    def _undo(self) -> str:
        if not self._before:
            return "nothing"
        name, self._chosen[name] = self._before.pop()
        return f"{name} to {self._chosen[name]}"

    def _any_file(self) -> Path:
        """Any file of the results but logs and timings, which need not stay from now on."""
        root = self._folder / "results"
        files = [path for path in root.rglob("*") if path.is_file() and not _is_log(path, root)]
        path = self._chance.choice(sorted(files))
        self._watch.look()
        self._watch.forget([path])
        return path

    def _remove(self) -> str:
        path = self._any_file()
        path.unlink()
        return str(path.relative_to(self._folder))

    def _truncate(self) -> str:
        path = self._any_file()
        size = path.stat().st_size
        os.truncate(path, self._chance.randrange(max(size, 1)))
        return f"{path.relative_to(self._folder)} from {size} to {path.stat().st_size} bytes"

    def _move(self) -> str:
        """To another place, where all files are as old as each other."""
        self._watch.look()
        self._folder = self._folder.rename(self._folder.with_name(f"{self._folder.name}-moved"))
        for path in (self._folder / "results").rglob("*"):
            os.utime(path, (1, 1))
        self._watch.move(self._folder / "results")
        return ""

    def _kill(self) -> str:
        """Both Snakemake and its jobs, at any moment."""
        self._prepare()
        moment, signal_ = self._chance.uniform(3, PATIENCE), self._chance.choice(SIGNALS)
        begun = time.monotonic()
        with start(self._folder, output=subprocess.DEVNULL) as process:
            while process.poll() is None and time.monotonic() - begun < moment:
                self._watch.look()
                time.sleep(0.1)
            if process.returncode is None:
                os.killpg(process.pid, signal_)
        self._watch.look()
        return f"by {signal_.name} after {moment:.0f} s"

    def _differences(self) -> list[str]:
        """In what the results differ from those of a run of the same configuration alone."""
        set_up_and_run(self._fresh, self._chosen)
        found, expected = self._folder / "results", self._fresh / "results"
        names = [path.relative_to(expected) for path in expected.rglob("*") if path.is_file()]
        different = [
            f"{name} is different"
            for name in names
            if not {*OF_SHARDS, "logs", "benchmarks"} & {*name.parts}
            and _bytes(found / name) != _bytes(expected / name)
        ]
        atlases = [name for name in names if name.name == "gradients.h5"]
        return different + [
            difference for name in atlases for difference in _compare(found / name, expected / name)
        ]


def _is_log(path: Path, root: Path) -> bool:
    return path.relative_to(root).parts[0] in ("logs", "benchmarks")


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _compare(atlas: Path, expected: Path) -> list[str]:
    """What an atlas shows and another one does not, and damage of it or its shards."""
    found, wanted = gradatlas.open(atlas).selections, gradatlas.open(expected).selections
    if [item.settings for item in found] != [item.settings for item in wanted]:
        return [f"{atlas} has other batch sizes or settings"]
    different = [
        f"{name} of {one.protocol}, epoch {one.epoch}, batch size {one.batch_size} is different"
        for one, other in zip(found, wanted, strict=True)
        for name in ("trial", *DATASETS)
        if not np.array_equal(_values(one, name), _values(other, name))
    ]
    return different + [str(finding) for finding in verify(atlas) if finding.is_damage]


def _values(selection: Selection, name: str) -> NDArray[Any]:
    if name == "trial":
        return selection.trials
    return selection.rows(name, selection.first, selection.last)
