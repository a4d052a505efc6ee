"""The device of several ranks, as threads, against the reference device."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.conformance import REFERENCE, TOLERANCE, Run, distance, random_sum
from support.emulation.runtime import EmulatedRuntime
from support.ranks import on_ranks
from support.staged import layered, planned
from support.tapes import TapeMaker

from qiskit_fusedqml.devices import Device
from qiskit_fusedqml.devices.cpu import CPUDevice
from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.devices.reference import ReferenceDevice
from qiskit_fusedqml.distributed.device import DistributedDevice
from qiskit_fusedqml.planner.frame import Frame

INNER: dict[str, Callable[[], Device]] = {
    "reference": ReferenceDevice,
    "double": lambda: CPUDevice(num_threads=1),
    "single": lambda: CPUDevice("single", num_threads=2),
}


def made(comm: Any, inner: str) -> DistributedDevice:
    return DistributedDevice(INNER[inner](), comm)


def random_run(seed: int, n: int, g: int, spread: int, batch: int) -> Run:
    rng = np.random.default_rng(seed)
    maker = TapeMaker(rng, n, min(g + spread, n - 1))  # tiles leave so many dimensions outside
    tape = replace(maker.tape(3, 4), lane_qubits=max(min(g + spread, n - 1) - g, 0))
    return Run(rng, tape, maker.coefficients(batch), batch)


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("seed", range(12))
def test_random_tapes_do_what_they_do_on_one_process(seed: int, inner: str) -> None:
    rng = np.random.default_rng(seed)
    size, n = int(rng.choice([1, 2, 4, 8])), int(rng.integers(5, 8))
    batch = int(rng.choice([1, 1, 2, 5, 9]))
    run = random_run(seed, n, size.bit_length() - 1, int(rng.integers(4)), batch)
    for errors in on_ranks(size, lambda comm: run.errors(made(comm, inner))):
        assert max(errors) < TOLERANCE["single" if inner == "single" else "double"]


class OneAtATime(EmulatedRuntime):
    """The emulation has one set of threads, whichever rank launches."""

    lock = threading.Lock()

    def launch(self, *arguments: Any) -> None:
        with self.lock:
            super().launch(*arguments)


@pytest.mark.parametrize("precision", ["double", "single"])
def test_kernels_of_a_gpu_on_every_rank(precision: str) -> None:
    """As far as their emulation goes: parts, pieces of them, and all that is read off a state."""
    run = random_run(4, 6, 1, 0, 2)
    sums = [random_sum(np.random.default_rng(1), 6, 4)]

    def work(comm: Any) -> tuple[list[float], np.ndarray, np.ndarray]:
        device = DistributedDevice(GPUDevice(OneAtATime(), precision), comm)
        ket = device.allocate(run.tape, 2, run.start)
        device.forward(run.tape, run.coefficients, ket)
        frame = run.tape.frame
        bra = device.apply_observables(ket, frame, sums, np.ones((2, 1)))
        return run.errors(device), device.expectation(ket, frame, sums), device.amplitudes(bra, frame)

    tolerance = TOLERANCE[precision]
    image = REFERENCE.apply_observables(run.ket, run.tape.frame, sums, np.ones((2, 1)))
    for errors, values, amplitudes in on_ranks(2, work, timeout=120.0):
        assert max(errors) < tolerance
        assert distance(values, REFERENCE.expectation(run.ket, run.tape.frame, sums)) < tolerance
        assert distance(amplitudes, REFERENCE.amplitudes(image, run.tape.frame)) < tolerance


@pytest.mark.parametrize("inner", ["reference", "double"])
@pytest.mark.parametrize("seed", range(8))
def test_what_is_read_off_a_state(seed: int, inner: str) -> None:
    """Observables that flip any qubits, marginals, amplitudes, after a tape in a random frame."""
    rng = np.random.default_rng(seed)
    size, n, batch = int(rng.choice([2, 4, 8])), 6, int(rng.choice([1, 3]))
    run = random_run(seed, n, size.bit_length() - 1, int(rng.integers(3)), batch)
    frame = run.tape.frame
    sums = [random_sum(rng, n, int(count)) for count in rng.integers(1, 6, size=3)]
    cotangents = rng.normal(size=(batch, 3))
    qubits = rng.permutation(n)[: int(rng.integers(n + 1))].tolist()

    def read(device: Device) -> list[np.ndarray]:
        ket = device.allocate(run.tape, batch, run.start)
        device.forward(run.tape, run.coefficients, ket)
        bra = device.apply_observables(ket, frame, sums, cotangents)
        return [
            device.expectation(ket, frame, sums),
            device.amplitudes(bra, frame),
            device.probabilities(ket, frame, qubits),
            device.amplitudes(device.copy(ket), frame),
        ]

    expected = read(REFERENCE)
    results = on_ranks(size, lambda comm: read(made(comm, inner)))
    for found in results:
        assert max(map(distance, found, expected)) < 1e-12
        for one, other in zip(found, results[0], strict=True):
            np.testing.assert_array_equal(one, other)  # to the bit


def test_local_amplitudes_are_all_of_them() -> None:
    run = random_run(3, 6, 2, 1, 2)

    def local(comm: Any) -> tuple[np.ndarray, np.ndarray]:
        device = made(comm, "double")
        ket = device.allocate(run.tape, 2, run.start)
        device.forward(run.tape, run.coefficients, ket)
        return device.local_amplitudes(ket, run.tape.frame)

    indices, parts = zip(*on_ranks(4, local), strict=True)
    assert sorted(np.concatenate(indices)) == list(range(64))
    expected = REFERENCE.amplitudes(run.ket, run.tape.frame)
    for chosen, part in zip(indices, parts, strict=True):
        assert distance(part, expected[:, chosen]) < 1e-12


@pytest.mark.parametrize("table_qubits", [0, 16])
@pytest.mark.parametrize("seed", range(6))
def test_shots_are_those_of_the_running_sum(seed: int, table_qubits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `SamplingDevice.sample` says it, in NumPy, whether a rank has all probabilities or its own only."""
    monkeypatch.setattr("qiskit_fusedqml.distributed.device.TABLE_QUBITS", table_qubits)
    rng = np.random.default_rng(seed)
    size = int(rng.choice([2, 4]))
    run = random_run(seed, 6, size.bit_length() - 1, 0, 2)
    qubits = rng.permutation(6)[: int(rng.integers(1, 7))].tolist()
    keys, states = rng.integers(2**64, size=(3, 2), dtype=np.uint64), np.array([1, 0, 1])
    sums = np.cumsum(REFERENCE.probabilities(run.ket, run.tape.frame, qubits), axis=1)
    numbers = [np.random.Generator(np.random.Philox(key=key)).random(200) for key in keys]
    expected = [np.searchsorted(sums[s], u * sums[s, -1], side="right") for s, u in zip(states, numbers, strict=True)]

    def sampled(comm: Any) -> np.ndarray:
        device = made(comm, "double")
        ket = device.allocate(run.tape, 2, run.start)
        device.forward(run.tape, run.coefficients, ket)
        return device.sample(ket, run.tape.frame, qubits, 200, keys, states)

    for found in on_ranks(size, sampled):
        np.testing.assert_array_equal(found, expected)


def test_zero_is_the_state_of_rank_0() -> None:
    run = random_run(5, 6, 2, 1, 1)

    def amplitudes(comm: Any) -> np.ndarray:
        device = made(comm, "double")
        return device.amplitudes(device.allocate(run.tape, 1, None), Frame.identity(6))

    for found in on_ranks(4, amplitudes):
        np.testing.assert_array_equal(found, np.eye(64)[:1])


def test_bytes_are_counted() -> None:
    plan = planned(layered(8, 3, "ring"), 2, tile_qubits=4, lanes=1, threads=1)

    def sent(comm: Any) -> tuple[int, int]:
        device = made(comm, "double")
        bound = device.coefficient_map(plan.tables).bind(np.linspace(-1, 1, 72), np.zeros((1, 0)))
        assert bound is not None
        ket = device.allocate(plan.tape, 1, None)
        device.forward(plan.tape, bound.coefficients, ket)
        bra = device.copy(ket)
        device.backward(plan.tape, bound.coefficients, ket, bra, per_sample=False)
        return device.ranks.bytes_sent, device.ranks.num_exchanges

    for found, exchanges in on_ranks(4, sent):
        assert found == plan.network_bytes * 2**6
        assert exchanges == 3 * len(plan.exchanges)
    assert plan.exchanges


def test_a_perturbed_tape_is_seen() -> None:
    run = random_run(1, 6, 1, 1, 2)
    block, *others = run.tape.blocks
    broken = replace(run.tape, blocks=(replace(block, operations=block.operations[1:], undo_from=0), *others))
    for errors in on_ranks(2, lambda comm: run.errors(made(comm, "double"), broken)):
        assert max(errors) > 1e-3
