"""`FusedEstimator`: Qiskit's V2 estimator on the engine.

A call is a list of pubs (circuit, observables, parameter values). All pubs on one circuit become one batch, in which
every distinct row of parameter values is simulated once and every distinct observable is measured once; networks that
send a pub per observable and gradients that send a pub per shifted value thus cost one simulation of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, PrimitiveResult, PubResult
from qiskit.primitives.containers import DataBin, EstimatorPubLike
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.providers import Options
from qiskit.quantum_info import SparsePauliOp

from ...engine.options import EngineOptions
from ...errors import InvalidInputError
from .cache import CACHE, Observable, canonical, compile_circuit, from_coerced, with_layout
from .jobs import FinishedJob
from .lowering import RESETTING, with_fresh_qubits
from .options import EnginePrimitive
from .rows import RowSet, check_finite

SECONDS_PER_AMPLITUDE = 2e-9
"""Roughly what one term of an observable costs per amplitude; only weighs one arrangement against another."""

SECONDS_PER_COMPILED_GATE = 1e-4
"""Roughly what compiling a circuit costs per gate; likewise."""


class FusedEstimator(EnginePrimitive, BaseEstimatorV2):
    """Expectation values of circuits by fused statevector simulation.

    As with qiskit-machine-learning's ``QMLEstimator``, ``default_precision`` selects one of two modes:

    * 0 (the default): values are exact, whatever ``precision`` a call or a pub asks for. Networks pass a precision
      with every call, and noise is hardly ever what is meant.
    * positive: values carry normal noise of standard deviation ``precision`` (the pub's, else the call's, else the
      default), from one generator per pub, seeded with ``seed``: the numbers `StatevectorEstimator` gives. 0 then
      means exact.

    Terminal measurements are ignored. Values are those of the mixed state where the circuit resets qubits, each of
    which takes the memory of one more qubit; `StatevectorEstimator` draws one of its pure states instead. Each pub's
    result has ``data.evs`` and ``data.stds`` in the pub's broadcast shape; ``stds`` is 0, as for
    `StatevectorEstimator`, and ``metadata["target_precision"]`` the precision that was asked for.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from qiskit_fusedqml import FusedEstimator
        >>> circuit = QuantumCircuit(2)
        >>> _ = circuit.h(0)
        >>> _ = circuit.cx(0, 1)
        >>> result = FusedEstimator().run([(circuit, ["ZZ", "XX", "ZI"])]).result()
        >>> result[0].data.evs.round(12) + 0.0
        array([1., 1., 0.])
    """

    OWN_OPTIONS = ("default_precision", "seed")

    def __init__(
        self,
        *,
        default_precision: float = 0.0,
        seed: np.random.Generator | int | None = None,
        device: str = "CPU",
        precision: str = "double",
        max_memory_mb: float | None = None,
        num_threads: int | None = None,
    ) -> None:
        """Set the mode and the options of the engine.

        Args:
            default_precision: Standard error of the values, see above.
            seed: Seed of the noise.
            device: "CPU" or "GPU".
            precision: The float type of the amplitudes, "double" or "single"; not a standard error.
            max_memory_mb: Memory the states of one call may take.
            num_threads: Number of threads; by default every core this process may use.

        Raises:
            InvalidInputError: If ``default_precision`` is negative or not a finite number.
        """
        _check_precision(default_precision)
        self._options = Options(
            default_precision=default_precision,
            seed=seed,
            device=device,
            precision=precision,
            max_memory_mb=max_memory_mb,
            num_threads=num_threads,
        )

    @property
    def default_precision(self) -> float:
        """The standard error when neither pub nor call asks for one; 0 means that all values are exact."""
        return float(self._options.default_precision)

    def run(
        self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None
    ) -> FinishedJob[PrimitiveResult[PubResult]]:
        """Evaluate pubs.

        Args:
            pubs: ``(circuit, observables, parameter_values, precision)``, the last two optional; observables and
                parameter values are broadcast against each other.
            precision: Standard error for pubs that ask for none; see the class.

        Returns:
            A job that has run.

        Raises:
            ValueError: For a malformed pub: wrong widths, wrong numbers of values, an observable that is not Hermitian,
                NaN or infinite values (`InvalidInputError`).
            TypeError: For an observable of a type that is not accepted.
        """
        _check_precision(self.default_precision)
        options = self.engine_options
        groups = _Groups()
        coerced = _coerce(pubs, self.default_precision if precision is None else precision, groups)
        slots = [(groups.of(pub.circuit), groups.of(pub.circuit).add(pub)) for pub in coerced]
        return FinishedJob(self._run, coerced, slots, groups.all(), options)

    def _run(
        self, pubs: list[_Pub], slots: list[tuple[_Group, int]], groups: list[_Group], options: EngineOptions
    ) -> PrimitiveResult[PubResult]:
        for group in groups:
            group.evaluate(options)
        results = [self._pub_result(pub, group.values(index)) for pub, (group, index) in zip(pubs, slots, strict=True)]
        return PrimitiveResult(results, metadata={"version": 2})

    def _pub_result(self, pub: _Pub, values: NDArray[np.float64]) -> PubResult:
        metadata = {"target_precision": pub.precision, "circuit_metadata": pub.circuit.metadata}
        if self.default_precision > 0.0 and pub.precision > 0.0:
            values = np.asarray(np.random.default_rng(self.seed).normal(values, pub.precision))
        data = DataBin(evs=values, stds=np.zeros(values.shape), shape=values.shape)
        return PubResult(data, metadata=metadata)


class _Group:
    """The pubs on one circuit: distinct rows of values, distinct observables, and the pairs that each pub wants."""

    def __init__(self, circuit: QuantumCircuit) -> None:
        self.circuit = circuit  # held, so that its id stays its own
        self.known = CACHE.known(circuit)
        self.simulated = self.known
        self.place: list[int] | None = None
        replaced = self.known.get("without resets", _without_resets)
        if replaced is not None:
            self.simulated, self.place = CACHE.known(replaced[0]), replaced[1]
        self.rows = RowSet(len(self.known.parameters))
        self.observables: dict[Hashable, tuple[int, Observable]] = {}
        self.pairs: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []  # (rows, observables) by pub, broadcast
        self.table = np.empty((0, 0))  # values by (row, observable); NaN where no pub wants one

    def add(self, pub: _Pub) -> int:
        """Take a pub in; return its index in the group."""
        rows = self.rows.find(pub.values)
        if rows is None:
            values = self._values(pub.values)
            check_finite(values, self.known.parameters)
            rows = self.rows.add(pub.values, values.reshape(math.prod(pub.values_shape), values.shape[-1]))
        columns = np.empty(pub.observables.shape, dtype=np.intp)
        for index, observable in np.ndenumerate(pub.observables):
            if self.place is not None:
                observable = with_layout(observable, self.place, self.simulated.snapshot.num_qubits)
            columns[index] = self.observables.setdefault(observable.key, (len(self.observables), observable))[0]
        self.pairs.append(
            (np.broadcast_to(rows.reshape(pub.values_shape), pub.shape), np.broadcast_to(columns, pub.shape))
        )
        return len(self.pairs) - 1

    def _values(self, values: BindingsArray | NDArray[np.float64]) -> NDArray[np.float64]:
        """Values in the order of the circuit's parameters, shape (..., number of parameters)."""
        if isinstance(values, np.ndarray):
            return values
        given: NDArray[np.float64] | None = values.data.get(self.known.names)
        return np.asarray(values.as_array(self.known.parameters)) if given is None else given

    def evaluate(self, options: EngineOptions) -> None:
        """Fill the table."""
        rows = self.rows.array()
        observables = [observable for _, observable in self.observables.values()]
        arrangement = self._arrangement()
        if len(arrangement) == 1:
            circuit = compile_circuit(self.simulated, observables, options)
            self.table = np.asarray(circuit.values(None, rows), np.float64)
            return
        self.table = np.full((len(rows), len(observables)), np.nan)
        for chosen, columns in arrangement:
            circuit = compile_circuit(self.simulated, [observables[k] for k in columns], options)
            self.table[np.ix_(chosen, columns)] = circuit.values(None, rows[chosen])

    def values(self, index: int) -> NDArray[np.float64]:
        """The values of a pub, in its broadcast shape."""
        return np.asarray(self.table[self.pairs[index]])

    def _arrangement(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Blocks (rows, observables) that cover the pairs wanted: one block, or one per kind of row if that is cheaper.

        Blocks of their own need a compilation each, so they pay only where many superfluous pairs are avoided: zipped
        arrays of rows and observables on large states.
        """
        num_rows, num_observables = self.rows.size, len(self.observables)
        if num_rows == 0 or num_observables == 0:
            return []
        everything = [(np.arange(num_rows), np.arange(num_observables))]
        if num_observables == 1 or num_rows == 1:
            return everything
        wanted = np.zeros((num_rows, num_observables), dtype=bool)
        for rows, columns in self.pairs:
            wanted[rows, columns] = True
        if wanted.all():
            return everything
        terms = np.array([observable.num_terms for _, observable in self.observables.values()])
        kinds, kind_of_row = np.unique(wanted, axis=0, return_inverse=True)
        saved = ((~wanted) @ terms).sum() * SECONDS_PER_AMPLITUDE * 2.0**self.simulated.snapshot.num_qubits
        if saved <= len(kinds) * SECONDS_PER_COMPILED_GATE * (1 + len(self.simulated.snapshot.data)):
            return everything
        return [(np.flatnonzero(kind_of_row == kind), np.flatnonzero(mask)) for kind, mask in enumerate(kinds)]


def _without_resets(circuit: QuantumCircuit) -> tuple[QuantumCircuit, list[int]] | None:
    """The circuit with fresh qubits for those it resets, and where its own qubits end; None if it resets none."""
    resets = any(instruction.name in RESETTING for instruction in circuit.data)
    return with_fresh_qubits(circuit) if resets else None


class _Groups:
    """The groups of a call, by circuit; each circuit is compared with what is known of it once."""

    def __init__(self) -> None:
        self._by_identity: dict[int, _Group] = {}

    def of(self, circuit: QuantumCircuit) -> _Group:
        """The group of a circuit, made if it is the first time."""
        if id(circuit) not in self._by_identity:
            self._by_identity[id(circuit)] = _Group(circuit)
        return self._by_identity[id(circuit)]

    def all(self) -> list[_Group]:
        """In the order of the first pubs."""
        return [group for group in self._by_identity.values() if group.pairs]


@dataclass(frozen=True, slots=True)
class _Pub:
    """A pub that has been checked.

    Attributes:
        circuit: The circuit.
        observables: The observables (objects of `Observable`).
        values: The parameter values; pubs may share the very object.
        values_shape: Their shape without the axis of parameters.
        shape: The shape of both, broadcast.
        precision: The standard error that is asked for.
    """

    circuit: QuantumCircuit
    observables: NDArray[np.object_]
    values: BindingsArray | NDArray[np.float64]
    values_shape: tuple[int, ...]
    shape: tuple[int, ...]
    precision: float


def _coerce(pubs: Iterable[EstimatorPubLike], precision: float, groups: _Groups) -> list[_Pub]:
    """Pubs in one form; those that share circuit and values (the same objects) share a `BindingsArray`."""
    shared: dict[tuple[int, int], tuple[Any, BindingsArray]] = {}

    def with_bindings(pub: EstimatorPubLike) -> EstimatorPubLike:
        if not (isinstance(pub, tuple) and len(pub) > 2 and isinstance(pub[0], QuantumCircuit)):
            return pub
        circuit, observables, values, *rest = pub
        if values is None or isinstance(values, (BindingsArray, Mapping)):
            return pub
        key = (id(circuit), id(values))
        if key not in shared:  # values are held along with the bindings, so that their id stays theirs
            shared[key] = (values, BindingsArray.coerce({groups.of(circuit).known.names: values}))
        return (circuit, observables, shared[key][1], *rest)

    def checked(pub: EstimatorPubLike) -> _Pub:
        found = _of_network(pub, precision, groups)
        if found is not None:
            return found
        coerced = EstimatorPub.coerce(with_bindings(pub), precision)
        values = coerced.parameter_values
        return _Pub(
            coerced.circuit, _entries(coerced.observables), values, values.shape, coerced.shape, coerced.precision
        )

    return [checked(pub) for pub in pubs]


def _of_network(pub: EstimatorPubLike, precision: float, groups: _Groups) -> _Pub | None:
    """A pub as networks send it, one operator and an array of values, None for any other or one that is wrong.

    It needs none of Qiskit's containers, which write down the name of every parameter.
    """
    if type(pub) is not tuple or len(pub) != 3 or type(precision) is not float or precision < 0.0:
        return None
    circuit, operator, values = pub
    if not isinstance(circuit, QuantumCircuit) or type(operator) is not SparsePauliOp or type(values) is not np.ndarray:
        return None
    width = len(groups.of(circuit).known.parameters)  # one value may also be given without an axis of its own
    if values.dtype != np.float64 or width < 2 or values.shape[-1:] != (width,):
        return None
    if operator.num_qubits != circuit.num_qubits:
        return None
    shape = values.shape[:-1]
    observables = np.array(canonical(operator), dtype=object)
    return _Pub(circuit, observables, values, shape, shape, precision)


def _entries(observables: ObservablesArray) -> NDArray[np.object_]:
    """The observables as an array of `Observable`."""
    if hasattr(observables, "sparse_observables_array"):
        coerced = np.asarray(observables.sparse_observables_array())
    else:  # mappings, in Qiskit 2.0
        coerced = np.asarray(observables, dtype=object)
    result = np.empty(coerced.shape, dtype=object)
    for index, entry in np.ndenumerate(coerced):
        result[index] = from_coerced(entry)
    return result


def _check_precision(precision: Any) -> None:
    try:
        valid = 0.0 <= precision < np.inf
    except TypeError:
        valid = False
    if not valid:
        raise InvalidInputError(
            f"default_precision is {precision!r}; a standard error >= 0 is expected, 0 for exact values."
        )
