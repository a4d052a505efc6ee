"""What was compiled from a circuit, shared by the primitives, the gradients and the backend.

Compiling (lowering and planning) takes far longer than one evaluation, and the same circuit object comes again and
again in a training run. What was compiled is therefore kept per `QuantumCircuit` object, for as long as that object
lives; plans are shared by other circuits of the same structure (`qiskit_fusedqml.engine.plans`). A circuit can be
changed in place, so each call of a primitive or a gradient compares it, once, with what it held when it was compiled
(`Snapshot`), at a third of a microsecond a standard gate. A key made of names would cost more, and be the same for two
circuits that differ inside a large matrix only.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from functools import cached_property, partial
from threading import RLock
from typing import Any, TypeVar

from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from ...arrays import shown
from ...errors import InvalidInputError
from ...memory import BoundedCache
from .lowering import free_parameters, with_blocks
from .snapshot import Snapshot

T = TypeVar("T")

MAX_INSTRUCTIONS = 1 << 19
"""Instructions of all circuits remembered."""

CIRCUIT_INSTRUCTIONS = 64
"""What a circuit takes beside its instructions, in instructions."""

MAX_COMPILED = 32
"""Things remembered for one circuit (other observables, other options)."""


def check_circuit(circuit: object, name: str = "circuit") -> None:
    """Refuse what is no circuit."""
    if not isinstance(circuit, QuantumCircuit):
        raise InvalidInputError(f"{name} is {shown(circuit)}; a QuantumCircuit is expected.")


class CircuitCache:
    """A bounded, thread-safe store of what was derived from circuits.

    Circuits are known by identity and held weakly. An entry whose circuit has been changed since is dropped.
    """

    def __init__(self, max_instructions: int = MAX_INSTRUCTIONS) -> None:
        """Start empty; circuits of so many instructions are remembered at the most."""
        self._entries: BoundedCache[int, KnownCircuit] = BoundedCache(max_instructions, lambda entry: entry.size)
        self._lock = RLock()

    def get(self, circuit: QuantumCircuit, key: Hashable, build: Callable[[QuantumCircuit], T]) -> T:
        """See `KnownCircuit.get`."""
        return self.known(circuit).get(key, build)

    def __len__(self) -> int:
        """Number of circuits remembered."""
        return len(self._entries)

    def known(self, circuit: QuantumCircuit) -> KnownCircuit:
        """What is known of the circuit as it is now; for several questions in one call, as each call compares it."""
        with self._lock:
            entry = self._entries.find(id(circuit))
            if entry is None or not entry.is_still(circuit):
                check_circuit(circuit)
                entry = KnownCircuit(circuit, partial(self._forget, id(circuit)), by_names=entry is None)
                self._entries.put(id(circuit), entry)
        return entry

    def _forget(self, identity: int, reference: weakref.ref[QuantumCircuit]) -> None:
        entry = self._entries.find(identity)
        if entry is not None and entry.reference is reference:  # else another circuit has this address by now
            self._entries.drop(identity)


class KnownCircuit:
    """One circuit: a weak reference to it, a copy (``snapshot``), and what was made of the copy."""

    def __init__(
        self, circuit: QuantumCircuit, forget: Callable[[weakref.ref[QuantumCircuit]], None], *, by_names: bool = False
    ) -> None:
        """Copy the circuit; ``forget`` is called with the reference when it is gone."""
        self.reference = weakref.ref(circuit, forget)
        self._snapshot = Snapshot(circuit, by_names=by_names)
        self.snapshot: QuantumCircuit = self._snapshot.circuit
        self._compiled: BoundedCache[Hashable, Any] = BoundedCache(MAX_COMPILED)
        self.size = CIRCUIT_INSTRUCTIONS + len(circuit.data)
        self._lock = RLock()

    @cached_property
    def parameters(self) -> list[Parameter]:
        """The parameters that need values, in the order of values."""
        return list(free_parameters(self.snapshot))

    @cached_property
    def operations(self) -> dict[str, int]:
        """How often each operation is there, in blocks of control flow, too."""
        total: dict[str, int] = {}
        for each in with_blocks(self.snapshot):
            for name, number in each.count_ops().items():
                total[name] = total.get(name, 0) + number
        return total

    @cached_property
    def columns(self) -> dict[Parameter, int]:
        """The position of each parameter."""
        return {parameter: position for position, parameter in enumerate(self.parameters)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters' names."""
        return tuple(parameter.name for parameter in self.parameters)

    def get(self, key: Hashable, build: Callable[[QuantumCircuit], T]) -> T:
        """What ``build`` made of the circuit, made now if it is not there; the key has every option it depends on.

        ``build`` is called with a copy of the circuit, so that nothing it returns can keep the circuit itself alive.
        """
        with self._lock:  # threads that want the same thing wait for one of them to build it
            made: T = self._compiled.get(key, partial(build, self.snapshot))
        return made

    def is_still(self, circuit: QuantumCircuit) -> bool:
        """Whether this is about that very circuit and it still is what was copied."""
        return self.reference() is circuit and self._snapshot.is_of(circuit)


CACHE = CircuitCache()
"""The one cache of the package's interfaces."""


def owned(circuit: QuantumCircuit) -> QuantumCircuit:
    """A copy that no change of the circuit reaches; the same copy as long as there is none."""
    copied = CACHE.known(circuit).snapshot
    is_named_so = copied.name == circuit.name and copied.metadata == circuit.metadata
    return copied if is_named_so else Snapshot(circuit).circuit
