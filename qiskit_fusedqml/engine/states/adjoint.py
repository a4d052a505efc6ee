"""Reverse mode: the backward sweep with any bra."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arrays import ComplexArray, FloatArray
from ...devices import State
from ...devices.reference import logical_rows
from ...errors import FusedQMLError, InvalidInputError
from ...ir.angles import AngleMap
from ...ir.encoding import AmplitudeEncoding
from ...ir.observables import PauliSum
from ...ir.program import (
    Diagonal,
    Instruction,
    Matrix,
    Program,
    Rotation,
)
from ..binding import Binding, BoundBatch
from ..parameters import ParameterBatch, ParameterSet
from ..program_function import ProgramFunction


class AdjointStates(ProgramFunction):
    """A program whose amplitudes are differentiated, too.

    Args:
        program: The program.
        angle_map: From parameters to its angles.
        observables: The observables, or None.
        encoding: Amplitudes that are parameters, or None.
        any_start: See `ProgramFunction`.
        **options: See `ProgramFunction`.
    """

    def __init__(
        self,
        program: Program,
        angle_map: AngleMap,
        observables: Sequence[PauliSum] | None,
        *,
        encoding: AmplitudeEncoding | None = None,
        any_start: bool = False,
        **options: Any,
    ) -> None:
        self.encoding = encoding
        super().__init__(program, angle_map, observables, any_start=any_start or encoding is not None, **options)

    @property
    def num_observables(self) -> int:
        """Number of observables."""
        return len(self._observables())

    def state_vjp(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None
    ) -> tuple[ComplexArray, Callable[[ArrayLike], tuple[NDArray[np.floating] | None, NDArray[np.floating]]]]:
        """Final amplitudes and a function from their cotangents to (dx, dw).

        Args:
            x: Inputs (B, num_inputs) or None.
            w: Weights.

        Returns:
            amplitudes (B, 2**n), and pullback(g) -> dx, dw as of `vjp` for complex g (B, 2**n) with
            ``dL = Re sum conj(g) d amplitudes``. The pullback may be called once.
        """
        parameters = self._parameters(x, w)
        binding = self.plans.binding(parameters.varying, self._training, parameters.batch, keep_phase=True)
        chunks, frame = list(self.memory.chunks(parameters, 4, binding)), binding.plan.tape.frame
        forwards = (self._forward(binding, rows, back=4) for rows in chunks)
        held = [next(forwards)] if len(chunks) == 1 else []  # else computed again
        amplitudes = np.concatenate([self.device.amplitudes(ket, frame) for _, ket in held or forwards])
        unused = [True]

        def pullback(cotangents: ArrayLike) -> tuple[NDArray[np.floating] | None, NDArray[np.floating]]:
            if not unused:
                raise FusedQMLError(
                    "This pullback was called before; each belongs to one backward sweep. Call state_vjp again."
                )
            bras = 0.5 * self._checked_bras(cotangents, amplitudes.shape)
            unused.clear()
            gradients = np.empty((parameters.batch, self.angle_map.num_parameters))
            start = 0
            for rows in chunks:
                stop = start + rows.batch
                bound, ket = held.pop() if held else self._forward(binding, rows, back=4)
                gradients[start:stop] = self._pull_bra(binding, rows, bound, ket, bras[start:stop], last=True)
                start = stop
            dx = gradients[:, : self.num_inputs] if self.input_gradients else None
            dw = gradients[:, self.num_inputs :]
            dw = dw if parameters.by_row else dw.sum(axis=0)
            return dx if dx is None else dx.astype(self.dtype, copy=False), dw.astype(self.dtype, copy=False)

        return amplitudes, pullback

    def vjp(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None
    ) -> tuple[NDArray[np.floating], Callable[[ArrayLike], tuple[NDArray[np.floating] | None, NDArray[np.floating]]]]:
        """See `ProgramFunction.vjp`; where amplitudes are trained, a sweep for each observable."""
        if not self.encodes(self._training.indices):
            return super().vjp(x, w)
        parameters, per_row = self._parameters(x, w), w is not None and np.ndim(w) == 2
        jacobian = self.jacobian(x, w, wrt="all")

        def pullback(cotangents: ArrayLike) -> tuple[NDArray[np.floating] | None, NDArray[np.floating]]:
            gradients = np.einsum("bk,bkp->bp", self._cotangents(cotangents, parameters.batch), jacobian)
            gradients = gradients.astype(self.dtype, copy=False)
            dw = gradients[:, self.num_inputs :]
            return gradients[:, : self.num_inputs] if self.input_gradients else None, dw if per_row else dw.sum(axis=0)

        return self.values(x, w), pullback

    def jacobian(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None, wrt: str | Sequence[int] = "weights"
    ) -> NDArray[np.floating]:
        """See `ProgramFunction.jacobian`."""
        if not self.encodes(self._wrt(wrt)):
            return super().jacobian(x, w, wrt)
        return self._overlaps(x, w, wrt, (1.0,)).astype(self.dtype, copy=False)

    def overlap_jacobian(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None, wrt: str | Sequence[int] = "weights"
    ) -> NDArray[np.complex128]:
        """``2 <psi| O |d psi>`` for every observable, (B, n_obs, n); the real part is `jacobian`."""
        # Im <1j bra| P |ket> = -Re <bra| P |ket>, which is 2 Im <bra| d psi>
        parts = self._overlaps(x, w, wrt, (1.0, 1j))
        return parts[:, 0::2] + 1j * parts[:, 1::2]

    def _overlaps(
        self, x: ArrayLike | None, w: ArrayLike | None, wrt: str | Sequence[int], factors: tuple[complex, ...]
    ) -> FloatArray:
        """Gradients (B, n_obs * factors, n) for the bras ``factor * O |psi>``."""
        observables = self._observables()

        def bras(ket: State, frame: Any, batch: int) -> Iterator[ComplexArray]:
            for k in range(len(observables)):
                chosen = np.zeros((batch, len(observables)))
                chosen[:, k] = 1.0
                image = self.device.amplitudes(self.device.apply_observables(ket, frame, observables, chosen), frame)
                yield from (factor * image for factor in factors)

        return self.pull_bras(x, w, wrt, bras, len(observables) * len(factors))

    def pull_bras(
        self,
        x: ArrayLike | None,
        w: ArrayLike | None,
        wrt: str | Sequence[int],
        bras: Callable[[State, Any, int], Iterator[ComplexArray]],
        count: int,
    ) -> FloatArray:
        """Gradients (B, count, n) of functions of the state, one backward sweep each.

        Args:
            x: Inputs (B, num_inputs) or None.
            w: Weights.
            wrt: As of `jacobian`.
            bras: From the ket of b samples, its frame and b to an iterator over ``count`` bras (b, 2**n), half the
                cotangents of `state_vjp`.
            count: Number of functions.
        """
        parameters, wanted = self._parameters(x, w), self._wrt(wrt)
        planner = partial(self.plans.binding, wanted=ParameterSet(np.unique(wanted)), keep_phase=True)
        binding = planner(parameters.varying, batch=parameters.batch)
        recalled = self._recall.take(parameters, binding, planner)
        result = np.empty((parameters.batch, count, len(wanted)))
        start = 0
        states = 5 if self.checkpoint else 4
        for rows in self.memory.chunks(parameters, states, binding):
            bound, ket = recalled if recalled and rows is parameters else self._forward(binding, rows, back=states)
            for k, bra in enumerate(bras(ket, binding.plan.tape.frame, rows.batch)):
                gradients = self._pull_bra(binding, rows, bound, self.device.copy(ket), bra, last=False)
                result[start : start + rows.batch, k] = gradients[:, wanted]
            start += rows.batch
        return result

    def _pull_bra(
        self, binding: Binding, rows: ParameterBatch, bound: BoundBatch, ket: State, bra: ComplexArray, *, last: bool
    ) -> FloatArray:
        """Parameter gradients (B, P) for amplitudes (B, 2**n) of a bra; the ket is used up."""
        tape = binding.plan.tape
        ordered = np.empty(bra.shape, np.complex128)
        ordered[:, logical_rows(tape.frame)] = bra
        state = self.device.allocate(tape, rows.batch, ordered)
        overlaps = binding.undo(self.device, bound, ket, state, per_sample=True, last=last)
        gradients, _ = binding.pullback(bound, overlaps, per_row=True)
        if self.encoding is not None:
            start = np.asarray(self._inverse.evolve(rows, 2.0 * bra), np.complex128)
            gradients += self.encoding.pullback(_full_rows(rows), start, self.program.initial_state)
        return gradients

    def evolve(self, rows: ParameterBatch, amplitudes: ComplexArray) -> ComplexArray:
        """The program applied to given amplitudes (B, 2**n), of any norm."""
        binding = self.plans.binding(rows.varying, self._nothing, rows.batch, keep_phase=True, any_start=True)
        tape = binding.plan.tape
        state = self.device.allocate(tape, rows.batch, np.asarray(amplitudes, np.complex128))
        binding.apply(self.device, binding.bind(rows), state)
        return self.device.amplitudes(state, tape.frame)

    def undo(self, w: ArrayLike, amplitudes: ComplexArray) -> ComplexArray:
        """The inverse of the program applied to given amplitudes.

        Args:
            w: Weights by row (B, num_weights); the program has no inputs.
            amplitudes: (B, 2**n).

        Raises:
            InvalidInputError: If the program starts from amplitudes of its own, which cannot be undone.
        """
        if self.encoding is not None or self.program.initial_state is not None:
            raise InvalidInputError(
                "The circuit begins with given amplitudes, which cannot be undone; gates are needed for that."
            )
        return self._inverse.evolve(self._parameters(None, w), amplitudes)

    def rows(self, x: ArrayLike | None, w: ArrayLike | None) -> FloatArray:
        """Parameter values (B, P), inputs first."""
        return _full_rows(self._parameters(x, w))

    def encodes(self, parameters: NDArray[np.intp]) -> bool:
        """Whether amplitudes of the initial state depend on any of these parameters."""
        return self.encoding is not None and bool(np.isin(parameters, self._encoding_parameters).any())

    def sibling(
        self, program: Program, angle_map: AngleMap, encoding: AmplitudeEncoding | None = None
    ) -> AdjointStates:
        """Another program on the same device, without inputs."""
        return AdjointStates(
            program,
            angle_map,
            self.observables,
            encoding=encoding,
            device=self.device,
            precision="single" if self.dtype == np.float32 else "double",
            max_memory_mb=self.budget / 2**20,
            checkpoint=self.checkpoint,
        )

    def _initial_state(self, rows: ParameterBatch) -> NDArray[np.complex128] | None:
        if self.encoding is None:
            return super()._initial_state(rows)
        values = _full_rows(rows) if np.isin(self._encoding_parameters, rows.varying.indices).any() else rows.base
        return self.encoding.states(values, self.num_qubits, self.program.initial_state)

    @cached_property
    def _encoding_parameters(self) -> NDArray[np.intp]:
        """The parameters that amplitudes depend on."""
        return np.zeros(0, np.intp) if self.encoding is None else np.unique(self.encoding.features.dependence[1])

    @cached_property
    def _inverse(self) -> AdjointStates:
        """The program undone, in the same parameters."""
        a = self.angle_map
        negative = replace(a, constants=-a.constants, coefficients=-a.coefficients)
        return self.sibling(_inverted(self.program), negative)

    def _checked_bras(self, cotangents: ArrayLike, shape: tuple[int, ...]) -> ComplexArray:
        array = np.asarray(cotangents, dtype=np.complex128)
        if array.shape != shape:
            raise InvalidInputError(f"Cotangents have shape {array.shape}; {shape} (samples, amplitudes) is expected.")
        if not np.isfinite(array).all():
            raise InvalidInputError("Cotangents hold NaN or infinite numbers.")
        return array


def _inverted(program: Program) -> Program:
    """The program undone, for angles of the opposite sign; what is prepared at the start is left out."""
    instructions: list[Instruction] = []
    for instruction in reversed(program.instructions):
        if isinstance(instruction, Rotation):
            instructions.append(instruction._replace(theta=-instruction.theta))
        elif isinstance(instruction, Diagonal):
            instructions.append(Diagonal(instruction.qubits, instruction.table.conj()))
        else:
            instructions.append(Matrix(instruction.qubits, instruction.matrix.conj().T))
    return replace(program, instructions=tuple(instructions), initial_state=None)


def _full_rows(parameters: ParameterBatch) -> FloatArray:
    values = np.tile(parameters.base, (parameters.batch, 1))
    values[:, parameters.varying.indices] = parameters.columns
    return values
