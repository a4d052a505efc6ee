"""From a Program to elements: commuting CX networks out of the way and collecting runs of single-qubit gates.

Walking through the program, constant pi rotations with at most one control are taken as GF(2)-affine maps of the
frame, so everything after them is stated on rows. What remains are *elements*:

* `Term`: a Z-string rotation (phases of any diagonal gate expand into few of them),
* `Turn`: a rotation about one Pauli string, among them the RY in the middle of a ZYZ run,
* `Blend`: a 2x2 matrix on a virtual qubit,
* `Block2k`: a constant dense matrix.

A *run* is a maximal sequence of single-qubit gates on one qubit with the same kind of angles (shared or per sample).
Its gates' gradients all follow from <X>, <Y>, <Z> at one point (`qiskit_fusedqml.coefficients`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import pi, remainder
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..plan import Frame, Functional, Row, bits, parity
from ..program import Diagonal, Matrix, Program, Rotation

MAX_EXPANDED_CONTROLS = 3
"""Diagonal rotations with more controls stay controlled: each control doubles the number of Z strings."""

WINDOW = 8192
"""Instructions, about, that are elements at once: planning a deep circuit takes memory for its plan and little else."""

EPSILON = 1e-14

X, Y, Z = 0, 1, 2


@dataclass(slots=True)
class Run:
    """Single-qubit gates in time order: axis, slot (-1: constant), constant angle, position in the program.

    ``index`` numbers the runs whose angles are found by Euler decomposition; -1 for the others.
    """

    gates: list[tuple[int, int, float, int]]
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
class Term:
    """``exp(-1j angle/2 (-1)**f)`` with a linear functional f (its constant has been moved into the angle's sign)."""

    functional: Functional
    angle: Angle
    batched: bool
    instructions: list[int]
    generators: tuple[int, ...] = ()


@dataclass(slots=True)
class Turn:
    """``C[exp(-1j angle/2 P)]`` on rows. ``side`` is the functional of a virtual qubit when P is its Y, else -1."""

    x: Row
    z: Functional
    power: int
    controls: tuple[Functional, ...]
    side: Functional
    angle: Angle
    batched: bool
    run: Run | None
    instructions: list[int]
    generators: tuple[int, ...] = ()


@dataclass(slots=True)
class Blend:
    """A run about several axes as one 2x2 matrix, or one a sample."""

    x: Row
    side: Functional
    run: Run
    instructions: list[int]
    generators: tuple[int, ...] = ()


@dataclass(slots=True)
class Block2k:
    """A constant matrix on virtual qubits (xs, ws)."""

    xs: tuple[Row, ...]
    ws: tuple[Functional, ...]
    matrix: NDArray[np.complex128]
    instructions: list[int]
    generators: tuple[int, ...] = ()


Element: TypeAlias = Term | Turn | Blend | Block2k


def flips(element: Element) -> tuple[Row, ...]:
    """The flip vectors of an element; none for a diagonal one."""
    match element:
        case Term():
            return ()
        case Block2k():
            return element.xs
        case _:
            return (element.x,) if element.x else ()


@dataclass(slots=True)
class Elements:
    """What `collect` makes of a window; the frame is the one after it."""

    elements: list[Element]
    runs: list[Run]
    frame: Frame


def collect(
    program: Program,
    batched_slots: frozenset[int],
    frame: Frame,
    *,
    keep_phase: bool,
    populations: bool = False,
    euler: bool = True,
) -> Iterator[Elements]:
    """Turn a program into elements, window by window.

    Args:
        program: The program.
        batched_slots: Slots whose angles differ from sample to sample.
        frame: The frame before the first instruction.
        keep_phase: Whether the global phase matters.
        populations: Whether only the absolute values of the final amplitudes matter.
        euler: Whether shared runs about several axes become a turn between two diagonals, or else a 2x2 matrix.
    """
    collector = _Collector(program, batched_slots, frame, keep_phase, euler)
    first = 0
    cuts = set(program.cuts)
    for position, instruction in enumerate(program.instructions):
        full = position - first >= WINDOW and (not collector.open_runs or position - first >= 2 * WINDOW)
        if position > first and (full or position in cuts):
            yield collector.window()
            first = position
        if isinstance(instruction, Rotation):
            collector.rotation(instruction, position)
        elif isinstance(instruction, Diagonal):
            collector.diagonal(instruction, position)
        else:
            collector.matrix(instruction, position)
    found = collector.window()
    yield _without_last_phases(found) if populations else found


def _without_last_phases(found: Elements) -> Elements:
    """The elements without diagonal ones at the end, which no population feels.

    Their gradients are zero: ``Im <ket|O Z|ket>`` vanishes for diagonal O.
    """
    kept: list[Element] = []
    later: set[Row] = set()
    for element in reversed(found.elements):
        if isinstance(element, Term) and not any(parity(element.functional & x) for x in later):
            continue
        kept.append(element)
        later.update(flips(element))
    return Elements(kept[::-1], found.runs, found.frame)


class _Collector:
    """The walk's state: the frame, the open run of each qubit, and the terms that later ones may still join."""

    def __init__(
        self, program: Program, batched_slots: frozenset[int], frame: Frame, keep_phase: bool, euler: bool
    ) -> None:
        self.n = program.num_qubits
        self.one = 1 << self.n
        self.batched_slots = batched_slots
        self.keep_phase = keep_phase
        self.euler = euler
        self.frame = frame
        self.elements: list[Element] = []
        self.runs: list[Run] = []
        self.open_runs: dict[int, Run] = {}
        self.open_terms: dict[tuple[Functional, bool], Term] = {}

    def window(self) -> Elements:
        """What has been found since the last call; later terms and gates join none of it."""
        self.close(self.one - 1)
        elements = [e for e in self.elements if not (isinstance(e, Term) and e.angle.is_zero)]
        found = Elements(elements, self.runs, self.frame)
        self.elements, self.runs, self.open_terms = [], [], {}
        return found

    def rotation(self, r: Rotation, position: int) -> None:
        constant = r.slot < 0
        if constant and abs(remainder(r.theta, 4 * pi)) < EPSILON:
            return
        if constant and r.x and abs(abs(remainder(r.theta, 2 * pi)) - pi) < EPSILON and r.ctrl_mask.bit_count() <= 1:
            self._flip(r, position)
            return
        support = r.x | r.z
        if not r.ctrl_mask and support.bit_count() == 1:
            axis = (Y if r.z else X) if r.x else Z
            self._extend_run(support, (axis, r.slot, r.theta, position), r.slot in self.batched_slots)
            return
        if r.x == 0 and r.ctrl_mask.bit_count() <= MAX_EXPANDED_CONTROLS:
            self._phases(r, position)
            return
        self._turn(r, position)

    def diagonal(self, d: Diagonal, position: int) -> None:
        """Walsh expansion of the table's phases into constant terms."""
        self._close_unless_diagonal(sum(1 << q for q in d.qubits))
        k = len(d.qubits)
        coefficients = np.angle(d.table)
        for j in range(k):
            pairs = coefficients.reshape(-1, 2, 1 << j)
            coefficients = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
        coefficients = coefficients / 2**k
        for mask in np.flatnonzero(np.abs(coefficients) > EPSILON):
            logical = sum(1 << d.qubits[j] for j in bits(int(mask)))
            self._add_term(self.frame.functional(logical), Angle(-2.0 * float(coefficients[mask])), False, position)

    def matrix(self, m: Matrix, position: int) -> None:
        if len(m.qubits) == 1:
            phase, angles = zyz(m.matrix)
            for axis, theta in zip((Z, Y, Z), angles, strict=True):
                self._extend_run(1 << m.qubits[0], (axis, -1, theta, position), False)
            self._add_term(0, Angle(-2.0 * phase), False, position)
            return
        self.close(sum(1 << q for q in m.qubits))
        xs = tuple(self.frame.columns[q] for q in m.qubits)
        ws = tuple(self.frame.duals[q] for q in m.qubits)
        linear = [w & (self.one - 1) for w in ws]
        generators = (*xs, *(w << self.n for w in linear))
        self._append(Block2k(xs, ws, m.matrix, [position], generators))

    def close(self, mask: int) -> None:
        """End the open runs of these qubits."""
        for q in bits(mask):
            run = self.open_runs.pop(q, None)
            if run is not None:
                self._emit_run(self.frame.columns[q], self.frame.duals[q], run)

    def _close_unless_diagonal(self, mask: int) -> None:
        for q in bits(mask):
            run = self.open_runs.get(q)
            if run is not None and any(axis != Z for axis, *_ in run.gates):
                self.close(1 << q)

    def _extend_run(self, qubit_mask: int, gate: tuple[int, int, float, int], batched: bool) -> None:
        q = qubit_mask.bit_length() - 1
        run = self.open_runs.get(q)
        if run is not None and run.batched != batched:
            self.close(qubit_mask)
            run = None
        if run is None:
            self.open_runs[q] = Run([gate], batched)
        else:
            run.gates.append(gate)

    def _flip(self, r: Rotation, position: int) -> None:
        """``C[exp(-1j theta/2 P)]``, theta = pi mod 2 pi: flip the x bits, then a Z string and a phase, under C."""
        self.close(r.x | r.z)
        self._close_unless_diagonal(r.ctrl_mask)
        control = r.ctrl_mask.bit_length() - 1
        self.frame = self.frame.flipped(r.x, control, 1 if r.ctrl_value else 0)
        phase = -remainder(r.theta, 4 * pi) / 2 - pi / 2 * ((r.x & r.z).bit_count() % 4)
        controls = self.frame.controls(r.ctrl_mask, r.ctrl_value)
        if r.z:
            # (-1)**z = exp(-1j pi/2) exp(+1j pi/2 (-1)**z)
            self._add_phases(self.frame.functional(r.z), controls, -1, -pi, position)
            phase -= pi / 2
        self._add_phases(0, controls, -1, -2 * phase, position)

    def _phases(self, r: Rotation, position: int) -> None:
        self._close_unless_diagonal(r.z | r.ctrl_mask)
        controls = self.frame.controls(r.ctrl_mask, r.ctrl_value)
        self._add_phases(self.frame.functional(r.z), controls, r.slot, r.theta, position)

    def _add_phases(
        self, base: Functional, controls: tuple[Functional, ...], slot: int, theta: float, position: int
    ) -> None:
        """A diagonal rotation under k controls as 2**k Z strings: each control projects by (1 - (-1)**c)/2."""
        weight = 0.5 ** len(controls)
        batched = slot in self.batched_slots
        # for each subset of the controls: its sum with the base, and the sign of its size
        strings = [(base, weight)]
        for control in controls:
            strings += [(functional ^ control, -signed) for functional, signed in strings]
        for functional, signed in strings:
            if functional or self.keep_phase:
                angle = Angle(theta * signed) if slot < 0 else Angle(0.0, [(slot, signed)])
                self._add_term(functional, angle, batched, position)

    def _turn(self, r: Rotation, position: int) -> None:
        self.close(r.x | r.z)
        self._close_unless_diagonal(r.ctrl_mask)
        angle = Angle(r.theta) if r.slot < 0 else Angle(0.0, [(r.slot, 1.0)])
        power = (r.x & r.z).bit_count() % 4
        controls = self.frame.controls(r.ctrl_mask, r.ctrl_value)
        x, z = self.frame.vector(r.x), self.frame.functional(r.z)
        self._append_turn(x, z, power, controls, -1, angle, r.slot in self.batched_slots, None, [position])

    def _append_turn(
        self,
        x: Row,
        z: Functional,
        power: int,
        controls: tuple[Functional, ...],
        side: Functional,
        angle: Angle,
        batched: bool,
        run: Run | None,
        instructions: list[int],
    ) -> None:
        mask = self.one - 1
        generators = (x | (z & mask) << self.n, *((c & mask) << self.n for c in controls))
        self._append(Turn(x, z, power, controls, side, angle, batched, run, instructions, generators))

    def _append(self, element: Element) -> None:
        """Add an element that flips; the open terms that do not commute with it can no longer be joined."""
        for x in flips(element):
            for key in [key for key in self.open_terms if (key[0] & x).bit_count() & 1]:
                del self.open_terms[key]
        self.elements.append(element)

    def _add_term(self, functional: Functional, angle: Angle, batched: bool, position: int) -> None:
        if functional & self.one:
            functional ^= self.one
            angle = Angle(-angle.constant, [(slot, -w) for slot, w in angle.slots], [(s, -w) for s, w in angle.euler])
        if functional == 0 and not self.keep_phase:
            return
        term = self.open_terms.get((functional, batched))
        if term is None:
            term = Term(functional, angle, batched, [position], (functional << self.n,))
            self.open_terms[functional, batched] = term
            self.elements.append(term)
            return
        term.angle.constant += angle.constant
        term.angle.slots += angle.slots
        term.angle.euler += angle.euler
        term.instructions.append(position)

    def _emit_run(self, x: Row, w: Functional, run: Run) -> None:
        """A run as terms around one turn when its flips share an axis; else by Euler angles, or per-sample matrices."""
        flipping = [k for k, gate in enumerate(run.gates) if gate[0] != Z]
        first, last = (flipping[0], flipping[-1] + 1) if flipping else (len(run.gates), len(run.gates))
        middle = run.gates[first:last]
        axes = {gate[0] for gate in middle}
        if len(axes) > 1:
            self._emit_mixed_run(x, w, run)
            return
        for _, slot, theta, position in run.gates[:first]:
            self._add_term(w, _angle(slot, theta), run.batched, position)
        if middle:
            angle = Angle(sum(gate[2] for gate in middle), [(gate[1], 1.0) for gate in middle if gate[1] >= 0])
            positions = [gate[3] for gate in middle]
            if Y in axes:
                self._append_turn(x, w, 1, (), w, angle, run.batched, None, positions)
            else:
                self._append_turn(x, 0, 0, (), -1, angle, run.batched, None, positions)
        for _, slot, theta, position in run.gates[last:]:
            self._add_term(w, _angle(slot, theta), run.batched, position)

    def _emit_mixed_run(self, x: Row, w: Functional, run: Run) -> None:
        positions = [gate[3] for gate in run.gates]
        run.index = len(self.runs)
        self.runs.append(run)
        if run.batched or not self.euler:
            linear = (w & (self.one - 1)) << self.n
            self._append(Blend(x, w, run, positions, (x, linear)))
            return
        self._add_euler_term(w, run.index, GAMMA, positions)
        self._append_turn(x, w, 1, (), w, Angle(euler=[(3 * run.index + BETA, 1)]), False, run, positions)
        self._add_euler_term(w, run.index, ALPHA, positions)

    def _add_euler_term(self, w: Functional, index: int, which: int, positions: list[int]) -> None:
        for position in positions[:1]:
            self._add_term(w, Angle(euler=[(3 * index + which, 1)]), False, position)


def _angle(slot: int, theta: float) -> Angle:
    return Angle(theta) if slot < 0 else Angle(0.0, [(slot, 1.0)])


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


def positions_of(element: Element) -> Iterator[int]:
    """Positions in the program of the instructions an element carries out."""
    if isinstance(element, Turn | Blend) and element.run is not None:
        yield from (gate[3] for gate in element.run.gates)
    else:
        yield from element.instructions
