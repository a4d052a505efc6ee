"""Elements: what planning orders and groups, between a program's instructions and a tape's operations.

Elements are stated on the rows of a frame (`collect`):

* `ZRotation`: a Z-string rotation (phases of any diagonal gate expand into few of them),
* `PauliRotation`: a rotation about one Pauli string, among them the RY in the middle of a ZYZ run,
* `U2Element`: a 2x2 matrix on a virtual qubit,
* `DenseElement`: a constant dense matrix.

A *run* is a maximal sequence of single-qubit gates on one qubit with the same kind of angles (shared or per sample).
Its gates' gradients all follow from <X>, <Y>, <Z> at one point (`qiskit_fusedqml.devices.coefficients`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import pi, remainder
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .frame import Frame, Functional, Row

EPSILON = 1e-14


@dataclass(slots=True)
class RotationSequence:
    """Single-qubit gates in time order: axis, slot (-1: constant), constant angle.

    ``index`` numbers the runs whose angles are found by Euler decomposition; -1 for the others.
    """

    gates: list[tuple[int, int, float]]
    batched: bool
    index: int = -1


@dataclass(slots=True)
class Angle:
    """A linear combination ``constant + sum weight * source``; a source is a slot >= 0 or an `Euler` angle of a run."""

    constant: float = 0.0
    slots: list[tuple[int, float]] = field(default_factory=list)
    euler: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_zero(self) -> bool:
        """Whether nothing would be rotated, whatever the parameters."""
        return not self.slots and not self.euler and abs(remainder(self.constant, 4 * pi)) < EPSILON


ALPHA, BETA, GAMMA = 0, 1, 2


@dataclass(slots=True)
class ZRotation:
    """``exp(-1j angle/2 (-1)**f)`` with a linear functional f (its constant has been moved into the angle's sign)."""

    functional: Functional
    angle: Angle
    batched: bool
    generators: tuple[int, ...] = ()

    @property
    def flips(self) -> tuple[Row, ...]:
        """The flip vectors: none, as it is diagonal."""
        return ()


@dataclass(slots=True)
class PauliRotation:
    """``C[exp(-1j angle/2 P)]`` on rows. ``side`` is the functional of a virtual qubit when P is its Y, else -1."""

    x: Row
    z: Functional
    power: int
    controls: tuple[Functional, ...]
    side: Functional
    angle: Angle
    batched: bool
    run: RotationSequence | None
    generators: tuple[int, ...] = ()

    @property
    def flips(self) -> tuple[Row, ...]:
        """The flip vectors."""
        return (self.x,) if self.x else ()


@dataclass(slots=True)
class U2Element:
    """A run about several axes as one 2x2 matrix, or one a sample."""

    x: Row
    side: Functional
    run: RotationSequence
    generators: tuple[int, ...] = ()

    @property
    def flips(self) -> tuple[Row, ...]:
        """The flip vectors."""
        return (self.x,) if self.x else ()


@dataclass(slots=True)
class DenseElement:
    """A constant matrix on virtual qubits (xs, ws)."""

    xs: tuple[Row, ...]
    ws: tuple[Functional, ...]
    matrix: NDArray[np.complex128]
    generators: tuple[int, ...] = ()

    @property
    def flips(self) -> tuple[Row, ...]:
        """The flip vectors."""
        return self.xs


Element: TypeAlias = ZRotation | PauliRotation | U2Element | DenseElement


@dataclass(slots=True)
class Elements:
    """What `collect` makes of a window; the frame is the one after it."""

    elements: list[Element]
    runs: list[RotationSequence]
    frame: Frame
