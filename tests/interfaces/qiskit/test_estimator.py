"""`FusedEstimator` against Qiskit's StatevectorEstimator."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.primitives import StatevectorEstimator
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.providers import JobError, JobStatus
from qiskit.quantum_info import DensityMatrix, Operator, Pauli, SparseObservable, SparsePauliOp, Statevector

from qiskit_fusedqml import FusedEstimator
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import InvalidInputError, UnsupportedInstructionError
from qiskit_fusedqml.interfaces.qiskit import estimator
from qiskit_fusedqml.interfaces.qiskit.jobs import FinishedJob

RNG = np.random.default_rng(7)


def network(num_qubits: int = 3) -> QuantumCircuit:
    """A feature map with products of parameters, and an ansatz."""
    return zz_feature_map(num_qubits, reps=1).compose(real_amplitudes(num_qubits, reps=1))


def observables(count: int, num_qubits: int = 3) -> list[SparsePauliOp]:
    """Random observables of three terms."""
    labels = ["".join(RNG.choice(list("IXYZ"), num_qubits)) for _ in range(3 * count)]
    return [SparsePauliOp(labels[3 * k : 3 * k + 3], RNG.normal(size=3)) for k in range(count)]


def assert_as_statevector(pubs: list[Any], estimator: FusedEstimator | None = None) -> None:
    """The results of both estimators agree in values, shapes and standard deviations."""
    ours = (estimator or FusedEstimator()).run(pubs).result()
    theirs = StatevectorEstimator().run(pubs).result()
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.data.evs.shape == other.data.evs.shape == mine.data.shape
        assert mine.data.evs.dtype == np.float64
        np.testing.assert_allclose(mine.data.evs, other.data.evs, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(mine.data.stds, other.data.stds)


class Calls:
    """Records the batches the engine is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[tuple[int, int]] = []
        original = ProgramFunction.values

        def values(program: ProgramFunction, x: Any = None, w: Any = None) -> Any:
            result = original(program, x, w)
            self.batches.append(result.shape)
            return result

        monkeypatch.setattr(ProgramFunction, "values", values)


@pytest.mark.parametrize(
    ("shape_of_observables", "shape_of_values"),
    [((), ()), ((), (3,)), ((2,), ()), ((4, 1), (3,)), ((2, 1, 1), (5, 3)), ((3,), (3,)), ((1,), (0,)), ((2,), (1, 1))],
)
def test_broadcasting(shape_of_observables: tuple[int, ...], shape_of_values: tuple[int, ...]) -> None:
    circuit = network()
    flat = np.empty(int(np.prod(shape_of_observables)), dtype=object)
    flat[:] = observables(len(flat))
    array = ObservablesArray(flat.reshape(shape_of_observables) if shape_of_observables else flat[0])
    values = RNG.normal(size=(*shape_of_values, circuit.num_parameters))
    assert_as_statevector([(circuit, array, values)])


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
def test_an_operator_and_an_array_of_values(shape: tuple[int, ...]) -> None:
    circuit, single = network(), QuantumCircuit(1)
    values = RNG.normal(size=(*shape, circuit.num_parameters))
    assert_as_statevector([(circuit, operator, values) for operator in observables(3)])
    single.ry(Parameter("a"), 0)
    assert_as_statevector([(single, SparsePauliOp("Z"), RNG.normal(size=(*shape, 2)))])  # no axis of parameters


def test_operators_and_values_changed_in_place_are_seen() -> None:
    circuit, operator = network(), SparsePauliOp(["ZZI", "IXX"], [0.5, 1.0])
    values, estimator = RNG.normal(size=(3, circuit.num_parameters)), FusedEstimator()
    assert_as_statevector([(circuit, operator, values)], estimator)
    operator.coeffs[0] = -2.0
    assert_as_statevector([(circuit, operator, values)], estimator)
    operator.paulis.x[:] = False
    assert_as_statevector([(circuit, operator, values)], estimator)
    values += 1.0
    assert_as_statevector([(circuit, operator, values)], estimator)


def test_bindings_by_name_and_pubs_of_every_form() -> None:
    a, b, c = Parameter("a"), Parameter("b"), Parameter("c")
    circuit = QuantumCircuit(2)
    circuit.rx(c, 0)
    circuit.rzz(a * b, 0, 1)
    circuit.ry(b, 1)
    values = {("c", "a"): RNG.normal(size=(2, 3, 2)), "b": RNG.normal(size=(2, 3))}
    bound = circuit.assign_parameters([0.1, 0.2, 0.3])
    explicit = EstimatorPub(circuit, ObservablesArray.coerce(["ZZ"]), BindingsArray({(a, b, c): np.ones((1, 3))}))
    pubs = [
        (circuit, "ZI", values),
        (circuit, {"XX": 0.5, "IZ": -1.0}, {a: 0.1, b: 0.2, c: 0.3}),
        (circuit, [Pauli("XY"), Pauli("ZZ")], [0.4, 0.5, 0.6]),
        (bound, SparsePauliOp(["ZZ", "XX"], [1.0, 2.0])),
        (bound, "YY", None),
        explicit,
    ]
    assert_as_statevector(pubs)


def test_more_than_ten_parameters_keep_their_order() -> None:
    x = ParameterVector("x", 12)
    circuit = QuantumCircuit(3)
    for position, parameter in enumerate(x):
        circuit.rx(parameter, position % 3)
        circuit.cz(position % 3, (position + 1) % 3)
    values = np.arange(12) * 0.1 + RNG.normal(size=(4, 12))
    assert_as_statevector([(circuit, "XYZ", values), (circuit, "ZZZ", {tuple(reversed(list(x))): values})])


def test_projectors_are_not_approximated() -> None:
    circuit = network().assign_parameters(RNG.normal(size=9))
    observable = {"0+r": 0.5, "1-l": -2.0, "IZ0": 1.5}
    dense = SparsePauliOp.from_sparse_observable(SparseObservable.from_list(list(observable.items())))
    expected = Statevector(circuit).expectation_value(dense).real
    assert FusedEstimator().run([(circuit, observable)]).result()[0].data.evs == pytest.approx(expected, abs=1e-12)


def test_terminal_measurements_are_ignored() -> None:
    circuit = network().assign_parameters(RNG.normal(size=9))
    measured = circuit.copy()
    measured.measure_all()
    pair = FusedEstimator().run([(measured, "ZXZ"), (circuit, "ZXZ")]).result()
    assert pair[0].data.evs == pair[1].data.evs


def test_pubs_that_share_circuit_and_values_are_one_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, values = network(), RNG.normal(size=(6, 9))
    three = observables(3)
    pubs = [(circuit, each, values) for each in three] + [(circuit, three[0], values.copy())]
    expected = StatevectorEstimator().run(pubs).result()
    calls = Calls(monkeypatch)
    result = FusedEstimator().run(pubs).result()
    assert calls.batches == [(6, 3)]
    for mine, other in zip(result, expected, strict=True):
        np.testing.assert_allclose(mine.data.evs, other.data.evs, rtol=0, atol=1e-12)


def test_repeated_rows_and_single_rows_are_one_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, rows = network(), RNG.normal(size=(5, 9))
    calls = Calls(monkeypatch)
    FusedEstimator().run([(circuit, "ZZZ", row) for row in rows] + [(circuit, "ZZZ", rows[[0, 3, 3]])]).result()
    assert calls.batches == [(5, 1)]


def test_zipped_pairs_may_be_split_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, values, several = network(), RNG.normal(size=(6, 9)), observables(3)
    pub = (circuit, [several[0], several[1], several[0], several[2], several[1], several[0]], values)
    assert_as_statevector([pub])
    monkeypatch.setattr(estimator, "SECONDS_PER_COMPILED_GATE", 0.0)
    calls = Calls(monkeypatch)
    assert_as_statevector([pub])
    assert sorted(calls.batches) == [(1, 1), (2, 1), (3, 1)]


def test_exact_mode_ignores_precision_as_qml_estimator_does() -> None:
    circuit, values = network(), RNG.normal(size=(2, 9))
    exact = FusedEstimator(seed=3)
    reference = exact.run([(circuit, "ZZZ", values)]).result()[0]
    for result, precision in (
        (exact.run([(circuit, "ZZZ", values)], precision=0.015625).result()[0], 0.015625),
        (exact.run([(circuit, "ZZZ", values, 0.5)]).result()[0], 0.5),
    ):
        np.testing.assert_array_equal(result.data.evs, reference.data.evs)
        own = {name: value for name, value in result.metadata.items() if name != "simulator_metadata"}
        assert own == {"target_precision": precision, "circuit_metadata": circuit.metadata}


def test_resets_leave_the_mixed_state() -> None:
    circuit = network()
    circuit.reset(1)
    circuit.ry(0.7, 1)
    circuit.cx(1, 2)
    circuit.initialize([0.6, 0.8j], [2])
    circuit.barrier()
    circuit.reset(1)
    circuit.crx(0.4, 0, 1)
    values = RNG.normal(size=(2, 9))
    observables = ["ZZZ", "IXZ", "YYI", {"XIX": 0.5, "IZI": -1.0}]
    found = FusedEstimator().run([(circuit, observables, row) for row in values]).result()
    for row, result in zip(values, found, strict=True):
        mixed = DensityMatrix(circuit.assign_parameters(row))
        expected = [
            mixed.expectation_value(SparsePauliOp.from_list(list(o.items())) if isinstance(o, dict) else Pauli(o)).real
            for o in observables
        ]
        np.testing.assert_allclose(result.data.evs, expected, atol=1e-12)


def test_more_resets_than_there_are_qubits_for() -> None:
    circuit = QuantumCircuit(2)
    for _ in range(41):
        circuit.h(0)
        circuit.reset(0)
    with pytest.raises(UnsupportedInstructionError, match="resets 41"):
        FusedEstimator().run([(circuit, "ZZ")]).result()


def test_noisy_mode_gives_the_numbers_of_statevector_estimator() -> None:
    circuit, values = network(), RNG.normal(size=(2, 3, 9))
    pubs = [(circuit, [["ZZZ"], ["XIX"]], values[0, :2]), (circuit, "IZZ", values, 0.1), (circuit, "IZZ", values)]
    for precision in (None, 0.3, 0.0):
        ours = FusedEstimator(default_precision=0.2, seed=11).run(pubs, precision=precision).result()
        theirs = StatevectorEstimator(default_precision=0.2, seed=11).run(pubs, precision=precision).result()
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine.data.evs, other.data.evs, rtol=0, atol=1e-12)
            assert {name: mine.metadata[name] for name in other.metadata} == other.metadata
    assert ours.metadata == theirs.metadata == {"version": 2}


def test_a_generator_is_used_up_pub_by_pub() -> None:
    circuit = QuantumCircuit(1)
    pubs = [(circuit, "Z"), (circuit, "Z")]
    ours = FusedEstimator(default_precision=0.1, seed=np.random.default_rng(5)).run(pubs).result()
    theirs = StatevectorEstimator(default_precision=0.1, seed=np.random.default_rng(5)).run(pubs).result()
    assert [float(r.data.evs) for r in ours] == pytest.approx([float(r.data.evs) for r in theirs], abs=1e-14)
    assert ours[0].data.evs != ours[1].data.evs


@pytest.mark.parametrize(
    ("pub", "error"),
    [
        ((QuantumCircuit(1), SparsePauliOp("II")), ValueError),
        ((QuantumCircuit(1), "Z", [[1e4]]), ValueError),
        ((network(), "ZZZ"), ValueError),
        ((network(), "ZZZ", np.zeros((2, 8))), ValueError),
        ((network(), ["ZZZ", "XXX"], np.zeros((3, 9))), ValueError),
        ((network(), SparsePauliOp("ZZZ"), np.zeros((2, 8))), ValueError),
        ((network(), SparsePauliOp("ZZ"), np.zeros((2, 9))), ValueError),
        ((network(), SparsePauliOp("ZZZ", 1j), np.zeros((2, 9))), ValueError),
        ((QuantumCircuit(1), 1j * SparsePauliOp("Z")), ValueError),
        ((QuantumCircuit(1), Operator(np.eye(2))), TypeError),
        ((QuantumCircuit(1), "Z", None, -1.0), ValueError),
        ((QuantumCircuit(1), "Z", None, "fine"), TypeError),
        ((QuantumCircuit(1),), ValueError),
        (QuantumCircuit(1), ValueError),
    ],
)
def test_malformed_pubs_raise_what_statevector_estimator_raises(pub: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as theirs:
        StatevectorEstimator().run([pub]).result()
    with pytest.raises(error) as ours:
        FusedEstimator().run([pub]).result()
    assert str(ours.value) == str(theirs.value)


def test_the_zero_observable_is_what_statevector_estimator_takes_it_for() -> None:
    pub = (QuantumCircuit(1), 0 * SparsePauliOp("Z"))
    try:
        expected = float(StatevectorEstimator().run([pub]).result()[0].data.evs)  # Qiskit 2.0 has a value
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error)):
            FusedEstimator().run([pub])
    else:
        assert FusedEstimator().run([pub]).result()[0].data.evs == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(value: float) -> None:
    circuit, values = network(), np.zeros((4, 9))
    values[2, circuit.parameters.data.index(next(p for p in circuit.parameters if p.name == "x[1]"))] = value
    with pytest.raises(InvalidInputError, match=r"'x\[1\]' has the value .* in row \(2,\)"):
        FusedEstimator().run([(circuit, "ZZZ", values)])


def test_an_unsupported_circuit_is_an_error_of_the_job() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    circuit.h(0)
    job = FusedEstimator().run([(circuit, "Z")])
    assert job.status() == JobStatus.ERROR
    assert not job.done()
    assert job.in_final_state()
    with pytest.raises(UnsupportedInstructionError, match="'h'"):
        job.result()


def test_the_job_is_a_finished_one() -> None:
    job = FusedEstimator().run([(QuantumCircuit(1), "Z")])
    assert job.done()
    assert job.in_final_state()
    assert not job.running()
    assert not job.cancelled()
    assert not job.cancel()
    assert job.status() == JobStatus.DONE
    assert isinstance(job.job_id(), str)
    assert job.job_id() == job.job_id() != FusedEstimator().run([(QuantumCircuit(1), "Z")]).job_id()
    assert pickle.loads(pickle.dumps(FinishedJob(int, "5"))).result() == 5
    with pytest.raises(JobError):
        job.submit()


def test_no_pubs_and_an_iterator_of_pubs() -> None:
    assert len(FusedEstimator().run([]).result()) == 0
    pubs = ((circuit, "Z") for circuit in [QuantumCircuit(1)] * 2)
    assert [float(result.data.evs) for result in FusedEstimator().run(pubs).result()] == [1.0, 1.0]


def test_options_are_live_and_checked() -> None:
    estimator = FusedEstimator()
    estimator.options.update_options(default_precision=0.5, seed=1)
    assert estimator.default_precision == 0.5
    assert estimator.seed == 1
    expected = StatevectorEstimator(default_precision=0.5, seed=1).run([(QuantumCircuit(1), "Z")]).result()
    assert estimator.run([(QuantumCircuit(1), "Z")]).result()[0].data.evs == pytest.approx(float(expected[0].data.evs))
    estimator.options.update_options(shots=100)
    with pytest.raises(InvalidInputError, match="shots"):
        estimator.run([(QuantumCircuit(1), "Z")])


@pytest.mark.parametrize("precision", [-0.1, np.nan, np.inf, "exact", None])
def test_a_default_precision_must_be_a_standard_error(precision: Any) -> None:
    with pytest.raises(InvalidInputError, match="default_precision"):
        FusedEstimator(default_precision=precision)


def test_copies_are_independent() -> None:
    estimator = FusedEstimator()
    other = copy.deepcopy(estimator)
    other.options.update_options(default_precision=0.5)
    assert estimator.default_precision == 0.0
    assert pickle.loads(pickle.dumps(estimator)).run([(QuantumCircuit(1), "Z")]).result()[0].data.evs == 1.0


def test_eight_threads_at_once() -> None:
    circuits = [network(), network(2)]
    jobs = []
    for k in range(64):
        circuit = circuits[k % 2]
        values = RNG.normal(size=(1 + k % 5, circuit.num_parameters))
        jobs.append((circuit, observables(2, circuit.num_qubits)[k % 2], values))
    expected = [StatevectorEstimator().run([pub]).result()[0].data.evs for pub in jobs]
    estimator = FusedEstimator()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda pub: estimator.run([pub]).result()[0].data.evs, jobs))
    for mine, other in zip(results, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)


def test_the_comparison_sees_a_wrong_angle(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, values = network(), RNG.normal(size=(2, 9))
    original = ProgramFunction.values
    monkeypatch.setattr(ProgramFunction, "values", lambda self, x, w: original(self, x, np.asarray(w) * 1.001))
    with pytest.raises(AssertionError):
        assert_as_statevector([(circuit, "ZZZ", values)])
