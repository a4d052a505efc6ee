"""Checkpoint files: the nested state of a training run in one npz file, without pickle, replaced atomically.

Tensors are arrays of the file, named by their place (``model/0.weight``), so that NumPy alone can read them; all else
is JSON in the array ``tree``. The zip format adds a checksum to every array: damage is seen when a file is read.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InvalidInputError

Arrays = dict[str, Any]

_SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {"tuple": tuple, "deque": deque}
_MAPPINGS: dict[str, Callable[[list[Any]], Any]] = {"Counter": lambda pairs: Counter(dict(pairs)), "dict": dict}


def save_checkpoint(path: Path, state: Any) -> None:
    """Write state to a file, which holds what it held before until all of the new state is on the disk.

    Args:
        path: The file.
        state: Dictionaries, lists and tuples of tensors, arrays, numbers, strings and None, as ``state_dict()`` of
            torch's modules, optimisers and schedulers gives them.

    Raises:
        InvalidInputError: If there is something else in it.
        OSError: If the file cannot be written; the former one is as it was.
    """
    arrays: Arrays = {"tree": None}  # the name is taken
    arrays["tree"] = np.frombuffer(json.dumps(_encode(state, "", arrays)).encode(), np.uint8)
    with replacing(path) as file:
        np.savez(file, **arrays)


def load_checkpoint(path: Path) -> Any:
    """The state that `save_checkpoint` wrote, tensors on the CPU.

    Raises:
        InvalidInputError: If the file is something else, or is damaged.
        OSError: If it cannot be read.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            tree = json.loads(file["tree"].tobytes())
            return _decode(tree, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"{path} is no checkpoint or is damaged ({error}). Move it away to train from the beginning."
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` at the end, at once and wholly, or not at all.

    The new file is on the disk before it gets the name, and the name before this returns: neither a kill nor a power
    cut leaves less than one whole file.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)  # a full disk has better use for the room
        raise
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _encode(value: Any, where: str, arrays: Arrays) -> Any:
    """Values as JSON; a list is itself, an object is ``{kind: content}``. Arrays go to ``arrays``."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return _encode(value.item(), where, arrays)
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, torch.Tensor):
        return _encode_tensor(value, where, arrays)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return {"array": _keep(value, where, arrays)}
    if isinstance(value, dict):
        pairs = [[_encode(key, where, arrays), _encode(each, _join(where, key), arrays)] for key, each in value.items()]
        return {"Counter" if isinstance(value, Counter) else "dict": pairs}
    if isinstance(value, (list, tuple, deque)):
        items = [_encode(each, _join(where, k), arrays) for k, each in enumerate(value)]
        kind = next((kind for kind in _SEQUENCES if type(value).__name__ == kind), None)
        return items if kind is None else {kind: items}
    raise InvalidInputError(
        f"A checkpoint cannot hold {where}, a {type(value).__name__}: tensors, arrays, numbers, strings and None, in "
        "dictionaries, lists and tuples, are possible."
    )


def _encode_tensor(tensor: torch.Tensor, where: str, arrays: Arrays) -> dict[str, Any]:
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    try:
        return {"tensor": _keep(plain.numpy(), where, arrays)}
    except TypeError:  # a type that NumPy lacks, such as bfloat16: its bytes
        array = plain.contiguous().reshape(-1).view(torch.uint8).numpy()
        return {"bytes": [_keep(array, where, arrays), str(plain.dtype).removeprefix("torch."), list(plain.shape)]}


def _decode(node: Any, file: Any) -> Any:
    if isinstance(node, list):
        return [_decode(each, file) for each in node]
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "tensor":
        return torch.from_numpy(file[content])
    if kind == "array":
        return file[content]
    if kind == "bytes":
        name, dtype, shape = content
        return torch.from_numpy(file[name]).view(getattr(torch, dtype)).reshape(shape)
    if kind == "complex":
        return complex(*content)
    if kind in _MAPPINGS:
        return _MAPPINGS[kind]([(_decode(key, file), _decode(each, file)) for key, each in content])
    return _SEQUENCES[kind]([_decode(each, file) for each in content])


def _keep(array: NDArray[Any], where: str, arrays: Arrays) -> str:
    name = where
    while name in arrays:  # keys may hold slashes, too
        name += "'"
    arrays[name] = array
    return name


def _join(where: str, key: object) -> str:
    return f"{where}/{key}" if where else str(key)
