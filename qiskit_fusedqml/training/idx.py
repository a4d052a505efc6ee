"""Reading images and labels in the IDX format of MNIST, gzipped or not, whole or streamed.

An IDX file is ``0 0 type rank``, then ``rank`` sizes as big-endian 32-bit integers, then the data, big-endian and in C
order. Everything that does not fit this is refused, with the file's name and what was found in it.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"
_SPLITS = {"train": ("train",), "test": ("t10k", "test")}


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
    with _unzipped(path) as file:
        header = _read_header(path, file)
        data = file.read(header.size + 1)
        header.check(path, len(data))
        array = np.frombuffer(data, header.dtype).reshape(header.shape)
        return array.astype(header.dtype.newbyteorder("="))


class IdxImages:
    """The images and labels of a split of an MNIST-like folder, read from the files when a batch asks for them.

    However many images there are, no more than a batch is in memory. A gzipped file, which cannot be read here and
    there, is unpacked once, into a temporary file that is gone when this object is.

    ``images[rows]`` are the images and labels of an array of row numbers, as `fit` and `Batches` ask for them.

    Args:
        directory: As for `read_split`.
        split: "train" or "test".
        transform: From images (B, height, width), in the file's type, to what the model takes, such as features
            (B, num_inputs); by default pixels (B, height * width) as float32.

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
        self._path, label_file = (_find(Path(directory), split, kind) for kind in ("images", "labels"))
        self._transform = transform or _pixels
        labels = read_idx(label_file)
        with _unzipped(self._path) as file:
            self._header = _read_header(self._path, file)
            _check_split(self._path, self._header.dtype, self._header.shape, label_file, labels)
            self._file = _random_access(self._path, file, self._header)
            weakref.finalize(self, self._file.close)
        self.labels = labels.astype(np.int64)
        """Labels (N,)."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """What the transform makes of the images, and the labels (B,), for row numbers (B,)."""
        rows = np.asarray(rows, np.intp)
        if rows.ndim != 1 or (rows.size and (rows.min() < -len(self) or rows.max() >= len(self))):
            raise IndexError(f"{rows!r} is no array (B,) of row numbers below {len(self)}.")
        header = self._header
        images = np.empty((len(rows), *header.shape[1:]), header.dtype)
        size = prod(header.shape[1:]) * header.dtype.itemsize
        for image, row in zip(images, rows, strict=True):
            # without a position of its own: threads and forked processes may read at the same time
            content = os.pread(self._file.fileno(), size, header.bytes + int(row) % len(self) * size)
            image.ravel().view(np.uint8)[:] = np.frombuffer(content, np.uint8)
        return self._transform(images.astype(header.dtype.newbyteorder("="), copy=False)), self.labels[rows]


class _Header(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Length of the header."""
        return 4 + 4 * len(self.shape)

    @property
    def size(self) -> int:
        """Length of the data that it announces."""
        return prod(self.shape) * self.dtype.itemsize

    def check(self, path: Path, found: int) -> None:
        """Refuse other lengths of the data."""
        if found != self.size:
            held = "more" if found > self.size else str(found)
            raise InvalidInputError(
                f"{path} says shape {self.shape}, which is {self.size} bytes of data, but holds {held}."
            )


@contextmanager
def _unzipped(path: Path) -> Iterator[BinaryIO]:
    try:
        # typeshed's GzipFile is no BinaryIO, though it reads like one
        with cast("BinaryIO", gzip.open(path, "rb")) if _is_zipped(path) else path.open("rb") as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidInputError(f"{path} is a damaged gzip file ({error}); fetch it again.") from error


def _is_zipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def _read_header(path: Path, file: BinaryIO) -> _Header:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise InvalidInputError(
            f"{path} is not an IDX file: it begins with the bytes {magic.hex(' ') or '(none)'}; "
            "00 00, a type (08, 09, 0b, 0c, 0d or 0e) and the number of dimensions are expected."
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise InvalidInputError(f"{path} ends inside its header: {magic[3]} dimensions were announced.")
    return _Header(np.dtype(_TYPES[magic[2]]), tuple(int(size) for size in np.frombuffer(sizes, ">u4")))


def _random_access(path: Path, file: BinaryIO, header: _Header) -> IO[bytes]:
    """A file with the same content that can be read anywhere; of the right length."""
    whole: IO[bytes]
    with ExitStack() as stack:
        if _is_zipped(path):
            whole = stack.enter_context(tempfile.TemporaryFile())
            file.seek(0)
            shutil.copyfileobj(file, whole)
            whole.flush()
        else:
            whole = stack.enter_context(path.open("rb"))
        header.check(path, os.fstat(whole.fileno()).st_size - header.bytes)
        stack.pop_all()  # it stays open
    return whole


def _pixels(images: NDArray[Any]) -> NDArray[np.float32]:
    return images.reshape(len(images), prod(images.shape[1:])).astype(np.float32)


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
    image_file, label_file = (_find(directory, split, kind) for kind in ("images", "labels"))
    images, labels = read_idx(image_file), read_idx(label_file)
    _check_split(image_file, images.dtype, images.shape, label_file, labels)
    return images.reshape(len(images), -1).astype(np.float64), labels.astype(np.int64)


def _check_split(
    image_file: Path, dtype: np.dtype[Any], shape: tuple[int, ...], label_file: Path, labels: NDArray[Any]
) -> None:
    whole_numbers = np.issubdtype(labels.dtype, np.integer)
    if len(shape) < 2 or labels.ndim != 1 or shape[0] != len(labels) or not whole_numbers:
        raise InvalidInputError(
            f"{image_file} holds {dtype} of shape {shape} and {label_file} {labels.dtype} of shape "
            f"{labels.shape}; as many images as whole-number labels are expected."
        )


def _find(directory: Path, split: str, kind: str) -> Path:
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
