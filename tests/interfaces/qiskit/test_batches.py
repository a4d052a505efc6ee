"""What the requests of one call are joined into: batches of distinct parameter sets, by circuit."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.primitives.containers.bindings_array import BindingsArray

from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.interfaces.qiskit.batches import CircuitBatch, ParameterSets, batch_of, by_identity

RNG = np.random.default_rng(8)


@pytest.mark.parametrize("width", [0, 1, 5])
def test_distinct_sets_in_the_order_of_their_addition(width: int) -> None:
    pool = RNG.normal(size=(6, width))
    added = [pool[RNG.integers(0, 6, size)] for size in (4, 0, 7, 1)]
    sets = ParameterSets(width)
    places = [sets.add(part) for part in added]
    expected: list[tuple[float, ...]] = []
    for part, found in zip(added, places, strict=True):
        for row, place in zip(map(tuple, part.tolist()), found.tolist(), strict=True):
            if row not in expected:
                expected.append(row)
            assert place == expected.index(row)
    assert len(sets) == len(expected)
    np.testing.assert_array_equal(sets.array(), np.array(expected).reshape(len(expected), width))


def test_places_have_the_shape_of_the_values_in_either_form() -> None:
    circuit = real_amplitudes(2, reps=1)
    batch, values = CircuitBatch(circuit), RNG.normal(size=(2, 3, 4))
    names = tuple(parameter.name for parameter in circuit.parameters)
    backwards = BindingsArray({names[::-1]: values[..., ::-1]})
    for given in (values, BindingsArray({names: values}), backwards):
        places = batch.add(given)
        assert places.shape == (2, 3)
        np.testing.assert_array_equal(batch.sets.array()[places], values)
        assert batch.add(given) is places
    assert len(batch.sets) == 6


def test_a_value_that_is_not_finite_is_named() -> None:
    values = np.zeros((2, 4))
    values[1, 2] = np.inf
    with pytest.raises(InvalidInputError, match=r"θ\[2\]' has the value inf in row \(1,\)"):
        CircuitBatch(real_amplitudes(2, reps=1)).add(values)


def test_a_circuit_has_one_batch_in_a_call() -> None:
    circuits = [QuantumCircuit(1), QuantumCircuit(1)]
    batches: dict[Hashable, CircuitBatch] = {}
    first = batch_of(batches, CircuitBatch, circuits[0])
    assert batch_of(batches, CircuitBatch, circuits[0]) is first
    assert batch_of(batches, CircuitBatch, circuits[1]) is not first
    assert list(batches.values()) == [first, batch_of(batches, CircuitBatch, circuits[1])]


def test_positions_of_the_same_objects() -> None:
    a, b, c = object(), object(), object()
    found = by_identity([b, a, b, c, a, b])
    assert [positions.tolist() for positions in found] == [[0, 2, 5], [1, 4], [3]]
    assert [positions.tolist() for positions in by_identity([a, a])] == [[0, 1]]
    assert by_identity([]) == []
