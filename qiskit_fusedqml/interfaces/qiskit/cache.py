"""What was compiled from a circuit, shared by the primitives, the gradients and the backend.

Compiling (lowering and planning) takes far longer than one evaluation, and the same circuit object comes again and
again in a training run. What was compiled is therefore kept per `QuantumCircuit` object, for as long as that object
lives; plans are shared by other circuits of the same structure (`qiskit_fusedqml.engine.plans`). A circuit can be
changed in
place, so each call of a primitive or a gradient compares it, once, with the copy that was compiled, at a third of a
microsecond a gate. A key made of names would cost more, and two circuits that differ inside a large matrix only would
get the same one.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from threading import RLock
from typing import Any, TypeVar, cast

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.exceptions import QiskitError
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import SparseObservable, SparsePauliOp

from ...engine.options import EngineOptions
from ...engine.states import DifferentiableStates
from ...ir.measurement import Measurement
from .lowering import free_parameters, lower, lower_observable

T = TypeVar("T")

MAX_CIRCUITS = 128
"""Circuits remembered; the one not used for longest is forgotten first."""

MAX_COMPILED = 32
"""Things remembered for one circuit (other observables, other options)."""

MAX_OPERATORS = 256
"""Operators whose canonical form is remembered."""

MAX_TERMS = 64
"""The most terms that such an operator has; longer ones cost more than finding out that they are known."""


@dataclass(frozen=True, slots=True, eq=False)
class Observable:
    """An observable in canonical form.

    Attributes:
        key: Equal for observables with the same terms.
        value: The observable, simplified, with real coefficients (in Qiskit 2.0 a mapping from labels).
        num_qubits: Its width.
        num_terms: Number of its terms.
    """

    key: Hashable
    value: SparseObservable | Mapping[str, float]
    num_qubits: int
    num_terms: int


def canonical(observable: Any) -> Observable:
    """The canonical form of anything Estimator V2 accepts.

    Raises:
        TypeError: For a type that is not accepted, for instance a dense operator.
        ValueError: For an observable that is empty or not Hermitian.
    """
    if type(observable) is not SparsePauliOp or observable.size > MAX_TERMS or observable.coeffs.dtype != complex:
        return from_coerced(ObservablesArray.coerce_observable(observable))
    paulis = observable.paulis
    content = (paulis.x, paulis.z, paulis.phase, observable.coeffs)
    key = (observable.num_qubits, *(array.tobytes() for array in content))
    found = _operators.get(key)
    if found is None:
        found = from_coerced(ObservablesArray.coerce_observable(observable))
        if len(_operators) >= MAX_OPERATORS:
            _operators.clear()
        _operators[key] = found
    return found


_operators: dict[Hashable, Observable] = {}


def from_coerced(value: SparseObservable | Mapping[str, float]) -> Observable:
    """The same for an entry of an `ObservablesArray`, which has been simplified and checked already."""
    if isinstance(value, Mapping):
        return Observable(frozenset(value.items()), value, len(next(iter(value))), len(value))
    arrays = (value.coeffs, value.bit_terms, value.indices, value.boundaries)
    key = (value.num_qubits, *(np.asarray(array).tobytes() for array in arrays))
    return Observable(key, value, value.num_qubits, value.num_terms)


def with_layout(observable: Observable, layout: Any, num_qubits: int | None = None) -> Observable:
    """The observable on the qubits of a transpiled circuit.

    Args:
        observable: The observable.
        layout: The circuit's layout, or a list with the place of each of the observable's qubits.
        num_qubits: Number of qubits of the circuit, for a list.
    """
    value = observable.value
    operator = SparsePauliOp.from_list(list(value.items())) if isinstance(value, Mapping) else value
    return canonical(operator.apply_layout(layout, num_qubits))


class CircuitCache:
    """A bounded, thread-safe store of what was derived from circuits.

    Circuits are known by identity and held weakly. An entry whose circuit has been changed since is dropped.
    """

    def __init__(self, max_circuits: int = MAX_CIRCUITS, max_compiled: int = MAX_COMPILED) -> None:
        """Start empty.

        Args:
            max_circuits: Circuits remembered.
            max_compiled: Things remembered for one circuit.
        """
        self._max_circuits = max_circuits
        self._max_compiled = max_compiled
        self._entries: OrderedDict[int, KnownCircuit] = OrderedDict()
        self._lock = RLock()  # reentrant: the garbage collector may call `_forget` in the middle of `known`

    def get(self, circuit: QuantumCircuit, key: Hashable, build: Callable[[QuantumCircuit], T]) -> T:
        """What ``build`` made of the circuit, made now if it is not there.

        Args:
            circuit: The circuit.
            key: What is wanted, with every option it depends on.
            build: Called with a copy of the circuit, so that nothing it returns can keep the circuit itself alive.
        """
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
    """One circuit: a weak reference, the copy that was compiled, and what came of it.

    Attributes:
        reference: The circuit itself.
        snapshot: Its copy.
    """

    def __init__(
        self,
        circuit: QuantumCircuit,
        forget: Callable[[weakref.ref[QuantumCircuit]], None],
        max_compiled: int = MAX_COMPILED,
    ) -> None:
        """Copy the circuit.

        Args:
            circuit: The circuit.
            forget: Called with the reference when the circuit is gone.
            max_compiled: Things remembered.
        """
        self.reference = weakref.ref(circuit, forget)
        self.snapshot = circuit.copy()
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
        """The positions of some parameters.

        Callers ask for the same ones in every call, and finding a parameter takes longer than comparing it.

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
        """See `CircuitCache.get`."""
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
        return self.reference() is circuit and self._equals(circuit)

    def _equals(self, circuit: QuantumCircuit) -> bool:
        snapshot = self.snapshot
        return bool(
            circuit.num_qubits == snapshot.num_qubits
            and circuit.num_clbits == snapshot.num_clbits
            and circuit.global_phase == snapshot.global_phase
            and self._has_data_of(circuit)
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


def compile_circuit(
    known: KnownCircuit, observables: Sequence[Observable] | None, options: EngineOptions
) -> DifferentiableStates:
    """The engine for a circuit whose weights are all its parameters, in the order of ``circuit.parameters``.

    Args:
        known: The circuit; terminal measurements are ignored by values.
        observables: What is measured, in this order; None when only states and probabilities are wanted.
        options: Where and how.
    """

    def build(snapshot: QuantumCircuit) -> DifferentiableStates:
        source = known.get("encoded", lambda copied: lower(copied, encodes=True))
        sums = None
        if observables is not None:
            sums = [lower_observable(observable.value, snapshot.num_qubits) for observable in observables]
        pairs = source.measurements
        return DifferentiableStates(
            source.program,
            source.angle_map,
            sums,
            encoding=source.encoding,
            measurement=Measurement(pairs, source.num_clbits) if pairs else None,
            **asdict(options),
        )

    names = None if observables is None else tuple(observable.key for observable in observables)
    return known.get(("engine", names, options), build)
