"""`ProgramFunction`: a program on a device as a differentiable function of a batch of samples and of weights.

One training step is one forward and one backward sweep, for any number of observables: their cotangents make one bra.
`qiskit_fusedqml.interfaces.qiskit.circuit.DifferentiableCircuit` is the same for a Qiskit circuit; derivatives of
amplitudes and of probabilities are functions of a `ProgramFunction` (`state_gradients`, `probabilities`).

Arrays in a GPU's memory (CuPy's, or any that DLPack finds there) may be given as x, w or cotangents. Where x or w is
one, all is computed there, on the current stream, and results stay there; only probabilities of clbits in another order
than their qubits', and programs that encode amplitudes, go by the host. Nothing is checked then: non-finite inputs give
non-finite results, and weights by sample count as different in every column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import FloatArray, IntArray, joined, real_array, whole_number
from ..devices import State
from ..devices.own_memory import run_where_arrays_are
from ..errors import FusedQMLError
from ..ir.angles import AngleMap
from ..ir.encoding import AmplitudeEncoding
from ..ir.measurement import Measurement
from ..ir.observables import PauliSum
from ..ir.program import Program
from ..planner import Plan
from ..planner.report import counted
from . import rotations
from .kraus_trajectories import sampled
from .memory import BRA, KET, KET_COPY_BRA_AMPLITUDES, MemoryEstimate
from .options import EngineOptions
from .parameters import (
    NO_PARAMETERS,
    Loss,
    ParameterBatch,
    ParameterSet,
    checked_arrays,
    checked_cotangents,
    evaluated_loss,
    first_parameters,
    parameter_batch,
    parameter_indices,
    taking,
)
from .passes import ON_DEVICE, Forward, Passes
from .recorded_steps import RecordedSteps
from .rotations import Unrolled
from .strengths import Strengths, by_piece, vjp_by_piece
from .sweeps import PlanRequest, Sweeps
from .trajectories import CALLED_BEFORE, estimate_of
from .transforms import after_angles, unrolled

InitialStates: TypeAlias = NDArray[np.complex128] | None
Cotangents: TypeAlias = ArrayLike | Callable[[NDArray[np.floating]], ArrayLike]
Gradients: TypeAlias = tuple[NDArray[np.floating] | None, NDArray[np.floating]]
"""(dx, dw), dx None where gradients of the inputs are not wanted."""


class ProgramFunction:
    """Values ``f_k(x, w) = <psi(x, w)| O_k |psi(x, w)>`` of a program, their derivatives, states and probabilities.

    Inputs x (B, num_inputs) are samples; weights w (num_weights,) are shared by all samples or, as (B, num_weights),
    given for each. The angle map's parameters are the inputs followed by the weights. Calls from several threads at
    once are safe.

    Args:
        program: The program.
        angle_map: From parameters to its angles.
        observables: The observables O_k, or None when only states and probabilities are wanted.
        options: Where and how it runs.
        num_inputs: How many of the angle map's parameters, the first ones, are inputs.
        input_gradients: Whether `vjp` also gives the gradient with respect to the inputs.
        trained: The parameters whose gradients `vjp` computes, ascending, others being 0; None for the weights and,
            with ``input_gradients``, the inputs.
        measurement: Where `probabilities` puts outcomes; None for all qubits in order.
        encoding: Amplitudes of the initial state that are parameters, or None.

    Attributes:
        num_qubits: Number of qubits n.
        num_weights: Number of weights.

    Raises:
        InvalidInputError: For an unknown device or precision or a bad budget.
        DeviceUnavailableError: If the device does not exist on this machine.
    """

    def __init__(
        self,
        program: Program,
        angle_map: AngleMap,
        observables: Sequence[PauliSum] | None,
        options: EngineOptions | None = None,
        *,
        num_inputs: int = 0,
        input_gradients: bool = False,
        trained: Sequence[int] | None = None,
        measurement: Measurement | None = None,
        encoding: AmplitudeEncoding | None = None,
    ) -> None:
        self.program, self.angle_map, self.encoding = program, angle_map, encoding
        self.observables = None if observables is None else tuple(observables)
        self.options = options or EngineOptions()
        self.num_qubits, self.num_inputs = program.num_qubits, num_inputs
        self.num_weights = angle_map.num_parameters - num_inputs
        self.input_gradients = input_gradients and num_inputs > 0
        self.measurement = measurement or Measurement(tuple((q, q) for q in range(self.num_qubits)), self.num_qubits)
        self.dtype = np.dtype(np.float32 if self.options.precision == "single" else np.float64)
        # mixed states that all samples share are one for each observable
        self._least_summed = len(self.observables or ()) + 1 if program.is_noisy else 0
        self._diagonal = self.observables is not None and all(o.is_diagonal for o in self.observables)
        self.strengths = Strengths.of(program, angle_map, num_inputs) if program.is_noisy else None
        self._prepare()
        default = "all" if self.input_gradients else "weights"
        self.trained = ParameterSet(self.indices(default if trained is None else trained))
        self._trains_amplitudes = self.passes.encodes(self.trained.indices)

    def _prepare(self) -> None:
        # what takes the place of all passes where a program with noise is estimated from trajectories
        common = self.program, self.angle_map, self.observables or (), self.options, self.encoding
        self.sampled = sampled(*common)
        made = self.passes = Passes(self.program, self.angle_map, self.options, self.encoding, self.observables or ())
        self.device, self.memory, self.plans = made.device, made.memory, made.plans
        self.memory_of_device = run_where_arrays_are(made.memory_of_device, self, ON_DEVICE)
        self.recorded_steps = RecordedSteps.of(self)

    def __repr__(self) -> str:
        numbers = {"qubit": self.num_qubits, "input": self.num_inputs, "weight": self.num_weights}
        numbers["observable"] = self.num_observables if self.observables is not None else 0
        sizes = ", ".join(counted(number, noun) for noun, number in numbers.items())
        return f"{type(self).__name__}({sizes}, device={self.options.device!r}, precision={self.options.precision!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Pickles and copies hold neither the device nor what was made for it."""
        made = {"sampled", "passes", "device", "memory_of_device", "memory", "plans", "unrolled", "recorded_steps"}
        return {name: value for name, value in vars(self).items() if name not in made.union(ON_DEVICE)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()

    estimate = estimate_of

    @property
    def num_observables(self) -> int:
        """Number of observables."""
        return len(self._observables())

    @property
    def budget(self) -> int:
        """Bytes that the states of one call may take."""
        return self.memory.bytes

    @property
    def plan(self) -> Plan:
        """The plan for training, where inputs differ by sample and weights are shared. ``print(f.plan)`` explains it.

        It is that of a batch that fills the lanes of every thread; smaller ones may be cut into other tiles.
        """
        model = self.device.cost_model
        request = self.request(self._any_batch(model.lanes * model.threads))
        return self.plans.planned(request).plan

    def memory_estimate(self, batch: int = 1) -> MemoryEstimate:
        """What `value_and_vjp` takes for a batch of samples with shared weights, before anything runs.

        The plan itself is not counted. Where memory counts by the page, small circuits take more.
        """
        batch = whole_number(batch, "batch", least=1)
        sweeps = self.plans.sweeps(self.request(self._any_batch(batch)))
        return self.memory.estimate(sweeps, batch, self.num_observables)

    def values(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None, *, initial_states: InitialStates = None
    ) -> NDArray[np.floating]:
        """Expectation values ``f_k(x_b, w) = <psi(x_b, w)| O_k |psi(x_b, w)>``, (B, n_obs)."""
        self._observables()
        if self.strengths is not None and (pieces := self.strengths.pieces(x, w)):
            return by_piece(self.values, pieces, x, w, initial_states=initial_states)
        if self.sampled is not None:
            return self.sampled.estimate(self.read(x, w, initial_states)).values.astype(self.dtype, copy=False)
        if self.recorded_steps and initial_states is None:
            recorded = self.recorded_steps.values(x, w)
            if recorded is not None:
                return recorded
        return self._values(self.read(x, w, initial_states, on_host=False))

    def vjp(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None, *, initial_states: InitialStates = None
    ) -> tuple[NDArray[np.floating], Callable[[ArrayLike], Gradients]]:
        """Values ``f_k(x, w) = <psi(x, w)| O_k |psi(x, w)>`` and a pullback c -> dx, dw = sum_k c_k df_k/dx, df_k/dw.

        It is one backward sweep with the bra ``sum_k c_k O_k |psi>`` and may be called once. The final state is
        held for it if it fits the budget, else it is computed again; on the CPU the bra of one observable of many
        flips is held, too.

        Args:
            x: Inputs (B, num_inputs) or None.
            w: Weights.
            initial_states: Amplitudes (B, 2**n) in place of the program's initial state.

        Returns:
            values (B, n_obs), and pullback(cotangents (B, n_obs)) -> dx (B, num_inputs), None without
            ``input_gradients``, and dw like w.
        """
        if self.strengths is not None and (pieces := self.strengths.pieces(x, w)):
            return vjp_by_piece(self.vjp, pieces, x, w, initial_states=initial_states)
        if self.sampled is not None:
            return self.sampled.gradients(self, self.read(x, w, initial_states))
        observables = self._observables()
        if self.recorded_steps and initial_states is None and (recorded := self.recorded_steps.begin(x, w)):
            return recorded
        parameters = self.read(x, w, initial_states, on_host=False)
        sweeps = self.plans.sweeps(request := self.request(parameters))
        observables = self.passes.real_parts(observables) if sweeps.is_real else observables
        states = KET_COPY_BRA_AMPLITUDES if self._trains_amplitudes else sweeps.forward_states + BRA
        chunks = self.memory.chunks(parameters, states, sweeps)
        forward = None
        if len(chunks) == 1:
            forward = self.passes.kept(parameters, request, sweeps) or self.passes.forward(sweeps, parameters, states)
        if forward is None:
            values, made = self._values(parameters, spare=1), None
        else:
            values, made = self.passes.observed(parameters, sweeps, forward[1], observables)
        values, unused = values.astype(self.dtype, copy=False), [forward]

        def pullback(cotangents: ArrayLike) -> Gradients:
            if not unused:
                raise FusedQMLError(CALLED_BEFORE)
            checked = checked_cotangents(cotangents, (parameters.batch, len(observables)), self.memory_of_device)

            def bra(chunk: ParameterBatch, ket: State) -> State:
                part = checked[chunk.first : chunk.first + chunk.batch]
                return made(part) if made else self.device.apply_observables(ket, sweeps.frame, observables, part)

            return self.pull(chunks, sweeps, states, unused.pop(), bra)

        return values, pullback

    def value_and_vjp(
        self, x: ArrayLike | None, w: ArrayLike | None, cotangents: Cotangents
    ) -> tuple[NDArray[np.floating], NDArray[np.floating] | None, NDArray[np.floating]]:
        """(values, dx, dw) as of `vjp`; the cotangents (B, n_obs) may be a function of the values."""
        values, pullback = self.vjp(x, w)
        dx, dw = pullback(cotangents(values) if callable(cotangents) else cotangents)
        return values, dx, dw

    def value_and_grad(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None, loss: Loss | None = None
    ) -> tuple[float, NDArray[np.floating]]:
        """What an optimiser wants: the loss and its gradient dw = dloss/dw.

        The loss goes from values (B, n_obs) to (scalar, dloss/dvalues of shape (B, n_obs)); without one it is their
        sum, as in VQE: ``scipy.optimize.minimize(lambda w: f.value_and_grad(w=w), w0, jac=True)``.
        """
        values, pullback = self.vjp(x, w)
        scalar, cotangents = evaluated_loss(loss, values)
        return scalar, pullback(cotangents)[1]

    def jacobian(
        self,
        x: ArrayLike | None = None,
        w: ArrayLike | None = None,
        wrt: str | Sequence[int] = "weights",
        *,
        initial_states: InitialStates = None,
    ) -> NDArray[np.floating]:
        """Derivatives df_k/dtheta_p (B, n_obs, n): backward sweeps or, for many observables, values at shifted angles.

        Args:
            x: Inputs (B, num_inputs) or None.
            w: Weights.
            wrt: "weights", "inputs", "all" (inputs, then weights), or indices in that order, or a circuit's parameters.
            initial_states: As of `vjp`.
        """
        observables, wanted = self._observables(), self.indices(wrt)
        if self.strengths is not None and (pieces := self.strengths.pieces(x, w)):
            return by_piece(partial(self.jacobian, wrt=wrt), pieces, x, w, initial_states=initial_states)
        batch, count = self.read(x, w, initial_states, on_host=self.sampled is not None), len(observables)
        if self.sampled is not None:
            return self.sampled.jacobian(batch)[..., wanted].astype(self.dtype, copy=False)
        is_reverse = count < rotations.MANY_OBSERVABLES or self.program.is_noisy or self.passes.encodes(wanted)
        found = None if is_reverse or batch.on_device else self.unrolled.value_jacobian(batch, wanted)

        def bras(sweeps: Sweeps, chunk: ParameterBatch, ket: State) -> Iterator[State]:
            ones = np.zeros((chunk.batch, 1), like=chunk.shared) + 1.0
            for observable in self.passes.real_parts(observables) if sweeps.is_real else observables:
                yield self.device.apply_observables(ket, sweeps.frame, (observable,), ones)

        if found is None:
            found = self.passes.derivatives(batch, wanted, bras, count, keep_phase=False, populations=self._diagonal)
        return found.astype(self.dtype, copy=False)

    def probabilities(
        self,
        x: ArrayLike | None = None,
        w: ArrayLike | None = None,
        *,
        measurement: Measurement | None = None,
        initial_states: InitialStates = None,
    ) -> FloatArray:
        """Probabilities (B, 2**num_clbits) of the classical bits, clbit 0 least significant; unmeasured bits are 0.

        Outcomes go where ``measurement`` says, by default the function's own; other arguments are as of `vjp`.
        """
        if self.strengths is not None and (pieces := self.strengths.pieces(x, w)):
            function = partial(self.probabilities, measurement=measurement)
            return by_piece(function, pieces, x, w, initial_states=initial_states)
        parameters = self.read(x, w, initial_states, on_host=self.sampled is not None)
        return (self.sampled or self.passes).probabilities(parameters, measurement or self.measurement)

    def statevector(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None, *, initial_states: InitialStates = None
    ) -> NDArray[np.complexfloating]:
        """Final amplitudes psi(x_b, w), (B, 2**n), global phase included."""
        return self.passes.amplitudes(self.read(x, w, initial_states, on_host=False))

    @cached_property
    def unrolled(self) -> Unrolled:
        """The program in the angles of its rotations."""
        program, source, controlled = unrolled(self.program)
        angle_map, encoding = after_angles(len(source), self.encoding)
        options = replace(self.options, device=self.device, max_memory_mb=self.budget / 2**20)
        function = ProgramFunction(program, angle_map, self.observables, options, encoding=encoding)
        return Unrolled(function, source, controlled, self.angle_map, self.encoding)

    def indices(self, wrt: str | Sequence[int]) -> IntArray:
        """The parameters that "weights", "inputs", "all" or a sequence of numbers means, inputs first."""
        return parameter_indices(wrt, self.num_inputs, self.angle_map.num_parameters)

    def read(
        self, x: ArrayLike | None, w: ArrayLike | None, given: InitialStates = None, *, on_host: bool = True
    ) -> ParameterBatch:
        """The samples of a call, checked and copied, to the device if one of x and w is there and ``on_host`` false.

        Finiteness is checked where angles are evaluated. Amplitudes (B, 2**n) that are given replace the initial state.
        """
        memory, stays = self.memory_of_device, on_host or self.encoding is not None
        take = real_array if memory is None else taking(memory, x, w, on_host=stays)
        inputs, weights = checked_arrays(x, w, self.num_inputs, self.num_weights, take)
        return parameter_batch(inputs, weights, self.program.initial_state if given is None else self._given(given))

    def _given(self, states: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Amplitudes that are given, one state for all samples without an axis of its own."""
        return states[0] if states.ndim == 2 and len(states) == 1 else states

    def pull(
        self,
        chunks: Sequence[ParameterBatch],
        sweeps: Sweeps,
        states: int,
        forward: Forward | None,
        bra: Callable[[ParameterBatch, State], State],
    ) -> Gradients:
        """(dx, dw) by backward sweeps over all chunks of a batch; arguments as of `Passes.pull`."""
        shared, batched = self.passes.pull(chunks, sweeps, states, forward, bra, encoded=self._trains_amplitudes)
        dx, dw = None, shared[..., self.num_inputs : self.angle_map.num_parameters]
        if self.input_gradients:
            of_inputs = np.atleast_2d(shared) if batched is None else batched  # inputs are the first in both
            dx = of_inputs[:, : self.num_inputs].astype(self.dtype, copy=False)
        dw = dw.sum(axis=0) if dw.ndim == 2 and not chunks[0].per_sample else dw
        return dx, dw if dw.dtype is self.dtype else dw.astype(self.dtype)

    def _values(self, parameters: ParameterBatch, spare: int = 0) -> NDArray[np.floating]:
        """Values; with a spare state, in pieces of the size that a backward sweep has, which finds its memory made."""
        request = self.request(parameters, trained=False)
        parts = self.passes.final_states(parameters, request, spare)
        device, observables = self.passes.device_of(parameters), self.observables or ()
        values = [device.expectation(ket, sweeps.frame, observables) for _, sweeps, ket in parts]
        return joined(values).astype(self.dtype, copy=False)

    def request(self, parameters: ParameterBatch, *, trained: bool = True) -> PlanRequest:
        """What the sweeps for values of a batch, and if ``trained`` for gradients, are for."""
        amplitudes, states = trained and self._trains_amplitudes, KET + BRA if trained else KET
        return self.passes.request(
            parameters,
            self.trained if trained else NO_PARAMETERS,
            keep_phase=amplitudes,
            populations=self._diagonal and not amplitudes,
            summed=not amplitudes
            and not parameters.per_sample
            and parameters.batch >= self._least_summed
            and (not self._least_summed or self.memory.fits_shared(parameters.batch, states, self._least_summed - 1)),
        )

    def _any_batch(self, batch: int) -> ParameterBatch:
        """Samples of any values, with shared weights."""
        batched, nothing = first_parameters(self.num_inputs if batch > 1 else 0), np.empty((batch, 0))
        return ParameterBatch(nothing[0], batched, nothing, batch, initial_states=self.program.initial_state)

    def _observables(self) -> tuple[PauliSum, ...]:
        if self.observables is None:
            raise FusedQMLError("No observables were given: pass observables=... to ask for values or gradients.")
        return self.observables
