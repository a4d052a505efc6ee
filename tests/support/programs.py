"""Random programs of every instruction kind, for tests of whatever plans or runs them."""

from __future__ import annotations

from math import pi

import numpy as np

from qiskit_fusedqml.ir.program import (
    Diagonal,
    Instruction,
    Matrix,
    Program,
    Rotation,
)

CONSTANTS = (pi, -pi, 3 * pi, 2 * pi, pi / 2, 0.3, 0.0)


class ProgramSampler:
    """Draws instructions on n qubits, numbering the angle slots."""

    def __init__(self, rng: np.random.Generator, num_qubits: int) -> None:
        self.rng = rng
        self.n = num_qubits
        self.num_angles = 0

    def program(self, length: int) -> Program:
        """A program of about that many instructions."""
        instructions: list[Instruction] = []
        for _ in range(length):
            draw = self.rng.choice([self.single, self.single, self.pauli, self.cx, self.diagonal, self.matrix])
            instructions.extend(draw())
        return Program(self.n, self.num_angles, tuple(instructions))

    def angle(self) -> dict[str, float | int]:
        """A slot of its own, or a constant that is often a multiple of pi."""
        if self.rng.random() < 0.3:
            return {"theta": float(self.rng.choice(CONSTANTS))}
        self.num_angles += 1
        return {"slot": self.num_angles - 1}

    def single(self) -> list[Instruction]:
        """A few rotations of one qubit in a row."""
        q = int(self.rng.integers(self.n))
        axes = [(1, 0), (1, 1), (0, 1)]
        chosen = [axes[k] for k in self.rng.integers(3, size=self.rng.integers(1, 4))]
        return [Rotation(x << q, z << q, **self.angle()) for x, z in chosen]

    def pauli(self) -> list[Instruction]:
        """A Pauli string under random controls."""
        x, z, controls, values = (int(mask) for mask in self.rng.integers(1 << self.n, size=4))
        controls &= int(self.rng.integers(1 << self.n)) & ~(x | z)
        return [Rotation(x, z, controls, controls & values, **self.angle())]

    def cx(self) -> list[Instruction]:
        """A CX with an open or closed control, as its two factors."""
        if self.n == 1:
            return [Rotation(1, 0, theta=pi)]
        control, target = (1 << int(q) for q in self.rng.permutation(self.n)[:2])
        value = control if self.rng.random() < 0.7 else 0
        return [Rotation(target, 0, control, value, theta=pi), Rotation(0, 0, control, value, theta=-pi)]

    def qubits(self) -> tuple[int, ...]:
        """One to three distinct qubits."""
        count = int(self.rng.integers(1, min(self.n, 3) + 1))
        return tuple(int(q) for q in self.rng.permutation(self.n)[:count])

    def diagonal(self) -> list[Instruction]:
        """Random phases."""
        qubits = self.qubits()
        return [Diagonal(qubits, np.exp(1j * self.rng.uniform(-4, 4, 2 ** len(qubits))))]

    def matrix(self) -> list[Instruction]:
        """A random unitary."""
        qubits = self.qubits()
        size = 2 ** len(qubits)
        gaussian = self.rng.normal(size=(size, size)) + 1j * self.rng.normal(size=(size, size))
        return [Matrix(qubits, np.linalg.qr(gaussian)[0])]


class RealSampler(ProgramSampler):
    """Draws gates that are real matrices, up to phases of the whole state."""

    def program(self, length: int) -> Program:
        """A program of about that many gates."""
        draws = [self.single, self.single, self.pauli, self.cx, self.cx, self.signs, self.diagonal, self.matrix]
        gates = [self.rng.choice(draws)() for _ in range(length)]
        return Program(self.n, self.num_angles, tuple(instruction for gate in gates for instruction in gate))

    def single(self) -> list[Instruction]:
        """RY, H, X or Z of one qubit, a few in a row."""
        q = 1 << int(self.rng.integers(self.n))
        gates = [
            [Rotation(q, q, **self.angle())],
            [Rotation(0, q, theta=pi), Rotation(q, q, theta=pi / 2), Rotation(0, 0, theta=-pi)],
            [Rotation(q, 0, theta=pi), Rotation(0, 0, theta=-pi)],
            [Rotation(0, 0, q, int(self.rng.choice([0, q])), theta=-2 * pi)],
        ]
        return [each for k in self.rng.integers(len(gates), size=3) for each in gates[k]]

    def pauli(self) -> list[Instruction]:
        """A Pauli string with an odd number of Y under random controls."""
        while True:
            (rotation,) = super().pauli()
            assert isinstance(rotation, Rotation)
            if (rotation.x & rotation.z).bit_count() & 1:
                return [rotation]

    def cx(self) -> list[Instruction]:
        """As of all programs in either order, but of one qubit X with its phase."""
        factors = super().cx() if self.n > 1 else [*super().cx(), Rotation(0, 0, theta=-pi)]
        return factors[:: int(self.rng.choice([-1, 1]))]

    def signs(self) -> list[Instruction]:
        """-1 where up to three qubits have given values, or a Z string."""
        controls = sum(1 << q for q in self.qubits())
        value = controls & int(self.rng.integers(1 << self.n))
        return [
            Rotation(0, 0, controls, value, theta=2 * pi),
            Rotation(0, controls, theta=pi),
            Rotation(0, 0, theta=pi),
        ]

    def diagonal(self) -> list[Instruction]:
        """Random signs."""
        qubits = self.qubits()
        return [Diagonal(qubits, self.rng.choice([-1.0, 1.0], 2 ** len(qubits)).astype(complex))]

    def matrix(self) -> list[Instruction]:
        """A random orthogonal matrix."""
        qubits = self.qubits()
        size = 2 ** len(qubits)
        return [Matrix(qubits, np.linalg.qr(self.rng.normal(size=(size, size)))[0].astype(complex))]


def layered(num_qubits: int, layers: int) -> Program:
    """RY encoding, then layers of RX RY RZ on every qubit and a CX ring. Slots in program order."""
    slots = iter(range(num_qubits * (3 * layers + 1)))
    instructions: list[Instruction] = [Rotation(1 << q, 1 << q, slot=next(slots)) for q in range(num_qubits)]
    for _ in range(layers):
        for q in range(num_qubits):
            instructions.extend(Rotation(x << q, z << q, slot=next(slots)) for x, z in ((1, 0), (1, 1), (0, 1)))
        for q in range(num_qubits):
            control, target = 1 << q, 1 << (q + 1) % num_qubits
            instructions.append(Rotation(target, 0, control, control, theta=pi))
            instructions.append(Rotation(0, 0, control, control, theta=-pi))
    return Program(num_qubits, num_qubits * (3 * layers + 1), tuple(instructions))
