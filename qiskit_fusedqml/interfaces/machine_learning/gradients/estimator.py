"""`FusedEstimatorGradient`: what ``EstimatorQNN(gradient=...)`` and qiskit-machine-learning's algorithms take.

A network sends every pair (sample, observable) as an entry of its own. Entries on one circuit become one batch,
differentiated by the adjoint method in one forward sweep and one backward sweep per observable. Entries that do not
fill the grid samples x observables become a batch of pairs instead, each row of which has its own observable: one
backward sweep whatever the number of observables.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import BaseEstimatorV2, StatevectorEstimator
from qiskit.providers import Options
from qiskit.quantum_info import SparseObservable
from qiskit.quantum_info.operators.base_operator import BaseOperator
from qiskit.transpiler.passmanager import BasePassManager
from qiskit_machine_learning.gradients import BaseEstimatorGradient, DerivativeType, EstimatorGradientResult

from ....engine.options import EngineOptions
from ....errors import InvalidInputError
from ...qiskit.batches import by_identity
from ...qiskit.cache import Observable, canonical, compile_circuit, with_layout
from ...qiskit.jobs import FinishedJob
from ...qiskit.options import LentEngineOptions, local_options
from ...qiskit.primitives import FusedEstimator
from .requests import (
    Group,
    Parameters,
    Values,
    check_lengths,
    grouped,
)


class FusedEstimatorGradient(LentEngineOptions, BaseEstimatorGradient):
    """Exact gradients of expectation values by adjoint differentiation.

    Any circuit that the engine runs has a gradient, with respect to any of its parameters: no gate needs to be
    supported by name, and expressions (products, functions, repeated parameters) follow the chain rule.

    The estimator is taken for compatibility: a `FusedEstimator` lends its engine options, any other is asked for
    nothing but its ``options``. Gradients are exact, whatever noise or number of shots the estimator has.

    Example:
        >>> from qiskit.circuit.library import real_amplitudes
        >>> from qiskit.quantum_info import SparsePauliOp
        >>> from qiskit_fusedqml import FusedEstimatorGradient
        >>> circuit = real_amplitudes(2, reps=1)
        >>> job = FusedEstimatorGradient().run([circuit], [SparsePauliOp("ZZ")], [[0.1, 0.2, 0.3, 0.4]])
        >>> job.result().gradients[0].shape
        (4,)
    """

    def __init__(
        self,
        estimator: BaseEstimatorV2 | None = None,
        options: Options | None = None,
        derivative_type: DerivativeType = DerivativeType.REAL,
        pass_manager: BasePassManager | None = None,
        *,
        device: str | None = None,
        precision: str | None = None,
        max_memory_mb: float | None = None,
        num_threads: int | None = None,
        checkpoint: str | int | None = None,
    ) -> None:
        """Set the options; every argument may be left out.

        Args:
            estimator: See the class.
            options: Default options, recorded in the results.
            derivative_type: ``DerivativeType.REAL`` for the derivative of the expectation value, which is
                ``2 Re <psi|O|d psi>``; ``IMAG`` for ``2 Im <psi|O|d psi>`` and ``COMPLEX`` for both, which a
                parametrised global phase enters.
            pass_manager: Transpiles each circuit, once, before it is differentiated.
            device: "CPU" or "GPU"; by default the `FusedEstimator`'s, else "CPU".
            precision: "double" or "single"; by default the `FusedEstimator`'s, else "double".
            max_memory_mb: Memory the states of one call may take.
            num_threads: Number of threads; by default every core this process may use.
            checkpoint: States kept on the way forward for the sweep back: None, a number, or "auto"; see
                `DifferentiableCircuit`.

        Raises:
            InvalidInputError: For an estimator that is not a V2 estimator.
        """
        if estimator is None:
            estimator = FusedEstimator()
        _check_estimator(estimator)
        super().__init__(estimator, options, derivative_type, pass_manager)
        self._given = {
            "device": device,
            "precision": precision,
            "max_memory_mb": max_memory_mb,
            "num_threads": num_threads,
            "checkpoint": checkpoint,
        }

    @property
    def derivative_type(self) -> DerivativeType:
        """Which part of ``2 <psi|O|d psi>`` is computed."""
        return self._derivative_type

    @derivative_type.setter
    def derivative_type(self, derivative_type: DerivativeType) -> None:
        self._derivative_type = derivative_type

    def run(
        self,
        circuits: Sequence[QuantumCircuit] | QuantumCircuit,
        observables: Sequence[BaseOperator] | BaseOperator,
        parameter_values: Values,
        parameters: Sequence[Parameters] | None = None,
        **options: Any,
    ) -> FinishedJob[EstimatorGradientResult]:
        """Differentiate ``<circuits[i](parameter_values[i])| observables[i] |...>`` for every i.

        Args:
            circuits: N circuits, or one.
            observables: N observables, or one.
            parameter_values: N rows of values, each in the order of ``circuits[i].parameters``.
            parameters: For each entry the parameters wanted, in any order, or None for all of them; None for all
                everywhere.
            **options: Recorded in the result; the gradient is exact and none changes it.

        Returns:
            A job that has run. ``gradients[i][j]`` of its result is the derivative with respect to
            ``parameters[i][j]``.

        Raises:
            ValueError: For lengths, widths or parameters that do not fit, and for values that are not finite.
        """
        if isinstance(circuits, QuantumCircuit):
            circuits = (circuits,)
        if isinstance(observables, (BaseOperator, SparseObservable, str, Mapping)):
            observables = (observables,)
        wanted = [None] * len(circuits) if parameters is None else list(parameters)
        check_lengths(
            len(circuits),
            parameter_value_sets=parameter_values,
            observables=observables,
            the_list_of_specified_parameters=wanted,
        )
        groups = [
            _EstimatorGroup(circuits[chosen[0]], chosen, [observables[i] for i in chosen], values, parameters_)
            for chosen, values, parameters_ in grouped(circuits, parameter_values, wanted)
        ]
        recorded = self._recorded_options(options)
        return FinishedJob(self._differentiate, groups, len(circuits), recorded)

    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Values,
        parameters: Sequence[Sequence[Parameter]],
        **options: Any,
    ) -> EstimatorGradientResult:
        """The base class's hook; the same as ``run(...).result()``."""
        return self.run(circuits, observables, parameter_values, parameters, **options).result()

    def _differentiate(
        self, groups: list[_EstimatorGroup], num_entries: int, options: Options
    ) -> EstimatorGradientResult:
        gradients: list[Any] = [None] * num_entries
        metadata: list[Any] = [None] * num_entries
        for group in groups:
            self._transpile(group)
            by_entry = group.differentiate(self.engine_options, self._derivative_type)
            for parameters, places, entries, positions in group.entries_by_kind():
                for entry, gradient in zip(entries, _chosen(by_entry, positions, places), strict=True):
                    gradients[entry] = gradient
                    metadata[entry] = {"parameters": parameters}
        return EstimatorGradientResult(gradients=gradients, metadata=metadata, options=options)

    def _transpile(self, group: _EstimatorGroup) -> None:
        manager = self._pass_manager
        if manager is None:
            return
        transpiled = group.transpile(("transpiled", manager), manager.run)
        group.observables = [with_layout(each, transpiled.layout) for each in group.observables]

    def _recorded_options(self, options: Mapping[str, Any]) -> Options:
        recorded = self.options
        recorded.update_options(**options)
        return recorded

    def _get_local_options(self, options: Mapping[str, Any]) -> Options:
        return local_options(self._estimator, options)


class _EstimatorGroup(Group):
    """The entries on one circuit, as a grid of distinct rows of values and distinct observables."""

    def __init__(
        self,
        circuit: QuantumCircuit,
        entries: NDArray[np.intp],
        observables: Sequence[Any],
        values: Values,
        wanted: Sequence[Parameters],
    ) -> None:
        super().__init__(circuit, entries, values, wanted)
        self.observables: list[Observable] = []
        self.observable_of = np.empty(len(observables), dtype=np.intp)
        by_key: dict[Hashable, int] = {}
        num_qubits = self.known.snapshot.num_qubits
        for positions in by_identity(observables):
            observable = canonical(observables[positions[0]])
            if observable.num_qubits != num_qubits:
                entry = self.entries[positions[0]]
                raise InvalidInputError(
                    f"The number of qubits of the {entry}-th circuit ({num_qubits}) does not match "
                    f"the number of qubits of the {entry}-th observable ({observable.num_qubits})."
                )
            if observable.key not in by_key:
                by_key[observable.key] = len(self.observables)
                self.observables.append(observable)
            self.observable_of[positions] = by_key[observable.key]

    def differentiate(self, options: EngineOptions, kind: DerivativeType) -> NDArray[Any]:
        """Gradients (entries, len(columns))."""
        rows, places, columns = self.effective(self.columns)
        part = self._effective(options, rows, columns, kind) if columns else np.zeros((len(self.entries), 0))
        if len(places) == len(self.columns):
            return part
        gradient = np.zeros((len(self.entries), len(self.columns)), part.dtype)
        gradient[:, places] = part
        return gradient

    def _effective(
        self, options: EngineOptions, rows: NDArray[np.float64], columns: list[int], kind: DerivativeType
    ) -> NDArray[Any]:
        """Gradients (entries, columns) of the circuit as it is simulated, rows and columns in its order."""
        circuit = compile_circuit(self.simulated, self.observables, options)
        if kind != DerivativeType.REAL:
            overlaps = circuit.overlap_jacobian(None, rows, wrt=columns)[self.row_of, self.observable_of]
            return overlaps if kind == DerivativeType.COMPLEX else overlaps.imag
        num_observables = len(self.observables)
        pair_of = self.row_of * num_observables + self.observable_of
        pairs, entry_of = (pair_of, pair_of) if num_observables == 1 else np.unique(pair_of, return_inverse=True)
        if num_observables == 1 or 2 * len(pairs) > len(rows) * num_observables:
            jacobian = np.asarray(circuit.jacobian(None, rows, wrt=columns), np.float64)
            if num_observables == 1 and len(rows) == len(self.row_of):  # each row is an entry's own, in this order
                return jacobian[:, 0]
            return jacobian[self.row_of, self.observable_of]
        row_of, observable_of = np.divmod(pairs, num_observables)
        cotangents = np.zeros((len(pairs), num_observables))
        cotangents[np.arange(len(pairs)), observable_of] = 1.0
        gradient = circuit.value_and_vjp(None, rows[row_of], cotangents)[2]
        return np.asarray(gradient, np.float64)[np.ix_(entry_of, columns)]


def _chosen(gradients: NDArray[Any], positions: NDArray[np.intp], places: list[int]) -> NDArray[Any]:
    """Some rows and columns, without a copy where they are all."""
    rows = gradients if len(positions) == len(gradients) else gradients[positions]
    return rows if places == [*range(gradients.shape[1])] else rows[:, places]


def _check_estimator(estimator: object) -> None:
    if not isinstance(estimator, BaseEstimatorV2):
        raise InvalidInputError(
            f"The estimator is a {type(estimator).__name__}; a V2 estimator is expected, or none: "
            "FusedEstimatorGradient()."
        )
    if not isinstance(estimator, (FusedEstimator, StatevectorEstimator)):
        warnings.warn(
            f"FusedEstimatorGradient computes exact gradients itself: noise and shots of {type(estimator).__name__} do "
            "not enter. Leave the estimator out to say so: FusedEstimatorGradient().",
            stacklevel=3,
        )
