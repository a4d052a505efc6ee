"""Derivative types: members of any enum, by name or value, and nothing else."""

from __future__ import annotations

import copy
import pickle
from enum import Enum, IntEnum
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp

from qiskit_fusedqml import FusedEstimatorGradient, FusedEstimatorQNN, FusedQGT
from qiskit_fusedqml.errors import InvalidInputError

gradients = pytest.importorskip("qiskit_machine_learning.gradients")

CIRCUIT = QuantumCircuit(2)
CIRCUIT.h([0, 1])
CIRCUIT.rz(Parameter("a"), 0)
CIRCUIT.rxx(Parameter("b"), 0, 1)
CIRCUIT.ry(Parameter("c"), 1)
OBSERVABLE, VALUES = SparsePauliOp.from_list([("YX", 0.7), ("ZI", -0.4), ("IY", 0.2)]), [0.4, -0.7, 1.1]


class ByName(IntEnum):
    REAL = 1
    IMAG = 2
    COMPLEX = 3


class ByValue(Enum):
    first = "real"
    second = "imag"
    third = "complex"


class Crossed(Enum):
    REAL = "imag"
    OTHER = "something"


def gradient(computes: Any) -> np.ndarray:
    return computes.run([CIRCUIT], [OBSERVABLE], [VALUES]).result().gradients[0]


def tensor(computes: Any) -> np.ndarray:
    return computes.run([CIRCUIT], [VALUES]).result().qgts[0]


@pytest.mark.parametrize("kind", list(gradients.DerivativeType))
@pytest.mark.parametrize("enum", [ByName, ByValue])
def test_members_of_other_enums_are_taken_by_name_or_value(kind: Any, enum: type[Enum]) -> None:
    member = list(enum)[list(gradients.DerivativeType).index(kind)]
    estimator = StatevectorEstimator()
    cases = [
        (FusedEstimatorGradient, gradient, gradients.LinCombEstimatorGradient(estimator, derivative_type=kind)),
        (FusedQGT, tensor, gradients.LinCombQGT(estimator, derivative_type=kind)),
    ]
    for ours, run, theirs in cases:
        expected = run(theirs)
        through_property, through_attribute = ours(), ours()
        through_property.derivative_type = member
        through_attribute._derivative_type = member
        for each in (ours(derivative_type=member), through_property, through_attribute):
            for same in (each, copy.deepcopy(each), pickle.loads(pickle.dumps(each))):
                assert same.derivative_type is kind
                assert same._derivative_type is member  # as qiskit-algorithms compares it
                np.testing.assert_allclose(run(same), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("given", ["real", "REAL", "nonsense", None, 0, 1.5, True, Crossed.REAL, Crossed.OTHER, ByName])
def test_anything_else_is_refused(given: Any) -> None:
    for ours, run in ((FusedEstimatorGradient, gradient), (FusedQGT, tensor)):
        with pytest.raises(InvalidInputError, match=r"DerivativeType\.REAL, IMAG or COMPLEX"):
            ours(derivative_type=given)
        written = ours()
        with pytest.raises(InvalidInputError, match="derivative type is"):
            written.derivative_type = given
        assert written.derivative_type is ours().derivative_type
        written._derivative_type = given
        with pytest.raises(InvalidInputError, match="derivative type is"):
            run(written)


def test_a_network_with_a_gradient_of_another_enum_is_exact_and_fast() -> None:
    options = {"circuit": CIRCUIT, "observables": OBSERVABLE, "weight_params": list(CIRCUIT.parameters)}
    ours = FusedEstimatorQNN(gradient=FusedEstimatorGradient(derivative_type=ByValue.first), **options)
    assert ours._has_exact_gradients()
    assert not FusedEstimatorQNN(
        gradient=FusedEstimatorGradient(derivative_type=ByName.IMAG), **options
    )._has_exact_gradients()
    expected = FusedEstimatorQNN(**options).backward([], VALUES)[1]
    np.testing.assert_array_equal(ours.backward([], VALUES)[1], expected)
