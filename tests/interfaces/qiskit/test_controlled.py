"""Gates under controls, inverses and powers whose parameters are assigned after the gates were made.

Expected values are Qiskit's, of the same circuit built with numbers from the start; expected derivatives are central
differences of these.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import AnnotatedOperation, ControlModifier, Gate, InverseModifier, Parameter, PowerModifier
from qiskit.circuit.library import CRXGate, CUGate, PauliEvolutionGate, RXGate, UGate
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector
from qiskit.transpiler import PassManager
from support.interpreter import program_unitary

from qiskit_fusedqml import DifferentiableCircuit, FusedGate, FusedSimulator, FusionPass
from qiskit_fusedqml.errors import UnsupportedInstructionError
from qiskit_fusedqml.interfaces.qiskit.backend import save
from qiskit_fusedqml.interfaces.qiskit.lowering import lower

T, S = Parameter("t"), Parameter("s")
OBSERVABLES = ["ZZII", "XIYZ", "IZXI", "IIIZ", "YIZI"]
POINT = np.array([0.9, 1.7])  # s, t


def one(t: Any) -> Gate:
    body = QuantumCircuit(1, name="one")
    body.rx(t, 0)
    return body.to_gate()


def two(t: Any, s: Any) -> Gate:
    body = QuantumCircuit(2, name="two", global_phase=s)
    body.rx(t, 0)
    body.crz(2 * t, 0, 1)
    body.ry(s * t, 1)
    return body.to_gate()


def inside(gate: Gate, *qubits: int) -> QuantumCircuit:
    body = QuantumCircuit(max(qubits) + 1, name="inside")
    body.h(0)
    body.append(gate, qubits)
    return body


def mapped(t: Any, s: Any) -> Gate:
    """A gate whose parameters are not those of its definition, and come in another order."""
    a, b = Parameter("a"), Parameter("b")
    body = QuantumCircuit(2)
    body.rx(a, 0)
    body.cry(b, 0, 1)
    return body.to_gate(parameter_map={b: t, a: 2 * s})


def misnamed(t: Any) -> Gate:
    body = QuantumCircuit(2, name="s")
    body.ry(t, 0)
    body.cx(0, 1)
    return body.to_gate()


class Own(Gate):
    """A gate with a class of its own."""

    def __init__(self, t: Any) -> None:
        super().__init__("own", 1, [t])

    def _define(self) -> None:
        self.definition = QuantumCircuit(1)
        self.definition.rx(self.params[0], 0)
        self.definition.h(0)


ON_THREE: dict[str, Callable[[Any, Any], Any]] = {
    "two": lambda t, s: two(t, s).control(1),
    "two, open": lambda t, s: two(t, s).control(1, ctrl_state=0),
    "one, open": lambda t, s: one(t + s).control(2, ctrl_state=1),
    "of a control": lambda t, s: one(s * t).control(1).control(1, ctrl_state=0),
    "inverse of the control": lambda t, s: two(t, s).control(1).inverse(),
    "control of the inverse": lambda t, s: two(t, s).inverse().control(1),
    "repeated": lambda t, s: two(t, s).repeat(2).control(1),
    "nested": lambda t, s: inside(one(t + 2 * s).control(1), 1, 0).to_gate().control(1),
    "twice nested": lambda t, s: inside(inside(two(t, s).control(1), 2, 0, 1).to_gate(), 0, 1, 2).to_gate(),
    "instruction": lambda t, s: inside(two(t, s).control(1), 2, 0, 1).to_instruction(),
    "mapped": lambda t, s: mapped(t, s).control(1),
    "another name": lambda t, s: misnamed(t + s).control(1),
    "another width": lambda t, s: inside(misnamed(t * s).control(1), 2, 0, 1).to_gate(),
    "own class": lambda t, s: Own(t * s).control(2, ctrl_state=2),
    "evolution": lambda t, s: PauliEvolutionGate(SparsePauliOp(["XY", "YX"]), t + s).control(1),
    "standard": lambda t, s: RXGate(t * s).control(2, ctrl_state=2, annotated=False),
    "cu": lambda t, s: CUGate(t, s, 0.3, t).control(1),
    "fused": lambda t, s: FusedGate(inside(two(T, S), 1, 0), [s, t]).control(1),
    "annotated": lambda t, s: AnnotatedOperation(two(t, s), [ControlModifier(1, 0)]),
    "annotated inverse": lambda t, s: AnnotatedOperation(two(t, s).control(1), [InverseModifier(), PowerModifier(2)]),
    "annotated nested": lambda t, s: AnnotatedOperation(
        inside(one(t * s).control(1), 1, 0).to_gate(), [InverseModifier(), ControlModifier(1)]
    ),
    "annotated standard": lambda t, s: AnnotatedOperation(RXGate(t - s), [PowerModifier(0.5), ControlModifier(2, 1)]),
}


def circuit_of(name: str, t: Any, s: Any) -> QuantumCircuit:
    circuit = QuantumCircuit(4)
    for qubit in range(4):
        circuit.ry(0.4 + qubit, qubit)
    circuit.append(ON_THREE[name](t, s), [2, 0, 3])
    circuit.rx(0.3, 0)
    circuit.cx(2, 1)
    return circuit


def expected(name: str, t: float, s: float) -> list[float]:
    state = Statevector(circuit_of(name, t, s))
    return [float(np.real(state.expectation_value(SparsePauliOp(label)))) for label in OBSERVABLES]


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
@pytest.mark.parametrize("name", ON_THREE)
def test_values_and_gradients_after_assignments(name: str) -> None:
    circuit = circuit_of(name, T, S)
    changed = circuit.assign_parameters({T: T / 2}).assign_parameters({S: 3 * S})
    renamed = circuit.assign_parameters({T: Parameter("a"), S: Parameter("b")})
    s, t = POINT
    for source, (a, b), scales in (
        (circuit, (t, s), (1, 1)),
        (changed, (t / 2, 3 * s), (0.5, 3)),
        (renamed, (s, t), (1, 1)),
    ):
        function = DifferentiableCircuit(source, OBSERVABLES)
        np.testing.assert_allclose(function.values(None, POINT)[0], expected(name, a, b), atol=1e-12)
        step = 1e-6
        by_t = np.subtract(expected(name, a + step, b), expected(name, a - step, b)) / (2 * step) * scales[0]
        by_s = np.subtract(expected(name, a, b + step), expected(name, a, b - step)) / (2 * step) * scales[1]
        columns = [by_t, by_s] if source is renamed else [by_s, by_t]
        np.testing.assert_allclose(function.jacobian(None, POINT)[0], np.transpose(columns), atol=2e-8)
    for bound, (a, b) in (
        (circuit.assign_parameters({T: t, S: s}), (t, s)),
        (circuit.assign_parameters({T: t}).assign_parameters({S: s}), (t, s)),
        (changed.assign_parameters({T: t, S: s}), (t / 2, 3 * s)),
    ):
        np.testing.assert_allclose(
            DifferentiableCircuit(bound, OBSERVABLES).values()[0], expected(name, a, b), atol=1e-12
        )


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
@pytest.mark.parametrize("name", ON_THREE)
def test_inside_fused_gates_and_control_flow(name: str) -> None:
    circuit = circuit_of(name, T, S).assign_parameters({T: T / 2})
    s, t = POINT
    target = Statevector(circuit_of(name, t / 2, s)).data
    fused = PassManager([FusionPass()]).run(circuit)
    flow = QuantumCircuit(4, 1)
    with flow.if_test((flow.clbits[0], 0)):
        flow.append(circuit.to_instruction(), range(4))
    for each in (fused, fused.assign_parameters({S: 2 * S}).assign_parameters({S: S / 2}), flow):
        bound = each.assign_parameters({T: t, S: s})
        save(bound, "statevector")
        saved = FusedSimulator().run(bound).result().get_statevector()
        np.testing.assert_allclose(np.asarray(saved), target, atol=1e-12)


def test_an_inverse_is_made_of_what_was_assigned() -> None:
    """Qiskit's inverse of a definition takes the base gates of controlled gates, which no value was assigned to."""
    inner = inside(one(T).control(1), 1, 0).assign_parameters({T: T / 2})
    circuit = QuantumCircuit(2)
    circuit.append(AnnotatedOperation(inner.to_gate(), [InverseModifier()]), [0, 1])
    target = Operator(inside(one(0.35).control(1), 1, 0)).adjoint().data
    for each, values in ((circuit, [0.7]), (circuit.assign_parameters({T: 0.7}), [])):
        found = lower(each)
        np.testing.assert_allclose(program_unitary(found.program, found.angle_map.evaluate(values)), target, atol=1e-12)


def test_bases_without_parameters_need_no_definition_of_the_control() -> None:
    circuit = QuantumCircuit(5)
    circuit.append(one(0.3).control(4), range(5))
    assert len(lower(circuit).program.instructions) == 1
    circuit = QuantumCircuit(5)
    circuit.append(one(T).control(4), range(5))
    assert len(lower(circuit).program.instructions) == 1
    assert len(lower(circuit.assign_parameters({T: 2 * T})).program.instructions) > 1


@pytest.mark.parametrize("width", [1, 2])
def test_custom_gates_with_the_names_of_standard_ones(width: int) -> None:
    for name, controls in itertools.product(("s", "t", "swap", "u", "rzz", "measure", "barrier", "delay"), (0, 1)):
        body = QuantumCircuit(width, name=name)
        body.ry(0.4, 0)
        body.cx(0, width - 1) if width > 1 else body.h(0)
        gate = body.to_gate()
        if controls and name == "u":
            continue  # Qiskit controls a gate by its name
        circuit = QuantumCircuit(3)
        circuit.h(range(3))
        circuit.append(gate.control(controls) if controls else gate, range(width + controls))
        np.testing.assert_allclose(program_unitary(lower(circuit).program), Operator(circuit).data, atol=1e-12)


def test_a_controlled_gate_means_its_definition_where_qiskit_takes_it_by_its_name() -> None:
    body = QuantumCircuit(1, name="x")
    body.ry(T, 0)
    circuit = QuantumCircuit(2)
    circuit.append(body.to_gate().control(1), [0, 1])
    bound = circuit.assign_parameters({T: 0.4})
    np.testing.assert_allclose(program_unitary(lower(bound).program), Operator(bound).data, atol=1e-12)
    found = lower(circuit)
    np.testing.assert_allclose(
        program_unitary(found.program, found.angle_map.evaluate([0.4])), Operator(bound).data, atol=1e-12
    )


@pytest.mark.parametrize("modifiers", [[ControlModifier(1)], [InverseModifier()]])
def test_what_is_no_unitary_is_neither_controlled_nor_inverted(modifiers: Sequence[Any]) -> None:
    body = QuantumCircuit(1, 1)
    body.h(0)
    body.measure(0, 0)
    operation = AnnotatedOperation(body.to_instruction(), [*modifiers])
    circuit = QuantumCircuit(2, 1)
    circuit.append(operation, range(operation.num_qubits), [0])
    with pytest.raises(UnsupportedInstructionError, match="only unitaries"):
        lower(circuit)


def test_a_power_of_a_gate_without_values_is_refused() -> None:
    circuit = QuantumCircuit(1)
    circuit.append(AnnotatedOperation(one(T), [PowerModifier(0.5)]), [0])
    with pytest.raises(UnsupportedInstructionError, match=r"its power 0\.5 cannot be computed"):
        lower(circuit)
    bound = circuit.assign_parameters({T: 0.8})
    np.testing.assert_allclose(program_unitary(lower(bound).program), Operator(RXGate(0.4)).data, atol=1e-12)


def test_a_controlled_standard_gate_keeps_its_row() -> None:
    circuit = QuantumCircuit(4)
    circuit.append(UGate(T, S, 0.3).control(3, ctrl_state=5, annotated=False), range(4))
    circuit.append(CRXGate(T).control(2, annotated=False), range(4))
    found = lower(circuit.assign_parameters({T: 2 * T}))
    assert len(found.program.instructions) <= 6
