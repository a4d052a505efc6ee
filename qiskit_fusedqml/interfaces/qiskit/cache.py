"""What was compiled from a circuit, shared by the primitives, the gradients and the backend.

Compiling (lowering and planning) takes far longer than one evaluation, and the same circuit object comes again and
again in a training run. What was compiled is therefore kept per `QuantumCircuit` object, for as long as that object
lives; plans are shared by other circuits of the same structure (`qiskit_fusedqml.engine.plans`). A circuit can be
changed in place, so each call of a primitive or a gradient compares it, once, with the copy that was compiled, at a
third of a microsecond a gate. A key made of names would cost more, and be the same for two circuits that differ inside
a large matrix only.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from threading import RLock
from typing import Any, TypeVar, cast

from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.exceptions import QiskitError

from .lowering import free_parameters

T = TypeVar("T")

MAX_CIRCUITS = 128
"""Circuits remembered; the one not used for longest is forgotten first."""

MAX_COMPILED = 32
"""Things remembered for one circuit (other observables, other options)."""


class CircuitCache:
    """A bounded, thread-safe store of what was derived from circuits.

    Circuits are known by identity and held weakly. An entry whose circuit has been changed since is dropped.
    """

    def __init__(self, max_circuits: int = MAX_CIRCUITS, max_compiled: int = MAX_COMPILED) -> None:
        """Start empty; so many circuits, and things for one circuit, are remembered at the most."""
        self._max_circuits = max_circuits
        self._max_compiled = max_compiled
        self._entries: OrderedDict[int, KnownCircuit] = OrderedDict()
        self._lock = RLock()  # reentrant: the garbage collector may call `_forget` in the middle of `known`

    def get(self, circuit: QuantumCircuit, key: Hashable, build: Callable[[QuantumCircuit], T]) -> T:
        """See `KnownCircuit.get`."""
        return self.known(circuit).get(key, build)

    def __len__(self) -> int:
        """Number of circuits remembered."""
        return len(self._entries)

    def known(self, circuit: QuantumCircuit) -> KnownCircuit:
        """What is known of the circuit as it is now; for several questions in one call, as each call compares it."""
        with self._lock:
            entry = self._entries.get(id(circuit))
            if entry is None or not entry.is_still(circuit):
                entry = self._entries[id(circuit)] = KnownCircuit(circuit, self._forget, self._max_compiled)
            self._entries.move_to_end(id(circuit))
            while len(self._entries) > self._max_circuits:
                self._entries.popitem(last=False)
        return entry

    def _forget(self, reference: weakref.ref[QuantumCircuit]) -> None:
        with self._lock:
            for identity, entry in self._entries.items():
                if entry.reference is reference:
                    del self._entries[identity]
                    return


class KnownCircuit:
    """One circuit: a weak reference to it, a copy (``snapshot``), and what was made of the copy."""

    def __init__(
        self,
        circuit: QuantumCircuit,
        forget: Callable[[weakref.ref[QuantumCircuit]], None],
        max_compiled: int = MAX_COMPILED,
    ) -> None:
        """Copy the circuit; ``forget`` is called with the reference when it is gone."""
        self.reference = weakref.ref(circuit, forget)
        self.snapshot: QuantumCircuit = circuit.copy()
        self._compiled: OrderedDict[Hashable, Any] = OrderedDict()
        self._asked: tuple[list[Parameter], list[int]] = ([], [])
        self._max_compiled = max_compiled
        self._lock = RLock()

    @cached_property
    def _data(self) -> list[Any]:
        return list(self.snapshot.data)

    @cached_property
    def parameters(self) -> list[Parameter]:
        """The parameters that need values, in the order of values."""
        return list(free_parameters(self.snapshot))

    @cached_property
    def columns(self) -> dict[Parameter, int]:
        """The position of each parameter."""
        return {parameter: position for position, parameter in enumerate(self.parameters)}

    def columns_of(self, parameters: Sequence[Parameter]) -> list[int]:
        """The positions of some parameters; those of the last call are compared, which takes less than finding them.

        Raises:
            KeyError: If one is not the circuit's.
        """
        wanted = list(parameters)
        asked, columns = self._asked
        if asked != wanted:
            columns = [self.columns[parameter] for parameter in wanted]
            self._asked = (wanted, columns)
        return columns

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters' names."""
        return tuple(parameter.name for parameter in self.parameters)

    def get(self, key: Hashable, build: Callable[[QuantumCircuit], T]) -> T:
        """What ``build`` made of the circuit, made now if it is not there.

        Args:
            key: What is wanted, with every option it depends on.
            build: Called with a copy of the circuit, so that nothing it returns can keep the circuit itself alive.
        """
        with self._lock:  # threads that want the same thing wait for one of them to build it
            if key in self._compiled:
                self._compiled.move_to_end(key)
            else:
                self._compiled[key] = build(self.snapshot)
                while len(self._compiled) > self._max_compiled:
                    self._compiled.popitem(last=False)
            return cast(T, self._compiled[key])

    def is_still(self, circuit: QuantumCircuit) -> bool:
        """Whether this is about that very circuit and it still is what was copied: instructions, bits, phase."""
        snapshot = self.snapshot
        return bool(
            circuit.num_qubits == snapshot.num_qubits
            and circuit.num_clbits == snapshot.num_clbits
            and circuit.global_phase == snapshot.global_phase
            and self._has_data_of(circuit)
            and self.reference() is circuit
        )

    def _has_data_of(self, circuit: QuantumCircuit) -> bool:
        try:
            return bool(circuit.data == self._data)
        except QiskitError:  # an operation is compared by its definition, which its parameters forbid: RawFeatureVector
            pairs = list(zip(circuit.data, self._data, strict=False))
            return (
                len(circuit.data) == len(self._data)
                and all(one.qubits == other.qubits and one.clbits == other.clbits for one, other in pairs)
                and all(_same_operation(one.operation, other.operation) for one, other in pairs)
            )


def _same_operation(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except QiskitError:
        return type(one) is type(other) and list(one.params) == list(other.params)


CACHE = CircuitCache()
"""The one cache of the package's interfaces."""
