"""What the emulation would see: faults planted into the kernels are caught, and the sanitizers find none in them."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from itertools import chain

import numpy as np
import pytest
from support.conformance import Run, random_run
from support.emulation.runtime import EmulatedRuntime, Library, Recorder, replay_program
from support.tapes import TapeMaker

from qiskit_fusedqml.devices.gpu.compiled import Geometry, Sweep, compile_tape
from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.devices.gpu.limits import Limits
from qiskit_fusedqml.devices.gpu.records import EXCHANGE
from qiskit_fusedqml.devices.gpu.sources import kernel_name, source, sweep_name
from qiskit_fusedqml.planner.frame import Frame

LIMITS = Limits(shared_bytes=227 << 10, multiprocessors=2)
TILES = Geometry(False, 8, 9, 10, LIMITS)
SMALL_KERNELS = [
    kernel_name(name, single=False)
    for name in ("fill_tables", "set_part", "set_state", "set_zero", "relabel", "add_segments")
]
BLOCK_KERNELS = [
    *(sweep_name(False, 3, False, undo) for undo in (False, True)),
    sweep_name(False, 3, False, undo=True, measured=True),
    *SMALL_KERNELS,
]
KERNELS = [*(sweep_name(False, 2, True, undo) for undo in (False, True)), *BLOCK_KERNELS]


@cache
def runs() -> tuple[tuple[Run, Geometry | None], ...]:
    """Tapes of every operation on a warp, a block of several warps, and tiles."""
    # drawn so that windows change forward and back on each of them
    sizes = [(3, 6, 0, None), (3, 7, 0, None), (1, 10, 0, None), (2, 10, 0, None), (5, 11, 2, TILES)]
    random = [(random_run(seed, n, spread, 2, operations=6), geometry) for seed, n, spread, geometry in sizes]
    return (*random, (random_run(1, 9, 0, 2, "ld"), None))


def findings(kernels: Library) -> set[str]:
    """What the checks say about compiled kernels: nothing, if they are right."""
    found = set()
    for run, geometry in runs():
        results = set()
        for seed in (0, 5, 11):
            device = GPUDevice(EmulatedRuntime(kernels, seed, LIMITS), "double", geometry)
            try:
                errors = run.errors(device)
            except RuntimeError as error:
                found.add(str(error).partition(": ")[2])
                continue
            except AssertionError:  # NaN, which is what shared memory holds where nobody has written
                errors = [np.inf]
            results.add(tuple(errors))
            if max(errors) > 1e-11:
                found.add("wrong numbers")
        if len(results) > 1:
            found.add("numbers that depend on the schedule")
    return {finding.partition(" in block")[0] for finding in found}


FAULTS = {
    "no barrier before an exchange is read": (
        "        tile.sync();\n        move<false, false>(ket, room, bra, room, a, to);",
        "        move<false, false>(ket, room, bra, room, a, to);",
        "wrong numbers",
    ),
    "no barrier after an exchange was read": (
        "    if (undo) tile.flush(words[0], words[1]);\n    tile.sync();\n",
        "    if (undo) tile.flush(words[0], words[1]);\n",
        "numbers that depend on the schedule",
    ),
    "no barrier between lanes": (
        "if (warp) __syncwarp();",
        "if (warp) return;",
        "wrong numbers",
    ),
    "a barrier that some threads do not reach": (
        "        tile.sync();\n        move<false, false>(ket, room, bra, room, a, to);",
        "        if (tile.thread()) tile.sync();\n        move<false, false>(ket, room, bra, room, a, to);",
        "barrier divergence: some threads wait, others do not come",
    ),
    "a mask with a bit too few": (
        "functional >> W & static_cast<unsigned>(lanes - 1)",
        "functional >> W & static_cast<unsigned>(lanes - 2)",
        "wrong numbers",
    ),
    "an address in shared memory beyond the tile": (
        "            at = v[i];",
        "            (&at)[i == 5 ? 128 : 0] = v[i];",
        "a write beyond shared memory",
    ),
    "an address beyond the state": (
        "to[a.at(i)] = v[i];",
        "to[a.at(i) + 1] = v[i];",
        "a write beyond a buffer",
    ),
    "a plain layer of rotations that is not undone": (
        "pair.re, undo ? -pair.im : pair.im, true, odd);",
        "pair.re, pair.im, true, odd);",
        "wrong numbers",
    ),
    "an overlap of the wrong sign": (
        "return bra.re * ket.im - bra.im * ket.re;",
        "return bra.im * ket.re - bra.re * ket.im;",
        "wrong numbers",
    ),
}


def test_the_kernels_as_they_are():
    assert findings(Library(source(), [KERNELS])) == set()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault):
    right, wrong, finding = FAULTS[fault]
    assert source().count(right) == 1
    assert finding in findings(Library(source().replace(right, wrong), [KERNELS]))


def sanitized(text: str, sanitizer: str, tmp_path) -> subprocess.CompletedProcess:
    """The launches of small runs, recorded and run again under a sanitizer."""
    recorder, parts = Recorder(), []
    # blocks of two warps; one tile in shared memory, so that ket and bra use the same
    limits = Limits(shared_bytes=(8 << 10) + (9 << 10), multiprocessors=2)
    for seed, n, spread, geometry in [(4, 9, 0, None), (5, 10, 2, TILES)]:
        run = random_run(seed, n, spread, 1, operations=5)
        device = GPUDevice(EmulatedRuntime(None, 0, limits, recorder), "double", geometry)
        ket, bra = device.allocate(run.tape, 1, run.start), device.allocate(run.tape, 1, run.bra)
        device.forward(run.tape, run.coefficients, ket)
        device.backward(run.tape, run.coefficients, ket, bra, per_sample=False)
        loaded = device._tapes[device.geometry][run.tape]
        parts += [workspace.part for workspace in loaded.workspaces.values()]
    program = replay_program(text, BLOCK_KERNELS, (f"-fsanitize={sanitizer}",))
    record = tmp_path / "launches"
    record.write_bytes(recorder.file(BLOCK_KERNELS))
    command = [str(program), str(record)]
    if platform.system() == "Linux":  # ThreadSanitizer wants its own part of the address space
        command = ["setarch", platform.machine(), "-R", *command]
    answer = subprocess.run(command, capture_output=True, check=False, timeout=120)
    if answer.returncode == 0:
        addresses = {id(part.base) for part in parts if part is not None}  # another process has others
        position = 0
        for root in recorder.roots:
            expected, start = root[128:-128].tobytes(), position
            position += len(expected)
            assert answer.stdout[start:position] == expected or id(root) in addresses
        assert position == len(answer.stdout)
    return answer


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_sanitizers_find_nothing(sanitizer, tmp_path):
    answer = sanitized(source(), sanitizer, tmp_path)
    assert answer.returncode == 0, answer.stderr.decode()[:4000]
    assert answer.stderr == b""


@pytest.mark.slow
def test_thread_sanitizer_sees_a_missing_barrier(tmp_path):
    right, wrong, _ = FAULTS["no barrier after an exchange was read"]
    answer = sanitized(source().replace(right, wrong), "thread", tmp_path)
    assert b"data race" in answer.stderr
    assert b"tile.cuh" in answer.stderr


@pytest.mark.slow
def test_address_sanitizer_sees_an_overrun(tmp_path):
    right, wrong, _ = FAULTS["an address beyond the state"]
    answer = sanitized(source().replace(right, wrong), "address,undefined", tmp_path)
    assert b"heap-buffer-overflow" in answer.stderr


LANE_ENTRIES = 4 + 2 * 4
"""Where the addresses of lanes begin in the record of an exchange: behind its words, and four vectors of each side."""


def exchanges(sweep: Sweep) -> list[int]:
    """Where the exchanges of a forward sweep begin."""
    alone = [start for start, head, *_ in sweep.forward if head == EXCHANGE]
    return alone + [start for start in sweep.forward[:, 2] if start >= 0]


def conflicts(sweep: Sweep, bank_bits: int) -> int:
    """Most lanes that meet in a bank when a window is left or entered, over all exchanges of a sweep."""
    t, w = sweep.shape.dimension, sweep.shape.register_qubits
    lanes = 1 << bank_bits
    most = 1
    assert exchanges(sweep)
    for start in exchanges(sweep):
        for side in range(2):
            addresses = []
            for lane in range(lanes):
                group, thread = lane >> t - w, lane & (1 << t - w) - 1
                entry = sweep.words[start + LANE_ENTRIES + 2 * thread + side]
                address = int(entry) // sweep.shape.amplitude_bytes
                skew = (group << t - w) & (lanes - 1) if t - w < bank_bits and t >= bank_bits else 0
                addresses.append((group << t) + (address ^ skew))
            banks = [address % lanes for address in addresses]
            most = max(most, *(banks.count(bank) for bank in banks))
    return most


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("n", [5, 6, 7, 8, 9, 11, 12, 15])
def test_no_two_lanes_meet_in_a_bank(n, single):
    geometry = Geometry.of(LIMITS, single)
    maker = TapeMaker(np.random.default_rng(n), n, max(n - 11, 0))
    for kinds in ("r", "y", "p", "m"):
        tape = maker.tape(3, 12, kinds)
        for sweep in chain(*(compile_tape(tape, each).sweeps for each in (geometry, geometry.for_batch(n, 1)))):
            if exchanges(sweep):
                assert conflicts(sweep, 4 if single else 3) == 1


def test_the_count_sees_a_conflict():
    maker = TapeMaker(np.random.default_rng(0), 10)
    maker.frame = Frame.identity(10)
    (sweep,) = compile_tape(maker.tape(2, 12, "r"), Geometry.of(LIMITS, single=True)).sweeps
    first = exchanges(sweep)[0] + LANE_ENTRIES
    sweep.words[first : first + 2] = sweep.words[first + 2 : first + 4]
    assert conflicts(sweep, 4) > 1
