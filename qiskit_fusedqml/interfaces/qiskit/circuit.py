"""`DifferentiableCircuit`: the engine for a Qiskit circuit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterExpression
from typing_extensions import override

from ...arrays import ComplexArray, shown
from ...devices import Device
from ...engine import certificates, probabilities, report, second_order
from ...engine.program_function import Gradients, InitialStates, ProgramFunction
from ...engine.state_gradients import local_amplitudes, overlap_jacobian, state_vjp
from ...errors import InvalidInputError
from .cache import check_circuit
from .lowering import free_parameters, lower, lower_observables
from .lowering.noise import parameters_of_noise
from .noise import engine_options, measured
from .snapshot import Snapshot


class DifferentiableCircuit(ProgramFunction):
    """Values and exact gradients of a parametrised circuit, batched.

    >>> from qiskit.circuit.library import real_amplitudes
    >>> f = DifferentiableCircuit(real_amplitudes(2), ["ZI", "IZ"])
    >>> loss, dw = f.value_and_grad(w=[0.5] * 8, loss=lambda values: ((values**2).sum(), 2 * values))

    Only qubits that the circuit acts on are simulated, at most 40 of however many. Qubits that it resets are replaced
    by fresh ones: values, probabilities and their gradients are those of the mixed state, and amplitudes are refused.

    Args:
        circuit: The circuit; measurements at its end are ignored by values and gradients.
        observables: Anything Estimator V2 accepts, flattened in C order; None when only states and probabilities are
            wanted.
        inputs: Parameters that take the columns of x, in this order.
        weights: Parameters that take the entries of w; by default all others in the order of ``circuit.parameters``.
        input_gradients: Whether `vjp` also gives the gradient with respect to the inputs.
        device: "CPU", "GPU", "reference", or a `qiskit_fusedqml.devices.Device`.
        precision: "double" or "single".
        num_threads: Threads of the CPU device; None for the cores this process may use, capped by OMP_NUM_THREADS.
        max_memory_mb: MiB for states, beyond which batches are cut; None for half of the memory, or of a GPU's.
        checkpoint: States kept in the forward sweep, where rounding errors of undoing gates start anew: None, a number,
            or "auto", in single precision one after every 2048 operations as far as memory allows.
        noise_model: A ``NoiseModel`` of qiskit-aer, its ``to_dict()``, or a `ParametricNoiseModel`. Values and
            gradients are exact ones of mixed states (4**n numbers each), or estimated from ``trajectories``.
        noise_parameters: The order of the noise's parameters, which are the last weights.
        noise_scale: The power of all channels: 0 for none, 2 for twice the noise; may be a parameter of the noise.
        readout: Whether expectation values, as probabilities always, are those of misread bits.
        trajectories: Number of trajectories of pure states that estimate values and gradients (`estimate`), unbiased.
        noise_seed: What trajectories are drawn from, the same ones in every call; None for a random one.
        comm, comm_timeout: A communicator whose ranks share every state, as of `shared_device`, and seconds to wait.

    Attributes:
        active_qubits: The circuit's qubits that are simulated, ``num_qubits`` in all; numbers beyond the circuit's
            stand for what a reset has left behind.
        num_noise_parameters: How many of the weights, the last ones, are parameters of the noise.

    Raises:
        InvalidInputError: If inputs and weights are not the circuit's parameters, each once, or an observable does
            not fit.
        UnsupportedInstructionError: If the circuit holds an instruction that cannot be run.
        DeviceUnavailableError: If the device does not exist on this machine.
    """

    def __init__(
        self,
        circuit: QuantumCircuit,
        observables: Any = None,
        inputs: Iterable[Parameter] = (),
        weights: Iterable[Parameter] | None = None,
        *,
        input_gradients: bool = False,
        device: str | Device = "CPU",
        precision: str = "double",
        num_threads: int | None = None,
        max_memory_mb: float | None = None,
        checkpoint: str | int | None = None,
        noise_parameters: Iterable[Parameter] | None = None,
        noise_model: Any = None,
        noise_scale: float | Parameter | ParameterExpression = 1.0,
        readout: bool = False,
        trajectories: int | None = None,
        noise_seed: int | None = None,
        comm: Any = None,
        comm_timeout: float | None = None,
    ) -> None:
        options = engine_options(locals())
        check_circuit(circuit)
        self.circuit = Snapshot(circuit, by_names=True).circuit  # as it is now, whatever becomes of it
        self.inputs = checked_parameters(inputs, "inputs")
        taken = set(self.inputs)
        others = [p for p in free_parameters(circuit) if p not in taken]
        self.weights = checked_parameters(others if weights is None else weights, "weights")
        of_noise = parameters_of_noise(options, {*self.inputs, *self.weights}, noise_parameters)
        self.weights, self.num_noise_parameters = self.weights + of_noise, len(of_noise)
        order, noise, scale = [*self.inputs, *self.weights], options.noise_model, options.noise_scale
        lowered = lower(circuit, order, encodes=True, noise=noise, noise_scale=scale)
        self._lowered, self.active_qubits = lowered, lowered.active.qubits
        sums = None
        if observables is not None:
            wide = measured(lower_observables(observables, circuit.num_qubits)[0], options)
            sums = [lowered.active.observable(observable) for observable in wide]
        super().__init__(
            lowered.program,
            lowered.angle_map,
            sums,
            options,
            num_inputs=len(self.inputs),
            input_gradients=input_gradients,
            measurement=lowered.measurement,
            encoding=lowered.encoding,
        )
        self._position = {parameter: k for k, parameter in enumerate((*self.inputs, *self.weights))}

    grouped_probabilities = probabilities.grouped_probabilities
    probability_jacobian = probabilities.probability_jacobian
    reachable_outcomes = probabilities.reachable_outcomes
    hvp = second_order.hessian_product
    undo_error = certificates.undo_error
    local_amplitudes = local_amplitudes
    _repr_html_ = report.as_table

    @override
    def indices(self, wrt: str | Sequence[int | Parameter]) -> NDArray[np.intp]:
        if isinstance(wrt, (str, bytes)):
            return super().indices(wrt)
        try:
            given: list[Any] = list(wrt)
        except TypeError:
            return super().indices(wrt)
        unknown = [p for p in given if isinstance(p, Parameter) and p not in self._position]
        if unknown:
            raise InvalidInputError(f"wrt names {unknown[0]}, which is not a parameter of the circuit.")
        return super().indices([self._position[p] if isinstance(p, Parameter) else p for p in given])

    @override
    def statevector(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None, *, initial_states: InitialStates = None
    ) -> NDArray[np.complexfloating]:
        """Final amplitudes psi(x_b, w) of all qubits, (B, 2**n), global phase included."""
        self._lowered.check_pure("a state vector")
        return self._on_all_qubits(super().statevector(x, w, initial_states=initial_states))

    def state_vjp(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None
    ) -> tuple[ComplexArray, Callable[[ArrayLike], Gradients]]:
        """Final amplitudes (B, 2**n) of all qubits and a function from their cotangents to (dx, dw).

        The cotangents are complex g (B, 2**n) with ``dL = Re sum conj(g) d amplitudes``; (dx, dw) are as of `vjp`.
        """
        self._lowered.check_pure("a state vector")
        active, pull_active = state_vjp(self, x, w)
        amplitudes = self._on_all_qubits(active)
        if amplitudes is active:
            return active, pull_active

        def pullback(cotangents: ArrayLike) -> Gradients:
            given = np.asarray(cotangents)
            if given.shape != amplitudes.shape:
                raise InvalidInputError(f"Cotangents have shape {given.shape}; {amplitudes.shape} is expected.")
            return pull_active(given[:, self._lowered.active.basis_states()])

        return amplitudes, pullback

    def _on_all_qubits(self, amplitudes: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
        """Amplitudes (B, 2**k) of the active qubits as those (B, 2**n) of all, which must fit the budget."""
        num_qubits, active = self.circuit.num_qubits, self.active_qubits
        if len(active) == num_qubits:
            return amplitudes
        size = len(amplitudes) << num_qubits
        what = f"amplitudes of {num_qubits} qubits, of which {len(active)} are active ({', '.join(map(str, active))}),"
        self.memory.check_output(amplitudes.itemsize * size, what)
        memory = self.memory_of_device
        there = memory is not None and memory.is_on_device(amplitudes)
        result = np.zeros((len(amplitudes), 1 << num_qubits), amplitudes.dtype)
        result[:, self._lowered.active.basis_states()] = memory.to_host(amplitudes) if memory and there else amplitudes
        return memory.from_host(result) if memory and there else result

    @override
    def _given(self, states: NDArray[np.complex128]) -> NDArray[np.complex128]:
        self._lowered.check_pure("an initial state that is given")
        if len(self.active_qubits) < self.circuit.num_qubits and states.shape[-1] != 2**self.num_qubits:
            chosen = self._lowered.active.basis_states()
            if states.shape[-1] == 2**self.circuit.num_qubits:
                if np.abs(states).sum() - np.abs(states[..., chosen]).sum() > 1e-9:
                    raise InvalidInputError(
                        "The initial states given are not |0> on qubits that the circuit does not act on, which are "
                        f"left out; it acts on {', '.join(map(str, self.active_qubits))}. Put an initialize "
                        "instruction on the others, so that they are simulated."
                    )
                states = states[..., chosen]
        return super()._given(states)

    def overlap_jacobian(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None, wrt: str | Sequence[int | Parameter] = "weights"
    ) -> NDArray[np.complex128]:
        """``2 <psi| O |d psi>`` for every observable, (B, n_obs, n); the real part is `jacobian`."""
        self._lowered.check_pure("the imaginary part of <psi|O|d psi>")
        return overlap_jacobian(self, x, w, wrt)

    def geometric_tensor(
        self, x: ArrayLike | None = None, w: ArrayLike | None = None, *, phase_fix: bool = True
    ) -> NDArray[np.complex128]:
        """The quantum geometric tensors (B, num_weights, num_weights) of the weights.

        4 times the real part is the quantum Fisher information, by which a natural gradient is preconditioned.

        Args:
            x: Inputs (B, num_inputs) or None.
            w: Weights.
            phase_fix: Whether ``<d_i psi|psi><psi|d_j psi>`` is taken off.
        """
        self._lowered.check_pure("the quantum geometric tensor")
        wanted = range(self.num_inputs, self.num_inputs + self.num_weights)
        return np.stack(
            [second_order.geometric_tensor(self, row, wanted, phase_fix=phase_fix) for row in self.read(x, w).full()]
        )


def checked_parameters(given: Iterable[Parameter], name: str) -> tuple[Parameter, ...]:
    """Parameters as a tuple."""
    parameters = tuple(given) if isinstance(given, Iterable) and not isinstance(given, (str, bytes)) else (None,)
    if not all(isinstance(parameter, Parameter) for parameter in parameters):
        raise InvalidInputError(f"{name} is {shown(given)}; a sequence of the circuit's parameters is expected.")
    return parameters
