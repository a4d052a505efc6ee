"""`FusedEstimatorGradient`: what ``EstimatorQNN(gradient=...)`` and qiskit-machine-learning's algorithms take.

A network sends every pair (sample, observable) as an entry of its own. Entries on one circuit become one batch,
differentiated by the adjoint method in one forward sweep and one backward sweep per observable. Entries that do not
fill the grid samples x observables become a batch of pairs instead, each row of which has its own observable: one
backward sweep whatever the number of observables.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, StatevectorEstimator
from qiskit.providers import Options
from qiskit.quantum_info import SparseObservable
from qiskit.quantum_info.operators.base_operator import BaseOperator
from qiskit.transpiler.passmanager import BasePassManager
from qiskit_machine_learning.gradients import BaseEstimatorGradient, DerivativeType, EstimatorGradientResult

from ...engine.state_gradients import overlap_jacobian
from ...errors import InvalidInputError
from ..qiskit.batches import Indices, by_identity
from ..qiskit.compiled import compile_circuit, lowered_circuit
from ..qiskit.jobs import FinishedJob
from ..qiskit.lowering.observables import Observable, canonical, with_layout
from ..qiskit.options import LentEngineOptions
from ..qiskit.primitives import FusedEstimator
from .entries import (
    EntryBatch,
    Parameters,
    Share,
    TypedDerivatives,
    Values,
    by_entry,
    entry_batches,
    part,
)

Measured = tuple[list[Observable], Indices]
"""The distinct observables of a batch, and the place (E,) of each entry's among them."""


class FusedEstimatorGradient(LentEngineOptions, TypedDerivatives, BaseEstimatorGradient):
    """Exact gradients of expectation values by adjoint differentiation.

    Any circuit that the engine runs has a gradient, with respect to any of its parameters: no gate needs to be
    supported by name, and expressions (products, functions, repeated parameters) follow the chain rule.

    The estimator is taken for compatibility: a `FusedEstimator` lends its engine options, any other is asked for
    nothing but its ``options``. Gradients are exact, whatever noise or number of shots the estimator has.

    Args:
        estimator: See above.
        options: Default options, recorded in the results.
        derivative_type: ``DerivativeType.REAL`` for the derivative of the expectation value, which is
            ``2 Re <psi|O|d psi>``; ``IMAG`` for ``2 Im <psi|O|d psi>`` and ``COMPLEX`` for both, which a parametrised
            global phase enters. Members of other enums count by their name or value.
        pass_manager: Transpiles each circuit, once, before it is differentiated.
        device, precision, max_memory_mb, num_threads, checkpoint: As of `EngineOptions`; by default those of a
            `FusedEstimator`.

    Raises:
        InvalidInputError: For an estimator that is not a V2 estimator, and for any other derivative type.

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
        if estimator is None:
            estimator = FusedEstimator()
        _check_estimator(estimator)
        super().__init__(estimator, options, derivative_type, pass_manager)
        self.derivative_type = derivative_type
        self._given = {
            "device": device,
            "precision": precision,
            "max_memory_mb": max_memory_mb,
            "num_threads": num_threads,
            "checkpoint": checkpoint,
        }

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
            parameter_values: N parameter sets, each in the order of ``circuits[i].parameters``.
            parameters: For each entry the parameters wanted, in any order, or None for all of them; None for all
                everywhere.
            **options: Recorded in the result; the gradient is exact and none changes it.

        Returns:
            A job that has run. ``gradients[i][j]`` of its result is the derivative with respect to
            ``parameters[i][j]``.

        Raises:
            ValueError: For lengths, widths or parameters that do not fit, and for values that are not finite.
        """
        if isinstance(observables, (BaseOperator, SparseObservable, str, Mapping)):
            observables = (observables,)
        batches = entry_batches(circuits, parameter_values, parameters, observables)
        measured = {batch: _distinct(batch, observables) for batch in batches}
        recorded = self.options
        recorded.update_options(**options)
        return FinishedJob(self._differentiate, measured, recorded)

    def _run(self, *arguments: Any, **options: Any) -> EstimatorGradientResult:
        """The base class's hook; the same as ``run(...).result()``."""
        return self.run(*arguments, **options).result()

    def _differentiate(self, measured: dict[EntryBatch, Measured], options: Options) -> EstimatorGradientResult:
        gradients, parameters = by_entry(list(measured), lambda batch: self._shares(batch, *measured[batch]))
        metadata = [{"parameters": wanted} for wanted in parameters]
        return EstimatorGradientResult(gradients=gradients, metadata=metadata, options=options)

    def _shares(self, batch: EntryBatch, observables: list[Observable], observable_of: Indices) -> Iterator[Share]:
        """For each entry the gradient of its observable."""
        batch.transpile(self._pass_manager)
        if self._pass_manager is not None:
            observables = [with_layout(each, batch.simulated.snapshot.layout) for each in observables]
        circuit, count = compile_circuit(batch.simulated, observables, self.engine_options), len(observables)
        sets, columns = batch.effective
        pair_of = batch.set_of * count + observable_of  # each entry's place on the grid of sets and observables
        pairs, index = (pair_of, pair_of) if count == 1 else np.unique(pair_of, return_inverse=True)
        if self.derivative_type is not DerivativeType.REAL:
            lowered_circuit(batch.simulated).check_pure("the imaginary part of <psi|O|d psi>")
            grid = part(overlap_jacobian(circuit, None, sets, columns), self.derivative_type)
        elif 2 * len(pairs) > len(sets) * count:
            grid = np.asarray(circuit.jacobian(None, sets, wrt=columns), np.float64)
        else:
            set_of, chosen = np.divmod(pairs, count)
            gradients = circuit.value_and_vjp(None, sets[set_of], np.eye(count)[chosen])[2][:, columns]
            return batch.shares(np.asarray(gradients, np.float64), index)
        return batch.shares(grid.reshape(len(sets) * count, len(columns)), pair_of)


def _distinct(batch: EntryBatch, given: Sequence[Any]) -> Measured:
    """The distinct observables of a batch, and the place of each entry's among them."""
    num_qubits = batch.known.snapshot.num_qubits
    distinct: dict[Hashable, tuple[int, Observable]] = {}
    observable_of = np.empty(len(batch.entries), dtype=np.intp)
    for positions in by_identity([given[entry] for entry in batch.entries]):
        entry = batch.entries[positions[0]]
        observable = canonical(given[entry])
        if observable.num_qubits != num_qubits:
            raise InvalidInputError(
                f"The number of qubits of the {entry}-th circuit ({num_qubits}) does not match "
                f"the number of qubits of the {entry}-th observable ({observable.num_qubits})."
            )
        observable_of[positions] = distinct.setdefault(observable.key, (len(distinct), observable))[0]
    return [observable for _, observable in distinct.values()], observable_of


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
