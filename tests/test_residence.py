"""Arrays in a GPU's memory go in, and what comes out is there, too; on a stand-in for CuPy."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from devices.conformance import distance
from devices.emulation import fake_cupy
from devices.emulation.fake_cupy import Array, Tensor
from programs import layered

from qiskit_fusedqml.angles import AngleMap
from qiskit_fusedqml.engine import DifferentiableProgram
from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.measurement import Measurement
from qiskit_fusedqml.observables import PauliSum, PauliTerm

N, B = 4, 5


@pytest.fixture
def cupy(monkeypatch):
    module = fake_cupy.make()
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr("qiskit_fusedqml.devices.cuda._kernels", {})
    return module


def program(device: str, precision: str = "double", **options) -> DifferentiableProgram:
    circuit = layered(N, 2)
    count = circuit.num_angles
    angles = AngleMap(count, np.zeros(count), np.arange(count), np.arange(count), np.ones(count))
    sums = [PauliSum(N, (PauliTerm(0.7, 3, 1), PauliTerm(0.4, 0, 8))), PauliSum(N, (PauliTerm(1.0, 0, 5),))]
    options = {"num_inputs": N, "input_gradients": True, **options}
    return DifferentiableProgram(circuit, angles, sums, device=device, precision=precision, **options)


def everything(f: DifferentiableProgram, x, w, cotangents) -> list:
    values, pullback = f.vjp(x, w)
    return [f.values(x, w), values, *pullback(cotangents), f.jacobian(x, w), f.probabilities(x, w), f.statevector(x, w)]


def numbers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(-3, 3, (B, N)), rng.uniform(-3, 3, program("reference").num_weights), rng.normal(size=(B, 2))


@pytest.mark.parametrize(("precision", "tolerance"), [("double", 1e-12), ("single", 1e-5)])
@pytest.mark.parametrize("memory", [None, 0.002], ids=["at once", "in pieces"])
def test_what_comes_from_the_device_stays_there(precision, tolerance, memory, cupy):
    x, w, cotangents = numbers()
    expected = everything(program("reference"), x, w, cotangents)
    f = program("GPU", precision, max_memory_mb=memory)
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


def test_only_parameters_and_overlaps_cross(cupy):
    x, w, _ = (cupy.asarray(array) for array in numbers())
    f = program("GPU")
    before = len(fake_cupy.downloads)
    f.values(x, w), f.probabilities(x, w), f.statevector(x, w)
    assert fake_cupy.downloads[before:] == 3 * [x.size, w.size]
    values, pullback = f.vjp(x, w)
    before = len(fake_cupy.downloads)
    pullback(values)
    (overlaps,) = fake_cupy.downloads[before:]
    assert overlaps == B * f.plans.sweeps(f._parameters(*numbers()[:2]), f._training).plan.tape.num_overlaps


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
