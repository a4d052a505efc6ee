"""Observables with many flips on the CPU device against the reference device."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from support.conformance import REFERENCE, TOLERANCE, distance
from support.tapes import TapeMaker, random_state

from qiskit_fusedqml.devices import _native, makes_values_with_bras
from qiskit_fusedqml.devices.cpu import CPUDevice
from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.planner.frame import Frame

SIZES = [(3, 1), (5, 3), (8, 2), (9, 4), (9, 8), (10, 1), (11, 5), (8, 17)]


def with_flips(rng: np.random.Generator, n: int, flips: Sequence[int], strings: int, *, controls: int = 0) -> PauliSum:
    """So many strings for each flip, some of them with controls."""
    terms = []
    for x in flips:
        for _ in range(strings):
            free = [q for q in range(n) if not x >> q & 1]
            chosen = rng.permutation(free)[: int(rng.integers(0, min(controls, len(free)) + 1))]
            mask = sum(1 << int(q) for q in chosen)
            z = int(rng.integers(2**n)) & ~mask
            terms.append(PauliTerm(float(rng.normal()), int(x), z, mask, mask & int(rng.integers(2**n))))
    return PauliSum(n, tuple(terms))


def check(
    device: CPUDevice,
    sums: Sequence[PauliSum],
    batch: int,
    seed: int,
    *,
    is_real: bool = False,
    spread: int = 3,
    frame: Frame | None = None,
) -> None:
    """Values and bras are the reference device's, the second time as the first."""
    rng, n = np.random.default_rng(seed), sums[0].num_qubits
    tape = TapeMaker(rng, n, min(spread, n - 1)).tape(1, 1, "d")
    if is_real:
        tape, sums = replace(tape, blocks=(), is_real=True), [s.real_part for s in sums]
    start, cotangents = random_state(rng, (batch, 2**n)), rng.normal(size=(batch, len(sums)))
    start = start.real.astype(complex) if is_real else start
    scale, tolerance = sum(abs(term.coefficient) for s in sums for term in s.terms), TOLERANCE[device.precision]
    ket, frame, own = device.allocate(tape, batch, start), frame or tape.frame, Frame.identity(n)
    assert ket.is_real == is_real
    values = REFERENCE.expectation(start, frame, sums)
    bras = REFERENCE.apply_observables(start, frame, sums, cotangents)
    for _ in range(2):
        device.copy(ket)  # the next state takes its memory as it is
        assert np.abs(device.expectation(ket, frame, sums) - values).max() < tolerance * scale
        bra = device.apply_observables(ket, frame, sums, cotangents)
        assert distance(device.amplitudes(bra, own), bras) < tolerance
    if len(sums) == 1:
        made = device.value_and_bra(ket, frame, sums[0])
        assert np.abs(made[0] - values).max() < tolerance * scale
        device.scale(made[1], cotangents[:, 0])
        assert distance(device.amplitudes(made[1], own), bras) < tolerance


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("is_real", [False, True])
def test_one_observable(isa, precision, is_real) -> None:
    device = CPUDevice(precision, num_threads=2)
    for seed, (n, batch) in enumerate(SIZES):
        rng = np.random.default_rng([1, seed])
        flips = rng.permutation(2**n)[: min(5 + 10 * seed, 2**n)]
        # of flips at least one more than `many_flips` stay when imaginary strings go
        observable = with_flips(rng, n, flips, 3 + seed % 4, controls=seed % 6)
        check(device, [observable], batch, seed, is_real=is_real)


@pytest.mark.parametrize("precision", ["double", "single"])
def test_several_observables_that_share_flips(isa, precision) -> None:
    device = CPUDevice(precision, num_threads=2)
    for seed, (n, batch) in enumerate(SIZES):
        rng = np.random.default_rng([2, seed])
        flips = [0, *rng.permutation(2**n)[:11]]
        sums = [with_flips(rng, n, flips[k : k + 7], 2, controls=2) for k in range(4)]
        check(device, sums, batch, seed)


def test_more_values_than_are_kept() -> None:
    # 256 blocks of 1 KiB for each of 80 flips, four times for the lanes of four samples
    rng, n = np.random.default_rng(3), 15
    observable = with_flips(rng, n, rng.permutation(2**n)[:80], 12)
    check(CPUDevice(num_threads=2), [observable], 4, 3, spread=1)


def test_values_that_cancel() -> None:
    """XX + YY is 0 where the qubits agree, and a projector on the highest qubit where that is in the other state."""
    n = 10
    pairs = [(a, b) for a in range(n) for b in range(a)]
    hops = [PauliTerm(0.5, 1 << a | 1 << b, z) for a, b in pairs for z in (0, 1 << a | 1 << b)]
    top = [PauliTerm(0.3, 1 << q, 0, 1 << n - 1, 1 << n - 1) for q in range(n - 1)]
    small = [PauliTerm(1e-9, 0b11, 0), PauliTerm(-1e-9, 0b11, 0b11 << n - 2)]
    for seed, terms in enumerate(([*hops], [*top], [*hops, *top, *small], top[:7] + small)):
        for batch in (1, 4, 8):
            check(CPUDevice(), [PauliSum(n, tuple(terms))], batch, seed)


@pytest.mark.parametrize("controls", [1, 2, 4, 5])
def test_blocks_of_zeros(controls) -> None:
    """Projectors on the highest qubits: all strings are 0 on most blocks of rows."""
    n, rng = 12, np.random.default_rng(controls)
    for value in (0, 2**n - 1, 0b10110 << n - 5):
        mask = sum(1 << n - 1 - k for k in range(controls))
        terms = [
            PauliTerm(float(rng.normal()), x, int(rng.integers(64)), mask, mask & value) for x in (0, 1, 6, 9, 32, 65)
        ]
        for batch in (1, 3, 8):
            check(CPUDevice(), [PauliSum(n, tuple(terms))], batch, 1, frame=Frame.identity(n))


def test_calls_at_once() -> None:
    """From the second call on more is kept; calls that began before go on with what was kept then."""
    n, rng = 12, np.random.default_rng(4)
    observable = with_flips(rng, n, rng.permutation(2**n)[:20], 8)
    for _ in range(3):
        device = CPUDevice()
        with ThreadPoolExecutor(6) as pool:
            made = [pool.submit(check, device, [observable], batch, batch) for batch in (1, 1, 4, 1, 8, 4) * 2]
        for one in made:
            one.result()


@pytest.mark.parametrize("coefficient", [np.nan, np.inf, -np.inf, 1e308])
@pytest.mark.parametrize("num_flips", [1, 6])
@pytest.mark.parametrize("controls", [0, 4])
def test_coefficients_that_overflow(isa, coefficient, num_flips, controls) -> None:
    """They are never left out as negligible; 1e308 overflows in the sum of all of a flip's, but on no row."""
    n, rng = 8, np.random.default_rng(5)
    mask = (1 << controls) - 1
    values = (0, 5, mask) if controls else (0,)
    large = [PauliTerm(coefficient, 0b11 << n - 2, 0, mask, value) for value in values]
    observable = PauliSum(n, (*large, *[PauliTerm(1.0, x << n - 3, 0) for x in range(num_flips)]))
    tape, start = TapeMaker(rng, n, 0).tape(1, 1, "d"), random_state(rng, (3, 2**n))
    device, own, one = CPUDevice(num_threads=2), Frame.identity(n), np.ones((3, 1))
    ket = device.allocate(tape, 3, start)
    made, bra = device.value_and_bra(ket, own, observable)
    bras = [device.amplitudes(b, own) for b in (bra, device.apply_observables(ket, own, [observable], one))]
    for values in (made, device.expectation(ket, own, [observable])):
        if np.isfinite(coefficient):
            assert values == pytest.approx(REFERENCE.expectation(start, own, [observable]), rel=1e-12)
        else:
            assert not np.isfinite(values).any()
    for found in bras:
        if np.isfinite(coefficient):
            assert found / 1e308 == pytest.approx(REFERENCE.apply_observables(start, own, [observable], one) / 1e308)
        else:
            assert not np.isfinite(found).all(axis=1).any()


def test_devices_that_make_values_with_bras() -> None:
    assert makes_values_with_bras(CPUDevice())
    assert not makes_values_with_bras(REFERENCE)


def test_arguments_that_do_not_fit() -> None:
    device, tape = CPUDevice(), TapeMaker(np.random.default_rng(0), 3, 0).tape(1, 1, "d")
    ket = device.allocate(tape, 2, None)
    empty = np.zeros(0, np.int64)
    two = _native.make_observables(_native.instruction_sets()[0], 3, 2, np.zeros(0), np.zeros((0, 6), np.int64), empty)
    with pytest.raises(InvalidInputError, match="One observable"):
        _native.value_and_bra(two, ket, 1)
    with pytest.raises(InvalidInputError, match=r"Factors must have shape \(B,\)"):
        device.scale(ket, np.ones(3))
