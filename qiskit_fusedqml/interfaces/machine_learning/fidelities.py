"""`FusedFidelity`: fidelities of pairs of circuits, for the stock kernels and whatever else compares states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2
from qiskit.providers import Options
from qiskit.transpiler.passmanager import BasePassManager
from qiskit_machine_learning.state_fidelities import BaseStateFidelity
from qiskit_machine_learning.state_fidelities.state_fidelity_result import StateFidelityResult

from ...arrays import shown
from ...engine.options import engine_arguments
from ...errors import InvalidInputError
from ..qiskit.batches import ParameterSets
from ..qiskit.cache import CACHE, KnownCircuit, check_circuit
from ..qiskit.compiled import compile_circuit, lowered_circuit
from ..qiskit.jobs import FinishedJob
from ..qiskit.options import LentEngineOptions
from .overlaps import Side, States, local_fidelities, pair_fidelities


class FusedFidelity(LentEngineOptions, BaseStateFidelity):
    """``|<psi|phi>|**2`` of pairs of circuits, exact: each distinct state is simulated once.

    Takes the place of ``ComputeUncompute``: ``FidelityQuantumKernel(fidelity=FusedFidelity())`` and
    ``TrainableFidelityQuantumKernel`` use it, as do other algorithms that take a ``BaseStateFidelity``. The sampler is
    taken for compatibility: one of this package lends its engine options, any other is asked for nothing but its
    ``options``. Fidelities are exact, whatever number of shots the sampler has.

    Args:
        sampler: See above.
        options: Default options, recorded in the results.
        local: Whether the projector onto ``|0...0>`` of the first circuit followed by the second one undone is
            replaced by the mean of the projectors onto ``|0>`` of each qubit.
        pass_manager: Transpiles what `create_fidelity_circuit` makes; states are compared before that.
        device, precision, max_memory_mb, num_threads: As of `EngineOptions`; by default the sampler's.
    """

    def __init__(
        self,
        sampler: BaseSamplerV2 | None = None,
        *,
        options: Options | None = None,
        local: bool = False,
        pass_manager: BasePassManager | None = None,
        device: str | None = None,
        precision: str | None = None,
        max_memory_mb: float | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__()
        self._sampler = sampler
        self._default_options = Options(**(options or {}))
        self._local = local
        self._pass_manager = pass_manager
        self._given = engine_arguments(locals())

    @property
    def local(self) -> bool:
        """Whether projectors of single qubits are averaged."""
        return self._local

    @property
    def options(self) -> Options:
        """The sampler's options, overridden by the default options."""
        return self._get_local_options(self._default_options)

    def update_default_options(self, **options: Any) -> None:
        """Change default options."""
        self._default_options.update_options(**options)

    def create_fidelity_circuit(self, circuit_1: QuantumCircuit, circuit_2: QuantumCircuit) -> QuantumCircuit:
        """The first circuit followed by the second one undone, and measured; for show, `run` compares states."""
        first, second = (each.remove_final_measurements(inplace=False) for each in (circuit_1, circuit_2))
        circuit = first.compose(second.inverse())
        circuit.measure_all()
        return circuit if self._pass_manager is None else self._pass_manager.run(circuit)

    def run(
        self,
        circuits_1: QuantumCircuit | Sequence[QuantumCircuit],
        circuits_2: QuantumCircuit | Sequence[QuantumCircuit],
        values_1: Sequence[float] | Sequence[Sequence[float]] | None = None,
        values_2: Sequence[float] | Sequence[Sequence[float]] | None = None,
        **options: Any,
    ) -> FinishedJob[StateFidelityResult]:
        """The fidelities of ``circuits_1[i]`` at ``values_1[i]`` and ``circuits_2[i]`` at ``values_2[i]``.

        Args:
            circuits_1: N circuits, or one.
            circuits_2: N circuits, or one.
            values_1: N parameter sets, or one; None without parameters.
            values_2: The same for the second circuits.
            **options: Recorded in the result, with the default options.

        Returns:
            A job that has run.

        Raises:
            ValueError: For lengths and widths that do not fit, for no circuits at all, and for values that are not
                finite.
        """
        sides = [
            [circuits] if isinstance(circuits, QuantumCircuit) else list(circuits)
            for circuits in (circuits_1, circuits_2)
        ]
        first, second = sides
        if len(first) != len(second):
            raise InvalidInputError(
                f"The length of the first circuit list ({len(first)}) and second circuit list ({len(second)}) is not "
                "the same."
            )
        if not first:
            raise InvalidInputError("The lists of circuits are empty; at least one pair is expected.")
        for circuit in (*first, *second):
            check_circuit(circuit)
        for one, other in zip(first, second, strict=True):
            self._check_qubits_match(one, other)
        sets = []
        for name, circuits, values in (("values_1", first, values_1), ("values_2", second, values_2)):
            if isinstance(values, Mapping):
                raise InvalidInputError(f"{name} is {shown(values)}; rows of numbers are expected.")
            sets.append(_sets_of(circuits, self._preprocess_values(circuits, values)))
        recorded = copy(self._default_options)
        recorded.update_options(**options)

        def compare() -> StateFidelityResult:
            raw = self._fidelities(sides, sets)
            metadata: list[Any] = [{}] * len(raw)
            return StateFidelityResult(
                fidelities=raw.clip(0.0, 1.0).tolist(), raw_fidelities=raw.tolist(), metadata=metadata, options=recorded
            )

        return FinishedJob(compare)

    def _run(self, *arguments: Any, **options: Any) -> FinishedJob[StateFidelityResult]:
        """The base class's hook; the same as `run`."""
        return self.run(*arguments, **options)

    def _fidelities(self, sides: list[list[QuantumCircuit]], sets: list[list[Sequence[float]]]) -> NDArray[np.float64]:
        pairs: dict[tuple[int, ...], list[int]] = {}
        for position, pair in enumerate(zip(*sides, strict=True)):
            pairs.setdefault(tuple(map(id, pair)), []).append(position)
        raw = np.empty(len(sides[0]))
        for positions in pairs.values():
            known = [CACHE.known(circuits[positions[0]]) for circuits in sides]
            left, right = self._states(known)
            x, y = (_distinct(each, positions) for each in sets)
            if self._local:
                raw[positions] = local_fidelities(left, right, x, y, known[0].snapshot.num_qubits)
            else:
                raw[positions] = pair_fidelities(left, right, x, y)
        return raw

    def _states(self, circuits: Sequence[KnownCircuit]) -> list[States]:
        """The states of circuits on all qubits that any of them acts on."""
        options = self.engine_options
        lowered = [lowered_circuit(circuit, options) for circuit in circuits]
        for each in lowered:
            each.check_pure("a fidelity of state vectors")
        qubits = tuple(sorted({qubit for each in lowered for qubit in each.active.qubits}))
        return [States(compile_circuit(each, None, options, qubits=qubits)) for each in circuits]


def _sets_of(circuits: Sequence[QuantumCircuit], values: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """A parameter set for each circuit; one that is given alone is for all of them.

    Raises:
        InvalidInputError: If there are more or fewer, or one does not fit the circuit's parameters.
    """
    sets = list(values) if len(values) == len(circuits) or any(values[0]) else [values[0]] * len(circuits)
    if len(sets) != len(circuits):
        raise InvalidInputError(f"{len(sets)} rows of values were given for {len(circuits)} circuits.")
    for position, (given, circuit) in enumerate(zip(sets, circuits, strict=True)):
        if len(given) != circuit.num_parameters:
            raise InvalidInputError(
                f"The number of values ({len(given)}) does not match the number of parameters "
                f"({circuit.num_parameters}) for the {position}-th circuit."
            )
    return sets


def _distinct(sets: list[Sequence[float]], positions: list[int]) -> Side:
    """The distinct parameter sets among those at some positions."""
    chosen = np.array([sets[position] for position in positions], np.float64)
    distinct = ParameterSets(chosen.shape[1])
    places = distinct.add(chosen)
    return Side(distinct.array(), places)
