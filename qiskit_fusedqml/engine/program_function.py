"""The engine: values and gradients of a parametrised program on a device, in batches under a memory budget.

One training step is one forward and one backward sweep, for any number of observables: the cotangents of all
observables go into a single bra. Plans depend on structure only and are made once for each pattern of varying and
wanted parameters.
`qiskit_fusedqml.interfaces.qiskit.circuit.DifferentiableCircuit` is the same for a Qiskit circuit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import FloatArray
from ..devices import State
from ..errors import FusedQMLError
from ..ir.measurement import clbit_values
from ..planner import Plan
from .binding import Binding
from .columns import Columns
from .device_arrays import keeps_residence, through_the_host
from .parameters import ParameterBatch, ParameterSet, checked_parameters
from .prepared import PreparedProgram

Number = TypeVar("Number", bound=np.generic)
Cotangents = ArrayLike | Callable[[NDArray[np.floating]], ArrayLike]

NO_CONSTANTS: FloatArray = np.empty(0)


class ProgramFunction(PreparedProgram):
    """Values, gradients and probabilities of a program with parameters.

    Rows x (B, num_inputs) are samples; weights w (num_weights,) are shared by all samples or, as (B, num_weights),
    belong to the row. The angle map's parameters are the inputs followed by the weights. Calls from several threads
    at once are safe. On a GPU, x, w and cotangents may be arrays in its memory; results then stay there, and numbers
    that are not finite are passed on (`qiskit_fusedqml.engine.device_arrays`).

    Args:
        program: The program.
        angle_map: From parameters to its angles.
        observables: The observables, or None when only states and probabilities are wanted.
        num_inputs: How many of the angle map's parameters, the first ones, are inputs.
        input_gradients: Whether `vjp` also gives the gradient with respect to the inputs.
        measurement: Where `probabilities` puts outcomes; None for all qubits in order.
        device: "CPU", "GPU", "reference", or a `Device`.
        precision: "double" or "single".
        num_threads: Threads of the CPU device; None for the cores this process may use, capped by OMP_NUM_THREADS.
        max_memory_mb: Memory for states; None for half of the machine's, or of what is free on a GPU.
        checkpoint: States kept on the way forward, from which the sweep back goes on instead of from what it has
            undone so far: None for none, a number of them, evenly spaced, or "auto" (`MemoryBudget.checkpoints`).
        any_start: Whether a subclass gives the states that sweeps start from.

    Raises:
        InvalidInputError: For an unknown device or precision or a bad budget.
        DeviceUnavailableError: If the device does not exist on this machine.
    """

    @keeps_residence
    def values(self, x: ArrayLike | None = None, w: ArrayLike | None = None) -> NDArray[np.floating]:
        """Expectation values (B, n_obs) of the observables."""
        return self._values(self._parameters(x, w))

    @keeps_residence
    def vjp(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None
    ) -> tuple[NDArray[np.floating], Callable[[ArrayLike], tuple[NDArray[np.floating] | None, NDArray[np.floating]]]]:
        """Values and a function from cotangents (B, n_obs) to (dx, dw).

        The final state is held for the pullback if it fits the budget, else it is computed again. The pullback may be
        called once.

        Returns:
            values (B, n_obs), and pullback(cotangents) -> dx (B, num_inputs), None without ``input_gradients``, and
            dw like w.
        """
        parameters = self._parameters(x, w)
        sweeps = self.plans.sweeps(parameters, self._training)
        states, by_row = sweeps.states + 1, parameters.by_row
        held = self.memory.rows(parameters.batch, states, sweeps, by_row=by_row) == parameters.batch
        forward = self._forward(sweeps, parameters, back=states) if held else None
        values = self._values(parameters, spare=1) if forward is None else self._expectation(forward[1], sweeps)
        unused = [forward]

        def pullback(cotangents: ArrayLike) -> tuple[NDArray[np.floating] | None, NDArray[np.floating]]:
            if not unused:
                raise FusedQMLError(
                    "This pullback was called before; each belongs to one backward sweep. Call vjp again."
                )
            checked = self._cotangents(cotangents, parameters.batch)
            return self._pull(sweeps, parameters, checked, unused.pop())

        return values, pullback

    def value_and_vjp(
        self, x: ArrayLike | None, w: ArrayLike | None, cotangents: Cotangents
    ) -> tuple[NDArray[np.floating], NDArray[np.floating] | None, NDArray[np.floating]]:
        """(values, dx, dw) as of `vjp`; the cotangents (B, n_obs) may be a function of the values."""
        values, pullback = self.vjp(x, w)
        dx, dw = pullback(cotangents(values) if callable(cotangents) else cotangents)
        return values, dx, dw

    def value_and_grad(
        self,
        x: ArrayLike | None,
        w: ArrayLike | None,
        loss: Callable[[NDArray[np.floating]], tuple[float, ArrayLike]],
    ) -> tuple[float, NDArray[np.floating]]:
        """What an optimiser wants: the loss and its gradient with respect to the weights.

        Args:
            x: Inputs (B, num_inputs) or None.
            w: Weights.
            loss: From values (B, n_obs) to (scalar, dloss/dvalues of shape (B, n_obs)).
        """
        values, pullback = self.vjp(x, w)
        scalar, cotangents = loss(values)
        return float(scalar), pullback(cotangents)[1]

    @through_the_host
    def jacobian(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None, wrt: str | Sequence[int] = "weights"
    ) -> NDArray[np.floating]:
        """Derivatives (B, n_obs, n) of every value.

        Args:
            x: Inputs (B, num_inputs) or None.
            w: Weights.
            wrt: "weights", "inputs", "all" (inputs, then weights), or indices of parameters in that order.
        """
        parameters = self._parameters(x, w)
        wanted = self._wrt(wrt)
        planner = partial(self.plans.values_binding, wanted=ParameterSet(np.unique(wanted)))
        binding = planner(parameters.varying, batch=parameters.batch)
        num_observables = len(self._observables())
        recalled = self._recall.take(parameters, binding, planner)
        result = np.empty((parameters.batch, num_observables, len(wanted)), self.dtype)
        start = 0
        states = 4 if self.checkpoint else 3  # ket, copy, bra, and a copy of what was kept
        for rows in self.memory.chunks(parameters, states, binding):
            bound, ket = recalled if recalled and rows is parameters else self._forward(binding, rows, back=states)
            for k in range(num_observables):
                cotangents = np.zeros((rows.batch, num_observables))
                cotangents[:, k] = 1.0
                last = k == num_observables - 1
                copy = ket if last else self.device.copy(ket)
                gradients, _ = self._backward(binding, bound, copy, cotangents, per_row=True, last=last)
                result[start : start + rows.batch, k] = gradients[:, wanted]
            start += rows.batch
        return result

    @keeps_residence
    def probabilities(self, x: ArrayLike | None = None, w: ArrayLike | None = None) -> FloatArray:
        """Probabilities (B, 2**num_clbits) of the classical bits, clbit 0 least significant; unmeasured bits are 0."""
        parameters = self._parameters(x, w)
        binding = self.plans.binding(parameters.varying, self._nothing, parameters.batch, populations=True)
        qubits = sorted({qubit for qubit, _ in self.measurement.pairs})
        outcomes = clbit_values(len(qubits), [(qubits.index(q), c) for q, c in self.measurement.pairs])
        size = 2**self.measurement.num_clbits
        self.memory.check_output(
            8 * size * parameters.batch, f"probabilities of {self.measurement.num_clbits} classical bits"
        )
        chunks, frame = self.memory.chunks(parameters, 1), binding.plan.tape.frame
        memory = self.memory_of_device if self.is_resident else None
        if memory is not None and np.array_equal(outcomes, np.arange(size)):
            return _joined([self.device.probabilities(self._forward(binding, r)[1], frame, qubits) for r in chunks])
        result = np.zeros((parameters.batch, size))
        start = 0
        for rows in chunks:
            _, ket = self._forward(binding, rows)
            found = self.device.probabilities(ket, frame, qubits)
            result[start : start + rows.batch, outcomes] = found if memory is None else memory.to_host(found)
            start += rows.batch
        return result if memory is None else cast(FloatArray, memory.from_host(result))

    @keeps_residence
    def statevector(self, x: ArrayLike | None = None, w: ArrayLike | None = None) -> NDArray[np.complexfloating]:
        """Final amplitudes (B, 2**n), global phase included."""
        parameters = self._parameters(x, w)
        binding = self.plans.binding(parameters.varying, self._nothing, parameters.batch, keep_phase=True)
        frame = binding.plan.tape.frame
        return _joined(
            [
                self.device.amplitudes(self._forward(binding, rows)[1], frame)
                for rows in self.memory.chunks(parameters, 2)
            ]
        )

    def _values(self, parameters: ParameterBatch, spare: int = 0) -> NDArray[np.floating]:
        """Values; with a spare state, in pieces of the size that a way back has, so that it finds its memory made."""
        passes = self._passes(parameters, self.plans.sweeps(parameters, self._nothing), spare)
        return _joined([self._expectation(ket, sweeps) for _, sweeps, ket in passes])

    def final_states(
        self,
        w: ArrayLike,
        initial_states: NDArray[np.complex128] | None = None,
        *,
        keep_phase: bool = True,
        constants: FloatArray = NO_CONSTANTS,
    ) -> tuple[State, Plan]:
        """The final states as they are on the device, for a caller that goes on with them and minds the memory.

        Args:
            w: Weights by row (B, num_weights - K); the program has no inputs.
            initial_states: Amplitudes (B, 2**n) in place of the program's initial state.
            keep_phase: Whether the global phase matters.
            constants: The last weights (K,), the same for all rows.

        Returns:
            B states, and the plan that was run; they are in the frame of its tape.
        """
        parameters = checked_parameters(None, w, 0, self.num_weights - len(constants), self._num_states)
        if len(constants):
            parameters = parameters._replace(base=np.concatenate([parameters.base, constants]))
        given = initial_states is not None
        binding = self.plans.binding(
            parameters.varying, self._nothing, parameters.batch, keep_phase=keep_phase, any_start=given
        )
        return self._forward(binding, parameters, initial_states)[1], binding.plan

    def _pull(
        self,
        sweeps: Binding | Columns,
        parameters: ParameterBatch,
        cotangents: FloatArray,
        held: tuple[Any, State] | None,
    ) -> tuple[NDArray[np.floating] | None, NDArray[np.floating]]:
        """The backward sweep over all chunks of the batch."""
        n_in, per_row = self.num_inputs, parameters.by_row
        dx: list[FloatArray] = []
        dw: list[FloatArray] = []
        states = sweeps.states + 1
        for rows in [parameters] if held is not None else self.memory.chunks(parameters, states, sweeps):
            bound, ket = held if held is not None else self._forward(sweeps, rows, back=states)
            part = cotangents[rows.first : rows.first + rows.batch]
            gradients, varying = self._backward(sweeps, bound, ket, part, per_row=per_row)
            dw.append(gradients[..., n_in:])
            if self.input_gradients:
                # inputs vary if there are several rows, and are the first parameters that do
                dx.append(np.atleast_2d(gradients)[:, :n_in] if varying is None else varying[:, :n_in])
        weights = _joined(dw) if per_row else sum(dw[1:], start=dw[0])
        inputs = _joined(dx).astype(self.dtype, copy=False) if self.input_gradients else None
        return inputs, weights.astype(self.dtype, copy=False)


def _joined(parts: list[NDArray[Number]]) -> NDArray[Number]:
    """Pieces of a batch in one array."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
