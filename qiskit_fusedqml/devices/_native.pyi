from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Rows: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]

_Slope: TypeAlias = tuple[bool, int, NDArray[np.intp], NDArray[np.float64]]

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
    @property
    def is_real(self) -> bool: ...
    def copy(self) -> State: ...

class Tape:
    def __init__(self, words: NDArray[np.int64], is_real: bool = False) -> None: ...
    @property
    def num_overlaps(self) -> int: ...

class Observables:
    @property
    def num_observables(self) -> int: ...

def pack(
    state: State,
    vectors: NDArray[np.uint64],
    offset: int,
    first: int,
    count: int,
    buffer: NDArray[np.floating],
    threads: int,
    /,
) -> None: ...
def unpack(
    state: State,
    vectors: NDArray[np.uint64],
    offset: int,
    first: int,
    count: int,
    buffer: NDArray[np.floating],
    threads: int,
    /,
) -> None: ...
def clear(state: State, threads: int, /) -> None: ...
def scale(state: State, factors: NDArray[np.float64], threads: int, /) -> None: ...
def add(state: State, other: State, threads: int, /) -> None: ...
def instruction_sets() -> list[str]: ...
def width(isa: str, single: bool, half_width: bool) -> int: ...
def make_state(
    isa: str,
    single: bool,
    half_width: bool,
    real_states: bool,
    num_qubits: int,
    batch: int,
    spread: int,
    limit: int,
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
def value_and_bra(observables: Observables, ket: State, threads: int, /) -> tuple[NDArray[np.float64], State]: ...
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
    @property
    def is_product(self) -> bool: ...
    def copy(self) -> PauliState: ...

class PauliTape:
    def __init__(self, source: NDArray[np.int64], /) -> None: ...
    @property
    def num_overlaps(self) -> int: ...

class PauliChannels:
    def __init__(
        self,
        maps: NDArray[np.float64],
        pairs: NDArray[np.float64],
        transfers: Sequence[NDArray[np.float64]],
        inverse_pairs: NDArray[np.float64],
        inverse_transfers: Sequence[NDArray[np.float64]],
        held: NDArray[np.bool_],
        batched_held: NDArray[np.bool_],
        log_kappas: NDArray[np.float64],
        /,
    ) -> None: ...

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
    ) -> None: ...
    @property
    def affine(self) -> NDArray[np.float64]: ...
    @property
    def batched_affine(self) -> NDArray[np.float64]: ...
    @property
    def pairs(self) -> NDArray[np.float64]: ...
    @property
    def turns(self) -> NDArray[np.float64]: ...
    @property
    def batched_turns(self) -> NDArray[np.float64]: ...
    @property
    def transfers(self) -> tuple[NDArray[np.float64], ...]: ...
    @property
    def inverse_affine(self) -> NDArray[np.float64]: ...
    @property
    def inverse_batched_affine(self) -> NDArray[np.float64]: ...
    @property
    def inverse_pairs(self) -> NDArray[np.float64]: ...
    @property
    def inverse_transfers(self) -> tuple[NDArray[np.float64], ...]: ...

class PauliBound:
    @property
    def coefficients(self) -> PauliCoefficients: ...
    @property
    def angles(self) -> NDArray[np.float64]: ...
    @property
    def log_kappas(self) -> NDArray[np.float64]: ...

class PauliCoefficientMap:
    def __init__(self, **tables: object) -> None: ...
    def over(
        self, num_shared: int, num_batched: int, shared: _Rows, from_shared: _Rows, from_batched: _Rows, /
    ) -> PauliCoefficientMap: ...
    def shared_angles(self, shared: NDArray[np.float64], /) -> NDArray[np.float64]: ...
    def bind(
        self, shared: NDArray[np.float64], batched: NDArray[np.float64], channels: PauliChannels, /
    ) -> PauliBound | None: ...
    def pull_sums(
        self, bound: PauliBound, overlaps: NDArray[np.float64], slopes: Sequence[_Slope], /
    ) -> NDArray[np.float64]: ...
    def pull_samples(
        self, bound: PauliBound, overlaps: NDArray[np.float64], per_sample: bool, slopes: Sequence[_Slope], /
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...

def make_pauli_state(
    isa: str,
    single: bool,
    num_qubits: int,
    batch: int,
    limit: int,
    vectors: NDArray[np.float64] | None,
    threads: int,
    /,
) -> PauliState: ...
def make_bra(
    isa: str,
    single: bool,
    num_qubits: int,
    batch: int,
    limit: int,
    starts: NDArray[np.int64],
    rows: NDArray[np.int64],
    weights: NDArray[np.float64],
    cotangents: NDArray[np.float64] | None,
    threads: int,
    /,
) -> PauliState: ...
def vectors(state: PauliState, threads: int, /) -> NDArray[np.float64]: ...
def pauli_rows(state: PauliState, rows: NDArray[np.int64], /) -> NDArray[np.float64]: ...
def pauli_expectation(
    state: PauliState, starts: NDArray[np.int64], rows: NDArray[np.int64], weights: NDArray[np.float64], /
) -> NDArray[np.float64]: ...
def products(bras: PauliState, kets: PauliState, threads: int, /) -> NDArray[np.float64]: ...
def combine(kets: PauliState, weights: NDArray[np.float64], limit: int, threads: int, /) -> PauliState: ...
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
