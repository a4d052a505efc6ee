"""Steps on arrays in a device's memory, recorded: on a GPU, values are a CUDA graph, and their gradients another one.

A step's launches are the same for all values of its parameters. They are recorded once for each shape of the arrays and
each stream, values and gradients by themselves, and from then on done again in memory of their own: the numbers of a
call are copied there, and its results out of it. A step that begins before the last one has ended has another memory.
Steps of values alone have plans of their own, and no bra. The first step of a shape is never recorded, nor is one whose
states or launches are too many for that to pay.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import count
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import FloatArray
from ..devices.own_memory import DeviceWithMemory, Recording, Window
from ..errors import FusedQMLError, SimulationError
from ..memory import BoundedCache, format_bytes
from .memory import BRA, KET
from .parameters import ParameterBatch, ParameterSet, checked_arrays, checked_cotangents
from .sweeps import PlannedSweeps
from .trajectories import CALLED_BEFORE

MEMORY_SHARE = 16
"""All steps of a program that are kept for later take this part of the budget at most, and each a quarter of it."""

MOST_LAUNCHES = 1024
"""Of a forward pass: beyond that, a graph takes more memory than the host saves time."""

MOST_SHAPES = 64
"""Shapes of arrays that are remembered."""


class Shapes(NamedTuple):
    """Those of inputs and weights, and whether gradients are wanted of them."""

    x: tuple[int, ...] | None
    w: tuple[int, ...]
    trained: bool


class RecordedSteps:
    """The recorded steps of a `ProgramFunction`. Calls from several threads at once are safe.

    Args:
        function: The function.
        memory: Its device, whose arrays the steps work on.
    """

    def __init__(self, function: Any, memory: DeviceWithMemory) -> None:
        self.function, self.memory = function, memory
        self.most_bytes = function.budget // MEMORY_SHARE
        self.idle: BoundedCache[int, RecordedStep] = BoundedCache(self.most_bytes, lambda step: step.size)
        # shapes and streams that were there before, and whether their steps are worth recording
        self._worth: dict[tuple[Shapes, Hashable], bool] = {}
        self._captured: list[RecordedStep] = []

    @classmethod
    def of(cls, function: Any) -> RecordedSteps | None:
        """Those of a function, or None where every step is done one launch at a time."""
        memory = function.memory_of_device
        one_by_one = memory is None or function.encoding is not None or function.options.checkpoint
        return None if one_by_one else cls(function, memory)

    def begin(self, x: Any, w: Any) -> tuple[NDArray[np.floating], Pullback] | None:
        """Values and pullback as of `ProgramFunction.vjp`, or None where the step is not recorded.

        Raises:
            SimulationError: If the current stream is captured, and no step of these shapes is there for that.
        """
        step = self._step(x, w, trained=True)
        return None if step is None else (step.values(x, w), Pullback(self, step))

    def values(self, x: Any, w: Any) -> NDArray[np.floating] | None:
        """Values as of `ProgramFunction.values`, or None where they are not recorded; raises as `begin` does."""
        step = self._step(x, w, trained=False)
        if step is None:
            return None
        values = step.values(x, w)
        self.release(step)
        return values

    def _step(self, x: Any, w: Any, *, trained: bool) -> RecordedStep | None:
        """A step for a call on the current stream."""
        memory = self.memory
        if not memory.is_on_device(w) or not (x is None or memory.is_on_device(x)):
            return None
        shapes, stream = Shapes(None if x is None else tuple(x.shape), tuple(w.shape), trained), memory.stream()
        is_captured = memory.is_captured
        step = self._idle_step(shapes, None if is_captured else stream)
        if step is None:
            if is_captured:
                raise self._not_there(shapes)
            step = self._recorded(x, w, shapes, stream)
            if step is None:
                return None
        self.claim(step)
        return step

    def claim(self, step: RecordedStep) -> None:
        """Use a step on the current stream; what is captured there may be done again for ever."""
        step.stream = self.memory.stream()
        if self.memory.is_captured and not step.is_captured:
            if not step.is_whole:
                raise self._not_there(step.shapes)
            step.is_captured = True
            self._captured.append(step)

    def release(self, step: RecordedStep) -> None:
        """Keep a step for later calls."""
        if not step.is_captured:
            self.idle.put(step.number, step)

    def _idle_step(self, shapes: Shapes, stream: Hashable | None) -> RecordedStep | None:
        """One that nobody uses, of a stream, or of any if all of it is recorded."""
        for step in self.idle.values():
            fits = step.is_whole if stream is None else step.stream == stream
            if fits and step.shapes == shapes and self.idle.drop(step.number):
                return step
        return None

    def _recorded(self, x: Any, w: Any, shapes: Shapes, stream: Hashable) -> RecordedStep | None:
        """A new step; None for the first one, and where it is not to be recorded."""
        if len(self._worth) >= MOST_SHAPES:
            self._worth.clear()
        if self._worth.get((shapes, stream), False):
            made = RecordedStep(self, x, w, shapes)
            self._worth[shapes, stream] = 4 * made.size <= self.most_bytes and made.record_forward()
            return made if self._worth[shapes, stream] else None
        self._worth.setdefault((shapes, stream), True)
        return None

    def _not_there(self, shapes: Shapes) -> SimulationError:
        wanted = "values and gradients" if shapes.trained else "values alone"
        return SimulationError(
            f"The current CUDA stream is being captured (by torch.cuda.graph or CuPy), and no step is recorded for "
            f"inputs and weights of shapes {shapes.x} and {shapes.w}. Before a capture, make at least two whole steps, "
            f"{wanted}, with arrays of the same shapes in the GPU's memory, and one more for each further call within "
            f"the capture. Recorded are steps whose states take at most {format_bytes(self.most_bytes // 4)} "
            f"together, and whose forward pass is at most {MOST_LAUNCHES} launches: use a smaller batch or a larger "
            "max_memory_mb, or capture the rest of the network only."
        )


class RecordedStep:
    """A step, and the memory in which it works.

    Attributes:
        number: Its own.
        shapes: Of inputs and weights, and what for.
        size: Bytes of its states.
        stream: On which it was used last.
        is_captured: Whether it is a part of what somebody has captured, and for nobody else.
        parameters: Room for a call's values.
    """

    _numbers = count()

    def __init__(self, steps: RecordedSteps, x: Any, w: Any, shapes: Shapes) -> None:
        self.number, self.shapes = next(self._numbers), shapes
        self.stream: Hashable = None
        self.is_captured = False
        function, self._memory = steps.function, steps.memory
        self._function = function
        self._kept: dict[object, Any] = {}
        self.parameters = p = self._batch(x, w)
        self._bras = BRA if shapes.trained else 0
        self.size = (KET + self._bras) * function.memory.state_bytes(p.batch)
        self._forward: Recording | None = None
        self._backward: Recording | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all that is wanted is recorded."""
        return self._backward is not None or not self.shapes.trained

    def values(self, x: Any, w: Any) -> NDArray[np.floating]:
        """Values at inputs and weights."""
        assert self._forward is not None
        arrays, names = ((w,), ("w",)) if x is None else ((x, w), ("x", "w"))
        (values,) = self._forward(arrays, names, stay=self.is_captured)
        return cast("NDArray[np.floating]", values)

    def gradients(self, cotangents: Any) -> tuple[Any, Any]:
        """(dx, dw) as of `ProgramFunction.vjp`."""
        if self._backward is None:
            self._backward = self._recorded_backward()
        assert self._backward is not None
        *dx, dw = self._backward((cotangents,), ("The array of cotangents",), stay=self.is_captured)
        return dx[0] if dx else None, dw

    def record_forward(self) -> bool:
        """Record the forward pass; False where that is not to be."""
        f, p = self._function, self.parameters
        sweeps = f.plans.sweeps(f.request(p, trained=self.shapes.trained))
        states = sweeps.forward_states + self._bras
        if not isinstance(sweeps, PlannedSweeps) or len(f.memory.chunks(p, states, sweeps)) > 1:
            return False
        self._sweeps = sweeps

        def work() -> tuple[Window]:
            self._states = f.passes.forward(sweeps, p)
            values = f.passes.device_of(p).expectation(self._states[1], sweeps.frame, f.observables or ())
            return (Window.of(values, 0, f.num_observables, values.shape),)

        self._forward = self._memory.record(work, self._inputs(), f.dtype, self._kept, MOST_LAUNCHES)
        return self._forward is not None

    def _recorded_backward(self) -> Recording | None:
        f, p, sweeps = self._function, self.parameters, self._sweeps
        cotangents = self._memory.from_host(np.zeros((p.batch, f.num_observables)))

        def work() -> list[Window]:
            bra = f.device.apply_observables(self._states[1], sweeps.frame, f.observables or (), cotangents)
            shared, batched = f.passes.backward(sweeps, p, self._states, bra, per_sample=p.per_sample)
            inputs, weights = f.num_inputs, f.num_weights
            dw = Window.of(shared, inputs, weights, (*shared.shape[:-1], weights))
            if not f.input_gradients:
                return [dw]
            return [Window.of(shared if batched is None else batched, 0, inputs, (p.batch, inputs)), dw]

        room = Window.of(cotangents, 0, f.num_observables, cotangents.shape)
        return self._memory.record(work, (room,), f.dtype, self._kept)

    def _inputs(self) -> list[Window]:
        """Where inputs, if there are any, and weights go: what differs from sample to sample among the samples'."""
        f, p, (x_shape, w_shape, _) = self._function, self.parameters, self.shapes
        of_samples, inputs = p.batch > 1, f.num_inputs
        room = [] if x_shape is None else [Window.of(p.samples if of_samples else p.shared, 0, inputs, x_shape)]
        rows = p.samples if of_samples and p.per_sample else p.shared
        return [*room, Window.of(rows, inputs, f.num_weights, w_shape)]

    def _batch(self, x: Any, w: Any) -> ParameterBatch:
        """Room for the values of a call."""
        f, take = self._function, self._memory.from_host
        inputs, weights = checked_arrays(x, w, f.num_inputs, f.num_weights, _like)
        per_sample = weights.ndim == 2
        batch = max(1 if inputs is None else len(inputs), len(weights) if per_sample else 1)
        batched = np.arange(0 if batch == 1 else f.num_inputs + f.num_weights * per_sample, dtype=np.intp)
        shared, samples = np.zeros(f.num_inputs + f.num_weights), np.zeros((batch, len(batched)))
        start, chosen = f.program.initial_state, ParameterSet(batched)
        return ParameterBatch(take(shared), chosen, take(samples), batch, per_sample, start, on_device=True)


def _like(array: Any, _: str) -> FloatArray:
    """Any numbers of an array's shape."""
    return np.broadcast_to(0.0, tuple(array.shape))


class Pullback:
    """From cotangents to gradients, once; then, or when it is forgotten, its step is free for others."""

    def __init__(self, steps: RecordedSteps, step: RecordedStep) -> None:
        self._steps = steps
        self._step: RecordedStep | None = step

    def __call__(self, cotangents: ArrayLike) -> tuple[Any, Any]:
        """(dx, dw) from cotangents (B, n_obs)."""
        steps, step = self._steps, self._step
        if step is None:
            raise FusedQMLError(CALLED_BEFORE)
        memory, shape = steps.memory, (step.parameters.batch, steps.function.num_observables)
        given = checked_cotangents(cotangents, shape, memory)
        with memory.current():
            steps.claim(step)
            self._step = None
            gradients = step.gradients(given)
        steps.release(step)
        return gradients

    def __del__(self) -> None:
        if self._step is not None:
            self._steps.release(self._step)
