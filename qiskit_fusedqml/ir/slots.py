"""Slots: which angles of a program's vector instructions take, and instructions that take others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from .channels import Channel
from .program import Instruction, Rotation


def numbered(instructions: Iterable[Instruction]) -> tuple[tuple[Instruction, ...], tuple[int, ...]]:
    """Instructions with the slots in use numbered from 0.

    Returns:
        The instructions, and the slot that each new one had, ascending.
    """
    instructions = tuple(instructions)
    used: set[int] = set()
    for each in instructions:
        if isinstance(each, Rotation):
            used.add(each.slot)
        else:
            used.update(slots_of(each))
    slots = tuple(sorted(used - {-1}))
    if slots == tuple(range(len(slots))):
        return instructions, slots
    number = {slot: position for position, slot in enumerate(slots)}
    return tuple(with_slots(each, number.__getitem__) for each in instructions), slots


def slots_of(instruction: Instruction) -> tuple[int, ...]:
    """The slots of the angles that an instruction takes."""
    match instruction:
        case Rotation(slot=slot):
            return (slot,) if slot >= 0 else ()
        case Channel(slots=slots):
            return tuple(slot for slot in slots if slot >= 0)
    return ()


def with_slots(instruction: Instruction, number: Callable[[int], int]) -> Instruction:
    """An instruction with other slots."""
    match instruction:
        case Rotation(slot=slot) if slot >= 0:
            return instruction._replace(slot=number(slot))
        case Channel(slots=slots) if slots:
            return replace(instruction, slots=tuple(slot if slot < 0 else number(slot) for slot in slots))
    return instruction
