"""Definitions, blocks and modifiers nested deeper than Python's calls."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import AnnotatedOperation, Gate, Instruction, InverseModifier, Operation, Parameter
from qiskit.circuit.classical import expr
from qiskit.circuit.library import RXGate
from support.interpreter import program_unitary

from qiskit_fusedqml import (
    DifferentiableCircuit,
    FusedEstimator,
    FusedEstimatorQNN,
    FusedSampler,
    FusedSamplerQNN,
    FusedSimulator,
    FusionPass,
    transpile,
)
from qiskit_fusedqml.errors import InvalidInputError, UnsupportedInstructionError
from qiskit_fusedqml.interfaces.qiskit.lowering import lower, lower_dynamic
from qiskit_fusedqml.interfaces.qiskit.snapshot import Snapshot
from qiskit_fusedqml.ir.dynamic import Branch, Repeat, While, validate, walk

LEVELS = 600
BLOCKS = 250


def nested_definitions(innermost: Operation, levels: int = LEVELS) -> QuantumCircuit:
    operation = innermost
    for level in range(levels):
        outer = Instruction(f"level{level}", 1, 0, [])
        outer.definition = QuantumCircuit(1)
        outer.definition.append(operation, [0])
        operation = outer
    circuit = QuantumCircuit(1)
    circuit.append(operation, [0])
    return circuit


def test_definitions() -> None:
    circuit = nested_definitions(RXGate(0.3))
    np.testing.assert_allclose(program_unitary(lower(circuit).program), RXGate(0.3).to_matrix(), atol=1e-14)
    assert len(lower_dynamic(circuit, (0,)).dynamic.nodes) == 1
    with pytest.raises(UnsupportedInstructionError, match="levels deeper") as caught:
        lower(nested_definitions(Gate("mystery", 1, [])))
    assert "mystery" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_annotations() -> None:
    operation: Operation = RXGate(0.3)
    for _ in range(LEVELS + 1):
        operation = AnnotatedOperation(operation, [InverseModifier()])
    circuit = QuantumCircuit(1)
    circuit.append(operation, [0])
    np.testing.assert_allclose(program_unitary(lower(circuit).program), RXGate(-0.3).to_matrix(), atol=1e-14)


@pytest.mark.parametrize("kind", ["if", "else", "for", "while", "box", "switch"])
def test_blocks(kind: str) -> None:
    body = QuantumCircuit(1, 1)
    body.x(0)
    body.measure(0, 0)
    for _ in range(BLOCKS):
        outer = QuantumCircuit(1, 1)
        bit = outer.clbits[0]
        if kind == "if":
            outer.if_test((bit, 0), body, [0], [0])
        elif kind == "else":
            outer.if_else((bit, 1), QuantumCircuit(1, 1), body, [0], [0])
        elif kind == "for":
            outer.for_loop((0,), None, body, [0], [0])
        elif kind == "while":
            outer.while_loop((bit, 0), body, [0], [0])
        elif kind == "switch":
            outer.switch(bit, [(0, body)], [0], [0])
        else:
            outer.box(body, [0], [0])
        body = outer
    dynamic = lower_dynamic(body).dynamic
    validate(dynamic)
    held = sum(isinstance(node, (Branch, Repeat, While)) for node in walk(dynamic.nodes))
    assert held == (0 if kind == "box" else BLOCKS)


def test_expressions() -> None:
    circuit = QuantumCircuit(1, 1)
    value = expr.lift(circuit.clbits[0])
    for _ in range(400):  # Qiskit's own limit is below 1,000
        value = expr.logic_not(expr.logic_or(value, circuit.clbits[0]))
    circuit.if_test(value, QuantumCircuit(1), [0], [])
    validate(lower_dynamic(circuit).dynamic)


def _nested_gates(levels: int, angle: float | Parameter = 0.3) -> QuantumCircuit:
    """A gate in a gate in a gate ..., each with a rotation by 0.001 of its own."""
    circuit = QuantumCircuit(1)
    circuit.ry(angle, 0)
    for level in range(levels):
        gate = Gate(f"level{level}", 1, [angle] if isinstance(angle, Parameter) else [])
        gate.definition = circuit
        circuit = QuantumCircuit(1)
        circuit.append(gate, [0], copy=False)  # Qiskit's copy recurses
        circuit.ry(0.001, 0)
    return circuit


def test_gates_by_all_ways() -> None:
    levels = 1500
    circuit, angle = _nested_gates(levels), 0.3 + 0.001 * levels
    assert FusedEstimator().run([(circuit, "Z")]).result()[0].data.evs == pytest.approx(np.cos(angle))
    assert DifferentiableCircuit(circuit, ["Z"]).values()[0, 0] == pytest.approx(np.cos(angle))
    circuit.measure_all()
    shots, chance = 10_000, np.sin(angle / 2) ** 2
    found = [
        FusedSimulator(seed_simulator=1).run(circuit, shots=shots).result().get_counts(),
        FusedSampler(seed=1).run([circuit], shots=shots).result()[0].data.meas.get_counts(),
    ]
    for counts in found:
        assert abs(counts["1"] / shots - chance) < 5 * np.sqrt(chance * (1 - chance) / shots)


def test_gradients_through_gates() -> None:
    levels, t = 1500, Parameter("t")
    circuit = _nested_gates(levels, t)
    assert circuit.num_parameters == 1
    f = DifferentiableCircuit(circuit, ["Z"])
    np.testing.assert_allclose(f.jacobian(None, [0.3]), -np.sin([[[0.3 + 0.001 * levels]]]), rtol=0, atol=1e-10)
    value = FusedEstimator().run([(circuit, "Z", [0.3])]).result()[0].data.evs
    assert value == pytest.approx(np.cos(0.3 + 0.001 * levels))


def test_gates_and_blocks_changed_deep_inside() -> None:
    circuit = _nested_gates(1200)
    inner = circuit
    while inner.data[0].name != "ry":
        inner = inner.data[0].operation.definition
    snapshot, estimator = Snapshot(circuit), FusedEstimator()
    assert snapshot.is_of(circuit)
    assert estimator.run([(circuit, "Z")]).result()[0].data.evs == pytest.approx(np.cos(1.5))
    inner.ry(0.5, 0)
    assert not snapshot.is_of(circuit)
    assert estimator.run([(circuit, "Z")]).result()[0].data.evs == pytest.approx(np.cos(2.0))


@pytest.mark.parametrize("levels", [180, pytest.param(1000, marks=pytest.mark.slow)])
def test_blocks_are_run(levels: int) -> None:  # Qiskit needs a time that grows with their square
    circuit = QuantumCircuit(1, 1)
    circuit.ry(0.3, 0)
    for level in range(levels):
        outer = QuantumCircuit(1, 1)
        if level % 2:
            outer.if_test((outer.clbits[0], 0), circuit, [0], [0])
        else:
            outer.for_loop((0,), None, circuit, [0], [0])
        outer.ry(0.001, 0)
        circuit = outer
    circuit.measure(0, 0)
    chance, shots = np.sin((0.3 + 0.001 * levels) / 2) ** 2, 10_000
    counts = FusedSimulator(seed_simulator=1).run(circuit, shots=shots).result().get_counts()
    assert abs(counts["1"] / shots - chance) < 5 * np.sqrt(chance * (1 - chance) / shots)


def test_what_qiskit_cannot_do_is_refused() -> None:
    t = Parameter("t")
    circuit = _nested_gates(1500, t)
    with pytest.raises(InvalidInputError, match=r"cannot be transpiled: .* nested too deeply for Qiskit"):
        transpile(circuit, passes=[FusionPass])
    for network in (FusedEstimatorQNN, FusedSamplerQNN):
        with pytest.raises(InvalidInputError, match=r"cannot be given the network's parameters: .* nested too deeply"):
            network(circuit=circuit, weight_params=[t])


def test_what_qiskit_cannot_copy_is_refused() -> None:
    circuit = QuantumCircuit(1)
    for _ in range(1500):  # names of standard gates are taken at their word, until the first comparison
        gate = Gate("x", 1, [])
        gate.definition = circuit
        circuit = QuantumCircuit(1)
        circuit.append(gate, [0])
    for run in (
        lambda: FusedEstimator().run([(circuit, "Z")]).result(),
        lambda: FusedSimulator().run(circuit).result(),
        lambda: DifferentiableCircuit(circuit, ["Z"]),
    ):
        with pytest.raises(InvalidInputError, match="nested too deeply for Qiskit"):
            run()
