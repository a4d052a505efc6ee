"""Layouts and exchanges against arrays that hold the whole state, and the tapes of ranks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.conformance import REFERENCE, distance
from support.staged import layered, planned
from support.tapes import TapeMaker, random_state

from qiskit_fusedqml.distributed.layouts import Exchange, Layout
from qiskit_fusedqml.distributed.local_tapes import local_block, local_run, start_layout
from qiskit_fusedqml.planner.frame import Frame
from qiskit_fusedqml.planner.gf2 import Span


def parities(masks, numbers: np.ndarray) -> np.ndarray:
    bits = [np.bitwise_count(numbers & mask).astype(np.int64) & 1 for mask in masks]
    return sum((bit << j for j, bit in enumerate(bits)), start=np.zeros_like(numbers))


def split(state: np.ndarray, layout: Layout) -> np.ndarray:
    """(ranks, addresses), written from the definition."""
    r = np.arange(len(state))
    parts = np.empty((2 ** len(layout.ranks), 2 ** len(layout.addresses)), state.dtype)
    parts[parities(layout.ranks, r), parities(layout.addresses, r)] = state
    return parts


def random_space(rng: np.random.Generator, n: int, dimension: int) -> tuple[int, ...]:
    span = Span()
    while span.dimension < dimension:
        span.add(int(rng.integers(1, 1 << n)))
    return span.basis()


def swapped(parts: np.ndarray, exchange: Exchange, rank_error: int = 0) -> np.ndarray:
    """All swaps of an exchange, in arrays; with an error, every piece lies elsewhere."""
    result = parts.copy()
    for rank in range(len(parts)):
        for other, offset in exchange.partners(rank):
            back = dict(exchange.partners(other))[rank]
            mine, theirs = (
                Frame(tuple(exchange.vectors.tolist()), (), start ^ rank_error).indices() for start in (offset, back)
            )
            result[rank, mine] = parts[other, theirs]
    return result


@pytest.mark.parametrize("seed", range(40))
def test_exchanges_lead_from_layout_to_layout_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 8))
    g = int(rng.integers(1, n))
    state = np.arange(1 << n)
    layout = Layout.of(random_space(rng, n, n - g), n, int(rng.integers(3)), int(rng.integers(4)))
    parts = split(state, layout)
    for _ in range(5):
        local = random_space(rng, n, n - g)
        exchange = layout.exchange_to(local)
        k = Span([*local, *(v for v in range(1 << n) if layout.is_local(v))]).dimension - (n - g)
        assert (exchange is None) == (k == 0)
        if exchange is None:
            continue
        assert exchange.num_exchanged == k
        assert len(list(exchange.partners(0))) == 2**k - 1
        assert len(exchange.vectors) == n - g - k
        moved = swapped(parts, exchange)
        np.testing.assert_array_equal(moved, split(state, exchange.after))
        np.testing.assert_array_equal(swapped(moved, exchange), parts)
        assert all(exchange.after.is_local(v) for v in local)
        parts, layout = moved, exchange.after


def test_a_piece_in_the_wrong_place_is_seen() -> None:
    layout = Layout.of((1, 2, 4), 5)
    exchange = layout.exchange_to((4, 8, 16))
    assert exchange is not None
    state = np.arange(32)
    wrong = swapped(split(state, layout), exchange, rank_error=1)
    assert not np.array_equal(wrong, split(state, exchange.after))


@pytest.mark.parametrize("seed", range(20))
def test_vectors_and_functionals_are_those_of_the_whole_state(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, g = 6, 2
    layout = Layout.of(random_space(rng, n, n - g), n, 1, 2)
    f = int(rng.integers(1 << n + 1))
    values = parities([f], np.arange(1 << n) | 1 << n)
    local = random_space(rng, n, n - g)
    exchange = layout.exchange_to(local)
    layout = layout if exchange is None else exchange.after
    expected = split(values, layout)
    for rank in range(1 << g):
        found = parities([layout.functional(f, rank)], np.arange(1 << n - g) | 1 << n - g)
        np.testing.assert_array_equal(found, expected[rank])
        np.testing.assert_array_equal(layout.indices(rank).indices(), split(np.arange(1 << n), layout)[rank])
    for v in local:
        flipped = split(np.arange(1 << n) ^ v, layout)
        addresses = np.arange(1 << n - g) ^ layout.vector(v)
        np.testing.assert_array_equal(flipped, split(np.arange(1 << n), layout)[:, addresses])


@pytest.mark.parametrize("seed", range(30))
def test_ranks_together_do_what_the_tape_does(seed: int) -> None:
    """Random tapes of all operations, on the reference device of every rank, the exchanges by arrays."""
    rng = np.random.default_rng(seed)
    n, batch = int(rng.integers(4, 7)), 2
    g = int(rng.integers(1, 3))
    maker = TapeMaker(rng, n, g)  # tiles leave g dimensions outside
    tape = replace(maker.tape(4, 3), lane_qubits=0)
    coefficients = maker.coefficients(batch)
    start, bra = random_state(rng, (batch, 2**n)), random_state(rng, (batch, 2**n))
    ket = start.copy()
    REFERENCE.forward(tape, coefficients, ket)
    overlaps = REFERENCE.backward(tape, coefficients, ket.copy(), bra.copy(), per_sample=True)

    layout = Layout.of(tuple(1 << q for q in range(n - g)), n)
    runs = [local_run(tape, layout, rank) for rank in range(1 << g)]
    parts = [np.stack(part) for part in zip(*(split(row, layout) for row in start), strict=True)]
    for stages in zip(*(run.stages for run in runs), strict=True):
        if (exchange := stages[0].exchange) is not None:
            moved = [swapped(np.stack(rows), exchange) for rows in zip(*parts, strict=True)]
            parts = [np.stack(part) for part in zip(*moved, strict=True)]
        for part, stage in zip(parts, stages, strict=True):
            REFERENCE.forward(stage.tape, coefficients, part)
    end = runs[0].end
    expected = np.stack([split(row, end) for row in ket])
    assert distance(np.stack(parts, axis=1), expected) < 1e-13

    found = np.zeros_like(overlaps)
    bras = [np.stack(part) for part in zip(*(split(row, end) for row in bra), strict=True)]
    for stages in zip(*(reversed(run.stages) for run in runs), strict=True):
        for rank, stage in enumerate(stages):
            found += REFERENCE.backward(stage.tape, coefficients, parts[rank], bras[rank], per_sample=True)
        if (exchange := stages[0].exchange) is not None:
            for states in (parts, bras):
                moved = [swapped(np.stack(rows), exchange) for rows in zip(*states, strict=True)]
                states[:] = [np.stack(part) for part in zip(*moved, strict=True)]
        if any(block.undo_from for block in tape.blocks) and not any(stage.undone for stage in stages):
            break
    assert distance(found, overlaps) < 1e-12


@pytest.mark.parametrize("kind", ["linear", "ring", "full"])
def test_ranks_hold_what_the_support_of_the_ket_leaves_them(kind: str) -> None:
    """From |0...0>: before the first exchange all is on rank 0. Supports are those of the whole tape, by elements."""
    tape = planned(layered(8, 2, kind), 2, tile_qubits=4, lanes=1, threads=1).tape
    runs = [local_run(tape, start_layout(tape, 2, 0), rank) for rank in range(4)]
    assert [len(run.stages[0].tape.blocks) for run in runs[1:]] == [0, 0, 0]
    ends = [*(stage.first for stage in tape.stages[1:]), len(tape.blocks)]
    partly = 0
    for stage, local, end in zip(tape.stages, runs[0].stages, ends, strict=True):
        for block in tape.blocks[stage.first : end]:
            everything = Frame(block.support or tuple(1 << q for q in range(8)), (), 0).indices()
            expected = split(np.isin(np.arange(256), everything), local.layout)
            for rank in range(4):
                own = local_block(block, local.layout, rank)
                assert (own is None) == (not expected[rank].any())
                if own is not None and own.support is not None:
                    held = np.isin(np.arange(64), Frame(own.support, (), 0).indices())
                    assert not expected[rank][~held].any()
                    assert held.sum() <= 2 * expected[rank].sum()
                    partly += 1
    assert partly
