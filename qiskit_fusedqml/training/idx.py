"""Reading images and labels in the IDX format of MNIST, gzipped or not, whole or streamed.

An IDX file is ``0 0 type rank``, then ``rank`` sizes as big-endian 32-bit integers, then the data, big-endian and in C
order. Whatever differs from this is refused with the file's name; no more is read than the header announces.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Callable
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"
_SPLITS = {"train": ("train",), "test": ("t10k", "test")}
_MAX_RANK, _MAX_SIZE = 32, 1 << 59
_CHUNK = 1 << 16


def read_idx(path: Path) -> NDArray[Any]:
    """Read one IDX file.

    Args:
        path: The file; whether it is gzipped is seen from its first bytes, not from its name.

    Returns:
        The array in the file's shape and the machine's byte order.

    Raises:
        InvalidInputError: The file is not IDX, is damaged, or holds less or more data than its header says.
        OSError: The file cannot be read.
    """
    return _MappedIdx(path)[...]


def read_split(directory: Path, split: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read the images and labels of one half of an MNIST-like folder.

    Args:
        directory: Holds one file named like ``train-images-idx3-ubyte`` and one like ``train-labels-idx1-ubyte``, with
            anything before and after these words; ``t10k-`` or ``test-`` for the test half.
        split: "train" or "test".

    Returns:
        Images (N, pixels) and labels (N,).

    Raises:
        InvalidInputError: A file is missing, ambiguous or damaged, or images and labels do not belong together.
    """
    images, labels = _open_split(directory, split)
    return _flat(images[...]).astype(np.float64), labels


class IdxImages:
    """The images and labels of a split of an MNIST-like folder, read from the files when a batch asks for them.

    However many images there are, no more than a batch is in memory. A gzipped file, which cannot be read here and
    there, is unpacked once, into a temporary file that is gone when this object is.

    ``images[rows]`` are the images and labels of an array of row numbers, as `fit` asks for them.

    Args:
        directory: As for `read_split`.
        split: "train" or "test".
        transform: From images (B, height, width), in the file's type, to what the model takes, such as features
            (B, num_inputs); by default pixels (B, height * width) as float32.

    Attributes:
        labels: Labels (N,).

    Raises:
        InvalidInputError: As `read_split`.
        OSError: If a file cannot be read.
    """

    def __init__(
        self,
        directory: str | Path,
        split: str,
        transform: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    ) -> None:
        self._images, self.labels = _open_split(Path(directory), split)
        self._transform = transform or (lambda images: _flat(images).astype(np.float32))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """What the transform makes of the images, and the labels (B,), for row numbers (B,)."""
        given = np.asarray(rows)
        integers = given.dtype.kind in "iu" or not given.size
        if given.ndim != 1 or not integers or (given.size and (given.min() < -len(self) or given.max() >= len(self))):
            raise IndexError(f"{given!r} is no array (B,) of row numbers below {len(self)}.")
        rows = given.astype(np.intp)
        return self._transform(self._images[rows]), self.labels[rows]


class _MappedIdx:
    """An IDX file mapped into memory, whose header and length have been checked; an index gives a copy of a part."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP
            raw.seek(0)
            if zipped:
                with tempfile.TemporaryFile() as file:
                    self._unpack(raw, file)
                    self._map(file)
            else:
                self._map(raw)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """A part of the array, in the machine's byte order."""
        if self._mapping.size() < len(self._mapping):  # what is no longer there cannot be read
            raise InvalidInputError(f"{self._path} has become shorter since it was opened.")
        part: NDArray[Any] = self.array[index]
        return part.astype(part.dtype.newbyteorder("="))

    def _map(self, file: IO[bytes]) -> None:
        dtype, shape = self._read_header(file)
        start = file.tell()
        announced, found = prod(shape) * dtype.itemsize, os.fstat(file.fileno()).st_size - start
        if found != announced:
            held = "more" if found > announced else str(found)
            raise InvalidInputError(
                f"{self._path} says shape {shape}, which is {announced} bytes of data, but holds {held}."
            )
        self._mapping = mmap(file.fileno(), 0, access=ACCESS_READ)  # it stays when the file is closed
        self.array: NDArray[Any] = np.frombuffer(self._mapping, dtype, offset=start).reshape(shape)

    def _read_header(self, file: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
        magic = file.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] > _MAX_RANK:
            raise InvalidInputError(
                f"{self._path} is not an IDX file: it begins with the bytes {magic.hex(' ') or '(none)'}; "
                "00 00, a type (08, 09, 0b, 0c, 0d or 0e) and the number of dimensions are expected."
            )
        sizes = file.read(4 * magic[3])
        if len(sizes) < 4 * magic[3]:
            raise InvalidInputError(f"{self._path} ends inside its header: {magic[3]} dimensions were announced.")
        shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
        if prod(max(1, size) for size in shape) >= _MAX_SIZE:
            raise InvalidInputError(f"{self._path} says shape {shape}, which is too large.")
        return np.dtype(_TYPES[magic[2]]), shape

    def _unpack(self, raw: IO[bytes], file: IO[bytes]) -> None:
        """Unpack what the header announces and, where there is more, one byte of it."""
        try:
            with gzip.open(raw, "rb") as source:
                dtype, shape = self._read_header(source)  # type: ignore[arg-type]
                left = source.tell() + prod(shape) * dtype.itemsize + 1
                source.seek(0)
                while chunk := source.read(min(left, _CHUNK)):
                    file.write(chunk)
                    left -= len(chunk)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InvalidInputError(f"{self._path} is a damaged gzip file ({error}); fetch it again.") from error
        file.seek(0)


def _open_split(directory: Path, split: str) -> tuple[_MappedIdx, NDArray[np.int64]]:
    image_file, label_file = (_find(directory, split, kind) for kind in ("images", "labels"))
    mapped, labels = _MappedIdx(image_file), read_idx(label_file)
    images = mapped.array
    integers = np.issubdtype(labels.dtype, np.integer)
    if len(images.shape) < 2 or labels.ndim != 1 or images.shape[0] != len(labels) or not integers:
        raise InvalidInputError(
            f"{image_file} holds {images.dtype} of shape {images.shape} and {label_file} {labels.dtype} of shape "
            f"{labels.shape}; as many images as whole-number labels are expected."
        )
    return mapped, labels.astype(np.int64)


def _flat(images: NDArray[Any]) -> NDArray[Any]:
    return images.reshape(len(images), prod(images.shape[1:]))


def _find(directory: Path, split: str, kind: str) -> Path:
    if split not in _SPLITS:
        raise InvalidInputError(f"split is {split!r}; 'train' or 'test' is expected.")
    if not directory.is_dir():
        raise InvalidInputError(f"{directory}: there is no such folder.")
    names = [f"{prefix}-{kind}" for prefix in _SPLITS[split]]
    files = sorted(path for path in directory.iterdir() if path.is_file())
    found = [path for path in files if "idx" in path.name and any(name in path.name for name in names)]
    if len(found) != 1:
        problem = f"several: {', '.join(path.name for path in found)}" if found else "none"
        held = ", ".join(path.name for path in files[:8]) or "nothing"
        raise InvalidInputError(
            f"{directory} should hold one file named like {names[0]}-idx{3 if kind == 'images' else 1}-ubyte[.gz]; "
            f"there is {problem}. The folder holds {held}{', ...' if len(files) > 8 else ''}."
        )
    return found[0]
