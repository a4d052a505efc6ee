"""From a program to elements of Pauli vectors: networks of CX, CZ and SWAP go into the frame.

All that acts on one qubit is collected in its sequence, which is closed when something meets the qubit that does not
commute with it. Closing asks what is cheapest: few rotations become `TurnElement`s, channels that are diagonal but for
a gain of Z join the last pair of the qubit, and all else is one affine map. Controlled rotations and diagonals are
products of commuting rotations (`strings`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from math import pi, remainder
from typing import NamedTuple

import numpy as np

from ...errors import UnsupportedInstructionError
from ...ir.channels import MAX_CHANNEL_QUBITS, Channel, transfer_of_kraus
from ...ir.program import Diagonal, Instruction, Matrix, Program, Rotation
from ...ir.qubits import bits
from ..gf2 import parity
from . import structure
from .elements import (
    EPSILON,
    AffineElement,
    Angle,
    Element,
    Gate,
    PairElement,
    Sequence,
    TransferElement,
    TurnElement,
    whole_turn,
)
from .sequences import append, joint, leading_gain, parts, summed, take_last_channels
from .strings import AXIS_X, AXIS_Y, AXIS_Z, WAY_OUT, String, controlled, product, walsh
from .tape import PauliFrame, PauliQubit

WINDOW = 8192
"""Instructions, about, that are elements at once, as of `qiskit_fusedqml.planner.collector`."""

_HAS_X = np.array([0, 1, 1, 0])
_CZ_SIGN = Channel((0, 1), np.diag(1.0 - 2.0 * np.outer(_HAS_X, _HAS_X).ravel()))
"""The sign ``(-1)**(x_a x_b)`` of a CZ."""


class Window(NamedTuple):
    """Elements in order, and the frame after them."""

    elements: list[Element]
    frame: PauliFrame


def collect(program: Program, batched_slots: frozenset[int], frame: PauliFrame) -> Iterator[Window]:
    """A program as elements from a frame on, window by window; none reaches over a cut.

    Raises:
        UnsupportedInstructionError: For what acts on too many qubits at once, and for channels whose parameters differ
            from sample to sample.
    """
    collector = _Collector(frame, batched_slots)
    first = 0
    cuts = set(program.cuts)
    for position, instruction in enumerate(program.instructions):
        if position > first and (position - first >= WINDOW or position in cuts):
            yield collector.window()
            first = position
        try:
            collector.instruction(instruction)
        except UnsupportedInstructionError as error:
            name = type(instruction).__name__
            raise UnsupportedInstructionError(f"Instruction {position} ({name}): {error.args[0]}") from None
    yield collector.window()


class _Collector:
    """The walk's state.

    The frame is ``qubits``. ``last`` holds the element that touched a qubit last; a pair in it may still be joined,
    as nothing has touched the qubit since. Turns that all later elements commute with are in ``turns``.
    """

    def __init__(self, frame: PauliFrame, batched_slots: frozenset[int]) -> None:
        self.n = len(frame.qubits)
        self.batched_slots = batched_slots
        self.qubits = list(frame.qubits)
        self.elements: list[Element] = []
        self.open: dict[int, Sequence] = {}
        self.last: list[Element | None] = [None] * self.n
        self.turns: dict[tuple[int, int, bool], TurnElement] = {}
        self.known: dict[Hashable, Channel] = {}

    def window(self) -> Window:
        """The elements since the last call; what comes later joins none of them."""
        self.close((1 << self.n) - 1)
        elements = [e for e in self.elements if not e.empty]
        self.elements, self.last, self.turns = [], [None] * self.n, {}
        return Window(elements, PauliFrame(tuple(self.qubits)))

    def instruction(self, instruction: Instruction) -> None:
        """Take one instruction."""
        match instruction:
            case Rotation():
                self._rotation(instruction)
            case Diagonal():
                self._rotations(walsh(instruction))
            case Matrix(qubits, matrix):
                if len(qubits) > MAX_CHANNEL_QUBITS:
                    raise UnsupportedInstructionError(
                        f"a density matrix takes matrices on at most {MAX_CHANNEL_QUBITS} qubits, this has "
                        f"{len(qubits)}. {WAY_OUT}"
                    )
                self._channel(qubits, Channel(qubits, transfer_of_kraus([matrix])))
            case Channel():
                if not self.batched_slots.isdisjoint(instruction.slots):
                    raise UnsupportedInstructionError("a channel's parameters cannot differ from sample to sample.")
                self._channel(instruction.qubits, instruction)

    # Rotations

    def _rotation(self, r: Rotation) -> None:
        if r.slot < 0 and abs(remainder(r.theta, 4 * pi)) < EPSILON:
            return
        half = r.slot < 0 and abs(abs(remainder(r.theta, 2 * pi)) - pi) < EPSILON
        if half and r.x | r.z and r.ctrl_mask.bit_count() == 1:
            self._controlled_string(r)
            return
        self._rotations(controlled(r))

    def _controlled_string(self, r: Rotation) -> None:
        """``C[exp(-1j theta/2 P)]``, theta = pi mod 2 pi: CZ and CX under C, and a phase of the control.

        With one open control it is P, and P's inverse under the closed one.
        """
        control = r.ctrl_mask.bit_length() - 1
        for q in bits(r.z):
            self._cz(control, q)
        for q in bits(r.x):
            self._cx(control, q)
        # exp(-1j theta/2 P) = phase * P, and P = 1j**#Y X^x Z^z
        phase = -pi / 2 * (1 if np.sin(r.theta / 2) > 0 else -1)
        if not r.ctrl_value:
            phase = -phase
            for q, axis in String(r.x, r.z).letters.items():
                self._extend(q, Gate(axis, Angle(-1, 0.0, pi)))
        self._extend(control, Gate(AXIS_Z, Angle(-1, 0.0, phase + pi / 2 * (r.x & r.z).bit_count())))

    def _rotations(self, angles: dict[String, Angle]) -> None:
        """Commuting rotations; those about one qubit go before the others where a sequence is open, else after them."""
        found = product(angles)
        before = {place for place in found.single if place[0] in self.open}
        for (q, axis), angle in found.single.items():
            if (q, axis) in before:
                self._extend(q, Gate(axis, angle))
        for control, target, axis in found.controlled:
            (self._cz if axis == AXIS_Z else self._cx)(control, target)
        for string, angle in found.turns:
            self._turn(string, angle)
        for (q, axis), angle in found.single.items():
            if (q, axis) not in before:
                self._extend(q, Gate(axis, angle))

    def _turn(self, string: String, angle: Angle) -> None:
        """A rotation about a string of several letters."""
        letters = string.letters
        self._close_unless(letters)
        self._append_turn(letters, angle)
        if len(letters) == 2:
            first, second = letters
            self._pair(first, second)

    def _append_turn(self, letters: dict[int, int], angle: Angle) -> None:
        """Join a turn about the same string that commutes with all that came since, or append a new one."""
        batched = angle.slot in self.batched_slots
        x = side = z = num_y = 0
        for q, axis in letters.items():
            qubit = self.qubits[q]
            if axis != AXIS_Z:
                x, side = x ^ qubit.x, side ^ qubit.z_bit
            if axis != AXIS_X:
                x, side, z = x ^ qubit.z, side ^ qubit.x_bit, z ^ qubit.x_bit
            num_y += axis == AXIS_Y
        sign = -1.0 if num_y & 2 else 1.0
        angle = Angle(angle.slot, sign * angle.weight, sign * angle.constant)
        old = self.turns.get((x, z, batched))
        total = None if old is None else summed(old.angle, angle)
        if old is not None and total is not None:
            old.angle = total
            return
        turn = TurnElement(x, side, z, num_y & 1, angle, batched)
        self._append(turn, letters)
        self.turns[x, z, batched] = turn

    # The frame

    def _cx(self, control: int, target: int) -> None:
        """X_c -> X_c X_t, Z_t -> Z_c Z_t."""
        self._close_unless({control: AXIS_Z, target: AXIS_X})
        c, t = self.qubits[control], self.qubits[target]
        self.qubits[control] = PauliQubit(c.x ^ t.x, c.z, c.x_bit, c.z_bit ^ t.z_bit)
        self.qubits[target] = PauliQubit(t.x, t.z ^ c.z, t.x_bit ^ c.x_bit, t.z_bit)
        self._pair(control, target)

    def _cz(self, first: int, second: int) -> None:
        """X_a -> X_a Z_b and X_b -> Z_a X_b, and the sign ``(-1)**(x_a x_b)``."""
        self._close_unless({first: AXIS_Z, second: AXIS_Z})
        joined = self._joinable(first, second)
        if joined is not None:
            joined.diagonals.append(_CZ_SIGN)  # the bits x are those after the CZ
            self._drop_turns(joined)
        a, b = self.qubits[first], self.qubits[second]
        self.qubits[first] = PauliQubit(a.x ^ b.z, a.z, a.x_bit, a.z_bit ^ b.x_bit)
        self.qubits[second] = PauliQubit(b.x ^ a.z, b.z, b.x_bit, b.z_bit ^ a.x_bit)
        pair = self._pair(first, second)
        if joined is None:
            pair.diagonals.append(_CZ_SIGN)
            self._drop_turns(pair)

    def _pair(self, first: int, second: int) -> PairElement:
        """An empty pair, which what follows may join; one that stays empty is dropped."""
        pair = PairElement((self.qubits[first], self.qubits[second]), (first, second))
        self._append(pair, (first, second))
        return pair

    def _joinable(self, first: int, second: int) -> PairElement | None:
        """The pair that touched both qubits last, if a diagonal may still join it."""
        pair = self.last[first]
        if not isinstance(pair, PairElement) or pair is not self.last[second] or any(pair.gains):
            return None
        return pair if {first, second} == set(pair.logical) else None

    # Channels

    def _channel(self, qubits: tuple[int, ...], channel: Channel) -> None:
        channel = self._known(channel)
        if len(qubits) == 1:
            if not structure.one_qubit(channel).identity:
                self._extend(qubits[0], channel)
            return
        found = structure.factors(channel) if len(qubits) == 2 else None
        if found is None:
            self.close(sum(1 << q for q in qubits))
            self._append(TransferElement(tuple(self.qubits[q] for q in qubits), channel), qubits)
            if len(qubits) == 2:
                self._pair(*qubits)
            return
        parts_of_qubits = [(q, part) for q, part in zip(qubits, (found.first, found.second), strict=True) if part]
        if found.diagonal_is_last:
            self._extend_all(parts_of_qubits)
        if found.diagonal is not None:
            self._pair_diagonal(qubits[0], qubits[1], found.diagonal)
        if not found.diagonal_is_last:
            self._extend_all(parts_of_qubits)

    def _extend_all(self, channels: list[tuple[int, Channel]]) -> None:
        for q, channel in channels:
            self._extend(q, self._known(channel))

    def _known(self, channel: Channel) -> Channel:
        """The same channel on positions, as the same object each time."""
        place = structure.key(channel)
        if place not in self.known:
            self.known[place] = structure.fixed(channel)
        return self.known[place]

    def _pair_diagonal(self, first: int, second: int, channel: Channel) -> None:
        self.close(1 << first | 1 << second)
        pair = self._joinable(first, second)
        if pair is None or not pair.oriented(first, channel):
            pair = self._pair(first, second)
        pair.diagonals.append(channel if pair.logical[0] == first else structure.swapped(channel))
        self._drop_turns(pair)

    # Sequences

    def _extend(self, q: int, factor: Gate | Channel) -> None:
        """Add a factor to a qubit's sequence; shared angles and those of samples are in different ones."""
        batched: bool | None = None
        if isinstance(factor, Gate):
            if whole_turn(factor.angle):
                return
            batched = factor.angle.slot in self.batched_slots if factor.angle.slot >= 0 else None
        sequence = self.open.setdefault(q, Sequence())
        if batched is not None and sequence.batched not in (None, batched):
            channels = take_last_channels(sequence)
            self.close(1 << q)
            sequence = self.open[q] = Sequence()
            for channel in channels:
                append(sequence, channel)
        append(sequence, factor)
        if sequence.batched is None:
            sequence.batched = batched
        if not sequence.factors:
            del self.open[q]

    def _commutes(self, q: int, axis: int) -> bool:
        return q not in self.open or axis in self.open[q].letters

    def _close_unless(self, letters: dict[int, int]) -> None:
        """End the open sequences of these qubits that do not commute with these letters."""
        self.close(sum(1 << q for q, axis in letters.items() if not self._commutes(q, axis)))

    def close(self, mask: int) -> None:
        """End the open sequences of these qubits."""
        left: list[tuple[int, Channel]] = []
        for q in bits(mask):
            sequence = self.open.pop(q, None)
            if sequence is None:
                continue
            first = leading_gain(sequence)
            if first is not None and self._join(q, first):
                del sequence.factors[0]
            found = parts(sequence, alone=self.n == 1)
            if found is None:
                self._append(AffineElement(self.qubits[q], sequence), (q,))
                continue
            if found.shift is not None and not self._join(q, found.shift):
                if found.turns:
                    # the shift is the first; its pair must not wait for other qubits' shifts
                    self._new_pairs([(q, found.shift)])
                else:
                    left.append((q, found.shift))
            for gate in found.turns:
                self._append_turn({q: gate.axis}, gate.angle)
        self._new_pairs(left)

    def _new_pairs(self, shifts: list[tuple[int, Channel]]) -> None:
        """Pairs for shifts that no pair could take; one that is left over takes any other qubit."""
        for (q, shift), *rest in zip(shifts[::2], shifts[1::2], strict=False):
            self._append(self._shifts({q: shift, **dict(rest)}), (q, *dict(rest)))
        if len(shifts) % 2:
            q, shift = shifts[-1]
            self._append(self._shifts({q: shift}), (q,))

    def _shifts(self, shifts: dict[int, Channel]) -> PairElement:
        first, second = shifts if len(shifts) == 2 else (*shifts, (next(iter(shifts)) + 1) % self.n)
        pair = PairElement((self.qubits[first], self.qubits[second]), (first, second))
        pair.shifts[:] = shifts.get(first), shifts.get(second)
        return pair

    def _join(self, q: int, shift: Channel) -> bool:
        """Put a shift into the pair that touched its qubit last."""
        pair = self.last[q]
        if not isinstance(pair, PairElement) or pair.qubits[pair.logical.index(q)] != self.qubits[q]:
            return False
        place = pair.logical.index(q)
        old = pair.shifts[place]
        if old is not None:
            if not (structure.is_constant(old) and structure.is_constant(shift)):
                return False
            shift = joint(old, shift)
        pair.shifts[place] = shift
        self._drop_turns(pair)
        return True

    # Elements

    def _append(self, element: Element, qubits: Iterable[int]) -> None:
        for q in qubits:
            self.last[q] = element
        self.elements.append(element)
        self._drop_turns(element)

    def _drop_turns(self, element: Element) -> None:
        """Turns that do not commute with an element can no longer be joined."""
        if not self.turns:
            return
        generators = element.generators(2 * self.n)
        low = (1 << 2 * self.n) - 1
        vectors = [g for g in generators if g <= low]
        functionals = [g >> 2 * self.n for g in generators if g > low]
        for place, turn in list(self.turns.items()):
            met = any(parity(turn.side & v) for v in vectors) or any(parity(f & turn.x) for f in functionals)
            if met and turn is not element:
                del self.turns[place]
