"""Real states on the CPU device against the reference device: all instruction sets, layouts, precisions, threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.conformance import REFERENCE, TOLERANCE, Run, distance, random_sum
from support.programs import RealSampler
from support.tapes import TapeMaker, random_state, replaced

from qiskit_fusedqml.devices import _native
from qiskit_fusedqml.devices.coefficients import CompiledCoefficientMap
from qiskit_fusedqml.devices.cpu import CPUDevice
from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.planner import fuse
from qiskit_fusedqml.planner.cost import CostModel
from qiskit_fusedqml.planner.frame import Frame


class RealRun(Run):
    """A real tape, of a random program, on random real states."""

    def __init__(self, seed: int, n: int, batch: int, model: CostModel, length: int = 12) -> None:
        rng = np.random.default_rng(seed)
        program = RealSampler(rng, n).program(length)
        count = program.num_angles
        batched = sorted(np.flatnonzero(rng.random(count) < 0.4).tolist())
        wanted = frozenset(np.flatnonzero(rng.random(count) < 0.7).tolist())
        angles = rng.uniform(-4, 4, (batch, count))
        plan = fuse(program, model, batched_slots=frozenset(batched), wanted_slots=wanted, batch=batch)
        assert plan.tape.is_real
        bound = CompiledCoefficientMap(plan.tables).bind(angles[0], np.ascontiguousarray(angles[:, batched]))
        tape = replace(plan.tape, blocks=tuple(replace(block, support=None) for block in plan.tape.blocks))
        super().__init__(rng, tape, bound.coefficients, batch)
        self.real_start, self.real_bra = self.start.real.copy(), self.bra.real.copy()

    def real_errors(self, device: CPUDevice) -> list[float]:
        """As `errors`, from the real parts of the states; the reference works on all numbers."""
        ket = self.real_start.astype(complex)
        REFERENCE.forward(self.tape, self.coefficients, ket)
        undone = ket.copy(), self.real_bra.astype(complex)
        overlaps = REFERENCE.backward(self.tape, self.coefficients, *undone, per_sample=True)
        found = device.allocate(self.tape, self.batch, self.real_start)
        assert found.is_real
        device.forward(self.tape, self.coefficients, found)
        result = [distance(device.amplitudes(found, self.identity), ket)]
        for per_sample in (False, True):
            states = device.copy(found), device.allocate(self.tape, self.batch, self.real_bra)
            given = device.backward(self.tape, self.coefficients, *states, per_sample=per_sample)
            result.append(distance(given, overlaps if per_sample else overlaps.sum(axis=0)))
            for state, expected in zip(states, undone, strict=True):
                assert state.is_real
                result.append(distance(device.amplitudes(state, self.identity), expected))
        return result


def model_of(device: CPUDevice, seed: int) -> CostModel:
    """With small tiles and tables, so that tiles are copied and tables multiplied."""
    tile, table = 2 + seed % 5, 1 + seed % 4
    return replace(device.cost_model, tile_qubits=tile, whole_qubits=0, table_qubits=table, smallest_lane_tile=2)


@pytest.mark.parametrize("precision", ["double", "single"])
def test_random_real_tapes(isa, precision):
    device = CPUDevice(precision, num_threads=2)
    for seed in range(24):
        run = RealRun(seed, 1 + seed % 8, 1 + seed % 5, model_of(device, seed))
        assert max(run.real_errors(device)) < TOLERANCE[precision], seed


@pytest.mark.parametrize("precision", ["double", "single"])
def test_every_batch_size(isa, precision):
    width = _native.width(isa, precision == "single", False)
    device = CPUDevice(precision, num_threads=1)
    for batch in range(1, 2 * width + 2):
        run = RealRun(batch, 6, batch, model_of(device, batch))
        assert max(run.real_errors(device)) < TOLERANCE[precision], batch


@pytest.mark.parametrize("precision", ["double", "single"])
def test_groups_stacked_in_one_tile(isa, precision):
    batch = 6 * _native.width(isa, precision == "single", False) + 1
    for n in (1, 2, 3, 4, 5):
        for threads in (1, 3):
            device = CPUDevice(precision, num_threads=threads)
            run = RealRun(n, n, batch, device.cost_model, length=20)
            assert max(run.real_errors(device)) < TOLERANCE[precision], (n, threads)


@pytest.mark.parametrize("precision", ["double", "single"])
def test_from_the_zero_state_with_growing_supports(isa, precision):
    for seed, n in enumerate((1, 4, 9, 11)):
        for batch in (1, 3, 19):
            device = CPUDevice(precision, num_threads=2)
            rng = np.random.default_rng(seed)
            program = RealSampler(rng, n).program(20)
            plan = fuse(program, replace(device.cost_model, tile_qubits=6, whole_qubits=0), batch=batch)
            angles = rng.uniform(-4, 4, program.num_angles)
            coefficients = CompiledCoefficientMap(plan.tables).bind(angles, np.empty((batch, 0))).coefficients
            expected = REFERENCE.allocate(plan.tape, batch, None)
            REFERENCE.forward(plan.tape, coefficients, expected)
            ket = device.allocate(plan.tape, batch, None)
            device.forward(plan.tape, coefficients, ket)
            assert ket.is_real
            assert distance(device.amplitudes(ket, Frame.identity(n)), expected) < TOLERANCE[precision], (n, batch)


@pytest.mark.parametrize("precision", ["double", "single"])
def test_observables_probabilities_and_amplitudes(isa, precision):
    device, kinds = CPUDevice(precision, num_threads=2), set()
    for seed in range(14):
        rng = np.random.default_rng(seed)
        n, batch = [1, 2, 3, 4, 5, 7, 11][seed % 7], 1 + seed % 6
        maker = TapeMaker(rng, n, min(seed % 4, n - 1))
        tape = replace(maker.tape(1, 1, "d"), is_real=True)
        sums = [random_sum(rng, n, int(rng.integers(1, 4)), diagonal=seed % 3 == 0) for _ in range(seed % 3 + 1)]
        start, cotangents = random_state(rng, (batch, 2**n)).real, rng.normal(size=(batch, len(sums)))
        ket = device.allocate(tape, batch, start)
        assert ket.is_real
        assert 2 * ket.bytes == device.allocate(tape, batch, 1j * start).bytes
        scale = sum(abs(term.coefficient) for s in sums for term in s.terms)
        values = device.expectation(ket, tape.frame, sums)
        whole = start.astype(complex)
        expected = REFERENCE.expectation(whole, tape.frame, sums)
        assert np.abs(values - expected).max() < TOLERANCE[precision] * scale, seed
        bra = device.apply_observables(ket, tape.frame, sums, cotangents)
        expected = REFERENCE.apply_observables(whole, tape.frame, sums, cotangents)
        kinds.add(bra.is_real)
        assert bra.is_real == all((t.x & t.z).bit_count() % 2 == 0 for s in sums for t in s.terms)
        assert distance(device.amplitudes(bra, Frame.identity(n)), expected) < TOLERANCE[precision], seed
        found = device.amplitudes(ket, tape.frame)
        assert np.iscomplexobj(found)
        assert distance(found, REFERENCE.amplitudes(whole, tape.frame)) < TOLERANCE[precision]
        assert ket.is_real
        qubits = [int(q) for q in rng.permutation(n)[: int(rng.integers(n + 1))]]
        given, expected = (d.probabilities(s, tape.frame, qubits) for d, s in ((device, ket), (REFERENCE, whole)))
        assert distance(given, expected) < TOLERANCE[precision]
    assert kinds == {False, True}


def test_the_same_bits_with_any_number_of_threads_and_every_time():
    for seed, n, batch in ((0, 11, 1), (1, 12, 2), (2, 9, 40)):
        run = RealRun(seed, n, batch, CPUDevice(num_threads=2).cost_model)
        found = set()
        for threads in (1, 2, 3, 2):
            device = CPUDevice(num_threads=threads)
            ket = device.allocate(run.tape, batch, run.real_start)
            device.forward(run.tape, run.coefficients, ket)
            found.add(device.amplitudes(ket, run.identity).tobytes())
            assert max(run.real_errors(device)) < 1e-12
        assert len(found) == 1


@pytest.mark.parametrize("precision", ["double", "single"])
def test_complex_states_and_tapes_take_the_complex_kernels(precision):
    """A real tape on complex states, a complex one on real states, and a complex bra beside a real ket."""
    device = CPUDevice(precision, num_threads=2)
    for seed in range(8):
        run = RealRun(seed, 2 + seed, 3, model_of(device, seed))
        assert max(run.errors(device)) < TOLERANCE[precision]
        start = run.real_start.astype(complex)
        ket = device.allocate(run.tape, 3, start)
        device.forward(run.tape, run.coefficients, ket)
        bra = device.allocate(run.tape, 3, run.bra)
        assert (ket.is_real, bra.is_real) == (True, False)
        overlaps = device.backward(run.tape, run.coefficients, ket, bra, per_sample=True)
        REFERENCE.forward(run.tape, run.coefficients, start)
        both = start, run.bra.copy()
        assert distance(overlaps, REFERENCE.backward(run.tape, run.coefficients, *both, per_sample=True)) < 1e-4
        for state, expected in zip((ket, bra), both, strict=True):
            assert not state.is_real
            assert distance(device.amplitudes(state, run.identity), expected) < TOLERANCE[precision]
        real = device.allocate(run.tape, 3, run.real_start)
        maker = TapeMaker(np.random.default_rng(seed), 2 + seed, run.tape.lane_qubits)
        tape = replace(maker.tape(1, 4), lane_qubits=run.tape.lane_qubits)
        coefficients, expected = maker.coefficients(3), run.real_start.astype(complex)
        device.forward(tape, coefficients, real)
        REFERENCE.forward(tape, coefficients, expected)
        assert not real.is_real
        assert distance(device.amplitudes(real, run.identity), expected) < TOLERANCE[precision]


def test_a_complex_tape_cannot_be_called_real():
    maker = TapeMaker(np.random.default_rng(0), 4)
    tape = replace(maker.tape(1, 4, "u"), is_real=True)
    with pytest.raises(InvalidInputError, match="An operation of a real tape is complex"):
        CPUDevice().forward(tape, maker.coefficients(1), CPUDevice().allocate(tape, 1, None))


def test_the_comparison_sees_a_planted_fault():
    device = CPUDevice()
    run = RealRun(7, 5, 3, model_of(device, 7))
    assert max(run.real_errors(device)) < 1e-12
    pairs = np.array(run.coefficients.pairs)
    for number in range(len(pairs)):
        faulty = pairs.copy()
        faulty[number] = faulty[number, ::-1]
        ket = device.allocate(run.tape, 3, run.real_start)
        device.forward(run.tape, replaced(run.coefficients, pairs=faulty), ket)
        expected = run.real_start.astype(complex)
        REFERENCE.forward(run.tape, run.coefficients, expected)
        assert distance(device.amplitudes(ket, run.identity), expected) > 1e-3
