"""Random tapes: any operation on any virtual qubits, in random frames and tiles."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from qiskit_fusedqml.devices._native import Coefficients
from qiskit_fusedqml.planner.frame import Frame
from qiskit_fusedqml.planner.gf2 import parity
from qiskit_fusedqml.planner.tape import RY, U2, Block, Dense, Diag, Factor, Operation, Pauli, Tape


@dataclass
class TapeMaker:
    """Makes a tape and counts the coefficients it needs."""

    rng: np.random.Generator
    n: int
    spread: int = 0
    num_pairs: list[int] = field(default_factory=lambda: [0, 0])
    num_matrices: list[int] = field(default_factory=lambda: [0, 0])
    num_angles: list[int] = field(default_factory=lambda: [0, 0])
    num_scales: int = 0
    num_overlaps: int = 0
    dense_sizes: list[int] = field(default_factory=list)
    frame: Frame = field(init=False)

    def tape(self, num_blocks: int, num_operations: int, kinds: str = "") -> Tape:
        """A tape of diagonals, RY layers, RY, U2, Paulis and dense matrices; ``kinds``, some of "dryupmxl", limits it.

        An "x" is a layer of Paulis that are RX of virtual qubits, an "l" a layer of RYs as trained circuits have them.
        """
        self.scramble(Frame.identity(self.n))
        blocks = [self.block(num_operations, kinds) for _ in range(num_blocks)]
        first = int(self.rng.integers(len(blocks)))
        blocks = [
            Block(b.tile, b.operations, len(b.operations) if i < first else self.cut(b) if i == first else 0)
            for i, b in enumerate(blocks)
        ]
        return Tape(self.n, tuple(blocks), self.frame, self.num_overlaps, self.spread)

    def cut(self, block: Block) -> int:
        return int(self.rng.integers(len(block.operations) + 1))

    def scramble(self, frame: Frame) -> None:
        for _ in range(3 * self.n):
            q, c = (int(i) for i in self.rng.integers(self.n, size=2))
            frame = frame.flipped(1 << q, -1 if q == c else c, int(self.rng.integers(2)))
        self.frame = frame

    def block(self, num_operations: int, kinds: str) -> Block:
        self.scramble(self.frame)
        room = max(self.n - self.spread, 0)
        size = int(self.rng.integers(min(1, room), room + 1))
        self.qubits = sorted(int(q) for q in self.rng.permutation(self.n)[:size])
        operations: list[Operation] = []
        while len(operations) < num_operations:
            operations += self.operations(str(self.rng.choice(list(kinds or "dryupm"))))
        return Block(echelon([self.frame.columns[q] for q in self.qubits]), tuple(operations))

    def operations(self, kind: str) -> list[Operation]:
        match kind:
            case "d":
                return [self.diag()]
            case "p":
                return [self.pauli()]
            case "r" if self.qubits:
                count = self.overlaps_of_ry()
                wanted = bool(self.rng.integers(3))
                return [self.ry(self.frame.columns[q], self.frame.duals[q], wanted, count) for q in self.qubits]
            case "l" if self.qubits:
                places = [(self.take(self.num_pairs, batched=False), self.overlap(2, wanted=True)) for _ in self.qubits]
                columns, duals = self.frame.columns, self.frame.duals
                return [
                    RY(columns[q], duals[q], pair, False, overlap, 2, x_optional=True)
                    for q, (pair, overlap) in zip(self.qubits, places, strict=True)
                ]
            case "x" if self.qubits:
                return [self.rx(self.frame.columns[q]) for q in self.qubits]
            case "y" if self.qubits:
                return [self.ry(*self.virtual_qubit(), bool(self.rng.integers(2)), self.overlaps_of_ry())]
            case "u" if self.qubits:
                x, w = self.virtual_qubit()
                batched = self.coin()
                return [U2(x, w, self.take(self.num_matrices, batched), batched, self.overlap(3))]
            case "m" if self.qubits:
                return [self.dense()]
        return [self.diag()]

    def bits(self, count: int) -> int:
        return int(self.rng.integers(1 << count))

    def coin(self) -> bool:
        return bool(self.rng.integers(2))

    def take(self, counts: list[int], batched: bool, number: int = 1) -> int:
        counts[batched] += number
        return counts[batched] - number

    def overlap(self, count: int, wanted: bool | None = None) -> int:
        if not (self.coin() if wanted is None else wanted):
            return -1
        self.num_overlaps += count
        return self.num_overlaps - count

    def overlaps_of_ry(self) -> int:
        return int(self.rng.integers(1, 3))

    def vector(self) -> int:
        """A vector of the tile."""
        result = 0
        for q in self.qubits:
            result ^= self.frame.columns[q] * self.bits(1)
        return result

    def functional(self, *even: int, odd: int = 0) -> int:
        """A functional that is even on some vectors and, unless it is 0, odd on one outside their span."""
        while True:
            f = self.bits(self.n + 1)
            if all(not parity(f & x) for x in even) and (not odd or parity(f & odd)):
                return f

    def virtual_qubit(self) -> tuple[int, int]:
        x = self.vector() or self.frame.columns[self.qubits[0]]
        return x, self.functional(odd=x)

    def ry(self, x: int, w: int, wanted: bool, count: int) -> RY:
        batched = self.rng.integers(4) == 0
        overlap = self.overlap(count, wanted)
        count = count if overlap >= 0 else 0
        optional = count == 2 and self.coin()
        return RY(x, w, self.take(self.num_pairs, bool(batched)), bool(batched), overlap, count, optional)

    def rx(self, x: int) -> Pauli:
        """About a product of X, the sign depending on nothing in the tile."""
        sign = self.functional(*(self.frame.columns[q] for q in self.qubits))
        batched = self.coin()
        return Pauli(x, sign, 2 * self.bits(1), (), self.take(self.num_pairs, batched), batched, self.overlap(1))

    def pauli(self) -> Pauli:
        x = self.vector() if self.rng.integers(3) else 0
        z = self.functional()
        power = (z & x).bit_count() % 2 + 2 * self.bits(1)
        controls = tuple(self.functional(x) for _ in range(int(self.rng.integers(4))))
        batched = self.coin()
        return Pauli(x, z, power, controls, self.take(self.num_pairs, batched), batched, self.overlap(1))

    def diag(self) -> Diag:
        factors = []
        for _ in range(int(self.rng.integers(4))):
            d = int(self.rng.integers(min(self.n, 6) + 1))
            basis = tuple(self.bits(self.n) for _ in range(d))
            terms = tuple(self.bits(d + 1) for _ in range(int(self.rng.integers(5))))
            batched = self.coin()
            factors.append(Factor(basis, terms, self.take(self.num_angles, batched, len(terms)), batched))
        scale = -1
        if self.coin():
            scale, self.num_scales = self.num_scales, self.num_scales + 1
        functionals = tuple(self.functional() for _ in range(int(self.rng.integers(6))))
        return Diag(tuple(factors), scale, self.overlap(len(functionals), bool(functionals)), functionals)

    def dense(self) -> Dense:
        k = int(self.rng.integers(1, min(len(self.qubits), 6 if self.rng.integers(4) == 0 else 3) + 1))
        chosen = [int(q) for q in self.rng.permutation(self.qubits)[:k]]
        xs = tuple(self.frame.columns[q] for q in chosen)
        others = [self.frame.duals[q] for q in range(self.n) if q not in chosen]
        ws = []
        for q in chosen:
            w = self.frame.duals[q]
            for other in others:
                w ^= other * self.bits(1)
            ws.append(w)
        self.dense_sizes.append(k)
        return Dense(xs, tuple(ws), len(self.dense_sizes) - 1, self.overlap(2 * 4**k))

    def coefficients(self, batch: int) -> Coefficients:
        """Random coefficients for what has been made so far."""
        rng = self.rng
        pairs = np.array([_pair(rng) for _ in range(self.num_pairs[0])]).reshape(-1, 2)
        theta = rng.uniform(-1.2, 1.2, (self.num_pairs[1], batch))
        return Coefficients(
            pairs=pairs,
            batched_pairs=np.stack([np.cos(theta), np.sin(theta)], axis=1),
            matrices=np.array([_unitary(rng, 2) for _ in range(self.num_matrices[0])], complex).reshape(-1, 2, 2),
            batched_matrices=np.ascontiguousarray(
                np.array([[_unitary(rng, 2) for _ in range(batch)] for _ in range(self.num_matrices[1])], complex)
                .reshape(-1, batch, 2, 2)
                .transpose(0, 2, 3, 1)
            ),
            angles=rng.uniform(-7, 7, self.num_angles[0]),
            batched_angles=rng.uniform(-7, 7, (self.num_angles[1], batch)),
            scales=rng.uniform(0.6, 1.2, self.num_scales),
            dense=tuple(_unitary(rng, 2**k) for k in self.dense_sizes),
        )


def replaced(coefficients: Coefficients, **arrays: np.ndarray) -> Coefficients:
    """Coefficients of which some are others."""
    names = ("pairs", "batched_pairs", "matrices", "batched_matrices", "angles", "batched_angles", "scales", "dense")
    return Coefficients(**{name: arrays.get(name, getattr(coefficients, name)) for name in names})


def echelon(vectors: list[int]) -> tuple[int, ...]:
    """The basis in reduced echelon form, with pivots in no particular place."""
    basis: list[int] = []
    for given in vectors:
        vector = given
        for other in basis:
            vector = min(vector, vector ^ other)
        pivot = 1 << (vector.bit_length() - 1)
        basis = [other ^ vector if other & pivot else other for other in basis] + [vector]
    return tuple(sorted(basis))


def random_state(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normalised random amplitudes along the last axis."""
    state = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return state / np.linalg.norm(state, axis=-1, keepdims=True)


def _pair(rng: np.random.Generator) -> tuple[float, float]:
    theta = rng.uniform(-1.2, 1.2)
    kind = rng.integers(3)
    if kind == 0:
        return np.cos(theta), np.sin(theta)
    return (1.0, np.tan(theta / 2)) if kind == 1 else (np.tan(theta / 2), 1.0)


def _unitary(rng: np.random.Generator, size: int) -> np.ndarray:
    matrix = rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))
    return np.linalg.qr(matrix)[0]


def tape_of(
    *operations: Operation,
    n: int = 3,
    tile: tuple[int, ...] = (1, 2),
    spread: int = 0,
    overlaps: int = 0,
    undo_from: int = 0,
) -> Tape:
    """A tape of one block."""
    return Tape(n, (Block(tile, operations, undo_from),), Frame.identity(n), overlaps, spread)
