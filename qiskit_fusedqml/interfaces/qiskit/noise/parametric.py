"""`ParametricNoiseModel`: a noise model of one's own, whose strengths may be parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from qiskit.circuit import Parameter, ParameterExpression
from qiskit.quantum_info import SuperOp

from ....arrays import FloatArray, real_number, shown, whole_number
from ....errors import InvalidInputError
from ....ir.channel_table import CHANNELS
from ....ir.channels import ChannelFamily
from .errors import PlacedChannel, constant, num_qubits_of, parameters_of, read_error, transfer
from .model import Error, Noise, Qubits, Relaxation, check_relaxation, confusion


@dataclass(frozen=True, eq=False)
class NoiseRule:
    """An error of some operations.

    Attributes:
        instructions: Names or labels of operations.
        qubits: The qubits that they act on, or None for all.
        channels: The channels.
    """

    instructions: tuple[str, ...]
    qubits: Qubits | None
    channels: tuple[PlacedChannel, ...]


@dataclass(frozen=True, eq=False)
class ReadoutRule:
    """A readout error of measurements of some qubits, None for all of them."""

    qubits: Qubits | None
    probabilities: FloatArray


class ParametricNoiseModel:
    """Noise by rules: after these operations, on these qubits, this channel. Strengths may be parameters.

    Parameters of noise are the circuit's parameters that come after its own, and have gradients as these. Everything
    else is as in a ``NoiseModel`` of qiskit-aer: errors are found by a gate's label, else by the operation's name;
    those for exactly its qubits replace those for all; several for the same are applied one after the other; those of
    ``measure`` come before it.

    Example:
        >>> from qiskit.circuit import Parameter
        >>> from qiskit_fusedqml.interfaces.qiskit.noise import ParametricNoiseModel
        >>> noise = ParametricNoiseModel()
        >>> noise.add_error("depolarizing", Parameter("p"), ["rx", "ry"])
        >>> noise.add_error("amplitude_damping", 0.01, "cx")
        >>> noise.add_readout_error([[0.98, 0.02], [0.05, 0.95]])
        >>> noise
        <ParametricNoiseModel: noise of cx, measure, rx, ry; parameters p>
    """

    def __init__(self) -> None:
        """Start without noise."""
        self.rules: list[NoiseRule | ReadoutRule | Relaxation] = []

    def __repr__(self) -> str:
        noise = self.read()
        names = sorted(
            {*noise.errors, *(["measure"] if noise.readout else []), *(["delay"] if noise.relaxation else [])}
        )
        parameters = ", ".join(parameter.name for parameter in noise.parameters)
        return f"<{type(self).__name__}: noise of {', '.join(names) or 'nothing'}; parameters {parameters or 'none'}>"

    def add_error(
        self,
        channel: Any,
        parameters: Any = (),
        instructions: str | Sequence[str] = (),
        qubits: Sequence[int] | None = None,
        *,
        places: Sequence[int] | None = None,
    ) -> None:
        """Add an error.

        Args:
            channel: A name of `qiskit_fusedqml.ir.channel_table.CHANNELS`, such as "depolarizing"; or a channel without
                parameters: one of `qiskit.quantum_info`, a ``QuantumError`` of qiskit-aer, a list of Kraus operators.
            parameters: The strength of a channel by its name: a number, a `Parameter` or an expression of them, or a
                list of these for a channel that has several.
            instructions: The names or labels of the operations that have the error.
            qubits: The qubits of the operations; all by default.
            places: Which of an operation's qubits the channel acts on, the first one being 0. By default a channel of
                one qubit acts on each, and others on the first ones.

        Raises:
            InvalidInputError: For a channel that is not known or none, parameters that do not fit, and qubits or places
                that are not distinct numbers from 0 on.
        """
        names = (instructions,) if isinstance(instructions, str) else tuple(instructions)
        if not names or not all(isinstance(name, str) for name in names):
            raise InvalidInputError(f"instructions is {shown(instructions)}; names of operations are expected.")
        own = None if qubits is None else _numbers(qubits, "qubits")
        found, width = _named(channel, parameters) if isinstance(channel, str) else _given(channel, parameters)
        self.rules.append(NoiseRule(names, own, _placed(found, width, places)))

    def add_readout_error(
        self, probabilities: Sequence[Sequence[float]] | FloatArray, qubits: Sequence[int] | None = None
    ) -> None:
        """Add a readout error; a later one for the same qubits replaces it.

        Args:
            probabilities: ``probabilities[i][j]`` is that of reading j where i is the outcome, (2**k, 2**k).
            qubits: The k qubits, measured together if there are several; every one by default.

        Raises:
            InvalidInputError: If these are no such probabilities, or the qubits not distinct numbers from 0 on.
        """
        own = None if qubits is None else _numbers(qubits, "qubits")
        self.rules.append(ReadoutRule(own, confusion(probabilities, own)))

    def add_delay_relaxation(
        self,
        t1s: ArrayLike,
        t2s: ArrayLike,
        dt: float | None = None,
        excited: ArrayLike | None = None,
    ) -> None:
        """Let qubits relax during delays.

        Args:
            t1s: T1 of each qubit in seconds, which may be infinite.
            t2s: T2, at most ``2 * T1``.
            dt: The length in seconds of the unit ``dt``.
            excited: The share of ``|1>`` that each qubit relaxes to; 0 by default.

        Raises:
            InvalidInputError: If there is not one of each for every qubit, or one of them is not possible.
        """
        times, phases = np.asarray(t1s, dtype=np.float64), np.asarray(t2s, dtype=np.float64)
        shares = np.zeros_like(times) if excited is None else np.asarray(excited, dtype=np.float64)
        if not times.shape == phases.shape == shares.shape or times.ndim != 1:
            raise InvalidInputError(
                f"t1s, t2s and excited have the shapes {times.shape}, {phases.shape}, {shares.shape}; one number a "
                "qubit is expected."
            )
        if dt is not None:
            dt = real_number(dt, "dt", "a number of seconds, 0 or more, or None", least=0.0)
        for own in zip(times, phases, shares, strict=True):
            check_relaxation(*own)
        self.rules.append(Relaxation(times, phases, shares, dt))

    def read(self) -> Noise:
        """The model as tables."""
        errors: dict[str, dict[Qubits | None, list[Error]]] = {}
        readout: dict[Qubits | None, FloatArray] = {}
        relaxation, parameters = None, dict[Parameter, None]()
        for rule in self.rules:
            if isinstance(rule, NoiseRule):
                error = Error(rule.channels)
                for name in rule.instructions:
                    errors.setdefault(name, {}).setdefault(rule.qubits, []).append(error)
                for value in (value for channel in rule.channels for value in channel.parameters):
                    parameters.update(dict.fromkeys(parameters_of(value)))
            elif isinstance(rule, Relaxation):
                relaxation = rule
            else:
                readout[rule.qubits] = rule.probabilities
        return Noise(errors, readout, relaxation, (), tuple(parameters))


def _numbers(given: Any, name: str) -> Qubits:
    """Distinct numbers from 0 on."""
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise InvalidInputError(f"{name} is {shown(given)}; a sequence of numbers is expected.")
    found = tuple(whole_number(each, f"One of {name}", least=0) for each in given)
    if len(set(found)) != len(found):
        raise InvalidInputError(f"{name} is {shown(given)}; each may be named once.")
    return found


def _named(name: str, parameters: Any) -> tuple[tuple[PlacedChannel, ...], int]:
    """A member of a family, on the first qubits, and how many; by its matrix if all parameters are numbers."""
    family: ChannelFamily | None = CHANNELS.get(name)
    if family is None:
        raise InvalidInputError(f"The channel {name!r} is not known; {', '.join(CHANNELS)} are.")
    is_list = isinstance(parameters, Sequence | np.ndarray) and not isinstance(parameters, str)
    values = tuple(parameters) if is_list else (parameters,)
    if len(values) != len(family.parameters):
        raise InvalidInputError(
            f"The channel {name!r} has the parameters {', '.join(family.parameters)}, got {shown(values)}."
        )
    places = tuple(range(family.num_qubits))
    if any(isinstance(value, ParameterExpression) for value in values):
        return (PlacedChannel(places, None, family, values),), family.num_qubits
    try:
        numbers = [np.float64(value) for value in values]
    except (TypeError, ValueError):
        raise InvalidInputError(f"The parameters of {name!r} are {shown(values)}; numbers are expected.") from None
    problem = family.problem(*numbers)
    if problem is not None:
        raise InvalidInputError(f"{problem}.")
    return constant(places, family.transfer(*numbers), f"The channel {name!r}"), family.num_qubits


def _given(channel: Any, parameters: Any) -> tuple[tuple[PlacedChannel, ...], int]:
    """A channel without parameters, on the first qubits, and how many."""
    if isinstance(parameters, ParameterExpression) or np.size(parameters):
        raise InvalidInputError(
            f"parameters is {shown(parameters)}; a channel that is given by its operators has none."
        )
    if isinstance(channel, Mapping) or hasattr(channel, "to_dict"):
        error = channel if isinstance(channel, Mapping) else channel.to_dict()
        return read_error(error), getattr(channel, "num_qubits", None) or num_qubits_of(error)
    if isinstance(channel, Sequence):
        matrix = transfer("kraus", channel)
    else:
        try:
            matrix = transfer("superop", [SuperOp(channel).data])
        except Exception as error:  # whatever Qiskit raises for what is no channel
            raise InvalidInputError(f"{shown(channel)} is no channel: {error}.") from error
    num_qubits = (len(matrix).bit_length() - 1) // 2
    return constant(tuple(range(num_qubits)), matrix, "The channel"), num_qubits


def _placed(
    channels: tuple[PlacedChannel, ...], num_qubits: int, places: Sequence[int] | None
) -> tuple[PlacedChannel, ...]:
    """The channels of so many qubits where they act: on the given places; of one qubit, on each of an operation's."""
    if places is None:
        return tuple(replace(channel, each=num_qubits == 1) for channel in channels)
    chosen = _numbers(places, "places")
    if len(chosen) != num_qubits:
        raise InvalidInputError(
            f"places is {shown(places)}; positions of {num_qubits} of an operation's qubits are expected."
        )
    return tuple(replace(channel, places=tuple(chosen[place] for place in channel.places)) for channel in channels)
