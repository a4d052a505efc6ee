"""From a program to elements: CX networks go into the frame, single-qubit gates into rotation sequences.

Walking through the program, constant pi rotations with at most one control are taken as GF(2)-affine maps of the
frame, so everything after them is stated on physical indices. What remains are the elements (`elements`).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import pi, remainder

import numpy as np
from numpy.typing import NDArray

from ..ir.program import Diagonal, Matrix, Program, Rotation
from ..ir.qubits import bits
from .elements import (
    ALPHA,
    BETA,
    EPSILON,
    GAMMA,
    MAX_EXPANDED_TERMS,
    Angle,
    DenseElement,
    DiagonalElement,
    Element,
    Elements,
    PauliRotation,
    RotationSequence,
    U2Element,
    X,
    Y,
    Z,
    ZRotation,
)
from .frame import Frame, Functional, Vector
from .gf2 import parity, walsh

MAX_EXPANDED_CONTROLS = 3
"""Diagonal rotations with more controls stay controlled: each control doubles the number of Z strings."""

WINDOW = 8192
"""Instructions, about, that are elements at once: planning a deep circuit takes memory for its plan and little else."""


def collect(
    program: Program,
    batched_slots: frozenset[int],
    frame: Frame,
    *,
    keep_phase: bool,
    populations: bool = False,
    euler: bool = True,
    windows_joined: int = 1,
    is_real: bool = False,
) -> Iterator[Elements]:
    """The elements of a program, window by window.

    Args:
        program: The program.
        batched_slots: Slots whose angles differ from sample to sample.
        frame: The frame before the first instruction.
        keep_phase: Whether the global phase matters.
        populations: Whether only the absolute values of the final amplitudes matter.
        euler: Whether shared sequences about several axes become an RY between two diagonals, or else a 2x2 matrix.
        windows_joined: How many windows are one: each begins with a stage of its own.
        is_real: Whether every gate is real (`realness`); what makes up a real gate then stays together.
    """
    window = WINDOW * windows_joined
    collector = _Collector(program, batched_slots, frame, keep_phase, euler, is_real)
    first = 0
    cuts = set(program.cuts)
    for position, instruction in enumerate(program.instructions):
        length = position - first
        full = length >= window and (not collector.open_sequences or length >= 2 * window) and not collector.pending
        if position > first and (full or position in cuts):
            yield collector.window()
            first = position
        if isinstance(instruction, Rotation):
            collector.rotation(instruction)
        elif isinstance(instruction, Diagonal):
            collector.diagonal(instruction)
        elif isinstance(instruction, Matrix):
            collector.matrix(instruction)
    last = collector.window()
    yield _without_last_phases(last) if populations else last


def _without_last_phases(window: Elements) -> Elements:
    """The elements without diagonal ones at the end, on which no population depends.

    Their gradients are zero: ``Im <ket|O Z|ket>`` vanishes for diagonal O.
    """
    kept: list[Element] = []
    later: set[Vector] = set()
    for element in reversed(window.elements):
        if not element.flips and isinstance(element, ZRotation | DiagonalElement):
            functionals = (element.functional,) if isinstance(element, ZRotation) else element.basis
            if not any(parity(functional & x) for functional in functionals for x in later):
                continue
        kept.append(element)
        later.update(element.flips)
    return Elements(kept[::-1], window.sequences, window.frame)


class _Collector:
    """The walk's state: the frame, each qubit's open sequence, and the Z rotations that later ones may still join."""

    def __init__(
        self,
        program: Program,
        batched_slots: frozenset[int],
        frame: Frame,
        keep_phase: bool,
        euler: bool,
        is_real: bool,
    ) -> None:
        self.n = program.num_qubits
        self.one = 1 << self.n
        self.batched_slots = batched_slots
        self.keep_phase = keep_phase
        self.euler = euler
        self.is_real = is_real
        self.frame = frame
        self.elements: list[Element] = []
        self.sequences: list[RotationSequence] = []
        self.open_sequences: dict[int, RotationSequence] = {}
        # masks of the qubits with an open sequence, and with one that is not diagonal
        self.open_mask = self.flipping_mask = 0
        # Z rotations by functional: with shared angles, and with angles that differ from sample to sample
        self.open_terms: tuple[dict[Functional, ZRotation], dict[Functional, ZRotation]] = ({}, {})
        # ctrl_mask, ctrl_value and angle of the phase that the last flip, or the last phase of a real gate, has left
        self.pending: tuple[int, int, float] | None = None

    def window(self) -> Elements:
        """The elements since the last call; later rotations join none of them."""
        self._flush()
        self.close(self.one - 1)
        elements = [e for e in self.elements if not (isinstance(e, ZRotation) and e.angle.is_zero)]
        window = Elements(elements, self.sequences, self.frame)
        self.elements, self.sequences, self.open_terms = [], [], ({}, {})
        return window

    def rotation(self, r: Rotation) -> None:
        x, z, ctrl_mask, ctrl_value, slot, theta = r
        if self.pending:
            # a controlled X is a flip and the phase that it leaves, with the other sign
            goes_on = slot < 0 and not z and (ctrl_mask, ctrl_value) == self.pending[:2]
            if goes_on and not x:
                r = r._replace(theta=theta + self.pending[2])
                theta, self.pending = r.theta, None
            elif not (goes_on and self.is_real):
                self._flush()
        if slot < 0:
            if abs(remainder(theta, 4 * pi)) < EPSILON:
                return
            # with a Z string it leaves phases under its control that are not real
            is_flip = x and ctrl_mask.bit_count() <= (0 if self.is_real and z else 1)
            if is_flip and abs(abs(remainder(theta, 2 * pi)) - pi) < EPSILON:
                self._flip(r)
                return
        if not ctrl_mask and (x | z).bit_count() == 1:
            axis = (Y if z else X) if x else Z
            self._extend_sequence((x | z).bit_length() - 1, (axis, slot, theta), slot in self.batched_slots)
        elif x == 0 and ctrl_mask.bit_count() <= MAX_EXPANDED_CONTROLS:
            self._phases(r)
        else:
            self._pauli(r)

    def diagonal(self, d: Diagonal) -> None:
        """Walsh expansion of the table's phases into constant terms."""
        self._flush()
        self._close_unless_diagonal(sum(1 << q for q in d.qubits))
        masks, angles = z_strings(d)
        if self.is_real or len(masks) > MAX_EXPANDED_TERMS:
            self._append(self._diagonal_element(d.qubits, masks, angles))
            return
        for mask, angle in zip(masks.tolist(), angles.tolist(), strict=True):
            logical = sum(1 << d.qubits[j] for j in bits(mask))
            self._add_term(self.frame.functional(logical), -1, angle, batched=False)

    def _diagonal_element(
        self, qubits: tuple[int, ...], masks: NDArray[np.intp], angles: NDArray[np.float64]
    ) -> DiagonalElement:
        duals = [self.frame.duals[q] for q in qubits]
        # where a functional's constant is 1, the strings that hold it change their sign
        constants = sum((dual >> self.n) << j for j, dual in enumerate(duals))
        signs = 1.0 - 2.0 * (np.bitwise_count(masks & constants) & 1)
        basis = tuple(dual & (self.one - 1) for dual in duals)
        generators = tuple(functional << self.n for functional in basis)
        return DiagonalElement(basis, tuple(masks.tolist()), signs * angles, generators)

    def matrix(self, m: Matrix) -> None:
        self._flush()
        if len(m.qubits) == 1:
            phase, angles = zyz(m.matrix)
            for axis, theta in zip((Z, Y, Z), angles, strict=True):
                self._extend_sequence(m.qubits[0], (axis, -1, theta), batched=False)
            self._add_term(0, -1, -2.0 * phase, batched=False)
            return
        self.close(sum(1 << q for q in m.qubits))
        flips = tuple(self.frame.columns[q] for q in m.qubits)
        sides = tuple(self.frame.duals[q] for q in m.qubits)
        self._append(DenseElement(flips, sides, m.matrix, (*flips, *map(self._z_part, sides))))

    def close(self, mask: int) -> None:
        """End the open sequences of these qubits."""
        mask &= self.open_mask
        self.open_mask ^= mask
        self.flipping_mask &= ~mask
        while mask:
            q = (mask & -mask).bit_length() - 1
            mask ^= 1 << q
            self._emit_sequence(self.frame.columns[q], self.frame.duals[q], self.open_sequences.pop(q))

    def _close_unless_diagonal(self, mask: int) -> None:
        if mask & self.flipping_mask:
            self.close(mask & self.flipping_mask)

    def _extend_sequence(self, q: int, gate: tuple[int, int, float], batched: bool) -> None:
        sequence = self.open_sequences.get(q)
        if sequence is not None and sequence.batched != batched:
            self.close(1 << q)
            sequence = None
        if sequence is None:
            sequence = self.open_sequences[q] = RotationSequence([], batched)
            self.open_mask |= 1 << q
        sequence.gates.append(gate)
        if gate[0] != Z:
            self.flipping_mask |= 1 << q

    def _flip(self, r: Rotation) -> None:
        """``C[exp(-1j theta/2 P)]``, theta = pi mod 2 pi: flip the x bits, then a Z string and a phase, under C."""
        x, z, ctrl_mask, ctrl_value, _, theta = r
        self.close(x | z)
        self._close_unless_diagonal(ctrl_mask)
        self.frame = self.frame.flipped(x, ctrl_mask.bit_length() - 1, 1 if ctrl_value else 0)
        phase = -remainder(theta, 4 * pi) / 2 - pi / 2 * ((x & z).bit_count() % 4)
        if z:
            controls = self.frame.controls(ctrl_mask, ctrl_value)
            # (-1)**z = exp(-1j pi/2) exp(+1j pi/2 (-1)**z)
            self._add_phases(self.frame.functional(z), controls, -1, -pi)
            phase -= pi / 2
        before = self.pending[2] if self.pending else 0.0
        self.pending = ctrl_mask, ctrl_value, before - 2 * phase

    def _flush(self) -> None:
        if self.pending:
            ctrl_mask, ctrl_value, theta = self.pending
            self.pending = None
            self._add_phases(0, self.frame.controls(ctrl_mask, ctrl_value), -1, theta)

    def _phases(self, r: Rotation) -> None:
        _, z, ctrl_mask, ctrl_value, slot, theta = r
        self._close_unless_diagonal(z | ctrl_mask)
        if self.is_real and ctrl_mask.bit_count() > 1:
            self._sign(ctrl_mask, ctrl_value)
            return
        if self.is_real and ctrl_mask:  # real once a flip under the same control has followed
            self.pending = ctrl_mask, ctrl_value, theta
            return
        controls = self.frame.controls(ctrl_mask, ctrl_value) if ctrl_mask else ()
        self._add_phases(self.frame.functional(z), controls, slot, theta)

    def _sign(self, ctrl_mask: int, ctrl_value: int) -> None:
        """-1 where the controls hold, as one element: its Z strings are not real one by one."""
        qubits = tuple(bits(ctrl_mask))
        masks = np.arange(2 ** len(qubits))
        negated = sum((ctrl_value >> q & 1) << j for j, q in enumerate(qubits))
        angles = 2 * pi / len(masks) * (1.0 - 2.0 * (np.bitwise_count(masks & negated) & 1))
        self._append(self._diagonal_element(qubits, masks, angles))

    def _add_phases(self, string: Functional, controls: tuple[Functional, ...], slot: int, theta: float) -> None:
        """A diagonal rotation under k controls as 2**k Z strings: each control projects by (1 - (-1)**c)/2."""
        batched = slot in self.batched_slots
        # for each subset of the controls: its sum with the string, and the sign of its size
        strings = [(string, 0.5 ** len(controls))]
        for control in controls:
            strings += [(functional ^ control, -signed) for functional, signed in strings]
        for functional, signed in strings:
            self._add_term(functional, slot, theta, batched, signed)

    def _pauli(self, r: Rotation) -> None:
        self.close(r.x | r.z)
        self._close_unless_diagonal(r.ctrl_mask)
        angle = Angle(r.theta) if r.slot < 0 else Angle(0.0, [(r.slot, 1.0)])
        power = (r.x & r.z).bit_count() % 4
        controls = self.frame.controls(r.ctrl_mask, r.ctrl_value)
        x, z = self.frame.vector(r.x), self.frame.functional(r.z)
        generators = (x | self._z_part(z), *map(self._z_part, controls))
        self._append(PauliRotation(x, z, power, controls, -1, angle, r.slot in self.batched_slots, None, generators))

    def _z_part(self, functional: Functional) -> int:
        """The generator that a functional's sign is."""
        return (functional & (self.one - 1)) << self.n

    def _append(self, element: Element) -> None:
        """Add an element that flips; the open terms that do not commute with it can no longer be joined."""
        for x in element.flips:
            for terms in self.open_terms:
                for functional in [f for f in terms if (f & x).bit_count() & 1] if terms else ():
                    del terms[functional]
        self.elements.append(element)

    def _add_term(self, functional: Functional, slot: int, theta: float, batched: bool, weight: float = 1.0) -> None:
        """``exp(-1j angle/2 (-1)**f)``; the angle is ``weight`` times the slot's or, if that is -1, times ``theta``."""
        if functional & self.one:
            functional ^= self.one
            weight = -weight
        if not functional and not self.keep_phase:
            return
        angle = self._angle_of(functional, batched)
        if slot < 0:
            angle.constant += weight * theta
        else:
            angle.slots.append((slot, weight))

    def _angle_of(self, functional: Functional, batched: bool) -> Angle:
        """The angle of the open term of a linear functional, or of a new one."""
        terms = self.open_terms[batched]
        term = terms.get(functional)
        if term is None:
            term = terms[functional] = ZRotation(functional, Angle(), batched, (functional << self.n,))
            self.elements.append(term)
        return term.angle

    def _emit_sequence(self, x: Vector, w: Functional, sequence: RotationSequence) -> None:
        """A sequence as Z rotations around one flip about a common axis; else by Euler angles, or as matrices."""
        parts = sequence.about_one_axis()
        if parts is None:
            self._emit_mixed_sequence(x, w, sequence)
            return
        before, axis, angle, half_turns, after = parts
        batched = sequence.batched
        for _, slot, theta in before:
            self._add_term(w, slot, theta, batched)
        if axis == Y:
            self._append(PauliRotation(x, w, 1, (), w, angle, batched, None, (x | self._z_part(w),)))
        elif axis == X:
            self._append(PauliRotation(x, 0, 0, (), -1, angle, batched, None, (x,)))
        if half_turns:  # an even number of them is a phase
            self._add_term(w if round(half_turns / pi) & 1 else 0, -1, half_turns, batched)
        for _, slot, theta in after:
            self._add_term(w, slot, theta, batched)

    def _emit_mixed_sequence(self, x: Vector, w: Functional, sequence: RotationSequence) -> None:
        sequence.index = len(self.sequences)
        self.sequences.append(sequence)
        if sequence.batched or not self.euler:
            self._append(U2Element(x, w, sequence, (x, self._z_part(w))))
            return
        angle = Angle(euler=[(3 * sequence.index + BETA, 1)])
        self._add_euler_term(w, sequence.index, GAMMA)
        self._append(PauliRotation(x, w, 1, (), w, angle, False, sequence, (x | self._z_part(w),)))
        self._add_euler_term(w, sequence.index, ALPHA)

    def _add_euler_term(self, w: Functional, index: int, which: int) -> None:
        sign = -1 if w & self.one else 1
        self._angle_of(w & (self.one - 1), batched=False).euler.append((3 * index + which, sign))


def z_angles(diagonal: Diagonal) -> NDArray[np.float64]:
    """Angles (2**k,) of the Z strings m with ``table[i] = exp(-1j/2 sum_m angles[m] (-1)**|m & i|)``."""
    return np.asarray(-2.0 / 2 ** len(diagonal.qubits) * walsh(np.angle(diagonal.table)))


def z_strings(diagonal: Diagonal) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The Z strings that a diagonal is a product of, as masks over its qubits, and their angles."""
    angles = z_angles(diagonal)
    masks = np.flatnonzero(np.abs(angles) > EPSILON)
    return masks, angles[masks]


def zyz(matrix: NDArray[np.complex128]) -> tuple[float, tuple[float, float, float]]:
    """``exp(1j phase) RZ(third) RY(second) RZ(first)`` of a unitary 2x2 matrix: (phase, angles in time order)."""
    phase = float(np.angle(np.linalg.det(matrix)) / 2)
    (a, _), (c, d) = matrix * np.exp(-1j * phase)
    total, difference = 2 * float(np.angle(d)), 2 * float(np.angle(c))
    if abs(c) < EPSILON:
        difference = 0.0
    if abs(a) < EPSILON:
        total = 0.0
    beta = 2 * float(np.arctan2(abs(c), abs(a)))
    return phase, ((total - difference) / 2, beta, (total + difference) / 2)
