"""Image data sets, read from IDX files whose digests are checked; torchvision fetches others."""

import gzip
import hashlib
import math
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatlas.core.errors import InputError
from gradatlas.core.files import file_digest, mapping_digest, replace_file
from gradatlas.core.training import batches

IDX_FILES = {
    "train_images": "train-images-idx{}-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx{}-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}
DIGESTS = "SHA256SUMS"
UNSIGNED_BYTE = 8  # IDX type code
ROWS = 1000  # images whose pixels are squared at a time, in memory that fits a cache
LONGEST_HEADER = 4 + 4 * 255  # bytes; a byte of it gives the number of dimensions

# Data sets whose number of classes is known, whatever labels a damaged file holds.
CLASSES = {"mnist": 10, "fashionmnist": 10, "kmnist": 10, "qmnist": 10, "cifar10": 10}
# What torchvision's classes say of the files that they download.
PUBLISHED = ("resources", "tgz_md5", "split_list", "train_list", "test_list")
DOWNLOADED = "TORCHVISION"


@dataclass(frozen=True)
class Split:
    """Part of a data set."""

    inputs: NDArray[np.float32]  # normalised, flattened images, float32, shape (sample, pixel)
    labels: NDArray[np.int64]  # class of each image, int64, shape (sample,)
    # mean and standard deviation of the training set's pixels, 0 to 1, that all are normalised by
    normalisation: tuple[float, float] = (0.0, 1.0)


def folder(root: Path, name: str) -> Path:
    """Where the IDX files of a data set lie."""
    return root / name.lower()


def is_absent(directory: Path) -> bool:
    """Whether none of a data set's IDX files is there, so that a download overwrites nothing."""
    return not any(_candidates(directory, pattern) for pattern in IDX_FILES.values())


def idx_paths(directory: Path) -> dict[str, Path]:
    """Paths of a data set's four IDX files, gzipped or not.

    Raises:
        InputError: A file is missing.
    """
    return {part: _find(directory, pattern) for part, pattern in IDX_FILES.items()}


def data_digest(directory: Path, name: str) -> str:
    """SHA-256 of what a data set is, wherever it lies.

    That of its files; or, of one that torchvision downloads, that of the checksums it publishes,
    which is the same before and after the download.

    Raises:
        InputError: The files are incomplete, or torchvision knows no such data set.
    """
    if is_absent(directory):
        return _published_digest(name)
    if (directory / DOWNLOADED).exists() and (directory / DIGESTS).exists():
        published, _, files = (directory / DOWNLOADED).read_text(errors="replace").partition(" ")
        if files.strip() == file_digest(directory / DIGESTS):
            return published
    paths = idx_paths(directory).items()
    return mapping_digest({part: file_digest(path) for part, path in paths})


def _published_digest(name: str) -> str:
    dataset = _torchvision_class(name)
    facts = {fact: getattr(dataset, fact) for fact in PUBLISHED if hasattr(dataset, fact)}
    return mapping_digest({"name": dataset.__name__, **facts})


def count_training_samples(directory: Path) -> int:
    """Number of training images their file announces, without reading them.

    The digests of all four files are checked on the way, which takes about 20 ms for MNIST.

    Raises:
        InputError: A file is missing, has no IDX header, or does not match its digest.
    """
    paths = idx_paths(directory)
    for path in paths.values():
        _check_digest(path, path.read_bytes())
    images = paths["train_images"]
    opener = gzip.open if images.suffix == ".gz" else open
    try:
        with opener(images, "rb") as file:
            return _idx_shape(images, file.read(LONGEST_HEADER))[0]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _incomplete(images, error) from error


def check_labels(directory: Path) -> None:
    """Check the labels of the training set, a file small enough to be read before any job.

    Raises:
        InputError: The file is missing or damaged, or its labels are not those of a classification.
    """
    labels = idx_paths(directory)["train_labels"]
    _check_classes(labels, _read_idx(labels))


def load_train(directory: Path) -> Split:
    """Read the training set, normalised by its own mean and standard deviation.

    Args:
        directory: Folder with the four IDX files and, if digests are to be checked, SHA256SUMS.

    Raises:
        InputError: A file is missing, damaged, or does not match its digest.
    """
    paths = idx_paths(directory)
    images, labels = _read_samples(paths["train_images"], paths["train_labels"])
    _check_classes(paths["train_labels"], labels)
    normalisation = _mean_and_deviation(paths["train_images"], images)
    return Split(_normalise(images, *normalisation), labels, normalisation)


def load_test(directory: Path) -> Split:
    """Read the test set, normalised like the training set; raises as ``load_train``."""
    paths = idx_paths(directory)
    train_images, train_labels = _read_samples(paths["train_images"], paths["train_labels"])
    images, labels = _read_samples(paths["test_images"], paths["test_labels"])
    if images.shape[1:] != train_images.shape[1:]:
        raise InputError(
            f"{paths['test_images']} holds images of shape {images.shape[1:]}, expected "
            f"{train_images.shape[1:]} as in {paths['train_images']}"
        )
    if labels.max() > train_labels.max():
        raise InputError(
            f"{paths['test_labels']} has the label {labels.max()}, expected at most "
            f"{train_labels.max()}, the largest of the training set"
        )
    of_training = _mean_and_deviation(paths["train_images"], train_images)
    return Split(_normalise(images, *of_training), labels, of_training)


def _normalise(images: NDArray[np.uint8], mean: float, std: float) -> NDArray[np.float32]:
    """Flatten images to (sample, pixel), pixels 0 to 255 mapped to (pixel / 255 - mean) / std."""
    inputs = images.reshape(len(images), -1).astype(np.float32)
    inputs *= np.float32(1 / (255 * std))
    inputs -= np.float32(mean / std)
    return inputs


def _mean_and_deviation(path: Path, images: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation to four decimals, as they are usually quoted (.1307, .3081)."""
    total = int(images.sum(dtype=np.uint64))
    squares = sum(
        int(np.square(images[rows], dtype=np.uint16).sum(dtype=np.uint64))
        for rows in batches(len(images), ROWS)
    )
    mean = total / images.size
    variance = squares / images.size - mean**2  # exact sums of integers: nothing cancels
    std = round(math.sqrt(max(variance, 0)) / 255, 4)
    if std == 0:
        raise InputError(f"{path} holds images of one and the same grey, nothing to learn from")
    return round(mean / 255, 4), std


def _read_samples(
    images_path: Path, labels_path: Path
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = _read_idx(images_path), _read_idx(labels_path)
    if labels.shape != images.shape[:1]:
        raise InputError(
            f"{labels_path} has the shape {labels.shape}, expected one label for each of the "
            f"{len(images)} images beside it"
        )
    return images, labels.astype(np.int64)


def _check_classes(path: Path, labels: NDArray[np.integer]) -> None:
    """Refuse a single class, and a label that would add output units for none that exist."""
    found = np.unique(labels)
    if len(found) == 1:
        raise InputError(
            f"{path} has the label {found[0]} alone, expected at least two classes: with one there "
            "is nothing to learn, and every gradient is zero"
        )
    classes = CLASSES.get(path.parent.name, len(found))
    if found[-1] >= classes:
        raise InputError(
            f"{path} has the label {found[-1]}, expected 0 to {classes - 1}: "
            f"there are {classes} classes"
        )


def _find(directory: Path, pattern: str) -> Path:
    """The one file of a pattern, where {} stands for the number of dimensions."""
    found = _candidates(directory, pattern)
    if not found:
        raise InputError(
            f"{directory / pattern.format(3)} is missing; put the four IDX files of the data set "
            f"into {directory}, or let torchvision download it where there is a network"
        )
    if len(found) > 1 and len({_unpacked(path, path.read_bytes()) for path in found}) > 1:
        raise InputError(
            f"{found[0]} and {found[1].name} beside it hold different data; remove the one that is "
            "not meant"
        )
    return found[0]


def _candidates(directory: Path, pattern: str) -> list[Path]:
    name = pattern.format("[1-4]")
    return sorted([*directory.glob(name), *directory.glob(name.removesuffix(".gz"))])


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes after checking its digest.

    Raises:
        InputError: The file does not match its digest, or is not what its header says.
    """
    content = path.read_bytes()
    _check_digest(path, content)
    return _parse_idx(path, _unpacked(path, content))


def _unpacked(path: Path, content: bytes) -> bytes:
    try:
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise _incomplete(path, error) from error


def _incomplete(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is not a complete gzip file ({error}); fetch it again")


def _idx_shape(path: Path, content: bytes) -> tuple[int, ...]:
    """Shape that the header at the start of the content announces."""
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise InputError(
            f"{path} starts with {content[:4].hex() or 'nothing'}, expected the magic number of "
            "an IDX file of unsigned bytes (000008..); fetch it again"
        )
    dimensions = content[3]
    if len(content) < 4 + 4 * dimensions:
        raise InputError(f"{path} ends within its header; fetch it again")
    shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    if dimensions not in range(1, 5) or 0 in shape:
        raise InputError(
            f"{path} announces the shape {shape}, expected samples in 1 to 4 dimensions; "
            "fetch it again"
        )
    return shape


def _parse_idx(path: Path, content: bytes) -> NDArray[np.uint8]:
    shape = _idx_shape(path, content)
    header = 4 + 4 * len(shape)
    expected = math.prod(shape)
    if len(content) - header != expected:
        raise InputError(
            f"{path} holds {len(content) - header} values, but its header announces {expected}; "
            "fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _check_digest(path: Path, content: bytes) -> None:
    """Compare with the entry in SHA256SUMS beside the file, if there is one."""
    sums = path.with_name(DIGESTS)
    if not sums.exists():
        return
    expected = _expected_digests(sums)
    found = hashlib.sha256(content).hexdigest()
    if path.name in expected and expected[path.name] != found:
        raise InputError(
            f"{path} has the SHA-256 {found}, but {sums} says {expected[path.name]}; "
            "fetch the file again"
        )


def _expected_digests(sums: Path) -> dict[str, str]:
    """Digest by file name, from the output of sha256sum (which marks binary mode by *)."""
    digests = {}
    for line in filter(str.strip, sums.read_text(errors="replace").splitlines()):
        digest, _, name = line.partition(" ")
        if not re.fullmatch("[0-9a-fA-F]{64}", digest) or not name:
            raise InputError(f"{sums} has the line {line!r}, expected a SHA-256 and a file name")
        digests[name.strip().removeprefix("*")] = digest.lower()
    return digests


def download(name: str, directory: Path) -> None:
    """Fetch a data set through torchvision and keep it as IDX files with their digests.

    Args:
        name: Class of ``torchvision.datasets``, for example CIFAR10.
        directory: Where the IDX files go.

    Raises:
        InputError: torchvision does not know the data set, or cannot reach it.
    """
    dataset = _torchvision_class(name)
    parts: dict[str, NDArray[np.uint8]] = {}
    for split, train in (("train", True), ("test", False)):
        images, labels = _fetch(dataset, directory, train=train)
        parts[f"{split}_images"], parts[f"{split}_labels"] = images, labels
    _write_idx(parts, directory)
    source = f"{_published_digest(name)} {file_digest(directory / DIGESTS)}\n"
    replace_file(directory / DOWNLOADED, source.encode())


def _torchvision_class(name: str) -> Any:  # noqa: ANN401 - no typed constructor is shared
    from torchvision import datasets  # two seconds that only a download needs to wait

    # In any letters: the configuration spells names that it does not know in lower case.
    known = {
        spelled.lower(): item
        for spelled, item in vars(datasets).items()
        if isinstance(item, type) and issubclass(item, datasets.VisionDataset)
    }
    if name.lower() not in known:
        raise InputError(f"data.name is {name!r}, expected a data set that torchvision has")
    return known[name.lower()]


def _fetch(
    dataset: Any,  # noqa: ANN401 - torchvision's classes share no typed constructor
    directory: Path,
    *,
    train: bool,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    try:
        source = dataset(directory / "download", train=train, download=True)
        images, labels = np.asarray(source.data), np.asarray(source.targets)
    except (TypeError, AttributeError) as error:
        raise InputError(
            f"{dataset.__name__} of torchvision is not images in a training and a test part "
            f"({error}); put IDX files of it into {directory}, or take another data.name"
        ) from error
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"{dataset.__name__} is neither in {directory} nor can torchvision download it "
            f"({error}); put its IDX files into {directory} under the names "
            f"{', '.join(pattern.format(3) for pattern in IDX_FILES.values())}"
        ) from error
    _check_bytes(f"the images of {dataset.__name__}", images)
    _check_bytes(f"the labels of {dataset.__name__}", labels)
    return images.astype(np.uint8), labels.astype(np.uint8)


def _check_bytes(what: str, values: NDArray[Any]) -> None:
    """Refuse what an IDX file of bytes cannot hold: a conversion would wrap or cut it off."""
    is_whole = values.size > 0 and np.issubdtype(values.dtype, np.integer)
    if not is_whole or values.min() < 0 or values.max() > 255:
        found = f"{values.min()} to {values.max()}, {values.dtype}" if values.size else "nothing"
        raise InputError(
            f"{what} are {found}, expected whole numbers from 0 to 255; convert them, and put IDX "
            "files of the data set where data.root says"
        )


def _write_idx(parts: Mapping[str, NDArray[np.uint8]], directory: Path) -> None:
    sums = []
    for part, values in parts.items():
        path = directory / IDX_FILES[part].format(values.ndim)
        header = bytes([0, 0, UNSIGNED_BYTE, values.ndim]) + struct.pack(
            f">{values.ndim}I", *values.shape
        )
        content = gzip.compress(header + values.tobytes(), mtime=0)
        replace_file(path, content)
        sums.append(f"{hashlib.sha256(content).hexdigest()}  {path.name}\n")
    replace_file(directory / DIGESTS, "".join(sums).encode())
