"""Reading images and labels in the IDX format of MNIST, gzipped or not.

An IDX file is ``0 0 type rank``, then ``rank`` sizes as big-endian 32-bit integers, then the data, big-endian and in C
order. Everything that does not fit this is refused, with the file's name and what was found in it.
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

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
    with path.open("rb") as raw:
        zipped = raw.read(2) == _GZIP
    try:
        # typeshed's GzipFile is no BinaryIO, though it reads like one
        with cast("BinaryIO", gzip.open(path, "rb")) if zipped else path.open("rb") as file:
            return _read(path, file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidInputError(f"{path} is a damaged gzip file ({error}); fetch it again.") from error


def _read(path: Path, file: BinaryIO) -> NDArray[Any]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise InvalidInputError(
            f"{path} is not an IDX file: it begins with the bytes {magic.hex(' ') or '(none)'}; "
            "00 00, a type (08, 09, 0b, 0c, 0d or 0e) and the number of dimensions are expected."
        )
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise InvalidInputError(f"{path} ends inside its header: {magic[3]} dimensions were announced.")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
    dtype = np.dtype(_TYPES[magic[2]])
    size = prod(shape) * dtype.itemsize
    data = file.read(size + 1)
    if len(data) != size:
        found = "more" if len(data) > size else str(len(data))
        raise InvalidInputError(f"{path} says shape {shape}, which is {size} bytes of data, but holds {found}.")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


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
    if images.ndim < 2 or labels.ndim != 1 or len(images) != len(labels) or not np.issubdtype(labels.dtype, np.integer):
        raise InvalidInputError(
            f"{image_file} holds {images.dtype} of shape {images.shape} and {label_file} {labels.dtype} of shape "
            f"{labels.shape}; as many images as whole-number labels are expected."
        )
    return images.reshape(len(images), -1).astype(np.float64), labels.astype(np.int64)


def _find(directory: Path, split: str, kind: str) -> Path:
    if not directory.is_dir():
        raise InvalidInputError(f"--data {directory}: there is no such folder.")
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
