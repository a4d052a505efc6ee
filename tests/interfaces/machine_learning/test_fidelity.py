"""`FusedFidelityKernel` and `FusedFidelity` against the stock kernels, finite differences, and in scikit-learn."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import efficient_su2, zz_feature_map
from qiskit.quantum_info import Statevector

from qiskit_fusedqml import FusedFidelity, FusedFidelityKernel
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import InvalidInputError, SlowPathWarning
from qiskit_fusedqml.interfaces.machine_learning import overlaps as module

kernels = pytest.importorskip("qiskit_machine_learning.kernels")

RNG = np.random.default_rng(71)
FEATURES = zz_feature_map(3, reps=1)


def trainable() -> tuple[QuantumCircuit, ParameterVector]:
    """A feature map with three trained angles, one of them repeated, one controlled."""
    theta, circuit = ParameterVector("t", 3), QuantumCircuit(3)
    for qubit in range(3):
        circuit.ry(theta[qubit], qubit)
    circuit.compose(FEATURES, inplace=True)
    circuit.crx(theta[0], 0, 2)
    circuit.ry(2 * theta[1], 1)
    circuit.compose(FEATURES, inplace=True)
    return circuit, theta


@pytest.mark.parametrize("stock", ["FidelityStatevectorKernel", "FidelityQuantumKernel"])
def test_as_the_stock_kernels(stock: str) -> None:
    ours, theirs = FusedFidelityKernel(feature_map=FEATURES), getattr(kernels, stock)(feature_map=FEATURES)
    x, y = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 3))
    for arguments in ((x,), (x, x), (x, y), (x[0], y), (x[0],), (x, y[1])):
        mine, other = ours.evaluate(*arguments), theirs.evaluate(*arguments)
        assert mine.shape == other.shape
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("budget", "rows"), [(None, 3), (3 * 128 * 8 / 2**20, 2048), (3 * 128 * 8 / 2**20, 2)])
def test_blocks_of_any_size(budget: float | None, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = RNG.normal(size=(10, 3)), RNG.normal(size=(7, 3))
    whole = FusedFidelityKernel(feature_map=FEATURES)
    monkeypatch.setattr(module, "PRODUCT_ROWS", rows)
    monkeypatch.setattr(module, "CHUNK_BYTES", 16 * 8 * rows)
    pieces = FusedFidelityKernel(feature_map=FEATURES, max_memory_mb=budget)
    np.testing.assert_allclose(pieces.evaluate(x), whole.evaluate(x), rtol=0, atol=1e-14)
    np.testing.assert_allclose(pieces.evaluate(x, y), whole.evaluate(x, y), rtol=0, atol=1e-14)


def test_states_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    original = ProgramFunction.statevector
    monkeypatch.setattr(ProgramFunction, "statevector", lambda f, x, w: made.append(len(x)) or original(f, x, w))
    kernel = FusedFidelityKernel(feature_map=FEATURES)
    kernel.evaluate(RNG.normal(size=(20, 3)))
    kernel.evaluate(RNG.normal(size=(20, 3)), RNG.normal(size=(5, 3)))
    assert made == [20, 20, 5]


@pytest.mark.parametrize("duplicates", ["all", "off_diagonal", "none"])
def test_noise(duplicates: str) -> None:
    x = RNG.normal(size=(6, 3))
    x[4] = x[1]
    exact = FusedFidelityKernel(feature_map=FEATURES).evaluate(x)
    kernel = FusedFidelityKernel(feature_map=FEATURES, shots=20_000, evaluate_duplicates=duplicates)
    noisy = kernel.evaluate(x, x[:5])
    assert 1e-4 < np.abs(noisy - exact[:, :5]).max() < 0.03
    psd = kernel.evaluate(x)
    assert np.linalg.eigvalsh(psd).min() > -1e-12
    assert np.abs(psd - exact).max() < 0.03
    free = FusedFidelityKernel(feature_map=FEATURES, shots=7, enforce_psd=False, evaluate_duplicates=duplicates)
    assert (np.abs(7 * free.evaluate(x) % 1) < 1e-9).all()


def test_noise_as_the_stock_kernel_draws_it() -> None:
    from qiskit_machine_learning.utils import algorithm_globals

    x, y = RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3))
    drawn = []
    for kernel in (
        FusedFidelityKernel(feature_map=FEATURES, shots=50, enforce_psd=False),
        kernels.FidelityStatevectorKernel(feature_map=FEATURES, shots=50, enforce_psd=False),
    ):
        algorithm_globals.random_seed = 3
        drawn.append((kernel.evaluate(x, y), kernel.evaluate(x)))
    for mine, other in zip(*drawn, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_trained_parameters() -> None:
    circuit, theta = trainable()
    x, y, values = RNG.normal(size=(3, 3)), RNG.normal(size=(2, 3)), [0.3, -0.7, 1.1]
    ours = FusedFidelityKernel(feature_map=circuit, training_parameters=theta)
    theirs = kernels.TrainableFidelityQuantumKernel(feature_map=circuit, training_parameters=theta)
    from qiskit_machine_learning.exceptions import QiskitMachineLearningError

    with pytest.raises(QiskitMachineLearningError, match="has not been bound"):
        ours.evaluate(x)
    for kernel in (ours, theirs):
        kernel.assign_training_parameters(values)
    assert ours.num_features == theirs.num_features == 3
    np.testing.assert_allclose(ours.evaluate(x, y), theirs.evaluate(x, y), rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.evaluate(x), theirs.evaluate(x), rtol=0, atol=1e-9)
    stock = kernels.TrainableFidelityQuantumKernel(
        feature_map=circuit, training_parameters=theta, fidelity=FusedFidelity()
    )
    stock.assign_training_parameters(values)
    np.testing.assert_allclose(stock.evaluate(x), theirs.evaluate(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("budget", [None, 3 * 128 * 8 / 2**20])
@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_of_trained_parameters(symmetric: bool, budget: float | None) -> None:
    circuit, theta = trainable()
    kernel = FusedFidelityKernel(feature_map=circuit, training_parameters=theta, max_memory_mb=budget)
    x, values, step = RNG.normal(size=(5, 3)), np.array([0.3, -0.7, 1.1]), 1e-5
    y = None if symmetric else RNG.normal(size=(4, 3))
    cotangents = RNG.normal(size=(5, 5 if symmetric else 4))

    def loss(at: np.ndarray) -> float:
        kernel.assign_training_parameters(at)
        return float((cotangents * kernel.evaluate(x, y)).sum())

    expected = [(loss(values + step * u) - loss(values - step * u)) / (2 * step) for u in np.eye(3)]
    kernel.assign_training_parameters(values)
    matrix, gradient = kernel.value_and_vjp(x, y, cotangents)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(matrix, kernel.evaluate(x, y), rtol=0, atol=1e-14)
    squares = kernel.value_and_vjp(x, y, lambda k: 2 * k)[1]
    assert squares.shape == (3,)
    with pytest.raises(InvalidInputError, match="Cotangents"):
        kernel.value_and_vjp(x, y, np.ones((2, 2)))


def test_the_gradient_sees_a_wrong_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    original = module.square_overlaps

    def wrong(bras: Any, kets: Any, kernel: np.ndarray) -> None:
        original(bras, kets, kernel)
        kernel *= 1.001

    monkeypatch.setattr(module, "square_overlaps", wrong)
    with pytest.raises(AssertionError):
        test_gradients_of_trained_parameters(True, None)
    with pytest.raises(AssertionError):
        test_as_the_stock_kernels("FidelityStatevectorKernel")


def circles(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A disk and the ring around it."""
    labels = np.arange(count) % 2
    angle = RNG.uniform(0, 2 * np.pi, count)
    radius = np.where(labels == 0, 0.3, 1.0) + 0.1 * RNG.normal(size=count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), labels


def test_support_vectors_and_a_trained_kernel() -> None:
    svm = pytest.importorskip("sklearn.svm")
    from qiskit_machine_learning.algorithms import QSVC

    x, labels = circles()
    kernel = FusedFidelityKernel(feature_map=zz_feature_map(2))
    assert svm.SVC(kernel=kernel.evaluate).fit(x, labels).score(x, labels) > 0.9
    assert QSVC(quantum_kernel=kernel).fit(x, labels).score(x, labels) > 0.9

    theta, circuit = ParameterVector("t", 4), zz_feature_map(2)
    circuit = efficient_su2(2, ["ry"], reps=1).assign_parameters(theta).compose(circuit)
    trained = FusedFidelityKernel(feature_map=circuit, training_parameters=theta)
    signs, values, alignments = 2.0 * labels - 1, np.zeros(4), []
    for _ in range(15):  # kernel-target alignment, by its exact gradient
        trained.assign_training_parameters(values)
        matrix, gradient = trained.value_and_vjp(x, None, np.outer(signs, signs))
        alignments.append(float(signs @ matrix @ signs))
        values = values + 0.002 * gradient
    assert all(later > earlier for earlier, later in pairwise(alignments))


def test_the_stock_trainer() -> None:
    from qiskit_machine_learning.kernels.algorithms import QuantumKernelTrainer
    from qiskit_machine_learning.optimizers import SPSA

    circuit, theta = trainable()
    kernel = FusedFidelityKernel(feature_map=circuit, training_parameters=theta)
    x = RNG.normal(size=(10, 3))
    trainer = QuantumKernelTrainer(kernel, optimizer=SPSA(maxiter=3), initial_point=[0.1, 0.2, 0.3])
    result = trainer.fit(x, np.arange(10) % 2)
    assert result.optimal_point.shape == (3,)
    np.testing.assert_array_equal(kernel.parameter_values, result.optimal_point)


def test_fidelities_of_pairs() -> None:
    from qiskit_machine_learning.primitives import QMLSampler
    from qiskit_machine_learning.state_fidelities import ComputeUncompute

    ours, theirs = FusedFidelity(), ComputeUncompute(QMLSampler())
    bell = QuantumCircuit(3)
    bell.h(0)
    bell.cx(0, 2)
    x, y = RNG.normal(size=(3, 3)), RNG.normal(size=(3, 3))
    cases: list[tuple[Any, ...]] = [
        ([FEATURES] * 3, [FEATURES] * 3, x, y),
        (
            [FEATURES, bell, FEATURES],
            [FEATURES, FEATURES, FEATURES],
            [x[0].tolist(), [], x[1].tolist()],
            [y[0], y[1], x[1]],
        ),
        (FEATURES, bell, x[0].tolist(), None),
        (bell, bell),
        ([FEATURES] * 2, [bell] * 2, x[:2].tolist(), None),
        ([FEATURES] * 20, [FEATURES] * 20, RNG.normal(size=(20, 3)), RNG.normal(size=(20, 3))),
    ]
    for case in cases:
        mine = ours.run(*case).result()
        expected = [
            theirs.run(
                *(
                    [each[k]] if isinstance(each, list | np.ndarray) and not isinstance(each[k], float) else each
                    for each in case
                )
            )
            .result()
            .fidelities[0]
            for k in range(len(mine.fidelities))
        ]
        np.testing.assert_allclose(mine.fidelities, expected, rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match="length"):
        ours.run([bell] * 2, [bell])
    with pytest.raises(ValueError, match="number of qubits"):
        ours.run(bell, QuantumCircuit(2))
    with pytest.raises(ValueError, match="number of values"):
        ours.run(FEATURES, FEATURES, [0.1], x[0])
    with pytest.raises(ValueError, match="2 rows of values"):
        ours.run([FEATURES] * 3, [FEATURES] * 3, x[:2], y)
    stock = kernels.FidelityQuantumKernel(feature_map=FEATURES, fidelity=ours)
    np.testing.assert_allclose(
        stock.evaluate(x), FusedFidelityKernel(feature_map=FEATURES).evaluate(x), rtol=0, atol=1e-9
    )
    assert ours.create_fidelity_circuit(bell, bell).num_qubits == 3


def test_arguments_of_the_stock_kernels_are_taken() -> None:
    from qiskit_machine_learning.exceptions import QiskitMachineLearningError

    x = RNG.normal(size=(2, 3))
    expected = FusedFidelityKernel(feature_map=FEATURES).evaluate(x)
    for options in (
        {"statevector_type": Statevector, "cache_size": 3, "auto_clear_cache": False},
        {"fidelity": FusedFidelity(), "max_circuits_per_job": 4},
    ):
        np.testing.assert_array_equal(FusedFidelityKernel(feature_map=FEATURES, **options).evaluate(x), expected)
    FusedFidelityKernel(feature_map=FEATURES).clear_cache()
    with pytest.raises(QiskitMachineLearningError, match="feature_map"):
        FusedFidelityKernel()


@pytest.mark.filterwarnings("ignore::qiskit_fusedqml.errors.SlowPathWarning")
@pytest.mark.parametrize("duplicates", [None, "all", "none"])
def test_somebody_elses_fidelity_is_asked(duplicates: str | None) -> None:
    from qiskit_machine_learning.primitives import QMLSampler
    from qiskit_machine_learning.state_fidelities import ComputeUncompute

    circuit, theta = trainable()
    x, y, asked = RNG.normal(size=(3, 3)), RNG.normal(size=(2, 3)), []

    class Counted(ComputeUncompute):
        def run(self, circuits: Any, *rest: Any, **options: Any) -> Any:
            asked.append(len(circuits))
            return super().run(circuits, *rest, **options)

    options = {"feature_map": circuit, "training_parameters": theta, "fidelity": Counted(QMLSampler(shots=100))}
    options |= {} if duplicates is None else {"evaluate_duplicates": duplicates}
    kernel = FusedFidelityKernel(**options, max_circuits_per_job=4)
    stock = kernels.TrainableFidelityQuantumKernel(**options)
    assert kernel.fidelity is options["fidelity"]
    assert kernel.evaluate_duplicates == stock.evaluate_duplicates
    for each in (kernel, stock):
        each.assign_training_parameters([0.3, -0.7, 1.1])
    x[2] = x[0]
    for data in ((x,), (x, y), (x, x)):
        for each in (kernel, stock):
            asked.append(0)
            assert each.evaluate(*data).shape == (3, len(data[-1]))
        second = asked.index(0, 1)  # where the stock kernel began
        assert max(asked[:second]) <= 4
        assert sum(asked[:second]) == sum(asked[second:]) > 0
        asked.clear()
    with pytest.raises(InvalidInputError, match="one by one"):
        kernel.value_and_vjp(x, y, np.ones((3, 2)))
    with pytest.raises(InvalidInputError, match="Give one of them"):
        FusedFidelityKernel(**options, shots=10)


def test_local_fidelities() -> None:
    from qiskit_machine_learning.primitives import QMLSampler
    from qiskit_machine_learning.state_fidelities import ComputeUncompute

    circuit, _ = trainable()
    rows = RNG.normal(size=(2, 5, 6))
    stock = ComputeUncompute(QMLSampler(), local=True)
    for budget in (None, 3 * 128 * 8 / 2**20):
        ours = FusedFidelity(local=True, max_memory_mb=budget)
        found = ours.run([circuit] * 5, [circuit] * 5, *rows).result().fidelities
        wanted = stock.run([circuit] * 5, [circuit] * 5, *rows).result().fidelities
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
    assert (
        np.abs(np.subtract(wanted, FusedFidelity().run([circuit] * 5, [circuit] * 5, *rows).result().fidelities)).min()
        > 1e-3
    )
    x = RNG.normal(size=(3, 3))
    kernel, other = (
        FusedFidelityKernel(feature_map=FEATURES, fidelity=ours),
        kernels.FidelityQuantumKernel(feature_map=FEATURES, fidelity=stock),
    )
    np.testing.assert_allclose(kernel.evaluate(x), other.evaluate(x), rtol=0, atol=1e-9)
    given = QuantumCircuit(3)
    given.initialize(RNG.normal(size=8), normalize=True)
    with pytest.raises(InvalidInputError, match="cannot be undone"):
        ours.run(circuit, given, rows[0, 0]).result()


def test_options_of_the_stock_fidelity() -> None:
    from qiskit_fusedqml import FusedSampler

    fidelity = FusedFidelity(FusedSampler(precision="single", max_memory_mb=7), options={"shots": 3}, max_memory_mb=8)
    assert (fidelity.engine_options.precision, fidelity.engine_options.max_memory_mb) == ("single", 8)
    fidelity.update_default_options(seed=1)
    assert (fidelity.options.shots, fidelity.options.seed, fidelity.options.precision) == (3, 1, "single")
    recorded = fidelity.run(FEATURES, FEATURES, [0.1] * 3, [0.2] * 3, shots=5).result().options
    assert (recorded.shots, recorded.seed) == (5, 1)
    with pytest.raises(InvalidInputError, match="empty"):
        fidelity.run([], [])


def test_states_are_kept_if_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    original = ProgramFunction.statevector
    monkeypatch.setattr(ProgramFunction, "statevector", lambda f, x, w: made.append(len(x)) or original(f, x, w))
    circuit, theta = trainable()
    x, y = RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3))
    y[1] = x[2]
    plain, kernel, small = (
        FusedFidelityKernel(feature_map=circuit, training_parameters=theta, **options)
        for options in ({}, {"auto_clear_cache": False}, {"auto_clear_cache": False, "cache_size": 3})
    )
    for values in ([0.3, -0.7, 1.1], [0.3, -0.7, 1.2]):  # other values, other states
        for each in (plain, kernel, small):
            each.assign_training_parameters(values)
        for other, fresh in ((x, [5]), (y, [3]), (y, [])):
            wanted = plain.evaluate(x, other)
            np.testing.assert_allclose(small.evaluate(x, other), wanted, rtol=0, atol=1e-14)
            made.clear()
            np.testing.assert_allclose(kernel.evaluate(x, other), wanted, rtol=0, atol=1e-14)
            assert made == fresh
    assert kernel._get_statevector.cache_info()[2:] == (None, 8)
    assert small._get_statevector.cache_info()[2:] == (3, 3)
    twin = pickle.loads(pickle.dumps(kernel))
    assert twin._get_statevector.cache_info()[2:] == (None, 0)
    kernel.clear_cache()
    assert kernel._get_statevector.cache_info() == (0, 0, None, 0)
    np.testing.assert_allclose(kernel.evaluate(x), twin.evaluate(x), rtol=0, atol=1e-14)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: small.evaluate(x, y), range(16)):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)


def test_single_precision() -> None:
    x = RNG.normal(size=(4, 3))
    single = FusedFidelityKernel(feature_map=FEATURES, precision="single").evaluate(x)
    np.testing.assert_allclose(single, FusedFidelityKernel(feature_map=FEATURES).evaluate(x), rtol=0, atol=1e-5)
    assert single.dtype == np.float64


def test_wrong_arguments() -> None:
    with pytest.raises(InvalidInputError, match="evaluate_duplicates"):
        FusedFidelityKernel(feature_map=FEATURES, evaluate_duplicates="some")
    with pytest.raises(InvalidInputError, match="shots"):
        FusedFidelityKernel(feature_map=FEATURES, shots=0)
    with pytest.raises(InvalidInputError, match="max_circuits_per_job"):
        FusedFidelityKernel(feature_map=FEATURES, max_circuits_per_job=-1)
    kernel = FusedFidelityKernel(feature_map=FEATURES)
    with pytest.raises(ValueError, match="2 dimensions"):
        kernel.evaluate(np.ones((1, 2)))
    with pytest.raises(ValueError, match="incompatible"):
        kernel.evaluate(np.ones((1, 3)), np.ones((1, 2)))
    with pytest.raises(InvalidInputError, match="finite"):
        kernel.evaluate(np.full((1, 3), np.nan))


def test_threads_copies_and_pickles() -> None:
    kernel = FusedFidelityKernel(feature_map=FEATURES)
    data = [RNG.normal(size=(4, 3)) for _ in range(16)]
    expected = [kernels.FidelityStatevectorKernel(feature_map=FEATURES).evaluate(x) for x in data[:2]]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(kernel.evaluate, data))
    for mine, other in zip(results, expected, strict=False):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)
    for other in (copy.copy(kernel), copy.deepcopy(kernel), pickle.loads(pickle.dumps(kernel))):
        np.testing.assert_array_equal(other.evaluate(data[0]), results[0])
    for fidelity in (copy.deepcopy(FusedFidelity()), pickle.loads(pickle.dumps(FusedFidelity()))):
        assert fidelity.run(FEATURES, FEATURES, [0.1] * 3, [0.1] * 3).result().fidelities == pytest.approx([1.0])


def test_a_fidelity_that_is_asked_for_every_entry_is_spoken_of_once() -> None:
    from qiskit_machine_learning.primitives import QMLSampler
    from qiskit_machine_learning.state_fidelities import ComputeUncompute

    class Mine(ComputeUncompute):
        pass

    with pytest.warns(SlowPathWarning, match=r"fidelity=Mine .*FusedFidelity\(\)") as seen:
        kernel = FusedFidelityKernel(feature_map=FEATURES, fidelity=Mine(QMLSampler()))
    assert seen[0].filename == __file__
    again = FusedFidelityKernel(feature_map=FEATURES, fidelity=Mine(QMLSampler()))  # warnings are errors here
    x = RNG.normal(size=(2, 3))
    for each in (kernel, again):
        np.testing.assert_allclose(
            each.evaluate(x), FusedFidelityKernel(feature_map=FEATURES).evaluate(x), rtol=0, atol=1e-9
        )
    FusedFidelityKernel(feature_map=FEATURES, fidelity=FusedFidelity(local=True))
