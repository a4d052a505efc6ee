"""What save instructions keep: values by trajectory, reduced over the shots as the subtype says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OutOfMemoryError
from ..ir.dynamic import Save
from .states import States
from .trajectories import Trajectories

Array = NDArray[Any]

SHOT_BYTES = 128
"""Memory that a value of a single shot takes besides its data."""


@dataclass
class _Entry:
    """A saved value in the making: of a parameter set, a label and, if conditional, a value of the classical bits.

    Attributes:
        by_shot: Pairs (shot, value), several for a shot that saves in a loop; for "single" only the last one.
        total: For "average" and "accum" the sum over shots.
        weight: The number of shots in it.
    """

    by_shot: list[tuple[int, Array]] = field(default_factory=list)
    total: Array | float = 0.0
    weight: int = 0

    @property
    def bytes(self) -> int:
        """Memory it takes; shots of one trajectory share a value."""
        distinct = {id(value): value.nbytes for _, value in self.by_shot}
        return SHOT_BYTES * len(self.by_shot) + sum(distinct.values()) + np.asarray(self.total).nbytes

    def absorb(self, later: _Entry, save: Save) -> None:
        """Take in later values, or those of other shots."""
        self.total = self.total + later.total
        self.weight += later.weight
        self.by_shot += later.by_shot
        if self.by_shot and not save.subtype.endswith("list"):
            self.by_shot = [max(reversed(self.by_shot), key=_shot)]  # of those of one shot the latest

    def value(self, save: Save, stands_for: int) -> Any:
        """The result, if the value of each shot stands for so many."""
        if save.subtype.endswith("list"):
            return [value for _, value in sorted(self.by_shot, key=_shot)] * stands_for
        if save.subtype.endswith("average"):
            return self.total / self.weight
        if save.subtype.endswith("accum"):
            return self.total * stands_for
        return self.by_shot[0][1]


def _shot(pair: tuple[int, Array]) -> int:
    return pair[0]


@dataclass(frozen=True, slots=True)
class Saved:
    """What was saved under a label for one parameter set.

    Attributes:
        save: The instruction.
        value: An array; a list of arrays, one a shot; or, for conditional subtypes, a dictionary from the classical
            bits as an integer to either.
    """

    save: Save
    value: Any


class Recorder:
    """Collects what is saved for so many parameter sets in one run, in so much memory at most."""

    def __init__(self, num_sets: int, max_bytes: int) -> None:
        self._of_set: list[dict[str, tuple[Save, dict[int, _Entry]]]] = [{} for _ in range(num_sets)]
        self._max_bytes = max_bytes
        self._bytes = 0

    def record(self, save: Save, trajectories: Trajectories) -> None:
        """Save the trajectories' present values."""
        conditional = save.subtype.startswith("c_")
        keys = trajectories.memory.integers() if conditional else np.zeros(trajectories.count, dtype=np.int64)
        groups: dict[tuple[int, int], list[int]] = {}
        for number, group in enumerate(zip(trajectories.parameter_sets.tolist(), keys.tolist(), strict=True)):
            groups.setdefault(group, []).append(number)
        density = save.kind == "density_matrix"
        if density:
            self._check(save, self._bytes + (16 << 2 * len(save.qubits)))  # before it is computed
        parts = trajectories.states.reduced(save.qubits) if density else values(save, trajectories.states)
        factored = density and not trajectories.states.is_mixed
        weights = np.bincount(trajectories.of_shot, minlength=trajectories.count)
        for (parameter_set, key), members in groups.items():
            entry = _entry(save.subtype, parts, trajectories, weights, np.array(members), factored=factored)
            self._absorb(parameter_set, save, key, entry)

    def absorb(self, later: Recorder) -> None:
        """Take in what was recorded for other shots."""
        for parameter_set, labels in enumerate(later._of_set):
            for save, entries in labels.values():
                for key, entry in entries.items():
                    self._absorb(parameter_set, save, key, entry)

    def _absorb(self, parameter_set: int, save: Save, key: int, entry: _Entry) -> None:
        _, entries = self._of_set[parameter_set].setdefault(save.label, (save, {}))
        if key not in entries or save.subtype.endswith("list"):
            self._bytes += entry.bytes
        self._check(save, self._bytes)
        entries.setdefault(key, _Entry()).absorb(entry, save)

    def _check(self, save: Save, needed: int) -> None:
        if needed > self._max_bytes:
            raise OutOfMemoryError(
                f"Insufficient memory for what is saved as {save.label!r} and before. Required memory: more than "
                f"{needed >> 20}M, max memory: {self._max_bytes >> 20}M. Raise max_memory_mb if the machine has more, "
                "or ask for fewer shots, or for averages."
            )

    def results(self, parameter_set: int, stands_for: Mapping[str, int] | None = None) -> dict[str, Saved]:
        """What was saved for a parameter set, by label; ``stands_for`` says of how many shots a value is."""
        results = {}
        for label, (save, entries) in self._of_set[parameter_set].items():
            times = (stands_for or {}).get(label, 1)
            found = {key: entry.value(save, times) for key, entry in entries.items()}
            results[label] = Saved(save, found if save.subtype.startswith("c_") else found[0])
        return results


def values(save: Save, states: States) -> Array:
    """What is saved, except density matrices: an array whose first axis is the trajectories."""
    match save.kind:
        case "expval":
            return states.expectation(save.argument)[:, 0]
        case "expval_var":
            mean, square = states.expectation(save.argument).T
            return np.stack([mean, square - mean**2], axis=1)
        case "probabilities" | "probabilities_dict":
            return states.probabilities(save.qubits)
        case "amplitudes":
            return states.numbers[:, list(save.argument)]
        case "amplitudes_sq":
            if states.is_mixed:
                return states.probabilities(save.qubits)[:, list(save.argument)]
            return np.abs(states.numbers[:, list(save.argument)]) ** 2
        case _:
            return states.numbers


def _entry(
    subtype: str, parts: Array, trajectories: Trajectories, weights: Array, members: Array, *, factored: bool
) -> _Entry:
    """The values of some trajectories, from those of all and the number of shots of each.

    With ``factored`` these are psi as (T, 2**k, rest), of which the density matrices are wanted.
    """
    if subtype.endswith(("average", "accum")):
        own = weights[members]
        return _Entry(total=_weighted_sum(parts[members], own, factored=factored), weight=int(own.sum()))
    inside = np.flatnonzero(np.isin(trajectories.of_shot, members))
    if not subtype.endswith("list"):
        inside = inside[[np.argmax(trajectories.shots[inside])]]
    of_shot = trajectories.of_shot[inside].tolist()
    values = {number: parts[number].copy() for number in of_shot}
    if factored:
        values = {number: psi @ psi.conj().T for number, psi in values.items()}
    shots = trajectories.shots[inside].tolist()
    return _Entry([(shot, values[number]) for shot, number in zip(shots, of_shot, strict=True)])


def _weighted_sum(parts: Array, weights: Array, *, factored: bool) -> Array:
    """sum_t weights_t parts_t; if factored sum_t weights_t psi_t psi_t^dagger, traced over the last axis."""
    if not factored:
        return np.asarray(weights @ parts.reshape(len(parts), -1)).reshape(parts.shape[1:])
    scaled = (parts * np.sqrt(weights)[:, None, None]).transpose(1, 0, 2).reshape(parts.shape[1], -1)
    return np.asarray(scaled @ scaled.conj().T)
