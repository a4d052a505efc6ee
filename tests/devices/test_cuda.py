"""The CUDA kernels, run on the CPU under adversarial schedules, against the reference device."""

from __future__ import annotations

import json
import platform
import re
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from support.conformance import REFERENCE, TOLERANCE, Run, distance, random_run, random_sum
from support.emulation import signatures
from support.emulation.runtime import EmulatedRuntime, Library
from support.programs import layered
from support.refusals import check_refusals
from support.registers import FILE, SHARED_KIB, block_threads
from support.tapes import TapeMaker, random_state, replaced, tape_of

from qiskit_fusedqml.devices.gpu import layout, sequences, sources
from qiskit_fusedqml.devices.gpu.compiled import Geometry, compile_tape
from qiskit_fusedqml.devices.gpu.constants import SWEEP
from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.devices.gpu.limits import Limits
from qiskit_fusedqml.devices.gpu.operations import KINDS
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.planner.frame import Frame
from qiskit_fusedqml.planner.gf2 import echelon
from qiskit_fusedqml.planner.tape import RY, Block, Dense, Diag, Factor, Operation, Pauli, Tape

SCHEDULES = (0, 5, 11)
LIMITS = Limits(shared_bytes=227 << 10, multiprocessors=2)
both_precisions = pytest.mark.parametrize("precision", ["double", "single"])


def small_tiles(precision: str, largest: int = 10) -> Geometry:
    """Tiles as small as a warp allows, so that few qubits make many of them."""
    smallest = 9 if precision == "single" else 8
    return Geometry(precision == "single", 8, smallest, max(largest, smallest), LIMITS)


def emulated(precision: str, schedule: int = 0, geometry: Geometry | None = None, limits: Limits = LIMITS) -> GPUDevice:
    return GPUDevice(EmulatedRuntime(seed=schedule, limits=limits), precision, geometry)


def bits(run: Run, device: GPUDevice) -> bytes:
    """All that a forward and a backward sweep give."""
    ket, bra = device.allocate(run.tape, run.batch, run.start), device.allocate(run.tape, run.batch, run.bra)
    device.forward(run.tape, run.coefficients, ket)
    overlaps = device.backward(run.tape, run.coefficients, ket, bra, per_sample=False)
    return b"".join([overlaps.tobytes(), *(device.amplitudes(s, run.identity).tobytes() for s in (ket, bra))])


def check(run: Run, precision: str, geometry: Geometry | None = None) -> None:
    """Right under an adversarial schedule, and the same bits under all of them."""
    errors = run.errors(emulated(precision, SCHEDULES[1], geometry))
    assert max(errors) < 3 * TOLERANCE[precision], errors
    assert len({bits(run, emulated(precision, schedule, geometry)) for schedule in SCHEDULES}) == 1


@both_precisions
@pytest.mark.parametrize("kinds", [*"dryupm", "ld", ""])
def test_states_of_a_warp(kinds, precision):
    for seed in range(16):
        check(random_run(seed, 1 + seed % 8, 0, 1 + seed % 5, kinds), precision)


@both_precisions
def test_blocks_of_several_warps_that_work_alone(precision):
    for seed, (n, batch) in enumerate([(2, 300), (4, 70), (5, 33), (6, 21), (8, 9), (4, 257), (6, 65)]):
        check(random_run(seed, n, 0, batch), precision)


@both_precisions
@pytest.mark.parametrize("kinds", [*"dryupm", "ld", ""])
def test_states_of_a_block(kinds, precision):
    for seed, n in enumerate([9, 10, 11]):
        check(random_run(seed, n, 0, 1 + seed, kinds), precision)


@pytest.mark.parametrize(
    ("n", "batch", "registers"),
    # a warp has the four lanes of eight states of 4 qubits; states of 8 qubits would need more than a warp
    [(2, 1, 3), (4, 256, 2), (4, 8 * 16 * 132, 2), (4, 8 * 16 * 132 + 1, 3), (7, 16 * 132, 2), (8, 1, 3), (12, 1, 3)],
)
def test_small_batches_are_spread_over_more_warps(n, batch, registers):
    geometry = Geometry.of(replace(LIMITS, multiprocessors=132), single=True).for_batch(n, batch)
    assert geometry.warp_registers == registers
    if batch == 256:
        (sweep,) = compile_tape(tape_of(n=n), geometry).sweeps
        blocks, threads, *_ = sequences.launch_size(geometry, sweep, batch, undo=True)
        assert (blocks, threads) == (32, 32)


@pytest.mark.parametrize(("n", "precision"), [(12, "double"), (12, "single"), (13, "single")])
def test_largest_states_of_a_block(n, precision):
    check(random_run(n, n, 0, 2, operations=6), precision)


AS_NVRTC_DOES = ("-O2", "-ffp-contract=fast", *(("-mfma", "-DEMULATION_FLUSH") if "x86" in platform.machine() else ()))
"""Products and sums become one operation, and single numbers too small for full precision become 0."""


def test_contraction_and_flushing():
    """NVRTC and CuPy allow both: results move by rounding errors only, and stay the same under all schedules."""
    sweeps = [
        sources.sweep_name(True, *size, undo) for size in ((2, True), (3, True), (4, False)) for undo in (False, True)
    ]
    sweeps.append(sources.sweep_name(True, 4, warp=False, undo=True, measured=True))
    others = [
        sources.kernel_name(k, single=True) for k in ("fill_tables", "set_state", "set_zero", "relabel", "add_segments")
    ]
    kernels = Library(sources.source(), [[*sweeps, *others]], AS_NVRTC_DOES)
    for seed, (n, batch) in enumerate([(5, 3), (8, 9), (9, 2), (10, 1)]):
        run = random_run(seed, n, 0, batch, operations=6)
        devices = [GPUDevice(EmulatedRuntime(kernels, schedule, LIMITS), "single") for schedule in SCHEDULES]
        assert max(run.errors(devices[0])) < 3 * TOLERANCE["single"]
        assert len({bits(run, device) for device in devices}) == 1
    plain = emulated("single", SCHEDULES[0])
    assert bits(run, plain) != bits(run, devices[0])  # it makes a difference
    ket = devices[0].allocate(run.tape, 1, 1e-39 * run.start)
    devices[0].forward(run.tape, run.coefficients, ket)
    assert ("-DEMULATION_FLUSH" in AS_NVRTC_DOES) == (not devices[0].amplitudes(ket, run.identity).any())


@both_precisions
@pytest.mark.parametrize("kinds", [*"dryupm", ""])
def test_tiles(kinds, precision):
    for seed, n in enumerate([9, 10, 11, 12]):
        geometry = small_tiles(precision)
        check(random_run(seed, n, n - geometry.tile_qubits + seed % 2, 1 + seed % 3, kinds), precision, geometry)


@pytest.mark.parametrize(("n", "precision"), [(13, "double"), (14, "single")])
def test_tiles_of_full_size(n, precision):
    check(random_run(n, n, 2, 1, operations=8), precision)


@both_precisions
@pytest.mark.parametrize("n", [6, 9, 11])
def test_dense_matrices_of_every_size(n, precision):
    geometry = small_tiles(precision, 11) if n == 11 else None
    for k in range(1, 7):
        rng = np.random.default_rng(k)
        maker = TapeMaker(rng, n)
        maker.scramble(Frame.identity(n))
        chosen = [int(q) for q in rng.permutation(n)[:k]]
        xs, ws = (tuple(v[q] for q in chosen) for v in (maker.frame.columns, maker.frame.duals))
        maker.dense_sizes, maker.num_overlaps = [k], 2 * 4**k
        tile = echelon([*xs, *(1 << q for q in range(3))])
        tape = Tape(n, (Block(tile, (Dense(xs, ws, 0, 0),)),), maker.frame, maker.num_overlaps)
        check(Run(rng, tape, maker.coefficients(2), 2), precision, geometry)


@both_precisions
@pytest.mark.parametrize("n", [5, 9, 10])
def test_more_overlaps_than_a_block_keeps(n, precision):
    rng = np.random.default_rng(n)
    maker = TapeMaker(rng, n)
    maker.scramble(Frame.identity(n))
    operations = []
    for count in (150, 3, 64):
        functionals = tuple(maker.bits(n + 1) for _ in range(count))
        operations += [Diag((), -1, maker.overlap(count, wanted=True), functionals)]
        for q in range(3):
            operations += [maker.ry(maker.frame.columns[q], maker.frame.duals[q], True, 2) for _ in range(8)]
    tape = Tape(n, (Block(tuple(1 << q for q in range(n)), tuple(operations)),), maker.frame, maker.num_overlaps)
    for geometry in (None, small_tiles(precision)) if n == 10 else (None,):
        check(Run(rng, tape, maker.coefficients(2), 2), precision, geometry)


@both_precisions
def test_large_states_in_turns(precision, monkeypatch):
    """Samples are taken in turn where they would not stay in the cache, or their partial sums not in bounds."""
    monkeypatch.setattr(sequences, "WAVES", 0)
    geometry = small_tiles(precision)
    run = random_run(3, 10, 10 - geometry.tile_qubits, 5, "dryu")
    small_cache = replace(LIMITS, cache_bytes=100_000 if precision == "double" else 50_000)
    device = emulated(precision, 5, geometry, small_cache)
    assert max(run.errors(device)) < 3 * TOLERANCE[precision]
    launches = {name for name, *_ in device.runtime.launches if "sweep" in name}
    counts = [sum(name == kernel for kernel, *_ in device.runtime.launches) for name in launches]
    assert max(counts) >= 5 * len(run.tape.blocks) // 2
    monkeypatch.setattr(sequences, "PARTIAL_BYTES", 100)
    assert max(run.errors(emulated(precision, 5, geometry))) < 3 * TOLERANCE[precision]
    assert max(random_run(4, 9, 0, 5).errors(emulated(precision, 5))) < 3 * TOLERANCE[precision]


@both_precisions
def test_one_tile_in_shared_memory_or_two(precision):
    """Where the bra has no room of its own, it follows the ket through the same: the same numbers."""
    run = random_run(8, 10, 0, 2, operations=8)
    tight = replace(LIMITS, shared_bytes=(26 if precision == "double" else 18) << 10)
    results = {bits(run, emulated(precision, 5, limits=limits)) for limits in (LIMITS, tight)}
    assert len(results) == 1
    undo = "(bool)0, (bool)1, "
    sizes = [max(e[3] for e in _launches(run, precision, limits) if undo in e[0]) for limits in (LIMITS, tight)]
    assert sizes[0] > 1.5 * sizes[1]


def _launches(run: Run, precision: str, limits: Limits) -> list[tuple[str, tuple[int, int], int, int]]:
    device = emulated(precision, limits=limits)
    bits(run, device)
    return [launch for launch in device.runtime.launches if "sweep" in launch[0]]


@both_precisions
def test_observables(precision):
    for seed in range(14):
        rng = np.random.default_rng(seed)
        n, batch = [1, 2, 3, 4, 5, 7, 13][seed % 7], 1 + seed % 4
        tape = TapeMaker(rng, n).tape(1, 1, "d")
        sums = [random_sum(rng, n, int(rng.integers(1, 12)), diagonal=seed % 2 == 0) for _ in range(seed % 3 + 1)]
        sums.append(PauliSum(n, ()))
        start, cotangents = random_state(rng, (batch, 2**n)), rng.normal(size=(batch, len(sums)))
        device = emulated(precision, 5)
        ket = device.allocate(tape, batch, start)
        scale = sum(abs(term.coefficient) for s in sums for term in s.terms)
        values = device.expectation(ket, tape.frame, sums)
        assert np.abs(values - REFERENCE.expectation(start, tape.frame, sums)).max() < TOLERANCE[precision] * scale, (
            seed
        )
        bra = device.apply_observables(ket, tape.frame, sums, cotangents)
        expected = REFERENCE.apply_observables(start, tape.frame, sums, cotangents)
        assert distance(device.amplitudes(bra, Frame.identity(n)), expected) < TOLERANCE[precision], seed
        assert device.expectation(ket, tape.frame, []).shape == (batch, 0)


@both_precisions
@pytest.mark.parametrize("n", [3, 9, 14])
def test_more_terms_than_a_block_stages(n, precision):
    """Groups of equal flips begin and end anywhere among those that are in shared memory at a time."""
    rng = np.random.default_rng(n)
    tape = TapeMaker(rng, n).tape(1, 1, "d")
    start, flips = random_state(rng, (2, 2**n)), rng.integers(1 << n, size=5)
    terms = [
        PauliTerm(float(rng.normal()), int(flips[k % 5]) * (k % 3 > 0), int(rng.integers(1 << n))) for k in range(150)
    ]
    sums = [PauliSum(n, tuple(terms[:70])), PauliSum(n, tuple(terms[70:])), random_sum(rng, n, 9)]
    device, cotangents = emulated(precision, 5), rng.normal(size=(2, 3))
    ket = device.allocate(tape, 2, start)
    values = device.expectation(ket, tape.frame, sums)
    assert np.abs(values - REFERENCE.expectation(start, tape.frame, sums)).max() < 100 * TOLERANCE[precision]
    bra = device.apply_observables(ket, tape.frame, sums, cotangents)
    expected = REFERENCE.apply_observables(start, tape.frame, sums, cotangents)
    assert distance(device.amplitudes(bra, Frame.identity(n)), expected) < TOLERANCE[precision]


@pytest.mark.parametrize("n", [1, 3, 6, 13])
def test_amplitudes_and_probabilities(n):
    rng = np.random.default_rng(n)
    for batch in (1, 3):
        tape = TapeMaker(rng, n).tape(1, 1, "d")
        start = random_state(rng, (batch, 2**n))
        device = emulated("double")
        ket = device.allocate(tape, batch, start)
        assert np.array_equal(device.amplitudes(ket, tape.frame), REFERENCE.amplitudes(start, tape.frame))
        for count in (0, min(n, 2), n):
            qubits = [int(q) for q in rng.permutation(n)[:count]]
            given = device.probabilities(ket, tape.frame, qubits)
            assert distance(given, REFERENCE.probabilities(start, tape.frame, qubits)) < 1e-14
    single = emulated("single")
    state = single.allocate(tape, batch, start)
    assert single.amplitudes(state, tape.frame).dtype == np.complex64
    assert single.probabilities(state, tape.frame, []).dtype == np.float64


def philox(keys, shots: int) -> np.ndarray:
    """What NumPy draws from the same keys."""
    return np.stack([np.random.Generator(np.random.Philox(key=key)).random(shots) for key in keys])


def is_drawn_at(probabilities, uniform, outcome) -> bool:
    """Whether a shot's outcome is where the running sum passes the number, but for rounding."""
    sums = np.cumsum(probabilities) / probabilities.sum()
    before = sums[outcome - 1] if outcome else 0.0
    return bool(probabilities[outcome] > 0 and before - 1e-13 <= uniform <= sums[outcome] + 1e-13)


@pytest.mark.parametrize(("n", "kept", "shots"), [(1, 1, 9), (3, 2, 30), (4, 0, 3), (10, 10, 61), (12, 11, 40)])
@both_precisions
def test_shots_are_drawn_where_numpy_draws_them(n, kept, shots, precision):
    rng = np.random.default_rng(n)
    batch, tape, device = 3, TapeMaker(rng, n).tape(1, 1, "d"), emulated(precision, 5)
    start = random_state(rng, (batch, 2**n))
    start[1, ::3] = 0
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    ket = device.allocate(tape, batch, start)
    qubits = [int(q) for q in rng.permutation(n)[:kept]]
    table = device.probabilities(ket, tape.frame, qubits)
    keys, states = rng.integers(2**64, size=(4, 2), dtype=np.uint64), [1, 0, 2, 1]
    outcomes = device.sample(ket, tape.frame, qubits, shots, keys, np.array(states))
    for row, uniforms in enumerate(philox(keys, shots)):
        assert all(map(is_drawn_at, [table[states[row]]] * shots, uniforms, outcomes[row]))
    alone = device.sample(ket, tape.frame, qubits, shots, keys[:3])
    assert np.array_equal(alone[2], outcomes[2])
    assert np.array_equal(device.sample(ket, tape.frame, qubits, shots + 5, keys[:3])[:, :shots], alone)


def test_the_shots_follow_the_distribution():
    rng = np.random.default_rng(5)
    start = random_state(rng, (1, 16))
    start[0, [3, 8]] = 0
    device, identity = emulated("double"), Frame.identity(4)
    ket = device.allocate(tape_of(n=4), 1, start)
    shots = 20_000
    outcomes = device.sample(ket, identity, range(4), shots, np.array([[7, 0]], np.uint64))[0]
    expected = shots * np.abs(start[0]) ** 2 / np.linalg.norm(start) ** 2
    counts = np.bincount(outcomes, minlength=16)
    assert counts[[3, 8]].sum() == 0
    possible = expected > 0
    statistic = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    assert 1.5 < statistic < 36  # chi squared, 13 degrees of freedom: outside in 1 case of 1000 on either side
    with pytest.raises(InvalidInputError, match="at least one shot"):
        device.sample(ket, identity, range(4), 0, np.array([[7, 0]], np.uint64))
    with pytest.raises(InvalidInputError, match="rows that name states"):
        device.sample(ket, identity, range(4), 1, np.array([[7, 0]], np.uint64), np.array([1]))


def test_initial_states_and_copies():
    tape = TapeMaker(np.random.default_rng(0), 4).tape(1, 1, "d")
    device, identity = emulated("double"), Frame.identity(4)
    zero = device.allocate(tape, 5, None)
    assert np.array_equal(device.amplitudes(zero, identity), np.eye(16)[[0] * 5])
    shared = random_state(np.random.default_rng(1), (16,))
    state = device.allocate(tape, 5, shared)
    copy = device.copy(state)
    copy.amplitudes[:] = 0
    assert np.array_equal(device.amplitudes(state, identity), [shared] * 5)
    assert device.state_bytes(4, 5) == 16 * 16 * 5


@both_precisions
def test_tables_of_large_angles(precision):
    rng = np.random.default_rng(0)
    angles = np.concatenate([10.0 ** rng.uniform(-9, 9, 60) * rng.choice([-1, 1], 60), np.arange(-9, 10) * np.pi])
    device = emulated(precision)
    for batched in (False, True):
        for angle in angles:
            tape = Tape(1, (Block((1,), (Diag((Factor((1,), (1,), 0, batched),)),)),), Frame.identity(1), 0)
            maker = TapeMaker(rng, 1)
            name, value = ("batched_angles", np.array([[angle]])) if batched else ("angles", np.array([angle]))
            ket = device.allocate(tape, 1, np.array([0.6, 0.8j]))
            device.forward(tape, replaced(maker.coefficients(1), **{name: value}), ket)
            phase = np.exp([-0.5j * angle, 0.5j * angle])
            error = np.abs(device.amplitudes(ket, Frame.identity(1))[0] - phase * [0.6, 0.8j]).max()
            assert error < (2e-15 if precision == "double" else 3e-7), angle


@both_precisions
@pytest.mark.parametrize(("n", "geometry"), [(3, None), (9, None), (10, small_tiles)])
def test_gradients_of_a_layered_circuit(n, geometry, precision):
    """The engine, planning with the device's own cost model, against the reference device."""
    program = layered(n, 2)
    rng, count = np.random.default_rng(n), program.num_angles
    angles = AngleMap(count, np.zeros(count), np.arange(count), np.arange(count), np.ones(count))
    sums = [PauliSum(n, (PauliTerm(0.7, 3, 1), PauliTerm(0.4, 0, 1 << n - 1))), PauliSum(n, (PauliTerm(1.0, 0, 5),))]
    x, w = rng.uniform(-3, 3, (3, n)), rng.uniform(-3, 3, count - n)
    results = []
    for device in (emulated(precision, 5, geometry and geometry(precision)), "reference"):
        f = ProgramFunction(program, angles, sums, EngineOptions(device), num_inputs=n, input_gradients=True)
        results.append([*f.value_and_vjp(x, w, np.cos), f.jacobian(x, w, wrt=[0, n + 1])])
    for given, expected in zip(*results, strict=True):
        assert distance(given, expected) < 100 * TOLERANCE[precision]


def test_the_comparison_sees_a_perturbed_tape():
    run = random_run(7, 5, 1, 3, "y")
    device = emulated("double")
    assert max(run.errors(device)) < 1e-12
    for number, block in enumerate(run.tape.blocks):
        for position in range(len(block.operations)):
            rest = (*block.operations[:position], *block.operations[position + 1 :])
            undo_from = min(block.undo_from, len(rest))
            blocks = [*run.tape.blocks]
            blocks[number] = replace(block, operations=rest, undo_from=undo_from)
            assert max(run.errors(device, replace(run.tape, blocks=tuple(blocks)))) > 1e-3


@pytest.mark.parametrize(
    ("tape", "message"),
    [
        (tape_of(RY(4, 4, 0)), "outside its block's tile"),
        (tape_of(RY(1, 2, 0)), "not odd on its flip vector"),
        (tape_of(RY(1, 1, 0, overlap=1, num_overlaps=2), overlaps=2), "beyond num_overlaps"),
        (tape_of(Pauli(1, 1, 0, (), 0)), "power that does not match"),
        (tape_of(Pauli(1, 0, 0, (1,), 0)), "must be even"),
        (tape_of(Dense((1, 2), (1, 1), 0)), "not dual"),
        (tape_of(tile=(1, 1)), "linearly dependent"),
        (tape_of(RY(8, 8, 0)), "out of range"),
        (tape_of(RY(1, 1, 0), undo_from=2), "undone from operation 2"),
        (tape_of(n=31), "1 to 30 are allowed"),
        (Tape(3, 2 * (Block((1,), (RY(1, 1, 0), RY(1, 1, 0)), 1),), Frame.identity(3), 0), "not undone as a whole"),
    ],
)
def test_tapes_that_cannot_be_run(tape, message):
    device = emulated("double")
    with pytest.raises(InvalidInputError, match=message):
        device.forward(tape, random_run(0, 3, 0, 1).coefficients, device.allocate(tape_of(), 1, None))


def test_tables_that_are_too_large(monkeypatch):
    monkeypatch.setattr(layout, "MOST_ENTRIES", 2)
    tape = tape_of(Diag((Factor((1, 2, 4), (1, 2), 0, False), Factor((1,), (1,), 2, False))))
    device = emulated("double")
    with pytest.raises(InvalidInputError, match="more than 2 entries"):
        device.forward(tape, random_run(0, 3, 0, 1).coefficients, device.allocate(tape, 1, None))


def test_tiles_that_are_too_large():
    tape = tape_of(n=12, tile=tuple(1 << q for q in range(11)))
    device = emulated("double", geometry=small_tiles("double"))
    with pytest.raises(InvalidInputError, match="11 dimensions; 10 are allowed"):
        device.forward(tape, random_run(0, 3, 0, 1).coefficients, device.allocate(tape, 1, None))


def test_arguments_that_do_not_fit():
    device = emulated("double")
    check_refusals(device)
    tape = tape_of(RY(1, 1, 2), RY(1, 1, 0, batched=True))
    ket = device.allocate(tape, 2, None)
    with pytest.raises(InvalidInputError, match="Cotangents"):
        device.apply_observables(ket, tape.frame, [PauliSum(3, ())], np.zeros((1, 1)))
    with pytest.raises(InvalidInputError, match="must be distinct"):
        device.probabilities(ket, tape.frame, [0, 0])
    with pytest.raises(InvalidInputError, match="at least 1"):
        device.allocate(tape, 0, None)
    with pytest.raises(InvalidInputError, match="precision"):
        GPUDevice(EmulatedRuntime(), "half")


@pytest.mark.parametrize(
    ("shared_kib", "single", "resident"),
    [(64, True, 12), (99, True, 13), (227, True, 13), (64, False, 11), (99, False, 12)],
)
def test_tiles_follow_shared_memory(shared_kib, single, resident):
    geometry = Geometry.of(Limits(shared_bytes=shared_kib << 10), single)
    assert geometry.whole_qubits == geometry.largest_tile == resident
    assert geometry.planned_tile == resident - geometry.sector_bits


@pytest.mark.parametrize("shared_kib", sorted({48, 72, 73, *SHARED_KIB.values()}))
@both_precisions
def test_no_launch_has_more_threads_than_its_kernel_was_compiled_for(shared_kib, precision):
    """The kernels' launch bounds and the tiles of the host are one decision."""
    limits = Limits(shared_bytes=shared_kib << 10)
    geometry = Geometry.of(limits, single=precision == "single")
    bound = int(
        re.search(r"constexpr int largest_block = (\d+);", sources.source(block_threads=limits.block_threads))[1]
    )
    assert bound == limits.block_threads
    most = 0
    for n in range(1, geometry.whole_qubits + 4):
        for kinds in "rm":
            maker = TapeMaker(np.random.default_rng(n), n, max(n - 8, 0))
            for sweep in compile_tape(maker.tape(1, 4, kinds), geometry).sweeps:
                measured = geometry.narrowed() if sweep.measured else geometry
                _, threads, shared_bytes, _ = sequences.launch_size(measured, sweep, 1, undo=True)
                assert threads <= (128 if sweep.shape.warp else 256 if sweep.measured else bound)
                assert shared_bytes <= limits.shared_bytes
                most = max(most, threads)
    assert most == bound


def test_registers_suffice_for_the_blocks_of_every_architecture():
    """A multiprocessor has 65,536, given to each thread by eights."""
    for architecture, kernels in json.loads(FILE.read_text()).items():
        largest = block_threads(architecture)
        for name, (registers, _) in kernels.items():
            warp, measured = (
                "(bool)1, (bool)0, (bool)0>" in name or "(bool)1, (bool)1, (bool)0>" in name,
                "(bool)1>" in name,
            )
            threads = largest if "sweep" in name and not measured and not warp else 256
            assert -(-registers // 8) * 8 * threads <= 65536, (architecture, name)


def test_every_operation_has_a_row():
    assert set(KINDS) == set(get_args(Operation))


def test_arguments_are_of_the_types_that_kernels_declare():
    """The emulation checks each launch; here it sees what is wrong."""
    declared = signatures.signatures()
    assert set(declared) == {name.partition("<")[0].removeprefix("fusedqml::") for name in sources.kernel_names()}
    assert {kind for kinds in declared.values() for kind, _ in kinds} - {"Real", "Value", "unsigned long long"} <= {
        *signatures.TYPES,
        *signatures.BY_VALUE,
        "Complex<Real>",
        "Part<Real>",
        "Part<Value>",
    }
    state, columns = np.zeros(4, np.complex64), np.zeros(2, np.int32)
    name, right = "fusedqml::relabel<float>", [state, state, columns, np.int32(0), np.int32(2), np.int64(4)]
    signatures.check(name, right)
    signatures.check(name, [None, *right[1:]])
    for number, wrong in [
        (0, columns),
        (1, state.astype(np.complex128)),
        (3, np.int64(0)),
        (5, np.int32(4)),
        (4, None),
    ]:
        with pytest.raises(TypeError, match=f"argument {number} is of type"):
            signatures.check(name, [*right[:number], wrong, *right[number + 1 :]])
    with pytest.raises(TypeError, match="6 parameters; 5 arguments"):
        EmulatedRuntime().launch(name, (1, 1), 32, 0, right[:5])


def test_members_of_structures_are_what_the_text_declares():
    name, runtime = sources.sweep_name(True, 2, warp=True, undo=False), EmulatedRuntime()
    members = dict.fromkeys(SWEEP.names, 0)
    members |= dict.fromkeys(("words", "order", "load_rows", "store_rows"), np.zeros(4, np.int32))
    members |= {"part": None, "numbers": np.zeros(2, np.float32), "partials": None}
    members |= dict.fromkeys(("ket", "bra", "tables"), np.zeros(2, np.complex64))
    structure = runtime.structure(SWEEP, members)
    signatures.check(name, [structure])
    assert not structure.copy().members  # what takes it by value does not keep its buffers
    for member, wrong in [("numbers", np.zeros(2)), ("part", np.zeros(2)), ("words", members["ket"])]:
        with pytest.raises(TypeError, match=f"{member} is of type"):
            signatures.check(name, [runtime.structure(SWEEP, members | {member: wrong})])
    with pytest.raises(TypeError, match="no SweepArguments"):
        signatures.check(name, [np.int32(0)])
    with pytest.raises(KeyError, match="steps"):
        runtime.structure(SWEEP, {name: value for name, value in members.items() if name != "steps"})


def test_kernels_are_declared_by_their_text():
    kernels = {name.partition("<")[0] for name in sources.kernel_names()}
    assert len(kernels) == sources.source().count("__global__")
    buffer = np.zeros(1)
    values = sources.arguments("relabel", [buffer, None, buffer, 3, True, 2**40])
    assert values[0] is values[2] is buffer
    assert values[1] is None
    assert [type(value) for value in values[3:]] == [np.int32, np.int32, np.int64]
    assert values[5] == 2**40
    with pytest.raises(ValueError, match="shorter"):
        sources.arguments("relabel", [buffer, None, buffer, 3, 1])
