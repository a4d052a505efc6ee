"""OPERATIONS: what each PennyLane operation means. An operation is a row, as in `qiskit_fusedqml.ir.gates`.

Rows that Qiskit's gates have, too, are theirs under another name. The letters of a factor's string belong to the
operation's wires in order. Operations whose meaning depends on more than their name (a Pauli word, controls, a matrix)
have a function in `_FAMILIES` instead, which gives the row or the matrix of one of them. Everything else is decomposed
by the framework.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from math import pi
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.operation import StatePrepBase
from scipy.sparse import issparse

from ...ir.gates import GATES, Factor, GateRow, sequence, undone
from ...ir.program import MAX_DIAGONAL_QUBITS, MAX_MATRIX_QUBITS
from .channels import CHANNELS, FAMILIES as CHANNEL_FAMILIES, Noise

Wire = Hashable

_CX, _CCX = GATES["cx"], GATES["ccx"]


def _row(*factors: Factor, num_params: int = 1) -> GateRow:
    return GateRow(len(factors[0].string), num_params, factors)


def _double_excitation(*phases: Factor) -> GateRow:
    """A rotation between |0011> and |1100>, which the frame turns into one of the first wire under three controls."""
    frame = sequence(4, (_CX, (0, 1)), (_CX, (0, 2)), (_CX, (0, 3)))
    return GateRow(4, 1, core=(Factor("Y011", (1.0,)), *phases), frame=frame)


_ROT = _row(Factor("Z", (1.0,)), Factor("Y", (0.0, 1.0)), Factor("Z", (0.0, 0.0, 1.0)), num_params=3)
_HOP = _row(Factor("YX", (0.5,)), Factor("XY", (-0.5,)))
# e^{i phi (n_0 + n_1) / 2} on top of the exchange
_FERMIONIC_SWAP = _row(Factor("XX", (0.5,)), Factor("YY", (0.5,)), Factor("1I", (-1.0,)), Factor("I1", (-1.0,)))
_FERMIONIC_SWAP_PI = GateRow(
    2, factors=tuple(Factor(f.string, (), f.coefficients[0] * pi) for f in _FERMIONIC_SWAP.factors)
)
_NAMES_OF_QISKIT = "S T SX RX RY RZ U1 U2 U3 SWAP ISWAP ECR CH CY CZ CRX CRY CRZ CSWAP CCZ"

OPERATIONS: dict[str, GateRow] = {
    **{name: GATES[name.lower()] for name in _NAMES_OF_QISKIT.split()},
    "PauliX": GATES["x"],
    "PauliY": GATES["y"],
    "PauliZ": GATES["z"],
    "Hadamard": GATES["h"],
    "PhaseShift": GATES["p"],
    "Rot": _ROT,
    "CNOT": _CX,
    "SISWAP": _row(Factor("XX", (), -pi / 4), Factor("YY", (), -pi / 4), num_params=0),
    "Toffoli": _CCX,
    "CRot": replace(_ROT, num_ctrl=1),
    "ControlledPhaseShift": GATES["cp"],
    "CPhaseShift00": _row(Factor("00", (-2.0,))),
    "CPhaseShift01": _row(Factor("01", (-2.0,))),
    "CPhaseShift10": _row(Factor("10", (-2.0,))),
    "IsingXX": GATES["rxx"],
    "IsingYY": GATES["ryy"],
    "IsingZZ": GATES["rzz"],
    "IsingXY": _row(Factor("XX", (-0.5,)), Factor("YY", (-0.5,))),
    # the phase e^{i phi} where the two bits differ, after the exchange
    "PSWAP": GateRow(2, 1, (*GATES["swap"].product, Factor("ZZ", (1.0,)), Factor("II", (-1.0,)))),
    "SingleExcitation": _HOP,
    "SingleExcitationMinus": _row(*_HOP.factors, Factor("ZZ", (0.5,)), Factor("II", (0.5,))),
    "SingleExcitationPlus": _row(*_HOP.factors, Factor("ZZ", (-0.5,)), Factor("II", (-0.5,))),
    "DoubleExcitation": _double_excitation(),
    # the other fourteen states get a phase: all sixteen do, and the two get theirs back
    "DoubleExcitationMinus": _double_excitation(Factor("IIII", (1.0,)), Factor("I011", (-1.0,))),
    "DoubleExcitationPlus": _double_excitation(Factor("IIII", (-1.0,)), Factor("I011", (1.0,))),
    "FermionicSWAP": _FERMIONIC_SWAP,
    "OrbitalRotation": GateRow(
        4,
        1,
        sequence(4, (_FERMIONIC_SWAP_PI, (1, 2)), (_HOP, (0, 1)), (_HOP, (2, 3)), (_FERMIONIC_SWAP_PI, (1, 2))),
    ),
    "QubitSum": GateRow(3, factors=sequence(3, (_CX, (1, 2)), (_CX, (0, 2)))),
    "QubitCarry": GateRow(4, factors=sequence(4, (_CCX, (1, 2, 3)), (_CX, (1, 2)), (_CCX, (0, 2, 3)))),
}
"""PennyLane's name of an operation -> its row."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an operation does.

    Attributes:
        wires: The wires it acts on, controls excluded.
        row: Its factors on these wires; their parameters are the operation's own. None for a matrix.
        matrix: A constant unitary (2**k, 2**k), or a diagonal (2**k,); the first wire's bit is the highest.
        controls: Pairs (wire, value).
        noise: A channel; there is neither row nor matrix then.
    """

    wires: tuple[Wire, ...]
    row: GateRow | None = None
    matrix: NDArray[np.complex128] | None = None
    controls: tuple[tuple[Wire, bool], ...] = ()
    noise: Noise | None = None

    @property
    def fits(self) -> bool:
        """Whether a program can hold it."""
        if self.matrix is None:
            return True
        width = len(self.wires) + len(self.controls)
        return width <= (MAX_DIAGONAL_QUBITS if self.matrix.ndim == 1 else MAX_MATRIX_QUBITS)


@dataclass(frozen=True, slots=True)
class Family:
    """Operations of one class whose meaning depends on more than the class and the wires.

    Attributes:
        meaning: From an operation to its meaning, or None if it must be decomposed.
        details: What tells two operations of the class on the same wires apart, numbers of rows excepted.
    """

    meaning: Callable[[Any], Meaning | None]
    details: Callable[[Any], Hashable] = field(default=lambda _op: None)


def labels(op: Any) -> tuple[Wire, ...]:
    """The wires of an operation; those of a row that is a controlled one the framework would join, slowly."""
    if type(op) in _CONTROLLED:
        parts = op.hyperparameters
        return (*parts["control_wires"].labels, *parts["base"].wires.labels)
    return op.wires.labels  # type: ignore[no-any-return]


def meaning(op: Any) -> Meaning | None:
    """What an operation does, or None if it must be decomposed."""
    row = PLAIN.get(type(op))
    if row is not None:
        wires, count = op.wires.labels, row.num_ctrl
        return Meaning(wires[count:], replace(row, num_ctrl=0), controls=tuple((wire, True) for wire in wires[:count]))
    result = _family(op).meaning(op)
    return result if result is not None and result.fits else None


def is_supported(op: Any) -> bool:
    """Whether an operation is a gate that needs no decomposition."""
    if type(op) in PLAIN:
        return True
    return not is_noise(op) and meaning(op) is not None


def is_dense(op: Any) -> bool:
    """Whether an operation is a matrix that is not diagonal."""
    found = meaning(op)
    return found is not None and found.matrix is not None and found.matrix.ndim > 1


def is_preparation(op: Any) -> bool:
    """Whether an operation can begin a circuit only, or does more there: its numbers are no angles."""
    return isinstance(op, StatePrepBase | qml.QubitDensityMatrix)


def is_noise(op: Any) -> bool:
    """Whether an operation makes mixed states of pure ones."""
    return type(op) in CHANNELS or type(op) in CHANNEL_FAMILIES


def identity(op: Any) -> tuple[Any, ...]:
    """Equal for operations that differ in the numbers of their rows at most."""
    kind = type(op)
    if kind in PLAIN:
        return kind, op.wires.labels
    return kind, op.wires.labels, _family(op).details(op)


def holds_matrix(op: Any) -> bool:
    """Whether the operation's parameters are the entries of a matrix, so that they belong to what it is."""
    while isinstance(op, qml.ops.op_math.SymbolicOp):
        op = op.base
    return isinstance(op, _OF_MATRICES)


def _family(op: Any) -> Family:
    found = _FAMILIES.get(type(op))
    if found is None:
        found = next((family for kind, family in _BASES if isinstance(op, kind)), _OTHERS)
    return found


def _adjoint(op: Any) -> Meaning | None:
    base = meaning(op.base)
    if base is None or base.noise is not None:
        return None
    if base.matrix is not None:
        return replace(base, matrix=base.matrix.conj().T)
    assert base.row is not None
    # a frame stays as it is: (V^-1 K V)^-1 = V^-1 K^-1 V
    return replace(base, row=replace(base.row, factors=undone(base.row.factors), core=undone(base.row.core)))


def _controlled(op: Any) -> Meaning | None:
    base = meaning(op.base)
    if base is None or base.noise is not None:
        return None
    controls = zip(op.control_wires.labels, map(bool, op.control_values), strict=True)
    return replace(base, controls=(*controls, *base.controls))


def _rotation(word: str, wires: tuple[Wire, ...]) -> Meaning:
    return Meaning(wires, GateRow(len(word), 1, (Factor(word, (1.0,)),)))


def _projected_phase(op: Any) -> Meaning:
    """``e^{i phi}`` on the first ``dim`` basis states and ``e^{-i phi}`` on the others.

    A basis state is among the first if, up to the first bit in which it differs from ``dim``, dim's is the larger.
    """
    wires, dimension = op.wires.labels, int(op.hyperparameters["dimension"][0])
    width = len(wires)
    if dimension == 2**width:
        return Meaning(wires, GateRow(width, 1, (Factor("I" * width, (-2.0,)),)))
    bits = f"{dimension:0{width}b}"
    smaller = [f"{bits[:k]}0{'I' * (width - k - 1)}" for k, bit in enumerate(bits) if bit == "1"]
    phases = (Factor(pattern, (-4.0,)) for pattern in smaller)
    return Meaning(wires, GateRow(width, 1, (Factor("I" * width, (2.0,)), *phases)))


def _dense(op: Any) -> Meaning | None:
    """A constant matrix, if it is not too wide to be made."""
    if len(op.wires) > MAX_MATRIX_QUBITS or op.batch_size is not None:
        return None
    matrix = op.matrix() if op.has_matrix else op.sparse_matrix().toarray()
    return Meaning(op.wires.labels, matrix=np.asarray(qml.math.unwrap([matrix])[0], dtype=np.complex128))


def _diagonal(op: Any) -> Meaning | None:
    table = np.asarray(qml.math.unwrap(op.data)[0], dtype=np.complex128)
    return Meaning(op.wires.labels, matrix=table) if table.ndim == 1 else None


def _other(op: Any) -> Meaning | None:
    """An operation that is no more than its matrix."""
    if op.has_decomposition or not op.has_matrix or op.num_params or len(op.wires) > MAX_MATRIX_QUBITS:
        return None
    matrix = np.asarray(op.matrix(), dtype=np.complex128)
    is_unitary = np.allclose(matrix @ matrix.conj().T, np.eye(len(matrix)), atol=1e-8)
    return Meaning(op.wires.labels, matrix=matrix) if is_unitary else None


def _channel(op: Any) -> Meaning:
    row = CHANNELS.get(type(op))
    if row is not None:
        return Meaning(op.wires.labels, noise=row)
    wires, noise = CHANNEL_FAMILIES[type(op)](op)
    return Meaning(wires, noise=noise)


def _bytes(op: Any) -> Hashable:
    """The numbers of a matrix."""
    return tuple(
        (array.shape, (array.toarray() if issparse(array) else np.asarray(array)).tobytes())
        for array in qml.math.unwrap(op.data)
    )


PLAIN: dict[type, GateRow] = {getattr(qml, name): row for name, row in OPERATIONS.items()}
"""The rows by class."""

NUMBERS_ONLY = {*PLAIN, *CHANNELS}
"""Classes of operations that their wires and numbers tell apart."""

_OF_MATRICES = (qml.QubitUnitary, qml.BlockEncode, qml.DiagonalQubitUnitary, qml.QubitChannel, qml.QubitDensityMatrix)

_CONTROLLED = {kind for kind in PLAIN if issubclass(kind, qml.ops.op_math.Controlled)}

_CONTROLS = Family(_controlled, lambda op: (tuple(op.control_values), identity(op.base)))

_NOTHING = Family(lambda op: Meaning(op.wires.labels, GateRow(len(op.wires))))

_MIDWAY = Family(lambda _op: None)
"""Measurements on the way, and what depends on them, are no gates."""

_FAMILIES: dict[type, Family] = {
    qml.ops.MidMeasure: _MIDWAY,
    qml.ops.Conditional: _MIDWAY,
    qml.Identity: _NOTHING,
    qml.Barrier: _NOTHING,
    qml.WireCut: _NOTHING,
    qml.GlobalPhase: Family(lambda _op: Meaning((), GateRow(0, 1, (Factor("", (2.0,)),)))),
    qml.MultiRZ: Family(lambda op: _rotation("Z" * len(op.wires), op.wires.labels)),
    qml.PauliRot: Family(
        lambda op: _rotation(op.hyperparameters["pauli_word"], op.wires.labels),
        lambda op: op.hyperparameters["pauli_word"],
    ),
    qml.PCPhase: Family(_projected_phase, lambda op: op.hyperparameters["dimension"]),
    qml.MultiControlledX: _CONTROLS,
    qml.QubitUnitary: Family(_dense, _bytes),
    qml.BlockEncode: Family(_dense, _bytes),
    qml.DiagonalQubitUnitary: Family(_diagonal, _bytes),
    **dict.fromkeys(CHANNELS, Family(_channel)),
    qml.PauliError: Family(_channel, lambda op: op.hyperparameters["operators"]),
    qml.QubitChannel: Family(_channel, _bytes),
    qml.QubitDensityMatrix: Family(_channel, _bytes),
}

_BASES: tuple[tuple[type, Family], ...] = (
    (qml.ops.op_math.Adjoint, Family(_adjoint, lambda op: identity(op.base))),
    (qml.ops.op_math.Controlled, _CONTROLS),
)
"""Families that hold an operation of their own."""

_OTHERS = Family(_other, lambda op: np.asarray(op.matrix()).tobytes())
