"""The meaning of a tape, in plain NumPy.

Not intended to be fast: each operation is written as its definition in `qiskit_fusedqml.planner.tape`, on whole arrays
(B, 2**n) by physical index. If another device disagrees with this one, the other is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ..arrays import ComplexArray
from ..ir.observables import PauliSum
from ..ir.qubits import bits
from ..memory import default_budget
from ..planner.cost import CostModel
from ..planner.frame import Frame, Functional, PhysicalTerm
from ..planner.tape import RY, U2, Dense, Diag, Factor, Operation, Pauli, Tape
from . import Coefficients
from .array_parts import ArrayParts
from .reference_coefficients import ReferenceCoefficientMap


class ReferenceDevice(ArrayParts):
    """Runs tapes on arrays of complex128; a state is an array (B, 2**n) by physical index."""

    name = "reference"
    cost_model = CostModel()
    coefficient_map = ReferenceCoefficientMap

    @override
    def allocate(self, tape: Tape, batch: int, initial_state: ComplexArray | None) -> ComplexArray:
        shape = (batch, 2**tape.num_qubits)
        if initial_state is not None:
            return np.array(np.broadcast_to(initial_state, shape), dtype=np.complex128)
        state = np.zeros(shape, dtype=np.complex128)
        state[:, 0] = 1.0
        return state

    @override
    def copy(self, state: ComplexArray) -> ComplexArray:
        return state.copy()

    @override
    def forward(self, tape: Tape, coefficients: Coefficients, ket: ComplexArray) -> None:
        for block in tape.blocks:
            for operation in block.operations:
                ket[...] = apply(operation, coefficients, ket, inverse=False)

    @override
    def backward(
        self, tape: Tape, coefficients: Coefficients, ket: ComplexArray, bra: ComplexArray, *, per_sample: bool
    ) -> NDArray[np.float64]:
        overlaps = np.zeros((len(ket), tape.num_overlaps))
        for block in reversed(tape.blocks):
            for operation in reversed(block.operations[block.undo_from :]):
                if operation.overlap >= 0:
                    stop = operation.overlap + operation.num_overlaps
                    overlaps[:, operation.overlap : stop] = measure(operation, ket, bra)
                    if isinstance(operation, RY) and _leaves_x_out(operation, coefficients):
                        overlaps[:, operation.overlap + 1] = np.nan  # it may hold anything
                for state in (ket, bra):
                    state[...] = apply(operation, coefficients, state, inverse=True)
        return overlaps if per_sample else overlaps.sum(axis=0)

    @override
    def expectation(self, ket: ComplexArray, frame: Frame, sums: Sequence[PauliSum]) -> NDArray[np.float64]:
        columns = [np.einsum("br,br->b", ket.conj(), _apply_sum(ket, frame.terms(observable))) for observable in sums]
        return np.stack([column.real for column in columns], axis=1)

    @override
    def apply_observables(
        self, ket: ComplexArray, frame: Frame, sums: Sequence[PauliSum], cotangents: NDArray[np.float64]
    ) -> ComplexArray:
        bra = np.zeros_like(ket)
        for observable, cotangent in zip(sums, cotangents.T, strict=True):
            bra += cotangent[:, None] * _apply_sum(ket, frame.terms(observable))
        return bra

    @override
    def amplitudes(self, ket: ComplexArray, frame: Frame) -> ComplexArray:
        return ket[:, frame.indices()]

    @override
    def probabilities(self, ket: ComplexArray, frame: Frame, qubits: Sequence[int]) -> NDArray[np.float64]:
        return marginal(np.abs(self.amplitudes(ket, frame)) ** 2, qubits)

    @override
    def memory_budget(self) -> int:
        return default_budget()

    @override
    def state_bytes(self, num_qubits: int, batch: int) -> int:
        return 16 * batch << num_qubits


def marginal(probabilities: NDArray[np.float64], qubits: Sequence[int]) -> NDArray[np.float64]:
    """Sum (B, 2**n) probabilities to (B, 2**k); bit j of the outcome is ``qubits[j]``."""
    batch, size = probabilities.shape
    n = size.bit_length() - 1
    axes = probabilities.reshape((batch,) + (2,) * n)
    others = tuple(n - q for q in range(n) if q not in set(qubits))
    kept = sorted(qubits, reverse=True)
    summed = axes.sum(axis=others)
    order = [0] + [1 + kept.index(q) for q in reversed(qubits)]
    return np.ascontiguousarray(summed.transpose(order).reshape(batch, -1))


def value(functional: Functional, n: int) -> NDArray[np.int64]:
    """The functional at every physical index, shape (2**n,)."""
    indices = np.arange(2**n, dtype=np.int64) | (1 << n)
    values: NDArray[np.int64] = np.bitwise_count(indices & functional).astype(np.int64) & 1
    return values


def apply(operation: Operation, coefficients: Coefficients, state: ComplexArray, *, inverse: bool) -> ComplexArray:
    """The operation, or its undoing, on a state (B, 2**n)."""
    n = state.shape[1].bit_length() - 1
    match operation:
        case Diag():
            phases = _diagonal(operation, coefficients, n)
            scale = coefficients.scales[operation.scale] if operation.scale >= 0 else 1.0
            factors: ComplexArray = scale * np.exp((1j if inverse else -1j) * phases)
            return factors * state
        case RY():
            a, b = _pair(operation, coefficients, inverse)
            side = value(operation.w, n)
            turned: ComplexArray = a * state + (2 * side - 1) * b * state[:, np.arange(2**n) ^ operation.x]
            return turned
        case U2():
            return _apply_u2(operation, coefficients, state, inverse)
        case Pauli():
            a, b = _pair(operation, coefficients, inverse)
            term = PhysicalTerm(1.0, operation.x, operation.z, operation.power, operation.controls)
            selected = _selected(operation.controls, n)
            return np.where(selected, a * state - 1j * b * _apply_term(state, term), state)
        case Dense():
            matrix = coefficients.dense[operation.coefficient]
            return _apply_dense(operation, matrix.conj().T if inverse else matrix, state)


def measure(operation: Operation, ket: ComplexArray, bra: ComplexArray) -> NDArray[np.float64]:
    """The overlaps of an operation, (B, num_overlaps)."""
    n = ket.shape[1].bit_length() - 1

    def overlap(x: int, z: int, power: int, controls: tuple[int, ...] = ()) -> NDArray[np.float64]:
        image = _apply_term(ket, PhysicalTerm(1.0, x, z, power, controls))
        return np.asarray(np.einsum("br,br->b", bra.conj(), image).imag, dtype=np.float64)

    match operation:
        case Diag():
            columns = [overlap(0, f, 0) for f in operation.overlap_functionals]
        case RY():
            columns = [overlap(operation.x, operation.w, 1), overlap(operation.x, 0, 0)][: operation.num_overlaps]
        case U2():
            columns = [overlap(operation.x, 0, 0), overlap(operation.x, operation.w, 1), overlap(0, operation.w, 0)]
        case Pauli():
            columns = [overlap(operation.x, operation.z, operation.power, operation.controls)]
        case Dense():
            indices = _dense_indices(operation, n)
            moment = np.einsum("bio,bjo->bij", ket[:, indices], bra[:, indices].conj()).reshape(len(ket), -1)
            return np.concatenate([moment.real, moment.imag], axis=1)
    return np.stack(columns, axis=1)


def _leaves_x_out(operation: RY, coefficients: Coefficients) -> bool:
    return operation.x_optional and not operation.batched and RY.is_steep(*coefficients.pairs[operation.coefficient])


def _pair(operation: RY | Pauli, coefficients: Coefficients, inverse: bool) -> tuple[Any, Any]:
    if operation.batched:
        a, b = coefficients.batched_pairs[operation.coefficient][:, :, None]
    else:
        a, b = coefficients.pairs[operation.coefficient]
    return a, (-b if inverse else b)


def _diagonal(operation: Diag, coefficients: Coefficients, n: int) -> NDArray[np.float64]:
    total = np.zeros((1, 2**n))
    for factor in operation.factors:
        angles = coefficients.batched_angles if factor.batched else coefficients.angles[:, None]
        for position, functional in enumerate(factor_functionals(factor, n)):
            signs = 1 - 2 * value(functional, n)
            total = total + 0.5 * angles[factor.first + position][:, None] * signs
    return total


def factor_functionals(factor: Factor, n: int) -> list[Functional]:
    """The functional of each term, on physical indices."""
    d = len(factor.basis)
    functionals = []
    for term in factor.terms:
        functional = (term >> d & 1) << n
        for j in bits(term & ((1 << d) - 1)):
            functional ^= factor.basis[j]
        functionals.append(functional)
    return functionals


def _apply_u2(operation: U2, coefficients: Coefficients, state: ComplexArray, inverse: bool) -> ComplexArray:
    n = state.shape[1].bit_length() - 1
    if operation.batched:
        matrix = coefficients.batched_matrices[operation.coefficient][..., None]
    else:
        matrix = coefficients.matrices[operation.coefficient][..., None, None]
    if inverse:
        matrix = matrix.swapaxes(0, 1).conj()
    side = value(operation.w, n)
    partner = state[:, np.arange(2**n) ^ operation.x]
    lower = matrix[0, 0] * state + matrix[0, 1] * partner
    upper = matrix[1, 1] * state + matrix[1, 0] * partner
    return np.asarray(np.where(side == 0, lower, upper), dtype=np.complex128)


def _apply_dense(operation: Dense, matrix: ComplexArray, state: ComplexArray) -> ComplexArray:
    indices = _dense_indices(operation, state.shape[1].bit_length() - 1)
    result = np.empty_like(state)
    result[:, indices] = np.einsum("ij,bjo->bio", matrix, state[:, indices])
    return result


def _dense_indices(operation: Dense, n: int) -> NDArray[np.int64]:
    """Physical indices by (matrix index, position outside), shape (2**k, 2**(n-k))."""
    all_zero = sum(value(w, n) << j for j, w in enumerate(operation.ws)) == 0
    outside = np.flatnonzero(all_zero)
    shifts = Frame(operation.xs, ()).indices()
    return outside[None, :] ^ shifts[:, None]


def _selected(controls: tuple[Functional, ...], n: int) -> NDArray[np.bool_]:
    selected = np.ones(2**n, dtype=bool)
    for functional in controls:
        selected &= value(functional, n) == 1
    return selected


def _apply_term(state: ComplexArray, term: PhysicalTerm) -> ComplexArray:
    """``C P state``: zero where a control is 0."""
    n = state.shape[1].bit_length() - 1
    signs = (1 - 2 * value(term.z, n)) * _selected(term.controls, n)
    return (-1j) ** term.power * term.coefficient * signs * state[:, np.arange(2**n) ^ term.x]


def _apply_sum(state: ComplexArray, terms: Sequence[PhysicalTerm]) -> ComplexArray:
    return sum((_apply_term(state, term) for term in terms), start=np.zeros_like(state))
