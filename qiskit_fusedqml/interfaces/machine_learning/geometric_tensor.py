"""`FusedQGT`: the quantum geometric tensor, for ``QFI`` and natural gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2
from qiskit.transpiler.passmanager import BasePassManager
from qiskit_machine_learning.gradients import DerivativeType
from qiskit_machine_learning.gradients.base.base_qgt import BaseQGT
from qiskit_machine_learning.gradients.base.qgt_result import QGTResult

from ...engine.second_order import geometric_tensor
from ..qiskit.compiled import compile_circuit, lowered_circuit
from ..qiskit.jobs import FinishedJob
from ..qiskit.options import LentEngineOptions
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


class FusedQGT(LentEngineOptions, TypedDerivatives, BaseQGT):
    """``<d_i psi|d_j psi> - <d_i psi|psi><psi|d_j psi>``, exact, for any circuit that the engine runs.

    Args:
        estimator: Taken for compatibility; a `FusedEstimator` lends its engine options.
        phase_fix: Whether the second term is taken off.
        derivative_type: ``COMPLEX`` for the tensor, ``REAL`` or ``IMAG`` for one of its parts. Members of other
            enums count by their name or value.
        precision: Taken for compatibility and recorded in the results; the tensor is exact.
        pass_manager: Transpiles each circuit, once.
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
            parameter_values: N parameter sets, each in the order of ``circuits[i].parameters``.
            parameters: For each entry the parameters wanted, in any order, or None for all of them; None for all
                everywhere.
            precision: Recorded in the result.

        Returns:
            A job that has run. ``qgts[i][j, k]`` of its result belongs to ``parameters[i][j]`` and
            ``parameters[i][k]``.

        Raises:
            ValueError: For lengths, widths or parameters that do not fit, and for values that are not finite.
        """
        batches = entry_batches(
            circuits, parameter_values, parameters, names=("parameter values", "the list of specified parameters")
        )
        if precision is None:
            precision = self.precision
        if precision is None:
            precision = getattr(self._estimator, "default_precision", 0.0)
        return FinishedJob(self._evaluate, batches, precision)

    def _run(self, *arguments: Any, **options: Any) -> QGTResult:
        """The base class's hook; the same as ``run(...).result()``."""
        return self.run(*arguments, **options).result()

    def _evaluate(self, batches: list[EntryBatch], precision: float | Sequence[float] | None) -> QGTResult:
        tensors, parameters = by_entry(batches, self._shares)
        metadata = [[{"parameters": wanted}] for wanted in parameters]
        return QGTResult(qgts=tensors, derivative_type=self.derivative_type, metadata=metadata, precision=precision)

    def _shares(self, batch: EntryBatch) -> Iterator[Share]:
        """For each entry the tensor."""
        batch.transpile(self._pass_manager)
        lowered_circuit(batch.simulated).check_pure("the quantum geometric tensor")
        circuit = compile_circuit(batch.simulated, None, self.engine_options)
        sets, columns = batch.effective
        tensors = np.empty((len(sets), len(columns), len(columns)), np.complex128)
        for tensor, values in zip(tensors, sets, strict=True):
            tensor[...] = geometric_tensor(circuit, values, columns, phase_fix=self._phase_fix)
        return batch.shares(part(tensors, self.derivative_type), batch.set_of, axes=(1, 2))
