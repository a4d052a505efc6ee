"""`FusedQGT` against the stock LinCombQGT, and in QFI and a natural gradient."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.library import efficient_su2, real_amplitudes
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager

from qiskit_fusedqml import DifferentiableCircuit, FusedEstimator, FusedQGT
from qiskit_fusedqml.errors import InvalidInputError

gradients = pytest.importorskip("qiskit_machine_learning.gradients")

RNG = np.random.default_rng(41)


def circuit_with_repetitions() -> QuantumCircuit:
    circuit = real_amplitudes(2, reps=1)
    a, b, c, _ = circuit.parameters
    circuit.rz(2 * a + b, 0)
    circuit.rzz(b, 0, 1)
    circuit.rx(c * a, 1)
    return circuit


@pytest.mark.parametrize("kind", ["COMPLEX", "REAL", "IMAG"])
@pytest.mark.parametrize("phase_fix", [True, False])
def test_as_linear_combinations(kind: str, phase_fix: bool) -> None:
    circuit, values = circuit_with_repetitions(), RNG.normal(size=(3, 4))
    p = circuit.parameters
    arguments = ([circuit] * 3, values, [None, [p[2], p[0]], [p[3]]])
    kind = getattr(gradients.DerivativeType, kind)
    ours = FusedQGT(phase_fix=phase_fix, derivative_type=kind).run(*arguments).result()
    theirs = gradients.LinCombQGT(StatevectorEstimator(), phase_fix=phase_fix, derivative_type=kind)
    expected = theirs.run(*arguments).result()
    for mine, other in zip(ours.qgts, expected.qgts, strict=True):
        assert mine.dtype == other.dtype
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-8)
    assert [m[0]["parameters"] for m in ours.metadata] == [m[0]["parameters"] for m in expected.metadata]
    assert ours.derivative_type == kind


def test_precisions_are_recorded() -> None:
    circuit = efficient_su2(1, reps=0)
    for ours, expected in ((FusedQGT(), 0.0), (FusedQGT(StatevectorEstimator(default_precision=0.1)), 0.1)):
        assert ours.run(circuit, [[0.1, 0.2]]).result().precision == expected
        assert ours.run(circuit, [[0.1, 0.2]], precision=0.3).result().precision == 0.3
    assert FusedQGT(precision=0.2).run(circuit, [[0.1, 0.2]]).result().precision == 0.2


def test_fisher_information_in_the_stock_class() -> None:
    circuit, values = efficient_su2(3, reps=1), RNG.normal(size=12)
    ours = gradients.QFI(FusedQGT()).run([circuit], [values]).result().qfis[0]
    theirs = gradients.QFI(gradients.LinCombQGT(StatevectorEstimator())).run([circuit], [values]).result().qfis[0]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8)
    f = DifferentiableCircuit(circuit)
    np.testing.assert_allclose(4 * f.geometric_tensor(None, values)[0].real, theirs, rtol=0, atol=1e-8)


def test_a_natural_gradient_beats_the_plain_one() -> None:
    circuit = efficient_su2(3, reps=1)
    f = DifferentiableCircuit(circuit, SparsePauliOp(["ZZI", "IZZ", "XII", "IXI", "IIX"], [1, 1, 0.5, 0.5, 0.5]))
    start, losses = RNG.normal(size=12), {}
    for natural in (False, True):
        w = start.copy()
        for _ in range(30):
            value, _, gradient = f.value_and_vjp(None, w, np.ones((1, 1)))
            metric = 4 * f.geometric_tensor(None, w)[0].real + 1e-3 * np.eye(12)
            w -= 0.1 * (np.linalg.solve(metric, gradient) if natural else gradient)
        losses[natural] = value.item()
    assert losses[True] < losses[False]


def test_a_pass_manager_a_bare_circuit_and_other_widths() -> None:
    circuit, values = efficient_su2(2, reps=1), RNG.normal(size=8)
    manager = generate_preset_pass_manager(1, coupling_map=[[0, 1], [1, 2]], initial_layout=[2, 1], seed_transpiler=1)
    plain = FusedQGT().run(circuit, [values]).result().qgts[0]
    transpiled = FusedQGT(pass_manager=manager).run([circuit], [values]).result().qgts[0]
    np.testing.assert_allclose(transpiled, plain, rtol=0, atol=1e-12)
    one = QuantumCircuit(1)
    one.rx(Parameter("a"), 0)
    several = FusedQGT(FusedEstimator(num_threads=1)).run([one, circuit], [[0.1], values]).result().qgts
    np.testing.assert_allclose(several[0], [[0.25]], rtol=0, atol=1e-15)
    np.testing.assert_allclose(several[1], plain, rtol=0, atol=1e-12)


def test_arguments_that_do_not_fit() -> None:
    circuit = efficient_su2(2, reps=0)
    cases: list[tuple[Any, ...]] = [
        ([circuit], [[0.1] * 4] * 2),
        ([circuit], [[0.1] * 3]),
        ([QuantumCircuit(1)], [[]]),
        ([circuit], [[0.1] * 4], [[Parameter("elsewhere")]]),
    ]
    for case in cases:
        with pytest.raises(ValueError, match="circuit"):
            gradients.LinCombQGT(StatevectorEstimator()).run(*case)
        with pytest.raises(InvalidInputError):
            FusedQGT().run(*case)


def test_amplitudes_are_no_angles() -> None:
    library = pytest.importorskip("qiskit_machine_learning.circuit.library")
    circuit = library.raw_feature_vector(4).compose(real_amplitudes(2, reps=1))
    with pytest.raises(InvalidInputError, match="amplitudes"):
        FusedQGT().run([circuit], [[0.3] * 8]).result()
    weights = circuit.parameters[4:]
    tensor = FusedQGT().run([circuit], [[0.5] * 4 + [0.3] * 4], [weights]).result().qgts[0]
    bound = circuit.assign_parameters(dict(zip(circuit.parameters[:4], [0.5] * 4, strict=True))).decompose(
        ["ParameterizedInitialize"]
    )
    expected = FusedQGT().run([bound], [[0.3] * 4]).result().qgts[0]
    np.testing.assert_allclose(tensor, expected, rtol=0, atol=1e-12)


def test_threads_copies_and_pickles() -> None:
    qgt, circuits = FusedQGT(), [efficient_su2(2, reps=1), real_amplitudes(3, reps=1)]
    calls = [([circuits[k % 2]], [RNG.normal(size=circuits[k % 2].num_parameters)]) for k in range(16)]
    expected = [qgt.run(*call).result().qgts[0] for call in calls]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda call: FusedQGT().run(*call).result().qgts[0], calls))
    for mine, other in zip(results, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)
    for other in (copy.deepcopy(qgt), pickle.loads(pickle.dumps(qgt))):
        np.testing.assert_array_equal(other.run(*calls[0]).result().qgts[0], expected[0])
