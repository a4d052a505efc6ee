"""`FusedQubit` as PennyLane uses it: measurements, batches, interfaces, shots, errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError, QuantumFunctionError, WireError
from scipy.sparse import csr_matrix

from qiskit_fusedqml.devices.cpu import CPUDevice
from qiskit_fusedqml.interfaces.pennylane import FusedQubit
from qiskit_fusedqml.interfaces.pennylane.observables import pauli_sum, squared_sum

# backpropagation through default.qubit discards imaginary parts that are 0
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

THEIRS = qml.device("default.qubit", wires=4)


def hermitian(num_wires: int) -> np.ndarray:
    parts = np.random.default_rng(num_wires).normal(size=(2, 2**num_wires, 2**num_wires))
    matrix = parts[0] + 1j * parts[1]
    return matrix + matrix.conj().T


WORDS = qml.dot([0.5, -1.2, 0.3], [qml.Z(0) @ qml.X(2), qml.Y(1) @ qml.Z(3), qml.Identity(0)])
OBSERVABLES = {
    "word": lambda: qml.X(0) @ qml.Y(3),
    "sum": lambda: WORDS,
    "hadamard": lambda: qml.Hadamard(1) @ qml.Z(2),
    "projector": lambda: qml.Projector([1, 0], wires=[3, 1]),
    "projectors": lambda: qml.Projector([1], wires=3) @ qml.Projector([0, 1], wires=[3, 1]) @ qml.X(0),
    "state projector": lambda: qml.Projector(np.array([0.6, 0.0, 0.0, 0.8j]), wires=[3, 1]),
    "hermitian": lambda: qml.Hermitian(hermitian(2), wires=[2, 0]),
    "hermitians": lambda: qml.Hermitian(hermitian(1), wires=2) @ qml.Hermitian(hermitian(1), wires=1),
    "mixed": lambda: 0.4 * qml.Hermitian(hermitian(1), wires=3) + 2 * qml.X(3) @ qml.Y(0),
    "overlapping": lambda: qml.prod(qml.X(0), qml.Y(1)) @ qml.prod(qml.X(0), qml.Z(2)),
    "sparse": lambda: qml.SparseHamiltonian(csr_matrix(hermitian(4)), wires=range(4)),
}
MEASUREMENTS: dict[str, Callable[[], Any]] = {
    **{f"expval {name}": lambda make=make: qml.expval(make()) for name, make in OBSERVABLES.items()},
    **{f"var {name}": lambda make=make: qml.var(make()) for name, make in OBSERVABLES.items() if name != "sparse"},
    "probs": qml.probs,
    "probs of wires": lambda: qml.probs(wires=[2, 0]),
    "probs of observable": lambda: qml.probs(op=qml.X(2) @ qml.Y(0)),
    "state": qml.state,
    "density matrix": lambda: qml.density_matrix([2, 0]),
    "purity": lambda: qml.purity([1, 2]),
    "entropy": lambda: qml.vn_entropy([0, 3]),
    "mutual information": lambda: qml.mutual_info([0], [3]),
}


def ansatz(x: Any, w: Any) -> None:
    for wire in range(4):
        qml.RY(x[..., wire], wires=wire)
    qml.StronglyEntanglingLayers(w, wires=range(4))
    qml.CRZ(w[0, 1, 1], wires=[3, 1])


def parameters(batch: int | None = None) -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    x = rng.uniform(-2, 2, 4 if batch is None else (batch, 4))
    return pnp.array(x, requires_grad=True), pnp.array(rng.uniform(-2, 2, (2, 4, 3)), requires_grad=True)


def qnode(device: Any, *measurements: Callable[[], Any], **options: Any) -> Any:
    options = {"diff_method": "backprop" if device is THEIRS else "adjoint", **options}

    @qml.qnode(device, **options)
    def circuit(x: Any, w: Any) -> Any:
        ansatz(x, w)
        found = tuple(measure() for measure in measurements)
        return found[0] if len(found) == 1 else found

    return circuit


def total(results: Any) -> Any:
    """A number that every entry of the results matters to."""
    results = results if isinstance(results, tuple) else (results,)
    answer = 0.0
    for number, result in enumerate(results):
        flat = pnp.reshape(result, (-1,))
        factors = np.cos(1.0 + number + np.arange(flat.size))
        answer = answer + pnp.sum(factors * pnp.real(flat) ** 2) + pnp.sum(np.roll(factors, 1) * pnp.imag(flat))
    return answer


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("name", MEASUREMENTS)
def test_measurements(name: str, batch: int | None) -> None:
    if batch and name in {"mutual information", "entropy"}:
        batch = 2
    x, w = parameters(batch)
    answers = []
    for device in (FusedQubit(wires=4), THEIRS):
        method = "adjoint" if device is not THEIRS else "best" if "sparse" in name else "backprop"
        circuit = qnode(device, MEASUREMENTS[name], diff_method=method)
        if "sparse" in name:  # which nobody differentiates by backpropagation
            circuit = circuit if device is not THEIRS else circuit.update(diff_method="adjoint")
        values = circuit(x, w)
        gradients = qml.grad(lambda *a, f=circuit: total(f(*a)), argnums=[0, 1])(x, w)
        answers.append((values, *gradients))
    for ours, theirs in zip(*answers, strict=True):
        assert np.shape(ours) == np.shape(theirs)
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_several_measurements_of_all_kinds_in_one_circuit() -> None:
    names = ["var word", "state", "expval sum", "probs of observable", "density matrix", "expval sparse"]
    x, w = parameters(3)
    answers = []
    for device in (FusedQubit(wires=4), THEIRS):
        chosen = names if device is not THEIRS else names[:-1]
        results = qnode(device, *(MEASUREMENTS[name] for name in chosen))(x, w)
        own = names[:-1]
        circuit = qnode(device, *(MEASUREMENTS[name] for name in own))
        gradient = qml.grad(lambda w, f=circuit: total(f(x, w)))(w)
        answers.append((results[: len(own)], gradient))
    for ours, theirs in zip(answers[0][0], answers[1][0], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)
    np.testing.assert_allclose(answers[0][1], answers[1][1], atol=1e-10)


@pytest.mark.parametrize("name", OBSERVABLES)
def test_pauli_sums_and_their_squares_have_the_observables_matrix(name: str) -> None:
    obs, qubits = OBSERVABLES[name](), {wire: 3 - wire for wire in range(4)}
    found = pauli_sum(obs, qubits)
    assert found is not None
    matrix = obs.sparse_matrix(wire_order=range(4)).toarray() if name == "sparse" else qml.matrix(obs, range(4))
    np.testing.assert_allclose(dense(found), matrix, atol=1e-12)
    square = squared_sum(found)
    assert square is not None or name in {"projectors", "sparse"}
    if square is not None:
        np.testing.assert_allclose(dense(square), matrix @ matrix, atol=1e-11)


def dense(observable: Any) -> np.ndarray:
    """The definition of a sum of controlled Pauli strings, entry by entry."""
    index = np.arange(2**observable.num_qubits)
    result = np.zeros((len(index), len(index)), dtype=complex)
    for term in observable.terms:
        where = (index & term.ctrl_mask) == term.ctrl_value
        phase = (-1j) ** (term.x & term.z).bit_count() * (-1.0) ** np.bitwise_count(index & term.z)
        result[index[where], (index ^ term.x)[where]] += (term.coefficient * phase)[where]
    return result


class CountingDevice(CPUDevice):
    """Counts sweeps."""

    def __init__(self) -> None:
        super().__init__(num_threads=1)
        self.forwards = self.backwards = 0

    def forward(self, *arguments: Any) -> None:
        self.forwards += 1
        super().forward(*arguments)

    def backward(self, *arguments: Any, **options: Any) -> Any:
        self.backwards += 1
        return super().backward(*arguments, **options)


def counted() -> tuple[FusedQubit, CountingDevice]:
    device = CountingDevice()
    return FusedQubit(wires=4, device=device), device


def test_a_step_of_broadcast_samples_is_two_sweeps() -> None:
    device, counts = counted()
    circuit = qnode(device, MEASUREMENTS["expval sum"], MEASUREMENTS["expval word"])
    x, w = parameters(20)
    qml.grad(lambda w: total(circuit(x, w)))(w)
    assert (counts.forwards, counts.backwards) == (1, 1)


def test_tapes_of_one_structure_are_one_batch() -> None:
    device, counts = counted()
    x, w = parameters()
    shifted = qnode(device, MEASUREMENTS["expval word"], diff_method="parameter-shift")
    gradient = qml.grad(shifted, argnums=1)(x, w)
    assert counts.forwards == 2, "the values, and all shifted circuits"
    np.testing.assert_allclose(
        gradient, qml.grad(qnode(THEIRS, MEASUREMENTS["expval word"]), argnums=1)(x, w), atol=1e-10
    )


def test_different_tapes_in_one_call_come_back_in_order() -> None:
    tapes = [
        qml.tape.QuantumScript([qml.RX(0.1 * k, 0), *([qml.CNOT([0, 1])] if k % 2 else [])], [qml.expval(qml.Z(k % 2))])
        for k in range(1, 6)
    ]
    device = FusedQubit()
    np.testing.assert_allclose(device.execute(tapes), THEIRS.execute(tapes), atol=1e-12)
    ours, theirs = device.compute_derivatives(tapes), THEIRS.compute_derivatives(tapes)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    config = device.setup_execution_config(qml.devices.ExecutionConfig(gradient_method="adjoint"))
    results, vjps = device.execute_and_compute_vjp(tapes, (2.0,) * 5, config)
    np.testing.assert_allclose(results, THEIRS.execute(tapes), atol=1e-12)
    np.testing.assert_allclose(np.ravel(vjps), 2.0 * np.ravel(theirs), atol=1e-12)


def test_structures_are_compiled_once() -> None:
    device = FusedQubit(wires=4)
    circuit = qnode(device, MEASUREMENTS["expval sum"])
    for seed in range(3):
        circuit(*(seed + part for part in parameters()))
    assert len(device._simulations) == 1


def test_asking_again_for_the_same_numbers_takes_no_more_sweeps_than_a_jacobian() -> None:
    device, counts = counted()
    circuit = qnode(device, MEASUREMENTS["expval word"])
    x, w = parameters(8)
    jacobian = qml.jacobian(circuit, argnums=[0, 1])(x, w)
    theirs = qml.jacobian(qnode(THEIRS, MEASUREMENTS["expval word"]), argnums=[0, 1])(x, w)
    for ours, expected in zip(jacobian, theirs, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-10)
    assert counts.backwards <= 4, "for each of the two: one row by the sweep back, the others from a Jacobian"


def tape_with_tangents(seed: int, batch: int | None) -> tuple[Any, list[Any], Callable[[float], Any]]:
    """A tape, tangents of its trained parameters, and the tape some way along them."""
    rng = np.random.default_rng(seed)
    x, w, fixed = rng.normal(size=2 if batch is None else (2, batch)), rng.normal(size=3), rng.normal()
    tangents = [rng.normal(size=np.shape(x[0])), *rng.normal(size=3)]

    def moved(step: float) -> Any:
        a, b, c, d = (number + step * tangent for number, tangent in zip((x[0], *w), tangents, strict=True))
        operations = [
            qml.RY(a, 0),
            qml.Rot(b, c, fixed, 1),
            qml.RX(x[1], 1),
            qml.CNOT([0, 1]),
            qml.PauliRot(d, "YX", [1, 0]),
        ]
        measured = [qml.expval(WORDS), qml.probs(wires=[1]), qml.var(qml.Y(0))]
        return qml.tape.QuantumScript(operations, measured, trainable_params=[0, 1, 2, 5])

    return moved(0.0), tangents, moved


@pytest.mark.parametrize("batch", [None, 3])
def test_results_change_along_tangents(batch: int | None) -> None:
    device, step = FusedQubit(wires=4), 1e-5
    tapes, tangents, moved = zip(*(tape_with_tangents(seed, batch) for seed in range(2)), strict=True)
    results, changes = device.execute_and_compute_jvp(tapes, tangents)
    again = device.compute_jvp(tapes, tangents)
    assert device.supports_jvp()
    for tape, result, change, same, move in zip(tapes, results, changes, again, moved, strict=True):
        expected = THEIRS.execute(tape)
        ahead, behind = (THEIRS.execute(move(sign * step)) for sign in (1, -1))
        for k in range(3):
            np.testing.assert_allclose(result[k], expected[k], atol=1e-12)
            np.testing.assert_allclose(change[k], (ahead[k] - behind[k]) / (2 * step), atol=1e-8)
            np.testing.assert_array_equal(change[k], same[k])


def test_a_tracker_counts_derivatives_once() -> None:
    device = FusedQubit(wires=4)
    tape, tangents, _ = tape_with_tangents(0, None)
    with qml.Tracker(device) as tracker:
        device.compute_derivatives(tape)
        device.compute_jvp(tape, tangents)
    assert tracker.totals == {"derivative_batches": 1, "derivatives": 1, "jvp_batches": 1, "jvps": 1}


@pytest.mark.parametrize("batch", [None, 3])
def test_prepared_amplitudes_and_coefficients_are_differentiated(batch: int | None) -> None:
    rng = np.random.default_rng(3)
    features = pnp.array(rng.normal(size=(4,) if batch is None else (batch, 4)), requires_grad=True)
    angle, coefficients = pnp.array(0.7, requires_grad=True), pnp.array([0.2, 0.3], requires_grad=True)
    answers = []
    for device in (FusedQubit(wires=4), THEIRS):

        @qml.qnode(device, diff_method="backprop" if device is THEIRS else "adjoint")
        def circuit(features: Any, angle: Any, coefficients: Any) -> Any:
            qml.AmplitudeEmbedding(features, wires=[2, 0], normalize=True)
            qml.IsingXY(angle, wires=[0, 3])
            qml.CNOT([2, 1])
            return qml.expval(qml.dot(coefficients, [qml.Z(0) @ qml.Z(2), qml.X(3)])), qml.probs(wires=[1, 0])

        answers.append(qml.grad(lambda *a, f=circuit: total(f(*a)))(features, angle, coefficients))
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_preparations_of_all_kinds() -> None:
    preparations = [
        lambda: qml.BasisState(np.array([1, 0, 1]), wires=[3, 0, 1]),
        lambda: qml.BasisEmbedding(5, wires=[1, 0, 2]),
        lambda: qml.StatePrep(np.array([[0.6, 0.8j], [1.0, 0.0]]), wires=[2]),
        lambda: qml.CosineWindow(wires=[1, 3]),
    ]
    for prepare in preparations:
        answers = []
        for device in (FusedQubit(wires=4), THEIRS):

            @qml.qnode(device)
            def circuit(prepare: Any = prepare) -> Any:
                prepare()
                qml.RX(0.4, wires=1)
                qml.BasisState(np.array([1]), wires=[0])  # in the middle: gates
                return qml.state()

            answers.append(circuit())
        np.testing.assert_allclose(answers[0], answers[1], atol=1e-12)


def test_batches_of_matrices_and_of_states_over_several_tapes() -> None:
    unitaries = np.stack([qml.RY.compute_matrix(angle) for angle in (0.2, 0.9, 1.3)])
    operations = [qml.QubitUnitary(np.kron(np.eye(2), unitaries), wires=[0, 1]), qml.RX(0.3, wires=1)]
    tape = qml.tape.QuantumScript(operations, [qml.expval(qml.Z(1))])
    state = qml.StatePrep(np.array([[0.6, 0.8], [1.0, 0.0]]), wires=[0])
    tapes = [qml.tape.QuantumScript([state, qml.RX(angle, wires=0)], [qml.expval(qml.Y(0))]) for angle in (0.1, 0.5)]
    device = FusedQubit()
    np.testing.assert_allclose(qml.execute([tape], device), qml.execute([tape], THEIRS), atol=1e-12)
    np.testing.assert_allclose(qml.execute(tapes, device), qml.execute(tapes, THEIRS), atol=1e-12)


def test_wires_are_found_in_the_circuit() -> None:
    measured = [qml.probs(), qml.expval(qml.X("b") @ qml.Z("a"))]
    tape = qml.tape.QuantumScript([qml.RX(0.3, "b"), qml.CRY(0.8, ["b", 7])], measured)
    for ours, theirs in zip(*(qml.execute([tape], d())[0] for d in (FusedQubit, default_qubit)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def default_qubit() -> Any:
    return qml.device("default.qubit")


def test_torch_with_inputs_of_a_network() -> None:
    answers = []
    for device in (FusedQubit(wires=4), THEIRS):
        torch.manual_seed(0)
        x = torch.rand(5, 4, dtype=torch.float64, requires_grad=True)
        w = torch.rand(2, 4, 3, dtype=torch.float64, requires_grad=True)
        values = qnode(device, MEASUREMENTS["expval sum"], MEASUREMENTS["probs of wires"])(x, w)
        (values[0].square().sum() + (values[1] * torch.arange(20).reshape(5, 4)).sum()).backward()
        answers.append((x.grad, w.grad))
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_a_torch_layer() -> None:
    def circuit(inputs: Any, w: Any) -> Any:
        ansatz(inputs, w)
        return qml.expval(qml.Z(0))

    layer = qml.qnn.TorchLayer(qml.QNode(circuit, FusedQubit(wires=4)), {"w": (2, 4, 3)})
    loss = layer(torch.rand(6, 4)).sum()
    loss.backward()
    assert layer.w.grad.abs().sum() > 0


def mixture(x: Any, w: Any, fixed: Any, *, device: Any) -> Any:
    """Parameters of many kinds between one another, in a circuit whose operations become one."""

    @qml.qnode(device, diff_method="backprop" if device is THEIRS else "adjoint")
    def circuit() -> Any:
        qml.StatePrep(np.array([0.6, 0.0, 0.0, 0.8j]), wires=[2, 0])
        qml.PauliRot(w[0], "XZY", wires=[0, 3, 1])
        qml.RX(0.3, wires=1)
        qml.RY(x[1], wires=2)
        qml.QubitUnitary(np.array([[0.6, 0.8], [0.8, -0.6]]), wires=1)
        qml.RX(fixed, wires=3)
        qml.ctrl(qml.RX, control=[1, 0], control_values=[0, 1])(w[1], wires=3)
        qml.Rot(w[2], x[0], 2, wires=0)
        qml.adjoint(qml.IsingXX)(w[0] * w[1], wires=[2, 1])
        return qml.expval(qml.X(0) @ qml.Z(3)), qml.probs(wires=[1, 2])

    return circuit()


@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("interface", ["autograd", "torch"])
def test_parameters_of_many_kinds(interface: str, batch: tuple[int, ...]) -> None:
    rng = np.random.default_rng(9)
    numbers = rng.normal(size=(2, *batch)), rng.normal(size=3), rng.normal(size=batch)
    answers = []
    for device in (FusedQubit(wires=4), THEIRS):
        if interface == "autograd":
            x, w, fixed = (pnp.array(n, requires_grad=k < 2) for k, n in enumerate(numbers))
            value = total(mixture(x, w, fixed, device=device))
            gradients = qml.grad(lambda *a, d=device: total(mixture(*a, device=d)), argnums=[0, 1])(x, w, fixed)
        else:
            x, w, fixed = (torch.tensor(n, requires_grad=k < 2) for k, n in enumerate(numbers))
            first, second = mixture(x, w, fixed, device=device)
            value = first.square().sum() + (second * torch.arange(second.shape[-1])).sum()
            value.backward()
            gradients, value = (x.grad, w.grad), value.detach()
        answers.append((value, *gradients))
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_numbers_of_python_are_trained_as_well() -> None:
    @qml.qnode(FusedQubit(wires=1), diff_method="adjoint")
    def circuit(x: Any, y: Any) -> Any:
        qml.RX(x, wires=0)
        qml.RY(y, wires=0)
        return qml.expval(qml.Z(0))

    gradient = qml.grad(circuit, argnums=[0, 1])(0.3, 1.0)
    np.testing.assert_allclose(gradient, [-np.sin(0.3) * np.cos(1), -np.cos(0.3) * np.sin(1)], atol=1e-12)


def test_operations_as_one_are_those_operations() -> None:
    x, w = parameters(3)
    device = FusedQubit(wires=4)
    tape = qml.workflow.construct_tape(qnode(device, MEASUREMENTS["expval sum"]))(x, w)
    given = qml.devices.ExecutionConfig(gradient_method="adjoint", interface="autograd")
    config = device.setup_execution_config(given, tape)
    (whole,), _ = device.preprocess_transforms(config)([tape])
    with qml.Tracker(device):  # which wants to see the operations
        (lowered,), _ = device.preprocess_transforms(config)([tape])
    (one,) = whole.operations
    assert len(one.data) < 4, "the samples' and the shared angles, each in one array"
    assert one.batch_size == 3
    for ours, theirs in zip(one.decomposition(), lowered.operations, strict=True):
        qml.assert_equal(ours, theirs, check_interface=False, check_trainability=False)
    # where no circuit is given, others look at the operations before they are run
    (seen,), _ = device.preprocess_transforms(device.setup_execution_config(given))([tape])
    assert [op.name for op in seen.operations] == [op.name for op in lowered.operations]


def test_single_precision() -> None:
    x, w = parameters(3)
    ours = qnode(FusedQubit(wires=4, precision="single"), MEASUREMENTS["expval sum"])
    theirs = qnode(THEIRS, MEASUREMENTS["expval sum"])
    difference = np.abs(ours(x, w) - theirs(x, w)).max()
    assert 0 < difference < 1e-5
    np.testing.assert_allclose(
        qml.grad(lambda w: total(ours(x, w)))(w), qml.grad(lambda w: total(theirs(x, w)))(w), atol=2e-5
    )


def test_devices_are_copied_and_pickled() -> None:
    device = FusedQubit(wires=4, precision="single", num_threads=1)
    x, w = parameters()
    value = qnode(device, MEASUREMENTS["expval word"])(x, w)
    for again in (copy.deepcopy(device), pickle.loads(pickle.dumps(device))):
        assert qnode(again, MEASUREMENTS["expval word"])(x, w) == value


def test_threads_share_a_device() -> None:
    device = FusedQubit(wires=4, num_threads=1)
    x, w = parameters()
    points = [w + 0.1 * k for k in range(8)]
    expected = [device_gradient(FusedQubit(wires=4), x, point) for point in points]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda point: device_gradient(device, x, point), points))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def device_gradient(device: FusedQubit, x: Any, w: Any) -> np.ndarray:
    """Through the device's own methods: the framework's queue belongs to one thread."""
    with qml.queuing.AnnotatedQueue() as queue:
        ansatz(np.asarray(x), np.asarray(w))
        MEASUREMENTS["expval word"]()
    tape = qml.tape.QuantumScript.from_queue(queue)
    config = device.setup_execution_config(qml.devices.ExecutionConfig(gradient_method="adjoint"))
    (lowered,), _ = device.preprocess_transforms(config)([tape])
    lowered.trainable_params = list(range(4, 28))
    device.execute([lowered], config)
    return np.array(device.compute_vjp([lowered], [1.0], config)[0])


SAMPLED = {
    "words": lambda: (qml.expval(qml.X(0)), qml.expval(qml.X(0) @ qml.Y(1)), qml.var(qml.Z(2)), qml.expval(WORDS)),
    "hermitian": lambda: (qml.expval(qml.Hermitian(hermitian(2) / 4, wires=[2, 0])), qml.probs(wires=[1, 3])),
    "projector": lambda: (qml.expval(qml.Projector([1, 0], wires=[3, 1])), qml.probs(op=qml.X(2))),
}


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("name", SAMPLED)
def test_shots_agree_with_exact_results(name: str, batch: int | None) -> None:
    x, w = parameters(batch)
    device = FusedQubit(wires=4, seed=11)

    @qml.qnode(device)
    def circuit() -> Any:
        ansatz(x, w)
        return SAMPLED[name]()

    for exact, estimate in zip(circuit(), qml.set_shots(circuit, 40_000)(), strict=True):
        assert np.shape(exact) == np.shape(estimate)
        np.testing.assert_allclose(estimate, exact, atol=0.05)


def test_samples_counts_shot_vectors_and_seeds() -> None:
    x, w = parameters()

    def run(seed: int) -> Any:
        @qml.qnode(FusedQubit(wires=4, seed=seed), shots=[10, (20, 2)])
        def circuit() -> Any:
            ansatz(x, w)
            return qml.sample(), qml.counts(wires=[2, 0]), qml.sample(qml.Y(1))

        return circuit()

    first, again, other = run(1), run(1), run(2)
    assert [part[0].shape for part in first] == [(10, 4), (20, 4), (20, 4)]
    assert [sum(part[1].values()) for part in first] == [10, 20, 20]
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a[0], b[0]) for a, b in zip(first, other, strict=True))


def test_shifted_circuits_with_shots_estimate_the_gradient() -> None:
    x, w = parameters()
    circuit = qml.set_shots(qnode(FusedQubit(wires=4, seed=3), MEASUREMENTS["expval word"], diff_method="best"), 20_000)
    exact = qml.grad(qnode(THEIRS, MEASUREMENTS["expval word"]), argnums=1)(x, w)
    np.testing.assert_allclose(qml.grad(circuit, argnums=1)(x, w), exact, atol=0.05)


@pytest.mark.parametrize("shots", [None, 20_000])
def test_measurements_that_are_put_off(shots: int | None) -> None:
    answers = []
    for device in (FusedQubit(wires=5, seed=4), qml.device("default.qubit", wires=5)):

        @qml.qnode(device, shots=shots if isinstance(device, FusedQubit) else None, mcm_method="deferred")
        def circuit(angle: Any) -> Any:
            qml.RY(angle, wires=0)
            outcome = qml.measure(0, reset=True)
            qml.cond(outcome, qml.RX)(angle, wires=1)
            qml.CNOT([1, 0])
            return qml.expval(qml.Z(0)), qml.probs(wires=[0, 1]), qml.expval(outcome)

        answers.append(circuit(0.9))
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10 if shots is None else 0.04)


def test_a_tracker_sees_the_operations() -> None:
    device = FusedQubit(wires=4)
    circuit = qnode(device, MEASUREMENTS["expval word"])
    x, w = parameters(3)
    with qml.Tracker(device) as tracker:
        qml.grad(lambda w: total(circuit(x, w)))(w)
    assert tracker.totals["batches"] == tracker.totals["vjp_batches"] == 1
    assert tracker.history["resources"][0].gate_types["RY"] == 4


def refusals() -> Iterator[Any]:
    def run(**options: Any) -> Any:
        return lambda: FusedQubit(**options)

    def circuit(operation: Any, measured: Any, **options: Any) -> Any:
        return qml.QNode(lambda: (operation(), measured())[1], FusedQubit(wires=2), **options)

    yield run(device="QPU"), DeviceError, "'QPU'.*'CPU', 'GPU'"
    yield run(precision="half"), DeviceError, "'half'.*double"
    yield run(num_threads=0), DeviceError, "num_threads is 0"
    yield circuit(lambda: qml.RX(0.1, 5), lambda: qml.expval(qml.Z(0))), WireError, "not found on the device"
    yield circuit(lambda: qml.AmplitudeDamping(0.1, 0), lambda: qml.expval(qml.Z(0))), DeviceError, "fusedqml.qubit"
    yield (
        circuit(lambda: qml.X(0), lambda: qml.expval(qml.Z(0)), diff_method="adjoint", shots=5),
        QuantumFunctionError,
        "adjoint",
    )
    yield circuit(lambda: qml.X(0), qml.sample), DeviceError, "analytic"
    yield circuit(lambda: qml.X(0), qml.state, shots=5), DeviceError, "finite shots"
    yield circuit(lambda: qml.X(0), lambda: qml.expval(qml.prod(qml.X(0), qml.Y(0)))), QuantumFunctionError, "Hermitian"
    yield circuit(lambda: qml.RX(np.nan, 0), lambda: qml.expval(qml.Z(0))), DeviceError, "nan; finite"


@pytest.mark.parametrize(("run", "kind", "message"), [*refusals()])
def test_refusals_are_the_frameworks(run: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        run()


@pytest.mark.parametrize("shots", [None, 10])
@pytest.mark.parametrize("measures", [False, True])
@pytest.mark.parametrize(
    "angle", [10**400, np.array([10**400], dtype=object), 1j, [1j, 2], None, "x", ["x", "y"]], ids=range(7)
)
def test_angles_that_are_no_real_numbers_are_refused(angle: Any, measures: bool, shots: int | None) -> None:
    @qml.set_shots(shots)
    @qml.qnode(qml.device("fusedqml.qubit", wires=3))
    def circuit() -> object:
        qml.RX(angle, 0)
        if measures:
            qml.cond(qml.measure(0), qml.X)(1)
        return qml.expval(qml.Z(0))

    with pytest.raises(DeviceError, match=r"Parameters of gates: .*real numbers"):
        circuit()


@pytest.mark.parametrize("angle", [np.complex128(0.3), np.array([0.3, 0.4], dtype=complex), 2**70])
def test_angles_of_any_type_of_numbers_are_taken(angle: Any) -> None:
    def circuit() -> object:
        qml.RX(angle, 0)
        return qml.expval(qml.Z(0))

    found = qml.QNode(circuit, qml.device("fusedqml.qubit", wires=1))()
    np.testing.assert_allclose(found, np.cos(np.asarray(np.real(angle), dtype=float)), rtol=0, atol=1e-12)


def test_trained_matrices_are_refused() -> None:
    @qml.qnode(FusedQubit(wires=1), diff_method="adjoint")
    def circuit(matrix: Any) -> Any:
        qml.RX(0.3, 0)
        return qml.expval(qml.Hermitian(matrix, wires=0))

    with pytest.raises(QuantumFunctionError, match="non-trainable"):
        qml.grad(circuit)(pnp.eye(2, requires_grad=True))


@pytest.mark.parametrize("scale", [1e160, 1e-170, 0.0])
def test_amplitudes_that_the_framework_could_not_normalise_are_refused(scale: float) -> None:
    @qml.qnode(qml.device("fusedqml.qubit", wires=2))
    def circuit(x: Any) -> Any:
        qml.AmplitudeEmbedding(x, wires=[0, 1], normalize=True)
        return qml.expval(qml.Z(0))

    with (
        np.errstate(all="ignore"),
        pytest.raises(qml.exceptions.DeviceError, match=r"all 0, or not finite.*largest one first"),
    ):
        circuit(scale * np.array([0.1, 0.2, 0.3, 0.4]))


@pytest.mark.parametrize("shots", [2**22, 2**31])
def test_shots_count_against_the_memory_limit(shots: int) -> None:
    @qml.set_shots(shots)
    @qml.qnode(qml.device("fusedqml.qubit", wires=2, max_memory_mb=16))
    def circuit() -> object:
        qml.Hadamard(0)
        return qml.expval(qml.Z(0))

    with pytest.raises(DeviceError, match=f"samples of {shots} shots need .*16.0 MiB are allowed"):
        circuit()
