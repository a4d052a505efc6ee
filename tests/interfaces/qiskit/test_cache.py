"""What is remembered of circuits: identity, changes in place, bounds, threads."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.library import RYGate, UnitaryGate
from qiskit.quantum_info import SparsePauliOp, Statevector, random_unitary

from qiskit_fusedqml import FusedEstimator
from qiskit_fusedqml.interfaces.qiskit.cache import CIRCUIT_INSTRUCTIONS, MAX_COMPILED, CircuitCache
from qiskit_fusedqml.interfaces.qiskit.lowering.observables import canonical


def example() -> QuantumCircuit:
    circuit = QuantumCircuit(5)
    circuit.ry(0.3, 0)
    circuit.cx(0, 1)
    circuit.unitary(random_unitary(32, seed=1), range(5))
    circuit.append(inner().to_gate(), [0, 1])
    return circuit


def inner() -> QuantumCircuit:
    circuit = QuantumCircuit(2, name="inner")
    circuit.rx(0.2, 0)
    return circuit


def replace(position: int, gate: object) -> Callable[[QuantumCircuit], None]:
    def change(circuit: QuantumCircuit) -> None:
        circuit.data[position] = circuit.data[position].replace(operation=gate)

    return change


CHANGES: dict[str, Callable[[QuantumCircuit], object]] = {
    "append": lambda circuit: circuit.h(2),
    "angle": replace(0, RYGate(0.3 + 1e-9)),
    "matrix": replace(2, UnitaryGate(random_unitary(32, seed=2))),
    "qubits": lambda circuit: circuit.data.__setitem__(1, circuit.data[1].replace(qubits=circuit.qubits[1::-1])),
    "definition": lambda circuit: circuit.data[3].operation.definition.ry(0.7, 1),
    "delete": lambda circuit: circuit.data.pop(),
    "clear": lambda circuit: circuit.clear(),
    "phase": lambda circuit: setattr(circuit, "global_phase", 0.5),
    "bits": lambda circuit: circuit.add_bits([QuantumCircuit(1).qubits[0]]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_circuit_is_compiled_again(name: str) -> None:
    cache, circuit, built = CircuitCache(), example(), []
    cache.get(circuit, "key", built.append)
    cache.get(circuit, "key", built.append)
    assert len(built) == 1
    CHANGES[name](circuit)
    cache.get(circuit, "key", built.append)
    assert len(built) == 2


@pytest.mark.parametrize("name", ["append", "matrix", "qubits", "definition", "delete"])
def test_the_estimator_gives_the_changed_circuits_value(name: str) -> None:
    circuit, observable = example(), SparsePauliOp(["ZIZIY", "IXXZZ"], [1.0, 0.5])
    estimator = FusedEstimator()
    before = float(estimator.run([(circuit, observable)]).result()[0].data.evs)
    CHANGES[name](circuit)
    after = float(estimator.run([(circuit, observable)]).result()[0].data.evs)
    assert after == pytest.approx(Statevector(circuit).expectation_value(observable).real, abs=1e-12)
    assert abs(after - before) > 1e-3


def test_parameters_bound_in_place() -> None:
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(1)
    circuit.rx(a, 0)
    circuit.rx(b, 0)
    estimator = FusedEstimator()
    assert estimator.run([(circuit, "Z", [0.1, 0.2])]).result()[0].data.evs == pytest.approx(np.cos(0.3))
    circuit.assign_parameters({a: 1.0}, inplace=True)
    assert estimator.run([(circuit, "Z", [0.2])]).result()[0].data.evs == pytest.approx(np.cos(1.2))


def test_equal_names_do_not_make_equal_circuits() -> None:
    estimator, values = FusedEstimator(), []
    for seed in (1, 2):  # differ inside one large matrix
        circuit = QuantumCircuit(5)
        circuit.unitary(random_unitary(32, seed=seed), range(5))
        values.append(float(estimator.run([(circuit, "ZIIII")]).result()[0].data.evs))
        assert values[-1] == pytest.approx(Statevector(circuit).expectation_value(SparsePauliOp("ZIIII")).real)
    assert values[0] != pytest.approx(values[1])


def test_circuits_are_forgotten_with_the_circuit() -> None:
    cache = CircuitCache()
    circuit = example()
    cache.get(circuit, "key", lambda snapshot: snapshot)
    assert len(cache) == 1
    del circuit
    gc.collect()
    assert len(cache) == 0


def test_a_new_circuit_at_an_old_address_is_a_new_circuit() -> None:
    cache = CircuitCache()
    for angle in range(50):
        circuit = QuantumCircuit(1)
        circuit.rx(angle, 0)
        assert cache.get(circuit, "key", lambda snapshot: snapshot.data[0].params[0]) == angle


def test_bounds() -> None:
    cache = CircuitCache(max_instructions=3 * CIRCUIT_INSTRUCTIONS)
    circuits = [QuantumCircuit(k + 1) for k in range(5)]
    built: list[int] = []
    for circuit in circuits:
        cache.get(circuit, "key", lambda snapshot: built.append(snapshot.num_qubits))
    assert len(cache) == 3
    cache.get(circuits[4], "key", lambda snapshot: built.append(0))
    assert built == [1, 2, 3, 4, 5]
    known = cache.known(circuits[4])
    for key in range(1000):
        known.get(key, lambda snapshot: built.append(9))
    for key in range(1000 - MAX_COMPILED // 2, 1000):
        known.get(key, lambda snapshot: built.append(8))
    assert 8 not in built[-1:] or built.count(8) < MAX_COMPILED // 2


@pytest.mark.parametrize("more", [1, 20])
def test_a_few_circuits_more_than_fit_are_mostly_found(more: int) -> None:
    cache, built = CircuitCache(max_instructions=100 * CIRCUIT_INSTRUCTIONS), []
    circuits = [QuantumCircuit(1) for _ in range(100 + more)]
    for _ in range(10):
        for circuit in circuits:
            cache.get(circuit, "key", built.append)
    assert len(cache) == 100
    assert len(built) < (1 + 9 * 0.5) * len(circuits)  # the least recently used going first, all of them every time


def test_threads_wait_for_one_build() -> None:
    cache, circuit, built, start = CircuitCache(), example(), [], threading.Barrier(8)

    def build(snapshot: QuantumCircuit) -> int:
        time.sleep(0.05)
        built.append(snapshot)
        return len(built)

    def work(_: int) -> int:
        start.wait()
        return cache.get(circuit, "key", build)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [1] * 8


def test_a_failed_build_is_not_remembered() -> None:
    cache, circuit = CircuitCache(), example()
    with pytest.raises(ZeroDivisionError):
        cache.get(circuit, "key", lambda snapshot: 1 // 0)
    assert cache.get(circuit, "key", lambda snapshot: 5) == 5


def test_observables_are_known_by_their_terms() -> None:
    same = [
        SparsePauliOp(["ZI", "XX"], [1.0, 2.0]),
        {"XX": 2.0, "ZI": 1.0},
        SparsePauliOp(["XX", "ZI", "XX"], [1, 1, 1]),
    ]
    assert len({canonical(each).key for each in same}) == 1
    others = ["ZI", "IZ", "ZII", SparsePauliOp("ZI", 2.0), SparsePauliOp("ZI", 2.0 + 1e-12)]
    assert len({canonical(each).key for each in others}) == len(others)
