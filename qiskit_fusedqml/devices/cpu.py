"""The CPU device: C++ sweeps with samples in SIMD lanes, for the instruction set of the machine it runs on.

The compiled module `_native` knows tapes as flat integers (`planner.words`) and states as opaque objects. It is built
for several instruction sets; the best one this machine has is chosen when a device is made, or the one named by the
environment variable ``FUSEDQML_ISA`` (avx512, avx2, sse2 or neon). What the planner is told about it was measured
(`calibration`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar
from weakref import ref

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ..errors import DeviceUnavailableError
from ..ir.observables import PauliSum
from ..memory import default_budget, physical_memory
from ..planner.cost import CostModel
from ..planner.frame import Frame
from ..planner.tape import Tape
from ..planner.words import sizes_of, words_of
from . import RankDevice, ValueAndBraDevice, _native
from ._native import Coefficients
from .calibration import Calibration, find
from .checks import check_initial_state, check_options, check_qubits, empty_batch
from .coefficients import CompiledCoefficientMap
from .observables import ObservableCache, ObservableTerms
from .pieces import Piece

_CACHE_WAY = 4096
"""Bytes of one way of an L1 cache: addresses that far apart share a set."""


_Tape = TypeVar("_Tape")
_Compiled = TypeVar("_Compiled")


class CompiledTapes(Generic[_Tape, _Compiled]):
    """Compiled tapes of all devices, each kept while its tape lives.

    By id: a dictionary of weak keys takes as long as a small sweep.
    """

    def __init__(self, compile_tape: Callable[[_Tape], _Compiled]) -> None:
        self._compile = compile_tape
        self.kept: dict[int, tuple[ref[_Tape], _Compiled]] = {}

    def __call__(self, tape: _Tape) -> _Compiled:
        """A tape, compiled.

        Raises:
            InvalidInputError: If it cannot be run.
        """
        key, kept = id(tape), self.kept
        entry = kept.get(key)
        if entry is not None and entry[0]() is tape:
            return entry[1]
        compiled = self._compile(tape)
        reference = ref(tape, lambda gone: kept.pop(key, None) if kept.get(key, (None,))[0] is gone else None)
        kept[key] = (reference, compiled)
        return compiled


_compiled: CompiledTapes[Tape, _native.Tape] = CompiledTapes(lambda tape: _native.Tape(words_of(tape), tape.is_real))


def instruction_set() -> str:
    """Name of the instruction set the sweeps use on this machine, honouring ``FUSEDQML_ISA``.

    Raises:
        DeviceUnavailableError: If ``FUSEDQML_ISA`` names one that this machine or this build does not have.
    """
    available = _native.instruction_sets()
    wanted = os.environ.get("FUSEDQML_ISA")
    if not wanted:
        return available[0]
    if wanted not in available:
        raise DeviceUnavailableError(
            f"FUSEDQML_ISA is {wanted!r}; this machine has {', '.join(available)}. Choose one of them or unset it."
        )
    return wanted


def default_threads() -> int:
    """Cores this process may run on, capped by ``OMP_NUM_THREADS``."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cap = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()[:9]  # no core has a number of ten digits
    return min(usable, int(cap)) if cap.isdecimal() and int(cap) > 0 else usable


def _log2(number: int) -> int:
    return number.bit_length() - 1


class CPUDevice(RankDevice, ValueAndBraDevice):
    """Runs tapes on the CPU; a state is an object of the compiled module.

    A state that a real tape starts with real amplitudes holds one number for each, half of the memory and of the work,
    until an operation on it is complex.

    Args:
        precision: "double" or "single".
        num_threads: Threads of one call; None for the cores in the affinity mask, capped by ``OMP_NUM_THREADS``.
        calibration: Numbers to plan with; None for those that were measured (`qiskit_fusedqml.devices.calibration`).

    Raises:
        InvalidInputError: For another precision or a number of threads below 1.
        DeviceUnavailableError: If ``FUSEDQML_ISA`` names an instruction set that is not there.
    """

    name = "CPU"
    coefficient_map = CompiledCoefficientMap

    def __init__(
        self, precision: str = "double", num_threads: int | None = None, calibration: Calibration | None = None
    ) -> None:
        threads = check_options(precision, num_threads)
        self.precision = precision
        self.num_threads = default_threads() if threads is None else threads
        self._isa = instruction_set()
        self._memory = physical_memory()
        self._single = precision == "single"
        self._width = _native.width(self._isa, self._single, False)
        self._half_width = _native.width(self._isa, self._single, True)
        amplitude_bytes = 8 if self._single else 16
        row_bytes = self._width * amplitude_bytes
        numbers = find(self._isa, precision)[0] if calibration is None else calibration
        self._half_width_cost = cost = numbers.half_width_cost
        # t turns of full vectors are at least 2 t - 1 of half the width
        turns = cost / (2 * cost - 1) if cost > 0.5 else np.inf
        self._most_for_half_width = turns * self.num_threads * self._width
        self.cost_model = CostModel(
            tile_qubits=numbers.tile_qubits,
            whole_qubits=numbers.whole_qubits,
            lanes=self._width,
            half_lanes=self._half_width,
            threads=self.num_threads,
            amplitude_bytes=amplitude_bytes,
            byte_cost=numbers.byte_cost,
            fold_bits=_log2(_CACHE_WAY // row_bytes),
            factors=numbers.factors,
            real_states=True,
        )
        self._observables = ObservableCache(self._compile_observables)

    @property
    def instruction_set(self) -> str:
        """The instruction set in use."""
        return self._isa

    @override
    def allocate(self, tape: Tape, batch: int, initial_state: NDArray[np.complex128] | None) -> _native.State:
        if batch < 1:
            raise empty_batch(batch)
        if initial_state is not None:
            check_initial_state(initial_state, tape.num_qubits, batch)
        half = self._prefers_half_width(tape, batch)
        real = tape.is_real and (initial_state is None or not np.imag(initial_state).any())
        state = _native.make_state(
            self._isa, self._single, half, real, tape.num_qubits, batch, tape.lane_qubits, self._memory
        )
        if initial_state is None:
            _native.set_zero_state(state, self.num_threads)
            return state
        _native.set_amplitudes(state, np.ascontiguousarray(initial_state, dtype=np.complex128), self.num_threads)
        return state

    @override
    def copy(self, state: _native.State) -> _native.State:
        return state.copy()

    @override
    def forward(self, tape: Tape, coefficients: Coefficients, ket: _native.State) -> None:
        _native.forward(_compiled(tape), coefficients, ket, self.num_threads)

    @override
    def backward(
        self, tape: Tape, coefficients: Coefficients, ket: _native.State, bra: _native.State, *, per_sample: bool
    ) -> NDArray[np.float64]:
        return _native.backward(_compiled(tape), coefficients, ket, bra, per_sample, self.num_threads)

    @override
    def expectation(self, ket: _native.State, frame: Frame, sums: Sequence[PauliSum]) -> NDArray[np.float64]:
        return _native.expectation(self._observables.form(frame, sums), ket, self.num_threads)

    @override
    def apply_observables(
        self, ket: _native.State, frame: Frame, sums: Sequence[PauliSum], cotangents: NDArray[np.float64]
    ) -> _native.State:
        return _native.apply_observables(self._observables.form(frame, sums), ket, cotangents, self.num_threads)

    @override
    def value_and_bra(
        self, ket: _native.State, frame: Frame, observable: PauliSum
    ) -> tuple[NDArray[np.float64], _native.State]:
        return _native.value_and_bra(self._observables.form(frame, (observable,)), ket, self.num_threads)

    @override
    def scale(self, state: _native.State, factors: NDArray[np.float64]) -> None:
        _native.scale(state, np.ascontiguousarray(factors), self.num_threads)

    @override
    def amplitudes(self, ket: _native.State, frame: Frame) -> NDArray[np.complex128] | NDArray[np.complex64]:
        return _native.amplitudes(ket, list(frame.columns), frame.offset, self.num_threads)

    @override
    def probabilities(self, ket: _native.State, frame: Frame, qubits: Sequence[int]) -> NDArray[np.float64]:
        check_qubits(qubits, ket.num_qubits)
        return _native.probabilities(ket, list(frame.columns), frame.offset, list(qubits), self.num_threads)

    @override
    def pack(self, state: _native.State, piece: Piece, buffer: NDArray[np.floating]) -> None:
        _native.pack(state, *piece, buffer, self.num_threads)

    @override
    def unpack(self, state: _native.State, piece: Piece, buffer: NDArray[np.floating]) -> None:
        _native.unpack(state, *piece, buffer, self.num_threads)

    @override
    def clear(self, state: _native.State) -> None:
        _native.clear(state, self.num_threads)

    @override
    def add(self, state: _native.State, other: _native.State) -> None:
        _native.add(state, other, self.num_threads)

    @override
    def memory_budget(self) -> int:
        return default_budget()

    @override
    def state_bytes(self, num_qubits: int, batch: int) -> int:
        # lanes that neither samples nor qubits fill (small circuits) are not counted
        samples = min(self._width, 1 << (max(batch, 1) - 1).bit_length())
        groups = -(-batch // samples)
        return groups * samples * self.cost_model.amplitude_bytes << num_qubits

    def _prefers_half_width(self, tape: Tape, batch: int) -> bool:
        """Whether half-width vectors keep more threads, or fewer empty lanes, busy."""
        qubits, half = tape.lane_qubits, self._half_width
        if batch > self._most_for_half_width and not qubits:
            return False
        groups, narrow = -(-batch // max(self._width >> qubits, 1)), -(-batch // max(half >> qubits, 1))
        if groups < self.num_threads and narrow > groups:
            largest = max((size.tile for size in sizes_of(tape)), default=0)
            if 1 << (tape.num_qubits - qubits - largest) < self.num_threads:
                return self.cost_model.splits(tape.num_qubits, qubits, max(half >> qubits, 1), batch)
        if groups > self.num_threads:
            # three groups keep two threads as long as four do; six of half the width leave none idle
            turns, narrow_turns = -(-groups // self.num_threads), -(-narrow // self.num_threads)
            return self._half_width_cost * narrow_turns < turns
        return self._half_width_cost < 1 and (1 << (batch - 1).bit_length() + qubits) <= half

    def _compile_observables(self, frame: Frame, sums: Sequence[PauliSum]) -> _native.Observables:
        terms = ObservableTerms.of(frame, sums)
        return _native.make_observables(
            self._isa, frame.num_qubits, len(sums), terms.coefficients, terms.words, terms.controls
        )
