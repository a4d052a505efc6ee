"""`FusedSampler`: Qiskit's V2 sampler on the engine.

Pubs on one circuit with equal numbers of shots become one batch, in which every distinct parameter set is simulated
once; shots are drawn for each set of each pub as if it were alone.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2, PrimitiveResult, SamplerPubResult
from qiskit.primitives.containers import BitArray, DataBin, SamplerPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub

from ...arrays import whole_number
from ...ir.classical import WIDEST_FIXED
from ...simulation import Outcomes, Request, Shots
from .backend.options import run_metadata
from .batches import CircuitBatch, Indices, batch_of, readable_pub, warn_of_parameter_shift
from .compiled import RunnerOptions, compile_runner
from .jobs import FinishedJob
from .options import EnginePrimitive


class FusedSampler(EnginePrimitive, BaseSamplerV2):
    """Shots of circuits by fused statevector simulation.

    Each pub's result has a `BitArray` for every classical register, in the pub's shape; bits that are never written
    are 0. Unlike `StatevectorSampler`, circuits may measure, reset and branch as they go. As there, an integer ``seed``
    is the seed of every parameter set, so that its shots are the same wherever it stands, alone or among others; sets
    are then drawn with the same random numbers. A `numpy.random.Generator` is used up set by set, and without a seed
    every set has numbers of its own. The numbers are not those of `StatevectorSampler`. Probabilities
    instead of shots are what `DifferentiableCircuit.probabilities` and the simulator's ``save_probabilities`` give.

    Args:
        default_shots: Number of shots for pubs and calls that ask for none.
        seed: Seed of the shots.
        options: A dictionary as of qiskit-aer's ``SamplerV2``: ``backend_options`` (those of `FusedSimulator`) and
            ``run_options``, whose ``seed_simulator`` is the seed if there is no ``seed``.
        device, precision, max_memory_mb, num_threads: As of `EngineOptions`.
        noise_model, noise_scale: Noise as of `FusedSimulator`, by the method that ``backend_options`` say, or
            automatically: density matrices where there are more shots than amplitudes and measurements are at the end,
            else trajectories of pure states.
        comm, comm_timeout: As of `DifferentiableCircuit`: a communicator whose ranks share every state.

    Raises:
        InvalidInputError: If ``default_shots`` is not a positive integer, or for an option that does not exist.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from qiskit_fusedqml import FusedSampler
        >>> circuit = QuantumCircuit(2)
        >>> _ = circuit.h(0)
        >>> _ = circuit.cx(0, 1)
        >>> circuit.measure_all()
        >>> result = FusedSampler(seed=1).run([circuit], shots=100).result()
        >>> sorted(result[0].data.meas.get_counts())
        ['00', '11']
    """

    OWN_OPTIONS = ("default_shots", "seed")

    def __init__(
        self,
        *,
        default_shots: int = 1024,
        seed: np.random.Generator | int | None = None,
        options: Mapping[str, Any] | None = None,
        device: str = "CPU",
        precision: str = "double",
        max_memory_mb: float | None = None,
        num_threads: int | None = None,
        noise_model: Any = None,
        noise_scale: float = 1.0,
        comm: Any = None,
        comm_timeout: float | None = None,
    ) -> None:
        self._set_options(locals())
        self._check_shots()

    @property
    def default_shots(self) -> int:
        """Number of shots when neither pub nor call asks for one."""
        return int(self._options.default_shots)

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> FinishedJob[PrimitiveResult[SamplerPubResult]]:
        """Sample pubs.

        Args:
            pubs: A circuit, or ``(circuit, parameter_values, shots)``, the last two optional.
            shots: Number of shots for pubs that ask for none.

        Returns:
            A job that has run.

        Raises:
            ValueError: For a malformed pub: wrong numbers of values or shots, NaN or infinite values.
        """
        self._check_shots()
        options = self.runner_options
        shots = self.default_shots if shots is None else whole_number(shots, "shots", least=1)
        coerced = [SamplerPub.coerce(readable_pub(pub, 1), shots) for pub in pubs]
        if any(not pub.circuit.cregs for pub in coerced):
            warnings.warn(
                "A circuit has no classical registers, so that its result is empty. Measurements write to registers: "
                "add some, for instance with measure_all().",
                UserWarning,
                stacklevel=2,
            )
        batches: dict[Hashable, _Batch] = {}
        requests = []
        for pub in coerced:
            batch = batch_of(batches, _Batch, pub.circuit, pub.shots)
            requests.append((pub, batch, batch.add_pub(pub, self.seed)))
        warn_of_parameter_shift(batches.values(), len(requests), "FusedSamplerGradient(sampler)")
        return FinishedJob(_run, requests, batches.values(), options)

    def _check_shots(self) -> None:
        whole_number(self._options.default_shots, "default_shots", least=1)


class _Batch(CircuitBatch):
    """The pubs on one circuit with one number of shots: distinct parameter sets, and those that are sampled."""

    def __init__(self, circuit: QuantumCircuit, shots: int) -> None:
        super().__init__(circuit)
        self.shots = shots
        self.sampled: list[Indices] = []
        self.generators: list[np.random.Generator] = []
        self.results: list[Outcomes] = []

    def add_pub(self, pub: SamplerPub, seed: np.random.Generator | int | None) -> slice:
        """Add a pub; returns the places of its parameter sets among those sampled."""
        sets = self.add(pub.parameter_values).reshape(-1)
        self.sampled.append(sets)
        first = len(self.generators)
        # a generator for each set: its shots are the same whatever else is in the batch
        if seed is None or isinstance(seed, np.random.Generator):
            numbers = np.random.default_rng(seed).integers(2**63, size=len(sets)).tolist()
        else:
            numbers = [seed] * len(sets)
        self.generators += [np.random.default_rng(number) for number in numbers]
        return slice(first, len(self.generators))

    def evaluate(self, options: RunnerOptions) -> None:
        """Sample all parameter sets."""
        request = Request(self.sets.array(), np.concatenate(self.sampled), self.shots, self.generators, keep=True)
        self.results = compile_runner(self.known, options, self.shots).run(request)


def _run(
    requests: Iterable[tuple[SamplerPub, _Batch, slice]], batches: Iterable[_Batch], options: RunnerOptions
) -> PrimitiveResult[SamplerPubResult]:
    began = time.perf_counter()
    for batch in batches:
        batch.evaluate(options)
    about = run_metadata(options.engine, time.perf_counter() - began)
    results = [_pub_result(pub, batch.results[sampled], about) for pub, batch, sampled in requests]
    return PrimitiveResult(results, metadata={"version": 2})


def _pub_result(pub: SamplerPub, results: Sequence[Outcomes], about: Mapping[str, Any]) -> SamplerPubResult:
    index = {clbit: k for k, clbit in enumerate(pub.circuit.clbits)}
    arrays: dict[str, Any] = {}
    for register in pub.circuit.cregs:
        clbits = [index[clbit] for clbit in register]
        packed = np.empty((len(results), pub.shots, -(-len(clbits) // 8)), dtype=np.uint8)
        for position, result in enumerate(results):
            packed[position] = _packed_bits(result.shots, clbits)
        arrays[register.name] = BitArray(packed.reshape(*pub.shape, *packed.shape[1:]), len(clbits))
    data = DataBin(**arrays, shape=pub.shape)
    metadata = {"shots": pub.shots, "circuit_metadata": pub.circuit.metadata, "simulator_metadata": dict(about)}
    return SamplerPubResult(data, metadata=metadata)


def _packed_bits(shots: Shots | None, clbits: Sequence[int]) -> NDArray[np.uint8] | int:
    """Some classical bits of every shot as `BitArray` holds them: bytes (number of shots, number of bytes).

    The first bit is the lowest, the last byte the least significant. 0 if nothing was drawn.
    """
    num_bytes = -(-len(clbits) // 8)
    if shots is None or shots.sequence is None:
        return 0
    consecutive = bool(clbits) and list(clbits) == list(range(clbits[0], clbits[0] + len(clbits)))
    if consecutive and len(clbits) < WIDEST_FIXED and shots.outcomes.dtype != object:
        values = shots.outcomes >> clbits[0] & ((1 << len(clbits)) - 1)
        distinct = values.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - num_bytes :]
    else:
        distinct = np.zeros((len(shots.outcomes), num_bytes), dtype=np.uint8)
        for position, clbit in enumerate(clbits):
            byte, bit = divmod(position, 8)
            distinct[:, num_bytes - 1 - byte] |= (shots.outcomes >> clbit & 1).astype(np.uint8) << bit
    return np.asarray(distinct[shots.sequence])
