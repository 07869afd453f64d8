"""What lies in a results folder that the present configuration does not use."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from gradatlas import planning
from gradatlas.archive.read import read_archive
from gradatlas.core.configuration import Experiment, check_file, remove_nulls
from gradatlas.core.errors import InputError
from gradatlas.core.provenance import read_facts
from gradatlas.core.settings import to_mapping
from gradatlas.core.stamps import read_stamp

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Unused:
    """Files of one folder that the configuration does not use."""

    folder: Path
    files: tuple[Path, ...]
    why: str  # in what they differ from what it uses

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files)


def configured(files: Sequence[Path]) -> Experiment:
    """The experiment that ``snakemake --configfile FILES`` would run in the working folder.

    Args:
        files: Overlays, the last one on top, of the folder's config.yaml or, where it has none,
            that of the repository.

    Raises:
        InputError: The workflow's files are not beside the package, or a configuration is wrong.
        OSError: A file cannot be read.
    """
    root = Path(__file__).parents[2]
    if not (root / "Snakefile").exists():
        raise InputError(
            f"there is no Snakefile in {root}; install the package by 'pip install --editable .' "
            "from the repository"
        )
    own = Path("config.yaml")
    config: dict[str, Any] = {}
    for path in (own if own.exists() else root / own, *files):
        config = _overlaid(config, check_file(path))
    remove_nulls(config)
    return planning.complete(planning.read(config, root), root)


def _overlaid(below: Facts, above: Facts) -> dict[str, Any]:
    """A configuration with another on top, as Snakemake merges them.

    Example:
        >>> _overlaid({"model": {"hidden": [8]}, "seed": 0}, {"model": {"hidden": [4]}})
        {'model': {'hidden': [4]}, 'seed': 0}
    """
    merged = dict(below)
    for name, value in above.items():
        known = merged.get(name)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            value = _overlaid(known, value)
        merged[name] = value
    return merged


def find_unused(experiment: Experiment) -> list[Unused]:
    """Checkpoints, shards and what belongs to them, tables and figures of other settings.

    Args:
        experiment: With data and code, see ``planning.complete``; results are those of the working
            folder.
    """
    wanted = {*planning.wanted_checkpoints(experiment), *planning.wanted_shards(experiment)}
    costly = groupby(planning.unused_files(wanted), _folder)
    groups = [_group(folder, [*files], experiment) for folder, files in costly]
    return [*groups, *_outlived(experiment)]


def of_epoch(experiment: Experiment, epoch: int) -> list[Unused]:
    """What the configuration does use and collected from the checkpoints of one epoch.

    Raises:
        InputError: The configuration has no such checkpoint.
    """
    if epoch not in experiment.checkpoints:
        raise InputError(
            f"there is no checkpoint of epoch {epoch}, expected one of: "
            f"{', '.join(map(str, experiment.checkpoints))}"
        )
    wanted = planning.wanted_shards(experiment).items()
    shards = (Path(path) for path, record in wanted if record.epoch == epoch)
    groups = groupby((path for path in shards if path.exists()), _folder)
    why = f"collected from the checkpoint of epoch {epoch}"
    return [Unused(folder, tuple(_with_others(files)), why) for folder, files in groups]


def remove(unused: Unused) -> None:
    """Delete the files, and folders that are empty then.

    Raises:
        OSError: A file cannot be deleted.
    """
    for path in unused.files:
        path.unlink()
        for folder in path.parents:
            if folder.name == "results" or any(folder.iterdir()):
                break
            folder.rmdir()


def _folder(path: Path) -> Path:
    """results/gradients/{protocol}-{key}, or the like."""
    return Path(*path.parts[:3]) if len(path.parts) > 3 else path.parent


def _group(folder: Path, files: list[Path], experiment: Experiment) -> Unused:
    return Unused(folder, tuple(_with_others(iter(files))), _difference(files[0], experiment))


def _with_others(files: Iterator[Path]) -> Iterator[Path]:
    """Each file, and what has its name and another suffix, such as its digest."""
    for path in files:
        yield from sorted(path.parent.glob(f"{path.stem}.*"))


def _difference(path: Path, experiment: Experiment) -> str:
    """In what a checkpoint or shard differs from those that the configuration uses."""
    try:
        found, expected = _facts(path, experiment)
    except (InputError, OSError) as error:
        return str(error)
    found, expected = _flat(found), _flat(expected)
    differing = [
        name if name.endswith(("_code", "_sha256")) else f"{name} {value}, now {expected[name]}"
        for name, value in found.items()
        if name in expected and value != expected[name]
    ]
    return f"other {'; '.join(differing)}" if differing else "not among those that are asked for"


def _flat(facts: Facts) -> Facts:
    """The settings of an update or a training run beside the others.

    Example:
        >>> _flat({"update": {"name": "sgd", "learning_rate": 0.5}, "seed": 0})
        {'update name': 'sgd', 'update learning_rate': 0.5, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        nested = value if isinstance(value, Mapping) else {}
        flat |= {f"{name} {key}": item for key, item in nested.items()} or {name: value}
    return flat


def _facts(path: Path, experiment: Experiment) -> tuple[Facts, Facts]:
    """What a file was made with, and what the configuration would make it with."""
    if path.suffix == ".safetensors":
        expected = planning.run_record(experiment, experiment.training_seeds[0]).checkpoint
        return read_facts(path).get("facts", {}), expected
    settings = read_archive(path).selections[0].settings
    if settings.protocol not in experiment.protocols:
        return {"protocol": settings.protocol}, {"protocol": "none of that name"}
    own = experiment.trial_settings(
        settings.protocol, settings.epoch, settings.batch_size, settings.training_seed
    )
    return to_mapping(settings), {**to_mapping(own), "training_samples": settings.training_samples}


def _outlived(experiment: Experiment) -> Iterator[Unused]:
    """Tables and figures that no job of the configuration makes, known by their stamps."""
    expected = planning.stamps(experiment)
    stamps = {
        path.as_posix(): stamp
        for path in Path("results").rglob(".made/**/*.json")
        if (stamp := read_stamp(path)) is not None
    }
    used = {file for path, stamp in stamps.items() if path in expected for file in stamp.written}
    for path, stamp in sorted(stamps.items()):
        files = [Path(file) for file in stamp.written if file not in used and Path(file).exists()]
        if path not in expected:
            folder = files[0].parent if files else Path(path).parent
            yield Unused(folder, (*files, Path(path)), "of no job that is asked for")
