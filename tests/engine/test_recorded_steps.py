"""Steps that are recorded give what they give one launch at a time, in fewer calls; on a stand-in for CuPy."""

from __future__ import annotations

import gc
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.calls import calls_of
from support.emulation import fake_cupy
from support.emulation.fake_cupy import Array, Tensor
from support.emulation.streams import Graph, Stream
from support.programs import layered

import qiskit_fusedqml
from qiskit_fusedqml.devices.gpu.compiled import Geometry
from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.devices.gpu.runtime import Runtime
from qiskit_fusedqml.engine import recorded_steps
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import FusedQMLError, InvalidInputError, SimulationError
from qiskit_fusedqml.ir.angles import AngleMap, FormulaGroup
from qiskit_fusedqml.ir.expressions import parse
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm

N, B = 4, 5
FOLDER = str(Path(qiskit_fusedqml.__file__).parent)


@pytest.fixture
def cupy(monkeypatch):
    module = fake_cupy.make(seed=3)
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr("qiskit_fusedqml.devices.gpu.runtime._kernels", {})
    return module


def program(device="GPU", *, n: int = N, products: bool = False, **options) -> ProgramFunction:
    """Inputs turn the first layer; with ``products``, by an expression of two of them."""
    circuit = layered(n, 2)
    count = circuit.num_angles
    columns, groups = np.arange(count), ()
    if products:
        pairs = FormulaGroup(parse("a*b", ("a", "b")), np.stack([np.arange(n), np.roll(np.arange(n), 1)]), ("ab",) * n)
        columns[:n], groups = count + np.arange(n), (pairs,)
    angles = AngleMap(count, np.zeros(count), np.arange(count), columns, np.ones(count), groups)
    sums = [PauliSum(n, (PauliTerm(0.7, 3, 1), PauliTerm(0.4, 0, 8))), PauliSum(n, (PauliTerm(1.0, 0, 5),))]
    engine = EngineOptions(device, options.pop("precision", "double"))
    return ProgramFunction(circuit, angles, sums, engine, **{"num_inputs": n, "input_gradients": True, **options})


def numbers(f: ProgramFunction, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.uniform(-3, 3, shape) for shape in ((B, f.num_inputs), f.num_weights, (B, f.num_observables))]


def one_by_one(f: ProgramFunction) -> ProgramFunction:
    f.recorded_steps = None
    return f


def host(arrays) -> list:
    return [None if array is None else array.get() for array in arrays]


def same(found, expected) -> bool:
    return all(a is b is None or np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


SHAPES = {
    "shared weights": lambda x, w, c: (x, w, c),
    "weights by row": lambda x, w, c: (x, np.linspace(0.5, 1, B)[:, None] * w, c),
    "one row": lambda x, w, c: (x[:1], w, c[:1]),
    "one sample": lambda x, w, c: (x[0], w, c[:1]),
    "one of each": lambda x, w, c: (x[:1], w[None], c[:1]),
}


@pytest.mark.parametrize(
    "options", [{}, {"products": True}, {"input_gradients": False}, {"precision": "single"}], ids=str
)
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_the_same_bits_as_one_by_one(shapes, options, cupy):
    f, plain = program(**options), one_by_one(program(**options))
    for seed in range(3):
        arrays = [cupy.asarray(array) for array in shapes(*numbers(f, seed))]
        found, expected = f.value_and_vjp(*arrays), plain.value_and_vjp(*arrays)
        for one, other in zip(found, expected, strict=True):
            assert one is other is None or (one.shape, one.dtype) == (other.shape, other.dtype)
        assert same(host(found), host(expected))
    (step,) = f.recorded_steps.idle.values()
    assert step.is_whole


@pytest.mark.parametrize("options", [{}, {"products": True}, {"precision": "single"}, {"num_inputs": 0}], ids=str)
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_values_alone(shapes, options, cupy):
    f, plain = program(**options), one_by_one(program(**options))
    reference = program("reference", **options | {"precision": "double"})
    for seed in range(3):
        x, w, _ = shapes(*numbers(f, seed))
        x = x if f.num_inputs else None
        given = [None if array is None else cupy.asarray(array) for array in (x, w)]
        found, expected = f.values(*given), plain.values(*given)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert np.array_equal(found.get(), expected.get())
        assert np.allclose(found.get(), reference.values(x, w), rtol=0, atol=1e-12 if found.dtype == float else 1e-5)
    (step,) = f.recorded_steps.idle.values()
    assert step.is_whole
    assert step.size == f.memory.state_bytes(step.parameters.batch)  # no bra


def test_values_and_steps_in_turn(cupy):
    """Each has its own recording; values on the host, and with other initial states, are computed as before."""
    f, plain = program(), one_by_one(program())
    x, w, c = (cupy.asarray(array) for array in numbers(f))
    states = np.eye(B, 2**N)
    for _ in range(3):
        assert same(host([f.values(x, w)]), host([plain.values(x, w)]))
        assert same(host(f.value_and_vjp(x, w, c)), host(plain.value_and_vjp(x, w, c)))
        given = f.values(x, w, initial_states=states)
        assert np.array_equal(given.get(), plain.values(x, w, initial_states=states).get())
        assert np.allclose(f.values(x.get(), w.get()), f.values(x, w).get(), rtol=0, atol=1e-14)
    assert sorted(step.shapes.trained for step in f.recorded_steps.idle.values()) == [False, True]


def test_arrays_of_other_libraries_and_types(cupy):
    f, reference = program(), program("reference")
    for seed in range(3):
        x, w, c = (array.astype(np.float32) for array in numbers(f, seed))
        expected = reference.value_and_vjp(x, w, c)
        for place in (Tensor, cupy.asarray):
            for cotangents in (place(c), c.astype(np.float64)):
                found = host(f.value_and_vjp(place(x), place(w), cotangents))
                assert all(np.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(found, expected, strict=True))
        rows = cupy.asarray(np.asfortranarray(numbers(f, seed)[0]))
        assert np.allclose(f.vjp(rows, place(w))[0].get(), reference.values(rows.get(), w), rtol=0, atol=1e-12)
    assert len(f.recorded_steps.idle) == 1


def test_weights_alone_and_several_shapes(cupy):
    f, plain = program(num_inputs=0), one_by_one(program(num_inputs=0))
    for seed in range(3):
        for rows in (1, 2, 3):
            w = np.random.default_rng(seed).normal(size=(rows, f.num_weights))
            for weights in (w, w[0]):
                given = (
                    None,
                    cupy.asarray(weights),
                    cupy.asarray(np.ones((len(weights) if weights.ndim == 2 else 1, 2))),
                )
                assert same(host(f.value_and_vjp(*given)), host(plain.value_and_vjp(*given)))
    assert len(f.recorded_steps.idle) == 4


def test_steps_that_overlap_have_memories_of_their_own(cupy):
    f, plain = program(), one_by_one(program())
    arrays = [[cupy.asarray(array) for array in numbers(f, seed)] for seed in range(3)]
    expected = [host(plain.value_and_vjp(*each)) for each in arrays]
    for _ in range(3):
        begun = [f.vjp(x, w) for x, w, _ in arrays]
        kept = [(f.values(x, w), plain.values(x, w)) for x, w, _ in arrays]
        plain.value_and_vjp(*arrays[2])
        for k in (1, 0, 2):
            values, pullback = begun[k]
            assert same(host((values, *pullback(arrays[k][2]))), expected[k])
        assert all(np.array_equal(found.get(), right.get()) for found, right in kept)
    assert len(f.recorded_steps.idle) == 4  # and one for values alone
    with pytest.raises(FusedQMLError, match="was called before"):
        begun[0][1](arrays[0][2])


def test_a_step_that_is_forgotten_is_used_again(cupy):
    f = program()
    x, w, c = (cupy.asarray(array) for array in numbers(f))
    for _ in range(6):
        values, pullback = f.vjp(x, w)
    with pytest.raises(InvalidInputError, match=r"shape \(2, 2\)"):
        pullback(c[:2])
    assert pullback(c) is not None
    del pullback
    gc.collect()
    assert len(f.recorded_steps.idle) <= 2
    assert values.shape == (B, 2)


def test_streams_have_steps_of_their_own(cupy):
    f, plain = program(), one_by_one(program())
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(3)]
    for seed in range(3):
        for stream in streams:
            with stream:
                arrays = [cupy.asarray(array) for array in numbers(f, seed)]
                assert same(host(f.value_and_vjp(*arrays)), host(plain.value_and_vjp(*arrays)))
    assert {step.stream for step in f.recorded_steps.idle.values()} == {(0, stream.ptr, 0) for stream in streams}


def test_states_of_several_sweeps(cupy):
    """Their own graphs are no part of the step's."""
    runtime = Runtime()
    runtime.limits = replace(runtime.limits, cache_bytes=100_000)
    options = {"n": 10, "precision": "double"}
    f, plain = (
        program(GPUDevice(runtime, "double", Geometry(False, 8, 8, 10, runtime.limits)), **options) for _ in "ab"
    )
    one_by_one(plain)
    for seed in range(3):
        arrays = [cupy.asarray(array) for array in numbers(f, seed)]
        assert same(host(f.value_and_vjp(*arrays)), host(plain.value_and_vjp(*arrays)))
    (step,) = f.recorded_steps.idle.values()
    assert len(step._forward._launches._launches) > len(step._sweeps.tape.blocks) > 1


@pytest.mark.parametrize(("name", "value"), [("MOST_LAUNCHES", 3), ("MEMORY_SHARE", 1 << 40)])
def test_large_steps_are_not_recorded(name, value, monkeypatch, cupy):
    monkeypatch.setattr(recorded_steps, name, value)
    f, plain = program(), one_by_one(program())
    arrays = [cupy.asarray(array) for array in numbers(f)]
    for _ in range(3):
        assert same(host(f.value_and_vjp(*arrays)), host(plain.value_and_vjp(*arrays)))
        assert same(host([f.values(*arrays[:2])]), host([plain.values(*arrays[:2])]))
    assert not f.recorded_steps.idle.values()


def test_nothing_but_launches_is_recorded(monkeypatch, cupy):
    """Arithmetic of arrays would be done once, while the launches are noted, and never again."""
    record = Runtime.record

    def strict(runtime, work, *rest):
        with monkeypatch.context() as patched:
            patched.setattr(fake_cupy, "computed", refused)
            return record(runtime, work, *rest)

    def refused(function, *_):
        raise AssertionError(f"{function} while launches are recorded")

    monkeypatch.setattr(Runtime, "record", strict)
    for options in ({}, {"products": True}, {"input_gradients": False}, {"num_inputs": 0}):
        f = program(**options)
        x, w, c = (cupy.asarray(array) for array in numbers(f))
        for weights in (w, cupy.asarray(np.tile(w.get(), (B, 1)))):
            for _ in range(3):
                inputs = x if f.num_inputs else None
                f.value_and_vjp(inputs, weights, c if f.num_inputs or weights.ndim == 2 else c[:1])
                f.values(inputs, weights)
    array = cupy.asarray(np.ones(2))
    with pytest.raises(AssertionError, match="while launches are recorded"):
        Runtime().record(lambda: array + array)


@pytest.mark.parametrize(("trained", "expected"), [(True, 4), (False, 2)], ids=["a training step", "values alone"])
def test_a_third_of_the_calls_and_launches(trained, expected, monkeypatch, cupy):
    """W1, 4 qubits: calls of the package's functions, launches, graphs and copies."""
    queued: list[object] = []
    put, launch = Stream.put, Graph.launch
    monkeypatch.setattr(Stream, "put", lambda *a: queued.append(a) or put(*a))

    def as_one(graph, stream=None):
        before = len(queued)
        launch(graph, stream)
        queued[before:] = [graph]

    monkeypatch.setattr(Graph, "launch", as_one)
    gc.disable()
    try:
        counts, kept = [], []
        for f in (one_by_one(program(input_gradients=False)), program(input_gradients=False)):
            x, w, c = (cupy.asarray(array) for array in numbers(f))

            def call(f=f, x=x, w=w, c=c):
                kept.append(f.value_and_vjp(x, w, c) if trained else f.values(x, w))

            for _ in range(3):
                call()
            del queued[:]
            calls = calls_of(call, FOLDER)
            counts.append((calls, len(queued)))
    finally:
        gc.enable()
    (plain_calls, plain_work), (calls, work) = counts
    assert 3 * calls <= plain_calls
    assert 3 * work <= plain_work
    assert work == expected  # each way, what goes in and a graph


def captured(cupy, stream, work):
    """What work returns, and the graph of it."""
    with stream:
        stream.begin_capture()
        try:
            found = work()
        finally:
            graph = stream.end_capture()
    return found, graph


@pytest.mark.parametrize("precision", ["double", "single"])
def test_a_captured_step_works_on_what_is_there_then(precision, cupy):
    f, plain = program(precision=precision), one_by_one(program(precision=precision))
    stream = cupy.cuda.Stream(non_blocking=True)
    arrays = [cupy.asarray(array) for array in numbers(f)]
    for _ in range(2):
        f.value_and_vjp(*arrays)
    cupy.cuda.get_current_stream().synchronize()
    found, graph = captured(cupy, stream, lambda: f.value_and_vjp(*arrays))
    assert not f.recorded_steps.idle.values()  # it belongs to what was captured
    for seed in range(1, 4):
        with stream:
            for array, new in zip(arrays, numbers(f, seed), strict=True):
                array.set(new)
            graph.launch()
            results = host(found)
            assert same(results, host(plain.value_and_vjp(*arrays)))
        f.value_and_vjp(*(cupy.asarray(array) for array in numbers(f, 9)))  # on another stream, at the same time
        gc.collect()


def test_captured_values_are_those_of_what_is_there_then(cupy):
    f, plain = program(), one_by_one(program())
    stream = cupy.cuda.Stream(non_blocking=True)
    x, w, _ = (cupy.asarray(array) for array in numbers(f))
    for _ in range(2):
        f.values(x, w)
    cupy.cuda.get_current_stream().synchronize()
    found, graph = captured(cupy, stream, lambda: f.values(x, w))
    assert not f.recorded_steps.idle.values()
    for seed in range(1, 4):
        with stream:
            for array, new in zip((x, w), numbers(f, seed), strict=False):
                array.set(new)
            graph.launch()
            assert np.array_equal(found.get(), plain.values(x, w).get())
        f.values(*(cupy.asarray(array) for array in numbers(f, 9)[:2]))


def test_several_calls_in_one_capture(cupy):
    f, plain = program(), one_by_one(program())
    one, two = ([cupy.asarray(array) for array in numbers(f, seed)] for seed in (0, 1))

    def both():
        begun = [f.vjp(*each[:2]) for each in (one, two)]
        return [(values, *pullback(each[2])) for (values, pullback), each in zip(begun, (one, two), strict=True)]

    for _ in range(2):
        both()
    cupy.cuda.get_current_stream().synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    found, graph = captured(cupy, stream, both)
    with stream:
        graph.launch()
        for results, each in zip(found, (one, two), strict=True):
            assert same(host(results), host(plain.value_and_vjp(*each)))


def test_what_cannot_be_captured_is_refused(cupy):
    f = program()
    x, w, c = (cupy.asarray(array) for array in numbers(f))
    stream = cupy.cuda.Stream(non_blocking=True)
    with pytest.raises(
        SimulationError,
        match=r"no step is recorded .* \(5, 4\) and \(24,\).* at least two whole steps, values and grad",
    ):
        captured(cupy, stream, lambda: f.vjp(x, w))
    for _ in range(2):
        f.value_and_vjp(x, w, c)
    with pytest.raises(SimulationError, match=r"no step is recorded .* at least two whole steps, values alone"):
        captured(cupy, stream, lambda: f.values(x, w))
    for work in (f.probabilities, f.statevector, f.jacobian):
        with pytest.raises(SimulationError, match=r"being captured .* only values and their gradients"):
            captured(cupy, stream, lambda work=work: work(x, w))
    on_host = c.get()
    with pytest.raises(SimulationError, match="being captured"):
        captured(cupy, stream, lambda: f.value_and_vjp(x, w, on_host))
    with stream:
        _, pullback = f.vjp(x, w)  # without a recorded way back
        assert isinstance(pullback(c)[1], Array)
    assert np.isfinite(f.value_and_vjp(x, w, c)[2].get()).all()  # and all goes on as before
