"""Random tapes for Pauli vectors, any operation in any frame and tile, and what they are run with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qiskit_fusedqml.arrays import FloatArray
from qiskit_fusedqml.devices._native import PauliCoefficients
from qiskit_fusedqml.devices.pauli_vector import PauliObservables
from qiskit_fusedqml.planner.pauli_vector.tape import (
    Affine,
    Pair,
    PauliBlock,
    PauliFrame,
    PauliOperation,
    PauliTape,
    Transfer,
    Turn,
)


@dataclass
class PauliTapeMaker:
    """Makes tapes and counts the coefficients that they need."""

    rng: np.random.Generator
    n: int
    kinds: str = "apt123"
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(["a", "A", "p", "t", "T"], 0))
    transfers: list[int] = field(default_factory=list)
    num_overlaps: int = 0

    def tape(self, num_blocks: int, num_operations: int, tile_qubits: int | None = None) -> PauliTape:
        """A tape of affine maps (a), pairs (p), turns (t), and transfer matrices on k qubits (1, 2, 3).

        Args:
            num_blocks: Number of blocks.
            num_operations: Operations a block.
            tile_qubits: Qubits of a tile; None for any number.
        """
        self.qubits = list(PauliFrame.identity(self.n).qubits)
        blocks = [self.block(num_operations, tile_qubits) for _ in range(num_blocks)]
        first = int(self.rng.integers(len(blocks)))
        blocks = [
            PauliBlock(b.tile, b.operations, len(b.operations) if i < first else self.cut(b) if i == first else 0)
            for i, b in enumerate(blocks)
        ]
        return PauliTape(self.n, tuple(blocks), PauliFrame(tuple(self.qubits)), self.num_overlaps)

    def cut(self, block: PauliBlock) -> int:
        return int(self.rng.integers(len(block.operations) + 1))

    def scramble(self, qubits: list[int], count: int) -> None:
        """CX gates and swaps among some qubits."""
        for _ in range(count if len(qubits) > 1 else 0):
            c, t = (int(q) for q in self.rng.choice(qubits, 2, replace=False))
            control, target = self.qubits[c], self.qubits[t]
            if self.rng.integers(4) == 0:
                self.qubits[c], self.qubits[t] = target, control
                continue
            self.qubits[c] = control._replace(x=control.x ^ target.x, z_bit=control.z_bit ^ target.z_bit)
            self.qubits[t] = target._replace(z=target.z ^ control.z, x_bit=target.x_bit ^ control.x_bit)

    def block(self, num_operations: int, tile_qubits: int | None) -> PauliBlock:
        self.scramble(list(range(self.n)), 3 * self.n)
        least = min({"p": 2, "2": 2, "3": 3}.get(kind, 1) for kind in self.kinds)
        size = int(self.rng.integers(least, self.n + 1)) if tile_qubits is None else min(tile_qubits, self.n)
        inside = [int(q) for q in self.rng.permutation(self.n)[:size]]
        tile = [vector for q in inside for vector in self.qubits[q][:2]]
        operations = []
        kinds = [kind for kind in self.kinds if {"p": 2, "2": 2, "3": 3}.get(kind, 1) <= size]
        while len(operations) < num_operations:
            operations.append(self.operation(str(self.rng.choice(kinds)), inside))
            self.scramble(inside, int(self.rng.integers(3)))
        order = self.rng.permutation(len(tile))
        return PauliBlock(tuple(tile[int(k)] for k in order), tuple(operations))

    def operation(self, kind: str, inside: list[int]) -> PauliOperation:
        if kind == "t":
            return self.turn(inside)
        k = {"a": 1, "p": 2}.get(kind) or int(kind)
        chosen = tuple(self.qubits[int(q)] for q in self.rng.choice(inside, k, replace=False))
        if kind == "a":
            batched = self.coin()
            return Affine(chosen[0], self.take("A" if batched else "a"), batched, self.overlap(12))
        if kind == "p":
            return Pair((chosen[0], chosen[1]), self.take("p"), (self.coin(), self.coin()), self.overlap(18))
        self.transfers.append(k)
        return Transfer(chosen, len(self.transfers) - 1, self.overlap(16**k))

    def turn(self, inside: list[int]) -> Turn:
        letters = [int(a) for a in self.rng.integers(4, size=len(inside))]
        letters[0] = letters[0] or 1
        x = side = z = num_y = 0
        for letter, q in zip(letters, inside, strict=True):
            qubit = self.qubits[q]
            if letter in (1, 2):
                x, side = x ^ qubit.x, side ^ qubit.z_bit
            if letter in (2, 3):
                x, side, z = x ^ qubit.z, side ^ qubit.x_bit, z ^ qubit.x_bit
            num_y += letter == 2
        batched = self.coin()
        return Turn(x, side, z, num_y % 2, self.take("T" if batched else "t"), batched, self.overlap(1))

    def coin(self) -> bool:
        return bool(self.rng.integers(2))

    def take(self, kind: str) -> int:
        self.counts[kind] += 1
        return self.counts[kind] - 1

    def overlap(self, count: int) -> int:
        if self.rng.integers(3) == 0:
            return -1
        self.num_overlaps += count
        return self.num_overlaps - count


def inverses(maps: FloatArray) -> FloatArray:
    """The inverses of affine maps (R, 3, 4)."""
    found = np.zeros_like(maps)
    for own, given in zip(found, maps, strict=True):
        own[:] = np.linalg.inv(np.vstack([np.eye(1, 4), given]))[1:]
    return found


def random_coefficients(maker: PauliTapeMaker, tape: PauliTape, batch: int) -> PauliCoefficients:
    """Maps near rotations that damp a little, for all coefficients that were counted."""
    rng = maker.rng

    def near_orthogonal(size: int) -> FloatArray:
        q, _ = np.linalg.qr(rng.normal(size=(size, size)))
        return q @ np.diag(rng.uniform(0.7, 1.0, size))

    def maps(count: int) -> FloatArray:
        found = np.zeros((count, 3, 4))
        for own in found:
            own[:, 1:], own[:, 0] = near_orthogonal(3), rng.normal(scale=0.2, size=3)
        return found

    def turns(*shape: int) -> FloatArray:
        angles = rng.uniform(-np.pi, np.pi, shape)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    counts = maker.counts
    affine, batched = maps(counts["a"]), maps(counts["A"] * batch)
    pairs = np.concatenate([rng.uniform(0.7, 1.0, (counts["p"], 16)), rng.normal(scale=0.2, size=(counts["p"], 2))], 1)
    for block in tape.blocks:
        for operation in block.operations:
            if isinstance(operation, Pair):
                pairs[operation.coefficient, 16:] *= operation.shifts
    inverse_pairs = pairs.copy()
    inverse_pairs[:, :16] = 1 / pairs[:, :16]
    transfers = tuple(near_orthogonal(4**k) for k in maker.transfers)

    def lanes(given: FloatArray) -> FloatArray:
        return np.ascontiguousarray(np.moveaxis(given.reshape(counts["A"], batch, 3, 4), 1, -1))

    return PauliCoefficients(
        affine=affine,
        batched_affine=lanes(batched),
        pairs=pairs,
        turns=turns(counts["t"]),
        batched_turns=turns(counts["T"], batch),
        transfers=transfers,
        inverse_affine=inverses(affine),
        inverse_batched_affine=lanes(inverses(batched)),
        inverse_pairs=inverse_pairs,
        inverse_transfers=tuple(np.linalg.inv(t) for t in transfers),
    )


def replaced(coefficients: PauliCoefficients, **arrays: object) -> PauliCoefficients:
    """Coefficients of which some are others."""
    kinds = ("affine", "batched_affine", "pairs", "transfers")
    names = (*kinds, "turns", "batched_turns", *(f"inverse_{kind}" for kind in kinds))
    return PauliCoefficients(**{name: arrays.get(name, getattr(coefficients, name)) for name in names})  # type: ignore[arg-type]


def random_observables(rng: np.random.Generator, n: int, count: int) -> PauliObservables:
    """Observables of up to 4 strings, some of them twice, and one without strings where there are several."""
    sizes = [0 if k == 1 else int(rng.integers(1, 5)) for k in range(count)]
    total = sum(sizes)
    starts = np.cumsum([0, *sizes]).astype(np.int64)
    return PauliObservables(starts, rng.integers(4**n, size=total).astype(np.int64), rng.normal(size=total))


@dataclass
class PauliRun:
    """A tape, what it is run with, and vectors of B samples."""

    n: int
    batch: int
    tape: PauliTape
    coefficients: PauliCoefficients
    kets: FloatArray
    bras: FloatArray

    @classmethod
    def random(
        cls,
        seed: int,
        n: int,
        batch: int,
        kinds: str = "apt123",
        blocks: int = 3,
        operations: int = 4,
        tile_qubits: int | None = None,
    ) -> PauliRun:
        maker = PauliTapeMaker(np.random.default_rng(seed), n, kinds)
        tape = maker.tape(blocks, operations, tile_qubits)
        coefficients = random_coefficients(maker, tape, batch)
        kets, bras = maker.rng.normal(size=(2, batch, 4**n))
        return cls(n, batch, tape, coefficients, kets, bras)


def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Largest difference; relative where the second array has numbers above 1."""
    scale = max(1.0, float(np.abs(b).max(initial=0.0)))
    return float(np.abs(a - b).max(initial=0.0)) / scale
