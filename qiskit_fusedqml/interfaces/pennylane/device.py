"""`FusedQubit`: a PennyLane device that differentiates by one forward and one backward sweep for a whole batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from pennylane.devices import Device, ExecutionConfig
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from pennylane.exceptions import DeviceError
from typing_extensions import override

from ...arrays import shown, whole_number
from ...distributed import DistributedDevice, shared_device
from ...engine.options import EngineOptions
from ...errors import FusedQMLError, InvalidInputError
from ...memory import BoundedCache
from .gradients import (
    Entries,
    Gradients,
    along,
    contracted,
    cotangent_arrays,
    gradients_by_tape,
    jacobians_by_tape,
    stacked_cotangents,
)
from .midcircuit import DynamicTape, Trajectories, measures_midway
from .mixed import MixedSimulation
from .preprocessing import Kind, pipeline, resolved_config
from .readout import checked_probability
from .samples import SampleBatch, by_tape, gather, unwrapped
from .sampling import draw
from .simulation import Pullback, Simulation
from .tapes import ParsedTape, parse, wire_order


@contextmanager
def _framework_errors() -> Iterator[None]:
    """What the engine refuses is refused in the framework's words."""
    try:
        yield
    except FusedQMLError as error:
        raise DeviceError(error.message) from error


Circuits: TypeAlias = Sequence[Any]
Config: TypeAlias = ExecutionConfig | None
Pairs: TypeAlias = tuple[tuple[Any, ...], tuple[Any, ...]]

MAX_CIRCUITS = 1 << 10
"""Structures remembered."""

MAX_WIRES = 100_000
"""Labels are made for all wires of a device, used or not."""


@simulator_tracking
@single_tape_support
class FusedQubit(Device):
    """State-vector device with fused forward and adjoint sweeps: ``qml.device("fusedqml.qubit", wires=n)``.

    Broadcast parameters and tapes of one structure run as one batch. ``diff_method="adjoint"`` (also "best" and
    "device") takes one forward and one backward sweep for all samples and measurements. For JAX's forward mode
    (`jax.jvp`, `jax.jacfwd`) a QNode needs ``grad_on_execution=True``: it then takes Jacobians with the values, by one
    backward sweep for each number it returns.

    Args:
        wires: Number of wires, or their labels; None to find them in each circuit.
        shots: Number of shots of circuits that do not say, None for exact results.
        seed: As of `numpy.random.default_rng`; "global" takes one from NumPy's global generator.
        device: "CPU", "GPU", or a `qiskit_fusedqml.devices.Device`.
        precision: "double" or "single".
        num_threads: Threads of the CPU device; None for the cores this process may use, capped by OMP_NUM_THREADS.
        max_memory_mb: Memory for states in MiB; None for half of the machine's. Larger batches are cut.
        comm, comm_timeout: As of `DifferentiableCircuit`: a communicator whose ranks share every state.

    Raises:
        DeviceError: For an unknown device or precision, or a device that this machine does not have.

    Example:
        >>> import pennylane as qml
        >>> from pennylane import numpy as np
        >>> @qml.qnode(qml.device("fusedqml.qubit", wires=2))
        ... def circuit(x, w):
        ...     qml.RX(x, wires=0)
        ...     qml.CRY(w, wires=[0, 1])
        ...     return qml.expval(qml.Z(1))
        >>> circuit(np.array([0.1, 0.2, 0.3], requires_grad=False), np.array(0.4)).shape
        (3,)
    """

    _kind = Kind("fusedqml.qubit")
    _misreading = 0.0

    def __init__(
        self,
        wires: int | Iterable[Hashable] | None = None,
        shots: Any = None,
        seed: Any = "global",
        *,
        device: Any = "CPU",
        precision: str = "double",
        num_threads: int | None = None,
        max_memory_mb: float | None = None,
        comm: Any = None,
        comm_timeout: float | None = None,
    ) -> None:
        with _framework_errors():
            _check_numbers(wires, shots)
            if comm is not None:
                device = shared_device(device, comm, comm_timeout, precision=precision, num_threads=num_threads)
                if seed in ("global", None) and isinstance(device, DistributedDevice):
                    seed = device.agreed(np.random.randint(2**31 - 1))  # noqa: NPY002
            self._given = EngineOptions(device, precision, max_memory_mb, num_threads)
        super().__init__(wires=wires, shots=shots)
        self._rng = np.random.default_rng(
            np.random.randint(2**31 - 1) if isinstance(seed, str) and seed == "global" else seed  # noqa: NPY002
        )
        self._prepare()

    def _prepare(self) -> None:
        given = self._given
        with _framework_errors():
            made = given.make_device(mixed=self._kind.mixed)
        self._options = replace(given, device=made)
        self._labels = None if self.wires is None else self.wires.labels
        self._simulations: BoundedCache[Hashable, Any] = BoundedCache(MAX_CIRCUITS)
        self._held: _Held | None = None
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        """Pickles and copies hold neither what was compiled nor states."""
        own = ("_options", "_labels", "_simulations", "_held", "_lock")
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    @property
    def name(self) -> str:
        """The name under which PennyLane finds the device."""
        return self._kind.name

    @override
    def setup_execution_config(self, config: Config = None, circuit: Any = None) -> ExecutionConfig:
        return resolved_config(config or ExecutionConfig(), circuit, self._kind)

    @override
    def preprocess_transforms(self, execution_config: Config = None) -> Any:
        return pipeline(execution_config or ExecutionConfig(), self.wires, self._kind, stacks=not self.tracker.active)

    def supports_derivatives(self, execution_config: Config = None, circuit: Any = None) -> bool:
        """Whether the gradient is the device's own: by the adjoint method, without shots."""
        if execution_config is None:
            return True
        return execution_config.gradient_method in {"adjoint", "best", "device"} and not (circuit and circuit.shots)

    @override
    def supports_vjp(self, execution_config: Config = None, circuit: Any = None) -> bool:
        return self.supports_derivatives(execution_config, circuit)

    @override
    def supports_jvp(self, execution_config: Config = None, circuit: Any = None) -> bool:
        return self.supports_derivatives(execution_config, circuit)

    @_framework_errors()
    def execute(self, circuits: Circuits, execution_config: Config = None) -> tuple[Any, ...]:
        """Results of circuits, those of one structure in one batch."""
        config = execution_config or ExecutionConfig()
        pulls = config.gradient_method == "adjoint" and bool(config.use_device_jacobian_product)

        def run(simulation: Simulation, tapes: list[ParsedTape], _places: list[int]) -> list[Any]:
            if tapes[0].tape.shots:
                return draw(simulation, tapes, self._rng, self._misreading)
            gradients = pulls and any(tape.tape.trainable_params for tape in tapes)
            batch = gather(simulation.circuit, tapes, gradients=gradients)
            return self._run_and_hold(simulation, batch) if gradients else by_tape(batch, simulation.results(batch))

        midway = {k: self._trajectories(c) for k, c in enumerate(circuits) if c.shots and measures_midway(c)}
        others = iter(self._by_structure([c for k, c in enumerate(circuits) if k not in midway], run))
        return tuple(midway[k] if k in midway else next(others) for k in range(len(circuits)))

    @override
    @_framework_errors()
    def compute_vjp(
        self, circuits: Circuits, cotangents: Sequence[Any], execution_config: Config = None
    ) -> tuple[Any, ...]:
        # the states that `execute` left are used if the numbers are still the same
        def run(simulation: Simulation, tapes: list[ParsedTape], places: list[int]) -> list[Any]:
            batch = gather(simulation.circuit, tapes, gradients=True)
            return self._gradients(simulation, batch, [cotangents[place] for place in places])

        return tuple(self._by_structure(circuits, run))

    @override
    @_framework_errors()
    def execute_and_compute_vjp(
        self, circuits: Circuits, cotangents: Sequence[Any], execution_config: Config = None
    ) -> Pairs:
        def run(simulation: Simulation, tapes: list[ParsedTape], places: list[int]) -> list[Any]:
            batch = gather(simulation.circuit, tapes, gradients=True)
            results = self._run_and_hold(simulation, batch)
            gradients = self._gradients(simulation, batch, [cotangents[place] for place in places])
            return list(zip(results, gradients, strict=True))

        return _pairs(self._by_structure(circuits, run))

    @override
    def compute_derivatives(self, circuits: Circuits, execution_config: Config = None) -> tuple[Any, ...]:
        return self._differentiated(circuits)[1]

    @override
    def execute_and_compute_derivatives(self, circuits: Circuits, execution_config: Config = None) -> Pairs:
        return self._differentiated(circuits)

    @override
    def compute_jvp(
        self, circuits: Circuits, tangents: Sequence[Any], execution_config: Config = None
    ) -> tuple[Any, ...]:
        return self._differentiated(circuits, tangents)[1]

    @override
    def execute_and_compute_jvp(
        self, circuits: Circuits, tangents: Sequence[Any], execution_config: Config = None
    ) -> Pairs:
        return self._differentiated(circuits, tangents)

    @_framework_errors()
    def _differentiated(self, circuits: Circuits, tangents: Sequence[Any] | None = None) -> Pairs:
        """Results, and Jacobians or, with tangents, how results change along them."""

        def run(simulation: Simulation, tapes: list[ParsedTape], places: list[int]) -> list[Any]:
            batch = gather(simulation.circuit, tapes, gradients=True)
            results = by_tape(batch, simulation.results(batch))
            jacobians = jacobians_by_tape(batch, simulation.jacobian(batch))
            if tangents is None:
                changes = [unwrapped([unwrapped(part) for part in tape]) for tape in jacobians]
            else:
                own = [tangents[place] for place in places]
                changes = [along(*each) for each in zip(results, jacobians, own, strict=True)]
            return list(zip(results, changes, strict=True))

        return _pairs(self._by_structure(circuits, run))

    def _by_structure(
        self, circuits: Circuits, run: Callable[[Simulation, list[ParsedTape], list[int]], list[Any]]
    ) -> list[Any]:
        """An answer for each circuit; ``run`` gives those of one structure, whose places among all it is told."""
        tapes = [parse(tape, self._labels) for tape in circuits]
        if len(tapes) == 1:
            return run(self._simulation(tapes[0]), tapes, [0])
        groups: dict[Hashable, list[int]] = {}
        for place, tape in enumerate(tapes):
            groups.setdefault((tape.key, tape.tape.shots), []).append(place)
        answers: dict[int, Any] = {}
        for places in groups.values():
            own = [tapes[place] for place in places]
            answers.update(zip(places, run(self._simulation(own[0]), own, places), strict=True))
        return [answers[place] for place in range(len(tapes))]

    def _simulation(self, tape: ParsedTape) -> Simulation:
        def build() -> Simulation:
            measurements = tape.tape.measurements
            order = wire_order(tape.layout.operations, measurements, self._labels)
            return self._built(tape.layout.operations, () if is_sampled else measurements, order)

        is_sampled = bool(tape.tape.shots)
        with self._lock:  # threads that want the same thing wait for one of them to build it
            return self._simulations.get((tape.key, is_sampled), build)  # type: ignore[no-any-return]

    def _built(self, operations: Sequence[Any], measurements: Sequence[Any], order: tuple[Any, ...]) -> Simulation:
        return Simulation(operations, measurements, order, self._options)

    def _trajectories(self, tape: Any) -> Any:
        """Samples and outcomes of a circuit that measures midway, for each number of shots if there are several."""
        dynamic = DynamicTape(tape, self._labels)
        with self._lock:
            compiled = self._simulations.get(dynamic.gates.key, lambda: Trajectories(dynamic, self._options))
        found = [compiled.sample(dynamic, shots, self._rng) for shots in tape.shots]
        return tuple(found) if tape.shots.has_partitioned_shots else found[0]

    def _run_and_hold(self, simulation: Simulation, batch: SampleBatch) -> list[Any]:
        """Results; what the gradients need is kept until the next circuits are run."""
        results, pullback = simulation.vjp(batch)
        self._held = _Held(simulation, batch.fingerprint(), pullback)
        return by_tape(batch, results)

    def _gradients(self, simulation: Simulation, batch: SampleBatch, cotangents: Sequence[Any]) -> list[Entries]:
        stacked = stacked_cotangents(simulation.measured, batch, cotangents)
        if stacked is not None:  # a Jacobian by vmap
            each = [self._gradients(simulation, batch, own) for own in stacked]
            return [Entries(np.stack(same) for same in zip(*tapes, strict=True)) for tapes in zip(*each, strict=True)]
        arrays = cotangent_arrays(simulation.measured, batch, cotangents)
        return gradients_by_tape(batch, self._pull(simulation, batch, arrays))

    def _pull(self, simulation: Simulation, batch: SampleBatch, cotangents: list[Any]) -> Gradients:
        """Gradients of the columns.

        The first time, by the backward sweep from the held states. A second call for the same numbers means that a
        Jacobian is wanted row by row: it is then computed as a whole, and kept.
        """
        held, fingerprint = self._held, batch.fingerprint()
        if held is None or held.simulation is not simulation or held.fingerprint != fingerprint:
            self._held = _Held(simulation, fingerprint, None)
            return simulation.vjp(batch)[1](cotangents)
        with self._lock:
            unused, held.pullback = held.pullback, None
        if unused is not None:
            return unused(cotangents)
        if batch.trains_states:
            return simulation.vjp(batch)[1](cotangents)
        if held.jacobians is None:
            held.jacobians = simulation.jacobian(batch)
        return contracted(held.jacobians, cotangents)


class FusedMixed(FusedQubit):
    """Density-matrix device with fused forward and adjoint sweeps: ``qml.device("fusedqml.mixed", wires=n)``.

    It takes PennyLane's ten channels and, by `qml.add_noise`, noise models. Gradients are as those of `FusedQubit`,
    also with respect to parameters of channels. ``qml.state()`` is the density matrix, as on ``default.mixed``. A state
    takes 4**n numbers, whether there is noise or not.

    Args:
        wires: As of `FusedQubit`.
        shots: As of `FusedQubit`.
        seed: As of `FusedQubit`.
        readout_prob: The probability that a measured bit is read as the other one, in expectation values, variances,
            probabilities and samples. States, and what is read off them, are not affected.
        device: "CPU" or "reference", or a `qiskit_fusedqml.devices.Device`.
        precision: As of `FusedQubit`.
        num_threads: As of `FusedQubit`.
        max_memory_mb: As of `FusedQubit`.

    Raises:
        DeviceError: As of `FusedQubit`, for a device that has no mixed states, and for a ``readout_prob`` that is none.

    Example:
        >>> import pennylane as qml
        >>> from pennylane import numpy as np
        >>> @qml.qnode(qml.device("fusedqml.mixed", wires=1))
        ... def circuit(x, p):
        ...     qml.RX(x, wires=0)
        ...     qml.BitFlip(p, wires=0)
        ...     return qml.expval(qml.Z(0))
        >>> print(qml.grad(circuit)(np.array(0.0), np.array(0.1)))
        (array(0.), array(-2.))
    """

    _kind = Kind("fusedqml.mixed", mixed=True)

    def __init__(
        self,
        wires: int | Iterable[Hashable] | None = None,
        shots: Any = None,
        seed: Any = "global",
        readout_prob: float | None = None,
        *,
        device: Any = "CPU",
        precision: str = "double",
        num_threads: int | None = None,
        max_memory_mb: float | None = None,
    ) -> None:
        with _framework_errors():
            self._misreading = checked_probability(readout_prob)
        super().__init__(
            wires,
            shots,
            seed,
            device=device,
            precision=precision,
            num_threads=num_threads,
            max_memory_mb=max_memory_mb,
        )

    @override
    def _built(self, operations: Sequence[Any], measurements: Sequence[Any], order: tuple[Any, ...]) -> Simulation:
        return MixedSimulation(operations, measurements, order, self._options, self._misreading)


@dataclass(slots=True)
class _Held:
    """What the last call leaves for the next one."""

    simulation: Simulation
    fingerprint: Hashable
    pullback: Pullback | None
    jacobians: list[Any] | None = None


def _pairs(answers: list[Any]) -> Pairs:
    return tuple(first for first, _ in answers), tuple(second for _, second in answers)


def _check_numbers(wires: Any, shots: Any) -> None:
    """Refuse numbers of wires and shots that PennyLane would count to, or fail at."""
    if isinstance(wires, (int, np.integer)):
        whole_number(wires, "wires", least=1, most=MAX_WIRES)
    elif wires is not None and isinstance(wires, Sized) and not len(wires):
        raise InvalidInputError(f"wires is {shown(wires)}; a number, one label or more, or None is expected.")
    if isinstance(shots, Sized) and not len(shots):
        raise InvalidInputError(f"shots is {shown(shots)}; a number of shots, a sequence of them or None is expected.")
