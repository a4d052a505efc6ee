"""What a noise model adds to a circuit: the channels of its operations, and the readout errors of its measurements."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction, Parameter
from qiskit.quantum_info.operators.predicates import is_unitary_matrix

from ....arrays import FloatArray, shown
from ....engine.options import EngineOptions
from ....errors import InvalidInputError, UnsupportedInstructionError
from ....ir.measurement import Confusion
from ..noise import Noise, PlacedChannel, read_noise
from ..noise.errors import Scale, checked_scale, constant, parameters_of, read_error, transfer

NoiseOfInstruction: TypeAlias = list[tuple[tuple[int, ...], PlacedChannel]]

CHANNEL_NAMES = ("kraus", "superop", "quantum_channel")
"""Instructions that are channels; those of qiskit-aer besides hold what they were made of."""


@dataclass
class NoiseWriter:
    """Finds the noise of operations, and remembers whether there was any.

    Attributes:
        model: The noise model.
        scale: What its channels are raised to.
        found: Whether anything had an error.
        confusions: The readout errors of the measurements met, in terms of classical bits.
    """

    model: Noise
    scale: Scale = 1.0
    found: bool = False
    confusions: list[Confusion] = field(default_factory=list)
    _scaled: dict[int, tuple[PlacedChannel, PlacedChannel]] = field(default_factory=dict)

    @property
    def parameters(self) -> list[Parameter]:
        """The parameters that the noise depends on."""
        return [*self.model.parameters, *parameters_of(self.scale)]

    def prepared(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """The circuit with what the model's passes write into it."""
        prepared = self.model.prepared(circuit)
        self.found |= prepared is not circuit
        return prepared

    def of(self, instruction: CircuitInstruction, qubits: tuple[int, ...]) -> NoiseOfInstruction:
        """The channels of an instruction of a circuit, with their qubits; errors as of `Noise.of`."""
        found = self.model.of(instruction, qubits)
        self.found |= bool(found)
        if isinstance(self.scale, float) and self.scale == 1.0:
            return found
        return [(each, self._scale(channel)) for each, channel in found]

    def _scale(self, channel: PlacedChannel) -> PlacedChannel:
        # by identity, and with the channel, which no other one then takes the place of: delays' are made for each
        known = self._scaled.get(id(channel))
        if known is None:
            known = self._scaled[id(channel)] = (channel, channel.scaled(self.scale))
        return known[1]

    def measured(self, qubits: tuple[int, ...], clbits: tuple[int, ...]) -> None:
        """Take in a measurement.

        Raises:
            UnsupportedInstructionError: If it writes over one of several bits that were misread together.
        """
        kept = []
        for each in self.confusions:
            if set(clbits).isdisjoint(each.clbits):
                kept.append(each)
            elif not set(each.clbits) <= set(clbits):
                raise UnsupportedInstructionError(
                    f"it writes over one of the classical bits {each.clbits}, which were misread together"
                )
        own = self._misreadings(qubits)
        self.confusions = kept + [Confusion(tuple(clbits[k] for k in places), matrix) for places, matrix in own]

    def flips(self, qubits: tuple[int, ...]) -> dict[int, tuple[float, float]]:
        """The probabilities of misreading the outcomes 0 and 1 of qubits by themselves, by their positions."""
        return {
            places[0]: (float(matrix[0, 1]), float(matrix[1, 0]))
            for places, matrix in self._misreadings(qubits)
            if len(places) == 1
        }

    @property
    def together(self) -> tuple[Confusion, ...]:
        """The readout errors of several bits together."""
        return tuple(each for each in self.confusions if len(each.clbits) > 1)

    def _misreadings(self, qubits: tuple[int, ...]) -> list[tuple[tuple[int, ...], FloatArray]]:
        found = self.model.misreadings(qubits)
        self.found |= bool(found)
        return found


def noise_writer(noise: Any, scale: Any) -> NoiseWriter | None:
    """What writes a noise model; None for one without noise.

    Raises:
        InvalidInputError: If it is no noise model, or the scale neither a number from 0 on nor an expression.
    """
    scale = checked_scale(scale)
    if noise is None:
        return None
    model = read_noise(noise)
    return NoiseWriter(model, scale) if model.has_errors or model.readout else None


def parameters_of_noise(
    options: EngineOptions, known: Collection[Parameter] = (), order: Iterable[Parameter] | None = None
) -> tuple[Parameter, ...]:
    """The parameters that the noise of the options depends on and that are not known, in their own order or another.

    Raises:
        InvalidInputError: If the order does not name each of them once.
    """
    writer = noise_writer(options.noise_model, options.noise_scale)
    own = () if writer is None else tuple(p for p in dict.fromkeys(writer.parameters) if p not in known)
    given: tuple[Any, ...] = own if order is None else tuple(order) if isinstance(order, Iterable) else (order,)
    if len(given) != len(own) or set(given) != set(own):
        names = [parameter.name for parameter in own]
        raise InvalidInputError(
            f"noise_parameters is {shown(given)}; the noise has the parameters {names}, each to be named once."
        )
    return given


def with_parameters(parameters: Sequence[Parameter], noise: NoiseWriter | None) -> tuple[Parameter, ...]:
    """A circuit's parameters, followed by those of the noise."""
    return tuple(dict.fromkeys([*parameters, *(noise.parameters if noise else ())]))


def has_channels(circuit: QuantumCircuit) -> bool:
    """Whether a circuit has instructions that are channels."""
    names = circuit.count_ops()
    return any(name in names for name in CHANNEL_NAMES)


def warn_if_unused(noise: NoiseWriter | None, circuit: QuantumCircuit) -> None:
    """Say once of a noise model that none of its instructions is in a circuit."""
    if noise is None or noise.found or not noise.model.has_errors:
        return
    if noise.model.first_warning():
        own = ", ".join(sorted(noise.model.errors)) or "delays"
        there = ", ".join(sorted(map(str, circuit.count_ops()))) or "nothing"
        warnings.warn(
            f"The noise model has errors of {own}; circuit {circuit.name!r} has none of these, but {there}, and is run "
            "without noise. Transpile it to the model's gates first.",
            stacklevel=4,
        )


def channels_of(operation: Any) -> Iterator[PlacedChannel]:
    """The channels that an instruction of a circuit is.

    Raises:
        InvalidInputError: If it is no channel.
        UnsupportedInstructionError: If it acts on too many qubits.
    """
    error = getattr(operation, "_quantum_error", None)
    if error is not None:
        yield from read_error(error.to_dict())
    elif operation.name in CHANNEL_NAMES and operation.params:
        yield from constant(tuple(range(operation.num_qubits)), transfer(operation.name, operation.params), "it")
    else:
        raise UnsupportedInstructionError("it is a noise channel that does not say which one")


def is_one_unitary(operation: Any) -> bool:
    """Whether a channel is given by one Kraus operator."""
    single = operation.name == "kraus" and len(operation.params) == 1
    return single and bool(is_unitary_matrix(np.asarray(operation.params[0])))
