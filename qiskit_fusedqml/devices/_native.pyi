import numpy as np
from numpy.typing import NDArray

class Recipe:
    def __init__(self, **tables: object) -> None: ...
    def bind(
        self, shared: NDArray[np.float64], batched: NDArray[np.float64]
    ) -> tuple[
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.complex128],
        NDArray[np.complex128],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64],
    ]: ...
    def pull_shared(
        self,
        overlaps: NDArray[np.float64],
        shared: NDArray[np.float64],
        factors: NDArray[np.float64],
        alpha: NDArray[np.float64],
    ) -> NDArray[np.float64]: ...
    def pull_batched(
        self, overlaps: NDArray[np.float64], batched: NDArray[np.float64], factors: NDArray[np.float64]
    ) -> NDArray[np.float64]: ...

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
        dense: list[NDArray[np.complex128]],
        /,
    ) -> None: ...

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
