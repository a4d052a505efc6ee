"""`FusedQGT`: the quantum geometric tensor, for ``QFI`` and natural gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2
from qiskit.transpiler.passmanager import BasePassManager
from qiskit_machine_learning.gradients import DerivativeType
from qiskit_machine_learning.gradients.base.base_qgt import BaseQGT
from qiskit_machine_learning.gradients.base.qgt_result import QGTResult

from ....engine.second_order import geometric_tensor
from ...qiskit.cache import compile_circuit
from ...qiskit.jobs import FinishedJob
from ...qiskit.options import LentEngineOptions
from .requests import (
    Group,
    Parameters,
    Values,
    check_lengths,
    grouped,
)


class FusedQGT(LentEngineOptions, BaseQGT):
    """``<d_i psi|d_j psi> - <d_i psi|psi><psi|d_j psi>``, exact, for any circuit that the engine runs.

    Args:
        estimator: Taken for compatibility; a `FusedEstimator` lends its engine options.
        phase_fix: Whether the second term is taken off.
        derivative_type: ``COMPLEX`` for the tensor, ``REAL`` or ``IMAG`` for one of its parts.
        precision: Taken for compatibility and recorded in the results; the tensor is exact.
        pass_manager: Transpiles each circuit, once.
        device: "CPU" or "GPU"; by default the `FusedEstimator`'s, else "CPU".
        engine_precision: "double" or "single"; by default the `FusedEstimator`'s, else "double".
        max_memory_mb: Memory the states of one call may take.
        num_threads: Number of threads; by default every core this process may use.

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
        self._given = {
            "device": device,
            "precision": engine_precision,
            "max_memory_mb": max_memory_mb,
            "num_threads": num_threads,
        }

    def run(
        self,
        circuits: Sequence[QuantumCircuit] | QuantumCircuit,
        parameter_values: Values,
        parameters: Sequence[Parameters] | None = None,
        *,
        precision: float | Sequence[float] | None = None,
    ) -> FinishedJob[QGTResult]:
        """The tensor of ``circuits[i]`` at ``parameter_values[i]`` for every i.

        Args:
            circuits: N circuits, or one.
            parameter_values: N rows of values, each in the order of ``circuits[i].parameters``.
            parameters: For each entry the parameters wanted, in any order, or None for all of them; None for all
                everywhere.
            precision: Recorded in the result.

        Returns:
            A job that has run. ``qgts[i][j, k]`` of its result belongs to ``parameters[i][j]`` and
            ``parameters[i][k]``.

        Raises:
            ValueError: For lengths, widths or parameters that do not fit, and for values that are not finite.
        """
        if isinstance(circuits, QuantumCircuit):
            circuits = (circuits,)
        wanted = [None] * len(circuits) if parameters is None else list(parameters)
        check_lengths(len(circuits), parameter_values=parameter_values, the_list_of_specified_parameters=wanted)
        groups = [
            Group(circuits[chosen[0]], chosen, values, parameters_)
            for chosen, values, parameters_ in grouped(circuits, parameter_values, wanted)
        ]
        return FinishedJob(self._evaluate, groups, len(circuits), self._recorded_precision(precision))

    def _recorded_precision(self, precision: float | Sequence[float] | None) -> float | Sequence[float]:
        """What the result says: the call's, else the constructor's, else the estimator's."""
        if precision is None:
            precision = self.precision
        return getattr(self._estimator, "default_precision", 0.0) if precision is None else precision

    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        parameter_values: Values,
        parameters: Sequence[Parameters],
        *,
        precision: float | Sequence[float] | None,
    ) -> QGTResult:
        """The base class's hook; the same as ``run(...).result()``."""
        return self.run(circuits, parameter_values, parameters, precision=precision).result()

    def _evaluate(self, groups: list[Group], num_entries: int, precision: float | Sequence[float] | None) -> QGTResult:
        tensors: list[Any] = [None] * num_entries
        metadata: list[Any] = [None] * num_entries
        for group in groups:
            if self._pass_manager is not None:
                group.transpile(("transpiled", self._pass_manager), self._pass_manager.run)
            by_row = self._tensors(group)
            for parameters, places, entries, positions in group.entries_by_kind():
                for entry, row in zip(entries, group.row_of[positions].tolist(), strict=True):
                    tensors[entry] = by_row[row][np.ix_(places, places)]
                    metadata[entry] = [{"parameters": parameters}]
        return QGTResult(qgts=tensors, derivative_type=self.derivative_type, metadata=metadata, precision=precision)

    def _tensors(self, group: Group) -> NDArray[Any]:
        """The tensors (rows, columns, columns) of one circuit."""
        circuit = compile_circuit(group.simulated, None, self.engine_options)
        rows, places, columns = group.effective(group.columns)
        count = len(group.columns)
        tensors = np.zeros((len(rows), count, count), np.complex128)
        for tensor, row in zip(tensors, rows, strict=True):
            if columns:
                tensor[np.ix_(places, places)] = geometric_tensor(circuit, row, columns, phase_fix=self._phase_fix)
        if self.derivative_type == DerivativeType.COMPLEX:
            return tensors
        return tensors.real if self.derivative_type == DerivativeType.REAL else tensors.imag
