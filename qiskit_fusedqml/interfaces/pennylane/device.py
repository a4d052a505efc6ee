"""`FusedQubit`: a PennyLane device that differentiates by one forward and one backward sweep for a whole batch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from pennylane.devices import Device, ExecutionConfig
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from pennylane.exceptions import DeviceError

from ...devices.registry import make_device
from ...errors import FusedQMLError
from .circuits import (
    Circuit,
    Reading,
    read,
    wire_order,
)
from .gradients import (
    Entries,
    by_tape,
    cotangent_rows,
    jacobian_by_tape,
    num_stacked,
    pulled,
    pushed,
)
from .midcircuit import Outline, Trajectories, measures_midway
from .preprocessing import pipeline, resolved_config
from .rows import Rows, gather, split
from .sampling import draw
from .simulation import EngineOptions, Pullback, Simulation


@contextmanager
def _frameworks_errors() -> Iterator[None]:
    """What the engine refuses is refused in the framework's words."""
    try:
        yield
    except FusedQMLError as error:
        raise DeviceError(error.message) from error


MAX_CIRCUITS = 256
"""Structures remembered; the one not used for longest is forgotten first."""


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
    ) -> None:
        super().__init__(wires=wires, shots=shots)
        self._rng = np.random.default_rng(
            np.random.randint(2**31 - 1) if isinstance(seed, str) and seed == "global" else seed  # noqa: NPY002
        )
        self._resources: dict[str, Any] = {
            "device": device,
            "precision": precision,
            "num_threads": num_threads,
            "max_memory_mb": max_memory_mb,
        }
        self._prepare(**self._resources)

    def _prepare(self, device: Any, precision: str, num_threads: int | None, max_memory_mb: float | None) -> None:
        with _frameworks_errors():
            made = make_device(device, precision=precision, num_threads=num_threads)
        self._options = EngineOptions(made, precision, max_memory_mb)
        self._labels = None if self.wires is None else self.wires.labels
        self._simulations: OrderedDict[Hashable, Any] = OrderedDict()
        self._held: _Held | None = None
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        """Pickles and copies hold neither what was compiled nor states."""
        own = ("_options", "_labels", "_simulations", "_held", "_lock")
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare(**self._resources)

    @property
    def name(self) -> str:
        """The name under which PennyLane finds the device."""
        return "fusedqml.qubit"

    def setup_execution_config(
        self,
        config: ExecutionConfig | None = None,
        circuit: Any = None,
    ) -> ExecutionConfig:
        """Fill in what the caller left to the device."""
        return resolved_config(config or ExecutionConfig(), circuit, self.name)

    def preprocess_transforms(self, execution_config: ExecutionConfig | None = None) -> Any:
        """The transforms after which the device can run a circuit."""
        return pipeline(execution_config or ExecutionConfig(), self.wires, self.name, joins=not self.tracker.active)

    def supports_derivatives(self, execution_config: ExecutionConfig | None = None, circuit: Any = None) -> bool:
        """Whether the gradient is the device's own: by the adjoint method, without shots."""
        if execution_config is None:
            return True
        return execution_config.gradient_method in {"adjoint", "best", "device"} and not (circuit and circuit.shots)

    def supports_vjp(self, execution_config: ExecutionConfig | None = None, circuit: Any = None) -> bool:
        """The same as `supports_derivatives`."""
        return self.supports_derivatives(execution_config, circuit)

    @_frameworks_errors()
    def execute(self, circuits: Sequence[Any], execution_config: ExecutionConfig | None = None) -> tuple[Any, ...]:
        """Results of circuits, those of one structure in one batch."""
        config = execution_config or ExecutionConfig()
        pulls = config.gradient_method == "adjoint" and bool(config.use_device_jacobian_product)
        answers: dict[int, Any] = {
            place: self._trajectories(tape)
            for place, tape in enumerate(circuits)
            if tape.shots and measures_midway(tape)
        }
        others = [place for place in range(len(circuits)) if place not in answers]
        for simulation, own, readings in self._groups([circuits[place] for place in others]):
            places = [others[k] for k in own]
            if readings[0].tape.shots:
                found: list[Any] = draw(simulation, readings, self._rng)
            elif pulls and any(reading.tape.trainable_params for reading in readings):
                found = self._run_and_hold(simulation, readings)
            else:
                rows = gather(simulation.circuit, readings)
                found = split(rows, simulation.results(rows))
            answers.update(zip(places, found, strict=True))
        return tuple(answers[place] for place in range(len(circuits)))

    @_frameworks_errors()
    def compute_vjp(
        self,
        circuits: Sequence[Any],
        cotangents: Sequence[Any],
        execution_config: ExecutionConfig | None = None,  # noqa: ARG002
    ) -> tuple[Any, ...]:
        """Gradients of ``sum cotangents * results``, one tuple a circuit with an entry a trainable parameter.

        The states that `execute` left are used if the numbers are still the same.
        """
        answers: dict[int, Any] = {}
        for simulation, places, readings in self._groups(circuits):
            found = self._gradients(simulation, readings, [cotangents[place] for place in places])
            answers.update(zip(places, found, strict=True))
        return tuple(answers[place] for place in range(len(circuits)))

    @_frameworks_errors()
    def execute_and_compute_vjp(
        self,
        circuits: Sequence[Any],
        cotangents: Sequence[Any],
        execution_config: ExecutionConfig | None = None,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """Results as of `execute`, and gradients as of `compute_vjp`."""
        answers: dict[int, Any] = {}
        gradients: dict[int, Any] = {}
        for simulation, places, readings in self._groups(circuits):
            answers.update(zip(places, self._run_and_hold(simulation, readings), strict=True))
            found = self._gradients(simulation, readings, [cotangents[place] for place in places])
            gradients.update(zip(places, found, strict=True))
        count = range(len(circuits))
        return tuple(answers[place] for place in count), tuple(gradients[place] for place in count)

    def compute_derivatives(self, circuits: Sequence[Any], execution_config: ExecutionConfig | None = None) -> Any:  # noqa: ARG002
        """Jacobians of circuits, for each measurement and each trainable parameter."""
        return self._differentiated(circuits)[1]

    def execute_and_compute_derivatives(
        self,
        circuits: Sequence[Any],
        execution_config: ExecutionConfig | None = None,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """Results as of `execute`, and Jacobians as of `compute_derivatives`."""
        return self._differentiated(circuits)

    def supports_jvp(self, execution_config: ExecutionConfig | None = None, circuit: Any = None) -> bool:
        """The same as `supports_derivatives`."""
        return self.supports_derivatives(execution_config, circuit)

    def compute_jvp(
        self,
        circuits: Sequence[Any],
        tangents: Sequence[Any],
        execution_config: ExecutionConfig | None = None,  # noqa: ARG002
    ) -> tuple[Any, ...]:
        """How results change along tangents, one tuple a circuit with an entry a trainable parameter."""
        return self._differentiated(circuits, tangents)[1]

    def execute_and_compute_jvp(
        self,
        circuits: Sequence[Any],
        tangents: Sequence[Any],
        execution_config: ExecutionConfig | None = None,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """Results as of `execute`, and their changes as of `compute_jvp`."""
        return self._differentiated(circuits, tangents)

    @_frameworks_errors()
    def _differentiated(
        self, circuits: Sequence[Any], tangents: Sequence[Any] | None = None
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Results, and Jacobians or what they make of tangents."""
        answers: dict[int, Any] = {}
        changes: dict[int, Any] = {}
        for simulation, places, readings in self._groups(circuits):
            circuit = simulation.circuit
            rows = gather(circuit, readings, gradients=True)
            answers.update(zip(places, split(rows, simulation.results(rows)), strict=True))
            jacobians = simulation.jacobian(rows)
            if tangents is None:
                found = jacobian_by_tape(circuit, readings, rows, jacobians)
            else:
                found = pushed(circuit, readings, rows, jacobians, [tangents[place] for place in places])
            changes.update(zip(places, found, strict=True))
        count = range(len(circuits))
        return tuple(answers[place] for place in count), tuple(changes[place] for place in count)

    def _groups(self, circuits: Sequence[Any]) -> list[tuple[Simulation, list[int], list[Reading]]]:
        """Circuits of one structure with their places, and what simulates them."""
        readings = [read(tape, self._labels) for tape in circuits]
        if len(readings) == 1:
            return [(self._simulation(readings[0]), [0], readings)]
        found: dict[Hashable, list[int]] = {}
        for place, reading in enumerate(readings):
            found.setdefault((reading.key, reading.tape.shots), []).append(place)
        return [
            (self._simulation(readings[places[0]]), places, [readings[place] for place in places])
            for places in found.values()
        ]

    def _simulation(self, reading: Reading) -> Simulation:
        def build() -> Simulation:
            measurements = reading.tape.measurements
            order = wire_order(reading.operations, measurements, self._labels)
            return Simulation(Circuit(reading.operations, order), measurements, self._options)

        return self._compiled(reading.key, build)  # type: ignore[no-any-return]

    def _compiled(self, key: Hashable, build: Callable[[], Any]) -> Any:
        with self._lock:
            found = self._simulations.get(key)
            if found is None:
                found = self._simulations[key] = build()
                while len(self._simulations) > MAX_CIRCUITS:
                    self._simulations.popitem(last=False)
            self._simulations.move_to_end(key)
            return found

    def _trajectories(self, tape: Any) -> Any:
        """Samples and outcomes of a circuit that measures midway, for each number of shots if there are several."""
        outline = Outline(tape, self._labels)
        compiled = self._compiled(outline.key, lambda: Trajectories(outline, self._options))
        found = [compiled.sample(outline, shots, self._rng) for shots in tape.shots]
        return tuple(found) if tape.shots.has_partitioned_shots else found[0]

    def _run_and_hold(self, simulation: Simulation, readings: Sequence[Reading]) -> list[Any]:
        """Results; what the gradients need is kept until the next circuits are run."""
        rows = gather(simulation.circuit, readings, gradients=True)
        results, pullback = simulation.vjp(rows)
        self._held = _Held(simulation, rows.fingerprint, pullback)
        return split(rows, results)

    def _gradients(
        self, simulation: Simulation, readings: Sequence[Reading], cotangents: Sequence[Any]
    ) -> list[Entries]:
        circuit, measured = simulation.circuit, simulation.measured
        rows = gather(circuit, readings, gradients=True)
        stacked = num_stacked(measured, rows.tapes[0], cotangents[0])
        if stacked is not None:  # a Jacobian by vmap
            each = [
                self._gradients(simulation, readings, [_entry(measured, own, k) for own in cotangents])
                for k in range(stacked)
            ]
            return [Entries(np.stack(same) for same in zip(*tapes, strict=True)) for tapes in zip(*each, strict=True)]
        arrays = cotangent_rows(measured, rows, cotangents)
        return by_tape(circuit, readings, rows, self._pull(simulation, rows, arrays))

    def _pull(self, simulation: Simulation, rows: Rows, cotangents: list[Any]) -> Any:
        """Gradients of inputs and weights.

        The first time, by the sweep back from the held states. Who asks again for the same numbers wants a Jacobian
        row by row: it is then computed as a whole, and kept.
        """
        held = self._held
        if held is None or held.simulation is not simulation or held.fingerprint != rows.fingerprint:
            self._held = _Held(simulation, rows.fingerprint, None)
            return simulation.vjp(rows)[1](cotangents)
        with self._lock:
            unused, held.pullback = held.pullback, None
        if unused is not None:
            return unused(cotangents)
        if rows.trains_states:
            return simulation.vjp(rows)[1](cotangents)
        if held.jacobians is None:
            held.jacobians = simulation.jacobian(rows)
        return pulled(rows, held.jacobians, cotangents)


class _Held:
    """What the last call leaves for the next one."""

    def __init__(self, simulation: Simulation, fingerprint: Any, pullback: Pullback | None) -> None:
        self.simulation = simulation
        self.fingerprint = fingerprint
        self.pullback = pullback
        self.jacobians: list[Any] | None = None


def _entry(measured: Any, cotangents: Any, k: int) -> Any:
    return cotangents[k] if len(measured.parts) == 1 else tuple(own[k] for own in cotangents)
