"""Circuits changed in place between two runs: the new values, and at the price of a comparison only."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import AnnotatedOperation, ControlModifier, Gate, Parameter
from qiskit.circuit.classical import expr, types
from qiskit.circuit.library import (
    DiagonalGate,
    HamiltonianGate,
    PauliEvolutionGate,
    PermutationGate,
    UCGate,
    UnitaryGate,
)
from qiskit.quantum_info import SparsePauliOp, Statevector, random_statevector, random_unitary

from qiskit_fusedqml import FusedEstimator, FusedGate, FusedSampler, FusedSimulator
from qiskit_fusedqml.interfaces.qiskit.backend import save
from qiskit_fusedqml.interfaces.qiskit.cache import CircuitCache
from qiskit_fusedqml.interfaces.qiskit.snapshot import Snapshot

X = np.array([[0, 1], [1, 0]], dtype=complex)
OBSERVABLES = ["ZII", "IZI", "IIZ", "XXX", "YIX", "ZZZ"]


class Turn(Gate):
    """A gate whose definition depends on an attribute."""

    def __init__(self, angles: np.ndarray) -> None:
        super().__init__("turn", 1, [])
        self.angles = angles

    def _define(self) -> None:
        self.definition = QuantumCircuit(1)
        self.definition.rx(float(self.angles.sum()), 0)


def _custom(diagonal: list[complex]) -> QuantumCircuit:
    inner = QuantumCircuit(1, name="inner")
    inner.h(0)
    inner.append(DiagonalGate(diagonal), [0])
    inner.h(0)
    return inner


MATRICES = [random_unitary(size, seed=size).data for size in (2, 4, 8)]

KINDS: dict[str, tuple[Callable[[], tuple[Any, list[int]]], Callable[[Any], None]]] = {
    "unitary": (lambda: (UnitaryGate(np.eye(2, dtype=complex)), [1]), lambda op: op.params[0].__setitem__(..., X)),
    "wide unitary": (
        lambda: (UnitaryGate(np.eye(8, dtype=complex)), [0, 1, 2]),
        lambda op: op.params[0].__setitem__(..., MATRICES[2]),
    ),
    "diagonal": (lambda: (DiagonalGate([1, 1, 1, 1]), [0, 2]), lambda op: op.params.__setitem__(1, -1.0)),
    "permutation": (
        lambda: (PermutationGate([0, 2, 1]), [0, 1, 2]),
        lambda op: op.params[0].__setitem__(..., [2, 0, 1]),
    ),
    "evolution": (
        lambda: (PauliEvolutionGate(SparsePauliOp(["XX", "ZY"], [0.3, 0.1]), 0.7), [0, 2]),
        lambda op: op.operator.coeffs.__setitem__(0, 1.1),
    ),
    "hamiltonian": (
        lambda: (HamiltonianGate(np.diag([0.1, 0.2]).astype(complex), 0.7), [0]),
        lambda op: op.params[0].__setitem__(..., X),
    ),
    "multiplexer": (
        lambda: (UCGate([np.eye(2, dtype=complex), MATRICES[0]]), [0, 1]),
        lambda op: op.params[0].__setitem__(..., X),
    ),
    "attribute": (lambda: (Turn(np.array([0.1, 0.2])), [0]), lambda op: op.angles.__setitem__(0, 1.3)),
    "definition": (lambda: (_custom([1, 1j]).to_gate(), [0]), lambda op: op.definition.h(0)),
    "diagonal in a definition": (
        lambda: (_custom([1, 1]).to_gate(), [0]),
        lambda op: op.definition.data[1].operation.params.__setitem__(1, 1j),
    ),
    "annotated": (
        lambda: (AnnotatedOperation(UnitaryGate(np.eye(2, dtype=complex)), [ControlModifier(1)]), [0, 1]),
        lambda op: op.base_op.params[0].__setitem__(..., X),
    ),
    "modifier": (
        lambda: (AnnotatedOperation(UnitaryGate(X), [ControlModifier(1, 1)]), [0, 1]),
        lambda op: setattr(op.modifiers[0], "ctrl_state", 0),
    ),
}


def _around(operation: Any, qubits: list[int]) -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.ry(0.4, 0)
    circuit.cx(0, 1)
    circuit.ry(1.1, 2)
    circuit.append(operation, qubits)
    circuit.rx(0.3, 1)
    circuit.cx(1, 2)
    return circuit


def _values(circuit: QuantumCircuit) -> np.ndarray:
    return np.asarray(FusedEstimator().run([(circuit, OBSERVABLES)]).result()[0].data.evs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
def test_operations_changed_in_place(kind: str) -> None:
    make, change = KINDS[kind]
    operation, qubits = make()
    circuit = _around(operation, qubits)
    before = _values(circuit)
    np.testing.assert_allclose(_values(circuit), before, atol=1e-14)
    change(circuit.data[3].operation)
    changed, _ = make()
    change(changed)
    fresh = _around(changed, qubits)
    expected = [Statevector(fresh).expectation_value(SparsePauliOp(label)).real for label in OBSERVABLES]
    np.testing.assert_allclose(_values(circuit), expected, atol=1e-10)
    assert np.abs(before - expected).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_copy_shares_nothing(kind: str) -> None:
    """What was compiled from the copy later, when the circuit had been changed, is the circuit as it was."""
    make, change = KINDS[kind]
    operation, qubits = make()
    circuit = _around(operation, qubits)
    before = _values(circuit.copy())
    snapshot = Snapshot(circuit)
    assert snapshot.is_of(circuit)
    change(circuit.data[3].operation)
    assert not snapshot.is_of(circuit)
    np.testing.assert_allclose(_values(snapshot.circuit), before, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_compiling_the_copy_does_not_make_it_another(kind: str) -> None:
    cache, built = CircuitCache(), []
    circuit = _around(*KINDS[kind][0]())
    for _ in range(3):
        cache.get(circuit, "key", lambda copied: built.append(_values(copied)))
    assert len(built) == 1


@pytest.mark.parametrize("prepare", ["initialize", "prepare_state"])
def test_amplitudes_changed_in_place(prepare: str) -> None:
    circuit = QuantumCircuit(1)
    getattr(circuit, prepare)([1, 0], 0)
    estimator = FusedEstimator()
    assert estimator.run([(circuit, "Z")]).result()[0].data.evs == pytest.approx(1.0)
    circuit.data[0].operation.params[:] = [0.6, 0.8]
    assert estimator.run([(circuit, "Z")]).result()[0].data.evs == pytest.approx(0.36 - 0.64)


@pytest.mark.parametrize("block", ["x", "diagonal", "evolution"])
def test_blocks_changed_in_place(block: str) -> None:
    circuit = QuantumCircuit(1, 1)
    with circuit.if_test((circuit.clbits[0], 0)):
        if block == "evolution":
            circuit.append(PauliEvolutionGate(SparsePauliOp(["X"], [0.0]), np.pi / 2), [0])
        else:
            circuit.h(0)
            circuit.append(DiagonalGate([1, 1]), [0])
            circuit.h(0)
    circuit.measure(0, 0)
    simulator, sampler = FusedSimulator(), FusedSampler()
    assert simulator.run(circuit, shots=5).result().get_counts() == {"0": 5}
    assert sampler.run([circuit], shots=5).result()[0].data.c.get_counts() == {"0": 5}
    body = circuit.data[0].operation.blocks[0]
    if block == "x":
        body.x(0)
    elif block == "diagonal":
        body.data[1].operation.params[1] = -1.0
    else:
        body.data[0].operation.operator.coeffs[0] = 1.0
    assert simulator.run(circuit, shots=5).result().get_counts() == {"1": 5}
    assert sampler.run([circuit], shots=5).result()[0].data.c.get_counts() == {"1": 5}


def test_conditions_are_compared() -> None:
    circuit = QuantumCircuit(1, 1)
    level = circuit.add_var("level", expr.lift(5, types.Uint(8)))
    with circuit.if_test(expr.less(level, 3)):
        circuit.x(0)
    circuit.measure(0, 0)
    snapshot, simulator = Snapshot(circuit), FusedSimulator()
    assert snapshot.is_of(circuit)
    assert simulator.run(circuit, shots=5).result().get_counts() == {"0": 5}
    operation = circuit.data[1].operation
    operation.condition = expr.less(level, 7)
    circuit.data = [circuit.data[0], circuit.data[1].replace(operation=operation), circuit.data[2]]
    assert not snapshot.is_of(circuit)
    assert simulator.run(circuit, shots=5).result().get_counts() == {"1": 5}


def test_saved_observables_changed_in_place() -> None:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    save(circuit, "expval", operator=SparsePauliOp(["Z", "X"], [1.0, 0.0]), label="value")
    simulator = FusedSimulator()
    assert simulator.run(circuit).result().data()["value"] == pytest.approx(0.0)
    circuit.data[1].operation.params[:] = [("X", (1.0, 0.0)), ("Z", (0.0, 0.0))]
    assert simulator.run(circuit).result().data()["value"] == pytest.approx(1.0)


def test_a_fused_gate_keeps_its_own_matrices() -> None:
    body = QuantumCircuit(1)
    body.append(UnitaryGate(X.copy()), [0])
    gate = FusedGate(body)
    body.data[0].operation.params[0][...] = np.eye(2)
    circuit = QuantumCircuit(1)
    circuit.append(gate, [0])
    assert FusedEstimator().run([(circuit, "Z")]).result()[0].data.evs == pytest.approx(-1.0)


def test_operators_changed_in_place() -> None:
    circuit, operator = QuantumCircuit(2), SparsePauliOp(["ZZ", "XX"], [1.0, 2.0])
    circuit.h(0)
    circuit.cx(0, 1)
    estimator = FusedEstimator()
    assert estimator.run([(circuit, operator)]).result()[0].data.evs == pytest.approx(3.0)
    operator.coeffs[...] = [5.0, 1.0]
    assert estimator.run([(circuit, operator)]).result()[0].data.evs == pytest.approx(6.0)


def test_a_custom_gate_with_a_standard_gates_name() -> None:
    inner = QuantumCircuit(1, name="h")
    inner.x(0)
    circuit = QuantumCircuit(1)
    circuit.append(inner.to_gate(), [0])
    estimator = FusedEstimator()
    assert estimator.run([(circuit, "Z")]).result()[0].data.evs == pytest.approx(-1.0)
    circuit.data[0].operation.definition.x(0)
    assert estimator.run([(circuit, "Z")]).result()[0].data.evs == pytest.approx(1.0)


@pytest.mark.parametrize("prepare", ["initialize", "prepare_state"])
def test_comparing_does_not_synthesise(prepare: str) -> None:
    circuit = QuantumCircuit(10)
    getattr(circuit, prepare)(random_statevector(2**10, seed=1).data)
    circuit.measure_all()
    snapshot = Snapshot(circuit)
    assert snapshot.is_of(circuit)
    assert circuit.data[0].operation._definition is None
    assert Statevector(circuit.remove_final_measurements(inplace=False)).num_qubits == 10
    assert snapshot.is_of(circuit)  # that it has been synthesised elsewhere changes nothing


def test_parameters_of_operations_are_compared() -> None:
    a = Parameter("a")
    circuit = QuantumCircuit(2)
    circuit.append(_custom([1, 1j]).to_gate(), [0])
    circuit.append(PauliEvolutionGate(SparsePauliOp("ZX"), a), [0, 1])
    snapshot = Snapshot(circuit)
    assert snapshot.is_of(circuit)
    assert not snapshot.is_of(circuit.assign_parameters([0.5]))
    assert not snapshot.is_of(circuit.assign_parameters({a: 2 * a}))


def test_phases_are_compared_by_what_they_are() -> None:
    """Qiskit, from 2.2 on, writes some expressions that differ in the same way, and equal ones in different ways."""
    a, b = Parameter("a"), Parameter("b")
    ambiguous = (1 / (-b * b), 1 / (-b) * b)
    phases = [0.5, a, b, a + b, a - b, 2 * (a + 0.3) * b, 2 * (a + 0.31) * b, Parameter("a"), *ambiguous]

    def circuit(phase: Any) -> QuantumCircuit:
        made = QuantumCircuit(1, global_phase=phase)
        made.h(0)
        return made

    for k, copied in enumerate(phases):
        snapshot = Snapshot(circuit(copied))
        assert [snapshot.is_of(circuit(given)) for given in phases] == [j == k for j in range(len(phases))]
    assert Snapshot(circuit(2 * (a + b))).is_of(circuit(2 * b + 2 * a))
    assert Snapshot(circuit((a - 0.5).log())).is_of(circuit((a - 0.5).log()))


def test_names_alone_are_trusted_until_the_first_comparison() -> None:
    inner = QuantumCircuit(1, name="h")
    inner.x(0)
    circuit = QuantumCircuit(1)
    circuit.h(0)
    assert Snapshot(circuit, by_names=True).is_of(circuit)
    circuit.append(inner.to_gate(), [0])
    assert not Snapshot(circuit, by_names=True).is_of(circuit)
    assert Snapshot(circuit).is_of(circuit)
    cache, built = CircuitCache(), []
    for _ in range(4):
        cache.get(circuit, "key", built.append)
    assert len(built) == 2


class Later(Executor):
    """Does its work when it is asked for the result."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Remember the work."""
        future: Future[Any] = Future()
        self.work = lambda: future.set_result(function(*arguments, **named))
        return future


def test_an_executor_runs_what_was_submitted() -> None:
    circuit = QuantumCircuit(1, name="first")
    circuit.append(UnitaryGate(X.copy()), [0])
    circuit.measure_all()
    executor = Later()
    job = FusedSimulator(executor=executor).run(circuit, shots=3)
    circuit.data[0].operation.params[0][...] = np.eye(2)
    circuit.name = "second"
    executor.work()
    assert job.result().get_counts() == {"1": 3}
    assert job.result().results[0].header["name"] == "first"
    job = FusedSimulator(executor=executor).run(circuit, shots=3)
    executor.work()
    assert job.result().get_counts() == {"0": 3}
    assert job.result().results[0].header["name"] == "second"
