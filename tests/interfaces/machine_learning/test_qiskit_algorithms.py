"""qiskit-algorithms: variational time evolution and eigensolvers with this package's classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.library import efficient_su2
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp, Statevector
from scipy.linalg import expm

from qiskit_fusedqml import FusedEstimator, FusedEstimatorGradient, FusedFidelity, FusedQGT, FusedSampler

pytestmark = [pytest.mark.algorithms, pytest.mark.slow]

ISING = SparsePauliOp.from_list([("ZZ", 0.8), ("XI", 0.4), ("IX", 0.3), ("YY", 0.1)])
ENERGY = np.linalg.eigvalsh(ISING.to_matrix())[0]
ANSATZ = efficient_su2(2, reps=1)
START = np.random.default_rng(3).uniform(-1, 1, ANSATZ.num_parameters)


def evolved(principle: Any, name: str, estimator: Any) -> Any:
    import qiskit_algorithms as algorithms

    problem = algorithms.TimeEvolutionProblem(ISING, 0.3, aux_operators=[ISING, SparsePauliOp("ZI")])
    return getattr(algorithms, name)(ANSATZ, START, principle, estimator, num_timesteps=6).evolve(problem)


@pytest.mark.parametrize(
    ("name", "principle_name", "kind"),
    [("VarQITE", "ImaginaryMcLachlanPrinciple", "REAL"), ("VarQRTE", "RealMcLachlanPrinciple", "IMAG")],
)
def test_variational_time_evolution(name: str, principle_name: str, kind: str) -> None:
    from qiskit_algorithms.gradients import DerivativeType
    from qiskit_algorithms.time_evolvers import variational

    principle = getattr(variational, principle_name)
    ours = FusedEstimatorGradient(derivative_type=DerivativeType.COMPLEX)
    with pytest.warns(UserWarning, match="changed automatically"):
        set_by_it = principle(FusedQGT(), ours)
    given = principle(FusedQGT(), FusedEstimatorGradient(derivative_type=DerivativeType[kind]))  # no warning
    theirs = evolved(principle(), name, StatevectorEstimator())
    for each in (set_by_it, given):
        mine = evolved(each, name, FusedEstimator())
        np.testing.assert_allclose(mine.parameter_values, theirs.parameter_values, rtol=0, atol=1e-8)
    energies = [values[0][0] for values in mine.observables]
    if name == "VarQITE":
        assert np.all(np.diff(energies) < 0)


def test_quantum_fisher_information() -> None:
    from qiskit_algorithms.gradients import QFI, LinCombQGT

    ours, theirs = (
        QFI(tensor).run([ANSATZ], [START]).result().qfis[0]
        for tensor in (FusedQGT(), LinCombQGT(StatevectorEstimator()))
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8)


def test_projected_dynamics() -> None:
    from qiskit_algorithms import PVQD, TimeEvolutionProblem
    from qiskit_algorithms.optimizers import L_BFGS_B

    problem = TimeEvolutionProblem(ISING, 0.3, aux_operators=[SparsePauliOp("ZI")])
    method = PVQD(FusedFidelity(), ANSATZ, START, FusedEstimator(), optimizer=L_BFGS_B(maxiter=50), num_timesteps=6)
    result = method.evolve(problem)
    exact = Statevector(ANSATZ.assign_parameters(START)).data
    exact = expm(-0.3j * ISING.to_matrix()) @ exact
    expected = np.vdot(exact, SparsePauliOp("ZI").to_matrix() @ exact).real
    assert min(result.fidelities) > 0.999
    assert abs(result.observables[-1][0] - expected) < 0.03  # Trotter steps


def test_eigensolver() -> None:
    from qiskit_algorithms import VQE
    from qiskit_algorithms.optimizers import L_BFGS_B

    method = VQE(
        FusedEstimator(), ANSATZ, L_BFGS_B(maxiter=100), gradient=FusedEstimatorGradient(), initial_point=START
    )
    result = method.compute_minimum_eigenvalue(ISING, aux_operators=[ISING])
    assert abs(result.eigenvalue - ENERGY) < 1e-6
    assert abs(result.aux_operators_evaluated[0][0] - ENERGY) < 1e-6


def test_adaptive_eigensolver() -> None:
    from qiskit_algorithms import VQE, AdaptVQE
    from qiskit_algorithms.optimizers import L_BFGS_B

    pool = [SparsePauliOp(label) for label in ("YI", "IY", "XY", "YX", "ZY", "YZ")]
    start = QuantumCircuit(2)
    start.x(0)
    solver = VQE(FusedEstimator(), start, L_BFGS_B(), gradient=FusedEstimatorGradient())
    result = AdaptVQE(solver, operators=pool, initial_state=start).compute_minimum_eigenvalue(ISING)
    assert abs(result.eigenvalue - ENERGY) < 1e-6


def test_approximate_optimisation() -> None:
    from qiskit_algorithms import QAOA
    from qiskit_algorithms.optimizers import COBYLA

    cost = SparsePauliOp.from_list([("IZZ", 1.0), ("ZIZ", 1.0), ("ZZI", 0.5), ("IIZ", 0.3)])
    method = QAOA(
        FusedSampler(seed=5, default_shots=4096), COBYLA(maxiter=60), reps=2, initial_point=[0.3, 0.3, 0.5, 0.5]
    )
    result = method.compute_minimum_eigenvalue(cost)
    best = np.real(np.diag(cost.to_matrix())).min()
    assert abs(result.best_measurement["value"] - best) < 1e-9
    circuit = method.ansatz.remove_final_measurements(inplace=False)
    state = Statevector(circuit.decompose(reps=3).assign_parameters(result.optimal_point))
    assert abs(result.eigenvalue - state.expectation_value(cost)) < 0.15  # 4096 shots, the best of 60 evaluations
    assert result.eigenvalue < 0.25 * best


def test_gradients_of_the_algorithms_own_classes() -> None:
    """Their gradient classes, too, with our estimator, give what ours gives."""
    from qiskit_algorithms.gradients import LinCombEstimatorGradient, ParamShiftEstimatorGradient, SPSAEstimatorGradient

    parameter = Parameter("a")
    circuit = QuantumCircuit(2)
    circuit.ry(parameter, 0)
    circuit.cx(0, 1)
    arguments = ([circuit], [SparsePauliOp("ZZ") + 0.5 * SparsePauliOp("IZ")], [[0.7]])
    expected = FusedEstimatorGradient().run(*arguments).result().gradients[0]
    for kind in (LinCombEstimatorGradient, ParamShiftEstimatorGradient):
        np.testing.assert_allclose(kind(FusedEstimator()).run(*arguments).result().gradients[0], expected, atol=1e-9)
    spsa = SPSAEstimatorGradient(FusedEstimator(), epsilon=1e-4, seed=1).run(*arguments).result().gradients[0]
    np.testing.assert_allclose(spsa, expected, atol=1e-6)
