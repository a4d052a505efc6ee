from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Rows: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]

class Coefficients:
    def __init__(
        self,
        pairs: NDArray[np.float64],
        batched_pairs: NDArray[np.float64],
        matrices: NDArray[np.complex128],
        batched_matrices: NDArray[np.complex128],
        angles: NDArray[np.float64],
        batched_angles: NDArray[np.float64],
        scales: NDArray[np.float64],
        dense: Sequence[NDArray[np.complex128]] = (),
    ) -> None: ...
    @property
    def pairs(self) -> NDArray[np.float64]: ...
    @property
    def batched_pairs(self) -> NDArray[np.float64]: ...
    @property
    def matrices(self) -> NDArray[np.complex128]: ...
    @property
    def batched_matrices(self) -> NDArray[np.complex128]: ...
    @property
    def angles(self) -> NDArray[np.float64]: ...
    @property
    def batched_angles(self) -> NDArray[np.float64]: ...
    @property
    def scales(self) -> NDArray[np.float64]: ...
    @property
    def dense(self) -> tuple[NDArray[np.complex128], ...]: ...

class Bound:
    @property
    def coefficients(self) -> Coefficients: ...

class CoefficientMap:
    def __init__(self, **tables: object) -> None: ...
    def over(
        self, num_shared: int, num_batched: int, shared: _Rows, from_shared: _Rows, from_batched: _Rows
    ) -> CoefficientMap: ...
    def bind(self, shared: NDArray[np.float64], batched: NDArray[np.float64], /) -> Bound | None: ...
    def pull_sums(self, bound: Bound, overlaps: NDArray[np.float64], /) -> NDArray[np.float64]: ...
    def pull_samples(
        self, bound: Bound, overlaps: NDArray[np.float64], per_sample: bool, /
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...

def all_finite(values: NDArray[np.float64], /) -> bool: ...

class State:
    @property
    def num_qubits(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def groups(self) -> int: ...
    @property
    def lane_bits(self) -> int: ...
    def copy(self) -> State: ...

class Tape:
    def __init__(self, source: NDArray[np.int64], /) -> None: ...
    @property
    def num_overlaps(self) -> int: ...

class Observables:
    @property
    def num_observables(self) -> int: ...

def instruction_sets() -> list[str]: ...
def width(isa: str, single: bool, half_width: bool) -> int: ...
def make_state(
    isa: str, single: bool, half_width: bool, num_qubits: int, batch: int, spread: int, limit: int
) -> State: ...
def make_observables(
    isa: str,
    num_qubits: int,
    num_observables: int,
    coefficients: NDArray[np.float64],
    terms: NDArray[np.int64],
    controls: NDArray[np.int64],
) -> Observables: ...
def set_zero_state(state: State, threads: int, /) -> None: ...
def set_amplitudes(state: State, amplitudes: NDArray[np.complex128], threads: int, /) -> None: ...
def forward(tape: Tape, coefficients: Coefficients, ket: State, threads: int, /) -> None: ...
def backward(
    tape: Tape, coefficients: Coefficients, ket: State, bra: State, per_sample: bool, threads: int, /
) -> NDArray[np.float64]: ...
def expectation(observables: Observables, ket: State, threads: int, /) -> NDArray[np.float64]: ...
def apply_observables(
    observables: Observables, ket: State, cotangents: NDArray[np.float64], threads: int, /
) -> State: ...
def amplitudes(
    state: State, columns: list[int], offset: int, threads: int, /
) -> NDArray[np.complex128] | NDArray[np.complex64]: ...
def probabilities(
    state: State, columns: list[int], offset: int, qubits: list[int], threads: int, /
) -> NDArray[np.float64]: ...

class PauliState:
    @property
    def num_qubits(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def lane_bits(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    def copy(self) -> PauliState: ...

class PauliTape:
    def __init__(self, source: NDArray[np.int64], /) -> None: ...
    @property
    def num_overlaps(self) -> int: ...

class PauliCoefficients:
    def __init__(
        self,
        affine: NDArray[np.float64],
        batched_affine: NDArray[np.float64],
        pairs: NDArray[np.float64],
        turns: NDArray[np.float64],
        batched_turns: NDArray[np.float64],
        transfers: Sequence[NDArray[np.float64]],
        inverse_affine: NDArray[np.float64],
        inverse_batched_affine: NDArray[np.float64],
        inverse_pairs: NDArray[np.float64],
        inverse_transfers: Sequence[NDArray[np.float64]],
        /,
    ) -> None: ...

def make_pauli_state(
    isa: str, single: bool, half_width: bool, num_qubits: int, batch: int, limit: int, /
) -> PauliState: ...
def set_zero_vector(state: PauliState, threads: int, /) -> None: ...
def set_vectors(state: PauliState, vectors: NDArray[np.float64], threads: int, /) -> None: ...
def vectors(state: PauliState, threads: int, /) -> NDArray[np.float64]: ...
def pauli_rows(state: PauliState, rows: NDArray[np.int64], /) -> NDArray[np.float64]: ...
def pauli_expectation(
    state: PauliState, starts: NDArray[np.int64], rows: NDArray[np.int64], weights: NDArray[np.float64], /
) -> NDArray[np.float64]: ...
def set_bra(
    state: PauliState,
    starts: NDArray[np.int64],
    rows: NDArray[np.int64],
    weights: NDArray[np.float64],
    cotangents: NDArray[np.float64] | None,
    threads: int,
    /,
) -> None: ...
def products(bras: PauliState, kets: PauliState, threads: int, /) -> NDArray[np.float64]: ...
def combine(kets: PauliState, weights: NDArray[np.float64], state: PauliState, threads: int, /) -> None: ...
def pauli_forward(tape: PauliTape, coefficients: PauliCoefficients, ket: PauliState, threads: int, /) -> None: ...
def pauli_backward_bra(tape: PauliTape, coefficients: PauliCoefficients, bra: PauliState, threads: int, /) -> None: ...
def pauli_backward(
    tape: PauliTape,
    coefficients: PauliCoefficients,
    ket: PauliState,
    bra: PauliState,
    per_sample: bool,
    threads: int,
    /,
) -> NDArray[np.float64]: ...
def pauli_joint(
    tape: PauliTape,
    coefficients: PauliCoefficients,
    ket: PauliState,
    bra: PauliState,
    per_sample: bool,
    threads: int,
    /,
) -> NDArray[np.float64]: ...
def bind_sequences(
    starts: NDArray[np.intp],
    axes: NDArray[np.intp],
    slots: NDArray[np.intp],
    weights: NDArray[np.float64],
    constants: NDArray[np.float64],
    angles: NDArray[np.float64],
    maps: NDArray[np.float64],
    /,
) -> NDArray[np.float64]: ...
def pull_sequences(
    starts: NDArray[np.intp],
    axes: NDArray[np.intp],
    slots: NDArray[np.intp],
    weights: NDArray[np.float64],
    constants: NDArray[np.float64],
    angles: NDArray[np.float64],
    maps: NDArray[np.float64],
    overlaps: NDArray[np.float64],
    /,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
