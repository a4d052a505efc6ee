"""Programs made of a program: undone, and with a parameter for every rotation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..arrays import IntArray
from ..ir.angles import AngleMap
from ..ir.encoding import AmplitudeEncoding
from ..ir.program import Instruction, Program, Rotation, inverted as inverted_instruction


def inverted(program: Program, angle_map: AngleMap) -> tuple[Program, AngleMap]:
    """The program undone, in the same parameters; what is prepared at the start is left out."""
    instructions = tuple(map(inverted_instruction, reversed(program.instructions)))
    negative = replace(angle_map, constants=-angle_map.constants, coefficients=-angle_map.coefficients)
    return replace(program, instructions=instructions, initial_state=None), negative


def unrolled(program: Program) -> tuple[Program, IntArray, NDArray[np.bool_]]:
    """The program with a slot for every parametrised rotation, the slots they had, and which have controls."""
    program.check_pure("what is differentiated rotation by rotation, as second derivatives are,")
    instructions: list[Instruction] = []
    source: list[int] = []
    controlled: list[bool] = []
    for instruction in program.instructions:
        if isinstance(instruction, Rotation) and instruction.slot >= 0:
            instructions.append(instruction._replace(slot=len(source)))
            source.append(instruction.slot)
            controlled.append(bool(instruction.ctrl_mask))
        else:
            instructions.append(instruction)
    unrolled = replace(program, num_angles=len(source), instructions=tuple(instructions))
    return unrolled, np.array(source, np.intp), np.array(controlled, bool)


def after_angles(num_angles: int, encoding: AmplitudeEncoding | None) -> tuple[AngleMap, AmplitudeEncoding | None]:
    """The map whose first parameters are the angles, and the encoding whose features are the parameters after them."""
    count = num_angles
    if encoding is not None:
        features = len(encoding.positions)
        count += features
        encoding = replace(encoding, features=_identity(count, np.arange(num_angles, count)))
    return _identity(count, np.arange(num_angles)), encoding


def with_offsets(angle_map: AngleMap, encoding: AmplitudeEncoding | None) -> tuple[AngleMap, AmplitudeEncoding | None]:
    """A map with a parameter more for each angle, which is added to it, and the encoding in the same parameters."""
    own, count = angle_map.wider(angle_map.num_angles), angle_map.num_angles
    slots = np.concatenate([own.slots, np.arange(count)])
    order = np.argsort(slots, kind="stable")
    columns = np.concatenate([own.columns, angle_map.num_parameters + np.arange(count)])[order]
    coefficients = np.concatenate([own.coefficients, np.ones(count)])[order]
    if encoding is not None:
        encoding = replace(encoding, features=encoding.features.wider(count))
    return replace(own, slots=slots[order], columns=columns, coefficients=coefficients), encoding


def _identity(num_parameters: int, columns: IntArray) -> AngleMap:
    """Angles that are some of the parameters."""
    count = len(columns)
    return AngleMap(num_parameters, np.zeros(count), np.arange(count), columns, np.ones(count))
