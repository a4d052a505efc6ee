"""Planning in compiled code gives the plans of the Python steps: words, tables and sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from support.programs import ProgramSampler, layered

from qiskit_fusedqml.ir.program import Diagonal, Program, Rotation
from qiskit_fusedqml.planner import Plan, collector, compiled, fuse
from qiskit_fusedqml.planner.compiled import CompiledSteps
from qiskit_fusedqml.planner.cost import KINDS, CostModel, Factors
from qiskit_fusedqml.planner.frame import Frame
from qiskit_fusedqml.planner.steps import PythonSteps, Task
from qiskit_fusedqml.planner.words import WrittenBlocks, sizes_of, words_of

SUMS = ("arithmetic_cost", "cost", "gain_of_matrices")


def numbers(tables: Any) -> Iterator[np.ndarray]:
    """All that tables hold, in order."""
    if is_dataclass(tables):
        for field in fields(tables):
            yield from numbers(getattr(tables, field.name))
    elif isinstance(tables, tuple):
        for each in tables:
            yield from numbers(each)
    else:
        yield np.asarray(tables)


def differences(one: Plan, other: Plan) -> list[str]:
    """What is not the same in two plans."""
    found = []
    if tuple(one.tape.blocks) != tuple(other.tape.blocks):
        found.append("blocks")
    if sizes_of(one.tape) != sizes_of(other.tape):
        found.append("sizes")
    if not np.array_equal(words_of(one.tape), words_of(other.tape)):
        found.append("words")
    if (one.tape.frame, one.tape.num_overlaps) != (other.tape.frame, other.tape.num_overlaps):
        found.append("frame")
    for mine, theirs in zip(numbers(one.tables), numbers(other.tables), strict=True):
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype or mine.tobytes() != theirs.tobytes():
            found.append(f"tables: {mine} {theirs}")
    if not np.allclose(*([getattr(plan, name) for name in SUMS] for plan in (one, other)), rtol=1e-12, atol=1e-9):
        found.append("costs")
    if (one.work, one.baseline) != (other.work, other.baseline):
        found.append("work")
    if one.summary().keys() != other.summary().keys() or str(one) != str(other):
        found.append("summary")
    return found


def random_task(seed: int, most: int = 7, length: int = 40) -> Task:
    """A program of every kind of instruction, and anything that may be asked for."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, most + 1))
    program = ProgramSampler(rng, n).program(int(rng.integers(1, length)))
    if rng.random() < 0.3:
        width = min(n, 8)
        table = np.exp(1j * rng.uniform(-4, 4, 2**width))
        program = replace(program, instructions=(*program.instructions, Diagonal(tuple(range(width)), table)))
    if rng.random() < 0.3:
        cuts = sorted(rng.integers(len(program.instructions) + 1, size=3).tolist())
        program = replace(program, cuts=tuple(cuts))
    wanted = rng.random(program.num_angles) < rng.choice([0.0, 0.1, 0.7, 1.0])
    batched = rng.random(program.num_angles) < rng.choice([0.0, 0.3])
    prices = {kind: tuple(rng.uniform(0.5, 3, 2).tolist()) for kind in KINDS}
    return Task(
        program,
        CostModel(table_qubits=int(rng.integers(1, 6)), byte_cost=float(rng.uniform()), factors=Factors(**prices)),
        np.flatnonzero(batched).tolist(),
        frozenset(np.flatnonzero(wanted).tolist()),
        Frame.folded(n, 1, int(rng.integers(1, 3))) if rng.random() < 0.3 else Frame.identity(n),
        max(int(rng.integers(1, n + 2)), 3),
        0,
        keep_phase=bool(rng.integers(2)),
        populations=bool(rng.integers(2)),
        grows=bool(rng.integers(2)),
        supports=tuple(sorted(rng.integers(1, n, size=rng.integers(3)).tolist())) if n > 1 else (),
    )


@pytest.mark.parametrize("euler", [True, False])
@pytest.mark.parametrize("first", range(0, 300, 30))
def test_the_plans_are_those_of_the_python_steps(first: int, euler: bool) -> None:
    for seed in range(first, first + 30):
        task = random_task(seed)
        assert CompiledSteps.can_plan(task)
        both = CompiledSteps(task).plan(euler=euler), PythonSteps(task).plan(euler=euler)
        assert differences(*both) == [], seed


@pytest.mark.parametrize("window", [3, 40])
def test_windows_end_where_they_do_in_python(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "WINDOW", window)
    for seed in range(40):
        task = random_task(seed, length=80)
        assert differences(CompiledSteps(task).plan(euler=True), PythonSteps(task).plan(euler=True)) == []


def test_many_qubits_and_layers() -> None:
    """Rows of more rotations than one carrier has, tiles that are full, levels in more than one stretch."""
    for n, layers, tile in ((16, 6, 9), (5, 120, 5), (40, 3, 12)):
        program = layered(n, layers)
        wanted = frozenset(range(n, program.num_angles))
        supports = (n - 7, n - 3) if n > 9 else ()
        task = Task(
            program, CostModel(), list(range(n)), wanted, Frame.identity(n), tile, 0, False, True, True, supports
        )
        assert differences(CompiledSteps(task).plan(euler=True), PythonSteps(task).plan(euler=True)) == []
    real = Program(5, 1000, tuple(Rotation(1 << k % 5, 1 << k % 5, slot=k) for k in range(1000)))
    mixed = [Rotation(3 << k % 4, 1 << k % 4, slot=k) for k in range(300)]
    for program in (real, Program(5, 300, tuple(mixed))):
        wanted = frozenset(range(program.num_angles))
        task = Task(program, CostModel(), [], wanted, Frame.identity(5), 5, 0, True, False)
        assert differences(CompiledSteps(task).plan(euler=True), PythonSteps(task).plan(euler=True)) == []


def test_the_comparison_sees_a_planted_fault() -> None:
    task = random_task(4)
    plan = PythonSteps(task).plan(euler=True)
    assert differences(plan, plan) == []
    terms, overlaps = plan.tables.terms
    faulty = replace(terms, constant=np.nextafter(terms.constant, 9))
    tables = replace(plan.tables, terms=(faulty, overlaps))
    assert len(terms)
    assert differences(plan, replace(plan, tables=tables)) != []
    blocks = (*plan.tape.blocks[1:], plan.tape.blocks[0])
    blocks = (replace(blocks[0], operations=blocks[0].operations[1:]), *blocks[1:])
    assert "blocks" in differences(plan, replace(plan, tape=replace(plan.tape, blocks=blocks)))


def test_the_package_plans_without_the_compiled_module(monkeypatch: pytest.MonkeyPatch) -> None:
    task = random_task(4)
    with_module = fuse(task.program, task.cost_model, wanted_slots=task.wanted_slots)
    monkeypatch.setattr(compiled, "_native", None)
    without = fuse(task.program, task.cost_model, wanted_slots=task.wanted_slots)
    assert isinstance(with_module.tape.blocks, WrittenBlocks)
    assert isinstance(without.tape.blocks, tuple)
    assert differences(with_module, without) == []


def test_words_are_written_anew_for_another_tape() -> None:
    """Words know the lanes and overlaps of their tape; a copy of it may have others."""
    tape = fuse(layered(4, 2), CostModel(), wanted_slots=frozenset(range(4, 20))).tape
    other = replace(tape, lane_qubits=1)
    assert words_of(tape)[1] == 0
    assert words_of(other)[1] == 1
    assert words_of(other)[2:].tolist() == words_of(tape)[2:].tolist()
    assert tape.blocks == tuple(tape.blocks)
    assert tape.blocks[:1] == (tape.blocks[0],)


def test_masks_of_qubits_that_are_not_there_are_refused() -> None:
    program = Program(2, 0, (Rotation(4, 0, theta=1.0),))
    with pytest.raises(ValueError, match="qubit"):
        fuse(program, CostModel())
