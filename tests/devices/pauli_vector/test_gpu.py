"""The CUDA kernels for Pauli vectors, run on the CPU under adversarial schedules, against the reference."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from support.emulation import fake_cupy
from support.emulation.runtime import EmulatedRuntime, Library
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
from support.random_pauli_tapes import PauliRun, distance, random_observables, replaced

from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.devices.gpu.limits import Limits
from qiskit_fusedqml.devices.gpu.pauli_tapes import PauliGeometry
from qiskit_fusedqml.devices.gpu.sources import kernel_name, source
from qiskit_fusedqml.devices.pauli_vector.device import MixedStateDevice
from qiskit_fusedqml.devices.pauli_vector.gpu import GPUPauliDevice
from qiskit_fusedqml.devices.registry import make_mixed_device
from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.planner.pauli_vector.tape import (
    Affine,
    PauliBlock,
    PauliFrame,
    PauliQubit,
    PauliTape,
    Transfer,
)

SCHEDULES = (0, 5, 11)
both_precisions = pytest.mark.parametrize("precision", ["double", "single"])


def small_tiles(precision: str, largest: int = 6) -> PauliGeometry:
    """Tiles so small that few qubits make many of them."""
    return PauliGeometry(largest, 1, 4 if precision == "single" else 8)


def emulated(precision: str = "double", geometry: PauliGeometry | None = None, schedule: int = 5) -> GPUPauliDevice:
    return GPUPauliDevice(EmulatedRuntime(seed=schedule), precision, geometry)


@both_precisions
@pytest.mark.parametrize("kinds", [*"apt12", "apt", "apt12"])
def test_vectors_of_one_tile(kinds, precision):
    for seed in range(8):
        n = (2 if kinds in "2p" else 1) + seed % 4
        check(emulated(precision), seed, n, [1, 3, 17, 1, 2, 7][seed % 6], kinds, 2, 3, per_sample=bool(seed % 2))


@both_precisions
@pytest.mark.parametrize("kinds", [*"apt12", "apt", "apt12"])
def test_tiles(kinds, precision):
    for seed in range(6):
        device = emulated(precision, small_tiles(precision, 4 + seed % 3))
        check(device, seed, 3 + seed % 3, [1, 3, 2][seed % 3], kinds, 3, 3, 2, per_sample=bool(seed % 2))


@pytest.mark.parametrize("geometry", [None, small_tiles("double")])
def test_transfer_matrices_on_three_qubits(geometry):
    for seed, n in enumerate((3, 4)):
        check(emulated("double", geometry), seed, n, 1 + seed, "3a", 1, 2, 3)


@pytest.mark.parametrize(("n", "precision"), [(6, "double"), (7, "double"), (7, "single"), (8, "single")])
def test_tiles_of_full_size(n, precision):
    """The largest vectors of one tile, and the smallest that are cut."""
    check(emulated(precision), n, n, 1, "apt2", 2, 3, 5)


@both_precisions
def test_the_same_bits_under_all_schedules(precision):
    for geometry in (None, small_tiles(precision)):
        run = PauliRun.random(7, 4, 3, "apt12", 3, 6, 2)
        for per_sample in (False, True):
            results = [all_sweeps(emulated(precision, geometry, seed), run, per_sample) for seed in SCHEDULES]
            for other in results[1:]:
                for name, array in results[0].items():
                    np.testing.assert_array_equal(other[name], array, err_msg=name)


@pytest.mark.parametrize("geometry", [None, small_tiles("double")])
def test_laws_of_the_sweeps(geometry):
    for batch in (1, 5):
        check_undoing(emulated("double", geometry), batch, 3)
        check_sums(emulated("double", geometry), batch)


@both_precisions
@pytest.mark.parametrize("batch", [1, 3, 20])
def test_vectors_and_observables(batch, precision):
    check_vectors_and_observables(emulated(precision), batch)


def test_a_sweep_over_one_tile_is_one_launch():
    run = PauliRun.random(3, 4, 5, "apt", 4, 6, 2)
    device = emulated()
    ket, bra = device.allocate(4, 5, run.kets), device.allocate(4, 5, run.bras)
    before = len(device.runtime.launches)
    device.forward(run.tape, run.coefficients, ket)
    device.joint(run.tape, run.coefficients, ket, bra, per_sample=False)
    names = [name for name, *_ in device.runtime.launches[before:]]
    kernels = ("pauli_apply", "set_zero", "pauli_measure", "add_segments")
    assert [name.partition("<")[0] for name in names] == [f"fusedqml::{kernel}" for kernel in kernels]


def test_blocks_that_are_undone_in_part():
    """Each block says from where it is undone, also where all blocks are one launch."""
    run = PauliRun.random(4, 3, 2, "apt", 3, 4, 2)
    blocks = tuple(replace(block, undo_from=k) for block, k in zip(run.tape.blocks, (1, 4, 2), strict=True))
    own = replace(run, tape=PauliTape(3, blocks, run.tape.frame, run.tape.num_overlaps))
    expected = all_sweeps(REFERENCE, own)
    for geometry in (None, small_tiles("double", 5)):
        got = all_sweeps(emulated("double", geometry), own)
        assert max(distance(got[name], expected[name]) for name in expected) < TOLERANCE["double"]


@both_precisions
def test_sizes_of_tiles(precision):
    """Ket and bra of a tile fit into the shared memory of every device."""
    sizes = {}
    for shared in (48, 64, 99, 227):
        geometry = PauliGeometry.of(Limits(shared_bytes=shared << 10), precision == "single")
        sizes[shared] = geometry.largest_tile
        assert geometry.planned_tile == geometry.largest_tile - (3 if precision == "single" else 2)
    assert list(sizes.values()) == ([12, 12, 13, 14] if precision == "single" else [11, 11, 12, 13])


def test_the_device_that_goes_with_a_gpu():
    made = make_mixed_device(GPUDevice(EmulatedRuntime(), "single"))
    assert isinstance(made, MixedStateDevice)
    assert isinstance(made.inner, GPUPauliDevice)
    assert made.inner.precision == "single"
    assert make_mixed_device(made) is made
    assert made.inner.state_bytes(5, 3) == 3 * 4 * 4**5
    assert made.inner.memory_budget() == EmulatedRuntime().free_bytes() // 2


@both_precisions
def test_on_cupy(precision, monkeypatch):
    """The device by its name, on a stand-in for CuPy."""
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy.make())
    monkeypatch.setattr("qiskit_fusedqml.devices.gpu.runtime._kernels", {})
    device = make_mixed_device("GPU", precision=precision).inner
    check(device, 5, 4, 3, "apt12", 2, 4)
    check_vectors_and_observables(device, 3)


def test_bad_input():
    device = emulated()
    with pytest.raises(InvalidInputError, match="precision"):
        emulated("half")
    with pytest.raises(InvalidInputError, match="at least 1"):
        device.allocate(2, 0)
    with pytest.raises(InvalidInputError, match="15 at most"):
        device.allocate(16, 1)
    with pytest.raises(InvalidInputError, match="shape"):
        device.allocate(2, 3, np.zeros((2, 16)))
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
    observables = random_observables(np.random.default_rng(1), 2, 3)
    for batch, cotangents in ((2, np.ones((3, 3))), (2, None)):
        with pytest.raises(InvalidInputError, match="Cotangents"):
            device.bra(2, batch, observables, cotangents)
    with pytest.raises(InvalidInputError, match="number of qubits"):
        device.products(device.allocate(2, 1), device.allocate(3, 1))
    wide = PauliRun.random(1, 3, 2, "2", 1, 1)
    wrong = replaced(wide.coefficients, transfers=(np.eye(4),), inverse_transfers=(np.eye(4),))
    with pytest.raises(InvalidInputError, match="the tape needs 256"):
        device.forward(wide.tape, wrong, device.allocate(3, 2))


def one_block(n: int, qubits: tuple[PauliQubit, ...], operation: Affine | Transfer) -> PauliTape:
    """A tape of one operation."""
    tile = tuple(vector for qubit in qubits for vector in qubit[:2])
    return PauliTape(n, (PauliBlock(tile, (operation,)),), PauliFrame.identity(n), 0)


def test_tapes_that_are_refused():
    run, qubits = PauliRun.random(1, 4, 2, "a", 1, 1), PauliFrame.identity(4).qubits
    for tape, largest, problem in (
        (one_block(4, qubits[:1], Affine(qubits[1], 0)), 4, "outside its block's tile"),
        (one_block(4, qubits[:3], Affine(qubits[1], 0)), 4, "6 dimensions; 4 are allowed"),
        (one_block(4, qubits, Transfer(qubits, 0)), 8, "4 qubits; 3 at most"),
    ):
        device = emulated("double", small_tiles("double", largest))
        with pytest.raises(InvalidInputError, match=problem):
            device.forward(tape, run.coefficients, device.allocate(4, 2))


FAULTS = {
    "sums are collected before a barrier": (
        "        __syncthreads();\n        if (record.slot >= 0) sums.collect(record.slot, left);",
        "        if (record.slot >= 0) sums.collect(record.slot, left);\n        __syncthreads();",
    ),
    "no barrier before a transfer matrix writes": (
        "        __syncthreads();\n#pragma unroll\n        for (int j = 0; j < mine; ++j)\n            if (places",
        "#pragma unroll\n        for (int j = 0; j < mine; ++j)\n            if (places",
    ),
    "an operation's numbers come too late": ("        ahead.load(k);\n        switch", "        switch"),
    "one room for the sums of two operations": ("        turn ^= 1;\n", ""),
    "sign of an overlap": ("left_negative ? -l : l", "left_negative ? l : -l"),
    "sign of Y": ("if (a == 2 && orbit.odd && store)", "if (false)"),
    "order of a pair": ("if (!transposed) scale_pair(numbers, v);\n    add_gain(numbers[16]", "add_gain(numbers[16]"),
}
"""What is planted: the right text, and the wrong one."""


def findings(kernels: Library | None) -> set[str]:
    """What the checks say about compiled kernels: nothing, if they are right."""
    found = set()
    for arguments in ((3, 4, 2, "apt", 2, 8), (5, 5, 1, "apt2", 2, 6)):
        run, expected = run_and_expected(*arguments)
        results = []
        for seed in SCHEDULES:
            got = all_sweeps(GPUPauliDevice(EmulatedRuntime(kernels, seed)), run)
            results.append(b"".join(array.tobytes() for array in got.values()))
            if not np.max([distance(got[name], expected[name]) for name in expected]) < TOLERANCE["double"]:  # NaN, too
                found.add("wrong numbers")
        if len(set(results)) > 1:
            found.add("numbers that depend on the schedule")
    return found


def test_the_kernels_are_right():
    assert not findings(None)


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_seen(fault):
    right, wrong = FAULTS[fault]
    assert source().count(right) == 1
    names = ["set_zero", "add_segments", "pauli_set", "pauli_apply", "pauli_measure"]
    kernels = Library(source().replace(right, wrong), [[kernel_name(name, single=False) for name in names]])
    assert findings(kernels)
