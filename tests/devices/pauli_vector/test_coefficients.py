"""The coefficients of Pauli tapes in NumPy against compiled code: tables of random programs with channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.conformance import distance
from support.noisy_programs import NoisySampler

from qiskit_fusedqml.devices import CoefficientMap
from qiskit_fusedqml.devices.pauli_vector import coefficients, sequences
from qiskit_fusedqml.devices.pauli_vector.channels import StrengthError
from qiskit_fusedqml.devices.pauli_vector.coefficients import PauliCoefficientMap
from qiskit_fusedqml.devices.pauli_vector.compiled import CompiledPauliCoefficientMap
from qiskit_fusedqml.ir.channel_table import CHANNELS, powered
from qiskit_fusedqml.ir.channels import Channel
from qiskit_fusedqml.ir.program import Program
from qiskit_fusedqml.planner.pauli_vector import PauliPlan, fuse_channels
from qiskit_fusedqml.planner.tables import AngleTables, CSRRows

COUNT, FIRST = 40, 5
PARTS = ("affine", "batched_affine", "pairs", "turns", "batched_turns", "inverse_affine", "inverse_batched_affine")
"""Coefficients that are arrays, beside the inverses of pairs."""


def rows(rng: np.random.Generator, slots: np.ndarray, total: int, sources: int, constant: float) -> CSRRows:
    """One to three terms in each of some rows, of ``total``."""
    of_terms = np.repeat(slots, rng.integers(1, 4, len(slots)))
    chosen = rng.integers(sources, size=len(of_terms)), rng.normal(size=len(of_terms))
    return CSRRows.sorted(of_terms, *chosen, constant * rng.normal(size=total))


def with_powers(program: Program, sampler: NoisySampler) -> Program:
    """A program and a device's error to a power, which is no product and a parameter."""
    relaxation = CHANNELS["amplitude_damping"].transfer(sampler.rng.uniform(0, 0.3, 2))
    error = np.kron(*relaxation) @ CHANNELS["depolarizing2"].transfer(np.array(0.1))
    power = Channel(sampler.some_qubits(2), None, powered(error), (sampler.num_angles,), (0.0,))
    sampler.noise[sampler.num_angles] = 1.3
    sampler.num_angles += 1
    instructions = (*program.instructions, power, *sampler.single())
    return Program(sampler.n, sampler.num_angles, instructions)


class Case:
    """A random program with noise, the plan for some gradients, and an affine map of values before it.

    The strengths of channels are the last shared values.
    """

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        sampler = NoisySampler(rng, 1 + seed % 3)
        program = sampler.program(24)
        if sampler.n > 1:
            program = with_powers(program, sampler)
        count, noise = program.num_angles, np.array(sorted(sampler.noise), dtype=np.intp)
        self.strengths = np.array([sampler.noise[slot] for slot in noise.tolist()])
        others = np.setdiff1d(np.arange(count), noise)
        batched = others[rng.random(len(others)) < (0.4, 0.0, 1.0)[seed % 4 % 3]]
        wanted = np.flatnonzero(rng.random(count) < 0.8)
        chosen = (frozenset(slots.tolist()) for slots in (batched, wanted))
        slots = dict(zip(("batched_slots", "wanted_slots"), chosen, strict=True))
        self.plan: PauliPlan = fuse_channels(program, tile_bits=6, **slots)
        own = np.arange(len(batched))
        shared = rows(rng, np.setdiff1d(others, batched), count, FIRST, 1.0)
        strengths = CSRRows.sorted(noise, FIRST + np.arange(len(noise)), np.ones(len(noise)), np.zeros(count))
        from_shared, from_batched = (rows(rng, own, len(own), n, float(n == FIRST)) for n in (FIRST, 3))
        self.angles = AngleTables(FIRST + len(noise), 3, joined(shared, strengths), from_shared, from_batched)

    def maps(self) -> tuple[CoefficientMap, ...]:
        """Both maps over the affine one."""
        kinds = (PauliCoefficientMap, CompiledPauliCoefficientMap)
        return tuple(kind(self.plan.tables, self.plan.tape).over(self.angles) for kind in kinds)

    def values(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        shared = np.concatenate([self.rng.uniform(-2, 2, FIRST), self.strengths])
        return shared, self.rng.uniform(-2, 2, (batch, 3))

    def errors(self, batch: int) -> list[float]:
        """Differences of all coefficients, and of gradients: of the sum, by sample, of overlaps that were summed."""
        (ours, theirs), values = self.maps(), self.values(batch)
        one: Any = ours.bind(*values)
        two: Any = theirs.bind(*values)
        found = [distance(getattr(two.coefficients, part), getattr(one.coefficients, part)) for part in PARTS]
        for part in ("transfers", "inverse_transfers"):
            pairs = zip(getattr(two.coefficients, part), getattr(one.coefficients, part), strict=True)
            found += [distance(*pair) for pair in pairs]
        found += [distance(two.coefficients.inverse_pairs, one.coefficients.inverse_pairs)]
        found += [distance(two.log_kappas, one.log_kappas)]
        overlaps = self.rng.normal(size=(batch, self.plan.tape.num_overlaps))
        for given, per_sample in ((overlaps, False), (overlaps, True), (overlaps.sum(axis=0), False)):
            gradients = (m.pullback(b, given, per_sample=per_sample) for m, b in ((theirs, two), (ours, one)))
            found += [distance(*pair) for pair in zip(*gradients, strict=True) if pair[1] is not None]
        return found


def joined(first: CSRRows, second: CSRRows) -> CSRRows:
    """The sum of two affine maps of which no row has terms of both."""
    total = len(first)
    of_terms = np.concatenate([np.repeat(np.arange(total), np.diff(each.start)) for each in (first, second)])
    order = np.argsort(of_terms, kind="stable")
    index, weight = (np.concatenate([getattr(each, name) for each in (first, second)]) for name in ("index", "weight"))
    without = np.diff(second.start) == 0
    return CSRRows.sorted(of_terms[order], index[order], weight[order], first.constant * without)


CASES = [Case(seed) for seed in range(COUNT)]


@pytest.mark.parametrize("seed", range(COUNT))
def test_coefficients_and_gradients_of_random_programs(seed: int) -> None:
    for batch in (1, 3, 9):
        assert max(CASES[seed].errors(batch)) < 1e-12


def test_the_cases_have_everything() -> None:
    """Every kind of coefficient and overlap occurs in several of them, and operations that are not undone."""
    maps: list[Any] = [case.maps()[0] for case in CASES]
    for kind in ("affine", "batched_affine", "turns", "batched_turns", "pairs", "transfers"):
        assert sum((getattr(m.places, kind) >= 0).any() for m in maps) >= 3, kind
    bound: list[Any] = [m.bind(*case.values(1)) for m, case in zip(maps, CASES, strict=True)]
    found = [list(m.slopes(b.angles)) for m, b in zip(maps, bound, strict=True)]
    for of_channels in (True, False):
        assert sum(any(slope.of_channels == of_channels for slope in slopes) for slopes in found) >= 3
    channels = [m.channels_at(b.angles) for m, b in zip(maps, bound, strict=True)]
    assert sum(c.held.any() for c in channels) >= 3
    assert sum(m.constant is None for m in maps) >= 3
    assert sum(m.constant is not None for m in maps) >= 3


def test_values_that_are_not_finite_are_refused_and_strengths_that_are_not_possible() -> None:
    seen = 0
    for case in CASES:
        for map_ in case.maps():
            shared, batched = case.values(2)
            if len(case.angles.shared.index):
                assert map_.bind(np.full_like(shared, np.nan), batched) is None
            if len(case.plan.tables.batched_slots):
                assert map_.bind(shared, np.full_like(batched, np.inf)) is None
            if map_.log_kappas is None:  # type: ignore[attr-defined]
                seen += 1
                shared[FIRST:] = -0.5
                with pytest.raises(StrengthError, match="not possible"):
                    map_.bind(shared, batched)
    assert seen >= 8


FAULTS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "inverse_affine": (coefficients, lambda right: lambda maps: 1.000001 * right(maps)),
    "bind_sequences": (coefficients, lambda right: lambda s, angles, maps: right(s, 1.000001 * angles, maps)),
    "rotation_derivative": (sequences, lambda right: lambda axis, angles: right(axis, -angles)),
    "_gathered": (coefficients, lambda right: lambda given, places, *shape: right(given[..., ::-1], places, *shape)),
    "_turns": (
        coefficients,
        lambda right: lambda turns, angles: right(replace(turns, weights=1 - turns.weights), angles),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, wrong = FAULTS[name]
    monkeypatch.setattr(where, name, wrong(getattr(where, name)))
    seen = [max(case.errors(3)) > 1e-9 for case in CASES]
    assert sum(seen) >= 2
