"""`FusedEstimatorGradient`: what ``EstimatorQNN(gradient=...)`` and qiskit-machine-learning's algorithms take.

One call asks for many gradients, usually of one circuit: a network sends every pair (sample, observable) as an entry
of its own. Entries on one circuit become one batch, differentiated by the adjoint method in one forward sweep and one
backward sweep per observable. Entries that do not fill the grid samples x observables become a batch of pairs
instead, each row of which has its own observable: one backward sweep whatever the number of observables.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from copy import copy
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

from ..errors import InvalidInputError
from .cache import CACHE, EngineOptions, Observable, canonical, compile_circuit, with_layout
from .jobs import FinishedJob
from .primitives import FusedEstimator
from .rows import RowSet, check_finite

Parameters = Sequence[Parameter] | None


class FusedEstimatorGradient(BaseEstimatorGradient):
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
    ) -> None:
        """Set the options; every argument may be left out.

        Args:
            estimator: See the class.
            options: Default options, recorded in the results.
            derivative_type: ``DerivativeType.REAL``, the derivative of the expectation value.
            pass_manager: Transpiles each circuit, once, before it is differentiated.
            device: "CPU" or "GPU"; by default the `FusedEstimator`'s, else "CPU".
            precision: "double" or "single"; by default the `FusedEstimator`'s, else "double".
            max_memory_mb: Memory the states of one call may take.
            num_threads: Number of threads; by default every core this process may use.

        Raises:
            InvalidInputError: For an estimator that is not a V2 estimator, or another derivative type.
        """
        if estimator is None:
            estimator = FusedEstimator()
        _check_estimator(estimator)
        if derivative_type != DerivativeType.REAL:
            raise InvalidInputError(
                f"derivative_type is {derivative_type}; FusedEstimatorGradient computes DerivativeType.REAL, the "
                "derivative of the expectation value. LinCombEstimatorGradient(FusedEstimator(), ...) computes the "
                "others."
            )
        super().__init__(estimator, options, derivative_type, pass_manager)
        given = {"device": device, "precision": precision, "max_memory_mb": max_memory_mb, "num_threads": num_threads}
        self._given = {name: value for name, value in given.items() if value is not None}

    @property
    def engine_options(self) -> EngineOptions:
        """The options handed to the engine."""
        inherited = self._estimator.engine_options if isinstance(self._estimator, FusedEstimator) else EngineOptions()
        fields = {name: getattr(inherited, name) for name in EngineOptions.__slots__}
        return EngineOptions(**(fields | self._given))

    def run(
        self,
        circuits: Sequence[QuantumCircuit] | QuantumCircuit,
        observables: Sequence[BaseOperator] | BaseOperator,
        parameter_values: Sequence[Sequence[float]] | NDArray[np.float64],
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
        _check_lengths(circuits, observables, parameter_values, wanted)
        groups = _group(circuits, observables, parameter_values, wanted)
        recorded = self._recorded_options(options)
        return FinishedJob(self._differentiate, groups, len(circuits), recorded)

    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Sequence[Sequence[float]] | NDArray[np.float64],
        parameters: Sequence[Sequence[Parameter]],
        **options: Any,
    ) -> EstimatorGradientResult:
        """The base class's hook; the same as ``run(...).result()``."""
        return self.run(circuits, observables, parameter_values, parameters, **options).result()

    def _differentiate(self, groups: list[_Group], num_entries: int, options: Options) -> EstimatorGradientResult:
        gradients: list[Any] = [None] * num_entries
        metadata: list[Any] = [None] * num_entries
        for group in groups:
            self._transpile(group)
            group.differentiate(self.engine_options, gradients, metadata)
        return EstimatorGradientResult(gradients=gradients, metadata=metadata, options=options)

    def _transpile(self, group: _Group) -> None:
        manager = self._pass_manager
        if manager is None:
            return
        transpiled = CACHE.get(group.circuit, ("transpiled", manager), manager.run)
        group.observables = [with_layout(each, transpiled.layout) for each in group.observables]
        group.circuit = transpiled

    def _recorded_options(self, options: Mapping[str, Any]) -> Options:
        recorded = self.options
        recorded.update_options(**options)
        return recorded

    def _get_local_options(self, options: Mapping[str, Any]) -> Options:
        """The base class's, also for estimators whose ``options`` are no `Options`, or that have none."""
        own = getattr(self._estimator, "options", None)
        merged = copy(own) if isinstance(own, Options) else Options(**(vars(own) if hasattr(own, "__dict__") else {}))
        merged.update_options(**options)
        return merged


class _Group:
    """The entries on one circuit, as a grid of distinct rows of values and distinct observables."""

    def __init__(
        self,
        circuit: QuantumCircuit,
        entries: NDArray[np.intp],
        observables: Sequence[Any],
        values: Sequence[Sequence[float]] | NDArray[np.float64],
        wanted: Sequence[Parameters],
    ) -> None:
        self.circuit = circuit
        self.entries = entries
        self.parameters = list(circuit.parameters)
        self._check_width(values)
        array = np.asarray(values, dtype=np.float64)
        check_finite(array, self.parameters)
        rows = RowSet(len(self.parameters))
        self.row_of = rows.add(values, array)
        self.rows = rows.array()
        self._set_observables(observables)
        self._set_wanted(wanted)

    def _check_width(self, values: Sequence[Sequence[float]] | NDArray[np.float64]) -> None:
        if not self.parameters:
            raise InvalidInputError(
                f"The {self.entries[0]}-th circuit is not parameterised: there is nothing to differentiate."
            )
        expected = len(self.parameters)
        if isinstance(values, np.ndarray) and values.ndim == 2:
            widths = [values.shape[1]]
        else:
            widths = [len(row) for row in values]
        for entry, width in zip(self.entries.tolist(), widths, strict=False):
            if width != expected:
                raise InvalidInputError(
                    f"The number of values ({width}) does not match "
                    f"the number of parameters ({expected}) for the {entry}-th circuit."
                )

    def _set_observables(self, observables: Sequence[Any]) -> None:
        self.observables: list[Observable] = []
        self.observable_of = np.empty(len(observables), dtype=np.intp)
        by_key: dict[Hashable, int] = {}
        for positions in _by_identity(observables):
            observable = canonical(observables[positions[0]])
            if observable.num_qubits != self.circuit.num_qubits:
                entry = self.entries[positions[0]]
                raise InvalidInputError(
                    f"The number of qubits of the {entry}-th circuit ({self.circuit.num_qubits}) does not match "
                    f"the number of qubits of the {entry}-th observable ({observable.num_qubits})."
                )
            if observable.key not in by_key:
                by_key[observable.key] = len(self.observables)
                self.observables.append(observable)
            self.observable_of[positions] = by_key[observable.key]

    def _set_wanted(self, wanted: Sequence[Parameters]) -> None:
        """Split the entries by the parameters they want: for each kind these, their columns, and the positions."""
        column = {parameter: position for position, parameter in enumerate(self.parameters)}
        self.kinds: list[tuple[Sequence[Parameter], list[int], NDArray[np.intp]]] = []
        for positions in _by_identity(wanted):
            given = wanted[positions[0]]
            parameters = self.circuit.parameters if given is None else given
            foreign = [parameter for parameter in parameters if parameter not in column]
            if foreign:
                entry = self.entries[positions[0]]
                raise InvalidInputError(
                    f"The {entry}-th parameters contains parameters not present in the {entry}-th circuit: {foreign}."
                )
            self.kinds.append((parameters, [column[parameter] for parameter in parameters], positions))

    def differentiate(self, options: EngineOptions, gradients: list[Any], metadata: list[Any]) -> None:
        """Fill in the entries of ``gradients`` and ``metadata``."""
        columns = sorted({column for _, kind, _ in self.kinds for column in kind})
        place = {column: position for position, column in enumerate(columns)}
        by_entry = self._by_entry(options, columns)
        for parameters, kind, positions in self.kinds:
            order = [place[column] for column in kind]
            part = by_entry if order == list(range(len(columns))) else by_entry[:, order]
            part = part if len(self.kinds) == 1 else part[positions]
            for entry, gradient in zip(self.entries[positions].tolist(), part, strict=True):
                gradients[entry] = gradient
                metadata[entry] = {"parameters": parameters}

    def _by_entry(self, options: EngineOptions, columns: Sequence[int]) -> NDArray[np.float64]:
        """Gradients (entries, columns)."""
        # a transpiled circuit may have lost parameters: those have no effect, so their derivative is 0
        column_of = {parameter: position for position, parameter in enumerate(self.parameters)}
        kept = [column_of[parameter] for parameter in self.circuit.parameters]
        effective = [column for column in columns if column in set(kept)]
        gradient = np.zeros((len(self.entries), len(columns)))
        if not effective:
            return gradient
        rows = self.rows if len(kept) == len(self.parameters) else self.rows[:, kept]
        part = self._effective_by_entry(options, rows, [kept.index(column) for column in effective])
        if len(effective) == len(columns):
            return part
        gradient[:, [columns.index(column) for column in effective]] = part
        return gradient

    def _effective_by_entry(
        self, options: EngineOptions, rows: NDArray[np.float64], columns: list[int]
    ) -> NDArray[np.float64]:
        """Gradients (entries, columns) of the circuit as it is simulated, rows and columns in its order."""
        circuit = compile_circuit(self.circuit, self.observables, options)
        num_observables = len(self.observables)
        pair_of = self.row_of * num_observables + self.observable_of
        pairs, entry_of = (pair_of, pair_of) if num_observables == 1 else np.unique(pair_of, return_inverse=True)
        if num_observables == 1 or 2 * len(pairs) > len(rows) * num_observables:
            jacobian = circuit.jacobian(None, rows, wrt=columns)
            return np.asarray(jacobian, np.float64)[self.row_of, self.observable_of]
        row_of, observable_of = np.divmod(pairs, num_observables)
        cotangents = np.zeros((len(pairs), num_observables))
        cotangents[np.arange(len(pairs)), observable_of] = 1.0
        gradient = circuit.value_and_vjp(None, rows[row_of], cotangents)[2]
        return np.asarray(gradient, np.float64)[np.ix_(entry_of, columns)]


def _group(
    circuits: Sequence[QuantumCircuit],
    observables: Sequence[Any],
    values: Sequence[Sequence[float]] | NDArray[np.float64],
    wanted: Sequence[Parameters],
) -> list[_Group]:
    kinds = _by_identity(circuits)
    if len(kinds) == 1:
        return [_Group(circuits[0], kinds[0], observables, values, wanted)]
    return [
        _Group(
            circuits[chosen[0]],
            chosen,
            [observables[i] for i in chosen],
            [values[i] for i in chosen],
            [wanted[i] for i in chosen],
        )
        for chosen in kinds
    ]


def _by_identity(items: Sequence[Any]) -> list[NDArray[np.intp]]:
    """The positions of each distinct object, in order of appearance; networks repeat a few objects very often."""
    identities = np.fromiter(map(id, items), np.uintp, len(items))
    if not len(items):
        return []
    if (identities == identities[0]).all():
        return [np.arange(len(items))]
    _, first, kind_of = np.unique(identities, return_index=True, return_inverse=True)
    by_kind = np.split(np.argsort(kind_of, kind="stable"), np.cumsum(np.bincount(kind_of))[:-1])
    return [by_kind[kind] for kind in np.argsort(first)]


def _check_lengths(circuits: Sequence[Any], observables: Sequence[Any], values: Any, wanted: Sequence[Any]) -> None:
    others = {
        "parameter value sets": len(values),
        "observables": len(observables),
        "the list of specified parameters": len(wanted),
    }
    for name, length in others.items():
        if length != len(circuits):
            raise InvalidInputError(
                f"The number of circuits ({len(circuits)}) does not match the number of {name} ({length})."
            )


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
