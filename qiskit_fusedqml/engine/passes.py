"""Forward and backward passes of a program on a device: by which sweeps, in which pieces, from which states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..arrays import ComplexArray, FloatArray, IntArray, consecutive, joined
from ..devices import Device, State, makes_values_with_bras
from ..devices.own_memory import has_memory
from ..ir.angles import AngleMap
from ..ir.encoding import AmplitudeEncoding
from ..ir.measurement import Measurement
from ..ir.observables import PauliSum
from ..ir.program import Program
from .forward_cache import KEPT, ForwardCache, ForwardPass
from .memory import KET, KET_AND_AMPLITUDES, KET_COPY_BRA, KET_COPY_BRA_AMPLITUDES, MemoryBudget
from .options import EngineOptions
from .parameters import NO_PARAMETERS, ParameterBatch, ParameterSet, checked_arrays, parameter_batch
from .plans import Plans
from .sweeps import PlanRequest, Sweeps
from .transforms import inverted

Forward = tuple[Any, State]
"""The residuals and the final states of a forward sweep."""

ON_DEVICE = ("values", "vjp", "pull", "jacobian", "probabilities", "statevector")
"""Methods of a `ProgramFunction` that compute with arrays in a device's memory."""

MANY_FLIPS = 5
"""Sets of qubits flipped by an observable's strings from which on its values are made with the bra."""

Bras = Callable[[Sweeps, ParameterBatch, State], Iterator[State]]
"""From sweeps, samples and their kets to one bra after the other; the ket is there until the last one is made."""


class Passes:
    """The passes of one program. Calls from several threads at once are safe.

    The arguments are those of `ProgramFunction`.

    Attributes:
        device: The device.
        memory_of_device: The same if it has a memory of its own, else None.
        memory: The memory budget.
        plans: The plans.
    """

    def __init__(
        self,
        program: Program,
        angle_map: AngleMap,
        options: EngineOptions,
        encoding: AmplitudeEncoding | None = None,
        observables: Sequence[PauliSum] = (),
    ) -> None:
        self._program, self._angle_map, self._options, self._encoding = program, angle_map, options, encoding
        self.device = options.make_device(mixed=program.is_noisy)
        self.memory_of_device = self.device if has_memory(self.device) else None
        # the device whose results stay in its memory
        self._device_there: Device = self.device if self.memory_of_device is None else self.memory_of_device.on_device
        self.memory = MemoryBudget(self.device, program.num_qubits, options)
        self.plans = Plans(program, angle_map, self.device)
        self._forward_cache = ForwardCache()
        # whether the value and the bra of the only observable take less time together
        self._joins = len(observables) == 1 and observables[0].num_flips >= MANY_FLIPS
        # the real parts of observables, by the identity of these, which are kept
        self._real_parts: dict[int, tuple[PauliSum, PauliSum]] = {}

    def device_of(self, parameters: ParameterBatch) -> Device:
        """The device, whose results are where the parameters are."""
        return self._device_there if parameters.on_device else self.device

    def request(
        self,
        parameters: ParameterBatch,
        wanted: ParameterSet = NO_PARAMETERS,
        *,
        keep_phase: bool = False,
        populations: bool = False,
        summed: bool = False,
    ) -> PlanRequest:
        """What sweeps over a batch are for; arguments as of `PlanRequest`."""
        any_start = self._encoding is not None or parameters.initial_states is not self._program.initial_state
        batched, batch = parameters.batched, parameters.batch
        return PlanRequest(batched, wanted, batch, keep_phase, populations, any_start, summed)

    def forward(self, sweeps: Sweeps, parameters: ParameterBatch, states: int = 0) -> Forward:
        """The forward sweep; ``states`` states are needed in all if a backward sweep follows."""
        start = parameters.initial_states if self._encoding is None else self._encoded(parameters)
        auto = states and self._options.checkpoint
        checkpoints = self.memory.checkpoints(sweeps, parameters.batch, states) if auto else 0
        device = self._device_there if parameters.on_device else self.device
        return sweeps.forward(device, parameters, start, checkpoints)

    def backward(
        self,
        sweeps: Sweeps,
        parameters: ParameterBatch,
        forward: Forward,
        bra: State,
        *,
        per_sample: bool,
        last: bool = True,
        encoded: bool = False,
    ) -> tuple[FloatArray, FloatArray | None]:
        """The backward sweep as of `Sweeps.backward`; with ``encoded``, gradients of amplitudes are added."""
        residuals, ket = forward
        if encoded:
            self._program.check_pure("the gradient with respect to amplitudes that are encoded")
        bras = self.device.amplitudes(bra, sweeps.frame) if encoded else None
        device = self._device_there if parameters.on_device else self.device
        gradients, batched = sweeps.backward(device, residuals, ket, bra, per_sample=per_sample, last=last)
        if bras is not None and self._encoding is not None:
            start = np.asarray(self.inverse.evolve(parameters, 2.0 * bras), np.complex128)
            own = self._encoding.pullback(parameters.full(), start, self._program.initial_state)
            gradients[:, : own.shape[1]] += own
        return gradients, batched

    def real_parts(self, observables: Sequence[PauliSum]) -> tuple[PauliSum, ...]:
        """Of observables of real states what their gradients depend on; the same objects each time."""
        known = self._real_parts
        for observable in observables:
            if id(observable) not in known:
                known[id(observable)] = observable, observable.real_part
        return tuple([known[id(observable)][1] for observable in observables])

    def observed(
        self, parameters: ParameterBatch, sweeps: Sweeps, ket: State, observables: Sequence[PauliSum]
    ) -> tuple[NDArray[np.float64], Callable[[FloatArray], State] | None]:
        """Values (B, n_obs) in final states, and what makes the bra of cotangents, once, if it was made with them."""
        device = self.device
        if not self._joins or not makes_values_with_bras(device):
            return self.device_of(parameters).expectation(ket, sweeps.frame, observables), None
        values, bra = device.value_and_bra(ket, sweeps.frame, observables[0])

        def scaled(cotangents: FloatArray) -> State:
            device.scale(bra, cotangents[:, 0])
            return bra

        return values, scaled

    def final_states(
        self, parameters: ParameterBatch, request: PlanRequest, extra: int = 0
    ) -> Iterator[tuple[ParameterBatch, Sweeps, State]]:
        """The final states of all samples, some at a time: those samples, what was run, and their states.

        Where derivatives are likely to follow, their sweeps are run instead, and the states are kept for them once the
        caller has gone on.

        Args:
            parameters: The values.
            request: What the sweeps are for.
            extra: Memory that the caller takes beside the states, in states of the whole batch.
        """
        sweeps = self.plans.sweeps(request)
        followed_by = self._forward_cache.begin(parameters) if self._may_be_kept(parameters) else None
        if followed_by is not None and self.memory.fits(parameters.batch, KET_COPY_BRA_AMPLITUDES):
            size = self.device.state_bytes(self._program.num_qubits, parameters.batch)
            kept = self.plans.sweeps(followed_by)
            if size <= KEPT.bound and type(kept) is type(sweeps):
                forward = self.forward(kept, parameters)
                yield parameters, kept, forward[1]
                self._forward_cache.keep(ForwardPass(parameters, kept, forward, size))
                return
        for chunk in self.memory.chunks(parameters, sweeps.forward_states + extra, is_real=sweeps.is_real):
            yield chunk, sweeps, self.forward(sweeps, chunk)[1]

    def kept(self, parameters: ParameterBatch, request: PlanRequest, sweeps: Sweeps) -> Forward | None:
        """The forward sweep for derivatives, if `final_states` kept it at the same values."""
        if self._forward_cache.last is None or not self._may_be_kept(parameters):
            return None
        return self._forward_cache.take(parameters, request, sweeps)

    def derivatives(
        self,
        parameters: ParameterBatch,
        wanted: IntArray,
        bras: Bras,
        count: int,
        *,
        keep_phase: bool = True,
        populations: bool = False,
    ) -> FloatArray:
        """Derivatives (B, count, n) of real functions of the state, one backward sweep each.

        Args:
            parameters: The values.
            wanted: Indices (n,) of the parameters.
            bras: Half the cotangents of the state, one of each function.
            count: Number of functions.
            keep_phase: Whether the functions depend on the global phase; bras are given as amplitudes then.
            populations: Whether they depend on the absolute values of the final amplitudes only.
        """
        encoded = self.encodes(wanted)
        keep_phase, populations = keep_phase or encoded, populations and not encoded
        columns = ParameterSet(wanted if (wanted[1:] > wanted[:-1]).all() else np.unique(wanted))
        request = self.request(parameters, columns, keep_phase=keep_phase, populations=populations)
        sweeps = self.plans.sweeps(request)
        # bras of amplitudes are complex, and make real kets so
        states = KET_COPY_BRA_AMPLITUDES << sweeps.is_real if keep_phase else KET_COPY_BRA
        states += bool(self._options.checkpoint)  # a copy of a state that was kept
        kept = self.kept(parameters, request, sweeps)
        result = np.empty((parameters.batch, count, len(wanted)), like=parameters.shared)
        chosen = consecutive(wanted, like=parameters.shared)
        for chunk in self.memory.chunks(parameters, states, sweeps):
            forward = kept if kept and chunk is parameters else self.forward(sweeps, chunk, states)
            for k, bra in enumerate(bras(sweeps, chunk, forward[1])):
                last = k == count - 1
                undone = forward if last else (forward[0], self.device.copy(forward[1]))
                gradients, _ = self.backward(sweeps, chunk, undone, bra, per_sample=True, last=last, encoded=encoded)
                result[chunk.first : chunk.first + chunk.batch, k] = gradients[:, chosen]
        return result

    def pull(
        self,
        chunks: Sequence[ParameterBatch],
        sweeps: Sweeps,
        states: int,
        forward: Forward | None,
        bra: Callable[[ParameterBatch, State], State],
        *,
        encoded: bool,
    ) -> tuple[FloatArray, FloatArray | None]:
        """Gradients as of `Sweeps.backward` by backward sweeps over all chunks of a batch.

        Args:
            chunks: The samples.
            sweeps: The sweeps.
            states: States that are needed at once.
            forward: The forward sweep of the only chunk; None to make it again.
            bra: From samples and their kets to their bras.
            encoded: Whether gradients of amplitudes are wanted; all gradients are by sample then.
        """
        per_sample = chunks[0].per_sample or encoded
        parts = []
        for chunk in chunks:
            forward = forward or self.forward(sweeps, chunk, states)
            made = bra(chunk, forward[1])
            parts.append(self.backward(sweeps, chunk, forward, made, per_sample=per_sample, encoded=encoded))
            forward = None
        if len(parts) == 1:
            return parts[0]
        shared, of_batched = zip(*parts, strict=True)
        total = joined(shared) if per_sample else sum(shared[1:], start=shared[0])
        return total, None if of_batched[0] is None else joined(of_batched)

    def probabilities(self, parameters: ParameterBatch, measurement: Measurement) -> FloatArray:
        """Probabilities (B, 2**num_clbits), as of `ProgramFunction.probabilities`."""
        qubits, size = measurement.qubits, 2**measurement.num_clbits
        outcomes = measurement.values_read() if measurement.readout else measurement.outcomes()
        what = f"probabilities of {measurement.num_clbits} classical bits"
        self.memory.check_output(8 * size * parameters.batch, what)
        sweeps = self.plans.sweeps(self.request(parameters, populations=True))
        device = self.device_of(parameters)
        parts = (
            (chunk.first, device.probabilities(self.forward(sweeps, chunk)[1], sweeps.frame, qubits))
            for chunk in self.memory.chunks(parameters, KET, is_real=sweeps.is_real)
        )
        memory = self.memory_of_device if parameters.on_device else None
        if measurement.readout:
            parts = ((first, measurement.read(memory.to_host(part) if memory else part)) for first, part in parts)
        elif memory is not None and np.array_equal(outcomes, np.arange(size)):
            return joined([part for _, part in parts])
        result = np.zeros((parameters.batch, size))
        for first, part in parts:
            is_there = memory is not None and not measurement.readout
            result[first : first + len(part), outcomes] = memory.to_host(part) if memory and is_there else part
        return result if memory is None else cast(FloatArray, memory.from_host(result))

    def amplitudes(self, parameters: ParameterBatch) -> ComplexArray:
        """Final amplitudes (B, 2**n), global phase included."""
        sweeps = self.plans.sweeps(self.request(parameters, keep_phase=True))
        device, chunks = self.device_of(parameters), self.memory.chunks(parameters, KET_AND_AMPLITUDES)
        if self.device.cost_model.global_qubits:
            size = self.device.cost_model.amplitude_bytes * parameters.batch << self._program.num_qubits
            self.memory.check_output(size, "amplitudes, which every rank gets (local_amplitudes gives its own),")
        return joined([device.amplitudes(self.forward(sweeps, chunk)[1], sweeps.frame) for chunk in chunks])

    def state(self, sweeps: Sweeps, amplitudes: ComplexArray) -> State:
        """Amplitudes (B, 2**n) of any norm as states in the frame of the sweeps' final states."""
        ordered = np.empty(amplitudes.shape, np.complex128)
        ordered[:, sweeps.frame.indices()] = amplitudes
        return self.device.allocate(sweeps.tape, len(amplitudes), ordered)

    def evolve(self, parameters: ParameterBatch, amplitudes: ComplexArray) -> ComplexArray:
        """The program applied to given amplitudes (B, 2**n), of any norm."""
        request = PlanRequest(parameters.batched, NO_PARAMETERS, parameters.batch, keep_phase=True, any_start=True)
        sweeps = self.plans.sweeps(request)
        _, ket = sweeps.forward(self.device, parameters, np.asarray(amplitudes, np.complex128))
        return self.device.amplitudes(ket, sweeps.frame)

    def run(
        self,
        values: FloatArray,
        initial_states: NDArray[np.complex128] | None,
        constants: FloatArray,
        *,
        keep_phase: bool,
        summed: bool = False,
    ) -> tuple[State, Sweeps]:
        """The final states as they are on the device; whether they fit in memory is the caller's to check.

        Args:
            values: Parameters (B, P - K) by sample.
            initial_states: Amplitudes (B, 2**n) in place of the program's initial state, or None.
            constants: The last parameters (K,), the same for all samples.
            keep_phase: Whether the global phase matters.
            summed: Whether only the averages of some observables are wanted, fewer than there are samples.

        Returns:
            B states, and the sweeps that were run; they are in the frame of these.
        """
        _, weights = checked_arrays(None, values, 0, self._angle_map.num_parameters - len(constants))
        start = self._program.initial_state if initial_states is None else initial_states
        parameters = parameter_batch(None, weights, start)
        if len(constants):
            parameters = parameters._replace(shared=np.concatenate([parameters.shared, constants]))
        request = self.request(parameters, keep_phase=keep_phase, summed=summed)
        sweeps = self.plans.sweeps(request) if summed else self.plans.planned(request)
        return self.forward(sweeps, parameters)[1], sweeps

    @cached_property
    def inverse(self) -> Passes:
        """The program undone, in the same parameters."""
        options = replace(self._options, device=self.device, max_memory_mb=self.memory.bytes / 2**20)
        return Passes(*inverted(self._program, self._angle_map), options)

    def encodes(self, parameters: IntArray) -> bool:
        """Whether amplitudes of the initial state depend on any of these parameters."""
        return self._encoding is not None and bool(np.isin(parameters, self._encoding_parameters).any())

    def _may_be_kept(self, parameters: ParameterBatch) -> bool:
        """Whether equal parameters mean equal final states, of which no checkpoints are needed."""
        return not self._options.checkpoint and parameters.initial_states is self._program.initial_state

    @cached_property
    def _encoding_parameters(self) -> IntArray:
        """The parameters that amplitudes depend on."""
        return np.zeros(0, np.intp) if self._encoding is None else np.unique(self._encoding.features.dependence[1])

    def _encoded(self, parameters: ParameterBatch) -> NDArray[np.complex128]:
        assert self._encoding is not None
        batched = np.isin(self._encoding_parameters, parameters.batched.indices).any()
        values = parameters.full() if batched else parameters.shared
        return self._encoding.states(values, self._program.num_qubits, self._program.initial_state)
