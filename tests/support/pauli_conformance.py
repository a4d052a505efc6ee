"""Devices for Pauli vectors against the reference: all sweeps over a random tape."""

from __future__ import annotations

from functools import cache

import numpy as np

from qiskit_fusedqml.devices.pauli_vector.reference import ReferencePauliDevice
from qiskit_fusedqml.planner.pauli_vector.tape import PauliBlock, PauliTape

from .random_pauli_tapes import PauliRun, distance, random_observables

REFERENCE = ReferencePauliDevice()
TOLERANCE = {"double": 1e-12, "single": 2e-5}


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
    assert np.max(list(errors.values())) < TOLERANCE[device.precision], (arguments, errors)  # NaN is larger


def check_sums(device, batch):
    """Overlaps of the batch are the sum of those by sample."""
    run = PauliRun.random(batch, 4, batch, "apt", 3, 6, 3)
    by_sample, summed = all_sweeps(device, run, True), all_sweeps(device, run, False)
    for name in ("backward", "joint"):
        assert distance(by_sample[name].sum(0), summed[name]) < 1e-12


def check_undoing(device, batch, tile_qubits=None):
    """Backward restores the ket; joint from its start gives the same overlaps, and the bra of the end."""
    run = PauliRun.random(batch, 5, batch, "apt12", 3, 6, tile_qubits)
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


def check_vectors_and_observables(device, batch):
    """All verbs without a tape."""
    rng, tolerance = np.random.default_rng(batch), TOLERANCE[device.precision]
    for n in (1, 3, 5):
        assert (device.vectors(device.allocate(n, batch)) == REFERENCE.allocate(n, batch)).all()
        one = rng.normal(size=4**n)
        assert distance(device.vectors(device.allocate(n, batch, one)), np.tile(one, (batch, 1))) < 1e-6
        kets, count = rng.normal(size=(batch, 4**n)), 4
        state, observables = device.allocate(n, batch, kets), random_observables(rng, n, count)
        copy = device.copy(state)
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
