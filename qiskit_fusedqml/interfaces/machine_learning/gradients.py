"""Gradients: what ``EstimatorQNN(gradient=...)``, ``SamplerQNN(gradient=...)`` and ``QFI`` take.

A network sends every pair (sample, observable) as an entry of its own. Entries on one circuit become one batch
(`entries`), which is differentiated at once:

* `FusedEstimatorGradient` by the adjoint method, in one forward sweep and one backward sweep per observable. Entries
  that do not fill the grid samples x observables become a batch of pairs instead, each sample of which has its own
  observable: one backward sweep whatever the number of observables.
* `FusedSamplerGradient` in forward mode, one state for each angle, or in reverse mode, one backward sweep for each
  outcome, whichever costs less.
* `FusedQGT` in forward mode.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2, StatevectorEstimator
from qiskit.providers import Options
from qiskit.quantum_info import SparseObservable
from qiskit.quantum_info.operators.base_operator import BaseOperator
from qiskit.transpiler.passmanager import BasePassManager
from qiskit_machine_learning.gradients import (
    BaseEstimatorGradient,
    BaseSamplerGradient,
    DerivativeType,
    EstimatorGradientResult,
    SamplerGradientResult,
)
from qiskit_machine_learning.gradients.base.base_qgt import BaseQGT
from qiskit_machine_learning.gradients.base.qgt_result import QGTResult

from ...engine.options import engine_arguments
from ...engine.probabilities import probability_jacobian, reachable_outcomes
from ...engine.second_order import geometric_tensor
from ...engine.state_gradients import overlap_jacobian
from ...errors import InvalidInputError
from ..qiskit.batches import Indices, by_identity
from ..qiskit.compiled import compile_circuit, lowered_circuit
from ..qiskit.estimator import FusedEstimator
from ..qiskit.jobs import FinishedJob
from ..qiskit.lowering.observables import Observable, canonical, with_layout
from ..qiskit.options import LentEngineOptions
from .entries import PART, EntryBatch, Parameters, Share, TypedDerivatives, Values, by_entry, entry_batches
from .outcomes import read_outcome_bits

Measured = tuple[list[Observable], Indices]
"""The distinct observables of a batch, and the place (E,) of each entry's among them."""


class _Derivatives(LentEngineOptions):
    """What the three classes share."""

    def _run(self: Any, *arguments: Any, **options: Any) -> Any:
        """The stock classes' hook; the same as ``run(...).result()``."""
        return self.run(*arguments, **options).result()


class FusedEstimatorGradient(_Derivatives, TypedDerivatives, BaseEstimatorGradient):
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
        pass_manager: Transpiles each circuit before it is differentiated; once, as long as both stay as they are.
        device, precision, max_memory_mb, num_threads, checkpoint: As of `EngineOptions`; by default those of a
            `FusedEstimator`.
        noise_model, noise_scale, readout, trajectories, noise_seed: As of `FusedEstimator`; by default its own.

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
        noise_model: Any = None,
        noise_scale: float | None = None,
        readout: bool | None = None,
        trajectories: int | None = None,
        noise_seed: int | None = None,
    ) -> None:
        if estimator is None:
            estimator = FusedEstimator()
        _check_estimator(estimator)
        super().__init__(estimator, options, derivative_type, pass_manager)
        self.derivative_type = derivative_type
        self._given = engine_arguments(locals())

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
        recorded = self._get_local_options(vars(self._default_options) | options)

        def differentiate() -> EstimatorGradientResult:
            gradients, wanted = by_entry(batches, lambda batch: self._shares(batch, *measured[batch]))
            metadata = [{"parameters": each} for each in wanted]
            return EstimatorGradientResult(gradients=gradients, metadata=metadata, options=recorded)

        return FinishedJob(differentiate)

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
            lowered_circuit(batch.simulated, self.engine_options).check_pure("the imaginary part of <psi|O|d psi>")
            grid = PART[self.derivative_type](overlap_jacobian(circuit, None, sets, columns))
        elif 2 * len(pairs) > len(sets) * count:
            grid = np.asarray(circuit.jacobian(None, sets, wrt=columns), np.float64)
        else:
            set_of, chosen = np.divmod(pairs, count)
            gradients = circuit.value_and_vjp(None, sets[set_of], np.eye(count)[chosen])[2][:, columns]
            return batch.shares(np.asarray(gradients, np.float64), index)
        return batch.shares(grid.reshape(len(sets) * count, len(columns)), pair_of)


class FusedSamplerGradient(_Derivatives, BaseSamplerGradient):
    """Exact gradients of the probabilities of measurement outcomes.

    Any circuit that the engine runs has a gradient, with respect to any of its parameters. Outcomes are those of the
    classical bits, or of all qubits where nothing is measured. Those of a transpiled circuit that has been measured on
    all of its qubits since are outcomes of the qubits before transpilation, as a network expects them.

    The sampler is taken for compatibility: one of this package lends its engine options, any other is asked for
    nothing but its ``options``. Gradients are exact, whatever number of shots the sampler has.

    Args:
        sampler: See above.
        options, pass_manager: As of `FusedEstimatorGradient`.
        device, precision, max_memory_mb, num_threads, checkpoint: As of `EngineOptions`; by default the sampler's.
        noise_model, noise_scale: As of `FusedEstimator`, misread bits included; by default the sampler's.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from qiskit.circuit import Parameter
        >>> from qiskit_fusedqml import FusedSamplerGradient
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rx(Parameter("a"), 0)
        >>> circuit.measure_all()
        >>> FusedSamplerGradient().run([circuit], [[0.0]]).result().gradients
        [[{0: 0.0, 1: 0.0}]]
    """

    def __init__(
        self,
        sampler: BaseSamplerV2 | None = None,
        options: Options | None = None,
        pass_manager: BasePassManager | None = None,
        *,
        device: str | None = None,
        precision: str | None = None,
        max_memory_mb: float | None = None,
        num_threads: int | None = None,
        checkpoint: str | int | None = None,
        noise_model: Any = None,
        noise_scale: float | None = None,
    ) -> None:
        super().__init__(sampler, options, pass_manager)
        self._given = engine_arguments(locals())

    def run(
        self,
        circuits: Sequence[QuantumCircuit] | QuantumCircuit,
        parameter_values: Values,
        parameters: Sequence[Parameters] | None = None,
        **options: Any,
    ) -> FinishedJob[SamplerGradientResult]:
        """Differentiate the probabilities of ``circuits[i]`` at ``parameter_values[i]`` for every i.

        The arguments are those of `FusedEstimatorGradient.run`.

        Returns:
            A job that has run. ``gradients[i][j][v]`` of its result is the derivative of the probability of outcome v
            with respect to ``parameters[i][j]``.

        Raises:
            ValueError: For lengths, widths or parameters that do not fit, and for values that are not finite.
        """
        batches = entry_batches(
            circuits, parameter_values, parameters, names=("parameter value sets", "the specified parameter sets")
        )
        recorded = self._get_local_options(vars(self._default_options) | options)

        def differentiate() -> SamplerGradientResult:
            gradients, wanted = by_entry(batches, self._shares)
            metadata = [[{"parameters": each}] for each in wanted]
            return SamplerGradientResult(gradients=gradients, metadata=metadata, options=recorded)

        return FinishedJob(differentiate)

    def _shares(self, batch: EntryBatch) -> Iterator[Share]:
        """For each entry the derivatives of all outcomes that can occur, by parameter."""
        batch.transpile(self._pass_manager, measured=True)
        circuit = compile_circuit(batch.simulated, None, self.engine_options)
        bits = batch.known.get("outcome bits", lambda copied: read_outcome_bits(copied, copied.layout))
        outcomes, groups = np.unique(bits.of_clbits(reachable_outcomes(circuit)[0]), return_inverse=True)
        sets, columns = batch.effective
        jacobian = probability_jacobian(circuit, None, sets, groups, len(outcomes), columns)
        keys = outcomes.tolist()
        for entry, parameters, gradients in batch.shares(jacobian.swapaxes(1, 2), batch.set_of):
            yield entry, parameters, [dict(zip(keys, gradient, strict=True)) for gradient in gradients.tolist()]


class FusedQGT(_Derivatives, TypedDerivatives, BaseQGT):
    """``<d_i psi|d_j psi> - <d_i psi|psi><psi|d_j psi>``, exact, for any circuit that the engine runs.

    Args:
        estimator: Taken for compatibility; a `FusedEstimator` lends its engine options.
        phase_fix: Whether the second term is taken off.
        derivative_type: ``COMPLEX`` for the tensor, ``REAL`` or ``IMAG`` for one of its parts.
        precision: Taken for compatibility and recorded in the results; the tensor is exact.
        pass_manager: As of `FusedEstimatorGradient`.
        device, engine_precision, max_memory_mb, num_threads: As of `EngineOptions`, where the second one is called
            ``precision``; by default those of a `FusedEstimator`.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from qiskit.circuit import Parameter
        >>> from qiskit_machine_learning.gradients import QFI
        >>> from qiskit_fusedqml import FusedQGT
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rx(Parameter("a"), 0)
        >>> QFI(FusedQGT()).run([circuit], [[0.3]]).result().qfis[0].round(12)
        array([[1.]])
    """

    def __init__(
        self,
        estimator: BaseEstimatorV2 | None = None,
        phase_fix: bool = True,
        derivative_type: DerivativeType = DerivativeType.COMPLEX,
        precision: float | None = None,
        *,
        pass_manager: BasePassManager | None = None,
        device: str | None = None,
        engine_precision: str | None = None,
        max_memory_mb: float | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(estimator, phase_fix, derivative_type, precision, pass_manager=pass_manager)
        self.derivative_type = derivative_type
        self._given = engine_arguments(locals()) | {"precision": engine_precision}

    def run(
        self,
        circuits: Sequence[QuantumCircuit] | QuantumCircuit,
        parameter_values: Values,
        parameters: Sequence[Parameters] | None = None,
        *,
        precision: float | Sequence[float] | None = None,
    ) -> FinishedJob[QGTResult]:
        """The tensor of ``circuits[i]`` at ``parameter_values[i]`` for every i.

        The arguments are those of `FusedEstimatorGradient.run`; ``precision`` is recorded in the result.

        Returns:
            A job that has run. ``qgts[i][j, k]`` of its result belongs to ``parameters[i][j]`` and
            ``parameters[i][k]``.

        Raises:
            ValueError: For lengths, widths or parameters that do not fit, and for values that are not finite.
        """
        batches = entry_batches(
            circuits, parameter_values, parameters, names=("parameter values", "the list of specified parameters")
        )
        lent = getattr(self._estimator, "default_precision", 0.0) if self.precision is None else self.precision

        def evaluate() -> QGTResult:
            tensors, wanted = by_entry(batches, self._shares)
            return QGTResult(
                qgts=tensors,
                derivative_type=self.derivative_type,
                metadata=[[{"parameters": each}] for each in wanted],
                precision=lent if precision is None else precision,
            )

        return FinishedJob(evaluate)

    def _shares(self, batch: EntryBatch) -> Iterator[Share]:
        """For each entry the tensor."""
        batch.transpile(self._pass_manager)
        lowered_circuit(batch.simulated, self.engine_options).check_pure("the quantum geometric tensor")
        circuit = compile_circuit(batch.simulated, None, self.engine_options)
        sets, columns = batch.effective
        tensors = np.empty((len(sets), len(columns), len(columns)), np.complex128)
        for tensor, values in zip(tensors, sets, strict=True):
            tensor[...] = geometric_tensor(circuit, values, columns, phase_fix=self._phase_fix)
        return batch.shares(PART[self.derivative_type](tensors), batch.set_of, axes=(1, 2))


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
