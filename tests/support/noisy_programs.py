"""Random programs with channels, and what they do to Pauli vectors by Qiskit's channels."""

from __future__ import annotations

from functools import cache
from itertools import product
from math import pi

import numpy as np
from numpy.typing import NDArray
from qiskit.quantum_info import PTM, DensityMatrix, Pauli, SuperOp, random_quantum_channel

from qiskit_fusedqml.ir.channel_table import CHANNELS
from qiskit_fusedqml.ir.channels import Channel
from qiskit_fusedqml.ir.program import Instruction, Program, Rotation

from .interpreter import program_unitary
from .pauli_tapes import channel_matrix
from .programs import ProgramSampler

CONSTANTS = {"thermal_relaxation": (0.3, 0.2, 0.1, 0.4)}
"""Parameters of families that 0.03 does not suit."""


class NoisySampler(ProgramSampler):
    """Draws gates and channels; ``noise`` are the slots of the channels' parameters."""

    def __init__(self, rng: np.random.Generator, num_qubits: int) -> None:
        super().__init__(rng, num_qubits)
        self.noise: dict[int, float] = {}

    def program(self, length: int) -> Program:
        """A program of about that many instructions, with cuts or without."""
        kinds = [self.single] * 2 + [self.channel] * 2 + [self.device_error] * 2 + [self.cx] * 2
        kinds += [self.cz, self.clifford, self.pauli, self.diagonal, self.matrix, self.general]
        instructions: list[Instruction] = []
        for _ in range(length):
            instructions += kinds[self.rng.integers(len(kinds))]()
        cuts = np.sort(self.rng.integers(len(instructions) + 1, size=self.rng.choice([0, 0, 2])))
        return Program(self.n, self.num_angles, tuple(instructions), cuts=tuple(cuts.tolist()))

    def angles(self) -> NDArray[np.float64]:
        """Angles for all slots, small ones for channels."""
        values = self.rng.uniform(-4, 4, self.num_angles)
        for slot, value in self.noise.items():
            values[slot] = value
        return values

    def some_qubits(self, count: int) -> tuple[int, ...]:
        return tuple(int(q) for q in self.rng.permutation(self.n)[:count])

    def cz(self) -> list[Instruction]:
        if self.n == 1:
            return []
        mask = sum(1 << q for q in self.some_qubits(2))
        return [Rotation(0, 0, mask, mask, theta=2 * pi)]

    def clifford(self) -> list[Instruction]:
        """A quarter or half turn about a string of at most two letters."""
        x, z = (sum(int(self.rng.integers(2)) << q for q in self.some_qubits(2)) for _ in "xz")
        return [Rotation(x, z, theta=float(self.rng.choice([pi / 2, -pi / 2, pi, 1.5 * pi])))]

    def channel(self) -> list[Instruction]:
        """Any row of CHANNELS, some of its parameters from slots."""
        family = CHANNELS[str(self.rng.choice(list(CHANNELS)))]
        return [self.member(family.name)] if family.num_qubits <= self.n else []

    def member(self, name: str, share: float = 0.4) -> Channel:
        """A channel of a family on random qubits."""
        family = CHANNELS[name]
        slots, constants = [], []
        for value in CONSTANTS.get(name, (0.03,) * len(family.parameters)):
            if self.rng.random() < share:
                slots.append(self.num_angles)
                constants.append(0.0)
                self.noise[self.num_angles] = value * float(self.rng.uniform(0.9, 1.1))
                self.num_angles += 1
            else:
                slots.append(-1)
                constants.append(value)
        return Channel(self.some_qubits(family.num_qubits), None, family, tuple(slots), tuple(constants))

    def device_error(self) -> list[Instruction]:
        """Depolarizing and then relaxation of both qubits, as one matrix or three, or relaxation of one alone."""
        relaxation = CHANNELS["amplitude_damping"].transfer
        first, second = relaxation(self.rng.uniform(0, 0.3, 2))
        if self.n == 1:
            return [Channel((0,), first)]
        depolarizing = CHANNELS["depolarizing2"].transfer(np.array(self.rng.choice([0.1, 0.0])))
        qubits = self.some_qubits(2)
        match self.rng.integers(4):
            case 0:
                return [Channel(qubits, np.kron(second, first) @ depolarizing)]
            case 3:
                return [Channel(qubits, depolarizing @ np.kron(second, first))]
            case 1:
                return [Channel(qubits, depolarizing), Channel(qubits[:1], first), Channel(qubits[1:], second)]
        return [Channel(qubits[:1], first)]

    def general(self) -> list[Instruction]:
        """A channel without any structure."""
        k = int(self.rng.choice([1, 1, 2, 3][: self.n + 1]))
        found = random_quantum_channel(2**k, 2**k, seed=int(self.rng.integers(10**6)))
        return [Channel(self.some_qubits(k), np.ascontiguousarray(PTM(found).data.real))]


@cache
def paulis(n: int) -> NDArray[np.complex128]:
    """All strings as matrices, index ``sum_j letter_j 4**j``."""
    return np.array([Pauli("".join(letters)).to_matrix() for letters in product("IXYZ", repeat=n)])


def run_on_density_matrix(
    program: Program, angles: NDArray[np.float64], vector: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A Pauli vector (4**n,) after a program, by way of its operator and Qiskit's channels."""
    n = program.num_qubits
    rho = np.einsum("a,aij->ij", vector, paulis(n)) / 2**n
    for instruction in program.instructions:
        if isinstance(instruction, Channel):
            channel = SuperOp(PTM(channel_matrix(instruction, angles)))
            rho = DensityMatrix(rho).evolve(channel, qargs=list(instruction.qubits)).data
        else:
            unitary = program_unitary(Program(n, program.num_angles, (instruction,)), angles)
            rho = unitary @ rho @ unitary.conj().T
    return np.einsum("ij,aji->a", rho, paulis(n)).real
