"""Every PennyLane operation's row: its matrix is the framework's, its gradient that of backpropagation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.interfaces.pennylane import FusedQubit, operations
from qiskit_fusedqml.interfaces.pennylane.circuits import Circuit
from qiskit_fusedqml.interfaces.pennylane.operations import OPERATIONS
from qiskit_fusedqml.ir.gates import Factor, GateRow
from qiskit_fusedqml.ir.program import Program

# backpropagation through default.qubit discards imaginary parts that are 0
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

Make = Callable[..., Any]

WIRES = ["c", 0, "a", 3, 7]
"""Labels of all sorts, in no order."""


def random_unitary(size: int) -> np.ndarray:
    matrix = np.random.default_rng(size).normal(size=(2, size, size))
    return np.linalg.qr(matrix[0] + 1j * matrix[1])[0]


def of_table(name: str) -> tuple[int, Make]:
    row = OPERATIONS[name]
    chosen = WIRES[1 : 1 + row.num_qubits]
    return row.num_params, lambda *angles: getattr(qml, name)(*angles, wires=chosen)


UNITARY, DIAGONAL = random_unitary(4), np.exp(1j * np.arange(8.0))
FAMILIES: dict[str, tuple[int, Make]] = {
    "Identity": (0, lambda: qml.Identity([0, "c"])),
    "Barrier": (0, lambda: qml.Barrier([0, "c"])),
    "GlobalPhase": (1, lambda t: qml.GlobalPhase(t, wires=0)),
    "controlled GlobalPhase": (1, lambda t: qml.ctrl(qml.GlobalPhase(t), [0, 3], control_values=[0, 1])),
    "MultiRZ": (1, lambda t: qml.MultiRZ(t, wires=["a", 0, 7])),
    "PauliRot": (1, lambda t: qml.PauliRot(t, "XIYZ", wires=["a", 3, 0, "c"])),
    "PauliRot of identities": (1, lambda t: qml.PauliRot(t, "II", wires=["a", 3])),
    **{f"PCPhase {d}": (1, lambda t, d=d: qml.PCPhase(t, dim=d, wires=["a", 3, 0])) for d in (0, 3, 5, 8)},
    "MultiControlledX": (0, lambda: qml.MultiControlledX(wires=[0, "a", 3, 7], control_values=[1, 0, 0])),
    "QubitUnitary": (0, lambda: qml.QubitUnitary(UNITARY, wires=[7, "a"])),
    "ControlledQubitUnitary": (
        0,
        lambda: qml.ControlledQubitUnitary(UNITARY, wires=[0, 3, 7, "a"], control_values=[0, 1]),
    ),
    "DiagonalQubitUnitary": (0, lambda: qml.DiagonalQubitUnitary(DIAGONAL, wires=[7, "a", 0])),
    "controlled DiagonalQubitUnitary": (
        0,
        lambda: qml.ctrl(qml.DiagonalQubitUnitary(DIAGONAL, wires=[7, "a", 0]), ["c", 3], control_values=[0, 1]),
    ),
    "BlockEncode": (0, lambda: qml.BlockEncode(np.array([[0.1, 0.3], [-0.2, 0.4]]), wires=[3, "c"])),
    "adjoint of S": (0, lambda: qml.adjoint(qml.S(3))),
    "adjoint of QubitUnitary": (0, lambda: qml.adjoint(qml.QubitUnitary(UNITARY, wires=[7, "a"]), lazy=True)),
    "adjoint of a controlled": (
        1,
        lambda t: qml.adjoint(qml.ctrl(qml.DoubleExcitationPlus(t, wires=[0, "a", 3, 7]), "c", control_values=[0])),
    ),
}
ALL = {name: of_table(name) for name in OPERATIONS} | FAMILIES


def variants(name: str) -> list[tuple[int, Make]]:
    """The operation, undone, and under two controls where there is room for them."""
    count, make = ALL[name]
    result = [(count, make), (count, lambda *angles: qml.adjoint(make(*angles), lazy=True))]
    taken = make(*np.ones(count)).wires
    free = [wire for wire in WIRES if wire not in taken][:2]
    if name not in {"Identity", "Barrier"} and free:
        values = [0, 1][: len(free)]
        result.append((count, lambda *angles: qml.ctrl(make(*angles), free, control_values=values)))
    return result


def matrix_of(op: Any) -> np.ndarray:
    """The matrix of an operation's program, by the reference device."""
    circuit = Circuit([op], tuple(WIRES))
    size = 2 ** len(WIRES)
    program = circuit.program
    started = Program(len(WIRES), program.num_angles, program.instructions, np.eye(size, dtype=complex))
    order = range(circuit.num_columns)
    engine = ProgramFunction(started, circuit.angle_map(order), None, EngineOptions("reference"))
    return engine.statevector(None, np.array(op.data if order else [], dtype=float)).T


@pytest.mark.parametrize("name", ALL)
def test_the_program_has_the_operations_matrix(name: str) -> None:
    for number, (count, make) in enumerate(variants(name)):
        op = make(*np.random.default_rng([number, count]).uniform(-3, 3, count))
        if operations.meaning(op) is None:
            assert op.has_decomposition, "nobody can run this"
            continue
        expected = qml.matrix(op, wire_order=WIRES) if name != "Barrier" else np.eye(2 ** len(WIRES))
        np.testing.assert_allclose(matrix_of(op), expected, atol=1e-12)


def test_a_wrong_row_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operations.PLAIN, qml.RX, GateRow(1, 1, (Factor("X", (1.001,)),)))
    with pytest.raises(AssertionError):
        test_the_program_has_the_operations_matrix("RX")


def circuit_of(device: Any, method: str, makes: list[tuple[int, Make]]) -> Any:
    """A circuit in which every amplitude and every phase matters to what is measured."""

    @qml.qnode(device, diff_method=method)
    def circuit(angles: Any) -> Any:
        for wire, angle in zip(WIRES, angles, strict=False):
            qml.RY(angle, wires=wire)
            qml.PhaseShift(1.3 * angle, wires=wire)
        start = len(WIRES)
        for count, make in makes:
            make(*angles[start : start + count])
            start += count
            for k, wire in enumerate(WIRES):
                qml.RX(0.3 + 0.2 * k, wires=wire)
        words = [qml.Z("c") @ qml.X(7), qml.Y(0) @ qml.Z("a"), qml.X(3), qml.Z(7) @ qml.Z(3) @ qml.Z(0)]
        return [qml.expval(qml.dot([0.7, -0.4, 1.1, 0.5], words)), qml.expval(qml.Y("a") @ qml.Y("c"))]

    return circuit


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_backpropagation(name: str) -> None:
    makes = variants(name)
    angles = np.random.default_rng(len(name)).uniform(-3, 3, len(WIRES) + sum(count for count, _ in makes))
    given = pnp.array(angles, requires_grad=True)

    def answers(device: Any, method: str) -> tuple[Any, Any]:
        circuit = circuit_of(device, method, makes)
        return circuit(given), qml.jacobian(lambda a: pnp.stack(circuit(a)))(given)

    ours = answers(FusedQubit(wires=WIRES), "adjoint")
    theirs = answers(qml.device("default.qubit", wires=WIRES), "backprop")
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-10)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-10)


PARAMETRISED = [name for name in ALL if ALL[name][0]]


@pytest.mark.parametrize("first", range(0, len(PARAMETRISED), 8))
def test_broadcast_angles(first: int) -> None:
    makes = [ALL[name] for name in PARAMETRISED[first : first + 8]]
    rng = np.random.default_rng(7)
    count = len(WIRES) + sum(own for own, _ in makes)
    angles = [pnp.array(rng.uniform(-3, 3, 3), requires_grad=True) for _ in range(count)]

    def gradient(device: Any, method: str) -> Any:
        circuit = circuit_of(device, method, makes)
        weights = np.array([[0.3, -1.0, 0.4], [2.0, 0.1, -0.7]])
        return qml.grad(lambda *a: pnp.sum(weights * pnp.stack(circuit(a))), argnums=tuple(range(count)))(*angles)

    ours, theirs = gradient(FusedQubit(), "adjoint"), gradient(qml.device("default.qubit"), "backprop")
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_everything_that_lightning_runs_is_run() -> None:
    from pennylane_lightning.lightning_qubit import LightningQubit

    names = set(LightningQubit.capabilities.operations)
    names = {name for name in names if not name.startswith(("C(", "Adjoint("))}
    known = {*OPERATIONS, *(kind.__name__ for kind in operations._FAMILIES)}
    aliases = {"SQISW": "SISWAP"}
    assert {aliases.get(name, name) for name in names} - known <= {"MidMeasureMP"}
