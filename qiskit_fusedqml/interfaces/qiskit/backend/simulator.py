"""`FusedSimulator`, the backend."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from qiskit import QuantumCircuit
from qiskit.providers import BackendV2, Options
from qiskit.transpiler import Target

from .... import __version__
from ....devices import draws_shots
from ....devices.registry import make_device, make_mixed_device
from ....errors import DeviceUnavailableError, InvalidInputError
from ....ir.program import MAX_QUBITS
from ....simulation.runner import PROBABILITY_BYTES
from ..noise import noise_model_from_backend
from .job import AerErrors, FusedSimulatorJob
from .options import DEVICES, METHODS, OptionsReader, checked_fields, default_options, is_option, unknown_fields
from .target import NOT_COUPLED, WIDEST, build_target, target_like


class StateWidth(int):
    """The most qubits that a state can have.

    A circuit may have many more that nothing acts on: Qiskit's ``transpile`` refuses circuits of which
    ``circuit.num_qubits > backend.num_qubits`` is true, and it is true of those that are wider than the target. As
    that comparison is all that Qiskit asks for, a plain number would either shut out circuits with idle qubits or
    promise states that no memory holds.
    """

    def __lt__(self, width: int) -> bool:
        """Whether a circuit of this width is too wide."""
        return width > WIDEST


class FusedSimulator(BackendV2):
    """A simulator of state vectors and density matrices, with measurements, resets, saves and control flow anywhere.

    Options have the names they have on Aer. Those that are obeyed:

    * ``shots`` (1024), ``seed_simulator``, ``memory``; ``method`` and ``noise_model``: see below;
    * ``device`` ("CPU" or "GPU"), ``precision`` ("double" or "single"), ``max_memory_mb``, ``max_parallel_threads``;
    * ``enable_truncation``: qubits that no gate acts on are left out;
    * ``zero_threshold``: smaller entries of saved dictionaries are left out;
    * ``fusion_enable``: if not, every gate, and every `FusedGate` of the circuit, is a step of its own;
      ``fusion_max_qubit``: the tile's width; ``fusion_threshold``: circuits of at most so many qubits are not fused
      (0 by default); ``fusion_verbose``: the plan is printed in the result's metadata;
    * ``executor`` (anything of `concurrent.futures`' kind, Dask's and MPI's included): a run is handed over to it, in
      jobs of at most ``max_job_size`` experiments or in one, and ``run`` returns at once; results are the same;
    * ``comm`` (a communicator of mpi4py, or a process group of torch): its ranks share every state of more than
      ``blocking_qubits`` qubits, unless ``blocking_enable`` is False, and wait for each other for ``comm_timeout``
      seconds at most.

    Options that tune Aer's way of working are accepted and change nothing, which is said once.

    **Noise.** ``noise_model`` is a ``NoiseModel`` of qiskit-aer, what its ``to_dict()`` returns, or a
    `ParametricNoiseModel` without parameters; ``noise_scale`` multiplies it (its channels are raised to that power).
    With ``method="density_matrix"`` all that is saved is exact, and shots are drawn from exact probabilities; with
    ``method="statevector"`` every shot is a trajectory of pure states, for each channel one Kraus operator. "automatic"
    is Aer's rule: density matrices if the model has errors besides misreading, there are more shots than amplitudes
    (2**n), all shots come from one final state that fits into memory, and no amplitudes are saved; else state vectors.
    The result's metadata names ``method`` and ``noise`` ("ideal", "readout", "superop", "circuit", "kraus"). Misreading
    changes counts, not what is saved. `from_backend` takes over a backend's noise.

    A circuit may be wider than `num_qubits`, as those transpiled to large devices are: qubits that nothing acts on take
    no memory, and only the others count. ``transpile`` for the simulator takes circuits of up to 512 qubits.
    ``transpile(circuit, simulator, coupling_map=...)`` writes it in gates of one qubit and those of two that Qiskit can
    turn round, and routes them, while Qiskit refuses a coupling map beside an `AerSimulator`, which names wider gates.

    Shots share a state until an outcome is random, and whatever shares the outcomes goes on as one state. Circuits that
    differ in angles only share their plans, so that the bound copies of an ansatz are planned once. Instructions
    of qiskit-aer (saves, jumps, ``mcrx`` and its kin) are known by their names; without it,
    `qiskit_fusedqml.interfaces.qiskit.backend.save` makes save instructions.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from qiskit_fusedqml import FusedSimulator
        >>> circuit = QuantumCircuit(2)
        >>> _ = circuit.h(0)
        >>> _ = circuit.cx(0, 1)
        >>> circuit.measure_all()
        >>> sorted(FusedSimulator().run(circuit, shots=100, seed_simulator=1).result().get_counts())
        ['00', '11']
    """

    def __init__(self, **options: Any) -> None:
        """Set options, as `set_options` does; see the class."""
        super().__init__(
            name="fused_simulator",
            description="Statevector simulation with fused gates",
            backend_version=__version__,
        )
        self._like: Target | None = None
        self._reader = OptionsReader()
        self.set_options(**options)

    @classmethod
    def from_backend(cls, backend: BackendV2, **options: Any) -> FusedSimulator:
        """A simulator with the instructions, the connections and the noise of another backend; options as usual.

        The noise is that of the backend's option ``noise_model``, if it has one, else `noise_model_from_backend`, with
        qiskit-aer or without. With ``noise_model=None`` there is none.

        Raises:
            InvalidInputError: If it is no `BackendV2`, or for an option that is not allowed.
        """
        if not isinstance(backend, BackendV2):
            raise InvalidInputError(f"A BackendV2 is expected, got a {type(backend).__name__}.")
        simulator = cls(**options)
        simulator.name = f"fused_simulator({backend.name})"
        simulator.description = f"Simulation with the connections of {backend.name}"
        simulator._like, left_out = target_like(backend.target)
        if "noise_model" not in options:
            simulator.set_options(noise_model=_noise_of(backend))
        if left_out:
            warnings.warn(f"The instructions {', '.join(left_out)} of {backend.name} are not simulated.", stacklevel=2)
        return simulator

    @classmethod
    def _default_options(cls) -> Options:
        return default_options()

    def set_options(self, **fields: Any) -> None:
        """Set options for later runs; None sets one back to its default.

        Raises:
            InvalidInputError: For a name or a value that is not allowed.
            DeviceUnavailableError: If the device does not exist on this machine.
        """
        with AerErrors():
            checked = checked_fields(fields)
            if "device" in checked:
                make_device(checked["device"])
        self._options.update_options(**checked)

    def clear_options(self) -> None:
        """Set all options back to their defaults."""
        self._options = default_options()

    @property
    def target(self) -> Target:
        """What ``transpile`` may use: everything on every qubit, or what the backend it was made from has."""
        return self._like or build_target()

    @property
    def num_qubits(self) -> int:
        """Number of qubits that a run's memory is enough for, measured, or those of the backend it was made from."""
        return StateWidth(self._state_width()) if self._like is None else self._like.num_qubits

    @property
    def operation_names(self) -> list[str]:
        """The names of the target's instructions, as far as they go with a coupling map given along with the backend.

        Qiskit refuses ``transpile(..., coupling_map=)`` for a backend that names gates of three qubits or of none, can
        turn round only some of those of two, and routes none of those of any width; all are in the `target`.
        """
        names = list(self.target.operation_names)
        return names if self._like else [name for name in names if name not in NOT_COUPLED]

    @property
    def max_circuits(self) -> None:
        """None: any number of circuits may be run in one call."""
        return None

    def available_methods(self) -> tuple[str, ...]:
        """The values ``method`` can have."""
        return METHODS

    def available_devices(self) -> tuple[str, ...]:
        """The devices of this machine."""
        return tuple(device for device in DEVICES if _exists(device))

    def run(
        self,
        circuits: QuantumCircuit | Sequence[QuantumCircuit],
        parameter_binds: Sequence[Mapping[Any, Any]] | None = None,
        **run_options: Any,
    ) -> FusedSimulatorJob:
        """Run circuits.

        Args:
            circuits: A circuit, or several.
            parameter_binds: One dictionary per circuit, from its parameters to equally many values each. A circuit is
                run once for each value; the results of the first circuit come first.
            **run_options: Options for this call only. Unknown ones are ignored with a warning, as backends do.

        Returns:
            A job that has run, or one that an executor runs. Its ``result()`` raises if a circuit cannot be run or a
            worker is lost; an experiment that needs more memory than there is has failed instead, and says so in its
            status.

        Raises:
            InvalidInputError: For an option that is not allowed, or something that is not a circuit.
        """
        with AerErrors():
            listed = [circuits] if isinstance(circuits, QuantumCircuit) else list(circuits)
            for circuit in listed:
                if not isinstance(circuit, QuantumCircuit):
                    raise InvalidInputError(f"FusedSimulator runs QuantumCircuits, got a {type(circuit).__name__}.")
            options = vars(self._options) | self._run_fields(run_options)
        return FusedSimulatorJob(self, listed, parameter_binds, options, self._reader.read(options))

    def _run_fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        known = {name: value for name, value in fields.items() if is_option(name)}
        if len(known) < len(fields):
            unknown = ", ".join(unknown_fields(fields))
            warnings.warn(f"FusedSimulator.run ignores unknown options: {unknown}.", stacklevel=3)
        # None is the simulator's value, but no noise model is one, as on Aer
        given = {name: value for name, value in known.items() if value is not None or name == "noise_model"}
        return checked_fields(given)

    def _state_width(self) -> int:
        options, is_mixed = self._options, self._options.method == "density_matrix"
        make = make_mixed_device if is_mixed else make_device
        device = make(options.device, precision=options.precision)
        limit = options.max_memory_mb
        available = device.memory_budget() if limit is None else int(limit * 2**20)
        each = device.state_bytes(0, 1) + (0 if draws_shots(device) else PROBABILITY_BYTES)
        bits = (available // each).bit_length() - 1
        return min(MAX_QUBITS, max(1, bits // 2 if is_mixed else bits))


def _noise_of(backend: BackendV2) -> Any:
    """The noise of a backend: a model, or None where there is nothing about any."""
    own = getattr(backend.options, "noise_model", None)
    if own is not None:
        return own
    target = backend.target
    properties = (each for name in target.operation_names for each in (target[name] or {}).values())
    has_errors = any(each is not None and each.error for each in properties)
    return noise_model_from_backend(backend) if has_errors or target.qubit_properties else None


def _exists(device: str) -> bool:
    try:
        make_device(device)
    except DeviceUnavailableError:
        return False
    return True
