"""The CPU device against the reference device: random tapes, all instruction sets, layouts, precisions, threads."""

from __future__ import annotations

import gc
import multiprocessing
import re
import subprocess
import sys
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.conformance import REFERENCE, TOLERANCE, Run, distance, random_run, random_sum
from support.refusals import check_refusals
from support.signals import stopped_by_alarm
from support.tapes import TapeMaker, random_state, replaced, tape_of

from qiskit_fusedqml.devices import _native, cpu
from qiskit_fusedqml.devices._native import Coefficients
from qiskit_fusedqml.devices.cpu import CPUDevice
from qiskit_fusedqml.errors import DeviceUnavailableError, InvalidInputError, OutOfMemoryError
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.planner.frame import Frame
from qiskit_fusedqml.planner.tape import RY, STEEP, Block, Diag, Factor, Pauli, Tape


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("kinds", [*"drxyupm", ""])
def test_random_tapes(isa, kinds, precision):
    device = CPUDevice(precision, num_threads=2)
    for seed in range(24):
        n = 1 + seed % 8
        batch = 1 + seed % 5
        errors = random_run(seed, n, seed // 2 % 4, batch, kinds).errors(device)
        assert max(errors) < TOLERANCE[precision], (seed, n, batch, errors)


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("spread", [0, 1, 2, 3])
def test_every_batch_size(isa, spread, precision):
    width = _native.width(isa, precision == "single", False)
    device = CPUDevice(precision, num_threads=1)
    for batch in range(1, 2 * width + 2):
        errors = random_run(100 + batch, 5, spread, batch).errors(device)
        assert max(errors) < TOLERANCE[precision], (batch, errors)


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("kinds", [*"drxyup", ""])
def test_groups_stacked_in_one_tile(isa, kinds, precision):
    """Few qubits and many samples: several groups go through a block together, and a rest by itself."""
    width = _native.width(isa, precision == "single", False)
    for n in (1, 2, 3, 4, 5):
        run = random_run(300 + n, n, n % 2, 6 * width + width // 2, kinds, operations=6)
        for threads in (1, 3):
            errors = run.errors(CPUDevice(precision, num_threads=threads))
            assert max(errors) < TOLERANCE[precision], (n, threads, errors)


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("kinds", ["r", "x", "p", ""])
def test_from_the_zero_state(isa, kinds, precision):
    """Leading rotations write a product state, in the first tile only."""
    for seed in range(20):
        n, batch = 1 + seed % 9, [1, 2, 5, 19, 40][seed % 5]
        run = random_run(500 + seed, n, seed // 3 % 4, batch, kinds, operations=6)
        expected = REFERENCE.allocate(run.tape, batch, None)
        REFERENCE.forward(run.tape, run.coefficients, expected)
        for threads in (1, 2):
            device = CPUDevice(precision, num_threads=threads)
            ket = device.allocate(run.tape, batch, None)
            device.forward(run.tape, run.coefficients, ket)
            assert distance(device.amplitudes(ket, run.identity), expected) < TOLERANCE[precision], (seed, n, batch)


@pytest.mark.parametrize("n", [10, 11, 12])
@pytest.mark.parametrize("precision", ["double", "single"])
def test_larger_states(n, precision):
    errors = random_run(n, n, n - 9, 3, operations=6).errors(CPUDevice(precision, num_threads=2))
    assert max(errors) < TOLERANCE[precision], errors


def test_same_numbers_for_any_number_of_threads(monkeypatch):
    for seed, n, spread, batch in [(0, 11, 3, 1), (1, 12, 2, 2), (2, 9, 0, 40)]:
        run = random_run(seed, n, spread, batch, operations=6)
        for threads in (1, 2, 3, 4):
            errors = run.errors(CPUDevice(num_threads=threads))
            assert max(errors) < TOLERANCE["double"], (seed, threads, errors)


def test_bitwise_reproducible():
    run = random_run(5, 11, 3, 3, operations=8)
    results = []
    for _ in range(5):
        device = CPUDevice(num_threads=3)
        ket, bra = device.allocate(run.tape, 3, run.start), device.allocate(run.tape, 3, run.bra)
        device.forward(run.tape, run.coefficients, ket)
        results.append(device.backward(run.tape, run.coefficients, ket, bra, per_sample=False).tobytes())
    assert len(set(results)) == 1


def test_the_comparison_sees_a_perturbed_tape():
    run = random_run(7, 5, 1, 3, "y")
    device = CPUDevice(num_threads=1)
    assert max(run.errors(device)) < 1e-12
    for block_number, block in enumerate(run.tape.blocks):
        for number in range(len(block.operations)):
            perturbed = replace(block, operations=(*block.operations[:number], *block.operations[number + 1 :]))
            blocks = [*run.tape.blocks]
            blocks[block_number] = perturbed
            assert max(run.errors(device, replace(run.tape, blocks=tuple(blocks)))) > 1e-3


def test_round_trip_restores_the_state():
    rng = np.random.default_rng(3)
    maker = TapeMaker(rng, 8, 2)
    tape = replace(maker.tape(3, 6, "um"), lane_qubits=2)
    tape = replace(tape, blocks=tuple(replace(block, undo_from=0) for block in tape.blocks))
    coefficients = maker.coefficients(2)
    start, bra = random_state(rng, (2, 256)), random_state(rng, (2, 256))
    device = CPUDevice()
    ket = device.allocate(tape, 2, start)
    device.forward(tape, coefficients, ket)
    device.backward(tape, coefficients, ket, device.allocate(tape, 2, bra), per_sample=False)
    assert distance(device.amplitudes(ket, Frame.identity(8)), start) < 1e-12


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("diagonal", [False, True])
def test_observables(isa, precision, diagonal):
    device = CPUDevice(precision, num_threads=2)
    for seed in range(14):
        rng = np.random.default_rng(seed)
        n, batch = [1, 2, 3, 4, 5, 7, 11][seed % 7], 1 + seed % 6
        maker = TapeMaker(rng, n, min(seed % 4, n - 1))
        tape = maker.tape(1, 1, "d")
        sums = [random_sum(rng, n, int(rng.integers(1, 12)), diagonal=diagonal) for _ in range(seed % 3 + 1)]
        start, cotangents = random_state(rng, (batch, 2**n)), rng.normal(size=(batch, len(sums)))
        ket = device.allocate(tape, batch, start)
        scale = sum(abs(term.coefficient) for s in sums for term in s.terms)
        values = device.expectation(ket, tape.frame, sums)
        expected = REFERENCE.expectation(start, tape.frame, sums)
        assert np.abs(values - expected).max() < TOLERANCE[precision] * scale, seed
        bra = device.apply_observables(ket, tape.frame, sums, cotangents)
        expected = REFERENCE.apply_observables(start, tape.frame, sums, cotangents)
        assert distance(device.amplitudes(bra, Frame.identity(n)), expected) < TOLERANCE[precision], seed


def test_observables_of_states_too_large_for_cached_tables(monkeypatch):
    rng = np.random.default_rng(11)
    n = 13
    sums = [random_sum(rng, n, 40) for _ in range(4)] + [random_sum(rng, n, 150, diagonal=True)]
    tape = TapeMaker(rng, n, 3).tape(1, 1, "d")
    start, cotangents = random_state(rng, (2, 2**n)), rng.normal(size=(2, len(sums)))
    device = CPUDevice(num_threads=2)
    ket = device.allocate(tape, 2, start)
    values = device.expectation(ket, tape.frame, sums)
    assert np.abs(values - REFERENCE.expectation(start, tape.frame, sums)).max() < 1e-11
    bra = device.apply_observables(ket, tape.frame, sums, cotangents)
    expected = REFERENCE.apply_observables(start, tape.frame, sums, cotangents)
    assert distance(device.amplitudes(bra, Frame.identity(n)), expected) < 1e-12


@pytest.mark.parametrize("n", [1, 3, 6, 13])
def test_amplitudes_and_probabilities(n):
    rng = np.random.default_rng(n)
    for batch in (1, 3, 9):
        tape = TapeMaker(rng, n, min(2, n - 1)).tape(1, 1, "d")
        start = random_state(rng, (batch, 2**n))
        device = CPUDevice(num_threads=2)
        ket = device.allocate(tape, batch, start)
        assert np.array_equal(device.amplitudes(ket, tape.frame), REFERENCE.amplitudes(start, tape.frame))
        qubits = [int(q) for q in rng.permutation(n)[: int(rng.integers(n + 1))]]
        given, expected = (d.probabilities(s, tape.frame, qubits) for d, s in ((device, ket), (REFERENCE, start)))
        assert distance(given, expected) < 1e-14
        single = CPUDevice("single").allocate(tape, batch, start)
        assert CPUDevice("single").amplitudes(single, tape.frame).dtype == np.complex64


def test_initial_states():
    tape = TapeMaker(np.random.default_rng(0), 4, 1).tape(1, 1, "d")
    device = CPUDevice()
    zero = device.amplitudes(device.allocate(tape, 5, None), Frame.identity(4))
    assert np.array_equal(zero, np.eye(16)[[0] * 5])
    shared = random_state(np.random.default_rng(1), (16,))
    state = device.allocate(tape, 5, shared)
    assert np.array_equal(device.amplitudes(state, Frame.identity(4)), [shared] * 5)
    copy = device.copy(state)
    device.forward(tape, TapeMaker(np.random.default_rng(0), 4, 1).coefficients(5), copy) if not tape.blocks else None
    assert np.array_equal(device.amplitudes(state, Frame.identity(4)), [shared] * 5)


@pytest.mark.parametrize("precision", ["double", "single"])
def test_tables_of_large_angles(isa, precision):
    """Sine and cosine are as good as the library's, whatever the angle."""
    rng = np.random.default_rng(0)
    angles = np.concatenate([10.0 ** rng.uniform(-9, 9, 60) * rng.choice([-1, 1], 60), np.arange(-9, 10) * np.pi])
    diags = tuple(Diag((Factor((1,), (1,), i, False),)) for i in range(len(angles)))
    device = CPUDevice(precision, num_threads=1)
    none = TapeMaker(rng, 1).coefficients(1)
    for i, diag in enumerate(diags):
        tape = Tape(1, (Block((1,), (diag,)),), Frame.identity(1), 0)
        ket = device.allocate(tape, 1, np.array([0.6, 0.8j]))
        device.forward(tape, replaced(none, angles=angles), ket)
        phase = np.array([np.exp(-0.5j * angles[i]), np.exp(0.5j * angles[i])])
        error = np.abs(device.amplitudes(ket, Frame.identity(1))[0] - phase * [0.6, 0.8j]).max()
        assert error < (4e-16 if precision == "double" else 2e-7), angles[i]


CHAINS = tuple(1 << k for k in range(9)) + tuple((2 << k) - 1 for k in range(9))
PAIRS = CHAINS[:9] + tuple(1 << i | 1 << j for i in range(9) for j in range(i))
RANDOM = tuple(int(mask) for mask in np.random.default_rng(6).integers(1 << 10, size=65))


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("terms", [CHAINS, PAIRS, RANDOM[:30], RANDOM[:64], RANDOM], ids=len)
def test_tables_of_many_terms(isa, precision, batched, terms):
    """Products of phases where few functionals meet in each bit, sines and cosines elsewhere: as in NumPy."""
    rng = np.random.default_rng(len(terms))
    n, units = 9, tuple(1 << q for q in range(9))
    diag = Diag((Factor(units, terms, 0, batched),), 0)
    signs = 1 - 2 * (np.bitwise_count(np.array(terms)[:, None] & (np.arange(1 << n) | 1 << n)) & 1).astype(float)
    for spread, batch in ((0, 1), (1, 3), (2, 5), (3, 1), (4, 1), (3, 2), (0, 19)):
        angles = rng.uniform(-4, 4, (len(terms), batch if batched else 1))
        none = TapeMaker(rng, n).coefficients(batch)
        given = {"batched_angles": angles} if batched else {"angles": angles[:, 0]}
        coefficients = replaced(none, scales=np.array([1.5]), **given)
        device = CPUDevice(precision, num_threads=2)
        start = random_state(rng, (batch, 1 << n))
        ket = device.allocate(tape := tape_of(diag, n=n, spread=spread), batch, start)
        device.forward(tape, coefficients, ket)
        expected = 1.5 * np.exp(-0.5j * (angles.T @ signs)) * start
        assert distance(device.amplitudes(ket, tape.frame), expected) < TOLERANCE[precision], (spread, batch)


def test_tables_are_those_of_the_coefficients_given(isa):
    """A tape keeps the last tables it made; other coefficients, however alike, do not meet them."""
    rng = np.random.default_rng(0)
    maker = TapeMaker(rng, 5)
    tape = maker.tape(2, 6, "d")
    first = maker.coefficients(3)
    many = [replaced(first, angles=first.angles + k, scales=first.scales * (k + 1)) for k in range(4)]
    runs = [Run(rng, tape, coefficients, 3) for coefficients in many]
    device = CPUDevice(num_threads=2)
    for k in (0, 0, 1, 0, 2, 3, 3, 2):
        assert max(runs[k].errors(device)) < 1e-12
    with ThreadPoolExecutor(4) as pool:
        for errors in pool.map(lambda k: runs[k % 4].errors(device), range(32)):
            assert max(errors) < 1e-12


def test_coefficients_are_what_they_were_made_from():
    maker = TapeMaker(np.random.default_rng(3), 4)
    maker.tape(4, 8)
    source = maker.coefficients(3)
    shapes = [(2,), (2, 3), (2, 2), (2, 2, 3), (), (3,), ()]
    names = ("pairs", "batched_pairs", "matrices", "batched_matrices", "angles", "batched_angles", "scales")
    arrays = {name: np.array(getattr(source, name)) for name in names}
    given = {name: array.copy() for name, array in arrays.items()}
    made = Coefficients(**given, dense=source.dense)
    for (name, array), shape in zip(given.items(), shapes, strict=True):
        assert len(array), name
        array[...] = 0  # the coefficients have their own
        kept = getattr(made, name)
        np.testing.assert_array_equal(kept, arrays[name])
        assert kept.shape[1:] == shape
        with pytest.raises(ValueError, match="read-only"):
            kept[...] = 0
    angles, dense = made.angles, made.dense
    del made
    gc.collect()
    np.testing.assert_array_equal(angles, arrays["angles"])
    assert isinstance(dense, tuple)
    for ours, theirs in zip(dense, source.dense, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("pairs", np.zeros((2, 3)), r"\(R, 2\)"),
        ("batched_pairs", np.zeros((1, 3, 4)), r"\(R, 2, B\)"),
        ("matrices", np.zeros((1, 2, 3), complex), r"\(U, 2, 2\)"),
        ("batched_matrices", np.zeros((1, 3, 2, 4), complex), r"\(U, 2, 2, B\)"),
        ("batched_angles", np.zeros((1, 5)), "differ in their number of samples"),
        ("dense", [np.zeros((3, 3), complex)], r"\(2\*\*k, 2\*\*k\)"),
    ],
)
def test_coefficients_of_the_wrong_shape(name, array, message):
    maker = TapeMaker(np.random.default_rng(0), 3)
    maker.num_pairs = [1, 1]
    with pytest.raises(ValueError, match=message):
        replaced(maker.coefficients(4), **{name: array})


def test_states_of_many_sizes_in_turn():
    """More memory than is kept for later: none of it is in two hands."""
    device = CPUDevice(num_threads=1)
    held = []
    for turn in range(24):
        n = 10 + turn % 3  # of another n: its ones are in other places
        tape = Tape(n, (), Frame.identity(n), 0)
        held.append((tape, device.allocate(tape, (9 + 2 * (turn % 8)) << (16 - n), None)))
        if len(held) > 3:
            tape, state = held.pop(0)
            z = PauliSum(tape.num_qubits, (PauliTerm(1.0, 0, 1),))
            np.testing.assert_array_equal(device.expectation(state, tape.frame, [z]), np.ones((state.batch, 1)))


def test_calls_from_many_threads():
    runs = [random_run(seed, 9, 2, 3) for seed in range(4)]
    device = CPUDevice(num_threads=2)
    with ThreadPoolExecutor(6) as pool:
        for errors in pool.map(lambda i: runs[i % 4].errors(device), range(40)):
            assert max(errors) < 1e-12


def _errors_in_child(queue) -> None:
    queue.put(max(random_run(1, 11, 3, 2, operations=8).errors(CPUDevice(num_threads=2))))


def test_after_a_fork():
    """The pool's threads do not exist in a forked child; it makes its own."""
    assert max(random_run(1, 11, 3, 2, operations=8).errors(CPUDevice(num_threads=2))) < 1e-12
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_errors_in_child, args=(queue,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that forking with threads is risky is the point here
        child.start()
    assert queue.get(timeout=30) < 1e-12
    child.join(30)
    assert child.exitcode == 0


@pytest.mark.parametrize(("n", "batch"), [(12, 32), (17, 1)])
def test_a_signal_stops_a_long_call(n, batch):
    """The device is as good as new afterwards."""
    ops = tuple(RY(1 << q, 1 << q, 0) for q in range(8))
    block = Block(tuple(1 << q for q in range(8)), ops)
    device = CPUDevice(num_threads=2)
    maker = TapeMaker(np.random.default_rng(0), n)
    maker.num_pairs = [1, 0]
    coefficients = maker.coefficients(batch)
    endless = Tape(n, (block,) * 20_000, Frame.identity(n), 0)
    ket = device.allocate(endless, batch, None)
    cpu._compiled(endless)
    with stopped_by_alarm():
        device.forward(endless, coefficients, ket)
    assert max(random_run(1, 6, 1, 3).errors(device)) < 1e-12


def test_compiled_tapes_live_as_long_as_their_tapes():
    run = random_run(0, 2, 0, 1)
    device = CPUDevice()
    run.errors(device)
    tape = weakref.ref(run.tape)
    key = id(run.tape)
    assert cpu._compiled.kept[key][0]() is run.tape
    del run
    gc.collect()
    assert tape() is None
    assert key not in cpu._compiled.kept


@pytest.mark.parametrize(
    ("tape", "message"),
    [
        (tape_of(RY(4, 4, 0)), "outside its block's tile"),
        (tape_of(RY(1, 2, 0)), "odd on its flip vector"),
        (tape_of(RY(1, 1, 0, overlap=1, num_overlaps=2), overlaps=2), "beyond num_overlaps"),
        (tape_of(Pauli(1, 1, 0, (), 0)), "power does not match"),
        (tape_of(Pauli(1, 0, 0, (1,), 0)), "must be even"),
        (tape_of(tile=(1, 1)), "linearly dependent"),
        (tape_of(tile=(1, 2), spread=2), "fewer dimensions outside"),
        (tape_of(RY(8, 8, 0)), "out of range"),
    ],
)
def test_tapes_that_cannot_be_run(tape, message):
    device = CPUDevice()
    with pytest.raises(InvalidInputError, match=message):
        device.forward(tape, random_run(0, 3, 0, 1).coefficients, device.allocate(tape, 1, None))


def test_arguments_that_do_not_fit():
    device = CPUDevice()
    check_refusals(device)
    with pytest.raises(InvalidInputError, match="precision"):
        CPUDevice("half")
    with pytest.raises(InvalidInputError, match="num_threads"):
        CPUDevice(num_threads=0)


def test_more_memory_than_there_is():
    with pytest.raises(OutOfMemoryError, match=r"\d{8,}\.0 MiB do not fit in memory.*precision='single'"):
        CPUDevice().allocate(tape_of(n=40), 1, None)


def test_choice_of_the_instruction_set(monkeypatch):
    monkeypatch.delenv("FUSEDQML_ISA", raising=False)
    assert cpu.instruction_set() == _native.instruction_sets()[0]
    monkeypatch.setenv("FUSEDQML_ISA", "mmx")
    with pytest.raises(DeviceUnavailableError, match="mmx"):
        CPUDevice()


def test_threads_are_capped(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert CPUDevice().num_threads == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert CPUDevice().num_threads >= 1


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize(("n", "batch"), [(4, 3), (12, 1), (13, 5), (15, 1)])
def test_readout_in_frames_of_many_qubits(n, batch, precision):
    """Rows and outcomes are walked in an order of their own; every outcome must be met once, wherever it lies."""
    rng = np.random.default_rng([n, batch])
    frame = Frame.identity(n)
    for _ in range(4 * n):
        target, control = (int(q) for q in rng.permutation(n)[:2])
        frame = frame.flipped(1 << target, control if rng.random() < 0.8 else -1, int(rng.integers(2)))
    device = CPUDevice(precision, 2)
    rows = rng.normal(size=(batch, 2**n)) + 1j * rng.normal(size=(batch, 2**n))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ket = device.allocate(Tape(n, (), Frame.identity(n), 0, min(3, n - 1)), batch, rows)
    row_of = np.full(2**n, frame.offset)
    for q, column in enumerate(frame.columns):
        row_of[np.arange(2**n) >> q & 1 == 1] ^= column
    expected = rows[:, row_of]
    np.testing.assert_allclose(device.amplitudes(ket, frame), expected, atol=TOLERANCE[precision])
    cube = np.abs(expected.reshape((batch,) + (2,) * n)) ** 2
    for qubits in (
        list(range(n)),
        [int(q) for q in rng.permutation(n)],
        [int(q) for q in rng.permutation(n)[: n // 2]],
    ):
        others = tuple(n - q for q in range(n) if q not in qubits)
        order = np.argsort(np.argsort([-q for q in qubits]))  # axes left, the highest qubit first
        marginal = cube.sum(axis=others).transpose(0, *(1 + order[::-1])).reshape(batch, -1)
        np.testing.assert_allclose(device.probabilities(ket, frame, qubits), marginal, atol=TOLERANCE[precision])


def test_threads_without_room_for_their_stacks_are_done_without() -> None:
    program = """
import resource
from qiskit import QuantumCircuit
from qiskit_fusedqml import DifferentiableCircuit
circuit = QuantumCircuit(16)
circuit.h(range(16))
f = DifferentiableCircuit(circuit, ["X" * 16], num_threads=128)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20),) * 2)
print(round(float(f.values()[0, 0]), 9))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "1.0\n"), found.stderr


def test_rotations_are_steep_from_the_same_angle_on():
    header = Path(__file__).parents[2] / "qiskit_fusedqml" / "devices" / "native" / "tape.hpp"
    (found,) = re.findall(r"bool steep\(.*return (\S+) \*", header.read_text())
    assert float(found) == STEEP
