"""The CPU device for Pauli vectors: C++ sweeps with samples, or rows of one vector, in SIMD lanes.

As of `qiskit_fusedqml.devices.cpu`, the compiled module knows tapes as flat integers (`_flatten`) and states as opaque
objects, and is built for several instruction sets. Sums are cut in the same pieces whatever the number of threads, so
that results are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from typing_extensions import override

from ...arrays import FloatArray, Int64Array
from ...memory import default_budget, physical_memory
from ...planner.pauli_vector.tape import Affine, Pair, PauliOperation, PauliTape, Transfer, Turn
from .. import _native
from .._native import PauliCoefficients
from ..checks import check_options, empty_batch
from ..cpu import CompiledTapes, default_threads, instruction_set
from . import PauliDevice, PauliObservables
from .compiled import CompiledPauliCoefficientMap


class CPUPauliDevice(PauliDevice):
    """Runs tapes on the CPU; a state is an object of the compiled module.

    Args:
        precision: "double" or "single".
        num_threads: Threads of one call; None for the cores in the affinity mask, capped by ``OMP_NUM_THREADS``.

    Raises:
        InvalidInputError: For another precision or a number of threads below 1.
        DeviceUnavailableError: If ``FUSEDQML_ISA`` names an instruction set that is not there.
    """

    name = "CPU"
    tile_bits = 10
    coefficient_map = CompiledPauliCoefficientMap

    def __init__(self, precision: str = "double", num_threads: int | None = None) -> None:
        threads = check_options(precision, num_threads)
        self.precision = precision
        self.num_threads = default_threads() if threads is None else threads
        self._isa = instruction_set()
        self._single = precision == "single"
        self._width = _native.width(self._isa, self._single, False)
        self._memory = physical_memory()

    @property
    def instruction_set(self) -> str:
        """The instruction set in use."""
        return self._isa

    @override
    def allocate(self, num_qubits: int, batch: int, vectors: FloatArray | None = None) -> _native.PauliState:
        if batch < 1:
            raise empty_batch(batch)
        given = None if vectors is None else np.ascontiguousarray(vectors, np.float64)
        make, threads = _native.make_pauli_state, self.num_threads
        return make(self._isa, self._single, num_qubits, batch, self._memory, given, threads)

    @override
    def copy(self, state: _native.PauliState) -> _native.PauliState:
        return state.copy()

    @override
    def vectors(self, state: _native.PauliState) -> FloatArray:
        return _native.vectors(state, self.num_threads)

    @override
    def forward(self, tape: PauliTape, coefficients: PauliCoefficients, ket: _native.PauliState) -> None:
        _native.pauli_forward(_compiled(tape), coefficients, ket, self.num_threads)

    @override
    def backward(
        self,
        tape: PauliTape,
        coefficients: PauliCoefficients,
        ket: _native.PauliState,
        bra: _native.PauliState,
        *,
        per_sample: bool,
    ) -> FloatArray:
        return _native.pauli_backward(_compiled(tape), coefficients, ket, bra, per_sample, self.num_threads)

    @override
    def backward_bra(self, tape: PauliTape, coefficients: PauliCoefficients, bra: _native.PauliState) -> None:
        _native.pauli_backward_bra(_compiled(tape), coefficients, bra, self.num_threads)

    @override
    def joint(
        self,
        tape: PauliTape,
        coefficients: PauliCoefficients,
        ket: _native.PauliState,
        bra: _native.PauliState,
        *,
        per_sample: bool,
    ) -> FloatArray:
        return _native.pauli_joint(_compiled(tape), coefficients, ket, bra, per_sample, self.num_threads)

    @override
    def expectation(self, ket: _native.PauliState, observables: PauliObservables) -> FloatArray:
        return _native.pauli_expectation(ket, *observables)

    @override
    def bra(
        self, num_qubits: int, batch: int, observables: PauliObservables, cotangents: FloatArray | None
    ) -> _native.PauliState:
        weights = None if cotangents is None else np.ascontiguousarray(cotangents, np.float64)
        shape = self._isa, self._single, num_qubits, batch, self._memory
        return _native.make_bra(*shape, *observables, weights, self.num_threads)

    @override
    def products(self, bras: _native.PauliState, kets: _native.PauliState) -> FloatArray:
        return _native.products(bras, kets, self.num_threads)

    @override
    def combine(self, kets: _native.PauliState, weights: FloatArray) -> _native.PauliState:
        given = np.ascontiguousarray(weights, np.float64)
        return _native.combine(kets, given, self._memory, self.num_threads)

    @override
    def rows(self, state: _native.PauliState, rows: Int64Array) -> FloatArray:
        return _native.pauli_rows(state, np.ascontiguousarray(rows, np.int64))

    @override
    def state_bytes(self, num_qubits: int, batch: int) -> int:
        # lanes that neither samples nor rows fill (small vectors) are not counted
        samples = min(self._width, 1 << (max(batch, 1) - 1).bit_length())
        return -(-batch // samples) * samples * (4 if self._single else 8) << 2 * num_qubits

    @override
    def memory_budget(self) -> int:
        return default_budget()


def _flatten(tape: PauliTape) -> Iterator[int]:
    """The tape as the integers that pauli_compile.cpp reads; functionals of qubits follow from their vectors."""
    yield from (tape.num_qubits, tape.num_overlaps, len(tape.blocks))
    for block in tape.blocks:
        yield from (len(block.tile), *block.tile, block.undo_from, len(block.operations))
        for operation in block.operations:
            yield from _flatten_operation(operation)


def _flatten_operation(operation: PauliOperation) -> tuple[int, ...]:
    match operation:
        case Affine(qubit, coefficient, batched, overlap):
            return (0, coefficient, int(batched), overlap, qubit.x, qubit.z)
        case Pair(qubits, coefficient, shifts, overlap):
            vectors = (vector for qubit in qubits for vector in qubit[:2])
            return (1, coefficient, int(shifts[0]), int(shifts[1]), overlap, *vectors)
        case Turn(x, _, z, y_of_string, coefficient, batched, overlap):
            return (2, coefficient, int(batched), overlap, x, z, y_of_string)
        case Transfer(qubits, coefficient, overlap):
            vectors = (vector for qubit in qubits for vector in qubit[:2])
            return (3, coefficient, len(qubits), overlap, *vectors)


_compiled: CompiledTapes[PauliTape, _native.PauliTape] = CompiledTapes(
    lambda tape: _native.PauliTape(np.fromiter(_flatten(tape), dtype=np.int64))
)
