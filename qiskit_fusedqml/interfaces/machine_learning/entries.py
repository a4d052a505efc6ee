"""The entries of one call of a gradient class, in batches by circuit.

A call is a list of entries (circuit, values, wanted parameters), and usually all of them are on one circuit. The three
gradient classes take the same steps from the call to its result; only the derivatives of a batch are their own:

>>> batches = entry_batches(circuits, parameter_values, parameters)  # checked; distinct parameter sets by circuit
>>> batch.transpile(pass_manager)
>>> derivatives = differentiate(batch.simulated, *batch.effective)   # of each distinct set
>>> shares = batch.shares(derivatives, batch.set_of)                 # of each entry, in its own parameters
>>> results, parameters = by_entry(batches, shares_of_batch)         # in the order of the call
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.transpiler.passmanager import BasePassManager
from qiskit_machine_learning.gradients import DerivativeType

from ...arrays import FloatArray
from ...errors import FusedQMLError, InvalidInputError
from ..qiskit.batches import CircuitBatch, Indices, by_identity
from ..qiskit.cache import CACHE, check_circuit

Parameters = Sequence[Parameter] | None
Values = Sequence[Sequence[float]] | FloatArray
PART: dict[DerivativeType, Callable[[NDArray[Any]], NDArray[Any]]] = {
    DerivativeType.REAL: np.real,
    DerivativeType.IMAG: np.imag,
    DerivativeType.COMPLEX: np.asarray,
}
"""What a derivative type takes of complex derivatives."""

Share = tuple[int, Sequence[Parameter], Any]
"""An entry's position in the call, its wanted parameters, and its result."""


class EntryBatch(CircuitBatch):
    """The entries on one circuit.

    Attributes:
        simulated: The circuit, or what a pass manager made of it.
        entries: Their positions (E,) in the call.
        set_of: The parameter set (E,) of each entry.
        kinds: For each kind of wanted parameters these, their columns among the circuit's, and positions in
            ``entries``.
    """

    def __init__(self, circuit: QuantumCircuit, entries: Indices, values: Values, wanted: Sequence[Parameters]) -> None:
        super().__init__(circuit)
        self.simulated = self.known
        self._own = {column: column for column in range(len(self.known.parameters))}  # its columns when simulated
        self.entries = entries
        self._check_width(values)
        self.set_of = self.add(np.asarray(values, dtype=np.float64))
        self.kinds = [self._kind(wanted[positions[0]], positions) for positions in by_identity(wanted)]

    def transpile(self, manager: BasePassManager | None, *, measured: bool = False) -> None:
        """Simulate what a pass manager, if there is one, makes of the circuit; as long as both stay as they are, once.

        Args:
            manager: The pass manager.
            measured: Whether all qubits are measured first if nothing is, so that outcomes keep their bits.
        """
        if manager is None:
            return

        parts = _parts(manager)

        def run(circuit: QuantumCircuit) -> tuple[list[Any], QuantumCircuit]:
            source = circuit.measure_all(inplace=False) if measured and not circuit.num_clbits else circuit
            return parts, manager.run(source)

        # what is kept holds the parts, so that no others get their identities
        _, transpiled = self.known.get(("transpiled", measured, *map(id, parts)), run)
        self.simulated = CACHE.known(transpiled)
        self._own = {self.known.columns[parameter]: k for k, parameter in enumerate(self.simulated.parameters)}

    @cached_property
    def columns(self) -> list[int]:
        """Columns of all parameters wanted by any entry, ascending."""
        return sorted({column for _, columns, _ in self.kinds for column in columns})

    @property
    def effective(self) -> tuple[FloatArray, list[int]]:
        """The distinct parameter sets as the simulated circuit takes them, and its columns that are wanted.

        A transpiled circuit may have lost parameters: they have no effect, and `shares` gives zeros for them.
        """
        columns = [self._own[column] for column in self.columns if column in self._own]
        sets = self.sets.array()
        return sets if self.simulated is self.known else sets[:, [*self._own]], columns

    def shares(self, derivatives: NDArray[Any], index: Indices, *, axes: Sequence[int] = (1,)) -> Iterator[Share]:
        """The share of each entry in derivatives (N, n, ...) with respect to the n columns of `effective`.

        The index (E,) says which of the N belongs to each entry; the axes are those that stand for parameters.
        """
        lost = [place for place, column in enumerate(self.columns) if column not in self._own]
        place_of = {column: place for place, column in enumerate(self.columns)}
        for axis in axes if lost else ():
            derivatives = np.insert(derivatives, [place - k for k, place in enumerate(lost)], 0.0, axis=axis)
        for parameters, columns, positions in self.kinds:
            chosen, places = index[positions], [place_of[column] for column in columns]
            share = derivatives if np.array_equal(chosen, np.arange(len(derivatives))) else derivatives[chosen]
            for axis in axes if columns != self.columns else ():
                share = share.take(places, axis)
            for entry, own in zip(self.entries[positions].tolist(), share, strict=True):
                yield entry, parameters, own

    def _check_width(self, values: Values) -> None:
        expected, entries = len(self.known.parameters), self.entries.tolist()
        if not expected:
            raise InvalidInputError(
                f"The {entries[0]}-th circuit is not parameterised: there is nothing to differentiate."
            )
        widths = values.shape[1:] if isinstance(values, np.ndarray) and values.ndim == 2 else map(len, values)
        for entry, width in zip(entries, widths, strict=False):
            if width != expected:
                raise InvalidInputError(
                    f"The number of values ({width}) does not match "
                    f"the number of parameters ({expected}) for the {entry}-th circuit."
                )

    def _kind(self, wanted: Parameters, positions: Indices) -> tuple[Sequence[Parameter], list[int], Indices]:
        parameters = self.known.parameters if wanted is None else wanted
        try:
            return parameters, [self.known.columns[parameter] for parameter in parameters], positions
        except KeyError:
            entry = self.entries[positions[0]]
            foreign = [parameter for parameter in parameters if parameter not in self.known.columns]
            raise InvalidInputError(
                f"The {entry}-th parameters contains parameters not present in the {entry}-th circuit: {foreign}."
            ) from None


def entry_batches(
    circuits: QuantumCircuit | Sequence[QuantumCircuit],
    values: Values,
    parameters: Sequence[Parameters] | None,
    observables: Sequence[Any] | None = None,
    *,
    names: tuple[str, str] = ("parameter value sets", "the list of specified parameters"),
) -> list[EntryBatch]:
    """The entries of a call by circuit, checked; arguments are as of `FusedEstimatorGradient.run`.

    ``names`` are what messages call values and parameters.
    """
    refuse_second_derivatives()
    circuits = (circuits,) if isinstance(circuits, QuantumCircuit) else circuits
    if not isinstance(circuits, Sequence):
        check_circuit(circuits, "circuits")
    wanted = [None] * len(circuits) if parameters is None else list(parameters)
    for name, items in ((names[0], values), ("observables", observables), (names[1], wanted)):
        if items is not None and len(items) != len(circuits):
            raise InvalidInputError(
                f"The number of circuits ({len(circuits)}) does not match the number of {name} ({len(items)})."
            )
    kinds = by_identity(circuits)
    if len(kinds) == 1:
        return [EntryBatch(circuits[0], kinds[0], values, wanted)]
    return [
        EntryBatch(circuits[chosen[0]], chosen, [values[i] for i in chosen], [wanted[i] for i in chosen])
        for chosen in kinds
    ]


def by_entry(
    batches: list[EntryBatch], shares: Callable[[EntryBatch], Iterator[Share]]
) -> tuple[list[Any], list[Sequence[Parameter]]]:
    """Results and parameters of all entries in the order of the call, from the shares of each batch's entries."""
    count = sum(len(batch.entries) for batch in batches)
    results: list[Any] = [None] * count
    wanted: list[Sequence[Parameter]] = [()] * count
    for batch in batches:
        for entry, parameters, result in shares(batch):
            results[entry], wanted[entry] = result, parameters
    return results, wanted


def refuse_second_derivatives() -> None:
    """Refuse a backward pass of torch with ``create_graph=True``: TorchConnector would take Jacobians for constants."""
    torch = sys.modules.get("torch")
    task = getattr(getattr(torch, "_C", None), "_current_graph_task_id", lambda: -1)
    if task() != -1 and torch.is_grad_enabled():  # type: ignore[union-attr]
        raise FusedQMLError(
            "Second derivatives of circuits are not available through TorchConnector (create_graph=True, gradient "
            "penalties): its Jacobian would count as a constant. Leave create_graph out, or use FusedLayer, whose "
            "layer.function.hvp(x, w, v) gives exact products with the Hessian."
        )


def known_derivative_type(given: Any) -> DerivativeType:
    """The derivative type that a member of any enum means, by its name or its value.

    qiskit-algorithms has an enum of its own, and its variational principles write it into gradients they are given.
    """
    if isinstance(given, DerivativeType):
        return given
    if isinstance(given, Enum):
        words = {str(word).lower() for word in (given.name, given.value)}
        meant = [kind for kind in DerivativeType if kind.value in words]
        if len(meant) == 1:
            return meant[0]
    raise InvalidInputError(
        f"The derivative type is {given!r}; DerivativeType.REAL, IMAG or COMPLEX of "
        "qiskit_machine_learning.gradients is expected, or a member of that name or value of another enum."
    )


class TypedDerivatives:
    """A class that gives complex derivatives or one of their parts.

    qiskit-algorithms writes a member of its own enum to ``_derivative_type``, which is checked when it is read.
    """

    _derivative_type: Any

    @property
    def derivative_type(self) -> DerivativeType:
        """Which part of the derivatives is computed."""
        return known_derivative_type(self._derivative_type)

    @derivative_type.setter
    def derivative_type(self, derivative_type: DerivativeType) -> None:
        known_derivative_type(derivative_type)
        self._derivative_type = derivative_type  # as it is: other packages compare it with members of their own enum


def _parts(manager: BasePassManager) -> list[Any]:
    """The passes of a pass manager, in order, and what they are set to."""
    work, parts = [*manager.to_flow_controller().tasks], []
    while work:
        task = work.pop()
        settings = getattr(task, "__dict__", {})
        parts += [task, *(value for name, value in settings.items() if name not in {"tasks", "property_set"})]
        work += settings.get("tasks", ())
    return parts
