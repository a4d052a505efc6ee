"""`FusedEstimator`: Qiskit's V2 estimator on the engine.

All pubs on one circuit become one batch, in which every distinct parameter set is simulated once and every distinct
observable is measured once; networks that send a pub per observable and gradients that send a pub per shifted value
thus cost one simulation.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, PrimitiveResult, PubResult
from qiskit.primitives.containers import DataBin, EstimatorPubLike
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import SparsePauliOp

from ...arrays import real_number
from ...engine.options import EngineOptions
from .backend.options import run_metadata
from .batches import CircuitBatch, Indices, batch_of, readable_pub, readable_values, warn_of_parameter_shift
from .compiled import compile_circuit, lowered_circuit
from .jobs import FinishedJob
from .lowering.observables import Observable, canonical, from_coerced
from .options import EnginePrimitive

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
    `StatevectorEstimator`, unless trajectories estimate the values, and ``metadata["target_precision"]`` the precision
    that was asked for. Metadata has the keys that it has on qiskit-aer.

    Args:
        default_precision: Standard error of the values, see above.
        seed: Seed of the noise.
        options: A dictionary as of qiskit-aer's ``EstimatorV2``: ``default_precision``, ``backend_options`` (those of
            `FusedSimulator`) and ``run_options``, whose ``seed_simulator`` is the seed if there is no ``seed``.
        device, precision, max_memory_mb, num_threads: As of `EngineOptions`; ``precision`` is the float type of the
            amplitudes and not a standard error.
        noise_model, noise_scale, readout, trajectories, noise_seed: As of `DifferentiableCircuit`; the noise has no
            parameters. Values are exact, or an error says that density matrices of so many qubits do not fit, unless
            ``trajectories`` estimate them.
        comm, comm_timeout: As of `DifferentiableCircuit`: a communicator whose ranks share every state.

    Raises:
        InvalidInputError: If ``default_precision`` is negative or not a finite number, or for an option that does not
            exist.

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
    IN_AER_OPTIONS = ("default_precision",)

    def __init__(
        self,
        *,
        default_precision: float = 0.0,
        seed: np.random.Generator | int | None = None,
        options: Mapping[str, Any] | None = None,
        device: str = "CPU",
        precision: str = "double",
        max_memory_mb: float | None = None,
        num_threads: int | None = None,
        noise_model: Any = None,
        noise_scale: float = 1.0,
        readout: bool = False,
        trajectories: int | None = None,
        noise_seed: int | None = None,
        comm: Any = None,
        comm_timeout: float | None = None,
    ) -> None:
        self._set_options(locals())
        _check_precision(self._options.default_precision)

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
        if precision is not None:
            _check_precision(precision, "precision")
        options = self.engine_options
        asked = self.default_precision if precision is None else precision
        batches: dict[Hashable, _Batch] = {}
        requests = [_request(pub, asked, batches) for pub in pubs]
        warn_of_parameter_shift(batches.values(), len(requests), "FusedEstimatorGradient(estimator)")
        return FinishedJob(self._run, requests, batches.values(), options)

    def _run(
        self, requests: Iterable[tuple[_Batch, int, float]], batches: Iterable[_Batch], options: EngineOptions
    ) -> PrimitiveResult[PubResult]:
        began = time.perf_counter()
        for batch in batches:
            batch.evaluate(options)
        about = run_metadata(options, time.perf_counter() - began)
        return PrimitiveResult([self._pub_result(*request, about) for request in requests], metadata={"version": 2})

    def _pub_result(self, batch: _Batch, index: int, precision: float, about: Mapping[str, Any]) -> PubResult:
        values, stds = np.asarray(batch.table[batch.pairs[index]]), np.asarray(batch.stds[batch.pairs[index]])
        if self.default_precision > 0.0 and precision > 0.0:
            values = np.asarray(np.random.default_rng(self.seed).normal(values, precision))
        data = DataBin(evs=values, stds=stds, shape=values.shape)
        metadata = {"target_precision": precision, "circuit_metadata": batch.circuit.metadata}
        return PubResult(data, metadata=metadata | {"simulator_metadata": dict(about)})


class _Batch(CircuitBatch):
    """The pubs on one circuit: distinct parameter sets, distinct observables, and the pairs that each pub wants."""

    def __init__(self, circuit: QuantumCircuit) -> None:
        super().__init__(circuit)
        self.observables: dict[Hashable, tuple[int, Observable]] = {}
        self.pairs: list[tuple[Indices, Indices]] = []  # (parameter sets, observables) by pub; indexing broadcasts them
        self._bindings: dict[int, tuple[object, BindingsArray]] = {}
        # values and standard deviations by (parameter set, observable); NaN where no pub wants one
        self.table = self.stds = np.empty((0, 0))

    def bindings(self, values: Any) -> BindingsArray:
        """Values in Qiskit's container, one for all pubs that share the very object."""
        if id(values) not in self._bindings:
            self._bindings[id(values)] = (values, BindingsArray.coerce({self.known.names: readable_values(values)}))
        return self._bindings[id(values)][1]

    def add_pub(self, observables: NDArray[np.object_], sets: Indices) -> int:
        """Add a pub whose observables and parameter sets are broadcast; returns its index in the batch."""
        columns = np.empty(observables.shape, dtype=np.intp)
        for index, observable in np.ndenumerate(observables):
            columns[index] = self.observables.setdefault(observable.key, (len(self.observables), observable))[0]
        self.pairs.append((sets, columns))
        return len(self.pairs) - 1

    def evaluate(self, options: EngineOptions) -> None:
        """Fill the table."""
        sets = self.sets.array()
        observables = [observable for _, observable in self.observables.values()]
        arrangement = self._arrangement(options)
        if len(arrangement) == 1:
            circuit = compile_circuit(self.known, observables, options)
            self.table, self.stds = (np.asarray(each, np.float64) for each in circuit.estimate(None, sets))
            return
        self.table, self.stds = np.full((2, len(sets), len(observables)), np.nan)
        for chosen, columns in arrangement:
            circuit = compile_circuit(self.known, [observables[k] for k in columns], options)
            place = np.ix_(chosen, columns)
            self.table[place], self.stds[place] = circuit.estimate(None, sets[chosen])

    def _arrangement(self, options: EngineOptions) -> list[tuple[Indices, Indices]]:
        """Blocks (parameter sets, observables) that cover the pairs wanted: one, or one per kind of set where cheaper.

        Blocks of their own need a compilation each, so they pay only where many superfluous pairs are avoided: zipped
        arrays of parameter sets and observables on large states.
        """
        num_sets, num_observables = len(self.sets), len(self.observables)
        if num_sets == 0 or num_observables == 0:
            return []
        everything = [(np.arange(num_sets), np.arange(num_observables))]
        if num_observables == 1 or num_sets == 1:
            return everything
        wanted = np.zeros((num_sets, num_observables), dtype=bool)
        for sets, columns in self.pairs:
            wanted[sets, columns] = True
        if wanted.all():
            return everything
        terms = np.array([observable.num_terms for _, observable in self.observables.values()])
        kinds, kind_of_set = np.unique(wanted, axis=0, return_inverse=True)
        saved = (
            ((~wanted) @ terms).sum() * SECONDS_PER_AMPLITUDE * 2.0 ** len(lowered_circuit(self.known, options).active)
        )
        if saved <= len(kinds) * SECONDS_PER_COMPILED_GATE * (1 + len(self.known.snapshot.data)):
            return everything
        return [(np.flatnonzero(kind_of_set == kind), np.flatnonzero(mask)) for kind, mask in enumerate(kinds)]


def _request(pub: EstimatorPubLike, precision: float, batches: dict[Hashable, _Batch]) -> tuple[_Batch, int, float]:
    """Check a pub and add it to its circuit's batch; returns the batch, the pub's index there and its precision."""
    batch = _batch_of_operator(pub, precision, batches)
    if batch is not None:
        _, operator, values = pub
        return batch, batch.add_pub(np.array(canonical(operator), dtype=object), batch.add(values)), precision
    if isinstance(pub, tuple) and len(pub) > 2 and isinstance(pub[0], QuantumCircuit):
        circuit, observables, values, *rest = pub
        if not isinstance(values, BindingsArray | Mapping | None):
            pub = (circuit, observables, batch_of(batches, _Batch, circuit).bindings(values), *rest)
    coerced = EstimatorPub.coerce(readable_pub(pub, 2), precision)
    batch = batch_of(batches, _Batch, coerced.circuit)
    index = batch.add_pub(_entries(coerced.observables), batch.add(coerced.parameter_values))
    return batch, index, coerced.precision


def _batch_of_operator(pub: EstimatorPubLike, precision: float, batches: dict[Hashable, _Batch]) -> _Batch | None:
    """The batch of a pub as networks send it, one operator and an array of values; None for any other or a wrong one.

    Such a pub needs none of Qiskit's containers, which write down the name of every parameter.
    """
    if type(pub) is not tuple or len(pub) != 3 or type(precision) is not float or precision < 0.0:
        return None
    circuit, operator, values = pub
    if not isinstance(circuit, QuantumCircuit) or type(operator) is not SparsePauliOp or type(values) is not np.ndarray:
        return None
    if operator.num_qubits != circuit.num_qubits or values.dtype != np.float64:
        return None
    batch = batch_of(batches, _Batch, circuit)
    width = len(batch.known.parameters)  # one value may also be given without an axis of its own
    return batch if width >= 2 and values.shape[-1:] == (width,) else None


def _entries(observables: ObservablesArray) -> NDArray[np.object_]:
    """The observables as an array of `Observable`."""
    if hasattr(observables, "sparse_observables_array"):
        coerced = np.asarray(observables.sparse_observables_array())
    else:  # mappings, in Qiskit 2.0
        coerced = np.asarray(observables, dtype=object)
    return np.asarray(np.vectorize(from_coerced, otypes=[object])(coerced), dtype=object)


def _check_precision(precision: Any, name: str = "default_precision") -> None:
    real_number(precision, name, "a standard error >= 0, 0 for exact values,", least=0.0)
