"""What save instructions keep: values by lane, reduced over the shots as the subtype says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.dynamic import Save
from .lanes import Lanes
from .states import States

Array = NDArray[Any]


@dataclass
class _Entry:
    """One value in the making: of a row, of a label and, if conditional, of the classical bits."""

    last: int = -1
    single: Array | None = None
    parts: list[tuple[int, Array]] = field(default_factory=list)
    total: Array | float = 0.0
    weight: int = 0

    def absorb(self, later: _Entry) -> None:
        """Take in the values of further shots."""
        self.parts += later.parts
        self.total = self.total + later.total
        self.weight += later.weight
        if later.last >= self.last:
            self.last, self.single = later.last, later.single


@dataclass(frozen=True, slots=True)
class Saved:
    """What was saved under a label in one row.

    Attributes:
        save: The instruction.
        value: An array; a list of arrays, one a shot; or, for conditional subtypes, a dictionary from the classical
            bits as an integer to either.
    """

    save: Save
    value: Any


class Recorder:
    """Collects the results of one run.

    Args:
        num_rows: Number of rows of parameter values.
    """

    def __init__(self, num_rows: int) -> None:
        self._rows: list[dict[str, tuple[Save, dict[int, _Entry]]]] = [{} for _ in range(num_rows)]

    def record(self, save: Save, lanes: Lanes, first_shot: int = 0) -> None:
        """Save the lanes' present values.

        Args:
            save: The instruction.
            lanes: The lanes.
            first_shot: Number of the lanes' first shot among all shots of a row.
        """
        conditional = save.subtype.startswith("c_")
        keys = lanes.memory.integers() if conditional else np.zeros(lanes.count, dtype=np.int64)
        groups: dict[tuple[int, int], list[int]] = {}
        for lane, group in enumerate(zip(lanes.rows.tolist(), keys.tolist(), strict=True)):
            groups.setdefault(group, []).append(lane)
        weights = np.bincount(lanes.lane_of_shot, minlength=lanes.count)
        density = save.kind == "density_matrix"
        parts = lanes.states.reduced(save.qubits) if density else lane_values(save, lanes.states)
        for (row, key), members in groups.items():
            entry = self._rows[row].setdefault(save.label, (save, {}))[1].setdefault(key, _Entry())
            chosen = np.array(members)
            mean = save.subtype.endswith(("average", "accum"))
            if mean:
                entry.total = entry.total + _weighted_sum(save, parts[chosen], weights[chosen])
                entry.weight += int(weights[chosen].sum())
            else:
                _append(entry, save, parts, lanes, chosen, first_shot)

    def absorb(self, later: Recorder) -> None:
        """Take in what was recorded for further shots."""
        for mine, others in zip(self._rows, later._rows, strict=True):
            for label, (save, entries) in others.items():
                kept = mine.setdefault(label, (save, {}))[1]
                for key, entry in entries.items():
                    kept.setdefault(key, _Entry()).absorb(entry)

    def results(self, row: int, stands_for: Mapping[str, int]) -> dict[str, Saved]:
        """What was saved in a row, by label.

        Args:
            row: The row.
            stands_for: For each label how many shots one recorded value stands for; 1 where nothing is said.
        """
        found = {}
        for label, (save, entries) in self._rows[row].items():
            values = {key: _finished(save, entry, stands_for.get(label, 1)) for key, entry in entries.items()}
            found[label] = Saved(save, values if save.subtype.startswith("c_") else values[0])
        return found


def lane_values(save: Save, states: States) -> Array:
    """What is saved, for each lane: an array whose first axis is the lanes."""
    match save.kind:
        case "expval":
            return states.expectation(save.argument)[:, 0]
        case "expval_var":
            mean, square = states.expectation(save.argument).T
            return np.stack([mean, square - mean**2], axis=1)
        case "probabilities" | "probabilities_dict":
            return states.probabilities(save.qubits)
        case "amplitudes":
            return states.amplitudes[:, list(save.argument)]
        case "amplitudes_sq":
            return np.abs(states.amplitudes[:, list(save.argument)]) ** 2
        case _:
            return states.amplitudes


def _density(parts: Array, weights: Array) -> Array:
    """The sum of ``weight * psi psi^dagger`` over lanes, traced over the last axis of ``parts`` (L, 2**k, rest)."""
    scaled = (parts * np.sqrt(weights)[:, None, None]).transpose(1, 0, 2).reshape(parts.shape[1], -1)
    return np.asarray(scaled @ scaled.conj().T)


def _weighted_sum(save: Save, parts: Array, weights: Array) -> Array:
    if save.kind == "density_matrix":
        return _density(parts, weights)
    return np.asarray(weights @ parts.reshape(len(parts), -1)).reshape(parts.shape[1:])


def _append(entry: _Entry, save: Save, parts: Array, lanes: Lanes, members: Array, first_shot: int) -> None:
    """Keep the values of single shots."""
    is_member = np.zeros(lanes.count, dtype=bool)
    is_member[members] = True
    inside = np.flatnonzero(is_member[lanes.lane_of_shot])
    if not save.subtype.endswith("list"):
        inside = inside[[np.argmax(lanes.shots[inside])]]

    values: dict[int, Array] = {}
    for position in inside.tolist():
        lane = int(lanes.lane_of_shot[position])
        if lane not in values:
            part = parts[lane]
            values[lane] = part @ part.conj().T if save.kind == "density_matrix" else part
        shot = first_shot + int(lanes.shots[position])
        entry.parts.append((shot, values[lane]))
        if shot >= entry.last:
            entry.last, entry.single = shot, values[lane]
    if not save.subtype.endswith("list"):
        entry.parts.clear()


def _finished(save: Save, entry: _Entry, stands_for: int) -> Any:
    if save.subtype.endswith("list"):
        return [value for _, value in sorted(entry.parts, key=lambda part: part[0])] * stands_for
    if save.subtype.endswith("average"):
        return entry.total / entry.weight
    if save.subtype.endswith("accum"):
        return entry.total * stands_for
    return entry.single
