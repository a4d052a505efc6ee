"""Boxes and loops of known length: run on the backend, written out for values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import BoxOp, Parameter, ParameterVector
from qiskit.quantum_info import SparsePauliOp, Statevector

from qiskit_fusedqml import (
    DifferentiableCircuit,
    FusedEstimator,
    FusedEstimatorGradient,
    FusedEstimatorQNN,
    FusedGate,
    FusedSampler,
    FusedSimulator,
)
from qiskit_fusedqml.errors import UnsupportedInstructionError
from qiskit_fusedqml.interfaces.qiskit.backend import save
from qiskit_fusedqml.interfaces.qiskit.lowering import free_parameters, lower, lower_dynamic

T, S = ParameterVector("t", 2)
OBSERVABLES = ["ZZI", "XIY", "IZX"]
POINT = [0.4, -1.1]


def body_of(circuit: QuantumCircuit, t: object, s: object, i: object, j: object) -> None:
    """Some gates with the parameters and the indices of two loops."""
    circuit.ry(t * i + 0.3, 0)  # type: ignore[operator]
    circuit.crz(s * j, 0, 1)  # type: ignore[operator]
    circuit.rx(0.1 * j, 2)  # type: ignore[operator]
    inner = QuantumCircuit(2, name="inner")
    inner.rx(i * s, 0)  # type: ignore[operator]
    inner.cx(0, 1)
    circuit.append(inner.to_gate().control(1), [1, 2, 0])


def with_loops() -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.h(range(3))
    i, j = Parameter("i"), Parameter("j")
    with circuit.for_loop(range(1, 4), i), circuit.for_loop((3, 0, -2), j):
        with circuit.box():
            body_of(circuit, T, S, i, j)
        circuit.cx(2, 1)
    with circuit.for_loop(range(2)):
        circuit.ry(T, 1)
    return circuit


def written_out(t: object, s: object) -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.h(range(3))
    for i in range(1, 4):
        for j in (3, 0, -2):
            body_of(circuit, t, s, i, j)
            circuit.cx(2, 1)
    circuit.ry(t, 1)  # type: ignore[arg-type]
    circuit.ry(t, 1)  # type: ignore[arg-type]
    return circuit


QISKIT_KNOWS_INDICES = with_loops().num_parameters == 2
"""Before 2.3 Qiskit counts the index of a loop as the circuit's parameter: its primitives want a value of it, and
its transpiler does not look into such boxes."""


def test_values_and_gradients_of_loops_and_boxes() -> None:
    circuit, plain = with_loops(), written_out(T, S)
    assert free_parameters(circuit) == (T, S)
    state = Statevector(written_out(*POINT))
    expected = [float(np.real(state.expectation_value(SparsePauliOp(label)))) for label in OBSERVABLES]
    function, reference = DifferentiableCircuit(circuit, OBSERVABLES), DifferentiableCircuit(plain, OBSERVABLES)
    np.testing.assert_allclose(function.values(None, POINT)[0], expected, atol=1e-12)
    np.testing.assert_allclose(function.jacobian(None, POINT), reference.jacobian(None, POINT), atol=1e-12)
    if QISKIT_KNOWS_INDICES:
        values = FusedEstimator().run([(circuit, OBSERVABLES, POINT)]).result()[0].data.evs
        np.testing.assert_allclose(values, expected, atol=1e-12)
    sum_of = SparsePauliOp(OBSERVABLES)
    slopes = FusedEstimatorGradient().run([circuit], [sum_of], [POINT]).result().gradients[0]
    np.testing.assert_allclose(slopes, reference.jacobian(None, POINT)[0].sum(axis=0), atol=1e-12)
    if QISKIT_KNOWS_INDICES:
        network = FusedEstimatorQNN(circuit=circuit, observables=sum_of, input_params=[T], weight_params=[S])
        np.testing.assert_allclose(network.forward(POINT[:1], POINT[1:]), [[sum(expected)]], atol=1e-12)


@pytest.mark.parametrize("fusion_enable", [True, False])
def test_the_backend_runs_loops_and_boxes(fusion_enable: bool) -> None:
    simulator = FusedSimulator(fusion_enable=fusion_enable)
    assert simulator.target.instruction_supported("box")
    circuit = with_loops().assign_parameters(dict(zip((T, S), POINT, strict=True)))
    save(circuit, "statevector")
    for each in (circuit, transpile(circuit, simulator)) if QISKIT_KNOWS_INDICES else (circuit,):
        state = simulator.run(each).result().get_statevector()
        np.testing.assert_allclose(np.asarray(state), Statevector(written_out(*POINT)).data, atol=1e-12)


def test_measurements_in_boxes_and_loops() -> None:
    circuit = QuantumCircuit(2, 2)
    index = Parameter("i")
    with circuit.for_loop((0, 1, 2), index):
        circuit.rx(np.pi * index, 0)
        circuit.measure(0, 0)
    circuit.append(BoxOp(QuantumCircuit(1, 1)), [1], [1])
    with circuit.box():
        circuit.cx(0, 1)
        circuit.measure(1, 1)
    assert FusedSimulator().run(circuit, shots=9).result().get_counts() == {"11": 9}
    if QISKIT_KNOWS_INDICES:
        assert FusedSampler().run([circuit], shots=9).result()[0].data.c.get_counts() == {"11": 9}


def test_a_straight_loop_with_an_index_is_one_segment() -> None:
    circuit = QuantumCircuit(2, 2)
    index = Parameter("i")
    with circuit.for_loop(range(50), index):
        circuit.rx(index * 1e-3, 0)
        circuit.append(FusedGate(QuantumCircuit(2)), [0, 1])
        circuit.barrier()
    circuit.measure(0, 0)
    nodes = lower_dynamic(circuit).dynamic.nodes
    assert len(nodes) == 2
    circuit = QuantumCircuit(2, 2)
    with circuit.for_loop(range(50), index):
        circuit.rx(index * 1e-3, 0)
        circuit.measure(0, 0)
    assert len(lower_dynamic(circuit).dynamic.nodes) == 1


@pytest.mark.parametrize("kind", ["if", "switch", "while", "break", "continue", "store"])
def test_decisions_have_no_values(kind: str) -> None:
    circuit = QuantumCircuit(1, 1)
    bit, body = circuit.clbits[0], QuantumCircuit(1, 1)
    if kind == "if":
        circuit.if_test((bit, 1), body, [0], [0])
    elif kind == "switch":
        circuit.switch(bit, [(0, body)], [0], [0])
    elif kind == "while":
        circuit.while_loop((bit, 1), body, [0], [0])
    elif kind == "store":
        circuit.store(circuit.add_var("v", True), False)
    else:
        getattr(body, f"{kind}_loop")()
        circuit.for_loop(range(2), None, body, [0], [0])
    with pytest.raises(UnsupportedInstructionError, match="without decisions"):
        lower(circuit)
