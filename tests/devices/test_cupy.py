"""The CUDA device itself, on a stand-in for CuPy that runs the kernels on the CPU."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from support.conformance import TOLERANCE, distance, random_run, random_sum
from support.emulation import fake_cupy
from support.emulation.fake_cupy import Array, Tensor
from support.emulation.streams import Graph, Stream
from support.pauli_conformance import REFERENCE, all_sweeps
from support.random_pauli_tapes import PauliRun
from support.tapes import TapeMaker, random_state, tape_of

from qiskit_fusedqml.devices.gpu import runtime, sequences, sources
from qiskit_fusedqml.devices.gpu.compiled import Geometry
from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.devices.gpu.runtime import Runtime
from qiskit_fusedqml.devices.pauli_vector.gpu import GPUPauliDevice
from qiskit_fusedqml.errors import (
    DeviceUnavailableError,
    InvalidInputError,
    OutOfMemoryError,
    SlowPathWarning,
    warn_slow_path,
)
from qiskit_fusedqml.planner.frame import Frame
from qiskit_fusedqml.planner.tape import RY


@pytest.fixture
def cupy(monkeypatch):
    module = fake_cupy.make()
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr("qiskit_fusedqml.devices.gpu.runtime._kernels", {})
    return module


def tiled(cache_bytes: int = 50 << 20) -> GPUDevice:
    """A device in double precision whose states of more than 8 qubits are cut into tiles."""
    runtime = Runtime()
    runtime.limits = replace(runtime.limits, cache_bytes=cache_bytes)
    return GPUDevice(runtime, "double", Geometry(False, 8, 8, 10, runtime.limits))


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("n", [1, 5, 8, 10])
def test_sweeps(n, precision, cupy):
    assert max(random_run(n, n, 0, 3).errors(GPUDevice(Runtime(), precision))) < 3 * TOLERANCE[precision]


def test_tiles_of_full_size(cupy):
    run = random_run(2, 14, 2, 1, operations=6)
    assert max(run.errors(GPUDevice(Runtime(), "single"))) < 3 * TOLERANCE["single"]
    threads = {block for name, _, block, _ in cupy.launched if "sweep" in name}
    assert threads <= {256, 512}


def test_a_graph_is_captured_once_for_each_size_of_a_part(cupy, monkeypatch):
    graphs: list[Graph] = []
    end = Stream.end_capture
    monkeypatch.setattr(Stream, "end_capture", lambda stream: graphs.append(end(stream)) or graphs[-1])
    monkeypatch.setattr(sequences, "WAVES", 0)
    run = random_run(3, 10, 2, 5, "dryu")
    device = tiled(cache_bytes=100_000)  # three kets, or one ket and bra, at a time
    for _ in range(3):
        assert max(run.errors(device)) < 1e-12
    blocks = len(run.tape.blocks)
    # forward on three samples and on two, backward on one, summed or by sample
    assert [len(graph.work) for graph in graphs[:2]] == [blocks, blocks]
    assert all(len(graph.work) >= blocks for graph in graphs[2:])
    assert [graph.count for graph in graphs] == [3, 3, 15, 15]
    captured = sum(len(graph.work) for graph in graphs)
    sweeps = sum("sweep" in name or "add_segments" in name for name, *_ in cupy.launched)
    assert sweeps == captured  # all others were replays


def test_each_stream_has_its_own_graphs_and_numbers(cupy):
    run, other = random_run(3, 10, 2, 2, "dryu"), random_run(3, 10, 2, 2, "dryu")
    device = tiled()
    expected = max(run.errors(device))
    assert expected < 1e-12
    with cupy.cuda.Stream():
        assert max(run.errors(device)) == expected
        assert max(other.errors(device)) == expected
    (loaded,) = [device._tapes[device.geometry][tape] for tape in (run.tape,)]
    assert len(loaded.workspaces) == 2
    streams = [cupy.cuda.Stream() for _ in range(sequences.KEPT_WORKSPACES)]
    for stream in streams:
        with stream:
            assert max(run.errors(device)) == expected
    assert len(loaded.workspaces) == sequences.KEPT_WORKSPACES


def test_results_stay_on_the_device(cupy):
    rng = np.random.default_rng(1)
    n, batch = 5, 3
    tape, start = TapeMaker(rng, n).tape(1, 1, "d"), random_state(rng, (batch, 2**n))
    sums = [random_sum(rng, n, 4), random_sum(rng, n, 2)]
    device = GPUDevice(Runtime())
    ket = device.allocate(tape, batch, start)
    cotangents = rng.normal(size=(batch, 2))
    keys = rng.integers(2**64, size=(batch, 2), dtype=np.uint64)

    def results(device: GPUDevice, cotangents) -> list:
        bra = device.apply_observables(ket, tape.frame, sums, cotangents)
        return [
            device.expectation(ket, tape.frame, sums),
            device.expectation(ket, tape.frame, []),
            device.amplitudes(bra, tape.frame),
            device.probabilities(ket, tape.frame, [0, 3]),
            device.sample(ket, tape.frame, [1, 2], 6, keys),
        ]

    expected = results(device, cotangents)
    for given in (cotangents, cupy.asarray(cotangents), Tensor(cotangents), Tensor(cotangents.astype(np.float32))):
        kept = results(device.on_device, given)
        assert all(isinstance(array, Array) for array in kept)
        for array, right in zip(kept, expected, strict=True):
            assert (array.shape, array.dtype) == (right.shape, right.dtype)
            assert distance(array.get(), right) < (1e-6 if getattr(given, "host", given).dtype == np.float32 else 1e-15)
    assert [device.is_on_device(a) for a in (cotangents, cupy.asarray(cotangents), Tensor(cotangents), [1.0])] == [
        False,
        True,
        True,
        False,
    ]
    assert np.array_equal(device.to_host(Tensor(cotangents)), cotangents)
    assert np.array_equal(device.from_host(cotangents).get(), cotangents)


def test_what_is_launched_and_compiled(cupy):
    device = GPUDevice(Runtime(), "single")
    assert device.cost_model.tile_qubits == 11
    limits = device.geometry.limits
    assert (limits.shared_bytes, limits.multiprocessors, limits.double_rate) == (227 << 10, 132, 1 / 2)
    given = TapeMaker(np.random.default_rng(0), 13)
    given.num_pairs = [1, 0]
    tape = tape_of(RY(1, 1, 0), n=13)
    ket = device.allocate(tape, 2, None)
    for _ in range(2):
        device.forward(tape, given.coefficients(2), ket)
    assert cupy.compiled == ["fusedqml::set_state<float>", "fusedqml::sweep<float, (int)4, (bool)0, (bool)0, (bool)0>"]
    assert cupy.cuda.get_current_stream().waited >= 1  # for the tape's records, which any stream may read from now on
    assert cupy.launched[-1] == ("fusedqml::sweep<float, (int)4, (bool)0, (bool)0, (bool)0>", (2, 1), 512, 64 << 10)
    assert np.isfinite(device.amplitudes(ket, Frame.identity(13))).all()


@pytest.mark.parametrize("precision", ["double", "single"])
def test_a_second_gpu(precision, monkeypatch):
    """What was made on a device stays there, whichever is current, in any thread."""
    cupy = fake_cupy.make(devices=2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr("qiskit_fusedqml.devices.gpu.runtime._kernels", {})
    run, vectors = random_run(3, 6, 0, 2), PauliRun.random(1, 3, 2, "apt", 2, 3)
    devices = []
    for number in (0, 1):
        with cupy.cuda.Device(number):
            devices.append((GPUDevice(Runtime(), precision), GPUPauliDevice(Runtime(), precision)))
    expected = all_sweeps(REFERENCE, vectors)
    for pure, mixed in devices * 2:
        assert max(run.errors(pure)) < 3 * TOLERANCE[precision]
        for name, found in all_sweeps(mixed, vectors).items():
            np.testing.assert_allclose(found, expected[name], atol=1e-4)
    assert {device for device, _ in cupy.streams} == {0, 1}
    with ThreadPoolExecutor(1) as pool:
        assert max(pool.submit(run.errors, devices[1][0]).result()) < 3 * TOLERANCE[precision]


def test_a_forgotten_device_is_seen(monkeypatch):
    cupy = fake_cupy.make(devices=2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr("qiskit_fusedqml.devices.gpu.runtime._kernels", {})
    monkeypatch.setattr(Runtime, "current", lambda *_: nullcontext())
    with cupy.cuda.Device(1):
        device = GPUDevice(Runtime())
        ket = device.allocate(tape_of(), 1, None)
    with pytest.raises(RuntimeError, match="loaded on another device"):
        device.allocate(tape_of(), 1, None)
    with pytest.raises(ValueError, match="array device = 1 while current = 0"):
        device.amplitudes(ket, Frame.identity(3))


def test_arrays_that_are_not_taken(monkeypatch):
    cupy = fake_cupy.make(devices=2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    device, numbers = GPUDevice(Runtime()), np.ones((2, 1))
    with cupy.cuda.Device(1):
        others = cupy.asarray(numbers)
    for array in (others, Tensor(numbers, device=1)):
        assert device.is_on_device(array)
        with pytest.raises(InvalidInputError, match=r"x is in the memory of CUDA device 1; .* is on device 0"):
            device.take(array, "x")
    with pytest.raises(InvalidInputError, match="w is of type complex128; real numbers"):
        device.take(cupy.asarray(1j * numbers), "w")

    class Recorded(Tensor):
        def __dlpack__(self, **_):
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")

    with pytest.raises(InvalidInputError, match=r"x, a Recorded, cannot .* require gradient.* \(x\.detach\(\)"):
        device.take(Recorded(numbers), "x")
    own = cupy.asarray(np.arange(6).reshape(3, 2).astype(np.int32))
    assert np.array_equal(device.take(own.T, "x").get(), np.arange(6).reshape(3, 2).T)  # not in a row, of another type


def test_large_states_fill_the_multiprocessors(cupy, monkeypatch):
    """A cache that holds less than a state does not leave most of the GPU idle."""
    run = random_run(3, 10, 2, 5, "dryu")
    device = tiled(cache_bytes=6 << 10)
    device.runtime.limits = replace(device.runtime.limits, multiprocessors=3)
    assert max(run.errors(device)) < 1e-12
    assert most_blocks(cupy.launched) == 5 * 4  # four waves of 2 blocks on each of 3 multiprocessors are 6 samples
    monkeypatch.setattr(sequences, "PARTIAL_BYTES", 1)
    del cupy.launched[:]
    assert max(run.errors(tiled(cache_bytes=6 << 10))) < 1e-12
    assert most_blocks([launch for launch in cupy.launched if "(bool)1, (bool)0>" in launch[0]]) == 4


def most_blocks(launches) -> int:
    return max(grid[0] for name, grid, *_ in launches if "sweep" in name)


def test_double_is_said_to_be_slow_once(cupy, monkeypatch):
    monkeypatch.setitem(fake_cupy.ATTRIBUTES, "SingleToDoublePrecisionPerfRatio", 32)
    warn_slow_path.cache_clear()
    with pytest.warns(SlowPathWarning, match="1/32 of its arithmetic in double precision") as caught:
        assert [GPUDevice(Runtime(), precision).name for precision in ("single", "double", "double")]
    assert len(caught) == 1
    warn_slow_path.cache_clear()


def test_kernels_are_compiled_in_groups_and_that_is_said_once(cupy, monkeypatch):
    told, said = [], threading.Event()
    monkeypatch.setattr(runtime, "PATIENCE", 0.0)
    monkeypatch.setattr(runtime, "_told", set())
    monkeypatch.setattr(runtime.logger, "warning", lambda text: told.append(text) or said.set())
    compiled = cupy.RawModule

    def slow(**arguments):
        assert said.wait(60)
        return compiled(**arguments)

    cupy.RawModule = slow
    own = Runtime()
    for name in ("fusedqml::bind_values", "fusedqml::bind_shared", "fusedqml::set_state<double>"):
        own.kernel(name)
    assert [text[:34] for text in told] == ["CUDA kernels are being compiled fo"]
    plain = [name for name in sources.kernel_names() if "<" not in name]
    assert cupy.compiled == [*plain, "fusedqml::set_state<double>"]
    assert len(plain) == 12


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CuPy failed to load libnvrtc.so.13: cannot open shared object file"),
        fake_cupy.CompileException("k.cu(1): catastrophic error: cannot open source file 'cuda_fp16.h'"),
    ],
)
def test_what_compiling_needs_is_named(error, cupy):
    def fail(**_):
        raise error

    cupy.RawModule = fail
    with pytest.raises(DeviceUnavailableError, match=r"(libnvrtc|cuda_fp16).*qiskit-fusedqml\[cuda13\].*CUDA_PATH"):
        GPUDevice(Runtime()).allocate(tape_of(), 1, None)


def test_shared_memory_is_asked_for(cupy):
    """Two blocks of a multiprocessor where they fit, and no more than that of what else is a cache."""
    own = Runtime()
    kernel = own.kernel("fusedqml::set_state<double>", 20 << 10)
    assert (kernel.max_dynamic_shared_size_bytes, kernel.preferred_shared_memory_carveout) == (48 << 10, -1)
    own.kernel("fusedqml::set_state<double>", 64 << 10)
    assert (kernel.max_dynamic_shared_size_bytes, kernel.preferred_shared_memory_carveout) == (64 << 10, 57)
    own.kernel("fusedqml::set_state<double>", 130 << 10)
    assert kernel.preferred_shared_memory_carveout == 100


def test_memory(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy.make(free=10 << 20))
    runtime = Runtime()
    assert runtime.free_bytes() == 12 << 20
    assert GPUDevice(Runtime()).memory_budget() == 6 << 20
    assert np.array_equal(runtime.download(runtime.copy(runtime.upload(np.eye(2)))), [1, 0, 0, 1])
    with pytest.raises(
        OutOfMemoryError, match=r"16\.0 MiB do not fit in the GPU's memory, of which 12\.0 MiB are free"
    ):
        runtime.empty(1 << 22, np.float32)
    large = Tensor(np.broadcast_to(np.float32(1), 1 << 21))
    with pytest.raises(OutOfMemoryError, match=r"16\.0 MiB do not fit"):
        runtime.take(large)
    with pytest.raises(OutOfMemoryError, match=r"16\.0 MiB do not fit .* max_memory_mb, or precision='single'"):
        GPUDevice(Runtime(), "single").allocate(tape_of(n=21), 1, None)


def test_without_cupy_the_extras_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceUnavailableError, match=r"qiskit-fusedqml\[cuda13\] or qiskit-fusedqml\[cuda12\]"):
        GPUDevice(Runtime())


@pytest.mark.parametrize(("devices", "message"), [(0, "this machine has no GPU"), (-1, "InsufficientDriver")])
def test_machines_without_a_gpu(devices, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy.make(devices))
    with pytest.raises(DeviceUnavailableError, match=message):
        GPUDevice(Runtime())
