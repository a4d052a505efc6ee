"""The CPU device for Pauli vectors against the reference: random tapes, all instruction sets, precisions, threads."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from support.random_pauli_tapes import PauliRun, PauliTapeMaker, distance, random_coefficients, random_observables

from qiskit_fusedqml.devices import _native
from qiskit_fusedqml.devices.pauli_vector import sequences as reference
from qiskit_fusedqml.devices.pauli_vector.cpu import CPUPauliDevice, bind_sequences, pull_sequences
from qiskit_fusedqml.devices.pauli_vector.reference import ReferencePauliDevice
from qiskit_fusedqml.errors import InvalidInputError, OutOfMemoryError
from qiskit_fusedqml.planner.pauli_vector.tables import CHANNEL, AffineSequences
from qiskit_fusedqml.planner.pauli_vector.tape import Affine, Pair, PauliBlock, PauliFrame, PauliTape, Turn

REFERENCE = ReferencePauliDevice()
TOLERANCE = {"double": 1e-12, "single": 2e-5}


@pytest.fixture(params=_native.instruction_sets())
def isa(request, monkeypatch):
    monkeypatch.setenv("FUSEDQML_ISA", request.param)
    return request.param


def all_sweeps(device, run, per_sample=False):
    """What each sweep leaves and returns."""
    results = {}

    def start(which):
        ket = device.allocate(run.n, run.batch, run.kets) if "k" in which else None
        bra = device.allocate(run.n, run.batch, run.bras) if "b" in which else None
        return ket, bra

    ket, _ = start("k")
    device.forward(run.tape, run.coefficients, ket)
    results["forward"] = device.vectors(ket)
    for sweep in (device.backward, device.joint):
        ket, bra = start("kb")
        results[sweep.__name__] = sweep(run.tape, run.coefficients, ket, bra, per_sample=per_sample)
        results[sweep.__name__ + " ket"], results[sweep.__name__ + " bra"] = device.vectors(ket), device.vectors(bra)
    _, bra = start("b")
    device.backward_bra(run.tape, run.coefficients, bra)
    results["backward_bra"] = device.vectors(bra)
    return results


@cache
def run_and_expected(*arguments, per_sample=False):
    run = PauliRun.random(*arguments)
    return run, all_sweeps(REFERENCE, run, per_sample)


def check(device, *arguments, per_sample=False):
    """A random run against the reference."""
    run, expected = run_and_expected(*arguments, per_sample=per_sample)
    got = all_sweeps(device, run, per_sample)
    errors = {name: distance(got[name], expected[name]) for name in expected}
    assert max(errors.values()) < TOLERANCE[device.precision], (arguments, errors)


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
    device = CPUPauliDevice(num_threads=2)
    for batch in (1, 3, 20, 150):
        run = PauliRun.random(batch, 4, batch, "apt", 3, 6, 3)
        by_sample, summed = all_sweeps(device, run, True), all_sweeps(device, run, False)
        for name in ("backward", "joint"):
            assert distance(by_sample[name].sum(0), summed[name]) < 1e-12


def test_undoing(isa):
    """Backward restores the ket; joint from its start gives the same overlaps, and the bra of the end."""
    device = CPUPauliDevice(num_threads=2)
    for batch in (1, 5):
        run = PauliRun.random(batch, 5, batch, "apt12", 3, 6)
        blocks = tuple(PauliBlock(b.tile, b.operations) for b in run.tape.blocks)
        tape = PauliTape(run.n, blocks, run.tape.frame, run.tape.num_overlaps)
        ket, bra = device.allocate(run.n, batch, run.kets), device.allocate(run.n, batch, run.bras)
        device.forward(tape, run.coefficients, ket)
        backward = device.backward(tape, run.coefficients, ket, bra, per_sample=True)
        assert distance(device.vectors(ket), run.kets) < 1e-11
        alone = device.allocate(run.n, batch, run.bras)
        device.backward_bra(tape, run.coefficients, alone)
        assert distance(device.vectors(alone), device.vectors(bra)) < 1e-12
        joint = device.joint(tape, run.coefficients, ket, bra, per_sample=True)
        assert distance(joint, backward) < 1e-10
        assert distance(device.vectors(bra), run.bras) < 1e-10


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("batch", [1, 3, 8, 20])
def test_vectors_and_observables(isa, batch, precision):
    device = CPUPauliDevice(precision, num_threads=2)
    rng = np.random.default_rng(batch)
    for n in (1, 3, 5):
        assert (device.vectors(device.allocate(n, batch)) == REFERENCE.allocate(n, batch)).all()
        one = rng.normal(size=4**n)
        assert distance(device.vectors(device.allocate(n, batch, one)), np.tile(one, (batch, 1))) < 1e-6
        kets, count = rng.normal(size=(batch, 4**n)), 4
        state, observables = device.allocate(n, batch, kets), random_observables(rng, n, count)
        copy = device.copy(state)
        tolerance = TOLERANCE[precision]
        assert distance(device.vectors(copy), kets) < tolerance
        assert distance(device.expectation(state, observables), REFERENCE.expectation(kets, observables)) < tolerance
        rows = rng.integers(4**n, size=7)
        assert distance(device.rows(state, rows), kets[:, rows]) < tolerance
        cotangents = rng.normal(size=(batch, count))
        bras = REFERENCE.bra(n, batch, observables, cotangents)
        assert distance(device.vectors(device.bra(n, batch, observables, cotangents)), bras) < tolerance
        alone = device.bra(n, count, observables, None)
        assert distance(device.vectors(alone), REFERENCE.bra(n, count, observables, None)) < tolerance
        expected = REFERENCE.expectation(kets, observables)
        assert distance(device.products(alone, state), expected) < tolerance
        for k in (1, 3, 9):
            many = rng.normal(size=(k, 4**n))
            products = device.products(device.allocate(n, k, many), state)
            assert distance(products, kets @ many.T) < 10 * tolerance
            weights = rng.normal(size=(batch, k))
            assert distance(device.vectors(device.combine(state, weights)), weights.T @ kets) < tolerance


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
            coefficients.pairs[:, :16] = np.array(scales).reshape(n - 1, 16)
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


def test_sequences():
    """Maps of sequences and their derivatives are those of the reference."""
    rng = np.random.default_rng(5)
    lengths = [1, 2, 5, 3]
    count = sum(lengths)
    axes = rng.integers(4, size=count)
    slots = np.where(axes == CHANNEL, rng.integers(2, size=count), rng.integers(-1, 4, size=count))
    starts = np.cumsum([0, *lengths])
    sequences = AffineSequences(starts, axes, slots, rng.normal(size=count), rng.normal(size=count))
    maps = rng.normal(size=(2, 3, 4))
    for angles, leading in (((4,), ()), ((4,), (3,)), ((3, 4), (3,))):
        values, overlaps = rng.normal(size=angles), rng.normal(size=(*leading, len(lengths), 3, 4))
        expected, got = reference.bind_sequences(sequences, values, maps), bind_sequences(sequences, values, maps)
        assert expected.shape == got.shape
        assert distance(got, expected) < 1e-13
        expected = reference.pull_sequences(sequences, values, maps, overlaps)
        for ours, theirs in zip(pull_sequences(sequences, values, maps, overlaps), expected, strict=True):
            assert ours.shape == theirs.shape
            assert distance(ours, theirs) < 1e-13


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
    short = replace(run.coefficients, pairs=run.coefficients.pairs[:0], inverse_pairs=run.coefficients.pairs[:0])
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


def test_planted_faults_are_seen():
    """The comparison fails for a map that is a little wrong, a block left out, and the wrong sign of a turn."""
    run, expected = run_and_expected(3, 4, 3, "apt", 3, 6)
    device = CPUPauliDevice()
    c, tape = run.coefficients, run.tape
    assert len(c.affine)
    assert len(c.turns)
    faults = [
        replace(run, coefficients=replace(c, affine=c.affine * (1 + 1e-9))),
        replace(run, coefficients=replace(c, turns=c.turns * [1, -1])),
        replace(run, tape=PauliTape(tape.num_qubits, tape.blocks[:-1], tape.frame, tape.num_overlaps)),
    ]
    for fault in faults:
        got = all_sweeps(device, fault)
        assert max(distance(got[name], expected[name]) for name in expected) > TOLERANCE["double"]
