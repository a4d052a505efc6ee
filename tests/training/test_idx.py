"""Images and labels in MNIST's format, whole and streamed."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.idx_files import CODES, idx_bytes, write_mnist

from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.training import IdxImages, read_idx, read_split


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    return write_mnist(tmp_path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(5,), (2, 3), (4, 3, 2), (0, 3)])
def test_idx_round_trip(tmp_path: Path, shape: tuple[int, ...], dtype: str, zipped: bool) -> None:
    array = (np.arange(np.prod(shape)) * 7 % 120).reshape(shape).astype(dtype)
    content = idx_bytes(array)
    path = tmp_path / "file"  # the name says nothing
    path.write_bytes(gzip.compress(content) if zipped else content)
    found = read_idx(path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


GOOD = idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3))
ZIPPED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file: it begins with the bytes \\(none\\)"),
        (b"PK\x03\x04rest", "begins with the bytes 50 4b 03 04"),
        (b"\0\0\x07\x01\0\0\0\0", "not an IDX file"),
        (GOOD[:9], "ends inside its header: 2 dimensions"),
        (GOOD[:-1], r"shape \(2, 3\), which is 6 bytes of data, but holds 5"),
        (GOOD + b"!", r"shape \(2, 3\), which is 6 bytes of data, but holds more"),
        (ZIPPED[:-12], "damaged gzip file"),
        (ZIPPED[:10] + b"\xff" * 20, "damaged gzip file"),
        (ZIPPED[:-8] + b"12345678", "damaged gzip file"),
    ],
    ids=range(9),
)
def test_damaged_idx_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train-images"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=message) as caught:
        read_idx(path)
    assert str(path) in caught.value.message


def test_split_is_found_and_read(mnist: Path) -> None:
    images, labels = read_split(mnist, "train")
    expected = load_digits(return_X_y=True)
    np.testing.assert_array_equal(images, expected[0][:400])
    np.testing.assert_array_equal(labels, expected[1][:400])
    assert read_split(mnist, "test")[0].shape == (100, 64)


def test_missing_and_ambiguous_files_are_named(mnist: Path) -> None:
    (mnist / "copy-of-train-images-idx3-ubyte").write_bytes(GOOD)
    with pytest.raises(
        InvalidInputError, match=r"train-images-idx3-ubyte\[.gz\]; there is several: copy-of-train-images"
    ):
        read_split(mnist, "train")
    (mnist / "t10k-labels.idx1-ubyte").unlink()
    with pytest.raises(
        InvalidInputError, match=r"t10k-labels-idx1-ubyte\[.gz\]; there is none. The folder holds copy-of"
    ):
        read_split(mnist, "test")
    with pytest.raises(InvalidInputError, match="there is no such folder"):
        read_split(mnist / "nowhere", "test")


def test_images_and_labels_must_belong_together(mnist: Path) -> None:
    (mnist / "t10k-labels.idx1-ubyte").write_bytes(idx_bytes(np.zeros(99, dtype=np.uint8)))
    with pytest.raises(InvalidInputError, match=r"shape \(100, 8, 8\) and .* of shape \(99,\)"):
        read_split(mnist, "test")


@pytest.mark.parametrize("split", ["train", "test"])  # gzipped and not
def test_streamed_rows_are_those_of_the_whole(mnist: Path, split: str) -> None:
    images, labels = read_split(mnist, split)
    streamed = IdxImages(mnist, split)
    assert len(streamed) == len(labels)
    rows = np.random.default_rng(1).integers(0, len(labels), 50)
    x, y = streamed[rows]
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, images[rows])
    np.testing.assert_array_equal(y, labels[rows])
    assert streamed[[]][0].shape == (0, 64)


def test_the_transform_sees_images_as_they_are_in_the_file(tmp_path: Path) -> None:
    images = np.random.default_rng(2).integers(-9000, 9000, (7, 3, 5)).astype(np.int16)  # big-endian in the file
    (tmp_path / "train-images-idx3").write_bytes(idx_bytes(images))
    (tmp_path / "train-labels-idx1").write_bytes(idx_bytes(np.arange(7, dtype=np.uint8)))
    seen = []
    streamed = IdxImages(tmp_path, "train", lambda batch: (seen.append(batch), batch.sum(axis=(1, 2)))[1])
    x, y = streamed[[4, 0]]
    np.testing.assert_array_equal(x, images[[4, 0]].sum(axis=(1, 2)))
    assert seen[0].dtype == np.int16
    np.testing.assert_array_equal(y, [4, 0])


@pytest.mark.parametrize("rows", [[100], [-101], [[1]], 3, [True] * 100, [0.5], ["a"], 2**63])
def test_rows_that_are_not_there_are_refused(mnist: Path, rows: object) -> None:
    with pytest.raises(IndexError, match="no array \\(B,\\) of row numbers below 100"):
        IdxImages(mnist, "test")[rows]


@pytest.mark.parametrize("zipped", [False, True])
def test_streaming_refuses_files_of_another_length(mnist: Path, zipped: bool) -> None:
    path = mnist / ("train-images-idx3-ubyte.gz" if zipped else "t10k-images.idx3-ubyte")
    content = path.read_bytes()
    path.write_bytes(gzip.compress(gzip.decompress(content)[:-1]) if zipped else content[:-1])
    with pytest.raises(InvalidInputError, match="bytes of data, but holds") as caught:
        IdxImages(mnist, "train" if zipped else "test")
    assert str(path) in caught.value.message


def test_no_more_is_unpacked_than_the_header_announces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    zipped = gzip.compress(idx_bytes(np.zeros((20, 2, 2), np.uint8)) + bytes(50_000_000))
    (tmp_path / "train-images-idx3.gz").write_bytes(zipped)
    (tmp_path / "train-labels-idx1").write_bytes(idx_bytes(np.zeros(20, np.uint8)))
    monkeypatch.setattr(os, "fstat", lambda number: written.append(fstat(number).st_size) or fstat(number))
    with pytest.raises(InvalidInputError, match=r"shape \(20, 2, 2\), which is 80 bytes of data, but holds more"):
        IdxImages(tmp_path, "train")
    assert max(written) == 16 + 80 + 1  # header, data, and a byte that shows that there is more


fstat = os.fstat


@pytest.mark.parametrize("shape", [(0, 28, 28), (0, 2**32 - 1, 2**32 - 1), (2**32 - 1, 2**32 - 1), (1,) * 65, ()])
def test_odd_shapes_are_read_or_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "train-images-idx3"
    path.write_bytes(bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape))
    (tmp_path / "train-labels-idx1").write_bytes(idx_bytes(np.zeros(0, np.uint8)))
    if shape == (0, 28, 28):
        assert read_split(tmp_path, "train")[0].shape == (0, 28 * 28)
        assert IdxImages(tmp_path, "train")[[]][0].shape == (0, 28 * 28)
    else:
        for read in (read_idx, lambda path: IdxImages(path.parent, "train")):
            with pytest.raises(InvalidInputError, match="train-images-idx3"):
                read(path)


def test_a_file_that_shrinks_while_it_is_open_is_named(mnist: Path) -> None:
    streamed = IdxImages(mnist, "test")
    os.truncate(mnist / "t10k-images.idx3-ubyte", 1000)
    with pytest.raises(InvalidInputError, match=r"t10k-images.* has become shorter"):
        streamed[[99]]


def test_there_are_two_splits(mnist: Path) -> None:
    with pytest.raises(InvalidInputError, match="split is 'val'; 'train' or 'test' is expected"):
        read_split(mnist, "val")


def test_streaming_needs_the_memory_of_a_batch_only(tmp_path: Path) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    images = np.zeros((20_000, 28, 28), np.uint8)  # 16 MB
    (tmp_path / "train-images-idx3.gz").write_bytes(gzip.compress(idx_bytes(images), 1))
    (tmp_path / "train-labels-idx1").write_bytes(idx_bytes(np.zeros(20_000, np.uint8)))
    del images
    tracemalloc.start()
    streamed = IdxImages(tmp_path, "train")
    for start in range(0, 20_000, 100):
        streamed[np.arange(start, start + 100)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6
