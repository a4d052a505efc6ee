"""`FusedSamplerGradient`: what ``SamplerQNN(gradient=...)`` takes.

The entries on one circuit become one batch, and the Jacobian of its probabilities is computed in forward mode, one
state for each angle, or in reverse mode, one backward sweep for each outcome, whichever costs less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2
from qiskit.providers import Options
from qiskit.transpiler import TranspileLayout
from qiskit.transpiler.passmanager import BasePassManager
from qiskit_machine_learning.gradients import BaseSamplerGradient, SamplerGradientResult

from ...engine.probabilities import probability_jacobian, reachable_outcomes
from ..qiskit.cache import KnownCircuit
from ..qiskit.compiled import compile_circuit, lowered_circuit
from ..qiskit.jobs import FinishedJob
from ..qiskit.options import LentEngineOptions
from .entries import EntryBatch, Parameters, Share, Values, by_entry, entry_batches


class FusedSamplerGradient(LentEngineOptions, BaseSamplerGradient):
    """Exact gradients of the probabilities of measurement outcomes.

    Any circuit that the engine runs has a gradient, with respect to any of its parameters. Outcomes are those of the
    classical bits, or of all qubits where nothing is measured. Those of a transpiled circuit that has been measured on
    all of its qubits since are outcomes of the qubits before transpilation, as a network expects them.

    The sampler is taken for compatibility: one of this package lends its engine options, any other is asked for
    nothing but its ``options``. Gradients are exact, whatever number of shots the sampler has.

    Args:
        sampler: See above.
        options: Default options, recorded in the results.
        pass_manager: Transpiles each circuit, once, before it is differentiated.
        device, precision, max_memory_mb, num_threads, checkpoint: As of `EngineOptions`; by default the sampler's.

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
    ) -> None:
        super().__init__(sampler, options, pass_manager)
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
        parameter_values: Values,
        parameters: Sequence[Parameters] | None = None,
        **options: Any,
    ) -> FinishedJob[SamplerGradientResult]:
        """Differentiate the probabilities of ``circuits[i]`` at ``parameter_values[i]`` for every i.

        Args:
            circuits: N circuits, or one.
            parameter_values: N parameter sets, each in the order of ``circuits[i].parameters``.
            parameters: For each entry the parameters wanted, in any order, or None for all of them; None for all
                everywhere.
            **options: Recorded in the result; the gradient is exact and none changes it.

        Returns:
            A job that has run. ``gradients[i][j][v]`` of its result is the derivative of the probability of outcome v
            with respect to ``parameters[i][j]``.

        Raises:
            ValueError: For lengths, widths or parameters that do not fit, and for values that are not finite.
        """
        batches = entry_batches(
            circuits, parameter_values, parameters, names=("parameter value sets", "the specified parameter sets")
        )
        recorded = self.options
        recorded.update_options(**options)
        return FinishedJob(self._differentiate, batches, recorded)

    def _run(self, *arguments: Any, **options: Any) -> SamplerGradientResult:
        """The base class's hook; the same as ``run(...).result()``."""
        return self.run(*arguments, **options).result()

    def _differentiate(self, batches: list[EntryBatch], options: Options) -> SamplerGradientResult:
        gradients, parameters = by_entry(batches, self._shares)
        metadata = [[{"parameters": wanted}] for wanted in parameters]
        return SamplerGradientResult(gradients=gradients, metadata=metadata, options=options)

    def _shares(self, batch: EntryBatch) -> Iterator[Share]:
        """For each entry the derivatives of all outcomes that can occur, by parameter."""
        batch.transpile(self._pass_manager, measured=True)
        circuit = compile_circuit(batch.simulated, None, self.engine_options)
        outcomes, groups = np.unique(
            _before_transpilation(batch.known, reachable_outcomes(circuit)[0]), return_inverse=True
        )
        sets, columns = batch.effective
        jacobian = probability_jacobian(circuit, None, sets, groups, len(outcomes), columns)
        keys = outcomes.tolist()
        for entry, parameters, gradients in batch.shares(jacobian.swapaxes(1, 2), batch.set_of):
            yield entry, parameters, [dict(zip(keys, gradient, strict=True)) for gradient in gradients.tolist()]


def logical_outcomes(outcomes: NDArray[Any], layout: TranspileLayout) -> NDArray[Any]:
    """Outcomes of all qubits of a transpiled circuit as those of the qubits before transpilation."""
    logical = np.zeros_like(outcomes)
    for position, qubit in enumerate(layout.final_index_layout(filter_ancillas=True)):
        logical |= (outcomes >> qubit & 1) << position
    return logical


def _before_transpilation(known: KnownCircuit, outcomes: NDArray[Any]) -> NDArray[Any]:
    """The outcomes; of a transpiled circuit measured qubit by qubit, as they were before transpilation."""
    circuit = known.snapshot
    if circuit.layout is None:
        return outcomes
    lowered = lowered_circuit(known)
    measurement, qubits = lowered.measurement, lowered.active.qubits
    own = measurement.num_clbits == circuit.num_qubits and all(qubits[k] == clbit for k, clbit in measurement.pairs)
    return logical_outcomes(outcomes, circuit.layout) if own else outcomes
