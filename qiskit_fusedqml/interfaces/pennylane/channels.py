"""CHANNELS: what each of PennyLane's channels means. A channel is a row.

A row names a family of `qiskit_fusedqml.ir.channel_table` and, for each of the family's parameters, which of the
operation's numbers it is, and times what: PennyLane's depolarizing probability p is that of any Pauli, ours, 4 p / 3,
that of forgetting the state. Channels that depend on more than numbers have a function in `FAMILIES` instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.exceptions import DeviceError

from ...arrays import FloatArray
from ...ir.channel_table import CHANNELS as FAMILIES_OF_CHANNELS
from ...ir.channels import MAX_CHANNEL_QUBITS, ChannelFamily, transfer_of_kraus
from ...ir.gates import GATES, Factor, GateRow, sequence

Wires = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Noise:
    """A channel on the last of an operation's wires.

    Attributes:
        num_wires: Their number.
        family: What it is a member of, or None for a constant one.
        parameters: For each parameter of the family which of the operation's numbers it is, and the factor.
        transfer: The transfer matrix of a constant one; the first wire is the most significant.
        frame: Gates on all wires, applied before the channel and undone after it; None for none.
        num_unused: How many numbers a constant one has nevertheless.
    """

    num_wires: int
    family: ChannelFamily | None = None
    parameters: tuple[tuple[int, float], ...] = ()
    transfer: FloatArray | None = None
    frame: GateRow | None = None
    num_unused: int = 0


def _row(name: str, *parameters: tuple[int, float]) -> Noise:
    return Noise(1, FAMILIES_OF_CHANNELS[name], parameters or ((0, 1.0),))


CHANNELS: dict[type, Noise] = {
    qml.AmplitudeDamping: _row("amplitude_damping"),
    qml.BitFlip: _row("bit_flip"),
    qml.DepolarizingChannel: _row("depolarizing", (0, 4 / 3)),
    qml.GeneralizedAmplitudeDamping: _row("generalized_amplitude_damping", (0, 1.0), (1, 1.0)),
    qml.PhaseDamping: _row("phase_damping"),
    qml.PhaseFlip: _row("phase_flip"),
    qml.ResetError: _row("reset_error", (0, 1.0), (1, 1.0)),
    # (t1, t2, time, excited) of (pe, t1, t2, tg)
    qml.ThermalRelaxationError: _row("thermal_relaxation", (1, 1.0), (2, 1.0), (3, 1.0), (0, 1.0)),
}
"""PennyLane's class of a channel -> its row."""

_OF_LETTER = {"X": _row("bit_flip"), "Y": _row("bit_phase_flip"), "Z": _row("phase_flip")}

_TO_Z = {"X": GateRow(1, 0, (Factor("Y", (), -pi / 2),)), "Y": GateRow(1, 0, (Factor("X", (), pi / 2),))}
"""Gates V with V P = +-Z V, by the letter P."""


def _pauli_error(op: Any) -> tuple[Wires, Noise]:
    """A string with some probability: a flip of one wire between Clifford gates, if it has several letters."""
    word = op.hyperparameters["operators"]
    wires = tuple(wire for wire, letter in zip(op.wires.labels, word, strict=True) if letter != "I")
    letters = word.replace("I", "")
    if len(letters) <= 1:
        own = Noise(1, transfer=np.eye(4), num_unused=1) if not letters else _OF_LETTER[letters]
        return wires or op.wires.labels[:1], own
    last = len(letters) - 1
    turns = [(_TO_Z[letter], (k,)) for k, letter in enumerate(letters) if letter != "Z"]
    parities = [(GATES["cx"], (k, last)) for k in range(last)]
    flip = _OF_LETTER["Z"]
    frame = GateRow(len(letters), 0, sequence(len(letters), *turns, *parities))
    return wires, Noise(1, flip.family, flip.parameters, frame=frame)


def _kraus(op: Any) -> tuple[Wires, Noise]:
    operators = [np.asarray(matrix, dtype=np.complex128) for matrix in qml.math.unwrap(op.data)]
    return op.wires.labels, Noise(_width(op), transfer=transfer_of_kraus(operators))


def _density(op: Any) -> tuple[Wires, Noise]:
    """Forgets the state, and puts the given one in its place: all strings but the identity's go to 0."""
    density = np.asarray(qml.math.unwrap(op.data)[0], dtype=np.complex128)
    values, vectors = np.linalg.eigh(density)
    kept = np.sqrt(np.maximum(values, 0.0)) * vectors
    transfer = transfer_of_kraus([np.outer(column, row) for column in kept.T for row in np.eye(len(density))])
    return op.wires.labels, Noise(_width(op), transfer=transfer)


def _width(op: Any) -> int:
    """The number of wires, if a channel may act on so many."""
    count = len(op.wires)
    if count > MAX_CHANNEL_QUBITS:
        hint = " A density matrix of more wires may be prepared at the beginning of a circuit."
        raise DeviceError(
            f"{op.name} acts on {count} wires; at most {MAX_CHANNEL_QUBITS} are possible."
            + (hint if isinstance(op, qml.QubitDensityMatrix) else "")
        )
    return count


FAMILIES: dict[type, Callable[[Any], tuple[Wires, Noise]]] = {
    qml.PauliError: _pauli_error,
    qml.QubitChannel: _kraus,
    qml.QubitDensityMatrix: _density,
}
"""From an operation to its wires and what it does to the last of them."""
