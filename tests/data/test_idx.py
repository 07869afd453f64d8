"""Image data sets: what is read from IDX files, and what is refused."""

import gzip
import hashlib
import shutil
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gradatlas.core.errors import InputError
from gradatlas.data.idx import (
    Split,
    check_labels,
    count_training_samples,
    data_digest,
    download,
    folder,
    idx_paths,
    is_absent,
    load_test,
    load_train,
)

MNIST = Path(__file__).parents[2] / "resources" / "mnist"
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


def idx(values: NDArray[np.uint8]) -> bytes:
    """An IDX file of unsigned bytes."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.tobytes()


def write(path: Path, values: NDArray[np.uint8]) -> None:
    path.write_bytes(gzip.compress(idx(values), mtime=0))  # the same file each time


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Twelve training and four test images of 3 x 2 pixels, in a folder without digests."""
    directory = tmp_path / "mnist"
    directory.mkdir()
    random = np.random.default_rng(0)
    write(directory / TRAIN_IMAGES, random.integers(0, 256, (12, 3, 2), np.uint8))
    write(directory / TRAIN_LABELS, np.arange(12, dtype=np.uint8) % 10)
    write(directory / TEST_IMAGES, random.integers(0, 256, (4, 3, 2), np.uint8))
    write(directory / TEST_LABELS, np.arange(4, dtype=np.uint8))
    return directory


def refusal(directory: Path) -> str:
    """What the user reads when the data set is used."""
    with pytest.raises(InputError) as error:
        load_train(directory), load_test(directory)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_mnist_has_its_usual_size_mean_and_standard_deviation() -> None:
    train, test = load_train(MNIST), load_test(MNIST)

    assert train.inputs.shape == (60_000, 784)
    assert test.inputs.shape == (10_000, 784)
    assert train.inputs.dtype == np.float32
    assert train.labels.dtype == np.int64
    np.testing.assert_array_equal(np.unique(test.labels), np.arange(10))
    pixels = gzip.decompress((MNIST / TRAIN_IMAGES).read_bytes())[16:]
    grey = np.frombuffer(pixels, np.uint8)[: 784 * 100].astype(np.float64) / 255
    np.testing.assert_allclose(train.inputs[:100].ravel(), (grey - 0.1307) / 0.3081, atol=1e-6)
    assert abs(float(train.inputs.mean(dtype=np.float64))) < 1e-3
    assert abs(float(train.inputs.std(dtype=np.float64)) - 1) < 1e-3


def test_the_test_set_is_normalised_like_the_training_set(small: Path) -> None:
    train_images = np.frombuffer(
        gzip.decompress((small / TRAIN_IMAGES).read_bytes())[16:], np.uint8
    )
    write(small / TEST_IMAGES, train_images.reshape(12, 3, 2)[:4])

    np.testing.assert_array_equal(load_test(small).inputs, load_train(small).inputs[:4])


def test_files_may_be_unpacked(small: Path) -> None:
    before = load_train(small)
    for path in [*small.iterdir()]:
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()

    np.testing.assert_array_equal(load_train(small).inputs, before.inputs)
    assert count_training_samples(small) == 12


def test_the_number_of_training_samples_is_read_from_the_header(small: Path) -> None:
    assert count_training_samples(small) == 12
    assert count_training_samples(MNIST) == 60_000


def test_a_data_set_is_absent_only_if_none_of_its_files_is_there(small: Path) -> None:
    assert not is_absent(small)
    for path in idx_paths(small).values():
        assert not is_absent(small)
        path.unlink()
    assert is_absent(small)
    assert is_absent(folder(small, "Nowhere"))


def test_a_missing_file_says_what_to_put_where(small: Path) -> None:
    (small / TEST_LABELS).unlink()

    message = refusal(small)

    assert f"{small / TEST_LABELS} is missing; put the four IDX files" in message
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte\.gz is missing"):
        count_training_samples(small)


@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS])
@pytest.mark.parametrize("length", [0, 5, 30, -1])
def test_a_truncated_gzip_file_is_named(small: Path, name: str, length: int) -> None:
    (small / name).write_bytes((small / name).read_bytes()[:length])

    message = refusal(small)

    assert str(small / name) in message
    assert "fetch it again" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "starts with nothing, expected the magic number"),
        (b"\x00\x00\x0d\x03" + bytes(12), "starts with 00000d03, expected the magic number"),
        (b"\x00\x00\x08\x03" + bytes(11), "ends within its header"),
        (b"\x00\x00\x08\x00" + b"\x01", "announces the shape ()"),
        (b"\x00\x00\x08\x05" + bytes(20), "announces the shape (0, 0, 0, 0, 0)"),
        (idx(np.zeros((0, 3, 2), np.uint8)), "announces the shape (0, 3, 2)"),
        (idx(np.zeros((12, 3, 2), np.uint8))[:-1], "holds 71 values, but its header announces 72"),
        (idx(np.zeros((12, 3, 2), np.uint8)) + b"\x00", "holds 73 values"),
        (idx(np.full((12, 3, 2), 7, np.uint8)), "one and the same grey"),
        (idx(np.eye(12, dtype=np.uint8)[:11]), "expected one label for each of the 11 images"),
    ],
)
def test_images_that_are_not_what_their_header_says_are_refused(
    small: Path, content: bytes, expected: str
) -> None:
    (small / TRAIN_IMAGES).write_bytes(gzip.compress(content))

    assert expected in refusal(small)


def test_a_digest_that_does_not_match_is_refused_before_anything_is_parsed(small: Path) -> None:
    expected, found = (hashlib.sha256(text).hexdigest() for text in (b"right", b"no gzip"))
    (small / "SHA256SUMS").write_text(f"{expected} *{TRAIN_IMAGES}\n\n")
    (small / TRAIN_IMAGES).write_bytes(b"no gzip")

    message = refusal(small)

    assert f"{small / TRAIN_IMAGES} has the SHA-256 {found}" in message
    assert f"says {expected}" in message
    with pytest.raises(InputError, match="has the SHA-256"):
        count_training_samples(small)


@pytest.mark.parametrize("line", ["{} *{}", "{}  {}", "{} {}\n"])
def test_digests_are_read_as_sha256sum_writes_them(small: Path, line: str) -> None:
    digest = hashlib.sha256((small / TRAIN_IMAGES).read_bytes()).hexdigest()
    (small / "SHA256SUMS").write_text(line.format(digest.upper(), TRAIN_IMAGES))

    assert len(load_train(small).labels) == 12


@pytest.mark.parametrize("content", ["nonsense\n", "abc  file\n", "\0\n", "0" * 64 + "\n"])
def test_a_list_of_digests_that_is_none_is_refused(small: Path, content: str) -> None:
    (small / "SHA256SUMS").write_text(content)

    assert "SHA256SUMS has the line" in refusal(small)


def test_a_label_beyond_the_classes_of_a_known_data_set_is_refused(small: Path) -> None:
    write(small / TRAIN_LABELS, np.array([*range(10), 10, 3], np.uint8))

    assert "has the label 10, expected 0 to 9: there are 10 classes" in refusal(small)


def test_a_label_that_would_add_empty_classes_is_refused(small: Path) -> None:
    unknown = small.rename(small.with_name("letters"))
    write(unknown / TRAIN_LABELS, np.array([0, 1, 2, 200] * 3, np.uint8))

    assert "has the label 200, expected 0 to 3: there are 4 classes" in refusal(unknown)


def test_a_test_label_the_training_set_lacks_is_refused(small: Path) -> None:
    write(small / TRAIN_LABELS, np.arange(12, dtype=np.uint8) % 2)
    write(small / TEST_LABELS, np.array([0, 0, 1, 2], np.uint8))

    assert f"{small / TEST_LABELS} has the label 2, expected at most 1" in refusal(small)


def test_a_single_class_is_refused_also_by_who_looks_at_labels_alone(small: Path) -> None:
    write(small / TRAIN_LABELS, np.full(12, 3, np.uint8))

    expected = "has the label 3 alone, expected at least two classes"
    assert expected in refusal(small)
    with pytest.raises(InputError, match=expected):
        check_labels(small)


def test_packed_and_unpacked_files_side_by_side_must_agree(small: Path) -> None:
    plain = (small / TRAIN_LABELS).with_suffix("")
    plain.write_bytes(gzip.decompress((small / TRAIN_LABELS).read_bytes()))
    assert len(load_train(small).labels) == 12

    plain.write_bytes(plain.read_bytes()[:-1] + b"\x00")
    (small / "SHA256SUMS").unlink(missing_ok=True)
    assert f"{plain} and {TRAIN_LABELS} beside it hold different data" in refusal(small)


def test_test_images_of_another_size_are_refused(small: Path) -> None:
    write(small / TEST_IMAGES, np.zeros((4, 2, 2), np.uint8))

    assert "holds images of shape (2, 2), expected (3, 2)" in refusal(small)


class _Collection:
    """What torchvision's data sets derive from."""


class Offline(_Collection):
    """A data set that is not on this machine, where there is no network."""

    def __init__(self, root: Path, *, train: bool, download: bool) -> None:
        raise RuntimeError("Error downloading images")


class Unsplit(_Collection):
    """A data set without a training and a test part."""

    def __init__(self, root: Path, split: str) -> None:
        self.data = split


class Colours(_Collection):
    """Images of 2 x 2 pixels in three colours, as CIFAR10 has them, with labels in a list."""

    def __init__(self, root: Path, *, train: bool, download: bool) -> None:
        samples = 6 if train else 3
        images = np.arange(samples * 12, dtype=np.uint8).reshape(samples, 2, 2, 3)
        self.data: NDArray[Any] = images
        self.targets = [label % 3 for label in range(samples)]


class Floats(Colours):
    """Images from 0 to 1, which bytes would turn into black ones."""

    def __init__(self, root: Path, **options: bool) -> None:
        super().__init__(root, **options)
        self.data = self.data / 255


class Negative(Colours):
    """Labels that no byte can hold."""

    def __init__(self, root: Path, **options: bool) -> None:
        super().__init__(root, **options)
        self.targets = [-1, *self.targets[1:]]


class Many(Colours):
    """More classes than a byte can count."""

    def __init__(self, root: Path, **options: bool) -> None:
        super().__init__(root, **options)
        self.targets = [300, *self.targets[1:]]


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets that need no network."""
    datasets = SimpleNamespace(
        VisionDataset=_Collection,
        **{kind.__name__: kind for kind in (Offline, Unsplit, Colours, Floats, Negative, Many)},
    )
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=datasets))


@pytest.mark.usefixtures("torchvision")
def test_a_download_becomes_idx_files_with_their_digests(tmp_path: Path) -> None:
    directory = tmp_path / "colours"

    download("Colours", directory)

    assert load_train(directory).inputs.shape == (6, 12)
    assert load_test(directory).labels.tolist() == [0, 1, 2]
    (directory / "train-images-idx4-ubyte.gz").write_bytes(b"damaged")
    assert "has the SHA-256" in refusal(directory)


@pytest.mark.usefixtures("torchvision")
def test_a_data_set_is_the_same_before_its_download_and_after_in_any_letters(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "colours"
    before = data_digest(directory, "Colours")
    download("colours", directory)
    assert data_digest(directory, "colours") == before

    sums, source = directory / "SHA256SUMS", directory / "TORCHVISION"
    sums.write_text("")  # the files are no longer those that came
    own = data_digest(directory, "colours")
    assert own != before
    source.write_text("no digests")
    assert data_digest(directory, "colours") == own
    sums.unlink()
    assert data_digest(directory, "colours") == own


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Nothing", "data.name is 'Nothing', expected a data set that torchvision has"),
        ("VisionDatasets", "data.name is 'VisionDatasets'"),
        ("Offline", "can torchvision download it (Error downloading images); put its IDX files"),
        ("Unsplit", "Unsplit of torchvision is not images in a training and a test part"),
        ("Floats", "the images of Floats are 0.0 to 0.2784313725490196, float64, expected whole"),
        ("Negative", "the labels of Negative are -1 to 2, int64, expected whole numbers from 0"),
        ("Many", "the labels of Many are 0 to 300, int64, expected whole numbers from 0 to 255"),
    ],
)
def test_a_data_set_that_cannot_be_fetched_says_what_to_put_where(
    tmp_path: Path, name: str, expected: str
) -> None:
    with pytest.raises(InputError) as error:
        download(name, tmp_path / "new")

    assert expected in str(error.value)
    assert not (tmp_path / "new").exists()


@settings(max_examples=150, deadline=None)
@given(
    position=st.integers(0, 87),
    replacement=st.binary(min_size=1, max_size=4),
    packed=st.booleans(),
)
def test_damaged_bytes_are_refused_or_change_pixels_alone(
    tmp_path_factory: pytest.TempPathFactory, position: int, replacement: bytes, packed: bool
) -> None:
    directory = tmp_path_factory.mktemp("letters")
    images = np.arange(72, dtype=np.uint8).reshape(12, 3, 2)
    write(directory / TRAIN_LABELS, np.arange(12, dtype=np.uint8) % 3)
    shutil.copy(directory / TRAIN_LABELS, directory / TEST_LABELS)
    write(directory / TEST_IMAGES, images)
    content = bytearray(gzip.compress(idx(images)) if packed else idx(images))
    content[position : position + len(replacement)] = replacement
    (directory / TRAIN_IMAGES).with_suffix(".gz" if packed else "").write_bytes(content)

    outcome = split_or_sentence(directory)

    if isinstance(outcome, str):
        assert TRAIN_IMAGES.removesuffix(".gz") in outcome
    else:
        assert outcome.inputs.shape[0] == 12
        assert np.isfinite(outcome.inputs).all()


def split_or_sentence(directory: Path) -> Split | str:
    """Anything but a ``InputError`` goes through."""
    try:
        return load_train(directory)
    except InputError as error:
        return str(error)
