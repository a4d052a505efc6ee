"""`FusedSamplerGradient`: what ``SamplerQNN(gradient=...)`` takes.

The entries on one circuit become one batch, and the Jacobian of its probabilities is computed in forward mode, one
state for each angle, or in reverse mode, one backward sweep for each outcome, whichever costs less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2
from qiskit.providers import Options
from qiskit.transpiler.passmanager import BasePassManager
from qiskit_machine_learning.gradients import BaseSamplerGradient, SamplerGradientResult

from ....engine.options import EngineOptions
from ...qiskit.cache import compile_circuit
from ...qiskit.jobs import FinishedJob
from ...qiskit.options import LentEngineOptions, local_options
from .requests import (
    Group,
    Parameters,
    Values,
    check_lengths,
    grouped,
)


class FusedSamplerGradient(LentEngineOptions, BaseSamplerGradient):
    """Exact gradients of the probabilities of measurement outcomes.

    Any circuit that the engine runs has a gradient, with respect to any of its parameters. Outcomes are those of the
    classical bits, or of all qubits where nothing is measured.

    The sampler is taken for compatibility: one of this package lends its engine options, any other is asked for
    nothing but its ``options``. Gradients are exact, whatever number of shots the sampler has.

    Args:
        sampler: See above.
        options: Default options, recorded in the results.
        pass_manager: Transpiles each circuit, once, before it is differentiated.
        device: "CPU" or "GPU"; by default the sampler's, else "CPU".
        precision: "double" or "single"; by default the sampler's, else "double".
        max_memory_mb: Memory the states of one call may take.
        num_threads: Number of threads; by default every core this process may use.
        checkpoint: States kept on the way forward for the sweep back: None, a number, or "auto"; see
            `DifferentiableCircuit`.

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
            parameter_values: N rows of values, each in the order of ``circuits[i].parameters``.
            parameters: For each entry the parameters wanted, in any order, or None for all of them; None for all
                everywhere.
            **options: Recorded in the result; the gradient is exact and none changes it.

        Returns:
            A job that has run. ``gradients[i][j][v]`` of its result is the derivative of the probability of outcome v
            with respect to ``parameters[i][j]``.

        Raises:
            ValueError: For lengths, widths or parameters that do not fit, and for values that are not finite.
        """
        if isinstance(circuits, QuantumCircuit):
            circuits = (circuits,)
        wanted = [None] * len(circuits) if parameters is None else list(parameters)
        check_lengths(len(circuits), parameter_value_sets=parameter_values, the_specified_parameter_sets=wanted)
        groups = [
            Group(circuits[chosen[0]], chosen, values, parameters_)
            for chosen, values, parameters_ in grouped(circuits, parameter_values, wanted)
        ]
        recorded = self.options
        recorded.update_options(**options)
        return FinishedJob(self._differentiate, groups, len(circuits), recorded)

    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        parameter_values: Values,
        parameters: Sequence[Parameters],
        **options: Any,
    ) -> SamplerGradientResult:
        """The base class's hook; the same as ``run(...).result()``."""
        return self.run(circuits, parameter_values, parameters, **options).result()

    def _differentiate(self, groups: list[Group], num_entries: int, options: Options) -> SamplerGradientResult:
        gradients: list[Any] = [None] * num_entries
        metadata: list[Any] = [None] * num_entries
        for group in groups:
            if self._pass_manager is not None:
                group.transpile(("measured and transpiled", self._pass_manager), self._transpiled)
            outcomes, by_row = probability_gradients(group, self.engine_options)
            for parameters, places, entries, positions in group.entries_by_kind():
                for entry, row in zip(entries, group.row_of[positions].tolist(), strict=True):
                    gradients[entry] = [
                        dict(zip(outcomes, gradient, strict=True)) for gradient in by_row[row, places].tolist()
                    ]
                    metadata[entry] = [{"parameters": parameters}]
        return SamplerGradientResult(gradients=gradients, metadata=metadata, options=options)

    def _transpiled(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """The circuit after the pass manager; measured first, so that outcomes keep their bits."""
        assert self._pass_manager is not None
        measured = circuit if circuit.num_clbits else circuit.measure_all(inplace=False)
        return self._pass_manager.run(measured)

    def _get_local_options(self, options: Mapping[str, Any]) -> Options:
        return local_options(self._sampler, options)


def probability_gradients(group: Group, options: EngineOptions) -> tuple[list[int], NDArray[np.float64]]:
    """The outcomes that can occur, and derivatives (rows, len(columns), outcomes) of their probabilities."""
    circuit = compile_circuit(group.simulated, None, options)
    outcomes, groups = circuit.reachable_outcomes()
    rows, places, columns = group.effective(group.columns)
    result = np.zeros((len(rows), len(group.columns), len(outcomes)))
    if columns:
        jacobian = circuit.probability_jacobian(None, rows, groups, len(outcomes), columns)
        result[:, places] = jacobian.swapaxes(1, 2)
    return outcomes.tolist(), result
