"""Observables read from Qiskit against Qiskit's expectation values; their row form against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import (
    Operator,
    Pauli,
    PauliList,
    SparseObservable,
    SparsePauliOp,
    Statevector,
    random_statevector,
)
from support.interpreter import apply_sum, expectation

from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.interfaces.qiskit.lowering import lower_observable, lower_observables
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.planner.frame import Frame, PhysicalTerm
from qiskit_fusedqml.planner.gf2 import parity

STATE: Statevector = random_statevector(8, seed=1)


def matrix(sparse: SparseObservable) -> np.ndarray:
    return SparsePauliOp.from_sparse_observable(sparse).to_matrix()


OBSERVABLES = {
    "label": ("XYZ", matrix(SparseObservable("XYZ"))),
    "projectors": ("0Z1", matrix(SparseObservable("0Z1"))),
    "Pauli": (Pauli("-XYI"), Pauli("-XYI").to_matrix()),
    "SparsePauliOp": (
        SparsePauliOp(["XYZ", "ZII", "III", "XYZ"], [1, 2, 0.5, -3]),
        SparsePauliOp(["XYZ", "ZII", "III"], [-2, 2, 0.5]).to_matrix(),
    ),
    "SparseObservable": (
        SparseObservable.from_list([("0+r", 0.3), ("1-l", -1.2), ("IX0", 0.2), ("+++", 1), ("ZYr", 2)]),
        matrix(SparseObservable.from_list([("0+r", 0.3), ("1-l", -1.2), ("IX0", 0.2), ("+++", 1), ("ZYr", 2)])),
    ),
    "mapping": ({"XXI": 1.0, "01+": 2}, matrix(SparseObservable.from_list([("XXI", 1), ("01+", 2)]))),
    "mapping of Paulis": ({Pauli("-iXXI"): 2j, Pauli("ZZZ"): 1}, SparsePauliOp(["XXI", "ZZZ"], [2, 1]).to_matrix()),
    "cancelling": (SparsePauliOp(["XXX", "XXX"], [1, -1]), np.zeros((8, 8))),
}


@pytest.mark.parametrize("name", OBSERVABLES)
def test_expectation_values(name: str) -> None:
    observable, dense = OBSERVABLES[name]
    found = lower_observable(observable, 3)
    assert abs(expectation(found, STATE.data) - STATE.expectation_value(Operator(dense)).real) < 1e-12
    np.testing.assert_allclose(apply_sum(found, STATE.data), dense @ STATE.data, atol=1e-12)


def test_projectors_stay_one_term() -> None:
    terms = lower_observable("0" * 20 + "1" * 10, 30).terms
    assert terms == (PauliTerm(1.0, 0, 0, 2**30 - 1, 2**10 - 1),)


def test_equal_terms_are_added_up() -> None:
    assert lower_observable(SparsePauliOp(["XZ", "ZX", "XZ"], [1, 2, 3]), 2).terms == (
        PauliTerm(4.0, 2, 1),
        PauliTerm(2.0, 1, 2),
    )
    assert lower_observable("I", 1).terms == (PauliTerm(1.0, 0, 0),)


@pytest.mark.parametrize(
    ("observable", "message"),
    [
        (Operator(np.eye(8)), "got Operator .*from_operator"),
        (3, "got int"),
        ("XX", r"has 2 qubits, the circuit has 3"),
        (Pauli("iXXX"), "not Hermitian"),
        (SparsePauliOp(["XYZ", "ZZZ"], [1, 1j]), "not Hermitian"),
        (SparseObservable.from_list([("0+r", 1j)]), "not Hermitian"),
        (SparsePauliOp(["XYZ"], [np.nan]), "NaN or infinite"),
        ({"XYZ": np.inf}, "NaN or infinite"),
        ("XAZ", "cannot be read.*alphabet"),
        ({"XXX": 1, "YY": 1}, "cannot be read.*length 2"),
        ({0: 1.0}, "cannot be read"),
        (SparseObservable.zero(3), "no terms"),
    ],
    ids=str,
)
def test_bad_observables(observable: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        lower_observable(observable, 3)


@pytest.mark.parametrize(
    ("observables", "shape"),
    [
        ("ZZZ", ()),
        (SparsePauliOp("XXX"), ()),
        (["ZZZ", Pauli("XXX")], (2,)),
        ((SparsePauliOp("XXX"),), (1,)),
        ([["ZZZ"], ["XII"]], (2, 1)),
        (np.array([["ZZZ", "XII"]]), (1, 2)),
        (PauliList(["XXX", "ZZZ", "YYY"]), (3,)),
        (ObservablesArray([["ZZZ", "XII"], ["YII", "III"]]), (2, 2)),
        (ObservablesArray("ZZZ"), ()),
        ([], (0,)),
    ],
    ids=str,
)
def test_arrays(observables: object, shape: tuple[int, ...]) -> None:
    found, found_shape = lower_observables(observables, 3)
    assert found_shape == shape
    assert len(found) == np.prod(shape)


def test_arrays_are_flattened_in_c_order() -> None:
    labels = [["ZZZ", "XII"], ["YII", "III"]]
    for given in (labels, np.array(labels), ObservablesArray(labels)):
        found, _ = lower_observables(given, 3)
        assert found == [lower_observable(label, 3) for row in labels for label in row]


def test_uneven_nesting() -> None:
    with pytest.raises(InvalidInputError, match=r"nested unevenly.*\(\), \(1,\)"):
        lower_observables(["ZZZ", ["XXX"]], 3)


def test_a_bad_member_of_an_array() -> None:
    with pytest.raises(InvalidInputError, match="not Hermitian"):
        lower_observables(["ZZZ", SparsePauliOp("XXX", [1j])], 3)


@pytest.mark.parametrize("term", [PauliTerm(1.0, 8, 0), PauliTerm(1.0, 1, 0, 1, 1), PauliTerm(1.0, 0, 0, 1, 2)])
def test_sums_are_checked(term: PauliTerm) -> None:
    with pytest.raises(InvalidInputError, match="Term 0"):
        PauliSum(3, (term,))


def rows_of(frame: Frame) -> np.ndarray:
    """The row of every logical state, by the definition of a frame."""
    rows = []
    for state in range(2**frame.num_qubits):
        row = frame.offset
        for qubit in range(frame.num_qubits):
            row ^= frame.columns[qubit] * (state >> qubit & 1)
        rows.append(row)
    return np.array(rows)


def apply_physical_term(term: PhysicalTerm, state: np.ndarray, num_qubits: int) -> np.ndarray:
    """The term on amplitudes by row, from its docstring."""
    result = np.zeros_like(state)
    for row in range(len(state)):
        marked = row | 1 << num_qubits
        if all(parity(control & marked) for control in term.controls):
            sign = (-1) ** parity(term.z & marked)
            result[row] = term.coefficient * (-1j) ** term.power * sign * state[row ^ term.x]
    return result


def test_row_terms_mean_the_same_in_any_frame() -> None:
    rng = np.random.default_rng(5)
    observable = lower_observable({"0XY": 0.7, "Z1+": -1.1, "IYY": 0.4, "10X": 2.0, "ZIZ": 1.0}, 3)
    for _ in range(20):
        frame = Frame.identity(3)
        for _ in range(6):
            control, target = rng.permutation(3)[:2].tolist()
            frame = frame.flipped(1 << target, int(rng.choice([-1, control])), int(rng.integers(2)))
        rows = rows_of(frame)
        by_row = np.empty(8, dtype=complex)
        by_row[rows] = STATE.data
        found = sum(apply_physical_term(term, by_row, 3) for term in frame.terms(observable))
        np.testing.assert_allclose(found[rows], apply_sum(observable, STATE.data), atol=1e-12)
