"""The command line: gradatlas info, verify, export and tidy."""

import argparse
import io
import json
import math
import os
import sys
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm import tqdm

from gradatlas import archive
from gradatlas.archive import Archive, Selection
from gradatlas.core.errors import InputError

if TYPE_CHECKING:
    from gradatlas.tidy import Unused

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, by default with the arguments of the process.

    Returns:
        Exit status: 0 all is well, 1 something is wrong with a file; argparse exits with 2.
    """
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names that the terminal cannot show are escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        status = int(options.run(options))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output is gone; without this, Python complains when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except (InputError, OSError) as error:
        print(f"gradatlas: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gradatlas", description="Look at, check and copy archives of gradients."
    )
    parser.add_argument(
        "--version", action="version", version=f"gradatlas {version('gradient-atlas')}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_info, _add_verify, _add_export, _add_tidy):
        add(commands)
    return parser


def _add_info(commands: "Commands") -> None:
    info = commands.add_parser("info", help="show what a shard, an atlas or an export holds")
    info.add_argument("file", type=_path, metavar="FILE")
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(run=_info)


def _add_verify(commands: "Commands") -> None:
    verify = commands.add_parser(
        "verify", help="read everything and compare it with its checksums; status 1 if it is wrong"
    )
    verify.add_argument("file", type=_path, metavar="FILE")
    verify.set_defaults(run=_verify)


def _add_export(commands: "Commands") -> None:
    export = commands.add_parser("export", help="copy into one self-contained file")
    export.add_argument("atlas", type=_path, metavar="ATLAS")
    export.add_argument("target", type=_path, metavar="FILE")
    export.add_argument("--protocol", help="copy this protocol only")
    export.add_argument("--epoch", type=int, help="copy this epoch only")
    export.add_argument("--batch-size", type=int, help="copy this batch size only")
    export.add_argument("--compress", action="store_true", help="shuffle and gzip the tensors")
    export.add_argument(
        "--force", action="store_true", help="replace FILE whatever it is, not an export alone"
    )
    export.set_defaults(run=_export)


def _add_tidy(commands: "Commands") -> None:
    tidy = commands.add_parser(
        "tidy", help="list what lies in results/ that the configuration does not use"
    )
    tidy.add_argument("--directory", type=_path, default=Path(), help="working folder of the runs")
    tidy.add_argument(
        "--configfile", type=_path, nargs="+", default=[], help="as snakemake was called with"
    )
    tidy.add_argument(
        "--epoch", type=int, help="instead, what was collected from the checkpoint of this epoch"
    )
    tidy.add_argument("--delete", action="store_true", help="delete it, after a question")
    tidy.add_argument("--yes", action="store_true", help="delete without the question")
    tidy.set_defaults(run=_tidy)


def _path(text: str) -> Path:
    """A path as typed; a shell leaves ``~`` alone in ``--directory=~/runs``, as variables do.

    Raises:
        ArgumentTypeError: It is empty, as that of an unset variable is.
    """
    if not text:
        raise argparse.ArgumentTypeError("the name is empty, expected that of a file or folder")
    return Path(text).expanduser()


def _info(options: argparse.Namespace) -> int:
    opened = archive.open(options.file)
    print(json.dumps(_facts(opened), indent=2, default=str) if options.json else _table(opened))
    return 0


def _verify(options: argparse.Namespace) -> int:
    findings = archive.verify(options.file, progress=sys.stderr.isatty())
    for finding in findings:
        print(finding.what)
    damaged = sum(finding.is_damage for finding in findings)
    print(f"{options.file}: {f'damage found: {damaged}' if damaged else 'complete and undamaged'}")
    return 1 if damaged else 0


def _export(options: argparse.Namespace) -> int:
    archive.export(
        options.atlas,
        options.target,
        options.protocol,
        options.epoch,
        options.batch_size,
        compress=options.compress,
        force=options.force,
        progress=sys.stderr.isatty(),
    )
    return 0


def _tidy(options: argparse.Namespace) -> int:
    from gradatlas import tidy  # here alone: it loads what plans a run

    files = [path.resolve() for path in options.configfile]
    with chdir(options.directory):
        experiment = tidy.configured(files)
        if options.epoch is None:
            found = tidy.find_unused(experiment)
        else:
            found = tidy.of_epoch(experiment, options.epoch)
        _list_unused(found)
        if found and options.delete and (options.yes or _agrees(found)):
            for item in found:
                tidy.remove(item)
    return 0


def _list_unused(found: Sequence["Unused"]) -> None:
    for item in found:
        size = tqdm.format_sizeof(item.size, "B")
        print(f"{item.folder}: {len(item.files)} files, {size}: {item.why}")
    if found:
        print("What another configuration uses in the same folder is listed here as well.")
    else:
        print("nothing lies in results/ that the configuration does not use")


def _agrees(found: Sequence["Unused"]) -> bool:
    """Ask on the terminal; no answer means no."""
    files, size = sum(len(item.files) for item in found), sum(item.size for item in found)
    print(f"Delete {files} files, {tqdm.format_sizeof(size, 'B')}? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _facts(opened: Archive) -> dict[str, Any]:
    return {
        "path": str(opened.path),
        "kind": opened.kind,
        "format_version": opened.attributes["format_version"],
        "size": opened.path.stat().st_size,
        "selections": [_selection_facts(selection) for selection in opened.selections],
        "sources": [asdict(source) for source in opened.sources],
    }


def _selection_facts(selection: Selection) -> dict[str, Any]:
    return {
        **selection.attributes,
        "first_trial": selection.first,
        "last_trial": selection.last,
        "batches_per_trial": selection.settings.batches_per_trial,
        "shape": selection.shape,
    }


def _table(opened: Archive) -> str:
    size = opened.path.stat().st_size
    title = f"{opened.path}: {opened.kind}, format version {opened.attributes['format_version']}"
    rows = pd.DataFrame([_row(opened, selection) for selection in opened.selections])
    groups = {(item.protocol, item.epoch): item for item in opened.selections}
    return "\n".join(
        [
            f"{title}, {tqdm.format_sizeof(size, 'B')}",
            "",
            rows.to_string(index=False),
            *(_provenance(selection) for selection in groups.values()),
        ]
    )


def _row(opened: Archive, selection: Selection) -> dict[str, object]:
    tensors = 4 * math.prod(selection.shape) * len(selection.trials)
    shards = sum(source.settings == selection.settings for source in opened.sources)
    return {
        "protocol": selection.protocol,
        "epoch": selection.epoch,
        "batch size": selection.batch_size,
        "trials": f"{selection.first}-{selection.last}",
        "tensor": " x ".join(map(str, selection.shape)),
        "tensors": tqdm.format_sizeof(tensors, "B"),
        "shards": shards,
    }


def _provenance(selection: Selection) -> str:
    """What is the same for all batch sizes of a protocol and epoch."""
    whole = ("settings", "checkpoint_facts")  # of which the rest are parts
    own = ("protocol", "epoch", "batch_size", "kind", "format_version", *whole)
    facts = {name: value for name, value in selection.attributes.items() if name not in own}
    if selection.settings.training is not None:  # as in files from format version 2 on
        model, training = selection.settings.model or {}, vars(selection.settings.training)
        for part, values in (("model", model), ("training", training)):
            facts[part] = ", ".join(f"{name} {value}" for name, value in values.items())
    width = max(map(len, facts))
    lines = (f"  {name:{width}}  {value}" for name, value in facts.items())
    return "\n".join(["", f"{selection.protocol}, epoch {selection.epoch}", *lines])
