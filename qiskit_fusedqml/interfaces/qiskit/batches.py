"""What one call asks of each circuit, joined into one batch: pubs of the primitives, entries of the gradients.

A call is a list of requests, each with a circuit and values for its parameters, and usually all of them are on a few
circuits. The requests on one circuit become one `CircuitBatch`, in which every distinct parameter set is simulated
once; estimator, sampler and gradients derive from it what else they are asked for (observables, shots, parameters):

>>> batches = {}
>>> batch = batch_of(batches, CircuitBatch, circuit)     # made, and looked up in the circuit cache, once a call
>>> places = batch.add(values)                           # checked; positions among the distinct parameter sets
>>> results = simulate(batch.known, batch.sets.array())  # one simulation of everything
>>> results[places]                                      # the share of one request, in its own shape
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives.containers.bindings_array import BindingsArray

from ...arrays import real_array
from ...errors import InvalidInputError, warn_slow_path
from .cache import CACHE, check_circuit

Indices = NDArray[np.intp]


class ParameterSets:
    """Distinct parameter sets of ``width`` values in the order of their addition, compared by their bytes."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._places: dict[bytes, int] = {}

    def __len__(self) -> int:
        """Number of distinct sets."""
        return len(self._places)

    def add(self, sets: NDArray[np.float64]) -> Indices:
        """Add sets (N, width); returns the position (N,) of each among the distinct ones."""
        sets = np.ascontiguousarray(sets, dtype=np.float64)
        keys = sets.view(f"V{sets.itemsize * self._width}").ravel().tolist() if self._width else [b""] * len(sets)
        return np.array([self._places.setdefault(key, len(self._places)) for key in keys], dtype=np.intp)

    def array(self) -> NDArray[np.float64]:
        """The distinct sets, shape (len(self), width)."""
        return np.frombuffer(bytearray().join(self._places)).reshape(len(self), self._width)


class CircuitBatch:
    """The requests of one call on one circuit, which is compared with its copy in the circuit cache once, here.

    Attributes:
        known: The circuit's entry in the cache.
        sets: The distinct parameter sets.
    """

    def __init__(self, circuit: QuantumCircuit) -> None:
        self.circuit = circuit  # held, so that its id stays its own
        self.known = CACHE.known(circuit)
        self.sets = ParameterSets(len(self.known.parameters))
        self._added: dict[int, tuple[object, Indices]] = {}

    def add(self, values: BindingsArray | NDArray[np.float64]) -> Indices:
        """Add parameter sets; the very object that was added before is not read again.

        Values of the circuit's parameters are an array (..., number of parameters) in their order or Qiskit's
        container. Returned is the position of each set among the distinct ones, in the shape of the values without the
        parameters' axis.
        """
        added = self._added.get(id(values))
        if added is not None:
            return added[1]
        array, shape = values, values.shape
        if isinstance(values, BindingsArray):
            given: NDArray[np.float64] | None = values.data.get(self.known.names)
            array = np.asarray(values.as_array(self.known.parameters)) if given is None else given
        else:
            shape = shape[:-1]
        check_finite(array, self.known.parameters)
        places = self.sets.add(array.reshape(math.prod(shape), array.shape[-1])).reshape(shape)
        self._added[id(values)] = (values, places)
        return places


def warn_of_parameter_shift(batches: Collection[CircuitBatch], num_pubs: int, gradient: str) -> None:
    """Say once that ``gradient`` replaces a parameter shift, if a call's pubs begin with one.

    A stock gradient sends two pubs for each parameter, all of one circuit or, if it transpiles them, of equal ones.
    """
    if num_pubs < 4 or num_pubs < sum(len(batch.sets) for batch in batches):  # of one parameter set each
        return
    width = len(next(iter(batches)).known.parameters)
    first = [batch.sets.array() for batch in islice(batches, 2 * width)]
    if all(sets.shape[1] == width for sets in first) and _begin_with_shifts(np.concatenate(first)[: 2 * width]):
        warn_slow_path(
            f"These pubs are a parameter shift: two circuits for each parameter. Write gradient={gradient} where the "
            "network or the algorithm is made, for the exact gradient with respect to all parameters at once."
        )


def _begin_with_shifts(sets: NDArray[np.float64]) -> bool:
    """Whether parameter sets (N, P) begin with v + (pi / 2) e_k for two or more k, then v - (pi / 2) e_k for each.

    A single pair is not enough: scans of one parameter, and optimizers that turn one at a time, have such pairs.
    """
    partners = np.flatnonzero(np.count_nonzero(sets != sets[0], axis=1) == 1)
    count = int(partners[0]) if len(partners) else 0
    if count < 2 or len(sets) < 2 * count:
        return False
    plus, minus = sets[:count], sets[count : 2 * count]
    of_pair, shifted = np.nonzero(plus != minus)
    return bool(
        np.array_equal(of_pair, np.arange(count))
        and len(set(shifted.tolist())) == count
        and np.allclose((plus - minus)[of_pair, shifted], np.pi, rtol=0, atol=1e-9)
        and np.allclose(plus + minus, plus[0] + minus[0], rtol=0, atol=1e-9)
    )


def readable_pub(pub: Any, values: int) -> Any:
    """A pub as Qiskit reads it, with arrays of real numbers at its place for values if it is a tuple."""
    if not isinstance(pub, tuple | list) or not pub:
        return pub  # Qiskit's to refuse
    check_circuit(pub[0], "the circuit of a pub")
    if len(pub) <= values:
        return pub
    return (*pub[:values], readable_values(pub[values]), *pub[values + 1 :])


def readable_values(values: Any) -> Any:
    """The values of a pub as Qiskit takes them, with arrays of real numbers."""
    if isinstance(values, Mapping):
        return {key: real_array(each, f"parameter_values[{key!r}]", copy=False) for key, each in values.items()}
    if values is None or isinstance(values, BindingsArray):
        return values
    return real_array(values, "parameter_values", copy=False)


BatchT = TypeVar("BatchT", bound=CircuitBatch)


def batch_of(
    batches: dict[Hashable, BatchT], make: Callable[..., BatchT], circuit: QuantumCircuit, *more: Hashable
) -> BatchT:
    """A circuit's batch among those of a call, made if it is new; ``more`` is what its requests share besides."""
    key = (id(circuit), *more)
    if key not in batches:
        batches[key] = make(circuit, *more)
    return batches[key]


def by_identity(items: Sequence[Any]) -> list[Indices]:
    """The positions of each distinct object, in order of appearance; networks repeat a few objects very often."""
    if not len(items):
        return []
    identities = np.fromiter(map(id, items), np.uintp, len(items))
    if (identities == identities[0]).all():
        return [np.arange(len(items))]
    _, first, kind_of = np.unique(identities, return_index=True, return_inverse=True)
    by_kind = np.split(np.argsort(kind_of, kind="stable"), np.cumsum(np.bincount(kind_of))[:-1])
    return [by_kind[kind] for kind in np.argsort(first)]


def check_finite(values: NDArray[np.float64], parameters: Sequence[Parameter]) -> None:
    """Refuse NaN and infinite values (..., number of parameters)."""
    if np.isfinite(values).all():
        return
    *position, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
    place = f" in row {tuple(position)}" if position else ""
    value = values[(*position, column)]
    raise InvalidInputError(
        f"Parameter {parameters[column].name!r} has the value {value}{place}; finite values are needed."
    )
