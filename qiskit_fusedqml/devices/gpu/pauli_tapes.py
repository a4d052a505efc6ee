"""Tapes for Pauli vectors on the device: records that ``pauli_operations.cuh`` reads, and the launches of a sweep.

A vector that fits into shared memory is one tile, and a sweep over it one launch, whatever the number of operations.
Of a larger vector each block of the tape is a launch over tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from ...arrays import FloatArray
from ...errors import InvalidInputError
from ...planner.gf2 import Span
from ...planner.pauli_vector.tape import Affine, Pair, PauliBlock, PauliOperation, PauliTape, Transfer, Turn
from ..pauli_vector import PauliCoefficients
from .constants import PAULI_KINDS, PAULI_ROW_WORDS, PAULI_SUMS, PAULI_THREADS, PAULI_WORDS
from .launches import Launcher, Partials
from .limits import Limits
from .runtime import Buffer
from .windows import widened

MAX_QUBITS = 15
"""Rows are 32-bit words."""

MAX_TRANSFER_QUBITS = 3
"""Largest transfer matrices."""

MIN_THREADS = 64
"""Least threads of a block."""

ROW_BYTES = 4 * PAULI_ROW_WORDS
"""Shared memory for the rows of a tile's entries."""

SUM_BYTES = 8 * 2 * (PAULI_THREADS // 32) * PAULI_SUMS
"""Shared memory for sums of overlaps."""

AHEAD_BYTES = {size: 4 * 4 * PAULI_WORDS + 4 * PAULI_SUMS * size for size in (4, 8)}
"""Shared memory for operations that are about to run, by bytes of an entry."""

LARGEST_TILE = 14
"""Dimension of the tiles that the table of rows has room for."""


@dataclass(frozen=True)
class PauliGeometry:
    """Sizes of tiles.

    Attributes:
        largest_tile: Dimension of the largest; vectors of that size are one tile.
        sector_bits: 32 bytes are read at once from slow memory: so many entries, as a power of two.
        real_bytes: Bytes of an entry.
    """

    largest_tile: int
    sector_bits: int
    real_bytes: int

    @classmethod
    def of(cls, limits: Limits, single: bool) -> PauliGeometry:
        """As large as shared memory allows, which has a ket and a bra."""
        size = 4 if single else 8
        room = (limits.shared_bytes - ROW_BYTES - SUM_BYTES - AHEAD_BYTES[size]) // (2 * size)
        return cls(min(room.bit_length() - 1, LARGEST_TILE), 3 if single else 2, size)

    @property
    def planned_tile(self) -> int:
        """Dimensions that a planner should fill: room is left for the entries of a sector."""
        return self.largest_tile - self.sector_bits

    def tile(self, bits: int, wanted: Sequence[int]) -> tuple[int, ...]:
        """The vectors of a tile that has those wanted.

        Raises:
            InvalidInputError: If they are too many.
        """
        if bits <= self.largest_tile:
            return tuple(1 << k for k in range(bits))
        if len(wanted) > self.largest_tile:
            raise InvalidInputError(
                f"A tile has {len(wanted)} dimensions; {self.largest_tile} are allowed on this GPU. "
                "Plan with the device's own cost model."
            )
        return widened(wanted, bits, self.planned_tile, self.largest_tile, self.sector_bits)


class _Table(NamedTuple):
    """An attribute of `PauliCoefficients`: how many a tape needs, numbers of each, and where they are."""

    needed: int
    size: int
    start: int


BATCHED = ("batched_affine", "inverse_batched_affine", "batched_turns")
"""Coefficients that have one value for each sample."""


class NumberTable:
    """Where the coefficients of a tape are in one array: the shared ones, then the others [number][sample].

    Args:
        operations: All operations of the tape.

    Attributes:
        shared: How many numbers are shared.
    """

    def __init__(self, operations: Sequence[PauliOperation]) -> None:
        needed = dict.fromkeys(("affine", "batched_affine", "pairs", "turns", "batched_turns"), 0)
        letters: dict[int, int] = {}
        for op in operations:
            if isinstance(op, Transfer):
                letters[op.coefficient] = 16 ** len(op.qubits)
            else:
                kind = _kind(op)
                needed[kind] = max(needed[kind], op.coefficient + 1)
        self._letters = [letters.get(k, 0) for k in range(max(letters, default=-1) + 1)]
        sizes = {"affine": 12, "batched_affine": 12, "pairs": 18, "turns": 2, "batched_turns": 2}
        self._tables: dict[str, _Table] = {}
        ends = {True: 0, False: 0}
        for name in ("affine", "inverse_affine", "pairs", "inverse_pairs", "turns", *BATCHED):
            kind, batched = name.removeprefix("inverse_"), name in BATCHED
            self._tables[name] = _Table(needed[kind], sizes[kind], ends[batched])
            ends[batched] += needed[kind] * sizes[kind]
        self._matrices = list(accumulate(self._letters, initial=ends[False]))
        self._matrix_numbers = sum(self._letters)
        self.shared = ends[False] + 2 * self._matrix_numbers

    def places(self, op: PauliOperation) -> tuple[int, int]:
        """Where the numbers of an operation and of its inverse are."""
        if isinstance(op, Transfer):
            start = self._matrices[op.coefficient]
            return start, start + self._matrix_numbers
        kind = _kind(op)
        own, inverse = self._tables[kind], self._tables["inverse_" + kind if "turns" not in kind else kind]
        return own.start + own.size * op.coefficient, inverse.start + inverse.size * op.coefficient

    def numbers(self, coefficients: PauliCoefficients, batch: int) -> FloatArray:
        """The array for one call.

        Raises:
            InvalidInputError: If coefficients are missing or do not fit the batch.
        """
        shared: list[FloatArray] = []
        batched: list[FloatArray] = []
        for name, table in self._tables.items():
            given = getattr(coefficients, name)
            _enough(name, table.needed, len(given))
            if table.needed:
                if name in BATCHED and given.shape[-1] != batch:
                    raise InvalidInputError(
                        f"The tape's {name} have {given.shape[-1]} values each; one value for each of the state's "
                        f"{batch} samples is expected."
                    )
                (batched if name in BATCHED else shared).append(np.ravel(given[: table.needed]))
        for matrices in (coefficients.transfers, coefficients.inverse_transfers):
            _enough("transfers", len(self._letters), len(matrices))
            for matrix, size in zip(matrices, self._letters, strict=False):
                if size not in (0, matrix.size):
                    raise InvalidInputError(f"A transfer matrix has {matrix.size} numbers; the tape needs {size}.")
                shared.append(np.ravel(matrix) if size else np.zeros(0))
        found: FloatArray = np.concatenate([*shared, *batched, np.zeros(1)])
        return found


def _kind(op: Affine | Pair | Turn) -> str:
    """The attribute of `PauliCoefficients` that an operation takes its numbers from."""
    if isinstance(op, Pair):
        return "pairs"
    name = "affine" if isinstance(op, Affine) else "turns"
    return f"batched_{name}" if op.batched else name


def _enough(name: str, needed: int, given: int) -> None:
    if given < needed:
        raise InvalidInputError(f"The tape needs {needed} {name}, got {given}.")


@dataclass(frozen=True)
class PauliSweep:
    """A launch over all tiles: a block of the tape, or all of it.

    Attributes:
        dimension: Of the tile.
        tile: Its vectors, then their pivots, on the device.
        records: On the device.
        count: Number of operations.
        undone: Ranges of operations that a backward sweep undoes, the last ones first.
        slots: Slots before each operation; with the total at the end.
        places: Index of the overlap of each slot, on the device.
    """

    dimension: int
    tile: Buffer
    records: Buffer
    count: int
    undone: tuple[tuple[int, int], ...]
    slots: tuple[int, ...]
    places: Buffer


class PauliOnDevice(NamedTuple):
    """Vectors of B samples [sample][row] on the device."""

    num_qubits: int
    batch: int
    entries: Buffer


class LoadedPauliTape:
    """A tape on the device.

    Args:
        launcher: Launches the kernels.
        geometry: Sizes of tiles.
        tape: The tape.

    Raises:
        InvalidInputError: For tapes that the kernels cannot run.
    """

    def __init__(self, launcher: Launcher, geometry: PauliGeometry, tape: PauliTape) -> None:
        self._launcher = launcher
        self._geometry = geometry
        self._bits = 2 * tape.num_qubits
        self._width = tape.num_overlaps
        self.table = NumberTable([op for block in tape.blocks for op in block.operations])
        if self._bits <= geometry.largest_tile:
            self._sweeps = [self._sweep((), *_merged(tape.blocks))] if tape.blocks else []
        else:
            self._sweeps = [self._sweep(block.tile, *_merged([block])) for block in tape.blocks]
        launcher.runtime.synchronize()  # the records are read from any stream from now on

    def apply(self, coefficients: PauliCoefficients, state: PauliOnDevice, *, transposed: bool) -> None:
        """The tape on kets, or the transposed maps on bras, from the last operation to the first."""
        numbers = self._numbers(coefficients, state.batch)
        for sweep in reversed(self._sweeps) if transposed else self._sweeps:
            first, step = (sweep.count - 1, -1) if transposed else (0, 1)
            values = [state.entries, sweep.tile, self._bits, sweep.dimension, sweep.records, first, step, sweep.count]
            values += [transposed, *numbers, state.batch]
            self._launch("pauli_apply", sweep, state.batch, values, vectors=1)

    def measure(
        self,
        coefficients: PauliCoefficients,
        ket: PauliOnDevice,
        bra: PauliOnDevice,
        *,
        joint: bool,
        per_sample: bool,
    ) -> Buffer:
        """Overlaps of the sweep back, or of the joint one: (S,), or by sample (B * S,)."""
        batch = ket.batch
        totals = self._launcher.zeros(self._width * (batch if per_sample else 1))
        numbers = self._numbers(coefficients, batch)
        for sweep in self._sweeps if joint else reversed(self._sweeps):
            for start, stop in ((0, sweep.count),) if joint else sweep.undone:
                first, step = (start, 1) if joint else (stop - 1, -1)
                low, high = sweep.slots[start], sweep.slots[stop]
                segment = 1 << self._bits - sweep.dimension
                partials = self._launcher.reals((high - low) * batch * segment)
                values = [ket.entries, bra.entries, sweep.tile, self._bits, sweep.dimension, sweep.records]
                values += [first, step, stop - start, joint, *numbers, batch, partials, low]
                self._launch("pauli_measure", sweep, batch, values, vectors=2)
                if high > low:
                    parts = Partials(partials, high - low, batch * segment, segment if per_sample else batch * segment)
                    self._launcher.add(parts, sweep.places[low:], self._width, totals, real=False, onto=False)
        return totals

    def _numbers(self, coefficients: PauliCoefficients, batch: int) -> tuple[Buffer, int]:
        return self._launcher.upload(self.table.numbers(coefficients, batch)), self.table.shared

    def _launch(self, kernel: str, sweep: PauliSweep, batch: int, values: Sequence[Any], *, vectors: int) -> None:
        size = self._geometry.real_bytes
        shared = ROW_BYTES + AHEAD_BYTES[size] + (vectors * size << sweep.dimension)
        shared += SUM_BYTES if vectors > 1 else 0
        threads = min(max(1 << sweep.dimension - 2, MIN_THREADS), PAULI_THREADS)
        blocks = (batch << self._bits - sweep.dimension, 1)
        self._launcher.launch(kernel, blocks, values, threads=threads, shared_bytes=shared)

    def _sweep(
        self, wanted: Sequence[int], operations: Sequence[PauliOperation], undone: Sequence[tuple[int, int]]
    ) -> PauliSweep:
        tile = self._geometry.tile(self._bits, wanted)
        span, slots = Span(tile), [0]
        records: list[int] = []
        places: list[int] = []
        for op in operations:
            records += _record(op, span, self.table, len(places))
            places += range(op.overlap, op.overlap + op.num_overlaps)
            slots.append(len(places))
        words = np.array(records or [0], dtype=np.uint32).view(np.int32)
        pivots = [vector.bit_length() - 1 for vector in tile]  # the basis is reduced: each has its highest bit alone
        runtime = self._launcher.runtime
        return PauliSweep(
            dimension=len(tile),
            tile=runtime.upload(np.array([*tile, *pivots], dtype=np.int32)),
            records=runtime.upload(words),
            count=len(operations),
            undone=tuple(reversed(undone)),
            slots=tuple(slots),
            places=self._launcher.upload(np.array(places, dtype=np.int32)),
        )


def _merged(blocks: Sequence[PauliBlock]) -> tuple[list[PauliOperation], list[tuple[int, int]]]:
    """The operations of blocks, and the ranges of them that are undone."""
    ranges: list[tuple[int, int]] = []
    operations: list[PauliOperation] = []
    for block in blocks:
        start = len(operations) + block.undo_from
        operations += block.operations
        if ranges and start == ranges[-1][1]:
            start = ranges.pop()[0]
        if start < len(operations):
            ranges.append((start, len(operations)))
    return operations, ranges


def _record(op: PauliOperation, span: Span, table: NumberTable, slot: int) -> Iterator[int]:
    """The words of ``PauliRecord``."""
    if isinstance(op, Turn):
        vectors, functionals = [op.x], [op.side, op.z, op.x]
    else:
        qubits = (op.qubit,) if isinstance(op, Affine) else op.qubits
        if len(qubits) > MAX_TRANSFER_QUBITS:
            raise InvalidInputError(
                f"A transfer matrix is on {len(qubits)} qubits; {MAX_TRANSFER_QUBITS} at most are possible."
            )
        vectors = [vector for qubit in qubits for vector in qubit[:2]]
        functionals = [functional for qubit in qubits for functional in qubit[2:]]
    flips = [span.coordinates(vector) for vector in vectors]
    if None in flips:
        raise InvalidInputError("The tape cannot be run: an operation has a vector outside its block's tile.")
    yield PAULI_KINDS.index(type(op).__name__.lower())
    yield int(getattr(op, "batched", False))
    yield from table.places(op)
    yield (slot if op.num_overlaps else -1) % 2**32
    yield len(flips)
    yield op.y_of_string if isinstance(op, Turn) else 0
    orbit = Span(flip for flip in flips if flip is not None)
    pivots = [vector.bit_length() - 1 for vector in orbit.basis()]
    for words in (pivots, flips, functionals):
        yield from (*(word or 0 for word in words), *[0] * (2 * MAX_TRANSFER_QUBITS - len(words)))
