"""GATES: what each standard gate means, as a product of controlled Pauli rotations. A gate is a row.

A row lists its factors in order of application. A factor ``Factor("1X", ...)`` is read letter by letter, letter j for
the gate's j-th qubit: ``I X Y Z`` spell the Pauli string P, ``0`` and ``1`` are controls. Its angle is a linear
combination of the gate's parameters plus a constant, and its meaning is ``C[exp(-i angle/2 P)]``; a string without any
X, Y or Z is therefore the phase ``exp(-i angle/2)`` under its controls.

Adding controls to a product adds them to every factor. Where a gate is of the form ``V^-1 K V`` it is enough to control
K: such rows give V as ``frame`` and K as ``core``.

Only names whose meaning is unconditional have a row; every other gate is lowered through its ``definition``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import pi
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Factor:
    """A controlled Pauli rotation on a gate's own qubits.

    Attributes:
        string: One letter a qubit, the gate's first qubit first: I, X, Y, Z, or 0 and 1 for controls.
        coefficients: The angle's coefficient for each of the gate's parameters; missing ones are 0.
        constant: The angle's constant part in radians.
    """

    string: str
    coefficients: tuple[float, ...] = ()
    constant: float = 0.0

    @property
    def inverse(self) -> Factor:
        """The factor that undoes this one."""
        return Factor(self.string, tuple(-c for c in self.coefficients), -self.constant)


@dataclass(frozen=True, slots=True)
class GateRow:
    """The meaning of a gate on ``num_ctrl + num_targets`` qubits, the controls first.

    Attributes:
        num_targets: Number of target qubits; the factors' strings have this length.
        num_params: Number of parameters the gate takes.
        factors: The product without any controls, in order of application; if empty, ``frame core frame^-1``.
        core: The factors that must be controlled once the gate is; if empty, all of ``factors``.
        frame: What is applied before the core and undone after it, never controlled.
        num_ctrl: Number of leading control qubits the name includes.
    """

    num_targets: int
    num_params: int = 0
    factors: tuple[Factor, ...] = ()
    core: tuple[Factor, ...] = ()
    frame: tuple[Factor, ...] = ()
    num_ctrl: int = 0

    @property
    def num_qubits(self) -> int:
        """Number of qubits, controls included."""
        return self.num_ctrl + self.num_targets

    @property
    def product(self) -> tuple[Factor, ...]:
        """The product on the targets alone."""
        return self.factors or self.frame + self.core + undone(self.frame)


class PlacedFactor(NamedTuple):
    """A factor on a program's qubits; masks as in `qiskit_fusedqml.ir.program.Rotation`, angle as in `Factor`."""

    x: int
    z: int
    ctrl_mask: int
    ctrl_value: int
    coefficients: tuple[float, ...]
    constant: float


def place(row: GateRow, qubits: Sequence[int], ctrl_mask: int = 0, ctrl_value: int = 0) -> tuple[PlacedFactor, ...]:
    """A gate on a program's qubits, under further controls.

    Args:
        row: The gate.
        qubits: The gate's targets, its own controls excluded.
        ctrl_mask: Mask of the controls, the gate's own included.
        ctrl_value: The bits the controls must have.

    Returns:
        The factors in order of application.
    """
    core = row.core if ctrl_mask and row.core else row.product
    frame = row.frame if ctrl_mask else ()
    return (
        *(_placed(factor, qubits, 0, 0) for factor in frame),
        *(_placed(factor, qubits, ctrl_mask, ctrl_value) for factor in core),
        *(_placed(factor, qubits, 0, 0) for factor in undone(frame)),
    )


def undone(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """The product that undoes a product."""
    return tuple(factor.inverse for factor in reversed(factors))


def _placed(factor: Factor, qubits: Sequence[int], ctrl_mask: int, ctrl_value: int) -> PlacedFactor:
    x = z = 0
    for letter, qubit in zip(factor.string, qubits, strict=True):
        bit = 1 << qubit
        x |= bit if letter in "XY" else 0
        z |= bit if letter in "YZ" else 0
        ctrl_mask |= bit if letter in "01" else 0
        ctrl_value |= bit if letter == "1" else 0
    return PlacedFactor(x, z, ctrl_mask, ctrl_value, factor.coefficients, factor.constant)


def _rotation(string: str) -> GateRow:
    return GateRow(len(string), 1, (Factor(string, (1.0,)),))


def _phase(string: str, angle: float) -> Factor:
    """``exp(1j angle)`` where the string's controls hold."""
    return Factor(string, (), -2 * angle)


def _controlled(row: GateRow, num_ctrl: int) -> GateRow:
    return replace(row, num_ctrl=num_ctrl)


def sequence(num_qubits: int, *steps: tuple[GateRow, tuple[int, ...]]) -> tuple[Factor, ...]:
    """The factors of gates one after the other, each with the qubits it acts on; all have the same parameters."""
    factors: list[Factor] = []
    for row, qubits in steps:
        ctrl_mask = sum(1 << q for q in qubits[: row.num_ctrl])
        factors.extend(
            Factor("".join(_letter(placed, q) for q in range(num_qubits)), placed.coefficients, placed.constant)
            for placed in place(row, qubits[row.num_ctrl :], ctrl_mask, ctrl_mask)
        )
    return tuple(factors)


def _letter(placed: PlacedFactor, qubit: int) -> str:
    if placed.ctrl_mask >> qubit & 1:
        return "01"[placed.ctrl_value >> qubit & 1]
    return "IXZY"[(placed.x >> qubit & 1) + 2 * (placed.z >> qubit & 1)]


# X = i exp(-i pi/2 X); sqrt(X) likewise
_X = GateRow(1, factors=(Factor("X", (), pi), _phase("I", pi / 2)))
_Y = GateRow(1, factors=(Factor("Y", (), pi), _phase("I", pi / 2)))
_Z = GateRow(1, factors=(_phase("1", pi),))
_S = GateRow(1, factors=(_phase("1", pi / 2),))
_SDG = GateRow(1, factors=(_phase("1", -pi / 2),))
_T = GateRow(1, factors=(_phase("1", pi / 4),))
_TDG = GateRow(1, factors=(_phase("1", -pi / 4),))
_SX = GateRow(1, factors=(Factor("X", (), pi / 2), _phase("I", pi / 4)))
_SXDG = GateRow(1, factors=(Factor("X", (), -pi / 2), _phase("I", -pi / 4)))
# H = RY(pi/2) Z = RY(pi/4) Z RY(-pi/4)
_H = GateRow(
    1,
    factors=(Factor("Z", (), pi), Factor("Y", (), pi / 2), _phase("I", pi / 2)),
    core=(_phase("1", pi),),
    frame=(Factor("Y", (), -pi / 4),),
)
_P = GateRow(1, 1, (Factor("1", (-2.0,)),))
# U(theta, phi, lam) = P(phi) RY(theta) P(lam) = P(-lam) P(phi + lam) RY(theta) P(lam)
_U = GateRow(
    1,
    3,
    factors=(Factor("1", (0.0, 0.0, -2.0)), Factor("Y", (1.0,)), Factor("1", (0.0, -2.0))),
    core=(Factor("Y", (1.0,)), Factor("1", (0.0, -2.0, -2.0))),
    frame=(Factor("1", (0.0, 0.0, -2.0)),),
)
_CU = GateRow(
    1,
    4,
    core=(*_U.core, Factor("I", (0.0, 0.0, 0.0, -2.0))),
    frame=_U.frame,
    num_ctrl=1,
)
_CX = _controlled(_X, 1)
_SWAP = GateRow(2, frame=sequence(2, (_CX, (0, 1))), core=sequence(2, (_CX, (1, 0))))
# the relative-phase Toffolis of arXiv:1508.03273
_RCCX_FRAME = ((_H, (2,)), (_T, (2,)), (_CX, (1, 2)), (_TDG, (2,)))
_RCCCX_FRAME = ((_H, (3,)), (_T, (3,)), (_CX, (2, 3)), (_TDG, (3,)), (_H, (3,)))
_RCCCX_CORE = ((_CX, (0, 3)), (_T, (3,)), (_CX, (1, 3)), (_TDG, (3,))) * 2

GATES: dict[str, GateRow] = {
    "global_phase": GateRow(0, 1, (Factor("", (-2.0,)),)),
    "id": GateRow(1),
    "x": _X,
    "y": _Y,
    "z": _Z,
    "h": _H,
    "s": _S,
    "sdg": _SDG,
    "t": _T,
    "tdg": _TDG,
    "sx": _SX,
    "sxdg": _SXDG,
    "p": _P,
    "u1": _P,
    "u2": GateRow(1, 2, (Factor("1", (0.0, -2.0)), Factor("Y", (), pi / 2), Factor("1", (-2.0,)))),
    "u3": _U,
    "u": _U,
    "rx": _rotation("X"),
    "ry": _rotation("Y"),
    "rz": _rotation("Z"),
    "r": GateRow(1, 2, frame=(Factor("Z", (0.0, -1.0)),), core=(Factor("X", (1.0,)),)),
    "rxx": _rotation("XX"),
    "ryy": _rotation("YY"),
    "rzz": _rotation("ZZ"),
    "rzx": _rotation("ZX"),
    "xx_plus_yy": GateRow(2, 2, frame=(Factor("ZI", (0.0, 1.0)),), core=(Factor("XX", (0.5,)), Factor("YY", (0.5,)))),
    "xx_minus_yy": GateRow(
        2, 2, frame=(Factor("IZ", (0.0, -1.0)),), core=(Factor("XX", (0.5,)), Factor("YY", (-0.5,)))
    ),
    "swap": _SWAP,
    "iswap": GateRow(2, factors=(Factor("XX", (), -pi / 2), Factor("YY", (), -pi / 2))),
    "dcx": GateRow(2, factors=sequence(2, (_CX, (0, 1)), (_CX, (1, 0)))),
    "ecr": GateRow(
        2,
        factors=(Factor("ZX", (), pi / 2), Factor("XI", (), pi), _phase("II", pi / 2)),
        core=(Factor("XI", (), pi), _phase("II", pi / 2)),
        frame=(Factor("ZX", (), pi / 4),),
    ),
    "rccx": GateRow(3, frame=sequence(3, *_RCCX_FRAME), core=sequence(3, (_CX, (0, 2)))),
    "rcccx": GateRow(4, frame=sequence(4, *_RCCCX_FRAME), core=sequence(4, *_RCCCX_CORE)),
    "cx": _CX,
    "cy": _controlled(_Y, 1),
    "cz": _controlled(_Z, 1),
    "ch": _controlled(_H, 1),
    "cs": _controlled(_S, 1),
    "csdg": _controlled(_SDG, 1),
    "csx": _controlled(_SX, 1),
    "cp": _controlled(_P, 1),
    "cu1": _controlled(_P, 1),
    "cu3": _controlled(_U, 1),
    "cu": _CU,
    "crx": _controlled(_rotation("X"), 1),
    "cry": _controlled(_rotation("Y"), 1),
    "crz": _controlled(_rotation("Z"), 1),
    "cswap": _controlled(_SWAP, 1),
    "ccx": _controlled(_X, 2),
    "ccz": _controlled(_Z, 2),
    "c3sx": _controlled(_SX, 3),
}
"""Gate name -> row. Gates with any number of controls (mcx, mcphase, ...) are their base gate's row under controls."""
