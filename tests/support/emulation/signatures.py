"""What the kernels' C++ signatures say about their arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

from qiskit_fusedqml.devices.gpu.constants import MAP
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
    "CoefficientMap": MAP.name,
    # other structures are made by kernels, in memory of so many words
    "Part<float>": "int64",
    "Part<double>": "int64",
    "Results": "int64",
}
"""NumPy's names."""

_KERNEL = re.compile(r"__global__ void\s*(?:__launch_bounds__\((?:[^()]|\([^()]*\))*\))?\s*(\w+)\s*\(([^{]*)\)\s*\{")


@cache
def signatures() -> dict[str, list[tuple[str, bool]]]:
    """The type of each parameter of each kernel, and whether it is a pointer to that."""
    text = re.sub(r"//.*", "", source())
    found = {}
    for name, parameters in _KERNEL.findall(text):
        words = [re.sub(r"\b(const|volatile|__restrict__)\b", " ", p) for p in parameters.split(",")]
        found[name] = [(" ".join(re.sub(r"\*|\w+\s*$", " ", p).split()), "*" in p) for p in words]
    return found


def check(kernel: str, arguments: Sequence[object]) -> None:
    """Raise TypeError where arguments are not what a kernel, by its name expression, declares."""
    name, _, rest = kernel.removeprefix("fusedqml::").partition("<")
    real = "float" if rest.startswith("float") else "double"
    declared = signatures()[name]
    if len(declared) != len(arguments):
        raise TypeError(f"{kernel} has {len(declared)} parameters; {len(arguments)} arguments were given")
    for number, ((kind, is_pointer), argument) in enumerate(zip(declared, arguments, strict=True)):
        expected = TYPES[re.sub(r"\b(Real|Value)\b", real, kind)]
        is_null = argument is None or isinstance(argument, np.uint64)
        given = "nothing" if is_null else np.asarray(argument).dtype.name
        is_array = isinstance(argument, np.ndarray) and not isinstance(argument, Structure)
        if is_pointer != (is_null or is_array) or given not in {"nothing", expected}:
            raise TypeError(f"{kernel}: argument {number} is of type {given}; {expected}{'*' * is_pointer} is declared")
