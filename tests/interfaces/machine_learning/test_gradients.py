"""`FusedEstimatorGradient` against parameter shift and finite differences, and inside stock networks."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit.library import RXGate, efficient_su2, real_amplitudes, zz_feature_map
from qiskit.dagcircuit import DAGCircuit
from qiskit.passmanager import ConditionalController
from qiskit.primitives import BackendEstimatorV2, StatevectorEstimator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Pauli, SparsePauliOp, Statevector
from qiskit.transpiler import PassManager, StagedPassManager, TransformationPass, generate_preset_pass_manager

from qiskit_fusedqml import FusedEstimator, FusedEstimatorGradient
from qiskit_fusedqml.engine.passes import Passes
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import InvalidInputError

gradients = pytest.importorskip("qiskit_machine_learning.gradients")

RNG = np.random.default_rng(11)


def network(num_qubits: int = 3) -> QuantumCircuit:
    """A feature map with products of parameters, and an ansatz."""
    return zz_feature_map(num_qubits, reps=1).compose(real_amplitudes(num_qubits, reps=1))


def observables(count: int, num_qubits: int = 3) -> list[SparsePauliOp]:
    """Random observables of three terms."""
    labels = ["".join(RNG.choice(list("IXYZ"), num_qubits)) for _ in range(3 * count)]
    return [SparsePauliOp(labels[3 * k : 3 * k + 3], RNG.normal(size=3)) for k in range(count)]


def assert_as_parameter_shift(*arguments: Any, **options: Any) -> None:
    """Both give the same lists of the same arrays."""
    ours = FusedEstimatorGradient().run(*arguments, **options).result()
    theirs = gradients.ParamShiftEstimatorGradient(StatevectorEstimator()).run(*arguments, **options).result()
    assert len(ours.gradients) == len(theirs.gradients)
    for mine, other in zip(ours.gradients, theirs.gradients, strict=True):
        assert mine.shape == other.shape
        assert mine.dtype == np.float64
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-10)
    assert [each["parameters"] for each in ours.metadata] == [each["parameters"] for each in theirs.metadata]


def finite_differences(circuit: QuantumCircuit, observable: Any, values: Sequence[float]) -> np.ndarray:
    """Central differences of order 4 with StatevectorEstimator."""
    step, weights = 1e-3, {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    rows = np.array([np.add(values, k * step * np.eye(len(values))[j]) for j in range(len(values)) for k in weights])
    evs = StatevectorEstimator().run([(circuit, observable, rows)]).result()[0].data.evs
    return np.asarray(evs.reshape(len(values), 4) @ np.array(list(weights.values())) / step)


class Calls:
    """Records the shapes of Jacobians and the batches of backward sweeps the engine is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jacobians: list[tuple[int, ...]] = []
        self.sweeps: list[int] = []
        jacobian, backward = ProgramFunction.jacobian, Passes.backward

        def recorded_jacobian(program: Any, *arguments: Any, **options: Any) -> Any:
            self.jacobians.append((result := jacobian(program, *arguments, **options)).shape)
            return result

        def recorded_backward(passes: Any, sweeps: Any, samples: Any, *arguments: Any, **options: Any) -> Any:
            self.sweeps.append(samples.batch)
            return backward(passes, sweeps, samples, *arguments, **options)

        monkeypatch.setattr(ProgramFunction, "jacobian", recorded_jacobian)
        monkeypatch.setattr(Passes, "backward", recorded_backward)


def test_samples_times_observables() -> None:
    circuit, values, several = network(), RNG.normal(size=(3, 9)), observables(2)
    entries = [each for each in several for _ in range(3)]
    assert_as_parameter_shift([circuit] * 6, entries, np.tile(values, (2, 1)))


def test_one_circuit_and_one_observable_need_no_lists() -> None:
    circuit, values = network(), RNG.normal(size=(1, 9))
    assert_as_parameter_shift(circuit, observables(1)[0], values)
    expected = FusedEstimatorGradient().run([circuit], [Pauli("ZXY")], values).result().gradients[0]
    for observable in (Pauli("ZXY"), "ZXY", {"ZXY": 1.0}):
        np.testing.assert_array_equal(
            FusedEstimatorGradient().run(circuit, observable, values.tolist()).result().gradients[0], expected
        )


def test_expressions_and_repeated_parameters() -> None:
    circuit = real_amplitudes(2, reps=1)
    a, b, _, d = circuit.parameters
    circuit.rz(a.exp() + 2 * b, 0)
    circuit.rx(3.0 * a + b.sin() - a * b * d, 1)
    circuit.u(a, b, d, 1)
    circuit.p(2 * a + 1, 0)
    circuit.rxx(a + 2, 0, 1)
    assert_as_parameter_shift([circuit] * 2, [SparsePauliOp("ZI"), SparsePauliOp("XY")], RNG.normal(size=(2, 4)))


def hard_circuit() -> QuantumCircuit:
    """Gates without a parameter shift rule, and a phase."""
    a, b, c = Parameter("a"), Parameter("b"), Parameter("c")
    circuit = QuantumCircuit(3)
    circuit.h([0, 1, 2])
    circuit.cu(a, b, c, a * b, 0, 1)
    circuit.crx(b, 1, 2)
    circuit.mcp(c, [0, 1], 2)
    circuit.append(network(2).assign_parameters(RNG.normal(size=6)).to_gate(), [0, 2])
    circuit.global_phase = a
    return circuit


def test_gates_without_a_parameter_shift_rule() -> None:
    circuit, values, observable = hard_circuit(), RNG.normal(size=3), observables(1)[0]
    ours = FusedEstimatorGradient().run([circuit], [observable], [values]).result().gradients[0]
    np.testing.assert_allclose(ours, finite_differences(circuit, observable, values), rtol=0, atol=1e-9)


def test_subsets_of_parameters_in_any_order() -> None:
    circuit, several, values = network(), observables(2), RNG.normal(size=(5, 9))
    p = list(circuit.parameters)
    wanted = [[p[4], p[0], p[8]], None, [p[2]], [p[8], p[4], p[0]], circuit.parameters[3:]]
    assert_as_parameter_shift([circuit] * 5, [several[k % 2] for k in range(5)], values, parameters=wanted)
    empty = FusedEstimatorGradient().run([circuit], several[:1], values[:1], parameters=[[]]).result().gradients[0]
    assert empty.shape == (0,)


def test_a_list_of_parameters_changed_in_place_is_seen() -> None:
    circuit, several, values = network(), observables(2), RNG.normal(size=(2, 9))
    wanted = list(circuit.parameters)
    for _ in range(3):
        assert_as_parameter_shift([circuit] * 2, several, values, parameters=[wanted] * 2)
        wanted.reverse()
    del wanted[3:]
    assert_as_parameter_shift([circuit] * 2, several, values, parameters=[wanted] * 2)


def test_several_circuits_of_different_widths() -> None:
    a = Parameter("a")
    small = QuantumCircuit(1)
    small.rx(a, 0)
    circuits = [network(), small, efficient_su2(2, reps=1), small, network()]
    values = [RNG.normal(size=circuit.num_parameters).tolist() for circuit in circuits]
    several = [observables(1, circuit.num_qubits)[0] for circuit in circuits]
    wanted = [None, [a], None, None, circuits[4].parameters[2:5]]
    ours = FusedEstimatorGradient().run(circuits, several, values, parameters=wanted).result().gradients
    for entry in zip(ours, circuits, several, values, wanted, strict=True):
        # one at a time: the stock class takes the first and the last circuit, equal in names only, for the same one
        stock = gradients.ParamShiftEstimatorGradient(StatevectorEstimator())
        expected = stock.run(*([each] for each in entry[1:])).result().gradients[0]
        np.testing.assert_allclose(entry[0], expected, rtol=0, atol=1e-10)


def test_more_than_ten_inputs_keep_their_order() -> None:
    x = ParameterVector("x", 12)
    circuit = QuantumCircuit(3)
    for position, parameter in enumerate(x):
        circuit.rx((1 + position) * parameter, position % 3)
        circuit.cz(position % 3, (position + 1) % 3)
    assert_as_parameter_shift([circuit] * 2, observables(2), RNG.normal(size=(2, 12)))
    order = [x[10], x[2], x[9], x[11], x[1]]
    assert_as_parameter_shift([circuit], observables(1), RNG.normal(size=(1, 12)), parameters=[order])


def test_a_network_costs_one_jacobian_and_one_sweep_per_observable(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, values, several = network(), RNG.normal(size=(4, 9)), observables(3)
    calls = Calls(monkeypatch)
    entries = [each for each in several for _ in range(4)]
    wanted = [circuit.parameters[3:]] * 12
    FusedEstimatorGradient().run([circuit] * 12, entries, np.tile(values, (3, 1)), parameters=wanted).result()
    assert calls.jacobians == [(4, 3, 6)]
    assert calls.sweeps == [4, 4, 4]


def test_pairs_cost_one_sweep_whatever_the_number_of_observables(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, values, several = network(), RNG.normal(size=(6, 9)), observables(6)
    calls = Calls(monkeypatch)
    wanted = [circuit.parameters[2:]] * 6
    assert_as_parameter_shift([circuit] * 6, several, values, parameters=wanted)
    assert calls.jacobians == []
    assert calls.sweeps == [6]


def test_repeated_entries_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, row, observable = network(), RNG.normal(size=9), observables(1)[0]
    calls = Calls(monkeypatch)
    result = (
        FusedEstimatorGradient().run([circuit] * 3, [observable, observable.copy(), observable], [row] * 3).result()
    )
    assert calls.jacobians == [(1, 1, 9)]
    result.gradients[0][:] = 0.0
    assert (result.gradients[1] != 0.0).any()


def test_arguments_that_do_not_fit() -> None:
    circuit, observable = network(), SparsePauliOp("ZZZ")
    row = [0.1] * 9
    unbound = QuantumCircuit(3)
    cases: list[tuple[Any, ...]] = [
        ([circuit], [observable], [row, row]),
        ([circuit] * 2, [observable], [row] * 2),
        ([circuit] * 2, [observable] * 2, [row] * 2, [[circuit.parameters[0]]]),
        ([circuit], [observable], [[0.1] * 8]),
        ([circuit] * 2, [observable] * 2, [row, [0.1] * 8]),
        ([circuit], [observable], np.zeros((1, 10))),
        ([circuit], [SparsePauliOp("ZZ")], [row]),
        ([unbound], [observable], [[]]),
        ([circuit], [observable], [row], [[Parameter("elsewhere")]]),
    ]
    for case in cases:
        with pytest.raises(ValueError) as theirs:  # noqa: PT011
            gradients.ParamShiftEstimatorGradient(StatevectorEstimator()).run(*case)
        with pytest.raises(InvalidInputError) as ours:
            FusedEstimatorGradient().run(*case)
        assert ours.value.message[:30] == str(theirs.value)[:30]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(value: float) -> None:
    circuit, values = network(), np.zeros((2, 9))
    values[1, 3] = value
    with pytest.raises(InvalidInputError, match=r"row \(1,\)"):
        FusedEstimatorGradient().run([circuit] * 2, [SparsePauliOp("ZZZ")] * 2, values)


def test_options_as_upstream_merges_them() -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("a"), 0)
    arguments = ([circuit], [SparsePauliOp("Z")], [[1.0]])
    estimator = FusedEstimator(seed=4)
    gradient = FusedEstimatorGradient(estimator, options={"shots": 200})
    assert gradient.options.get("shots") == 200
    assert gradient.options.get("seed") == 4
    assert gradient.run(*arguments, shots=300).result().options.get("shots") == 300
    gradient.update_default_options(shots=100)
    assert gradient.run(*arguments).result().options.get("shots") == 100
    assert gradient.options.get("shots") == 100
    assert "shots" not in estimator.options
    assert (
        FusedEstimatorGradient(StatevectorEstimator()).options == FusedEstimatorGradient(StatevectorEstimator()).options
    )


def test_engine_options_come_from_the_estimator_unless_given() -> None:
    estimator = FusedEstimator(precision="single", num_threads=1)
    assert FusedEstimatorGradient(estimator).engine_options.precision == "single"
    own = FusedEstimatorGradient(estimator, precision="double", max_memory_mb=100).engine_options
    assert (own.precision, own.num_threads, own.max_memory_mb) == ("double", 1, 100)


def test_estimators_of_other_kinds() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FusedEstimatorGradient(StatevectorEstimator(default_precision=0.1))
    with pytest.warns(UserWarning, match="BackendEstimatorV2"):
        FusedEstimatorGradient(BackendEstimatorV2(backend=GenericBackendV2(2)))
    with pytest.raises(InvalidInputError, match="V2 estimator"):
        FusedEstimatorGradient("estimator")


def phased_network() -> QuantumCircuit:
    """Gates that the stock LinComb class takes, with expressions, repeated parameters and a parametrised phase."""
    circuit = real_amplitudes(2, reps=1)
    a, b, c, _ = circuit.parameters
    circuit.rz(2 * a + 1, 0)
    circuit.rzz(b, 0, 1)
    circuit.rx(a * b, 1)
    circuit.ryy(c, 0, 1)
    return circuit


@pytest.mark.parametrize("kind", ["REAL", "IMAG", "COMPLEX"])
def test_every_derivative_type_as_linear_combinations(kind: str) -> None:
    circuit, values, several = phased_network(), RNG.normal(size=(3, 4)), observables(3, 2)
    p = circuit.parameters
    arguments = ([circuit] * 3, several, values, [None, [p[2], p[0]], [p[3]]])
    kind = getattr(gradients.DerivativeType, kind)
    ours = FusedEstimatorGradient(derivative_type=kind).run(*arguments).result().gradients
    theirs = gradients.LinCombEstimatorGradient(StatevectorEstimator(), derivative_type=kind)
    for mine, other in zip(ours, theirs.run(*arguments).result().gradients, strict=True):
        assert mine.dtype == np.asarray(other).dtype
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-10)


def state_derivatives(circuit: QuantumCircuit, values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The state, and central differences (parameters, amplitudes) of order 4 of it."""
    step, weights = 1e-3, {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}

    def state(at: Any) -> np.ndarray:
        return np.asarray(Statevector(circuit.assign_parameters(at)).data)

    slopes = [
        sum(weight * state(np.add(values, k * step * unit)) for k, weight in weights.items()) / step
        for unit in np.eye(len(values))
    ]
    return state(values), np.array(slopes)


def test_complex_derivatives_of_a_circuit_with_controls_and_a_phase() -> None:
    circuit = hard_circuit()
    values, observable = RNG.normal(size=3), observables(1)[0]
    state, slopes = state_derivatives(circuit, values)
    expected = 2 * slopes @ (observable.to_matrix().T @ state.conj())
    for kind, part in (("COMPLEX", expected), ("IMAG", expected.imag), ("REAL", expected.real)):
        gradient = FusedEstimatorGradient()
        gradient.derivative_type = getattr(gradients.DerivativeType, kind)
        ours = gradient.run([circuit], [observable], [values]).result().gradients[0]
        np.testing.assert_allclose(ours, part, rtol=0, atol=1e-9)


def test_gradients_stop_at_what_initialises_the_circuit() -> None:
    circuit = QuantumCircuit(3)
    circuit.initialize([0.6, 0, 0, 0.8j], [0, 2])
    circuit.reset(1)
    circuit.compose(real_amplitudes(3, reps=1), inplace=True)
    values, observable = RNG.normal(size=6), observables(1)[0]
    ours = FusedEstimatorGradient().run([circuit], [observable], [values]).result().gradients[0]
    np.testing.assert_allclose(ours, finite_differences(circuit, observable, values), rtol=0, atol=1e-9)


def test_parameters_of_the_same_name_in_two_circuits() -> None:
    circuits = []
    for gate in ("rx", "ry"):
        circuit = QuantumCircuit(1)
        getattr(circuit, gate)(Parameter("a"), 0)
        circuit.rx(2 * circuit.parameters[0], 0)
        circuits.append(circuit)
    rows = [[0.3], [0.3]]
    ours = FusedEstimatorGradient().run(circuits, [Pauli("Z")] * 2, rows).result().gradients
    for circuit, mine, row in zip(circuits, ours, rows, strict=True):
        np.testing.assert_allclose(mine, finite_differences(circuit, "Z", row), rtol=0, atol=1e-9)


def raw_network() -> tuple[QuantumCircuit, list[Parameter], list[Parameter]]:
    """Four features as amplitudes of two qubits out of three, and an ansatz."""
    from qiskit_machine_learning.circuit.library import raw_feature_vector

    features, ansatz = raw_feature_vector(4), real_amplitudes(3, reps=1)
    circuit = QuantumCircuit(3)
    circuit.compose(features, [2, 0], inplace=True)
    circuit.compose(ansatz, inplace=True)
    return circuit, list(features.parameters), list(ansatz.parameters)


def raw_value(circuit: QuantumCircuit, values: Sequence[float], observable: Any) -> float:
    """An expectation value; Qiskit needs the features bound and the instruction unrolled."""
    bound = circuit.assign_parameters(dict(zip(circuit.parameters, values, strict=True)))
    return float(Statevector(bound.decompose(["ParameterizedInitialize"])).expectation_value(observable).real)


def test_raw_feature_vectors_have_gradients_of_weights_and_of_features() -> None:
    circuit, features, _ = raw_network()
    values, several = RNG.normal(size=(2, 10)), observables(2)
    step = 1e-5
    expected = np.array(
        [
            [
                (raw_value(circuit, row + step * unit, o) - raw_value(circuit, row - step * unit, o)) / (2 * step)
                for unit in np.eye(10)
            ]
            for row, o in zip(values, several, strict=True)
        ]
    )
    ours = FusedEstimatorGradient().run([circuit] * 2, several, values).result().gradients
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-8)
    some = FusedEstimatorGradient().run([circuit] * 2, several, values, [[features[2]], [features[0]]]).result()
    columns = [list(circuit.parameters).index(features[k]) for k in (2, 0)]
    np.testing.assert_allclose(np.ravel(some.gradients), expected[[0, 1], columns], rtol=0, atol=1e-8)
    evs = FusedEstimator().run([(circuit, several[0], values[0])]).result()[0].data.evs
    assert evs == pytest.approx(raw_value(circuit, values[0], several[0]), abs=1e-12)
    with pytest.raises(InvalidInputError, match="all 0"):
        FusedEstimator().run([(circuit, several[0], [0.0] * 4 + [0.1] * 6)]).result()


def test_a_pass_manager_may_widen_and_permute() -> None:
    circuit, values, several = network(), RNG.normal(size=(2, 9)), observables(2)
    backend = GenericBackendV2(5, coupling_map=[[0, 1], [1, 2], [2, 3], [3, 4]], seed=1)
    manager = generate_preset_pass_manager(1, backend=backend, initial_layout=[4, 0, 2], seed_transpiler=1)
    ours = FusedEstimatorGradient(pass_manager=manager).run([circuit] * 2, several, values).result().gradients
    expected = FusedEstimatorGradient().run([circuit] * 2, several, values).result().gradients
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)


class Scale(TransformationPass):
    """Multiplies the angle of each RX."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.runs = factor, []

    def run(self, dag: Any) -> Any:
        self.runs.append(self.factor)
        for node in dag.named_nodes("rx"):
            dag.substitute_node(node, RXGate(self.factor * node.op.params[0]))
        return dag


def test_a_pass_manager_may_be_changed_in_place() -> None:
    angle = Parameter("a")
    circuit = QuantumCircuit(1)
    circuit.rx(angle, 0)
    first, nested = Scale(2.0), Scale(3.0)
    manager = StagedPassManager(["init", "last"], init=PassManager([first]))
    gradient = FusedEstimatorGradient(pass_manager=manager)

    def check(factor: float) -> None:
        for _ in range(2):
            found = gradient.run([circuit], [SparsePauliOp("Z")], [[0.3]]).result().gradients[0]
            np.testing.assert_allclose(found, [-factor * np.sin(factor * 0.3)], rtol=0, atol=1e-10)

    check(2.0)
    assert first.runs == [2.0]  # transpiled once
    manager.init.append(ConditionalController([nested], condition=lambda properties: True))
    check(6.0)
    nested.factor = 0.5
    check(1.0)
    manager.last = PassManager([Scale(4.0)])
    check(4.0)
    manager.init = PassManager([Scale(1.5)])
    check(6.0)


def test_a_pass_manager_may_remove_parameters() -> None:
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2)
    circuit.rz(a, 0)  # has no effect on |0>
    circuit.ry(b, 0)

    class DropRZ(TransformationPass):
        def run(self, dag: DAGCircuit) -> DAGCircuit:
            dag.remove_all_ops_named("rz")
            return dag

    manager = PassManager([DropRZ()])
    assert manager.run(circuit).num_parameters == 1
    result = FusedEstimatorGradient(pass_manager=manager).run([circuit], [SparsePauliOp("IZ")], [[0.3, 0.4]]).result()
    np.testing.assert_allclose(result.gradients[0], [0.0, -np.sin(0.4)], rtol=0, atol=1e-12)


def test_eight_threads_at_once() -> None:
    circuits = [network(), network(2)]
    calls = []
    for k in range(48):
        circuit = circuits[k % 2]
        samples = 1 + k % 3
        calls.append(
            (
                [circuit] * samples,
                observables(1, circuit.num_qubits) * samples,
                RNG.normal(size=(samples, circuit.num_parameters)),
            )
        )
    gradient = FusedEstimatorGradient()
    expected = [finite_differences(circuit[0], observable[0], values[0]) for circuit, observable, values in calls]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda call: gradient.run(*call).result().gradients, calls))
    for mine, other in zip(results, expected, strict=True):
        np.testing.assert_allclose(mine[0], other, rtol=0, atol=1e-7)


def test_gradient_objects_are_copied_and_pickled() -> None:
    gradient = FusedEstimatorGradient(FusedEstimator(), num_threads=1)
    circuit, observable, values = network(), observables(1)[0], RNG.normal(size=(1, 9))
    expected = gradient.run([circuit], [observable], values).result().gradients[0]
    for other in (copy.deepcopy(gradient), pickle.loads(pickle.dumps(gradient))):
        np.testing.assert_array_equal(other.run([circuit], [observable], values).result().gradients[0], expected)


def test_nothing_to_differentiate() -> None:
    assert FusedEstimatorGradient().run([], [], []).result().gradients == []


def test_the_comparison_sees_a_wrong_angle(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ProgramFunction.jacobian
    monkeypatch.setattr(
        ProgramFunction, "jacobian", lambda self, x, w, wrt: original(self, x, np.asarray(w) * 1.001, wrt)
    )
    with pytest.raises(AssertionError):
        assert_as_parameter_shift([network()], observables(1), RNG.normal(size=(1, 9)))


def qnn(fused: bool, input_gradients: bool, num_inputs: int = 3, num_qubits: int = 3) -> Any:
    """A stock network, with our classes or the stock ones."""
    from qiskit_machine_learning.neural_networks import EstimatorQNN

    x, w = ParameterVector("x", num_inputs), ParameterVector("w", 2 * num_qubits)
    circuit = QuantumCircuit(num_qubits)
    for position, parameter in enumerate(x):
        circuit.ry((1 + position) * parameter, position % num_qubits)
    for position, parameter in enumerate(w):
        circuit.rx(parameter, position % num_qubits)
        circuit.cx(position % num_qubits, (position + 1) % num_qubits)
    stock = StatevectorEstimator()
    return EstimatorQNN(
        circuit=circuit,
        observables=[
            SparsePauliOp("Z" + "I" * (num_qubits - 1)),
            SparsePauliOp(["X" * num_qubits, "Y" * num_qubits], [0.5, 1]),
        ],
        input_params=list(x),
        weight_params=list(w),
        estimator=FusedEstimator() if fused else stock,
        gradient=FusedEstimatorGradient() if fused else gradients.ParamShiftEstimatorGradient(stock),
        input_gradients=input_gradients,
        default_precision=0.015625 if fused else 0.0,  # the stock default, which ours must not turn into noise
    )


@pytest.mark.parametrize("input_gradients", [False, True])
@pytest.mark.parametrize("num_inputs", [3, 12])
def test_the_stock_network_forward_and_backward(input_gradients: bool, num_inputs: int) -> None:
    ours, theirs = qnn(True, input_gradients, num_inputs), qnn(False, input_gradients, num_inputs)
    x, w = RNG.normal(size=(3, num_inputs)), RNG.normal(size=6)
    np.testing.assert_allclose(ours.forward(x, w), theirs.forward(x, w), rtol=0, atol=1e-10)
    for mine, other in zip(ours.backward(x, w), theirs.backward(x, w), strict=True):
        if other is None:
            assert mine is None
        else:
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-10)


def test_torch_connector() -> None:
    torch = pytest.importorskip("torch")
    from qiskit_machine_learning.connectors import TorchConnector

    network, weights = qnn(True, True), RNG.normal(size=6)
    layer = TorchConnector(network, initial_weights=weights)
    x = torch.tensor(RNG.normal(size=(4, 3)), dtype=torch.float32, requires_grad=True)
    loss = (layer(x) ** 2).sum()
    loss.backward()
    stock = qnn(False, True)
    values = stock.forward(x.detach().numpy(), layer.weight.detach().numpy())
    dx, dw = stock.backward(x.detach().numpy(), layer.weight.detach().numpy())
    np.testing.assert_allclose(loss.item(), (values**2).sum(), rtol=1e-5)
    np.testing.assert_allclose(layer.weight.grad.numpy(), np.einsum("sk,skw->w", 2 * values, dw), rtol=0, atol=1e-5)
    np.testing.assert_allclose(x.grad.numpy(), np.einsum("sk,skx->sx", 2 * values, dx), rtol=0, atol=1e-5)
