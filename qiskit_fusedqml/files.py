"""Files: written whole or not at all, read only if they are regular ones, locked for one process."""

from __future__ import annotations

import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from .errors import InvalidInputError
from .memory import format_bytes

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_TRIES = 100 if sys.platform == "win32" else 1
"""How often a file is put in the place of another: on Windows not while somebody reads that one, or scans it."""

_PAUSE = 0.02
"""Seconds between them."""


@contextmanager
def replacing(path: Path, *, part: str | None = None) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` at the end, at once and wholly, or not at all.

    The new file is on the disk before it gets the name, and the name before this returns: neither a kill nor a power
    cut leaves less than one whole file. On Windows a power cut may still bring back the former one.

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
        _replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)  # the disk may be full
        raise
    if sys.platform != "win32":  # where a folder cannot be opened
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(draft: Path, path: Path) -> None:
    for left in reversed(range(_TRIES)):
        try:
            draft.replace(path)
        except PermissionError:
            if not left:
                raise
            time.sleep(_PAUSE)
        else:
            return


def lock(file: IO[Any]) -> None:
    """Lock an open file for this process alone, until it is closed; forked children do not have the lock.

    Raises:
        BlockingIOError: If another process has the lock.
        PermissionError: Likewise.
    """
    if sys.platform == "win32":
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


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
    # a pipe is not waited for, and Windows leaves the bytes as they are
    flags = (getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
    descriptor = os.open(path, sum(flags, os.O_RDONLY))
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
