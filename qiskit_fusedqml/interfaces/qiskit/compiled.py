"""Circuits compiled: for values and gradients (estimator, gradients), and for shots (sampler, backend)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from ...distributed import DistributedDevice
from ...engine.options import EngineOptions
from ...engine.program_function import ProgramFunction
from ...errors import DeviceUnavailableError, InvalidInputError, SimulationError
from ...simulation import Outcomes, Request, Runner
from .cache import KnownCircuit
from .lowering import (
    AmplitudesWithoutValuesError,
    Lowered,
    free_parameters,
    lower,
    lower_dynamic,
    lower_observable,
)
from .lowering.noise import parameters_of_noise
from .lowering.observables import Observable
from .noise import measured


def lowered_circuit(
    known: KnownCircuit,
    options: EngineOptions,
    parameters: tuple[Parameter, ...] | None = None,
    qubits: tuple[int, ...] | None = None,
) -> Lowered:
    """A circuit as a straight-line program; parameters and qubits are as of `lower`, the noise is that of the options.

    Raises:
        InvalidInputError: If the noise has parameters, which these interfaces take no values of.
    """
    noise, scale = options.noise_model, options.noise_scale
    check_bound(options)
    key = ("lowered", parameters, qubits, noise, scale)
    return known.get(
        key, lambda copied: lower(copied, parameters, encodes=True, qubits=qubits, noise=noise, noise_scale=scale)
    )


def check_bound(options: EngineOptions) -> None:
    """Refuse noise with parameters where there are no values of them.

    Raises:
        InvalidInputError: With their names.
    """
    unbound = () if options.noise_model is None else parameters_of_noise(options)
    if unbound:
        raise InvalidInputError(
            f"The noise has the parameters {[parameter.name for parameter in unbound]}, for which there are no values "
            "here; DifferentiableCircuit and FusedLayer take them as weights."
        )


def compile_circuit(
    known: KnownCircuit,
    observables: Sequence[Observable] | None,
    options: EngineOptions,
    parameters: tuple[Parameter, ...] | None = None,
    *,
    num_inputs: int = 0,
    qubits: tuple[int, ...] | None = None,
) -> ProgramFunction:
    """The engine for a circuit; measurements at its end are ignored by values.

    Args:
        known: The circuit.
        observables: The observables; None when only states and probabilities are wanted.
        options: The engine's options.
        parameters: Inputs and weights; by default the circuit's parameters in their order, all of which are weights.
        num_inputs: Number of inputs.
        qubits: The qubits that get amplitudes; None for those that are acted on.
    """

    def build(snapshot: QuantumCircuit) -> ProgramFunction:
        source, sums = lowered_circuit(known, options, parameters, qubits), None
        if observables is not None:
            wide = [lower_observable(observable.value, snapshot.num_qubits) for observable in observables]
            sums = [source.active.observable(observable) for observable in measured(wide, options)]
        return ProgramFunction(
            source.program,
            source.angle_map,
            sums,
            options,
            num_inputs=num_inputs,
            encoding=source.encoding,
            measurement=source.measurement,
        )

    names = None if observables is None else tuple(observable.key for observable in observables)
    return known.get(("engine", names, options, parameters, num_inputs, qubits), build)


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """How circuits are compiled for sampling.

    Attributes:
        engine: The engine's options.
        fusion_enable: Whether gates are fused; if not, every gate, or fused gate of the circuit, is a sweep by itself.
        fusion_max_qubit: The tile's number of qubits; None for the device's.
        fusion_threshold: Circuits of at most this many qubits are not fused either.
        truncate: Whether qubits that no gate acts on are left out.
        method: "statevector": shots are of pure states, of which noise makes trajectories; "density_matrix"; or
            "automatic": as of `method_of`.
        blocking_qubits: Where ranks share states, those of circuits of at most so many qubits are not shared.
    """

    engine: EngineOptions = field(default_factory=EngineOptions)
    fusion_enable: bool = True
    fusion_max_qubit: int | None = None
    fusion_threshold: int = 0
    truncate: bool = True
    method: str = "automatic"
    blocking_qubits: int = 0
    _engines: dict[tuple[bool, bool], EngineOptions] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    def engine_for(self, num_qubits: int, *, mixed: bool) -> EngineOptions:
        """The engine's options for states of so many qubits, with the device, which is made once."""
        device = self.engine.device
        is_named = isinstance(device, str)  # the class of any other takes longer to find out
        shares = not is_named and isinstance(device, DistributedDevice) and num_qubits > self.blocking_qubits
        found = self._engines.get((mixed, shares))
        if found is None:
            found = self._engines[mixed, shares] = self._engine(mixed=mixed, shares=shares)
        return found

    def _engine(self, *, mixed: bool, shares: bool) -> EngineOptions:
        engine = self.engine
        if isinstance(engine.device, DistributedDevice) and not shares:
            engine = replace(engine, device=engine.device.inner)
        device = engine.make_device(mixed=mixed)
        if self.fusion_max_qubit is not None:
            device = copy(device)
            tile = self.fusion_max_qubit * (2 if mixed else 1)
            device.cost_model = replace(device.cost_model, tile_qubits=tile, whole_qubits=0)
        return engine.with_device(device)


@dataclass(slots=True)
class CompiledCircuit:
    """A circuit ready to be sampled.

    Attributes:
        runner: Runs it; where amplitudes are parameters, the runner for those of the last parameter set.
        qubits: The circuit's qubits that the runner's stand for, in order.
        num_fused: Number of fused gates in the circuit.
        fuses: Whether gates are fused.
        method: "statevector" or "density_matrix".
        bound: Where amplitudes are parameters, makes the runner of a parameter set, which is a circuit of its own.
    """

    runner: Runner
    qubits: tuple[int, ...]
    num_fused: int
    fuses: bool
    method: str
    bound: Callable[[NDArray[np.float64]], Runner] | None = None

    def run(self, request: Request) -> list[Outcomes]:
        """See `Runner.run`; values are in the order of ``circuit.parameters``."""
        if self.bound is None:
            return self.runner.run(request)
        results = []
        for row, generator in zip(request.values[request.value_of_set], request.generators, strict=True):
            self.runner = runner = self.bound(row)
            results += runner.run(
                Request(np.empty((1, 0)), np.zeros(1, np.intp), request.shots, [generator], request.keep)
            )
        return results


def compile_runner(known: KnownCircuit, options: RunnerOptions, shots: int = 1) -> CompiledCircuit:
    """A circuit ready for so many shots, made now if the cache does not have it; raises what `lower_dynamic` raises."""
    check_bound(options.engine)
    return _compiled(known, options, method_of(known, options, shots))


def method_of(known: KnownCircuit, options: RunnerOptions, shots: int) -> str:
    """How a circuit is simulated: as the options say, or where they say "automatic" by qiskit-aer's rule.

    Density matrices are taken if the noise model has errors besides misreading, there are more shots than amplitudes
    (2**n), all shots are drawn from one final state, that fits into memory, and no amplitudes are saved; also if the
    circuit sets one.
    """
    if options.method != "automatic":
        return options.method
    noise = options.engine.noise_model
    if noise is not None and noise.has_errors and _is_mixed(known, options, shots):
        return "density_matrix"
    return "density_matrix" if "set_density_matrix" in known.operations else "statevector"


def _is_mixed(known: KnownCircuit, options: RunnerOptions, shots: int) -> bool:
    try:
        compiled = _compiled(known, options, "density_matrix")
    except (SimulationError, DeviceUnavailableError):
        return False
    runner = compiled.runner
    return runner.samples and shots > 1 << runner.dynamic.num_qubits and runner.fits(shots)


def _compiled(known: KnownCircuit, options: RunnerOptions, method: str) -> CompiledCircuit:
    engine, mixed = options.engine, method == "density_matrix"

    def lowered_as(source: QuantumCircuit, *, fuse: bool) -> Lowered:
        qubits = None if options.truncate else tuple(range(source.num_qubits))
        noise, scale = engine.noise_model, engine.noise_scale
        return lower_dynamic(source, qubits, fuse=fuse, lift=True, mixed=mixed, noise=noise, noise_scale=scale)

    def make(source: QuantumCircuit) -> tuple[Runner, Lowered, bool]:
        lowered = lowered_as(source, fuse=options.fusion_enable)
        fuses = options.fusion_enable and len(lowered.active) > options.fusion_threshold
        if fuses < options.fusion_enable:
            lowered = lowered_as(source, fuse=False)
        own = options.engine_for(len(lowered.active), mixed=mixed)
        readout = lowered.measurement.readout
        runner = Runner(lowered.dynamic, lowered.angle_map, own, lowered.constants, mixed=mixed, readout=readout)
        return runner, lowered, fuses

    def build(source: QuantumCircuit) -> CompiledCircuit:
        parameters, bound = free_parameters(source), None

        def bind(row: NDArray[np.float64]) -> QuantumCircuit:
            return source.assign_parameters(dict(zip(parameters, row, strict=True)))

        try:
            runner, lowered, fuses = make(source)
        except AmplitudesWithoutValuesError:
            runner, lowered, fuses = make(bind(np.full(len(parameters), 0.618)))

            def bound(row: NDArray[np.float64]) -> Runner:
                return make(bind(row))[0]

        return CompiledCircuit(runner, lowered.active.qubits, num_fused, fuses, method, bound)

    num_fused = known.operations.get("fused", 0)
    return known.get(("runner", method, options), build)
