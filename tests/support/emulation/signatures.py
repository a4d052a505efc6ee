"""What the kernels' C++ signatures say about their arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

from qiskit_fusedqml.devices.gpu.constants import MAP, STRUCTURES, SWEEP
from qiskit_fusedqml.devices.gpu.runtime import Structure
from qiskit_fusedqml.devices.gpu.sources import source

TYPES = {
    "int": "int32",
    "float": "float32",
    "double": "float64",
    "long long": "int64",
    "unsigned long long": "uint64",
    "Complex<float>": "complex64",
    "Complex<double>": "complex128",
    # other structures are made by kernels, in memory of so many words
    "Part<float>": "int64",
    "Part<double>": "int64",
    "Results": "int64",
}
"""NumPy's names."""

BY_VALUE = {"CoefficientMap": ("MapMembers", MAP), "SweepArguments<Real>": ("SweepMembers", SWEEP)}
"""Structures that kernels take by value: where their members are declared, and NumPy's types."""

_KERNEL = re.compile(r"__global__ void\s*(?:__launch_bounds__\((?:[^()]|\([^()]*\))*\))?\s*(\w+)\s*\(([^{]*)\)\s*\{")


@cache
def signatures() -> dict[str, list[tuple[str, bool]]]:
    """The type of each parameter of each kernel, and whether it is a pointer to that."""
    text = re.sub(r"//.*", "", source())
    return {name: [_declared(p) for p in parameters.split(",")] for name, parameters in _KERNEL.findall(text)}


def _declared(parameter: str) -> tuple[str, bool]:
    """The type of a parameter, which has a name, and whether it is a pointer to that."""
    words = re.sub(r"\b(const|volatile|__restrict__)\b", " ", parameter)
    return " ".join(re.sub(r"\*|\w+\s*$", " ", words).split()), "*" in words


def check(kernel: str, arguments: Sequence[object]) -> None:
    """Raise TypeError where arguments, or members of structures, are not what a kernel, by its name, declares."""
    name, _, rest = kernel.removeprefix("fusedqml::").partition("<")
    real = "float" if rest.startswith("float") else "double"
    declared = signatures()[name]
    if len(declared) != len(arguments):
        raise TypeError(f"{kernel} has {len(declared)} parameters; {len(arguments)} arguments were given")
    for number, ((kind, is_pointer), argument) in enumerate(zip(declared, arguments, strict=True)):
        if kind not in BY_VALUE:
            _check(f"{kernel}: argument {number}", kind, is_pointer, real, argument)
            continue
        members, dtype = BY_VALUE[kind]
        if not isinstance(argument, Structure) or argument.dtype != dtype:
            raise TypeError(f"{kernel}: argument {number} is no {kind}")
        for member, value in argument.members.items():
            given = np.int32(value) if isinstance(value, int) else value
            _check(f"{kernel}: {member}", *_declared(f"{STRUCTURES[members][member]} {member}"), real, given)


def _check(what: str, kind: str, is_pointer: bool, real: str, argument: object) -> None:
    expected = TYPES[re.sub(r"\b(Real|Value)\b", real, kind)]
    is_null = argument is None or isinstance(argument, np.uint64)
    given = "nothing" if is_null else np.dtype(argument.dtype).name
    is_array = not is_null and not isinstance(argument, np.number)
    if is_pointer != (is_null or is_array) or given not in {"nothing", expected}:
        raise TypeError(f"{what} is of type {given}; {expected}{'*' * is_pointer} is declared")
