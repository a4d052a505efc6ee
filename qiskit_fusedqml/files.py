"""Files: written whole or not at all, and read only if they are regular ones."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import InvalidInputError
from .memory import format_bytes


@contextmanager
def replacing(path: Path, *, part: str | None = None) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` at the end, at once and wholly, or not at all.

    The new file is on the disk before it gets the name, and the name before this returns: neither a kill nor a power
    cut leaves less than one whole file.

    Args:
        path: The file's name in the end.
        part: Its name until then, in the same folder; by default one that no other writer has. A fixed name is for
            folders with one writer, where what a killed one has left is then overwritten.

    Raises:
        InvalidInputError: If there is something at ``path`` that is no regular file.
        OSError: If the file cannot be written; the former one is as it was.
    """
    if path.exists() and not path.is_file():
        raise InvalidInputError(f"{path} is no regular file and cannot be replaced by one; name another path.")
    path = Path(os.path.realpath(path))  # a link stays one
    draft = path.with_name(part or f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)  # the disk may be full
        raise
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def regular(path: Path, most: int | None = None) -> Iterator[BinaryIO]:
    """A regular file, open for reading.

    Args:
        path: The file.
        most: The most bytes that it may have.

    Raises:
        InvalidInputError: If it is a pipe, a folder, a device or too large; nothing has been read.
        OSError: If it cannot be opened.
    """
    # a pipe is not waited for
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidInputError(f"{path} is no regular file.")
        if most is not None and found.st_size > most:
            raise InvalidInputError(f"{path} has {format_bytes(found.st_size)}; at most {format_bytes(most)} are read.")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)
