"""Programs: their meaning as an equation, the grammar's checks, and the round trip through a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qiskit.quantum_info import Pauli
from scipy.linalg import expm
from support.interpreter import program_unitary, run_program

from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.ir.program import (
    Diagonal,
    Instruction,
    Matrix,
    Program,
    Rotation,
    validate,
)

RNG = np.random.default_rng(3)
PHASES = np.exp(1j * RNG.normal(size=4))
UNITARY = np.linalg.qr(RNG.normal(size=(4, 4)) + 1j * RNG.normal(size=(4, 4)))[0]


def example(initial_state: bool = False) -> Program:
    state = RNG.normal(size=(2, 8)) + 1j * RNG.normal(size=(2, 8))
    return Program(
        3,
        2,
        (
            Rotation(0b101, 0b110, slot=1),
            Rotation(0b001, 0b000, 0b110, 0b010, theta=0.7),
            Diagonal((2, 0), PHASES),
            Matrix((1, 2), UNITARY),
            Rotation(0, 0, 0b011, 0b001, slot=0),
            Rotation(0, 0, theta=-0.2),
        ),
        state / np.linalg.norm(state, axis=1, keepdims=True) if initial_state else None,
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_rotation_is_the_exponential_of_its_controlled_string(seed: int) -> None:
    rng = np.random.default_rng(seed)
    letters = rng.choice(list("IXYZ01"), 3)
    theta = rng.uniform(-7, 7)
    bit = {letter: sum(1 << q for q in range(3) if letters[q] in letter) for letter in ("XY", "YZ", "01", "1")}
    rotation = Rotation(bit["XY"], bit["YZ"], bit["01"], bit["1"], theta=theta)
    matrices = {"0": np.diag([1.0, 0.0]), "1": np.diag([0.0, 1.0])} | {p: Pauli(p).to_matrix() for p in "IXYZ"}
    generator = np.ones((1, 1))
    for letter in letters:  # qubit 0 is the last factor of the Kronecker product
        generator = np.kron(matrices[letter], generator)
    found = program_unitary(Program(3, 0, (rotation,)))
    np.testing.assert_allclose(found, expm(-0.5j * theta * generator), atol=1e-12)


def test_qubits_of_tables_and_matrices() -> None:
    diagonal = program_unitary(Program(3, 0, (Diagonal((2, 0), PHASES),)))
    matrix = program_unitary(Program(3, 0, (Matrix((2, 0), UNITARY),)))
    for i in range(8):
        local = (i >> 2 & 1) + 2 * (i & 1)
        assert diagonal[i, i] == PHASES[local]
        for j in range(8):
            other = (j >> 2 & 1) + 2 * (j & 1)
            assert matrix[i, j] == (UNITARY[local, other] if i & 0b010 == j & 0b010 else 0)


@pytest.mark.parametrize("initial_state", [False, True])
def test_round_trip(tmp_path: Path, initial_state: bool) -> None:
    program = replace(example(initial_state), cuts=(1, 2))
    program.save(tmp_path / "program.npz")
    loaded = Program.load(tmp_path / "program.npz")
    assert (loaded.num_qubits, loaded.num_angles, loaded.cuts) == (3, 2, (1, 2))
    rotations = [i for i in program.instructions if isinstance(i, Rotation)]
    assert [i for i in loaded.instructions if isinstance(i, Rotation)] == rotations
    plain, plain_loaded = replace(program, initial_state=None), replace(loaded, initial_state=None)
    np.testing.assert_array_equal(run_program(plain, [0.3, 0.4]), run_program(plain_loaded, [0.3, 0.4]))
    if initial_state:
        np.testing.assert_array_equal(loaded.initial_state, program.initial_state)
    else:
        assert loaded.initial_state is None


def test_loading_validates(tmp_path: Path) -> None:
    replace(example(), num_angles=1).save(tmp_path / "bad.npz")
    with pytest.raises(InvalidInputError, match=r"Instruction 0 \(Rotation\): slot 1"):
        Program.load(tmp_path / "bad.npz")


def test_the_example_is_valid() -> None:
    validate(example(initial_state=True))


@pytest.mark.parametrize("cuts", [(-1,), (2, 1), (99,)])
def test_cuts_ascend(cuts: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="must ascend"):
        validate(replace(example(), cuts=cuts))


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        (Rotation(8, 0), r"masks .* below 2\*\*3"),
        (Rotation(1, 0, 1, 1), "both control and target"),
        (Rotation(0, 0, 1, 2), "bits outside ctrl_mask"),
        (Rotation(1, 0, slot=2), r"slot 2 must lie in -1\.\.1"),
        (Rotation(1, 0, slot=-2), "slot -2"),
        (Rotation(1, 0, slot=0, theta=0.1), "not both"),
        (Rotation(1, 0, theta=np.nan), "not finite"),
        (Diagonal((0, 0), PHASES), "distinct"),
        (Diagonal((0, 3), PHASES), "below 3"),
        (Diagonal((0,), PHASES), r"shape \(4,\), \(2,\) expected"),
        (Diagonal((0, 1), 1.1 * PHASES), "modulus 1"),
        (Matrix((0,), UNITARY), r"shape \(4, 4\), \(2, 2\) expected"),
        (Matrix((0, 1), 1.1 * UNITARY), "not unitary"),
        (Matrix((), np.eye(1)), "0 qubits given, 1 to 12"),
    ],
)
def test_the_grammar_is_checked(instruction: Instruction, message: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"Instruction 1 \({type(instruction).__name__}\): .*{message}"):
        validate(Program(3, 2, (Rotation(1, 0), instruction)))


def test_widths_and_states_are_checked() -> None:
    with pytest.raises(InvalidInputError, match="1 to 40 qubits, got 41"):
        validate(Program(41, 0, ()))
    with pytest.raises(InvalidInputError, match=r"shape \(4,\); \(8,\) or \(B, 8\)"):
        validate(Program(3, 0, (), np.ones(4, dtype=complex) / 2))
    with pytest.raises(InvalidInputError, match="norm 2"):
        validate(Program(2, 0, (), np.ones(4, dtype=complex)))
