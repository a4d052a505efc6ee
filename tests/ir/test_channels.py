"""Channels: families against their Kraus operators, derivatives against differences, and programs that hold them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.channels import all_labels, five_points, of_kraus, of_paulis, random_channel

from qiskit_fusedqml.errors import InvalidInputError, UnsupportedInstructionError
from qiskit_fusedqml.ir.channel_table import CHANNELS, powered
from qiskit_fusedqml.ir.channels import Channel, channel_problem, choi, transfer_of_kraus
from qiskit_fusedqml.ir.dynamic import Measure, Segment
from qiskit_fusedqml.ir.program import Instruction, Matrix, Program, Rotation, inverted, support, validate
from qiskit_fusedqml.ir.qubits import ActiveQubits, read_qubits
from qiskit_fusedqml.ir.slots import numbered, with_slots

Transfer = NDArray[np.float64]


def of_damping(gamma: float, lam: float, excited: float) -> Transfer:
    """Kraus operators of phase_amplitude_damping_error as its documentation lists them."""
    kept = np.sqrt(max(1 - gamma - lam, 0.0))
    down = [np.diag([1, kept]), [[0, np.sqrt(gamma)], [0, 0]], np.diag([0, np.sqrt(lam)])]
    up = [np.diag([kept, 1]), [[0, 0], [np.sqrt(gamma), 0]], np.diag([np.sqrt(lam), 0])]
    shares = [np.sqrt(1 - excited)] * 3 + [np.sqrt(excited)] * 3
    return of_kraus(*(share * np.asarray(each) for share, each in zip(shares, down + up, strict=True)))


def of_relaxation(t1: float, t2: float, time: float, excited: float) -> Transfer:
    """Amplitude damping, then what phase damping T2 asks for besides."""
    decay = 1 - np.exp(-time / t1)
    ratio = np.exp(-time / t2) / np.exp(-time / t1 / 2)
    return of_damping(0.0, 1 - ratio**2, 0.0) @ of_damping(decay, 0.0, excited)


def of_depolarizing(p: float, num_qubits: int) -> Transfer:
    share = p / 4**num_qubits
    return of_paulis({s: share if k else 1 - p + share for k, s in enumerate(all_labels(num_qubits))})


def of_reset(p0: float, p1: float) -> Transfer:
    zero, one = ([[1, 0], [0, 0]], [[0, 1], [0, 0]]), ([[0, 0], [1, 0]], [[0, 0], [0, 1]])
    return of_kraus(
        np.sqrt(1 - p0 - p1) * np.eye(2),
        *(np.sqrt(p0) * np.array(each) for each in zero),
        *(np.sqrt(p1) * np.array(each) for each in one),
    )


def of_errors(*shares: float) -> Transfer:
    labels = all_labels(1 if len(shares) == 3 else 2)
    return of_paulis(dict(zip(labels, (1 - sum(shares), *shares), strict=True)))


EXPECTED: dict[str, Callable[..., Transfer]] = {
    "bit_flip": lambda p: of_paulis({"I": 1 - p, "X": p}),
    "bit_phase_flip": lambda p: of_paulis({"I": 1 - p, "Y": p}),
    "phase_flip": lambda p: of_paulis({"I": 1 - p, "Z": p}),
    "pauli": of_errors,
    "pauli2": of_errors,
    "depolarizing": lambda p: of_depolarizing(p, 1),
    "depolarizing2": lambda p: of_depolarizing(p, 2),
    "reset_error": of_reset,
    "amplitude_damping": lambda gamma: of_damping(gamma, 0, 0),
    "phase_damping": lambda lam: of_damping(0, lam, 0),
    "generalized_amplitude_damping": lambda gamma, excited: of_damping(gamma, 0, excited),
    "phase_amplitude_damping": of_damping,
    "thermal_relaxation": of_relaxation,
}

INSIDE: dict[str, tuple[float, ...]] = {
    "pauli": (0.1, 0.02, 0.3),
    "pauli2": tuple(np.linspace(0.01, 0.1, 15)),
    "reset_error": (0.2, 0.07),
    "generalized_amplitude_damping": (0.3, 0.2),
    "phase_amplitude_damping": (0.3, 0.25, 0.1),
    "thermal_relaxation": (50.0, 70.0, 9.0, 0.15),
}
"""Parameters inside of a family's domain; 0.3 for those that have one."""

EDGES: dict[str, list[tuple[float, ...]]] = {
    "pauli": [(0, 0, 0), (1, 0, 0), (0.5, 0.25, 0.25)],
    "pauli2": [(0,) * 15, (1, *(0,) * 14), (1 / 16,) * 15],
    "depolarizing": [(0,), (1,), (4 / 3,)],
    "depolarizing2": [(0,), (1,), (16 / 15,)],
    "reset_error": [(0, 0), (1, 0), (0, 1), (0.5, 0.5)],
    "generalized_amplitude_damping": [(0, 0), (1, 0), (1, 1), (0, 1)],
    "phase_amplitude_damping": [(0, 0, 0), (1, 0, 1), (0, 1, 0.5), (0.5, 0.5, 0.3)],
    "thermal_relaxation": [(50, 100, 9, 0), (50, 10, 9, 1), (50, 50, 0, 0.5), (50, 50, 1e4, 0.2)],
}
"""Parameters at the edge of a domain; 0 and 1 for those that have one."""

BAD: list[tuple[str, tuple[float, ...], str]] = [
    ("bit_flip", (1.1,), "p of bit_flip is 1.1; 0 to 1 is allowed"),
    ("bit_flip", (float("nan"),), "p of bit_flip is nan"),
    ("depolarizing", (1.4,), "p of depolarizing is 1.4; 0 to 1.33333 is allowed"),
    ("depolarizing2", (-0.1,), "p of depolarizing2 is -0.1; 0 to 1.06667 is allowed"),
    ("pauli", (0.5, 0.4, 0.2), r"p_X \+ p_Y \+ p_Z of pauli is 1.1; at most 1 is allowed"),
    ("pauli", (0.5, -0.4, 0.2), "p_Y of pauli is -0.4"),
    ("reset_error", (0.7, 0.7), r"p0 \+ p1 of reset_error is 1.4"),
    ("phase_amplitude_damping", (0.7, 0.7, 0.0), r"gamma \+ lam of phase_amplitude_damping is 1.4"),
    ("generalized_amplitude_damping", (0.5, 2.0), "excited of generalized_amplitude_damping is 2"),
    ("thermal_relaxation", (0.0, 1.0, 1.0, 0.0), "t1 of thermal_relaxation is 0; a time above 0"),
    ("thermal_relaxation", (10.0, 25.0, 1.0, 0.0), "t2 of thermal_relaxation is 2.5 t1; at most 2 t1"),
    ("thermal_relaxation", (10.0, 5.0, -1.0, 0.0), "time of thermal_relaxation is -1"),
]


def test_every_family_has_a_case() -> None:
    assert set(EXPECTED) == set(CHANNELS)


@pytest.mark.parametrize("name", CHANNELS)
def test_transfer_matrices_are_those_of_kraus_operators(name: str) -> None:
    family = CHANNELS[name]
    inside = INSIDE.get(name, (0.3,))
    for values in (inside, *EDGES.get(name, [(0.0,), (1.0,)])):
        assert family.problem(*values) is None
        found = family.transfer(*map(np.float64, values))
        assert found.shape == (4**family.num_qubits,) * 2
        np.testing.assert_allclose(found, EXPECTED[name](*values), atol=1e-12)
        assert channel_problem(found, 1e-9) is None
    assert len(family.parameters) == len(inside)


@pytest.mark.parametrize("name", CHANNELS)
def test_derivatives_are_those_of_differences(name: str) -> None:
    family, values = CHANNELS[name], INSIDE.get(name, (0.3,))
    found = family.derivatives(*map(np.float64, values))
    for index in range(len(values)):
        expected = five_points(family.transfer, values, index, 1e-3 * max(1.0, values[index]))
        np.testing.assert_allclose(found[index], expected, atol=1e-11)


@pytest.mark.parametrize("name", CHANNELS)
def test_several_parameters_at_once(name: str) -> None:
    family = CHANNELS[name]
    first, second = INSIDE.get(name, (0.3,)), tuple(0.9 * value for value in INSIDE.get(name, (0.3,)))
    values = [np.array([[a, b]]) for a, b in zip(first, second, strict=True)]
    size = 4**family.num_qubits
    transfer, derivatives = family.transfer(*values), family.derivatives(*values)
    assert transfer.shape == (1, 2, size, size)
    assert derivatives.shape == (len(values), 1, 2, size, size)
    for k, each in enumerate((first, second)):
        np.testing.assert_array_equal(transfer[0, k], family.transfer(*map(np.float64, each)))
        np.testing.assert_array_equal(derivatives[:, 0, k], family.derivatives(*map(np.float64, each)))
    assert family.problem(*values) is None
    assert family.problem(*(np.append(value, -1.0) for value in values)) is not None


@pytest.mark.parametrize(("name", "values", "message"), BAD)
def test_parameters_outside_of_their_range_are_named(name: str, values: tuple[float, ...], message: str) -> None:
    problem = CHANNELS[name].problem(*values)
    assert problem is not None
    assert re.match(message, problem)


@pytest.mark.parametrize("num_qubits", [1, 2, 3])
def test_kraus_operators_as_transfer_matrices(num_qubits: int) -> None:
    operators = random_channel(np.random.default_rng(num_qubits), num_qubits)
    matrix = transfer_of_kraus(operators)
    np.testing.assert_allclose(matrix, of_kraus(*operators), atol=1e-12)
    assert abs(np.trace(choi(matrix)) - 2**num_qubits) < 1e-12
    assert channel_problem(matrix) is None


def test_what_is_no_channel_is_said_with_its_amount() -> None:
    assert channel_problem(transfer_of_kraus([0.9 * np.eye(2)])) == "it does not preserve the trace (off by 0.19)"
    transposition = np.diag([1.0, 1.0, -1.0, 1.0])
    assert channel_problem(transposition) == "it is not completely positive (Choi eigenvalue -1)"
    assert channel_problem(np.full((4, 4), np.nan)) == "its transfer matrix is not finite"


# Powers


def noise(num_qubits: int) -> Transfer:
    one = of_relaxation(50, 70, 9, 0.1) @ of_depolarizing(0.02, 1)
    if num_qubits == 1:
        return one
    return np.kron(of_relaxation(40, 30, 9, 0.0), one) @ of_depolarizing(0.03, 2)


@pytest.mark.parametrize("matrix", [noise(1), noise(2), of_paulis({"I": 0.7, "X": 0.1, "Y": 0.1, "Z": 0.1})])
def test_powers_of_a_channel(matrix: Transfer) -> None:
    family = powered(matrix)
    for scale in (0, 1, 2, 3):
        np.testing.assert_allclose(
            family.transfer(np.float64(scale)), np.linalg.matrix_power(matrix, scale), atol=1e-12
        )
    half = family.transfer(np.float64(0.5))
    np.testing.assert_allclose(half @ half, matrix, atol=1e-12)
    assert family.problem(0.5) is None
    many = family.transfer(np.array([0.5, 1.7]))
    np.testing.assert_allclose(many[0], half, atol=1e-14)
    (found,) = family.derivatives(np.float64(1.7))
    np.testing.assert_allclose(found, five_points(family.transfer, [1.7], 0, 1e-3), atol=1e-11)


@pytest.mark.parametrize(
    ("matrix", "scale", "message"),
    [
        (noise(1), -0.5, "the scale of noise is -0.5"),
        (noise(1), np.inf, "the scale of noise is inf"),
        (of_reset(1, 0), 2.0, "no real logarithm"),
        (of_depolarizing(1, 1), 2.0, "no real logarithm"),
        (of_paulis({"X": 1.0}), 0.5, "no real logarithm"),
        (of_errors(0.2, 0.2, 0.0), 0.5, r"noise to the power 0.5 is no channel: it is not completely positive"),
    ],
)
def test_powers_that_are_none_are_refused(matrix: Transfer, scale: float, message: str) -> None:
    problem = powered(matrix).problem(scale)
    assert problem is not None
    assert re.search(message, problem)


# Programs


def noisy() -> Program:
    return Program(
        4,
        4,
        (
            Rotation(0b1, 0b0, slot=1),
            Channel((0,), family=CHANNELS["depolarizing"], slots=(0,), constants=(0.0,)),
            Matrix((1, 2), np.eye(4, dtype=complex)),
            Channel((2, 0), transfer_of_kraus(random_channel(np.random.default_rng(2), 2))),
            Channel((1,), family=CHANNELS["reset_error"], slots=(-1, 2), constants=(0.25, 0.0)),
            Channel((3, 1), family=powered(noise(2)), slots=(3,), constants=(0.0,)),
            Channel((2,), family=CHANNELS["bit_flip"], slots=(-1,), constants=(0.1,)),
        ),
    )


def channel(number: int) -> Channel:
    found = noisy().instructions[number]
    assert isinstance(found, Channel)
    return found


def test_a_noisy_program_is_valid_and_says_what_it_is() -> None:
    program = noisy()
    validate(program)
    assert program.is_noisy
    assert not replace(program, instructions=program.instructions[:1]).is_noisy
    assert [support(each) for each in program.instructions] == [1, 1, 6, 5, 2, 10, 4]
    with pytest.raises(UnsupportedInstructionError, match=r"has 5 channel\(s\) and so mixed states; a QFI needs pure"):
        program.check_pure("a QFI")
    with pytest.raises(UnsupportedInstructionError, match=r"channel on qubits \(2, 0\) has no inverse"):
        inverted(program.instructions[3])


def test_parameters_of_channels_come_from_the_angles() -> None:
    angles = np.arange(8.0).reshape(2, 4)
    constant, free = channel(4).parameters(angles)
    np.testing.assert_array_equal(constant, [0.25, 0.25])
    np.testing.assert_array_equal(free, [2.0, 6.0])


def test_slots_of_channels_are_numbered_with_those_of_rotations() -> None:
    instructions, slots = numbered(noisy().instructions[4:6])
    assert slots == (2, 3)
    assert [each.slots for each in instructions if isinstance(each, Channel)] == [(-1, 0), (1,)]
    moved = with_slots(channel(4), lambda slot: slot + 10)
    assert isinstance(moved, Channel)
    assert moved.slots == (-1, 12)


def test_structures_tell_channels_apart() -> None:
    program = noisy()
    assert program.structure() == noisy().structure()
    changed: list[tuple[int, dict[str, Any]]] = [
        (1, {"family": CHANNELS["bit_flip"]}),
        (1, {"slots": (1,)}),
        (3, {"qubits": (0, 2)}),
        (3, {"matrix": np.eye(16)}),
        (4, {"constants": (0.3, 0.0)}),
        (5, {"family": powered(np.eye(16))}),
    ]
    for position, change in changed:
        instructions = list(program.instructions)
        instructions[position] = replace(channel(position), **change)
        assert replace(program, instructions=tuple(instructions)).structure() != program.structure()


def test_round_trip_of_channels(tmp_path: Path) -> None:
    noisy().save(tmp_path / "noisy.npz")
    assert Program.load(tmp_path / "noisy.npz").structure() == noisy().structure()


def test_noisy_programs_are_pickled() -> None:
    copied: Program = pickle.loads(pickle.dumps(noisy()))
    assert copied.structure() == noisy().structure()
    family = copied.instructions[1].family  # type: ignore[union-attr]
    assert family is CHANNELS["depolarizing"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qubits": ()}, "0 qubits given, 1 to 3 allowed"),
        ({"qubits": (0, 1, 2, 3)}, "4 qubits given"),
        ({"qubits": (0, 0)}, "must be distinct"),
        ({"qubits": (0, 9)}, "below 4"),
        ({"matrix": None}, "either a matrix or a family"),
        ({"family": CHANNELS["pauli2"]}, "either a matrix or a family"),
        ({"matrix": np.eye(4)}, r"shape \(4, 4\) of float64, \(16, 16\) of float64 expected"),
        ({"matrix": np.eye(16, dtype=complex)}, "of complex128"),
        ({"matrix": 0.9 * np.eye(16)}, r"does not preserve the trace \(off by 0.1\)"),
        ({"matrix": np.diag([1.0] * 15 + [-1.0])}, r"not completely positive \(Choi eigenvalue -0.5\)"),
    ],
)
def test_constant_channels_are_checked(change: dict[str, Any], message: str) -> None:
    refused(replace(channel(3), **change), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qubits": (0, 1)}, "2 qubits given, reset_error acts on 1"),
        ({"slots": (0,)}, r"the parameters \('p0', 'p1'\); 1 slots, 2 constants"),
        ({"slots": (-1, 4)}, r"slots \(-1, 4\) must lie in -1..3"),
        ({"slots": (1, 2)}, "not both"),
        ({"slots": (-1, -1), "constants": (0.7, 0.7)}, r"p0 \+ p1 of reset_error is 1.4"),
    ],
)
def test_channels_of_families_are_checked(change: dict[str, Any], message: str) -> None:
    refused(replace(channel(4), **change), message)


def refused(instruction: Instruction, message: str) -> None:
    program = noisy()
    with pytest.raises(InvalidInputError, match=rf"Instruction 7 \(Channel\): .*{message}"):
        validate(replace(program, instructions=(*program.instructions, instruction)))


def test_channels_on_active_qubits() -> None:
    program = replace(noisy(), instructions=noisy().instructions[:2] + noisy().instructions[3:4])
    moved = ActiveQubits((0, 2)).program(program)
    assert moved.num_qubits == 2
    assert [each.qubits for each in moved.instructions if isinstance(each, Channel)] == [(0,), (1, 0)]
    # a channel connects its qubits; qubits that are connected to nothing that is read are left out
    assert read_qubits([Segment(noisy()), Measure(0, 0)], 4) == (0, 1, 2, 3)
    assert read_qubits([Segment(program), Measure(0, 0)], 4) == (0, 2)
    assert ActiveQubits((0,)).program(program).instructions == program.instructions[:2]
