"""Any sequence of edits, faults and runs: what planning says of a results folder stays right.

A machine of random steps on a folder of the smallest experiment, without Snakemake: a run makes
what is planned and missing as the rules do. What a run wrote once is kept and written again
instead of computed; only where something lies under the name already does the job itself decide.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import seed as hypothesis_seed
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gradatlas import planning
from gradatlas.archive.read import read_archive
from gradatlas.collect.shard import collect
from gradatlas.core.configuration import Experiment, read_experiment
from gradatlas.core.files import PARTIAL_SUFFIX, file_digest
from gradatlas.core.provenance import read_facts
from gradatlas.core.settings import TrialRange, TrialSettings
from gradatlas.train.checkpoint import is_whole_checkpoint
from gradatlas.train.job import run as train
from tests.workflow.smallest import EXPERIMENT, write_data

STEPS = 12  # of one example

# Values of every setting that a step may change; the first of each is that of the beginning.
CHOICES: dict[str, tuple[Any, ...]] = {
    "training.learning_rate": (0.01, 0.02),
    "training.momentum": (0.0, 0.5),
    "training.checkpoints": ([1], [0, 1], [1, 2], [2]),
    "seed": (0, 1),
    "seeds": ([0], [0, 1], [1]),
    "model.hidden": ([4], [3]),
    "gradients.batch_sizes": ([5, 16], [16], [5, 8, 16]),
    "gradients.trials": (6, 4, 9, 12),
    "gradients.trials_per_job": (6, 2, 5, 20),
    "gradients.protocols.sgd.learning_rate": (0.01, 0.1),
    "data_sha256": ("1" * 64, "2" * 64),
    "training_code": ("3" * 64, "4" * 64),
    "collection_code": ("5" * 64, "6" * 64),
}
Setting = tuple[tuple[str, str], ...]  # hashable: names and representations


class File(NamedTuple):
    """Something costly that the experiment wants, and the files that belong to it."""

    path: str
    record: TrialSettings
    files: tuple[str, ...]  # in the order in which their job gives them their names


@cache
def _experiment(chosen: Setting, schema: Path) -> Experiment:
    """The experiment of one value of every setting."""
    config: dict[str, Any] = deepcopy(EXPERIMENT)
    config["gradients"]["protocols"]["frozen"] = {"update": "none", "batch_sizes": [16]}
    completed: dict[str, Any] = {}
    for name, text in chosen:
        value = next(value for value in CHOICES[name] if repr(value) == text)
        *above, key = name.split(".")
        place = completed if key.endswith(("_sha256", "_code")) else config
        for part in above:
            place = place[part]
        place[key] = value
    plain = read_experiment(config, schema)
    protocols = {
        name: replace(protocol, settings=replace(protocol.settings, **completed))
        for name, protocol in plain.protocols.items()
    }
    return replace(plain, protocols=protocols)


def wanted(of: Experiment) -> list[File]:
    """Checkpoints, then shards, in an order in which they can be made."""
    momentum = of.training.momentum > 0
    checkpoints = [
        File(path, record, _in_order_of_writing(path, momentum))
        for path, record in planning.wanted_checkpoints(of).items()
    ]
    shards = [
        File(path, record, tuple(planning.shard_files(path)))
        for path, record in planning.wanted_shards(of).items()
    ]
    return checkpoints + shards


def _in_order_of_writing(checkpoint: str, momentum: bool) -> tuple[str, ...]:
    weights, digest, table, *memory = planning.checkpoint_files(checkpoint, momentum=momentum)
    return (table, *memory, weights, digest)


def is_whole(file: File) -> bool:
    """What planning says of a file."""
    if file.path.endswith(".h5"):
        return planning.is_whole_shard(Path(file.path))
    momentum = file.record.training is not None and file.record.training.momentum > 0
    return is_whole_checkpoint(Path(file.path), momentum=momentum)


class Edit(NamedTuple):
    """An edit that may be undone."""

    name: str
    earlier: Any
    was_complete: bool  # nothing was planned before it, and nothing was damaged since


class Maker:
    """Makes checkpoints and shards by the functions behind the jobs, each of them once."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp())
        self.data = self._folder / "letters"
        write_data(self.data)
        self.schema = self._folder / "schema.yaml"
        self.schema.write_text("{}")  # that of the workflow takes longer to read than all the rest
        self._contents: dict[str, bytes] = {}

    def close(self) -> None:
        """Remove the data."""
        shutil.rmtree(self._folder)

    def make(self, file: File, of: Experiment) -> None:
        """Do what a file's job does in the working folder."""
        known = all(name in self._contents for name in file.files)
        if known and not any(map(os.path.lexists, file.files)):
            self.write(file, len(file.files))
        else:
            self._job(file, of)
            if is_whole(file):
                self._contents |= {name: Path(name).read_bytes() for name in file.files}

    def write(self, file: File, count: int) -> None:
        """Write the first of the files that a job was seen to make."""
        for name in file.files[:count]:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(self._contents[name])

    def begin(self, file: File, of: Experiment, count: int) -> None:
        """Do what the job of a missing file does until a kill: a part of its files, and half one.

        Args:
            file: What the job makes.
            of: The experiment that wants it.
            count: How many of its files have their names.
        """
        if not all(name in self._contents for name in file.files):
            self.make(file, of)
        for name in file.files[count:]:
            Path(name).unlink(missing_ok=True)
        self.write(file, count)
        half = Path(file.files[count])
        half.parent.mkdir(parents=True, exist_ok=True)
        half.with_name(f".{half.name}.0123456789abcdef.partial").write_bytes(b"half")

    def _job(self, file: File, of: Experiment) -> None:
        record = file.record
        if not file.path.endswith(".h5"):
            earlier = [epoch for epoch in of.checkpoints if epoch < record.epoch]
            before = planning.checkpoint_path(of, record.training_seed, max(earlier, default=0))
            train(
                Path(file.path),
                record.epoch,
                record.checkpoint,
                data=self.data,
                earlier=Path(before) if earlier else None,
                device="cpu",
            )
            return
        collect(
            Path(file.path),
            record,
            trials_of(file.path),
            checkpoint=Path(planning.checkpoint_path(of, record.training_seed, record.epoch)),
            data=self.data,
            device="cpu",
        )


@pytest.fixture(scope="module")
def maker() -> Iterator[Maker]:
    made = Maker()
    yield made
    made.close()


State = tuple[int, int, int]


def snapshot() -> dict[str, State]:
    """Every file of the results by what changes when it is written, replaced or touched."""
    return {
        f"{parent}/{name}": _state(f"{parent}/{name}")
        for parent, _, names in os.walk("results")
        for name in names
    }


def _state(path: str) -> State:
    status = Path(path).stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def trials_of(path: str) -> TrialRange:
    """The trials of a shard, by its name."""
    return TrialRange(*map(int, Path(path).stem.removeprefix("trials").split("-")))


@cache
def check_record(file: File, _: str) -> None:
    """What a file says of itself is what the experiment wants of it; once for every content."""
    path = Path(file.path)
    if file.path.endswith(".h5"):
        [source] = read_archive(path).sources
        samples = source.settings.training_samples
        assert source.settings == replace(file.record, training_samples=samples)
        assert source.trials == trials_of(file.path)
    else:
        facts = read_facts(path)
        assert (facts["facts"], facts["epoch"]) == (file.record.checkpoint, file.record.epoch)


class ResultsFolder(RuleBasedStateMachine):
    """A results folder under edits of the configuration, faults and runs."""

    def __init__(self, maker: Maker) -> None:
        super().__init__()
        self._maker = maker
        self._home = Path.cwd()
        self._top = Path(tempfile.mkdtemp())
        self._enter("place0")
        self._chosen = {name: values[0] for name, values in CHOICES.items()}
        self._before: list[Edit] = []
        self._moves = 0

    def _enter(self, name: str) -> None:
        place = self._top / name
        place.mkdir(exist_ok=True)
        os.chdir(place)

    def teardown(self) -> None:
        os.chdir(self._home)
        shutil.rmtree(self._top)

    @property
    def _experiment(self) -> Experiment:
        chosen = tuple((name, repr(self._chosen[name])) for name in CHOICES)
        return _experiment(chosen, self._maker.schema)

    def _there(self) -> set[str]:
        """Every whole checkpoint and shard of any settings, with momentum or without."""
        weights = (path for path in Path("results").rglob("epoch*.safetensors"))
        shards = (path for path in Path("results").rglob("*.h5"))
        whole = [path for path in weights if is_whole_checkpoint(path, momentum=False)]
        return {str(path) for path in (*whole, *filter(planning.is_whole_shard, shards))}

    @initialize()
    def first_run(self) -> None:
        self.run()

    def _missing(self) -> list[str]:
        return [file.path for file in wanted(self._experiment) if not is_whole(file)]

    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(CHOICES)))
        self._before.append(Edit(name, self._chosen[name], was_complete=not self._missing()))
        self._chosen[name] = data.draw(st.sampled_from(CHOICES[name]))

    @precondition(lambda self: bool(self._before))
    @rule()
    def undo(self) -> None:
        """Take back an edit: of what was complete nothing is planned again."""
        edit = self._before.pop()
        self._chosen[edit.name] = edit.earlier
        assert not (edit.was_complete and self._missing())

    def _damaged(self) -> None:
        self._before = [edit._replace(was_complete=False) for edit in self._before]

    def _any_file(self, data: st.DataObject) -> Path:
        return Path(data.draw(st.sampled_from(sorted(snapshot()))))

    @precondition(lambda self: bool(snapshot()))
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self._any_file(data).unlink()
        self._damaged()

    @precondition(lambda self: bool(snapshot()))
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        path = self._any_file(data)
        size = path.stat().st_size
        cut = data.draw(st.integers(0, max(size - 1, 0)))
        os.truncate(path, cut)
        self._damaged()

    @rule()
    def move(self) -> None:
        """To another place, where every file is as new as any other."""
        self._moves += 1
        place = Path.cwd()
        os.chdir(self._top)
        moved = place.rename(self._top / f"place{self._moves}")
        os.chdir(moved)
        for path in Path("results").rglob("*"):
            os.utime(path, (self._moves, self._moves))

    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        """Make some of what is planned, and a part of the next."""
        of = self._experiment
        planned = [file for file in wanted(of) if not is_whole(file)]
        done = data.draw(st.integers(0, max(0, len(planned) - 1)))
        for file in planned[:done]:
            self._maker.make(file, of)
        if planned and not any(map(os.path.lexists, planned[done].files)):
            count = data.draw(st.integers(0, len(planned[done].files) - 1))
            self._maker.begin(planned[done], of, count)

    @rule()
    def run(self) -> None:
        """Make what is missing: then nothing is, and nothing that was whole was touched."""
        of, there, before = self._experiment, self._there(), snapshot()
        planned = [file for file in wanted(of) if not is_whole(file)]
        for file in planned:
            self._maker.make(file, of)
        after = snapshot()
        again = wanted(of)
        assert {file.path for file in again} >= {file.path for file in planned}
        assert [file.path for file in again if not is_whole(file)] == []
        made = {name for file in planned for name in file.files}
        for name in before.keys() - made:  # of a partial file the next writer may be rid
            assert after.get(name) == before[name] or name.endswith(PARTIAL_SUFFIX)
        assert there <= self._there()
        for file in again:
            check_record(file, file_digest(Path(file.path)))

    @invariant()
    def planning_touches_nothing_and_covers_every_trial(self) -> None:
        of, before = self._experiment, snapshot()
        files = wanted(of)
        unused = {path.as_posix() for path in planning.unused_files({file.path for file in files})}
        missing = [file.path for file in files if not is_whole(file)]
        planning.announcement(of, missing, len(unused))
        assert snapshot() == before
        assert not unused & {file.path for file in files}
        assert_covered([file.path for file in files if file.path.endswith(".h5")], of)


def assert_covered(shards: list[str], of: Experiment) -> None:
    """Every trial is in one shard."""
    following: dict[Path, int] = {}
    for path in sorted(shards, key=lambda path: trials_of(path).first):
        trials, cell = trials_of(path), Path(path).parent
        assert following.get(cell, 0) == trials.first
        following[cell] = trials.last + 1
    expected = next(iter(of.protocols.values())).trials
    assert all(count >= expected for count in following.values())


def run_examples(maker: Maker, examples: int, seed: int | None = None, **others: Any) -> None:
    """Put the machine to so many random sequences of steps.

    Args:
        maker: Makes the files.
        examples: Number of sequences.
        seed: Determines them; None: the settings in force do.
        others: Further settings of Hypothesis.
    """
    chosen = settings(max_examples=examples, stateful_step_count=STEPS, deadline=None, **others)

    class Bound(ResultsFolder):
        def __init__(self) -> None:
            super().__init__(maker)

    machine = Bound if seed is None else hypothesis_seed(seed)(Bound)
    run_state_machine_as_test(machine, settings=chosen)


def test_any_sequence_of_steps_ends_with_all_there_and_nothing_planned(maker: Maker) -> None:
    run_examples(maker, 100)
