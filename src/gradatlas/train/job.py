"""The job behind one checkpoint: train to its epoch, from the one before where there is one."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gradatlas.core.errors import InputError
from gradatlas.core.files import digest_path, has_digest, replace_file, seal
from gradatlas.core.provenance import code_commit, library_versions
from gradatlas.core.runtime import resolve_device
from gradatlas.core.training import Training
from gradatlas.data.idx import Split, load_test, load_train
from gradatlas.models.module import Loss, build
from gradatlas.models.network import parameter_shapes
from gradatlas.train.checkpoint import (
    Arrays,
    Shapes,
    check_facts,
    is_whole_checkpoint,
    load_checkpoint,
    optimizer_path,
    read_arrays,
    save_checkpoint,
    table_path,
)
from gradatlas.train.loop import Epoch, train

if TYPE_CHECKING:
    from torch import nn


def run(
    target: Path,
    epoch: int,
    facts: Mapping[str, Any],
    *,
    data: Path,
    earlier: Path | None = None,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Train to an epoch; write checkpoint, table of the epochs so far, and optimizer's memory.

    What is there already and whole stays as it is.

    Args:
        target: The checkpoint; the others lie beside it.
        epoch: How many times training goes through the data set.
        facts: ``TrialSettings.checkpoint``, all that determines the weights.
        data: Folder of the data set's IDX files.
        earlier: A checkpoint of an earlier epoch of the same run, to continue from.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: Pieces computed at the same time.

    Raises:
        InputError: Data set, device or an earlier checkpoint cannot be used, the weights stopped
            being finite, or training gives other weights than a checkpoint that is there.
        OSError: A file cannot be written.
    """
    device, split = resolve_device(device), load_train(data)
    shapes = parameter_shapes(facts["model"], split)
    present = _present(target, facts, shapes)
    momentum = facts["training"]["momentum"] > 0
    if present is not None and is_whole_checkpoint(target, momentum=momentum):
        _touch(target)
        return
    after = None if earlier is None else _read_epoch(earlier, facts, shapes)
    rows = "" if earlier is None else table_path(earlier).read_text()
    splits = split, load_test(data)
    network = build(facts["model"], split, facts["training_seed"])
    state, rows = _train(splits, network, epoch, facts, after, rows, device=device, threads=threads)
    if present is not None:
        _check_same(target, present, state.weights)
    replace_file(table_path(target), rows.encode())
    if momentum:  # of which nothing is remembered yet at epoch 0
        save_checkpoint(optimizer_path(target), state.optimizer, {"facts": facts, "epoch": epoch})
    if present is not None:
        _touch(target)
        return
    provenance = {"code_commit": code_commit(), "library_versions": library_versions()}
    mean, std = split.normalisation
    told = {"loss": network[1].__name__, "normalisation": {"mean": mean, "std": std}}
    known = {"facts": facts, "device": device, **told, **provenance, **state.row}
    save_checkpoint(target, state.weights, known)


def _train(
    splits: tuple[Split, Split],
    network: tuple["nn.Module", Loss],
    epoch: int,
    facts: Mapping[str, Any],
    after: Epoch | None,
    rows: str,
    *,
    device: str,
    threads: int,
) -> tuple[Epoch, str]:
    """The network after an epoch, and the table of all epochs up to it, from its first rows on."""
    settings, seed = Training(**facts["training"]), facts["training_seed"]
    options: dict[str, Any] = {"seed": seed, "device": device, "threads": threads, "after": after}
    for state in train(*splits, *network, settings, epoch, **options):
        _check_finite(state, settings)
        rows += pd.DataFrame([state.row]).to_csv(index=False, header=not rows)
    return state, rows


def _present(target: Path, facts: Mapping[str, Any], shapes: Shapes) -> Arrays | None:
    """Weights of a whole checkpoint that is there already, as where only its table is missing."""
    if not has_digest(target):
        digest_path(target).unlink(missing_ok=True)  # cut short
    try:
        checkpoint = load_checkpoint(target, shapes)
        check_facts(target, checkpoint.facts, facts)
    except InputError:
        return None  # missing, damaged or another's: it is replaced
    if not has_digest(target):
        seal(target)
    return checkpoint.weights


def _touch(target: Path) -> None:
    """Make what stays as it is newer than what was read, as Snakemake wants of a job."""
    for path in target.parent.glob(f"{target.stem}.*"):
        path.touch()


def _check_same(target: Path, present: Arrays, found: Arrays) -> None:
    if not all(np.array_equal(present[name], value) for name, value in found.items()):
        raise InputError(
            f"training gives other weights here than {target} holds, made by another machine or "
            "library; restore what is missing beside it, or remove it to train and collect anew"
        )


def _read_epoch(path: Path, facts: Mapping[str, Any], shapes: Shapes) -> Epoch:
    """Where an earlier checkpoint ended."""
    checkpoint = load_checkpoint(path, shapes)
    check_facts(path, checkpoint.facts, facts)
    memory = optimizer_path(path)
    if facts["training"]["momentum"] and not memory.exists():
        raise InputError(f"{memory} is missing; remove {path}, and the workflow makes both again")
    state = read_arrays(memory) if memory.exists() else {}
    row = {name: value for name, value in checkpoint.facts.items() if isinstance(value, float)}
    return Epoch(int(checkpoint.facts["epoch"]), checkpoint.weights, state, row)


def _check_finite(epoch: Epoch, settings: Training) -> None:
    if not math.isfinite(epoch.row["train_loss"]):
        raise InputError(
            f"training diverged in epoch {epoch.number} (loss {epoch.row['train_loss']}); "
            f"training.learning_rate is {settings.learning_rate}, lower it"
        )
