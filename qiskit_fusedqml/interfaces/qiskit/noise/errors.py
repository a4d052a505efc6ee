"""Errors of a noise model as channels: what ``QuantumError.to_dict()`` and its kin say, as transfer matrices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from math import exp
from typing import Any, TypeAlias

import numpy as np
from qiskit.circuit import Parameter, ParameterExpression
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.circuit.parametervector import ParameterVectorElement

from ....arrays import ComplexArray, FloatArray, real_number, shown
from ....errors import InvalidInputError, UnsupportedInstructionError
from ....ir.channel_table import powered
from ....ir.channels import (
    MAX_CHANNEL_QUBITS,
    ChannelFamily,
    channel_problem,
    embedded,
    tensor,
    transfer_of_kraus,
    transfer_of_superop,
)

Scale: TypeAlias = float | ParameterExpression
"""What noise is scaled by."""

RESET = np.array([[1.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1.0, 0, 0, 0]])
"""The transfer matrix of a reset."""

_TOLERANCE = 1e-8
_ROUNDING = 1e-14


@dataclass(frozen=True)
class PlacedChannel:
    """A channel on some of an operation's qubits.

    Attributes:
        places: Positions of the k qubits among the operation's.
        matrix: The transfer matrix; None where it has parameters.
        family: What the matrix is a member of, with parameters.
        parameters: Numbers and expressions, one for each of the family's parameters.
        each: Whether this, a channel of one qubit, acts on each of the operation's.
    """

    places: tuple[int, ...]
    matrix: FloatArray | None = None
    family: ChannelFamily | None = None
    parameters: tuple[Any, ...] = ()
    each: bool = False

    def on(self, qubits: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The qubits that it acts on, one time after the other, of an operation on these."""
        return [(qubit,) for qubit in qubits] if self.each else [tuple(qubits[place] for place in self.places)]

    def scaled(self, scale: Scale) -> PlacedChannel:
        """The channel to a power; whole ones are possible for every channel, that many times one after the other.

        Raises:
            InvalidInputError: If the power is no channel, or the channel has parameters.
        """
        if self.matrix is None:
            raise InvalidInputError(
                f"noise_scale scales noise of known strength, and {self.family.name} has the parameters "  # type: ignore[union-attr]
                f"{', '.join(map(str, self.parameters))}; scale these."
            )
        if isinstance(scale, ParameterExpression):
            return PlacedChannel(self.places, None, self._powers, (scale,), self.each)
        if scale.is_integer():
            return PlacedChannel(self.places, np.linalg.matrix_power(self.matrix, int(scale)), each=self.each)
        problem = self._powers.problem(scale)
        if problem is not None:
            raise InvalidInputError(f"noise_scale is {scale:g}: {problem}.")
        return PlacedChannel(self.places, self._powers.transfer(np.float64(scale)), each=self.each)

    @cached_property
    def keeps_zero(self) -> bool:
        """Whether it leaves qubits in ``|0>`` as they are, at any parameters."""
        if self.matrix is None:
            return False
        zero = tensor([np.array([1.0, 0.0, 0.0, 1.0])] * len(self.places))  # I and Z of each qubit
        return bool(np.abs(self.matrix @ zero - zero).max() < _ROUNDING)

    @cached_property
    def _powers(self) -> ChannelFamily:
        assert self.matrix is not None
        return powered(self.matrix)


def checked_scale(scale: Any) -> Scale:
    """What noise is scaled by, NumPy's numbers as Python's.

    Raises:
        InvalidInputError: If it is neither a number from 0 on nor an expression of parameters.
    """
    if isinstance(scale, ParameterExpression):
        return scale
    expected = "a number from 0 on, a Parameter or an expression of some"
    return real_number(scale, "noise_scale", expected, least=0.0)


def parameters_of(value: Any) -> list[Parameter]:
    """The parameters of an expression, vectors in the order of their elements; none for a number."""
    if not isinstance(value, ParameterExpression):
        return []

    def place(parameter: Parameter) -> tuple[str, int]:
        is_element = isinstance(parameter, ParameterVectorElement)
        return (parameter.vector.name, parameter.index) if is_element else (parameter.name, 0)

    return sorted(value.parameters, key=place)


def constant(places: tuple[int, ...], matrix: FloatArray, what: str) -> tuple[PlacedChannel, ...]:
    """A channel by its transfer matrix; nothing for the identity.

    Raises:
        InvalidInputError: If it is no channel; ``what`` names it.
    """
    problem = channel_problem(matrix, _TOLERANCE)
    if problem is not None:
        raise InvalidInputError(f"{what} is no channel: {problem}.")
    # without the rounding errors of Kraus operators more channels are seen to be diagonal, or unital
    clean = np.where(np.abs(matrix) < _ROUNDING, 0.0, matrix)
    clean[0] = np.eye(1, len(matrix))
    is_identity = np.abs(clean - np.eye(len(matrix))).max() < _ROUNDING
    return () if is_identity else (PlacedChannel(places, clean),)


def read_error(error: Mapping[str, Any]) -> tuple[PlacedChannel, ...]:
    """An error as ``to_dict()`` lists it: channels, one after the other, on the qubits 0, 1, ... of an operation.

    Raises:
        InvalidInputError: If its type is not known, or it is no channel.
        UnsupportedInstructionError: If it holds an instruction that cannot be read, or acts on too many qubits.
    """
    try:
        kind, circuits = error["type"], error["instructions"]
        if kind == "plerror":
            return _pauli_lindblad(circuits, error["rates"])
        if kind == "qerror":
            return _mixture(circuits, error["probabilities"])
    except (KeyError, TypeError, IndexError) as missing:
        raise InvalidInputError(f"An error of the noise model cannot be read: {missing!r} in {shown(error)}.") from None
    raise InvalidInputError(f"An error of the noise model has the type {shown(kind)}; qerror and plerror are known.")


def _mixture(circuits: Sequence[Any], probabilities: Sequence[float]) -> tuple[PlacedChannel, ...]:
    """Circuits with probabilities."""
    if len(circuits) != len(probabilities) or min(probabilities, default=-1.0) < -_TOLERANCE:
        raise InvalidInputError(
            f"A quantum error has {len(circuits)} circuits with the probabilities {shown([*probabilities])}; as many "
            "numbers from 0 on are expected."
        )
    num_qubits = _width(each for circuit in circuits for each in circuit)
    _check_width(num_qubits)
    # circuits begin alike: of what has been composed, nothing is composed again
    known: dict[tuple[Any, ...], FloatArray] = {(): np.eye(4**num_qubits)}
    total = np.zeros((4**num_qubits, 4**num_qubits))
    for circuit, probability in zip(circuits, probabilities, strict=True):
        done: tuple[Any, ...] = ()
        for instruction in circuit:
            own = tuple(instruction["qubits"])
            params = tuple(param if isinstance(param, str | float) else id(param) for param in _params(instruction))
            before, done = done, (*done, (instruction["name"], own, params))
            if done not in known:
                known[done] = embedded(_instruction(instruction), own, num_qubits) @ known[before]
        total += probability * known[done]
    return constant(tuple(range(num_qubits)), total, "A quantum error of the noise model")


def num_qubits_of(error: Mapping[str, Any]) -> int:
    """The number of qubits of an error that `read_error` reads: those up to the last one that it names."""
    listed = error["instructions"]
    return _width(each for circuit in listed for each in circuit)


def _width(instructions: Iterable[Mapping[str, Any]]) -> int:
    return 1 + max((qubit for instruction in instructions for qubit in instruction["qubits"]), default=0)


def _check_width(num_qubits: int) -> None:
    if num_qubits > MAX_CHANNEL_QUBITS:
        raise UnsupportedInstructionError(
            f"An error of the noise model acts on {num_qubits} qubits at once; at most {MAX_CHANNEL_QUBITS} are "
            "possible. Errors that are products of smaller ones can be added one after the other."
        )


def _params(instruction: Mapping[str, Any]) -> Sequence[Any]:
    params: Sequence[Any] = instruction.get("params", ())
    return params


def _instruction(instruction: Mapping[str, Any]) -> FloatArray:
    """The transfer matrix of an instruction of an error's circuit on its own qubits."""
    name, params = instruction["name"], _params(instruction)
    if instruction.get("condition"):
        raise UnsupportedInstructionError(f"An error of the noise model holds a conditional {name}.")
    if name == "pauli":
        return _pauli(str(params[0]))
    if name in ("kraus", "superop", "unitary", "reset"):
        return transfer(name, params)
    return _standard_gate(name, tuple(map(float, params)))


def transfer(name: str, params: Sequence[Any]) -> FloatArray:
    """The transfer matrix of an instruction ``kraus``, ``superop``, ``unitary`` or ``reset``.

    Raises:
        InvalidInputError: If its matrices are none of any number of qubits.
        UnsupportedInstructionError: If it acts on too many qubits.
    """
    if name == "reset":
        return RESET
    matrices = [_complex(param) for param in params]
    size = len(matrices[0]) if matrices and matrices[0].ndim else 0
    num_qubits = (size.bit_length() - 1) // (2 if name == "superop" else 1)
    whole = 2 ** (num_qubits * (2 if name == "superop" else 1))
    if not num_qubits or size != whole or any(matrix.shape != (size, size) for matrix in matrices):
        shapes = ", ".join(str(matrix.shape) for matrix in matrices) or "none"
        raise InvalidInputError(f"The matrices of a {name} instruction have the shapes {shapes}.")
    _check_width(num_qubits)
    return transfer_of_superop(matrices[0]) if name == "superop" else transfer_of_kraus(matrices)


def _complex(matrix: Any) -> ComplexArray:
    """A matrix; in dictionaries for JSON its entries are pairs of numbers."""
    array = np.asarray(matrix)
    if array.ndim == 3 and array.shape[-1] == 2 and not np.iscomplexobj(array):
        array = array[..., 0] + 1j * array[..., 1]
    return array.astype(np.complex128)


def _pauli(label: str) -> FloatArray:
    return np.diag(_signs(label))


@cache
def _signs(label: str) -> FloatArray:
    """1 for the Pauli strings that commute with one, -1 for the others."""
    ones = {"I": (1, 1, 1, 1), "X": (1, 1, -1, -1), "Y": (1, -1, 1, -1), "Z": (1, -1, -1, 1)}
    return tensor(np.array(ones[letter], dtype=np.float64) for letter in reversed(label.lstrip("+")))


@lru_cache(maxsize=256)
def _standard_gate(name: str, params: tuple[float, ...]) -> FloatArray:
    gate = get_standard_gate_name_mapping().get(name)
    if gate is None or gate.num_clbits or len(gate.params) != len(params):
        raise UnsupportedInstructionError(f"An error of the noise model holds the instruction {name!r}, not known.")
    return transfer_of_kraus([type(gate)(*params).to_matrix()])


def _pauli_lindblad(circuits: Sequence[Any], rates: Sequence[float]) -> tuple[PlacedChannel, ...]:
    """``exp(sum_j rate_j (P_j . P_j - 1))``: a commuting channel for each string, joined where one holds the other."""
    factors: dict[tuple[int, ...], FloatArray] = {}
    for (instruction,), rate in zip(circuits, rates, strict=True):
        if not rate >= 0:
            raise InvalidInputError(f"A Pauli-Lindblad error has the rate {rate}; rates from 0 on are allowed.")
        label = str(instruction["params"][0]).lstrip("+")
        letters = dict(zip(instruction["qubits"], reversed(label), strict=True))
        places = tuple(sorted(qubit for qubit, letter in letters.items() if letter != "I"))
        if places:
            _check_width(len(places))
            signs = _signs("".join(letters[qubit] for qubit in reversed(places)))
            factors[places] = factors.get(places, 1.0) * np.where(signs > 0, 1.0, exp(-2 * rate))
    joined: dict[tuple[int, ...], FloatArray] = {}
    for places in sorted(factors, key=len, reverse=True):
        outer = next((each for each in joined if set(places) <= set(each)), places)
        positions = tuple(outer.index(qubit) for qubit in places)
        own = np.diagonal(embedded(np.diag(factors[places]), positions, len(outer)))
        joined[outer] = joined.get(outer, 1.0) * own
    return tuple(PlacedChannel(places, np.diag(factor)) for places, factor in joined.items())
