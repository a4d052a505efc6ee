"""Arrays in a GPU's memory go in, and what comes out is there, too; on a stand-in for CuPy."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from support.conformance import distance
from support.emulation import fake_cupy
from support.emulation.fake_cupy import Array, Tensor
from support.programs import layered

from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.engine.second_order import hessian_product
from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.ir.angles import AngleMap, FormulaGroup
from qiskit_fusedqml.ir.expressions import parse
from qiskit_fusedqml.ir.measurement import Measurement
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm

N, B = 4, 5


@pytest.fixture
def cupy(monkeypatch):
    module = fake_cupy.make()
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr("qiskit_fusedqml.devices.gpu.runtime._kernels", {})
    return module


def program(device: str, precision: str = "double", *, products: bool = False, **options) -> ProgramFunction:
    """With ``products``, the encoding's angles are those of pairs of inputs, and one of a weight is an expression."""
    circuit = layered(N, 2)
    count = circuit.num_angles
    columns, groups = np.arange(count), ()
    if products:
        pairs = FormulaGroup(
            parse("2*(pi-a)*(pi-b)", ("a", "b")), np.array([[0, 1, 2, 3], [1, 2, 3, 0]]), ("pair",) * N
        )
        sine = FormulaGroup(parse("sin(a)", ("a",)), np.array([[count - 1]]), ("sine",))
        columns[:N], columns[N], groups = count + np.arange(N), count + N, (pairs, sine)
    angles = AngleMap(count, np.zeros(count), np.arange(count), columns, np.ones(count), groups)
    sums = [PauliSum(N, (PauliTerm(0.7, 3, 1), PauliTerm(0.4, 0, 8))), PauliSum(N, (PauliTerm(1.0, 0, 5),))]
    engine = {name: options.pop(name) for name in ("max_memory_mb", "checkpoint") if name in options}
    options = {"num_inputs": N, "input_gradients": True, **options}
    return ProgramFunction(circuit, angles, sums, EngineOptions(device, precision, **engine), **options)


def everything(f: ProgramFunction, x, w, cotangents) -> list:
    values, pullback = f.vjp(x, w)
    return [f.values(x, w), values, *pullback(cotangents), f.jacobian(x, w), f.probabilities(x, w), f.statevector(x, w)]


def numbers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(-3, 3, (B, N)), rng.uniform(-3, 3, program("reference").num_weights), rng.normal(size=(B, 2))


@pytest.mark.parametrize(("precision", "tolerance"), [("double", 1e-12), ("single", 1e-5)])
@pytest.mark.parametrize("memory", [None, 0.002], ids=["at once", "in pieces"])
@pytest.mark.parametrize("products", [False, True])
def test_what_comes_from_the_device_stays_there(precision, tolerance, memory, products, cupy):
    x, w, cotangents = numbers()
    expected = everything(program("reference", products=products), x, w, cotangents)
    f = program("GPU", precision, max_memory_mb=memory, products=products)
    for place in (cupy.asarray, Tensor):
        for arrays in ((place(x), place(w)), (place(x), w), (x, place(w))):
            for given in (place(cotangents), cotangents):
                found = everything(f, *arrays, given)
                assert all(isinstance(array, Array) for array in found)
                for array, right in zip(found, expected, strict=True):
                    assert distance(array.get(), right) < tolerance
    for array, right in zip(everything(f, x, w, cotangents), expected, strict=True):
        assert isinstance(array, np.ndarray)
        assert distance(array, right) < tolerance
    values, pullback = f.vjp(x, w)  # host arrays in, cotangents from the device
    assert distance(pullback(cupy.asarray(cotangents))[1], expected[3]) < tolerance
    assert isinstance(values, np.ndarray)


OPTIONS = [{}, {"products": True}, {"input_gradients": False}, {"checkpoint": 2}, {"precision": "single"}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_nothing_crosses(options, cupy):
    x, w, cotangents = (cupy.asarray(array) for array in numbers())
    by_row = cupy.asarray(np.tile(w.get(), (B, 1)))
    f = program("GPU", **options)
    for turn in range(3):
        before = len(fake_cupy.downloads), len(fake_cupy.uploads), cupy.cuda.get_current_stream().waited
        f.values(x, w), f.probabilities(x, w), f.statevector(x, w)
        f.jacobian(x, w), f.jacobian(x, w, "all")
        for weights in (w, by_row):
            f.value_and_vjp(x, weights, lambda values: values * cotangents)
        assert fake_cupy.downloads[before[0] :] == []
        if turn == 2:  # in the first, tables are loaded; in the second, steps are recorded
            assert fake_cupy.uploads[before[1] :] == []
            assert cupy.cuda.get_current_stream().waited == before[2]


def test_jacobians_of_many_observables_and_chosen_parameters(cupy):
    """On the host they are values at shifted angles."""
    x, w, _ = numbers()
    sums = tuple(PauliSum(N, (PauliTerm(1.0, k % 3, k % 16),)) for k in range(1, 81))
    for wrt in ("weights", "inputs", "all", [5], [9, 2, 3]):
        expected, found = (
            ProgramFunction(f.program, f.angle_map, sums, f.options, num_inputs=N).jacobian(place(x), place(w), wrt)
            for f, place in ((program("reference"), np.asarray), (program("GPU"), cupy.asarray))
        )
        assert distance(found.get(), expected) < 1e-12


@pytest.mark.parametrize("options", [{}, {"num_inputs": 0}, {"products": True}], ids=str)
def test_products_with_the_hessian(options, cupy):
    x, w, cotangents = numbers()
    rng = np.random.default_rng(1)
    f, reference = (program(device, **options) for device in ("GPU", "reference"))
    if not f.num_inputs:
        x, w, cotangents = None, rng.normal(size=f.num_weights), cotangents[:1]
    v = rng.normal(size=f.num_weights)
    there = [None if array is None else cupy.asarray(array) for array in (x, w, v)]
    for given in (None, cotangents, cupy.asarray(cotangents)):
        on_host = given if given is None else cotangents
        before = len(fake_cupy.downloads)
        found = hessian_product(f, *there, given)
        assert isinstance(found, Array)
        assert len(fake_cupy.downloads) == before or options == {"products": True}
        assert distance(found.get(), hessian_product(reference, x, w, v, on_host)) < 1e-11
    with pytest.raises(InvalidInputError, match=r"w and v have shapes"):
        hessian_product(f, *there[:2], there[1][:2])


@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
def test_weights_by_row_and_single_rows(rows, products, cupy):
    rng = np.random.default_rng(rows)
    f, reference = (program(device, products=products) for device in ("GPU", "reference"))
    x, cotangents = rng.uniform(-3, 3, (rows, N)), rng.normal(size=(rows, 2))
    for w in (rng.uniform(-3, 3, f.num_weights), rng.uniform(-3, 3, (rows, f.num_weights))):
        found = f.value_and_vjp(cupy.asarray(x), Tensor(w), cotangents)
        for array, right in zip(found, reference.value_and_vjp(x, w, cotangents), strict=True):
            assert isinstance(array, Array)
            assert distance(array.get(), right) < 1e-11


def test_weights_alone(cupy):
    w = numbers()[1]
    f, reference = (program(device, num_inputs=0) for device in ("GPU", "reference"))
    w = np.concatenate([[0.1, 0.2, 0.3, 0.4], w])
    for weights in (w, np.stack([w, 2 * w])):
        cotangents = np.ones((1 if weights.ndim == 1 else 2, 2))
        found = f.value_and_vjp(None, cupy.asarray(weights), cotangents)
        right = reference.value_and_vjp(None, weights, cotangents)
        assert found[1] is right[1] is None
        assert distance(found[0].get(), right[0]) < 1e-12
        assert distance(found[2].get(), right[2]) < 1e-12


def test_numbers_that_are_not_finite_are_passed_on(cupy):
    x, w, cotangents = numbers()
    w[3] = np.nan
    with pytest.raises(InvalidInputError, match="nan"):
        program("GPU").values(x, w)
    values, _, dw = program("GPU").value_and_vjp(cupy.asarray(x), w, cotangents)
    assert np.isnan(values.get()).all()
    assert np.isnan(dw.get()).any()


def test_some_measured_bits(cupy):
    x, w, _ = numbers()
    for pairs, clbits in ((((0, 1), (2, 0)), 2), (((1, 0), (3, 2)), 3)):
        measurement = Measurement(pairs, clbits)
        expected = program("reference", measurement=measurement).probabilities(x, w)
        found = program("GPU", measurement=measurement).probabilities(cupy.asarray(x), w)
        assert isinstance(found, Array)
        assert distance(found.get(), expected) < 1e-12


def test_wrong_shapes_are_refused(cupy):
    x, w, _ = numbers()
    _, pullback = program("GPU").vjp(cupy.asarray(x), w)
    with pytest.raises(InvalidInputError, match=r"Cotangents have shape \(5, 3\)"):
        pullback(cupy.asarray(np.zeros((5, 3))))
    with pytest.raises(InvalidInputError, match=r"x has shape \(5, 3\)"):
        program("GPU").values(cupy.asarray(np.zeros((5, 3))), w)


@pytest.mark.parametrize("precision", ["double", "single"])
def test_a_second_gpu(precision, monkeypatch):
    """A function made on one GPU works there while another is current, and takes no arrays of that."""
    cupy = fake_cupy.make(devices=2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr("qiskit_fusedqml.devices.gpu.runtime._kernels", {})
    x, w, cotangents = numbers()
    expected = everything(program("reference"), x, w, cotangents)
    with cupy.cuda.Device(1):
        f = program("GPU", precision, max_memory_mb=0.002)  # in pieces, which are joined
        arrays = [cupy.asarray(array) for array in (x, w, cotangents)]
    found = everything(f, *arrays)
    assert {device for device, _ in cupy.streams} == {1}
    with cupy.cuda.Device(1):
        for array, right in zip(found, expected, strict=True):
            assert array.device.id == 1
            assert distance(array.get(), right) < (1e-12 if precision == "double" else 1e-5)
    with pytest.raises(InvalidInputError, match="x is in the memory of CUDA device 0; all else is on device 1"):
        f.values(cupy.asarray(x), arrays[1])
    with pytest.raises(InvalidInputError, match="The array of cotangents is in the memory of CUDA device 0"):
        f.vjp(*arrays[:2])[1](cupy.asarray(cotangents))
    here = pickle.loads(pickle.dumps(f))  # copies are made anew, where CuPy is then
    assert distance(here.values(x, w), expected[0]) < 1e-5
    assert cupy.streams[-1][0] == 0
