"""A device against the reference device: one tape on random states, and random tapes and observables."""

from __future__ import annotations

import numpy as np
from support.tapes import TapeMaker, random_state

from qiskit_fusedqml.devices import Coefficients, Device
from qiskit_fusedqml.devices.reference import ReferenceDevice
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.planner.frame import Frame
from qiskit_fusedqml.planner.tape import Tape

REFERENCE = ReferenceDevice()
TOLERANCE = {"double": 1e-12, "single": 1e-5}


def distance(given, expected) -> float:
    """Largest difference relative to the expected largest entry; NaN stands for what the reference leaves out."""
    given, expected = np.asarray(given), np.asarray(expected)
    assert given.shape == expected.shape
    wanted = ~np.isnan(expected)
    given, expected = given[wanted], expected[wanted]
    assert np.isfinite(given).all()
    return float(np.abs(given - expected).max() / max(np.abs(expected).max(), 1e-2)) if expected.size else 0.0


class Run:
    """One tape on random states, on the reference device and on another."""

    def __init__(self, rng: np.random.Generator, tape: Tape, coefficients: Coefficients, batch: int) -> None:
        self.tape, self.coefficients, self.batch = tape, coefficients, batch
        self.identity = Frame.identity(tape.num_qubits)
        self.start = random_state(rng, (batch, 2**tape.num_qubits))
        self.bra = random_state(rng, (batch, 2**tape.num_qubits))
        self.ket = self.start.copy()
        REFERENCE.forward(tape, coefficients, self.ket)
        self.undone = self.ket.copy(), self.bra.copy()
        self.overlaps = REFERENCE.backward(tape, coefficients, *self.undone, per_sample=True)

    def errors(self, device: Device, tape: Tape | None = None) -> list[float]:
        tape = self.tape if tape is None else tape
        ket = device.allocate(tape, self.batch, self.start)
        device.forward(tape, self.coefficients, ket)
        result = [distance(device.amplitudes(ket, self.identity), self.ket)]
        for per_sample in (False, True):
            undone = device.copy(ket), device.allocate(tape, self.batch, self.bra)
            overlaps = device.backward(tape, self.coefficients, *undone, per_sample=per_sample)
            result.append(distance(overlaps, self.overlaps if per_sample else self.overlaps.sum(axis=0)))
            result += [
                distance(device.amplitudes(state, self.identity), expected)
                for state, expected in zip(undone, self.undone, strict=True)
            ]
        return result


def random_run(seed: int, n: int, spread: int, batch: int, kinds: str = "", operations: int = 4) -> Run:
    rng = np.random.default_rng(seed)
    maker = TapeMaker(rng, n, min(spread, n - 1))
    tape = maker.tape(2, operations, kinds)
    return Run(rng, tape, maker.coefficients(batch), batch)


def random_sum(rng: np.random.Generator, n: int, num_terms: int, *, diagonal: bool = False) -> PauliSum:
    terms = []
    for _ in range(num_terms):
        ctrl = int(rng.integers(1 << n)) & int(rng.integers(1 << n)) if rng.integers(2) else 0
        x = 0 if diagonal else int(rng.integers(1 << n)) & int(rng.integers(1 << n)) & ~ctrl
        z = int(rng.integers(1 << n)) & ~ctrl
        terms.append(PauliTerm(float(rng.normal()), x, z, ctrl, int(rng.integers(1 << n)) & ctrl))
    return PauliSum(n, tuple(terms))
