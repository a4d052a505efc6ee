"""`FusedSampler` against exact distributions and against StatevectorSampler's contract."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Instruction, Parameter
from qiskit.circuit.library import real_amplitudes
from qiskit.primitives import BackendSamplerV2, BaseSamplerV2, StatevectorSampler
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import JobStatus
from qiskit.quantum_info import Statevector
from qiskit_machine_learning.circuit.library import raw_feature_vector
from support.branches import distribution
from support.counting import assert_drawn_from

from qiskit_fusedqml import FusedSampler, FusedSimulator
from qiskit_fusedqml.engine.passes import Passes
from qiskit_fusedqml.errors import InvalidInputError, UnsupportedInstructionError

RNG = np.random.default_rng(11)


def ansatz(num_qubits: int = 3) -> QuantumCircuit:
    circuit = real_amplitudes(num_qubits, reps=1)
    circuit.measure_all()
    return circuit


def probabilities(circuit: QuantumCircuit, values: Any = ()) -> dict[str, float]:
    bound = circuit.remove_final_measurements(inplace=False).assign_parameters(values)
    return Statevector(bound).probabilities_dict()


def test_bits_are_drawn_from_the_statevector() -> None:
    circuit = ansatz()
    rows = RNG.normal(size=(2, 3, circuit.num_parameters))
    data = FusedSampler(seed=1).run([(circuit, rows)], shots=20_000).result()[0].data
    assert data.shape == data.meas.shape == (2, 3)
    for index in np.ndindex(2, 3):
        assert_drawn_from(data.meas.get_counts(index), probabilities(circuit, rows[index]), 20_000)
    with pytest.raises(AssertionError):
        assert_drawn_from(data.meas.get_counts((0, 0)), probabilities(circuit, rows[0, 0] + 0.05), 20_000)


def wired() -> QuantumCircuit:
    """Registers of odd sizes, one of them never measured, bits out of order, a bit in two registers."""
    x, y, z = ClassicalRegister(1, "x"), ClassicalRegister(11, "y"), ClassicalRegister(2, "z")
    both = ClassicalRegister(bits=[y[10], x[0]], name="both")
    circuit = QuantumCircuit(QuantumRegister(4), x, y, z, both)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.x(3)
    circuit.measure([0, 1, 3], [y[10], x[0], y[3]])
    circuit.measure(3, y[2])
    return circuit


def test_registers_are_those_of_statevector_sampler() -> None:
    pub = SamplerPub.coerce((wired(), None, 500))
    ours = FusedSampler(seed=2).run([pub]).result()[0]
    theirs = StatevectorSampler(seed=2).run([pub]).result()[0]
    assert list(ours.data) == list(theirs.data)
    for name in theirs.data:
        assert ours.data[name].num_bits == theirs.data[name].num_bits
        assert ours.data[name].array.shape == theirs.data[name].array.shape
        assert ours.data[name].array.dtype == theirs.data[name].array.dtype
        assert set(ours.data[name].get_counts()) == set(theirs.data[name].get_counts())
    joined = {"00" + "0000000" + "1100" + "0", "00" + "1000000" + "1100" + "1"}
    assert set(ours.join_data(["x", "y", "z"]).get_counts()) == joined
    assert set(ours.data.both.get_counts()) == {"00", "11"}
    assert {name: ours.metadata[name] for name in ("shots", "circuit_metadata")} == theirs.metadata


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3,), (2, 2)])
def test_shapes(shape: tuple[int, ...]) -> None:
    circuit = ansatz(2)
    pub = (circuit, np.zeros((*shape, circuit.num_parameters)), 7)
    ours, theirs = (sampler.run([pub]).result()[0] for sampler in (FusedSampler(), StatevectorSampler()))
    assert ours.data.meas.array.shape == theirs.data.meas.array.shape == (*shape, 7, 1)
    assert ours.data.shape == shape
    np.testing.assert_array_equal(ours.data.meas.array, theirs.data.meas.array)


def test_bindings_by_name_and_pubs_of_every_form() -> None:
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2, 2)
    circuit.rx(np.pi * b, 0)
    circuit.rx(np.pi * a, 1)
    circuit.measure([0, 1], [0, 1])
    bound = circuit.assign_parameters([0, 1])
    pubs = [
        (circuit, {"a": 1, b: 0}),
        (circuit, [1, 0], 3),
        (circuit, {("b", "a"): [[0, 1], [1, 0]]}),
        bound,
        (bound,),
        (bound, None, 5),
    ]
    results = FusedSampler().run(pubs, shots=4).result()
    counts = [pub.data.c.get_counts() for pub in results]
    assert counts == [{"10": 4}, {"10": 3}, {"10": 4, "01": 4}, {"01": 4}, {"01": 4}, {"01": 5}]
    assert [pub.metadata["shots"] for pub in results] == [4, 3, 4, 4, 4, 5]
    assert results.metadata == {"version": 2}


def test_dynamic_circuits() -> None:
    circuit = QuantumCircuit(2, 3)
    circuit.ry(0.9, 0)
    circuit.measure(0, 0)
    with circuit.if_test((0, True)):
        circuit.h(1)
    circuit.reset(0)
    circuit.measure([0, 1], [1, 2])
    counts = FusedSampler(seed=1).run([circuit], shots=10_000).result()[0].data.c.get_int_counts()
    assert_drawn_from(counts, distribution(circuit), 10_000)


def test_seeds() -> None:
    circuit = ansatz()
    rows = RNG.normal(size=(3, circuit.num_parameters))

    def arrays(sampler: FusedSampler, *pubs: Any) -> list[Any]:
        return [result.data.meas.array for result in sampler.run(pubs).result()]

    first = arrays(FusedSampler(seed=5), (circuit, rows), (circuit, rows[1]))
    for one, other in zip(first, arrays(FusedSampler(seed=5), (circuit, rows), (circuit, rows[1])), strict=True):
        np.testing.assert_array_equal(one, other)
    # as with StatevectorSampler, a row's shots do not depend on the rows and pubs beside it
    np.testing.assert_array_equal(arrays(FusedSampler(seed=5), (circuit, rows[1]))[0], first[1])
    np.testing.assert_array_equal(first[0][1], first[1])
    assert (arrays(FusedSampler(seed=6), (circuit, rows))[0] != first[0]).any()
    generator = np.random.default_rng(5)
    used = arrays(FusedSampler(seed=generator), (circuit, rows[0]), (circuit, rows[0]))
    assert (used[0] != used[1]).any()
    for seed in (None, np.random.default_rng(5)):
        same = arrays(FusedSampler(seed=seed), (circuit, np.stack([rows[0], rows[0]])))[0]
        assert (same[0] != same[1]).any()
    again = arrays(FusedSampler(seed=np.random.default_rng(5)), (circuit, rows[0]), (circuit, rows[0]))
    np.testing.assert_array_equal(used, again)


def test_pubs_on_one_circuit_are_one_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = []
    original = Passes.run

    def run(passes: Any, values: Any, *args: Any, **kwargs: Any) -> Any:
        batches.append(np.shape(values))
        return original(passes, values, *args, **kwargs)

    monkeypatch.setattr(Passes, "run", run)
    circuit = ansatz()
    rows = RNG.normal(size=(4, circuit.num_parameters))
    pubs = [(circuit, rows), (circuit, rows[2]), (circuit, rows[[0, 0, 3]]), (circuit, rows[0], 99)]
    results = FusedSampler(seed=1).run(pubs, shots=5000).result()
    assert batches == [(4, 6), (1, 6)]
    for k, row in enumerate((0, 0, 3)):
        assert_drawn_from(results[2].data.meas.get_counts(k), probabilities(circuit, rows[row]), 5000)


def test_the_order_of_shots_is_random() -> None:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    circuit.measure_all()
    bits = FusedSampler(seed=4).run([circuit], shots=4000).result()[0].data.meas.array[:, 0]
    assert abs(int(bits[:2000].sum()) - int(bits[2000:].sum())) < 250
    assert 1800 < np.count_nonzero(np.diff(bits.astype(int))) < 2200


def test_many_outcomes_and_many_shots() -> None:
    circuit = QuantumCircuit(18)
    circuit.h(range(18))
    circuit.measure_all()
    array = FusedSampler(seed=1).run([circuit], shots=200_000).result()[0].data.meas
    assert array.array.shape == (200_000, 3)
    frequencies = array.slice_bits(range(4)).get_int_counts()
    assert_drawn_from(frequencies, dict.fromkeys(range(16), 1 / 16), 200_000)


def test_registers_that_are_empty_or_share_their_bits() -> None:
    inner = QuantumCircuit(QuantumRegister(2), ClassicalRegister(1, "a"))
    inner.x(0)
    inner.measure(0, 0)
    with inner.if_test((inner.cregs[0], 1)):
        inner.x(1)
    outer = QuantumCircuit(3, 4)
    outer.compose(inner, [2, 0], [3], inplace=True)
    outer.measure(0, 1)
    for sampler in (FusedSampler(), BackendSamplerV2(backend=FusedSimulator())):
        data = sampler.run([outer], shots=5).result()[0].data
        assert data.c.get_counts() == {"1010": 5}
        assert [data[name].get_counts() for name in data if name not in ("c", "none")] == [{"1": 5}]
    empty = QuantumCircuit(QuantumRegister(1), ClassicalRegister(0, "none"), ClassicalRegister(1, "one"))
    empty.x(0)
    empty.measure(0, 0)
    data = FusedSampler().run([empty], shots=5).result()[0].data
    assert data.none.array.shape == (5, 0)
    assert data.one.get_counts() == {"1": 5}


def test_circuits_without_registers_or_measurements() -> None:
    empty = QuantumCircuit(1)
    with pytest.warns(UserWarning, match="no classical registers"):
        assert len(FusedSampler().run([empty]).result()[0].data) == 0
    silent = QuantumCircuit(1, 2)
    silent.h(0)
    assert FusedSampler().run([silent], shots=3).result()[0].data.c.get_counts() == {"00": 3}


@pytest.mark.parametrize(
    "pub",
    [
        (ansatz(),),
        (ansatz(), np.zeros((2, 5))),
        (ansatz(), np.zeros(6), -1),
        (ansatz(), np.zeros(6), 0),
        (ansatz(), np.zeros(6), 1.5),
        (ansatz(), np.zeros(6), 10, 10),
        (QuantumCircuit(1, 1), [[1.0]]),
        "circuit",
    ],
)
def test_malformed_pubs_raise_what_statevector_sampler_raises(pub: Any) -> None:
    with pytest.raises((ValueError, TypeError)) as theirs:
        StatevectorSampler().run([pub]).result()
    with pytest.raises(theirs.type) as ours:
        FusedSampler().run([pub]).result()
    assert str(ours.value) == str(theirs.value)


def test_values_that_are_not_finite_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"has the value nan in row \(1,\)"):
        FusedSampler().run([(ansatz(2), [[0.0] * 4, [0.0, np.nan, 0.0, 0.0]])])


@pytest.mark.parametrize("shots", [0, -1, 1.5, True, None])
def test_default_shots_must_be_a_number_of_shots(shots: Any) -> None:
    with pytest.raises(InvalidInputError, match="default_shots"):
        FusedSampler(default_shots=shots)


def test_options_are_live_checked_and_copied() -> None:
    circuit = ansatz(2).assign_parameters([0.1] * 4)
    sampler = FusedSampler(default_shots=10, seed=3)
    assert isinstance(sampler, BaseSamplerV2)
    assert (sampler.default_shots, sampler.seed) == (10, 3)
    sampler.options.update_options(default_shots=20)
    for other in (sampler, copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        assert other.run([circuit]).result()[0].data.meas.num_shots == 20
    sampler.options.update_options(color=1)
    with pytest.raises(InvalidInputError, match="color"):
        sampler.run([circuit])


def test_an_unsupported_circuit_is_an_error_of_the_job() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    circuit.append(QuantumCircuit(1, name="good").to_instruction(), [0])
    circuit.append(Instruction("strange", 1, 0, []), [0])
    job = FusedSampler().run([circuit])
    assert job.status() == JobStatus.ERROR
    with pytest.raises(UnsupportedInstructionError, match="'strange'"):
        job.result()


def test_backend_sampler_on_our_backend_agrees() -> None:
    pub = (wired(), None, 300)
    ours = FusedSampler(seed=1).run([pub]).result()[0].data
    through = (
        BackendSamplerV2(backend=FusedSimulator(seed_simulator=1)).run([(wired_apart(), None, 300)]).result()[0].data
    )
    for name in ("x", "y", "z"):
        assert set(ours[name].get_counts()) == set(through[name].get_counts())


def wired_apart() -> QuantumCircuit:
    """The same without the register whose bits are in others, too, which results cannot tell apart."""
    circuit = wired()
    apart = QuantumCircuit(*circuit.qregs, *circuit.cregs[:3])
    return apart.compose(circuit.copy_empty_like().compose(circuit), clbits=apart.clbits)


@pytest.mark.parametrize("nested", [False, True])
def test_amplitudes_that_are_parameters(nested: bool) -> None:
    """Each parameter set is a circuit of its own: no angle says what the amplitudes are."""
    features = raw_feature_vector(4)
    angle = Parameter("z")
    circuit = QuantumCircuit(2)
    circuit.append(features.to_instruction(), [0, 1]) if nested else circuit.compose(features, inplace=True)
    circuit.ry(angle, 0)
    circuit.measure_all()
    rng = np.random.default_rng(3)
    points = np.abs(rng.normal(size=(2, 3, 5)))
    result = (
        FusedSampler(seed=7).run([(circuit, points), circuit.assign_parameters(points[0, 0])], shots=20_000).result()
    )
    for place in np.ndindex(2, 3):
        state = Statevector(points[place][:4] / np.linalg.norm(points[place][:4]))
        rotation = QuantumCircuit(2)
        rotation.ry(points[place][4], 0)
        counts = result[0].data.meas[place].get_counts()
        found = [counts.get(f"{outcome:02b}", 0) / 20_000 for outcome in range(4)]
        np.testing.assert_allclose(found, state.evolve(rotation).probabilities(), atol=0.02)
    assert result[0].data.meas[0, 0].get_counts() == result[1].data.meas.get_counts()
    binds = {parameter: points[0, :, k].tolist() for k, parameter in enumerate(circuit.parameters)}
    job = FusedSimulator().run(circuit, parameter_binds=[binds], shots=20_000, seed_simulator=1)
    for k in range(3):
        counts = job.result().get_counts(k)
        exact = result[0].data.meas[0, k].get_counts()
        assert all(abs(counts.get(key, 0) - exact.get(key, 0)) < 900 for key in {*counts, *exact})
