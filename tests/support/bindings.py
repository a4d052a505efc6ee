"""Coefficient maps with values, overlaps, and what compiled code on the host makes of them, for other devices."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np
from support.conformance import distance
from support.programs import ProgramSampler

from qiskit_fusedqml.engine.parameters import ParameterBatch, ParameterSet, parameter_batch
from qiskit_fusedqml.ir.angles import AngleMap, FormulaGroup
from qiskit_fusedqml.ir.expressions import FUNCTIONS, parse
from qiskit_fusedqml.ir.program import Program, Rotation
from qiskit_fusedqml.planner.cost import CostModel, Factors
from qiskit_fusedqml.planner.tables import BindingTables

P, BATCH = 6, 3
FORMS = [f"{name}(0.9*a)" for name in FUNCTIONS]
FORMS += ["a*b-c", "a/b+1", "a**b", "(-a)**2", "a**3", "2**a", "3.1*(pi-a)*(pi-b)", "sin(a*b)+a*cos(a+b)"]
CHEAP_MATRICES = CostModel(factors=Factors(u2=(0.01, 0.01)))


def random_map(rng: np.random.Generator, num_angles: int, *, expressions: bool) -> AngleMap:
    """Angles of one to three terms with constants, over parameters and every form of expression."""
    groups = []
    for text in FORMS if expressions else ():
        names = sorted(set(re.findall(r"\b[abc]\b", text)))
        members = np.stack([rng.permutation(P)[: len(names)] for _ in range(2)], axis=1)
        groups.append(FormulaGroup(parse(text, names), members, (text, text)))
    slots = np.repeat(np.arange(num_angles), rng.integers(1, 4, num_angles))
    columns = rng.integers(P + 2 * len(groups), size=len(slots))
    return AngleMap(P, rng.normal(size=num_angles), slots, columns, rng.normal(size=len(slots)), tuple(groups))


def turning(n: int, size: int) -> Program:
    """Rotations that no diagonal interrupts, so that one of them carries the factors of the others."""
    kinds = [(1 << k % n, 1 << k % n) if k % 3 else ((1 << n) - 1, 0) for k in range(size)]
    return Program(n, size, tuple(Rotation(x, z, slot=k) for k, (x, z) in enumerate(kinds)))


@dataclass(frozen=True)
class Example:
    """What goes in, and what comes out.

    Attributes:
        tables: The tables.
        base: The parameters (P,) of the first sample.
        columns: (B, V) those that vary.
        per_row: Whether gradients are wanted row by row.
        overlaps: (S,) or (B, S).
        numbers: The coefficients as the device has them, angles in turns.
        gradients: Those of all parameters, and of the varying ones.
    """

    tables: BindingTables
    base: np.ndarray
    columns: np.ndarray
    per_row: bool
    overlaps: np.ndarray
    numbers: np.ndarray
    gradients: tuple[np.ndarray, np.ndarray | None]

    def results(self, device: Any, host: Callable[[Any], np.ndarray], tables: BindingTables | None = None) -> list[Any]:
        """Numbers and gradients of a device; ``host`` takes arrays from it."""
        place = device.from_host
        bound = device.bind(tables or self.tables, place(self.base), place(self.columns))
        gradients = bound.pull(place(self.overlaps), per_sample=self.per_row)
        columns = [len(self.base), self.columns.shape[1]]  # those of expressions follow
        found = [None if g is None else host(g)[..., :own] for g, own in zip(gradients, columns, strict=True)]
        return [host(bound.coefficients.numbers), *found]

    def errors(
        self, device: Any, host: Callable[[Any], np.ndarray], tables: BindingTables | None = None
    ) -> list[float]:
        """Largest differences of numbers and gradients."""
        numbers, *gradients = self.results(device, host, tables)
        off = numbers[: len(self.numbers)] - self.numbers
        c, batch = self.tables.coefficients, len(self.columns)
        own = len(c.batched_terms[0]) * batch
        for turns in (slice(len(c.terms[0])), slice(len(self.numbers) - own, None)):
            off[turns] -= 2 * np.round(off[turns] / 2)
        errors = [float(np.abs(off).max(initial=0.0))]
        for given, wanted in zip(gradients, self.gradients, strict=True):
            assert (given is None) == (wanted is None)
            errors.append(0.0 if wanted is None else distance(given, wanted))
        return errors


class BindingCase:
    """A random program and map; how parameters are given is drawn, too."""

    def __init__(self, seed: int) -> None:
        from qiskit_fusedqml.engine.sweeps import PlannedSweeps, PlanRequest

        rng = np.random.default_rng(seed)
        self.rng, n, inputs = rng, 1 + seed % 4, 2 if seed % 3 else 0
        program = turning(n, 12) if seed % 8 == 7 else ProgramSampler(rng, n).program(12)
        angles = random_map(rng, program.num_angles, expressions=bool(seed & 1))
        self.by_row = seed % 5 in (0, 3)
        batch = 1 if seed % 7 == 6 else BATCH
        # all functions are defined in between
        x = rng.uniform(0.2, 0.8, (batch, inputs)) if inputs else None
        w = rng.uniform(0.2, 0.8, (batch, P - inputs) if self.by_row else P - inputs)
        self.parameters = parameter_batch(x, w)
        wanted = ParameterSet(np.flatnonzero(rng.random(P) < 0.7))
        request = PlanRequest(self.parameters.batched, wanted, batch, keep_phase=True)
        self.sweeps = PlannedSweeps(program, angles, CHEAP_MATRICES if seed % 6 == 4 else CostModel(), request)

    def example(
        self, *, by_sample: bool = True, per_row: bool = False, parameters: ParameterBatch | None = None
    ) -> Example:
        """An example with random overlaps, by the host's compiled code."""
        given = parameters or self.parameters
        count = self.sweeps.plan.tape.num_overlaps
        overlaps = self.rng.normal(size=(given.batch, count) if by_sample else count)
        bound = self.sweeps.map.bind(given)
        c = bound.bound.coefficients
        real = [np.stack([m.real, m.imag], axis).ravel() for m, axis in ((c.matrices, -1), (c.batched_matrices, 3))]
        parts = [c.angles / (2 * pi), c.pairs, c.scales, real[0], c.batched_pairs, real[1], c.batched_angles / (2 * pi)]
        numbers = np.concatenate([np.ravel(part) for part in parts])
        gradients = self.sweeps.map.pullback(bound, overlaps.copy(), per_sample=per_row)
        return Example(self.sweeps.map.tables, given.shared, given.samples, per_row, overlaps, numbers, gradients)

    def examples(self) -> list[Example]:
        """All ways of asking for gradients."""
        found = [self.example(per_row=self.by_row), self.example()]
        return found if self.sweeps.has_batched_gradients else [*found, self.example(by_sample=False)]
