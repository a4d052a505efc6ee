"""The CPU device for Pauli vectors against the reference: random tapes, all instruction sets, precisions, threads."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from support.pauli_conformance import (
    REFERENCE,
    TOLERANCE,
    all_sweeps,
    check,
    check_sums,
    check_undoing,
    check_vectors_and_observables,
    run_and_expected,
)
from support.random_pauli_tapes import (
    PauliRun,
    PauliTapeMaker,
    distance,
    random_coefficients,
    random_observables,
    replaced,
)
from support.signals import stopped_by_alarm

from qiskit_fusedqml.devices import _native
from qiskit_fusedqml.devices.pauli_vector.cpu import CPUPauliDevice
from qiskit_fusedqml.errors import InvalidInputError, OutOfMemoryError
from qiskit_fusedqml.planner.pauli_vector.tape import Affine, Pair, PauliBlock, PauliFrame, PauliTape, Turn


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("kinds", [*"apt12", "apt", "apt12"])
def test_random_tapes(isa, kinds, precision):
    device = CPUPauliDevice(precision, num_threads=2)
    for seed in range(8):
        n = (2 if kinds in "2p" else 1) + seed % 4
        check(device, seed, n, [1, 3, 17, 1, 2, 7][seed % 6], kinds, 2, 3, per_sample=bool(seed % 2))


def test_transfer_matrices_on_three_qubits(isa):
    for seed, n in enumerate((3, 4)):
        check(CPUPauliDevice(num_threads=2), seed, n, 1 + seed, "3a", 1, 2)


@pytest.mark.parametrize("precision", ["double", "single"])
def test_every_batch_size(isa, precision):
    device = CPUPauliDevice(precision, num_threads=1)
    for batch in range(1, 2 * _native.width(device.instruction_set, precision == "single", False) + 2):
        check(device, 100 + batch, 3 + batch % 2, batch, "at", 2, 4)


@pytest.mark.parametrize("tile_qubits", [2, 3, 4, 5])
def test_rows_in_lanes(isa, tile_qubits):
    """One vector: tiles meet the row bits in the lanes in all ways."""
    for seed in range(4):
        check(CPUPauliDevice(num_threads=2), 200 + seed, 5, 1, "at", 3, 4, tile_qubits)


@pytest.mark.parametrize("precision", ["double", "single"])
def test_the_same_bits_on_any_number_of_threads(precision):
    for batch in (1, 3, 20, 150):
        run = PauliRun.random(batch, 5, batch, "apt", 3, 6, 3)
        for per_sample in (False, True):
            results = [all_sweeps(CPUPauliDevice(precision, threads), run, per_sample) for threads in (1, 2, 3, 4)]
            for other in results[1:]:
                for name, array in results[0].items():
                    np.testing.assert_array_equal(other[name], array, err_msg=name)


def test_overlaps_of_the_batch_are_the_sum_of_those_by_sample(isa):
    for batch in (1, 3, 20, 150):
        check_sums(CPUPauliDevice(num_threads=2), batch)


def test_undoing(isa):
    for batch in (1, 5):
        check_undoing(CPUPauliDevice(num_threads=2), batch)


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("batch", [1, 3, 8, 20])
def test_vectors_and_observables(isa, batch, precision):
    check_vectors_and_observables(CPUPauliDevice(precision, num_threads=2), batch)


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("batch", [1, 3, 20])
@pytest.mark.parametrize("is_product", [True, False])
def test_products_of_single_qubits(isa, is_product, batch, precision):
    """An encoding leaves a product, which other operations then work on as on any vector; pairs may end that."""
    device, tolerance = CPUPauliDevice(precision, num_threads=2), 10 * TOLERANCE[precision]
    rng = np.random.default_rng(batch)
    for n in (1, 2, 5):
        qubits = PauliFrame.identity(n).qubits
        operations = []
        for k, q in enumerate(qubits):
            operations.append(Turn(q.x, q.z_bit, 0, 0, 2 * k))
            operations.append(Turn(q.x ^ q.z, q.z_bit ^ q.x_bit, q.x_bit, 1, k, batched=True))
            operations.append(Turn(q.z, q.x_bit, q.x_bit, 0, 2 * k + 1))
            operations += [Affine(q, k), Affine(q, k, batched=True)]
        operations += [Pair((q, p), k) for k, (q, p) in enumerate(pairwise(qubits))]
        block = PauliBlock(tuple(v for q in qubits for v in q[:2]), tuple(operations))
        tape = PauliTape(n, (block,), PauliFrame(qubits), 0)
        maker = PauliTapeMaker(rng, n, counts={"a": n, "A": n, "p": n - 1, "t": 2 * n, "T": n})
        coefficients = random_coefficients(maker, tape, batch)
        if is_product:
            scales = [np.outer([1, *a], [1, *b]).reshape(16) for a, b in rng.uniform(0.5, 1, (n - 1, 2, 3))]
            gains = coefficients.pairs[:, 16:]
            pairs = np.concatenate([np.array(scales).reshape(n - 1, 16), gains], axis=1)
            coefficients = replaced(coefficients, pairs=pairs)
        product, expected = device.allocate(n, batch), REFERENCE.allocate(n, batch)
        REFERENCE.forward(tape, coefficients, expected)
        device.forward(tape, coefficients, product)
        assert product.is_product == (is_product or n == 1)
        bras, weights = rng.normal(size=(3, 4**n)), rng.normal(size=(batch, 2))
        for k in (1, 3):
            got = device.products(device.allocate(n, k, bras[:k]), product)
            assert distance(got, expected @ bras[:k].T) < tolerance
        for k in (1, 2):
            combined = device.combine(product, weights[:, :k])
            assert distance(device.vectors(combined), weights[:, :k].T @ expected) < tolerance
        twice = device.copy(product)
        observables = random_observables(rng, n, 3)
        assert (
            distance(
                device.expectation(device.copy(product), observables), REFERENCE.expectation(expected, observables)
            )
            < tolerance
        )
        assert distance(device.vectors(product), expected) < tolerance
        device.forward(tape, coefficients, product)
        device.forward(tape, coefficients, twice)
        REFERENCE.forward(tape, coefficients, expected)
        assert distance(device.vectors(product), expected) < tolerance
        assert distance(device.vectors(twice), expected) < tolerance


def test_bad_input():
    device = CPUPauliDevice()
    with pytest.raises(InvalidInputError, match="at least 1"):
        device.allocate(2, 0)
    with pytest.raises(InvalidInputError, match="shape"):
        device.allocate(2, 3, np.zeros((2, 16)))
    with pytest.raises(OutOfMemoryError, match="precision='single'"):
        device.allocate(16, 1000)
    run = PauliRun.random(1, 3, 2, "ap", 2, 4)
    with pytest.raises(InvalidInputError, match="number of qubits"):
        device.forward(run.tape, run.coefficients, device.allocate(4, 2))
    short = replaced(run.coefficients, pairs=run.coefficients.pairs[:0], inverse_pairs=run.coefficients.pairs[:0])
    with pytest.raises(InvalidInputError, match="pairs, got 0"):
        device.forward(run.tape, short, device.allocate(3, 2))
    with pytest.raises(InvalidInputError, match="differ in shape"):
        device.backward(run.tape, run.coefficients, device.allocate(3, 2), device.allocate(3, 1), per_sample=False)
    with pytest.raises(InvalidInputError, match="one value for each"):
        device.forward(run.tape, run.coefficients, device.allocate(3, 5))
    qubits = PauliFrame.identity(3).qubits
    outside = PauliTape(3, (PauliBlock(qubits[0][:2], (Affine(qubits[1], 0),)),), PauliFrame(qubits), 0)
    with pytest.raises(InvalidInputError, match="outside its block's tile"):
        device.forward(outside, run.coefficients, device.allocate(3, 2))


@pytest.mark.parametrize(("n", "batch"), [(8, 32), (9, 1)])
def test_a_signal_stops_a_long_call(n, batch):
    """The device is as good as new afterwards."""
    frame = PauliFrame.identity(n)
    block = PauliBlock(tuple(v for q in frame.qubits[:3] for v in q[:2]), tuple(Affine(q, 0) for q in frame.qubits[:3]))
    endless = PauliTape(n, (block,) * 3000, frame, 0)
    maker = PauliTapeMaker(np.random.default_rng(0), n, counts={"a": 1, "A": 0, "p": 0, "t": 0, "T": 0})
    coefficients = random_coefficients(maker, endless, batch)
    device = CPUPauliDevice(num_threads=2)
    ket = device.allocate(n, batch, np.ones(4**n))
    with stopped_by_alarm():
        device.forward(endless, coefficients, ket)
    check(device, 1, 4, 3, "at", 2, 3)


def test_planted_faults_are_seen():
    """The comparison fails for a map that is a little wrong, a block left out, and the wrong sign of a turn."""
    run, expected = run_and_expected(3, 4, 3, "apt", 3, 6)
    device = CPUPauliDevice()
    c, tape = run.coefficients, run.tape
    assert len(c.affine)
    assert len(c.turns)
    faults = [
        replace(run, coefficients=replaced(c, affine=c.affine * (1 + 1e-9))),
        replace(run, coefficients=replaced(c, turns=c.turns * [1, -1])),
        replace(run, tape=PauliTape(tape.num_qubits, tape.blocks[:-1], tape.frame, tape.num_overlaps)),
    ]
    for fault in faults:
        got = all_sweeps(device, fault)
        assert max(distance(got[name], expected[name]) for name in expected) > TOLERANCE["double"]
