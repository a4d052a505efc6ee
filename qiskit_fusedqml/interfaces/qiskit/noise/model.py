"""A noise model as tables: which channels an operation is followed by, and how a measurement is misread.

The rules are those of qiskit-aer:

- errors are found by a gate's label if it has one, else by the operation's name; those for exactly its qubits, in
  their order, replace those for all qubits;
- they come after the operation, those of ``measure`` before it; measurements and resets of several qubits have the
  errors of each of them, unless there is one for all of them together;
- barriers, ``kraus`` and ``superop`` have none;
- qubits are numbered as in the circuit; a delay relaxes for as long as it takes.

A gate that means its definition has the errors of what it is made of, unless it has its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction, Delay, Gate, Parameter
from qiskit.transpiler import PassManager
from qiskit.utils.units import apply_prefix

from ....arrays import FloatArray, shown
from ....errors import InvalidInputError
from ....ir.channel_table import CHANNELS
from ....memory import BoundedCache
from .errors import PlacedChannel, constant, read_error

Qubits: TypeAlias = tuple[int, ...]

_WITHOUT_ERRORS = frozenset({"barrier", "kraus", "superop", "quantum_channel", "qerror_loc", "roerror"})

_SPLIT = ("measure", "reset")
"""Operations on several qubits at once that have the errors of each one."""

MAX_READ = 64
"""Noise models whose reading is kept."""


class Error:
    """An error of a model, read when it is first needed: models of large devices have thousands.

    Args:
        source: What ``to_dict()`` lists, or what has that method; or channels.
    """

    def __init__(self, source: Any) -> None:
        self.source = source
        self._channels = source if isinstance(source, tuple) else None

    @property
    def channels(self) -> tuple[PlacedChannel, ...]:
        """The channels, in their order; errors as of `read_error`."""
        if self._channels is None:
            self._channels = read_error(self.source if isinstance(self.source, Mapping) else self.source.to_dict())
        return self._channels


@dataclass(frozen=True, eq=False)
class Relaxation:
    """How qubits relax during delays: T1, T2 and excited populations (n,), in seconds, and the length of a ``dt``."""

    t1s: FloatArray
    t2s: FloatArray
    excited: FloatArray
    dt: float | None

    def channels(self, delay: Any, qubit: int) -> tuple[PlacedChannel, ...]:
        """What a delay does to a qubit.

        Raises:
            InvalidInputError: If its duration is not known.
        """
        try:
            duration = float(delay.duration)
        except TypeError:
            raise InvalidInputError(
                f"it lasts {delay.duration}, which has no value, so that its relaxation is not known"
            ) from None
        if delay.unit != "dt":
            seconds = apply_prefix(duration, delay.unit)
        elif self.dt is not None:
            seconds = duration * self.dt
        else:
            raise InvalidInputError("it lasts for a number of dt, and the noise model does not know how long a dt is")
        if qubit >= len(self.t1s):
            return ()
        t1, t2 = self.t1s[qubit], self.t2s[qubit]
        matrix = relaxation(t1, t2, seconds, self.excited[qubit])
        return constant((0,), matrix, f"The relaxation of qubit {qubit}")


def relaxation(t1: float, t2: float, time: float, excited: float) -> FloatArray:
    """The transfer matrix of thermal relaxation; times may be infinite.

    Raises:
        InvalidInputError: For parameters that are not possible.
    """
    check_relaxation(t1, t2, excited, time)
    return CHANNELS["thermal_relaxation"].transfer(*map(np.float64, (t1, t2, time, excited)))


def check_relaxation(t1: float, t2: float, excited: float, time: float = 0.0) -> None:
    """Refuse parameters of relaxation that are not possible; infinite times are.

    Raises:
        InvalidInputError: The message says which, and what is allowed.
    """
    problem = CHANNELS["thermal_relaxation"].problem(t1, t2, time, excited)
    if problem is not None:
        raise InvalidInputError(f"The noise model relaxes impossibly: {problem}.")


@dataclass(frozen=True, eq=False)
class Noise:
    """A noise model as it is read.

    Attributes:
        errors: Label or name -> qubits, None for all -> errors in their order.
        readout: Qubits, None for each qubit -> probabilities (2**k, 2**k) of what is read (columns) for what there is.
        relaxation: What delays do.
        passes: Other passes of the model that write noise into circuits.
        parameters: The parameters that strengths depend on.
    """

    errors: Mapping[str, Mapping[Qubits | None, Sequence[Error]]] = field(default_factory=dict)
    readout: Mapping[Qubits | None, FloatArray] = field(default_factory=dict)
    relaxation: Relaxation | None = None
    passes: tuple[Any, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    _warned: list[bool] = field(default_factory=list)

    @property
    def has_errors(self) -> bool:
        """Whether anything but readout is noisy, so that states are mixed."""
        return bool(self.errors or self.relaxation or self.passes)

    def of(self, instruction: CircuitInstruction, qubits: Qubits) -> list[tuple[Qubits, PlacedChannel]]:
        """The channels of an instruction in their order, each with the qubits that it acts on.

        Args:
            instruction: The instruction.
            qubits: Its qubits, as the circuit numbers them.

        Raises:
            InvalidInputError: If an error is no channel, or wider than the instruction.
        """
        name = instruction.name
        label = _label(instruction) or name
        by_qubits = None if name in _WITHOUT_ERRORS else self.errors.get(label)
        found: list[tuple[Qubits, PlacedChannel]] = []
        if by_qubits is not None:
            for group in self._groups(name, qubits, by_qubits):
                for error in by_qubits.get(group, by_qubits.get(None, ())):
                    _check_fits(error, label, len(group))
                    found += [(each, channel) for channel in error.channels for each in channel.on(group)]
        if name == "delay" and self.relaxation is not None:
            found += [(qubits, channel) for channel in self.relaxation.channels(instruction.operation, qubits[0])]
        return found

    def misreadings(self, qubits: Qubits) -> list[tuple[Qubits, FloatArray]]:
        """The readout errors of a measurement: positions of qubits, and the probabilities of what is read."""
        groups = self._groups("measure", qubits, self.readout)
        found = ((group, self.readout.get(group, self.readout.get(None))) for group in groups)
        return [(tuple(map(qubits.index, group)), matrix) for group, matrix in found if matrix is not None]

    def _groups(self, name: str, qubits: Qubits, by_qubits: Mapping[Qubits | None, Any]) -> list[Qubits]:
        return [(qubit,) for qubit in qubits] if name in _SPLIT and qubits not in by_qubits else [qubits]

    def prepared(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """The circuit with what the model's passes write into it; as on Aer, they are run if it has delays."""
        if not self.passes or "delay" not in circuit.count_ops():
            return circuit
        return PassManager(list(self.passes)).run(circuit)

    def first_warning(self) -> bool:
        """Whether this is the first time that it is asked."""
        first = not self._warned
        self._warned.append(True)
        return first


def _label(instruction: CircuitInstruction) -> str | None:
    """The label of an instruction that is a gate."""
    label = instruction.label
    is_gate = label is not None and (instruction.is_standard_gate() or isinstance(instruction.operation, Gate))
    return label if is_gate else None


def _check_fits(error: Error, name: str, num_qubits: int) -> None:
    widest = 1 + max((place for channel in error.channels for place in channel.places), default=0)
    if widest > num_qubits:
        raise InvalidInputError(
            f"the noise model has an error of {widest} qubits for {name!r}, which acts on {num_qubits}"
        )


_READ: BoundedCache[int, tuple[weakref.ref[Any], Hashable, Noise]] = BoundedCache(MAX_READ)


def read_noise(model: Any) -> Noise:
    """A noise model as tables; the same ones as long as it holds the same errors.

    Args:
        model: A ``NoiseModel`` of qiskit-aer, what its ``to_dict()`` returns, a `ParametricNoiseModel`, or a `Noise`.

    Raises:
        InvalidInputError: If it is something else, or holds an error whose type is not known.
    """
    if isinstance(model, Noise):
        return model
    if isinstance(model, Mapping):
        return _of_dict(model)
    contents = _contents(model)
    if contents is None:
        if not callable(getattr(model, "to_dict", None)):
            raise InvalidInputError(
                f"noise_model is {shown(model)}; a NoiseModel of qiskit-aer, its to_dict() or a ParametricNoiseModel "
                "is expected."
            )
        return _of_dict(model.to_dict())
    known = _READ.find(id(model))
    if known is not None and known[0]() is model and known[1] == contents:
        return known[2]
    read: Noise = model.read() if hasattr(model, "read") else _of_aer(model)
    identity = id(model)
    _READ.put(identity, (weakref.ref(model, lambda _: _READ.drop(identity)), contents, read))
    return read


def _contents(model: Any) -> Hashable | None:
    """What a model holds, by identity; None where it cannot be told."""
    if hasattr(model, "rules"):
        return tuple(model.rules)
    try:
        tables = (model._default_quantum_errors, model._local_readout_errors)  # noqa: SLF001 (to_dict takes seconds)
        nested = model._local_quantum_errors  # noqa: SLF001
        last = (model._default_readout_error, *model._custom_noise_passes)  # noqa: SLF001
    except AttributeError:
        return None
    held = [(*table, *map(_Same, table.values())) for table in (*tables, *nested.values())]
    return (tuple(nested), *held, *map(_Same, last))


class _Same:
    """An object that equals itself only; it is kept, so that no other one takes its place in memory."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _of_aer(model: Any) -> Noise:
    """A ``NoiseModel`` of qiskit-aer; errors are asked for their dictionaries when they are needed."""
    errors: dict[str, dict[Qubits | None, list[Error]]] = {}
    for name, error in model._default_quantum_errors.items():  # noqa: SLF001
        errors.setdefault(name, {})[None] = [Error(error)]
    for name, by_qubits in model._local_quantum_errors.items():  # noqa: SLF001
        errors.setdefault(name, {}).update({tuple(qubits): [Error(error)] for qubits, error in by_qubits.items()})
    default = model._default_readout_error  # noqa: SLF001
    readout: dict[Qubits | None, FloatArray] = {}
    if default is not None:
        readout[None] = confusion(default.to_dict()["probabilities"], None)
    for qubits, error in model._local_readout_errors.items():  # noqa: SLF001
        readout[tuple(qubits)] = confusion(error.to_dict()["probabilities"], tuple(qubits))
    delays, others = None, []
    for each in model._custom_noise_passes:  # noqa: SLF001
        if delays is None and type(each).__name__ == "RelaxationNoisePass" and getattr(each, "_ops", None) == (Delay,):
            delays = Relaxation(each._t1s, each._t2s, each._p1s, each._dt)  # noqa: SLF001
        else:
            others.append(each)
    return Noise(errors, readout, delays, tuple(others))


def _of_dict(model: Mapping[str, Any]) -> Noise:
    errors: dict[str, dict[Qubits | None, list[Error]]] = {}
    readout: dict[Qubits | None, FloatArray] = {}
    listed = model.get("errors")
    if not isinstance(listed, Sequence) or not all(isinstance(each, Mapping) for each in listed):
        raise InvalidInputError(f"noise_model is {shown(model)}; a dictionary with a list of 'errors' is expected.")
    for each in listed:
        kind, places = each.get("type"), [*_places(each)]
        if kind == "roerror":
            readout.update({qubits: confusion(each.get("probabilities"), qubits) for qubits in places})
        elif kind in ("qerror", "plerror"):
            error = Error(each)
            for name in each.get("operations", ()):
                for qubits in places:
                    errors.setdefault(name, {}).setdefault(qubits, []).append(error)
        else:
            raise InvalidInputError(
                f"The noise model has an error of the type {shown(kind)}; qerror, plerror and roerror are known."
            )
    return Noise(errors, readout)


def _places(error: Mapping[str, Any]) -> Iterator[Qubits | None]:
    """The qubits that an error is for."""
    given = error.get("gate_qubits")
    if given is None:
        yield None
    else:
        yield from (tuple(int(qubit) for qubit in qubits) for qubits in given)


def confusion(probabilities: Any, qubits: Qubits | None) -> FloatArray:
    """The probabilities (2**k, 2**k) of a readout error, each row those of what is read for one outcome.

    Raises:
        InvalidInputError: If it is no such matrix.
    """
    where = "all qubits" if qubits is None else f"the qubits {qubits}"
    try:
        matrix = np.array(probabilities, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError(f"The readout error of {where} is {shown(probabilities)}.") from None
    size = 2 ** (1 if qubits is None else len(qubits))
    if matrix.shape != (size, size):
        raise InvalidInputError(f"The readout error of {where} has the shape {matrix.shape}; {(size, size)} is needed.")
    if not (matrix >= -1e-9).all() or not np.allclose(matrix.sum(axis=1), 1.0, atol=1e-8):
        raise InvalidInputError(
            f"The readout error of {where} has the rows {shown(matrix.tolist())}; each is the probabilities of what is "
            "read for one outcome, not negative, with the sum 1."
        )
    matrix = np.maximum(matrix, 0.0)
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))
