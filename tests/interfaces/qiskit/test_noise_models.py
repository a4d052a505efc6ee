"""Noise models: what is read of qiskit-aer's, by Aer's own rules, and what is said of bad ones."""

from __future__ import annotations

import gc
import json
import pickle
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction, Delay, Instruction, Parameter
from qiskit.circuit.library import CXGate, Measure, Reset, UnitaryGate, XGate
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Kraus, SuperOp
from support.channels import of_paulis, random_channel, transfer

from qiskit_fusedqml.errors import InvalidInputError, UnsupportedInstructionError
from qiskit_fusedqml.interfaces.qiskit.noise import (
    Noise,
    ParametricNoiseModel,
    noise_model_from_backend,
    read_noise,
)
from qiskit_fusedqml.ir.channel_table import CHANNELS
from qiskit_fusedqml.ir.channels import embedded

aer: Any = pytest.importorskip("qiskit_aer.noise")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FLIP = aer.pauli_error([("X", 0.25), ("I", 0.75)])
OTHER = aer.pauli_error([("Z", 0.4), ("I", 0.6)])
BOTH = aer.pauli_error([("XX", 0.5), ("II", 0.5)])


def whole(noise: Noise, operation: Instruction, qubits: tuple[int, ...]) -> NDArray[np.float64]:
    """All channels of an operation as one matrix on its qubits."""
    circuit = QuantumCircuit(max(qubits) + 1, operation.num_clbits)
    circuit.append(operation, qubits, range(operation.num_clbits))
    matrix = np.eye(4 ** len(qubits))
    for own, channel in noise.of(circuit.data[0], qubits):
        assert channel.matrix is not None
        matrix = embedded(channel.matrix, [qubits.index(q) for q in own], len(qubits)) @ matrix
    return matrix


ERRORS: dict[str, Callable[[], Any]] = {
    "pauli": lambda: aer.pauli_error([("XY", 0.1), ("ZI", 0.2), ("II", 0.7)]),
    "depolarizing": lambda: aer.depolarizing_error(0.07, 2),
    "relaxation by mixtures": lambda: aer.thermal_relaxation_error(50, 40, 7, 0.1),
    "relaxation by Kraus operators": lambda: aer.thermal_relaxation_error(50, 80, 7, 0.1),
    "damping": lambda: aer.phase_amplitude_damping_error(0.1, 0.2, 0.3),
    "reset": lambda: aer.reset_error(0.1, 0.2),
    "coherent": lambda: aer.coherent_unitary_error(UnitaryGate(np.array([[1, 1j], [1j, 1]]) / np.sqrt(2))),
    "mixed unitaries": lambda: aer.mixed_unitary_error([(np.eye(4), 0.7), (np.fliplr(np.eye(4)), 0.3)]),
    "Kraus": lambda: aer.kraus_error(random_channel(np.random.default_rng(1), 2)),
    "composed": lambda: aer.depolarizing_error(0.1, 2).compose(
        aer.thermal_relaxation_error(50, 40, 7).tensor(aer.amplitude_damping_error(0.2))
    ),
    "three qubits": lambda: aer.depolarizing_error(0.1, 1).tensor(aer.depolarizing_error(0.2, 2)),
    "circuits of standard gates": lambda: aer.QuantumError([(_circuit(), 0.3), (QuantumCircuit(2), 0.7)]),
    "Pauli": lambda: aer.PauliError(["XY", "II"], [0.1, 0.9]),
    "Pauli-Lindblad": lambda: aer.PauliLindbladError(["XII", "IZZ", "YXI", "IIZ", "ZZZ"], [0.1, 0.05, 0.2, 0.01, 0.3]),
}


def _circuit() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(1)
    circuit.cx(1, 0)
    circuit.rz(0.3, 0)
    circuit.reset(1)
    return circuit


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize(
    "given", [lambda m: m, lambda m: m.to_dict(), lambda m: m.to_dict(serializable=True)], ids=range(3)
)
def test_errors_are_read_as_quantum_info_has_them(kind: str, given: Callable[[Any], Any]) -> None:
    error = ERRORS[kind]()
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(error, ["gate"])
    gate = Instruction("gate", error.num_qubits, 0, [])
    found = whole(read_noise(given(model)), gate, tuple(range(error.num_qubits)))
    np.testing.assert_allclose(found, transfer(SuperOp(error)), atol=1e-14)


def test_dictionaries_are_read_after_json() -> None:
    model = aer.NoiseModel()
    model.add_quantum_error(aer.amplitude_damping_error(0.2), "x", [1])
    model.add_readout_error([[0.9, 0.1], [0.3, 0.7]], [1])
    noise = read_noise(json.loads(json.dumps(model.to_dict(serializable=True))))
    found = whole(noise, XGate(), (1,))
    np.testing.assert_allclose(found, CHANNELS["amplitude_damping"].transfer(np.float64(0.2)), atol=1e-14)
    np.testing.assert_array_equal(noise.readout[1,], [[0.9, 0.1], [0.3, 0.7]])


# Look-up


def _model(*rules: tuple[Any, Any, Any]) -> Noise:
    model = aer.NoiseModel()
    for error, names, qubits in rules:
        if qubits is None:
            model.add_all_qubit_quantum_error(error, names, warnings=False)
        else:
            model.add_quantum_error(error, names, qubits, warnings=False)
    return read_noise(model)


FLIPPED, PHASED, JOINT = (transfer(SuperOp(error)) for error in (FLIP, OTHER, BOTH))
BOTH_FLIPPED = np.kron(FLIPPED, FLIPPED)
I1, I2 = np.eye(4), np.eye(16)


@pytest.mark.parametrize(
    ("rules", "operation", "qubits", "expected"),
    [
        ([(FLIP, "x", None)], XGate(), (3,), FLIPPED),
        ([(FLIP, "x", None)], XGate(label="own"), (3,), I1),
        ([(FLIP, ["own"], None)], XGate(label="own"), (3,), FLIPPED),
        ([(FLIP, "x", None), (OTHER, ["own"], None)], XGate(label="own"), (3,), PHASED),
        ([(FLIP, "unitary", None)], UnitaryGate(np.eye(2)), (0,), FLIPPED),
        ([(FLIP, ["own"], None)], UnitaryGate(np.eye(2), label="own"), (0,), FLIPPED),
        # a label is that of a gate
        ([(FLIP, "reset", None), (OTHER, ["own"], None)], Reset(), (0,), FLIPPED),
        # exact qubits replace the default
        ([(FLIP, "x", None), (OTHER, "x", [1])], XGate(), (1,), PHASED),
        ([(FLIP, "x", None), (OTHER, "x", [1])], XGate(), (0,), FLIPPED),
        ([(BOTH, "cx", [0, 1])], CXGate(), (1, 0), I2),
        # several on one key
        ([(FLIP, "x", [1]), (aer.amplitude_damping_error(0.3), "x", [1])], XGate(), (1,), None),
        # measurements and resets on many qubits
        ([(FLIP, "reset", None)], Instruction("reset", 2, 0, []), (0, 1), BOTH_FLIPPED),
        ([(FLIP, "reset", [1])], Instruction("reset", 2, 0, []), (0, 1), np.kron(FLIPPED, I1)),
        ([(FLIP, "reset", None), (BOTH, "reset", [0, 1])], Instruction("reset", 2, 0, []), (0, 1), JOINT),
        (
            [(FLIP, "reset", None), (BOTH, "reset", [0, 1])],
            Instruction("reset", 2, 0, []),
            (1, 0),
            BOTH_FLIPPED,
        ),
        ([(FLIP, "measure", None)], Instruction("measure", 2, 2, []), (0, 1), BOTH_FLIPPED),
        ([(BOTH, "measure", [0, 1])], Instruction("measure", 2, 2, []), (0, 1), JOINT),
        # no noise
        *[([(FLIP, name, None)], Instruction(name, 1, 0, []), (0,), I1) for name in ("barrier", "kraus", "superop")],
        # an error narrower than its gate is one of the first qubits
        ([(FLIP, ["own"], None)], CXGate(label="own"), (1, 0), np.kron(I1, FLIPPED)),
    ],
)
def test_errors_are_found_as_aer_finds_them(
    rules: list[Any], operation: Instruction, qubits: tuple[int, ...], expected: NDArray[np.float64] | None
) -> None:
    if expected is None:
        expected = transfer(SuperOp(aer.amplitude_damping_error(0.3))) @ FLIPPED
    np.testing.assert_allclose(whole(_model(*rules), operation, qubits), expected, atol=1e-14)


def test_readout_errors_are_found_as_aer_finds_them() -> None:
    model = aer.NoiseModel()
    default, own, both = [[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.4, 0.6]], np.roll(np.eye(4), 1, axis=0)
    model.add_all_qubit_readout_error(default)
    model.add_readout_error(own, [1], warnings=False)
    model.add_readout_error(both, [0, 2], warnings=False)
    noise = read_noise(model)
    assert not noise.has_errors
    expected = [((0,), 0, default), ((1,), 0, own), ((0, 1), 0, default), ((0, 1), 1, own), ((2, 0), 1, default)]
    for qubits, place, matrix in expected:
        found = dict(noise.misreadings(qubits))
        np.testing.assert_array_equal(found[place,], matrix)
    ((places, joint),) = noise.misreadings((0, 2))
    assert places == (0, 1)
    np.testing.assert_array_equal(joint, both)


# The reading is kept


def test_the_reading_is_kept_until_the_model_changes() -> None:
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(FLIP, "x")
    first = read_noise(model)
    assert read_noise(model) is first
    assert read_noise(first) is first
    changes: list[Callable[[], Any]] = [
        lambda: model.add_all_qubit_quantum_error(OTHER, "x", warnings=False),
        lambda: model.add_quantum_error(OTHER, "x", [0], warnings=False),
        lambda: model.add_quantum_error(FLIP, "x", [0], warnings=False),
        lambda: model.add_all_qubit_readout_error([[0.9, 0.1], [0.1, 0.9]]),
        lambda: model.add_readout_error([[0.9, 0.1], [0.1, 0.9]], [0], warnings=False),
        lambda: model.add_readout_error([[0.8, 0.2], [0.1, 0.9]], [0], warnings=False),
        lambda: model._custom_noise_passes.append(aer.RelaxationNoisePass([1.0], [1.0], op_types=Delay)),
    ]
    seen = [first]
    for change in changes:
        change()
        seen.append(read_noise(model))
        assert read_noise(model) is seen[-1]
    assert len({*map(id, seen)}) == len(seen)
    np.testing.assert_allclose(whole(seen[1], XGate(), (0,)), PHASED @ FLIPPED, atol=1e-14)
    np.testing.assert_allclose(whole(seen[3], XGate(), (0,)), FLIPPED @ PHASED, atol=1e-14)


def test_a_parametric_model_that_changes_is_read_anew() -> None:
    model = ParametricNoiseModel()
    first = read_noise(model)
    model.add_error("bit_flip", 0.1, "x")
    assert read_noise(model) is not first
    assert read_noise(model) is read_noise(model)


def test_models_that_are_gone_are_forgotten() -> None:
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(FLIP, "x")
    noise = weakref.ref(read_noise(model))
    del model
    gc.collect()
    assert noise() is None


def test_large_models_are_read_where_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = aer.NoiseModel.from_backend(GenericBackendV2(6, seed=1))
    asked: list[int] = []
    original = aer.QuantumError.to_dict
    monkeypatch.setattr(aer.QuantumError, "to_dict", lambda self: asked.append(1) or original(self))
    noise = read_noise(model)
    assert not asked
    whole(noise, CXGate(), (2, 3))
    whole(noise, CXGate(), (2, 3))
    assert len(asked) == 1


def test_qiskit_aer_is_not_needed() -> None:
    code = (
        "import sys\n"
        "sys.modules['qiskit_aer'] = None\n"
        "from qiskit_fusedqml.interfaces.qiskit.noise import *\n"
        "from qiskit.providers.fake_provider import GenericBackendV2\n"
        "read_noise(noise_model_from_backend(GenericBackendV2(2, seed=1)))\n"
        "read_noise({'errors': []})\n"
        "print('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "done"


# Bad models


def _qerror(instructions: Any, probabilities: Any = (1.0,), **fields: Any) -> dict[str, Any]:
    error = {"type": "qerror", "operations": ["x"], "instructions": instructions, "probabilities": probabilities}
    return {"errors": [error | fields]}


BAD: list[tuple[Any, type[Exception], str]] = [
    (3, InvalidInputError, "noise_model is 3; a NoiseModel of qiskit-aer, its to_dict"),
    ({}, InvalidInputError, "a dictionary with a list of 'errors' is expected"),
    ({"errors": [3]}, InvalidInputError, "a list of 'errors'"),
    ({"errors": [{"type": "xerror"}]}, InvalidInputError, "type 'xerror'; qerror, plerror and roerror are known"),
    (_qerror([[{"name": "foo", "qubits": [0]}]]), UnsupportedInstructionError, "the instruction 'foo', not known"),
    (_qerror([[{"name": "x", "qubits": [0]}]], [0.9]), InvalidInputError, "no channel: it does not preserve the trace"),
    (_qerror([[], []], [1.5, -0.5]), InvalidInputError, "probabilities .*numbers from 0 on"),
    (_qerror([[]], [0.5, 0.5]), InvalidInputError, "1 circuits with the probabilities"),
    (_qerror([[{"name": "x"}]]), InvalidInputError, "cannot be read: KeyError"),
    (
        _qerror([[{"name": "kraus", "qubits": [0], "params": [np.diag([1, 0.5])]}]]),
        InvalidInputError,
        r"does not preserve the trace \(off by 0.375\)",
    ),
    (
        _qerror([[{"name": "kraus", "qubits": [0], "params": [np.eye(3)]}]]),
        InvalidInputError,
        r"kraus instruction have the shapes \(3, 3\)",
    ),
    (
        _qerror([[{"name": "superop", "qubits": [0], "params": [np.eye(4)[[0, 2, 1, 3]]]}]]),
        InvalidInputError,
        r"not completely positive \(Choi eigenvalue -1\)",
    ),
    (_qerror([[{"name": "x", "qubits": [3]}]]), UnsupportedInstructionError, "acts on 4 qubits at once; at most 3"),
    (
        _qerror([[{"name": "pauli", "qubits": [0, 1], "params": ["XX"]}]]),
        InvalidInputError,
        "of 2 qubits for 'x'",
    ),
    (
        _qerror([[{"name": "pauli", "qubits": [0], "params": ["X"]}]], type="plerror", rates=[-0.1]),
        InvalidInputError,
        "the rate -0.1; rates from 0 on",
    ),
    (
        {"errors": [{"type": "roerror", "probabilities": [[1.0]]}]},
        InvalidInputError,
        r"has the shape \(1, 1\)",
    ),
    ({"errors": [{"type": "roerror", "probabilities": [[1.0, 0.1], [0, 1]]}]}, InvalidInputError, "the sum 1"),
    (
        {"errors": [{"type": "roerror", "probabilities": "x", "gate_qubits": [[1]]}]},
        InvalidInputError,
        r"qubits \(1,\) is",
    ),
]


@pytest.mark.parametrize(("model", "kind", "message"), BAD, ids=range(len(BAD)))
def test_bad_models_are_refused(model: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        whole(read_noise(model), XGate(), (0,))


def test_delays_without_a_duration_are_refused() -> None:
    model = ParametricNoiseModel()
    model.add_delay_relaxation([1e-4], [1e-4])
    noise = read_noise(model)
    with pytest.raises(InvalidInputError, match="does not know how long a dt is"):
        whole(noise, Delay(10, "dt"), (0,))
    with pytest.raises(InvalidInputError, match="it lasts t, which has no value"):
        whole(noise, Delay(Parameter("t"), "s"), (0,))


# Models of one's own


def test_parametric_models_hold_constant_and_free_channels() -> None:
    p, q = Parameter("p"), Parameter("q")
    model = ParametricNoiseModel()
    model.add_error("depolarizing", q, ["rx", "ry"])
    model.add_error("pauli", [p / 2, 0.0, p], "rx", [1])
    model.add_error("bit_flip", 0.25, "cx")
    model.add_error("phase_flip", 0.1, "cx", places=[1])
    model.add_error(BOTH, (), "cz", places=[1, 0])
    model.add_error(Kraus([np.sqrt(0.75) * np.eye(2), np.sqrt(0.25) * np.array([[0, 1], [1, 0]])]), (), "x")
    model.add_error([np.sqrt(0.75) * np.eye(2), np.sqrt(0.25) * np.array([[0, 1], [1, 0]])], (), "y")
    noise = read_noise(model)
    assert noise.parameters == (q, p)
    assert repr(model) == "<ParametricNoiseModel: noise of cx, cz, rx, ry, x, y; parameters q, p>"
    circuit = QuantumCircuit(2)
    circuit.rx(0.1, 0)
    circuit.rx(0.1, 1)
    ((_, default),), ((own, exact),) = (noise.of(circuit.data[k], (k,)) for k in range(2))
    assert (default.family, default.parameters) == (CHANNELS["depolarizing"], (q,))
    assert (own, exact.family, exact.parameters) == ((1,), CHANNELS["pauli"], (p / 2, 0.0, p))
    z = of_paulis({"I": 0.9, "Z": 0.1})
    np.testing.assert_allclose(whole(noise, CXGate(), (4, 2)), np.kron(z @ FLIPPED, FLIPPED), atol=1e-14)
    for gate in ("x", "y"):
        np.testing.assert_allclose(whole(noise, Instruction(gate, 1, 0, []), (0,)), FLIPPED, atol=1e-14)


def test_models_are_pickled_for_other_processes() -> None:
    model = ParametricNoiseModel()
    model.add_error("depolarizing", Parameter("p"), "rx")
    model.add_error("bit_flip", 0.25, "x")
    copied = pickle.loads(pickle.dumps(model))
    assert repr(copied) == repr(model)
    np.testing.assert_array_equal(whole(read_noise(copied), XGate(), (0,)), whole(read_noise(model), XGate(), (0,)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("depolarising", 0.1, "x"), "'depolarising' is not known; bit_flip"),
        (("bit_flip", 1.5, "x"), "p of bit_flip is 1.5; 0 to 1 is allowed"),
        (("bit_flip", "a", "x"), "numbers are expected"),
        (("reset_error", 0.1, "x"), "has the parameters p0, p1, got"),
        (("bit_flip", 0.1, ()), "names of operations"),
        (("bit_flip", 0.1, [3]), "names of operations"),
        (([np.eye(2) / 2], (), "x"), "no channel: it does not preserve the trace"),
        (([np.eye(2)], 0.1, "x"), "a channel that is given by its operators has none"),
        ((object(), (), "x"), "is no channel"),
    ],
)
def test_bad_rules_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ParametricNoiseModel().add_error(*arguments)


@pytest.mark.parametrize("as_dict", [False, True])
def test_errors_of_several_qubits_act_on_their_places(as_dict: bool) -> None:
    """Also those that are products of channels of one qubit, or do something to one of their qubits only."""
    flip = QuantumCircuit(2)
    flip.z(1)
    one_of_two = aer.QuantumError([(flip, 0.3), (QuantumCircuit(2), 0.7)])
    for error in (aer.PauliLindbladError(["IZ", "ZI"], [0.3, 0.1]), one_of_two):
        for places, qubits in ((None, [0, 1]), ([1, 0], [1, 0])):
            model = ParametricNoiseModel()
            model.add_error(error.to_dict() if as_dict else error, (), "cx", places=places)
            expected = transfer(SuperOp(np.eye(16)).compose(SuperOp(error), qubits))
            np.testing.assert_allclose(whole(read_noise(model), CXGate(), (0, 1)), expected, atol=1e-12)
        with pytest.raises(InvalidInputError, match=r"places is \[0\]; positions of 2"):
            ParametricNoiseModel().add_error(error, (), "cx", places=[0])


@pytest.mark.parametrize(
    ("qubits", "message"),
    [
        ([-1], "One of qubits is -1; an integer >= 0 is expected"),
        ([0.5], "One of qubits is 0.5"),
        ([1, 1], "each may be named once"),
        (3, "qubits is 3; a sequence of numbers"),
    ],
)
def test_bad_qubits_are_refused(qubits: Any, message: str) -> None:
    model = ParametricNoiseModel()
    with pytest.raises(InvalidInputError, match=message):
        model.add_error("depolarizing", 0.1, "cx", qubits)
    with pytest.raises(InvalidInputError, match=message):
        model.add_readout_error(np.eye(2), qubits)
    assert not model.rules


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [5.0]), "t2 of thermal_relaxation is 5 t1; at most 2 t1"),
        (([1.0], [np.inf]), "t2 of thermal_relaxation is inf t1"),
        (([-1.0], [1.0]), "t1 of thermal_relaxation is -1"),
        (([1.0], [1.0], 1.0, [3.0]), "excited of thermal_relaxation is 3"),
        (([1.0], [1.0], -1.0), "dt is -1.0; a number of seconds"),
    ],
)
def test_bad_relaxation_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ParametricNoiseModel().add_delay_relaxation(*arguments)


def test_qubits_that_never_relax() -> None:
    model = ParametricNoiseModel()
    model.add_delay_relaxation([np.inf], [np.inf])
    np.testing.assert_allclose(whole(read_noise(model), Delay(1, "s"), (0,)), np.eye(4), atol=1e-15)


def test_places_and_times_are_checked() -> None:
    with pytest.raises(InvalidInputError, match=r"places is \[0, 0\]"):
        ParametricNoiseModel().add_error("depolarizing2", 0.1, "cx", places=[0, 0])
    with pytest.raises(InvalidInputError, match="one number a qubit"):
        ParametricNoiseModel().add_delay_relaxation([1.0, 2.0], [1.0])


# Backends


@pytest.mark.parametrize("temperature", [0, 40])
@pytest.mark.parametrize("parts", [{}, {"gate_error": False}, {"thermal_relaxation": False}, {"readout_error": False}])
def test_noise_of_a_backend_is_what_aer_makes_of_it(temperature: float, parts: dict[str, bool]) -> None:
    backend = GenericBackendV2(3, seed=5)
    for qubit, properties in enumerate(backend.target.qubit_properties):
        properties.t2 = (0.4, 1.3, 2.5)[qubit] * properties.t1  # by mixtures, by Kraus operators, and truncated
    stock = read_noise(aer.NoiseModel.from_backend(backend, temperature=temperature, **parts))
    own = read_noise(noise_model_from_backend(backend, temperature=temperature, **parts))
    keys = {(name, qubits) for name, errors in stock.errors.items() for qubits in errors}
    assert keys == {(name, qubits) for name, errors in own.errors.items() for qubits in errors}
    for name, qubits in keys:
        assert qubits is not None
        instruction = Instruction(name, len(qubits), 0, [])
        np.testing.assert_allclose(whole(own, instruction, qubits), whole(stock, instruction, qubits), atol=1e-12)
    assert stock.readout.keys() == own.readout.keys()
    for place, matrix in stock.readout.items():
        np.testing.assert_allclose(own.readout[place], matrix, atol=1e-15)
    assert (own.relaxation is None) == (stock.relaxation is None)
    if own.relaxation is not None:
        delay = Delay(3000, "dt")
        np.testing.assert_allclose(whole(own, delay, (1,)), whole(stock, delay, (1,)), atol=1e-13)
        delay = Delay(3, "us")
        expected = aer.thermal_relaxation_error(
            stock.relaxation.t1s[2], stock.relaxation.t2s[2], 3e-6, stock.relaxation.excited[2]
        )
        np.testing.assert_allclose(whole(own, delay, (2,)), transfer(SuperOp(expected)), atol=1e-13)


def test_what_is_no_backend() -> None:
    with pytest.raises(InvalidInputError, match="backend is 3; a BackendV2"):
        noise_model_from_backend(3)  # type: ignore[arg-type]


def test_the_example_of_a_measurement_with_a_label() -> None:
    noise = _model((FLIP, "measure", None))
    circuit = QuantumCircuit(1, 1)
    circuit.append(CircuitInstruction(Measure(label="own"), circuit.qubits, circuit.clbits))
    assert len(noise.of(circuit.data[0], (0,))) == 1
