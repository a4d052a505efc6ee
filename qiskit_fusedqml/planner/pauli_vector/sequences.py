"""Sequences of one qubit: what joins them, and what is made of them when they end.

An affine map takes three multiply-adds a string, or 9/4 if it is unital, a Pauli rotation one, and a shift
(`elements.PairElement`) 1/4 or nothing where a pair is there to take it. So a sequence of few rotations becomes turns,
after at most one shift, and where a shift comes first it goes to the pair.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import pi, remainder
from typing import NamedTuple

import numpy as np

from ...ir.channels import Channel, rotation
from .elements import EPSILON, Angle, Gate, Sequence, whole_turn
from .structure import composed, is_constant, one_qubit

MAX_TURNS = 2
"""A sequence of more rotations, without channels, is one affine map."""


class Parts(NamedTuple):
    """What a sequence is the product of: a shift, then turns."""

    shift: Channel | None
    turns: tuple[Gate, ...]


def summed(first: Angle, second: Angle) -> Angle | None:
    """The sum of two angles, if it has one slot or none."""
    if first.slot >= 0 and second.slot >= 0 and first.slot != second.slot:
        return None
    weight = first.weight + second.weight
    slot = max(first.slot, second.slot) if weight else -1
    return Angle(slot, weight, first.constant + second.constant)


def append(sequence: Sequence, factor: Gate | Channel) -> None:
    """Add a factor; it may be joined with one that is there."""
    factors = sequence.factors
    if isinstance(factor, Gate):
        _append_gate(factors, factor)
    else:
        _insert_channel(factors, factor)
    sequence.letters = frozenset((0, 1, 2))
    for each in factors:
        sequence.letters &= frozenset((each.axis,)) if isinstance(each, Gate) else one_qubit(each).letters


def _append_gate(factors: list[Gate | Channel], gate: Gate) -> None:
    last = factors[-1] if factors else None
    if isinstance(last, Gate) and last.axis == gate.axis:
        angle = summed(last.angle, gate.angle)
        if angle is not None:
            factors.pop()
            gate = Gate(gate.axis, angle)
    if not whole_turn(gate.angle):
        factors.append(gate)


def _insert_channel(factors: list[Gate | Channel], channel: Channel) -> None:
    """A constant channel joins the last constant one if it commutes with the rotations between them."""
    place = len(factors)
    if is_constant(channel):
        axes = one_qubit(channel).axes
        while place and isinstance(gate := factors[place - 1], Gate) and gate.axis in axes:
            place -= 1
        before = factors[place - 1] if place else None
        if isinstance(before, Channel) and is_constant(before):
            factors[place - 1] = joint(before, channel)
            return
    factors.append(channel)


def take_last_channels(sequence: Sequence) -> list[Channel]:
    """Remove the constant channels at the end; another sequence begins with them."""
    taken: list[Channel] = []
    while sequence.factors and isinstance(last := sequence.factors[-1], Channel) and is_constant(last):
        taken.insert(0, last)
        sequence.factors.pop()
    return taken


def leading_gain(sequence: Sequence) -> Channel | None:
    """The shift at the beginning, if it alone makes the sequence gain from I: a pair gains with less work."""
    first = sequence.factors[0]
    if not isinstance(first, Channel) or not one_qubit(first).gain or not one_qubit(first).shift:
        return None
    rest = Sequence(sequence.factors[1:])
    return first if rest.factors and rest.unital else None


def parts(sequence: Sequence, *, alone: bool) -> Parts | None:
    """The cheapest form of a sequence: a shift and turns, or None where it is an affine map.

    Args:
        sequence: The sequence; its constant factors are joined.
        alone: Whether there is no other qubit that a shift could be paired with.
    """
    had_channels = any(isinstance(f, Channel) for f in sequence.factors)
    turns = _turns([f for f in sequence.factors if isinstance(f, Gate)])
    sequence.factors = list(_compressed(sequence.factors))
    if len(sequence.factors) == 1 and isinstance(whole := sequence.factors[0], Channel):
        known = one_qubit(whole)
        if known.identity:
            return Parts(None, ())
        if known.shift and not alone:
            return Parts(whole, ())
    if not had_channels:
        return Parts(None, turns) if len(turns) <= MAX_TURNS else None
    channels = [f for f in sequence.factors if isinstance(f, Channel)]
    gates = [f for f in sequence.factors if isinstance(f, Gate)]
    turns = _turns(gates)
    if alone or len(channels) > 1 or len(turns) > 1 or not one_qubit(channels[0]).shift:
        return None
    # the channel must come first
    axes = {gate.axis for gate in gates}
    movable = sequence.factors[0] is channels[0] or (len(axes) == 1 and axes <= one_qubit(channels[0]).axes)
    return Parts(channels[0], turns) if movable else None


def _turns(gates: list[Gate]) -> tuple[Gate, ...]:
    """Rotations, those about one axis in a row by their slots."""
    found: list[Gate] = []
    first = 0  # of the present axis
    for gate in gates:
        if found and found[-1].axis != gate.axis:
            first = len(found)
        for k in range(first, len(found)):
            angle = summed(found[k].angle, gate.angle)
            if angle is not None:
                found[k] = Gate(gate.axis, angle)
                break
        else:
            found.append(gate)
    return tuple(gate for gate in found if not whole_turn(gate.angle))


def _compressed(factors: list[Gate | Channel]) -> Iterable[Gate | Channel]:
    """The factors, constant ones that meet as one channel."""
    constant: list[Gate | Channel] = []
    for factor in factors:
        if factor.angle.slot < 0 if isinstance(factor, Gate) else is_constant(factor):
            constant.append(factor)
            continue
        yield from _product(constant)
        constant = []
        yield factor
    yield from _product(constant)


def _product(constant: list[Gate | Channel]) -> list[Gate | Channel]:
    if len(constant) < 2 and not (constant and isinstance(constant[0], Gate) and _is_pauli(constant[0])):
        return constant
    product = _as_channel(constant[0])
    for factor in constant[1:]:
        product = joint(product, _as_channel(factor))
    return [product]


def _is_pauli(gate: Gate) -> bool:
    return abs(abs(remainder(gate.angle.constant, 2 * pi)) - pi) < EPSILON


def _as_channel(factor: Gate | Channel) -> Channel:
    if isinstance(factor, Channel):
        return factor
    angle = pi if _is_pauli(factor) else factor.angle.constant
    return _rotation(factor.axis, angle)


@lru_cache(maxsize=1024)
def _rotation(axis: int, angle: float) -> Channel:
    matrix = rotation(axis, angle)
    return Channel((0,), np.round(matrix) if angle == pi else matrix)


@lru_cache(maxsize=1024)
def joint(first: Channel, second: Channel) -> Channel:
    """A constant channel and then another one; the same two give the same object."""
    return composed(first, second)
