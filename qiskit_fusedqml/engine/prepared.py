"""A program made ready for a device: its budget, its plans, and the sweeps that all calls of the engine are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import FloatArray
from ..devices import Device, State
from ..devices.registry import make_device
from ..errors import FusedQMLError, InvalidInputError
from ..ir.angles import AngleMap
from ..ir.measurement import Measurement
from ..ir.observables import PauliSum
from ..ir.program import Program
from ..planner import Plan
from .binding import Binding, checked_cotangents
from .columns import Columns
from .device_arrays import memory_of
from .forward_cache import Pass, Recall
from .memory import MemoryBudget, MemoryEstimate
from .parameters import (
    ParameterBatch,
    ParameterSet,
    checked_parameters,
    first_parameters,
    parameter_indices,
)
from .plans import PlanStore

MADE_FOR_THE_DEVICE = {"device", "memory_of_device", "is_resident", "memory", "plans", "_recall"}
"""Attributes of a program that are made anew where it is unpickled."""


class PreparedProgram:
    """What `ProgramFunction` stands on; its arguments are explained there."""

    def __init__(
        self,
        program: Program,
        angle_map: AngleMap,
        observables: Sequence[PauliSum] | None,
        *,
        num_inputs: int = 0,
        input_gradients: bool = False,
        measurement: Measurement | None = None,
        device: str | Device = "CPU",
        precision: str = "double",
        num_threads: int | None = None,
        max_memory_mb: float | None = None,
        checkpoint: str | int | None = None,
        any_start: bool = False,
    ) -> None:
        self.program = program
        self.angle_map = angle_map
        self.observables = None if observables is None else tuple(observables)
        self.num_inputs = num_inputs
        self.num_weights = angle_map.num_parameters - num_inputs
        self.input_gradients = input_gradients and num_inputs > 0
        everything = tuple((q, q) for q in range(program.num_qubits))
        self.measurement = measurement or Measurement(everything, program.num_qubits)
        self.dtype = np.dtype(np.float32 if precision == "single" else np.float64)
        self.checkpoint = checkpoint
        self._nothing = first_parameters(0)
        self._training = ParameterSet(self._wrt("all" if self.input_gradients else "weights"))
        state = program.initial_state
        self._num_states = 1 if state is None or state.ndim == 1 else len(state)
        self._resources: dict[str, Any] = {
            "device": device,
            "precision": precision,
            "num_threads": num_threads,
            "max_memory_mb": max_memory_mb,
            "any_start": any_start,
        }
        self._prepare(**self._resources)

    def __repr__(self) -> str:
        count = "no" if self.observables is None else len(self.observables)
        return (
            f"{type(self).__name__}({self.num_qubits} qubits, {self.num_inputs} inputs, {self.num_weights} weights, "
            f"{count} observables, device={self._resources['device']!r}, precision={self._resources['precision']!r})"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Pickles and copies hold neither the device nor what was made for it."""
        return {name: value for name, value in vars(self).items() if name not in MADE_FOR_THE_DEVICE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare(**self._resources)

    def _prepare(
        self,
        device: str | Device,
        precision: str,
        num_threads: int | None,
        max_memory_mb: float | None,
        *,
        any_start: bool,
    ) -> None:
        self.device = make_device(device, precision=precision, num_threads=num_threads)
        self.memory_of_device, self.is_resident = memory_of(self.device), False
        self.memory = MemoryBudget(
            self.device, self.num_qubits, checkpoint=self.checkpoint, max_memory_mb=max_memory_mb
        )
        diagonal = self.observables is not None and all(o.is_diagonal for o in self.observables)
        self.plans = PlanStore(self.program, self.angle_map, self.device, diagonal=diagonal, any_start=any_start)
        self._recall = Recall()

    @property
    def num_qubits(self) -> int:
        """Number of qubits n."""
        return self.program.num_qubits

    @property
    def resident(self) -> Self:
        """The same program, whose values go to the device's memory, where results stay (`residence`)."""
        assert self.memory_of_device is not None
        twin = object.__new__(type(self))  # shares the device and all that was made for it, as no copy does
        vars(twin).update(vars(self), device=self.memory_of_device.on_device, is_resident=True)
        return twin

    @property
    def budget(self) -> int:
        """Bytes that the states of one call may take."""
        return self.memory.bytes

    def memory_estimate(self, batch: int = 1) -> MemoryEstimate:
        """What `value_and_vjp` takes for a batch of samples with shared weights, before anything runs.

        The plan itself is not counted. Where memory counts by the page, small circuits take more.
        """
        varying = first_parameters(self.num_inputs if batch > 1 else 0)
        rows = ParameterBatch(np.empty(0), varying, np.empty((batch, 0)), by_row=False)
        sweeps = self.plans.sweeps(rows, self._training)
        return self.memory.estimate(sweeps, batch, len(self._observables()), by_row=False)

    @property
    def plan(self) -> Plan:
        """The plan for training, where inputs differ by sample and weights are shared. ``print(f.plan)`` explains it.

        It is that of a batch that fills the lanes of every thread; smaller ones may be cut into other tiles.
        """
        inputs, model = first_parameters(self.num_inputs), self.device.cost_model
        return self.plans.values_binding(inputs, self._training, model.lanes * model.threads).plan

    def _passes(
        self, parameters: ParameterBatch, sweeps: Binding | Columns, extra: int = 0
    ) -> Iterator[tuple[ParameterBatch, Binding | Columns, State]]:
        """The final states of all rows, some at a time: those rows, what was run, and their states.

        Where derivatives are likely to follow, their plan is run instead, and the states are kept for them once the
        caller has gone on.

        Args:
            parameters: The values.
            sweeps: What to run.
            extra: Memory that the caller takes beside the states, in states of the whole batch.
        """
        keeps = isinstance(sweeps, Binding) and not self.checkpoint and self.memory.fits(parameters.batch, 4)
        size = self.device.state_bytes(self.num_qubits, parameters.batch)
        binding = self._recall.begin(parameters, size if keeps else None)
        if binding is None:
            for rows in self.memory.chunks(parameters, sweeps.states + extra):
                yield rows, sweeps, self._forward(sweeps, rows)[1]
            return
        forward = self._forward(binding, parameters)
        yield parameters, binding, forward[1]
        self._recall.keep(Pass(parameters, binding, forward), size)

    def _forward(
        self,
        sweeps: Binding | Columns,
        parameters: ParameterBatch,
        initial_states: NDArray[np.complex128] | None = None,
        *,
        back: int = 0,
    ) -> tuple[Any, State]:
        """The sweep forward; ``back`` states are needed in all if there is a way back, for which some may be kept."""
        start = self._initial_state(parameters) if initial_states is None else initial_states
        kept = self.memory.checkpoints(sweeps, parameters.batch, back) if back else 0
        return sweeps.forward(self.device, parameters, start, kept)

    def _backward(
        self,
        sweeps: Binding | Columns,
        bound: Any,
        ket: State,
        cotangents: FloatArray,
        *,
        per_row: bool,
        last: bool = True,
    ) -> tuple[FloatArray, FloatArray | None]:
        """Parameter gradients as of `Binding.pullback`; the ket and, if ``last``, what was kept are used up."""
        observables = self._observables()
        return sweeps.backward(self.device, bound, ket, observables, cotangents, per_row=per_row, last=last)

    def _expectation(self, ket: State, sweeps: Binding | Columns) -> NDArray[np.floating]:
        values = self.device.expectation(ket, sweeps.frame, self._observables())
        return values.astype(self.dtype, copy=False)

    def _parameters(self, x: ArrayLike | None, w: ArrayLike | None) -> ParameterBatch:
        """Check the shapes; finiteness is checked where angles are evaluated, with the parameter's name."""
        arguments = (x, w, self.num_inputs, self.num_weights, self._num_states)
        if self.is_resident and self.memory_of_device is not None:
            return checked_parameters(*arguments, self.memory_of_device.take)
        return checked_parameters(*arguments)

    def _cotangents(self, cotangents: ArrayLike, batch: int) -> FloatArray:
        expected, memory = (batch, len(self._observables())), self.memory_of_device
        if memory is None or not memory.is_on_device(cotangents):
            return checked_cotangents(cotangents, expected)
        # whether they are finite is not asked: the device would wait
        shape = tuple(cast(Any, cotangents).shape)
        if shape != expected:
            raise InvalidInputError(f"Cotangents have shape {shape}; {expected} (samples, observables) is expected.")
        return cast(FloatArray, cotangents)

    def _wrt(self, wrt: str | Sequence[int]) -> NDArray[np.intp]:
        return parameter_indices(wrt, self.num_inputs, self.angle_map.num_parameters)

    def _observables(self) -> tuple[PauliSum, ...]:
        if self.observables is None:
            raise FusedQMLError("No observables were given: pass observables=... to ask for values or gradients.")
        return self.observables

    def _initial_state(self, rows: ParameterBatch) -> NDArray[np.complex128] | None:
        state = self.program.initial_state
        return state if state is None or state.ndim == 1 else state[rows.first : rows.first + rows.batch]
