"""Stages of a state over several ranks: their laws, and how few there are."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from support import staged
from support.staged import planned

from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.planner import Plan, gf2
from qiskit_fusedqml.planner.segments import cut
from qiskit_fusedqml.planner.stages import Stage, stages_of_blocks
from qiskit_fusedqml.planner.tape import Tape


def rank(vectors: list[int]) -> int:
    """Of a matrix over GF(2), by elimination in NumPy."""
    rows = np.array([[v >> b & 1 for b in range(64)] for v in vectors], dtype=np.uint8).reshape(-1, 64)
    found = 0
    for column in range(64):
        ones = np.flatnonzero(rows[found:, column]) + found
        if not len(ones):
            continue
        rows[[found, ones[0]]] = rows[[ones[0], found]]
        others = np.flatnonzero(rows[:, column])
        rows[others[others != found]] ^= rows[found]
        found += 1
        if found == len(rows):
            break
    return found


def elements(basis: list[int]) -> set[int]:
    found = {0}
    for vector in basis:
        found |= {vector ^ other for other in found}
    return found


def check_laws(tape: Tape, num_local: int) -> None:
    """Stages begin with the first block, hold every tile of theirs, and are as wide as a rank's part."""
    assert tape.stages[0].first == 0
    ends = [*(stage.first for stage in tape.stages[1:]), len(tape.blocks)]
    for stage, end in zip(tape.stages, ends, strict=True):
        assert stage.first < end
        assert rank(list(stage.local)) == len(stage.local) == num_local
        for block in tape.blocks[stage.first : end]:
            assert rank([*stage.local, *block.tile]) == num_local


@pytest.mark.parametrize("seed", range(20))
def test_linear_algebra_is_that_of_all_elements(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 6
    one, other = (rng.integers(1, 1 << n, size=rng.integers(1, 6)).tolist() for _ in range(2))
    assert elements(gf2.intersection(one, other, n)) == elements(one) & elements(other)
    zero = {f for f in range(1 << n) if all((f & v).bit_count() % 2 == 0 for v in one)}
    assert elements(gf2.annihilator(one, n)) == zero
    basis = [1 << q for q in range(n)]
    while rank(basis) < n or basis == sorted(basis):
        basis = rng.integers(1, 1 << n, size=n).tolist()
    pairs = [[(f & v).bit_count() % 2 for v in gf2.duals(basis, n)] for f in basis]
    np.testing.assert_array_equal(pairs, np.eye(n))


BYTES = {
    "linear": (2.0, 3.5, 6.0),
    "brick": (2.0, 3.5, 10.0),
    "cz": (2.0, 3.5, 8.0),
    "ring": (12.0, 24.5, 32.0),
    "full": (2.0, 3.5, 16.0),
}
"""Bytes sent per amplitude and layer by 2, 8 and 1024 ranks at most: 30 qubits, 12 layers, values and gradients."""


@pytest.mark.parametrize("kind", BYTES)
def test_layers_take_few_bytes(kind: str) -> None:
    circuit = staged.layered(30, 12, kind)
    for g, most in zip((1, 3, 10), BYTES[kind], strict=True):
        plan = planned(circuit, g)
        assert plan.summary()["network_bytes"] / 12 <= most
        check_laws(plan.tape, 30 - g)


@pytest.mark.parametrize(("make", "bytes_by_ranks"), [(staged.su4, (2.0, 3.5, 6.0)), (staged.ising, (2.0, 3.5, 8.0))])
def test_other_layers_take_few_bytes(make, bytes_by_ranks: tuple[float, ...]) -> None:
    for g, most in zip((1, 3, 10), bytes_by_ranks, strict=True):
        assert planned(make(30, 12), g).summary()["network_bytes"] / 12 <= most


def test_all_pairs_need_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = staged.layered(30, 12, "full")
    found = planned(circuit, 3).summary()["network_bytes"]
    monkeypatch.setattr("qiskit_fusedqml.planner.stages.ORDERS", 1)
    assert planned(circuit, 3).summary()["network_bytes"] >= 3 * found


ATLAS = {"ghz": 2, "graph_state": 2, "qft": 3, "qsvm": 3, "su2_random": 4, "vqc": 5}
"""Stages of circuits of these kinds at 34 qubits, 28 of them local, by an integer program (Atlas, SC 2024)."""


@pytest.mark.parametrize("kind", ATLAS)
def test_no_more_stages_than_an_integer_program_finds(kind: str) -> None:
    plan = planned(getattr(staged, kind)(34), 6)
    check_laws(plan.tape, 28)
    assert len(plan.tape.stages) <= ATLAS[kind]


def test_the_account_is_that_of_the_local_spaces() -> None:
    plan = planned(staged.layered(12, 3, "ring"), 2)
    spaces = [stage.local for stage in plan.tape.stages]
    sizes = [rank([*one, *other]) - 10 for one, other in pairwise(spaces)]
    assert sizes == list(plan.exchanges)
    assert min(sizes) >= 1
    assert plan.network_bytes == pytest.approx(3 * 16 * sum(1 - 0.5**k for k in sizes))
    summary = plan.summary()
    assert (summary["stages"], summary["exchanges"]) == (len(spaces), len(sizes))
    assert f"4 ranks of 10 qubits: {len(spaces)} stages, {len(sizes)} exchanges" in str(plan)
    assert str(plan).count("qubits exchanged, then block") == len(sizes)


def test_nothing_is_sent_back_before_the_first_gradient() -> None:
    circuit = staged.layered(10, 4, "ring")
    whole = planned(circuit, 2)
    last = replace(whole.tape, blocks=tuple(replace(b, undo_from=len(b.operations)) for b in whole.tape.blocks))
    assert replace(whole, tape=last).network_bytes == pytest.approx(whole.network_bytes / 3)


def test_plans_are_the_same_every_time() -> None:
    one, other = (planned(staged.layered(16, 3, "full"), 3) for _ in range(2))
    assert (repr(one.tape.blocks), one.tape.stages) == (repr(other.tape.blocks), other.tape.stages)


def test_one_process_has_no_stages() -> None:
    plan = planned(staged.layered(8, 2, "ring"), 0)
    assert plan.tape.stages == ()
    assert plan.summary()["network_bytes"] == 0
    assert "ranks" not in str(plan)


def test_a_tape_of_one_process_gets_the_stages_of_its_blocks() -> None:
    plan = planned(staged.layered(12, 3, "ring"), 0, tile_qubits=6, lanes=1, threads=1)
    stages = stages_of_blocks([block.tile for block in plan.tape.blocks], 12, 10)
    check_laws(replace(plan.tape, stages=stages), 10)
    with pytest.raises(InvalidInputError, match="on 6 dimensions at once, and a rank holds 5 of 12"):
        stages_of_blocks([block.tile for block in plan.tape.blocks], 12, 5)


def test_pieces_of_a_tape_keep_its_stages() -> None:
    plan = planned(staged.layered(10, 6, "ring"), 2, tile_qubits=5, lanes=1)
    pieces = cut(plan.tape, plan.tables.pair_kinds, 5)
    assert len(pieces) > 3
    for piece in pieces:
        check_laws(piece.tape, 8)
    found = [stage.local for piece in pieces for stage in piece.tape.stages]
    distinct = [space for k, space in enumerate(found) if not k or found[k - 1] != space]
    assert distinct == [stage.local for stage in plan.tape.stages]


def test_a_wrong_local_space_is_seen() -> None:
    tape = planned(staged.layered(12, 3, "ring"), 2).tape
    wrong = (*tape.stages[:-1], Stage(tape.stages[-1].first, tape.stages[0].local))
    with pytest.raises(AssertionError):
        check_laws(replace(tape, stages=wrong), 10)


@pytest.mark.parametrize(("ranks", "most"), [(3, None), (4, "at most 8"), (7, "at most 8")])
def test_too_many_ranks_are_refused(ranks: int, most: str | None) -> None:
    circuit = staged.layered(4, 1, "ring")
    if most is None:
        assert isinstance(planned(circuit, ranks), Plan)
        return
    with pytest.raises(InvalidInputError, match=rf"{2**ranks} ranks are too many for a state of 4 qubits: {most}"):
        planned(circuit, ranks)
